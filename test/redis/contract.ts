/** What RedisStore answers to its caller, and what it writes to Redis, with every kind of client. */
import type { Test } from 'tap'
import { fingerprint } from '../../src/diagnostics'
import { RedisStore, type RedisClient, type RedisStoreOptions } from '../../src/stores/redis'
import type { SessionRecord } from '../../src/types/store'
import { record } from '../helpers'
import type { ClientOptions, Kind } from './clients'

const NO_META = { set: {}, unset: [] }

const SECOND = 1000
const HOUR = 3_600_000
const DAY = 24 * HOUR

/** A store for one test, with its own keys. */
export interface Subject {
  store: RedisStore
  client: RedisClient
  prefix: string
  /** Returns the key of a session in Redis. */
  key: (sessionId: string) => string
  /** How many milliseconds Redis will keep the session; -1 for ever, -2 if it doesn't have it. */
  ttl: (sessionId: string) => Promise<number>
  send: Kind['redis']['send']
}

let subjects = 0

export async function open (
  t: Test, kind: Kind, { keyPrefix, ...options }: Partial<RedisStoreOptions> & ClientOptions = {}
): Promise<Subject> {
  const { client, close } = await kind.connect(keyPrefix === undefined ? {} : { keyPrefix })
  t.teardown(close)
  const prefix = options.prefix ?? `test ${++subjects}:`
  const { send } = kind.redis
  const key = (sessionId: string): string => (keyPrefix ?? '') + prefix + sessionId
  return {
    store: new RedisStore({ client, ...options, prefix }),
    client,
    prefix,
    key,
    ttl: async sessionId => Number(await send(key(sessionId), 'PTTL', key(sessionId))),
    send
  }
}

/** Calls a method by a callback or a promise. */
type Ask = (store: RedisStore, method: keyof RedisStore, ...args: unknown[]) => Promise<any>

const FORMS: ReadonlyArray<readonly [name: string, ask: Ask]> = [
  ['by callbacks', (store, method, ...args) => new Promise((resolve, reject) => {
    const answer = (error: unknown, value: unknown): void => { if (error === null) resolve(value); else reject(error) }
    methodOf(store, method)(...args, answer)
  })],
  ['by promises', async (store, method, ...args) => await methodOf(store, method)(...args)]
]

function methodOf (store: RedisStore, method: keyof RedisStore): (...args: unknown[]) => Promise<unknown> {
  return (store[method] as any).bind(store)
}

export function testContract (t: Test, kind: Kind): void {
  for (const [form, ask] of FORMS) t.test(`every method works ${form}`, t => testMethods(t, kind, ask))
  for (const [form, ask] of FORMS) t.test(`the index by user works ${form}`, t => testIndex(t, kind, ask))
  t.test('odd ids, keys and values are returned unchanged', t => testOddNames(t, kind))
  t.test('parallel updates are all kept, each applied once', t => testParallel(t, kind))
  if (kind.isVariant) return

  t.test('each kind of lifetime ends when it should, and every key expires', t => testLives(t, kind))

  for (const keyPrefix of [undefined, 'app*[1]?:']) {
    const whose = keyPrefix === undefined ? '' : ', with a keyPrefix of the client'
    t.test(`all, length and clear only see the sessions of their store${whose}`, t => testPrefixes(t, kind, keyPrefix))
  }

  t.test('values that JSON cannot hold are changed as JSON changes them, left out or refused', t => testValues(t, kind))
  t.test('sessions of 20 MB and of 10,000 keys work', t => testBig(t, kind))
}

