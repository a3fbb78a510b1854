/** sealed(): a store contains nothing by which anyone could log in or read data. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { RedisStore as ConnectRedis } from 'connect-redis'
import fc from 'fast-check'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { fingerprint } from '../src/diagnostics'
import { MemoryStore, type SecurityMessage } from '../src/index'
import { RedisStore } from '../src/stores/redis'
import { sealed, type SealedOptions } from '../src/stores/sealed'
import { testStore, type Promises } from '../src/testing/index'
import type { SessionRecord, SessionStore } from '../src/types/store'
import { warned } from './heard'
import { build, Gate, record, SECRET, Visitor, type SessionOptions } from './helpers'
import { ThreeMethodStore } from './odd-stores'
import { openPool, underTest } from './postgres/tables'
import { connectTo, letPass, startPostgres, startRedis } from './servers'
import { until } from './waiting'

const [OLD, NEW] = ['the first key, which has 32 characters', Buffer.alloc(32, 'n')]
const sealing = (store: SessionStore, options: Partial<SealedOptions> = {}) =>
  sealed(store, { keys: [OLD], legacy: false, ...options })

// --- The store suite and the races

const promises: Promises = {
  shared: true,
  parallel: false,
  ended: false,
  renews: false,
  noDeadCookie: false,
  touches: true,
  oneCall: false,
  expires: true,
  waits: false,
  dates: false,
  onlyYours: true,
  lists: true,
  stops: true,
  copies: true,
  touchesOnly: false,
  users: false,
  updates: false,
  tellsGone: false
}
const ofMemory: Promises = { ...promises, shared: false, waits: true, touchesOnly: true, users: true, updates: true, tellsGone: true }
const ofRedis: Promises = {
  ...promises, parallel: true, ended: true, renews: true, oneCall: true, touchesOnly: true, users: true, updates: true, tellsGone: true
}

for (const legacy of [false, true]) {
  t.test(`a sealed MemoryStore passes the store suite, legacy: ${legacy}`, t =>
    testStore(() => sealing(new MemoryStore(), { legacy }), { promises: ofMemory, test: t.test }))
}

t.test('a sealed RedisStore passes the store suite', async t => {
  const client = await connectTo(t, await startRedis(t))
  const open = (): SessionStore => sealing(new RedisStore({ client }))
  await testStore(async () => {
    await client.flushDb()
    return { store: open(), another: open, pass: time => letPass(client, time), grain: 0.01 }
  }, { promises: ofRedis, test: t.test })
})

t.test('a sealed connect-redis passes the store suite', async t => {
  const client = await connectTo(t, await startRedis(t))
  const open = (): SessionStore => sealing(new ConnectRedis({ client: client as any }) as unknown as SessionStore)
  await testStore(async () => {
    await client.flushDb()
    return { store: open(), another: open, pass: time => letPass(client, time) }
  }, { promises, test: t.test })
})

t.test('a sealed PostgresStore passes the store suite', async t => {
  const pool = openPool(t, (await startPostgres(t)).url)
  await testStore(async t => {
    const { store, another, ...more } = await underTest(t, pool)
    return { ...more, store: sealing(store as SessionStore), another: () => sealing((another as () => SessionStore)()) }
  }, { promises: ofRedis, test: t.test })
})

// --- What the store is given

t.test('no data, session id or user reaches the store in plain text', t => fc.assert(fc.asyncProperty(
  fc.dictionary(fc.constantFrom('a', 'b', 'c', '__d', 'key with spaces'), fc.oneof(word(), fc.array(word()), fc.record({ inner: word() }))),
  word(), word(), word(),
  async (data, id, user, changed) => {
    const { store, given } = overheard(new MemoryStore())
    const app = await build({
      store: sealing(store), idGenerator: () => id, user: session => session.user as string, cookie: { maxAge: 3_600_000 }
    }, app => {
      app.get('/login', async ({ session }) => { Object.assign(session, data, { user }) })
      app.get('/change', async ({ session }) => { await session.update((session: any) => { session.a = changed }) })
      app.get('/save', async ({ session }) => {
        session.set('b', { changed })
        await session.save()
        return (await session.list()).length
      })
      app.get('/out', ({ session }) => session.destroy())
    })
    const visitor = new Visitor(app)
    for (const url of ['/login', '/change', '/save', '/out']) await visitor.get(url)
    await app.close()
    const text = given.join('\n')
    const words = [id, user, changed, ...JSON.stringify(data).match(/W\w{11}/g) ?? []]
    // The library's hash of the user's name could be guessed.
    return given.length > 8 && [...words, fingerprint(user)].every(word => !text.includes(word))
  }
), { numRuns: 30 }).then(() => t.pass()))

/** A text that isn't found anywhere by chance. */
function word (): fc.Arbitrary<string> {
  return fc.string({ unit: fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz'), minLength: 11, maxLength: 11 }).map(text => `W${text}`)
}

/** The store, and all arguments that it is given. */
function overheard (inner: MemoryStore): { store: SessionStore, given: string[] } {
  const given: string[] = []
  const store = new Proxy(inner, {
    get (target, name) {
      const value = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      return new Proxy(value, {
        apply (method, _this, args) {
          given.push(JSON.stringify([name, ...args, ...args.map(arg => arg?.sessionId)]))
          return Reflect.apply(method, target, args)
        }
      })
    }
  })
  return { store, given }
}

// --- Records that can't be opened

type Site = { app: FastifyInstance, inner: MemoryStore, rows: Map<string, any>, max: Visitor, eva: Visitor, heard: string[] }

async function site (t: Test, options: SessionOptions = {}, wrapping: Partial<SealedOptions> = {}, inner = new MemoryStore()): Promise<Site> {
  const heard: string[] = []
  const hear = (message: unknown): void => { heard.push((message as SecurityMessage).reason) }
  subscribe('@fastify/session:security', hear)
  const app = await build({ store: sealing(inner, wrapping), saveUninitialized: false, ...options }, app => {
    app.get('/login/:name', async request => {
      const { name } = request.params as { name: string }
      Object.assign(request.session, { user: name, cart: [`cart of ${name}`] })
    })
    app.get('/user', async ({ session }) => session.get('user') ?? 'nobody')
    app.get('/cart', async ({ session }) => session.get('cart') ?? 'none')
    app.get('/note/:text', async request => { request.session.set('note', (request.params as any).text) })
    app.get('/push', async ({ session }) => { await session.update((session: any) => { (session.list ??= []).push(1) }) })
    app.get('/all', async ({ session }) => (session as any).data())
    app.get('/renew', async ({ session }) => { await session.regenerate(['user', 'cart']) })
    app.get('/out', ({ session }) => session.destroy())
  })
  t.teardown(async () => {
    unsubscribe('@fastify/session:security', hear)
    await app.close()
  })
  return { app, inner, rows: inner.store as Map<string, any>, max: new Visitor(app), eva: new Visitor(app), heard }
}

/** A visitor of another application with the same cookies. */
function at (app: FastifyInstance, { cookies }: Visitor): Visitor {
  const visitor = new Visitor(app)
  for (const [name, value] of cookies) visitor.cookies.set(name, value)
  return visitor
}

async function loggedIn (t: Test): Promise<Site & { ofMax: any, ofEva: any }> {
  const found = await site(t, { cookie: { maxAge: 3_600_000 } })
  await found.max.get('/login/max')
  await found.eva.get('/login/eva')
  const [ofMax, ofEva] = [...found.rows.values()]
  return { ...found, ofMax, ofEva }
}

t.test("an attacker who can write to the store cannot move one session's record to another", async t => {
  const { max, rows, ofEva, heard } = await loggedIn(t)
  const [key] = rows.keys()
  rows.set(key as string, { ...ofEva })
  t.equal((await max.get('/user')).body, 'nobody', "eva's record is not accepted as max's session")
  t.same(heard, ['unreadable'])
})

for (const [what, change] of Object.entries({
  "another session's value": (ofMax: any, ofEva: any) => { ofMax.user = ofEva.user },
  "another key's value": (ofMax: any) => { ofMax.user = ofMax.cart },
  'half of a value': (ofMax: any) => { ofMax.user = ofMax.user.slice(0, -20) },
  'only the prefix of a sealed value': (ofMax: any) => { ofMax.user = ofMax.user.slice(0, 8) },
  'a value with another byte': (ofMax: any) => { ofMax.user = ofMax.user.replace(/.$/, (last: string) => last === 'A' ? 'Q' : 'A') },
  'a plain value': (ofMax: any) => { ofMax.user = 'eva' },
  'a plain object': (ofMax: any) => { ofMax.user = { name: 'eva' } }
})) {
  t.test(`${what} is not accepted, and the session ends with the reply that reads it`, async t => {
    const { max, ofMax, ofEva, heard } = await loggedIn(t)
    change(ofMax, ofEva)
    t.equal((await max.get('/cart')).json()[0], 'cart of max', 'a reply that does not read it works')
    const response = await max.get('/user')
    t.equal(response.statusCode, 500)
    t.equal(response.json().code, 'FST_ERR_SESSION_RECORD')
    t.notMatch(response.json().message, 'eva')
    t.equal((await max.get('/user')).body, 'nobody', 'the session has ended')
    t.ok(heard.includes('unreadable'))
  })
}

for (const [what, change] of Object.entries({
  'a later createdAt': (cookie: any) => { cookie.createdAt += 1000 },
  'no createdAt': (cookie: any) => { delete cookie.createdAt },
  'no createdAt, and no proof of one': (cookie: any) => { delete cookie.createdAt; delete cookie['~createdAt'] },
  'no time of the last write': (cookie: any) => { delete cookie.seenAt; delete cookie['~seenAt'] },
  'another idle timeout': (cookie: any) => { cookie.idle = 1e12 },
  'a user without proof': (cookie: any) => { cookie.userKey = 'max' },
  'a field without proof': (cookie: any) => { cookie.authenticatedAt = Date.now() },
  "another field's proof": (cookie: any) => { cookie['~idle'] = cookie['~seenAt'] },
  'a proof that is not a string': (cookie: any) => { cookie['~idle'] = { é: 1 } },
  'a proof that cannot be converted to a string': (cookie: any) => { cookie['~idle'] = { toString: 1, valueOf: 1 } }
})) {
  t.test(`a session with ${what} is not accepted`, async t => {
    const { max, ofMax, heard } = await loggedIn(t)
    change(ofMax.cookie)
    t.equal((await max.get('/user')).body, 'nobody')
    t.same(heard, ['unreadable'])
  })
}

t.test('a record without a cookie, or a value that is not a record, is treated as no session', async t => {
  const { max, rows, heard } = await loggedIn(t)
  const [key] = rows.keys()
  for (const broken of [{}, { cookie: 'none' }, 'text']) {
    rows.set(key as string, broken)
    t.equal((await at(max.app, max).get('/user')).body, 'nobody')
  }
  t.same(heard, ['unreadable', 'unreadable', 'unreadable'])
})

t.test('destroy() also removes a session that cannot be opened', async t => {
  const { rows, ofMax } = await loggedIn(t)
  const [key] = rows.keys()
  const store = sealing(Object.assign(new MemoryStore(rows as any)))
  ofMax.cookie.createdAt = 1
  t.same(await store.destroy(key as string, undefined as any), {})
  t.equal(rows.has(key as string), false)
})

t.test('a key from the store is not a login: neither in a cookie nor in place of a session id', async t => {
  for (const legacy of [false, true]) {
    const { app, max, rows } = await site(t, {}, { legacy })
    await max.get('/login/max')
    const [key] = rows.keys() as Iterable<string>
    t.equal(await app.loadSession({ sessionId: key as string }), null)
    const cookie = `sessionId=${encodeURIComponent(require('@fastify/cookie').sign(key, SECRET))}`
    t.equal((await app.inject({ url: '/user', headers: { cookie } })).body, 'nobody')
    t.equal((await max.get('/user')).body, 'max')
  }
})

t.test("a security message about an ended session's cookie has the fingerprint that the session had", async t => {
  const { app, max, rows } = await site(t, {}, { legacy: true })
  await max.get('/login/max')
  const [key] = rows.keys() as Iterable<string>
  const late = at(app, max)
  await max.get('/out')
  const told: unknown[] = []
  const hear = (message: unknown): void => { told.push(message) }
  subscribe('@fastify/session:security', hear)
  t.teardown(() => unsubscribe('@fastify/session:security', hear))
  await late.get('/user')
  t.match(told, [{ reason: 'unknown-id', fingerprint: fingerprint(key as string) }])
})

// --- Only values that changed, only values that are read

t.test('only values that changed are sealed again', async t => {
  const { max, rows } = await loggedIn(t)
  const before = { ...[...rows.values()][0] }
  await max.get('/note/hello')
  const after = [...rows.values()][0]
  t.equal(after.cart, before.cart)
  t.equal(after.user, before.user)
  await max.get('/push')
  t.same((await max.get('/all')).json(), { user: 'max', cart: ['cart of max'], note: 'hello', list: [1] })
  t.equal([...rows.values()][0].note, after.note)
})

t.test("a store's own keys that begin with __ are not data", async t => {
  const { max, ofMax } = await loggedIn(t)
  ofMax.__lastAccess = 1
  t.same((await max.get('/all')).json(), { user: 'max', cart: ['cart of max'] })
})

t.test("connect-mongo's lastModified, which touchAfter needs, is not data and does not make a touch fail", async t => {
  class Mongo extends ThreeMethodStore {
    readonly touched: unknown[] = []

    override get (sessionId: string, callback: (error: any, record?: any) => void): void {
      super.get(sessionId, (error, record) => callback(error, record && { ...record, lastModified: new Date() }))
    }

    touch (_sessionId: string, session: any, callback: () => void): void {
      this.touched.push(session.lastModified?.getTime())
      callback()
    }
  }
  for (const isLegacy of [false, true]) {
    const inner = new Mongo()
    const options = { cookie: { maxAge: 3_600_000 } }
    const first = await site(t, { ...options, store: isLegacy ? inner : sealing(inner) })
    await first.max.get('/login/max')
    const { app } = await site(t, { ...options, store: sealing(inner, { legacy: true }) })
    const max = at(app, first.max)
    t.same((await max.get('/all')).json(), { user: 'max', cart: ['cart of max'] })
    await max.get('/note/hello')
    t.same((await max.get('/all')).json(), { user: 'max', cart: ['cart of max'], note: 'hello' })
    t.ok(inner.touched.length > 0)
  }
})

// --- Keys that change

t.test('the first of several keys seals and all of them open: nobody is logged out while they change, under load', async t => {
  const inner = new MemoryStore()
  const ways = [[OLD], [OLD, NEW], [NEW, OLD], [NEW, OLD]] as const
  const sites = await Promise.all(ways.map(keys => site(t, { user: session => session.user as string }, { keys }, inner)))
  const visitors = await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    const visitor = new Visitor((sites[0] as Site).app)
    await visitor.get(`/login/user${i}`)
    return visitor
  }))
  // Processes with the old and with the new keys run at the same time.
  await Promise.all(sites.slice(1).flatMap(({ app }) => visitors.flatMap(visitor => Array.from({ length: 5 }, async () => {
    t.equal((await at(app, visitor).get('/push')).statusCode, 200)
  }))))
  const { app } = sites[3] as Site
  for (const [i, visitor] of visitors.entries()) {
    const { user, list } = (await at(app, visitor).get('/all')).json()
    t.equal(user, `user${i}`)
    t.equal(list.length, 15, 'no addition is lost')
  }
  const [first, second, third] = visitors.map(visitor => at(app, visitor)) as [Visitor, Visitor, Visitor]
  t.equal((await app.sessions.forUser('user0')).length, 1, 'the index finds a login from before the change')
  await first.get('/renew')
  t.equal((await first.get('/user')).body, 'user0', 'a renewal replaces an index entry from before the change')
  t.equal((await app.sessions.forUser('user0')).length, 1)
  t.equal(await app.sessions.revokeUser('user0'), 1)
  t.equal(await app.sessions.revokeUser('user1'), 1)
  t.equal((await first.get('/user')).body, 'nobody')
  t.equal((await second.get('/user')).body, 'nobody')
  const late = await site(t, {}, { keys: [NEW] }, inner)
  t.equal((await at(late.app, third).get('/user')).body, 'nobody', 'without its key, a session is lost')
})

