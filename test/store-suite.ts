/** What every store is asked: by itself, and by visitors of an app that keeps its sessions there. */
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { SessionRecord, SessionStore } from '../src/stores/store'
import { build, setCookies, Visitor, type SessionOptions } from './helpers'

/** What not every store can promise. Where one doesn't, the suite asserts what happens instead. */
export interface Promises {
  /** A Date comes back as a Date. Otherwise as its ISO string. */
  dates: boolean
  /** An expired session is no longer handed out. Otherwise the library drops it. */
  expires: boolean
  /** Has `touch`: a rolling request that changes nothing writes no data. Otherwise it writes the session whole. */
  touches: boolean
  /** Has `update`: changes are applied in one step. Otherwise the library reads again and writes, one at a time. */
  updates: boolean
  /** Has `all`, `length` and `clear`. */
  lists: boolean
  /**
   * Says when there is no session left to touch, so that an unchanged request is not sent a cookie for it. Otherwise
   * the visitor is left with a cookie that is worth nothing.
   */
  tellsGone: boolean
}

/** A store, and how time goes by for it. */
export interface Subject {
  store: SessionStore
  /** Lets the store's own clock go on, where it has one; `Date.now` is moved by the suite. */
  pass?: (milliseconds: number) => Promise<void>
}

type MakeSubject = (t: Test) => Subject | Promise<Subject>
type AnyStore = Record<string, ((...args: any[]) => any) | undefined>

const MINUTE = 60_000
const HOUR = 60 * MINUTE

export async function testStore (t: Test, promises: Promises, makeSubject: MakeSubject): Promise<void> {
  await t.test('the store itself', t => testContract(t, promises, makeSubject))
  await t.test('for visitors', t => testVisits(t, promises, makeSubject))
}

// --- The store itself

