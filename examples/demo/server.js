'use strict'

// The library at work: log in, see this session, fill a cart from two tabs at once, end your other devices, log out.
// `npm start` runs it. From the environment:
//
//   HOST, PORT                      where it listens: 127.0.0.1, 3000
//   SESSION_SECRET                  32 characters or more; without it a random one
//   REDIS_URL                       keeps the sessions in Redis: redis://127.0.0.1:6379
//   DATABASE_URL                    keeps the sessions in PostgreSQL: postgres://postgres@127.0.0.1:5432/postgres
//   HTTPS_KEY, HTTPS_CERT           files in PEM form, to serve https
//   COOKIE_NAME                     sessionId; __Host-sessionId over https
//   IDLE_SECONDS, ABSOLUTE_SECONDS  how long a session lives unused, and at most: 600, 28800
//
// With curl, which needs the form's token as well:
//
//   demo () { curl -s -c jar -b jar -H 'accept: application/json' "$@"; echo; }
//   token () { demo http://127.0.0.1:3000/ | sed -E 's/.*"csrf":"([^"]+)".*/\1/'; }
//   demo -d name=Ada -d "_csrf=$(token)" http://127.0.0.1:3000/login
//   demo -d good=apple -d "_csrf=$(token)" http://127.0.0.1:3000/cart

const { randomBytes } = require('node:crypto')
const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const { setTimeout: sleep } = require('node:timers/promises')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyCsrfProtection = require('@fastify/csrf-protection')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')
const { migrate, PostgresStore } = require('@fastify/session/postgres')
const { RedisStore } = require('@fastify/session/redis')
const { Client, Pool } = require('pg')
const { createClient } = require('redis')
const { contentSecurityPolicy, page, problemPage } = require('./page')

const { HOST, PORT, SESSION_SECRET, REDIS_URL, DATABASE_URL, HTTPS_KEY, HTTPS_CERT, COOKIE_NAME, IDLE_SECONDS, ABSOLUTE_SECONDS } = process.env
const cookieName = COOKIE_NAME || 'sessionId'
const idleTimeout = Number(IDLE_SECONDS || 10 * 60) * 1000
const absoluteTimeout = Number(ABSOLUTE_SECONDS || 8 * 60 * 60) * 1000

const NAME_LENGTH = 40
const CART_SIZE = 200
const GOODS = new Map([['apple', 'Apple'], ['bread', 'Bread'], ['cheese', 'Cheese']])

// What the page says after the redirect that follows a form.
const OUTCOMES = new Map([
  ['logged-in', 'You are logged in.'],
  ['added', 'It is in the cart.'],
  ['emptied', 'The cart is empty.'],
  ['ended', 'That session has ended, and its page says so.'],
  ['others-ended', 'All your other sessions have ended.'],
  ['logged-out', 'You are logged out.']
])

// What the page says when its session has ended elsewhere.
const ENDS = {
  logout: 'You have logged out in another tab.',
  revoked: 'This session was ended on another device.',
  limit: 'This session has ended, because there are ten newer ones.',
  replaced: 'You have logged in again in another tab.',
  expired: 'Your session has run out.'
}

const script = readFileSync(join(__dirname, 'countdown.js'), 'utf8')

