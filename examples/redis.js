'use strict'

// Sessions in Redis: one server, a Cluster, or a server that Sentinels watch. The store is the same.
//
//   REDIS_URL=redis://127.0.0.1:6379 node examples/redis.js
//   REDIS_CLUSTER=redis://10.0.0.1:6379,redis://10.0.0.2:6379 node examples/redis.js
//   REDIS_SENTINEL=10.0.0.1:26379,10.0.0.2:26379 REDIS_SENTINEL_NAME=main node examples/redis.js
//   curl -c jar -b jar http://127.0.0.1:3000      (restart the server in between: the counter continues)

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')
const { RedisStore } = require('@fastify/session/redis')
const { createClient, createCluster, createSentinel } = require('redis')

const { REDIS_URL, REDIS_CLUSTER, REDIS_SENTINEL, REDIS_SENTINEL_NAME } = process.env

function makeClient () {
  // Some of the nodes are enough: they know the others.
  if (REDIS_CLUSTER) return createCluster({ rootNodes: REDIS_CLUSTER.split(',').map(url => ({ url })) })
  if (REDIS_SENTINEL) {
    const sentinelRootNodes = REDIS_SENTINEL.split(',').map(address => {
      const [host, port] = address.split(':')
      return { host, port: Number(port) }
    })
    return createSentinel({ name: REDIS_SENTINEL_NAME || 'main', sentinelRootNodes })
  }
  return createClient({ url: REDIS_URL || 'redis://127.0.0.1:6379' })
}

async function start () {
  const client = makeClient()
  // Without a listener, a lost connection ends the process. With one, the client reconnects.
  client.on('error', error => console.error('redis:', error.message))
  await client.connect()

  const app = fastify()
  app.register(fastifyCookie)
  app.register(fastifySession, {
    secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
    store: new RedisStore({ client, prefix: 'session:' }),
    // If Redis doesn't answer within two seconds, the visitor gets a 503 and doesn't wait any longer.
    storeTimeout: 2000,
    saveUninitialized: false,
    cookie: { secure: 'auto', sameSite: 'lax', maxAge: 24 * 60 * 60 * 1000 }
  })

  app.get('/', async (request) => {
    request.session.visits = (request.session.visits ?? 0) + 1
    return `This is your visit number ${request.session.visits}.\n`
  })

  app.post('/forget', async (request) => {
    await request.session.destroy()
    return 'Forgotten.\n'
  })

  // Running requests need Redis, so it is closed after them.
  app.addHook('onClose', () => client.close())

  // Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

  console.log(await app.listen({ port: Number(process.env.PORT || 3000) }))
}

start()