async function testContract (t: Test, promises: Promises, makeSubject: MakeSubject): Promise<void> {
  t.test('has the methods that are declared for it', async t => {
    const store = (await makeSubject(t)).store as unknown as AnyStore
    const has = (method: string): boolean => typeof store[method] === 'function'
    for (const method of ['get', 'set', 'destroy']) t.ok(has(method), method)
    t.equal(has('touch'), promises.touches, 'touch')
    t.equal(has('update'), promises.updates, 'update')
    for (const method of ['all', 'length', 'clear']) t.equal(has(method), promises.lists, method)
  })

  t.test('answers nothing for a session that it does not have', async t => {
    const { store } = await makeSubject(t)
    t.notOk(await ask(store, 'get', 'nobody'))
    await ask(store, 'destroy', 'nobody')
    t.notOk(await ask(store, 'get', 'nobody'))
  })

  t.test('answers what was set, and its cookie', async t => {
    const { store } = await makeSubject(t)
    const session = record({ user: { name: 'max', tags: ['a', 'b'] }, n: 0, no: false, nothing: null, text: 'ü\u0000' })
    await ask(store, 'set', 'a', session)
    const { cookie, ...data } = await ask(store, 'get', 'a') as any
    const { cookie: cookieSet, ...dataSet } = session as any
    t.same(data, dataSet)
    t.equal(new Date(cookie.expires).getTime(), cookieSet.expires.getTime())
    t.equal(cookie.originalMaxAge, HOUR)
    t.equal(cookie.path, '/')
    t.equal(cookie.httpOnly, true)
  })

  t.test('replaces the whole session by set', async t => {
    const { store } = await makeSubject(t)
    await ask(store, 'set', 'a', record({ old: 1 }))
    await ask(store, 'set', 'a', record({ new: 1 }))
    t.same(dataOf(await ask(store, 'get', 'a')), { new: 1 })
  })

  t.test('keeps sessions apart', async t => {
    const { store } = await makeSubject(t)
    await ask(store, 'set', 'a', record({ user: 'max' }))
    await ask(store, 'set', 'b', record({ user: 'eva' }))
    await ask(store, 'destroy', 'a')
    t.notOk(await ask(store, 'get', 'a'))
    t.same(dataOf(await ask(store, 'get', 'b')), { user: 'eva' })
  })

  t.test('keeps what was set, whatever becomes of the object', async t => {
    const { store } = await makeSubject(t)
    const cart = ['apple']
    const session = record({ cart }) as any
    const expires = session.cookie.expires.getTime()
    await ask(store, 'set', 'a', session)
    cart.push('pear')
    session.cookie.expires.setTime(0)
    session.other = 1
    const stored = await ask(store, 'get', 'a') as any
    t.same(dataOf(stored), { cart: ['apple'] })
    t.equal(new Date(stored.cookie.expires).getTime(), expires)
  })

  t.test(promises.dates ? 'keeps a Date' : 'makes a Date its ISO string', async t => {
    const { store } = await makeSubject(t)
    const date = new Date('2024-02-29T12:00:00.123Z')
    await ask(store, 'set', 'a', record({ date }))
    t.strictSame(dataOf(await ask(store, 'get', 'a')), { date: promises.dates ? date : date.toISOString() })
  })

  t.test(promises.expires ? 'no longer answers a session that has expired' : 'leaves the expiry to the library', async t => {
    const { store, pass } = await timed(t, makeSubject)
    await ask(store, 'set', 'a', record({ user: 'max' }, MINUTE))
    await pass(MINUTE - 5000)
    t.ok(await ask(store, 'get', 'a'))
    await pass(10_000)
    t.equal(Boolean(await ask(store, 'get', 'a')), !promises.expires)
  })

  t.test('keeps a session without expiry', async t => {
    const { store, pass } = await timed(t, makeSubject)
    await ask(store, 'set', 'a', { user: 'max', cookie: { expires: null, originalMaxAge: null, path: '/' } })
    await pass(HOUR)
    t.same(dataOf(await ask(store, 'get', 'a')), { user: 'max' })
  })

  if (promises.touches) {
    t.test('touch moves the expiry, and no data', async t => {
      const { store, pass } = await timed(t, makeSubject)
      await ask(store, 'set', 'a', record({ n: 1 }, MINUTE))
      await pass(MINUTE / 2)
      const found = await ask(store, 'touch', 'a', record({ n: 2 }, MINUTE))
      t.not(found, false)
      await pass(MINUTE - 5000)
      t.same(dataOf(await ask(store, 'get', 'a')), { n: 1 })
      await pass(10_000)
      t.notOk(await ask(store, 'get', 'a'))
    })

    t.test('touch never creates a session', async t => {
      const { store } = await makeSubject(t)
      const found = await ask(store, 'touch', 'a', record({ n: 1 }))
      t.equal(found === false, promises.tellsGone)
      t.notOk(await ask(store, 'get', 'a'))
    })
  }

  if (promises.updates) {
    t.test('update applies the changes and the expiry', async t => {
      const { store, pass } = await timed(t, makeSubject)
      await ask(store, 'set', 'a', record({ keep: { n: 1 }, change: 1, remove: 1 }, MINUTE))
      const changes = { set: { change: 2, add: ['x'] }, unset: ['remove', 'never there'] }
      const found = await ask(store, 'update', 'a', changes, record({ other: 1 }, HOUR))
      t.not(found, false)
      await pass(HOUR - MINUTE)
      t.same(dataOf(await ask(store, 'get', 'a')), { keep: { n: 1 }, change: 2, add: ['x'] })
      await pass(2 * MINUTE)
      t.notOk(await ask(store, 'get', 'a'))
    })

    t.test('update never creates a session', async t => {
      const { store } = await makeSubject(t)
      t.equal(await ask(store, 'update', 'a', { set: { n: 1 }, unset: [] }, record({ n: 1 })), false)
      t.notOk(await ask(store, 'get', 'a'))
    })

    t.test('update revives no expired session', async t => {
      const { store, pass } = await timed(t, makeSubject)
      await ask(store, 'set', 'a', record({ n: 1 }, MINUTE))
      await pass(2 * MINUTE)
      t.equal(await ask(store, 'update', 'a', { set: { n: 2 }, unset: [] }, record({}, MINUTE)), false)
      t.notOk(await ask(store, 'get', 'a'))
    })

    t.test('updates at the same time lose nothing', async t => {
      const { store } = await makeSubject(t)
      await ask(store, 'set', 'a', record({}))
      const keys = Array.from({ length: 20 }, (_, i) => `key${i}`)
      await Promise.all(keys.map(key => ask(store, 'update', 'a', { set: { [key]: 1 }, unset: [] }, record({}))))
      t.same(Object.keys(dataOf(await ask(store, 'get', 'a'))).sort(), keys.sort())
    })
  }

  if (promises.lists) {
    t.test('all, length and clear', async t => {
      const { store } = await makeSubject(t)
      await ask(store, 'clear')
      t.equal(await ask(store, 'length'), 0)
      await ask(store, 'set', 'a', record({ user: 'max' }))
      await ask(store, 'set', 'b', record({ user: 'eva' }))
      t.equal(await ask(store, 'length'), 2)
      const all = Object.values(await ask(store, 'all') as object) as Array<{ user: string }>
      t.same(all.map(({ user }) => user).sort(), ['eva', 'max'])
      await ask(store, 'clear')
      t.equal(await ask(store, 'length'), 0)
      t.notOk(await ask(store, 'get', 'a'))
    })
  }
}

