'use strict'

// Flash messages: what a form has to say is shown once, on the page that the visitor is sent to (post, redirect, get).
//
//   node examples/flash.js
//   curl -c jar -b jar -L -d text=milk http://127.0.0.1:3000/notes
//   curl -c jar -b jar http://127.0.0.1:3000/      (the message is gone, the note is not)

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFlash = require('@fastify/flash')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')

const app = fastify()

app.register(fastifyFormbody)
app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  saveUninitialized: false,
  cookie: { secure: 'auto', sameSite: 'lax' }
})
// After the session, where it keeps the messages.
app.register(fastifyFlash)

app.post('/notes', async (request, reply) => {
  const { text } = request.body ?? {}
  if (text) {
    await request.session.update(session => { session.notes = [...session.notes ?? [], text] })
    request.flash('info', 'Saved: %s.', text)
  } else {
    request.flash('error', 'A note without words is none.')
  }
  // 303: the browser gets the page, and a reload sends no form again. The session is saved before the redirect goes out.
  return reply.redirect('/', 303)
})

app.get('/', async (request) => {
  // Of two pages that load at the same time one shows them. Who has none costs no call to the store.
  const messages = request.session.get('flash') === undefined ? {} : await request.session.take('flash') ?? {}
  const lines = Object.entries(messages).flatMap(([type, texts]) => texts.map(text => `[${type}] ${text}`))
  return [...lines, `Notes: ${request.session.notes?.join(', ') ?? 'none'}`, ''].join('\n')
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
