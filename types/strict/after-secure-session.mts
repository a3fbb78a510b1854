// As in beside-secure-session.mts, but that one is imported first: `request.session` is its session, and ours needs a word.

import fastifySecureSession from '@fastify/secure-session'
import fastifySession, { type FastifySessionObject } from '@fastify/session'
import { fastify, type FastifyRequest } from 'fastify'

declare module '@fastify/secure-session' {
  interface SessionData {
    user?: string
  }
}

const app = fastify()
app.register(fastifySecureSession, { key: 'key' })
app.register(fastifySession, { secret: 'secret', cookieName: 'other' })
app.get('/', async request => {
  request.session.set('user', 'max')
  request.session.delete()
  return [request.session.get('user'), request.session.data(), request.session.changed]
})

export function sessionOf (request: FastifyRequest): FastifySessionObject {
  return request.session as unknown as FastifySessionObject
}
