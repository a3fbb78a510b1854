import { checkedDate, dateAfter, type CookieLife } from '../values/lifetime'
import type { CookieOptions } from '../types/cookie'

/** What a cookie has beside its value and its lifetime. */
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

/** What is told of a cookie in JSON, in express-session's words. */
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

/** A lifetime that a handler chose: an object, so that one choice can be told from the next. */
export interface Choice {
  readonly life: CookieLife
}

/**
 * The cookie in the handler's hand: attributes, and the lifetime as `expires`, `maxAge` and `originalMaxAge`. All
 * that it shows are plain properties, so that it can be copied and logged.
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
   * @param session what is told when a lifetime is chosen
   * @param end when the cookie ends, in milliseconds since the epoch; Infinity or NaN if it has no end, or none that
   *   is known
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

  /** When the cookie ends; null if it ends with the browser, or if that can't be known. */
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
    // One that is over at once isn't a lifetime that could start again.
    SessionCookie.#choose(this, milliseconds && milliseconds > 0 ? milliseconds : end, end)
    this.originalMaxAge = milliseconds ?? null
  }

  /** What a handler chose since the session was written last. */
  static choiceOf (cookie: SessionCookie): Choice | undefined {
    return cookie.#choice
  }

  /** That choice is kept with the session now, unless there is a newer one. */
  static forget (cookie: SessionCookie, choice: Choice | undefined): void {
    if (cookie.#choice === choice) cookie.#choice = undefined
  }

  toJSON (): CookieView {
    const { expires, originalMaxAge, path, httpOnly, secure, sameSite, domain, partitioned } = this
    return { expires, originalMaxAge, path, httpOnly, secure, sameSite, domain, partitioned }
  }

  // No method, which a copy wouldn't have.
  static #choose (cookie: SessionCookie, life: CookieLife, end: Date | null): void {
    cookie.originalMaxAge = null
    cookie._expires = end
    // A copy of the cookie has nothing to choose.
    if (!(#choice in cookie)) return
    cookie.#choice = { life }
    cookie.#session.noteChange()
  }
}
