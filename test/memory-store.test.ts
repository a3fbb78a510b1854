/** The MemoryStore on its own, and stores that inherit from it. */
import { EventEmitter } from 'node:events'
import { inherits } from 'node:util'
import type { FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore, Store } from '../src/index'
import { build, clock, collectGarbage, record, Visitor } from './helpers'
import { Program } from './program'
import { ask } from '../src/testing/contract'
import { recordCalls } from '../src/testing/site'

type Answer = (error?: any, value?: any) => void

const MINUTE = 60_000

const session = (request: FastifyRequest): any => request.session

/** What a method answers before it returns. Fails if it doesn't answer, or answers more than once. */
function now (store: MemoryStore, method: 'get' | 'set' | 'destroy' | 'touch' | 'update' | 'all' | 'length' | 'clear', ...args: unknown[]): any {
  const answers: unknown[][] = []
  ;(store as any)[method](...args, (...answer: unknown[]) => answers.push(answer))
  if (answers.length !== 1) throw new Error(`${method} called back ${answers.length} times`)
  const [error, value] = answers[0] as unknown[]
  if (error) throw new Error(method, { cause: error })
  return value
}

t.test('store is the Map that it was given', async t => {
  const map = new Map()
  const store = new MemoryStore(map)
  t.equal(store.store, map)
  t.ok(new MemoryStore().store instanceof Map)
  t.not(new MemoryStore().store, new MemoryStore().store)
})

t.test('the Map holds objects that equal what was set', async t => {
  const store = new MemoryStore()
  const set = record({ user: { name: 'max' }, tags: ['a'] })
  now(store, 'set', 'a', set)
  t.strictSame(store.store.get('a'), set)
  t.equal(Object.getPrototypeOf(store.store.get('a')), Object.prototype)
})

t.test('it serves records that are already in the Map', async t => {
  const store = new MemoryStore(new Map([['a', record({ user: 'max' }) as any]]))
  t.equal(now(store, 'get', 'a').user, 'max')
})

t.test('null or undefined in the Map is no session, and fails nothing of another visitor', async t => {
  for (const options of [{}, { max: 3 }]) {
    for (const nothing of [null, undefined]) {
      const full = (): MemoryStore => new MemoryStore(new Map([['a', nothing as any], ['b', record({})], ['c', nothing as any]]), options)
      for (const method of ['get', 'destroy'] as const) t.notOk(now(full(), method, 'a'))
      t.equal(now(full(), 'update', 'a', { set: {}, unset: [], meta: { set: {}, unset: [] } }, record({})), false)
      t.equal(now(full(), 'touch', 'a', record({})), false)
      t.same(Object.keys(now(full(), 'all')), ['b'])
      t.equal(now(full(), 'length'), 1)
      const store = full()
      for (const id of ['d', 'e']) now(store, 'set', id, record({}))
      t.same([...store.store.keys()], ['b', 'd', 'e'])
    }
  }
})

t.test('it is an EventEmitter', async t => {
  const store = new MemoryStore()
  t.ok(store instanceof EventEmitter)
  const heard: unknown[] = []
  store.on('disconnect', value => heard.push(value))
  store.emit('disconnect', 1)
  t.same(heard, [1])
  t.equal(store.constructor, MemoryStore)
})

t.test('it calls back before its methods return, without an error', async t => {
  const store = new MemoryStore()
  const answers: unknown[][] = []
  const answer = (...args: unknown[]): void => { answers.push(args) }
  store.set('a', record({}) as any, answer)
  store.get('a', answer)
  store.get('none', answer)
  store.touch('a', record({}) as any, answer)
  store.touch('none', record({}) as any, answer)
  store.update('a', { set: {}, unset: [], meta: { set: {}, unset: [] } }, record({}) as any, answer)
  store.update('none', { set: {}, unset: [], meta: { set: {}, unset: [] } }, record({}) as any, answer)
  store.length(answer)
  store.all(answer)
  store.destroy('a', answer)
  store.destroy('none', answer)
  store.clear(answer)
  t.equal(answers.length, 12)
  for (const [error] of answers) t.notOk(error)
  t.equal(answers[2]?.[1], undefined)
  t.same(answers.slice(3, 7).map(([, found]) => found), [true, false, true, false])
  store.clear()
})

