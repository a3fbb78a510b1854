'use strict'

/** One of the processes that keep WebSockets open: `REDIS_URL=… node sockets.js`. It prints its address. */
const fastifyCookie = require('@fastify/cookie')
const fastifyWebsocket = require('@fastify/websocket')
const Fastify = require('fastify')
const { createClient } = require('redis')
const fastifySession = require('../../dist')
const { RedisStore } = require('../../dist/stores/redis')

const app = Fastify({ pluginTimeout: 0 })
const counts = { opened: 0, closed: 0 }

async function connected () {
  return await createClient({ url: process.env.REDIS_URL }).on('error', () => {}).connect()
}

async function main () {
  const [client, subscriber] = [await connected(), await connected()]
  app.register(fastifyCookie)
  app.register(fastifySession, {
    secret: 'a secret with minimum length of 32 characters',
    saveUninitialized: false,
    cookie: { secure: false },
    store: new RedisStore({ client, subscriber }),
    watchInterval: 1000
  })
  app.register(fastifyWebsocket)
  app.register(async scope => {
    scope.get('/login', async request => { request.session.user = 'max' })
    scope.get('/logout', async request => { await request.session.destroy() })
    scope.get('/counts', async () => counts)
    scope.get('/socket', {
      websocket: true,
      async preValidation (request, reply) {
        if (request.session.user === undefined) return reply.code(401).send('Please log in.')
      }
    }, (socket, request) => {
      const { signal } = request.session
      const hangUp = () => socket.close(1008, signal.reason.code)
      counts.opened++
      socket.on('close', () => { counts.closed++ })
      if (signal.aborted) hangUp()
      else signal.addEventListener('abort', hangUp)
    })
  })
  console.log(await app.listen({ port: 0 }))
}

main()
