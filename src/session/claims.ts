import type { IndexKeys } from './index-keys'
import type { SessionState } from './state'
import { fingerprint } from '../diagnostics'
import { StoreTimeoutError, TooManyError } from '../errors'
import type { IndexSettings } from '../options/settings'
import { promised } from '../stores/call'
import type { KeyedClaimed, Repository, Stored } from '../stores/repository'
import { renewalOf, USER, type Claim, type ClaimMap } from '../values/claim'
import { endOf, idleOf } from '../values/lifetime'
import { createdAtOf } from '../values/record'
import type { FastifySessionObject } from '../types/session'
import type { Answer, EndCode, StoreKey } from '../types/store'

type Write = (answer: Answer<boolean>) => void

/** What a write needs from the index beyond the session's own entries. */
interface Entries {
  /** The session as the store has it. */
  asStored (storeKey: StoreKey, stored: Stored): FastifySessionObject
  /** Ends sessions that were revoked. */
  endAll (key: string, storeKeys: readonly StoreKey[], code: EndCode): Promise<unknown>
  /** Drops the entries of expired sessions. */
  tidy (key: string, count: number): Promise<unknown>
  /** Drops entries of a session, unless its record has them. */
  dropVain (keys: readonly string[], storeKey: StoreKey): Promise<unknown>
}

/** How a write changes one claim of the session: it enters under a key, renews its entry, or leaves the key. */
interface Move {
  readonly name: string
  readonly kind: 'enter' | 'renew' | 'leave'
  readonly key: string | undefined
  /** The claim that the store has. */
  readonly had: Claim | undefined
}

/** How many sessions a key may have. */
type Limit = Pick<IndexSettings, 'maxPerUser' | 'refuses'>

const NO_LIMIT: Limit = { maxPerUser: Infinity, refuses: false }

/**
 * A new session is claimed before it is written, and a session is removed before its successor takes over its entries.
 * So lists keep an entry without a session this long, in milliseconds.
 */
export const GRACE = 60_000

/** Keeps the store's index up to date when sessions are written. */
export class Claims {
  readonly #settings: IndexSettings
  readonly #keys: IndexKeys
  readonly #repository: Repository
  readonly #entries: Entries

  constructor (settings: IndexSettings, keys: IndexKeys, repository: Repository, entries: Entries) {
    this.#settings = settings
    this.#keys = keys
    this.#repository = repository
    this.#entries = entries
  }

