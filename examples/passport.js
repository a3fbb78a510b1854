'use strict'

// Login by @fastify/passport: its strategies, on these sessions. A strategy of our own here; those of the passport-* packages
// go in the same place.
//
//   node examples/passport.js
//   curl -c jar -b jar -d name=ada -d password=lovelace http://127.0.0.1:3000/login
//   curl -c jar -b jar http://127.0.0.1:3000/account
//   curl -c jar -b jar -X POST http://127.0.0.1:3000/logout

const { timingSafeEqual } = require('node:crypto')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFormbody = require('@fastify/formbody')
const { Authenticator, Strategy } = require('@fastify/passport')
const fastifySession = require('@fastify/session')

// Yours are in a database, and their passwords are hashed; see login.js.
const users = new Map([['ada', { id: 'ada', name: 'Ada Lovelace', password: 'lovelace' }]])

class PasswordStrategy extends Strategy {
  authenticate (request) {
    const { name, password } = request.body
    const user = users.get(name)
    if (user !== undefined && isSame(password, user.password)) this.success(user)
    else this.fail('Name or password is wrong.')
  }
}

const authenticator = new Authenticator()
authenticator.use('password', new PasswordStrategy('password'))
// What the session remembers of a user is the id, and nothing that could change or leak.
authenticator.registerUserSerializer(async (user) => user.id)
// Asked at each request. Null for who is no longer there: they are logged out.
authenticator.registerUserDeserializer(async (id) => users.get(id) ?? null)

const app = fastify()

app.register(fastifyFormbody)
app.register(fastifyCookie)
// First the session, then passport, which keeps its user there.
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  saveUninitialized: false,
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: 8 * 60 * 60 * 1000 }
})
app.register(authenticator.initialize())
app.register(authenticator.secureSession())

const credentials = {
  type: 'object',
  required: ['name', 'password'],
  properties: { name: { type: 'string' }, password: { type: 'string' } }
}

// A strategy that succeeds regenerates the session: a new id, and nothing of what was in it before, unless
// `keepSessionInfo: true` is beside the strategy's name. One that fails answers 401. After the body's check, hence preHandler.
app.post('/login', {
  schema: { body: credentials },
  preHandler: authenticator.authenticate('password')
}, async (request) => `Welcome, ${request.user.name}.\n`)

app.get('/account', async (request, reply) => {
  if (!request.isAuthenticated()) return reply.code(401).send('Please log in.\n')
  return `This is the account of ${request.user.name}.\n`
})

// request.logout() empties the session and gives it a new id. To end it, in the store and in the browser:
app.post('/logout', async (request) => {
  await request.session.destroy()
  return 'Goodbye.\n'
})

function isSame (given, expected) {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)]
  return a.length === b.length && timingSafeEqual(a, b)
}

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
