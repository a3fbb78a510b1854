/** Stores as they exist in practice. Each has a weakness that a test needs. */
import { MemoryStore } from '../src/index'
import type { SessionChanges, SessionRecord, SessionStore } from '../src/types/store'
import { applyChanges } from '../src/values/record'
import { AWAY } from '../src/testing/faults'

export { AWAY }

/** How a store answers. */
export type Answer = (error?: any, value?: any) => void
type Method = 'get' | 'set' | 'destroy' | 'touch'

/** When a call does its work and answers. */
export type Deliver = (work: () => void, method: Method) => void
export const atOnce: Deliver = work => work()
export const later: Deliver = work => { setImmediate(work) }

/**
 * get, set and destroy, all that express-session asks for. Stores JSON, as remote stores do, does not know about expiry, and
 * records its calls.
 */
export class ThreeMethodStore {
  readonly records = new Map<string, string>()
  readonly calls: Method[] = []
  /** The methods that fail, with their errors. */
  readonly failures = new Map<Method, Error>()
  readonly #deliver: Deliver

  constructor (deliver: Deliver = atOnce) {
    this.#deliver = deliver
  }

  get (sessionId: string, callback: Answer): void {
    this.answer('get', callback, () => JSON.parse(this.records.get(sessionId) ?? 'null'))
  }

  set (sessionId: string, session: object, callback: Answer): void {
    const json = JSON.stringify(session)
    this.answer('set', callback, () => { this.records.set(sessionId, json) })
  }

  destroy (sessionId: string, callback: Answer): void {
    this.answer('destroy', callback, () => { this.records.delete(sessionId) })
  }

  /** Stores a record behind the library's back. */
  put (sessionId: string, record: object): void {
    this.records.set(sessionId, JSON.stringify(record))
  }

  record (sessionId: string): Record<string, any> | undefined {
    return JSON.parse(this.records.get(sessionId) ?? 'null') ?? undefined
  }

  writes (): number {
    return this.calls.filter(method => method === 'set').length
  }

  /** Changes what is stored, as another program would. */
  tamper (change: (json: string) => string): void {
    for (const [sessionId, json] of this.records) this.records.set(sessionId, change(json))
  }

  protected answer (method: Method, callback: Answer, work: () => unknown): void {
    this.calls.push(method)
    this.#deliver(() => {
      const failure = this.failures.get(method)
      if (failure === undefined) callback(null, work())
      else callback(failure)
    }, method)
  }
}

/** Keeps the expiry beside the record. A touch moves only that. */
export class TouchStore extends ThreeMethodStore {
  readonly expiries = new Map<string, number>()

  override get (sessionId: string, callback: Answer): void {
    this.answer('get', callback, () => JSON.parse(this.isAlive(sessionId) ? this.records.get(sessionId) as string : 'null'))
  }

  override set (sessionId: string, session: object, callback: Answer): void {
    const [json, expiry] = [JSON.stringify(session), expiryOf(session)]
    this.answer('set', callback, () => {
      this.records.set(sessionId, json)
      this.expiries.set(sessionId, expiry)
    })
  }

  override destroy (sessionId: string, callback: Answer): void {
    this.expiries.delete(sessionId)
    super.destroy(sessionId, callback)
  }

  touch (sessionId: string, session: object, callback: Answer): void {
    this.answer('touch', callback, () => this.move(sessionId, session))
  }

  /** Moves the expiry. Returns whether there was such a session. */
  protected move (sessionId: string, session: object): boolean {
    const isThere = this.isAlive(sessionId)
    if (isThere) this.expiries.set(sessionId, expiryOf(session))
    return isThere
  }

  /** Whether there is such a session. Forgets an expired one. */
  protected isAlive (sessionId: string): boolean {
    const isAlive = this.records.has(sessionId) && this.expiries.get(sessionId) as number > Date.now()
    if (!isAlive) for (const part of [this.records, this.expiries]) part.delete(sessionId)
    return isAlive
  }
}

/** The same, but its touch does not tell what it found, as in most stores for express-session. */
export class SilentStore extends TouchStore {
  override touch (sessionId: string, session: object, callback: Answer): void {
    this.answer('touch', callback, () => { this.move(sessionId, session) })
  }
}

/** Answers when the test says so. */
export class HeldStore extends ThreeMethodStore {
  readonly waiting: Array<{ method: Method, answer: () => void }> = []
  /** Whether it holds calls from now on. */
  holds = false
  /** The largest number of calls that waited at the same time. */
  most = 0
  #arrivals: Array<() => void> = []

  constructor () {
    super((answer, method) => {
      if (this.holds) this.#hold({ method, answer })
      else setImmediate(answer)
    })
  }

