import { EventEmitter } from 'node:events'
import { MemoryIndex } from './memory-index'
import { ValueCheck } from './value-check'
import { copy } from '../values/copy'
import { keysIn } from '../values/claim'
import {
  applyChanges, cookieOf, expiryOf, isAsExpected, isExpired, movedEnd, type Expected
} from '../values/record'
import { StoredSession } from '../values/stored-session'
import type {
  Callback, CallbackSession, Claimed, Claiming, FoundCallback, IndexEntry, Revoking, SessionChanges, SessionRecord,
  SessionStore, UpdateResult
} from '../types/store'
import type * as Fastify from 'fastify'

export interface MemoryStoreOptions {
  /**
   * How many sessions are kept. One more removes the least recently used one.
   *
   * @default Infinity
   */
  max?: number
}

export interface MemoryStore extends EventEmitter, SessionStore {
  /** The records by session id. */
  store: Map<string, Fastify.Session>
  destroy(sessionId: string, callback: FoundCallback): void
  touch(sessionId: string, session: Fastify.Session, callback: FoundCallback): void
  update(sessionId: string, changes: SessionChanges, session: Fastify.Session, callback: FoundCallback): void
  updateIf(
    sessionId: string, record: SessionRecord, keys: readonly string[], changes: SessionChanges,
    session: Fastify.Session, callback: (error: any, result?: UpdateResult) => void
  ): void
  claim(userKey: string, sessionId: string, claiming: Claiming, callback: (error: any, claimed?: Claimed) => void): void
  release(userKey: string, sessionIds: readonly string[], callback: Callback): void
  revoke(userKey: string, which: Revoking, callback: (error: any, count?: number) => void): void
  endingsOf(userKey: string, callback: (error: any, sessionIds?: string[]) => void): void
  claimsOf(userKey: string, before: number, count: number, callback: (error: any, entries?: IndexEntry[]) => void): void
  all(callback: (error: any, sessions?: any) => void): void
  length(callback: (error: any, length?: any) => void): void
  clear(callback?: Callback): void
}

interface MemoryStoreConstructor {
  new (map?: Map<string, Fastify.Session>, options?: MemoryStoreOptions): MemoryStore
  (map?: Map<string, Fastify.Session>, options?: MemoryStoreOptions): MemoryStore
  prototype: MemoryStore
}

interface Internals {
  store: Map<string, SessionRecord>
  [kMax]: number
  [kSweep]: Iterator<[string, SessionRecord]> | undefined
  [kOldest]: Iterator<[string, SessionRecord]> | undefined
  [kIndex]: MemoryIndex
  /** Only in the default store, outside production. */
  [kCheck]: ValueCheck | undefined
}

/** Marks what stores inherit from MemoryStore, for every copy of the library. */
export const IS_OURS = Symbol.for('@fastify/session MemoryStore')

const kMax = Symbol('max')
const kSweep = Symbol('sweep')
const kOldest = Symbol('oldest')
const kIndex = Symbol('index')
const kCheck = Symbol('check')

// Enough to check all sessions before their number has doubled, and few enough not to slow down a write.
const SWEPT_PER_WRITE = 8
const SLICE = 2_000

/**
 * Keeps sessions in this process. Expired ones are dropped when they are read, and a few are looked for with each
 * write: no timer, no pause. Callbacks are called synchronously.
 *
 * A function, because stores written for express-session inherit by `Store.call(this)`. TypeScript can't type a
 * function as a constructor, so it is cast.
 */
export const MemoryStore = function (this: EventEmitter & Internals, map = new Map(), { max = Infinity } = {}) {
  if (!(this instanceof MemoryStore)) return new MemoryStore(map, { max })
  EventEmitter.call(this)
  this.store = map
  this[kMax] = max
  this[kSweep] = this[kOldest] = undefined
  this[kIndex] = new MemoryIndex()
  this[kCheck] = undefined
} as unknown as MemoryStoreConstructor

// The name in diagnostics.
Object.defineProperty(MemoryStore, 'name', { value: 'MemoryStore' })

MemoryStore.prototype = Object.create(EventEmitter.prototype, {
  constructor: { value: MemoryStore, writable: true, configurable: true },
  [IS_OURS]: { value: true }
})

/**
 * The store if none is configured: a MemoryStore that warns about values that a store of JSON would lose.
 */
export function developmentStore (): MemoryStore {
  const store = new MemoryStore()
  // The public type doesn't have the symbols.
  ;(store as unknown as Internals)[kCheck] = new ValueCheck(true)
  return store
}