async function testMethods (t: Test, kind: Kind, ask: Ask): Promise<void> {
  const { store, key, send, ttl } = await open(t, kind)
  const get = (): Promise<any> => ask(store, 'get', 'a')

  t.equal(await get(), undefined)
  t.equal(await ask(store, 'getAndTouch', 'a'), undefined)
  t.equal(await ask(store, 'destroy', 'a'), false)
  t.equal(await ask(store, 'touch', 'a', record({})), false)
  t.equal(await ask(store, 'update', 'a', { set: { n: 1 }, unset: ['m'], meta: NO_META }, record({})), false)
  t.equal(await ttl('a'), -2, 'nothing was created')

  const first = record({ user: { name: 'max' }, n: 1, cart: [] })
  t.equal(await ask(store, 'set', 'a', first), undefined)
  t.same(asJson(await get()), handedOut(first))
  t.same(asJson(await ask(store, 'getAndTouch', 'a')), handedOut(first))
  t.type((await get()).cookie.expires, Date)
  t.same(await hash(send, key('a')), {
    user: '{"name":"max"}', n: '1', cart: '[]', cookie: cookieText(first)
  }, 'one field per key')

  const second = record({ other: true })
  await ask(store, 'set', 'a', second)
  t.same(asJson(await get()), handedOut(second), 'set replaces everything')

  const third = record({ ignored: true }, 2 * HOUR)
  t.equal(await ask(store, 'update', 'a', { set: { n: 2, list: [1] }, unset: ['other', 'never there'], meta: NO_META }, third), true)
  const expected = handedOut({ n: 2, list: [1], cookie: { expires: (third.cookie as any).expires, originalMaxAge: HOUR } })
  same(t, await get(), expected, 'the later end counts, and the lifetime is who chose it')
  t.equal(await ask(store, 'update', 'a', { set: {}, unset: [], meta: NO_META }, first), true)
  t.equal(await ask(store, 'touch', 'a', second), true)
  same(t, await get(), expected, 'neither changes data, nor shortens')

  const meta = { set: { userKey: 'max', seenAt: 7, odd: [1] }, unset: [] }
  await ask(store, 'update', 'a', { set: {}, unset: [], meta }, second)
  await ask(store, 'update', 'a', { set: {}, unset: [], meta: { set: { seenAt: 8 }, unset: ['odd'] } }, second)
  const owned = { ...expected, cookie: { ...expected.cookie, userKey: 'max', seenAt: 8 } }
  same(t, await get(), owned, "the library's own, by field")
  t.equal(await ask(store, 'updateIf', 'a', await get(), ['n', 'none'], { set: { n: 3 }, unset: [], meta: NO_META }, second), 'written')
  t.equal(await ask(store, 'updateIf', 'a', { n: 2 }, ['n'], { set: { n: 4 }, unset: [], meta: NO_META }, second), 'changed')
  t.equal(await ask(store, 'updateIf', 'nobody', { n: 3 }, ['n'], { set: { n: 4 }, unset: [], meta: NO_META }, second), 'gone')
  await ask(store, 'update', 'a', { set: { n: 2 }, unset: [], meta: NO_META }, second)

  t.equal(await ask(store, 'length'), 1)
  await ask(store, 'set', 'b', second)
  t.equal(await ask(store, 'length'), 2)
  const all = await ask(store, 'all')
  t.same(Object.keys(all).sort(), ['a', 'b'])
  same(t, all.a, owned)
  same(t, all.b, handedOut(second))
  t.equal(all.constructor, undefined, 'no properties except the ids')

  const removed = await ask(store, 'destroy', 'a')
  same(t, removed, owned, 'destroy answers what was there')
  t.equal(await ask(store, 'destroy', 'a'), false)
  t.equal(await get(), undefined)
  t.equal(await ask(store, 'length'), 1)
  t.equal(await ask(store, 'clear'), undefined)
  t.equal(await ask(store, 'length'), 0)
  t.same({ ...await ask(store, 'all') }, {})
  t.equal(await ttl('b'), -2)
}

interface Life {
  name: string
  cookie: object
  /** What is left after set, and after an update that sets the end; undefined if that ends the session. */
  left: number | undefined
  /** How much longer Redis keeps it: a hundredth of its lifetime. */
  slack?: number
  /** What is left after getAndTouch if a minute was left; the slack is added here too. */
  touched: number
}

