'use strict'

// SIGTERM while requests are running: they are answered and their sessions saved. Then the connection to Redis is closed,
// and the process ends with 0. (Every example ends like this; this one lets you watch.)
//
//   REDIS_URL=redis://127.0.0.1:6379 node examples/graceful-shutdown.js
//   (sleep 10; echo 'The end.') | curl -c jar -b jar -T - http://127.0.0.1:3000/story &      (a request that takes its time)
//   kill <the process id that it printed>

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')
const { RedisStore } = require('@fastify/session/redis')
const { createClient } = require('redis')

// A little less than your service manager allows: Kubernetes kills what still runs after 30 seconds, systemd after 90.
const DEADLINE = Number(process.env.SHUTDOWN_DEADLINE || 25_000)

async function start () {
  const client = createClient({ url: process.env.REDIS_URL || 'redis://127.0.0.1:6379' })
  client.on('error', error => console.error('redis:', error.message))
  await client.connect()

  const app = fastify()
  app.register(fastifyCookie)
  app.register(fastifySession, {
    secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
    store: new RedisStore({ client }),
    saveUninitialized: false,
    cookie: { secure: 'auto', sameSite: 'lax', maxAge: 60 * 60 * 1000 }
  })

  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))

  app.put('/story', async (request) => {
    request.session.story = (request.session.story ?? '') + request.body
    return request.session.story
  })

  app.get('/story', async (request) => request.session.story ?? '')

  // 1. Runs first. A health check that fails from now on tells the load balancer to send no more requests.
  app.addHook('preClose', async () => console.log('closing: no new connections'))

  // 2. Runs after the last reply, whose session was saved before it went out. The hook that is registered last runs first, so
  //    register what others need at the top.
  app.addHook('onClose', async () => {
    await client.close()
    console.log('the connection to Redis is closed')
  })
  app.addHook('onClose', async () => console.log('the last request is answered'))

  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => {
      // 3. A request that never finishes must not keep the process alive for ever.
      setTimeout(() => process.exit(1), DEADLINE).unref()
      app.close()
    })
  }

  console.log(`${await app.listen({ port: Number(process.env.PORT || 3000) })} (process ${process.pid})`)
}

start()
