/** One suite, on every kind of store. What a store can't promise is declared beside it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { RedisStore } from 'connect-redis'
import { MemoryStore as ExpressMemoryStore } from 'express-session'
import { createClient } from 'redis'
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import type { SessionChanges, SessionRecord, SessionStore } from '../src/stores/store'
import { build, Visitor } from './helpers'
import { ask, record, testStore } from './store-suite'

type Answer = (error?: any, value?: any) => void

/** get, set and destroy, all that express-session asks for. Knows nothing of expiry. */
class ThreeMethodStore {
  readonly records = new Map<string, string>()

  get (sessionId: string, callback: Answer): void {
    callback(null, JSON.parse(this.records.get(sessionId) ?? 'null'))
  }

  set (sessionId: string, session: object, callback: Answer): void {
    this.records.set(sessionId, JSON.stringify(session))
    callback()
  }

  destroy (sessionId: string, callback: Answer): void {
    this.records.delete(sessionId)
    callback()
  }
}

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
    return await this.#change(sessionId, { set: {}, unset: [] }, session)
  }

  async update (sessionId: string, changes: SessionChanges, session: SessionRecord): Promise<boolean> {
    return await this.#change(sessionId, changes, session)
  }

  async #change (sessionId: string, { set, unset }: SessionChanges, { cookie }: SessionRecord): Promise<boolean> {
    const changed = plain({ ...set, cookie })
    await undefined
    const record = this.#find(sessionId)
    if (record === undefined) return false
    Object.assign(record, changed)
    for (const key of unset) delete record[key]
    return true
  }

  #find (sessionId: string): SessionRecord | undefined {
    const record = this.#records.get(sessionId)
    return record !== undefined && expiryOf(record) > Date.now() ? record : undefined
  }
}

/** A redis-server of our own, and a client of it. */
async function startRedis (t: Test): Promise<ReturnType<typeof createClient>> {
  const dir = await mkdtemp(join(tmpdir(), 'session-redis-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const port = await freePort()
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dir]
  const server = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  await new Promise<void>((resolve, reject) => {
    server.once('error', error => reject(new Error('redis-server is needed to run this test', { cause: error })))
    server.once('exit', code => reject(new Error(`redis-server ended with ${code}: ${output}`)))
    server.stdout.on('data', chunk => {
      output += chunk
      if (output.includes('Ready to accept connections')) resolve()
    })
  })
  t.teardown(async () => {
    server.removeAllListeners('exit')
    const ended = once(server, 'exit')
    server.kill()
    await ended
  })
  const client = createClient({ url: `redis://127.0.0.1:${port}` })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.destroy())
  return client
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function expiryOf ({ cookie }: any): number {
  return cookie.expires === null ? Infinity : new Date(cookie.expires).getTime()
}

function plain ({ cookie, ...data }: SessionRecord): SessionRecord {
  return { ...structuredClone(data), cookie: JSON.parse(JSON.stringify(cookie)) }
}

t.test('MemoryStore', t => testStore(t, {
  dates: true, expires: true, touches: true, updates: true, lists: true, tellsGone: true
}, () => ({ store: new MemoryStore() })))

t.test('MemoryStore with a max', t => testStore(t, {
  dates: true, expires: true, touches: true, updates: true, lists: true, tellsGone: true
}, () => ({ store: new MemoryStore(new Map(), { max: 100 }) })))

t.test('a store with three methods', t => testStore(t, {
  dates: false, expires: false, touches: false, updates: false, lists: false, tellsGone: true
}, () => ({ store: new ThreeMethodStore() })))

t.test('a store that answers later', t => testStore(t, {
  dates: false, expires: true, touches: true, updates: false, lists: false, tellsGone: true
}, () => ({ store: new LateStore() })))

t.test('a store of promises', t => testStore(t, {
  dates: true, expires: true, touches: true, updates: true, lists: false, tellsGone: true
}, () => ({ store: new PromiseStore() as unknown as SessionStore })))

t.test("express-session's MemoryStore", t => testStore(t, {
  dates: false, expires: true, touches: true, updates: false, lists: true, tellsGone: false
}, () => ({ store: new ExpressMemoryStore() as unknown as SessionStore })))

t.test('connect-redis', async t => {
  const client = await startRedis(t)

  async function makeSubject (): Promise<{ store: SessionStore, pass: (milliseconds: number) => Promise<void> }> {
    await client.flushAll()
    // Redis has a clock of its own, so time goes by through shorter lives.
    async function pass (milliseconds: number): Promise<void> {
      for (const key of await client.keys('*')) await client.pExpire(key, await client.pTTL(key) - milliseconds)
    }
    return { store: new RedisStore({ client }) as unknown as SessionStore, pass }
  }

  await testStore(t, {
    dates: false, expires: true, touches: true, updates: false, lists: true, tellsGone: false
  }, makeSubject)

  await t.test('Redis itself ends a session, and rolling keeps it', async t => {
    const { store } = await makeSubject()
    const app = await build({ store, cookie: { maxAge: 1000 } }, app => {
      app.get('/login', async request => { (request.session as any).user = 'max' })
      app.get('/whoami', async request => (request.session as any).user ?? 'nobody')
    })
    t.teardown(() => app.close())
    const visitor = new Visitor(app)
    await visitor.get('/login')
    const headers = { cookie: visitor.cookieHeader() }
    const whoami = async (): Promise<string> => (await new Visitor(app).get('/whoami', { headers })).body

    const begun = Date.now()
    while (Date.now() - begun < 1300) {
      if (await whoami() !== 'max') t.fail('ended too early')
      await setTimeout(50)
    }
    t.equal(await whoami(), 'max', 'longer than its maxAge')
    while (await client.dbSize() > 0) await setTimeout(50)
    t.equal(await whoami(), 'nobody')
  })

  await t.test('a session that Redis lost is no session', async t => {
    const { store } = await makeSubject()
    await ask(store, 'set', 'a', record({ user: 'max' }))
    await client.flushAll()
    t.notOk(await ask(store, 'get', 'a'))
  })
})
