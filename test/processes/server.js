'use strict'

/**
 * One of the processes behind the load balancer, started as `node server.js BACKEND URL...`. Sends its port to the test
 * that started it, and ends with it.
 */
const fastifyCookie = require('@fastify/cookie')
const Fastify = require('fastify')
const { Gate } = require('tsx/cjs/api').require('../../src/testing/gate', __filename)

const MAX_AGE = 10 * 60_000
const [backend, ...urls] = process.argv.slice(2)
// A busy machine may need long to load it all.
const app = Fastify({ logger: { level: 'warn' }, pluginTimeout: 0 })

const BACKENDS = {
  async 'node-redis' () {
    return { fastifySession: require('../../dist'), store: newRedisStore(await nodeRedis()) }
  },
  async 'ioredis Cluster' () {
    const { Cluster } = require('ioredis')
    const client = new Cluster(urls)
    client.on('error', logClientError)
    return { fastifySession: require('../../dist'), store: newRedisStore(client) }
  },
  async 'connect-redis' () {
    return { fastifySession: require('../../dist'), store: await connectRedis() }
  },
  async 'connect-pg-simple' () {
    const fastifySession = require('../../dist')
    const { Pool } = require('pg')
    const PgStore = require('connect-pg-simple')(fastifySession)
    const pool = new Pool({ connectionString: urls[0] })
    return { fastifySession, store: new PgStore({ pool }) }
  },
  async postgres () {
    const { Pool } = require('pg')
    const { PostgresStore } = require('../../dist/stores/postgres')
    const pool = new Pool({ connectionString: urls[0] })
    pool.on('error', logClientError)
    return { fastifySession: require('../../dist'), store: new PostgresStore({ pool }) }
  },
  async 'version 11' () {
    return { fastifySession: require('upstream-session'), store: await connectRedis() }
  }
}

function newRedisStore (client) {
  const { RedisStore } = require('../../dist/stores/redis')
  return new RedisStore({ client })
}

async function connectRedis () {
  const { RedisStore } = require('connect-redis')
  return new RedisStore({ client: await nodeRedis() })
}

async function nodeRedis () {
  const { createClient } = require('redis')
  const client = createClient({ url: urls[0] })
  client.on('error', logClientError)
  return await client.connect()
}

// Without a listener, the first error would end the process.
function logClientError (error) {
  app.log.warn(error, 'client of the store')
}

/** A slow request waits here, after its session is loaded, until the test lets it continue. */
const gates = new Map()

function gate (name) {
  if (!gates.has(name)) gates.set(name, new Gate())
  return gates.get(name)
}

app.get('/gates/:name/held', async ({ params }) => {
  // The request may have failed before it got here.
  await gate(params.name).holds().catch(() => {})
  return { isHeld: true }
})
app.post('/gates/:name/open', async ({ params }) => {
  gate(params.name).open()
  gate(params.name).miss(new Error('the gate is open'))
  return { isOpen: true }
})

// The routes of the gates are registered outside, because they need no session.
app.register(async app => {
  const { fastifySession, store } = await BACKENDS[backend]()
  app.register(fastifyCookie)
  app.register(fastifySession, {
    secret: 'a secret with minimum length of 32 characters',
    cookie: { secure: false, maxAge: MAX_AGE },
    store,
    storeTimeout: Number(process.env.STORE_TIMEOUT)
  })

  app.addHook('preHandler', async ({ query }) => {
    if (query.gate !== undefined) await gate(query.gate).pass()
  })

  app.get('/data', async ({ session }) => {
    const { cookie, ...data } = session
    return data
  })

  app.post('/login', async request => {
    await request.session.regenerate()
    request.session.user = request.body.user
    return {}
  })

  app.post('/write', async ({ session, body, query }) => {
    for (const [key, value] of Object.entries(body)) {
      if (value === null) delete session[key]
      else session[key] = value
    }
    if (query.save !== undefined) await session.save()
    return {}
  })

  app.post('/nest', async ({ session, body }) => {
    session[body.key] ??= {}
    session[body.key][body.name] = body.value
    return session[body.key]
  })

  app.post('/push', async ({ session, body }) => {
    await session.update(session => { session.cart.push(body.item) })
    return {}
  })

  app.post('/take', async ({ session, body }) => ({ value: await session.take(body.key) }))

  app.post('/renew', async ({ session, body }) => {
    await session.regenerate(body.keep)
    return {}
  })

  app.post('/logout', async ({ session }) => {
    await session.destroy()
    return {}
  })
})

process.once('disconnect', () => process.exit())
app.listen({ host: '127.0.0.1', port: 0 }).then(() => process.send({ port: app.server.address().port }))
