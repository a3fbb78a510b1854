import { isDeepStrictEqual } from 'node:util'
import type { FieldChanges, SessionChanges, SessionRecord } from '../types/store'

/** A record's fields under `cookie`: those that older software reads, and the library's own. */
export interface CookieRecord {
  /** When the session ends. */
  expires: Date | null
  originalMaxAge: number | null
  path: string
  httpOnly: boolean
  secure: boolean | 'auto' | null
  sameSite: boolean | 'lax' | 'strict' | 'none' | null
  domain: string | null
  partitioned: boolean | undefined
  /** When the session was created, in milliseconds since the epoch. */
  createdAt?: number
  /** When the visitor authenticated last, in milliseconds since the epoch. Missing if that isn't known. */
  authenticatedAt?: number
  /** The public key of the device that the session is bound to, with the time before it: see device-bound/guard.ts. */
  deviceKey?: string
  /** When the record was written, in milliseconds since the epoch. Records of older versions don't say. */
  seenAt?: number
  /** The idle timeout when the record was written, in milliseconds. */
  idle?: number
  /** The option when the record was written, in milliseconds. */
  absoluteTimeout?: number
  /** A handler's own choice of the cookie's life: milliseconds, an ISO date, or null for 'ends with the browser'. */
  chosen?: number | string | null
  /** The key of the session's user in the index. */
  userKey?: string
  /** When the claim for the user was last renewed, in milliseconds since the epoch. */
  claimedAt?: number
}

/** The condition of a write: these keys must still be as in a record that the store returned. */
export interface Expected {
  readonly record: SessionRecord
  readonly keys: readonly string[]
}

export const NO_FIELDS: FieldChanges = { set: {}, unset: [] }

/** The fields under `cookie`. Other software may have written anything there. */
export function cookieOf (record: SessionRecord): Partial<CookieRecord> {
  const { cookie } = record
  return typeof cookie === 'object' && cookie !== null ? cookie : {}
}

export function isRecord (value: unknown): value is SessionRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)
}

/** Whether the record's own expiry has passed. An expiry that can't be read never passes. */
export function isExpired (record: SessionRecord): boolean {
  return expiryOf(record) <= Date.now()
}

/** Whether the keys are the same in a newer record. null isn't the same as nothing, nor a Date as its text. */
export function isAsExpected (newer: SessionRecord, { record, keys }: Expected): boolean {
  return keys.every(key =>
    Object.hasOwn(newer, key) === Object.hasOwn(record, key) && isDeepStrictEqual(newer[key], record[key]))
}

/** The record's own expiry, in milliseconds since the epoch; NaN if it has none. */
export function expiryOf (record: SessionRecord): number {
  return timeIn(cookieOf(record).expires)
}

/** When the session was created, in milliseconds since the epoch; NaN if the record doesn't say. */
export function createdAtOf (record: SessionRecord): number {
  return numberIn(cookieOf(record).createdAt)
}

/** When the visitor authenticated last, in milliseconds since the epoch; undefined if the record doesn't say. */
export function authenticatedAtOf (record: SessionRecord): number | undefined {
  return numberIn(cookieOf(record).authenticatedAt) || undefined
}

/** The device key of a bound session; undefined if it isn't bound. */
export function deviceKeyOf (record: SessionRecord): string | undefined {
  const { deviceKey } = cookieOf(record)
  return typeof deviceKey === 'string' ? deviceKey : undefined
}

/** When the record was written, in milliseconds since the epoch; NaN if it doesn't say. */
export function seenAtOf (record: SessionRecord): number {
  return numberIn(cookieOf(record).seenAt)
}

/**
 * Returns a new record with the changes applied.
 *
 * @param end `session.cookie.expires`; see `movedEnd`
 */
export function applyChanges (record: SessionRecord, changes: SessionChanges, end: unknown): SessionRecord {
  const changed = applied(record, changes)
  // Missing if the application itself calls the store, as written for 12.0.0.
  const { meta = NO_FIELDS } = changes
  const cookie = applied(cookieOf(record), meta)
  if (!Object.hasOwn(meta.set, 'expires')) {
    const moved = movedEnd(cookie, end)
    if (!Number.isNaN(moved)) cookie.expires = new Date(moved)
  }
  changed.cookie = cookie
  return changed
}

/**
 * Where a use of the session moves its end, in milliseconds since the epoch; NaN if it doesn't move. Another request
 * may have chosen a shorter lifetime since, so the end moves no further than the idle timeout in the record.
 */
export function movedEnd (cookie: Partial<CookieRecord>, end: unknown): number {
  const { seenAt, idle } = cookie
  const latest = typeof seenAt === 'number' ? Date.now() + numberIn(idle) : Infinity
  const moved = Math.min(timeIn(end), latest)
  // If the record has no end, this is NaN too: the session already lives without limit.
  return moved > timeIn(cookie.expires) ? moved : NaN
}

function applied (fields: object, { set, unset }: FieldChanges): Record<string, unknown> {
  const result: Record<string, unknown> = { ...fields, ...set }
  for (const key of unset) delete result[key]
  return result
}

export function numberIn (value: unknown): number {
  return typeof value === 'number' ? value : NaN
}

/** A date as stores keep it, in milliseconds since the epoch; NaN for anything else. */
export function timeIn (value: unknown): number {
  if (!value) return NaN
  if (typeof value === 'string' || typeof value === 'number') return new Date(value).getTime()
  try {
    // Works for dates of other realms, and is 0.2 us faster than isDate. Throws for anything else.
    return Date.prototype.getTime.call(value)
  } catch {
    return NaN
  }
}
