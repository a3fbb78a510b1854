'use strict'

// One contestant in one scenario, in a process of its own. Does what run.js asks for.

const events = require('node:events')
const http = require('node:http')
const https = require('node:https')
const inject = require(require.resolve('light-my-request', { paths: [require.resolve('fastify')] }))
const { contestants, COOKIE_NAME } = require('./contestants')
const { Request, Response, drive } = require('./bare')
const { scenarios, sessionData } = require('./scenarios')

// Requests after which V8 has compiled what it will compile.
const WARM = 10_000
// Of all live sessions, as many come back.
const MOST_COOKIES = 1_000
// Sessions that a round creates are dropped after it, so that they can't fill the memory.
const CREATED_BYTES = 2 ** 26

const job = JSON.parse(process.argv[2])
const contestant = contestants.find(({ name }) => name === job.contestant)
const scenario = scenarios.find(({ id }) => id === job.scenario)
const data = sessionData(job.size)
const url = `/${scenario.does}`
const most = scenario.does === 'create' ? Math.ceil(CREATED_BYTES / job.size) : Infinity

let client
let listener
let server
let cookies
let clear

const actions = {
  /** Runs until the code is compiled, as far as `longest` allows. Answers how many requests then use that much CPU. */
  async warm ({ ms, longest }) {
    let used = 0
    let count = 64
    for (let sum = 0, requests = 0; sum < longest && (requests < WARM || used < ms / 2); sum += used, requests += count) {
      count = Math.min(2 * count, most)
      used = (await actions.run({ count })).cpu / 1000
    }
    return { count: Math.max(1, Math.min(most, Math.round(count * ms / used))) }
  },

  /** Answers the CPU that the requests took, in microseconds. */
  async run ({ count }) {
    const begun = process.cpuUsage()
    await drive(count, (i, answer) => send(url, cookies[i % cookies.length], answer))
    const { user, system } = process.cpuUsage(begun)
    if (scenario.does === 'create') await clear()
    return { cpu: user + system }
  },

  /** What a request is to Redis: commands, bytes sent to it and received from it, its CPU in microseconds; and a session's bytes. */
  async traffic () {
    const count = 500
    const before = await redisUsage()
    await drive(count, (i, answer) => send(url, cookies[i % cookies.length], answer))
    const after = await redisUsage()
    let commands = 0
    let end
    const ended = new Promise(resolve => { end = resolve })
    const monitor = await client.duplicate().connect()
    await monitor.monitor(line => {
      if (line.includes('"PING"')) end()
      // What a script does is no command that was sent.
      else if (!line.includes(' lua]')) commands++
    })
    await drive(count, (i, answer) => send(url, cookies[i % cookies.length], answer))
    await client.ping()
    await ended
    await monitor.close()
    const key = await client.randomKey()
    return {
      commands: commands / count,
      sent: Math.round((after.sent - before.sent) / count),
      received: Math.round((after.received - before.received) / count),
      server: (after.cpu - before.cpu) / count,
      stored: key === null ? 0 : await client.memoryUsage(key)
    }
  },

  /** Answers where it is served over HTTP, and with which cookies. */
  target: () => ({ protocol: job.tls ? 'https' : 'http', port: server.address().port, url, cookies: cookies.slice(0, MOST_COOKIES) }),

  cpu () {
    const { user, system } = process.cpuUsage()
    return { cpu: user + system }
  },

  async clear () {
    if (scenario.does === 'create') await clear()
  }
}

async function main () {
  if (job.store === 'redis') {
    client = require('redis').createClient({ socket: { host: '127.0.0.1', port: Number(job.port) }, database: job.database })
    await client.connect()
  }
  const store = contestant[job.store](client)
  const built = await contestant.build({ ...scenario, way: job.way, data }, store)
  listener = built.listener
  if (job.way === 'http') {
    server = (job.tls ? https.createServer(job.tls, listener) : http.createServer(listener)).listen({ port: 0, host: '127.0.0.1', backlog: 2048 })
    await events.once(server, 'listening')
  }
  clear = client === undefined ? built.clear ?? (() => empty(store)) : () => client.flushDb()
  if (job.cookies === undefined) await clear()
  // Another process has made them in the same Redis.
  cookies = job.cookies ?? await cookiesFor(scenario.cookie)
  if (contestant.isBare !== true) await check()
}

