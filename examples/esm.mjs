// As an ES module: the plugin is the default export, the classes have names.
//
//   node examples/esm.mjs
//   curl -c jar -b jar http://127.0.0.1:3000      (more than once)

import fastify from 'fastify'
import fastifyCookie from '@fastify/cookie'
import fastifySession, { MemoryStore } from '@fastify/session'

// One process, and at most ten thousand sessions: those that were used longest ago go first.
const store = new MemoryStore(undefined, { max: 10_000 })

const app = fastify()

// Each of these waits until what it registered is ready; without `await`, listen() does so for all.
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