t.test('it can be called without new', async t => {
  const map = new Map()
  const store = (MemoryStore as any)(map, { max: 1 }) as MemoryStore
  t.ok(store instanceof MemoryStore)
  t.equal(store.store, map)
  now(store, 'set', 'a', record({}))
  now(store, 'set', 'b', record({}))
  t.same([...map.keys()], ['b'])
})

t.test('Store is the same class, under the name that express-session uses', async t => {
  t.equal(Store, MemoryStore)
  t.equal((fastifySession as any).Store, MemoryStore)
  t.equal((fastifySession as any).MemoryStore, MemoryStore)
})

// --- Inheriting

/** A store package in the style of express-session: connect(session) returns the constructor. */
function connect (session: any): any {
  function PackageStore (this: any, options: object): void {
    session.Store.call(this, options)
    this.sessions = {}
    this.calls = []
  }
  inherits(PackageStore, session.Store)
  Object.assign(PackageStore.prototype, {
    get (this: any, sessionId: string, callback: Answer) {
      this.calls.push('get')
      callback(null, JSON.parse(this.sessions[sessionId] ?? 'null'))
    },
    set (this: any, sessionId: string, session: object, callback: Answer) {
      this.calls.push('set')
      this.sessions[sessionId] = JSON.stringify(session)
      callback(null)
    },
    destroy (this: any, sessionId: string, callback: Answer) {
      this.calls.push('destroy')
      delete this.sessions[sessionId]
      callback(null)
    }
  })
  return PackageStore
}

t.test('a constructor function can inherit with util.inherits and Store.call(this, options)', async t => {
  const PackageStore = connect(fastifySession)
  const store = new PackageStore({ host: 'localhost', ttl: 1 })
  t.ok(store instanceof MemoryStore)
  t.ok(store instanceof EventEmitter)
  store.once('connect', () => t.pass('emits'))
  store.emit('connect')

  const app = await build({ store }, app => {
    app.get('/count', async request => {
      const own = session(request)
      own.count = (own.count ?? 0) + 1
      return own.count
    })
    app.get('/read', async request => session(request).count)
    app.get('/logout', async request => await request.session.destroy())
  })
  const visitor = new Visitor(app)
  t.equal((await visitor.get('/count')).body, '1')
  t.equal((await visitor.get('/count')).body, '2')
  t.equal((await visitor.get('/read')).body, '2')
  t.equal(JSON.parse(Object.values(store.sessions)[0] as string).count, 2, 'touch and update did not bypass its own set')
  t.same(store.calls, ['set', 'get', 'get', 'set', 'get', 'get', 'set'])
  await visitor.get('/logout')
  t.same(store.sessions, {})
  t.equal(store.store?.size ?? 0, 0, 'nothing is kept in the Map of MemoryStore')
})

t.test('a subclass with its own get, set and destroy is not bypassed', async t => {
  class OwnStore extends MemoryStore {
    readonly sessions = new Map<string, string>()
    override get (sessionId: string, callback: Answer): void {
      callback(null, JSON.parse(this.sessions.get(sessionId) ?? 'null'))
    }

    override set (sessionId: string, session: object, callback: Answer): void {
      this.sessions.set(sessionId, JSON.stringify(session))
      callback()
    }

    override destroy (sessionId: string, callback: Answer): void {
      this.sessions.delete(sessionId)
      callback()
    }
  }
  const store = new OwnStore()
  const app = await build({ store }, app => {
    app.get('/set/:value', async request => { session(request).value = (request.params as { value: string }).value })
    app.get('/read', async request => session(request).value)
  })
  const visitor = new Visitor(app)
  await visitor.get('/set/a')
  await visitor.get('/set/b')
  t.equal((await visitor.get('/read')).body, 'b')
  t.equal(store.sessions.size, 1)
  t.equal(store.store.size, 0)
})

