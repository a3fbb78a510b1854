'use strict'

// A WebSocket for those who are logged in, until they log out.
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
  // Browsers open WebSockets to other sites, and send cookies along, unless the cookie says no (cross-site WebSocket
  // hijacking). 'lax' and 'strict' do.
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

// Routes must come after the plugin for WebSockets, hence the scope.
app.register(async (scope) => {
  scope.get('/chat', {
    websocket: true,
    // A socket has no reply that could save a session or send its cookie, so the route has none. It loads one itself.
    config: { session: false },
    async preValidation (request, reply) {
      if (await whoIs(request) === undefined) return reply.code(401).send('Please log in.\n')
    }
  }, (socket, request) => {
    socket.on('message', async (message) => {
      try {
        // A socket outlives many things, the session too: whoever has logged out since is heard no longer.
        const name = await whoIs(request)
        if (name === undefined) socket.close(1008, 'logged out')
        else socket.send(`${name}: ${message}`)
      } catch (error) {
        request.log.error(error)
        socket.close(1011, 'try again later')
      }
    })
  })
})

// The Cookie header came with the upgrade. Null is what a missing, a forged and an ended session are.
async function whoIs (request) {
  const session = await app.loadSession(request.headers.cookie)
  return session?.name
}

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
