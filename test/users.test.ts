/** A user's sessions, listed and ended by the user and by an operator. */
import { createHash } from 'node:crypto'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore, type FastifySessionObject, type Sessions, type SessionStore, type SessionView } from '../src/index'
import { RedisStore } from '../src/stores/redis'
import { breakableSigner, build, clock, Gate, SECRET, Visitor, type SessionOptions } from './helpers'
import { ThreeMethodStore } from './odd-stores'
import { connectTo, letPass, startRedis, type NodeRedis } from './servers'

declare module 'fastify' {
  interface FastifyInstance {
    adminSessions: Sessions
  }
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE
// How much readings of Redis's clock and of this process's clock may differ.
const ROUNDED = 10

let redis: NodeRedis

t.before(async () => {
  redis = await connectTo(t, await startRedis(t))
})

const data = (request: FastifyRequest): any => request.session

function routes (app: FastifyInstance): void {
  app.get('/login/:user', async request => {
    const { user } = request.params as { user: string }
    await request.session.regenerate()
    Object.assign(request.session, { userId: user, device: request.headers['user-agent'] })
  })
  app.get('/user', async request => data(request).userId ?? 'nobody')
  app.get('/write', async request => { data(request).n = 1 })
  app.get('/rename/:user', async request => { data(request).userId = (request.params as { user: string }).user })
  app.get('/forget', async request => { delete data(request).userId })
  app.get('/logout', async request => { await request.session.destroy() })
  app.get('/id', async request => request.session.sessionId)
  app.get('/list', async request => {
    const { cursor, limit } = request.query as Record<string, string>
    return await request.session.list({ cursor, limit: Number(limit ?? 100) })
  })
  app.get('/revoke/:handle', async request => {
    const wasThere = await request.session.revoke((request.params as { handle: string }).handle)
    return { wasThere, isNull: request.session === null }
  })
  app.get('/revoke-others', async request => await request.session.revokeOthers())
}

interface Site {
  app: FastifyInstance
  store: SessionStore
  login: (user: string, device?: string) => Promise<Visitor>
}

async function open (t: Test, store: SessionStore, options: SessionOptions = {}): Promise<Site> {
  const app = await build({
    store,
    saveUninitialized: false,
    user: session => (session as any).userId,
    describe: session => ({ device: (session as any).device }),
    ...options,
    cookie: { maxAge: HOUR, ...options.cookie }
  }, routes)
  t.teardown(() => app.close())
  return { app, store, login }

  async function login (user: string, device = 'a browser'): Promise<Visitor> {
    const visitor = new Visitor(app)
    const { statusCode, body } = await visitor.get(`/login/${user}`, { headers: { 'user-agent': device } })
    if (statusCode !== 200) throw new Error(body)
    return visitor
  }
}

const list = async (visitor: Visitor, query = ''): Promise<SessionView[]> => (await visitor.get(`/list${query}`)).json()
const userOf = async (visitor: Visitor): Promise<string> => (await visitor.get('/user')).body
const currentOf = async (visitor: Visitor): Promise<SessionView> =>
  (await list(visitor)).find(({ current }) => current) as SessionView

const keyOf = (text: string): string => createHash('sha256').update(text).digest('base64url').slice(0, 16)

function claimsOf (store: SessionStore, user: string): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    store.claimsOf?.(keyOf(user), Infinity, 1000, (error, claims = []) => error ? reject(error) : resolve(claims))
  })
}

/** Makes an index entry, as a login does before it writes the session. */
function claim (store: SessionStore, user: string, sessionId: string): Promise<unknown> {
  const claiming = { fingerprint: keyOf(sessionId), lives: HOUR, isWritten: false, max: Infinity, refuses: false }
  return new Promise(resolve => store.claim?.(keyOf(user), sessionId, claiming, resolve))
}

/** Makes entries older. The ages in RedisStore's index are by Redis's clock, which can't be moved. */
async function age (t: Test, store: SessionStore, user: string, milliseconds: number): Promise<void> {
  if (!(store instanceof RedisStore)) {
    clock(t).advance(milliseconds)
    return
  }
  const key = `users:sess:{${keyOf(user)}}:ids`
  for (const [fingerprint, entry] of Object.entries(await redis.hGetAll(key))) {
    await redis.hSet(key, fingerprint, entry.replace(/^\d+/, enteredAt => String(Number(enteredAt) - milliseconds)))
  }
}

/** Runs a test on each store that has an index. */
function onEach (title: string, run: (t: Test, makeStore: () => SessionStore) => Promise<void>): void {
  t.test(title, async t => {
    await t.test('MemoryStore', t => run(t, () => new MemoryStore()))
    await t.test('RedisStore', async t => {
      await redis.flushDb()
      await run(t, () => new RedisStore({ client: redis }))
    })
  })
}

