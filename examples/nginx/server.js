'use strict'

// An application behind a proxy that ends TLS: nginx.conf beside this file says how to start both.
//
//   TRUST_PROXY= node examples/nginx/server.js      (trusts nobody, to see what goes wrong then: no cookie, and a warning)

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')

const { PORT, SESSION_SECRET, TRUST_PROXY = 'loopback' } = process.env

// What comes to this process is plain http. That the visitor came by https is in a header, and only the proxy is believed:
// name its address, or 'loopback' where it is on this machine. `true` would believe everybody.
const app = fastify({ trustProxy: TRUST_PROXY === '' ? false : TRUST_PROXY })

app.register(fastifyCookie)
app.register(fastifySession, {
  secret: SESSION_SECRET || 'for this example only: at least 32 characters',
  saveUninitialized: false,
  // `secure: true` is the default: over https only. Where the application takes the request for plain http, nothing is saved.
  // __Host- is the browser's promise that no neighbouring subdomain has set the cookie.
  cookieName: '__Host-sessionId',
  cookie: { secure: true, sameSite: 'lax', maxAge: 24 * 60 * 60 * 1000 }
})

app.get('/', async (request) => {
  request.session.visits = (request.session.visits ?? 0) + 1
  return { visits: request.session.visits, protocol: request.protocol, host: request.host, ip: request.ip }
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

// On the loopback only: the proxy is the one way in.
app.listen({ host: '127.0.0.1', port: Number(PORT || 3000) }).then(address => console.log(address))
