/**
 * Sessions that are found and ended by names other than their user: what `index` and `sessions.by()` do, and what
 * happens at the same time. For users, `users.test.ts` and `index-by-user.test.ts` test the same.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { fingerprint } from '../src/diagnostics'
import { MemoryStore, type SessionRecord, type SessionStore } from '../src/index'
import { RedisStore } from '../src/stores/redis'
import { inEveryOrder, METHODS, Side } from './every-order'
import { build, clock, Visitor, type SessionOptions } from './helpers'
import { ThreeMethodStore } from './odd-stores'
import { connectTo, startRedis, type NodeRedis } from './servers'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

let redis: NodeRedis

t.before(async () => {
  redis = await connectTo(t, await startRedis(t))
})

const data = (request: FastifyRequest): any => request.session

function routes (app: FastifyInstance): void {
  /** Changes the session as the query says. An empty value deletes the key. */
  const change = (request: FastifyRequest): void => {
    for (const [key, value] of Object.entries(request.query as Record<string, string>)) {
      if (value === '') delete data(request)[key]
      else data(request)[key] = value
    }
  }
  app.get('/change', async request => change(request))
  app.get('/login', async request => {
    await request.session.regenerate()
    change(request)
  })
  app.get('/renew', async request => { await request.session.regenerate(['user', 'sid', 'org', 'mark']) })
  app.get('/renew-bare', async request => { await request.session.regenerate() })
  app.get('/write', async request => { data(request).n = (data(request).n ?? 0) + 1 })
  app.get('/update', async request => {
    await request.session.update((session: any) => Object.assign(session, request.query))
  })
  app.get('/logout', async request => { await request.session.destroy() })
  app.get('/id', async request => request.session.sessionId)
  app.get('/user', async request => data(request).user ?? 'nobody')
  app.get('/data', async request => request.session.data())
  app.get('/fresh', async request => request.session.isFresh(MINUTE))
}

const NAMES: SessionOptions = {
  user: session => (session as any).user,
  index: { sid: session => (session as any).sid, org: session => (session as any).org }
}

async function open (t: Test, store: SessionStore, options: SessionOptions = {}): Promise<FastifyInstance> {
  const app = await build({ store, saveUninitialized: false, ...NAMES, cookie: { maxAge: HOUR }, ...options }, routes)
  t.teardown(() => app.close())
  return app
}

async function login (app: FastifyInstance, query: string): Promise<Visitor> {
  const visitor = new Visitor(app)
  const { statusCode, body } = await visitor.get(`/login?${query}`)
  if (statusCode !== 200) throw new Error(body)
  return visitor
}

const userOf = async (visitor: Visitor): Promise<string> => (await visitor.get('/user')).body
const idOf = async (visitor: Visitor): Promise<string> => (await visitor.get('/id')).body

/** The key of an entry in the store. */
const keyOf = (name: string, value: string): string => name === 'user'
  ? fingerprint(value)
  : fingerprint(Buffer.concat([Buffer.of(255), Buffer.from(JSON.stringify(['session', name, value]))]))

function ask<T> (store: SessionStore, method: typeof METHODS[number], ...args: unknown[]): Promise<T> {
  return new Promise((resolve, reject) => {
    const callback = (error: unknown, value: T): void => error ? reject(error) : resolve(value)
    Reflect.apply(store[method] as (...args: unknown[]) => void, store, [...args, callback])
  })
}

/** Which of these the store has entries for, with or without a session. */
async function entriesIn (store: SessionStore, keys: Array<[name: string, value: string]>): Promise<string[]> {
  const found: string[] = []
  for (const [name, value] of keys) {
    const entries = await ask<unknown[]>(store, 'claimsOf', keyOf(name, value), Infinity, 100)
    for (let i = 0; i < entries.length; i++) found.push(`${name} ${value}`)
  }
  return found
}

const ALL: Array<[string, string]> = [['user', 'max'], ['sid', 's1'], ['org', 'acme']]
const EVERYTHING = 'user=max&sid=s1&org=acme'