function build (store, disconnect) {
  const app = fastify({
    logger: { level: 'warn' },
    https: HTTPS_KEY || HTTPS_CERT ? { key: readFileSync(HTTPS_KEY), cert: readFileSync(HTTPS_CERT) } : null
  })

  app.register(fastifyFormbody)
  app.register(fastifyCookie)
  app.register(fastifySession, {
    // A random secret ends all sessions with the process. In production it comes from the environment.
    secret: SESSION_SECRET || randomBytes(32).toString('hex'),
    cookieName,
    // Whoever looks at the page has a session, for the token in its forms. The bound keeps robots from filling the memory.
    store,
    // When Redis or PostgreSQL doesn't answer, visitors are told so soon.
    storeTimeout: 2000,
    // What is no page starts no session.
    saveUninitialized: false,
    absoluteTimeout,
    cookie: {
      // Over https only where there is https, so that the demo runs on a laptop. Behind a proxy, set `trustProxy` too.
      secure: 'auto',
      sameSite: 'lax',
      maxAge: idleTimeout
    },
    // Whose sessions are listed together, and what the list says of each.
    user: session => session.user?.name,
    describe: session => ({ device: session.device }),
    // The eleventh login ends the oldest session.
    maxPerUser: 10
  })
  app.register(fastifyCsrfProtection, { sessionPlugin: '@fastify/session', getToken: request => request.body?._csrf })

  app.addHook('onRequest', async (request, reply) => {
    reply.headers({
      'cache-control': 'no-store',
      'content-security-policy': contentSecurityPolicy,
      'referrer-policy': 'same-origin',
      'x-content-type-options': 'nosniff'
    })
  })

  // Every form, so that none is forgotten. After the body was read, because the token is in it.
  app.addHook('preHandler', (request, reply, done) => {
    if (request.method === 'POST') app.csrfProtection(request, reply, done)
    else done()
  })

  app.get('/', (request, reply) => show(request, reply, { outcome: OUTCOMES.get(request.query.done) }))

  // The same for everybody: no session, no store call, no cookie.
  app.get('/demo.js', { config: { session: false } }, (request, reply) => {
    reply.type('text/javascript; charset=utf-8').send(script)
  })

  // Open as long as the page is, which is no use of the session. One message, when it has ended: wherever that was.
  const streams = new Set()
  app.get('/events', { config: { session: { rolling: false } } }, (request, reply) => {
    const { raw } = reply.hijack()
    const { user, signal } = request.session
    const end = () => raw.end(`data: ${ENDS[signal.reason?.code ?? 'expired']}\n\n`)
    streams.add(raw)
    raw.on('close', () => streams.delete(raw))
    raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }).write(':\n\n')
    if (user === undefined || signal.aborted) end()
    else signal.addEventListener('abort', end)
  })
  // They would keep the server from closing.
  app.addHook('preClose', async () => { for (const stream of streams) stream.end() })

  app.post('/login', async (request, reply) => {
    const name = typeof request.body.name === 'string' ? request.body.name.trim() : ''
    if (name === '' || name.length > NAME_LENGTH) {
      return show(request, reply.code(400), { problem: `Please give a name of 1 to ${NAME_LENGTH} characters.`, invalid: 'name' })
    }
    // A new id for a visitor who gains rights: whoever knew the old one must not be logged in with them (session
    // fixation). The cart comes along, everything else is left behind: the token, too.
    await request.session.regenerate(['cart'])
    request.session.user = { name }
    request.session.device = deviceOf(request.headers['user-agent'])
    // Now, and not when the reply goes out, so that the list in the reply has it.
    await request.session.save()
    return done(request, reply, 'logged-in')
  })

  app.post('/cart', async (request, reply) => {
    const { good, slow } = request.body
    if (!GOODS.has(good)) return show(request, reply.code(400), { problem: 'There is no such thing in this shop.' })
    // Long enough to add something in another tab meanwhile.
    if (slow !== undefined) await sleep(2000)
    // Onto what the store has now, and once more if another tab was faster: so two tabs that add at the same time both do.
    // Fails where the session has ended meanwhile, and then nobody is told that it is in the cart.
    const isAdded = await request.session.update(session => {
      const cart = cartOf(session)
      if (Object.values(cart).reduce((sum, count) => sum + count) >= CART_SIZE) return false
      session.cart = { ...cart, [good]: cart[good] + 1 }
      return true
    })
    if (!isAdded) return show(request, reply.code(400), { problem: 'The cart is full.' })
    return done(request, reply, 'added')
  })

  app.post('/cart/empty', async (request, reply) => {
    await request.session.take('cart')
    return done(request, reply, 'emptied')
  })

  app.post('/end', { preHandler: loggedIn }, async (request, reply) => {
    // Of the same user only, whatever handle is sent.
    if (!await request.session.revoke(request.body.handle)) {
      return show(request, reply.code(404), { problem: 'There is no such session of yours: it has ended already.' })
    }
    return done(request, reply, request.session === null ? 'logged-out' : 'ended')
  })

  app.post('/end-others', { preHandler: loggedIn }, async (request, reply) => {
    await request.session.revokeOthers()
    return done(request, reply, 'others-ended')
  })

  app.post('/logout', async (request, reply) => {
    await request.session.destroy()
    return done(request, reply, 'logged-out')
  })

  app.setErrorHandler((error, request, reply) => {
    if (error.code === 'FST_CSRF_MISSING_SECRET' || error.code === 'FST_CSRF_INVALID_TOKEN') {
      if (hasEnded(request)) return show(request, reply.code(401))
      const problem = error.code === 'FST_CSRF_INVALID_TOKEN'
        ? 'That form was too old, or not from this page. Please try again.'
        : 'You are logged out: your session ran out, or your browser sent no cookie. Please try again.'
      return show(request, reply.code(403), { problem })
    }
    const status = error.statusCode >= 400 ? error.statusCode : 500
    if (status >= 500) request.log.error(error)
    const problem = error.code === 'FST_ERR_SESSION_GONE'
      ? 'Your session has ended while this was under way: nothing was saved.'
      : status < 500 ? error.message : 'Something went wrong here. Please try again in a while.'
    return showProblem(request, reply.code(status), problem)
  })

  app.setNotFoundHandler((request, reply) => showProblem(request, reply.code(404), 'There is nothing here.'))

  // The requests under way need the store, so its connections go after them.
  app.addHook('onClose', disconnect)
  return app
}

