/** What PostgresStore answers to its caller, and what it writes to PostgreSQL. */
import type { Pool } from 'pg'
import type { Test } from 'tap'
import { fingerprint } from '../../src/diagnostics'
import { PostgresStore, type PostgresStoreOptions } from '../../src/stores/postgres'
import type { SessionRecord } from '../../src/types/store'
import { record } from '../helpers'
import { asJson, handedOut, isAbout, same, text } from '../redis/contract'
import { freshTable, letPass } from './tables'

const NO_META = { set: {}, unset: [] }

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** A store for one test, with its own tables. */
export interface Subject {
  store: any // PostgresStore, whose methods tests call in forms that its types don't know
  table: string
  pool: Pool
  /** How many milliseconds PostgreSQL will keep the session; undefined if it doesn't have it. */
  left: (sessionId: string) => Promise<number | undefined>
  /** Sets how many milliseconds PostgreSQL will keep it. */
  leave: (sessionId: string, milliseconds: number) => Promise<unknown>
  /** What is in the row. */
  row: (sessionId: string) => Promise<{ data: Record<string, string>, meta: Record<string, string> } | undefined>
}

export async function open (pool: Pool, options: Partial<PostgresStoreOptions> = {}, schema = ''): Promise<Subject> {
  const table = await freshTable(pool, schema)
  const name = table.split('.').map(part => `"${part}"`).join('.')
  return {
    store: new PostgresStore({ pool, table, ...options }),
    table,
    pool,
    async left (sessionId) {
      const text = `select extract(epoch from expires_at - now()) * 1000 as left from ${name} where sid = $1 and expires_at > now()`
      const { rows: [row] } = await pool.query(text, [sessionId])
      return row && Number(row.left)
    },
    leave: (sessionId, milliseconds) =>
      pool.query(`update ${name} set expires_at = now() + $2 * interval '1 ms' where sid = $1`, [sessionId, milliseconds]),
    row: async sessionId => (await pool.query(`select data, meta from ${name} where sid = $1`, [sessionId])).rows[0]
  }
}

/** Calls a method by a callback or a promise. */
type Ask = (store: any, method: keyof PostgresStore, ...args: unknown[]) => Promise<any>

const FORMS: ReadonlyArray<readonly [name: string, ask: Ask]> = [
  ['by callbacks', (store, method, ...args) => new Promise((resolve, reject) => {
    store[method](...args, (error: unknown, value: unknown) => { if (error === null) resolve(value); else reject(error) })
  })],
  ['by promises', async (store, method, ...args) => await store[method](...args)]
]

export function testContract (t: Test, pool: Pool): void {
  for (const [form, ask] of FORMS) t.test(`every method works ${form}`, t => testMethods(t, pool, ask))
  for (const [form, ask] of FORMS) t.test(`the index by user works ${form}`, t => testIndex(t, pool, ask))
  t.test('odd ids, keys and values are returned unchanged', t => testOddNames(t, pool))
  t.test('parallel updates are all kept, each applied once', t => testParallel(t, pool))
  t.test('each kind of lifetime ends when it should', t => testLives(t, pool))
  t.test('an absolute end alone does not lengthen the idle timeout', t => testAbsoluteEnds(t, pool))
  t.test('tables with any names are kept apart', t => testTables(t, pool))
  t.test('values that JSON cannot hold are changed as JSON changes them, left out or refused', t => testValues(t, pool))
  t.test('sessions of 20 MB and of 10,000 keys work', t => testBig(t, pool))
}

