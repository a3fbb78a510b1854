'use strict'
/**
 * A server whose handlers never await and never catch, on stores that fail, never answer or lose sessions. It must
 * survive, and say how many requests it answered. Node.js ends it if an error isn't handled, as it does in production.
 */
const { Readable } = require('node:stream')
const Fastify = require('fastify')
const fastifySession = require('@fastify/session')

const secret = 'a secret with minimum length of 32 characters'
const OPERATIONS = ['save', 'regenerate', 'reload', 'destroy']

/** Answers later with what it has, with an error, not at all, or as if it had no session. */
function storeThat (how, methods) {
  const records = new Map()
  const later = (callback, value) => setImmediate(() => {
    if (how.now === 'fails') callback(new Error('The store is away'))
    else if (how.now !== 'is silent') callback(null, value())
  })
  const all = {
    get: (id, callback) => later(callback, () => how.now === 'forgets' ? null : JSON.parse(records.get(id) ?? 'null')),
    set: (id, session, callback) => { const text = JSON.stringify(session); later(callback, () => { records.set(id, text) }) },
    destroy: (id, callback) => later(callback, () => { records.delete(id) }),
    touch: (id, _session, callback) => later(callback, () => how.now !== 'forgets' && records.has(id)),
    update: (id, { set, unset }, _session, callback) => later(callback, () => {
      if (how.now === 'forgets' || !records.has(id)) return false
      const record = { ...JSON.parse(records.get(id)), ...set }
      for (const key of unset) delete record[key]
      records.set(id, JSON.stringify(record))
      return true
    })
  }
  return Object.fromEntries(methods.map(method => [method, all[method]]))
}

const HANDLERS = {}
for (const first of OPERATIONS) {
  HANDLERS[`${first}()`] = request => { request.session.n = 1; request.session[first]() }
  HANDLERS[`${first}(null)`] = request => { request.session.n = 1; request.session[first](null) }
  for (const second of OPERATIONS) {
    HANDLERS[`${first}(), ${second}()`] = request => {
      const { session } = request
      session[first]()
      session.n = 1
      session[second]()
    }
  }
}
HANDLERS['regenerate("text")'] = request => { request.session.regenerate('text') }
HANDLERS['all after the reply'] = (request, reply) => {
  const { session } = request
  reply.raw.once('close', () => { for (const operation of OPERATIONS) session[operation]() })
}

const STREAMS = {
  'a stream that fails': () => new Readable({ read () { this.destroy(new Error('the file is gone')) } }),
  'a stream that fails later': () => {
    const stream = new Readable({ read () {} })
    setImmediate(() => stream.destroy(new Error('the file is gone')))
    return stream
  }
}

let serial = 0
const GENERATORS = {
  sync: () => `id${serial++}`,
  async: async () => `id${serial++}`,
  rejects: () => Promise.reject(new Error('no ids today')),
  throws: () => { throw new Error('no ids today') }
}

async function run () {
  let answered = 0
  for (const methods of [['get', 'set', 'destroy'], ['get', 'set', 'destroy', 'touch'], ['get', 'set', 'destroy', 'touch', 'update']]) {
    for (const idGenerator of Object.values(GENERATORS)) {
      const how = { now: 'works' }
      const app = Fastify()
      await app.register(require('@fastify/cookie'))
      await app.register(fastifySession, {
        secret, store: storeThat(how, methods), storeTimeout: 20, idGenerator, saveUninitialized: false, cookie: { secure: false, maxAge: 60_000 }
      })
      app.get('/in', async request => { request.session.n = 0 })
      app.get('/:name', async (request, reply) => {
        HANDLERS[request.params.name](request, reply)
        return 'done'
      })
      app.get('/stream/:name', async (request, reply) => {
        request.session.n = 2
        request.session.save()
        return reply.send(STREAMS[request.params.name]())
      })
      const urls = [...Object.keys(HANDLERS), ...Object.keys(STREAMS).map(name => `stream/${name}`)]
      for (const store of ['works', 'fails', 'is silent', 'forgets']) {
        how.now = 'works'
        const cookies = await Promise.all(urls.map(async () => (await app.inject('/in')).headers['set-cookie']?.split(';', 1)[0]))
        how.now = store
        const responses = await Promise.all(urls.map(async (name, i) => {
          const url = `/${name.split('/').map(encodeURIComponent).join('/')}`
          return await app.inject({ url, headers: cookies[i] && { cookie: cookies[i] } })
        }))
        answered += responses.length
      }
      await app.close()
    }
  }
  console.log(`answered ${answered}`)
}

run()