  /** Writes a session, and enters it under its keys. Answers with whether it still exists. */
  write (state: SessionState, write: Write, answer: Answer<boolean>): void {
    const { authenticatedAt } = state
    let moves: Move[]
    try {
      moves = this.#movesOf(state)
    } catch (error) {
      answer(error as Error)
      return
    }
    if (moves.length === 0) {
      write(answer)
      return
    }
    this.#writeAndMove(state, moves, write).then(found => answer(null, found), error => {
      state.authenticatedAt = authenticatedAt
      answer(error)
    })
  }

  /** When the visitor authenticated last, including a login that isn't written yet. */
  authenticatedAt (state: SessionState): number | undefined {
    return this.#authenticatedAt(state, this.#keys.keyOf(USER, state.session), this.#keysBefore(state)(USER))
  }

  /**
   * The session's owner before this request changed it, by the application's `user` function: if the application has
   * changed how it names its users since the record was written, that isn't a login.
   */
  ownerBefore (state: SessionState): string | undefined {
    const { claims, life, found: { stored }, storeKey, isInStore, ownerTaken } = state
    if (!isInStore) return ownerTaken
    return stored === undefined || life.writtenAt !== undefined
      ? claims.get(USER)?.key
      : this.#keys.keyOf(USER, this.#entries.asStored(storeKey, stored))
  }

  #authenticatedAt (state: SessionState, key: string | undefined, before: string | undefined): number | undefined {
    const isSame = (state.isInStore && key === before) || key === this.ownerBefore(state)
    if (isSame) return state.authenticatedAt
    return key === undefined ? undefined : Date.now()
  }

  /** The claims that change. Also notes a login in `authenticatedAt`. */
  #movesOf (state: SessionState): Move[] {
    const { session, replaces } = state
    const before = this.#keysBefore(state)
    const claims = this.#keys.names.map(name => ({ name, key: this.#keys.keyOf(name, session), before: before(name) }))
    const user = claims.find(({ name }) => name === USER)
    if (user !== undefined) state.authenticatedAt = this.#authenticatedAt(state, user.key, user.before)
    // If a handler or the configuration has made the lifetime longer, the entries must live longer, too.
    const isOlder = state.claimIsAging || state.wasChosen || state.life.isOutdated
    // A session that this write ends, as by a `maxAge` of -1, leaves its keys.
    const now = Date.now()
    const isOver = endOf(state.lifetime, now) <= now
    const moves: Move[] = []
    for (const { name, key: wanted, before } of claims) {
      const key = isOver ? undefined : wanted
      const isSame = key === before && replaces?.claims.get(name) === undefined
      const had = state.claims.get(name)
      if (!isSame) moves.push({ name, key, had, kind: key === undefined ? 'leave' : 'enter' })
      else if (isOlder && key !== undefined) moves.push({ name, key, had, kind: 'renew' })
    }
    return moves
  }

  /** If the record has no claim, the application is asked, so that an older session isn't refused as a new login. */
  #keysBefore (state: SessionState): (name: string) => string | undefined {
    const { claims, life, found: { stored }, storeKey } = state
    let session: FastifySessionObject | undefined
    return name => {
      const claim = claims.get(name)
      if (claim !== undefined || stored === undefined || life.writtenAt !== undefined) return claim?.key
      session ??= this.#entries.asStored(storeKey, stored)
      return this.#keys.keyOf(name, session)
    }
  }

  /**
   * Claims, writes, and claims again. If the sessions under a key are revoked in between, the second claim finds that
   * out.
   */
  async #writeAndMove (state: SessionState, moves: readonly Move[], write: Write): Promise<boolean> {
    const { claims: before } = state
    let isWritten = false
    let isUnknown = false
    state.claims = without(moves, before)
    try {
      // Without a claim it is written at once, because a handler that doesn't wait may change it afterwards.
      const isAtOnce = moves.every(({ kind }) => kind === 'leave')
      if (!isAtOnce && !await this.#claimAll(state, moves)) {
        state.claims = before
        return await this.#giveUp(state, moves)
      }
      isWritten = await promised(write).catch((error: Error) => {
        // It may still take effect. Then a revocation must find the session.
        isUnknown = error instanceof StoreTimeoutError
        throw error
      }) === true
    } finally {
      if (!isWritten) {
        state.claims = before
        if (!isUnknown) await this.#dropVain(state, moves)
      }
    }
    if (!isWritten) {
      await this.#releaseAll(state, keysOf(moves, 'renew'))
      return false
    }
    return await this.#claimAgain(state, moves)
  }

  /** Resolves to whether the session may be written. It may not if it was revoked. */
  async #claimAll (state: SessionState, moves: readonly Move[]): Promise<boolean> {
    const claims = new Map(state.claims)
    const may = await allOf(moves, async ({ name, kind, key }) => {
      if (key === undefined) return true
      const outcome = kind === 'enter' ? await this.#place(name, key, state) : await this.#renew(name, key, state)
      if (outcome !== undefined) claims.set(name, { key, claimedAt: Date.now() })
      return kind === 'enter' ? outcome === 'entered' : outcome !== 'ending'
    })
    if (!may.every(Boolean)) return false
    state.claims = claims
    return true
  }

  /** Runs after the write. Resolves to whether the session still exists. */
  async #claimAgain (state: SessionState, moves: readonly Move[]): Promise<boolean> {
    const { storeKey, replaces } = state
    state.replaces = undefined
    const again = await allOf(moves, async ({ name, kind, key, had }) => {
      if (kind === 'renew') return undefined
      await this.#leave(key, had, storeKey)
      await this.#leave(key, replaces?.claims.get(name), replaces?.storeKey)
      if (key === undefined) return undefined
      const { maxPerUser: max } = this.#limitOf(name)
      return { name, key, claimed: await this.#claim(name, key, state, { max, isWritten: true }) }
    }).catch(async (error: Error) => {
      // It may have been revoked.
      await this.#end(state, moves).catch(() => {})
      throw error
    })
    const entered = again.filter(claim => claim !== undefined)
    if (entered.some(({ claimed }) => claimed.outcome !== 'entered')) return await this.#giveUp(state, moves)
    let isThere = true
    for (const { name, key, claimed: { tooMany } } of entered) {
      if (tooMany.length > 0) await this.#entries.endAll(key, tooMany, 'limit')
      if (!this.#limitOf(name).refuses && tooMany.includes(storeKey)) isThere = false
    }
    return isThere
  }

  /** Never refused, and its failure doesn't fail the request, because the session itself is stored. */
  async #renew (name: string, key: string, state: SessionState): Promise<KeyedClaimed['outcome'] | undefined> {
    return (await this.#claim(name, key, state, { max: Infinity }).catch(() => undefined))?.outcome
  }

  /** @throws FST_ERR_SESSION_TOO_MANY */
  async #place (name: string, key: string, state: SessionState): Promise<KeyedClaimed['outcome']> {
    const { maxPerUser: max } = this.#limitOf(name)
    const replaces = isTakenOver(name, key, state) ? state.replaces?.storeKey : undefined
    const claim = async (): Promise<KeyedClaimed> => await this.#claim(name, key, state, { max, replaces })
    let { outcome } = await claim()
    if (outcome === 'lost') {
      // An earlier write that failed may have taken over the entry.
      outcome = (await this.#claim(name, key, state, { max: Infinity, isWritten: true })).outcome
    } else if (outcome === 'full') {
      await this.#entries.tidy(key, max)
      outcome = (await claim()).outcome
    }
    if (outcome === 'full') throw new TooManyError(max)
    return outcome
  }

  async #claim (
    name: string, key: string, { storeKey, lifetime }: SessionState,
    how: { max: number, replaces?: string | undefined, isWritten?: boolean }
  ): Promise<KeyedClaimed> {
    const now = Date.now()
    // Touches may move the end this much before the next renewal, unless it is fixed.
    const left = endOf(lifetime, now + renewalOf(idleOf(lifetime))) - now
    const claiming = {
      fingerprint: fingerprint(storeKey),
      lives: left === Infinity ? null : Math.max(left, 0),
      refuses: this.#limitOf(name).refuses,
      isWritten: false,
      ...how
    }
    const claimed = await promised<KeyedClaimed>(answer => this.#repository.claim(key, storeKey, claiming, answer))
    return claimed as KeyedClaimed
  }

  #limitOf (name: string): Limit {
    return name === USER ? this.#settings : NO_LIMIT
  }

  /** Leaves a former key, unless it is still the same. If that fails, the next list drops the entry. */
  async #leave (key: string | undefined, before: Claim | undefined, storeKey: StoreKey | undefined): Promise<void> {
    if (before !== undefined && before.key !== key) await this.#release(before.key, storeKey as StoreKey)
  }

  /** The session was revoked, so it is ended here. The request that revoked it may do the same. */
  async #giveUp (state: SessionState, moves: readonly Move[]): Promise<boolean> {
    await promised(answer => this.#repository.end(state.storeKey, answer, 'revoked'))
    await this.#releaseAll(state, allKeysOf(state, moves))
    return false
  }

  async #end (state: SessionState, moves: readonly Move[]): Promise<void> {
    await promised(answer => this.#repository.destroy(state.storeKey, answer, 'revoked'))
    await this.#releaseAll(state, allKeysOf(state, moves))
  }

  /**
   * Drops new entries after a failed write, unless the session was written all the same. The next try needs those that
   * were taken over: without them it would not find out about a revocation.
   */
  async #dropVain (state: SessionState, moves: readonly Move[]): Promise<void> {
    const keys = keysOf(moves.filter(({ name, key }) => !isTakenOver(name, key, state)), 'enter')
    if (keys.length > 0) await this.#entries.dropVain(keys, state.storeKey).catch(() => {})
  }

  async #releaseAll ({ storeKey }: SessionState, keys: readonly string[]): Promise<void> {
    await Promise.all(keys.map(key => this.#release(key, storeKey)))
  }

  async #release (key: string, storeKey: StoreKey): Promise<void> {
    await promised<void>(answer => this.#repository.release(key, [storeKey], answer)).catch(() => {})
  }
}

