import t from 'tap'
import { Draft } from '../src/values/draft'
import { applyChanges } from '../src/values/record'

t.test('reading an object changes nothing and does not touch the record', t => {
  const record = { user: { name: 'max' }, n: 1 }
  const draft = new Draft(record)
  t.same(draft.get('user'), { name: 'max' })
  t.not(draft.get('user'), record.user)
  t.equal(draft.get('user'), draft.get('user'), 'one copy for each request')
  t.equal(draft.get('n'), 1)
  t.equal(draft.isChanged(), false)
  t.same(draft.changes(), { set: {}, unset: [] })
  t.end()
})

t.test('a nested change is found, and only its key counts as changed', t => {
  const record = { a: { list: [1] }, b: { list: [1] } }
  const draft = new Draft(record)
  ;(draft.get('a') as typeof record.a).list.push(2)
  draft.get('b')
  t.same(draft.changes(), { set: { a: { list: [1, 2] } }, unset: [] })
  t.same(record.a.list, [1], 'the record is as the store returned it')
  t.end()
})

t.test('changes in a Date, a Map and a Set are found', t => {
  const record = { date: new Date(0), map: new Map([['a', 1]]), tags: new Set([1]) }
  const draft = new Draft(record)
  ;(draft.get('date') as Date).setTime(1)
  ;(draft.get('map') as Map<string, number>).set('a', 2)
  ;(draft.get('tags') as Set<number>).add(2)
  t.same(Object.keys(draft.changes().set).sort(), ['date', 'map', 'tags'])
  t.equal(record.date.getTime(), 0)
  t.equal(record.map.get('a'), 1)
  t.end()
})

t.test('a Buffer is copied as a Buffer', t => {
  const record = { token: Buffer.from('abc') }
  const draft = new Draft(record)
  t.ok(Buffer.isBuffer(draft.get('token')))
  t.not(draft.get('token'), record.token)
  t.equal(draft.isChanged(), false)
  t.end()
})

t.test('reading a circular value changes nothing, and a change in it is found', t => {
  const circle: Record<string, unknown> = {}
  circle.self = circle
  const draft = new Draft({ circle })
  const read = draft.get('circle') as typeof circle
  t.equal(read.self, read)
  t.equal(draft.isChanged(), false)
  read.more = 1
  t.equal(draft.isChanged(), true)
  t.end()
})

t.test('setting a value to what it was before is not a change', t => {
  const draft = new Draft({ a: { b: 1 } })
  draft.set('a', { b: 1 })
  t.equal(draft.isChanged(), false)
  t.end()
})

t.test('a key is removed by delete, and by setting it to undefined', t => {
  const draft = new Draft({ a: 1, b: 2 })
  draft.delete('a')
  draft.set('b', undefined)
  draft.set('never there', undefined)
  draft.delete('nor that')
  t.equal(draft.has('a'), false)
  t.equal(draft.get('a'), undefined)
  t.same(draft.changes().unset.slice().sort(), ['a', 'b'])
  t.same(draft.changes().set, {})
  t.end()
})

t.test('a key that was deleted and set again is set', t => {
  const draft = new Draft({ a: 1 })
  draft.delete('a')
  draft.set('a', 2)
  t.same(draft.changes(), { set: { a: 2 }, unset: [] })
  t.same(draft.keys(), ['a'])
  t.end()
})

t.test('later changes are compared with what was saved', t => {
  const cart = ['apple']
  const draft = new Draft({ old: 1, gone: 1 })
  draft.set('cart', cart)
  draft.delete('gone')
  draft.rebase(draft.changes())
  t.equal(draft.isChanged(), false)
  t.equal(draft.has('gone'), false)
  t.same(draft.keys(), ['old', 'cart'])
  cart.push('pear')
  t.same(draft.changes(), { set: { cart: ['apple', 'pear'] }, unset: [] }, 'the handler\'s own object is not what was saved')
  draft.delete('cart')
  t.same(draft.changes(), { set: {}, unset: ['cart'] })
  draft.set('gone', 2)
  t.same(draft.changes().set, { gone: 2 })
  t.end()
})

t.test("the session's own names are not data, wherever they come from", t => {
  const record = JSON.parse('{"__proto__":{"admin":true},"sessionId":"x","save":1,"cookie":{},"ok":1}')
  const draft = new Draft(record)
  t.same(draft.keys(), ['ok'])
  t.same(draft.toObject(), { ok: 1 })
  t.equal(draft.get('__proto__'), undefined)
  t.equal(draft.get('constructor'), undefined)
  for (const key of ['__proto__', 'cookie', 'save']) {
    t.throws(() => draft.set(key, 1), { code: 'FST_ERR_SESSION_RESERVED_KEY' })
    t.throws(() => draft.delete(key), { code: 'FST_ERR_SESSION_RESERVED_KEY' })
  }
  t.end()
})

t.test('applyChanges makes a new record', t => {
  const record = { a: 1, b: 2 }
  const changes = { set: { c: 3 }, unset: ['a'], meta: { set: {}, unset: [] } }
  t.same(applyChanges(record, changes, undefined), { b: 2, c: 3, cookie: {} })
  t.same(record, { a: 1, b: 2 })
  t.end()
})
