'use strict'

// 'Remember me': with the box ticked the cookie lives for 30 days, without it until the browser is closed.
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
  // Ninety days after the login everybody logs in again, however often they come.
  absoluteTimeout: 90 * DAY,
  // A session that a handler doesn't decide on ends after a day without a visit.
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: DAY }
})

app.post('/login', async (request, reply) => {
  const { name, remember } = request.body ?? {}
  if (!name) return reply.code(400).send('Please give a name.\n')

  await request.session.regenerate()
  request.session.name = name
  // In milliseconds, from the last request on. It is kept with this session, so no other route has to know.
  // Both ways: regenerate() takes a lifetime along, and whoever doesn't tick the box may have ticked it last time.
  // Without the box the cookie ends with the browser. The server never hears of that, and many browsers restore such
  // cookies with their tabs; so the day of above stays the time after which the session ends if nobody comes.
  request.session.cookie.maxAge = remember === 'on' ? 30 * DAY : undefined
  return `Welcome, ${name}.\n`
})

app.get('/', async (request) => {
  const { name, cookie } = request.session
  if (name === undefined) return 'Hello, stranger.\n'
  const days = Math.round(cookie.originalMaxAge / DAY)
  return `Hello, ${name}. You are remembered ${days > 0 ? `for ${days} days` : 'until you close the browser'}.\n`
})

// A new id when a visitor gains rights or changes the password: remembered as before.
app.post('/password', async (request) => {
  await request.session.regenerate(['name'])
  return 'Changed.\n'
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
