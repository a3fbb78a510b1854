import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'

/** Keeps cookies as a browser does. */
export class Jar {
  readonly cookies = new Map<string, string>()

  cookieHeader (): string {
    return Array.from(this.cookies, ([name, value]) => `${name}=${encodeURIComponent(value)}`).join('; ')
  }

  /** Applies Set-Cookie headers: keeps cookies, and drops those that have ended. */
  keep (setCookies: readonly string[]): void {
    for (const header of setCookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(header) ?? []
      const expires = /; Expires=([^;]+)/i.exec(header)?.[1]
      const hasEnded = /; Max-Age=0/i.test(header) || (expires !== undefined && Date.parse(expires) <= Date.now())
      if (hasEnded) this.cookies.delete(name)
      else this.cookies.set(name, decodeURIComponent(value))
    }
  }

  /** The headers of a request. */
  protected headersWith (more: object = {}): Record<string, string> {
    return { ...(this.cookies.size > 0 && { cookie: this.cookieHeader() }), ...more }
  }

  /** Copies the cookies of another jar. */
  protected with (other: Jar): this {
    for (const [name, value] of other.cookies) this.cookies.set(name, value)
    return this
  }
}

/** A visitor of an app: keeps the cookies that it sets, and sends them with the next request. */
export class Visitor extends Jar {
  constructor (readonly app: FastifyInstance) {
    super()
  }

  async get (url: string, more: InjectOptions = {}): Promise<LightMyRequestResponse> {
    const response = await this.app.inject({ url, ...more, headers: this.headersWith(more.headers) })
    this.keep(setCookies(response))
    return response
  }

  /** Someone with a copy of these cookies, at this app or another. */
  copy (app = this.app): Visitor {
    return new Visitor(app).with(this)
  }
}

/** The Set-Cookie headers of a response. */
export function setCookies (response: LightMyRequestResponse): string[] {
  const header = response.headers['set-cookie']
  if (header === undefined) return []
  return Array.isArray(header) ? header : [header]
}