t.test('a session that was renewed while keys change is found by its user after the old key is dropped', async t => {
  const inner = new MemoryStore()
  const user = (session: any): string => session.user
  for (const [before, then, afterwards] of [
    [sealing(inner), sealing(inner, { keys: [NEW, OLD] }), sealing(inner, { keys: [NEW] })],
    [sealing(inner), sealing(inner, { keys: [NEW, Buffer.alloc(32, 'u'), OLD] }), sealing(inner, { keys: [NEW] })],
    [inner, sealing(inner, { legacy: true }), sealing(inner)]
  ] as const) {
    const sites = await Promise.all([before, then, afterwards].map(store => site(t, { store, user })))
    const [first, second, last] = sites as [Site, Site, Site]
    await first.max.get('/login/max')
    const max = at(second.app, first.max)
    await max.get('/renew')
    const late = at(last.app, max)
    t.equal((await late.get('/user')).body, 'max')
    t.equal(await last.app.sessions.revokeUser('max'), 1)
    t.equal((await late.get('/user')).body, 'nobody')
  }
})

t.test('a session that is renewed during a revocation while keys change does not survive it', async t => {
  for (const [keys, order] of [[[NEW, OLD], 'afterwards'], [[OLD, NEW], 'before']] as const) {
    for (let call = 1; call <= 3; call++) {
      const inner = new MemoryStore()
      const gate = new Gate()
      let left = call
      const slow: SessionStore = Object.assign(Object.create(inner), {
        revoke: (userKey: string, which: object, callback: () => void) => inner.revoke(userKey, which, () => {
          if (--left === 0) gate.pass().then(callback)
          else callback()
        })
      })
      const user = (session: any): string => session.user
      const first = await site(t, { user }, {}, inner)
      await first.max.get('/login/max')
      const revoking = await site(t, { store: sealing(slow, { keys }), user })
      const { app } = await site(t, { user }, { keys: [NEW, OLD] }, inner)
      const max = at(app, first.max)
      const revoked = revoking.app.sessions.revokeUser('max')
      await gate.holds()
      await max.get('/renew')
      gate.open()
      await revoked
      t.equal((await max.get('/user')).body, 'nobody', `${order}, after call ${call}`)
    }
  }
})

