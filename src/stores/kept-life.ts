/** What RedisStore and PostgresStore keep of a session's cookie, and how long they keep the session. */
import { expiryOf } from '../values/record'
import type { SessionRecord } from '../types/store'

/** The library's own fields of a session, which stand under `cookie` in its record. */
export type Meta = Record<string, unknown>

export const COOKIE = 'cookie'

/** What other software reads in a cookie, and configuration decides. Never kept. */
export const ATTRIBUTES = new Set(['path', 'httpOnly', 'secure', 'sameSite', 'domain', 'partitioned', 'priority'])

// The library's own fields that decide when a session ends.
const LIMITS = ['idle', 'createdAt', 'absoluteTimeout']

// No idle time is longer: PEXPIRE couldn't take it.
const LONGEST_LIFE = 1e15

export function isData (key: string): boolean {
  return key !== COOKIE
}

export function isMeta (name: string): boolean {
  return name !== 'expires' && name !== 'originalMaxAge' && !ATTRIBUTES.has(name)
}

/**
 * The session's end by what was written, in milliseconds since the epoch; NaN if it has none of its own. Of one that
 * has an absolute end only, that stands there, too: how long such a session may be idle the store's ttl says.
 */
export function ownEndOf (cookie: Meta): number {
  const end = expiryOf({ cookie })
  const isAbsolute = end === Math.trunc(absoluteEndOf(cookie)) && cookie.chosen === undefined &&
    !isLife(cookie.idle) && !isLife(cookie.originalMaxAge)
  return isAbsolute ? NaN : end
}

/**
 * How long the session may be idle, in milliseconds; 0 for one with a fixed end.
 *
 * @param ttl the store's, for a session without an end
 */
export function lifeOf (cookie: Meta, ttl: number): number {
  if (isLife(cookie.idle)) return cookie.idle
  if (isLife(cookie.originalMaxAge)) return cookie.originalMaxAge
  return Number.isNaN(ownEndOf(cookie)) ? ttl : 0
}

/** By how much the store keeps a session longer, so that a read moves the end only once in a hundredth of its life. */
export function slackOf (life: number): number {
  return life / 100
}

/**
 * How long the store must keep a session that is written now, in milliseconds. Never past its absolute end.
 *
 * @param ttl the store's, for a session without an end
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
 * How a write moves the end that the store keeps, by the numbers that scripts and statements know. 0: to a later one.
 * 1: exactly to the one that is written. 2: also to an earlier one, by the limits that are written. 3: only to that.
 *
 * @param set the library's own fields that are written
 * @param end the session's own, in milliseconds since the epoch; NaN if it has none
 */
export function endMoveOf (set: Meta, end: number): number {
  if (Object.hasOwn(set, 'expires')) return 1
  if (!LIMITS.some(name => Object.hasOwn(set, name))) return 0
  // Writing only the creation date isn't a use of the session.
  return Number.isFinite(end) || Object.hasOwn(set, 'seenAt') ? 2 : 3
}

/** When the session ends however much it is used, in milliseconds since the epoch. */
export function absoluteEndOf ({ createdAt, absoluteTimeout }: Meta): number {
  return typeof createdAt === 'number' && typeof absoluteTimeout === 'number' ? createdAt + absoluteTimeout : Infinity
}

/** Whatever other software wrote there. */
export function objectOf (value: unknown): Meta {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Meta : {}
}

/** The fields of a cookie, which may be a live one. */
export function metaOf (cookie: unknown): Meta {
  // A live cookie says what it holds by its toJSON.
  const { toJSON } = objectOf(cookie)
  return objectOf(typeof toJSON === 'function' ? toJSON.call(cookie) : cookie)
}

function isLife (value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value < LONGEST_LIFE
}