async function testMethods (t: Test, pool: Pool, ask: Ask): Promise<void> {
  const { store, row, left } = await open(pool)
  const get = (): Promise<any> => ask(store, 'get', 'a')

  t.equal(await get(), undefined)
  t.equal(await ask(store, 'getAndTouch', 'a'), undefined)
  t.equal(await ask(store, 'destroy', 'a'), false)
  t.equal(await ask(store, 'touch', 'a', record({})), false)
  t.equal(await ask(store, 'update', 'a', { set: { n: 1 }, unset: ['m'], meta: NO_META }, record({})), false)
  t.equal(await row('a'), undefined, 'nothing was created')

  const first = record({ user: { name: 'max' }, n: 1, cart: [] })
  t.equal(await ask(store, 'set', 'a', first), undefined)
  same(t, await get(), handedOut(first))
  same(t, await ask(store, 'getAndTouch', 'a'), handedOut(first))
  t.type((await get()).cookie.expires, Date)
  t.same((await row('a'))?.data, { user: '{"name":"max"}', n: '1', cart: '[]' }, 'a JSON text for each key')
  const { expires } = first.cookie as any
  t.same((await row('a'))?.meta, { expires: String(expires.getTime()), originalMaxAge: String(HOUR) }, 'no cookie attributes')

  const second = record({ other: true })
  await ask(store, 'set', 'a', second)
  same(t, await get(), handedOut(second), 'set replaces everything')

  const third = record({ ignored: true }, 2 * HOUR)
  t.equal(await ask(store, 'update', 'a', { set: { n: 2, list: [1] }, unset: ['other', 'never there'], meta: NO_META }, third), true)
  const expected = handedOut({ n: 2, list: [1], cookie: { expires: (third.cookie as any).expires, originalMaxAge: HOUR } })
  same(t, await get(), expected, 'the later end is kept, and originalMaxAge does not change')
  t.equal(await ask(store, 'update', 'a', { set: {}, unset: [] }, first), true)
  t.equal(await ask(store, 'touch', 'a', second), true)
  same(t, await get(), expected, 'neither changes data or shortens the lifetime')

  const meta = { set: { userKey: 'max', seenAt: 7, odd: [1] }, unset: [] }
  await ask(store, 'update', 'a', { set: {}, unset: [], meta }, second)
  await ask(store, 'update', 'a', { set: {}, unset: [], meta: { set: { seenAt: 8 }, unset: ['odd'] } }, second)
  const owned = { ...expected, cookie: { ...expected.cookie, userKey: 'max', seenAt: 8 } }
  same(t, await get(), owned, "the library's own fields change one by one")
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
  same(t, removed, owned, 'destroy answers with the record that it removed')
  t.equal(await ask(store, 'destroy', 'a'), false)
  t.equal(await get(), undefined)
  t.equal(await ask(store, 'length'), 1)
  t.equal(await ask(store, 'clear'), undefined)
  t.equal(await ask(store, 'length'), 0)
  t.same({ ...await ask(store, 'all') }, {})
  t.equal(await left('b'), undefined)
}

interface Life {
  name: string
  cookie: object
  /** What is left after set, and after an update that sets the end; undefined if that ends the session. */
  left: number | undefined
  /** How much longer it is kept: a hundredth of its lifetime. */
  slack?: number
  /** What is left after getAndTouch if a minute was left; the slack is added here too. */
  touched: number
}

const in2Hours = (): Date => new Date(Date.now() + 2 * HOUR)
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
  { name: 'a fixed end', cookie: { originalMaxAge: null, expires: in2Hours() }, left: 2 * HOUR, touched: MINUTE },
  { name: 'a fixed end as a string', cookie: { expires: in2Hours().toISOString() }, left: 2 * HOUR, touched: MINUTE },
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
  { name: 'the furthest end there is', cookie: { originalMaxAge: null, expires: new Date(8.64e15) }, left: 8.64e15 - Date.now(), touched: MINUTE },
  {
    name: 'the furthest maxAge there is',
    cookie: { originalMaxAge: 8.6e15, expires: new Date(8.64e15) },
    left: 8.64e15 - Date.now(),
    touched: MINUTE
  },
  { name: 'an end that has passed', cookie: { originalMaxAge: null, expires: new Date(0) }, left: undefined, touched: MINUTE },
  { name: 'an end long ago', cookie: { expires: new Date(-8.64e15) }, left: undefined, touched: MINUTE },
  { name: 'a maxAge that has passed', cookie: { originalMaxAge: -1, expires: new Date(0) }, left: undefined, touched: MINUTE }
]

