'use strict'

// Sessions in Redis with connect-redis, a store that was written for express-session. They outlive this process,
// and several processes can share them.
//
//   REDIS_URL=redis://127.0.0.1:6379 node examples/connect-redis.js
//   curl -c jar -b jar http://127.0.0.1:3000      (restart the server in between: the counter continues)

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')
const { RedisStore } = require('connect-redis')
const { createClient } = require('redis')

async function start () {
  const client = createClient({ url: process.env.REDIS_URL || 'redis://127.0.0.1:6379' })
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