// --- What visitors see

async function testVisits (t: Test, promises: Promises, makeSubject: MakeSubject): Promise<void> {
  async function open (t: Test, options: SessionOptions = {}): Promise<Site> {
    const { store, pass } = await timed(t, makeSubject)
    return await Site.open(t, store, pass, options)
  }

  t.test('who logs in stays logged in', async t => {
    const { max, eva, stranger } = await open(t)
    await max.get('/login/max')
    await eva.get('/login/eva')
    for (let i = 0; i < 3; i++) {
      t.equal((await max.get('/whoami')).body, 'max')
      t.equal((await eva.get('/whoami')).body, 'eva')
    }
    t.equal((await stranger.get('/whoami')).body, 'nobody')
    t.not(max.cookies.get('sessionId'), eva.cookies.get('sessionId'))
  })

  t.test('who logs out is logged out, and the old cookie never works again', async t => {
    const { max, eva, revisit } = await open(t)
    await max.get('/login/max')
    await eva.get('/login/eva')
    const old = max.cookieHeader()
    t.equal((await max.get('/logout')).body, 'bye')
    t.equal((await max.get('/whoami')).body, 'nobody')
    t.equal((await revisit(old, '/whoami')).body, 'nobody')
    t.equal((await revisit(old, '/login/mallory')).body, 'hello mallory')
    t.equal((await revisit(old, '/whoami')).body, 'nobody', 'nor is it taken up for a new session')
    t.equal((await eva.get('/whoami')).body, 'eva', 'others stay')
  })

  t.test('who gets a new id keeps what was taken along, and the old cookie never works again', async t => {
    const { max, eva, revisit } = await open(t)
    await max.get('/login/max')
    await max.get('/set/secret/1')
    await eva.get('/login/eva')
    const old = max.cookieHeader()
    await max.get('/renew')
    t.not(max.cookieHeader(), old)
    t.same((await max.get('/all')).json(), { user: 'max' })
    t.equal((await revisit(old, '/whoami')).body, 'nobody')
    t.equal((await eva.get('/whoami')).body, 'eva')
  })

  for (const end of ['logout', 'renew']) {
    for (const what of ['read', 'write', 'touch', 'save', 'nest']) {
      for (const rolling of [true, false]) {
        const name = `a slow request (${what}, rolling: ${rolling}) does not bring back a session that ended (${end}) meanwhile`
        t.test(name, async t => {
          const { max, eva, gate, revisit } = await open(t, { rolling })
          await max.get('/login/max')
          await eva.get('/login/eva')
          const old = max.cookieHeader()
          const slow = revisit(old, `/slow/${what}`)
          await gate.holds(1)
          await max.get(`/${end}`)
          gate.open()
          const response = await slow
          t.equal(response.body, what === 'save' ? 'FST_ERR_SESSION_GONE' : 'done')
          t.equal((await revisit(old, '/whoami')).body, 'nobody')
          t.equal((await max.get('/whoami')).body, end === 'renew' ? 'max' : 'nobody')
          t.equal((await eva.get('/whoami')).body, 'eva')
          const isOnlyTouched = what === 'touch' || (what === 'read' && rolling)
          const isSent = setCookies(response).some(header => !header.startsWith('sessionId=;'))
          t.equal(isSent, isOnlyTouched && !promises.tellsGone, 'whether a cookie is sent for a session that is gone')
        })
      }
    }
  }

  // A browser takes the cookies of a reply whenever it comes.
  for (const what of ['read', 'write']) {
    t.test(`a slow request (${what}) does not take the cookie of the new session out of the browser`, async t => {
      const { max, gate } = await open(t)
      await max.get('/login/max')
      const slow = max.get(`/slow/${what}`)
      await gate.holds(1)
      await max.get('/renew')
      gate.open()
      await slow
      t.equal((await max.get('/whoami')).body, what === 'read' && promises.touches && !promises.tellsGone ? 'nobody' : 'max')
    })
  }

  t.test('a request that is slow itself to log out ends what others wrote meanwhile', async t => {
    const { max, gate, revisit } = await open(t)
    await max.get('/login/max')
    const old = max.cookieHeader()
    const slow = revisit(old, '/slow/destroy')
    await gate.holds(1)
    await max.get('/set/a/1')
    gate.open()
    t.equal((await slow).body, 'done')
    t.equal((await max.get('/whoami')).body, 'nobody')
    t.equal((await revisit(old, '/whoami')).body, 'nobody')
  })

  t.test('a logout and a write in the same moment: logged out', async t => {
    const { max, eva, revisit } = await open(t)
    await eva.get('/login/eva')
    for (let i = 0; i < 10; i++) {
      await max.get('/login/max')
      const old = max.cookieHeader()
      const requests = ['/set/a/1', '/logout', '/set/b/1', '/whoami', '/push/c']
      await Promise.all(requests.map(url => revisit(old, url)))
      t.equal((await revisit(old, '/whoami')).body, 'nobody')
    }
    t.equal((await eva.get('/whoami')).body, 'eva')
  })

  for (const rolling of [true, false]) {
    t.test(`parallel requests that write different keys all survive, rolling: ${rolling}`, async t => {
      const { max, eva, gate } = await open(t, { rolling })
      await max.get('/login/max')
      await eva.get('/login/eva')
      const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
      const requests = keys.map(key => max.get(`/slow/write?key=${key}`))
      const others = max.get('/slow/read')
      await gate.holds(keys.length + 1)
      await max.get('/delete/cart')
      gate.open()
      for (const response of await Promise.all([...requests, others])) t.equal(response.body, 'done')
      t.same((await max.get('/all')).json(), { user: 'max', ...Object.fromEntries(keys.map(key => [key, 1])) })
      t.same((await eva.get('/all')).json(), { user: 'eva', cart: [] })
    })
  }

  t.test('a slow request does not undo what others wrote and removed meanwhile', async t => {
    const { max, gate } = await open(t)
    await max.get('/login/max')
    await max.get('/set/a/1')
    await max.get('/set/b/1')
    const slow = max.get('/slow/all')
    await gate.holds(1)
    await max.get('/set/a/2')
    await max.get('/delete/b')
    gate.open()
    await slow
    t.same((await max.get('/all')).json(), { user: 'max', cart: [], a: '2' })
  })

  for (const rolling of [true, false]) {
    const isFree = promises.touches || !rolling
    t.test(`a request that only reads writes ${isFree ? 'no data' : 'the session whole'}, rolling: ${rolling}`, async t => {
      const { max, calls } = await open(t, { rolling, cookie: { maxAge: HOUR } })
      await max.get('/login/max')
      calls.length = 0
      await max.get('/all')
      await max.get('/nothing')
      const written = calls.filter(method => method === 'set' || method === 'update')
      t.same(written, isFree ? [] : ['set', 'set'])
      t.equal(calls.filter(method => method === 'touch').length, rolling && promises.touches ? 2 : 0)
    })
  }

  t.test('a value that is set to what it was is no change', async t => {
    const { max, calls } = await open(t, { rolling: false })
    await max.get('/login/max')
    calls.length = 0
    await max.get('/login/max')
    t.same(calls, ['get'])
  })

  t.test('a write is one write', async t => {
    const { max, calls } = await open(t)
    await max.get('/login/max')
    t.same(calls, ['set'])
    calls.length = 0
    await max.get('/set/a/1')
    t.same(calls, promises.updates ? ['get', 'update'] : ['get', 'get', 'set'])
  })

  t.test('changes deep within a value are saved', async t => {
    const { max, eva } = await open(t, { rolling: false })
    await max.get('/login/max')
    await eva.get('/login/eva')
    await max.get('/push/apple')
    await max.get('/push/pear')
    t.same((await max.get('/all')).json().cart, ['apple', 'pear'])
    t.same((await eva.get('/all')).json().cart, [])
  })

  t.test('a key that is deleted is gone', async t => {
    const { max } = await open(t, { rolling: false })
    await max.get('/login/max')
    await max.get('/set/a/1')
    t.same((await max.get('/all')).json(), { user: 'max', cart: [], a: '1' })
    await max.get('/delete/a')
    await max.get('/delete/cart')
    t.same((await max.get('/all')).json(), { user: 'max' })
  })

  t.test('nobody sees a change before it is saved', async t => {
    const { max, eva, gate } = await open(t)
    await max.get('/login/max')
    await eva.get('/login/eva')
    const slow = max.get('/slow/unsaved')
    await gate.holds(1)
    t.same((await max.get('/all')).json(), { user: 'max', cart: [] })
    t.same((await eva.get('/all')).json(), { user: 'eva', cart: [] })
    gate.open()
    await slow
    t.same((await max.get('/all')).json(), { user: 'max', cart: ['apple'], note: 'new' })
    t.same((await eva.get('/all')).json(), { user: 'eva', cart: [] })
  })

  t.test('a session ends with its maxAge', async t => {
    const { max, eva, pass, revisit } = await open(t, { rolling: false, cookie: { maxAge: MINUTE } })
    await max.get('/login/max')
    const old = max.cookieHeader()
    await pass(MINUTE / 2)
    await eva.get('/login/eva')
    t.equal((await revisit(old, '/whoami')).body, 'max')
    await pass(MINUTE / 2 + 5000)
    t.equal((await revisit(old, '/whoami')).body, 'nobody')
    t.equal((await eva.get('/whoami')).body, 'eva')
    await pass(MINUTE)
    t.equal((await eva.get('/whoami')).body, 'nobody')
  })

  t.test('with rolling, whoever comes often stays logged in', async t => {
    const { max, eva, pass, revisit } = await open(t, { cookie: { maxAge: MINUTE } })
    await max.get('/login/max')
    await eva.get('/login/eva')
    const [oldMax, oldEva] = [max.cookieHeader(), eva.cookieHeader()]
    for (let i = 0; i < 8; i++) {
      await pass(20_000)
      t.equal((await revisit(oldMax, '/whoami')).body, 'max')
    }
    t.equal((await revisit(oldEva, '/whoami')).body, 'nobody')
    await pass(MINUTE + 5000)
    t.equal((await revisit(oldMax, '/whoami')).body, 'nobody')
  })

  t.test('a slow request does not bring back a session that expired meanwhile', async t => {
    for (const what of ['read', 'write']) {
      const { max, gate, pass, revisit } = await open(t, { cookie: { maxAge: MINUTE } })
      await max.get('/login/max')
      const old = max.cookieHeader()
      const slow = revisit(old, `/slow/${what}`)
      await gate.holds(1)
      await pass(MINUTE + 5000)
      gate.open()
      t.equal((await slow).body, 'done')
      t.equal((await revisit(old, '/whoami')).body, 'nobody')
    }
  })

  t.test(`a visitor's Date is ${promises.dates ? 'a Date' : 'its ISO string'} with the next request`, async t => {
    const { max } = await open(t)
    await max.get('/login/max')
    await max.get('/date')
    t.equal((await max.get('/date')).body, promises.dates ? 'Date 2024-02-29T12:00:00.000Z' : 'String 2024-02-29T12:00:00.000Z')
  })
}