async function testLives (t: Test, pool: Pool): Promise<void> {
  const { store, left: leftOf, leave } = await open(pool, { ttl: TTL })

  async function expect (expected: number | undefined, what: string): Promise<void> {
    const left = await leftOf('a')
    if (expected === undefined) t.equal(left, undefined, `${what}: gone`)
    else t.ok(left !== undefined && isAbout(left, expected), `${what}: ${left} ms for ${expected}`)
  }

  for (const life of lives()) {
    const { name, slack = 0 } = life
    const left = life.left === undefined ? undefined : life.left + slack
    const session = { n: 1, cookie: life.cookie }
    await store.set('a', session)
    await expect(left, `set, ${name}`)
    if (left !== undefined) {
      const { cookie } = await store.get('a')
      const { expires } = life.cookie as any
      const end = expires && Math.min(new Date(expires).getTime(), Date.now() + (life.left as number))
      t.ok(end == null ? cookie.expires === null : isAbout(cookie.expires - end, 0), `its end is returned, ${name}`)
    }

    const { expires = null, originalMaxAge = null, ...rest } = life.cookie as any
    await store.set('a', record({}))
    await store.update('a', { set: { n: 1 }, unset: [], meta: { set: { expires, originalMaxAge, ...rest }, unset: [] } }, session)
    await expect(left, `an update that sets the end, ${name}`)

    const before = HOUR + HOUR / 100
    await store.set('a', record({}))
    await store.update('a', { set: { n: 1 }, unset: [], meta: NO_META }, session)
    const byOthers = expires === null ? before : new Date(expires).getTime() - Date.now() + HOUR / 100
    await expect(Math.max(before, byOthers), `an update that doesn't, ${name}`)

    await store.set('a', record({}))
    await store.touch('a', session)
    await expect(Math.max(before, byOthers), `touch, ${name}`)

    if (life.left === undefined) continue
    await store.set('a', session)
    await leave('a', MINUTE)
    await store.get('a')
    await expect(MINUTE, `get, ${name}`)
    await store.getAndTouch('a')
    await expect(life.touched === MINUTE ? MINUTE : life.touched + slack, `getAndTouch, ${name}`)
  }

  const { store: byDefault, left } = await open(pool)
  await byDefault.set('a', { n: 1, cookie: { expires: null } })
  t.ok(isAbout(await left('a') as number, DAY * 1.01), 'one day by default')
}

// The store's own ttl is an idle timeout, which an absolute end doesn't lengthen.
async function testAbsoluteEnds (t: Test, pool: Pool): Promise<void> {
  const { store, left, leave } = await open(pool, { ttl: TTL })
  for (const [age, idle] of [[0, TTL * 1.01], [90 * DAY - MINUTE, MINUTE]] as const) {
    const createdAt = Date.now() - age
    const end = createdAt + 90 * DAY
    const cookie = { createdAt, seenAt: createdAt, absoluteTimeout: 90 * DAY, expires: new Date(end), originalMaxAge: null }
    const uses: Array<[what: string, use: () => Promise<unknown>]> = [
      ['getAndTouch', () => store.getAndTouch('a')],
      ['touch', () => store.touch('a', { cookie })],
      ['update', () => store.update('a', { set: { n: 2 }, unset: [], meta: { set: { seenAt: 1 }, unset: [] } }, { cookie })],
      ['an update that sets the end', () => store.update('a', { set: {}, unset: [], meta: { set: cookie, unset: [] } }, { cookie })]
    ]
    for (const [what, use] of uses) {
      await store.set('a', { n: 1, cookie })
      t.ok(isAbout(await left('a') as number, idle), `set, ${age}`)
      await leave('a', 10 * SECOND)
      await use()
      t.ok(isAbout(await left('a') as number, idle), `${what}, ${age}`)
      t.ok(isAbout((await store.get('a')).cookie.expires - end, 0), `its absolute end is returned, ${what}`)
    }
  }
  await store.set('a', record({}, 10 * HOUR))
  const cut = { idle: HOUR, createdAt: Date.now(), absoluteTimeout: HOUR, seenAt: Date.now() }
  await store.update('a', { set: {}, unset: [], meta: { set: cut, unset: [] } }, record({}, HOUR))
  t.ok(isAbout(await left('a') as number, HOUR), 'a new absolute end shortens a longer lifetime')
  await store.set('a', record({}))
  await leave('a', MINUTE)
  await store.update('a', { set: {}, unset: [], meta: { set: { createdAt: Date.now() }, unset: [] } }, { cookie: {} })
  t.ok(isAbout(await left('a') as number, MINUTE), 'writing createdAt does not prolong the session')
}

async function testTables (t: Test, pool: Pool): Promise<void> {
  await pool.query('create schema "a ""schema"""')
  const subjects = [await open(pool), await open(pool, {}, 'a "schema".'), await open(pool, {}, 'it\'s; drop -- "')]
    .concat(await open(pool, {}, 'x'.repeat(30)))
  for (const [i, { store }] of subjects.entries()) await store.set('a', record({ i }))
  for (const [i, { store }] of subjects.entries()) {
    t.equal((await store.get('a')).i, i)
    await store.claim('eva', 'a', { fingerprint: 'f', lives: HOUR, isWritten: false, max: Infinity, refuses: false })
    t.equal((await store.claimsOf('eva', Infinity, 10)).length, 1)
  }
  await subjects[0]?.store.clear()
  t.same(await Promise.all(subjects.map(({ store }) => store.length())), [0, 1, 1, 1])
}