// --- The user's view

onEach('a user sees only their own sessions, newest login first', async (t, makeStore) => {
  const { login } = await open(t, makeStore())
  await login('eva')
  const phone = await login('max', 'phone')
  const before = Date.now()
  const laptop = await login('max', 'laptop')
  const sessions = await list(laptop)
  t.match(sessions, [{ device: 'laptop', current: true }, { device: 'phone', current: false }])
  t.equal(sessions.length, 2)
  const { createdAt, lastSeenAt, expiresAt } = sessions[0] as SessionView
  t.ok(Math.abs(Date.parse(String(createdAt)) - before) < MINUTE)
  t.ok(Math.abs(Date.parse(String(lastSeenAt)) - before) < MINUTE)
  t.ok(Math.abs(Date.parse(String(expiresAt)) - before - HOUR) < MINUTE)
  t.match(await list(phone), [{ device: 'laptop', current: false }, { device: 'phone', current: true }])
})

onEach('a visitor who is not logged in sees no sessions and can end none', async (t, makeStore) => {
  const { app, login } = await open(t, makeStore())
  const max = await login('max')
  const { handle } = await currentOf(max)
  const stranger = new Visitor(app)
  t.same(await list(stranger), [])
  t.match((await stranger.get(`/revoke/${handle}`)).json(), { wasThere: false })
  t.equal((await stranger.get('/revoke-others')).body, '0')
  t.equal(await userOf(max), 'max')
})

onEach('a list can be read in pages', async (t, makeStore) => {
  const { app, login } = await open(t, makeStore())
  let last: Visitor | undefined
  for (const device of ['a', 'b', 'c', 'd', 'e']) last = await login('max', device)
  const devices = (sessions: SessionView[]): string => sessions.map(({ device }) => device).join('')
  t.equal(devices(await list(last as Visitor)), 'edcba')
  t.equal(devices(await list(last as Visitor, '?limit=2')), 'ed')
  const first = await app.sessions.forUser('max', { limit: 2 })
  t.equal(devices(first), 'ed')
  // Sessions may come and go between the pages: none is skipped, and none is listed twice.
  await login('max', 'f')
  await app.sessions.revoke((first[0] as SessionView).handle)
  const second = await app.sessions.forUser('max', { limit: 2, cursor: first.next })
  t.equal(devices(second), 'cb')
  const third = await app.sessions.forUser('max', { limit: 2, cursor: second.next })
  t.equal(devices(third), 'a')
  t.equal(third.next, undefined)
})

onEach('a handle is stable, and is neither the session id nor the cookie', async (t, makeStore) => {
  const { login } = await open(t, makeStore())
  const visitor = await login('max')
  const { handle } = await currentOf(visitor)
  await visitor.get('/write')
  t.equal((await currentOf(visitor)).handle, handle)
  t.match(handle, /^[\w-]{16}\.[\w-]{16}$/)
  const { body: sessionId } = await visitor.get('/id')
  t.equal(handle, `${keyOf('max')}.${keyOf(sessionId)}`, 'the second half is the fingerprint of diagnostics')
})

t.test('a list contains no session id and no cookie', async t => {
  const { app, login } = await open(t, new MemoryStore())
  const visitor = await login('max')
  const { body: sessionId } = await visitor.get('/id')
  const shown = JSON.stringify([await list(visitor), await app.sessions.forUser('max')])
  t.notMatch(shown, sessionId)
  t.notMatch(shown, visitor.cookies.get('sessionId') as string)
})

onEach("properties from describe do not hide the library's own", async (t, makeStore) => {
  const { login } = await open(t, makeStore(), { describe: () => ({ handle: 'mine', current: 'mine', more: 1 }) })
  const visitor = await login('max')
  const [view] = await list(visitor)
  t.match(view, { current: true, more: 1 })
  t.not(view?.handle, 'mine')
})

onEach('a list says when a session was last seen, and when it expires', async (t, makeStore) => {
  // A rolling session that is only read: only the store knows its end.
  const { app, store, login } = await open(t, makeStore())
  const visitor = await login('max')
  const begun = performance.now()
  const [before] = await app.sessions.forUser('max') as [SessionView]
  // Redis says how much is left. If its answer took long to arrive, the end seems to be later.
  const least = MINUTE - (performance.now() - begun) - ROUNDED
  clock(t).advance(MINUTE)
  if (store instanceof RedisStore) await letPass(redis, MINUTE)
  await visitor.get('/user')
  const [after] = await app.sessions.forUser('max') as [SessionView]
  t.same(after.createdAt, before.createdAt)
  const moved = Number(after.lastSeenAt) - Number(before.lastSeenAt)
  t.ok(moved >= least, `moved by ${moved} ms`)
  t.ok(Number(after.expiresAt) - Number(before.expiresAt) >= least)
})