t.test("a subclass's own touch and update are called", async t => {
  const calls: string[] = []
  class OwnStore extends MemoryStore {
    override set (sessionId: string, session: any, callback: Answer): void {
      calls.push('set')
      super.set(sessionId, session, callback)
    }

    override touch (sessionId: string, session: any, callback: Answer): void {
      calls.push('touch')
      super.touch(sessionId, session, callback)
    }

    override update (sessionId: string, changes: any, session: any, callback: Answer): void {
      calls.push('update')
      super.update(sessionId, changes, session, callback)
    }
  }
  const app = await build({ store: new OwnStore() }, app => {
    app.get('/write', async request => { session(request).n = (session(request).n ?? 0) + 1 })
    app.get('/read', async request => session(request).n)
  })
  const visitor = new Visitor(app)
  await visitor.get('/write')
  await visitor.get('/write')
  t.equal((await visitor.get('/read')).body, '2')
  t.same(calls, ['set', 'update', 'touch'])
})

t.test('a class extends it and uses what it inherits', async t => {
  class AuditedStore extends MemoryStore {
    readonly ended: string[] = []
    override destroy (sessionId: string, callback: Answer): void {
      this.ended.push(sessionId)
      super.destroy(sessionId, callback)
    }
  }
  const map = new Map()
  const store = new AuditedStore(map, { max: 2 })
  t.ok(store instanceof AuditedStore)
  t.ok(store instanceof MemoryStore)
  t.equal(store.store, map)
  const calls = recordCalls(store)
  const app = await build({ store }, app => {
    app.get('/login', async request => {
      session(request).user = 'max'
      return request.session.sessionId
    })
    app.get('/logout', async request => await request.session.destroy())
  })
  const visitor = new Visitor(app)
  const sessionId = (await visitor.get('/login')).body
  await visitor.get('/login')
  await visitor.get('/logout')
  t.same(store.ended, [sessionId])
  t.same(calls, ['set', 'get', 'touch', 'get', 'destroy'])
})

// --- Expiry

t.test('an expired session is removed, also from the Map', async t => {
  const { advance } = clock(t)
  const store = new MemoryStore()
  now(store, 'set', 'a', record({ n: 1 }, MINUTE))
  advance(MINUTE - 1000)
  t.equal(now(store, 'get', 'a').n, 1)
  advance(2000)
  t.equal(now(store, 'get', 'a'), undefined)
  t.equal(store.store.has('a'), false)
})

t.test('an expires that is a string counts, and an invalid or missing one does not', async t => {
  const store = new MemoryStore()
  const past = new Date(Date.now() - 1000)
  now(store, 'set', 'past', { cookie: { expires: past } })
  now(store, 'set', 'string', { cookie: { expires: past.toISOString() } })
  now(store, 'set', 'number', { cookie: { expires: past.getTime() } })
  for (const [sessionId, session] of Object.entries({
    null: { cookie: { expires: null } },
    future: { cookie: { expires: new Date(Date.now() + MINUTE) } },
    invalid: { cookie: { expires: 'tomorrow' } },
    missing: { cookie: {} },
    'no cookie': { n: 1 },
    'null cookie': { cookie: null }
  })) now(store, 'set', sessionId, session)
  for (const sessionId of ['past', 'string', 'number']) t.equal(now(store, 'get', sessionId), undefined, sessionId)
  for (const sessionId of ['null', 'future', 'invalid', 'missing', 'no cookie', 'null cookie']) {
    t.ok(now(store, 'get', sessionId), sessionId)
  }
})

