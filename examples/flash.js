'use strict'

// Flash messages: the result of a form is shown once, on the page that the visitor is redirected to (post, redirect, get).
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
// Register it after the session, in which it keeps the messages.
app.register(fastifyFlash)

app.post('/notes', async (request, reply) => {
  const { text } = request.body ?? {}
  if (text) {
    await request.session.update(session => { session.notes = [...session.notes ?? [], text] })
    request.flash('info', 'Saved: %s.', text)
  } else {
    request.flash('error', 'A note without words is none.')
  }
  // 303: the browser requests the page, and a reload doesn't send the form again. The session is saved before the redirect.
  return reply.redirect('/', 303)
})

app.get('/', async (request) => {
  // If two pages load at the same time, one of them shows the messages. A visitor without a session costs no call to the store.
  const messages = request.session.get('flash') === undefined ? {} : await request.session.take('flash') ?? {}
  const lines = Object.entries(messages).flatMap(([type, texts]) => texts.map(text => `[${type}] ${text}`))
  return [...lines, `Notes: ${request.session.notes?.join(', ') ?? 'none'}`, ''].join('\n')
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
