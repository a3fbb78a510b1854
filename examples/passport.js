'use strict'

// Login with @fastify/passport and its strategies, on these sessions. This example has a strategy of its own. Those of the
// passport-* packages go in the same place.
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

// In your application, users are in a database, and passwords are hashed; see login.js.
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
// The session remembers only the id of the user: nothing that could change or leak.
authenticator.registerUserSerializer(async (user) => user.id)
// Called with each request. Returns null if the user no longer exists: the visitor is logged out.
authenticator.registerUserDeserializer(async (id) => users.get(id) ?? null)

const app = fastify()

app.register(fastifyFormbody)
app.register(fastifyCookie)
// First the session, then passport, which keeps its user in it.
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

// A strategy that succeeds regenerates the session: it gets a new id and loses its data, unless `keepSessionInfo: true` is
// beside the strategy's name. A strategy that fails answers 401. It runs after the body is validated, so it is a preHandler.
app.post('/login', {
  schema: { body: credentials },
  preHandler: authenticator.authenticate('password')
}, async (request) => `Welcome, ${request.user.name}.\n`)

app.get('/account', async (request, reply) => {
  if (!request.isAuthenticated()) return reply.code(401).send('Please log in.\n')
  return `This is the account of ${request.user.name}.\n`
})

// request.logout() empties the session and changes its id. To end the session, in the store and in the browser:
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
