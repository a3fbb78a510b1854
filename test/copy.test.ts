import { runInNewContext } from 'node:vm'
import t from 'tap'
import { copy, copyWhole } from '../src/values/copy'

t.test('a copy equals the original and shares nothing with it', t => {
  const original = {
    text: 'x',
    n: 1n,
    nothing: null,
    missing: undefined,
    list: [{ a: 1 }, [2]],
    date: new Date(0),
    map: new Map<unknown, unknown>([[{ key: 1 }, { value: 1 }]]),
    set: new Set([{ item: 1 }]),
    buffer: Buffer.from('abc'),
    bytes: new Uint16Array([1, 2]),
    raw: new ArrayBuffer(2),
    pattern: /x/gi,
    bare: Object.assign(Object.create(null), { a: {} })
  }
  const result = copy(original)
  t.strictSame(result, original)
  for (const key of ['list', 'date', 'map', 'set', 'buffer', 'bytes', 'raw', 'pattern', 'bare'] as const) {
    t.not(result[key], original[key], key)
  }
  t.not(result.list[0], original.list[0])
  t.not([...result.map.keys()][0], [...original.map.keys()][0])
  t.not([...result.map.values()][0], [...original.map.values()][0])
  t.not([...result.set][0], [...original.set][0])
  t.not(result.bare.a, original.bare.a)
  t.equal(Object.getPrototypeOf(result.bare), null)
  t.ok(Buffer.isBuffer(result.buffer))
  t.end()
})

t.test('what is not plain data is not copied, because a copy may miss part of its state', t => {
  class Cart {
    #items = ['apple']
    get size (): number { return this.#items.length }
  }
  class List extends Array {}
  const ownList = Object.setPrototypeOf([1], Object.create(Array.prototype))
  const values = [new Cart(), ownList, new SharedArrayBuffer(1), new URL('http://shop.example/'), List.from([1]), Object('text'), new Error('wrong'), new WeakMap()]
  for (const value of values) t.equal(copy({ value }).value, value)
  t.same(copyWhole({ url: new URL('http://shop.example/') }).isWhole, false)
  t.same(copyWhole({ list: [new Date(), { a: 1 }] }).isWhole, true)
  t.end()
})

t.test('a value of a known type with more of its own than a copy has is passed on itself', t => {
  const symbol = Symbol('s')
  const KINDS: Record<string, () => object> = {
    Date: () => new Date(0),
    Map: () => new Map([[1, 2]]),
    Set: () => new Set([1]),
    RegExp: () => /x/g,
    ArrayBuffer: () => new ArrayBuffer(2),
    Buffer: () => Buffer.from('abc'),
    'typed array': () => new Float64Array(2),
    DataView: () => new DataView(new ArrayBuffer(2)),
    array: () => [1],
    'plain object': () => ({ a: 1 }),
    'object without a prototype': () => Object.assign(Object.create(null), { a: 1 }),
    'array of another realm': () => runInNewContext('[1]'),
    'plain object of another realm': () => runInNewContext('({ a: 1 })')
  }
  const isByItself = (value: object): boolean => {
    const { result, isWhole } = copyWhole({ value })
    return result.value === value && !isWhole
  }
  for (const [kind, make] of Object.entries(KINDS)) {
    t.notOk(isByItself(make()), kind)
    t.ok(isByItself(Object.assign(make(), { toJSON: () => 1 })), `${kind} with toJSON`)
    t.ok(isByItself(Object.defineProperty(make(), 'toJSON', { value: () => 1 })), `${kind} with a hidden toJSON`)
    if (/array of|^array|object/.test(kind)) continue
    t.ok(isByItself(Object.assign(make(), { [symbol]: 1 })), `${kind} with a symbol`)
    if (/Buffer$|^typed|View/.test(kind)) continue
    t.ok(isByItself(Object.assign(make(), { more: 1 })), `${kind} with a property`)
    t.ok(isByItself(Object.defineProperty(make(), 'more', { value: 1 })), `${kind} with a hidden property`)
  }
  t.ok(isByItself('xab'.match(/(?<g>b)/) as object), 'a match')
  t.ok(isByItself(Object.assign(/x/g, { lastIndex: 1 })), 'a RegExp in the middle of a search')
  t.end()
})

t.test('data called toJSON are data', t => {
  const original = { toJSON: { a: 1 }, list: [{ toJSON: 'x' }, { toJSON: null }] }
  const { result, isWhole } = copyWhole(original)
  t.ok(isWhole)
  t.strictSame(result, original)
  t.not(result.toJSON, original.toJSON)
  t.end()
})

t.test('a toJSON that throws is not called, and neither are getters beside it', t => {
  const value = { get broken (): never { throw new Error('broken') }, toJSON (): never { throw new Error('called') } }
  t.equal(copy({ value }).value, value)
  t.end()
})

t.test('dates and plain objects of other realms are copied, and so are dates of a test clock that replaces Date', t => {
  const elsewhere = runInNewContext('({ date: new Date(5), object: { a: [1] }, bare: Object.create(null) })')
  const result = copy(elsewhere)
  t.strictSame(result.date, new Date(5))
  t.strictSame(result.object, { a: [1] })
  t.not(result.object.a, elsewhere.object.a)
  const { Date: RealDate } = globalThis
  // As Vitest does.
  class MockDate extends RealDate {}
  globalThis.Date = MockDate as DateConstructor
  t.teardown(() => { globalThis.Date = RealDate })
  const date = new Date(7)
  const copied = copy({ date }).date
  t.not(copied, date)
  t.equal(copied.getTime(), 7)
  t.ok(copied instanceof MockDate)
  // As Sinon and Jest do: an instance whose constructor is called Date.
  const sinon = Object.defineProperty(new MockDate(8), 'constructor', { value: RealDate })
  t.not(copy({ sinon }).sinon, sinon)
  t.end()
})

t.test('circular references are kept', t => {
  const circle: Record<string, unknown> = { list: [], map: new Map(), set: new Set() }
  circle.self = circle
  ;(circle.list as unknown[]).push(circle)
  ;(circle.map as Map<unknown, unknown>).set('self', circle)
  ;(circle.set as Set<unknown>).add(circle)
  const result = copy(circle)
  t.equal(result.self, result)
  t.equal((result.list as unknown[])[0], result)
  t.equal((result.map as Map<unknown, unknown>).get('self'), result)
  t.ok((result.set as Set<unknown>).has(result))
  t.end()
})

t.test('an own __proto__ key, which JSON can have, is left out and does not become the prototype', t => {
  const result = copy(JSON.parse('{"a":1,"__proto__":{"isAdmin":true},"nested":{"__proto__":{"isAdmin":true}}}'))
  t.strictSame(result, { a: 1, nested: {} })
  t.equal(result.isAdmin, undefined)
  t.equal(result.nested.isAdmin, undefined)
  const bare = copy(Object.defineProperty(Object.create(null), '__proto__', { value: { a: 1 }, enumerable: true }))
  t.same(Reflect.ownKeys(bare), [])
  t.same(Reflect.ownKeys(copy(JSON.parse('{"__proto__":1,"b":2}'))), ['b'])
  t.end()
})

t.test('a copy that failed does not affect the next one', t => {
  const inner = { list: [1], get broken (): never { throw new Error('broken') } }
  const outer = { inner }
  t.throws(() => copy({ outer }), 'broken')
  Object.defineProperty(inner, 'broken', { value: 'mended', enumerable: true })
  t.strictSame(copy({ other: outer }), { other: { inner: { list: [1], broken: 'mended' } } })
  t.end()
})