t.test('a new login is listed once it is saved', async t => {
  const app = await build({ user: session => (session as any).userId }, app => {
    app.get('/', async request => {
      data(request).userId = 'max'
      const before = await request.session.list()
      await request.session.save()
      return [before.length, (await request.session.list()).length]
    })
  })
  t.teardown(() => app.close())
  t.same((await new Visitor(app).get('/')).json(), [0, 1])
})

t.test('a session that has ended because absoluteTimeout was lowered is not listed', async t => {
  const { advance } = clock(t)
  const store = new MemoryStore()
  const { app, login } = await open(t, store, { absoluteTimeout: HOUR })
  await login('max')
  const { app: stricter } = await open(t, store, { absoluteTimeout: 5 * MINUTE })
  advance(10 * MINUTE)
  t.equal((await app.sessions.forUser('max')).length, 1)
  t.same(await stricter.sessions.forUser('max'), [])
})

t.test('a store without entries may answer claimsOf() and endingsOf() without a list', async t => {
  const store = new MemoryStore()
  const { app } = await open(t, store)
  store.claimsOf = (_userKey, _before, _count, callback) => callback(null)
  t.same(await app.sessions.forUser('max'), [])
  store.endingsOf = (_userKey, callback) => callback(null)
  t.equal(await app.sessions.revokeUser('max'), 0)
})

t.test('if claimsOf() or endingsOf() answers with something that is not a list, the error says so', async t => {
  const store = new MemoryStore()
  const { app } = await open(t, store)
  for (const odd of [{ rows: [] }, 'rows', 5, true, new Map()]) {
    store.claimsOf = (_userKey, _before, _count, callback) => callback(null, odd as any)
    await t.rejects(app.sessions.forUser('max'), { code: 'FST_ERR_SESSION_STORE', message: /claimsOf failed: it must answer with a list/ })
    store.endingsOf = (_userKey, callback) => callback(null, odd as any)
    await t.rejects(app.sessions.revokeUser('max'), { code: 'FST_ERR_SESSION_STORE', message: /endingsOf failed: it must answer with a list/ })
  }
})

onEach('a session whose cookie ends with the browser is listed with expiresAt: null', async (t, makeStore) => {
  const { app, login } = await open(t, makeStore(), { cookie: { maxAge: undefined } })
  await login('max')
  const [view] = await app.sessions.forUser('max')
  t.equal(view?.expiresAt, null)
  t.ok(Number(view?.lastSeenAt) > 0)
})

onEach('a user can end one of their own sessions, and none of another user', async (t, makeStore) => {
  const { login } = await open(t, makeStore())
  const [phone, laptop, eva] = [await login('max'), await login('max'), await login('eva')]
  const { handle } = await currentOf(phone)
  t.match((await eva.get(`/revoke/${handle}`)).json(), { wasThere: false })
  t.equal(await userOf(phone), 'max')
  t.match((await laptop.get(`/revoke/${handle}`)).json(), { wasThere: true })
  t.equal(await userOf(phone), 'nobody')
  t.equal(await userOf(laptop), 'max')
  t.equal((await list(laptop)).length, 1)
  t.match((await laptop.get(`/revoke/${handle}`)).json(), { wasThere: false }, 'only once')
})

onEach('a user can end the current session by its handle, as with destroy()', async (t, makeStore) => {
  const { login } = await open(t, makeStore())
  const visitor = await login('max')
  const { handle } = await currentOf(visitor)
  t.same((await visitor.get(`/revoke/${handle}`)).json(), { wasThere: true, isNull: true })
  t.equal(visitor.cookies.size, 0)
})

onEach('an invalid handle ends nothing', async (t, makeStore) => {
  const { app, login } = await open(t, makeStore())
  const visitor = await login('max')
  const { handle } = await currentOf(visitor)
  const others = ['', 'x', handle.slice(1), `${handle}x`, `${handle.slice(0, 17)}${'A'.repeat(16)}`, `${'A'.repeat(16)}${handle.slice(16)}`]
  for (const wrong of [...others, undefined, null, 42, {}]) {
    t.equal(await app.sessions.revoke(wrong as string), false, String(wrong))
  }
  t.equal(await userOf(visitor), 'max')
})

onEach('a user can end all their other sessions', async (t, makeStore) => {
  const { login } = await open(t, makeStore())
  const [phone, laptop, tablet, eva] = [await login('max'), await login('max'), await login('max'), await login('eva')]
  t.equal((await laptop.get('/revoke-others')).body, '2')
  t.same(await Promise.all([phone, laptop, tablet, eva].map(userOf)), ['nobody', 'max', 'nobody', 'eva'])
})