t.test('if the store fails while a session is renewed, no session is left that a revocation does not find', async t => {
  for (let call = 1; call <= 5; call++) {
    const inner = new MemoryStore()
    let left = Infinity
    const failing: SessionStore = Object.assign(Object.create(inner), {
      claim: (...all: Parameters<MemoryStore['claim']>) => --left === 0 ? all[3](new Error('away')) : inner.claim(...all)
    })
    const user = (session: any): string => session.user
    const first = await site(t, { user }, {}, inner)
    await first.max.get('/login/max')
    const { app } = await site(t, { store: sealing(failing, { keys: [NEW, OLD] }), user })
    const max = at(app, first.max)
    left = call
    t.equal((await max.get('/renew')).statusCode, 500, `call ${call}`)
    left = Infinity
    await app.sessions.revokeUser('max')
    t.equal((await max.get('/user')).body, 'nobody', `call ${call}`)
  }
})

t.test('a revocation ends even if endingsOf() of the store does not answer with a list', async t => {
  const inner = new MemoryStore()
  const odd = Object.assign(Object.create(inner), { endingsOf: (_user: string, callback: (error: null, keys: object) => void) => callback(null, {}) })
  const { app, max } = await site(t, { store: sealing(odd), user: session => session.user as string })
  await max.get('/login/max')
  t.equal(await app.sessions.revokeUser('max'), 0)
})

