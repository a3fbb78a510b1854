import type { Session as FastifySession } from 'fastify'
import { applyChanges } from './changes'
import { StoreTimeoutError } from './errors'
import { isExpired, type SessionCookie } from './session-cookie'
import { callStore, type Answer, type Method } from './stores/call'
import { MemoryStore } from './stores/memory'
import type { SessionChanges, SessionRecord, SessionStore } from './stores/store'
import { Turns } from './turns'

/** The session's data and its cookie, in the form in which stores get them. */
export type StorableSession = SessionRecord & { cookie: SessionCookie }

const NO_CHANGES: SessionChanges = { set: {}, unset: [] }

// By store and not by registration, because two registrations may share one store.
const turnsOf = new WeakMap<SessionStore, Turns>()

// Enough for every request that is under way while its session is replaced.
const REPLACED_KEPT = 10_000

/** The sessions in a store: the only code that decides which of the store's methods to call. */
export class Repository {
  readonly #store: SessionStore
  readonly #timeout: number
  readonly #turns: Turns
  readonly #replaced = new Set<string>()
  readonly #hasTouch: boolean
  readonly #hasUpdate: boolean

  /** @param timeout for one call to the store, in milliseconds */
  constructor (store: SessionStore, timeout: number) {
    this.#store = store
    this.#timeout = timeout
    this.#hasTouch = has(store, 'touch')
    this.#hasUpdate = has(store, 'update')
    let turns = turnsOf.get(store)
    if (turns === undefined) turnsOf.set(store, turns = new Turns())
    this.#turns = turns
  }

  /** Answers the record, or undefined when the store has none, or none that is alive. */
  load (sessionId: string, answer: Answer<SessionRecord>): void {
    this.#get(sessionId, (error, record) => {
      if (error !== null || record === undefined || !this.#isOver(record)) answer(error, record)
      else this.destroy(sessionId, error => answer(error))
    })
  }

  /** Writes a session whose id is fresh. */
  create (sessionId: string, session: StorableSession, answer: Answer<void>): void {
    this.#call('set', [sessionId, session], answer)
  }

  /** Applies the changes to what the store has now. Answers whether it was still there; if not, writes nothing. */
  update (sessionId: string, changes: SessionChanges, session: FastifySession, answer: Answer<boolean>): void {
    if (this.#hasUpdate) {
      this.#call('update', [sessionId, changes, session], (error, found) => answer(error, found !== false))
      return
    }
    this.#inTurn(sessionId, answer, done => {
      this.#get(sessionId, (error, record) => {
        if (error !== null || record === undefined || this.#isOver(record)) {
          done(error, false)
          return
        }
        const merged = { ...applyChanges(record, changes), cookie: session.cookie }
        this.#call('set', [sessionId, merged], error => done(error, true))
      })
    })
  }

  /** Moves the expiry. Answers whether the session was still there, as far as the store can tell. */
  touch (sessionId: string, session: FastifySession, answer: Answer<boolean>): void {
    if (!this.#hasTouch) {
      this.update(sessionId, NO_CHANGES, session, answer)
      return
    }
    this.#call('touch', [sessionId, session], (error, found) => answer(error, found !== false))
  }

  destroy (sessionId: string, answer: Answer<void>): void {
    if (this.#hasUpdate) this.#call('destroy', [sessionId], answer)
    // Not between the re-read and the write of an update, which would bring the session back.
    else this.#inTurn<void>(sessionId, answer, done => this.#call('destroy', [sessionId], done))
  }

  /** A new session took the place of this one. */
  markReplaced (sessionId: string): void {
    this.#replaced.add(sessionId)
    if (this.#replaced.size <= REPLACED_KEPT) return
    const [oldest] = this.#replaced
    this.#replaced.delete(oldest as string)
  }

  /** Whether a new session took the place of this one lately, so that the visitor's cookie is the new one's by now. */
  wasReplaced (sessionId: string): boolean {
    return this.#replaced.has(sessionId)
  }

  #get (sessionId: string, answer: Answer<SessionRecord>): void {
    this.#call('get', [sessionId], (error, record) => {
      if (isNotFound(error)) answer(null)
      else answer(error, isRecord(record) ? record : undefined)
    })
  }

  // A store with touch keeps the expiry itself, and a touch leaves the one in the record old.
  #isOver (record: SessionRecord): boolean {
    return !this.#hasTouch && isExpired(record)
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

// A store that inherits from ours and brings its own `set` keeps its records elsewhere, or wants to see every write:
// what it inherits besides would go past it.
function has (store: SessionStore, method: 'touch' | 'update'): boolean {
  if (typeof store[method] !== 'function') return false
  return store[method] !== MemoryStore.prototype[method] || store.set === MemoryStore.prototype.set
}

// A file store's word for 'there is no such session'.
function isNotFound (error: NodeJS.ErrnoException | null): boolean {
  return ((error?.cause ?? error) as NodeJS.ErrnoException | null)?.code === 'ENOENT'
}

function isRecord (record: unknown): record is SessionRecord {
  return typeof record === 'object' && record !== null && !Array.isArray(record)
}
