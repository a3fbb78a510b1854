/** What a store is asked by itself: the methods, and what each must leave behind. */
import assert from 'node:assert/strict'
import { StoredSession } from '../values/stored-session'
import type { SessionChanges, SessionStore } from '../types/store'
import { HOUR, MINUTE, recordIntervals, timed, type OpenStore, type TestContext } from './context'
import type { Findings } from './promises'
import { dataOf } from './site'

// No store takes so long, however busy the machine.
const PATIENCE = 10_000

type AnyStore = Record<string, ((...args: any[]) => any) | undefined>

export async function testContract (t: TestContext, findings: Findings, openStore: OpenStore): Promise<void> {
  const promises = findings.declared

  await t.test('answers nothing for a session that it does not have', async t => {
    const { store } = await openStore(t)
    assert.ok(!await find(store, 'nobody'))
    await ask(store, 'destroy', 'nobody')
    assert.ok(!await find(store, 'nobody'))
  })

  await t.test('answers what was set, and its cookie', async t => {
    const { store } = await openStore(t)
    const session = live({ user: { name: 'max', tags: ['a', 'b'] }, n: 0, no: false, nothing: null, text: 'ü\u0000' })
    await ask(store, 'set', 'a', session)
    const stored = await find(store, 'a') as any // of whatever form the store gives it
    assert.deepEqual(dataOf(stored), dataOf(session))
    const { cookie } = stored
    assert.equal(new Date(cookie.expires).getTime(), session.cookie.expires?.getTime())
    assert.equal(cookie.originalMaxAge, HOUR)
    assert.equal(cookie.path, '/')
    assert.equal(cookie.httpOnly, true)
  })

  await t.test('replaces the whole session by set', async t => {
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', live({ old: 1 }))
    await ask(store, 'set', 'a', live({ new: 1 }))
    assert.deepEqual(dataOf(await find(store, 'a')), { new: 1 })
  })

  await t.test('keeps sessions apart', async t => {
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', live({ user: 'max' }))
    await ask(store, 'set', 'b', live({ user: 'eva' }))
    await ask(store, 'destroy', 'a')
    assert.ok(!await find(store, 'a'), 'destroy() left the session in the store')
    assert.deepEqual(dataOf(await find(store, 'b')), { user: 'eva' })
  })

  await t.test('keeps what was set, whatever becomes of the object', async t => {
    const { store } = await openStore(t)
    const cart = ['apple']
    const session = live({ cart })
    const expires = session.cookie.expires?.getTime()
    await ask(store, 'set', 'a', session)
    cart.push('pear')
    session.cookie.expires?.setTime(0)
    Object.assign(session, { other: 1 })
    const stored = await find(store, 'a') as any // of whatever form the store gives it
    assert.deepEqual(dataOf(stored), { cart: ['apple'] })
    assert.equal(new Date(stored.cookie.expires).getTime(), expires)
  })

  await t.test(promises.onlyYours ? 'adds nothing to the data' : 'adds a key of its own to the data', async t => {
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', live({ user: 'max' }))
    findings.note('onlyYours', Object.keys(await find(store, 'a') ?? {}).sort().join() === 'cookie,user')
  })

  await t.test(promises.dates ? 'keeps a Date' : 'makes a Date its ISO string', async t => {
    const { store } = await openStore(t)
    const date = new Date('2024-02-29T12:00:00.123Z')
    await ask(store, 'set', 'a', live({ date }))
    const { date: stored } = dataOf(await find(store, 'a'))
    findings.note('dates', stored instanceof Date)
    assert.deepEqual(stored, promises.dates ? date : date.toISOString())
  })

  await t.test(promises.expires ? 'no longer answers a session that has expired' : 'leaves the expiry to the library', async t => {
    const { store, pass } = await timed(t, openStore)
    await ask(store, 'set', 'a', live({ user: 'max' }, MINUTE))
    await pass(MINUTE - 5000)
    assert.ok(await find(store, 'a'))
    await pass(10_000)
    findings.note('expires', await find(store, 'a') == null)
  })

  await t.test('keeps a session without expiry', async t => {
    const { store, pass } = await timed(t, openStore)
    await ask(store, 'set', 'a', live({ user: 'max' }, null))
    await pass(HOUR / 2)
    assert.deepEqual(dataOf(await find(store, 'a')), { user: 'max' })
    await pass(25 * HOUR)
    findings.note('waits', await find(store, 'a') != null)
  })

  if (promises.touches) {
    await t.test('touch moves the expiry, and no data', async t => {
      const { store, pass } = await timed(t, openStore)
      await ask(store, 'set', 'a', live({ n: 1 }, MINUTE))
      await pass(MINUTE / 2)
      const found = await ask(store, 'touch', 'a', live({ n: 2 }, MINUTE))
      assert.notEqual(found, false)
      await pass(MINUTE - 5000)
      const stored = await find(store, 'a')
      assert.ok(stored, 'touch() did not move the end')
      assert.deepEqual(dataOf(stored), { n: 1 }, 'touch() changed the data')
      await pass(10_000)
      assert.ok(!await find(store, 'a'), 'get() hands out a session after the end that touch() set')
    })

    await t.test('touch never creates a session', async t => {
      const { store } = await openStore(t)
      findings.note('tellsGone', await touch(store, 'a', live({ n: 1 })) === false)
      assert.ok(!await find(store, 'a'))
    })
  }

  if (promises.updates) {
    await t.test('update applies the changes and the expiry', async t => {
      const { store, pass } = await timed(t, openStore)
      await ask(store, 'set', 'a', live({ keep: { n: 1 }, change: 1, remove: 1 }, MINUTE))
      const changes = changesOf({ change: 2, add: ['x'] }, 'remove', 'never there')
      const found = await ask(store, 'update', 'a', changes, live({ other: 1 }, HOUR))
      assert.notEqual(found, false)
      await pass(HOUR - MINUTE)
      const stored = await find(store, 'a')
      assert.ok(stored, 'update() did not move the end')
      assert.deepEqual(dataOf(stored), { keep: { n: 1 }, change: 2, add: ['x'] })
      await pass(2 * MINUTE)
      assert.ok(!await find(store, 'a'), 'get() hands out a session after the end that update() set')
    })

    await t.test('update never creates a session', async t => {
      const { store } = await openStore(t)
      assert.equal(await ask(store, 'update', 'a', changesOf({ n: 1 }), live({ n: 1 })), false)
      assert.ok(!await find(store, 'a'))
    })

    await t.test('update revives no expired session', async t => {
      const { store, pass } = await timed(t, openStore)
      await ask(store, 'set', 'a', live({ n: 1 }, MINUTE))
      await pass(2 * MINUTE)
      assert.equal(await ask(store, 'update', 'a', changesOf({ n: 2 }), live({}, MINUTE)), false)
      assert.ok(!await find(store, 'a'))
    })

    await t.test('updates at the same time lose nothing', async t => {
      const { store } = await openStore(t)
      await ask(store, 'set', 'a', live({}))
      const keys = Array.from({ length: 20 }, (_, i) => `key${i}`)
      await Promise.all(keys.map(key => ask(store, 'update', 'a', changesOf({ [key]: 1 }), live({}))))
      assert.deepEqual(Object.keys(dataOf(await find(store, 'a'))).sort(), keys.sort())
    })
  }

  await t.test(promises.lists ? 'all, length and clear' : 'all, length and clear are not all there', async t => {
    const { store } = await openStore(t)
    findings.note('lists', await lists(store).catch(() => false))
  })

  await t.test(promises.stops ? 'lets the process end' : 'keeps the process from ending', async t => {
    const intervals = recordIntervals(t)
    const { store } = await openStore(t)
    await ask(store, 'set', 'a', live({}))
    await ask(store, 'destroy', 'a')
    findings.note('stops', !intervals.some(interval => interval.hasRef()))
  })
}

