'use strict'

// The library at work: two proofs beside version 11 (proof.js), and a session of your own. You can log in, fill a cart from
// two tabs at once, end your other devices, and log out. `npm start` runs it. Environment variables:
//
//   HOST, PORT                      where it listens: 127.0.0.1, 3000
//   SESSION_SECRET                  32 characters or more; a random one if it is not set
//   REDIS_URL                       keeps the sessions in Redis: redis://127.0.0.1:6379
//   DATABASE_URL                    keeps the sessions in PostgreSQL: postgres://postgres@127.0.0.1:5432/postgres
//   HTTPS_KEY, HTTPS_CERT           files in PEM form, to serve https
//   COOKIE_NAME                     sessionId; __Host-sessionId over https
//   IDLE_SECONDS, ABSOLUTE_SECONDS  how long a session lives unused, and at most: 600, 28800
//
// With curl, you also need the form's token:
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
const { contentSecurityPolicy, page, problemPage } = require('./page')
const { addProof } = require('./proof')
const { chooseStore } = require('./store')
const { counted, countWork, keepWork, workOf } = require('./work')

const { HOST, PORT, SESSION_SECRET, HTTPS_KEY, HTTPS_CERT, COOKIE_NAME, IDLE_SECONDS, ABSOLUTE_SECONDS } = process.env
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

