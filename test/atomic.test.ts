/** Parallel requests that change the same key: `session.update()` and `session.take()`. */
import { setImmediate } from 'node:timers/promises'
import { inspect } from 'node:util'
import type { FastifyInstance, FastifyRequest, LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import { PostgresStore } from '../src/stores/postgres'
import { RedisStore } from '../src/stores/redis'
import type { SessionStore } from '../src/types/store'
import { warned } from './heard'
import { build, Gate, setCookies, type SessionOptions } from './helpers'
import { later, ThreeMethodStore, TouchStore } from './odd-stores'
import { WholeStore } from './planted-stores'
import { freshTable, openPool } from './postgres/tables'
import { connectTo, startPostgres, startRedis } from './servers'

type Handler = (request: FastifyRequest & { session: any }) => unknown

/** A site with one route, which does what the test says. */
class Site {
  readonly app: FastifyInstance
  readonly #handlers: Handler[]
  cookie = ''

  static async open (options: SessionOptions = {}): Promise<Site> {
    const handlers: Handler[] = []
    const app = await build(options, app => {
      app.get('/:index', async (request, reply) => {
        const handler = handlers[Number((request.params as any).index)] as Handler
        return await handler(request) ?? reply.send('')
      })
    })
    return new Site(app, handlers)
  }

  private constructor (app: FastifyInstance, handlers: Handler[]) {
    this.app = app
    this.#handlers = handlers
  }

  /** Starts a visitor's session with these data. */
  async begin (data: object = {}): Promise<this> {
    this.cookie = ''
    const response = await this.do(({ session }) => { Object.assign(session, data) })
    this.cookie = String(response.headers['set-cookie']).split(';')[0] as string
    return this
  }

  do (handler: Handler): Promise<LightMyRequestResponse> {
    const headers = this.cookie === '' ? {} : { cookie: this.cookie }
    return this.app.inject({ url: `/${this.#handlers.push(handler) - 1}`, headers })
  }

  /** What the handler returns. It must succeed. */
  async ask (handler: Handler): Promise<any> {
    const response = await this.do(handler)
    if (response.statusCode !== 200) throw new Error(response.body)
    return response.body === '' ? undefined : response.json()
  }

  /** What the next request sees. */
  data (): Promise<any> {
    return this.ask(({ session }) => session.data())
  }
}

/** MemoryStore as one of several processes would see a remote store: it answers later, and all share one map of records. */
class RemoteMemory extends MemoryStore {
  readonly asked: string[] = []

  constructor (map?: Map<string, any>) {
    super(map)
    for (const method of ['get', 'update', 'updateIf'] as const) {
      const call = this[method] as (...args: any[]) => void
      ;(this as any)[method] = (...args: any[]): void => {
        this.asked.push(method)
        const callback = args.pop()
        setImmediate().then(() => call.call(this, ...args, (...answer: any[]) => setImmediate().then(() => callback(...answer))))
      }
    }
  }

  // Its own method, so that the library treats it as a store of its own.
  override touch (sessionId: string, session: any, callback: any): void { super.touch(sessionId, session, callback) }
}

const without = (store: any, ...methods: string[]): any => Object.assign(store, Object.fromEntries(methods.map(method => [method, undefined])))

const STORES: Record<string, (t: Test) => Promise<SessionStore> | SessionStore> = {
  MemoryStore: () => new MemoryStore(),
  'a store with three methods': () => new ThreeMethodStore(later) as any,
  'a store with touch': () => new TouchStore(later) as any,
  'a store with update but not updateIf': () => without(new RemoteMemory(), 'updateIf'),
  'a store with updateIf but not update': () => without(new RemoteMemory(), 'update'),
  'a store with all methods': () => new WholeStore() as any,
  async RedisStore (t) { return new RedisStore({ client: await connectTo(t, await startRedis(t)) }) },
  async PostgresStore (t) {
    const pool = openPool(t, (await startPostgres(t)).url)
    return new PostgresStore({ pool, table: await freshTable(pool) })
  }
}

const add = (item: unknown): Handler => ({ session }) => session.update((session: any) => { session.cart.push(item) })
const many = Array.from({ length: 20 }, (_, i) => i)

for (const [name, open] of Object.entries(STORES)) {
  t.test(name, async t => {
    const store = await open(t)
    const site = await Site.open({ store })

    await t.test('keeps everything that parallel requests add to one array', async t => {
      await site.begin({ cart: [] })
      const replies = await Promise.all(many.map(i => site.do(add(i))))
      t.same(new Set(replies.map(({ statusCode }) => statusCode)), new Set([200]))
      t.same((await site.data()).cart.sort((a: number, b: number) => a - b), many)
    })

    await t.test('gives a key to only one of the requests that take it at the same time', async t => {
      for (const value of ['xyz', null, { a: [1] }]) {
        await site.begin({ state: value, other: 1 })
        const taken = await Promise.all(many.map(() => site.ask(async ({ session }) => ({ value: await session.take('state') }))))
        t.same(taken.filter(answer => 'value' in answer), [{ value }])
        t.same(await site.data(), { other: 1 })
      }
    })

    await t.test('takes nothing if the key does not exist', async t => {
      await site.begin({ a: 1 })
      t.equal(await site.ask(({ session }) => session.take('b')), undefined)
      t.same(await site.ask(async ({ session }) => [typeof await session.take('toString')]), ['undefined'])
      t.same(await site.data(), { a: 1 })
    })

    await t.test('writes nothing to a session that has ended in the meantime, and clears its cookie', async t => {
      for (const handler of [add(1), ({ session }: any) => session.take('cart')]) {
        await site.begin({ cart: [] })
        const response = await site.do(async request => {
          await site.ask(({ session }) => session.destroy())
          await handler(request)
        })
        t.equal(response.statusCode, 409)
        t.equal(response.json().code, 'FST_ERR_SESSION_GONE')
        t.match(response.headers['set-cookie'], /^sessionId=; Max-Age=0/)
        t.same(await site.data(), {})
      }
    })
  })
}

const across = (count: number, of = new Map()): RemoteMemory[] => Array.from({ length: count }, () => new RemoteMemory(of))

t.test('several processes add to one array at the same time, and nothing is lost', async t => {
  const sites = await Promise.all(across(3).map(store => Site.open({ store })))
  const { cookie } = await (sites[0] as Site).begin({ cart: [] })
  const replies = await Promise.all(sites.flatMap(site => {
    site.cookie = cookie
    return [1, 2, 3, 4].map(i => site.do(add(i)))
  }))
  t.same(new Set(replies.map(({ statusCode }) => statusCode)), new Set([200]))
  t.equal((await (sites[0] as Site).data()).cart.length, 12)
})

t.test('several processes take a key at the same time, and only one gets it', async t => {
  const sites = await Promise.all(across(3).map(store => Site.open({ store })))
  const { cookie } = await (sites[0] as Site).begin({ state: 'xyz' })
  const taken = await Promise.all(sites.map(async site => {
    site.cookie = cookie
    return (await site.do(({ session }) => session.take('state'))).body
  }))
  t.same(taken.sort(), ['', '', 'xyz'])
})

/** A store where another process writes between each read and write. */
function besieged (change: (data: any, reads: number) => void): { store: RemoteMemory, reads: () => number } {
  const store = new RemoteMemory()
  let reads = 0
  const { updateIf } = store
  store.updateIf = (sessionId: string, ...args: any[]) => {
    const data = structuredClone(store.store.get(sessionId)) as any
    change(data, ++reads)
    store.store.set(sessionId, data)
    ;(updateIf as any).call(store, sessionId, ...args)
  }
  return { store, reads: () => reads }
}

t.test('if other processes always write first, the reply is a 409, and update() writes nothing', async t => {
  const { store, reads } = besieged(data => { data.cart.push('theirs') })
  const site = await Site.open({ store })
  await site.begin({ cart: [], n: 1 })
  let calls = 0
  const response = await site.do(async ({ session }) => {
    session.other = 1
    await session.update((session: any) => {
      calls++
      session.cart.push('ours')
      session.n++
    })
  })
  t.equal(response.statusCode, 409)
  t.equal(response.json().code, 'FST_ERR_SESSION_BUSY')
  t.equal(calls, reads(), 'the function is called once for each attempt')
  t.ok(calls > 5 && calls < 50)
  const { cart, n, other } = await site.data()
  t.same([n, new Set(cart)], [1, new Set(['theirs'])])
  t.equal(other, 1, "the request's other changes are saved with its reply")
})

const FASTER: Array<[what: string, before: unknown, change: (data: any) => void, after: unknown]> = [
  ['an array that has grown', ['a'], data => { data.x.push('b') }, ['a', 'b', 'ours']],
  ['an array that is gone', ['a'], data => { delete data.x }, ['ours']],
  ['a missing key that became null', undefined, data => { data.x = null }, ['ours']],
  ['a null that was removed', null, data => { delete data.x }, ['ours']],
  ['a number that became a string', 1, data => { data.x = '1' }, ['ours']],
  ['a change deep inside', [{ a: { b: [1] } }], data => { data.x[0].a.b.push(2) }, [{ a: { b: [1, 2] } }, 'ours']]
]

for (const [what, before, change, after] of FASTER) {
  t.test(`the function is called again for ${what}`, async t => {
    const { store, reads } = besieged((data, reads) => { if (reads === 1) change(data) })
    const site = await Site.open({ store })
    await site.begin({ x: before })
    await site.ask(({ session }) => session.update((session: any) => {
      session.x = Array.isArray(session.x) ? [...session.x, 'ours'] : ['ours']
    }))
    t.equal(reads(), 2)
    t.same((await site.data()).x, after)
  })
}

t.test('the function is also called again if a key that it only read or looked for has changed', async t => {
  for (const [look, change] of [
    [(data: any) => data.stock > 0, (data: any) => { data.stock = 0 }],
    [(data: any) => data.get('stock') > 0, (data: any) => { data.stock = 0 }],
    [(data: any) => !('sold' in data), (data: any) => { data.sold = true }],
    [(data: any) => Object.hasOwn(data, 'stock'), (data: any) => { delete data.stock }]
  ] as const) {
    const { store, reads } = besieged((data, reads) => { if (reads === 1) change(data) })
    const site = await Site.open({ store })
    await site.begin({ stock: 1, n: 0 })
    await site.ask(({ session }) => session.update((data: any) => { data.n += look(data) ? 1 : 100 }))
    t.equal((await site.data()).n, 100)
    t.equal(reads(), 2)
  }
})

t.test('the function is not called again if another key has changed', async t => {
  const { store, reads } = besieged(data => { data.other = 1 })
  const site = await Site.open({ store })
  await site.begin({ cart: [] })
  await site.ask(add('a'))
  t.equal(reads(), 1)
  t.same(await site.data(), { cart: ['a'], other: 1 })
})

// --- What the function gets, and what happens to other changes

/** A store that records what it is told to write. */
function recording (): MemoryStore & { writes: any[] } {
  const store = new MemoryStore()
  const writes: any[] = []
  for (const method of ['update', 'updateIf'] as const) {
    const call = store[method] as (...args: any[]) => void
    ;(store as any)[method] = (...args: any[]): void => {
      const { set, unset } = args.at(-3)
      writes.push([method, set, unset])
      call.apply(store, args)
    }
  }
  return Object.assign(store, { writes })
}

async function alone (data: object, options: SessionOptions = {}): Promise<{ site: Site, store: ReturnType<typeof recording> }> {
  const store = recording()
  const site = await Site.open({ store, ...options })
  await site.begin(data)
  store.writes.length = 0
  return { site, store }
}

t.test("the function gets what the store has now, and the request's unsaved changes are saved later", async t => {
  const { site, store } = await alone({ cart: ['a'], n: 1, gone: 1 })
  await site.ask(async ({ session }) => {
    session.n = 2
    session.mine = 1
    delete session.gone
    await site.ask(({ session }) => { session.theirs = 1; session.cart.push('b') })
    await session.update((data: any) => {
      t.same({ ...data }, { cart: ['a', 'b'], n: 1, gone: 1, theirs: 1 })
      data.cart.push('c')
    })
    t.same(session.data(), { cart: ['a', 'b', 'c'], n: 2, mine: 1, theirs: 1 })
    t.ok(session.isModified())
  })
  t.same(store.writes.slice(1), [['updateIf', { cart: ['a', 'b', 'c'] }, []], ['update', { n: 2, mine: 1 }, ['gone']]])
  t.same(await site.data(), { cart: ['a', 'b', 'c'], n: 2, mine: 1, theirs: 1 })
})

t.test('afterwards the session has the new values, and nothing is written again', async t => {
  const { site, store } = await alone({ cart: ['a'], list: { n: 1 }, old: 1 })
  const response = await site.do(async ({ session }) => {
    const before = session.cart
    t.equal(session.list.n, 1)
    await session.update((data: any) => { data.cart.push('b'); data.list.n++; delete data.old; data.fresh = { x: 1 } })
    t.same(session.data(), { cart: ['a', 'b'], list: { n: 2 }, fresh: { x: 1 } })
    t.notOk('old' in session)
    t.notOk(session.isModified())
    t.ok(session.isSaved())
    t.same(before, ['a'], 'an object that was read before is unchanged')
  })
  t.match(response.headers['set-cookie'], /^sessionId=/)
  t.same(store.writes.map(([method]) => method), ['updateIf'])
  await site.ask(async ({ session }) => {
    await session.update((data: any) => { data.cart.push('c') })
    session.cart.push('d')
    t.ok(session.isModified())
  })
  t.same((await site.data()).cart, ['a', 'b', 'c', 'd'])
})

t.test('a key that another request has taken is gone', async t => {
  const { site } = await alone({ flash: ['hello'] })
  await site.ask(async ({ session }) => {
    t.same(session.flash, ['hello'])
    await site.ask(({ session }) => session.take('flash'))
    t.equal(await session.take('flash'), undefined)
    session.flash = [...(session.flash ?? []), 'bye']
  })
  t.same(await site.data(), { flash: ['bye'] })
})

t.test('update() discards an unsaved change of a key that it writes, but not of one that it only reads', async t => {
  const { site } = await alone({ a: 1, b: 1 })
  await site.ask(async ({ session }) => {
    session.a = session.b = 10
    t.equal(await session.update((data: any) => data.b), 1)
    t.equal(session.b, 10)
    t.equal(await session.update((data: any) => (data.a += data.b)), 2)
    t.same(session.data(), { a: 2, b: 10 })
  })
  t.same(await site.data(), { a: 2, b: 10 })
})

t.test('what the handler writes after calling update() is applied after it', async t => {
  const { site } = await alone({ a: 1, b: 1, c: 1 }, { store: new RemoteMemory() })
  await site.ask(async ({ session }) => {
    const done = session.update((data: any) => { data.a++; data.b++; t.equal(data.c, 1) })
    session.a = 10
    session.c = 10
    await done
    t.same(session.data(), { a: 10, b: 2, c: 10 })
  })
  t.same(await site.data(), { a: 10, b: 2, c: 10 })
})

t.test('calls run in order, even if nobody awaits them', async t => {
  const { site } = await alone({ list: [] }, { store: new RemoteMemory() })
  const response = await site.do(({ session }) => {
    session.update((data: any) => { data.list.push(1) })
    session.update((data: any) => { data.list.push(2) })
    session.reload()
    session.update((data: any) => { data.list.push(3) })
  })
  t.equal(response.statusCode, 200)
  t.same(await site.data(), { list: [1, 2, 3] })
  t.equal((await site.do(({ session }) => { session.update(() => { throw new Error('on purpose') }) })).json().message, 'on purpose')
})

t.test('after save(), a class instance is compared with what was saved', async t => {
  class Cart { items = ['a'] }
  const { site, store } = await alone({ cart: new Cart() })
  await site.ask(async ({ session }) => {
    session.cart.items.push('b')
    await session.save()
    await session.update((data: any) => { data.cart = { items: ['x'] } })
    t.equal(session.cart.items[0], 'x')
    t.notOk(session.isModified())
  })
  t.same(store.writes.map(([method]) => method), ['update', 'updateIf'])
})

t.test('a function that changes nothing writes nothing, and its result is returned', async t => {
  const { site, store } = await alone({ n: 1, list: [1, 2] })
  await site.ask(async ({ session }) => {
    t.equal(await session.update((data: any) => data.n + data.list.length), 3)
    t.equal(await session.update(() => {}), undefined)
    t.equal(await session.update((data: any) => data), undefined, "its data object can't be used any longer")
    t.equal(await session.update(() => null), null)
  })
  t.same(store.writes, [])
})

// --- Functions that fail

t.test('what the function throws is passed on, and nothing is written', async t => {
  const { site, store } = await alone({ n: 1 })
  await site.ask(async ({ session }) => {
    await t.rejects(session.update((data: any) => { data.n = 2; throw new Error('sold out') }), { message: 'sold out' })
    // eslint-disable-next-line no-throw-literal
    await t.rejects(session.update((data: any) => { data.n = 2; throw null }), { message: /nothing was thrown/ })
    t.equal(session.n, 1)
  })
  t.same(store.writes, [])
})

t.test("a function that returns a promise is refused, and so is anything that isn't a function", async t => {
  const { site, store } = await alone({ n: 1 })
  const refused = { code: 'FST_ERR_SESSION_UPDATE' }
  await site.ask(async ({ session }) => {
    await t.rejects(session.update(async (data: any) => { data.n = 2 }), { ...refused, message: /returned a promise/ })
    await t.rejects(session.update(async () => { throw new Error('nobody hears it') }), refused)
    await t.rejects(session.update((data: any) => { data.n = 2; return { then () {} } }), refused)
    for (const fn of [undefined, 'cart', {}]) await t.rejects(session.update(fn), { ...refused, message: /but got/ })
    await setImmediate()
  })
  t.same(store.writes, [])
})

t.test('if the function returns a promise, that may reject or use the data later without harm', async t => {
  const { site } = await alone({ n: 1 })
  const late: unknown[] = []
  await site.ask(async ({ session }) => {
    await t.rejects(session.update(async (data: any) => {
      await setImmediate()
      try { data.n = 2 } catch (error) { late.push(error) }
      throw new Error('nobody hears it')
    }), { code: 'FST_ERR_SESSION_UPDATE' })
    await setImmediate()
  })
  t.match(late, [{ name: 'TypeError' }])
  t.same(await site.data(), { n: 1 })
})

t.test("the function's argument is the data of the session only, and can't be used after it returns", async t => {
  const { site } = await alone({ a: 1, b: { c: [1] }, constructor: 'mine' })
  await site.ask(async ({ session }) => {
    let kept: any
    await session.update((data: any) => {
      kept = data
      t.same(Object.keys(data), ['a', 'b', 'constructor'])
      t.same({ ...data }, { a: 1, b: { c: [1] }, constructor: 'mine' })
      t.equal(JSON.stringify(data), '{"a":1,"b":{"c":[1]},"constructor":"mine"}')
      t.match(inspect(data), /a: 1, b: /)
      t.ok('a' in data && !('x' in data) && 'get' in data)
      t.equal(data.x, undefined)
      t.equal(data.get('x'), undefined)
      t.equal(data.toString, Object.prototype.toString)
      t.equal(data.cookie, undefined)
      t.equal(data.save, undefined)
      t.equal(data[Symbol.iterator], undefined)
      t.same(Object.getOwnPropertyDescriptor(data, 'x'), undefined)
      for (const name of ['cookie', 'sessionId', 'save', '__proto__', 'get']) {
        t.throws(() => { data[name] = 1 }, { code: 'FST_ERR_SESSION_RESERVED_KEY' })
        t.throws(() => { delete data[name] }, { code: 'FST_ERR_SESSION_RESERVED_KEY' })
      }
      t.throws(() => { data.set('cookie', 1) }, { code: 'FST_ERR_SESSION_RESERVED_KEY' })
      data[Symbol('x')] = 1
      t.throws(() => Object.defineProperty(data, 'x', { get: () => 1 }), TypeError)
      t.throws(() => Object.freeze(data), TypeError)
      delete data.a
      delete data.never
      data.set('d', data.get('b').c)
      Object.assign(data, { e: 1 })
    })
    t.throws(() => kept.a, TypeError)
    t.throws(() => { kept.a = 1 }, TypeError)
    await t.rejects(session.take('cookie'), { code: 'FST_ERR_SESSION_RESERVED_KEY' })
  })
  t.same(await site.data(), { b: { c: [1] }, constructor: 'mine', d: [1], e: 1 })
})

// --- Sessions that are new, anonymous, replaced or gone

t.test('update() changes a session that is not stored yet in memory, and the reply stores it', async t => {
  const store = recording()
  const site = await Site.open({ store, saveUninitialized: false })
  await site.begin()
  site.cookie = ''
  t.same(store.writes, [])
  const response = await site.do(async ({ session }) => {
    session.cart = ['a']
    session.state = 'xyz'
    t.equal(await session.update((data: any) => data.cart.push('b')), 2)
    t.same(session.cart, ['a', 'b'])
    t.equal(await session.take('state'), 'xyz')
    t.equal(await session.take('state'), undefined)
    await t.rejects(session.update((data: any) => { data.cart.push('c'); throw new Error('no') }), { message: 'no' })
    t.same(session.data(), { cart: ['a', 'b'] })
    t.same(store.writes, [])
  })
  site.cookie = String(response.headers['set-cookie']).split(';')[0] as string
  t.same(store.writes, [], 'the new session was created with set()')
  t.same(await site.data(), { cart: ['a', 'b'] })
})

t.test("if the session could not be loaded, update() and take() fail with the store's error", async t => {
  const store = new MemoryStore()
  store.get = (_sessionId: string, callback: any) => callback(new Error('away'))
  const site = await Site.open({ store, onStoreError: 'anonymous' })
  await site.begin()
  await site.ask(async ({ session }) => {
    await t.rejects(session.update(() => {}), { message: 'away' })
    await t.rejects(session.take('a'), { message: 'away' })
  })
})

t.test('update() fails after destroy(), and on an object that regenerate() replaced, but works after reload()', async t => {
  const { site } = await alone({ n: 1 })
  await site.ask(async ({ session }) => {
    await session.destroy()
    for (const done of [session.update(() => {}), session.take('n')]) await t.rejects(done, { code: 'FST_ERR_SESSION_GONE' })
  })
  await site.begin({ n: 1 })
  await site.ask(async ({ session }) => {
    await session.reload()
    await session.update((data: any) => { data.n++ })
  })
  t.same(await site.data(), { n: 2 })
  await site.ask(async request => {
    const { session } = request
    await session.regenerate(['n'])
    await t.rejects(session.update(() => {}), { code: 'FST_ERR_SESSION_GONE', message: /regenerate/ })
    await request.session.update((data: any) => { data.n++ })
    t.equal(request.session.n, 3)
  })
})

t.test('a session that ends between the read and the write is gone', async t => {
  for (const name of ['updateIf', 'update', 'none']) {
    const store = new RemoteMemory()
    if (name !== 'updateIf') without(store, 'updateIf')
    if (name === 'none') without(store, 'update')
    const site = await Site.open({ store })
    await site.begin({ n: 1 })
    const response = await site.do(({ session }) => session.update((data: any) => {
      data.n++
      store.store.clear()
    }))
    t.equal(response.json().code, 'FST_ERR_SESSION_GONE', name)
    t.equal(store.store.size, 0)
    t.match(response.headers['set-cookie'], /^sessionId=; Max-Age=0/)
  }
})

t.test('update() and take() say so if the request has no session', async t => {
  const app = await build({ cookie: { path: '/in' } }, app => {
    app.get('/out', async ({ session }: any) => {
      await t.rejects(session.update(() => {}), { code: 'FST_ERR_SESSION_NONE' })
      await t.rejects(session.take('a'), { code: 'FST_ERR_SESSION_NONE' })
      return 'ok'
    })
  })
  t.equal((await app.inject('/out')).body, 'ok')
})

t.test('data called update or take hide the methods', async t => {
  const { site } = await alone({ update: 'mine', take: 1 })
  t.same(await site.ask(({ session }) => [session.update, session.take]), ['mine', 1])
})

t.test('update() and take() also work outside of requests', async t => {
  const { app } = await Site.open()
  const { session, cookie } = await app.createSession({ n: 1 } as any) as any
  await session.update((data: any) => { data.n++ })
  const again = await app.loadSession(cookie) as any
  t.equal(await again.take('n'), 2)
  t.same((await app.loadSession(cookie) as any).data(), {})
})

// --- What is written in addition

t.test('update() changes the owner of a session as save() does', async t => {
  const { site } = await alone({ user: 'max' }, { user: (session: any) => session.user, maxPerUser: 1, onMaxPerUser: 'refuse' })
  const count = async (user: string): Promise<number> => (await site.app.sessions.forUser(user)).length
  await site.ask(async ({ session }) => {
    session.user = 'nobody'
    await session.update((data: any) => { data.user = 'eva' })
    t.equal(session.user, 'eva')
  })
  t.same([await count('max'), await count('eva'), await count('nobody')], [0, 1, 0])
  const { cookie } = site
  await site.begin({ n: 1 })
  const refused = await site.do(({ session }) => session.update((data: any) => { data.user = 'eva' }))
  t.equal(refused.json().code, 'FST_ERR_SESSION_TOO_MANY')
  t.same(await site.data(), { n: 1 })
  site.cookie = cookie
  await site.ask(async ({ session }) => [await session.take('user')])
  t.same([await count('eva'), await site.data()], [0, {}])
})

t.test('the owner is entered in the index once, however often the write is tried again', async t => {
  const { store } = besieged((data, reads) => { if (reads < 3) data.n++ })
  const site = await Site.open({ store, user: (session: any) => session.user })
  await site.begin({ n: 0 })
  await site.ask(({ session }) => session.update((data: any) => { data.user = `user ${data.n}` }))
  t.equal((await site.data()).user, 'user 2')
  t.same(await Promise.all([0, 1, 2].map(async i => (await site.app.sessions.forUser(`user ${i}`)).length)), [0, 0, 1])
})

t.test('update() prolongs the session, and an unsaved lifetime is saved later', async t => {
  const { site, store } = await alone({ n: 1 }, { rolling: false, cookie: { maxAge: 60_000 } })
  const [[sessionId]] = [...store.store] as any
  const kept = (): any => (store.store.get(sessionId) as any).cookie
  Object.assign(kept(), { seenAt: 1, expires: new Date(Date.now() + 10_000) })
  await site.ask(async ({ session }) => {
    await session.update((data: any) => { data.n++ })
    t.ok(kept().seenAt > 1)
    t.ok(kept().expires.getTime() > Date.now() + 30_000)
    session.cookie.maxAge = 5_000_000
    await session.update((data: any) => { data.n++ })
    t.equal(kept().originalMaxAge, 60_000)
    t.equal(session.cookie.originalMaxAge, 5_000_000)
  })
  t.equal(kept().originalMaxAge, 5_000_000)
})

// --- Stores and values that go wrong

t.test("if one value can't be stored, nothing that the function changed is written", async t => {
  const client = await connectTo(t, await startRedis(t))
  const circle: any = {}
  circle.self = circle
  for (const store of [new RedisStore({ client }), new ThreeMethodStore() as any]) {
    const site = await Site.open({ store })
    await site.begin({ n: 1 })
    await site.ask(async ({ session }) => {
      session.other = 1
      for (const value of [1n, circle, { get broken () { throw new Error('on purpose') } }]) {
        const done = session.update((data: any) => { data.n = 2; data.x = value })
        await t.rejects(done, { code: 'FST_ERR_SESSION_VALUE', message: /'x' .*Nothing was written/ })
      }
      t.same(session.data(), { n: 1, other: 1 })
    })
    t.same(await site.data(), { n: 1, other: 1 })
  }
})

t.test("a field that can't be parsed ends the session if it is read, and may be overwritten", async t => {
  const client = await connectTo(t, await startRedis(t))
  const site = await Site.open({ store: new RedisStore({ client }) })
  const broken = async (): Promise<void> => {
    await site.begin({ n: 1, cart: ['a'] })
    const [key] = await client.keys('sess:*')
    await client.hSet(key as string, 'cart', '[oh')
  }
  await broken()
  const response = await site.do(add('b'))
  t.equal(response.json().code, 'FST_ERR_SESSION_RECORD')
  t.match(response.headers['set-cookie'], /^sessionId=; Max-Age=0/)
  t.equal(await client.dbSize(), 0)
  await broken()
  await site.ask(({ session }) => session.update((data: any) => { data.n += 'cart' in data ? 1 : 0 }))
  await site.ask(({ session }) => session.update((data: any) => { data.cart = [] }))
  t.same(await site.data(), { n: 2, cart: [] })
})

t.test('on a store without updateIf, the error of reading a record is passed on', async t => {
  for (const methods of [['updateIf'], ['updateIf', 'update']]) {
    const store = new RemoteMemory()
    const site = await Site.open({ store: without(store, ...methods) })
    await site.begin({ n: 1 })
    const [data] = [...store.store.values()] as any[]
    const throws = (): never => { throw new SyntaxError('on purpose') }
    Object.defineProperty(data, 'cart', { get: throws, enumerable: true, configurable: true })
    const response = await site.do(({ session }) => session.update((data: any) => { data.cart = [1] }))
    t.equal(response.statusCode, 500)
    t.match(response.json().message, methods.length === 1 ? /on purpose/ : /'cart' is broken/)
  }
})

t.test("the store's error is passed on, and the next call works", async t => {
  const store = new RemoteMemory()
  const site = await Site.open({ store })
  await site.begin({ n: 1 })
  const { updateIf, get } = store
  for (const [answer, code] of [[[new Error('full')], undefined], [[null, true], 'FST_ERR_SESSION_STORE'], [[null], 'FST_ERR_SESSION_STORE']] as any[]) {
    store.updateIf = (...args: any[]) => args.at(-1)(...answer)
    const response = await site.do(({ session }) => session.update((data: any) => { data.n++ }))
    t.equal(response.statusCode, 500)
    t.equal(response.json().code, code)
  }
  store.updateIf = updateIf
  await site.ask(async ({ session }) => {
    store.get = ((_sessionId: string, callback: any) => callback(new Error('away'))) as any
    await t.rejects(session.take('n'), { message: 'away' })
    store.get = get
    t.equal(await session.take('n'), 1)
  })
  t.same(await site.data(), {})
})

t.test('if the store never answers, update() and take() time out after storeTimeout', async t => {
  const store = new RemoteMemory()
  const site = await Site.open({ store, storeTimeout: 50 })
  await site.begin({ n: 1 })
  store.updateIf = () => {}
  const replies = await Promise.all([1, 2].map(() => site.do(({ session }) => session.take('n'))))
  t.same(replies.map(({ statusCode }) => statusCode), [503, 503])
  t.match(replies.map(reply => reply.json().code), ['FST_ERR_SESSION_STORE_TIMEOUT', 'FST_ERR_SESSION_STORE_TIMEOUT'])
})

t.test("a call that times out behind other calls, and not because of the store, gets 'session is busy'", async t => {
  const store = new RemoteMemory()
  const site = await (await Site.open({ store, storeTimeout: 1000 })).begin({ cart: [] })
  const { updateIf } = store
  const gates = [new Gate(), new Gate()]
  const held = [...gates]
  store.updateIf = (...args: any[]) => { held.shift()?.pass().then(() => (updateIf as any).apply(store, args)) }
  const askers = new Set<unknown>()
  const push = (): Promise<LightMyRequestResponse> => site.do(({ session }) => {
    askers.add(session)
    return session.update((session: any) => { session.cart.push(1) })
  })
  const replies = [push(), push(), push()]
  await gates[0]?.holds()
  while (askers.size < 3) await setImmediate()
  gates[0]?.open()
  const [first, second, third] = await Promise.all(replies)
  t.equal(first?.statusCode, 200)
  t.match([second?.statusCode, second?.json().code], [503, 'FST_ERR_SESSION_STORE_TIMEOUT'], 'the store did not answer its own call')
  t.match([third?.statusCode, third?.json().code], [409, 'FST_ERR_SESSION_BUSY'])
  gates[1]?.open()
})

t.test('a key may be a number', async t => {
  const site = await (await Site.open({ store: new RemoteMemory() })).begin()
  await Promise.all([1, 2, 3].map(() => site.ask(({ session }) => session.update((session: any) => {
    session.set(7, (session.get(7) ?? 0) + 1)
  }))))
  t.same(await site.data(), { 7: 3 })
})

t.test('an update() that failed on a replaced object has no further effect', async t => {
  const site = await (await Site.open()).begin({ n: 1 })
  const response = await site.do(async request => {
    const old: any = request.session
    await old.regenerate()
    await t.rejects(old.update(() => {}), { code: 'FST_ERR_SESSION_GONE' })
    ;(request.session as any).user = 7
    await request.session.regenerate()
    return [(request.session as any).user ?? null]
  })
  t.same(response.json(), [null], 'regenerate() keeps only the keys that it is given')
})

t.test('a change outside update() that is lost causes a warning, even if user() reads an object', async t => {
  const app = await build({ user: (session: any) => session.user?.id }, app => {
    app.get('/', async (request: any, reply) => {
      request.session.lost = 1
      await request.session.update((session: any) => { session.n = 1 })
      reply.hijack()
      reply.raw.end()
    })
  })
  t.teardown(() => app.close())
  const { cookie } = await app.createSession({ user: { id: 1 } } as any)
  t.match(await warned(async () => { await app.inject({ url: '/', headers: { cookie } }) }), [{ code: 'FST_SESSION_HIJACKED' }])
})

t.test('over http with cookie.secure, update() sends the cookie as save() does', async t => {
  for (const how of ['save', 'update']) {
    const app = await build({ cookie: { secure: true } }, app => {
      app.get('/', async (request: any) => {
        if (how === 'update') return await request.session.update((session: any) => { session.n = 1 })
        request.session.n = 1
        await request.session.save()
      })
    })
    const { cookie } = await app.createSession({})
    const heard = await warned(async () => {
      t.equal(setCookies(await app.inject({ url: '/', headers: { cookie } })).length, 1, how)
    })
    t.same(heard, [])
    await app.close()
  }
})

t.test('on a store with three methods, update() runs again if another process wrote in between', async t => {
  const store = new ThreeMethodStore()
  const site = await (await Site.open({ store: store as any })).begin({ cart: [] })
  let calls = 0
  await site.ask(({ session }) => session.update((session: any) => {
    session.cart.push('ours')
    if (calls++ > 0) return
    for (const sessionId of store.records.keys()) store.put(sessionId, { ...store.record(sessionId), cart: ['theirs'] })
  }))
  t.equal(calls, 2)
  t.same(await site.data(), { cart: ['theirs', 'ours'] })
})

t.test('update() and take() after an un-awaited regenerate() act on the new session, on each store', async t => {
  for (const store of [new MemoryStore(), new ThreeMethodStore(later) as any]) {
    const site = await (await Site.open({ store })).begin({ n: 1, token: 't' })
    const response = await site.do(request => {
      request.session.regenerate(['n', 'token'])
      request.session.update((session: any) => { session.n += 5 })
      return request.session.take('token')
    })
    t.same([response.statusCode, response.body], [200, 't'])
    site.cookie = String(response.headers['set-cookie']).split(';')[0] as string
    t.same(await site.data(), { n: 6 })
  }
})

t.test("setting a property of one of the session's methods does not affect other visitors", async t => {
  const site = await (await Site.open()).begin()
  for (const name of ['update', 'take', 'isFresh', 'save', 'touch', 'data']) {
    const response = await site.do(({ session }) => { session[name].shared = 'of one visitor' })
    t.equal(response.statusCode, 500, name)
    t.equal(await site.ask(({ session }) => String(session[name].shared)).catch(() => 'undefined'), 'undefined')
  }
})
