/** One suite, on every kind of store. What a store can't promise is declared beside it. Stores that people use: all-stores. */
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { MemoryStore } from '../src/index'
import { RedisStore } from '../src/stores/redis'
import { applyChanges } from '../src/values/record'
import type { SessionChanges, SessionRecord, SessionStore } from '../src/types/store'
import { testStore, type Promises } from '../src/testing/index'
import { connectTo } from './all-stores/subjects'
import { build, ThreeMethodStore, Visitor, type Answer } from './helpers'
import { KeepingStore, UnlookedStore, WHOLE, WholeStore } from './planted-stores'
import { startRedis } from './servers'

/** Answers later, and keeps the expiry beside the record, where a touch leaves the record as it is. */
class LateStore {
  readonly #records = new Map<string, { json: string, expires: number }>()

  get (sessionId: string, callback: Answer): void {
    setImmediate(() => callback(null, JSON.parse(this.#find(sessionId)?.json ?? 'null')))
  }

  set (sessionId: string, session: any, callback: Answer): void {
    const json = JSON.stringify(session)
    setImmediate(() => {
      this.#records.set(sessionId, { json, expires: expiryOf(session) })
      callback(null)
    })
  }

  destroy (sessionId: string, callback: Answer): void {
    setImmediate(() => {
      this.#records.delete(sessionId)
      callback(null)
    })
  }

  touch (sessionId: string, session: any, callback: Answer): void {
    setImmediate(() => {
      const entry = this.#find(sessionId)
      if (entry !== undefined) entry.expires = expiryOf(session)
      callback(null, entry !== undefined)
    })
  }

  #find (sessionId: string): { json: string, expires: number } | undefined {
    const entry = this.#records.get(sessionId)
    return entry !== undefined && entry.expires > Date.now() ? entry : undefined
  }
}

/**
 * As session-file-store: an error says that there is no session, the session lives for its maxAge after the last write, and
 * a touch reads and writes in two steps.
 */
class FileStore {
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

/** Declares no callbacks: its promises are its answers. */
class PromiseStore {
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

function expiryOf ({ cookie }: any): number {
  return cookie.expires === null ? Infinity : new Date(cookie.expires).getTime()
}

function plain ({ cookie, ...data }: SessionRecord): SessionRecord {
  return { ...structuredClone(data), cookie: JSON.parse(JSON.stringify(cookie)) }
}

// What can be said of most of them.
const promises: Promises = {
  shared: false,
  parallel: false,
  ended: false,
  renews: false,
  noDeadCookie: false,
  touches: true,
  oneCall: false,
  expires: true,
  waits: true,
  dates: true,
  onlyYours: true,
  lists: false,
  stops: true,
  copies: true,
  touchesOnly: false,
  users: false,
  updates: false,
  tellsGone: true
}

t.test('a store with three methods', t => testStore(() => new ThreeMethodStore(), {
  promises: { ...promises, dates: false, expires: false, touches: false }, test: t.test
}))

t.test('a store that answers later', t => testStore(() => new LateStore(), {
  promises: { ...promises, dates: false }, test: t.test
}))

t.test('a store of files', t => testStore(() => {
  const files = new Map<string, string>()
  const another = (): SessionStore => new FileStore(files)
  return { store: another(), another }
}, {
  promises: { ...promises, shared: true, noDeadCookie: true, dates: false, onlyYours: false, tellsGone: false }, test: t.test
}))

t.test('a store of promises', t => testStore(() => new PromiseStore() as unknown as SessionStore, {
  promises: { ...promises, touchesOnly: true, updates: true }, test: t.test
}))

t.test('MemoryStore with a max', t => testStore(() => new MemoryStore(new Map(), { max: 100 }), {
  promises: { ...promises, lists: true, touchesOnly: true, updates: true, users: true }, test: t.test
}))

t.test('a store that keeps the very object it is given', t => testStore(() => new KeepingStore() as unknown as SessionStore, {
  promises: { ...promises, copies: false, expires: false, touches: false }, test: t.test
}))

t.test('a store whose touch moves a clock that its get does not look at', t => testStore(() => new UnlookedStore(), {
  promises: { ...promises, dates: false, expires: false, touchesOnly: true }, test: t.test
}))

t.test('a store with all methods that there are', t => testStore(() => new WholeStore() as unknown as SessionStore, {
  promises: WHOLE, test: t.test
}))

t.test('Redis itself ends a session, and rolling keeps it', async t => {
  const client = await connectTo(t, await startRedis(t))
  const app = await build({ store: new RedisStore({ client }), cookie: { maxAge: 2000 } }, app => {
    app.get('/login', async request => { (request.session as any).user = 'max' })
    app.get('/whoami', async request => (request.session as any).user ?? 'nobody')
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const headers = { cookie: visitor.cookieHeader() }
  const whoami = async (): Promise<string> => (await new Visitor(app).get('/whoami', { headers })).body

  const begun = Date.now()
  while (Date.now() - begun < 2600) {
    if (await whoami() !== 'max') t.fail('ended too early')
    await setTimeout(50)
  }
  t.equal(await whoami(), 'max', 'longer than its maxAge')
  while (await client.dbSize() > 0) await setTimeout(50)
  t.equal(await whoami(), 'nobody')
})
