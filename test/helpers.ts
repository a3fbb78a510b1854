import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import fastifySession, { type SessionRecord } from '../src/index'

export { setCookies, Visitor } from '../src/testing/visitor'

/** A secret that is long enough. */
export const SECRET = 'a secret with minimum length of 32 characters'

/** How a store answers. */
export type Answer = (error?: any, value?: any) => void
export type Routes = (app: FastifyInstance) => void
export type SessionOptions = Partial<Parameters<typeof fastifySession>[1]>

/**
 * A Fastify server with the cookie and the session plugin. Over plain http, so `cookie.secure` is false unless the
 * test says otherwise.
 */
export async function build (
  options: SessionOptions,
  routes: Routes,
  server: FastifyServerOptions = {}
): Promise<FastifyInstance> {
  const app = Fastify(server) as unknown as FastifyInstance
  await app.register(fastifyCookie)
  const cookie = typeof options.cookie === 'function' ? options.cookie : { secure: false, ...options.cookie }
  await app.register(fastifySession, { secret: SECRET, ...options, cookie })
  routes(app)
  await app.ready()
  return app
}

/** A record as a store keeps it. */
export function record (data: object, maxAge = 60 * 60_000): SessionRecord {
  const cookie = { expires: new Date(Date.now() + maxAge), originalMaxAge: maxAge, path: '/', httpOnly: true, secure: false }
  return { ...data, cookie }
}

/** get, set and destroy, all that express-session asks for. Knows nothing of expiry. */
export class ThreeMethodStore {
  readonly records = new Map<string, string>()

  get (sessionId: string, callback: Answer): void {
    callback(null, JSON.parse(this.records.get(sessionId) ?? 'null'))
  }

  set (sessionId: string, session: object, callback: Answer): void {
    this.records.set(sessionId, JSON.stringify(session))
    callback()
  }

  destroy (sessionId: string, callback: Answer): void {
    this.records.delete(sessionId)
    callback()
  }
}
