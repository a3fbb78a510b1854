/** Tests of the store itself: its methods and their effects. */
import { setImmediate } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { has, hasIndex } from '../stores/methods'
import { cookieOf, timeIn } from '../values/record'
import { StoredSession } from '../values/stored-session'
import type { SessionChanges, SessionRecord, SessionStore } from '../types/store'
import { HOUR, MINUTE, recordIntervals, timed, type OpenStore, type TestContext } from './context'
import { ok, same } from './mend'
import type { Findings } from './promises'
import { dataOf } from './site'

// No store takes this long, even on a busy machine.
const PATIENCE = 10_000
const OPTIONAL_METHODS = ['touch', 'update', 'getAndTouch', 'inspect'] as const

type AnyStore = Record<string, ((...args: any[]) => any) | undefined>

// Data that a store may break if it is careless with keys, text or size.
export const ODD_KEYS = { a: { b: 1 }, 'a.b': 2, '$set.a': 3, "it's": 4, '"; --': 5, '{}': 6, ' ': 7, 7: 8, Größe: 9, 鍵: 10 }
export const ODD_VALUES = {
  text: 'ü ß € 日本語 👩‍👩‍👧 \u2028 \u0000 \\ " \' %',
  empty: '',
  list: [],
  object: {},
  lists: [[], {}, [{}]],
  numbers: [0, -1, 0.1, 1e21, Number.MAX_SAFE_INTEGER],
  no: false,
  nothing: null,
  nested: { deep: { deeper: [{ n: 1 }] } }
}
const LARGE = { large: 'x'.repeat(70_000), wide: '鍵'.repeat(70_000) }
// Ids that a careless comparison confuses: one that ignores case, or compares a prefix or a pattern.
const ALIKE = ['a', 'A', 'ab', 'a ', 'a_b', 'axb', 'a%', 'a*', 'a?b', `${'l'.repeat(42)}1`, `${'l'.repeat(42)}2`]