t.test('a store that answers with nothing, or with something odd, gets an answer or an error, and the process continues', async t => {
  const text = Object.create(null)
  const odd: Record<string, unknown[]> = {
    claimsOf: [undefined, null, [null], 5, Symbol('odd'), { rows: [] }, [{ sessionId: text, claimedAt: Symbol('odd') }, { claimedAt: 1 }]],
    endingsOf: [undefined, null, [null], 5, Symbol('odd')],
    revoke: [undefined, null, Symbol('odd')],
    claim: [undefined, null, Symbol('odd')],
    all: [undefined, null, 5, Symbol('odd'), [null], [{ id: text }]]
  }
  for (const keys of [[OLD], [NEW, OLD]]) {
    for (const [method, answers] of Object.entries(odd)) {
      for (const answer of answers) {
        const inner = new MemoryStore()
        // It answers later, so that what is thrown then would end the process.
        const store: any = sealing(Object.assign(Object.create(inner), { [method]: async () => answer }), { keys })
        const args = { claimsOf: ['max', Infinity, 9], revoke: ['max', {}], claim: ['max', 'a', { replaces: 'b' }], endingsOf: ['max'], all: [] }
        const outcome = await store[method](...args[method as keyof typeof args]).then(() => 'answered', (error: unknown) => error)
        t.ok(outcome === 'answered' || outcome instanceof Error, `${method} ${String(typeof answer)}`)
        if ((answer ?? undefined) === undefined) t.equal(outcome, 'answered')
      }
    }
  }
})

