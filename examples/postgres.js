'use strict'

// Sessions in PostgreSQL.
//
//   DATABASE_URL=postgres://postgres@127.0.0.1:5432/postgres node examples/postgres.js
//   curl -c jar -b jar http://127.0.0.1:3000      (restart the server in between: the counter continues)

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')
const { migrate, PostgresStore } = require('@fastify/session/postgres')
const { Pool } = require('pg')

// You can also pass the application's own pool. PgBouncer may be in between.
const pool = new Pool({ connectionString: process.env.DATABASE_URL, connectionTimeoutMillis: 2000 })
// An idle connection was lost. The pool opens another.
pool.on('error', error => console.error('postgres:', error.message))

const app = fastify()

app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  store: new PostgresStore({ pool, table: 'session' }),
  // If PostgreSQL doesn't answer within two seconds, the visitor gets a 503 and doesn't wait any longer.
  storeTimeout: 2000,
  saveUninitialized: false,
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: 24 * 60 * 60 * 1000 }
})

app.get('/', async (request) => {
  request.session.visits = (request.session.visits ?? 0) + 1
  return `This is your visit number ${request.session.visits}.\n`
})

app.post('/forget', async (request) => {
  await request.session.destroy()
  return 'Forgotten.\n'
})

// After the last request is answered.
app.addHook('onClose', () => pool.end())

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

// Creates the table if it doesn't exist yet. Several processes may do this at the same time.
migrate(pool, { table: 'session' })
  .then(() => app.listen({ port: Number(process.env.PORT || 3000) }))
  .then(address => console.log(address))