export async function testContract (t: TestContext, findings: Findings, openStore: OpenStore): Promise<void> {
  const promises = findings.declared
  const methods = await expectMethods(t, findings, openStore)

  await t.test('answers with nothing for a session that does not exist', async t => {
    const { store } = await openStore(t)
    same(await find(store, 'nobody') ?? undefined, undefined, 'get() of a session that does not exist must answer with undefined or null')
    await ask(store, 'destroy', 'nobody')
    ok(!await find(store, 'nobody'), 'destroy() of a session that does not exist must not create one')
  })

  await t.test('returns the data that were set, and the cookie', async t => {
    const { store } = await openStore(t)
    const session = live({ user: { name: 'max', tags: ['a', 'b'] }, n: 0, no: false, nothing: null, text: 'ü\u0000' })
    await ask(store, 'set', 'a', session)
    const stored = await find(store, 'a') as any // a store may return it in any form
    same(dataOf(stored), dataOf(session), 'get() must answer with the data that set() received: JSON.stringify(session) contains them')
    // Attributes such as path need not be kept, because the configuration decides them.
    const { expires, originalMaxAge } = cookieOf(stored)
    const advice = 'get() must answer with the cookie that set() received, under cookie'
    same([timeIn(expires), originalMaxAge], [session.cookie.expires?.getTime(), HOUR], advice)
    same(fieldsOf(stored), fieldsOf(session), 'set() must write all fields of the cookie, including those that it does not know')
  })

  await t.test('set replaces the whole session', async t => {
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', live({ old: 1 }))
    await ask(store, 'set', 'a', live({ new: 1 }))
    same(dataOf(await find(store, 'a')), { new: 1 }, 'set() must replace the stored session')
  })

  for (const [what, data, advice] of [
    ['keys', ODD_KEYS, 'keys are any text: escape those that your database treats as paths or operators, or store the record as JSON'],
    ['values', ODD_VALUES, 'values are any JSON, and text is any Unicode: store UTF-8'],
    ['values of more than 64 KB', LARGE, 'a session may be larger than 64 KB: use a type without that limit (MEDIUMTEXT, JSONB)']
  ] as const) {
    await t.test(`keeps ${what} as they are`, async t => {
      const { store } = await openStore(t)
      await ask(store, 'set', 'a', live(data))
      same(dataOf(await find(store, 'a')), data, `set(): ${advice}`)
      if (promises.updates !== true) return
      await ask(store, 'set', 'b', live({ n: 1 }))
      await ask(store, 'update', 'b', changesOf(data), live({}))
      same(dataOf(await find(store, 'b')), { n: 1, ...data }, `update(): ${advice}`)
      await ask(store, 'update', 'b', changesOf({}, ...Object.keys(data)), live({}))
      same(dataOf(await find(store, 'b')), { n: 1 }, `update() must remove the keys in unset: ${advice}`)
    })
  }

  await t.test('keeps sessions apart', async t => {
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', live({ user: 'max' }))
    await ask(store, 'set', 'b', live({ user: 'eva' }))
    await ask(store, 'destroy', 'a')
    ok(!await find(store, 'a'), 'destroy() left the session in the store')
    same(dataOf(await find(store, 'b')), { user: 'eva' }, 'destroy() must remove only this session')
  })

  await t.test('keeps sessions with similar ids apart', async t => {
    const { store } = await openStore(t)
    const advice = 'ids must be compared whole and exactly: with case, without patterns'
    for (const sessionId of ALIKE) await ask(store, 'set', sessionId, live({ id: sessionId }))
    for (const [i, sessionId] of ALIKE.entries()) {
      await ask(store, 'destroy', sessionId)
      for (const id of ALIKE.slice(i + 1)) same(dataOf(await find(store, id) ?? {}).id, id, `after destroy('${sessionId}') ${advice}`)
    }
  })

  await t.test(findings.title('copies', 'keeps what was set, even if the object changes', 'keeps the object that it was given'), async t => {
    const { store } = await openStore(t)
    const cart = ['apple']
    const session = live({ cart })
    const expires = session.cookie.expires?.getTime()
    await ask(store, 'set', 'a', session)
    cart.push('pear')
    session.cookie.expires?.setTime(Date.now() + 2 * HOUR)
    Object.assign(session, { other: 1 })
    const stored = await find(store, 'a') as any // a store may return it in any form
    const isKept = isDeepStrictEqual(dataOf(stored), { cart: ['apple'] }) && new Date(stored.cookie.expires).getTime() === expires
    findings.note('copies', isKept)
  })

  await t.test(findings.title('onlyYours', 'adds nothing to the data', 'adds a key of its own to the data'), async t => {
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', live({ user: 'max' }))
    findings.note('onlyYours', Object.keys(await find(store, 'a') ?? {}).sort().join() === 'cookie,user')
  })

  await t.test(findings.title('dates', 'keeps a Date', 'turns a Date into its ISO string'), async t => {
    const { store } = await openStore(t)
    const date = new Date('2024-02-29T12:00:00.123Z')
    await ask(store, 'set', 'a', live({ date }))
    const { date: stored } = dataOf(await find(store, 'a'))
    findings.note('dates', stored instanceof Date)
    same(stored, promises.dates ? date : date.toISOString(), 'a Date must come back as a Date, or as its ISO string')
  })

  await t.test(findings.title('expires', 'does not return a session that has expired', 'leaves the expiry to the library'), async t => {
    const { store, pass } = await timed(t, openStore)
    await ask(store, 'set', 'a', live({ user: 'max' }, MINUTE))
    await pass(MINUTE - 5000)
    ok(await find(store, 'a'), 'set() must keep the session until session.cookie.expires')
    await pass(10_000)
    findings.note('expires', await find(store, 'a') == null)
  })

  await t.test('keeps a session without expiry', async t => {
    const { store, pass } = await timed(t, openStore)
    await ask(store, 'set', 'a', live({ user: 'max' }, null))
    await pass(HOUR / 2)
    same(dataOf(await find(store, 'a') ?? {}), { user: 'max' }, 'set() must keep a session whose cookie.expires is null for at least a day')
    await pass(25 * HOUR)
    findings.note('waits', await find(store, 'a') != null)
  })

  await t.test('answers each call once', async t => {
    const { store } = await openStore(t)
    const answers = new Set<string>()
    const record = async (method: string, ...args: unknown[]): Promise<void> => {
      await asking(store, method, args, () => { answers.add(`${method}()`) }).catch(orNothing)
    }
    for (const sessionId of ['a', 'nobody']) {
      if (sessionId === 'a') await record('set', 'a', live({ user: 'max' }))
      await record('get', sessionId)
      for (const method of OPTIONAL_METHODS) if (has(store, method)) await record(method, sessionId, ...{ touch: [live({})], update: [changesOf({}), live({})], getAndTouch: [], inspect: [] }[method])
      await record('destroy', sessionId)
    }
    // A second answer may come right after the first, or with that of a later call.
    await find(store, 'nobody')
    await setImmediate()
    const twice = [...answers]
    same(twice, [], `${twice.join(', ')}: call the callback once, as the last thing; return after an error`)
  })

  if (promises.touches) {
    await t.test('touch moves the expiry, and changes no data', async t => {
      const { store, pass } = await timed(t, openStore)
      await ask(store, 'set', 'a', live({ n: 1 }, MINUTE))
      await pass(MINUTE / 2)
      const found = await ask(store, 'touch', 'a', live({ n: 2 }, MINUTE))
      ok(found !== false, 'touch() answers with false, which means that there is no such session')
      await pass(MINUTE - 5000)
      const stored = await find(store, 'a')
      ok(stored, 'touch() must move the end to session.cookie.expires')
      same(dataOf(stored), { n: 1 }, 'touch() changed the data: it must move the end and nothing else')
      await pass(10_000)
      // A store may leave the check of the expiry to the library.
      if (promises.expires) ok(!await find(store, 'a'), 'get() returns a session after the end that touch() set: check that end, or remove promises.expires')
    })

    await t.test('touch never creates a session', async t => {
      const { store } = await openStore(t)
      findings.note('tellsGone', await touch(store, 'a', live({ n: 1 })) === false)
      ok(!await find(store, 'a'), 'touch() must not create a session: update only an existing one')
    })

    const touchesOnly = findings.title('touchesOnly', 'touch never shortens a life, and leaves the cookie', 'touch may shorten a life, or write the cookie')
    await t.test(touchesOnly, async t => {
      const { store, pass } = await timed(t, openStore)
      await ask(store, 'set', 'a', having(live({ n: 1 }, HOUR), { userKey: 'max', chosen: HOUR }))
      await ask(store, 'set', 'b', live({ n: 1 }, null))
      const late = having(live({ n: 1 }, MINUTE), { path: '/old', createdAt: 1 })
      const before = await withoutEnd(store, 'a')
      for (const sessionId of ['a', 'b']) await touch(store, sessionId, late)
      const isUntouched = isDeepStrictEqual(await withoutEnd(store, 'a'), before)
      // Longer than any cleanup interval of a store that expires sessions only by cleanup.
      await pass(HOUR / 2)
      const areThere = await find(store, 'a') != null && await find(store, 'b') != null
      await pass(HOUR)
      const hasEnd = promises.expires !== true || await find(store, 'a') == null
      findings.note('touchesOnly', isUntouched && areThere && hasEnd && (promises.waits !== true || await find(store, 'b') != null))
    })
  }

  if (promises.updates) await testUpdates(t, openStore, promises)
  await testLoading(t, openStore, methods)

  await t.test(findings.title('lists', 'all, length and clear', 'all, length and clear are missing or incomplete'), async t => {
    const { store } = await openStore(t)
    findings.note('lists', await lists(store).catch(() => false))
  })

  await t.test(findings.title('stops', 'lets the process end', 'keeps the process from ending'), async t => {
    const intervals = recordIntervals(t)
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', live({}))
    await ask(store, 'destroy', 'a')
    findings.note('stops', !intervals.some(interval => interval.hasRef()))
  })
}

