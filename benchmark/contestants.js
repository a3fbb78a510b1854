'use strict'

// Who takes part. A contestant is a line of the table: a name, how its server is built, and which stores it has.

const { join } = require('node:path')
const { floor } = require('./floor')
const { Request, Response } = require('./bare')
const { fresh } = require('./scenarios')

const SECRET = 'a secret with minimum length of 32 characters'
const NAME = 'sessionId'
const ONE_DAY = 86_400_000
// What a browser takes.
const COOKIE_BYTES = 4_096

const ours = () => require('../dist')
const upstream = () => require('upstream-session')
const expressSession = () => require('express-session')
const RedisStore = client => new (require('../dist/stores/redis').RedisStore)({ client })
const connectRedis = client => new (require('connect-redis').RedisStore)({ client })

const contestants = [
  { name: 'fastify', build: fastify(bare), isBare: true, memory: none, redis: none },
  { name: 'fastify, one setCookie', build: fastify(oneCookie), isBare: true, memory: none, redis: none },
  { name: 'floor', build: fastify(floor), memory: none, redis: client => client },
  { name: 'this library', build: fastify(plugin(ours)), memory: () => new (ours().MemoryStore)(), redis: RedisStore },
  { name: 'this library, connect-redis', build: fastify(plugin(ours)), redis: connectRedis },
  { name: '@fastify/session 11.1.3', build: fastify(plugin(upstream)), memory: () => new (upstream().Store)(), redis: connectRedis },
  { name: '@fastify/secure-session', build: fastify(secureSession), isStateless: true, memory: none },
  { name: 'iron-session', build: fastify(ironSession), isStateless: true, memory: none },
  { name: 'express', build: express(bare), isBare: true, memory: none, redis: none },
  { name: 'express-session', build: express(middleware), memory: () => new (expressSession().MemoryStore)(), redis: connectRedis }
]

// An earlier commit, built: BEFORE=../before/dist npm run benchmark -- --quick
if (process.env.BEFORE !== undefined) {
  const before = () => require(join(process.cwd(), process.env.BEFORE))
  const RedisStoreBefore = client => new (require(join(process.cwd(), process.env.BEFORE, 'stores/redis')).RedisStore)({ client })
  contestants.push({
    name: 'this library, before', build: fastify(plugin(before)), memory: () => new (before().MemoryStore)(), redis: RedisStoreBefore
  })
}

/** Whether a contestant can do it at all: a session in a cookie can't be large, and nobody can forget it. */
function takesPart (contestant, { store, scenario, size }) {
  if (contestant[store] === undefined) return false
  return contestant.isStateless !== true || (scenario.cookie !== 'unknown' && size * 4 / 3 < COOKIE_BYTES)
}

function none () {}

// Each of these adds the routes of a contestant to an app: /nothing, /read, /change and /create. What it returns empties a store that this file doesn't know.

function bare (app) {
  for (const url of ['/nothing', '/read', '/change', '/create']) app.get(url, (_request, reply) => { reply.send('ok') })
}

function oneCookie (app) {
  app.register(require('@fastify/cookie'))
  for (const url of ['/nothing', '/read', '/change', '/create']) {
    app.get(url, (_request, reply) => {
      const expires = new Date(Date.now() + ONE_DAY)
      reply.setCookie(NAME, 'x'.repeat(76), { path: '/', httpOnly: true, sameSite: 'lax', expires })
      reply.send('ok')
    })
  }
}

function plugin (library) {
  return (app, { rolling, data }, store) => {
    app.register(require('@fastify/cookie'))
    app.register(library(), {
      secret: SECRET,
      cookieName: NAME,
      store,
      rolling,
      saveUninitialized: false,
      cookie: { secure: false, sameSite: 'lax', maxAge: ONE_DAY }
    })
    sessionRoutes(app, data)
  }
}

function middleware (app, { rolling, data }, store) {
  app.use(expressSession()({
    secret: SECRET,
    name: NAME,
    store,
    rolling,
    saveUninitialized: false,
    resave: false,
    cookie: { secure: false, sameSite: 'lax', maxAge: ONE_DAY }
  }))
  sessionRoutes(app, data)
}

// Fastify and express read the same here.
function sessionRoutes (app, data) {
  app.get('/nothing', (_request, reply) => { reply.send('ok') })
  app.get('/read', (request, reply) => { reply.send(request.session.user?.name ?? 'nobody') })
  app.get('/change', (request, reply) => { reply.send(String(++request.session.visits)) })
  app.get('/create', (request, reply) => {
    Object.assign(request.session, fresh(data))
    reply.send('ok')
  })
}

// The two that keep all data in the cookie. Rolling is: written anew.

function secureSession (app, { rolling, data }) {
  app.register(require('@fastify/secure-session'), {
    key: Buffer.alloc(32, 'k'),
    cookieName: NAME,
    expiry: ONE_DAY / 1000,
    cookie: { path: '/', httpOnly: true, sameSite: 'lax', maxAge: ONE_DAY / 1000 }
  })
  app.get('/nothing', (request, reply) => {
    if (rolling && request.headers.cookie !== undefined) request.session.touch()
    reply.send('ok')
  })
  app.get('/read', (request, reply) => {
    const user = request.session.get('user')
    if (rolling && user !== undefined) request.session.touch()
    reply.send(user?.name ?? 'nobody')
  })
  app.get('/change', (request, reply) => {
    const visits = request.session.get('visits') + 1
    request.session.set('visits', visits)
    reply.send(String(visits))
  })
  app.get('/create', (request, reply) => {
    const created = fresh(data)
    for (const key in created) request.session.set(key, created[key])
    reply.send('ok')
  })
}

function ironSession (app, { rolling, data }) {
  const { getIronSession } = require('iron-session')
  const options = { password: SECRET, cookieName: NAME, ttl: ONE_DAY / 1000, cookieOptions: { secure: false } }
  const load = (request, reply) => getIronSession(request.raw, reply.raw, options)
  app.get('/nothing', async (request, reply) => {
    if (rolling && request.headers.cookie !== undefined) await (await load(request, reply)).save()
    return 'ok'
  })
  app.get('/read', async (request, reply) => {
    const session = await load(request, reply)
    if (session.user === undefined) return 'nobody'
    if (rolling) await session.save()
    return session.user.name
  })
  app.get('/change', async (request, reply) => {
    const session = await load(request, reply)
    session.visits++
    await session.save()
    return String(session.visits)
  })
  app.get('/create', async (request, reply) => {
    const session = await load(request, reply)
    Object.assign(session, fresh(data))
    await session.save()
    return 'ok'
  })
}

// What is built: the listener that Node's server calls for a request.

function fastify (addRoutes) {
  return async (job, store) => {
    const app = require('fastify')()
    const clear = addRoutes(app, job, store)
    await app.ready()
    return { listener: app.routing, clear }
  }
}

function express (addRoutes) {
  return async (job, store) => {
    const express = require('express')
    // Its requests and responses inherit from Node's; without a network, from ours.
    if (job.way === 'hooks') {
      Object.setPrototypeOf(express.request, Request.prototype)
      Object.setPrototypeOf(express.response, Response.prototype)
    }
    const app = express()
    addRoutes(app, job, store)
    return { listener: app }
  }
}

module.exports = { contestants, takesPart, COOKIE_NAME: NAME }