/** Collects the calls to the index from now on. */
function watchIndex (store: SessionStore): string[] {
  const calls: string[] = []
  for (const method of ['claim', 'release', 'revoke', 'endingsOf', 'claimsOf'] as const) {
    const run = store[method] as (...args: unknown[]) => unknown
    const watched = (...args: unknown[]): unknown => {
      const [name, value] = [...ALL, ['user', 'eva'], ['org', 'other']].find(([name, value]) => keyOf(name as string, value as string) === args[0]) ?? []
      calls.push(`${method} ${name ?? 'another'} ${value ?? ''}`.trim())
      return Reflect.apply(run, store, args)
    }
    Object.assign(store, { [method]: Object.defineProperty(watched, 'length', { value: run.length }) })
  }
  return calls
}

/** Runs a test on each store that has an index. */
function onEach (title: string, run: (t: Test, makeStore: () => SessionStore) => Promise<void>): void {
  t.test(title, async t => {
    await t.test('MemoryStore', async t => {
      const store = new MemoryStore()
      await run(t, () => store)
    })
    await t.test('RedisStore', async t => {
      await redis.flushDb()
      await run(t, () => new RedisStore({ client: redis }))
    })
  })
}

// --- What operators see

onEach('sessions are listed and ended by each name, and others stay', async (t, makeStore) => {
  const app = await open(t, makeStore())
  const phone = await login(app, 'user=max&sid=s1&org=acme')
  const laptop = await login(app, 'user=max&sid=s2&org=acme')
  const colleague = await login(app, 'user=eva&sid=s3&org=acme')
  const other = await login(app, 'user=ada&sid=s4')
  const { sessions } = app

  t.equal((await sessions.by('user', 'max').list()).length, 2)
  t.equal((await sessions.by('org', 'acme').list()).length, 3)
  const [view, ...more] = await sessions.by('sid', 's1').list()
  t.match(view, { handle: /^[\w-]{16}\.[\w-]{16}$/, current: false, lastSeenAt: Date })
  t.same(more, [])
  t.equal(await sessions.by('sid', 's1').revoke(), 1)
  t.same(await Promise.all([phone, laptop, colleague].map(userOf)), ['nobody', 'max', 'eva'])
  t.equal(await sessions.by('sid', 's1').revoke(), 0, 'again')
  t.equal(await sessions.by('org', 'acme').revoke(), 2)
  t.same(await Promise.all([laptop, colleague, other].map(userOf)), ['nobody', 'nobody', 'ada'])
  t.equal(await sessions.count(), 1)
})

onEach('a handle from any list ends its session, even after a renewal', async (t, makeStore) => {
  const app = await open(t, makeStore())
  for (const name of ['user', 'sid', 'org']) {
    const visitor = await login(app, 'user=ada&sid=ada&org=ada')
    const [view] = await app.sessions.by(name, 'ada').list()
    await visitor.get('/renew')
    const [renewed] = await app.sessions.by(name, 'ada').list()
    t.equal(renewed?.handle, view?.handle, name)
    t.ok(await app.sessions.revoke(view?.handle as string), name)
    t.equal(await userOf(visitor), 'nobody')
  }
})

onEach('lists have pages', async (t, makeStore) => {
  const app = await open(t, makeStore())
  for (let i = 0; i < 5; i++) await login(app, `user=u${i}&org=acme`)
  const handles: string[] = []
  let cursor: string | undefined
  do {
    const page = await app.sessions.by('org', 'acme').list({ limit: 2, cursor })
    handles.push(...page.map(({ handle }) => handle))
    cursor = page.next
  } while (cursor !== undefined)
  t.equal(new Set(handles).size, 5)
})

