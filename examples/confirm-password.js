'use strict'

// Asks for the password again before the mail address is changed.
//
//   node examples/confirm-password.js
//   curl -c jar -b jar -d name=ada -d password=lovelace http://127.0.0.1:3000/login
//   curl -c jar -b jar -d mail=ada@example.com http://127.0.0.1:3000/mail
//
// Ten minutes after the login that leads to /confirm:
//
//   curl -c jar -b jar -d password=lovelace http://127.0.0.1:3000/confirm

const { randomBytes, scrypt, scryptSync, timingSafeEqual } = require('node:crypto')
const { promisify } = require('node:util')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')

// How long a password counts after it was entered.
const TEN_MINUTES = 10 * 60 * 1000

const app = fastify()

app.register(fastifyFormbody)
app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  saveUninitialized: false,
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: 8 * 60 * 60 * 1000 },
  // This tells the library that the visitor has logged in, and when.
  user: session => session.userId
})

const body = (...required) => ({
  type: 'object',
  required,
  properties: { name: { type: 'string' }, password: { type: 'string' }, mail: { type: 'string' } }
})

app.post('/login', { schema: { body: body('name', 'password') } }, async (request, reply) => {
  const { name, password } = request.body
  if (!await isPassword(name, password)) return reply.code(401).send('Name or password is wrong.\n')
  await request.session.regenerate()
  request.session.userId = name
  return `Welcome, ${name}.\n`
})

app.post('/mail', { schema: { body: body('mail') }, config: { session: { fresh: TEN_MINUTES } } }, async (request) => {
  users.get(request.session.userId).mail = request.body.mail
  return `Mail goes to ${request.body.mail} from now on.\n`
})

// Sends a visitor who isn't logged in to the login, and everyone else to confirm the password.
app.setErrorHandler((error, request, reply) => {
  if (error.code !== 'FST_ERR_SESSION_NOT_FRESH') throw error
  return reply.redirect(request.session.userId === undefined ? '/login' : '/confirm', 303)
})

app.post('/confirm', { schema: { body: body('password') } }, async (request, reply) => {
  const { userId } = request.session
  // The password of the logged-in user, whatever the form says.
  if (userId === undefined || !await isPassword(userId, request.body.password)) {
    return reply.code(401).send('The password is wrong.\n')
  }
  await request.session.regenerate(['userId'], { authenticated: true })
  return 'Thank you.\n'
})

app.get('/confirm', async () => 'Please POST your password here.\n')
app.get('/login', async () => 'Please POST name and password here.\n')

app.get('/account', async (request, reply) => {
  const { userId } = request.session
  if (userId === undefined) return reply.code(401).send('Please log in.\n')
  return `${userId}, ${users.get(userId).mail}\n`
})

// In your application, users are in a database. No password is stored, only the hash that scrypt makes of it.
const users = new Map([['ada', { mail: 'ada@example.org', ...hashed('lovelace') }]])
const nobody = hashed(randomBytes(16).toString('hex'))

function hashed (password) {
  const salt = randomBytes(16)
  return { salt, hash: scryptSync(password, salt, 32) }
}

async function isPassword (name, password) {
  // An unknown name takes as long as a wrong password, so that nobody can tell which names exist.
  const { salt, hash } = users.get(name) ?? nobody
  return timingSafeEqual(await promisify(scrypt)(password, salt, 32), hash)
}

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
