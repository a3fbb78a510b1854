// An application that has the types of @fastify/secure-session, too: both declare `request.session`, and the one that is
// imported first has it. It needs `skipLibCheck`, with version 11 as well.

import fastifySession, { type FastifySessionObject } from '@fastify/session'
import fastifySecureSession, { type Session as SecureSession } from '@fastify/secure-session'
import { fastify, type FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface Session {
    user?: string
  }
}

const app = fastify()
app.register(fastifySession, { secret: 'secret' })
app.register(fastifySecureSession, { key: 'key', sessionName: 'secureSession' })
app.get('/', async request => {
  await request.session.regenerate()
  request.session.user = 'max'
  request.session.set('user', 'max')
  await request.session.save()
  const user: string | undefined = request.session.get('user')
  const { secureSession } = request as unknown as { secureSession: SecureSession }
  return [user, request.session.sessionId, secureSession.get('user'), app.createSecureSession({}).changed]
})

// A plugin for both.
type AnyRequest = FastifyRequest & { session: FastifySessionObject | SecureSession }
export async function renew (request: AnyRequest): Promise<void> {
  await request.session.regenerate()
  if ('delete' in request.session) request.session.delete()
}
