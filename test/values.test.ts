/** Values that aren't plain data: each is returned unchanged, a change inside it is found, and equal JSON isn't a change. */
import { createContext, runInContext, runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import { build, Visitor } from './helpers'
import { ThreeMethodStore, type Answer } from './odd-stores'

// --- Stand-ins for types that keep their state where a copy doesn't reach it

const kId = Symbol('id')

/** As in bson 4, of Mongoose 6: its bytes are under a symbol, and an id without bytes gets new, random ones. */
class ObjectIdOfBson4 {
  [kId]: Buffer | undefined
  constructor (hex?: string) {
    Object.defineProperty(this, '_bsontype', { value: 'ObjectID', configurable: true })
    this[kId] = hex === undefined ? randomBytes() : Buffer.from(hex, 'hex')
  }

  toHexString (): string { return (this[kId] ??= randomBytes()).toString('hex') }
  toString (): string { return this.toHexString() }
  toJSON (): string { return this.toHexString() }
}

/** As in bson 5, of Mongoose 7: `_bsontype` is a getter of the prototype. */
class ObjectIdOfBson5 {
  [kId]: Buffer
  constructor (hex: string) { this[kId] = Buffer.from(hex, 'hex') }
  get _bsontype (): string { return 'ObjectId' }
  toHexString (): string { return this[kId].toString('hex') }
  toString (): string { return this.toHexString() }
  toJSON (): string { return this.toHexString() }
}

/** Like Mongoose's documents: the state is in `$__` and `_doc`, and the model's prototype has getters for it. */
class Document {
  readonly $__ = { activePaths: new Map(), session: new WeakMap() }
  readonly _doc: Record<string, unknown>
  constructor (doc: Record<string, unknown>) { this._doc = doc }
  get _id (): unknown { return this._doc._id }
  get name (): unknown { return this._doc.name }
  set name (name: unknown) { this._doc.name = name }
  toJSON (): object { return { ...this._doc } }
}

const slots = new WeakMap<object, string>()

/** As in polyfills of Temporal: its state is in a WeakMap, and it has no own properties. */
class PlainDate {
  constructor (date: string) { slots.set(this, date) }
  toJSON (): string {
    const date = slots.get(this)
    if (date === undefined) throw new TypeError('invalid receiver')
    return date
  }

  toString (): string { return this.toJSON() }
}

class Money {
  #cents: number
  constructor (cents: number) { this.#cents = cents }
  add (cents: number): void { this.#cents += cents }
  toJSON (): number { return this.#cents }
}

class Cart {
  #items = ['apple']
  add (item: string): void { this.#items.push(item) }
  get items (): string[] { return this.#items }
}

class Point {
  constructor (public x: number, public y: number) {}
  get length (): number { return Math.hypot(this.x, this.y) }
}

class List extends Array<number> { toJSON (): object { return { list: [...this] } } }

class Hidden {
  constructor () { Object.defineProperty(this, 'value', { value: 7, writable: true }) }
  toJSON (): number { return (this as any).value }
}

// Of known types, but with more of their own than a copy has.
const withJson = <T extends object>(value: T, toJSON: (this: T) => unknown): T => Object.assign(value, { toJSON })
const withHiddenJson = <T extends object>(value: T, toJSON: (this: T) => unknown): T => Object.defineProperty(value, 'toJSON', { value: toJSON })

function randomBytes (): Buffer {
  return Buffer.from(Array.from({ length: 12 }, () => Math.floor(Math.random() * 256)))
}

const elsewhere = createContext()
const HEX = '507f1f77bcf86cd799439011'

const VALUES: Record<string, { make: () => any, change?: (value: any) => void, text: (value: any) => string }> = {
  URL: { make: () => new URL('http://shop.example/a'), change: url => url.searchParams.append('page', '2'), text: url => url.href },
  'an id of bson 4': { make: () => new ObjectIdOfBson4(HEX), change: id => { id[kId][0] = 0 }, text: id => id.toHexString() },
  'an id of bson 5': { make: () => new ObjectIdOfBson5(HEX), change: id => { id[kId][0] = 0 }, text: id => id.toHexString() },
  'a plain object with an id of bson 4': {
    make: () => ({ _id: new ObjectIdOfBson4(HEX), name: 'max' }), change: user => { user.name = 'eva' }, text: user => `${user._id} ${user.name}`
  },
  'a list of ids': {
    make: () => [new ObjectIdOfBson4(HEX), new ObjectIdOfBson5(HEX)],
    change: list => { list[1] = new ObjectIdOfBson5(HEX.replace('5', '6')) },
    text: list => list.join()
  },
  'a document': {
    make: () => new Document({ _id: new ObjectIdOfBson4(HEX), name: 'max' }), change: user => { user.name = 'eva' }, text: user => `${user._id} ${user.name}`
  },
  'a document within data': {
    make: () => ({ of: [new Document({ _id: new ObjectIdOfBson5(HEX), name: 'max' })] }),
    change: ({ of: [user] }) => { user.name = 'eva' },
    text: ({ of: [user] }) => `${user._id} ${user.name}`
  },
  'a date of Temporal': { make: () => new PlainDate('2026-05-01'), change: date => { slots.set(date, '2026-05-02') }, text: String },
  'a date of Temporal in a Map': {
    make: () => new Map([['from', new PlainDate('2026-05-01')]]), text: map => String(map.get('from'))
  },
  'private fields with toJSON': { make: () => new Money(150), change: money => money.add(1), text: money => String(money.toJSON()) },
  'private fields without': { make: () => new Cart(), text: cart => cart.items.join() },
  'an instance with properties': { make: () => new Point(3, 4), change: point => { point.x = 0 }, text: point => String(point.length) },
  'a class that extends Array': { make: () => List.from([1, 2]), change: list => list.push(3), text: list => list.join() },
  'a property that is not enumerable': { make: () => new Hidden(), change: hidden => { hidden.value = 8 }, text: hidden => String(hidden.value) },
  'a function with a toJSON, within data': {
    make: () => ({ price: Object.assign(() => {}, { cents: 150, toJSON (this: any): number { return this.cents } }) }),
    change: ({ price }) => { price.cents++ },
    text: ({ price }) => String(price.cents)
  },
  'a plain object whose toJSON hides a password': {
    make: () => withHiddenJson({ id: 1, password: 'secret' }, function () { return { id: this.id } }),
    change: user => { user.id = 2 },
    text: user => `${user.id} ${user.password} ${JSON.stringify(user)}`
  },
  'an object without a prototype whose toJSON hides a password': {
    make: () => withHiddenJson(Object.assign(Object.create(null), { id: 1, password: 'secret' }), function () { return { id: this.id } }),
    change: user => { user.id = 2 },
    text: user => `${user.id} ${user.password} ${JSON.stringify(user)}`
  },
  'a plain object of another realm whose toJSON hides a password': {
    make: () => runInContext("Object.defineProperty({ id: 1, password: 'secret' }, 'toJSON', { value () { return { id: this.id } } })", elsewhere),
    change: user => { user.id = 2 },
    text: user => `${user.id} ${user.password} ${JSON.stringify(user)}`
  },
  'such an object within data': {
    make: () => ({ users: [withHiddenJson({ id: 1, password: 'secret' }, function () { return { id: this.id } })] }),
    change: ({ users: [user] }) => { user.id = 2 },
    text: ({ users: [user] }) => `${user.id} ${user.password} ${JSON.stringify(user)}`
  },
  'a plain object with toJSON and its state under a symbol': {
    make: () => withJson({ [kId]: 5 }, function () { return this[kId] ?? 'made up' }), change: value => { value[kId] = 6 }, text: JSON.stringify
  },
  'a plain object with toJSON and state that is not enumerable': {
    make: () => withJson(Object.defineProperty({} as any, 'value', { value: 7, writable: true }), function () { return this.value ?? 'made up' }),
    change: it => { it.value = 8 },
    text: JSON.stringify
  },
  'an array with toJSON': { make: () => withJson([1, 2], function () { return this.join() }), change: list => list.push(3), text: JSON.stringify },
  'a Date with toJSON': { make: () => withJson(new Date(0), function () { return this.getTime() }), change: date => date.setTime(1), text: JSON.stringify },
  'a Map with toJSON': { make: () => withJson(new Map([[1, 2]]), function () { return [...this] }), change: map => map.set(1, 3), text: JSON.stringify },
  'a Set with toJSON': { make: () => withJson(new Set([1]), function () { return [...this] }), change: set => set.add(2), text: JSON.stringify },
  'a RegExp with toJSON': { make: () => withJson(/x/g, function () { return this.lastIndex }), change: it => { it.lastIndex = 1 }, text: JSON.stringify },
  'a BigInt64Array with toJSON': { make: () => withJson(new BigInt64Array([1n]), function () { return String(this) }), change: list => list.fill(2n), text: JSON.stringify },
  'a Buffer with toJSON': { make: () => withHiddenJson(Buffer.from('a'), function () { return String(this) }), change: buffer => buffer.fill('b'), text: JSON.stringify },
  'an ArrayBuffer with toJSON': {
    make: () => withJson(new ArrayBuffer(1), function () { return [...new Uint8Array(this)] }),
    change: buffer => new Uint8Array(buffer).fill(1),
    text: JSON.stringify
  },
  'what match() returns': { make: () => 'xabcx'.match(/(?<g>b)/), text: match => `${match} ${match.index} ${match.groups.g}` },
  'a Date with a property': { make: () => Object.assign(new Date(0), { zone: 'CET' }), change: date => date.setTime(1), text: date => `${Number(date)} ${date.zone}` },
  'new String()': { make: () => Object('abc'), text: String },
  URLSearchParams: { make: () => new URLSearchParams('a=1'), text: String },
  Error: { make: () => new Error('wrong'), text: String }
}

/** A store that keeps JSON, like most. */
class JsonStore extends ThreeMethodStore {
  get written (): number { return this.writes() }
}

class TouchStore extends JsonStore {
  touch (_sessionId: string, _session: object, callback: Answer): void { callback() }
}

/** Keeps the object that it is given, and answers with the same object. */
class HoldingStore {
  readonly records = new Map<string, any>()
  written = 0
  get (sessionId: string, callback: Answer): void { callback(null, this.records.get(sessionId)) }
  set (sessionId: string, session: object, callback: Answer): void {
    this.written++
    this.records.set(sessionId, session)
    callback()
  }

  destroy (sessionId: string, callback: Answer): void {
    this.records.delete(sessionId)
    callback()
  }
}

/** A MemoryStore that counts writes. */
class CountingStore {
  readonly memory = new MemoryStore()
  written = 0
  readonly store = new Proxy(this.memory, {
    get: (memory, key) => {
      if (key === 'set' || key === 'update') this.written++
      return Reflect.get(memory, key)
    }
  })
}

interface Shop { visitor: Visitor, act: (act: (session: any) => unknown) => Promise<any> }

async function open (t: Test, store: any): Promise<Shop> {
  let task: (session: any) => unknown = () => {}
  // Without rolling, only changes are written.
  const app = await build({ store, saveUninitialized: false, rolling: false, cookie: { maxAge: 600_000 } }, app => {
    app.get('/', async ({ session }) => {
      const said = await task(session)
      return JSON.stringify(said ?? null)
    })
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  return {
    visitor,
    async act (act) {
      task = act
      const { statusCode, body } = await visitor.get('/')
      if (statusCode !== 200) throw new Error(body)
      return JSON.parse(body)
    }
  }
}

for (const [what, { make, change, text }] of Object.entries(VALUES)) {
  for (const Store of [JsonStore, TouchStore]) {
    t.test(`${what}: a ${Store.name} keeps its JSON`, async t => {
      const { act } = await open(t, new Store())
      const value = make()
      await act(session => { session.value = value })
      t.equal(await act(session => JSON.stringify(session.value)), JSON.stringify(make()))
      t.equal(text(value), text(make()), "the handler's own value has not changed")
    })
  }

  for (const makeStore of [() => new CountingStore(), () => new HoldingStore()]) {
    const { name } = makeStore().constructor
    t.test(`${what}: it is returned unchanged, and only changes are written, with a ${name}`, async t => {
      const counting = makeStore()
      const { act } = await open(t, 'store' in counting ? counting.store : counting)
      const value = make()
      await act(session => { session.value = value })
      const { written } = counting
      t.equal(await act(session => text(session.value)), text(make()))
      t.equal(await act(session => session.value.constructor === make().constructor), true)
      t.equal(counting.written, written, 'reading it writes nothing')
      await act(session => { Object.assign(session, { value: session.value }) })
      t.equal(counting.written, written, 'setting it to the same value writes nothing')
      if (change === undefined) return
      const changed = make()
      change(changed)
      await act(session => { change(session.value) })
      t.equal(counting.written, written + 1, 'a change inside is found')
      t.equal(await act(session => text(session.value)), text(changed))
      t.equal(counting.written, written + 1)
    })

    if (change === undefined) continue
    t.test(`${what}: a change inside it after save() is found, with a ${name}`, async t => {
      const counting = makeStore()
      const { act } = await open(t, 'store' in counting ? counting.store : counting)
      await act(async session => {
        session.value = make()
        await session.save()
        const { written } = counting
        t.equal(session.isModified(), false)
        change(session.value)
        t.equal(session.isModified(), true)
        t.equal(counting.written, written)
      })
      const changed = make()
      change(changed)
      t.equal(await act(session => text(session.value)), text(changed))
    })
  }

  if (change === undefined) continue
  t.test(`${what}: a change inside it after save() is found, with a store that keeps JSON`, async t => {
    const store = new JsonStore()
    const { act } = await open(t, store)
    await act(async session => {
      session.value = make()
      await session.save()
      change(session.value)
    })
    const changed = make()
    change(changed)
    t.equal(await act(session => JSON.stringify(session.value)), JSON.stringify(changed))
    t.equal(store.written, 2)
  })
}

t.test('of several such values that a request reads, a change of any one is saved', async t => {
  for (const name of ['first', 'second', 'third']) {
    const counting = new CountingStore()
    const { act } = await open(t, counting.store)
    await act(session => Object.assign(session, { first: new Point(1, 1), second: new Point(2, 2), third: new Point(3, 3) }))
    const { written } = counting
    await act(({ first, second, third }) => { Object.assign({ first, second, third }[name], { x: 9 }) })
    t.equal(counting.written, written + 1, name)
  }
})

t.test('a new value in place of an old one is saved, although JSON shows no difference', async t => {
  class Secret { readonly #text: string; constructor (text: string) { this.#text = text } get text (): string { return this.#text } }
  const buffer = (n: number): ArrayBuffer => new Uint8Array([n]).buffer
  function inner (this: any): unknown { return this.inner }
  function byN (this: any): unknown { return this.n }
  const KINDS: Record<string, [make: (n: number) => any, read: (value: any) => unknown]> = {
    'an error': [n => new Error(String(n)), error => error.message],
    'private fields': [n => new Secret(String(n)), secret => secret.text],
    'private fields with toJSON': [n => new Money(n), money => money.toJSON()],
    'state that is not enumerable': [
      n => Object.defineProperty({ toJSON: inner }, 'inner', { value: n }), value => value.inner
    ],
    'a list with its own toJSON': [n => Object.assign([], { n, toJSON: byN }), list => list.n],
    'a Map with its own toJSON': [n => Object.assign(new Map(), { n, toJSON: byN }), map => map.n],
    'a Map with a property of its own': [n => Object.assign(new Map(), { n }), map => map.n],
    'a match at another place': [n => `${' '.repeat(n)}x`.match('x'), match => match.index],
    'an ArrayBuffer': [buffer, bytes => new Uint8Array(bytes)[0]],
    'a DataView': [n => new DataView(buffer(n)), view => view.getUint8(0)],
    'within an object': [n => ({ list: [new Secret(String(n))] }), ({ list: [secret] }) => secret.text],
    'in a Map': [n => new Map([['it', new Secret(String(n))]]), map => map.get('it').text]
  }
  for (const [name, [make, read]] of Object.entries(KINDS)) {
    const counting = new CountingStore()
    const { act } = await open(t, counting.store)
    for (const n of [1, 2]) {
      await act(session => { session.value = make(n) })
      const { written } = counting
      t.equal(String(await act(session => read(session.value))), String(n), name)
      t.equal(counting.written, written, `${name}: reading it writes nothing`)
    }
  }
})

t.test('a function or a symbol alone is not a change', async t => {
  for (const make of [() => () => 1, () => Symbol('s')]) {
    const counting = new CountingStore()
    const { act } = await open(t, counting.store)
    await act(session => { session.user = 'max' })
    const { written } = counting
    for (let i = 0; i < 2; i++) t.equal(await act(session => { session.helper = make(); return session.isModified() }), false)
    t.equal(counting.written, written)
    await act(session => { session.user = make() })
    t.equal(counting.written, written + 1, 'but it may take the place of a value')
    const store = new MemoryStore()
    const other = await open(t, store)
    await other.act(session => { session.helper = make() })
    t.equal(store.store.size, 0)
  }
})

t.test('a value with the same JSON does not count as changed', async t => {
  const date = new Date('2026-05-01')
  const values: Record<string, () => unknown> = {
    'a date': () => new Date(date),
    'a URL': () => new URL('http://shop.example/'),
    'an id': () => new ObjectIdOfBson4(HEX),
    'a document': () => new Document({ _id: new ObjectIdOfBson5(HEX), list: [1, { date }] }),
    'a date of Temporal': () => new PlainDate('2026-05-01'),
    'an instance': () => new Point(1, 2),
    'an object with undefined': () => ({ a: 1, b: undefined }),
    'a list with undefined': () => [1, undefined],
    'a plain object': () => ({ a: { b: [1, { c: 'x' }] } })
  }
  for (const [what, make] of Object.entries(values)) {
    const store = new JsonStore()
    const { act } = await open(t, store)
    await act(session => { session.value = make() })
    t.equal(store.written, 1)
    await act(session => { session.value = make() })
    await act(session => { session.value = JSON.parse(JSON.stringify(session.value)) })
    t.equal(store.written, 1, what)
  }
})

t.test('a difference that JSON does not show counts as a change', async t => {
  const pairs: Record<string, [unknown, unknown]> = {
    'two Maps': [new Map([['a', 1]]), new Map([['a', 2]])],
    'two Sets': [new Set([1]), new Set([2])],
    'two patterns': [/a/, /b/],
    'NaN and null': [{ n: NaN }, { n: null }],
    'a Map and an object': [new Map(), {}]
  }
  for (const [what, [before, after]] of Object.entries(pairs)) {
    const counting = new CountingStore()
    const { act } = await open(t, counting.store)
    await act(session => { session.value = before })
    const { written } = counting
    await act(session => { session.value = after })
    t.equal(counting.written, written + 1, what)
  }
})

t.test('a value whose toJSON() or getters throw is returned unchanged', async t => {
  class Shy { toJSON (): never { throw new Error('private') } }
  const secret = { enumerable: true, get () { throw new Error('private') } }
  const makes: Record<string, (n: number) => object> = {
    'its JSON': n => Object.assign(new Shy(), { n }),
    'its properties': n => Object.assign(Object.defineProperty(new Shy(), 'secret', secret), { n })
  }
  for (const [what, make] of Object.entries(makes)) {
    const counting = new CountingStore()
    const { act } = await open(t, counting.store)
    await act(session => { session.value = make(1) })
    const { written } = counting
    t.equal(await act(session => session.value.n), 1, what)
    t.equal(counting.written, written, 'reading it writes nothing')
    await act(session => { session.value = make(2) })
    t.equal(counting.written, written + 1, 'another value counts as a change')
    t.equal(await act(session => session.value.n), 2)
  }
})

// --- Dates that aren't of this realm's Date

const ElsewhereDate = runInNewContext('Date') as DateConstructor

for (const makeStore of [() => new MemoryStore(), () => new JsonStore(), () => new TouchStore(), () => new HoldingStore()]) {
  const { name } = makeStore().constructor
  t.test(`dates of another realm are treated as dates: ${name}`, async t => {
    const { act, visitor } = await open(t, makeStore())
    const end = new ElsewhereDate(Date.now() + 3_600_000)
    await act(session => {
      session.since = new ElsewhereDate(5)
      session.list = [new ElsewhereDate(6)]
      session.cookie.expires = end
    })
    t.match(await act(session => JSON.stringify([session.since, session.list])), '["1970-01-01T00:00:00.005Z",["1970-01-01T00:00:00.006Z"]]')
    t.equal(await act(session => session.cookie.expires.getTime()), end.getTime())
    t.equal(visitor.cookies.size, 1)
    const { isModified, setTime } = await act(session => {
      const isModified = session.isModified()
      if (typeof session.list[0] === 'object') session.list[0].setTime(7)
      return { isModified, setTime: typeof session.list[0] === 'object' && session.isModified() }
    })
    t.equal(isModified, false)
    t.equal(setTime, name === 'MemoryStore' || name === 'HoldingStore')
  })

  for (const [clock, makeClock] of Object.entries({ Vitest: vitestClock, 'Jest and Sinon': sinonClock })) {
    t.test(`dates under the fake clock of ${clock} are treated as dates, and sessions end by that clock: ${name}`, async t => {
      const { act } = await open(t, makeStore())
      const RealDate = globalThis.Date
      const fake = makeClock(RealDate)
      t.teardown(() => { globalThis.Date = RealDate })
      globalThis.Date = fake.Date
      await act(session => { session.since = new Date(5) })
      t.equal(await act(session => JSON.stringify(session.since)), '"1970-01-01T00:00:00.005Z"')
      await act(session => { session.since = new Date(6) })
      t.equal(await act(session => JSON.stringify(session.since)), '"1970-01-01T00:00:00.006Z"')
      fake.pass(599_000)
      t.equal(await act(session => session.since !== undefined), true)
      fake.pass(600_001)
      t.equal(await act(session => session.since === undefined), true, 'it has expired by the fake clock')
    })
  }
}

interface Clock { Date: DateConstructor, pass: (milliseconds: number) => void }

/** As in Vitest: a class that extends Date. */
function vitestClock (RealDate: DateConstructor): Clock {
  let now = RealDate.now()
  class MockDate extends RealDate {
    constructor (...args: []) {
      super(...(args.length === 0 ? [now] as unknown as [] : args))
    }

    static override now (): number { return now }
  }
  return { Date: MockDate as DateConstructor, pass: milliseconds => { now += milliseconds } }
}

/** As in Sinon, which Jest uses: a function that looks like Date and makes instances of the real Date. */
function sinonClock (RealDate: DateConstructor): Clock {
  let now = RealDate.now()
  function ClockDate (this: unknown, ...args: []): unknown {
    if (!(this instanceof ClockDate)) return new RealDate(now).toString()
    const date = args.length === 0 ? new RealDate(now) : new RealDate(...args)
    return Object.setPrototypeOf(date, ClockDate.prototype)
  }
  ClockDate.prototype = Object.create(RealDate.prototype, { constructor: { value: ClockDate, writable: true } })
  Object.defineProperty(ClockDate, 'name', { value: 'Date' })
  Object.assign(ClockDate, { now: () => now, UTC: RealDate.UTC, parse: RealDate.parse })
  return { Date: ClockDate as unknown as DateConstructor, pass: milliseconds => { now += milliseconds } }
}
