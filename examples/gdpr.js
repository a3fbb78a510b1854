'use strict'

// Sends no cookie before there is something to remember, and none for statistics before the visitor agrees. Visitors can
// see and delete what is remembered. (Ask a lawyer what the law requires of you.)
//
//   node examples/gdpr.js
//   curl -c jar -b jar -i http://127.0.0.1:3000/                          (no Set-Cookie, however often)
//   curl -c jar -b jar -i -d good=bread http://127.0.0.1:3000/cart        (a cookie: the visitor wants the cart kept)
//   curl -c jar -b jar -i -d statistics=yes http://127.0.0.1:3000/consent
//   curl -c jar -b jar http://127.0.0.1:3000/my-data
//   curl -c jar -b jar -X POST http://127.0.0.1:3000/forget

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')

const app = fastify()

app.register(fastifyFormbody)
app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  // The recipe: an empty session is not saved, and its cookie is not sent.
  saveUninitialized: false,
  // No session is kept for longer than 30 days.
  absoluteTimeout: 30 * 24 * 60 * 60 * 1000,
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: 7 * 24 * 60 * 60 * 1000 }
})

app.get('/', async (request) => {
  const { session } = request
  // Reading starts no session. Writing does, so write only if the visitor has agreed.
  if (session.consent !== undefined) session.pages = (session.pages ?? 0) + 1
  return session.consent === undefined ? 'May we count your visits?\n' : `Page ${session.pages} of your visits.\n`
})

// What the visitor asks for needs no consent.
app.post('/cart', async (request) => {
  request.session.cart = [...request.session.cart ?? [], request.body?.good ?? 'something']
  return `In your cart: ${request.session.cart.join(', ')}\n`
})

app.post('/consent', async (request) => {
  const { session } = request
  if (request.body?.statistics === 'yes') {
    session.consent = { statistics: true, since: new Date().toISOString() }
    return 'Thank you.\n'
  }
  // A no doesn't have to be remembered, and it revokes an earlier yes.
  delete session.consent
  delete session.pages
  return 'We do not count.\n'
})

app.get('/my-data', async (request) => request.session.data())

// Deletes the session in the store, and its cookie in the browser. With the option `user`, you can end the sessions on
// all devices: `await app.sessions.revokeUser(userId)`.
app.post('/forget', async (request) => {
  await request.session.destroy()
  return 'Forgotten.\n'
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
