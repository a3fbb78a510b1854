import { isWhole } from './answers'
import { callStore, promised, type Method } from './call'
import { has, INNER } from './methods'
import { mapped, SealedIndex } from './sealed-index'
import { endOf, rawOf, SealedRecords } from './sealed-record'
import { isKey, keyOf, Seals } from './seals'
import { tellMistakes } from './store-options'
import { OptionError } from '../errors'
import { cookieOf, isRecord } from '../values/record'
import { StoredSession } from '../values/stored-session'
import type { Answer, SessionRecord, SessionStore } from '../types/store'

export interface SealedOptions {
  /**
   * Secrets of at least 32 bytes, or 32 characters. The first one seals, all of them open. A session whose key is
   * missing is lost. Don't use the `secret` of the cookies.
   */
  keys: ReadonlyArray<string | Uint8Array>
  /**
   * Whether sessions that were stored before the store was sealed can still be used. They are sealed in place, and
   * keep their id as their key.
   *
   * @default true
   */
  legacy?: boolean
}

/** A store that seals what another store keeps. Its methods take `keyOf(sessionId)` in place of a session's id. */
export interface SealedStore extends SessionStore<any> {
  keyOf (sessionId: string): string
  formerKeyOf (sessionId: string): string | undefined
  /**
   * How often this process has loaded a session that was stored before the store was sealed. If it stays 0, you can
   * set `legacy: false`, and no session ends.
   */
  readonly legacyLoads: number
}

type AnyMethod = (...args: any[]) => any

const NAMES = ['keys', 'legacy']

// They handle only the key of a session.
const PASSED_ON = ['watch', 'length', 'clear'] as const

/**
 * Wraps a store, of this library or for express-session, so that a copy of what it keeps reveals no session id and no
 * data. The store knows sessions by a hash of their ids. Each value is sealed for its session and its name. The fields
 * under `cookie` that the store must read are signed. The index by user, `session.signal` and all optional methods
 * still work.
 *
 * Values are opened when they are read. One that doesn't open throws FST_ERR_SESSION_RECORD. If the library's own
 * fields don't open, the whole session has ended.
 *
 * Methods answer through their callback, or by a promise if they are called without one.
 *
 * @throws FST_ERR_SESSION_OPTION
 */
export function sealed (store: SessionStore<any>, options: SealedOptions): SealedStore {
  const { keys, legacy = true } = options ?? {}
  const mistake = mistakeIn(store, keys, legacy)
  if (mistake !== undefined) throw new OptionError(`store is wrong: ${mistake}`)
  tellMistakes('sealed()', options, NAMES)
  const sealing = new Sealing(store, keys, legacy)
  const wrapper: Record<PropertyKey, unknown> = {
    keyOf,
    // A cookie that has a store key in place of an id must find no session.
    formerKeyOf: (sessionId: string) => legacy && !isKey(sessionId) ? sessionId : undefined,
    get legacyLoads () { return sealing.legacyLoads },
    [INNER]: store
  }
  for (const [method, run] of Object.entries(sealing.methods)) if (has(store, method as Method)) wrapper[method] = run
  for (const method of PASSED_ON) if (has(store, method)) wrapper[method] = store[method]?.bind(store)
  // The compiler can't know which of the methods the store has.
  return wrapper as unknown as SealedStore
}

class Sealing {
  legacyLoads = 0
  readonly methods: Record<string, AnyMethod>
  readonly #store: SessionStore
  readonly #records: SealedRecords

