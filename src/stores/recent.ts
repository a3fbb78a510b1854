import type { EndCode, SessionStore, StoreKey } from '../types/store'

/** What became of a session: it ended, a new one took its place, or its lifetime was changed. */
type Fate = 'destroyed' | 'replaced' | 'relived'

interface Change {
  readonly fate: Fate
  /** Of what ended. */
  readonly code: EndCode
  /** A time of our own, by which to tell what came first. */
  readonly order: number
  /** In milliseconds since the epoch. */
  readonly at: number
}

// Enough for every request that is under way while its session changes.
const KEPT = 10_000

// How long a browser may send the cookie of before, because it hasn't seen the answer to its login yet. In
// milliseconds.
const GRACE = 30_000

// By store and not by registration, because two registrations may share one store, and a visitor's cookie.
const changesOf = new WeakMap<SessionStore, RecentChanges>()

/** What this process has done to a store's sessions lately. */
export function recentChangesOf (store: SessionStore): RecentChanges {
  let changes = changesOf.get(store)
  if (changes === undefined) changesOf.set(store, changes = new RecentChanges())
  return changes
}

/**
 * What this process has done to sessions lately, for requests that loaded them before. Not for ever: ids may come
 * again.
 */
export class RecentChanges {
  readonly #changes = new Map<string, Change>()
  /** Are called when this process has ended a session. */
  readonly hearers = new Set<(key: StoreKey, code: EndCode) => void>()
  /** How many changes there were. */
  now = 0

  mark (sessionId: string, fate: Fate, code: EndCode = 'replaced'): void {
    // A late request that changes the lifetime of what has ended must not hide that, nor may one that ends it again
    // hide that the visitor has another cookie by now.
    if (fate === 'relived' && this.hasEnded(sessionId, 0)) return
    if (fate === 'destroyed' && this.wasReplaced(sessionId)) return
    this.#changes.delete(sessionId)
    this.#changes.set(sessionId, { fate, code, order: ++this.now, at: Date.now() })
    if (this.#changes.size <= KEPT) return
    const [oldest] = this.#changes.keys()
    this.#changes.delete(oldest as string)
  }

  /** No session took the place of this one after all. */
  unreplace (sessionId: string): void {
    this.#changes.delete(sessionId)
    this.mark(sessionId, 'destroyed')
  }

  /** Whether the session has ended since a time. */
  hasEnded (sessionId: string, since: number): boolean {
    return this.endSince(sessionId, since) !== undefined
  }

  /** Why the session has ended since a time; undefined if it hasn't, as far as this process knows. */
  endSince (sessionId: string, since: number): EndCode | undefined {
    const change = this.#changes.get(sessionId)
    return change !== undefined && change.fate !== 'relived' && change.order > since ? change.code : undefined
  }

  /** Whether the session's lifetime was changed since a time. */
  wasRelived (sessionId: string, since: number): boolean {
    const change = this.#changes.get(sessionId)
    return change?.fate === 'relived' && change.order > since
  }

  /** Whether a new session took the place of this one, so that the visitor's cookie is the new one's by now. */
  wasReplaced (sessionId: string): boolean {
    return this.#changes.get(sessionId)?.fate === 'replaced'
  }

  /** Whether that was so short a time ago that the visitor may not have the new one's cookie yet. */
  wasJustReplaced (sessionId: string): boolean {
    const change = this.#changes.get(sessionId)
    return change?.fate === 'replaced' && Date.now() - change.at < GRACE
  }
}
