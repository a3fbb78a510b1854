'use strict'

// A small application with a login and a few things to keep. The demo runs it twice: on version 11.1.3 and on this version.

const { randomBytes } = require('node:crypto')
const { setTimeout: sleep } = require('node:timers/promises')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const { counted, countWork } = require('./work')

/** @param fastifySession the library: all that differs between the two */
function shop (fastifySession, prefix) {
  const app = fastify()
  countWork(app)
  app.register(fastifyCookie)
  app.register(fastifySession, {
    secret: randomBytes(32).toString('hex'),
    cookieName: 'shop',
    store: counted(new fastifySession.MemoryStore(new Newest(1000))),
    cookie: { path: prefix, secure: 'auto', maxAge: 10 * 60 * 1000 }
  })
  app.register(async app => {
    // Runs after the library's own hook, so that its work is counted.
    app.addHook('onSend', async (request, reply) => {
      reply.headers({ 'cache-control': 'no-store', 'store-calls': request.work.calls.length, 'store-bytes': request.work.bytes })
    })

    app.post('/login', async request => {
      await request.session.regenerate()
      request.session.user = 'Ada'
      return {}
    })

    app.post('/slow', async request => {
      await sleep(800)
      request.session.lastPage = '/slow'
      return {}
    })

    app.post('/add/:thing', { schema: { params: { type: 'object', properties: { thing: { enum: THINGS } } } } }, async request => {
      // As if it called another service.
      await sleep(300)
      request.session[request.params.thing] = true
      return {}
    })

    app.post('/logout', async request => {
      await request.session.destroy()
      return {}
    })

    app.get('/', async ({ session }) => ({ user: session.user ?? null, things: THINGS.filter(thing => session[thing]) }))
  }, { prefix })
  return app
}

const THINGS = ['apple', 'bread', 'cheese', 'dates', 'eggs', 'figs', 'grapes', 'honey', 'jam', 'kale']

/** Keeps the newest entries only, so that robots can't fill the memory. */
class Newest extends Map {
  #max

  constructor (max) {
    super()
    this.#max = max
  }

  set (key, value) {
    super.set(key, value)
    if (this.size > this.#max) this.delete(this.keys().next().value)
    return this
  }
}

module.exports = { shop, THINGS }
