import type { Choice } from './cookie'
import type { Stored } from '../stores/repository'
import {
  cookieEndOf, cookieLifeOf, endIn, idleOf, isAging, isOurs, isOutdated, lastUseIn, lifetimeIn, type CookieLife,
  type Lifetime, type Terms
} from '../values/lifetime'
import { createdAtOf, expiryOf, seenAtOf } from '../values/record'

// The precision of a cookie's date, in milliseconds.
const COOKIE_GRAIN = 1000

/** The lifetime of a session in one request: what its record says, and how the request has changed it. */
export class Life {
  /** Without the handler's choice since the last write. */
  lifetime: Lifetime
  readonly #stored: Stored | undefined
  /** When this request wrote the record, in milliseconds since the epoch. */
  writtenAt: number | undefined
  /** The time of the use that the store was told last, in milliseconds since the epoch. */
  toldAt: number | undefined
  /** When this request last moved the store's end, in milliseconds since the epoch. */
  #movedAt: number

  /** @param chosen the lifetime that a handler chose; only for a new session */
  constructor (stored: Stored | undefined, terms: Terms, chosen: CookieLife | undefined) {
    const now = Date.now()
    this.#stored = stored
    this.#movedAt = now
    this.lifetime = stored === undefined ? { terms, createdAt: now, chosen } : lifetimeIn(stored.record, terms, now)
  }

  markWritten (at: number, choice: Choice | undefined): void {
    if (choice !== undefined) this.lifetime = { ...this.lifetime, chosen: choice.life }
    this.writtenAt = this.#movedAt = at
  }

  /** Whether the record's lifetime is out of date, so that the whole lifetime is written. */
  get isNew (): boolean {
    return this.writtenAt === undefined && this.#stored !== undefined && isOutdated(this.#stored.record, this.lifetime)
  }

  /** Whether older software wrote the record, which doesn't say who chose the lifetime. */
  get isOlder (): boolean {
    return this.writtenAt === undefined && this.#stored !== undefined && !isOurs(this.#stored.record)
  }

  /** Whether the record must be written because an absolute timeout applies and it lacks the creation date. */
  get isUndated (): boolean {
    const { absoluteTimeout } = this.lifetime.terms
    return absoluteTimeout !== undefined && this.#stored !== undefined && Number.isNaN(createdAtOf(this.#stored.record))
  }

  /** Whether a use of the session must write the record, even if nothing changed. */
  get isOutdated (): boolean {
    // If the store's own end is known, the record's doesn't matter.
    const isExact = this.#stored?.isExact === true
    const now = Date.now()
    if (this.writtenAt !== undefined) return !isExact && now - this.writtenAt >= (idleOf(this.lifetime) ?? Infinity) / 2
    return this.isNew || (!isExact && this.#stored !== undefined && isAging(this.#stored.record, this.lifetime, now))
  }

  /** Whether the store's end must be moved again, to be no earlier than the cookie's. */
  get isBehind (): boolean {
    return Date.now() - this.#movedAt >= COOKIE_GRAIN
  }

  /** Whether the record was written less than `refreshAfter` ago. */
  isFresh (refreshAfter: number): boolean {
    if (refreshAfter === 0 || this.#stored === undefined) return false
    // A session with a shorter lifetime would end before it is prolonged.
    if ((idleOf(this.lifetime) ?? Infinity) <= refreshAfter) return false
    return Date.now() - seenAtOf(this.#stored.record) < refreshAfter
  }

  /** When the visitor's cookie ends, in milliseconds since the epoch; NaN if that isn't known. */
  knownCookieEnd (lifetime: Lifetime): number {
    const stored = this.#stored
    if (stored === undefined || typeof cookieLifeOf(lifetime) !== 'number') return cookieEndOf(lifetime, Date.now())
    return stored.isExact ? cookieEndOf(lifetime, lastUseIn(stored.record)) : NaN
  }
}

/**
 * When a stored session ends if it isn't used any more, in milliseconds since the epoch; undefined if it doesn't end,
 * or if the end isn't known.
 */
export function knownEndOf ({ record, isExact }: Stored, lifetime: Lifetime): number | undefined {
  const end = endIn(record, lifetime, 0)
  // If touches can't move the end, the record's is right on every store.
  if (!Number.isFinite(end) || (!isExact && endIn(record, lifetime, Infinity) !== end)) return undefined
  return Math.min(end, expiryOf(record) || Infinity)
}
