import { Jar } from '../src/testing/visitor'

/** A minimal browser for sessions, over HTTP. */
export class Browser extends Jar {
  /** The last Set-Cookie header, unchanged. If there were several, the first of them. */
  setCookie = ''

  /** @param headers the headers of each request */
  constructor (readonly address: string, readonly headers: Record<string, string> = {}) {
    super()
  }

  /** The Cookie header. */
  get cookie (): string {
    return this.cookieHeader()
  }

  set cookie (header: string) {
    this.cookies.clear()
    if (header !== '') this.keep(header.split('; '))
  }

  async get (path: string, init: RequestInit = {}): Promise<Response> {
    const headers = this.headersWith({ ...this.headers, ...init.headers })
    const response = await fetch(this.address + path, { redirect: 'manual', ...init, headers })
    const setCookies = response.headers.getSetCookie()
    this.setCookie = setCookies[0] ?? this.setCookie
    this.keep(setCookies)
    return response
  }

  async text (path: string): Promise<string> {
    return await (await this.get(path)).text()
  }

  /** Submits a form. */
  async post (path: string, fields = {}, headers = {}): Promise<Response> {
    return await this.get(path, { method: 'POST', body: new URLSearchParams(fields), headers })
  }

  async status (path: string): Promise<number> {
    const response = await this.get(path)
    await response.arrayBuffer()
    return response.status
  }

  /** Another client with a copy of these cookies. */
  copy (): Browser {
    return new Browser(this.address, this.headers).with(this)
  }
}