  /** Resolves when so many calls wait. */
  async waits (count = 1): Promise<void> {
    while (this.waiting.length < count) await new Promise<void>(resolve => this.#arrivals.push(resolve))
  }

  /** Answers the call that waits, or the next one. */
  async release (method: Method): Promise<void> {
    await this.waits()
    const call = this.waiting.shift()
    if (call?.method !== method) throw new Error(`${call?.method} was called and not ${method}`)
    call.answer()
  }

  #hold (call: HeldStore['waiting'][number]): void {
    this.waiting.push(call)
    this.most = Math.max(this.most, this.waiting.length)
    for (const arrived of this.#arrivals.splice(0)) arrived()
  }
}

/** A MemoryStore that records its calls, and that can be away. */
export class WatchedStore {
  readonly memory = new MemoryStore()
  /** The names of the called methods, in order. */
  readonly calls: string[] = []
  /** Whether each call fails. */
  isAway = false

  readonly store = new Proxy(this.memory, {
    get: (memory, key) => {
      const method = Reflect.get(memory, key)
      if (typeof method !== 'function' || key === 'constructor') return method
      return (...args: any[]) => {
        this.calls.push(String(key))
        if (this.isAway) return args.at(-1)(new Error(AWAY))
        return Reflect.apply(method, memory, args)
      }
    }
  }) as SessionStore

  get size (): number {
    return this.memory.store.size
  }

  /** The calls while something runs. */
  async callsDuring (work: () => Promise<unknown>): Promise<string[]> {
    this.calls.length = 0
    await work()
    return [...this.calls]
  }
}

/**
 * Like session-file-store: an error says that there is no session, a session lives for its maxAge after the last write, and
 * a touch reads and writes in two steps.
 */
export class FileStore {
  readonly #files: Map<string, string>

  constructor (files: Map<string, string>) {
    this.#files = files
  }

  get (sessionId: string, callback: Answer): void {
    this.#read(sessionId, callback)
  }

  set (sessionId: string, session: object, callback: Answer): void {
    this.#write(sessionId, session, callback)
  }

  destroy (sessionId: string, callback: Answer): void {
    setImmediate(() => {
      this.#files.delete(sessionId)
      callback(null)
    })
  }

  touch (sessionId: string, { cookie }: any, callback: Answer): void {
    this.#read(sessionId, (error, record) => {
      if (error) callback(error)
      else this.#write(sessionId, { ...record, cookie }, callback)
    })
  }

  #read (sessionId: string, callback: Answer): void {
    setImmediate(() => {
      const json = this.#files.get(sessionId)
      if (json === undefined) {
        callback(Object.assign(new Error('no such file'), { code: 'ENOENT' }))
        return
      }
      const record = JSON.parse(json)
      const isOver = record.__lastAccess + (record.cookie.originalMaxAge ?? Infinity) < Date.now()
      callback(null, isOver ? null : record)
    })
  }

  #write (sessionId: string, session: object, callback: Answer): void {
    const json = JSON.stringify({ ...session, __lastAccess: Date.now() })
    setImmediate(() => {
      this.#files.set(sessionId, json)
      callback(null)
    })
  }
}

/** Takes no callbacks. It answers with promises. */
export class PromiseStore {
  readonly #records = new Map<string, SessionRecord>()

  async get (sessionId: string): Promise<SessionRecord | undefined> {
    await undefined
    return structuredClone(this.#find(sessionId))
  }

  async set (sessionId: string, session: SessionRecord): Promise<void> {
    const record = plain(session)
    await undefined
    this.#records.set(sessionId, record)
  }

  async destroy (sessionId: string): Promise<void> {
    await undefined
    this.#records.delete(sessionId)
  }

  async touch (sessionId: string, session: SessionRecord): Promise<boolean> {
    return await this.#change(sessionId, { set: {}, unset: [], meta: { set: {}, unset: [] } }, session)
  }

  async update (sessionId: string, changes: SessionChanges, session: SessionRecord): Promise<boolean> {
    return await this.#change(sessionId, changes, session)
  }

  async #change (sessionId: string, changes: SessionChanges, { cookie }: SessionRecord): Promise<boolean> {
    const changed = structuredClone(changes)
    await undefined
    const record = this.#find(sessionId)
    if (record !== undefined) this.#records.set(sessionId, applyChanges(record, changed, (cookie as any).expires))
    return record !== undefined
  }

  #find (sessionId: string): SessionRecord | undefined {
    const record = this.#records.get(sessionId)
    return record !== undefined && expiryOf(record) > Date.now() ? record : undefined
  }
}

function plain ({ cookie, ...data }: SessionRecord): SessionRecord {
  return { ...structuredClone(data), cookie: JSON.parse(JSON.stringify(cookie)) }
}

function expiryOf ({ cookie }: any): number {
  return cookie.expires === null ? Infinity : new Date(cookie.expires).getTime()
}