/** Calls a method of a store in whichever way it answers. */
export function ask (store: SessionStore, method: string, ...args: unknown[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fn = (store as unknown as AnyStore)[method] as (...args: unknown[]) => unknown
    const timer = setTimeout(() => reject(new Error(`${method}() did not answer: call its callback, or declare none and return a promise`)), PATIENCE)
    const answer = (error: unknown, value?: unknown): void => {
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

/** What a store has of a session. */
export async function find (store: SessionStore, sessionId: string): Promise<unknown> {
  return await ask(store, 'get', sessionId).catch(orNothing)
}

async function touch (store: SessionStore, sessionId: string, session: unknown): Promise<unknown> {
  return await ask(store, 'touch', sessionId, session).catch(orNothing)
}

/** A file store may say by an error that there is no such session. */
export function orNothing (error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

/** Whether all, length and clear do what they say. */
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

/** A session as the library gives it to a store. */
export function live (data: Record<string, unknown>, maxAge: number | null = HOUR): StoredSession {
  const now = Date.now()
  const life = maxAge === null ? { expires: null, originalMaxAge: null } : { expires: new Date(now + maxAge), originalMaxAge: maxAge, idle: maxAge }
  return new StoredSession('a', data, { ...life, path: '/', httpOnly: true, secure: false, createdAt: now, seenAt: now })
}

/** Changes of data alone, as `update` gets them. */
export function changesOf (set: object, ...unset: string[]): SessionChanges {
  const meta = { set: { seenAt: Date.now() }, unset: [] }
  return { set: { ...set }, unset, meta }
}