const in2Hours = (): Date => new Date(Date.now() + 2 * HOUR)
const ONE_MINUTE = 60 * SECOND
// Redis only takes whole milliseconds.
const TTL = 3 * HOUR + 0.5

const lives = (): Life[] => [
  { name: 'maxAge', cookie: { originalMaxAge: 2 * HOUR, expires: in2Hours() }, left: 2 * HOUR, slack: 72_000, touched: 2 * HOUR },
  {
    name: 'an idle timeout',
    cookie: { originalMaxAge: 2 * HOUR, idle: HOUR, expires: in2Hours() },
    left: 2 * HOUR,
    slack: 36_000,
    touched: HOUR
  },
  {
    name: 'an absolute end that is near',
    cookie: { originalMaxAge: 2 * HOUR, createdAt: Date.now(), absoluteTimeout: HOUR, expires: in2Hours() },
    left: HOUR,
    touched: HOUR
  },
  {
    name: 'an absolute end that cuts the slack short',
    cookie: { originalMaxAge: 2 * HOUR, createdAt: Date.now(), absoluteTimeout: 2 * HOUR, expires: in2Hours() },
    left: 2 * HOUR,
    touched: 2 * HOUR
  },
  { name: 'a fixed end', cookie: { originalMaxAge: null, expires: in2Hours() }, left: 2 * HOUR, touched: ONE_MINUTE },
  { name: 'a fixed end as a string', cookie: { expires: in2Hours().toISOString() }, left: 2 * HOUR, touched: ONE_MINUTE },
  { name: 'none', cookie: { originalMaxAge: null, expires: null }, left: TTL, slack: 108_000, touched: TTL },
  { name: 'an empty cookie', cookie: {}, left: TTL, slack: 108_000, touched: TTL },
  {
    name: 'a maxAge with fractions',
    cookie: { originalMaxAge: 2 * HOUR + 0.5, expires: in2Hours() },
    left: 2 * HOUR,
    slack: 72_000,
    touched: 2 * HOUR + 1
  },
  {
    name: 'a maxAge of a thousand years',
    cookie: { originalMaxAge: 365_000 * DAY, expires: new Date(Date.now() + 365_000 * DAY) },
    left: 365_000 * DAY,
    slack: 3650 * DAY,
    touched: 365_000 * DAY
  },
  {
    name: 'the furthest end there is',
    cookie: { originalMaxAge: null, expires: new Date(8.64e15) },
    left: 8.64e15 - Date.now(),
    touched: ONE_MINUTE
  },
  {
    name: 'the furthest maxAge there is',
    cookie: { originalMaxAge: 8.6e15, expires: new Date(8.64e15) },
    left: 8.64e15 - Date.now(),
    touched: ONE_MINUTE
  },
  { name: 'an end that has passed', cookie: { originalMaxAge: null, expires: new Date(0) }, left: undefined, touched: ONE_MINUTE },
  { name: 'an end long ago', cookie: { expires: new Date(-8.64e15) }, left: undefined, touched: ONE_MINUTE },
  { name: 'a maxAge that has passed', cookie: { originalMaxAge: -1, expires: new Date(0) }, left: undefined, touched: ONE_MINUTE }
]

