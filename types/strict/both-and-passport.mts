// What plugins for both kinds of session have written, as @fastify/passport 3 has, whose types import both packages.

import type { FastifySessionObject } from '@fastify/session'
import type { Session as SecureSession } from '@fastify/secure-session'
import passport from 'passport-3'
import { fastify, type FastifyRequest } from 'fastify'

interface Data {
  returnTo: string
}
type AnyRequest = FastifyRequest & { session: FastifySessionObject | SecureSession<Data> }

export async function logIn (request: AnyRequest, key: string, user: unknown): Promise<void> {
  if (request.session.regenerate) {
    const kept: string[] = [...Object.keys(request.session), 'returnTo']
    await request.session.regenerate(kept)
  } else {
    const data: Data = request.session?.data() ?? {}
    request.session.set(data.returnTo, undefined)
  }
  request.session.set(key, user)
}

export const userOf = (request: AnyRequest, key: string): unknown => request.session.get(key)

const app = fastify()
app.register(passport.default.initialize())
app.post('/login', async request => {
  await request.logIn({})
  request.session.anything = 1
  await request.session.save()
})
