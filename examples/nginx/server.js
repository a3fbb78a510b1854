'use strict'

// An application behind a proxy that terminates TLS. nginx.conf, beside this file, says how to start both.
//
//   TRUST_PROXY= node examples/nginx/server.js      (trusts no proxy: then there is no cookie, but a warning)

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')

const { PORT, SESSION_SECRET, TRUST_PROXY = 'loopback' } = process.env

// This process receives plain http. A header says whether the visitor came over https. Trust that header only from the proxy:
// set the proxy's address, or 'loopback' if it runs on this machine. `true` would trust everyone.
const app = fastify({ trustProxy: TRUST_PROXY === '' ? false : TRUST_PROXY })

app.register(fastifyCookie)
app.register(fastifySession, {
  secret: SESSION_SECRET || 'for this example only: at least 32 characters',
  saveUninitialized: false,
  // `secure: true` is the default: the cookie is sent over https only. If the application sees a request as plain http, nothing
  // is saved. With the prefix __Host-, the browser makes sure that no other subdomain has set the cookie.
  cookieName: '__Host-sessionId',
  cookie: { secure: true, sameSite: 'lax', maxAge: 24 * 60 * 60 * 1000 }
})

app.get('/', async (request) => {
  request.session.visits = (request.session.visits ?? 0) + 1
  return { visits: request.session.visits, protocol: request.protocol, host: request.host, ip: request.ip }
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

// Listens on the loopback only, so that all requests come through the proxy.
app.listen({ host: '127.0.0.1', port: Number(PORT || 3000) }).then(address => console.log(address))
