'use strict'

// Records what the server does for a request: the operations from the library's diagnostics channel, and the store calls.

const { AsyncLocalStorage } = require('node:async_hooks')
const { randomUUID } = require('node:crypto')
const { tracingChannel } = require('node:diagnostics_channel')

const current = new AsyncLocalStorage()

/** Counts the work for each request of an application, in `request.work`. Call it before the library is registered. */
function countWork (app) {
  app.decorateRequest('work', null)
  app.addHook('onRequest', (request, _reply, done) => {
    request.work = { operations: [], calls: [], bytes: 0 }
    current.run(request.work, done)
  })
  // Again after the body is read, because that happens in the socket's context.
  app.addHook('preValidation', (request, _reply, done) => current.run(request.work, done))
}

// The message comes in the request's context, which tells whose work it is.
for (const name of ['load', 'commit', 'destroy']) {
  tracingChannel(`@fastify/session:${name}`).start.subscribe(message => {
    // When the store has answered, the library adds the duration to the same message.
    current.getStore()?.operations.push({ name, message })
  })
}

// The index of the argument that is written.
const WRITTEN = { set: 1, update: 1, updateIf: 3 }
const kinds = new Set()

/** Counts the calls to all stores of this class, and the bytes that they write, as JSON. Returns the store. */
function counted (store) {
  // Patches the class, as tracers do. To the library, a wrapped object would be another kind of store.
  const kind = Object.getPrototypeOf(store)
  if (kinds.has(kind)) return store
  kinds.add(kind)
  for (const [name, { value: method }] of Object.entries(Object.getOwnPropertyDescriptors(kind))) {
    if (typeof method !== 'function' || name === 'constructor') continue
    kind[name] = new Proxy(method, {
      apply (method, store, args) {
        const work = current.getStore()
        work?.calls.push(name)
        if (work && name in WRITTEN) work.bytes += Buffer.byteLength(JSON.stringify(args[WRITTEN[name]]))
        return Reflect.apply(method, store, args)
      }
    })
  }
  return store
}

// The page after a form shows what the server did for that form. The last 100 clicks are enough.
const clicks = new Map()

function keepWork (work) {
  const id = randomUUID()
  clicks.set(id, work)
  if (clicks.size > 100) clicks.delete(clicks.keys().next().value)
  return id
}

function workOf (id) {
  return clicks.get(id)
}

module.exports = { counted, countWork, keepWork, workOf }