t.test('touch changes only the expiry', async t => {
  const { advance } = clock(t)
  const store = new MemoryStore()
  now(store, 'set', 'a', record({ n: 1 }, MINUTE))
  advance(MINUTE / 2)
  t.equal(now(store, 'touch', 'a', record({ n: 2 }, MINUTE)), true)
  advance(MINUTE - 1000)
  t.equal(now(store, 'get', 'a').n, 1)
  advance(2000)
  t.equal(now(store, 'touch', 'a', record({ n: 1 }, MINUTE)), false, 'too late')
  t.equal(now(store, 'update', 'a', { set: {}, unset: [] }, record({}, MINUTE)), false)
  t.equal(store.store.size, 0)
})

t.test('touch and update never create a session', async t => {
  const store = new MemoryStore()
  t.equal(now(store, 'touch', 'a', record({})), false)
  t.equal(now(store, 'update', 'a', { set: { n: 1 }, unset: [] }, record({})), false)
  t.equal(store.store.size, 0)
})

t.test('expired sessions are removed even if nobody asks for them', async t => {
  const { advance } = clock(t)
  const store = new MemoryStore()
  let most = 0
  // One is created each millisecond and lives for a second, so a thousand are alive.
  for (let i = 0; i < 100_000; i++) {
    now(store, 'set', `session ${i}`, record({ i }, 1000))
    advance(1)
    most = Math.max(most, store.store.size)
  }
  t.ok(most < 1500, `at most ${most} were in the store`)
})

t.test('expired sessions are removed behind any number of live ones', async t => {
  const { advance } = clock(t)
  const store = new MemoryStore()
  for (let i = 0; i < 5000; i++) now(store, 'set', `long ${i}`, record({}, 60 * MINUTE))
  for (let i = 0; i < 5000; i++) now(store, 'set', `short ${i}`, record({}, MINUTE))
  advance(2 * MINUTE)
  for (let i = 0; i < 3000; i++) now(store, 'set', 'one', record({}, 60 * MINUTE))
  t.equal(store.store.size, 5001)
})

for (const max of [Infinity, 10_000]) {
  t.test(`the heap stays flat while sessions come and go, max: ${max}`, async t => {
    const { advance } = clock(t)
    const store = new MemoryStore(new Map(), { max })
    const wave = (): number => {
      for (let i = 0; i < 100_000; i++) {
        now(store, 'set', `session ${i % 2 === 0 ? i : -Math.random()}`, record({ text: `${i}`.repeat(20) }, 1000))
        advance(1)
      }
      collectGarbage()
      return process.memoryUsage().heapUsed
    }
    wave()
    const before = wave()
    const after = wave()
    t.ok(store.store.size <= 1500, `${store.store.size} are kept`)
    t.ok(after - before < 2 ** 20, `${after - before} bytes more`)
  })
}

t.test('cleared records are not kept in memory', async t => {
  const store = new MemoryStore()
  const refs: Array<WeakRef<object>> = []
  for (let i = 0; i < 1000; i++) {
    now(store, 'set', `session ${i}`, record({ i }))
    refs.push(new WeakRef(store.store.get(`session ${i}`) as object))
  }
  now(store, 'clear')
  for (let i = 0; i < 5; i++) {
    await new Promise(resolve => setImmediate(resolve))
    collectGarbage()
  }
  const held = refs.filter(ref => ref.deref() !== undefined).length
  t.ok(held <= 1, `${held} of 1000 records are still in memory`)
})

t.test('it does not keep the process alive', async t => {
  const script = `
    const { MemoryStore } = require(${JSON.stringify(require.resolve('../src/index'))})
    const store = new MemoryStore(new Map(), { max: 10 })
    const session = () => ({ cookie: { expires: new Date(Date.now() + 3600000), originalMaxAge: 3600000 } })
    for (let i = 0; i < 100; i++) store.set('session ' + i, session(), () => {})
    store.touch('session 99', session(), () => {})
    store.length((error, length) => console.log('kept', length))
  `
  const { stdout, stderr } = await new Program(t, process.execPath, [...process.execArgv, '-e', script]).end()
  t.equal(stdout, 'kept 10\n', stderr)
})

