/** Which fields of a session's cookie RedisStore and PostgresStore keep, and how long they keep the session. */
import { expiryOf } from '../values/record'
import type { SessionRecord } from '../types/store'

/** The library's own fields of a session, which are under `cookie` in its record. */
export type Meta = Record<string, unknown>

export const COOKIE = 'cookie'

/** The cookie's attributes. They are never kept, because the configuration decides them. */
export const ATTRIBUTES = new Set(['path', 'httpOnly', 'secure', 'sameSite', 'domain', 'partitioned', 'priority'])

// The library's own fields that decide when a session ends.
const LIMITS = ['idle', 'createdAt', 'absoluteTimeout']

// An idle timeout must be shorter, because PEXPIRE couldn't take it.
const LONGEST_LIFE = 1e15

export function isData (key: string): boolean {
  return key !== COOKIE
}

export function isMeta (name: string): boolean {
  return name !== 'expires' && name !== 'originalMaxAge' && !ATTRIBUTES.has(name)
}

/**
 * The session's end as it was written, in milliseconds since the epoch; NaN if it has none of its own. If the session
 * has only an absolute end, `expires` contains that. The result is NaN then, too: the store's ttl is its idle timeout.
 */
export function ownEndOf (cookie: Meta): number {
  const end = expiryOf({ cookie })
  const isAbsolute = end === Math.trunc(absoluteEndOf(cookie)) && cookie.chosen === undefined &&
    !isLife(cookie.idle) && !isLife(cookie.originalMaxAge)
  return isAbsolute ? NaN : end
}

/**
 * The session's idle timeout, in milliseconds; 0 if its end is fixed.
 *
 * @param ttl the store's ttl, for a session without an end
 */
export function lifeOf (cookie: Meta, ttl: number): number {
  if (isLife(cookie.idle)) return cookie.idle
  if (isLife(cookie.originalMaxAge)) return cookie.originalMaxAge
  return Number.isNaN(ownEndOf(cookie)) ? ttl : 0
}

/** How much longer the store keeps a session, so that reads move the end only once in a hundredth of its life. */
export function slackOf (life: number): number {
  return life / 100
}

/**
 * How long the store must keep a session that is written now, in milliseconds. Never past its absolute end.
 *
 * @param ttl the store's ttl, for a session without an end
 */
export function timeToKeep (session: object, ttl: number): number {
  const cookie = metaOf((session as SessionRecord).cookie)
  const life = lifeOf(cookie, ttl)
  const now = Date.now()
  const end = ownEndOf(cookie)
  const left = Number.isNaN(end) ? life : end - now
  return Math.ceil(left <= 0 ? left : Math.min(left + slackOf(life), absoluteEndOf(cookie) - now))
}

/**
 * How a write moves the end that the store keeps, as a number for scripts and statements:
 * - 0: only to a later time
 * - 1: exactly to the written time
 * - 2: to a later time, or to an earlier one if the written fields limit it
 * - 3: only to an earlier time, if the written fields limit it
 *
 * @param set the library's own fields that are written
 * @param end the session's own end, in milliseconds since the epoch; NaN if it has none
 */
export function endMoveOf (set: Meta, end: number): number {
  if (Object.hasOwn(set, 'expires')) return 1
  if (!LIMITS.some(name => Object.hasOwn(set, name))) return 0
  // Writing only the creation date isn't a use of the session.
  return Number.isFinite(end) || Object.hasOwn(set, 'seenAt') ? 2 : 3
}

/** The session's absolute end, in milliseconds since the epoch; Infinity if it has no absolute timeout. */
export function absoluteEndOf ({ createdAt, absoluteTimeout }: Meta): number {
  return typeof createdAt === 'number' && typeof absoluteTimeout === 'number' ? createdAt + absoluteTimeout : Infinity
}

/** The value if it is an object, otherwise an empty object: other software may have written anything. */
export function objectOf (value: unknown): Meta {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Meta : {}
}

/** The fields of a cookie, from a record or from a live session. */
export function metaOf (cookie: unknown): Meta {
  // The cookie of a live session has toJSON.
  const { toJSON } = objectOf(cookie)
  return objectOf(typeof toJSON === 'function' ? toJSON.call(cookie) : cookie)
}

function isLife (value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value < LONGEST_LIFE
}