onEach('the same value under two names, or in two registrations, is not the same entry', async (t, makeStore) => {
  const store = makeStore()
  const app = await open(t, store)
  const admin = await open(t, store, { sessionName: 'adminSession', cookieName: 'adminId', index: { org: () => 'x' }, user: () => 'x', saveUninitialized: true })
  await admin.inject('/id')
  const visitors = await Promise.all(['user=x', 'sid=x', 'org=x'].map(query => login(app, `n=1&${query}`)))
  const left = async (): Promise<string[]> => {
    const all = await Promise.all(visitors.map(async visitor => Object.keys((await visitor.get('/data')).json())))
    return all.map(keys => keys.join(' '))
  }
  for (const name of ['user', 'sid', 'org']) t.equal((await app.sessions.by(name, 'x').list()).length, 1, name)
  t.equal(await app.sessions.by('sid', 'x').revoke(), 1)
  t.same(await left(), ['n user', '', 'n org'])
  t.equal(await app.sessions.by('org', 'x').revoke(), 1)
  t.same(await left(), ['n user', '', ''])
  const others = (admin as any).adminSessions
  t.equal((await others.by('org', 'x').list()).length, 1)
})

t.test('a request may add one name and remove another', async t => {
  for (const store of [new MemoryStore(), new RedisStore({ client: redis })]) {
    const app = await open(t, store)
    const visitor = await login(app, 'user=max&org=acme')
    t.equal((await visitor.get('/change?org=&sid=s1')).statusCode, 200)
    t.equal((await app.sessions.by('org', 'acme').list()).length, 0)
    t.equal((await app.sessions.by('sid', 's1').list()).length, 1)
    t.equal(await app.sessions.by('org', 'acme').revoke(), 0)
    t.equal(await userOf(visitor), 'max')
    t.equal(await app.sessions.by('sid', 's1').revoke(), 1)
    t.equal(await userOf(visitor), 'nobody')
  }
})

t.test('an unknown name is an error that lists the known names', async t => {
  const app = await open(t, new MemoryStore())
  for (const name of ['device', 'constructor', '__proto__', '']) {
    t.throws(() => app.sessions.by(name, '1'), { code: 'FST_ERR_SESSION_INDEX', message: 'user, sid, org' }, name)
  }
})

t.test('an invalid value is an error, from operators and from functions', async t => {
  let answer: unknown
  const app = await open(t, new MemoryStore(), { index: { sid: () => answer as string } })
  const values: unknown[] = ['', NaN, Infinity, true, {}, [], Symbol('s'), Promise.reject(new Error('nobody hears it'))]
  for (const value of values) {
    t.throws(() => app.sessions.by('sid', value as string), { code: 'FST_ERR_SESSION_INDEX', message: "'sid'" })
    answer = value
    t.match((await new Visitor(app).get('/write')).json(), { statusCode: 500, code: 'FST_ERR_SESSION_INDEX' })
  }
  for (const value of [undefined, null]) t.throws(() => app.sessions.by('sid', value as any), { code: 'FST_ERR_SESSION_INDEX' })
  t.throws(() => app.sessions.by('user', ''), { code: 'FST_ERR_SESSION_USER' })
  t.equal(await app.sessions.count(), 0)
  for (answer of [undefined, null, 0, 1, 's']) t.equal((await new Visitor(app).get('/write')).statusCode, 200)
  t.equal((await app.sessions.by('sid', '0').list()).length, 1, "the number 0 and the string '0' are the same")
})

t.test('a function that throws fails the request, but does not prevent a revocation by another name', async t => {
  let isBroken = false
  const store = new MemoryStore()
  const app = await open(t, store, {
    index: {
      broken: () => {
        if (isBroken) throw new Error('a bug of the application')
        return undefined
      },
      org: session => (session as any).org
    }
  })
  const [max, eva] = [await login(app, 'user=max&org=acme'), await login(app, 'user=eva&org=acme')]
  isBroken = true
  t.match((await max.get('/write')).json(), { statusCode: 500, message: 'a bug of the application' })
  t.equal(await app.sessions.revokeUser('max'), 1)
  t.equal(await app.sessions.by('org', 'acme').revoke(), 1)
  t.same([await userOf(max), await userOf(eva)], ['nobody', 'nobody'])
  isBroken = false
  const { session } = await app.createSession({ user: 'ada' } as any)
  isBroken = true
  const claiming = { fingerprint: fingerprint(session.sessionId), lives: HOUR, isWritten: false, max: Infinity, refuses: false }
  await ask(store, 'claim', keyOf('broken', 'x'), session.sessionId, claiming)
  await t.rejects(app.sessions.by('broken', 'x').revoke(), { message: 'a bug of the application' }, 'only this function can say whether the session has the value')
})