/**
 * Runs a task that removes a session and makes another one, which takes over its entries. Until that is done, a mark in
 * the store's index keeps all processes from dropping the entries.
 */
export function marked (
  state: SessionState, successorId: string, answer: Answer<void>, task: (answer: Answer<void>) => void
): void {
  const { claims, record, context: { repository } } = state
  // Its entries are even younger, so lists keep them. Half the time, because the clocks of servers may differ.
  const isYoung = record !== undefined && Date.now() - createdAtOf(record) < GRACE / 2
  if (claims.size === 0 || isYoung) {
    task(answer)
    return
  }
  const key = markOf(state.storeKey)
  const successor = repository.keyOf(successorId)
  const marking = {
    fingerprint: fingerprint(successor), lives: GRACE, refuses: false, isWritten: false, max: Infinity
  }
  // A renewal without its mark is better than none.
  repository.claim(key, successor, marking, () => task(error => {
    repository.release(key, [successor], () => {})
    answer(error)
  }))
}

/** The key of a session's mark in the index. The keys of values are hashes, which have no colon. */
export function markOf (storeKey: StoreKey): string {
  return `replaced:${fingerprint(storeKey)}`
}

/** Whether the session takes over the entry of the one that it replaces. */
function isTakenOver (name: string, key: string | undefined, { replaces }: SessionState): boolean {
  return key !== undefined && replaces?.claims.get(name)?.key === key
}

function keysOf (moves: readonly Move[], kind: Move['kind']): string[] {
  return moves.flatMap(move => move.kind === kind && move.key !== undefined ? [move.key] : [])
}

/** The claims without those that the session leaves. */
function without (moves: readonly Move[], claims: ClaimMap): ClaimMap {
  const left = new Map(claims)
  for (const { name, kind } of moves) if (kind === 'leave') left.delete(name)
  return left
}

/** All keys that may have an entry. */
function allKeysOf ({ claims }: SessionState, moves: readonly Move[]): string[] {
  const had = Array.from(claims.values(), ({ key }) => key)
  return [...new Set([...keysOf(moves, 'enter'), ...keysOf(moves, 'renew'), ...had])]
}

/** Runs something for each item at the same time. If one fails, it waits for the others before it throws. */
async function allOf<T, Result> (items: readonly T[], run: (item: T) => Promise<Result>): Promise<Result[]> {
  const done = await Promise.allSettled(items.map(run))
  return done.map(result => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}