async function loggedIn (request, reply) {
  if (request.session.user === undefined) return show(request, reply.code(401), { problem: 'Please log in first.' })
}

/** Whether the visitor came with a session that is no more: it ran out, or was ended elsewhere. */
function hasEnded ({ cookies, session }) {
  return cookies[cookieName] !== undefined && session !== null && !session.isSaved() && !session.isModified()
}

// Browsers are sent back to the page, so that reloading it doesn't send the form again.
function done (request, reply, outcome) {
  return wantsJson(request) ? show(request, reply, { outcome: OUTCOMES.get(outcome) }) : reply.redirect(`/?done=${outcome}`, 303)
}

/** The page, or JSON. */
async function show (request, reply, said = {}) {
  if (hasEnded(request)) said = { problem: 'You are logged out: your session ran out, or was ended on another device.' }
  const view = { ...await viewOf(request.session, reply), ...said }
  if (wantsJson(request)) return reply.send(view)
  return reply.type('text/html; charset=utf-8').send(page(view, { goods: GOODS, nameLength: NAME_LENGTH }))
}

/** Where there may be no session to show. */
function showProblem (request, reply, problem) {
  return wantsJson(request) ? reply.send({ problem }) : reply.type('text/html; charset=utf-8').send(problemPage(problem))
}

/** What a visitor is shown. After destroy() the session is null. */
async function viewOf (session, reply) {
  const cart = cartOf(session ?? {})
  if (session === null) return { user: null, csrf: null, cart, session: null, cookie: null, devices: [] }
  const csrf = reply.generateCsrf()
  const devices = await session.list()
  const current = devices.find(({ current }) => current)
  const { httpOnly, secure, sameSite, path, expires } = session.cookie
  const now = Date.now()
  return {
    user: session.user?.name ?? null,
    csrf,
    cart,
    session: current === undefined
      ? null
      : {
          // The session's name where others may see it. The id belongs in the cookie, where no script can read it.
          handle: current.handle,
          device: current.device,
          age: seconds(now - current.createdAt),
          // This request has started the idle time anew.
          idleLeft: seconds(idleTimeout),
          absoluteLeft: seconds(current.createdAt.getTime() + absoluteTimeout - now)
        },
    cookie: { name: cookieName, httpOnly, secure, sameSite, path, expires },
    devices: devices.map(({ createdAt, lastSeenAt, ...device }) => ({
      ...device, createdAt, lastSeenAt, age: seconds(now - createdAt), unseen: device.current ? 0 : seconds(now - lastSeenAt)
    }))
  }
}