// What the browser loads. It is the same for all visitors.
const FILES = ['demo.css', 'countdown.js', 'proof.js']
const TYPES = { css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8' }

function build () {
  const app = fastify({
    logger: { level: 'warn' },
    https: HTTPS_KEY || HTTPS_CERT ? { key: readFileSync(HTTPS_KEY), cert: readFileSync(HTTPS_CERT) } : null
  })
  const { store, connect, close } = chooseStore(process.env, error => app.log.error(error, 'store'))
  app.addHook('onReady', connect)
  // Running requests need the store, so it is closed after them.
  app.addHook('onClose', close)

  countWork(app)
  app.register(fastifyFormbody)
  app.register(fastifyCookie)
  app.register(fastifySession, {
    // A random secret ends all sessions with the process. In production it comes from the environment.
    secret: SESSION_SECRET || randomBytes(32).toString('hex'),
    cookieName,
    store: counted(store),
    // If the store doesn't answer, visitors get an error soon.
    storeTimeout: 2000,
    // A request for something other than a page starts no session.
    saveUninitialized: false,
    absoluteTimeout,
    cookie: {
      // Secure if the request came over https, so that the demo also runs on a laptop. Behind a proxy, set `trustProxy` too.
      secure: 'auto',
      sameSite: 'lax',
      maxAge: idleTimeout
    },
    // Which sessions belong together in a list, and what the list shows for each.
    user: session => session.user?.name,
    describe: session => ({ device: session.device }),
    // The eleventh login ends the oldest session.
    maxPerUser: 10
  })
  // Over http, browsers don't bind sessions.
  if (app.initialConfig.https) require('./device-bound')(app)
  app.register(fastifyCsrfProtection, { sessionPlugin: '@fastify/session', getToken: request => request.body?._csrf })

  app.addHook('onRequest', async (request, reply) => {
    reply.headers({
      'cache-control': 'no-store',
      'content-security-policy': contentSecurityPolicy,
      'referrer-policy': 'same-origin',
      'x-content-type-options': 'nosniff'
    })
  })

  // Checks every form, so that none is forgotten. The token is in the body, so this runs after the body is read.
  app.addHook('preHandler', (request, reply, done) => {
    if (request.method === 'POST') app.csrfProtection(request, reply, done)
    else done()
  })

  addProof(app)

  app.get('/', (request, reply) => {
    const { done, click } = request.query
    return show(request, reply, { outcome: OUTCOMES.get(done), work: workOf(click) })
  })

  for (const name of FILES) {
    const file = readFileSync(join(__dirname, 'browser', name))
    app.get(`/${name}`, { config: { session: false } }, (request, reply) => reply.type(TYPES[name.split('.')[1]]).send(file))
  }

  // Open as long as the page is. This doesn't count as a use of the session. It sends one message, when the session has ended,
  // wherever that happened.
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
  // Open streams would keep the server from closing.
  app.addHook('preClose', async () => { for (const stream of streams) stream.end() })

  app.post('/login', async (request, reply) => {
    const name = typeof request.body.name === 'string' ? request.body.name.trim() : ''
    if (name === '' || name.length > NAME_LENGTH) {
      return show(request, reply.code(400), { problem: `Please give a name of 1 to ${NAME_LENGTH} characters.`, invalid: 'name' })
    }
    // A new id for a visitor who gains rights. Otherwise an attacker who knows the old one would be logged in, too (session
    // fixation). Only the cart is kept. Everything else is dropped, also the token.
    await request.session.regenerate(['cart'])
    request.session.user = { name }
    request.session.device = deviceOf(request.headers['user-agent'])
    // Saved now, not when the reply goes out, so that the list in the reply has it.
    await request.session.save()
    return done(request, reply, 'logged-in')
  })

  app.post('/cart', async (request, reply) => {
    const { good, slow } = request.body
    if (!GOODS.has(good)) return show(request, reply.code(400), { problem: 'There is no such thing in this shop.' })
    // Long enough to add something in another tab in the meantime.
    if (slow !== undefined) await sleep(2000)
    // Changes the cart that the store has now, and tries again if another tab was faster. So two tabs can add at the same time.
    // Fails if the session has ended in the meantime. Then the page doesn't say that the thing is in the cart.
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
    // Ends only a session of the same user, whatever handle is sent.
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

  return app
}

async function loggedIn (request, reply) {
  if (request.session.user === undefined) return show(request, reply.code(401), { problem: 'Please log in first.' })
}

/** Whether the visitor came with a session that has ended: it expired, or was ended elsewhere. */
function hasEnded ({ cookies, session }) {
  return cookies[cookieName] !== undefined && session !== null && !session.isSaved() && !session.isModified()
}

// Redirects browsers to the page, so that a reload doesn't send the form again.
function done (request, reply, outcome) {
  return wantsJson(request) ? show(request, reply, { outcome: OUTCOMES.get(outcome) }) : reply.redirect(`/?done=${outcome}&click=${keepWork(request.work)}`, 303)
}

/** The page, or JSON. */
async function show (request, reply, said = {}) {
  if (hasEnded(request)) said = { problem: 'You are logged out: your session ran out, or was ended on another device.' }
  const { work, ...view } = { ...await viewOf(request.session, reply), ...said }
  if (wantsJson(request)) return reply.send(view)
  return reply.type('text/html; charset=utf-8').send(page({ ...view, work }, { goods: GOODS, nameLength: NAME_LENGTH }))
}

/** For requests that may have no session to show. */
function showProblem (request, reply, problem) {
  return wantsJson(request) ? reply.send({ problem }) : reply.type('text/html; charset=utf-8').send(problemPage(problem))
}

/** What the visitor sees. After destroy(), the session is null. */
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
          // A name for the session that others may see. The id stays in the cookie, where no script can read it.
          handle: current.handle,
          device: current.device,
          age: seconds(now - current.createdAt),
          // This request has restarted the idle timeout.
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

/** Returns how many of each the cart has. */
function cartOf (session) {
  return Object.fromEntries([...GOODS.keys()].map(good => [good, session.cart?.[good] ?? 0]))
}

/** Returns, for instance, 'Firefox, Linux'. Uses only these words, because a browser can send any text. */
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

async function start () {
  let app
  try {
    app = build()
    const address = await app.listen({ host: HOST || '127.0.0.1', port: Number(PORT || 3000) })
    // Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())
    if (!SESSION_SECRET) console.log('SESSION_SECRET is not set: the secret is random, and no session outlives this process.')
    console.log(`The demo is at ${address} (Ctrl-C ends it)`)
  } catch (error) {
    console.error(error.message || error.code)
    process.exitCode = 1
    await app?.close()
  }
}

start()
