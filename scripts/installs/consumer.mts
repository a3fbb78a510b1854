// What an application writes, compiled beside the versions that applications have.

import fastifyCookie from '@fastify/cookie'
import fastifySession, { MemoryStore, type CookieOptions, type FastifySessionOptions } from '@fastify/session'
import { RedisStore, type RedisClient } from '@fastify/session/redis'
import { fastify } from 'fastify'

declare module 'fastify' {
  interface Session {
    user?: string
  }
}

declare const client: RedisClient

const cookie: CookieOptions = { maxAge: 60_000, secure: 'auto', sameSite: 'lax', partitioned: true, priority: 'high' }
const options: FastifySessionOptions = { secret: 'secret', cookie, store: new MemoryStore() }

const app = fastify()
app.register(fastifyCookie)
app.register(fastifySession, options)
app.register(fastifySession, { secret: ['secret'], store: new RedisStore({ client }), user: session => session.user })
app.post('/login', async (request, reply) => {
  await request.session.regenerate()
  request.session.user = 'max'
  reply.setCookie('theme', 'dark')
  const user: string | undefined = request.session.get('user')
  return user
})
app.get('/', { config: { session: { rolling: false } } }, async ({ session }) => session.cookie.maxAge ?? session.sessionId)
app.post('/logout', { config: { session: false } }, async ({ session }) => { await session.destroy() })