async function testLives (t: Test, kind: Kind): Promise<void> {
  const { store, ttl, key, send } = await open(t, kind, { ttl: TTL })
  const anyStore = store as any

  async function expect (expected: number | undefined, what: string): Promise<void> {
    const left = await ttl('a')
    if (expected === undefined) t.equal(left, -2, `${what}: gone`)
    else t.ok(isAbout(left, expected), `${what}: ${left} ms for ${expected}`)
  }

  for (const life of lives()) {
    const { name, slack = 0 } = life
    const left = life.left === undefined ? undefined : life.left + slack
    const session = { n: 1, cookie: life.cookie }
    await anyStore.set('a', session)
    await expect(left, `set, ${name}`)
    if (left !== undefined) {
      const { cookie } = await store.get('a') as any
      const { expires } = life.cookie as any
      const end = expires && Math.min(new Date(expires).getTime(), Date.now() + (life.left as number))
      t.ok(end == null ? cookie.expires === null : isAbout(cookie.expires - end, 0), `its end is returned, ${name}`)
    }

    const { expires = null, originalMaxAge = null, ...rest } = life.cookie as any
    await anyStore.set('a', record({}))
    const meta = { set: { expires, originalMaxAge, ...rest }, unset: [], meta: NO_META }
    await anyStore.update('a', { set: { n: 1 }, unset: [], meta }, session)
    await expect(left, `an update that sets the end, ${name}`)

    const before = HOUR + HOUR / 100
    await anyStore.set('a', record({}))
    await anyStore.update('a', { set: { n: 1 }, unset: [], meta: NO_META }, session)
    const byOthers = expires === null ? before : new Date(expires).getTime() - Date.now() + HOUR / 100
    await expect(Math.max(before, byOthers), `an update that doesn't, ${name}`)

    await anyStore.set('a', record({}))
    await anyStore.touch('a', session)
    const atMost = (rest.createdAt ?? Infinity) + (rest.absoluteTimeout ?? 0) - Date.now()
    await expect(Math.max(before, Math.min(byOthers, atMost)), `touch, ${name}`)

    // The record as version 12.0.0 wrote it.
    await anyStore.set('a', record({}))
    await send(key('a'), 'HSET', key('a'), 'cookie', JSON.stringify(life.cookie))
    await send(key('a'), 'PEXPIRE', key('a'), String(ONE_MINUTE))
    await anyStore.get('a')
    await expect(ONE_MINUTE, `get, ${name}`)
    await anyStore.getAndTouch('a')
    await expect(life.touched === ONE_MINUTE ? ONE_MINUTE : life.touched + slack, `getAndTouch, ${name}`)

    if (life.left === undefined) continue
    await anyStore.set('a', session)
    await send(key('a'), 'PEXPIRE', key('a'), String(ONE_MINUTE))
    await anyStore.getAndTouch('a')
    await expect(life.touched === ONE_MINUTE ? ONE_MINUTE : life.touched + slack, `getAndTouch of this version's record, ${name}`)
  }

  // The store's own ttl is an idle timeout, which an absolute end doesn't lengthen.
  for (const [age, idle] of [[0, TTL * 1.01], [90 * DAY - ONE_MINUTE, ONE_MINUTE]] as const) {
    const createdAt = Date.now() - age
    const end = createdAt + 90 * DAY
    const cookie = { createdAt, seenAt: createdAt, absoluteTimeout: 90 * DAY, expires: new Date(end), originalMaxAge: null }
    const uses: Array<[what: string, use: () => Promise<unknown>]> = [
      ['getAndTouch', () => anyStore.getAndTouch('a')],
      ['touch', () => anyStore.touch('a', { cookie })],
      ['update', () => anyStore.update('a', { set: { n: 2 }, unset: [], meta: { set: { seenAt: 1 }, unset: [] } }, { cookie })],
      ['an update that sets the end', () => anyStore.update('a', { set: {}, unset: [], meta: { set: cookie, unset: [] } }, { cookie })]
    ]
    for (const [what, use] of uses) {
      await anyStore.set('a', { n: 1, cookie })
      await expect(idle, `set, absolute end only, ${age}`)
      await send(key('a'), 'PEXPIRE', key('a'), String(10 * SECOND))
      await use()
      await expect(idle, `${what}, absolute end only, ${age}`)
      const stored = await store.get('a') as any
      t.ok(isAbout(stored.cookie.expires - end, 0), `its absolute end is returned, ${what}`)
    }
  }

  const { store: byDefault, ttl: ttlOf } = await open(t, kind)
  await (byDefault as any).set('a', { n: 1, cookie: { expires: null } })
  const left = await ttlOf('a')
  t.ok(left > DAY && left <= DAY * 1.01, 'one day by default')

  const keys = await kind.redis.sendAll('KEYS', '*')
  t.ok(keys.flat().length > 0)
  for (const key of keys.flat()) if (Number(await send(key, 'PTTL', key)) < 0) t.fail(`${key} never expires`)
}

