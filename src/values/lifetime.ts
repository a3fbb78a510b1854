import { CookieError } from '../errors'
import type { CookieOptions } from '../types/cookie'
import { cookieOf, createdAtOf, expiryOf, numberIn, seenAtOf, timeIn } from './record'
import type { SessionRecord } from '../types/store'

/**
 * How long a cookie lives: so many milliseconds after the session was used last, until a date, or (null) until the
 * browser ends.
 */
export type CookieLife = number | Date | null

/** What the configuration says of the lives of all sessions, in milliseconds. */
export interface Terms {
  readonly cookie: CookieLife
  readonly idleTimeout: number | undefined
  readonly absoluteTimeout: number | undefined
}

/** What the life of one session depends on. */
export interface Lifetime {
  readonly terms: Terms
  /** In milliseconds since the epoch. */
  readonly createdAt: number
  /** What a handler chose for this session's cookie. */
  readonly chosen: CookieLife | undefined
}

// The end of the year 9999, in milliseconds since the epoch: a cookie's date has four digits (RFC 6265, 5.1.1).
const LAST_DATE = 253_402_300_799_999

/** Whether so many milliseconds from now there is a date that a cookie can carry. */
export function isLifetime (milliseconds: unknown, now: number): milliseconds is number {
  return typeof milliseconds === 'number' && Math.abs(now + milliseconds) <= LAST_DATE
}

export function cookieLifeOf ({ chosen, terms }: Lifetime): CookieLife {
  return chosen === undefined ? terms.cookie : chosen
}

/**
 * How long after its last use the session ends, in milliseconds; undefined if only the store's own `ttl` says. A
 * cookie that lives no longer is over first.
 */
export function idleOf ({ chosen, terms }: Lifetime): number | undefined {
  const { cookie, idleTimeout } = terms
  // A cookie that ends with the browser leaves the idle time as it is configured.
  const life = chosen === undefined || (chosen === null && idleTimeout === undefined) ? cookie : chosen
  if (typeof life !== 'number') return idleTimeout
  return Math.min(life, idleTimeout ?? Infinity)
}

/**
 * When the cookie ends if the session was last used at a time, in milliseconds since the epoch; Infinity: with the
 * browser.
 */
export function cookieEndOf (lifetime: Lifetime, usedAt: number): number {
  const life = cookieLifeOf(lifetime)
  if (life === null) return Infinity
  const end = typeof life === 'number' ? usedAt + life : life.getTime()
  return Math.min(end, absoluteEndOf(lifetime), LAST_DATE)
}

/** When the session ends if it was last used at a time, in milliseconds since the epoch; Infinity: never, by itself. */
export function endOf (lifetime: Lifetime, usedAt: number): number {
  const end = Math.min(usedAt + (idleOf(lifetime) ?? Infinity), lastEndOf(lifetime))
  return end === Infinity ? end : Math.min(end, LAST_DATE)
}

/** When the session ends however much it is used. */
function lastEndOf (lifetime: Lifetime): number {
  const life = cookieLifeOf(lifetime)
  return Math.min(life instanceof Date ? life.getTime() : Infinity, absoluteEndOf(lifetime))
}

function absoluteEndOf ({ createdAt, terms }: Lifetime): number {
  return createdAt + (terms.absoluteTimeout ?? Infinity)
}

/** The life of a stored session. A record that doesn't say when it was created counts from now. */
export function lifetimeIn (record: SessionRecord, terms: Terms, now: number): Lifetime {
  return { terms, createdAt: createdAtOf(record) || now, chosen: chosenIn(record, terms, now) }
}

/**
 * When the session was used last, as far as the record says, in milliseconds since the epoch; NaN when it doesn't. A
 * touch that moved only the store's clock isn't known.
 */
export function lastUseIn (record: SessionRecord): number {
  const seenAt = seenAtOf(record)
  const startedAt = expiryOf(record) - (idleIn(record) ?? NaN)
  return startedAt > seenAt || Number.isNaN(seenAt) ? startedAt : seenAt
}

/**
 * Whether a stored session is over by now, and by what.
 *
 * @param untold by how many idle times the store's own end may be later than the record tells: 0 if the record has it,
 *   half of one if touches move only the store's, because the record is written again after that
 */
export function whyOver (
  record: SessionRecord, terms: Terms, now: number, untold: number
): 'absolute-timeout' | 'expired' | undefined {
  const lifetime = lifetimeIn(record, terms, now)
  if (absoluteEndOf(lifetime) <= now) return 'absolute-timeout'
  return endIn(record, lifetime, untold) <= now ? 'expired' : undefined
}