/** Tests which methods a store has. If it is measured, they decide what is tested. */
async function expectMethods (t: TestContext, findings: Findings, openStore: OpenStore): Promise<ReadonlySet<string>> {
  const methods = new Set<string>()
  await t.test('has get, set and destroy', async t => {
    const { store } = await openStore(t)
    for (const method of ['get', 'set', 'destroy'] as const) ok(has(store, method), `add ${method}(): every store needs it`)
    findings.expect('touches', has(store, 'touch'))
    findings.expect('updates', has(store, 'update'))
    findings.note('users', hasIndex(store))
    for (const method of OPTIONAL_METHODS) if (has(store, method)) methods.add(method)
  })
  return methods
}

async function testUpdates (t: TestContext, openStore: OpenStore, promises: Findings['declared']): Promise<void> {
  await t.test('update applies the changes and the expiry', async t => {
    const { store, grain, pass } = await timed(t, openStore)
    await ask(store, 'set', 'a', live({ keep: { n: 1 }, change: 1, remove: 1 }, MINUTE, HOUR))
    const changes = changesOf({ change: 2, add: ['x'] }, 'remove', 'never there')
    const session = live({ other: 1 }, HOUR)
    const found = await ask(store, 'update', 'a', changes, session)
    ok(found !== false, 'update() answers with false, which means that there is no such session')
    await pass(HOUR - MINUTE)
    const stored = await find(store, 'a') as any
    ok(stored, 'update() did not move the end, as it must if session.cookie.expires is later')
    same(dataOf(stored), { keep: { n: 1 }, change: 2, add: ['x'] }, 'update() must apply set and unset to the stored session, and write nothing else of session')
    const wanted = timeIn(session.cookie.expires)
    const end = timeIn(stored.cookie.expires)
    if (!(Math.abs(end - wanted) <= grain * HOUR)) same(end, wanted, 'update() must write the new end into the record too, as cookie.expires')
    await pass(2 * MINUTE)
    ok(!await find(store, 'a'), 'get() returns a session after the end that update() set')
  })

  await t.test('update replaces the whole value of a key', async t => {
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', live({ profile: { name: 'max', old: 1 }, list: [1, 2, 3] }))
    await ask(store, 'update', 'a', changesOf({ profile: { name: 'eva' }, list: [4] }), live({}))
    same(dataOf(await find(store, 'a')), { profile: { name: 'eva' }, list: [4] }, 'update() must not merge within a key: the new value replaces the old one')
  })

  await t.test('update writes the changed fields of the cookie, and leaves the others', async t => {
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', having(live({ n: 1 }), { userKey: 'max', claimedAt: 1, chosen: 5 }))
    const before = await withoutEnd(store, 'a')
    const meta = { set: { seenAt: 9, userKey: 'eva', idle: 8 }, unset: ['chosen', 'never there'] }
    const session = having(live({ n: 1 }), { path: '/old', createdAt: 2, userKey: 'mallory', chosen: 6 })
    await ask(store, 'update', 'a', { ...changesOf({ n: 2 }), meta }, session)
    const { chosen, ...others } = before
    same(await withoutEnd(store, 'a'), { ...others, ...meta.set }, 'update() must apply changes.meta to the fields under cookie, field by field, and take only expires from session.cookie')
  })

  await t.test('an update of the lifetime sets the exact end', async t => {
    const { store, pass } = await timed(t, openStore)
    for (const sessionId of ['a', 'b']) await ask(store, 'set', sessionId, live({ n: 1 }, HOUR))
    await ask(store, 'set', 'c', live({ n: 1 }, null))
    await ask(store, 'set', 'd', live({ n: 1 }, MINUTE))
    const shorter = live({ n: 1 }, MINUTE)
    const endless = live({ n: 1 }, null)
    const to = ({ cookie: { expires, originalMaxAge, idle } }: any): SessionChanges => {
      const lives = { expires, originalMaxAge }
      return { ...changesOf({}), meta: idle === undefined ? { set: lives, unset: ['idle'] } : { set: { ...lives, idle }, unset: [] } }
    }
    for (const sessionId of ['a', 'c']) await ask(store, 'update', sessionId, to(shorter), shorter)
    await ask(store, 'update', 'b', changesOf({ n: 2 }), shorter)
    await ask(store, 'update', 'd', to(endless), endless)
    const { expires } = cookieOf(await find(store, 'a') as any)
    same(timeIn(expires), shorter.cookie.expires?.getTime(), 'update() must write changes.meta.set.expires as it is')
    await pass(2 * MINUTE)
    for (const sessionId of ['a', 'c']) ok(!await find(store, sessionId), 'if changes.meta.set has expires, update() must set the end to it, even if that is earlier than before')
    ok(await find(store, 'd'), 'if changes.meta.set.expires is null, update() must remove the end')
    ok(await find(store, 'b'), 'update() shortened a life: if changes.meta.set has no expires, the later of the stored end and session.cookie.expires counts')
  })

  await t.test('update never creates a session', async t => {
    const { store } = await openStore(t)
    same(await ask(store, 'update', 'a', changesOf({ n: 1 }), live({ n: 1 })), false, 'update() must answer with false if there is no such session')
    ok(!await find(store, 'a'), 'update() must not create a session: a visitor who logged out would be logged in again')
  })

  await t.test('update never revives an expired session', async t => {
    const { store, pass } = await timed(t, openStore)
    await ask(store, 'set', 'a', live({ n: 1 }, MINUTE))
    await pass(2 * MINUTE)
    same(await ask(store, 'update', 'a', changesOf({ n: 2 }), live({}, MINUTE)), false, 'update() must answer with false if the session has expired')
    ok(!await find(store, 'a'), 'update() must not revive an expired session')
  })

  await t.test('simultaneous updates are all kept', async t => {
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', live({}))
    const keys = Array.from({ length: 20 }, (_, i) => `key${i}`)
    await Promise.all(keys.map(key => {
      const meta = { set: { [`field${key}`]: 1 }, unset: [] }
      return ask(store, 'update', 'a', { ...changesOf({ [key]: 1 }), meta }, live({}))
    }))
    const stored = await find(store, 'a') as any
    same(Object.keys(dataOf(stored)).sort(), [...keys].sort(), 'update() must read and write in one step: in a transaction, a script or one statement')
    const fields = Object.keys(stored.cookie).filter(field => field.startsWith('field')).sort()
    same(fields, keys.map(key => `field${key}`).sort(), 'update() must change the fields of the cookie in the same step')
  })

  await t.test('destroy answers with what it removed, or with nothing', async t => {
    const { store } = await openStore(t)
    const isRecord = (value: any): boolean => typeof value === 'object' && value !== null && 'cookie' in value
    ok(!isRecord(await ask(store, 'destroy', 'nobody')), 'destroy() must answer with false if there is no such session')
    await ask(store, 'set', 'a', live({ n: 1 }))
    await ask(store, 'update', 'a', changesOf({ n: 2 }), live({}))
    const removed = await ask(store, 'destroy', 'a')
    const advice = 'destroy() must answer with the record that it removed, as it was at that moment, because regenerate() keeps its data'
    if (promises.updates && removed !== undefined) {
      ok(removed !== false && removed !== null, 'destroy() answers with false, which means that there was no such session')
      if (isRecord(removed)) same(dataOf(removed), { n: 2 }, advice)
    }
  })
}

