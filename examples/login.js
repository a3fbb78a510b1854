'use strict'

// Login, logout, and a route for those who are logged in.
//
//   node examples/login.js
//   curl -c jar -b jar -d name=ada -d password=lovelace http://127.0.0.1:3000/login
//   curl -c jar -b jar http://127.0.0.1:3000/account
//   curl -c jar -b jar -X POST http://127.0.0.1:3000/logout

const { randomBytes, scrypt, scryptSync, timingSafeEqual } = require('node:crypto')
const { promisify } = require('node:util')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')

const app = fastify()

app.register(fastifyFormbody)
app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  // No cookie before somebody has logged in: nothing has to be remembered.
  saveUninitialized: false,
  cookie: {
    secure: 'auto',
    // Other sites' forms come without the cookie (CSRF). @fastify/csrf-protection is the full answer.
    sameSite: 'lax',
    // Eight hours after the last request the visitor is logged out.
    maxAge: 8 * 60 * 60 * 1000
  }
})

const credentials = {
  type: 'object',
  required: ['name', 'password'],
  properties: { name: { type: 'string' }, password: { type: 'string' } }
}

app.post('/login', { schema: { body: credentials } }, async (request, reply) => {
  const { name, password } = request.body
  if (!await isPassword(name, password)) return reply.code(401).send('Name or password is wrong.\n')

  // A new id for a visitor who gains rights. Without it, whoever slipped a visitor a session id of their own would be
  // logged in together with them (session fixation).
  await request.session.regenerate()
  request.session.user = { name }
  return `Welcome, ${name}.\n`
})

// The session ends in the store and in the browser. Copies of the cookie are worth nothing from now on.
app.post('/logout', async (request) => {
  await request.session.destroy()
  return 'Goodbye.\n'
})

// Routes that say `preHandler: loggedIn` are for visitors who are.
async function loggedIn (request, reply) {
  if (request.session.user === undefined) return reply.code(401).send('Please log in.\n')
}

app.get('/account', { preHandler: loggedIn }, async (request) => {
  return `This is the account of ${request.session.user.name}.\n`
})

// Yours are in a database. Passwords are nowhere, only what scrypt makes of them.
const users = new Map([['ada', hashed('lovelace')]])
const nobody = hashed(randomBytes(16).toString('hex'))

function hashed (password) {
  const salt = randomBytes(16)
  return { salt, hash: scryptSync(password, salt, 32) }
}

async function isPassword (name, password) {
  // Names that don't exist take as long as wrong passwords, so that they can't be told apart.
  const { salt, hash } = users.get(name) ?? nobody
  return timingSafeEqual(await promisify(scrypt)(password, salt, 32), hash)
}

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
