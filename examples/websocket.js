'use strict'

// A WebSocket for logged-in visitors. It ends when they log out.
//
//   node examples/websocket.js
//   curl -c jar -d name=ada http://127.0.0.1:3000/login
//   npx wscat -c ws://127.0.0.1:3000/chat -H "Cookie: $(awk '/sessionId/ { print $6 "=" $7 }' jar)"

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')
const fastifyWebsocket = require('@fastify/websocket')

const app = fastify()

app.register(fastifyFormbody)
app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  saveUninitialized: false,
  // A page of another site can open a WebSocket to this one, and the browser sends the cookie (cross-site WebSocket
  // hijacking). 'lax' and 'strict' prevent that.
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: 60 * 60 * 1000 }
})
app.register(fastifyWebsocket)

const named = { type: 'object', required: ['name'], properties: { name: { type: 'string', minLength: 1 } } }

app.post('/login', { schema: { body: named } }, async (request) => {
  await request.session.regenerate()
  request.session.name = request.body.name
  return `Welcome, ${request.session.name}.\n`
})

app.post('/logout', async (request) => {
  await request.session.destroy()
  return 'Goodbye.\n'
})

// Routes must come after the WebSocket plugin, so they are in a scope.
app.register(async (scope) => {
  scope.get('/chat', {
    websocket: true,
    async preValidation (request, reply) {
      if (request.session.name === undefined) return reply.code(401).send('Please log in.\n')
    }
  }, (socket, request) => {
    const { name, signal } = request.session
    // The socket ends with its session: after a logout, also in another tab or process, or when the session expires.
    const hangUp = () => socket.close(1008, signal.reason.code)
    if (signal.aborted) hangUp()
    else signal.addEventListener('abort', hangUp)
    // A socket has no reply that would save a change. To change a session, load it with app.loadSession().
    socket.on('message', message => socket.send(`${name}: ${message}`))
  })
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