  constructor (store: SessionStore, keys: SealedOptions['keys'], legacy: boolean) {
    const seals = new Seals(keys)
    this.#store = store
    this.#records = new SealedRecords(seals, legacy)
    const index = new SealedIndex(
      (method, args, answer) => this.#ask(method, args, answer),
      userKey => legacy ? [...seals.usersOf(userKey), userKey] : seals.usersOf(userKey)
    )
    this.methods = { ...this.#ofSessions(), ...ofIndex(index) }
  }

  #ofSessions (): Record<string, AnyMethod> {
    const records = this.#records
    const load = (method: Method): AnyMethod => (key, callback) =>
      answered<SessionRecord>(callback, answer => this.#load(method, key, answer))
    return {
      get: load('get'),
      getAndTouch: load('getAndTouch'),
      inspect: load('inspect'),
      set: (key, session, callback) =>
        answered(callback, answer => this.#ask('set', [key, records.seal(key, session)], answer)),
      destroy: (key, callback, code) => answered<any>(callback, answer => this.#destroy(key, answer, code)),
      touch: (key, session, callback) => answered(callback, answer => {
        // A store without update may write the whole session.
        const given = has(this.#store, 'update') ? endOf(key, session) : records.seal(key, session)
        this.#ask('touch', [key, given], answer)
      }),
      update: (key, changes, session, callback) => answered(callback, answer =>
        this.#ask('update', [key, records.sealChanges(key, changes), endOf(key, session)], answer)),
      // Two seals of one value differ, so the sealed texts are compared.
      updateIf: (key, record, keys, changes, session, callback) => answered(callback, answer => this.#ask('updateIf', [
        key, rawOf(record), keys, records.sealChanges(key, changes), endOf(key, session)
      ], answer)),
      all: callback => answered(callback, answer => this.#all(answer))
    }
  }

  #load (method: Method, key: string, answer: Answer<SessionRecord>): void {
    this.#ask<SessionRecord>(method, [key], (error, raw) => {
      if (error !== null || !isRecord(raw)) return answer(error, raw)
      let record: SessionRecord
      try {
        record = this.#records.open(key, raw)
      } catch (thrown) {
        return answer(thrown as Error)
      }
      if (this.#records.isFormer(key)) this.#sealInPlace(key, raw, () => answer(null, record))
      else answer(null, record)
    })
  }

  /** Only if no other request changes it. Moving it to another key could bring back a session that has just ended. */
  #sealInPlace (key: string, raw: SessionRecord, done: () => void): void {
    this.legacyLoads++
    const changes = has(this.#store, 'updateIf') ? this.#records.sealPlain(key, raw) : undefined
    if (changes === undefined) return done()
    const end = new StoredSession(key, {}, cookieOf(raw))
    this.#ask('updateIf', [key, raw, Object.keys(changes.set), changes, end], done)
  }

  #destroy (key: string, answer: Answer<SessionRecord | false>, code: unknown): void {
    const more = code !== undefined && this.#store.destroy.length > 2 ? [code] : undefined
    this.#ask<SessionRecord | false>('destroy', [key], (error, removed) => {
      answer(error, isWhole(removed) ? this.#openedOrNothing(key, removed) ?? {} : removed)
    }, more)
  }

  /** The sessions that open, by key. */
  #all (answer: Answer<Record<string, SessionRecord>>): void {
    this.#ask<object>('all', [], mapped(answer, all => {
      const found: Array<[string, unknown]> = Array.isArray(all)
        ? all.filter(isRecord).map(({ id, ...record }) => [String(id), record])
        : Object.entries(all ?? {})
      const opened: Record<string, SessionRecord> = Object.create(null)
      for (const [key, raw] of found) {
        const record = isRecord(raw) ? this.#openedOrNothing(key, raw) : undefined
        if (record !== undefined) opened[key] = record
      }
      return opened
    }))
  }

  #openedOrNothing (key: string, raw: SessionRecord): SessionRecord | undefined {
    try {
      return this.#records.open(key, raw)
    } catch {
      return undefined
    }
  }

  #ask<T> (method: Method, args: unknown[], answer: Answer<T>, more?: readonly unknown[]): void {
    callStore<T>(this.#store, method, args, Infinity, answer, undefined, more)
  }
}

function ofIndex (index: SealedIndex): Record<string, AnyMethod> {
  return {
    claim: (userKey, key, claiming, callback) =>
      answered<any>(callback, answer => index.claim(userKey, key, claiming, answer)),
    release: (userKey, keys, callback) => answered<void>(callback, answer => index.release(userKey, keys, answer)),
    revoke: (userKey, which, callback) => answered<number>(callback, answer => index.revoke(userKey, which, answer)),
    endingsOf: (userKey, callback) => answered<any>(callback, answer => index.endingsOf(userKey, answer)),
    claimsOf: (userKey, before, count, callback) =>
      answered<any>(callback, answer => index.claimsOf(userKey, before, count, answer))
  }
}

/** Answers by a promise if there is no callback. */
function answered<T> (callback: Answer<T> | undefined, ask: (answer: Answer<T>) => void): unknown {
  return callback === undefined ? promised(ask) : ask(callback)
}

function mistakeIn (store: SessionStore | undefined, keys: unknown, legacy: unknown): string | undefined {
  const isStore = (['get', 'set', 'destroy'] as const).every(method => typeof store?.[method] === 'function')
  if (!isStore) return 'sealed() needs a store, with get, set and destroy'
  if (!Array.isArray(keys) || keys.length === 0) return 'sealed() needs keys, a list of secrets'
  const isShort = keys.some(key => !(typeof key === 'string' || key instanceof Uint8Array) || key.length < 32)
  if (isShort) return 'each of the keys of sealed() must be a string of 32 characters or more, or as many bytes'
  return typeof legacy === 'boolean' ? undefined : 'legacy of sealed() must be true or false'
}