// --- Options

t.test('without the option user, there is sessions.by(), but nothing for users', async t => {
  const app = await open(t, new MemoryStore(), { user: undefined, describe: session => ({ n: (session as any).n }) })
  const visitor = await login(app, 'sid=s1&n=5')
  t.match(await app.sessions.by('sid', 's1').list(), [{ n: '5', authenticatedAt: null }])
  await t.rejects(app.sessions.forUser('max'), { code: 'FST_ERR_SESSION_INDEX', message: 'sid, org' })
  await t.rejects(app.sessions.revokeUser('max'), { code: 'FST_ERR_SESSION_INDEX' })
  t.equal((await visitor.get('/fresh')).body, 'false', 'the time of authentication is unknown')
  await visitor.get('/change?list=milk')
  t.match((await visitor.get('/data')).json(), { list: 'milk' }, 'list is available as a key for data')
  t.equal(await app.sessions.by('sid', 's1').revoke(), 1)
  t.same((await visitor.get('/data')).json(), {})
})

t.test('index must be an object of functions, and needs a store with an index', async t => {
  const wrong: unknown[] = [() => 1, [], [() => 1], 'sid', 5, { sid: 'sid' }, { sid: undefined }, { '': () => 1 }, { user: () => 1 }]
  for (const index of wrong) {
    await t.rejects(open(t, new MemoryStore(), { index: index as any }), { code: 'FST_ERR_SESSION_OPTION', message: 'index must be' })
  }
  const three = { store: new ThreeMethodStore() as unknown as SessionStore, user: undefined }
  await t.rejects(open(t, new MemoryStore(), three), { code: 'FST_ERR_SESSION_OPTION', message: 'index needs a store' })
  await t.rejects(open(t, new MemoryStore(), { user: undefined, maxPerUser: 2 }), { message: 'maxPerUser needs the option user' })
  await t.rejects(open(t, new MemoryStore(), { user: undefined, index: undefined, describe: () => ({}) }), {
    message: 'describe needs the option user or index'
  })
  for (const index of [{}, null]) {
    const app = await open(t, new MemoryStore(), { user: undefined, index: index as any })
    t.equal(app.sessions, undefined, 'there is nothing to find sessions by')
  }
})

// --- What it costs

const COSTS: Array<[what: string, url: string, calls: string[]]> = [
  ['a read', '/user', []],
  ['a write', '/write', []],
  ['another organisation', '/change?org=other', ['claim org other', 'release org acme', 'claim org other']],
  ['no organisation', '/change?org=', ['release org acme']],
  ['another user', '/change?user=eva', ['claim user eva', 'release user max', 'claim user eva']],
  ['another organisation by update()', '/update?org=other', ['claim org other', 'release org acme', 'claim org other']],
  ['a logout', '/logout', ['release user max', 'release sid s1', 'release org acme']]
]

for (const [what, url, expected] of COSTS) {
  t.test(`${what} calls the index only for what has changed`, async t => {
    const store = new MemoryStore()
    const calls = watchIndex(store)
    const app = await open(t, store)
    const visitor = await login(app, EVERYTHING)
    calls.length = 0
    t.equal((await visitor.get(url)).statusCode, 200)
    t.same(calls, expected)
  })
}

t.test('with only the option user, the calls are the same as without named indexes', async t => {
  const store = new MemoryStore()
  const calls = watchIndex(store)
  const app = await open(t, store, { index: undefined })
  const visitor = await login(app, EVERYTHING)
  await visitor.get('/renew')
  await visitor.get('/change?user=eva')
  await visitor.get('/change?org=other')
  await app.sessions.revokeUser('eva')
  t.same(calls, [
    'claim user max', 'claim user max', 'claim user max', 'claim user max', 'claim user eva', 'release user max', 'claim user eva',
    'revoke user eva', 'endingsOf user eva', 'release user eva', 'endingsOf user eva'
  ])
  const record = JSON.stringify(Array.from((store as any).store.values()))
  t.notMatch(record, /key:|claimedAt:/)
})

