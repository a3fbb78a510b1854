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
