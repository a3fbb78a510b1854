import type { Session as FastifySession } from 'fastify'
import { applyChanges } from './changes'
import { Signals, type SecurityReason } from './diagnostics'
import { StoreTimeoutError } from './errors'
import { createdAtOf, hasMaxAge, isExpired, type SessionCookie } from './session-cookie'
import { callStore, type Answer, type Method } from './stores/call'
import { MemoryStore } from './stores/memory'
import type { SessionChanges, SessionRecord, SessionStore } from './stores/store'
import { Turns } from './turns'

/** The session's data and its cookie, in the form in which stores get them. */
export type StorableSession = SessionRecord & { cookie: SessionCookie }

/** With why the session is over, where it is. */
type GetAnswer = (error: Error | null, record?: SessionRecord, flaw?: SecurityReason) => void

const NO_CHANGES: SessionChanges = { set: {}, unset: [] }

// By store and not by registration, because two registrations may share one store.
const turnsOf = new WeakMap<SessionStore, Turns>()

// Enough for every request that is under way while its session ends.
const ENDINGS_KEPT = 10_000

/** The sessions in a store: the only code that decides which of the store's methods to call. */
export class Repository {
  readonly #store: SessionStore
  readonly #timeout: number
  readonly #turns: Turns
  readonly #signals: Signals
  readonly #absoluteTimeout: number
  readonly #endings = new Map<string, { at: number, isReplaced: boolean }>()
  readonly #hasTouch: boolean
  readonly #hasUpdate: boolean
  /** Whether one call loads and touches a session. */
  readonly touchesOnLoad: boolean
  /** How many sessions this process has ended: a time of our own, by which to tell what came first. */
  now = 0

  /**
   * @param timeout for one call to the store, in milliseconds
   * @param absoluteTimeout of a session since its creation, in milliseconds
   */
  constructor (store: SessionStore, timeout: number, signals: Signals, absoluteTimeout = Infinity) {
    this.#store = store
    this.#timeout = timeout
    this.#signals = signals
    this.#absoluteTimeout = absoluteTimeout
    this.#hasTouch = has(store, 'touch')
    this.#hasUpdate = has(store, 'update')
    this.touchesOnLoad = this.#hasTouch && typeof store.getAndTouch === 'function'
    let turns = turnsOf.get(store)
    if (turns === undefined) turnsOf.set(store, turns = new Turns())
    this.#turns = turns
  }

