import { checkedDate, dateAfter, type CookieLife } from '../values/lifetime'
import type { CookieOptions } from '../types/cookie'

/** The attributes of a cookie, without its value and lifetime. */
export interface Attributes {
  path: string
  httpOnly: boolean
  secure: CookieOptions['secure'] | null
  sameSite: CookieOptions['sameSite'] | null
  domain: string | null
  partitioned: boolean | undefined
  priority: CookieOptions['priority']
}

export function attributesOf (options: CookieOptions, isOverHttps: boolean): Attributes {
  const { httpOnly = true, secure = null, sameSite, partitioned, priority } = options
  const isAuto = secure === 'auto'
  return {
    path: options.path || '/',
    httpOnly,
    secure: isAuto ? isOverHttps : secure,
    // Browsers refuse SameSite=None without Secure.
    sameSite: isAuto && !isOverHttps ? 'lax' : sameSite || null,
    domain: options.domain || null,
    partitioned,
    priority
  }
}

/** The JSON of a cookie, with express-session's names. */
export interface CookieView {
  expires: Date | null
  originalMaxAge: number | null
  path: string
  httpOnly: boolean
  secure: SessionCookie['secure']
  sameSite: SessionCookie['sameSite']
  domain: string | null
  partitioned: boolean | undefined
}

/** A lifetime that a handler chose. It is an object so that two choices of the same lifetime differ. */
export interface Choice {
  readonly life: CookieLife
}

/**
 * The cookie object for handlers: attributes, and the lifetime as `expires`, `maxAge` and `originalMaxAge`. What it
 * shows are plain properties, so that it can be copied and logged.
 */
export class SessionCookie implements Attributes {
  path!: string
  httpOnly!: boolean
  secure!: Attributes['secure']
  sameSite!: Attributes['sameSite']
  domain!: string | null
  partitioned: boolean | undefined
  priority: Attributes['priority']
  /** In milliseconds; null for a browser-session cookie and for a fixed `expires`. */
  originalMaxAge: number | null
  _expires: Date | null
  readonly #session: { noteChange (): void }
  #choice: Choice | undefined

  /**
   * @param session is told when a lifetime is chosen
   * @param end when the cookie ends, in milliseconds since the epoch; Infinity if it has no end, NaN if the end isn't
   *   known
   */
  constructor (session: { noteChange (): void }, attributes: Attributes, life: CookieLife, end: number) {
    this.#session = session
    this.setAttributes(attributes)
    this.originalMaxAge = typeof life === 'number' ? life : null
    this._expires = Number.isFinite(end) ? new Date(end) : null
  }

  setAttributes ({ path, httpOnly, secure, sameSite, domain, partitioned, priority }: Attributes): void {
    this.path = path
    this.httpOnly = httpOnly
    this.secure = secure
    this.sameSite = sameSite
    this.domain = domain
    this.partitioned = partitioned
    this.priority = priority
  }

  /** When the cookie ends; null if it ends with the browser, or if the end isn't known. */
  get expires (): Date | null {
    return this._expires
  }

  set expires (date: Date | string | number | null | undefined | false) {
    const end = date ? checkedDate(date) : null
    SessionCookie.#choose(this, end, end)
  }

  get maxAge (): number | null {
    const { expires } = this
    return expires === null ? null : expires.getTime() - Date.now()
  }

  set maxAge (milliseconds: number | null | undefined) {
    const end = milliseconds == null ? null : dateAfter(milliseconds)
    // A negative or zero maxAge is a fixed end: it can't start again.
    SessionCookie.#choose(this, milliseconds && milliseconds > 0 ? milliseconds : end, end)
    this.originalMaxAge = milliseconds ?? null
  }

  /** The lifetime that a handler chose since the session was last written. */
  static choiceOf (cookie: SessionCookie): Choice | undefined {
    return cookie.#choice
  }

  /** The choice was written, so it is dropped, unless there is a newer one. */
  static forget (cookie: SessionCookie, choice: Choice | undefined): void {
    if (cookie.#choice === choice) cookie.#choice = undefined
  }

  toJSON (): CookieView {
    const { expires, originalMaxAge, path, httpOnly, secure, sameSite, domain, partitioned } = this
    return { expires, originalMaxAge, path, httpOnly, secure, sameSite, domain, partitioned }
  }

  // Static, because a copy of the cookie doesn't have its private methods.
  static #choose (cookie: SessionCookie, life: CookieLife, end: Date | null): void {
    cookie.originalMaxAge = null
    cookie._expires = end
    // A copy of the cookie has no session.
    if (!(#choice in cookie)) return
    cookie.#choice = { life }
    cookie.#session.noteChange()
  }
}
