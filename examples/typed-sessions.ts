// Typed sessions: declare once what they contain, and TypeScript checks every route.
//
//   npx tsx examples/typed-sessions.ts        (or, with Node.js 22.18 or newer, node examples/typed-sessions.ts)
//   curl -c jar -b jar -H 'content-type: application/json' -d '{"name":"Ada"}' http://127.0.0.1:3000/login
//   curl -c jar -b jar http://127.0.0.1:3000/profile

import fastify from 'fastify'
import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'

// What is in a session. All of it is optional: a new visitor's session is empty.
declare module 'fastify' {
  interface Session {
    user?: { name: string, loggedInAt: string }
    views?: number
  }
}

const app = fastify()

app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  saveUninitialized: false,
  cookie: { secure: 'auto', sameSite: 'lax' }
})

const body = { type: 'object', required: ['name'], properties: { name: { type: 'string', minLength: 1 } } }

app.post<{ Body: { name: string } }>('/login', { schema: { body } }, async (request) => {
  await request.session.regenerate()
  // Stored as text, because a Date would come back as a string from stores that keep JSON, whatever its type says.
  request.session.user = { name: request.body.name, loggedInAt: new Date().toISOString() }
  return { welcome: request.body.name }
})

app.get('/profile', async (request, reply) => {
  // { name, loggedInAt } | undefined, and `get('usr')` doesn't compile.
  const user = request.session.get('user')
  if (user === undefined) return reply.code(401).send({ error: 'Please log in.' })
  const views = (request.session.views ?? 0) + 1
  request.session.set('views', views)
  return { name: user.name, since: user.loggedInAt, views }
})

app.post('/logout', async (request) => {
  await request.session.destroy()
  return { goodbye: true }
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