// --- Sessions from before sealing

async function fromBefore (options: SessionOptions = {}): Promise<{ inner: MemoryStore, before: Visitor, id: string }> {
  const inner = new MemoryStore()
  const app = await build({ store: inner, saveUninitialized: false, ...options }, app => {
    app.get('/login', async ({ session }) => { Object.assign(session, { user: 'max', cart: ['cart of max'] }) })
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  await app.close()
  return { inner, before: visitor, id: [...inner.store.keys()][0] as string }
}

t.test('a session from before sealing continues, is sealed in place, and is counted in legacyLoads', async t => {
  const user = (session: any): string => session.user
  const { inner, before, id } = await fromBefore({ user })
  const store = sealed(inner, { keys: [OLD] })
  const { app } = await site(t, { store, user })
  const visitor = at(app, before)
  t.equal(store.legacyLoads, 0)
  t.equal((await visitor.get('/user')).body, 'max')
  t.equal(store.legacyLoads, 1)
  const row = (inner.store as Map<string, any>).get(id)
  t.match(row, { user: /^sealed1:/, cart: /^sealed1:/ })
  await visitor.get('/note/hello')
  await visitor.get('/push')
  t.same((await visitor.get('/all')).json(), { user: 'max', cart: ['cart of max'], note: 'hello', list: [1] })
  t.same([...inner.store.keys()], [id], 'it was not moved to another key, which could bring back a logged-out session')
  t.equal((await app.sessions.forUser('max')).length, 1, 'its user is found')
  await visitor.get('/renew')
  t.equal((await visitor.get('/user')).body, 'max')
  t.match([...inner.store.keys()], [/^sealed-/], 'a new id is hashed')
  t.equal((await app.sessions.forUser('max')).length, 1)
  t.equal(await app.sessions.revokeUser('max'), 1)
  t.equal((await visitor.get('/user')).body, 'nobody')
})

t.test('a session from before sealing can be logged out and revoked', async t => {
  const user = (session: any): string => session.user
  for (const url of ['/out', '/revoke']) {
    const { inner, before } = await fromBefore({ user })
    const { app } = await site(t, { user }, { legacy: true }, inner)
    const visitor = at(app, before)
    await visitor.get('/user')
    if (url === '/revoke') t.equal(await app.sessions.revokeUser('max'), 1)
    else await visitor.get(url)
    t.equal(inner.store.size, 0)
    t.equal((await visitor.get('/user')).body, 'nobody')
  }
})

t.test('a logout with two cookies also ends a session from before sealing', async t => {
  const { inner, before } = await fromBefore()
  const { app, max } = await site(t, {}, { legacy: true }, inner)
  await max.get('/login/max')
  const header = (visitor: Visitor): string => [...visitor.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  await app.inject({ url: '/out', headers: { cookie: `${header(max)}; ${header(before)}` } })
  t.equal(inner.store.size, 0)
})

t.test('with legacy: false, a session from before sealing is not found', async t => {
  const { inner, before } = await fromBefore()
  const { app, heard } = await site(t, {}, {}, inner)
  const visitor = at(app, before)
  t.equal((await visitor.get('/user')).body, 'nobody')
  t.same(heard, ['unknown-id'])
})

t.test('on a store with three methods, a session from before sealing is sealed when it is written', async t => {
  const { inner: { store: rows }, before, id } = await fromBefore()
  const inner = new ThreeMethodStore()
  await new Promise(resolve => inner.set(id, rows.get(id) as any, resolve))
  const { app } = await site(t, { store: sealed(inner as unknown as SessionStore, { keys: [OLD] }) })
  const visitor = at(app, before)
  t.equal((await visitor.get('/user')).body, 'max')
  await visitor.get('/note/hello')
  t.same((await visitor.get('/all')).json(), { user: 'max', cart: ['cart of max'], note: 'hello' })
})

t.test('an unreadable field from before sealing throws when it is read', async t => {
  const inner = new MemoryStore()
  const raw = record({ n: 1 }) as SessionRecord
  Object.defineProperty(raw, 'broken', { enumerable: true, get () { throw Object.assign(new Error('broken'), { code: 'FST_ERR_SESSION_RECORD' }) } })
  inner.store.set('a', raw as any)
  const found = await sealed(inner, { keys: [OLD] }).get('a', undefined as any) as unknown as SessionRecord
  t.equal(found.n, 1)
  t.throws(() => found.broken, { code: 'FST_ERR_SESSION_RECORD' })
})

t.test('sealing a session from before does not overwrite changes made in the meantime', async t => {
  const { inner, before, id } = await fromBefore()
  const gate = new Gate()
  const updateIf = inner.updateIf.bind(inner)
  inner.updateIf = (...args) => { gate.pass().then(() => updateIf(...args)) }
  const { app } = await site(t, {}, { legacy: true }, inner)
  const visitor = at(app, before)
  const loading = visitor.get('/user')
  await gate.holds()
  const row = (inner.store as Map<string, any>).get(id)
  inner.store.set(id, { ...row, cart: ['another'] })
  gate.open()
  t.equal((await loading).body, 'max')
  t.same((inner.store as Map<string, any>).get(id).cart, ['another'])
})

// --- Golden values

const GOLDEN = {
  key: 'sealed-QaGuoay9T0BM3t5spZtGBEbV9lFozexcA9I2k2t8OM4',
  user: 'sealed1:TtII-ifQd-8aJqI63wJ5E3b07im9hr1knStmq66vlJFZ1T6KFwmXHdEsXfCcmX06ARLYlnkzZQ',
  createdAt: 'BMjiqRBnI5ysVz0IAdBwL-',
  seenAt: 'T4JSt8khv9-L0BhZ0w91vR',
  userKey: 'm586wZtwNgfnRA2zUdLP8O',
  sealedUserKey: 'sealed1:jwGd6dPGMq8BsbLnGgeanwX5TIiCpNNSp336vtbE-3OmhotZu5wuRL26'
}

t.test('future versions can open what this version has sealed', async t => {
  const inner = new MemoryStore()
  const cookie = {
    expires: new Date('9999-01-01'),
    originalMaxAge: null,
    createdAt: 1,
    seenAt: 2,
    userKey: GOLDEN.userKey,
    '~createdAt': GOLDEN.createdAt,
    '~seenAt': GOLDEN.seenAt,
    '~userKey': GOLDEN.sealedUserKey
  }
  inner.store.set(GOLDEN.key, { user: GOLDEN.user, cookie } as any)
  const store = sealing(inner, { keys: [NEW, OLD] })
  t.equal(store.keyOf('an id of a golden session'), GOLDEN.key)
  const found = await store.get(GOLDEN.key, undefined as any) as unknown as any
  t.equal(found.user.name, 'Ada Lovelace ✓')
  t.same(found.cookie, { expires: cookie.expires, originalMaxAge: null, createdAt: 1, seenAt: 2, userKey: 'the key of ada' })
})

// --- How it is called

t.test('a sealed store has the methods of its store, and no others', t => {
  const methods = (store: object): string[] => {
    const own = ['keyOf', 'formerKeyOf', 'legacyLoads']
    return Object.keys(store).filter(name => !own.includes(name)).sort()
  }
  t.same(methods(sealing(new ThreeMethodStore() as unknown as SessionStore)), ['destroy', 'get', 'set'])
  t.same(methods(sealing(new MemoryStore())), [
    'all', 'claim', 'claimsOf', 'clear', 'destroy', 'endingsOf', 'get', 'length', 'release', 'revoke', 'set', 'touch', 'update', 'updateIf'
  ])
  t.end()
})

t.test('the methods of a sealed store answer by a callback or by a promise', async t => {
  const store = sealing(new MemoryStore()) as any
  await store.set('a', record({ n: 1 }))
  t.equal((await store.get('a')).n, 1)
  store.get('a', (error: unknown, session: any) => t.same([error, session.n], [null, 1], 'at once, as the store does'))
  t.equal((await store.all()).a.n, 1)
  await t.rejects(store.set('b', record({ n: 1n })), { code: 'FST_ERR_SESSION_VALUE' })
  await store.update('a', { set: { n: () => 1, cookie: 1 }, unset: [], meta: { set: {}, unset: ['createdAt'] } }, record({}))
  t.same(Object.keys(await store.get('a')), ['cookie'], 'values that JSON cannot hold are gone')
  await store.set('live', { n: 1, cookie: { toJSON: () => ({ expires: null, createdAt: 1 }) } })
  t.equal((await store.get('live')).cookie.createdAt, 1)
  await store.clear()
  t.equal(await new Promise(resolve => store.length((_error: null, length: number) => resolve(length))), 0)
})

t.test('updateIf() only accepts records that the store returned', async t => {
  const store = sealing(new MemoryStore()) as any
  await store.set('a', record({ n: 1 }))
  const changes = { set: { n: 2 }, unset: [], meta: { set: {}, unset: [] } }
  t.equal(await store.updateIf('a', { n: 1 }, ['n'], changes, record({})), 'changed')
  t.equal(await store.updateIf('a', await store.get('a'), ['n'], changes, record({})), 'written')
})

t.test('a record can be changed before it is read, and may have any number of keys', async t => {
  const store = sealing(new MemoryStore()) as any
  await store.set('a', record(Object.fromEntries(Array.from({ length: 1100 }, (_, i) => [`key ${i}`, i]))))
  const found = await store.get('a')
  found['key 0'] = 'another'
  t.equal(found['key 0'], 'another')
  t.equal(found['key 1099'], 1099)
})

t.test('all() leaves out records that are not sealed', async t => {
  const inner = new MemoryStore()
  const store = sealing(inner) as any
  await store.set('a', record({ n: 1 }))
  inner.store.set('plain', record({ n: 2 }) as any)
  t.same(Object.keys(await store.all()), ['a'])
  const list = sealing({ get () {}, set () {}, destroy () {}, all: async () => ['no record', null] } as unknown as SessionStore) as any
  t.same(Object.keys(await list.all()), [])
  const odd = sealing({ get () {}, set () {}, destroy () {}, all: async () => ({ a: 'no record' }) } as unknown as SessionStore) as any
  t.same(Object.keys(await odd.all()), [])
  const none = sealing({ get () {}, set () {}, destroy () {}, all: async () => undefined } as unknown as SessionStore) as any
  t.same(Object.keys(await none.all()), [])
  const failing = sealing({ get () {}, set () {}, destroy () {}, all: async () => { throw new Error('away') } } as unknown as SessionStore) as any
  await t.rejects(failing.all(), { message: 'away' })
})

t.test("the store's errors are passed on unchanged", async t => {
  const inner = new MemoryStore()
  const fail = (...args: any[]): void => args.at(-1)(new Error('away'))
  Object.assign(inner, { get: fail, set: fail, destroy: fail, release: fail, revoke: fail, endingsOf: fail, claimsOf: fail, claim: fail })
  const store = sealing(inner) as any
  for (const [method, ...args] of [['get', 'a'], ['set', 'a', record({})], ['destroy', 'a'], ['release', 'u', ['a']], ['revoke', 'u', {}], ['endingsOf', 'u'], ['claimsOf', 'u', Infinity, 1], ['claim', 'u', 'a', {}]]) {
    await t.rejects(store[method as string](...args), { message: 'away' }, method as string)
  }
})

t.test('the signal of a sealed session reports that another process has ended it', async t => {
  const server = await startRedis(t)
  const open = async (): Promise<FastifyInstance> => {
    const client = await connectTo(t, server)
    const store = sealing(new RedisStore({ client, subscriber: await connectTo(t, server) }))
    const app = await build({ store, saveUninitialized: false }, app => {
      app.get('/login', async ({ session }) => { session.set('user', 'max') })
      app.get('/signal', async ({ session }) => {
        await new Promise(resolve => session.signal.addEventListener('abort', resolve))
        return session.signal.reason.code
      })
      app.get('/out', ({ session }) => session.destroy())
    })
    t.teardown(() => app.close())
    return app
  }
  const [here, there] = [await open(), await open()]
  const visitor = new Visitor(here)
  await visitor.get('/login')
  const other = new Visitor(there)
  for (const [name, value] of visitor.cookies) other.cookies.set(name, value)
  const told = visitor.get('/signal')
  const admin = await connectTo(t, server)
  await until('it listens', async () => (await admin.pubSubChannels()).length === 1)
  await other.get('/out')
  t.equal((await told).body, 'logout')
})

t.test('a misspelt option causes a warning', async t => {
  const heard = await warned(async () => sealed(new MemoryStore(), { keys: [OLD], legasy: false } as any))
  t.match(heard, [{ code: 'FST_SESSION_OPTION', message: "legasy of sealed() isn't known: write legacy" }])
})

for (const [what, store, options] of [
  ['no store', undefined, { keys: [OLD] }],
  ['no options', new MemoryStore(), undefined],
  ['no keys', new MemoryStore(), {}],
  ['an empty list', new MemoryStore(), { keys: [] }],
  ['one key that is not in a list', new MemoryStore(), { keys: OLD }],
  ['a short string', new MemoryStore(), { keys: [OLD, 'short'] }],
  ['a short buffer', new MemoryStore(), { keys: [Buffer.alloc(31)] }],
  ['a number', new MemoryStore(), { keys: [32] }],
  ['legacy that is not a boolean', new MemoryStore(), { keys: [OLD], legacy: 'false' }]
] as const) {
  t.test(`sealed() refuses ${what}`, t => {
    t.throws(() => sealed(store as any, options as any), { code: 'FST_ERR_SESSION_OPTION', message: /sealed\(\)/ })
    t.end()
  })
}
