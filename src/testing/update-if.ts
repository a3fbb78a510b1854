/** Tests of a store's `updateIf`, if it has one. */
import { has } from '../stores/methods'
import { cookieOf, timeIn } from '../values/record'
import type { SessionStore } from '../types/store'
import { HOUR, MINUTE, timed, type OpenStore, type TestContext } from './context'
import { ask, changesOf, find, live, ODD_KEYS, ODD_VALUES } from './contract'
import { ok, same } from './mend'
import { dataOf } from './site'

const ABSENT = Symbol('absent')

// Pairs of values, before and after another request, that a careless comparison treats as the same.
const CHANGED: Array<[before: unknown, after: unknown]> = [
  [null, ABSENT], [ABSENT, null], ['', ABSENT], [ABSENT, ''], [0, ''], [0, false], [1, '1'], [null, 'null'], [false, null],
  [[], {}], [['a'], ['a', 'b']], [['a', 'b'], ['b', 'a']], [{ a: 1 }, { a: 1, b: 2 }], [{ a: { b: [1] } }, { a: { b: [2] } }],
  ['a', 'A'], ['a', 'a '], ['é', 'e\u0301']
]

/** The condition of `updateIf`, in messages. */
const IS_AS = 'as in the record that get() returned'

export async function testUpdateIf (t: TestContext, openStore: OpenStore): Promise<void> {
  let isThere = false
  await t.test('has no updateIf without update', async t => {
    const { store } = await openStore(t)
    isThere = has(store, 'updateIf')
    ok(!isThere || has(store, 'update'), 'updateIf() is only used if the store has update(): add that')
  })
  if (!isThere) return

  await t.test('updateIf applies the changes and the expiry, as update does', async t => {
    const { store, pass } = await timed(t, openStore)
    await ask(store, 'set', 'a', live({ n: 1, old: 1, other: 1 }, MINUTE, HOUR))
    const record = await recordOf(store)
    await ask(store, 'update', 'a', changesOf({ other: 2 }), live({}, MINUTE))
    const changes = { ...changesOf({ n: 2 }, 'old'), meta: { set: { seenAt: 9 }, unset: [] } }
    same(await ask(store, 'updateIf', 'a', record, ['n', 'old', 'none'], changes, live({}, HOUR)), 'written', `updateIf() must answer with 'written' if the keys are ${IS_AS}; others may have changed`)
    const stored = await find(store, 'a') as any
    same(dataOf(stored), { n: 2, other: 2 }, 'updateIf() must apply set and unset to the stored session')
    same(cookieOf(stored).seenAt, 9, 'updateIf() must apply changes.meta to the fields under cookie')
    ok(timeIn(stored.cookie.expires) > Date.now() + HOUR / 2, 'updateIf() must move the end as update() does')
    await pass(2 * MINUTE)
    ok(await find(store, 'a'), 'updateIf() did not move the end, as it must if session.cookie.expires is later')
  })

  await t.test('updateIf recognizes all kinds of unchanged keys and values', async t => {
    const { store } = await openStore(t)
    const data = { ...ODD_VALUES, ...ODD_KEYS, '\u0000key': 1, toString: 2 }
    await ask(store, 'set', 'a', live(data))
    for (const key of [...Object.keys(data), 'valueOf', 'none', '']) {
      same(await updateIf(store, await recordOf(store), [key]), 'written', `updateIf() must answer with 'written' if '${key}' is ${IS_AS}`)
    }
  })

  await t.test('updateIf writes nothing if a key has changed', async t => {
    const { store } = await openStore(t)
    for (const [before, after] of CHANGED) {
      const text = [before, after].map(value => value === ABSENT ? 'nothing' : JSON.stringify(value)).join(' became ')
      const data = (value: unknown): object => ({ other: 1, ...value !== ABSENT && { key: value } })
      await ask(store, 'set', 'a', live({ ...data(before) }))
      const record = await recordOf(store)
      await ask(store, 'update', 'a', after === ABSENT ? changesOf({}, 'key') : changesOf({ key: after }), live({}))
      same(await updateIf(store, record, ['other', 'key']), 'changed', `updateIf() must answer with 'changed' if ${text}: compare exactly, and do not treat a missing key as null`)
      same(dataOf(await find(store, 'a')), data(after), "updateIf() must write nothing if it answers 'changed'")
    }
  })

  await t.test('updateIf never creates a session', async t => {
    const { store, pass } = await timed(t, openStore)
    await ask(store, 'set', 'a', live({}, MINUTE))
    const record = await recordOf(store)
    await ask(store, 'destroy', 'a')
    same(await updateIf(store, record, ['key']), 'gone', "updateIf() must answer with 'gone' if there is no such session")
    ok(!await find(store, 'a'), 'updateIf() must not create a session: a visitor who logged out would be logged in again')
    await ask(store, 'set', 'a', live({}, MINUTE))
    await pass(2 * MINUTE)
    same(await updateIf(store, record, ['key']), 'gone', "updateIf() must answer with 'gone' if the session has expired")
  })

  await t.test('of simultaneous calls with the same record, only one writes', async t => {
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', live({ state: 'x' }))
    const record = await recordOf(store)
    const answers = await Promise.all(Array.from({ length: 20 }, async (_, i) =>
      await ask(store, 'updateIf', 'a', record, ['state'], changesOf({ [`key${i}`]: 1 }, 'state'), live({}))))
    same(answers.sort().join(), [...Array(19).fill('changed'), 'written'].join(), 'updateIf() must compare and write in one step: in a transaction, a script or one statement')
    same(Object.keys(dataOf(await find(store, 'a'))).length, 1, "updateIf() must write nothing if it answers 'changed'")
  })
}

/** Loads a record as the library does. */
async function recordOf (store: SessionStore): Promise<unknown> {
  return await ask(store, has(store, 'inspect') ? 'inspect' : 'get', 'a')
}

async function updateIf (store: SessionStore, record: unknown, keys: readonly string[]): Promise<unknown> {
  return await ask(store, 'updateIf', 'a', record, keys, changesOf({ written: 1 }), live({}, MINUTE))
}
