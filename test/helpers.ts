import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyServerOptions, type InjectOptions, type LightMyRequestResponse } from 'fastify'
import fastifySession from '../src/index'

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

/** A visitor: remembers the cookies that the server sets, and sends them with the next request. */
export class Visitor {
  readonly cookies = new Map<string, string>()

  constructor (readonly app: FastifyInstance) {}

  async get (url: string, more: InjectOptions = {}): Promise<LightMyRequestResponse> {
    const response = await this.app.inject({
      url,
      ...more,
      headers: { ...(this.cookies.size > 0 && { cookie: this.cookieHeader() }), ...more.headers }
    })
    for (const { name, value, expires } of response.cookies) {
      if (expires !== undefined && expires.getTime() <= Date.now()) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    return response
  }

  cookieHeader (): string {
    return Array.from(this.cookies, ([name, value]) => `${name}=${encodeURIComponent(value)}`).join('; ')
  }
}

/** The Set-Cookie headers of a response, as they went out. */
export function setCookies (response: LightMyRequestResponse): string[] {
  const header = response.headers['set-cookie']
  if (header === undefined) return []
  return Array.isArray(header) ? header : [header]
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
