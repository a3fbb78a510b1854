import type { CookieSerializeOptions } from '@fastify/cookie'
import { CookieError } from './errors'
import type { SessionRecord } from './stores/store'
import type { CookieOptions } from './types'

// The end of the year 9999, in milliseconds since the epoch: a cookie's date has four digits (RFC 6265, 5.1.1).
const LAST_DATE = 253_402_300_799_999

const ONE_HOUR = 3_600_000

const NO_LIMITS: Limits = { createdAt: 0, absoluteTimeout: undefined, refreshAfter: 0 }

/** What stores keep of a cookie: JSON in express-session's words. */
export interface CookieRecord {
  expires: Date | null
  originalMaxAge: number | null
  path: string
  httpOnly: boolean
  secure: SessionCookie['secure']
  sameSite: SessionCookie['sameSite']
  domain: string | null
  partitioned: boolean | undefined
  /** When the session was created, in milliseconds since the epoch. Only under `absoluteTimeout` or with a user. */
  createdAt?: number
  /** In milliseconds. */
  absoluteTimeout?: number
  /** When the record was written, in milliseconds since the epoch. Only under `refreshAfter` or with a user. */
  touchedAt?: number
  /** Whose session it is. */
  userKey?: string
  /** When the store's index by user heard of it last, in milliseconds since the epoch. */
  claimedAt?: number
}

/** That a session is in the store's index as a user's. */
export interface Claim {
  readonly userKey: string
  /** In milliseconds since the epoch. */
  readonly claimedAt: number
}

/** What a session's lifetime depends on besides its cookie options. In milliseconds, the first since the epoch. */
export interface Limits {
  readonly createdAt: number
  readonly absoluteTimeout: number | undefined
  readonly refreshAfter: number
  claim?: Claim | undefined
}

/** The attributes and the lifetime of one session's cookie. */
export class SessionCookie {
  path: string
  httpOnly: boolean
  secure: CookieOptions['secure'] | null
  sameSite: CookieOptions['sameSite'] | null
  domain: string | null
  partitioned: boolean | undefined
  priority: CookieOptions['priority']
  /** In milliseconds; null for a browser-session cookie and for a fixed `expires`. */
  originalMaxAge: number | null
  readonly #limits: Limits
  #expires: Date | null
  #lifetimeWasSet = false

  /** The cookie of a new session. */
  constructor (options: CookieOptions, overHttps: boolean, limits: Limits = NO_LIMITS) {
    this.#limits = limits
    this.path = options.path || '/'
    const { httpOnly = true } = options
    this.httpOnly = httpOnly
    this.secure = options.secure ?? null
    this.sameSite = options.sameSite || null
    this.domain = options.domain || null
    this.partitioned = options.partitioned
    this.priority = options.priority
    if (this.secure === 'auto') {
      this.secure = overHttps
      // Browsers refuse SameSite=None without Secure.
      if (!overHttps) this.sameSite = 'lax'
    }
    this.originalMaxAge = options.maxAge || null
    this.#expires = options.expires ? new Date(options.expires) : null
    this.touch()
  }

  /**
   * Takes the lifetime from a stored record, and only that: a configuration that was hardened since the record was
   * written must win over the attributes in it.
   */
  restore (stored: SessionRecord, rolling: boolean): void {
    const { originalMaxAge, createdAt, absoluteTimeout } = cookieOf(stored)
    if (originalMaxAge && isLifetime(originalMaxAge)) this.originalMaxAge = originalMaxAge
    const expires = expiryOf(stored)
    // The end of a browser-session, which only stores are told.
    if (!originalMaxAge && expires === Math.trunc((createdAt as number) + (absoluteTimeout as number))) return
    if (rolling || Number.isNaN(expires)) this.touch()
    if (!Number.isNaN(expires) && (!rolling || this.originalMaxAge === null)) this.#expires = new Date(expires)
  }

  /** When the cookie ends by what was set, before the absolute timeout cuts it short. */
  get ownExpires (): Date | null {
    return this.#expires
  }

  /** When the session ends, as far as is known. */
  get expires (): Date | null {
    const { createdAt, absoluteTimeout } = this.#limits
    if (absoluteTimeout === undefined) return this.#expires
    const end = createdAt + absoluteTimeout
    return this.#expires === null || this.#expires.getTime() > end ? new Date(end) : this.#expires
  }

  set expires (date: Date | string | number | null | undefined | false) {
    this.#expires = date ? checkedDate(new Date(date), 'expires is no date') : null
    this.#lifetimeWasSet = true
  }

  get maxAge (): number | null {
    const { expires } = this
    return expires === null ? null : expires.getTime() - Date.now()
  }

  set maxAge (milliseconds: number | null | undefined) {
    this.#expires = milliseconds == null ? null : dateAfter(milliseconds)
    this.originalMaxAge = milliseconds ?? null
    this.#lifetimeWasSet = true
  }

  /** Whether `maxAge` or `expires` was set by hand since the session was written last. */
  get lifetimeWasSet (): boolean {
    return this.#lifetimeWasSet
  }

  /** Starts the lifetime anew. Does nothing without a `maxAge`. */
  touch (): void {
    if (this.originalMaxAge) this.#expires = new Date(Math.min(Date.now() + this.originalMaxAge, LAST_DATE))
  }