/** Tests of the optional methods that load a session. */
async function testLoading (t: TestContext, openStore: OpenStore, methods: ReadonlySet<string>): Promise<void> {
  for (const method of ['getAndTouch', 'inspect']) {
    if (!methods.has(method)) continue
    await t.test(`${method} answers as get does, with the end that the store knows`, async t => {
      const { store, grain, pass } = await timed(t, openStore)
      ok(!await ask(store, method, 'nobody'), `${method}() must answer with nothing if there is no such session`)
      await ask(store, 'set', 'a', live({ n: 1 }, MINUTE))
      await pass(MINUTE / 2)
      const touched = live({}, MINUTE)
      if (methods.has('touch')) await ask(store, 'touch', 'a', touched)
      const stored = await ask(store, method, 'a') as any
      same(dataOf(stored), { n: 1 }, `${method}() must answer with the record, as get() does`)
      if (!methods.has('touch')) return
      const [end, wanted] = [timeIn(stored.cookie.expires), timeIn(touched.cookie.expires)]
      if (!(Math.abs(end - wanted) <= grain * MINUTE)) same(end, wanted, `${method}() must answer with the store's own end as cookie.expires, which touch() has moved`)
    })
  }

  if (methods.has('getAndTouch')) {
    await t.test('getAndTouch moves the end by the idle timeout of the session', async t => {
      const { store, pass } = await timed(t, openStore)
      await ask(store, 'set', 'a', live({ n: 1 }, MINUTE))
      await ask(store, 'set', 'older', having(live({ n: 1 }, MINUTE), { idle: undefined, seenAt: undefined }))
      await ask(store, 'set', 'idle', having(live({ n: 1 }, HOUR), { expires: new Date(Date.now() + MINUTE), idle: MINUTE }))
      for (let i = 0; i < 2; i++) {
        await pass(MINUTE * 0.75)
        for (const sessionId of ['a', 'older', 'idle']) {
          ok(await ask(store, 'getAndTouch', sessionId), 'getAndTouch() must move the end by cookie.idle of the record, or by cookie.originalMaxAge if it has no idle')
        }
      }
      await pass(2 * MINUTE)
      for (const sessionId of ['a', 'older', 'idle']) {
        ok(!await ask(store, 'getAndTouch', sessionId), 'getAndTouch() must not revive an expired session, nor move the end by more than cookie.idle')
        ok(!await find(store, sessionId), 'get() returns a session after the end that getAndTouch() set')
      }
    })
  }

  if (methods.has('inspect')) {
    await t.test('inspect moves nothing', async t => {
      const { store, pass } = await timed(t, openStore)
      await ask(store, 'set', 'a', live({ n: 1 }, MINUTE))
      await pass(MINUTE - 5000)
      ok(await ask(store, 'inspect', 'a'), 'inspect() must answer with the session')
      await pass(10_000)
      ok(!await ask(store, 'inspect', 'a'), 'inspect() must not move the end, and not return an expired session')
    })
  }
}

