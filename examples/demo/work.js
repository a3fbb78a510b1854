'use strict'

// What a request has the server do: what the library says on its diagnostics channel, and what the store is asked.

const { AsyncLocalStorage } = require('node:async_hooks')
const { randomUUID } = require('node:crypto')
const { tracingChannel } = require('node:diagnostics_channel')

const current = new AsyncLocalStorage()

/** Counts for each request of an application, in `request.work`. Called before the library is registered. */
function countWork (app) {
  app.decorateRequest('work', null)
  app.addHook('onRequest', (request, _reply, done) => {
    request.work = { operations: [], calls: [], bytes: 0 }
    current.run(request.work, done)
  })
  // Again when the body was read, which happens in the socket's context.
  app.addHook('preValidation', (request, _reply, done) => current.run(request.work, done))
}

// In the request's context, so it is known whose work this is.
for (const name of ['load', 'commit', 'destroy']) {
  tracingChannel(`@fastify/session:${name}`).start.subscribe(message => {
    // The library adds the duration to the same message, when the store has answered.
    current.getStore()?.operations.push({ name, message })
  })
}

// Which argument is written.
const WRITTEN = { set: 1, update: 1, updateIf: 3 }
const kinds = new Set()

/** Has the calls of all stores of this kind counted, and the bytes of what they are given to write, as JSON. Returns the store. */
function counted (store) {
  // In the class, as tracers do it: a wrapped object would be another kind of store to the library.
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

// The page after a form shows what the form had the server do. The last ones are enough.
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