// --- The operator's view

onEach('an operator sees the sessions of a user, and the number of all sessions', async (t, makeStore) => {
  const { app, login } = await open(t, makeStore())
  await Promise.all([login('max', 'phone'), login('eva')])
  t.match(await app.sessions.forUser('max'), [{ device: 'phone', current: false }])
  t.same(await app.sessions.forUser('nobody'), [])
  t.equal(await app.sessions.count(), 2)
})

onEach('an operator can end one session by its handle', async (t, makeStore) => {
  const { app, login } = await open(t, makeStore())
  const [phone, laptop] = [await login('max'), await login('max')]
  t.equal(await app.sessions.revoke((await currentOf(phone)).handle), true)
  t.same(await Promise.all([phone, laptop].map(userOf)), ['nobody', 'max'])
})

onEach('an operator can end all sessions of a user', async (t, makeStore) => {
  const { app, login } = await open(t, makeStore())
  const [phone, laptop, eva] = [await login('max'), await login('max'), await login('eva')]
  t.equal(await app.sessions.revokeUser('max'), 2)
  t.same(await Promise.all([phone, laptop, eva].map(userOf)), ['nobody', 'nobody', 'eva'])
  t.equal(await app.sessions.revokeUser('max'), 0)
})

t.test('a user may be a number, and 1 is the same as "1"', async t => {
  const { app, login } = await open(t, new MemoryStore(), { user: session => (session as any).userId && Number((session as any).userId) })
  await login('1')
  t.equal((await app.sessions.forUser(1)).length, 1)
  t.equal((await app.sessions.forUser('1')).length, 1)
})

t.test('an invalid user is refused', async t => {
  const { app } = await open(t, new MemoryStore(), { user: session => (session as any).userId === 'bad' ? '' : (session as any).userId })
  const code = 'FST_ERR_SESSION_USER'
  for (const wrong of ['', NaN, Infinity, {}, true, undefined, null]) {
    await t.rejects(app.sessions.forUser(wrong as string), { code }, String(wrong))
    await t.rejects(app.sessions.revokeUser(wrong as string), { code }, String(wrong))
  }
  const response = await new Visitor(app).get('/login/bad')
  t.match(response.json(), { statusCode: 500, code })
  t.equal(response.headers['set-cookie'], undefined)
})

t.test('errors that user() or describe() throw are passed on', async t => {
  const { app } = await open(t, new MemoryStore(), { user: () => { throw new Error('no user today') } })
  t.match((await new Visitor(app).get('/write')).json(), { statusCode: 500, message: 'no user today' })
  const { login } = await open(t, new MemoryStore(), { describe: () => { throw new Error('no words') } })
  const visitor = await login('max')
  t.match((await visitor.get('/list')).json(), { statusCode: 500, message: 'no words' })
})

// --- The index

onEach("the index follows a session's user", async (t, makeStore) => {
  const { app, login } = await open(t, makeStore())
  const count = async (user: string): Promise<number> => (await app.sessions.forUser(user)).length
  const visitor = await login('max')
  await visitor.get('/rename/eva')
  t.same([await count('max'), await count('eva')], [0, 1], 'after a change to another user')
  await visitor.get('/forget')
  t.same([await count('max'), await count('eva')], [0, 0], 'after the user is removed')
  await visitor.get('/rename/max')
  t.equal(await count('max'), 1, 'after the user is set again')
  await visitor.get('/logout')
  t.equal(await count('max'), 0, 'after the logout')
})

onEach('a logout or a renewal leaves no old entry in the index', async (t, makeStore) => {
  const store = makeStore()
  const { app, login } = await open(t, store)
  const visitor = await login('max')
  await visitor.get('/login/max')
  t.equal((await claimsOf(store, 'max')).length, 1)
  t.equal((await app.sessions.forUser('max')).length, 1)
  await visitor.get('/logout')
  t.same(await claimsOf(store, 'max'), [])
})

onEach('an index entry whose session is gone is removed when it is read', async (t, makeStore) => {
  const store = makeStore()
  const { app, login } = await open(t, store)
  const visitor = await login('max')
  const { body: sessionId } = await visitor.get('/id')
  await new Promise(resolve => store.destroy(sessionId, resolve))
  // As after a crash between the entry and the session.
  await claim(store, 'max', sessionId)
  t.same(await app.sessions.forUser('max'), [])
  t.equal((await claimsOf(store, 'max')).length, 1, 'a recent entry stays, because its session may not be written yet')
  await age(t, store, 'max', 2 * MINUTE)
  t.same(await app.sessions.forUser('max'), [])
  t.same(await claimsOf(store, 'max'), [])
})

