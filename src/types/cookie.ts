import type { CookieSerializeOptions } from '@fastify/cookie'

/** What a custom signer answers for a cookie value. */
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

// All that `@fastify/cookie` has are declared here, with what they mean for a session.
type Redeclared = 'domain' | 'encode' | 'expires' | 'httpOnly' | 'maxAge' | 'partitioned' | 'path' | 'priority' | 'sameSite' | 'secure'

export interface CookieOptions extends Omit<CookieSerializeOptions, 'signed' | Redeclared> {
  /**
   * How long the cookie lives after the session's last use, in milliseconds; the session lives no longer. Sent as
   * `Expires`. Wins over `expires`.
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
   * The paths the cookie is sent for. Outside of them there is no session: `request.session` is empty, and its methods
   * fail with FST_ERR_SESSION_NONE.
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
   * With `'auto'`, the cookie is secure over https, and over http it is not and has `SameSite=Lax`.
   *
   * @default true
   */
  secure?: boolean | 'auto'
  /**
   * Whether requests that other sites start carry the cookie. `'strict'` or `true`: none. `'lax'`: links only.
   * `'none'`: all of them, which needs `secure`. `false`: left to the browser.
   *
   * @default undefined, left to the browser
   */
  sameSite?: boolean | 'lax' | 'strict' | 'none'
  /**
   * One cookie for each site that embeds this one (CHIPS). Needs `secure`.
   *
   * @default false
   */
  partitioned?: boolean
  /**
   * Which cookies the browser drops last when it has too many.
   *
   * @default undefined, as 'medium'
   */
  priority?: 'low' | 'medium' | 'high'
  /**
   * Not used, as in version 11: the signed id needs no other encoding.
   *
   * @default undefined
   */
  encode?(value: string): string
}
