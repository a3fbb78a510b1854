'use strict'

// An application that is easy to test: a function builds it, and nothing listens on a port. app.test.js tests it.

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')

/** @param options what a test or a server sets differently: the store, for instance */
function build (options = {}) {
  const app = fastify()

  app.register(fastifyFormbody)
  app.register(fastifyCookie)
  app.register(fastifySession, {
    secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
    saveUninitialized: false,
    // inject() speaks plain http: with `true`, tests would get no cookie.
    cookie: { secure: 'auto', sameSite: 'lax' },
    ...options
  })

  app.post('/login', async (request, reply) => {
    const { name, password } = request.body ?? {}
    if (name !== 'ada' || password !== 'lovelace') return reply.code(401).send('Name or password is wrong.')
    await request.session.regenerate(['cart'])
    request.session.user = { name }
    return `Welcome, ${name}.`
  })

  app.post('/cart', async (request) => {
    request.session.cart = [...request.session.cart ?? [], request.body.good]
    return request.session.cart
  })

  app.post('/orders', async (request, reply) => {
    const { user, cart } = request.session
    if (user === undefined) return reply.code(401).send('Please log in.')
    delete request.session.cart
    return { for: user.name, goods: cart ?? [] }
  })

  app.post('/logout', async (request) => {
    await request.session.destroy()
    return 'Goodbye.'
  })

  return app
}

module.exports = build
