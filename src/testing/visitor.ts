import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'

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