/** When a stored session ends at the latest if it isn't used any more, in milliseconds since the epoch. */
export function endIn (record: SessionRecord, lifetime: Lifetime, untold: number): number {
  const end = expiryOf(record)
  if (Number.isNaN(end)) return absoluteEndOf(lifetime)
  const idle = idleIn(record)
  // One that was over when it was written is over whatever the idle time.
  if (idle === undefined || end <= seenAtOf(record)) return Math.min(end, absoluteEndOf(lifetime))
  const touched = idle * untold
  // Not by its last use, which isn't known if the end of a life cut the record's short.
  if (idleOf(lifetime) === idle) return Math.min(end + touched, lastEndOf(lifetime))
  return endOf(lifetime, lastUseIn(record) + touched)
}

/**
 * Whether the record was written under other terms than today's, so that its end, or what it says of it, isn't right.
 */
export function isOutdated (record: SessionRecord, lifetime: Lifetime): boolean {
  const { terms } = lifetime
  const { absoluteTimeout } = cookieOf(record)
  if (absoluteTimeout !== terms.absoluteTimeout) return true
  if (terms.absoluteTimeout !== undefined && Number.isNaN(createdAtOf(record))) return true
  const idle = idleOf(lifetime)
  if (idleIn(record) !== idle) return true
  return idle === undefined && isOurs(record) && (expiryOf(record) || Infinity) !== endOf(lifetime, 0)
}

/**
 * Whether half of the idle time has passed since the record was written. Whoever judges by the record's own end (this
 * library, for stores that move only their clock; version 11 beside it, always) must not find it too old.
 */
export function isAging (record: SessionRecord, lifetime: Lifetime, now: number): boolean {
  const idle = idleOf(lifetime)
  if (idle === undefined) return false
  const end = expiryOf(record)
  // Nothing moves the end any more, so the record tells no more than when the session was used.
  const isLast = end >= endOf(lifetime, now)
  // Don't invert: a record that says no end must be written too.
  return !(isLast ? now - seenAtOf(record) < idle / 2 : end - now >= idle / 2)
}

/** Whether the record says by itself who chose its lifetime. Those of older versions and of express-session don't. */
export function isOurs (record: SessionRecord): boolean {
  return !Number.isNaN(seenAtOf(record))
}

function idleIn (record: SessionRecord): number | undefined {
  const { idle, originalMaxAge } = cookieOf(record)
  const kept: unknown = isOurs(record) ? idle : originalMaxAge
  return typeof kept === 'number' && kept > 0 ? kept : undefined
}

function chosenIn (record: SessionRecord, terms: Terms, now: number): CookieLife | undefined {
  const { chosen, originalMaxAge, createdAt, absoluteTimeout } = cookieOf(record)
  if (!isOurs(record)) {
    if (originalMaxAge && isLifetime(originalMaxAge, now)) return originalMaxAge
    const end = expiryOf(record)
    // What 12.0.0 told stores of a cookie that ends with the browser: the absolute end.
    const isAbsolute = end === Math.trunc(numberIn(createdAt) + numberIn(absoluteTimeout))
    return typeof terms.cookie === 'number' || Number.isNaN(end) || isAbsolute ? undefined : new Date(end)
  }
  if (chosen === null) return null
  if (typeof chosen === 'number' && chosen > 0 && isLifetime(chosen, now)) return chosen
  const end = typeof chosen === 'number' ? NaN : timeIn(chosen)
  return Number.isNaN(end) ? undefined : new Date(end)
}

/** @throws FST_ERR_SESSION_COOKIE when the lifetime in the options can't be one */
export function checkLifetime ({ maxAge, expires }: CookieOptions): void {
  if (maxAge != null && (maxAge as unknown) !== false) dateAfter(maxAge)
  if (expires != null && (expires as unknown) !== false) checkedDate(expires)
}

/** @throws FST_ERR_SESSION_COOKIE */
export function dateAfter (milliseconds: number): Date {
  const now = Date.now()
  if (!isLifetime(milliseconds, now)) throw new CookieError('maxAge must be a number of milliseconds that leads to a date')
  return new Date(now + milliseconds)
}

/** @throws FST_ERR_SESSION_COOKIE */
export function checkedDate (value: Date | string | number): Date {
  const date = new Date(value)
  if (Number.isNaN(date.getTime())) throw new CookieError('expires is not a date')
  return date
}