  /** The session was written with this cookie. */
  markWritten (): void {
    this.#lifetimeWasSet = false
  }

  /** What the Set-Cookie header says. The keys are all there, because `@fastify/cookie` puts defaults where one is not. */
  attributes (): CookieSerializeOptions {
    return {
      domain: this.domain ?? undefined,
      path: this.path,
      expires: (this.ownExpires && this.expires) ?? undefined,
      httpOnly: this.httpOnly,
      secure: this.secure ?? undefined,
      partitioned: this.partitioned,
      sameSite: this.sameSite ?? false,
      priority: this.priority
    }
  }

  toJSON (): CookieRecord {
    const { expires } = this
    const { createdAt, absoluteTimeout, refreshAfter, claim } = this.#limits
    const record: CookieRecord = {
      expires: expires && new Date(expires),
      originalMaxAge: this.originalMaxAge,
      path: this.path,
      httpOnly: this.httpOnly,
      secure: this.secure,
      sameSite: this.sameSite,
      domain: this.domain,
      partitioned: this.partitioned
    }
    if (absoluteTimeout !== undefined) Object.assign(record, { createdAt, absoluteTimeout })
    if (refreshAfter > 0) record.touchedAt = Date.now()
    if (claim !== undefined) Object.assign(record, { createdAt, touchedAt: Date.now() }, claim)
    return record
  }
}

/** Whether the record's own expiry has passed. One that can't be read counts as none. */
export function isExpired (record: SessionRecord): boolean {
  return expiryOf(record) <= Date.now()
}

/** Whether the record's lifetime starts anew by a touch: where it has none, its expiry is a fixed one. */
export function hasMaxAge (record: SessionRecord): boolean {
  return Boolean(cookieOf(record).originalMaxAge)
}

/** When the record expires by its own word, in milliseconds since the epoch; NaN when it doesn't say. */
export function expiryOf (record: SessionRecord): number {
  const expires = cookieOf(record).expires as unknown
  if (!expires) return NaN
  if (typeof expires === 'string' || typeof expires === 'number') return new Date(expires).getTime()
  try {
    // Knows dates of other realms, 0.2 us faster than isDate. Throws at what is none.
    return Date.prototype.getTime.call(expires)
  } catch {
    return NaN
  }
}

/** Whether the record says when the session was created, and by which absolute timeout it ends. */
export function knowsEnd (record: SessionRecord, absoluteTimeout: number | undefined): boolean {
  if (cookieOf(record).absoluteTimeout !== absoluteTimeout) return false
  return absoluteTimeout === undefined || !Number.isNaN(createdAtOf(record))
}

/** When the session was created, in milliseconds since the epoch; NaN when the record doesn't say. */
export function createdAtOf (record: SessionRecord): number {
  return timeOf(cookieOf(record).createdAt)
}

/** When the record was written, in milliseconds since the epoch; NaN when it doesn't say. */
export function touchedAtOf (record: SessionRecord): number {
  return timeOf(cookieOf(record).touchedAt)
}

/** Whose session the record is; undefined where it is nobody's. */
export function claimOf (record: SessionRecord): Claim | undefined {
  const { userKey, claimedAt } = cookieOf(record)
  return typeof userKey === 'string' ? { userKey, claimedAt: timeOf(claimedAt) } : undefined
}

/**
 * Whether the index by user must hear of the session again, which keeps a claim for twice the session's life and an hour.
 *
 * @param maxAge in milliseconds
 */
export function claimIsAging ({ claimedAt }: Claim, maxAge: number | null): boolean {
  // Not turned round: a claim without a time is old.
  return !(Date.now() - claimedAt < (maxAge === null ? ONE_HOUR : maxAge / 2))
}

/** When the session's lifetime was started anew last, as far as the record says, in milliseconds since the epoch. */
export function lastSeenOf (record: SessionRecord): number {
  const touchedAt = touchedAtOf(record)
  const { originalMaxAge } = cookieOf(record)
  const startedAt = originalMaxAge && isLifetime(originalMaxAge) ? expiryOf(record) - originalMaxAge : NaN
  return startedAt > touchedAt || Number.isNaN(touchedAt) ? startedAt : touchedAt
}

function timeOf (value: unknown): number {
  return typeof value === 'number' ? value : NaN
}

// Whatever other software wrote there.
function cookieOf (record: SessionRecord): Partial<CookieRecord> {
  return record.cookie ?? {}
}

/** @throws FST_ERR_SESSION_COOKIE when the lifetime in the options can't be one */
export function checkLifetime (options: CookieOptions): void {
  const { maxAge, expires } = options
  if (maxAge != null) dateAfter(maxAge)
  if (expires != null && (expires as unknown) !== false) checkedDate(new Date(expires), 'expires is no date')
}

function dateAfter (milliseconds: number): Date {
  if (!isLifetime(milliseconds)) throw new CookieError('maxAge must be a number of milliseconds that leads to a date')
  return new Date(Date.now() + milliseconds)
}

function checkedDate (date: Date, problem: string): Date {
  if (Number.isNaN(date.getTime())) throw new CookieError(problem)
  return date
}

export function isLifetime (milliseconds: unknown): milliseconds is number {
  return typeof milliseconds === 'number' && Math.abs(Date.now() + milliseconds) <= LAST_DATE
}