onEach('a session that is used renews its entries under all names within the hour', async (t, makeStore) => {
  const store = makeStore()
  const { advance } = clock(t)
  const app = await open(t, store, { cookie: { maxAge: 24 * HOUR } })
  const visitor = await login(app, EVERYTHING)
  const calls = watchIndex(store)
  advance(59 * MINUTE)
  t.equal(await userOf(visitor), 'max')
  t.same(calls, [])
  advance(2 * MINUTE)
  t.equal(await userOf(visitor), 'max')
  t.same(calls, ['claim user max', 'claim sid s1', 'claim org acme'])
  advance(MINUTE)
  t.equal(await userOf(visitor), 'max')
  t.equal(calls.length, 3, 'not again for another hour')
})

t.test('a change of another name is not a login, and has no limit', async t => {
  const { advance } = clock(t)
  const app = await open(t, new MemoryStore(), { maxPerUser: 1, onMaxPerUser: 'refuse' })
  const max = await login(app, EVERYTHING)
  await login(app, 'user=eva&org=acme&sid=s1')
  t.equal((await app.sessions.by('org', 'acme').list()).length, 2)
  advance(2 * MINUTE)
  await max.get('/change?org=other&sid=s2')
  t.equal((await max.get('/fresh')).body, 'false')
  await max.get('/change?user=ada')
  t.equal((await max.get('/fresh')).body, 'true')
})

// --- No entry is left behind

onEach('regenerate() moves the entries of all names, and without data removes them', async (t, makeStore) => {
  const store = makeStore()
  const app = await open(t, store)
  const visitor = await login(app, EVERYTHING)
  await visitor.get('/renew')
  t.same(await entriesIn(store, ALL), ['user max', 'sid s1', 'org acme'])
  await visitor.get('/renew-bare')
  t.same(await entriesIn(store, ALL), [])
  await visitor.get(`/change?${EVERYTHING}`)
  t.same(await entriesIn(store, ALL), ['user max', 'sid s1', 'org acme'])
  await visitor.get('/logout')
  t.same(await entriesIn(store, ALL), [])
  if (store instanceof RedisStore) t.same(await redis.keys('*'), [])
})

for (const [name, value] of ALL) {
  onEach(`a session that is ended by ${name} is removed from its other names, and no longer counts`, async (t, makeStore) => {
    const store = makeStore()
    const app = await open(t, store, { maxPerUser: 2 })
    const older = await login(app, 'user=max&sid=s0')
    await login(app, EVERYTHING)
    const [view] = await app.sessions.by(name, value).list()
    t.ok(await app.sessions.revoke(view?.handle as string))
    t.same(await entriesIn(store, ALL), ['user max'])
    await login(app, 'user=max')
    t.equal(await userOf(older), 'max', 'there was room for two')
  })
}

t.test('sessions that share several names are removed from each in one call', async t => {
  const store = new MemoryStore()
  const app = await open(t, store)
  for (let i = 0; i < 3; i++) await login(app, EVERYTHING)
  const calls = watchIndex(store)
  t.equal(await app.sessions.by('org', 'acme').revoke(), 3)
  t.same(calls, ['revoke org acme', 'endingsOf org acme', 'release org acme', 'release user max', 'release sid s1', 'endingsOf org acme'])
  t.same(await entriesIn(store, ALL), [])
})

t.test('a session whose value changes while it is being ended leaves no entries', async t => {
  const store = new MemoryStore()
  const app = await open(t, store)
  const visitor = await login(app, EVERYTHING)
  const { destroy } = store
  store.destroy = (...args) => {
    store.destroy = destroy
    visitor.get('/change?org=other').then(() => Reflect.apply(destroy, store, args), error => args[1](error))
  }
  t.equal(await app.sessions.by('sid', 's1').revoke(), 1)
  t.same(await entriesIn(store, [...ALL, ['org', 'other']]), [])
})

