'use strict'

// Session metrics for Prometheus: how long the store takes, how often it fails, and how often a cookie is refused.
//
//   node examples/prometheus.js
//   curl -c jar -b jar http://127.0.0.1:3000/
//   curl -H 'Cookie: sessionId=forged.signature' http://127.0.0.1:3000/
//   curl http://127.0.0.1:3000/metrics

const { channel, tracingChannel } = require('node:diagnostics_channel')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')
const { Counter, Histogram, register } = require('prom-client')

// 1. The recipe. Don't use the fingerprint as a label: each one would be a time series of its own.
const duration = new Histogram({
  name: 'session_store_duration_seconds',
  help: 'How long operations on the session store took',
  labelNames: ['session', 'store', 'operation', 'outcome'],
  buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
})
const refused = new Counter({
  name: 'session_security_events_total',
  help: 'Sessions that somebody did not get, by reason',
  labelNames: ['session', 'reason']
})

for (const operation of ['load', 'commit', 'destroy']) {
  tracingChannel(`@fastify/session:${operation}`).subscribe({
    asyncStart ({ session, store, duration: milliseconds, error }) {
      duration.observe({ session, store, operation, outcome: error === undefined ? 'ok' : 'error' }, milliseconds / 1000)
    }
  })
}

channel('@fastify/session:security').subscribe(({ session, reason }) => refused.inc({ session, reason }))

// Begins each series at 0. Otherwise the first refusal would not show as an increase.
const reasons = ['bad-signature', 'unknown-id', 'expired', 'absolute-timeout', 'gone', 'duplicate-cookie', 'store-timeout']
for (const reason of reasons) refused.inc({ session: 'session', reason }, 0)

// 2. An ordinary application.
const app = fastify()

app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  saveUninitialized: false,
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: 60 * 60 * 1000 }
})

app.get('/', async (request) => {
  request.session.visits = (request.session.visits ?? 0) + 1
  return `This is your visit number ${request.session.visits}.\n`
})

// Prometheus sends no cookie and needs no session. Hide your metrics from visitors: use another port, or a rule in the proxy.
app.get('/metrics', { config: { session: false } }, async (_request, reply) => {
  return reply.type(register.contentType).send(await register.metrics())
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
