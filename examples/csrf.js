'use strict'

// No other site can send this form in the visitor's name: @fastify/csrf-protection keeps a secret in the session.
//
//   node examples/csrf.js
//   token=$(curl -s -c jar -b jar http://127.0.0.1:3000/ | sed -n 's/.*name="_csrf" value="\([^"]*\)".*/\1/p')
//   curl -c jar -b jar -L -d text=hello -d "_csrf=$token" http://127.0.0.1:3000/messages
//   curl -c jar -b jar -d text=hello http://127.0.0.1:3000/messages      (without the token: 403)

const { randomBytes } = require('node:crypto')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyCsrfProtection = require('@fastify/csrf-protection')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')

const app = fastify()

app.register(fastifyFormbody)
app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  // The form needs a session for its secret. Pages without a form send no cookie.
  saveUninitialized: false,
  // This alone stops most forged forms, but not those from your other subdomains, which are the same site.
  cookie: { secure: 'auto', sameSite: 'lax' }
})
app.register(fastifyCsrfProtection, {
  sessionPlugin: '@fastify/session',
  // Reads the token of a form. A script can send it in a header: request.headers['csrf-token'].
  getToken: (request) => request.body?._csrf
})

// Checks every form, so that none is forgotten. The token is in the body, so this runs after the body is read.
app.addHook('preHandler', (request, reply, done) => {
  if (request.method === 'POST') app.csrfProtection(request, reply, done)
  else done()
})

app.get('/', async (request, reply) => {
  const { session } = request
  // Tabs that open at the same time get the same secret. Otherwise the form in one of them would be refused.
  if (session.get('_csrf') === undefined) await session.update(session => { session._csrf ??= randomBytes(18).toString('base64url') })
  const messages = session.messages ?? []
  return reply.type('text/html; charset=utf-8').send(`<!doctype html>
<title>Messages</title>
<ul>${messages.map(text => `<li>${escape(text)}</li>`).join('')}</ul>
<form method="post" action="/messages">
  <input type="hidden" name="_csrf" value="${reply.generateCsrf()}">
  <input name="text" required><button>Send</button>
</form>
`)
})

const message = { type: 'object', required: ['text'], properties: { text: { type: 'string', minLength: 1 } } }

app.post('/messages', { schema: { body: message } }, async (request, reply) => {
  await request.session.update(session => { session.messages = [...session.messages ?? [], request.body.text] })
  return reply.redirect('/', 303)
})

// A new session has a new secret, so forms that were opened in other tabs before the login are refused.
app.post('/login', async (request, reply) => {
  await request.session.regenerate(['messages'])
  return reply.redirect('/', 303)
})

function escape (text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