onEach('an index entry for a session that now belongs to another user lists and ends nothing', async (t, makeStore) => {
  const store = makeStore()
  const { app, login } = await open(t, store)
  const visitor = await login('eva')
  const { body: sessionId } = await visitor.get('/id')
  await claim(store, 'max', sessionId)
  t.same(await app.sessions.forUser('max'), [])
  t.equal(await app.sessions.revokeUser('max'), 0)
  t.equal(await userOf(visitor), 'eva')
})

t.test('MemoryStore: an index entry is removed with its session', async t => {
  const { advance } = clock(t)
  const store = new MemoryStore(undefined, { max: 3 })
  const { app, login } = await open(t, store)
  for (const user of ['a', 'b', 'c', 'd']) await login(user)
  const left = async (): Promise<string[]> => {
    const users: string[] = []
    for (const user of ['a', 'b', 'c', 'd']) if ((await claimsOf(store, user)).length > 0) users.push(user)
    return users
  }
  t.same(await left(), ['b', 'c', 'd'], 'the oldest session was removed to make room')
  advance(2 * HOUR)
  t.equal(await app.sessions.count(), 0)
  t.same(await left(), [], 'expired')
  await login('a')
  store.clear()
  t.same(await left(), [], 'cleared')
})

t.test('RedisStore: the index has its own keys, which expire', async t => {
  await redis.flushDb()
  const { app, login } = await open(t, new RedisStore({ client: redis }))
  await login('max')
  const keys = await redis.keys('*')
  const index = keys.filter(key => key.startsWith('users:sess:'))
  t.equal(index.length, 3)
  t.equal(keys.length, 4)
  for (const key of index) {
    const left = await redis.pTTL(key)
    t.ok(left > HOUR && left <= 3 * HOUR, `${key}: ${left} ms`)
  }
  t.equal(await app.sessions.count(), 1, 'the index does not count as a session')
})

t.test('RedisStore: all, length and clear distinguish the index from sessions, even without a prefix', async t => {
  await redis.flushDb()
  const store = new RedisStore({ client: redis, prefix: '' })
  const { login } = await open(t, store)
  await login('max')
  t.equal(await store.length(), 1)
  t.equal(Object.keys(await store.all()).length, 1)
  await store.clear()
  t.equal(await redis.dbSize(), 0)
})

onEach('a session that is only read stays in the index', async (t, makeStore) => {
  const store = makeStore()
  const claimed: number[] = []
  const claim = store.claim as NonNullable<typeof store.claim>
  store.claim = function (...args) {
    claimed.push(Date.now())
    Reflect.apply(claim, store, args)
  }
  // It needs the same length, so that the library sees that it takes a callback.
  Object.defineProperty(store.claim, 'length', { value: 5 })
  const { login } = await open(t, store)
  const { advance } = clock(t)
  const visitor = await login('max')
  t.equal(claimed.length, 2, 'before and after the session is written')
  await visitor.get('/user')
  await visitor.get('/write')
  t.equal(claimed.length, 2, 'not with each request')
  advance(31 * MINUTE)
  await visitor.get('/user')
  t.equal(claimed.length, 3, 'again after half of its lifetime has passed')
  await visitor.get('/user')
  t.equal(claimed.length, 3)
})

// --- Races

onEach('a revoked session is also gone for requests under way', async (t, makeStore) => {
  const gate = new Gate()
  const slow = await build({ store: makeStore(), user: session => (session as any).userId, cookie: { maxAge: HOUR } }, app => {
    routes(app)
    app.get('/slow', async request => {
      data(request).n = 1
      await gate.pass()
    })
  })
  t.teardown(() => slow.close())
  const visitor = new Visitor(slow)
  await visitor.get('/login/max')
  const answer = visitor.get('/slow')
  await gate.holds()
  t.equal(await slow.sessions.revokeUser('max'), 1)
  gate.open()
  t.equal((await answer).statusCode, 200)
  t.equal(visitor.cookies.size, 0, 'the cookie is cleared')
  t.equal(await slow.sessions.count(), 0)
})

onEach('a login that is revoked before it is written has no effect', async (t, makeStore) => {
  const store = makeStore()
  const { app } = await open(t, store)
  const set = store.set.bind(store)
  // The revocation comes between the claim and the write.
  store.set = function (sessionId, session, callback) {
    if ((session as any).userId === undefined) set(sessionId, session, callback)
    else app.sessions.revokeUser('max').then(() => set(sessionId, session, callback), callback)
  }
  const response = await new Visitor(app).get('/rename/max')
  t.equal(response.headers['set-cookie'], undefined)
  t.equal(await app.sessions.count(), 0)
})