  /** Answers the record, or undefined when the store has none, or none that is alive. */
  load (sessionId: string, touch: boolean, answer: Answer<SessionRecord>): void {
    const begun = this.#signals.now()
    this.#signals.trace('load', sessionId, answer, answer => {
      this.#get(sessionId, (error, record, flaw) => {
        const reason = error === null && record === undefined ? 'unknown-id' : flaw
        if (reason !== undefined) this.#signals.warn(reason, sessionId, begun)
        if (flaw !== undefined) this.destroy(sessionId, error => answer(error))
        else answer(error, record)
      }, touch ? 'getAndTouch' : 'get')
    })
  }

  /** Writes a session whose id is fresh. */
  create (sessionId: string, session: StorableSession, answer: Answer<void>): void {
    this.#signals.trace('commit', sessionId, answer, answer => this.#call('set', [sessionId, session], answer))
  }

  /** Applies the changes to what the store has now. Answers whether it was still there; if not, writes nothing. */
  update (sessionId: string, changes: SessionChanges, session: FastifySession, answer: Answer<boolean>): void {
    this.#commit(sessionId, answer, answer => {
      if (this.#hasUpdate) {
        this.#call('update', [sessionId, changes, session], answer)
        return
      }
      this.#inTurn(sessionId, answer, done => {
        this.#get(sessionId, (error, record, flaw) => {
          if (error !== null || record === undefined || flaw !== undefined) {
            done(error, false)
            return
          }
          let merged: SessionRecord
          try {
            merged = applyChanges(record, changes)
            merged.cookie = session.cookie
          } catch (thrown) {
            done(thrown as Error)
            return
          }
          this.#call('set', [sessionId, merged], error => done(error, true))
        })
      })
    })
  }

  /** Moves the expiry. Answers whether the session was still there, as far as the store can tell. */
  touch (sessionId: string, session: FastifySession, answer: Answer<boolean>): void {
    if (!this.#hasTouch) {
      this.update(sessionId, NO_CHANGES, session, answer)
      return
    }
    this.#commit(sessionId, answer, answer => {
      // A store of files reads and writes to touch: not at the same time as another request's write or destroy.
      this.#oneAtATime<boolean>(sessionId, answer, done => {
        this.#call<boolean>('touch', [sessionId, session], (error, found) => {
          if (isNotFound(error)) done(null, false)
          else done(error, found)
        })
      })
    })
  }

  /** Removes the session. Answers the record, or false where there was none, as far as the store tells. */
  destroy (sessionId: string, answer: Answer<SessionRecord | false>): void {
    this.#signals.trace('destroy', sessionId, answer, answer => {
      // Not between the re-read and the write of an update, which would bring the session back.
      this.#oneAtATime<SessionRecord | false>(sessionId, answer, done => this.#destroy(sessionId, done))
    })
  }

  /** Like destroy, but tells where a store with three methods doesn't: it is read first. */
  take (sessionId: string, answer: Answer<SessionRecord | false>): void {
    if (this.#hasUpdate) {
      this.destroy(sessionId, answer)
      return
    }
    this.#signals.trace('destroy', sessionId, answer, answer => {
      this.#inTurn(sessionId, answer, done => {
        this.#get(sessionId, (error, record, flaw) => {
          if (error !== null || record === undefined || flaw !== undefined) done(error, false)
          else this.#destroy(sessionId, error => done(error, record))
        })
      })
    })
  }

  /** A session for a list: as the store has it now, and nobody is told. Answers undefined where none is alive. */
  inspect (sessionId: string, answer: Answer<SessionRecord>): void {
    this.#get(sessionId, (error, record, flaw) => answer(error, flaw === undefined ? record : undefined),
      typeof this.#store.inspect === 'function' ? 'inspect' : 'get')
  }

  /** Enters the session as a user's. Answers whether there was room. */
  claim (userKey: string, sessionId: string, session: FastifySession, max: number, answer: Answer<boolean>): void {
    this.#call('claim', [userKey, sessionId, session, max], (error, claimed) => answer(error, claimed !== false))
  }

  /** Takes the session off a user's. */
  release (userKey: string, sessionId: string, answer: Answer<void>): void {
    this.#call('release', [userKey, sessionId], answer)
  }

  /** What was entered as a user's, the first first. */
  claimsOf (userKey: string, answer: Answer<Array<[sessionId: string, claimedAt: number]>>): void {
    this.#call('claimsOf', [userKey], answer)
  }

  /** How many sessions the store has. */
  count (answer: Answer<number>): void {
    this.#call('length', [], answer)
  }

  /** Says that somebody wanted to take along what is gone. */
  warnGone (sessionId: string): void {
    this.#signals.warn('gone', sessionId, this.#signals.now())
  }

  /** Remembers for a while that the session ended, and whether a new one took its place. */
  markEnded (sessionId: string, isReplaced: boolean): void {
    this.#endings.delete(sessionId)
    this.#endings.set(sessionId, { at: ++this.now, isReplaced })
    if (this.#endings.size <= ENDINGS_KEPT) return
    const [oldest] = this.#endings.keys()
    this.#endings.delete(oldest as string)
  }

  /** Whether this process has ended the session lately, after a time. Not for ever: ids may come again. */
  hasEnded (sessionId: string, after: number): boolean {
    return (this.#endings.get(sessionId)?.at ?? 0) > after
  }

  /** Whether a new session took the place of this one lately, so that the visitor's cookie is the new one's by now. */
  wasReplaced (sessionId: string): boolean {
    return this.#endings.get(sessionId)?.isReplaced === true
  }

  #get (sessionId: string, answer: GetAnswer, method: 'get' | 'getAndTouch' | 'inspect' = 'get'): void {
    this.#call(method, [sessionId], (error, result) => {
      if (error !== null) {
        answer(isNotFound(error) ? null : error)
        return
      }
      let record: SessionRecord | undefined
      let flaw: SecurityReason | undefined
      try {
        record = isRecord(result) ? result : undefined
        flaw = record && this.#whyOver(record)
      } catch (thrown) {
        answer(thrown as Error)
        return
      }
      answer(null, record, flaw)
    })
  }

  #destroy (sessionId: string, answer: Answer<SessionRecord | false>): void {
    this.#call('destroy', [sessionId], (error, removed) => {
      answer(error, removed === false || isWhole(removed) ? removed : undefined)
    })
  }

  #commit (sessionId: string, answer: Answer<boolean>, run: (answer: Answer<boolean>) => void): void {
    const begun = this.#signals.now()
    this.#signals.trace('commit', sessionId, answer, answer => {
      run((error, found) => {
        if (error === null && found === false) this.#signals.warn('gone', sessionId, begun)
        answer(error, found !== false)
      })
    })
  }

  #whyOver (record: SessionRecord): SecurityReason | undefined {
    if (createdAtOf(record) + this.#absoluteTimeout <= Date.now()) return 'absolute-timeout'
    // A store with touch keeps the expiry itself, and a touch leaves the one in the record old, unless it is a fixed one.
    return (!this.#hasTouch || !hasMaxAge(record)) && isExpired(record) ? 'expired' : undefined
  }

  // A store with update does that itself.
  #oneAtATime<T> (sessionId: string, answer: Answer<T>, task: (done: Answer<T>) => void): void {
    if (this.#hasUpdate) task(answer)
    else this.#inTurn(sessionId, answer, task)
  }

  #inTurn<T> (sessionId: string, answer: Answer<T>, task: (done: Answer<T>) => void): void {
    this.#turns.take(
      sessionId,
      this.#timeout,
      () => answer(new StoreTimeoutError('update', this.#timeout)),
      release => task((error, value) => {
        release()
        answer(error, value)
      })
    )
  }

  #call<T> (method: Method, args: unknown[], answer: Answer<T>): void {
    callStore<T>(this.#store, method, args, this.#timeout, answer)
  }
}

/** Whether the store has an index by user. */
export function hasIndex (store: SessionStore): boolean {
  return has(store, 'claim') && has(store, 'release') && has(store, 'claimsOf')
}

// A store that inherits from ours and brings its own `set` keeps its records elsewhere, or wants to see every write:
// what it inherits besides would go past it.
export function has (store: SessionStore, method: Method): boolean {
  if (typeof store[method] !== 'function') return false
  return store[method] !== MemoryStore.prototype[method] || store.set === MemoryStore.prototype.set
}

// A file store's word for 'there is no such session'.
function isNotFound (error: NodeJS.ErrnoException | null): boolean {
  return ((error?.cause ?? error) as NodeJS.ErrnoException | null)?.code === 'ENOENT'
}

// Some stores answer a destroy with their database's result, which has no cookie.
function isWhole (removed: unknown): removed is SessionRecord {
  try {
    return isRecord(removed) && Object.hasOwn(removed, 'cookie')
  } catch {
    return false
  }
}

function isRecord (record: unknown): record is SessionRecord {
  return typeof record === 'object' && record !== null && !Array.isArray(record)
}
