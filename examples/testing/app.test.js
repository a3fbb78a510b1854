'use strict'

// How to test an application with sessions: without a server, with cookies carried along or, for most tests, with a session
// that is there from the start.
//
//   node --test examples/testing/app.test.js

const assert = require('node:assert/strict')
const { test } = require('node:test')
const build = require('./app')

/** An application of the test's own. Its MemoryStore is empty and goes with it, so tests don't see each other. */
function start (t, options) {
  const app = build(options)
  t.after(() => app.close())
  return app
}

/** Sends what a form would, as who has the cookies, which it keeps up to date as a browser does. */
async function post (app, url, fields, cookies = {}) {
  const response = await app.inject({
    method: 'POST',
    url,
    cookies,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: new URLSearchParams(fields).toString()
  })
  for (const { name, value, maxAge } of response.cookies) {
    if (maxAge === 0) delete cookies[name]
    else cookies[name] = value
  }
  return response
}

// 1. The whole way, once: what goes wrong between one request and the next is found here.
test('a visitor fills a cart, logs in and orders', async (t) => {
  const app = start(t)
  const cookies = {}

  await post(app, '/cart', { good: 'bread' }, cookies)
  const { sessionId } = cookies
  assert.equal((await post(app, '/orders', {}, cookies)).statusCode, 401)
  await post(app, '/login', { name: 'ada', password: 'lovelace' }, cookies)
  assert.notEqual(cookies.sessionId, sessionId, 'a login changes the session id')

  const order = await post(app, '/orders', {}, cookies)
  assert.deepEqual(order.json(), { for: 'ada', goods: ['bread'] })
  await post(app, '/logout', {}, cookies)
  assert.deepEqual(cookies, {}, 'the cookie is gone')
})

// 2. Logged in from the start: createSession() makes the session, and the header that carries it. No password, no form.
test('who is logged in can order', async (t) => {
  const app = start(t)
  await app.ready()
  const { cookie } = await app.createSession({ user: { name: 'ada' }, cart: ['milk'] })

  const response = await app.inject({ method: 'POST', url: '/orders', headers: { cookie } })
  assert.deepEqual(response.json(), { for: 'ada', goods: ['milk'] })

  // 3. What is in the session now: loadSession() takes the same header. Null is no session.
  const session = await app.loadSession(cookie)
  assert.deepEqual(session.data(), { user: { name: 'ada' } }, 'the cart is empty')
})

test('a logout ends the session, copies of the cookie too', async (t) => {
  const app = start(t)
  await app.ready()
  const { cookie } = await app.createSession({ user: { name: 'ada' } })

  await app.inject({ method: 'POST', url: '/logout', headers: { cookie } })
  assert.equal(await app.loadSession(cookie), null)
  assert.equal((await app.inject({ method: 'POST', url: '/orders', headers: { cookie } })).statusCode, 401)
})

test('a wrong password starts no session', async (t) => {
  const app = start(t)
  const response = await post(app, '/login', { name: 'ada', password: 'babbage' })
  assert.equal(response.statusCode, 401)
  assert.equal(response.headers['set-cookie'], undefined)
})

// 4. A store that fails, to see what your visitors would.
test('while the store is away nobody can order', async (t) => {
  const away = (...all) => all.at(-1)(new Error('the store is away'))
  const app = start(t, { store: { get: away, set: away, touch: away, destroy: away } })
  // A cookie that is good, made by an application whose store works: they share the secret.
  const other = start(t)
  await other.ready()
  const { cookie } = await other.createSession({ user: { name: 'ada' } })

  const response = await app.inject({ method: 'POST', url: '/orders', headers: { cookie } })
  assert.equal(response.statusCode, 500)
})