onEach('a login whose session is gone when it is written leaves nothing in the index', async (t, makeStore) => {
  const store = makeStore()
  const { app, login } = await open(t, store)
  const visitor = await login('eva')
  const { body: sessionId } = await visitor.get('/id')
  const update = (store.update as NonNullable<typeof store.update>).bind(store)
  store.update = (id, changes, session, callback) => {
    store.destroy(sessionId, () => update(id, changes, session, callback))
  }
  await visitor.get('/rename/max')
  t.equal(visitor.cookies.size, 0)
  t.same(await app.sessions.forUser('max'), [])
  t.same(await claimsOf(store, 'max'), [])
})

t.test("a login that cannot be written fails with the store's error", async t => {
  const store = new MemoryStore()
  const { app } = await open(t, store)
  store.set = (_sessionId, _session, callback) => callback(new Error('away'))
  t.match((await new Visitor(app).get('/rename/max')).json(), { statusCode: 500, message: 'away' })
})

// --- How many sessions

onEach('maxPerUser ends the session with the oldest login', async (t, makeStore) => {
  const { app, login } = await open(t, makeStore(), { maxPerUser: 2 })
  const visitors = [await login('max', '1'), await login('max', '2'), await login('eva'), await login('max', '3'), await login('max', '4')]
  t.same(await Promise.all(visitors.map(userOf)), ['nobody', 'nobody', 'eva', 'max', 'max'])
  t.equal((await app.sessions.forUser('max')).length, 2)
})

onEach("with onMaxPerUser: 'refuse', a login beyond maxPerUser fails", async (t, makeStore) => {
  const { app, login } = await open(t, makeStore(), { maxPerUser: 1, onMaxPerUser: 'refuse' })
  const first = await login('max')
  const second = new Visitor(app)
  const response = await second.get('/login/max')
  t.match(response.json(), { statusCode: 403, code: 'FST_ERR_SESSION_TOO_MANY' })
  t.equal(await userOf(second), 'nobody')
  t.equal(await userOf(first), 'max')
  await first.get('/write')
  t.equal(await userOf(first), 'max', 'a logged-in visitor can write')
  await first.get('/logout')
  await second.get('/login/max')
  t.equal(await userOf(second), 'max', 'there is room again')
})

onEach('a session that has ended by itself does not count for maxPerUser', async (t, makeStore) => {
  const store = makeStore()
  const { login } = await open(t, store, { maxPerUser: 1, onMaxPerUser: 'refuse' })
  const first = await login('max')
  const { body: sessionId } = await first.get('/id')
  // The index doesn't learn of this.
  await new Promise(resolve => store.destroy(sessionId, resolve))
  await age(t, store, 'max', 2 * MINUTE)
  t.equal(await userOf(await login('max')), 'max')
})

for (const [how, login] of Object.entries<(session: any) => Promise<unknown>>({
  'before the session is written': async session => { session.userId = 'max' },
  'after save()': async session => {
    session.userId = 'max'
    await session.save()
  },
  'after regenerate()': async session => {
    session.userId = 'max'
    await session.regenerate(['userId'])
  }
})) {
  onEach(`a login whose cookie cannot be sent leaves no session and takes no place: ${how}`, async (t, makeStore) => {
    const signer = breakableSigner()
    const ways: Record<string, [(request: FastifyRequest, reply: FastifyReply) => void, object]> = {
      domain: [({ session }) => { session.cookie.domain = 'a b;' }, { code: 'FST_ERR_SESSION_COOKIE' }],
      sameSite: [({ session }) => { session.cookie.sameSite = 'Laxx' as any }, { code: 'FST_ERR_SESSION_COOKIE' }],
      path: [({ session }) => { session.cookie.path = '/a;b' }, { code: 'FST_ERR_SESSION_COOKIE' }],
      priority: [({ session }) => { session.cookie.priority = 'x' as any }, { code: 'FST_ERR_SESSION_COOKIE' }],
      'a setCookie of another plugin': [(_request, reply) => { reply.setCookie = () => { throw new Error('not now') } }, { code: 'FST_ERR_SESSION_COOKIE' }],
      signer: [() => { signer.isBroken = true }, { message: 'no key' }]
    }
    const options: SessionOptions = {
      store: makeStore(), user: session => (session as any).userId, maxPerUser: 1, onMaxPerUser: 'refuse', secret: signer
    }
    const app = await build(options, app => {
      routes(app)
      app.get('/broken-login/:way', async (request, reply) => {
        await login(request.session)
        ways[(request.params as { way: string }).way]?.[0](request, reply)
      })
    })
    t.teardown(() => app.close())
    for (const [way, [, expected]] of Object.entries(ways)) {
      const response = await new Visitor(app).get(`/broken-login/${encodeURIComponent(way)}`)
      t.match(response.json(), { statusCode: 500, ...expected }, way)
      t.equal(response.headers['set-cookie'], undefined, way)
      signer.isBroken = false
      t.same(await app.sessions.forUser('max'), [], way)
      const visitor = new Visitor(app)
      t.equal((await visitor.get('/login/max')).statusCode, 200, way)
      await visitor.get('/logout')
    }
  })
}