function seconds (milliseconds) {
  return Math.max(0, Math.floor(milliseconds / 1000))
}

/** How many there are of each. */
function cartOf (session) {
  return Object.fromEntries([...GOODS.keys()].map(good => [good, session.cart?.[good] ?? 0]))
}

/** 'Firefox, Linux'. In words of ours only: anybody can call their browser anything. */
function deviceOf (userAgent = '') {
  const named = names => names.find(([, pattern]) => pattern.test(userAgent))?.[0]
  const browser = named([
    ['Edge', /Edg/], ['Opera', /OPR\//], ['Firefox', /Firefox|FxiOS/], ['Chrome', /Chrome|CriOS/], ['Safari', /Safari/], ['curl', /^curl/]
  ])
  const system = named([
    ['Android', /Android/], ['iPhone', /iPhone/], ['iPad', /iPad/], ['Windows', /Windows/], ['macOS', /Mac OS X/],
    ['ChromeOS', /CrOS/], ['Linux', /Linux/]
  ])
  return [browser ?? 'Unknown browser', system].filter(Boolean).join(', ')
}

function wantsJson (request) {
  return request.headers.accept?.includes('application/json') === true
}

/** The store that the environment names, what connects it, and what ends its connections. */
function openStore (log) {
  if (REDIS_URL) return openRedis(log)
  if (DATABASE_URL) return openPostgres(log)
  const store = new fastifySession.MemoryStore(undefined, { max: 10_000 })
  return { store, async connect () {}, async disconnect () {} }
}

function openRedis (log) {
  // At the start a Redis that isn't there is a mistake. Later it is a pity, and the client comes back by itself.
  let isConnected = false
  const reconnectStrategy = retries => isConnected && Math.min(retries * 100, 1000)
  const client = createClient({ url: REDIS_URL, socket: { reconnectStrategy } })
  // It hears which sessions other processes end.
  const subscriber = client.duplicate()
  for (const each of [client, subscriber]) each.on('error', error => log(error, 'Redis'))
  return {
    store: new RedisStore({ client, subscriber }),
    async connect () {
      await client.connect()
      await subscriber.connect()
      isConnected = true
    },
    async disconnect () {
      if (subscriber.isOpen) subscriber.destroy()
      await (client.isReady ? client.close() : client.destroy())
    }
  }
}

function openPostgres (log) {
  const pool = new Pool({ connectionString: DATABASE_URL, connectionTimeoutMillis: 2000 })
  pool.on('error', error => log(error, 'PostgreSQL'))
  return {
    // The second connection hears which sessions other processes end.
    store: new PostgresStore({ pool, listen: () => new Client({ connectionString: DATABASE_URL }) }),
    connect: () => migrate(pool),
    disconnect: () => pool.end()
  }
}

async function start () {
  let app
  const { store, connect, disconnect } = openStore((error, message) => app.log.error(error, message))
  try {
    app = build(store, disconnect)
    await connect()
    const address = await app.listen({ host: HOST || '127.0.0.1', port: Number(PORT || 3000) })
    // Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())
    if (!SESSION_SECRET) console.log('SESSION_SECRET is not set: the secret is random, and no session outlives this process.')
    console.log(`The demo is at ${address} (Ctrl-C ends it)`)
  } catch (error) {
    console.error(error.message || error.code)
    process.exitCode = 1
    await disconnect().catch(() => {})
  }
}

start()