/** An app on the store, with its visitors. */
class Site {
  readonly max: Visitor
  readonly eva: Visitor
  readonly stranger: Visitor
  readonly gate: Gate
  readonly calls: string[]
  readonly pass: (milliseconds: number) => Promise<void>
  /** Whoever comes with a copy of a cookie, and keeps none. */
  readonly revisit: (cookie: string, url: string) => ReturnType<Visitor['get']>

  static async open (
    t: Test,
    store: SessionStore,
    pass: Site['pass'],
    options: SessionOptions
  ): Promise<Site> {
    const calls = recordCalls(store)
    const gate = new Gate()
    const app = await build({ store, ...options }, app => addRoutes(app, gate))
    t.teardown(() => app.close())
    return new Site(app, gate, calls, pass)
  }

  constructor (app: FastifyInstance, gate: Gate, calls: string[], pass: Site['pass']) {
    this.max = new Visitor(app)
    this.eva = new Visitor(app)
    this.stranger = new Visitor(app)
    this.gate = gate
    this.calls = calls
    this.pass = pass
    this.revisit = (cookie, url) => new Visitor(app).get(url, { headers: { cookie } })
  }
}

function addRoutes (app: FastifyInstance, gate: Gate): void {
  type Params = { name: string, value: string }

  app.get('/login/:name', async request => {
    const { name } = request.params as Params
    const session = request.session as any
    session.user = name
    session.cart ??= []
    return `hello ${name}`
  })
  app.get('/whoami', async request => (request.session as any).user ?? 'nobody')
  app.get('/all', async request => (request.session as any).data())
  app.get('/nothing', async () => 'nothing')
  app.get('/logout', async request => {
    await request.session.destroy()
    return 'bye'
  })
  app.get('/renew', async request => {
    await request.session.regenerate(['user'])
    return 'renewed'
  })
  app.get('/set/:name/:value', async request => {
    const { name, value } = request.params as Params
    ;(request.session as any)[name] = value
    return 'set'
  })
  app.get('/delete/:name', async request => {
    delete (request.session as any)[(request.params as Params).name]
    return 'deleted'
  })
  app.get('/push/:name', async request => {
    const session = request.session as any
    ;(session.cart ??= []).push((request.params as Params).name)
    return 'pushed'
  })
  app.get('/date', async request => {
    const session = request.session as any
    if (session.date !== undefined) return `${session.date.constructor.name} ${new Date(session.date).toISOString()}`
    session.date = new Date('2024-02-29T12:00:00Z')
    return 'new'
  })
  app.get('/slow/:name', async request => {
    const session = request.session as any
    const { key = 'slow' } = request.query as { key?: string }
    if (session.user === undefined) throw new Error('no session was loaded')
    const what = (request.params as Params).name
    if (what === 'unsaved') {
      session.cart.push('apple')
      session.note = 'new'
    }
    if (what === 'all') session.data()
    await gate.pass()
    if (what === 'write' || what === 'save') session[key] = 1
    if (what === 'nest') session.cart.push('late')
    if (what === 'touch') session.touch()
    if (what === 'destroy') await session.destroy()
    if (what === 'save') {
      try {
        await session.save()
      } catch (error) {
        return (error as { code: string }).code
      }
    }
    return 'done'
  })
}