t.test('a handler can catch the refusal of a login and answer it', async t => {
  const app = await build({ user: session => (session as any).userId, maxPerUser: 1, onMaxPerUser: 'refuse' }, app => {
    routes(app)
    app.get('/polite-login', async request => {
      data(request).userId = 'max'
      try {
        await request.session.save()
      } catch (error) {
        delete data(request).userId
        return (error as { code: string }).code
      }
      return 'welcome'
    })
  })
  t.teardown(() => app.close())
  t.equal((await new Visitor(app).get('/polite-login')).body, 'welcome')
  const second = new Visitor(app)
  const response = await second.get('/polite-login')
  t.same([response.statusCode, response.body], [200, 'FST_ERR_SESSION_TOO_MANY'])
  t.equal(await userOf(second), 'nobody')
})

onEach('if many logins come at the same time, only as many as the limit are accepted', async (t, makeStore) => {
  const { app, login } = await open(t, makeStore(), { maxPerUser: 2, onMaxPerUser: 'refuse' })
  const logins = await Promise.allSettled(Array.from({ length: 12 }, () => login('max')))
  t.equal(logins.filter(({ status }) => status === 'fulfilled').length, 2)
  t.equal((await app.sessions.forUser('max')).length, 2)
})

onEach('if many logins come at the same time, only as many sessions as the limit stay', async (t, makeStore) => {
  const { app, login } = await open(t, makeStore(), { maxPerUser: 2 })
  const logins = await Promise.allSettled(Array.from({ length: 12 }, () => login('max')))
  const visitors = logins.flatMap(login => login.status === 'fulfilled' ? [login.value] : [])
  const users = await Promise.all(visitors.map(userOf))
  t.equal(users.filter(user => user === 'max').length, 2)
  t.equal((await app.sessions.forUser('max')).length, 2)
})

// --- What is registered, and what is not

t.test('without the option user, list(), revoke(), revokeOthers() and fastify.sessions do not exist', async t => {
  const app = await build({}, app => {
    app.get('/', async request => {
      const session = data(request)
      session.list ??= []
      session.list.push('milk')
      return { list: session.list, revoke: typeof session.revoke, others: 'revokeOthers' in session }
    })
  })
  t.teardown(() => app.close())
  t.same((await new Visitor(app).get('/')).json(), { list: ['milk'], revoke: 'undefined', others: false })
  t.notOk(app.hasDecorator('sessions'))
})

t.test('a data key called list hides the method', async t => {
  const app = await build({ user: session => (session as any).userId }, app => {
    app.get('/', async request => {
      data(request).list = ['milk']
      return data(request).list
    })
  })
  t.teardown(() => app.close())
  t.same((await new Visitor(app).get('/')).json(), ['milk'])
})

