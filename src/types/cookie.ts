import type { CookieSerializeOptions } from '@fastify/cookie'

/** What a custom signer returns for a cookie value. */
export interface UnsignResult {
  valid: boolean
  /** True if the value should be signed again, because an older secret matched. */
  renew: boolean
  /** The session id; null when not valid. */
  value: string | null
}

/** A signer of your own, in the form of `@fastify/cookie`'s. */
export interface Signer {
  sign: (value: string) => string
  unsign: (input: string) => UnsignResult
}

// Declared again here, to document what each of them means for a session.
type Redeclared = 'domain' | 'encode' | 'expires' | 'httpOnly' | 'maxAge' | 'partitioned' | 'path' | 'priority' | 'sameSite' | 'secure'

export interface CookieOptions extends Omit<CookieSerializeOptions, 'signed' | Redeclared> {
  /**
   * How long the cookie lives after the session's last use, in milliseconds. The session lives no longer. The cookie
   * carries it as `Expires`. Wins over `expires`.
   *
   * @default undefined, a cookie that ends with the browser's session
   */
  maxAge?: number
  /**
   * A fixed end of the session and its cookie. `maxAge` wins over it.
   *
   * @default undefined, a cookie that ends with the browser's session
   */
  expires?: Date
  /**
   * The path that the cookie is sent for, with all paths below it. Requests for other paths have no session:
   * `request.session` is empty, and its methods fail with FST_ERR_SESSION_NONE.
   *
   * @default '/'
   */
  path?: string
  /**
   * The domain the cookie is sent to, with its subdomains.
   *
   * @default undefined, this host only
   */
  domain?: string
  /**
   * Keeps scripts in the page from reading the cookie.
   *
   * @default true
   */
  httpOnly?: boolean
  /**
   * Sends the cookie over https only. With `true`, a request over plain http saves nothing and gets no cookie.
   * With `'auto'`, the cookie is secure over https; over http it isn't, and has `SameSite=Lax`.
   *
   * @default true
   */
  secure?: boolean | 'auto'
  /**
   * Whether requests that come from other sites carry the cookie. `'strict'` or `true`: none. `'lax'`: links only.
   * `'none'`: all, which needs `secure`. `false`: left to the browser.
   *
   * @default undefined, left to the browser
   */
  sameSite?: boolean | 'lax' | 'strict' | 'none'
  /**
   * Keeps a cookie of its own for each site that embeds this one (CHIPS). Needs `secure`.
   *
   * @default false
   */
  partitioned?: boolean
  /**
   * Which cookies the browser drops first when it has too many: those with `'low'`.
   *
   * @default undefined, as 'medium'
   */
  priority?: 'low' | 'medium' | 'high'
  /**
   * Not used, as in version 11. The signed id needs no encoding.
   *
   * @default undefined
   */
  encode?(value: string): string
}