async function testPrefixes (t: Test, kind: Kind, keyPrefix: string | undefined): Promise<void> {
  const prefix = `${++subjects} a*[b]?\\^-]:`
  const { store, client, key, send } = await open(t, kind, { prefix, keyPrefix })
  // Prefixes that would match if its letters were a pattern, that are shorter, and that are the same under another keyPrefix.
  const others = [`${subjects} a*b?\\^-]:`, `${subjects} axb^-]:`, `${subjects} a*[b]x\\^-]:`, `${subjects} a`]
    .map(prefix => new RedisStore({ client, prefix }))
  const elsewhere = await open(t, kind, { prefix, keyPrefix: keyPrefix === undefined ? 'other:' : undefined })
  others.push(elsewhere.store)
  for (const other of others) await other.set('a', record({ user: 'eva' }) as any)

  // More than one batch, and on every node.
  const ids = Array.from({ length: keyPrefix === undefined ? 1100 : 100 }, (_, i) => `id ${i}`)
  await Promise.all(ids.map((id, i) => store.set(id, record({ i }) as any)))
  t.equal(await store.length(), ids.length)
  const all = await store.all()
  t.same(Object.keys(all).sort(), [...ids].sort())
  t.ok(ids.every((id, i) => all[id]?.i === i), 'each session has its own data')
  t.equal(await send(key('id 0'), 'TYPE', key('id 0')), 'hash', 'the session is under the expected key')
  await store.clear()
  t.equal(await store.length(), 0)
  t.equal(await send(key('id 0'), 'EXISTS', key('id 0')), 0)
  for (const other of others) {
    t.equal((await other.get('a'))?.user, 'eva', "other stores' sessions stay")
    await other.destroy('a')
  }
}

const NAMES = [
  '', ' ', '__proto__', 'constructor', 'hasOwnProperty', 'toString', 'ä', '日本', '👩‍👩‍👧', 'a:b', '{a}', 'a{b}c', '*', '[?]', '\\', '\0',
  '\0u', '\0:idle', '\0\0', '\r\n', '"', '-1', '0', 'nil', 'err', 'ok', 'KEYS[1]', 'x'.repeat(1000)
]

// Halves of characters, which UTF-8 can't hold.
const HALVES = ['a\ud800', 'a\ud801', 'a\ufffd', '\udc00', '\0\ud800', '\0"\ud800"', '\ud83d\ude00\ude00']