const NAMES = [
  '', ' ', '__proto__', 'constructor', 'hasOwnProperty', 'toString', 'ä', '日本', '👩‍👩‍👧', 'a:b', '{a}', 'a{b}c', '*', '[?]', '\\', '\0',
  '\0u', '\\u0000', '\0\0', '\r\n', '"', '\\"', "'", '$1', '%', '-1', '0', 'null', '\ud800', '\udc00x', '\u2028', '\x7f', 'x'.repeat(1000)
]

async function testOddNames (t: Test, pool: Pool): Promise<void> {
  const { store, row } = await open(pool)
  for (const id of NAMES) await store.set(id, record({ id }))
  const all = await store.all()
  t.same(Object.keys(all).sort(), [...NAMES].sort())
  for (const id of NAMES) {
    t.equal((await store.get(id))?.id, id)
    t.equal(all[id]?.id, id)
  }
  await store.clear()

  const data = Object.fromEntries(NAMES.map((name, i) => [name, { [name]: [name, i, null, '', [], {}, -0.5, 1e21, 5e-324, true] }]))
  const first = record(data)
  await store.set('a', first)
  t.equal(text(asJson(await store.get('a'))), text(handedOut(first)))
  t.equal(text(asJson(await store.getAndTouch('a'))), text(handedOut(first)))
  for (const [i, name] of NAMES.entries()) {
    t.equal(await store.updateIf('a', await store.get('a'), [name], { set: {}, unset: [] }, first), 'written', `name ${i}`)
  }
  const set = Object.fromEntries(NAMES.map(name => [name, `${name} new`]))
  t.equal(await store.update('a', { set, unset: [] }, first), true)
  t.equal(text(asJson(await store.get('a'))), text(handedOut({ ...first, ...set })))
  t.equal(await store.update('a', { set: {}, unset: NAMES }, first), true)
  same(t, await store.get('a'), handedOut({ cookie: first.cookie }))
  t.equal(({} as any).isAdmin, undefined)

  // The cookie isn't data, even if an update says so.
  await store.update('a', { set: { cookie: 'rubbish', n: 1 }, unset: [], meta: NO_META }, first)
  same(t, await store.get('a'), handedOut({ cookie: first.cookie, n: 1 }))
  await store.update('a', { set: {}, unset: ['cookie', 'n'], meta: NO_META }, first)
  same(t, await store.get('a'), handedOut({ cookie: first.cookie }))
  t.same((await row('a'))?.data, {})
}

async function testValues (t: Test, pool: Pool): Promise<void> {
  const { store } = await open(pool)
  const date = new Date('2024-02-29T12:00:00.123Z')
  const lacking = { none: undefined, call: () => 1, sign: Symbol('x') }
  const odd = { ...lacking, date, nan: NaN, far: -Infinity, list: [undefined], map: new Map([[1, 2]]) }
  const kept = { date: date.toISOString(), nan: null, far: null, list: [null], map: {} }
  const { cookie } = record({})
  const written = handedOut({ ...kept, cookie })

  await store.set('a', { ...odd, cookie })
  same(t, await store.get('a'), written)
  const before = Object.fromEntries(Object.keys(odd).map(key => [key, 'before']))
  await store.set('a', { ...before, cookie })
  await store.update('a', { set: odd, unset: [], meta: NO_META }, { cookie })
  same(t, await store.get('a'), written, 'by an update, in place of other values')

  const circle: unknown[] = []
  circle.push(circle)
  for (const [value, message] of [[1n, /'value' has a BigInt/], [circle, /'value' has a circle/]] as const) {
    const expected = { code: 'FST_ERR_SESSION_VALUE', message, cause: { name: 'TypeError' } }
    await t.rejects(store.set('a', { value, cookie }), expected)
    await t.rejects(store.update('a', { set: { value, n: 1 }, unset: ['date'], meta: NO_META }, { cookie }), expected)
    await t.rejects(store.set('new', { value, cookie }), expected)
  }
  same(t, await store.get('a'), written, 'nothing was written')
  t.equal(await store.get('new'), undefined)
}

