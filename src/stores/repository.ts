import { isNotFound, isWhole } from './answers'
import { callStore, type Method } from './call'
import { InTurn } from './in-turn'
import { has, innermost, keepsToItself, tellsEnd } from './methods'
import { recentChangesOf, type RecentChanges } from './recent'
import type { Signals, SecurityReason } from '../diagnostics'
import { BusyError, StoreError } from '../errors'
import { whyOver, type Terms } from '../values/lifetime'
import { kindOf } from '../values/kind'
import type { SessionSigner } from '../values/cookie-value'
import { applyChanges, isAsExpected, isRecord, type Expected } from '../values/record'
import { StoredSession } from '../values/stored-session'
import { isUnreadable } from '../values/unreadable'
import { warnNotRecord, type Flaws } from '../warnings'
import type {
  Answer, Claimed, Claiming, EndCode, IndexEntry, Revoking, SessionChanges, StoreKey, SessionRecord, SessionStore,
  UpdateResult
} from '../types/store'

/** A session in a store. */
export interface Stored {
  readonly key: StoreKey
  readonly record: SessionRecord
  /** Whether the record's end is the store's own, so that the remaining time is known. */
  readonly isExact: boolean
  /** Whether the store moved the end when it loaded the record. */
  readonly isTouched: boolean
  /** When it was loaded, by the clock of `RecentChanges`. */
  readonly loadedAt: number
}

/** A session in the index by user. */
export type KeyedEntry = IndexEntry & { readonly sessionId: StoreKey }

export type KeyedClaimed = Claimed & { readonly tooMany: readonly StoreKey[] }

/** The settings that the repository uses. */
export interface RepositorySettings {
  readonly store: SessionStore
  /** The time limit of one call, in milliseconds. */
  readonly storeTimeout: number
  readonly rolling: boolean
  readonly flaws: Flaws
  /** Remembers signed ids, and must forget those of ended sessions. */
  readonly signer: Pick<SessionSigner, 'forget'>
  /** The option `storeTtl: 'trusted'`. */
  readonly trustsStoreTtl: boolean
}

/** `flaw` is why the session is over, if it is. */
type GetAnswer = (error: Error | null, record?: SessionRecord, flaw?: SecurityReason) => void

type GetMethod = 'get' | 'getAndTouch' | 'inspect'

const NO_CHANGES: SessionChanges = { set: {}, unset: [], meta: { set: {}, unset: [] } }

/** The sessions in a store. Only this class decides which of the store's methods to call. */
export class Repository {
  readonly recent: RecentChanges
  readonly #settings: RepositorySettings
  readonly #inTurn: InTurn
  readonly #signals: Signals
  readonly hasTouch: boolean
  readonly #hasUpdate: boolean
  readonly #hasUpdateIf: boolean
  readonly #hasInspect: boolean
  readonly #tellsCode: boolean
  readonly #isExact: boolean
  /** Whether a touch moves the end that counts for a loaded record. */
  readonly #touchMovesEnd: boolean
  /** Whether one call loads and touches a session. */
  readonly touchesOnLoad: boolean
  /** Whether the store may need a session's data to move its end. */
  readonly wantsData: boolean

  constructor (settings: RepositorySettings, signals: Signals) {
    const { store, rolling } = settings
    this.#settings = settings
    this.#signals = signals
    // Two wrappers of one store must see each other's changes.
    const inner = innermost(store)
    this.recent = recentChangesOf(inner)
    this.hasTouch = has(store, 'touch')
    this.#hasUpdate = has(store, 'update')
    // Without `update`, other writes are a read and a write, which could overwrite the one of `updateIf`.
    this.#hasUpdateIf = this.#hasUpdate && has(store, 'updateIf')
    this.#hasInspect = has(store, 'inspect')
    // Many stores have other parameters after the callback, or expect it as the last argument.
    this.#tellsCode = has(store, 'watch') && store.destroy.length > 2
    this.wantsData = !this.#hasUpdate
    this.touchesOnLoad = this.hasTouch && has(store, 'getAndTouch')
    // Without `touch`, or without `rolling`, each use of a session writes its record.
    this.#isExact = !this.hasTouch || !rolling || tellsEnd(store)
    this.#touchMovesEnd = this.hasTouch && (rolling || tellsEnd(store) || this.#hasInspect)
    this.#inTurn = new InTurn(inner, settings.storeTimeout)
  }

  /** The store's key for a session id. */
  keyOf (sessionId: string): StoreKey {
    const { store } = this.#settings
    return (store.keyOf === undefined ? sessionId : store.keyOf(sessionId)) as StoreKey
  }

