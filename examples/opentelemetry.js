'use strict'

// An OpenTelemetry span for each operation on a session. The library publishes what it does on node:diagnostics_channel,
// and knows nothing of OpenTelemetry.
//
//   node examples/opentelemetry.js
//   curl -c jar -b jar http://127.0.0.1:3000/
//   curl http://127.0.0.1:3000/spans

const { channel, tracingChannel } = require('node:diagnostics_channel')
const { SpanKind, SpanStatusCode, trace } = require('@opentelemetry/api')
const { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } = require('@opentelemetry/sdk-trace-base')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')

// 1. Your set-up has a provider that sends spans to a collector. This one keeps them for the route below.
const exporter = new InMemorySpanExporter()
trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }))

// 2. The recipe.
const tracer = trace.getTracer('@fastify/session')

for (const operation of ['load', 'commit', 'destroy']) {
  // The message is the same object at each step.
  const spans = new WeakMap()

  tracingChannel(`@fastify/session:${operation}`).subscribe({
    start (message) {
      // Within the request's context, so this is a child of the request's span, if there is one.
      spans.set(message, tracer.startSpan(`session ${operation}`, { kind: SpanKind.CLIENT, attributes: attributesOf(message) }))
    },
    error (message) {
      const span = spans.get(message)
      span?.recordException(message.error)
      span?.setStatus({ code: SpanStatusCode.ERROR, message: message.error.message })
    },
    // The store has answered. The time after this is the handler's.
    asyncStart (message) {
      spans.get(message)?.end()
    }
  })
}

// A refused cookie isn't an operation on the store. It is an event of the request's span, or a span if there is none.
channel('@fastify/session:security').subscribe(({ reason, ...message }) => {
  const attributes = { ...attributesOf(message), 'session.security.reason': reason }
  const active = trace.getActiveSpan()
  if (active !== undefined) active.addEvent('session security', attributes)
  else tracer.startSpan('session security', { attributes }).end()
})

function attributesOf ({ session, store, fingerprint }) {
  return { 'session.name': session, 'session.store': store, 'session.fingerprint': fingerprint }
}

// 3. An ordinary application.
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

app.post('/forget', async (request) => {
  await request.session.destroy()
  return 'Forgotten.\n'
})

app.get('/spans', { config: { session: false } }, async () => {
  return exporter.getFinishedSpans().map(({ name, status, attributes }) => ({ name, status, attributes }))
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
