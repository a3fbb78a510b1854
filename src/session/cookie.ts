import { checkedDate, dateAfter, type CookieLife } from '../values/lifetime'
import type { CookieOptions } from '../types/cookie'

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
export class SessionCookie {
  path!: string
  httpOnly!: boolean
  secure!: CookieOptions['secure'] | null
  sameSite!: CookieOptions['sameSite'] | null
  domain!: string | null
  partitioned: boolean | undefined
  priority: CookieOptions['priority']
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
  constructor (
    session: { noteChange (): void }, options: CookieOptions, isOverHttps: boolean, life: CookieLife, end: number
  ) {
    this.#session = session
    this.setAttributes(options, isOverHttps)
    this.originalMaxAge = typeof life === 'number' ? life : null
    this._expires = Number.isFinite(end) ? new Date(end) : null
  }

  setAttributes (options: CookieOptions, isOverHttps: boolean): void {
    const { httpOnly = true, secure = null, sameSite } = options
    this.path = options.path || '/'
    this.httpOnly = httpOnly
    this.secure = secure
    this.sameSite = sameSite || null
    this.domain = options.domain || null
    this.partitioned = options.partitioned
    this.priority = options.priority
    if (secure !== 'auto') return
    this.secure = isOverHttps
    // Browsers refuse SameSite=None without Secure.
    if (!isOverHttps) this.sameSite = 'lax'
  }

  /** When the cookie ends; null if it ends with the browser, or if that can't be known. */
  get expires (): Date | null {
    return this._expires
  }

  set expires (date: Date | string | number | null | undefined | false) {
    const end = date ? checkedDate(date) : null
    this.#choose(end, end)
  }

  get maxAge (): number | null {
    const { expires } = this
    return expires === null ? null : expires.getTime() - Date.now()
  }

  set maxAge (milliseconds: number | null | undefined) {
    const end = milliseconds == null ? null : dateAfter(milliseconds)
    // One that is over at once isn't a lifetime that could start again.
    this.#choose(milliseconds && milliseconds > 0 ? milliseconds : end, end)
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

  #choose (life: CookieLife, end: Date | null): void {
    this.originalMaxAge = null
    this._expires = end
    // A copy of the cookie has nothing to choose.
    if (!(#choice in this)) return
    this.#choice = { life }
    this.#session.noteChange()
  }
}
