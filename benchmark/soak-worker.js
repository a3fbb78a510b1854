'use strict'

// One row of the soak, in a process of its own (see soak.js).

const { monitorEventLoopDelay } = require('node:perf_hooks')
const { setTimeout: wait } = require('node:timers/promises')
const Fastify = require('fastify')
const { Request, Response, drive } = require('./bare')

const SECRET = 'a secret with minimum length of 32 characters'
const VISITORS = 10_000
const LIFETIME = 2_000
const HOUR = 3_600_000

const job = JSON.parse(process.argv[2])

const libraries = {
  'no session plugin': {
    memory: () => ({})
  },
  'this library': {
    plugin: () => require('../dist'),
    memory: () => new (require('../dist').MemoryStore)(),
    redis: client => new (require('../dist/stores/redis').RedisStore)({ client })
  },
  'this library, with a max': {
    plugin: () => require('../dist'),
    memory: () => new (require('../dist').MemoryStore)(new Map(), { max: 2 * job.count })
  },
  '@fastify/session 11.1.3': {
    plugin: () => require('upstream-session'),
    memory: () => new (require('upstream-session').MemoryStore)(),
    redis: client => new (require('connect-redis').RedisStore)({ client })
  }
}

// Time goes by with the requests where it can, ten of them in a millisecond. So all libraries keep the same sessions alive,
// however fast they are. Redis has a clock of its own.
const { now } = Date
let passed = 0
function setClock () {
  const begun = now()
  Date.now = () => begun + Math.floor(passed)
}

async function build (store, maxAge) {
  const app = Fastify()
  const { plugin } = libraries[job.library]
  if (plugin !== undefined) {
    app.register(require('@fastify/cookie'))
    app.register(plugin(), { secret: SECRET, store, saveUninitialized: false, cookie: { secure: false, maxAge } })
  } else {
    app.decorateRequest('session', { getter: () => ({}) })
  }
  app.get('/read', (request, reply) => {
    reply.send(request.session.user?.name ?? 'nobody')
  })
  app.get('/write', (request, reply) => {
    const { session } = request
    if (session.user === undefined) login(session)
    session.visits++
    reply.send('ok')
  })
  app.get('/login', (request, reply) => {
    login(request.session)
    reply.send('ok')
  })
  app.get('/logout', (request, reply) => {
    request.session.destroy(error => reply.send(error ?? 'ok'))
  })
  await app.ready()
  return app.routing
}

function login (session) {
  session.user = { id: Math.floor(random() * 1e9), name: 'Ada Lovelace', roles: ['reader', 'writer'] }
  session.visits = 0
}

// The same in every run (Park and Miller's generator).
let seed = 1
function random () {
  seed = seed * 48_271 % 2_147_483_647
  return seed / 2_147_483_647
}

/** Sends a request, and keeps the cookie that comes back as a browser does. */
function sendAs (listener, visitors, i, url, answer) {
  listener(new Request(url, visitors[i]), new Response(response => {
    const header = response.headers['set-cookie']
    if (header !== undefined) {
      const pair = header.slice(0, header.indexOf(';'))
      visitors[i] = pair.endsWith('=') ? undefined : pair
    }
    answer(response)
  }))
}

/** What a visitor does next. */
function act (listener, visitors, answer) {
  passed += 0.1
  const i = Math.floor(random() * visitors.length)
  const dice = random()
  // One in fourteen never comes back: somebody else takes the place.
  if (dice < 0.07) visitors[i] = undefined
  if (visitors[i] === undefined) {
    sendAs(listener, visitors, i, '/login', answer)
  } else if (dice < 0.15) {
    sendAs(listener, visitors, i, '/logout', response => {
      visitors[i] = undefined
      answer(response)
    })
  } else {
    sendAs(listener, visitors, i, dice < 0.4 ? '/write' : '/read', answer)
  }
}

async function soakRequests () {
  const client = job.store === 'redis' ? await connect() : undefined
  const store = libraries[job.library][job.store](client)
  if (client === undefined) setClock()
  const listener = await build(store, LIFETIME)
  const visitors = new Array(VISITORS).fill(undefined)
  const samples = []
  let cpu = 0
  for (let i = 0; i < job.samples; i++) {
    const begun = process.cpuUsage()
    await drive(job.count / job.samples, (_, answer) => act(listener, visitors, answer))
    const { user, system } = process.cpuUsage(begun)
    cpu += user + system
    samples.push({ heap: heap(), sessions: client === undefined ? store.store.size : await client.dbSize() })
  }
  const left = client === undefined ? undefined : await leftIn(client)
  await client?.close()
  return { samples, cpu: cpu / job.count, left }
}

/** What Redis still has when every session has reached its end. */
async function leftIn (client) {
  await wait(LIFETIME)
  for (let i = 0; i < 100; i++) {
    if (await client.dbSize() === 0) return 0
    await wait(100)
  }
  return await client.dbSize()
}

async function soakExpiry () {
  const store = libraries[job.library].memory()
  setClock()
  const listener = await build(store, HOUR)
  // The first of them come back; the others are never seen again.
  const visitors = new Array(VISITORS).fill(undefined)
  await drive(job.count, (i, answer) => sendAs(listener, i < VISITORS ? visitors : {}, i, '/login', answer))
  const full = heap()
  const alive = await delayDuring(() => drive(job.count / 4, (i, answer) => {
    sendAs(listener, visitors, i % VISITORS, i % 4 === 0 ? '/write' : '/read', answer)
  }))
  passed += 2 * HOUR
  const expiring = await delayDuring(() => drive(job.count / 2, (_, answer) => act(listener, visitors, answer)))
  return { heap: full, alive, expiring, left: expiredIn(store) }
}

/** How long the event loop stood still, in milliseconds. */
async function delayDuring (task) {
  global.gc()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  // The first look counts what came before.
  await wait(50)
  delay.reset()
  await task()
  delay.disable()
  return { p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 }
}

function expiredIn ({ store = new Map() }) {
  let count = 0
  for (const { cookie } of store.values()) if (cookie.expires.getTime() <= Date.now()) count++
  return count
}

function heap () {
  global.gc()
  global.gc()
  return process.memoryUsage().heapUsed
}

async function connect () {
  const client = require('redis').createClient({ socket: { host: '127.0.0.1', port: Number(job.port) } })
  client.on('error', error => { throw error })
  await client.connect()
  return client
}

async function main () {
  const result = job.soak === 'requests' ? await soakRequests() : await soakExpiry()
  process.send(result, () => process.disconnect())
}

main()
