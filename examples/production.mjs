// Sessions for production: in Redis, over https only, ended on the server, and with a list for each user.
//
//   SESSION_SECRET=$(openssl rand -hex 32) REDIS_URL=redis://127.0.0.1:6379 node examples/production.mjs
//   curl -H 'X-Forwarded-Proto: https' -X POST http://127.0.0.1:3000/login -i      (as the proxy asks)

import fastify from 'fastify'
import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import { RedisStore } from '@fastify/session/redis'
import { createClient } from 'redis'

const { REDIS_URL, SESSION_SECRET = '' } = process.env
const app = fastify({ logger: true, trustProxy: 'loopback' }) // the address of the proxy that terminates TLS
const client = createClient({ url: REDIS_URL })
client.on('error', error => app.log.error(error))
await client.connect()

app.register(fastifyCookie)
app.register(fastifySession, {
  secret: SESSION_SECRET, // 32 or more random characters: without them the application doesn't start
  cookieName: '__Host-session', // a browser accepts it from this host only, and over https only
  cookie: { sameSite: 'lax' }, // `secure` and `httpOnly` are on by default
  idleTimeout: 30 * 60 * 1000, // ends after 30 minutes without a request
  absoluteTimeout: 12 * 60 * 60 * 1000, // and 12 hours after the login at the latest
  saveUninitialized: false, // no cookie before there is something to remember
  store: new RedisStore({ client }),
  storeTimeout: 2000, // a request that waits longer for Redis fails with 503
  user: session => session.userId // to list and end all sessions of a user
})
app.addHook('onClose', () => client.close())

app.post('/login', async (request) => {
  // …once the password was right: login.js beside this file checks one.
  await request.session.regenerate()
  request.session.userId = 'ada'
  return 'Welcome.\n'
})

app.get('/', async (request) => `Hello, ${request.session.userId ?? 'stranger'}.\n`)

app.post('/log-out-elsewhere', async (request) => await request.session.revokeOthers())

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT || 3000) })
