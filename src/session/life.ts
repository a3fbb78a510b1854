import type { Choice } from './cookie'
import type { Stored } from '../stores/repository'
import {
  cookieEndOf, cookieLifeOf, endIn, idleOf, isAging, isOurs, isOutdated, lastUseIn, lifetimeIn, type CookieLife,
  type Lifetime, type Terms
} from '../values/lifetime'
import { createdAtOf, expiryOf, seenAtOf } from '../values/record'

// What a cookie's date tells, in milliseconds.
const COOKIE_GRAIN = 1000

/** The lifetime of a session in one request: what its record says, and what the request has made of it. */
export class Life {
  /** Without what the handler has chosen since it was written last. */
  lifetime: Lifetime
  readonly #stored: Stored | undefined
  /** When this request wrote the record, so that it says what is today's. In milliseconds since the epoch. */
  writtenAt: number | undefined
  /** From when the end counts that the store was told last, in milliseconds since the epoch. */
  toldAt: number | undefined
  /** When this request moved the end that the store keeps, in milliseconds since the epoch. */
  #movedAt: number

  /** @param chosen for a new session */
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

  /** Whether what the record says of the lifetime isn't what counts, so that the whole lifetime is written. */
  get isNew (): boolean {
    return this.writtenAt === undefined && this.#stored !== undefined && isOutdated(this.#stored.record, this.lifetime)
  }

  /** Whether the record, of older software, can't say who chose its lifetime. */
  get isOlder (): boolean {
    return this.writtenAt === undefined && this.#stored !== undefined && !isOurs(this.#stored.record)
  }

  /** Whether the record must be written because it doesn't say by which absolute timeout, and from when, it ends. */
  get isUndated (): boolean {
    const { absoluteTimeout } = this.lifetime.terms
    return this.writtenAt === undefined && this.#stored !== undefined &&
      absoluteTimeout !== undefined && Number.isNaN(createdAtOf(this.#stored.record))
  }

  /** Whether the record must be written, though nothing changed, when the session is used. */
  get isOutdated (): boolean {
    // Whoever knows the store's own end needn't judge by the record's.
    const isExact = this.#stored?.isExact === true
    const now = Date.now()
    if (this.writtenAt !== undefined) return !isExact && now - this.writtenAt >= (idleOf(this.lifetime) ?? Infinity) / 2
    return this.isNew || (!isExact && this.#stored !== undefined && isAging(this.#stored.record, this.lifetime, now))
  }

  /** Whether the store's end was moved so long ago that it is moved again, for the cookie's that goes out. */
  get isBehind (): boolean {
    return Date.now() - this.#movedAt >= COOKIE_GRAIN
  }

  /** Whether the record was written less than `refreshAfter` ago. */
  isFresh (refreshAfter: number): boolean {
    if (refreshAfter === 0 || this.#stored === undefined) return false
    // A session whose own life is shorter would end before it is renewed.
    if ((idleOf(this.lifetime) ?? Infinity) <= refreshAfter) return false
    return Date.now() - seenAtOf(this.#stored.record) < refreshAfter
  }

  /** When the cookie ends that the visitor has, in milliseconds since the epoch; NaN if that isn't known. */
  knownCookieEnd (lifetime: Lifetime): number {
    const stored = this.#stored
    if (stored === undefined || typeof cookieLifeOf(lifetime) !== 'number') return cookieEndOf(lifetime, Date.now())
    return stored.isExact ? cookieEndOf(lifetime, lastUseIn(stored.record)) : NaN
  }
}

/**
 * When a stored session ends if it isn't used any more, in milliseconds since the epoch; undefined if it doesn't, or if
 * nobody knows.
 */
export function knownEndOf ({ record, isExact }: Stored, lifetime: Lifetime): number | undefined {
  const end = endIn(record, lifetime, 0)
  // What touches don't move is known on every store.
  if (!Number.isFinite(end) || (!isExact && endIn(record, lifetime, Infinity) !== end)) return undefined
  return Math.min(end, expiryOf(record) || Infinity)
}