Object.assign(MemoryStore.prototype, {
  get (this: Internals, sessionId: string, callback: CallbackSession) {
    callback(null, find(this, sessionId) as Fastify.Session | undefined)
  },

  set (this: Internals, sessionId: string, session: Fastify.Session, callback: Callback) {
    const record: SessionRecord = {}
    const keep = StoredSession.isHandedOver(session) ? same : copy
    // Key by key, because an object made by a spread takes more heap.
    for (const key of Object.keys(session)) {
      if (key === '__proto__') continue
      const value: unknown = session[key as keyof Fastify.Session]
      record[key] = key === 'cookie' ? cookieRecord(value as object) : keep(value)
    }
    write(this, sessionId, record)
    this[kCheck]?.look(sessionId, record)
    callback()
  },

  destroy (this: Internals, sessionId: string, callback: Answer) {
    const record = find(this, sessionId)
    // The index keeps it: regenerate() may be replacing it.
    this.store.delete(sessionId)
    callback(null, record ?? false)
  },

  touch (this: Internals, sessionId: string, session: Fastify.Session, callback: Answer) {
    const record = find(this, sessionId)
    // Changed in place, as nothing else of a record. A request that holds the record sees a later expiry.
    if (record !== undefined) moveExpiry(record, session.cookie.expires)
    callback(null, record !== undefined)
  },

  update (this: Internals, sessionId: string, changes: SessionChanges, session: Fastify.Session, callback: Answer) {
    callback(null, change(this, sessionId, changes, session) === 'written')
  },

  updateIf (
    this: Internals, sessionId: string, record: SessionRecord, keys: readonly string[], changes: SessionChanges,
    session: Fastify.Session, callback: Answer
  ) {
    callback(null, change(this, sessionId, changes, session, { record, keys }))
  },

  claim (this: Internals, userKey: string, sessionId: string, claiming: Claiming, callback: Answer) {
    callback(null, this[kIndex].claim(userKey, sessionId, claiming))
  },

  release (this: Internals, userKey: string, sessionIds: readonly string[], callback: Answer) {
    this[kIndex].release(userKey, sessionIds)
    callback(null)
  },

  revoke (this: Internals, userKey: string, which: Revoking, callback: Answer) {
    callback(null, this[kIndex].revoke(userKey, which))
  },

  endingsOf (this: Internals, userKey: string, callback: Answer) {
    callback(null, this[kIndex].endingsOf(userKey))
  },

  claimsOf (this: Internals, userKey: string, before: number, count: number, callback: Answer) {
    callback(null, this[kIndex].claimsOf(userKey, before, count))
  },

  all (this: Internals, callback: Answer) {
    const sessions: Record<string, SessionRecord> = Object.create(null)
    for (const [sessionId, record] of this.store) {
      if (!isOver(record)) sessions[sessionId] = copy(record)
    }
    callback(null, sessions)
  },

  length (this: Internals, callback: Answer) {
    const entries = this.store.entries()
    let left = this.store.size
    const dropSlice = (): void => {
      left -= SLICE
      if (dropExpired(this, entries, SLICE) || left <= 0) callback(null, this.store.size)
      else setImmediate(dropSlice)
    }
    dropSlice()
  },

  clear (this: Internals, callback?: Callback) {
    this.store.clear()
    // The iterators would hold what was cleared.
    this[kSweep] = this[kOldest] = undefined
    this[kIndex].clear()
    callback?.()
  }
})

type Answer = (error: null, value?: unknown) => void

function find (store: Internals, sessionId: string): SessionRecord | undefined {
  const record = store.store.get(sessionId)
  if (record === undefined) return undefined
  if (isOver(record)) {
    drop(store, sessionId, record)
    return undefined
  }
  // Moved to the end: the first key of the map is the least recently used one.
  if (store[kMax] !== Infinity) {
    store.store.delete(sessionId)
    store.store.set(sessionId, record)
  }
  return record
}

function write (store: Internals, sessionId: string, record: SessionRecord): void {
  if (store[kMax] !== Infinity) {
    store.store.delete(sessionId)
    while (store.store.size > 0 && store.store.size >= store[kMax]) dropOldest(store)
  }
  store.store.set(sessionId, record)
  sweep(store)
}

function change (
  store: Internals, sessionId: string, changes: SessionChanges, { cookie }: Fastify.Session, expected?: Expected
): UpdateResult {
  const record = find(store, sessionId)
  if (record === undefined) return 'gone'
  if (expected !== undefined && !isAsExpected(record, expected)) return 'changed'
  write(store, sessionId, applyChanges(record, changes, cookie.expires))
  store[kCheck]?.look(sessionId, changes.set)
  return 'written'
}

// One iterator for all calls: a new one would step over all deleted entries at the front.
function dropOldest (store: Internals): void {
  const { done, value } = (store[kOldest] ??= store.store.entries()).next()
  if (done) store[kOldest] = undefined
  else drop(store, value[0], value[1])
}

/** Whether a record is to be dropped. In the application's own Map there may be nothing in its place. */
function isOver (record: SessionRecord | null | undefined): boolean {
  return record === null || record === undefined || isExpired(record)
}

function drop (store: Internals, sessionId: string, record: SessionRecord | null): void {
  store.store.delete(sessionId)
  for (const key of keysIn(record ?? {})) store[kIndex].release(key, [sessionId])
}

// A Map's iterator sees later changes, so nothing is copied.
function sweep (store: Internals): void {
  const entries = store[kSweep] ??= store.store.entries()
  if (dropExpired(store, entries, SWEPT_PER_WRITE)) store[kSweep] = undefined
}

/** Looks at the next entries and drops the expired ones. Returns true at the end of the map. */
function dropExpired (store: Internals, entries: Iterator<[string, SessionRecord]>, count: number): boolean {
  for (let i = 0; i < count; i++) {
    const { done, value } = entries.next()
    if (done) return true
    if (isOver(value[1])) drop(store, value[0], value[1])
  }
  return false
}

// Setting the date in place takes 0.1 us per request. A new cookie object takes 0.6, and garbage collection.
function moveExpiry (record: SessionRecord, expires: unknown): void {
  const cookie = cookieOf(record)
  const moved = movedEnd(cookie, expires)
  if (Number.isNaN(moved)) return
  // Something that only inherits from Date has an invalid time.
  if (cookie.expires instanceof Date && !Number.isNaN(expiryOf(record))) cookie.expires.setTime(moved)
  else record.cookie = { ...cookie, expires: new Date(moved) }
}

const same = (value: unknown): unknown => value

/** If the application itself calls `set`, the cookie may be a session's cookie object. */
function cookieRecord (cookie: { toJSON?: () => unknown }): unknown {
  return copy(typeof cookie?.toJSON === 'function' ? cookie.toJSON() : cookie)
}