t.test("sessions are ended even if the store does not return what it destroyed, or can't release their entries", async t => {
  const store = new MemoryStore()
  const app = await open(t, store)
  const visitor = await login(app, EVERYTHING)
  const { destroy, release } = store
  store.destroy = (sessionId: string, callback: (error: unknown) => void, ...more: unknown[]) => {
    Reflect.apply(destroy, store, [sessionId, (error: unknown) => callback(error), ...more])
  }
  store.release = (key, ids, callback) => {
    if (key === keyOf('org', 'acme')) callback(new Error('away'))
    else Reflect.apply(release, store, [key, ids, callback])
  }
  t.equal(await app.sessions.by('sid', 's1').revoke(), 1)
  t.equal(await userOf(visitor), 'nobody')
  t.same(await entriesIn(store, ALL), ['org acme'], 'a remaining entry is removed when it is next read')
})

t.test('an expired session is removed with all its entries', async t => {
  const { advance } = clock(t)
  const store = new MemoryStore()
  const app = await open(t, store)
  await login(app, EVERYTHING)
  advance(HOUR)
  for (let i = 0; i < 9; i++) await login(app, 'n=1')
  t.same(await entriesIn(store, ALL), [])
})

onEach('a login that is refused or fails leaves no entry under any name', async (t, makeStore) => {
  const store = makeStore()
  const app = await open(t, store, { maxPerUser: 1, onMaxPerUser: 'refuse' })
  await login(app, 'user=max')
  t.equal((await new Visitor(app).get(`/login?${EVERYTHING}`)).statusCode, 403)
  t.same(await entriesIn(store, ALL), ['user max'])
  store.set = (_sessionId, _session, callback) => callback(new Error('full'))
  t.equal((await new Visitor(app).get('/login?user=eva&sid=s1&org=acme')).statusCode, 500)
  t.same(await entriesIn(store, [...ALL, ['user', 'eva']]), ['user max'])
})

onEach('an index that fails for one name fails a change of it, but not a renewal', async (t, makeStore) => {
  const store = makeStore()
  const { advance } = clock(t)
  const app = await open(t, store)
  const visitor = await login(app, EVERYTHING)
  const { claim } = store
  store.claim = (key, ...args) => {
    if (key === keyOf('org', 'acme') || key === keyOf('org', 'other')) args[2](new Error('away'))
    else Reflect.apply(claim as (...args: unknown[]) => void, store, [key, ...args])
  }
  t.equal((await visitor.get('/change?org=other&n=1')).statusCode, 500)
  t.equal((await visitor.get('/data')).json().org, 'acme', 'nothing was written')
  advance(31 * MINUTE)
  t.equal((await visitor.get('/write')).statusCode, 200)
  t.equal(await app.sessions.by('sid', 's1').revoke(), 1)
})

onEach("a change ends the session if it can't be known whether it was revoked, and leaves no entry", async (t, makeStore) => {
  const store = makeStore()
  const app = await open(t, store)
  const visitor = await login(app, 'user=max&sid=s1')
  const { claim } = store
  store.claim = (key, sessionId, claiming, callback) => {
    if (claiming.isWritten) callback(new Error('away'))
    else Reflect.apply(claim as (...args: unknown[]) => void, store, [key, sessionId, claiming, callback])
  }
  t.equal((await visitor.get('/change?org=acme')).statusCode, 500)
  t.equal(await userOf(visitor), 'nobody')
  t.same(await entriesIn(store, ALL), [])
})

onEach('a session that loses one of its entries while it is written ends, and leaves no entry', async (t, makeStore) => {
  const store = makeStore()
  const app = await open(t, store)
  const visitor = await login(app, 'user=max')
  const { update } = store
  store.update = (...args) => {
    ask(store, 'release', keyOf('org', 'acme'), [args[0]])
      .then(() => Reflect.apply(update as (...args: unknown[]) => void, store, args), error => args[3](error))
  }
  t.equal((await visitor.get('/change?sid=s1&org=acme')).statusCode, 200)
  t.equal(await userOf(visitor), 'nobody')
  t.same(await entriesIn(store, ALL), [])
})

