'use strict'

// Sessions in PostgreSQL by way of connect-pg-simple, a store that was written for express-session.
//
//   DATABASE_URL=postgres://postgres@127.0.0.1:5432/postgres node examples/connect-pg-simple.js
//   curl -c jar -b jar http://127.0.0.1:3000      (restart the server in between: the counter goes on)

const connectPgSimple = require('connect-pg-simple')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')
const { Pool } = require('pg')

// The application's own pool will do as well.
const pool = new Pool({ connectionString: process.env.DATABASE_URL })
// Without a listener the loss of a connection that is idle ends the process; with one the pool makes another.
pool.on('error', error => console.error('postgres:', error.message))

const PostgresStore = connectPgSimple(fastifySession)
const store = new PostgresStore({
  pool,
  tableName: 'session',
  // For development. In production the table comes with your migrations (table.sql in connect-pg-simple): of two processes
  // that start at the same moment both would make it, and the one that can't goes on failing until it is restarted.
  createTableIfMissing: true,
  // In seconds. Sessions that have expired are not handed out; this is when their rows go.
  pruneSessionInterval: 15 * 60
})

const app = fastify()

app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  store,
  // When PostgreSQL doesn't answer for two seconds, the visitor gets a 503 and doesn't wait any longer.
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

// Once the last request is answered: the store's timer first, which would use the pool, then the pool.
app.addHook('onClose', async () => {
  await store.close()
  await pool.end()
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
