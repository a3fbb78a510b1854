/** How long sessions live, and when they are ended: exact to the millisecond, with a clock that the tests move. */
import type { LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import type { SessionStore } from '../src/types/store'
import { RedisStore } from '../src/stores/redis'
import { fieldOfMeta } from '../src/stores/redis-layout'
import { build, setCookies, stopClock, Visitor, type Routes, type SessionOptions } from './helpers'
import { ThreeMethodStore, TouchStore, WatchedStore } from './odd-stores'
import { connectTo, letPass, startRedis, type NodeRedis } from './servers'

/** A store with one session, the passing of time for it, and what the store knows about the session's end. */
interface Subject {
  store: SessionStore
  pass: (milliseconds: number) => Promise<void>
  /** Milliseconds until the store itself drops the session, or would be told to. Null for never. */
  left: () => Promise<number | null>
  /** The cookie in the record. */
  cookie: () => Promise<any>
  setCookie: (cookie: any) => Promise<void>
  /** How close to a boundary a test can look. The clock of Redis keeps running. */
  grain: number
  /** The part of its lifetime for which the store keeps a session longer. */
  slack: number
}

type MakeSubject = (t: Test) => Promise<Subject>

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

async function memorySubject (t: Test): Promise<Subject> {
  const { advance } = stopClock(t)
  const store = new MemoryStore()
  const only = (): any => [...store.store.values()][0]
  return {
    store,
    pass: async milliseconds => advance(milliseconds),
    left: async () => only().cookie.expires && only().cookie.expires - Date.now(),
    cookie: async () => only().cookie,
    setCookie: async cookie => { only().cookie = cookie },
    grain: 1,
    slack: 0
  }
}

async function jsonSubject (t: Test, store: ThreeMethodStore): Promise<Subject> {
  const { advance } = stopClock(t)
  const only = (): [string, any] => [...store.records].map(([id, json]) => [id, JSON.parse(json)] as [string, any])[0] as [string, any]
  return {
    store: store as unknown as SessionStore,
    pass: async milliseconds => advance(milliseconds),
    async left () {
      const [id, { cookie }] = only()
      if (store instanceof TouchStore) return store.expiries.get(id) as number - Date.now()
      return cookie.expires && new Date(cookie.expires).getTime() - Date.now()
    },
    cookie: async () => only()[1].cookie,
    async setCookie (cookie) {
      const [id, record] = only()
      store.records.set(id, JSON.stringify({ ...record, cookie }))
    },
    grain: 1,
    slack: 0
  }
}

const subjects: Record<string, MakeSubject> = {
  MemoryStore: memorySubject,
  'a store with three methods': t => jsonSubject(t, new ThreeMethodStore()),
  'a store with touch': t => jsonSubject(t, new TouchStore())
}

let redis: NodeRedis

t.before(async () => {
  redis = await connectTo(t, await startRedis(t))
})

const KEPT = ['createdAt', 'seenAt', 'claimedAt', 'idle', 'absoluteTimeout', 'chosen']

/** The clock of Redis can't be moved, so the sessions are made older. */
subjects.RedisStore = async t => {
  stopClock(t)
  await redis.flushAll()
  const only = async (): Promise<string> => (await redis.keys('*'))[0] as string
  const cookie = async (): Promise<any> => {
    const fields = await redis.hGetAll(await only())
    const kept = KEPT.filter(name => fieldOfMeta(name) in fields).map(name => [name, Number(fields[fieldOfMeta(name)])])
    return { ...JSON.parse(fields.cookie as string), ...Object.fromEntries(kept) }
  }
  // Writes the cookie as 12.0.0 does.
  const setCookie = async (cookie: any): Promise<void> => {
    const key = await only()
    await redis.hDel(key, KEPT.map(fieldOfMeta))
    await redis.hSet(key, 'cookie', JSON.stringify(cookie))
  }
  return {
    store: new RedisStore({ client: redis, ttl: 90 * 24 * HOUR }) as SessionStore,
    async pass (milliseconds) {
      const key = await only()
      const { expires, originalMaxAge, ...kept } = await cookie()
      const end = expires && new Date(expires).getTime() - milliseconds
      await redis.hSet(key, 'cookie', JSON.stringify({ expires: end, originalMaxAge }))
      for (const name of ['createdAt', 'seenAt', 'claimedAt']) {
        if (name in kept) await redis.hSet(key, fieldOfMeta(name), kept[name] - milliseconds)
      }
      await letPass(redis, milliseconds)
    },
    left: async () => await redis.pTTL(await only()),
    cookie,
    setCookie,
    grain: MINUTE,
    slack: 0.01
  }
}

/** Runs a test on each kind of store. */
function onEachStore (name: string, test: (t: Test, subject: Subject, visit: Visit) => Promise<void>): void {
  t.test(name, async t => {
    for (const [store, makeSubject] of Object.entries(subjects)) {
      await t.test(store, async t => {
        const subject = await makeSubject(t)
        await test(t, subject, options => visit(t, { store: subject.store, ...options }))
      })
    }
  })
}

type Visit = (options: SessionOptions) => Promise<Visitor>

const session = (request: { session: unknown }): any => request.session

const routes: Routes = app => {
  app.get('/login', async request => { session(request).user = 'max' })
  app.get('/whoami', async request => session(request).user ?? 'nobody')
  app.get('/visit', async request => { session(request).visits = (session(request).visits ?? 0) + 1 })
  app.get('/poll', { config: { session: { rolling: false } } }, async request => session(request).user ?? 'nobody')
  app.get('/busy', async request => {
    session(request).touch()
    session(request).options({ maxAge: 100 * HOUR })
    await session(request).save()
    session(request).cookie.maxAge = 100 * HOUR
    session(request).cookie.expires = new Date(Date.now() + 100 * HOUR)
  })
  app.get('/renew', async request => { await session(request).regenerate(['user']) })
  app.get('/expires', async request => session(request).cookie.expires.toISOString())
}

/** A visitor of an app with these options. */
async function visit (t: Test, options: SessionOptions): Promise<Visitor> {
  const app = await build({ saveUninitialized: false, ...options }, routes)
  t.teardown(() => app.close())
  return new Visitor(app)
}

/** The same visitor at another app on the same store, as after a deployment. */
async function redeployed (t: Test, visitor: Visitor, options: SessionOptions): Promise<Visitor> {
  return visitor.copy((await visit(t, options)).app)
}

async function whoami (visitor: Visitor): Promise<string> {
  return (await visitor.get('/whoami')).body
}

/** Who a copy of the visitor's cookie is logged in as. The request does not prolong the session. */
async function copyIs (visitor: Visitor): Promise<string> {
  return (await visitor.copy().get('/poll')).body
}

/** Milliseconds for which the browser keeps the cookie. Null: until it ends. Undefined: no cookie was sent. */
function sent (response: LightMyRequestResponse): number | null | undefined {
  const [cookie] = response.cookies
  if (cookie === undefined) return undefined
  return cookie.expires === undefined ? null : cookie.expires.getTime() - Date.now()
}

/** Checks the time that is left in the store: exactly if the clock stands still, and otherwise within the grain. */
async function leavesAtMost (t: Test, { left, grain }: Subject, milliseconds: number): Promise<void> {
  const found = await left() as number
  if (grain === 1) t.equal(found, milliseconds, 'expiry of the store')
  else t.ok(found <= milliseconds + grain && found > milliseconds - grain, `expiry of the store: ${found} of ${milliseconds}`)
}

// --- absoluteTimeout

onEachStore('absoluteTimeout: a session ends that long after it was created, however much it is used', async (t, subject, visit) => {
  const visitor = await visit({ absoluteTimeout: HOUR, cookie: { maxAge: 20 * MINUTE } })
  await visitor.get('/login')
  for (let i = 0; i < 5; i++) {
    await subject.pass(10 * MINUTE)
    await visitor.get('/visit')
    t.equal(await whoami(visitor), 'max')
  }
  await subject.pass(10 * MINUTE - subject.grain)
  t.equal(await whoami(visitor), 'max', 'until the last moment')
  const copy = visitor.cookieHeader()
  await subject.pass(subject.grain)
  visitor.cookies.set('sessionId', decodeURIComponent(copy.slice('sessionId='.length)))
  t.equal(await whoami(visitor), 'nobody', 'and not a moment longer')
})

onEachStore("absoluteTimeout: neither the cookie nor the store's expiry goes beyond it", async (t, subject, visit) => {
  const visitor = await visit({ absoluteTimeout: HOUR, cookie: { maxAge: 40 * MINUTE } })
  t.equal(sent(await visitor.get('/login')), 40 * MINUTE)
  await leavesAtMost(t, subject, 40 * MINUTE)
  await subject.pass(10 * MINUTE)
  t.equal(sent(await visitor.get('/whoami')), 40 * MINUTE)
  await leavesAtMost(t, subject, 40 * MINUTE)
  await subject.pass(25 * MINUTE)
  t.equal(sent(await visitor.get('/whoami')), 25 * MINUTE, 'touched')
  await leavesAtMost(t, subject, 25 * MINUTE)
  await subject.pass(5 * MINUTE)
  t.equal(sent(await visitor.get('/visit')), 20 * MINUTE, 'written')
  await leavesAtMost(t, subject, 20 * MINUTE)
  await subject.pass(5 * MINUTE)
  t.equal(sent(await visitor.get('/whoami')), 15 * MINUTE, 'touched again')
  await leavesAtMost(t, subject, 15 * MINUTE)
})

onEachStore('absoluteTimeout: touch(), save(), options() and a longer cookie do not extend it', async (t, subject, visit) => {
  const visitor = await visit({ absoluteTimeout: HOUR, cookie: { maxAge: 40 * MINUTE } })
  await visitor.get('/login')
  await subject.pass(30 * MINUTE)
  t.equal(sent(await visitor.get('/busy')), 30 * MINUTE)
  await leavesAtMost(t, subject, 30 * MINUTE)
  await subject.pass(30 * MINUTE - subject.grain)
  t.equal(await copyIs(visitor), 'max')
  const late = visitor.cookieHeader()
  await subject.pass(subject.grain)
  t.equal((await new Visitor(visitor.app).get('/whoami', { headers: { cookie: late } })).body, 'nobody')
})

onEachStore('absoluteTimeout: without rolling, a record without a creation time gets one, and no cookie is sent', async (t, subject, visit) => {
  const before = await visit({ rolling: false, cookie: { maxAge: HOUR } })
  await before.get('/login')
  const { createdAt, ...cookie } = await subject.cookie()
  t.equal(createdAt, Date.now())
  await subject.setCookie(cookie)
  const visitor = await visit({ rolling: false, absoluteTimeout: HOUR, cookie: { maxAge: HOUR } })
  t.same(setCookies(await visitor.get('/whoami', { headers: { cookie: before.cookieHeader() } })), [])
  t.equal((await subject.cookie()).createdAt, Date.now())
})

onEachStore('absoluteTimeout: regenerate() starts it again', async (t, subject, visit) => {
  const visitor = await visit({ absoluteTimeout: HOUR, cookie: { maxAge: HOUR } })
  await visitor.get('/login')
  await subject.pass(50 * MINUTE)
  t.equal(sent(await visitor.get('/renew')), HOUR)
  t.equal((await subject.cookie()).createdAt, Date.now())
  await subject.pass(50 * MINUTE)
  t.equal(await whoami(visitor), 'max', 'after the end of the first session')
  t.equal(sent(await visitor.get('/whoami')), 10 * MINUTE)
})

onEachStore('absoluteTimeout: a cookie that ends with the browser stays one, and the server ends the session', async (t, subject, visit) => {
  const visitor = await visit({ absoluteTimeout: HOUR })
  t.equal(sent(await visitor.get('/login')), null)
  await leavesAtMost(t, subject, HOUR)
  await subject.pass(30 * MINUTE)
  t.equal(sent(await visitor.get('/visit')), null, 'written')
  t.equal(sent(await visitor.get('/whoami')), null, 'touched')
  await leavesAtMost(t, subject, 30 * MINUTE)
  await subject.pass(30 * MINUTE - subject.grain)
  t.equal(await whoami(visitor), 'max')
  await subject.pass(subject.grain)
  t.equal(await whoami(visitor), 'nobody')
})

onEachStore('absoluteTimeout: a fraction of a millisecond does not lead to an Expires', async (t, _subject, visit) => {
  const visitor = await visit({ absoluteTimeout: HOUR + 1 / 3 })
  await visitor.get('/login')
  t.equal(sent(await visitor.get('/whoami')), null)
})

onEachStore('absoluteTimeout: sessions from before the option are limited from their creation', async (t, subject, visit) => {
  for (const rolling of [true, false]) {
    await t.test(`rolling: ${rolling}`, async () => {
      const before = await visit({ rolling, cookie: { maxAge: 40 * MINUTE } })
      await before.get('/login')
      await subject.pass(20 * MINUTE)
      const visitor = await redeployed(t, before, {
        store: subject.store, rolling, absoluteTimeout: 30 * MINUTE, cookie: { maxAge: 40 * MINUTE }
      })
      t.equal(await copyIs(visitor), 'max')
      await subject.pass(10 * MINUTE - subject.grain)
      t.equal(await copyIs(visitor), 'max')
      await subject.pass(subject.grain)
      t.equal(await copyIs(visitor), 'nobody')
    })
  }
})

onEachStore('absoluteTimeout: a lower one ends older sessions at once', async (t, subject, visit) => {
  for (const maxAge of [undefined, 90 * MINUTE]) {
    await t.test(`maxAge: ${maxAge}`, async t => {
      const before = await visit({ absoluteTimeout: 2 * HOUR, cookie: { maxAge } })
      await before.get('/login')
      await subject.pass(HOUR - subject.grain)
      const next = await redeployed(t, before, { store: subject.store, absoluteTimeout: HOUR, cookie: { maxAge } })
      t.equal(await copyIs(next), 'max', 'young enough')
      const response = await next.get('/visit')
      t.ok(sent(response) === null || sent(response) as number <= subject.grain, 'the cookie ends in time')
      await leavesAtMost(t, subject, subject.grain)
      const late = next.cookieHeader()
      await subject.pass(subject.grain)
      t.equal((await new Visitor(next.app).get('/whoami', { headers: { cookie: late } })).body, 'nobody')
    })
  }
})

for (const absoluteTimeout of [2 * HOUR, undefined]) {
  for (const maxAge of [undefined, 40 * MINUTE]) {
    const what = `absoluteTimeout: ${absoluteTimeout === undefined ? 'left out' : 'raised'}, maxAge: ${maxAge}`
    onEachStore(`${what}: sessions live longer from their next use`, async (t, subject, visit) => {
      const before = await visit({ absoluteTimeout: HOUR, cookie: { maxAge } })
      await before.get('/login')
      await subject.pass(30 * MINUTE)
      await before.get('/whoami')
      const visitor = await redeployed(t, before, { store: subject.store, absoluteTimeout, cookie: { maxAge } })
      await subject.pass(20 * MINUTE)
      t.equal(sent(await visitor.get('/whoami')), maxAge ?? null)
      await subject.pass(20 * MINUTE)
      t.equal(await whoami(visitor), 'max')
      const { expires, ...cookie } = await subject.cookie()
      t.equal(cookie.absoluteTimeout, absoluteTimeout)
      t.equal(expires === null, absoluteTimeout === undefined && maxAge === undefined)
    })
  }
}

onEachStore('absoluteTimeout: a session that has reached it is removed, and its id is never used again', async (t, subject, visit) => {
  const visitor = await visit({ absoluteTimeout: HOUR, cookie: { maxAge: HOUR } })
  const [first] = (await visitor.get('/login')).cookies
  // As a store that keeps it for too long.
  await subject.setCookie({ ...await subject.cookie(), createdAt: Date.now() - HOUR, expires: new Date(Date.now() + HOUR) })
  const [second] = (await visitor.get('/visit')).cookies
  t.not(second?.value, first?.value)
  const sessions = await subject.left()
  t.ok(sessions !== null, 'there is a session')
  t.equal((await subject.cookie()).createdAt, Date.now(), 'and it is the new one')
})

for (const maxAge of [3 * HOUR, 40 * MINUTE]) {
  const left = Math.min(maxAge * 3 / 4, HOUR)
  onEachStore(`absoluteTimeout: a session of older software counts from its first use here, and is not prolonged by that: maxAge: ${maxAge}`, async (t, subject, visit) => {
    const options = { rolling: false, cookie: { maxAge } }
    const before = await visit(options)
    await before.get('/login')
    await subject.setCookie({ expires: new Date(Date.now() + maxAge), originalMaxAge: maxAge })
    const visitor = await redeployed(t, before, { store: subject.store, absoluteTimeout: HOUR, ...options })
    await subject.pass(maxAge / 4)
    t.equal(await whoami(visitor), 'max')
    await subject.pass(left / 2)
    t.equal(sent(await visitor.get('/whoami')), undefined)
    if (left < HOUR) await leavesAtMost(t, subject, left / 2)
    await subject.pass(left / 2 - subject.grain)
    t.equal(await copyIs(visitor), 'max')
    await subject.pass(subject.grain + subject.slack * maxAge)
    t.equal(await copyIs(visitor), 'nobody')
  })
}

t.test('absoluteTimeout: createdAt is kept in the cookie of the record', async t => {
  const subject = await memorySubject(t)
  const visitor = await visit(t, { store: subject.store, absoluteTimeout: HOUR, cookie: { maxAge: 40 * MINUTE } })
  await visitor.get('/login')
  const createdAt = Date.now()
  t.match(await subject.cookie(), { createdAt, absoluteTimeout: HOUR, expires: new Date(createdAt + 40 * MINUTE) })
  await subject.pass(30 * MINUTE)
  await visitor.get('/visit')
  t.match(await subject.cookie(), { createdAt, absoluteTimeout: HOUR, expires: new Date(createdAt + HOUR) })
})

t.test('absoluteTimeout: cookie.expires in a handler is the real end of the session', async t => {
  const { store, pass } = await memorySubject(t)
  const visitor = await visit(t, { store, absoluteTimeout: HOUR, cookie: { maxAge: 40 * MINUTE } })
  await visitor.get('/login')
  const end = new Date(Date.now() + HOUR).toISOString()
  await pass(30 * MINUTE)
  t.equal((await visitor.get('/expires')).body, end)
})

t.test('absoluteTimeout: an earlier fixed expires stays, and a later one is cut short', async t => {
  const { store } = await memorySubject(t)
  for (const [expires, expected] of [[30 * MINUTE, 30 * MINUTE], [2 * HOUR, HOUR]] as const) {
    const visitor = await visit(t, { store, absoluteTimeout: HOUR, cookie: { expires: new Date(Date.now() + expires) } })
    t.equal(sent(await visitor.get('/login')), expected)
    t.equal(sent(await visitor.get('/visit')), expected)
  }
})

t.test("absoluteTimeout: a stored createdAt that isn't a valid time is replaced at the next use", async t => {
  for (const createdAt of ['yesterday', null, {}, '0', new Date(0)]) {
    const subject = await memorySubject(t)
    const visitor = await visit(t, { store: subject.store, absoluteTimeout: HOUR })
    await visitor.get('/login')
    await subject.setCookie({ ...await subject.cookie(), createdAt })
    t.equal(await whoami(visitor), 'max')
    t.equal((await subject.cookie()).createdAt, Date.now(), 'the session now counts from this use')
  }
})

t.test('absoluteTimeout must be a positive number of milliseconds', async t => {
  for (const absoluteTimeout of [0, -1, NaN, Infinity, 1e15, '1h'] as any[]) {
    await t.rejects(build({ absoluteTimeout }, () => {}), { code: 'FST_ERR_SESSION_OPTION', message: /absoluteTimeout must be/ })
  }
})

// --- Idle timeout

onEachStore('idle timeout: maxAge with rolling ends a session that long after its last request', async (t, subject, visit) => {
  const visitor = await visit({ cookie: { maxAge: 20 * MINUTE } })
  await visitor.get('/login')
  for (let i = 0; i < 5; i++) {
    await subject.pass(20 * MINUTE - subject.grain)
    t.equal(await whoami(visitor), 'max')
  }
  await subject.pass(20 * MINUTE - subject.grain)
  t.equal(await copyIs(visitor), 'max', 'until the last moment')
  await subject.pass(subject.grain + subject.slack * 20 * MINUTE)
  t.equal(await copyIs(visitor), 'nobody', 'and not a moment longer')
})

onEachStore('idle timeout: a polling route (rolling: false) does not keep a session alive', async (t, subject, visit) => {
  const visitor = await visit({ cookie: { maxAge: 20 * MINUTE } })
  await visitor.get('/login')
  await subject.pass(10 * MINUTE)
  const response = await visitor.get('/poll')
  t.equal(response.body, 'max')
  t.equal(sent(response), undefined)
  await leavesAtMost(t, subject, 10 * MINUTE)
  await subject.pass(10 * MINUTE + subject.slack * 20 * MINUTE)
  t.equal(await copyIs(visitor), 'nobody')
})

// --- refreshAfter

onEachStore('refreshAfter: an unchanged session is touched, and its cookie sent, at most once in that time', async (t, subject, visit) => {
  const visitor = await visit({ refreshAfter: 5 * MINUTE, cookie: { maxAge: 20 * MINUTE } })
  t.equal(sent(await visitor.get('/login')), 20 * MINUTE)
  for (let i = 0; i < 3; i++) {
    await subject.pass(5 * MINUTE - 1)
    t.equal(sent(await visitor.get('/whoami')), undefined, 'not yet')
    await leavesAtMost(t, subject, 15 * MINUTE + 1)
    await subject.pass(1)
    t.equal(sent(await visitor.get('/whoami')), 20 * MINUTE, 'now')
    await leavesAtMost(t, subject, 20 * MINUTE)
    t.equal(sent(await visitor.get('/whoami')), undefined, 'not again')
  }
})

onEachStore('refreshAfter: a change is written at once, and the time starts again', async (t, subject, visit) => {
  const visitor = await visit({ refreshAfter: 5 * MINUTE, cookie: { maxAge: 20 * MINUTE } })
  await visitor.get('/login')
  await subject.pass(3 * MINUTE)
  t.equal(sent(await visitor.get('/visit')), 20 * MINUTE)
  await leavesAtMost(t, subject, 20 * MINUTE)
  await subject.pass(3 * MINUTE)
  t.equal(sent(await visitor.get('/whoami')), undefined)
  await subject.pass(2 * MINUTE)
  t.equal(sent(await visitor.get('/whoami')), 20 * MINUTE)
})

t.test('refreshAfter: which store calls an unchanged request makes', async t => {
  const { advance } = stopClock(t)
  const watched = new WatchedStore()
  const callsOf = (url: string): Promise<string[]> => watched.callsDuring(() => visitor.get(url))
  const visitor = await visit(t, { store: watched.store, refreshAfter: 5 * MINUTE, cookie: { maxAge: 20 * MINUTE } })
  t.same(await callsOf('/login'), ['set'])
  t.same(await callsOf('/whoami'), ['get'])
  advance(5 * MINUTE)
  t.same(await callsOf('/whoami'), ['get', 'update'])
  t.same(await callsOf('/whoami'), ['get'])
  t.same(await callsOf('/visit'), ['get', 'update'])
})

t.test('refreshAfter: 0, the default, sends the cookie with each response', async t => {
  const { store, cookie } = await memorySubject(t)
  for (const options of [{}, { refreshAfter: 0 }]) {
    const visitor = await visit(t, { store, cookie: { maxAge: HOUR }, ...options })
    await visitor.get('/login')
    t.equal(sent(await visitor.get('/whoami')), HOUR)
    t.notOk('touchedAt' in await cookie(), 'the record does not contain when it was touched')
  }
})

t.test('refreshAfter: a record without the time of its last write is refreshed at its first use', async t => {
  const { store, cookie, setCookie } = await memorySubject(t)
  const before = await visit(t, { store, cookie: { maxAge: HOUR } })
  await before.get('/login')
  const { expires, originalMaxAge } = await cookie()
  await setCookie({ expires, originalMaxAge })
  const visitor = await redeployed(t, before, { store, refreshAfter: MINUTE, cookie: { maxAge: HOUR } })
  t.equal(sent(await visitor.get('/whoami')), HOUR)
  t.equal(sent(await visitor.get('/whoami')), undefined)
})

t.test('refreshAfter: a cookie signed with an older secret is signed again at once', async t => {
  const { store } = await memorySubject(t)
  const [old, next] = ['an old secret with a length of 32 characters', 'a new secret with a length of 32 characters']
  const before = await visit(t, { store, secret: old, refreshAfter: 5 * MINUTE, cookie: { maxAge: HOUR } })
  await before.get('/login')
  const visitor = await redeployed(t, before, { store, secret: [next, old], refreshAfter: 5 * MINUTE, cookie: { maxAge: HOUR } })
  const response = await visitor.get('/whoami')
  t.equal(response.body, 'max')
  t.equal(setCookies(response).length, 1)
  t.equal(sent(await visitor.get('/whoami')), undefined, 'once')
})

onEachStore('a polling route (rolling: false) that signs a cookie again does not end its session', async (t, subject, visit) => {
  const [old, next] = ['an old secret with a length of 32 characters', 'a new secret with a length of 32 characters']
  const before = await visit({ secret: old, cookie: { maxAge: 20 * MINUTE } })
  await before.get('/login')
  await subject.pass(9 * MINUTE)
  await before.get('/whoami')
  const visitor = await redeployed(t, before, { store: subject.store, secret: [next, old], cookie: { maxAge: 20 * MINUTE } })
  // Beyond the end in the record. The touch has moved the real one.
  await subject.pass(15 * MINUTE)
  t.equal((await visitor.get('/poll')).body, 'max')
  await leavesAtMost(t, subject, 5 * MINUTE)
  t.equal(await whoami(visitor), 'max')
})

t.test('refreshAfter: it also applies if the cookie ends with the browser', async t => {
  const subject = await jsonSubject(t, new TouchStore())
  const visitor = await visit(t, { store: subject.store, refreshAfter: 5 * MINUTE })
  await visitor.get('/login')
  t.equal(sent(await visitor.get('/whoami')), undefined)
  await subject.pass(5 * MINUTE)
  t.equal(sent(await visitor.get('/whoami')), null)
})

t.test('refreshAfter: a touch() in a handler takes effect at once', async t => {
  const { store, pass } = await memorySubject(t)
  const app = await build({ store, refreshAfter: 5 * MINUTE, cookie: { maxAge: HOUR } }, app => {
    app.get('/', async request => { session(request).touch() })
  })
  const visitor = new Visitor(app)
  await visitor.get('/')
  await pass(MINUTE)
  t.equal(sent(await visitor.get('/')), HOUR)
})

t.test('refreshAfter: if a handler chose a lifetime of at most that, each response refreshes it', async t => {
  const { store, pass } = await memorySubject(t)
  const app = await build({ store, refreshAfter: 5 * MINUTE, cookie: { maxAge: HOUR } }, app => {
    app.get('/login', async request => {
      session(request).user = 'max'
      session(request).cookie.maxAge = 5 * MINUTE
    })
    app.get('/whoami', async request => session(request).user ?? 'nobody')
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  for (let i = 0; i < 3; i++) {
    await pass(3 * MINUTE)
    const response = await visitor.get('/whoami')
    t.equal(response.body, 'max')
    t.equal(sent(response), 5 * MINUTE)
  }
})

t.test('refreshAfter: with rolling: false, nothing is refreshed', async t => {
  const { store, pass } = await memorySubject(t)
  const visitor = await visit(t, { store, rolling: false, refreshAfter: MINUTE, cookie: { maxAge: HOUR } })
  await visitor.get('/login')
  await pass(2 * MINUTE)
  t.equal(sent(await visitor.get('/whoami')), undefined)
})

t.test('refreshAfter must be a number of milliseconds, shorter than maxAge', async t => {
  for (const refreshAfter of [-1, NaN, Infinity, '1m'] as any[]) {
    await t.rejects(build({ refreshAfter }, () => {}), { code: 'FST_ERR_SESSION_OPTION', message: /refreshAfter must be a number/ })
  }
  for (const refreshAfter of [HOUR, HOUR + 1]) {
    await t.rejects(build({ refreshAfter, cookie: { maxAge: HOUR } }, () => {}), {
      code: 'FST_ERR_SESSION_OPTION', message: /refreshAfter must be .* shorter than cookie.maxAge/
    })
  }
  await (await build({ refreshAfter: HOUR - 1, cookie: { maxAge: HOUR } }, () => {})).close()
  await (await build({ refreshAfter: HOUR }, () => {})).close()
  await (await build({ refreshAfter: HOUR, cookie: () => ({ maxAge: HOUR }) }, () => {})).close()
  await (await build({ refreshAfter: null as any }, () => {})).close()
})

// --- Both

onEachStore('absoluteTimeout and refreshAfter: the last refresh does not go beyond the end', async (t, subject, visit) => {
  const visitor = await visit({ absoluteTimeout: HOUR, refreshAfter: 5 * MINUTE, cookie: { maxAge: 40 * MINUTE } })
  await visitor.get('/login')
  await subject.pass(30 * MINUTE)
  t.equal(sent(await visitor.get('/whoami')), 30 * MINUTE)
  await leavesAtMost(t, subject, 30 * MINUTE)
  await subject.pass(2 * MINUTE)
  t.equal(sent(await visitor.get('/whoami')), undefined)
})