// --- What other software wrote, and what can't be read

onEach('a session from before the option is found once it has been used, within the hour', async (t, makeStore) => {
  const { advance } = clock(t)
  const before = await open(t, makeStore(), { index: undefined })
  const visitor = await login(before, EVERYTHING)
  const app = await open(t, makeStore())
  const later = visitor.copy(app)
  t.equal(await userOf(later), 'max')
  t.equal((await app.sessions.forUser('max')).length, 1, 'it is already found by user')
  t.equal(await app.sessions.by('sid', 's1').revoke(), 0)
  advance(31 * MINUTE)
  t.equal((await later.get('/fresh')).body, 'false', 'that is not a login')
  t.equal(await app.sessions.by('sid', 's1').revoke(), 1)
  t.equal(await userOf(later), 'nobody')
})

onEach('if older software has rewritten a session, it is found by what its data say', async (t, makeStore) => {
  const store = makeStore()
  const app = await open(t, store)
  const visitor = await login(app, EVERYTHING)
  const cookie = { expires: new Date(Date.now() + HOUR), originalMaxAge: HOUR, path: '/', httpOnly: true, secure: false }
  await ask(store, 'set', await idOf(visitor), { user: 'max', sid: 's1', org: 'acme', cookie })
  for (const [name, value] of ALL) t.equal((await app.sessions.by(name, value).list()).length, 1, name)
  t.equal(await app.sessions.by('org', 'acme').revoke(), 1)
  t.equal(await userOf(visitor), 'nobody')
})

t.test('a session with an unreadable key is listed and ended by each name', async t => {
  for (const [name, value] of ALL) {
    await redis.flushDb()
    const app = await open(t, new RedisStore({ client: redis }), {
      index: {
        unused: session => (session as any).blob?.unused,
        sid: session => (session as any).sid,
        org: session => (session as any).org
      }
    })
    const visitor = await login(app, `${EVERYTHING}&blob=1`)
    await redis.hSet(`sess:${await idOf(visitor)}`, 'blob', `{${'x'.repeat(100)}`)
    t.equal((await app.sessions.by(name, value).list()).length, 1, name)
    t.equal(await app.sessions.by(name, value).revoke(), 1, name)
    t.equal(await userOf(visitor), 'nobody')
  }
})

t.test("a session whose value can't be read is ended by its entry in the index", async t => {
  await redis.flushDb()
  const store = new RedisStore({ client: redis })
  const app = await open(t, store, { user: undefined, index: { org: session => (session as any).blob } })
  const visitor = await login(app, 'blob=acme')
  const sessionId = await idOf(visitor)
  // Older software has dropped the key from the record.
  await redis.hDel(`sess:${sessionId}`, ['\0:key:org', '\0:claimedAt:org'])
  await redis.hSet(`sess:${sessionId}`, 'blob', `{${'x'.repeat(100)}`)
  t.equal(await app.sessions.by('org', 'acme').revoke(), 1)
  t.equal(await app.sessions.count(), 0)
})

t.test("a write fails if the session's value can't be read, and ends the session", async t => {
  await redis.flushDb()
  const app = await open(t, new RedisStore({ client: redis }), { index: { blob: session => (session as any).blob } })
  const visitor = await login(app, 'user=max&blob=1')
  await redis.hSet(`sess:${await idOf(visitor)}`, 'blob', `{${'x'.repeat(100)}`)
  t.match((await visitor.get('/write')).json(), { statusCode: 500, code: 'FST_ERR_SESSION_RECORD' })
  t.equal(visitor.cookies.size, 0)
  t.equal(await app.sessions.count(), 0)
})