async function testParallel (t: Test, pool: Pool): Promise<void> {
  const { store } = await open(pool)
  const numbers = Array.from({ length: 50 }, (_, i) => i)
  for (const id of ['a', 'b', 'c']) await store.set(id, record({ old: 1 }))
  const updates = ['a', 'b', 'c'].flatMap(id => numbers.map(n => {
    return store.update(id, { set: { [`key ${n}`]: id }, unset: ['old'] }, record({}))
  }))
  t.ok((await Promise.all(updates)).every(found => found === true))
  for (const id of ['a', 'b', 'c']) {
    const { cookie: _, ...data } = await store.get(id) as SessionRecord
    t.same(data, Object.fromEntries(numbers.map(n => [`key ${n}`, id])))
  }
  const endings = await Promise.all(Array.from({ length: 10 }, () => store.destroy('a')))
  t.equal(endings.filter(removed => removed !== false).length, 1, 'of parallel logouts, one removes it')
  const late = numbers.map(n => store.update('b', { set: { n }, unset: [] }, record({})))
  await store.destroy('b')
  await Promise.all(late)
  t.equal(await store.get('b'), undefined, 'an update after a logout brings nothing back')
}

async function testBig (t: Test, pool: Pool): Promise<void> {
  const { store } = await open(pool)
  const note = 'ü'.repeat(10 * 2 ** 20)
  await store.set('a', record({ note, n: 1 }))
  await store.update('a', { set: { n: 2 }, unset: [], meta: NO_META }, record({}))
  const big = await store.getAndTouch('a')
  t.ok(big?.note === note && big.n === 2, '20 MB')
  await store.clear()

  const keys = Array.from({ length: 10_000 }, (_, i) => `key ${i}`)
  const dataWith = (value: number): Record<string, number> => Object.fromEntries(keys.map(key => [key, value]))
  await store.set('a', record(dataWith(1)))
  t.equal(Object.keys(await store.get('a') ?? {}).length, keys.length + 1)
  await store.update('a', { set: dataWith(2), unset: [] }, record({}))
  const { cookie: _, ...data } = await store.getAndTouch('a') as SessionRecord
  t.ok(keys.every(key => data[key] === 2), '10,000 keys')
  await store.update('a', { set: {}, unset: keys }, record({}))
  t.same(Object.keys(await store.destroy('a')), ['cookie'])
}

async function testIndex (t: Test, pool: Pool, ask: Ask): Promise<void> {
  const { store, table } = await open(pool)
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
  t.same(await claim('a', { max: Number.MAX_SAFE_INTEGER, refuses: true }), entered, 'the highest possible limit')
  t.same(await claim('nobody', { isWritten: true }), { outcome: 'lost', tooMany: [] })
  t.same(await ids(), ['b', 'a'], 'the latest first')
  const [latest, first] = await entries()
  t.ok(isAbout(first.claimedAt, before))
  t.ok(first.age >= 0 && first.age < MINUTE)
  t.same((await ask(store, 'claimsOf', 'eva', latest.claimedAt, 1)).map(({ sessionId }: any) => sessionId), ['a'], 'the next page')
  t.same(await ask(store, 'claimsOf', 'max', Infinity, 100), [])

  t.same(await claim('d', { replaces: 'a' }), entered)
  t.same(await ids(), ['b', 'd'], 'the entry takes the place of the one that it replaces')
  t.same(await claim('e', { replaces: 'a' }), { outcome: 'lost', tooMany: [] })
  t.same(await claim('f'), entered)
  t.same(await claim('f', { isWritten: true, max: 2 }), { outcome: 'entered', tooMany: ['d'] }, 'the oldest session is ended')
  t.same(await ask(store, 'endingsOf', 'eva'), ['d'])
  t.same(await claim('d'), { outcome: 'ending', tooMany: [] })
  t.same(await claim('g', { replaces: 'd' }), { outcome: 'ending', tooMany: [] })
  await ask(store, 'release', 'eva', ['d', 'nobody'])
  await ask(store, 'release', 'eva', [])
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

  t.same(await claim('i', { lives: null }), entered)
  await letPass(pool, table, 50 * HOUR)
  t.same(await ids(), [], "an entry without a lifetime has ended after twice the store's ttl and an hour")
  t.same(await claim('i', { isWritten: true }), { outcome: 'lost', tooMany: [] })
  t.same(await claim('i'), entered, 'a session whose entry has ended is entered again')
  const [again] = await entries()
  t.ok(again.age < MINUTE, 'its age begins again')
  for (const user of ['', '\0', '\\', 'eva\0sid', '\ud800']) {
    const claiming = { fingerprint: 'f', lives: HOUR, isWritten: false, max: 1, refuses: true }
    t.same(await ask(store, 'claim', user, 'i', claiming), entered, 'one session may be entered under several keys')
  }
  t.same(await ids(), ['i'])
  await ask(store, 'clear')
  t.same(await ids(), [])
}
