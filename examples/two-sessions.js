'use strict'

// Two sessions side by side: the visitor's, and a short one for administrators. A logout from one doesn't end the other,
// and a stolen cookie of the first is useless for the second.
//
//   node examples/two-sessions.js
//   curl -c jar -b jar -d name=ada http://127.0.0.1:3000/login
//   curl -c jar -b jar -d password='for this example only' http://127.0.0.1:3000/admin/login
//   curl -c jar -b jar http://127.0.0.1:3000/admin
//   curl -c jar -b jar -X POST http://127.0.0.1:3000/admin/logout
//   curl -c jar -b jar http://127.0.0.1:3000/

const { createHash, timingSafeEqual } = require('node:crypto')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')

const MINUTE = 60 * 1000

const app = fastify()

app.register(fastifyFormbody)
app.register(fastifyCookie)

// The visitor's session: request.session, for a month after the last visit.
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  saveUninitialized: false,
  // The cookie is sent again at most once a minute, not with each response.
  refreshAfter: MINUTE,
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: 30 * 24 * 60 * MINUTE }
})

const named = { type: 'object', required: ['name'], properties: { name: { type: 'string', minLength: 1 } } }

app.post('/login', { schema: { body: named } }, async (request) => {
  await request.session.regenerate()
  request.session.name = request.body.name
  return `Welcome, ${request.session.name}.\n`
})

app.get('/', async (request) => `Hello, ${request.session.name ?? 'stranger'}.\n`)

app.register(async (admin) => {
  // The administrator's session: request.adminSession. It has its own name, cookie, secret and lifetime: a quarter of an hour
  // after the last request, and never longer than a working day. Only the routes in this scope have it.
  admin.register(fastifySession, {
    sessionName: 'adminSession',
    cookieName: 'adminId',
    secret: process.env.ADMIN_SECRET || 'for this example only: another 32 characters',
    saveUninitialized: false,
    absoluteTimeout: 8 * 60 * MINUTE,
    cookie: { secure: 'auto', sameSite: 'strict', path: '/admin', maxAge: 15 * MINUTE }
  })

  admin.post('/login', async (request, reply) => {
    if (!isPassword(request.body?.password)) return reply.code(401).send('The password is wrong.\n')
    await request.adminSession.regenerate()
    request.adminSession.since = new Date().toISOString()
    return 'You may administer now.\n'
  })

  admin.post('/logout', async (request) => {
    await request.adminSession.destroy()
    return 'You no longer administer.\n'
  })

  // A page that polls must not keep the session alive.
  admin.get('/poll', { config: { adminSession: { rolling: false } } }, async (request) => {
    return { isAdmin: request.adminSession.since !== undefined }
  })

  admin.get('/', async (request, reply) => {
    if (request.adminSession.since === undefined) return reply.code(401).send('Administrators only.\n')
    return `${request.session.name ?? 'Somebody'} administers.\n`
  })
}, { prefix: '/admin' })

// In your application, administrators have accounts; see login.js.
function isPassword (password) {
  const digest = (text) => createHash('sha256').update(String(text)).digest()
  return timingSafeEqual(digest(password), digest(process.env.ADMIN_PASSWORD || 'for this example only'))
}

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
