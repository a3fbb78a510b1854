import { isDeepStrictEqual } from 'node:util'
import type { FieldChanges, SessionChanges, SessionRecord } from '../types/store'

/** What a record has under `cookie`: what older software reads there, and the library's own fields. */
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
  /** When the visitor authenticated last, in milliseconds since the epoch. Missing if nobody has said. */
  authenticatedAt?: number
  /** The public key of the device that the session is bound to, and since when: see device-bound/proofs.ts. */
  deviceKey?: string
  /** When the record was written, in milliseconds since the epoch. Records of older versions don't say. */
  seenAt?: number
  /** How long after its last use the session ends, in milliseconds, when the record was written. */
  idle?: number
  /** In milliseconds, when the record was written. */
  absoluteTimeout?: number
  /** A handler's own choice of the cookie's life: milliseconds, an ISO date, or null for 'ends with the browser'. */
  chosen?: number | string | null
  /** Whose session it is. */
  userKey?: string
  /** When the store's index by user heard of it last, in milliseconds since the epoch. */
  claimedAt?: number
}

/** What must still be so when something is written: these keys, as they are in a record that the store handed out. */
export interface Expected {
  readonly record: SessionRecord
  readonly keys: readonly string[]
}

const NO_FIELDS: FieldChanges = { set: {}, unset: [] }

/** What is under `cookie`, whatever other software wrote there. */
export function cookieOf (record: SessionRecord): Partial<CookieRecord> {
  const { cookie } = record
  return typeof cookie === 'object' && cookie !== null ? cookie : {}
}

export function isRecord (value: unknown): value is SessionRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)
}

/** Whether the record's own expiry has passed. One that can't be read counts as none. */
export function isExpired (record: SessionRecord): boolean {
  return expiryOf(record) <= Date.now()
}

/** Whether the keys are the same in a newer record. null isn't the same as nothing, nor a Date as its text. */
export function isAsExpected (newer: SessionRecord, { record, keys }: Expected): boolean {
  return keys.every(key =>
    Object.hasOwn(newer, key) === Object.hasOwn(record, key) && isDeepStrictEqual(newer[key], record[key]))
}

/** When the record expires by its own word, in milliseconds since the epoch; NaN when it doesn't say. */
export function expiryOf (record: SessionRecord): number {
  return timeIn(cookieOf(record).expires)
}

/** When the session was created, in milliseconds since the epoch; NaN when the record doesn't say. */
export function createdAtOf (record: SessionRecord): number {
  return numberIn(cookieOf(record).createdAt)
}

/** When the visitor authenticated last, in milliseconds since the epoch; undefined when the record doesn't say. */
export function authenticatedAtOf (record: SessionRecord): number | undefined {
  return numberIn(cookieOf(record).authenticatedAt) || undefined
}

/** What the session is bound to; undefined if it isn't. */
export function deviceKeyOf (record: SessionRecord): string | undefined {
  const { deviceKey } = cookieOf(record)
  return typeof deviceKey === 'string' ? deviceKey : undefined
}

/** When the record was written, in milliseconds since the epoch; NaN when it doesn't say. */
export function seenAtOf (record: SessionRecord): number {
  return numberIn(cookieOf(record).seenAt)
}

/**
 * The record that the changes make of a record; neither is changed.
 *
 * @param end what `session.cookie.expires` says; see `movedEnd`
 */
export function applyChanges (record: SessionRecord, changes: SessionChanges, end: unknown): SessionRecord {
  const changed = applied(record, changes)
  // Missing if somebody calls a store by hand, as for 12.0.0.
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
 * Where a use of the session moves its end, in milliseconds since the epoch; NaN if it doesn't. Whoever uses it may
 * not know of a lifetime that somebody has chosen since, so it is moved no further than what the record says of the
 * idle time.
 */
export function movedEnd (cookie: Partial<CookieRecord>, end: unknown): number {
  const { seenAt, idle } = cookie
  const latest = typeof seenAt === 'number' ? Date.now() + numberIn(idle) : Infinity
  const moved = Math.min(timeIn(end), latest)
  // Without an end there is nothing that could be later.
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
    // Knows dates of other realms, 0.2 us faster than isDate. Throws for anything else.
    return Date.prototype.getTime.call(value)
  } catch {
    return NaN
  }
}
