import { CookieError } from '../errors'
import type { CookieOptions } from '../types/cookie'
import { cookieOf, createdAtOf, expiryOf, numberIn, seenAtOf, timeIn } from './record'
import type { SessionRecord } from '../types/store'

/**
 * How long a cookie lives: a number of milliseconds after the session's last use, until a date, or, with null, as long
 * as the browser runs.
 */
export type CookieLife = number | Date | null

/** The configured lifetimes, in milliseconds. */
export interface Terms {
  readonly cookie: CookieLife
  readonly idleTimeout: number | undefined
  readonly absoluteTimeout: number | undefined
}

/** What decides the lifetime of one session. */
export interface Lifetime {
  readonly terms: Terms
  /** In milliseconds since the epoch. */
  readonly createdAt: number
  /** A handler's choice for this session's cookie. */
  readonly chosen: CookieLife | undefined
}

// The end of the year 9999, in milliseconds since the epoch: a cookie's date has four digits (RFC 6265, 5.1.1).
const LAST_DATE = 253_402_300_799_999

/** Whether a cookie can carry the date that is this many milliseconds from now. */
export function isLifetime (milliseconds: unknown, now: number): milliseconds is number {
  return typeof milliseconds === 'number' && Math.abs(now + milliseconds) <= LAST_DATE
}

export function cookieLifeOf ({ chosen, terms }: Lifetime): CookieLife {
  return chosen === undefined ? terms.cookie : chosen
}

/**
 * How long after its last use the session ends, in milliseconds; undefined if only the store's own `ttl` decides. If
 * the cookie lives less long, the session ends with it.
 */
export function idleOf ({ chosen, terms }: Lifetime): number | undefined {
  const { cookie, idleTimeout } = terms
  // If a handler chose a cookie that ends with the browser, the configured idle timeout still counts.
  const life = chosen === undefined || (chosen === null && idleTimeout === undefined) ? cookie : chosen
  if (typeof life !== 'number') return idleTimeout
  return Math.min(life, idleTimeout ?? Infinity)
}

/**
 * When the cookie ends if the session was last used at a time, in milliseconds since the epoch; Infinity if it ends
 * with the browser.
 */
export function cookieEndOf (lifetime: Lifetime, usedAt: number): number {
  const life = cookieLifeOf(lifetime)
  if (life === null) return Infinity
  const end = typeof life === 'number' ? usedAt + life : life.getTime()
  return Math.min(end, absoluteEndOf(lifetime), LAST_DATE)
}

/** When the session ends if it was last used at a time, in milliseconds since the epoch; Infinity if it doesn't. */
export function endOf (lifetime: Lifetime, usedAt: number): number {
  const end = Math.min(usedAt + (idleOf(lifetime) ?? Infinity), lastEndOf(lifetime))
  return end === Infinity ? end : Math.min(end, LAST_DATE)
}

/** When the session ends even if it is in use. */
function lastEndOf (lifetime: Lifetime): number {
  const life = cookieLifeOf(lifetime)
  return Math.min(life instanceof Date ? life.getTime() : Infinity, absoluteEndOf(lifetime))
}

function absoluteEndOf ({ createdAt, terms }: Lifetime): number {
  return createdAt + (terms.absoluteTimeout ?? Infinity)
}

/** The lifetime of a stored session. A record without a creation date counts from now. */
export function lifetimeIn (record: SessionRecord, terms: Terms, now: number): Lifetime {
  return { terms, createdAt: createdAtOf(record) || now, chosen: chosenIn(record, terms, now) }
}

/**
 * When the session was last used, by its record, in milliseconds since the epoch; NaN if the record doesn't say. The
 * record doesn't know of a touch that moved only the store's expiry.
 */
export function lastUseIn (record: SessionRecord): number {
  const seenAt = seenAtOf(record)
  const startedAt = expiryOf(record) - (idleIn(record) ?? NaN)
  return startedAt > seenAt || Number.isNaN(seenAt) ? startedAt : seenAt
}

/**
 * Whether a stored session is over, and why.
 *
 * @param untold how much later the store's own end may be than the record's, in idle timeouts: 0 if the record has it;
 *   a half if touches move only the store's, because the record is written again after half an idle timeout
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
  // It was over when it was written, so the idle timeout doesn't matter.
  if (idle === undefined || end <= seenAtOf(record)) return Math.min(end, absoluteEndOf(lifetime))
  const touched = idle * untold
  // The last use isn't known if a fixed or absolute end made the record's end earlier.
  if (idleOf(lifetime) === idle) return Math.min(end + touched, lastEndOf(lifetime))
  return endOf(lifetime, lastUseIn(record) + touched)
}

/**
 * Whether the record was written with other options than today's, so that its end or its lifetime is wrong.
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
 * Whether half of the idle timeout has passed since the record was written. The record must not become too old, because
 * its own end counts for this library if a store moves only its own expiry, and always for version 11 beside it.
 */
export function isAging (record: SessionRecord, lifetime: Lifetime, now: number): boolean {
  const idle = idleOf(lifetime)
  if (idle === undefined) return false
  const end = expiryOf(record)
  // Nothing moves this end any more, so the record is written only for the last use.
  const isLast = end >= endOf(lifetime, now)
  // Don't invert: a record without an end must be written, too.
  return !(isLast ? now - seenAtOf(record) < idle / 2 : end - now >= idle / 2)
}

/** Whether the record says who chose its lifetime. Records of older versions and of express-session don't. */
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
    // If the cookie ends with the browser, 12.0.0 wrote the absolute end.
    const isAbsolute = end === Math.trunc(numberIn(createdAt) + numberIn(absoluteTimeout))
    return typeof terms.cookie === 'number' || Number.isNaN(end) || isAbsolute ? undefined : new Date(end)
  }
  if (chosen === null) return null
  if (typeof chosen === 'number' && chosen > 0 && isLifetime(chosen, now)) return chosen
  const end = typeof chosen === 'number' ? NaN : timeIn(chosen)
  return Number.isNaN(end) ? undefined : new Date(end)
}

/** @throws FST_ERR_SESSION_COOKIE if the options don't have a valid lifetime */
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
