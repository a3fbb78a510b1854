// As an ES module: the plugin is the default export, and the classes are named exports.
//
//   node examples/esm.mjs
//   curl -c jar -b jar http://127.0.0.1:3000      (more than once)

import fastify from 'fastify'
import fastifyCookie from '@fastify/cookie'
import fastifySession, { MemoryStore } from '@fastify/session'

// For one process, with at most ten thousand sessions. One more removes the least recently used one.
const store = new MemoryStore(undefined, { max: 10_000 })

const app = fastify()

// `await` waits until the plugin is ready. Without it, listen() waits for all plugins.
await app.register(fastifyCookie)
await app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  store,
  cookie: { secure: 'auto', sameSite: 'lax' }
})

app.get('/', async (request) => {
  request.session.visits = (request.session.visits ?? 0) + 1
  return `This is your visit number ${request.session.visits}.\n`
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

console.log(await app.listen({ port: Number(process.env.PORT || 3000) }))