async function testOddNames (t: Test, kind: Kind): Promise<void> {
  const { store, key, send } = await open(t, kind)
  const anyStore = store as any
  for (const id of NAMES) await anyStore.set(id, record({ id }))
  const all = await store.all()
  t.same(Object.keys(all).sort(), [...NAMES].sort())
  for (const id of NAMES) {
    t.equal((await store.get(id))?.id, id)
    t.equal(all[id]?.id, id)
  }
  await store.clear()

  const keys = [...NAMES, ...HALVES]
  const data = Object.fromEntries(keys.map((name, i) => [name, { [name]: [name, i, null, '', [], {}, -0.5, 1e21, true] }]))
  const first = record(data)
  await anyStore.set('a', first)
  t.equal(text(await store.get('a')), text(handedOut(first)))
  t.equal(text(await store.getAndTouch('a')), text(handedOut(first)))
  const set = Object.fromEntries(keys.map(name => [name, `${name} new`]))
  t.equal(await anyStore.update('a', { set, unset: [] }, first), true)
  const changed = await store.get('a') as SessionRecord
  t.equal(text(changed), text(handedOut({ ...first, ...set })))
  t.equal(await anyStore.updateIf('a', changed, keys, { set: {}, unset: [] }, first), 'written')
  t.equal(await anyStore.update('a', { set: {}, unset: keys }, first), true)
  t.same(asJson(await store.get('a')), handedOut({ cookie: first.cookie }))
  t.equal(({} as any).isAdmin, undefined)

  // The cookie isn't data, even if an update says so.
  await anyStore.update('a', { set: { cookie: 'rubbish', n: 1 }, unset: [], meta: NO_META }, first)
  t.same(asJson(await store.get('a')), handedOut({ cookie: first.cookie, n: 1 }))
  await anyStore.update('a', { set: {}, unset: ['cookie', 'n'], meta: NO_META }, first)
  t.same(asJson(await store.get('a')), handedOut({ cookie: first.cookie }))
  t.equal(await send(key('a'), 'HLEN', key('a')), 1)
}

async function testValues (t: Test, kind: Kind): Promise<void> {
  const { store } = await open(t, kind)
  const anyStore = store as any
  const date = new Date('2024-02-29T12:00:00.123Z')
  const lacking = { none: undefined, call: () => 1, sign: Symbol('x') }
  const odd = { ...lacking, date, nan: NaN, far: -Infinity, list: [undefined], map: new Map([[1, 2]]) }
  const kept = { date: date.toISOString(), nan: null, far: null, list: [null], map: {} }
  const { cookie } = record({})
  const written = handedOut({ ...kept, cookie })

  await anyStore.set('a', { ...odd, cookie })
  t.strictSame(asJson(await store.get('a')), written)
  const before = Object.fromEntries(Object.keys(odd).map(key => [key, 'before']))
  await anyStore.set('a', { ...before, cookie })
  await anyStore.update('a', { set: odd, unset: [], meta: NO_META }, { cookie })
  t.strictSame(asJson(await store.get('a')), written, 'by an update, in place of other values')

  const circle: unknown[] = []
  circle.push(circle)
  for (const [value, message] of [[1n, /'value' has a BigInt/], [circle, /'value' has a circle/]] as const) {
    const expected = { code: 'FST_ERR_SESSION_VALUE', message, cause: { name: 'TypeError' } }
    await t.rejects(anyStore.set('a', { value, cookie }), expected)
    const changes = { set: { value, n: 1 }, unset: ['date'], meta: NO_META }
    await t.rejects(anyStore.update('a', changes, { cookie }), expected)
    await t.rejects(anyStore.set('new', { value, cookie }), expected)
  }
  t.strictSame(asJson(await store.get('a')), written, 'nothing was written')
  t.equal(await store.get('new'), undefined)
}

async function testParallel (t: Test, kind: Kind): Promise<void> {
  const { store } = await open(t, kind)
  const anyStore = store as any
  const numbers = Array.from({ length: 50 }, (_, i) => i)
  for (const id of ['a', 'b', 'c']) await anyStore.set(id, record({ old: 1 }))
  const updates = ['a', 'b', 'c'].flatMap(id => numbers.map(n => {
    return anyStore.update(id, { set: { [`key ${n}`]: id }, unset: ['old'] }, record({}))
  }))
  t.ok((await Promise.all(updates)).every(found => found === true))
  for (const id of ['a', 'b', 'c']) {
    const { cookie: _, ...data } = await store.get(id) as SessionRecord
    t.same(data, Object.fromEntries(numbers.map(n => [`key ${n}`, id])))
  }
  const endings = await Promise.all(Array.from({ length: 10 }, () => store.destroy('a')))
  t.equal(endings.filter(removed => removed !== false).length, 1, 'of parallel logouts, one removes it')
}