t.test('a second session has its own users, even on the same store', async t => {
  const store = new MemoryStore()
  const user = (session: FastifySessionObject): string => (session as any).userId
  const app = await build({ store, user }, app => {
    app.register(fastifySession, {
      secret: SECRET, sessionName: 'adminSession', cookieName: 'adminId', cookie: { secure: false }, store, user
    })
    app.get('/login', async request => { data(request).userId = 1 })
    app.get('/admin/login', async request => { (request as unknown as { adminSession: any }).adminSession.userId = 1 })
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/login')
  await visitor.get('/admin/login')
  const [own, admins] = [await app.sessions.forUser(1), await app.adminSessions.forUser(1)]
  t.same([own.length, admins.length], [1, 1])
  t.not(own[0]?.handle, admins[0]?.handle)
  t.equal(await app.adminSessions.revokeUser(1), 1)
  t.equal((await app.sessions.forUser(1)).length, 1)
})

t.test('ready() refuses options that cannot work', async t => {
  const user = (session: FastifySessionObject): string => (session as any).userId
  const wrong: Array<[options: object, message: RegExp]> = [
    [{ user: 'userId' }, /user must be a function/],
    [{ user, describe: {} }, /describe must be a function/],
    ...[0, -1, 1.5, '2', NaN].map(maxPerUser => [{ user, maxPerUser }, /maxPerUser must be a positive whole number/] as [object, RegExp]),
    [{ user, onMaxPerUser: 'ignore' }, /onMaxPerUser must be/],
    [{ maxPerUser: 2 }, /maxPerUser needs the option user/],
    [{ describe: () => ({}) }, /describe needs the option user/],
    [{ onMaxPerUser: 'refuse' }, /onMaxPerUser needs the option user/],
    [{ user, store: new ThreeMethodStore() }, /user needs a store with an index by user/]
  ]
  for (const [options, message] of wrong) {
    await t.rejects(build(options as SessionOptions, () => {}), { code: 'FST_ERR_SESSION_OPTION', message }, JSON.stringify(options))
  }
})

t.test('ready() rejects with one clear error if fastify.sessions is already decorated', async t => {
  const app = Fastify()
  await app.register(fastifyCookie)
  app.decorate('sessions', {} as Sessions)
  app.register(fastifySession, { secret: SECRET, user: session => (session as any).userId })
  await t.rejects(async () => await app.ready(), { code: 'FST_ERR_SESSION_NAME_TAKEN', message: /fastify\.sessions/ })
})

t.test('list() and revokeOthers() also work on a session from createSession()', async t => {
  const { app } = await open(t, new MemoryStore())
  const { session, cookie } = await app.createSession({ userId: 'max' } as any)
  t.equal((await session.list()).length, 1)
  t.equal((await app.sessions.forUser('max')).length, 1)
  t.equal(await session.revokeOthers(), 0)
  t.equal((await app.inject({ url: '/user', headers: { cookie } })).body, 'max')
})

t.test("if the store's index fails, lists, revocations and logins fail with the store's error", async t => {
  const store = new MemoryStore()
  const { app, login } = await open(t, store)
  const visitor = await login('max')
  const fail = (...args: unknown[]): void => { (args.at(-1) as (error: Error) => void)(new Error('away')) }
  store.claimsOf = fail
  t.match((await visitor.get('/list')).json(), { statusCode: 500, message: 'away' })
  store.endingsOf = fail
  await t.rejects(app.sessions.revokeUser('max'), { message: 'away' })
  store.revoke = fail
  await t.rejects(app.sessions.revokeUser('max'), { message: 'away' })
  store.claim = fail
  t.match((await visitor.get('/login/max')).json(), { statusCode: 500, message: 'away' })
})

t.test('a logout succeeds even if the index fails', async t => {
  const store = new MemoryStore()
  const { login } = await open(t, store)
  const visitor = await login('max')
  store.release = (_userKey, _sessionId, callback) => callback(new Error('away'))
  t.equal((await visitor.get('/logout')).statusCode, 200)
  t.equal(await userOf(visitor), 'nobody')
})

t.test('list(), revoke() and revokeOthers() that are not awaited do not end the process if the store fails', async t => {
  const store = new MemoryStore()
  const { app, login } = await open(t, store)
  const visitor = await login('max')
  const handle = (await list(visitor))[0]?.handle as string
  const away = (...args: unknown[]): void => (args.at(-1) as (error: Error) => void)(new Error('away'))
  Object.assign(store, { revoke: away, claimsOf: away })
  const unheard: unknown[] = []
  const hear = (reason: unknown): void => { unheard.push(reason) }
  process.on('unhandledRejection', hear)
  t.teardown(() => process.off('unhandledRejection', hear))
  const session = await app.loadSession({ sessionId: (await visitor.get('/id')).body }) as FastifySessionObject
  const other = handle.slice(0, -1) + (handle.endsWith('x') ? 'y' : 'x')
  const calls: Array<() => Promise<unknown>> = [() => session.list(), () => session.revoke(other), () => session.revokeOthers()]
  for (const call of calls) {
    call()
    await t.rejects(call(), { message: 'away' })
  }
  // Unhandled rejections are reported after the promises of this turn have settled.
  await new Promise(resolve => setImmediate(resolve))
  t.same(unheard, [])
})

t.test('limit and cursor may come from a query string: a number as a string, and nothing as an empty string or null', async t => {
  const { app, login } = await open(t, new MemoryStore())
  for (let i = 0; i < 5; i++) await login('max')
  const page = async (limit: unknown, cursor: unknown): Promise<Array<number | boolean>> => {
    const list = await app.sessions.forUser('max', { limit, cursor } as any)
    return [list.length, list.next !== undefined]
  }
  t.same(await page('2', ''), [2, true])
  t.same(await page('2.9', null), [2, true])
  t.same(await page(null, undefined), [5, false])
  t.same(await page('many', undefined), [5, false])
  t.equal((await app.sessions.forUser('max', null as any)).length, 5)
})