/** Calls a method of a store, which answers by callback or promise. */
export function ask (store: SessionStore, method: string, ...args: unknown[]): Promise<unknown> {
  return asking(store, method, args, () => {})
}

/** @param again is called for each answer after the first */
function asking (store: SessionStore, method: string, args: unknown[], again: () => void): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fn = (store as unknown as AnyStore)[method] as (...args: unknown[]) => unknown
    const timer = setTimeout(() => reject(new Error(`${method}() did not answer: call its callback, or declare none and return a promise`)), PATIENCE)
    let isAnswered = false
    const answer = (error: unknown, value?: unknown): void => {
      if (isAnswered) again()
      isAnswered = true
      clearTimeout(timer)
      if (error) reject(error)
      else resolve(value)
    }
    try {
      const result = fn.call(store, ...args, answer) as Promise<unknown> | undefined
      if (fn.length <= args.length) result?.then(value => answer(null, value), answer)
    } catch (error) {
      answer(error)
    }
  })
}

/** The record of a session in a store. */
export async function find (store: SessionStore, sessionId: string): Promise<unknown> {
  return await ask(store, 'get', sessionId).catch(orNothing)
}

async function touch (store: SessionStore, sessionId: string, session: unknown): Promise<unknown> {
  return await ask(store, 'touch', sessionId, session).catch(orNothing)
}