async function testBig (t: Test, kind: Kind): Promise<void> {
  const { store } = await open(t, kind)
  const anyStore = store as any
  const note = 'ü'.repeat(10 * 2 ** 20)
  await anyStore.set('a', record({ note, n: 1 }))
  await anyStore.update('a', { set: { n: 2 }, unset: [], meta: NO_META }, record({}))
  const big = await store.getAndTouch('a')
  t.ok(big?.note === note && big.n === 2, '20 MB')
  await store.clear()

  const keys = Array.from({ length: 10_000 }, (_, i) => `key ${i}`)
  const dataWith = (value: number): Record<string, number> => Object.fromEntries(keys.map(key => [key, value]))
  await anyStore.set('a', record(dataWith(1)))
  t.equal(Object.keys(await store.get('a') ?? {}).length, keys.length + 1)
  await anyStore.update('a', { set: dataWith(2), unset: [] }, record({}))
  const { cookie: _, ...data } = await store.getAndTouch('a') as SessionRecord
  t.ok(keys.every(key => data[key] === 2), '10,000 keys')
  await anyStore.update('a', { set: {}, unset: keys }, record({}))
  t.same(Object.keys(await store.destroy('a')), ['cookie'])
}

async function testIndex (t: Test, kind: Kind, ask: Ask): Promise<void> {
  const { store, prefix, send } = await open(t, kind)
  const session = record({ n: 1 })
  const entries = async (): Promise<any[]> => await ask(store, 'claimsOf', 'eva', Infinity, 100)
  const ids = async (): Promise<string[]> => (await entries()).map(({ sessionId }) => sessionId)
  const claim = async (sessionId: string, more: object = {}): Promise<any> => await ask(store, 'claim', 'eva', sessionId, {
    fingerprint: fingerprint(sessionId), lives: HOUR, isWritten: false, max: Infinity, refuses: false, ...more
  })
  const entered = { outcome: 'entered', tooMany: [] }
  const before = Date.now()
  t.same(await ids(), [])
  t.same(await claim('a'), entered)
  t.same(await claim('b', { max: 2, refuses: true }), entered)
  t.same(await claim('c', { max: 2, refuses: true }), { outcome: 'full', tooMany: [] }, 'there is no room')
  t.same(await claim('a', { max: 2, refuses: true }), entered, 'a session that is already in the index stays the first')
  t.same(await claim('nobody', { isWritten: true }), { outcome: 'lost', tooMany: [] })
  t.same(await ids(), ['b', 'a'], 'the latest first')
  const [latest, first] = await entries()
  t.ok(isAbout(first.claimedAt, before))
  t.ok(first.age >= 0 && first.age < ONE_MINUTE)
  t.same((await ask(store, 'claimsOf', 'eva', latest.claimedAt, 1)).map(({ sessionId }: any) => sessionId), ['a'], 'the next page')
  t.same(await ask(store, 'claimsOf', 'max', Infinity, 100), [])
  for (const suffix of ['', ':ends', ':ids']) {
    const key = `users:${prefix}{eva}${suffix}`
    t.ok(isAbout(Number(await send(key, 'PTTL', key)), HOUR * 1.01), `${key} expires with its last session`)
  }

  t.same(await claim('d', { replaces: 'a' }), entered)
  t.same(await ids(), ['b', 'd'], 'the entry takes the place of the one that it replaces')
  t.same(await claim('e', { replaces: 'a' }), { outcome: 'lost', tooMany: [] })
  t.same(await claim('f'), entered)
  t.same(await claim('f', { isWritten: true, max: 2 }), { outcome: 'entered', tooMany: ['d'] }, 'the oldest session is ended')
  t.same(await ask(store, 'endingsOf', 'eva'), ['d'])
  t.same(await claim('d'), { outcome: 'ending', tooMany: [] })
  t.same(await claim('g', { replaces: 'd' }), { outcome: 'ending', tooMany: [] })
  await ask(store, 'release', 'eva', ['d', 'nobody'])
  t.same(await ask(store, 'endingsOf', 'eva'), [])

  t.equal(await ask(store, 'revoke', 'eva', { fingerprint: fingerprint('nobody') }), 0)
  t.equal(await ask(store, 'revoke', 'eva', { fingerprint: fingerprint('b') }), 1)
  await claim('h')
  t.equal(await ask(store, 'revoke', 'eva', { except: 'h' }), 1)
  t.same((await ask(store, 'endingsOf', 'eva')).sort(), ['b', 'f'])
  t.same(await ids(), ['h'])
  t.equal(await ask(store, 'revoke', 'eva', {}), 1)
  t.equal(await ask(store, 'revoke', 'eva', {}), 0)
  t.same((await ask(store, 'endingsOf', 'eva')).sort(), ['b', 'f', 'h'])
  await ask(store, 'release', 'eva', ['b', 'f', 'h'])

  await ask(store, 'set', 'a', session)
  await ask(store, 'touch', 'a', record({ n: 1 }, 2 * HOUR))
  const { cookie, ...data } = await ask(store, 'inspect', 'a')
  t.same(data, { n: 1 })
  t.ok(isAbout(new Date(cookie.expires).getTime(), Date.now() + 2 * HOUR), 'the end is where the touch has moved it')
  t.equal(await ask(store, 'inspect', 'nobody'), undefined)
  await claim('i')
  await ask(store, 'clear')
  t.same(await ids(), [])
}