// --- The limit

const keys = (store: MemoryStore): string[] => [...store.store.keys()].sort()

t.test('max removes the session that was not used for the longest time', async t => {
  const store = new MemoryStore(new Map(), { max: 3 })
  for (const sessionId of ['a', 'b', 'c', 'd']) now(store, 'set', sessionId, record({}))
  t.same(keys(store), ['b', 'c', 'd'])
})

t.test('get, touch, update and set count as use', async t => {
  for (const use of [
    (store: MemoryStore) => now(store, 'get', 'a'),
    (store: MemoryStore) => now(store, 'touch', 'a', record({})),
    (store: MemoryStore) => now(store, 'update', 'a', { set: { n: 1 }, unset: [] }, record({})),
    (store: MemoryStore) => now(store, 'set', 'a', record({}))
  ]) {
    const store = new MemoryStore(new Map(), { max: 3 })
    for (const sessionId of ['a', 'b', 'c']) now(store, 'set', sessionId, record({}))
    use(store)
    t.same(keys(store), ['a', 'b', 'c'], 'none is removed')
    now(store, 'set', 'd', record({}))
    t.same(keys(store), ['a', 'c', 'd'])
  }
})

t.test('listing does not count as use', async t => {
  const store = new MemoryStore(new Map(), { max: 3 })
  for (const sessionId of ['a', 'b', 'c']) now(store, 'set', sessionId, record({}))
  now(store, 'all')
  now(store, 'length')
  now(store, 'set', 'd', record({}))
  t.same(keys(store), ['b', 'c', 'd'])
})

t.test('max applies from the first write, even if the given Map has more', async t => {
  const map = new Map(['a', 'b', 'c', 'd', 'e'].map(sessionId => [sessionId, record({}) as any]))
  const store = new MemoryStore(map, { max: 2 })
  now(store, 'set', 'f', record({}))
  t.same(keys(store), ['e', 'f'])
})

t.test('with a max of 1, the last session stays', async t => {
  const store = new MemoryStore(undefined, { max: 1 })
  now(store, 'set', 'a', record({ n: 1 }))
  now(store, 'set', 'a', record({ n: 2 }))
  now(store, 'set', 'b', record({}))
  t.same(keys(store), ['b'])
})

// --- Lists

t.test('all, length and clear only see living sessions', async t => {
  const { advance } = clock(t)
  const store = new MemoryStore()
  now(store, 'set', 'short', record({ n: 1 }, MINUTE))
  now(store, 'set', 'long', record({ n: { deep: 2 } }, 60 * MINUTE))
  t.equal(now(store, 'length'), 2)
  t.same(Object.keys(now(store, 'all')), ['short', 'long'])
  advance(2 * MINUTE)
  t.equal(now(store, 'length'), 1)
  const all = now(store, 'all')
  t.same(Object.keys(all), ['long'])
  all.long.n.deep = 3
  t.equal(now(store, 'get', 'long').n.deep, 2, 'copies')
  now(store, 'clear')
  t.equal(now(store, 'length'), 0)
  t.equal(store.store.size, 0)
})

t.test('data under __proto__ do not become the prototype', async t => {
  const store = new MemoryStore()
  now(store, 'set', 'a', Object.assign(JSON.parse('{"__proto__":{"isAdmin":true},"n":1}'), record({})))
  const stored = now(store, 'get', 'a')
  t.same(Object.keys(stored).sort(), ['cookie', 'n'])
  t.equal(stored.isAdmin, undefined)
})

t.test('a session named __proto__ is listed', async t => {
  const store = new MemoryStore()
  now(store, 'set', '__proto__', record({ n: 1 }))
  t.same(Object.keys(now(store, 'all')), ['__proto__'])
  t.equal(now(store, 'get', '__proto__').n, 1)
})