/** A file store may report a missing session as an error. */
export function orNothing (error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

/** Whether all, length and clear work. */
async function lists (store: SessionStore): Promise<boolean> {
  await ask(store, 'clear')
  if (await ask(store, 'length') !== 0) return false
  await ask(store, 'set', 'a', live({ user: 'max' }))
  await ask(store, 'set', 'b', live({ user: 'eva' }))
  if (await ask(store, 'length') !== 2) return false
  const all = Object.values(await ask(store, 'all') as object) as Array<{ user: string }>
  if (all.map(({ user }) => user).sort().join() !== 'eva,max') return false
  await ask(store, 'clear')
  return await ask(store, 'length') === 0 && await find(store, 'a') == null
}

/** A session as the library passes it to a store. */
export function live (data: Record<string, unknown>, maxAge: number | null = HOUR, idle = maxAge): StoredSession {
  const now = Date.now()
  const life = maxAge === null ? { expires: null, originalMaxAge: null } : { expires: new Date(now + maxAge), originalMaxAge: idle, idle }
  return new StoredSession('a', data, { ...life, path: '/', httpOnly: true, secure: false, createdAt: now, seenAt: now })
}

/** Changes of data only, for `update`. */
export function changesOf (set: object, ...unset: string[]): SessionChanges {
  const meta = { set: { seenAt: Date.now() }, unset: [] }
  return { set: { ...set }, unset, meta }
}

/** The same session with other fields of the library. */
export function having (session: StoredSession, fields: object): StoredSession {
  return new StoredSession('a', dataOf(session), { ...session.cookie, ...fields })
}

function fieldsOf (record: SessionRecord): object {
  const { createdAt, seenAt, idle } = cookieOf(record)
  return { createdAt, seenAt, idle }
}

/** The fields of a session's cookie without its end. */
async function withoutEnd (store: SessionStore, sessionId: string): Promise<Record<string, unknown>> {
  const { expires, ...fields } = cookieOf(await find(store, sessionId) as SessionRecord)
  return { ...fields }
}