// How late the answer of a server may be read. An end that is computed from it seems to be later by as much.
const DELAY = 10 * SECOND

/** Whether about that much is left. Some time passes while the test runs. */
export function isAbout (milliseconds: number, expected: number): boolean {
  return milliseconds > expected - ONE_MINUTE / 2 && milliseconds <= expected + DELAY
}

/** A record after a round trip through JSON. */
export function asJson (session: object | undefined): any {
  return JSON.parse(JSON.stringify(session))
}

/** A record as the store returns it, in JSON: without the cookie's attributes, which the library doesn't keep. */
export function handedOut (session: object | undefined): any {
  const { cookie, ...data } = session as SessionRecord
  const { path, httpOnly, secure, sameSite, domain, partitioned, priority, ...kept } = asJson(cookie as object)
  return asJson({ ...data, cookie: { originalMaxAge: null, ...kept } })
}

/** Compares records. Their ends may differ a little, because Redis measures them. */
export function same (t: Test, record: object | undefined, expected: any, message = 'as it was written'): void {
  const found = asJson(record)
  const apart = new Date(found.cookie.expires).getTime() - new Date(expected.cookie.expires).getTime()
  t.ok(Math.abs(apart) < DELAY, `${apart} ms apart`)
  found.cookie.expires = expected.cookie.expires
  t.same(found, expected, message)
}

/** The cookie's field in Redis. */
export function cookieText ({ cookie }: SessionRecord): string {
  const { expires, originalMaxAge } = cookie as any
  return JSON.stringify({ expires: new Date(expires).getTime(), originalMaxAge })
}

/** For comparison, including an own `__proto__`. Sorted, because Redis keeps no order. */
export function text (session: object | undefined): string {
  const { cookie, ...data } = session as SessionRecord
  return JSON.stringify([...Object.entries(data).sort(([a], [b]) => a < b ? -1 : 1), sorted(cookie)])
}

function sorted (cookie: unknown): unknown {
  return typeof cookie === 'object' ? Object.entries(asJson(cookie ?? {})).sort(([a], [b]) => a < b ? -1 : 1) : cookie
}

async function hash (send: Subject['send'], key: string): Promise<Record<string, string>> {
  const fields: string[] = await send(key, 'HKEYS', key)
  return Object.fromEntries(await Promise.all(fields.map(async field => [field, await send(key, 'HGET', key, field)])))
}
