'use strict'

// Sessions in PostgreSQL with connect-pg-simple, a store that was written for express-session.
//
//   DATABASE_URL=postgres://postgres@127.0.0.1:5432/postgres node examples/connect-pg-simple.js
//   curl -c jar -b jar http://127.0.0.1:3000      (restart the server in between: the counter continues)

const connectPgSimple = require('connect-pg-simple')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')
const { Pool } = require('pg')

// You can also pass the application's own pool.
const pool = new Pool({ connectionString: process.env.DATABASE_URL })
// Without a listener, the process ends if an idle connection is lost. With one, the pool opens another.
pool.on('error', error => console.error('postgres:', error.message))

const PostgresStore = connectPgSimple(fastifySession)
const store = new PostgresStore({
  pool,
  tableName: 'session',
  // For development. In production, create the table in your migrations (table.sql in connect-pg-simple). Otherwise, if two
  // processes start at the same moment, both try to create it, and the one that can't keeps failing until it is restarted.
  createTableIfMissing: true,
  // In seconds: how often the rows of expired sessions are deleted. An expired session is never returned.
  pruneSessionInterval: 15 * 60
})

const app = fastify()

app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  store,
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

// After the last request is answered: first the store's timer, which would use the pool, then the pool.
app.addHook('onClose', async () => {
  await store.close()
  await pool.end()
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