t.test('the record has a key and a time for each name, and a request changes only those that it must', async t => {
  const store = new MemoryStore()
  const app = await open(t, store)
  const visitor = await login(app, EVERYTHING)
  const sessionId = await idOf(visitor)
  const cookieOf = async (): Promise<SessionRecord> => (await ask<SessionRecord>(store, 'get', sessionId)).cookie as SessionRecord
  const cookie = await cookieOf()
  t.match(cookie, {
    userKey: keyOf('user', 'max'), claimedAt: Number, 'key:sid': keyOf('sid', 's1'), 'claimedAt:sid': Number, 'key:org': keyOf('org', 'acme')
  })
  await Promise.all([visitor.copy().get('/change?org=other'), visitor.copy().get('/change?sid=s2')])
  t.match(await cookieOf(), { userKey: cookie.userKey, 'key:sid': keyOf('sid', 's2'), 'key:org': keyOf('org', 'other') }, 'after two changes at the same time')
  await visitor.get('/change?org=')
  t.equal((await cookieOf())['key:org'], undefined)
  t.equal((await cookieOf())['claimedAt:org'], undefined)
})

// --- Every order

/** What a session does while another application, as in another process, ends it. */
interface Race {
  what: string
  /** Its data before. */
  before: string
  url: string
  /** The values by which it is ended. It has them before or after. */
  ends: Array<[string, string]>
}

// Two names at a time, because more have too many orders.
const TWO: SessionOptions = { user: NAMES.user, index: { sid: session => (session as any).sid } }
const BOTH = 'user=max&sid=s1&mark=1'

const RACES: Race[] = [
  { what: 'a renewal', before: BOTH, url: '/renew', ends: [['sid', 's1'], ['user', 'max']] },
  { what: 'a write', before: BOTH, url: '/write', ends: [['sid', 's1']] },
  { what: 'a write that renews old entries', before: BOTH, url: '/write?aged', ends: [['sid', 's1']] },
  { what: 'a change of the value', before: BOTH, url: '/change?sid=s2', ends: [['sid', 's2'], ['user', 'max']] },
  { what: 'a login on the same id', before: 'sid=s1&mark=1', url: '/change?user=max', ends: [['sid', 's1'], ['user', 'max']] },
  { what: 'another login on the same id', before: BOTH, url: '/change?user=eva&sid=s2', ends: [['sid', 's2']] },
  { what: 'a change by update()', before: BOTH, url: '/update?sid=s2', ends: [['sid', 's2']] }
]

for (const { what, before, url, ends } of RACES) {
  for (const [name, value] of ends) {
    onEach(`${what} and a revocation by ${name} ${value} in every order: no session survives`, async (t, makeStore) => {
      const { advance } = clock(t)
      const store = makeStore()
      // For fewer orders, these calls don't wait. They come right before or after another call of the same side.
      const sides: [Side, Side] = [new Side(store, ['inspect']), new Side(makeStore(), ['endingsOf', 'release'])]
      const [app, other, fresh] = await Promise.all([sides[0].store, sides[1].store, makeStore()].map(store => open(t, store, TWO))) as
        [FastifyInstance, FastifyInstance, FastifyInstance]
      const isLater = !new URLSearchParams(before).getAll(name).includes(value)
      const survived: string[] = []
      // It got the value only after all sessions with that value had been revoked. It is expected to survive.
      let later = 0
      const count = await inEveryOrder(sides, async () => {
        await new Promise<void>(resolve => store.clear?.(() => resolve()))
        const visitor = await login(app, before)
        const keeper = await login(other, 'user=ada&sid=s9')
        if (url.endsWith('aged')) advance(31 * MINUTE)
        const old = visitor.copy(fresh)
        return {
          run: [() => visitor.get(url), () => other.sessions.by(name, value).revoke()],
          async end (order) {
            const left = await Promise.all([visitor.copy(fresh), old].map(async visitor => (await visitor.get('/data')).json()))
            // A marked session is the original, and not a new one of a request that found none.
            if (left.some(data => data.mark !== undefined)) {
              if (isLater && order.indexOf('b:revoke') < order.lastIndexOf('a:claim')) later++
              else survived.push(order.join(' '))
            }
            if (await userOf(keeper) !== 'ada') t.fail(`another session has ended (${order.join(' ')})`)
          }
        }
      })
      t.comment(`${count} orders, ${survived.length} survivors, ${later} that were entered after the revocation`)
      t.ok(count > 3, `${count} orders`)
      t.same(survived, [])
    })
  }
}
