'use strict'

// One session for an Express application and a Fastify application that share a store.

const express = require('express')
const expressSession = require('express-session')

/** The options for the Fastify application: `app.register(fastifySession, sessionOptions(...))`. */
function sessionOptions ({ secret, store, rolling = false, cookie }) {
  return {
    secret,
    store,
    cookieName: 'connect.sid',
    // express-session writes this before the signed id.
    cookiePrefix: 's:',
    saveUninitialized: false,
    rolling,
    cookie
  }
}

/** The existing Express application. */
function expressApp ({ secret, store, rolling = false, cookie }) {
  const app = express()
  app.use(expressSession({ secret, store, name: 'connect.sid', resave: false, saveUninitialized: false, rolling, cookie }))

  app.post('/login', (request, response, next) => {
    request.session.regenerate(error => {
      if (error) return next(error)
      request.session.user = { name: 'ada' }
      response.send('welcome')
    })
  })

  app.get('/data', (request, response) => {
    const { cookie, ...data } = request.session
    response.json(data)
  })

  app.post('/cart/:item', (request, response) => {
    request.session.cart ??= { items: [] }
    request.session.cart.items.push(request.params.item)
    response.json(request.session.cart)
  })

  app.post('/logout', (request, response, next) => {
    request.session.destroy(error => error ? next(error) : response.send('bye'))
  })

  return app
}

module.exports = { expressApp, sessionOptions }