  /** All keys that the session may have in the store. */
  keysOf (sessionId: string): StoreKey[] {
    const former = this.#settings.store.formerKeyOf?.(sessionId) as StoreKey | undefined
    return former === undefined ? [this.keyOf(sessionId)] : [this.keyOf(sessionId), former]
  }

  /** Finds the session of an id that a visitor has sent. The only way from an id to a session. */
  find (sessionId: string, terms: Terms, touch: boolean, answer: Answer<Stored>): void {
    const former = this.#settings.store.formerKeyOf?.(sessionId) as StoreKey | undefined
    this.load(this.keyOf(sessionId), terms, touch, answer, former)
  }

  /**
   * Answers with the session, or undefined if there is none or if it is over.
   *
   * @param touch whether this is a use of the session, so that the same call may move its end
   * @param former an older key that the session may have
   * @param told the key to publish if the store doesn't have the session
   */
  load (
    key: StoreKey, terms: Terms, touch: boolean, answer: Answer<Stored>, former?: StoreKey, told: StoreKey = key
  ): void {
    const begun = this.#signals.now()
    const loadedAt = this.recent.now
    const method = this.#methodFor(touch)
    this.#signals.trace('load', key, answer, answer => {
      this.#get(key, terms, method, (error, record, flaw) => {
        if (former !== undefined && error === null && record === undefined && flaw === undefined) {
          this.load(former, terms, touch, answer, undefined, told)
          return
        }
        if (flaw !== undefined) this.#signals.warn(flaw, key, begun)
        else if (error === null && record === undefined) this.#signals.warn('unknown-id', told, begun)
        if (error !== null || record === undefined) answer(error)
        else if (flaw !== undefined) this.destroy(key, error => answer(error), 'expired')
        else {
          const isTouched = method === 'getAndTouch'
          answer(null, { key, record, isExact: this.#isExactBy(method), isTouched, loadedAt })
        }
      })
    })
  }

  /** Loads a session for a list. Publishes nothing. Answers with undefined if there is none or if it is over. */
  inspect (key: StoreKey, terms: Terms, answer: Answer<Stored>): void {
    const loadedAt = this.recent.now
    const method = this.#methodFor(false)
    this.#get(key, terms, method, (error, record, flaw) => {
      const isThere = record !== undefined && flaw === undefined
      answer(error, isThere ? { key, record, isExact: this.#isExactBy(method), isTouched: false, loadedAt } : undefined)
    })
  }

  /**
   * Writes a new session.
   *
   * @param session its values must be copies that nothing else changes
   */
  create (key: StoreKey, session: StoredSession, answer: Answer<void>, reason?: string): void {
    if (keepsToItself(this.#settings.store)) StoredSession.handOver(session)
    this.#signals.trace('commit', key, answer, answer => this.#call('set', [key, session], answer), reason)
  }

  /**
   * Applies the changes to the stored session. Answers with whether it still exists; if not, nothing is written.
   *
   * @param expected a condition. If it isn't met, nothing is written, and the answer is FST_ERR_SESSION_BUSY
   */
  update (
    key: StoreKey, terms: Terms, changes: SessionChanges, session: StoredSession, answer: Answer<boolean>,
    reason?: string, expected?: Expected
  ): void {
    if (Object.hasOwn(changes.meta.set, 'expires')) {
      const tell = answer
      // Marked now for requests that have loaded it, and again for those that load it in the meantime.
      this.recent.mark(key, 'relived')
      answer = (error, found) => {
        if (found === true) this.recent.mark(key, 'relived')
        tell(error, found)
      }
    }
    this.#commit(key, answer, reason, answer => {
      this.#update(key, terms, changes, session, answer, expected)
    })
  }

  /**
   * Runs a task that reads and conditionally writes a session, one at a time within this process. It has turns of its
   * own, because a write within the task may need one, too. If a turn doesn't come in time, the answer is
   * FST_ERR_SESSION_BUSY.
   */
  alone<T> (key: StoreKey, answer: Answer<T>, task: (done: Answer<T>) => void): void {
    this.#inTurn.run('update', `update\0${key}`, answer, task, false, () => new BusyError())
  }

  /**
   * Moves the end of a session that is otherwise unchanged. Answers with whether it still exists, as far as the store
   * can tell.
   *
   * @param since when the session was loaded: if another request has changed its lifetime since, that counts
   */
  prolong (
    key: StoreKey, terms: Terms, session: StoredSession, since: number, answer: Answer<boolean>, reason?: string
  ): void {
    this.#commit(key, answer, reason, answer => {
      if (this.#hasUpdate) {
        if (this.#touchMovesEnd) this.#touch(key, session, answer)
        else this.#update(key, terms, NO_CHANGES, session, answer)
        return
      }
      // A store of files reads and writes to touch, so that must not overlap with another request's write or destroy.
      const isTouch = this.#touchMovesEnd && !this.recent.wasRelived(key, since)
      this.#inTurn.joined(isTouch ? 'touch' : 'set', key, answer, done => {
        if (isTouch) this.#touch(key, session, done)
        else this.#rewrite(key, terms, NO_CHANGES, session, done)
      })
    })
  }

  /** Removes the session. Answers with the record, or false if there was none, as far as the store tells. */
  destroy (key: StoreKey, answer: Answer<SessionRecord | false>, code: EndCode): void {
    this.#signals.trace('destroy', key, answer, answer => {
      // A store with `update` needs no turn. With another one, a destroy between an update's read and write would be
      // undone by the write.
      if (this.#hasUpdate) {
        this.#destroy(key, code, answer)
        return
      }
      this.#inTurn.run<SessionRecord | false>('destroy', key, answer, done => {
        this.#destroy(key, code, done)
      })
    }, code)
  }

  /** Like destroy, and requests of this process that have loaded the session see at once that it is over. */
  end (key: StoreKey, answer: Answer<SessionRecord | false>, code: EndCode): void {
    this.destroy(key, (error, removed) => {
      if (error === null) this.recent.mark(key, 'destroyed', code)
      answer(error, removed)
    }, code)
  }

  /** Like destroy, but answers with the record on every store: one without `update` is read first. */
  take (key: StoreKey, terms: Terms, answer: Answer<SessionRecord | false>, code: EndCode): void {
    if (this.#hasUpdate) {
      this.destroy(key, answer, code)
      return
    }
    this.#signals.trace('destroy', key, answer, answer => {
      this.#inTurn.run<SessionRecord | false>('destroy', key, answer, done => {
        this.#get(key, terms, 'get', (error, record, flaw) => {
          if (error !== null || record === undefined || flaw !== undefined) done(error, false)
          else this.#destroy(key, code, error => done(error, record))
        })
      })
    }, code)
  }

  /** Enters the session for a user. */
  claim (userKey: string, key: StoreKey, claiming: Claiming, answer: Answer<KeyedClaimed>): void {
    this.#call('claim', [userKey, key, claiming], answer)
  }

  /** Removes sessions from a user's. */
  release (userKey: string, keys: readonly StoreKey[], answer: Answer<void>): void {
    this.#call('release', [userKey, keys], answer)
  }

  /** Moves a user's sessions to those to be ended. Answers with their number. */
  revoke (userKey: string, which: Revoking, answer: Answer<number>): void {
    this.#call('revoke', [userKey, which], answer)
  }

  /** Some of a user's sessions that are to be ended. */
  endingsOf (userKey: string, answer: Answer<StoreKey[]>): void {
    this.#call('endingsOf', [userKey], answer)
  }

  /** A user's sessions, the newest claim first. */
  claimsOf (userKey: string, before: number, count: number, answer: Answer<KeyedEntry[]>): void {
    this.#call('claimsOf', [userKey, before, count], answer)
  }

  /** Answers with the number of sessions in the store. */
  count (answer: Answer<number>): void {
    this.#call('length', [], answer)
  }

  /** Publishes on the security channel that a session was gone when it was needed, or that it can't be read. */
  warn (reason: SecurityReason, key: StoreKey): void {
    this.#signals.warn(reason, key, this.#signals.now())
  }

  /** The best method of the store to load a session. */
  #methodFor (touch: boolean): GetMethod {
    if (touch && this.touchesOnLoad) return 'getAndTouch'
    return this.#hasInspect ? 'inspect' : 'get'
  }

  #isExactBy (method: GetMethod): boolean {
    return this.#isExact || method !== 'get'
  }

  #get (key: StoreKey, terms: Terms, method: GetMethod, answer: GetAnswer): void {
    this.#call(method, [key], (error, result) => {
      if (error !== null) {
        if (isNotFound(error)) answer(null)
        else if (isUnreadable(error)) answer(null, undefined, 'unreadable')
        else answer(error)
        return
      }
      if (result === undefined || result === null || result === false) {
        answer(null)
        return
      }
      let flaw: SecurityReason | undefined
      try {
        if (isRecord(result)) flaw = whyOver(result, terms, Date.now(), this.#untoldBy(method))
        else {
          flaw = 'unreadable'
          this.#settings.flaws.tell(warnNotRecord, method, kindOf(result))
        }
      } catch (thrown) {
        answer(thrown as Error)
        return
      }
      answer(null, flaw === 'unreadable' ? undefined : result as SessionRecord, flaw)
    })
  }

  /** How much later the store's own end may be than the one that a method returns, in idle timeouts. */
  #untoldBy (method: GetMethod): number {
    if (this.hasTouch && this.#settings.trustsStoreTtl) return Infinity
    if (this.#isExactBy(method)) return 0
    // Loading moves the store's expiry, and the record doesn't say so.
    return this.touchesOnLoad ? Infinity : 1 / 2
  }

  #update (
    key: StoreKey, terms: Terms, changes: SessionChanges, session: StoredSession, answer: Answer<boolean>,
    expected?: Expected
  ): void {
    if (expected !== undefined && this.#hasUpdateIf) {
      const { record, keys } = expected
      this.#call<UpdateResult>('updateIf', [key, record, keys, changes, session], (error, result) => {
        answer(error ?? failureOf(result), result === 'written')
      })
    } else if (expected === undefined && this.#hasUpdate) {
      this.#call('update', [key, changes, session], answer)
    } else {
      this.#inTurn.run<boolean>('set', key, answer, done => {
        this.#rewrite(key, terms, changes, session, done, expected)
      })
    }
  }

  /** Does the work of `update` or `updateIf` for a store without it. Runs in turn. */
  #rewrite (
    key: StoreKey, terms: Terms, changes: SessionChanges, session: StoredSession, done: Answer<boolean>,
    expected?: Expected
  ): void {
    this.#get(key, terms, 'get', (error, record, flaw) => {
      if (error !== null || record === undefined || flaw !== undefined) {
        done(error, false)
        return
      }
      let merged: StoredSession
      try {
        if (expected !== undefined && !isAsExpected(record, expected)) throw new BusyError()
        const { cookie, ...data } = applyChanges(record, changes, session.cookie.expires)
        merged = new StoredSession(key, data, cookie as object)
      } catch (thrown) {
        done(thrown as Error)
        return
      }
      if (this.#hasUpdate) {
        this.#call('update', [key, changes, session], done)
        return
      }
      const since = this.recent.now
      this.#call('set', [key, merged], error => done(error, true), () => this.#endAgain(key, since))
    })
  }

  /** A write that takes effect after its time limit may bring back a session that has ended in the meantime. */
  #endAgain (key: StoreKey, since: number): void {
    const code = this.recent.endSince(key, since)
    if (code !== undefined) this.destroy(key, () => {}, code)
  }

  #touch (key: StoreKey, session: StoredSession, answer: Answer<boolean>): void {
    this.#call<boolean>('touch', [key, session], (error, found) => {
      if (isNotFound(error)) answer(null, false)
      else answer(error, found)
    })
  }

  #destroy (key: StoreKey, code: EndCode, answer: Answer<SessionRecord | false>): void {
    const { store, storeTimeout, signer } = this.#settings
    const more = this.#tellsCode ? [code] : undefined
    callStore<SessionRecord | false>(store, 'destroy', [key], storeTimeout, (error, removed) => {
      signer.forget(key)
      if (error === null) this.recent.hearers.forEach(hear => hear(key, code))
      answer(error, removed === false || isWhole(removed) ? removed : undefined)
    }, undefined, more)
  }

  #commit (
    key: StoreKey, answer: Answer<boolean>, reason: string | undefined, run: (answer: Answer<boolean>) => void
  ): void {
    const begun = this.#signals.now()
    this.#signals.trace('commit', key, answer, answer => {
      run((error, found) => {
        if (error === null && found === false) this.#signals.warn('gone', key, begun)
        answer(error, found !== false)
      })
    }, reason)
  }

  #call<T> (method: Method, args: unknown[], answer: Answer<T>, comeLate?: () => void): void {
    callStore<T>(this.#settings.store, method, args, this.#settings.storeTimeout, answer, comeLate)
  }
}

function failureOf (result: UpdateResult | undefined): Error | null {
  if (result === 'changed') return new BusyError()
  if (result === 'written' || result === 'gone') return null
  return new StoreError('updateIf', "it must answer 'written', 'changed' or 'gone'", { cause: undefined })
}
