'use strict'

// A small server with sessions on the embedded store: log in, count, log out, and see what the session is meanwhile.
// `npm start` runs it. From the environment: HOST, PORT, SESSION_SECRET.
//
// With curl:  curl -c jar -b jar -H 'accept: application/json' -d name=Ada http://127.0.0.1:3000/login

const { randomBytes } = require('node:crypto')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')
const { contentSecurityPolicy, page } = require('./page')

const NAME_LENGTH = 40

const app = fastify({ logger: { level: 'warn' } })

app.register(fastifyFormbody)
app.register(fastifyCookie)
app.register(fastifySession, {
  // A random secret ends all sessions with the process. In production it comes from the environment.
  secret: process.env.SESSION_SECRET || randomBytes(32).toString('hex'),
  // Who has only looked gets no cookie.
  saveUninitialized: false,
  cookie: {
    // Over https only where there is https, so that the demo runs on a laptop. Behind a proxy, set `trustProxy` too.
    secure: 'auto',
    // Other sites' forms come without the cookie, so they can't log anybody in or out (CSRF).
    sameSite: 'lax',
    maxAge: 30 * 60 * 1000
  }
})

app.get('/', (request, reply) => show(request, reply))

app.post('/login', async (request, reply) => {
  const name = typeof request.body?.name === 'string' ? request.body.name.trim() : ''
  if (name === '' || name.length > NAME_LENGTH) {
    reply.code(400)
    return show(request, reply, `Please give a name of 1 to ${NAME_LENGTH} characters.`)
  }
  // A new id for a visitor who gains rights: whoever knew the old one must not be logged in with them (session
  // fixation). The counter comes along, everything else is left behind.
  await request.session.regenerate(['count'])
  request.session.user = { name }
  request.session.since = new Date().toISOString()
  return done(request, reply)
})

app.post('/count', (request, reply) => {
  request.session.count = (request.session.count ?? 0) + 1
  request.session.since ??= new Date().toISOString()
  return done(request, reply)
})

app.post('/logout', async (request, reply) => {
  await request.session.destroy()
  return done(request, reply)
})

// Browsers are sent back to the page, so that reloading it doesn't send the form again.
function done (request, reply) {
  return wantsJson(request) ? show(request, reply) : reply.redirect('/', 303)
}

function show (request, reply, problem) {
  const view = { ...viewOf(request.session), problem }
  reply.header('cache-control', 'no-store')
  if (wantsJson(request)) return reply.send(view)
  return reply
    .type('text/html; charset=utf-8')
    .header('content-security-policy', contentSecurityPolicy)
    .send(page(view, NAME_LENGTH))
}

/** What a visitor is shown. After destroy() the session is null. */
function viewOf (session) {
  if (session?.since === undefined) return { user: null, count: 0, session: null, cookie: null }
  const { httpOnly, secure, sameSite, path, expires } = session.cookie
  return {
    user: session.user?.name ?? null,
    count: session.count ?? 0,
    session: {
      // Enough to see that it changes at login. The whole id belongs in the cookie, where no script can read it.
      id: `${session.sessionId.slice(0, 6)}…`,
      ageInSeconds: Math.floor((Date.now() - Date.parse(session.since)) / 1000),
      data: session.data()
    },
    cookie: { name: 'sessionId', httpOnly, secure, sameSite, path, expires }
  }
}

function wantsJson (request) {
  return request.headers.accept?.includes('application/json') === true
}

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

async function start () {
  try {
    const address = await app.listen({ host: process.env.HOST || '127.0.0.1', port: Number(process.env.PORT || 3000) })
    if (!process.env.SESSION_SECRET) {
      console.log('SESSION_SECRET is not set: the secret is random, and all sessions end with this process.')
    }
    console.log(`The demo is at ${address} (Ctrl-C ends it)`)
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}

start()