t.test('length counts many sessions without blocking others, and counts none twice', async t => {
  const COUNT = 10_000
  for (const max of [Infinity, 2 * COUNT]) {
    const store = new MemoryStore(new Map(), { max })
    for (let i = 0; i < COUNT; i++) now(store, 'set', `session ${i}`, record({}))
    let running = true
    let i = 0
    // Sessions that were counted are used again in the meantime.
    const traffic = (): void => {
      for (let n = 0; n < 500; n++) now(store, 'get', `session ${i++ % COUNT}`)
      if (running) setImmediate(traffic)
    }
    traffic()
    t.equal(await ask(store, 'length'), COUNT, `with max: ${max}`)
    running = false
  }
})

// --- What records are

t.test('BigInt, Date, Map, Set, Buffer, undefined and circular values are kept', async t => {
  const circle: { self?: unknown, n: number } = { n: 1 }
  circle.self = circle
  const values = {
    big: 2n ** 70n,
    date: new Date(1e12),
    map: new Map<unknown, unknown>([['a', new Date(0)], [{ b: 1 }, [2n]]]),
    tags: new Set([1, 'a']),
    buffer: Buffer.from([1, 2]),
    nothing: undefined,
    not: NaN
  }
  const store = new MemoryStore()
  now(store, 'set', 'a', record({ ...values, circle }))
  const { cookie, circle: stored, ...rest } = now(store, 'get', 'a')
  t.strictSame(rest, values)
  t.equal(stored.self, stored)
  t.not(stored, circle)
  t.not(rest.date, values.date)
  t.not(rest.map, values.map)
  t.ok(Buffer.isBuffer(rest.buffer))
  t.equal(Object.values(now(store, 'all')).length, 1)
})

t.test('such values are also kept from request to request', async t => {
  const app = await build({}, app => {
    app.get('/set', async request => {
      const circle: any = { name: 'circle' }
      circle.self = circle
      Object.assign(session(request), { big: 5n, date: new Date(0), map: new Map([['a', 1]]), circle })
    })
    app.get('/get', async request => {
      const { big, date, map, circle } = session(request)
      return [typeof big, String(big), date instanceof Date, map.get('a'), circle.self === circle]
    })
  })
  const visitor = new Visitor(app)
  t.equal((await visitor.get('/set')).statusCode, 200)
  t.same((await visitor.get('/get')).json(), ['bigint', '5', true, 1, true])
  t.same((await visitor.get('/get')).json(), ['bigint', '5', true, 1, true])
})

t.test('records share no objects with their caller', async t => {
  const store = new MemoryStore()
  const given = record({ cart: ['apple'], user: { name: 'max' } }) as any
  now(store, 'set', 'a', given)
  const changes = { set: { added: 1 }, unset: [] }
  const cookie = { expires: new Date(Date.now() + 120 * MINUTE), originalMaxAge: 120 * MINUTE }
  now(store, 'touch', 'a', { cookie })
  given.cart.push('pear')
  given.user.name = 'eva'
  const expires = cookie.expires.getTime()
  cookie.expires.setTime(0)
  const stored = store.store.get('a') as any
  t.same(stored.cart, ['apple'])
  t.same(stored.user, { name: 'max' })
  t.equal(stored.cookie.expires.getTime(), expires)
  const updateCookie = { expires: new Date(Date.now() + MINUTE) }
  now(store, 'update', 'a', changes, { cookie: updateCookie })
  t.not((store.store.get('a') as any).cookie.expires, updateCookie.expires)
})

