'use strict'

// 'Remember me': if the box is ticked, the cookie lives for 30 days. Otherwise it lives until the browser is closed.
//
//   node examples/remember-me.js
//   curl -c jar -b jar -i -d name=ada http://127.0.0.1:3000/login                  (no Expires)
//   curl -c jar -b jar -i -d name=ada -d remember=on http://127.0.0.1:3000/login   (Expires in 30 days)
//   curl -c jar -b jar http://127.0.0.1:3000/

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')

const DAY = 24 * 60 * 60 * 1000

const app = fastify()

app.register(fastifyFormbody)
app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  saveUninitialized: false,
  // Ninety days after the login, visitors must log in again, however often they come.
  absoluteTimeout: 90 * DAY,
  // If a handler doesn't choose a lifetime, the session ends after a day without a visit.
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: DAY }
})

app.post('/login', async (request, reply) => {
  const { name, remember } = request.body ?? {}
  if (!name) return reply.code(400).send('Please give a name.\n')

  await request.session.regenerate()
  request.session.name = name
  // In milliseconds, from the last request on. The session keeps it, so no other route has to know.
  // Set it in both cases: regenerate() keeps a lifetime, and a visitor who doesn't tick the box may have ticked it before.
  // Without the tick, the cookie ends with the browser. The server never learns of that, and many browsers restore such
  // cookies with their tabs. So the session still ends after a day without a visit, as configured above.
  request.session.cookie.maxAge = remember === 'on' ? 30 * DAY : undefined
  return `Welcome, ${name}.\n`
})

app.get('/', async (request) => {
  const { name, cookie } = request.session
  if (name === undefined) return 'Hello, stranger.\n'
  const days = Math.round(cookie.originalMaxAge / DAY)
  return `Hello, ${name}. You are remembered ${days > 0 ? `for ${days} days` : 'until you close the browser'}.\n`
})

// A new id when a visitor gains rights or changes the password. The lifetime stays the same.
app.post('/password', async (request) => {
  await request.session.regenerate(['name'])
  return 'Changed.\n'
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
