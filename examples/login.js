'use strict'

// Login, logout, and a route for logged-in visitors.
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
  // Sends no cookie before the login: there is nothing to remember.
  saveUninitialized: false,
  cookie: {
    secure: 'auto',
    // Forms from other sites are sent without the cookie (CSRF). @fastify/csrf-protection is the full protection.
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

  // A new id for a visitor who gains rights. Otherwise an attacker who has made a visitor use a known session id would be
  // logged in with that visitor (session fixation).
  await request.session.regenerate()
  request.session.user = { name }
  return `Welcome, ${name}.\n`
})

// Ends the session in the store and in the browser. From now on, copies of the cookie are worthless.
app.post('/logout', async (request) => {
  await request.session.destroy()
  return 'Goodbye.\n'
})

// Routes with `preHandler: loggedIn` are for logged-in visitors only.
async function loggedIn (request, reply) {
  if (request.session.user === undefined) return reply.code(401).send('Please log in.\n')
}

app.get('/account', { preHandler: loggedIn }, async (request) => {
  return `This is the account of ${request.session.user.name}.\n`
})

// In your application, users are in a database. No password is stored, only the hash that scrypt makes of it.
const users = new Map([['ada', hashed('lovelace')]])
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