t.test('records contain nothing of the library or the request', async t => {
  const store = new MemoryStore()
  const app = await build({ store, cookie: { maxAge: MINUTE } }, app => {
    app.get('/', async request => {
      const own = session(request)
      own.user ??= { name: 'max' }
      own.visits = (own.visits ?? 0) + 1
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/')
  checkRecord(t)
  await visitor.get('/')
  checkRecord(t)

  function checkRecord (t: Test): void {
    const [stored] = [...store.store.values()] as any[]
    t.same(Object.keys(stored).sort(), ['cookie', 'user', 'visits'])
    t.equal(Object.getPrototypeOf(stored), Object.prototype)
    t.equal(Object.getPrototypeOf(stored.cookie), Object.prototype)
    t.same(Object.keys(stored.cookie).sort(), [
      'createdAt', 'domain', 'expires', 'httpOnly', 'idle', 'originalMaxAge', 'partitioned', 'path', 'sameSite', 'secure', 'seenAt'
    ])
    t.ok(stored.cookie.expires instanceof Date)
    t.same(Object.getOwnPropertySymbols(stored), [])
  }
})

t.test('what a handler does after its reply does not change the record', async t => {
  const store = new MemoryStore()
  const kept: any[] = []
  const dates: Date[] = []
  const app = await build({ store, cookie: { maxAge: MINUTE } }, app => {
    app.get('/', async request => {
      const user = { tags: ['a'] }
      session(request).user ??= user
      kept.push(user, session(request).user)
      dates.push(request.session.cookie.expires as Date)
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/')
  await visitor.get('/')
  for (const user of kept) user.tags.push('late')
  for (const date of dates) date.setTime(0)
  const [stored] = [...store.store.values()] as any[]
  t.same(stored.user, { tags: ['a'] })
  t.ok(stored.cookie.expires.getTime() > Date.now(), 'nor does it end the session')
})

t.test('max also applies to a Map that is assigned to store', t => {
  const store = new MemoryStore(new Map(), { max: 2 })
  const record: any = { cookie: { originalMaxAge: null } }
  for (const id of ['a', 'b', 'c', 'd']) store.set(id, record, () => {})
  t.same([...store.store.keys()], ['c', 'd'])
  store.store = new Map([['e', record], ['f', record]])
  for (const id of ['g', 'h']) store.set(id, record, () => {})
  t.same([...store.store.keys()], ['g', 'h'])
  t.end()
})

t.test('a new session is copied for the store: later changes, by the handler or in a wrapped set(), do not reach the record', async t => {
  const change = (session: any): void => { session.cart.items.push('stolen') }
  class Subclass extends MemoryStore {
    override set (sessionId: string, session: any, callback: (error?: any) => void): void {
      super.set(sessionId, session, error => {
        change(session)
        callback(error)
      })
    }
  }
  const stores: Record<string, () => MemoryStore> = {
    'without a wrapper': () => new MemoryStore(),
    'a subclass': () => new Subclass(),
    'a replaced method': () => {
      const store = new MemoryStore()
      const { set } = store
      store.set = (sessionId, session, callback) => {
        set.call(store, sessionId, session, callback)
        change(session)
      }
      return store
    },
    'a store around it': () => {
      const inner = new MemoryStore()
      const outer = Object.create(inner)
      outer.set = (sessionId: string, session: any, callback: (error?: any) => void) => {
        inner.set(sessionId, session, callback)
        change(session)
      }
      return outer
    },
    'a replaced method of the prototype': () => {
      const { set } = MemoryStore.prototype
      t.teardown(() => { MemoryStore.prototype.set = set })
      MemoryStore.prototype.set = function (sessionId, session, callback) {
        set.call(this, sessionId, session, callback)
        change(session)
      }
      return new MemoryStore()
    }
  }
  for (const [name, makeStore] of Object.entries(stores)) {
    const cart = { items: ['apple'] }
    const app = await build({ store: makeStore(), saveUninitialized: false }, app => {
      app.get('/fill', async (request: any, reply) => {
        request.session.cart = cart
        reply.raw.once('finish', () => change({ cart }))
      })
      app.get('/look', async (request: any) => {
        const before = [...request.session.cart.items]
        change(request.session)
        await request.session.reload()
        return { before, after: request.session.cart.items }
      })
    })
    const visitor = new Visitor(app)
    await visitor.get('/fill')
    t.same((await visitor.get('/look')).json(), { before: ['apple'], after: ['apple'] }, name)
    t.same((await visitor.get('/look')).json(), { before: ['apple'], after: ['apple'] }, name)
  }
})
