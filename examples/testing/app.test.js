'use strict'

// How to test an application with sessions, without a server. A test can keep cookies between requests. Most tests can simply
// begin with a session.
//
//   node --test examples/testing/app.test.js

const assert = require('node:assert/strict')
const { test } = require('node:test')
const build = require('./app')

/** Returns a new application for one test, with an empty MemoryStore of its own, so that tests don't affect each other. */
function start (t, options) {
  const app = build(options)
  t.after(() => app.close())
  return app
}

/** Sends a form with these cookies, and updates the cookies as a browser does. */
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

// 1. One test of the whole flow. It finds what goes wrong between one request and the next.
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

// 2. Begins as a logged-in visitor: createSession() returns a session and its Cookie header. This needs no password and no form.
test('a logged-in visitor can order', async (t) => {
  const app = start(t)
  await app.ready()
  const { cookie } = await app.createSession({ user: { name: 'ada' }, cart: ['milk'] })

  const response = await app.inject({ method: 'POST', url: '/orders', headers: { cookie } })
  assert.deepEqual(response.json(), { for: 'ada', goods: ['milk'] })

  // 3. Checks the session's data: loadSession() takes the same header. It returns null if there is no session.
  const session = await app.loadSession(cookie)
  assert.deepEqual(session.data(), { user: { name: 'ada' } }, 'the cart is empty')
})

test('a logout ends the session, also for copies of the cookie', async (t) => {
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

// 4. A store that fails shows what your visitors would see.
test('while the store is down, nobody can order', async (t) => {
  const away = (...all) => all.at(-1)(new Error('the store is down'))
  const app = start(t, { store: { get: away, set: away, touch: away, destroy: away } })
  // A valid cookie, from an application with the same secret whose store works.
  const other = start(t)
  await other.ready()
  const { cookie } = await other.createSession({ user: { name: 'ada' } })

  const response = await app.inject({ method: 'POST', url: '/orders', headers: { cookie } })
  assert.equal(response.statusCode, 500)
})
