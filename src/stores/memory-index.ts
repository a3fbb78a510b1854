import type { Claimed, Claiming, IndexEntry, Revoking } from '../types/store'

interface Entry {
  readonly fingerprint: string
  readonly claimedAt: number
  readonly enteredAt: number
  /** In milliseconds since the epoch. */
  readonly until: number
}

/** The sessions of one user, and those that are to be ended. */
interface OfUser {
  readonly entries: Map<string, Entry>
  /** When each may be forgotten, in milliseconds since the epoch. */
  readonly endings: Map<string, number>
}

// More than one claim adds, and few enough not to slow it down.
const SWEPT = 8
const PAGE = 100

/** The index by user in this process. */
export class MemoryIndex {
  readonly #users = new Map<string, OfUser>()
  #lastClaim = 0

  claim (userKey: string, sessionId: string, claiming: Claiming): Claimed {
    const { replaces, isWritten, max, refuses } = claiming
    const ofUser = this.#ofUser(userKey)
    const { entries, endings } = ofUser
    sweep(entries, ({ until }) => until, entries.size >= max ? Infinity : SWEPT)
    sweep(endings, until => until, SWEPT)
    const outcome = this.#outcomeOf(sessionId, claiming, ofUser)
    if (outcome !== 'entered') {
      this.#forgetIfEmpty(userKey)
      return { outcome, tooMany: [] }
    }
    const place = replaces === undefined ? undefined : entries.get(replaces)
    if (replaces !== undefined) entries.delete(replaces)
    this.#enter(entries, sessionId, claiming, place)
    return { outcome, tooMany: isWritten && !refuses ? this.#end(ofUser, entries.size - max) : [] }
  }

  release (userKey: string, sessionIds: readonly string[]): void {
    const ofUser = this.#users.get(userKey)
    for (const sessionId of sessionIds) {
      ofUser?.entries.delete(sessionId)
      ofUser?.endings.delete(sessionId)
    }
    this.#forgetIfEmpty(userKey)
  }

  revoke (userKey: string, which: Revoking): number {
    const ofUser = this.#users.get(userKey)
    if (ofUser === undefined) return 0
    const { entries, endings } = ofUser
    let count = 0
    for (const [sessionId, { fingerprint, until }] of entries) {
      if (sessionId === which.except || (which.fingerprint ?? fingerprint) !== fingerprint) continue
      entries.delete(sessionId)
      endings.set(sessionId, until)
      count++
    }
    return count
  }

  endingsOf (userKey: string): string[] {
    const ids: string[] = []
    for (const sessionId of this.#users.get(userKey)?.endings.keys() ?? []) {
      if (ids.push(sessionId) === PAGE) break
    }
    return ids
  }

  claimsOf (userKey: string, before: number, count: number): IndexEntry[] {
    const now = Date.now()
    return [...this.#users.get(userKey)?.entries ?? []]
      .filter(([, { claimedAt, until }]) => claimedAt < before && until > now)
      .sort(([, a], [, b]) => b.claimedAt - a.claimedAt)
      .slice(0, count)
      .map(([sessionId, { fingerprint, claimedAt, enteredAt }]) => {
        return { sessionId, fingerprint, claimedAt, age: now - enteredAt }
      })
  }

  clear (): void {
    this.#users.clear()
  }

  #outcomeOf (
    sessionId: string, { replaces, isWritten, max, refuses }: Claiming, { entries, endings }: OfUser
  ): Claimed['outcome'] {
    if (endings.has(sessionId) || (replaces !== undefined && endings.has(replaces))) return 'ending'
    if (replaces !== undefined) return entries.has(replaces) ? 'entered' : 'lost'
    if (entries.has(sessionId)) return 'entered'
    if (isWritten) return 'lost'
    return refuses && entries.size >= max ? 'full' : 'entered'
  }

  #enter (entries: OfUser['entries'], sessionId: string, claiming: Claiming, place: Entry | undefined): void {
    const now = Date.now()
    const known = entries.get(sessionId)
    const { fingerprint } = known ?? place ?? claiming
    // No two claims have the same time, even within a millisecond.
    const { claimedAt } = known ?? place ?? { claimedAt: this.#lastClaim = Math.max(now, this.#lastClaim + 0.001) }
    const until = Math.max(known?.until ?? 0, now + (claiming.lives ?? Infinity))
    entries.set(sessionId, { fingerprint, claimedAt, enteredAt: known?.enteredAt ?? now, until })
  }

  /** Revokes the oldest sessions. */
  #end ({ entries, endings }: OfUser, count: number): string[] {
    if (count <= 0) return []
    const oldest = [...entries].sort(([, a], [, b]) => a.claimedAt - b.claimedAt).slice(0, count)
    return oldest.map(([sessionId, { until }]) => {
      entries.delete(sessionId)
      endings.set(sessionId, until)
      return sessionId
    })
  }

  #ofUser (userKey: string): OfUser {
    let ofUser = this.#users.get(userKey)
    if (ofUser === undefined) this.#users.set(userKey, ofUser = { entries: new Map(), endings: new Map() })
    return ofUser
  }

  #forgetIfEmpty (userKey: string): void {
    const ofUser = this.#users.get(userKey)
    if (ofUser?.entries.size === 0 && ofUser.endings.size === 0) this.#users.delete(userKey)
  }
}

/** Looks at a number of entries and drops the expired ones. The next call looks at the next entries. */
function sweep<T> (map: Map<string, T>, untilOf: (value: T) => number, count: number): void {
  const now = Date.now()
  let left = Math.min(count, map.size)
  for (const [sessionId, value] of map) {
    if (left-- === 0) break
    map.delete(sessionId)
    if (untilOf(value) > now) map.set(sessionId, value)
  }
}