/** Holds whoever comes until it is opened. */
export class Gate {
  readonly #opened: Promise<void>
  readonly #watchers: Array<{ count: number, resolve: () => void }> = []
  #held = 0
  /** Lets all go, and whoever comes after. */
  open!: () => void

  constructor () {
    this.#opened = new Promise(resolve => { this.open = resolve })
  }

  async pass (): Promise<void> {
    this.#held++
    for (const { count, resolve } of this.#watchers) if (this.#held >= count) resolve()
    await this.#opened
  }

  /** Resolves when that many are held. */
  async holds (count: number): Promise<void> {
    if (this.#held >= count) return
    await new Promise<void>(resolve => this.#watchers.push({ count, resolve }))
  }
}

/** Moves Date.now() without waiting for it. */
export function clock (t: Test): { advance: (milliseconds: number) => void } {
  const { now } = Date
  let passed = 0
  Date.now = () => now() + passed
  t.teardown(() => { Date.now = now })
  return { advance: milliseconds => { passed += milliseconds } }
}

/** Writes down the names of the store's methods as they are called. */
export function recordCalls (store: SessionStore): string[] {
  const calls: string[] = []
  const methods = store as unknown as AnyStore
  for (const name of ['get', 'set', 'destroy', 'touch', 'update']) {
    const method = methods[name]
    if (method === undefined) continue
    const recording = function (this: unknown, ...args: unknown[]): unknown {
      calls.push(name)
      return method.apply(this, args)
    }
    // Whether a promise counts is told by the number of parameters.
    methods[name] = Object.defineProperty(recording, 'length', { value: method.length })
  }
  return calls
}

/** Calls a method of a store in whichever way it answers. */
export function ask (store: SessionStore, method: string, ...args: unknown[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fn = (store as unknown as AnyStore)[method] as (...args: unknown[]) => unknown
    const answer = (error: unknown, value: unknown): void => error ? reject(error) : resolve(value)
    const result = fn.call(store, ...args, answer) as Promise<unknown> | undefined
    if (fn.length <= args.length) result?.then(resolve, reject)
  })
}

/** A session as the library gives it to a store. */
export function record (data: object, maxAge = HOUR): SessionRecord {
  const cookie = { expires: new Date(Date.now() + maxAge), originalMaxAge: maxAge, path: '/', httpOnly: true, secure: false }
  return { ...data, cookie }
}

function dataOf (record: unknown): Record<string, unknown> {
  const { cookie, ...data } = record as SessionRecord
  return data
}

async function timed (t: Test, makeSubject: MakeSubject): Promise<Required<Subject>> {
  const { advance } = clock(t)
  const { store, pass } = await makeSubject(t)
  return {
    store,
    async pass (milliseconds) {
      advance(milliseconds)
      await pass?.(milliseconds)
    }
  }
}
