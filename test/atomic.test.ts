/** What requests do within one key at the same time: `session.update()` and `session.take()`. */
import { setImmediate, setTimeout } from 'node:timers/promises'
import { inspect } from 'node:util'
import type { FastifyInstance, FastifyRequest, LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import { RedisStore } from '../src/stores/redis'
import type { SessionStore } from '../src/types/store'
import { build, type SessionOptions } from './helpers'
import { later, ThreeMethodStore, TouchStore } from './odd-stores'
import { WholeStore } from './planted-stores'
import { connectTo, startRedis } from './servers'

type Handler = (request: FastifyRequest & { session: any }) => unknown

/** A site whose one route does what the test says. */
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

  /** A visitor's session with these data. */
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

  /** What the handler returns, which must work. */
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

/** MemoryStore as it looks from one of several processes: its answers come later, and the records are in one map. */
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

  // Asked as a store of its own.
  override touch (sessionId: string, session: any, callback: any): void { super.touch(sessionId, session, callback) }
}

const without = (store: any, ...methods: string[]): any => Object.assign(store, Object.fromEntries(methods.map(method => [method, undefined])))

const STORES: Record<string, (t: Test) => Promise<SessionStore> | SessionStore> = {
  MemoryStore: () => new MemoryStore(),
  'a store with three methods': () => new ThreeMethodStore(later) as any,
  'a store with touch': () => new TouchStore(later) as any,
  'a store with update, and no updateIf': () => without(new RemoteMemory(), 'updateIf'),
  'a store with updateIf, and no update': () => without(new RemoteMemory(), 'update'),
  'a store with all methods': () => new WholeStore() as any,
  async RedisStore (t) { return new RedisStore({ client: await connectTo(t, await startRedis(t)) }) }
}

const add = (item: unknown): Handler => ({ session }) => session.update((session: any) => { session.cart.push(item) })
const many = Array.from({ length: 20 }, (_, i) => i)

for (const [name, open] of Object.entries(STORES)) {
  t.test(name, async t => {
    const store = await open(t)
    const site = await Site.open({ store })

    await t.test('keeps what parallel requests add to one array', async t => {
      await site.begin({ cart: [] })
      const replies = await Promise.all(many.map(i => site.do(add(i))))
      t.same(new Set(replies.map(({ statusCode }) => statusCode)), new Set([200]))
      t.same((await site.data()).cart.sort((a: number, b: number) => a - b), many)
    })

    await t.test('lets one of those who take a key at the same time have it', async t => {
      for (const value of ['xyz', null, { a: [1] }]) {
        await site.begin({ state: value, other: 1 })
        const taken = await Promise.all(many.map(() => site.ask(async ({ session }) => ({ value: await session.take('state') }))))
        t.same(taken.filter(answer => 'value' in answer), [{ value }])
        t.same(await site.data(), { other: 1 })
      }
    })

    await t.test('takes nothing that is not there', async t => {
      await site.begin({ a: 1 })
      t.equal(await site.ask(({ session }) => session.take('b')), undefined)
      t.same(await site.ask(async ({ session }) => [typeof await session.take('toString')]), ['undefined'])
      t.same(await site.data(), { a: 1 })
    })

    await t.test('writes nothing into a session that has ended in the meantime, and removes its cookie', async t => {
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

t.test('processes that add to one array at the same time keep all of it', async t => {
  const sites = await Promise.all(across(3).map(store => Site.open({ store })))
  const { cookie } = await (sites[0] as Site).begin({ cart: [] })
  const replies = await Promise.all(sites.flatMap(site => {
    site.cookie = cookie
    return [1, 2, 3, 4].map(i => site.do(add(i)))
  }))
  t.same(new Set(replies.map(({ statusCode }) => statusCode)), new Set([200]))
  t.equal((await (sites[0] as Site).data()).cart.length, 12)
})

t.test('of processes that take a key at the same time one gets it', async t => {
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

t.test('when other processes are always faster, the answer is 409, and nothing is written', async t => {
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
  t.equal(calls, reads(), 'the function is called for each try')
  t.ok(calls > 5 && calls < 50)
  const { cart, n, other } = await site.data()
  t.same([n, new Set(cart)], [1, new Set(['theirs'])])
  t.equal(other, 1, 'what else the request changed is saved with its reply')
})

const FASTER: Array<[what: string, before: unknown, change: (data: any) => void, after: unknown]> = [
  ['an array that has grown', ['a'], data => { data.x.push('b') }, ['a', 'b', 'ours']],
  ['an array that is gone', ['a'], data => { delete data.x }, ['ours']],
  ['null in the place of nothing', undefined, data => { data.x = null }, ['ours']],
  ['nothing in the place of null', null, data => { delete data.x }, ['ours']],
  ['a number that became its text', 1, data => { data.x = '1' }, ['ours']],
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

t.test('the function is called again, too, for a key that it only looked at, or looked for', async t => {
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

t.test('another key may have changed', async t => {
  const { store, reads } = besieged(data => { data.other = 1 })
  const site = await Site.open({ store })
  await site.begin({ cart: [] })
  await site.ask(add('a'))
  t.equal(reads(), 1)
  t.same(await site.data(), { cart: ['a'], other: 1 })
})
