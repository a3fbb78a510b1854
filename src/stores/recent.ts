import type { EndCode, SessionStore, StoreKey } from '../types/store'

/** What happened to a session: it ended, a new one replaced it, or its lifetime was changed. */
type Fate = 'destroyed' | 'replaced' | 'relived'

interface Change {
  readonly fate: Fate
  /** Why it ended. */
  readonly code: EndCode
  /** The number of the change, to tell what came first. */
  readonly order: number
  /** In milliseconds since the epoch. */
  readonly at: number
}

// Enough for all open requests whose session changes.
const KEPT = 10_000

// How long a browser may still send the old cookie after a login, because it hasn't received the reply yet, in
// milliseconds.
const GRACE = 30_000

// By store, because two registrations may share a store and a visitor's cookie.
const changesOf = new WeakMap<SessionStore, RecentChanges>()

/** The recent changes of a store's sessions by this process. */
export function recentChangesOf (store: SessionStore): RecentChanges {
  let changes = changesOf.get(store)
  if (changes === undefined) changesOf.set(store, changes = new RecentChanges())
  return changes
}

/**
 * Recent changes of sessions by this process, for requests that loaded them before. Old ones are dropped, because an id
 * may be used again.
 */
export class RecentChanges {
  readonly #changes = new Map<string, Change>()
  /** Called when this process has ended a session. */
  readonly hearers = new Set<(key: StoreKey, code: EndCode) => void>()
  /** The number of changes so far. */
  now = 0

  mark (sessionId: string, fate: Fate, code: EndCode = 'replaced'): void {
    // A late change of the lifetime must not hide that the session has ended. Ending it again must not hide that the
    // visitor has a new cookie.
    if (fate === 'relived' && this.hasEnded(sessionId, 0)) return
    if (fate === 'destroyed' && this.wasReplaced(sessionId)) return
    this.#changes.delete(sessionId)
    this.#changes.set(sessionId, { fate, code, order: ++this.now, at: Date.now() })
    if (this.#changes.size <= KEPT) return
    const [oldest] = this.#changes.keys()
    this.#changes.delete(oldest as string)
  }

  /** The new session wasn't stored, so this one wasn't replaced. */
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

  /** Whether a new session has replaced this one, so that the visitor has the new cookie. */
  wasReplaced (sessionId: string): boolean {
    return this.#changes.get(sessionId)?.fate === 'replaced'
  }

  /** Whether that was so recently that the visitor may not have the new cookie yet. */
  wasJustReplaced (sessionId: string): boolean {
    const change = this.#changes.get(sessionId)
    return change?.fate === 'replaced' && Date.now() - change.at < GRACE
  }
}