/** The Cookie headers that come with the requests. */
async function cookiesFor (kind) {
  if (kind === 'none') return [undefined]
  if (contestant.isBare === true) return [`${COOKIE_NAME}=${'x'.repeat(76)}`]
  const all = []
  const every = Math.max(1, Math.floor(job.sessions / MOST_COOKIES))
  await drive(job.sessions, (i, answer) => send('/create', undefined, response => {
    if (i % every === 0) all.push(cookieOf(response))
    answer(response)
  }))
  if (kind === 'unknown') await clear()
  return kind === 'forged' ? all.map(forge) : all
}

/** What is measured must be what was asked for. */
async function check () {
  const [cookie] = cookies
  const response = await request(url, cookie)
  const isKnown = scenario.cookie === 'known'
  if (scenario.does === 'read') expect(response.body, isKnown ? data.user.name : 'nobody')
  if (scenario.does === 'change') {
    expect(response.body, '2')
    expect((await request(url, cookieOf(response))).body, '3')
  }
  if (scenario.does === 'create') expect((await request('/read', cookieOf(response))).body, data.user.name)
  if (isKnown && scenario.rolling) expect((await request('/read', cookieOf(response))).body, data.user.name)
  if (scenario.id === 'no-cookie') expect(response.headers['set-cookie'], undefined)
}

function expect (found, wanted) {
  if (found !== wanted) throw new Error(`${job.contestant}, ${scenario.title}: ${found} instead of ${wanted}`)
}

function request (url, cookie) {
  return new Promise(resolve => send(url, cookie, resolve))
}

/** One request, in the way that is measured; answered with `statusCode`, `headers` and `body`. */
function send (url, cookie, answer) {
  senders[job.way](url, cookie, answer)
}

const senders = {
  hooks (url, cookie, answer) {
    listener(new Request(url, cookie), new Response(answer))
  },

  inject (url, cookie, answer) {
    inject(listener, { url, headers: cookie === undefined ? {} : { cookie } }, (error, response) => {
      if (error) throw error
      answer(response)
    })
  },

  // For what comes before the measurement; then the requests come from another process.
  http (path, cookie, answer) {
    const { get } = job.tls ? https : http
    get({ port: server.address().port, path, rejectUnauthorized: false, headers: cookie === undefined ? {} : { cookie } }, response => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', chunk => { body += chunk })
      response.on('end', () => answer({ statusCode: response.statusCode, headers: response.headers, body }))
    })
  }
}

function cookieOf ({ headers }) {
  const [header] = [headers['set-cookie']].flat()
  return header.slice(0, header.indexOf(';'))
}

/** The same cookie with one letter changed. */
function forge (cookie) {
  const value = decodeURIComponent(cookie.slice(COOKIE_NAME.length + 1))
  const i = Math.floor(value.length * 3 / 4)
  return `${COOKIE_NAME}=${encodeURIComponent(value.slice(0, i) + (value[i] === 'a' ? 'b' : 'a') + value.slice(i + 1))}`
}

function empty (store) {
  if (typeof store?.clear === 'function') store.clear()
  else store?.store.clear()
}

async function redisUsage () {
  const info = await client.info('everything')
  const figure = name => Number(new RegExp(`^${name}:(.*)`, 'm').exec(info)[1])
  return {
    sent: figure('total_net_input_bytes'),
    received: figure('total_net_output_bytes'),
    cpu: 1e6 * (figure('used_cpu_user') + figure('used_cpu_sys'))
  }
}

// Where nobody listens any more there is nothing left to do.
const answer = message => process.send(message, error => { if (error) process.exit() })
process.on('message', async ({ action, ...what }) => answer(await actions[action](what) ?? {}))
process.on('disconnect', () => process.exit())
main().then(() => answer({ isReady: true }))
