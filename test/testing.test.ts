/** The test kit for authors of stores and applications: `@fastify/session/testing`. */
import '../packages/sqlite'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import fastifyCookie from '@fastify/cookie'
import Fastify from 'fastify'
import t from 'tap'
import upstreamSession from 'upstream-session'
import fastifySession, { MemoryStore, type SessionStore } from '../src/index'
import {
  AWAY, FAULTS, FaultyStore, RACES, testRaces, testStore, type PromiseName, type StoreTestOptions, type TestContext
} from '../src/testing/index'
import type { RaceEvent } from '../src/testing/index'
import { Site } from '../src/testing/site'
import { holdTimeouts, SECRET } from './helpers'
import { ThreeMethodStore, type Answer } from './odd-stores'
import { KeepingStore, Overwriting, planted, PLANTED, UnlookedStore, WHOLE, WholeStore } from './planted-stores'
import { Program } from './program'

/** A test runner that continues after failures, with the names of the failed tests and their messages. */
function runner (): { failed: string[], said: string[], test: TestContext['test'] } {
  const failed: string[] = []
  const said: string[] = []
  const test: TestContext['test'] = async (name, run) => {
    const ends: Array<() => unknown> = []
    await run({ test, after: end => { ends.push(end) } }).catch(({ message }) => {
      failed.push(name)
      said.push(message)
    })
    for (const end of ends.reverse()) await end()
  }
  return { failed, said, test }
}

async function failuresOf (store: () => object, promises: StoreTestOptions['promises']): Promise<string[]> {
  const { failed, test } = runner()
  await testStore(store as () => SessionStore, { promises, test })
  return failed
}

const MINUTE = 60_000
const KEPT = { onlyYours: true, waits: true, stops: true, copies: true } as const

t.test('a store of sixty lines passes the whole suite, under node:test', async t => {
  // The default reporter depends on the version of Node.js.
  const node = [process.execPath, '--test', '--test-reporter=tap', 'examples/writing-a-store/sqlite-store.test.js']
  const TMPDIR = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  const { code, stdout } = await new Program(t, 'env', ['-u', 'NODE_OPTIONS', ...node], { env: { TMPDIR } }).end()
  t.equal(code, 0, stdout)
  t.match(stdout, /^# fail 0$/m)
  t.ok(Number(/^# pass (\d+)$/m.exec(stdout)?.[1]) > 60, 'the whole suite was run')
})

t.test('a store that keeps exactly the declared promises passes the suite', async t => {
  t.same(await failuresOf(() => new ThreeMethodStore(), KEPT), [])
})

t.test('the suite fails if a declared promise is not kept, or a kept promise is not declared', async t => {
  const cases: Array<[declared: Partial<Record<PromiseName, boolean>>, failed: string[]]> = [
    [{ ...KEPT, dates: true }, ['keeps a Date']],
    [{ ...KEPT, expires: true }, ['does not return a session that has expired']],
    [{ ...KEPT, shared: true }, ['both processes have the same sessions']],
    [{ ...KEPT, waits: false }, ['keeps a session without expiry']]
  ]
  for (const [declared, failed] of cases) {
    const failures = await failuresOf(() => new ThreeMethodStore(), declared)
    for (const name of failed) t.ok(failures.includes(name), name)
  }
})

class Remembering extends ThreeMethodStore {
  override destroy (_sessionId: string, callback: Answer): void { callback() }
}

class Mixing extends ThreeMethodStore {
  override get (_sessionId: string, callback: Answer): void { super.get([...this.records.keys()].at(-1) ?? '', callback) }
}

class Creating extends MemoryStore {
  override touch (...[sessionId, session, callback]: Parameters<MemoryStore['touch']>): void {
    super.set(sessionId, session, callback)
  }
}

/** Forgets numbers. */
class Forgetting extends ThreeMethodStore {
  override set (sessionId: string, session: object, callback: Answer): void {
    this.records.set(sessionId, JSON.stringify(session, (_key, value) => typeof value === 'number' ? undefined : value))
    callback()
  }
}

t.test('the suite names a method that never answers, and does not wait for it again', async t => {
  const { pass } = holdTimeouts(t)
  class Forgetful extends ThreeMethodStore {
    override set (): void {
      setImmediate(() => pass(MINUTE))
    }
  }
  const messages: string[] = []
  const test: TestContext['test'] = async (name, run) => {
    if (name !== 'the store itself' && name !== 'set replaces the whole session') return
    await run({ test, after () {} }).catch(({ message }) => messages.push(message))
  }
  await testStore(() => new Forgetful(), { promises: KEPT, test })
  t.same(messages, ['set() did not answer: call its callback, or declare none and return a promise'])
})

t.test('the suite does not wait for a request that fails before the gate', async t => {
  let isAway = false
  class Leaving extends ThreeMethodStore {
    override get (sessionId: string, callback: Answer): void {
      if (isAway) callback(new Error(AWAY))
      else super.get(sessionId, callback)
    }
  }
  const site = await Site.open({ test: t.test, after: end => t.after(end) } as TestContext, new Leaving() as unknown as SessionStore, async () => {}, {})
  await site.max.get('/login/max')
  isAway = true
  const reply = site.max.get('/slow/write')
  await t.rejects(site.gate.holds(), { message: '/slow/write was answered with 500 before all requests were at the gate' })
  t.equal((await reply).statusCode, 500)
})

t.test('the suite fails for stores that do what no store may do', async t => {
  const memory = { ...WHOLE, oneCall: false, dates: true, lists: true, touchesOnly: true }
  const cases: Array<[store: new () => object, promises: object, failed: string[]]> = [
    [Remembering, KEPT, ['keeps sessions apart']],
    [Mixing, KEPT, ['keeps sessions apart']],
    [Creating, memory, ['touch moves the expiry, and changes no data', 'touch never creates a session']],
    [Overwriting, memory, ['update applies the changes and the expiry', 'update never creates a session', 'simultaneous updates are all kept']]
  ]
  for (const [Store, promises, failed] of cases) {
    const failures = await failuresOf(() => new Store(), promises)
    for (const name of failed) t.ok(failures.includes(name), `${Store.name}: ${name}`)
  }
})

t.test('a store with every method passes the whole suite', async t => {
  t.same(await failuresOf(() => new WholeStore(), WHOLE), [])
})

t.test('two kinds of stores that keep sessions for too long are found, and pass if they do not declare the promise', async t => {
  const kinds: Array<[store: () => object, promise: PromiseName, promises: object]> = [
    [() => new KeepingStore(), 'copies', { ...KEPT, dates: true }],
    [() => new UnlookedStore(), 'expires', { ...KEPT, touches: true, touchesOnly: true, tellsGone: true }]
  ]
  for (const [store, promise, promises] of kinds) {
    const { said, test } = runner()
    await testStore(store as () => SessionStore, { promises: { ...promises, [promise]: true }, test })
    t.match(said[0], `promises.${promise} is declared, but not kept: fix the store, or remove the promise`)
    t.same(await failuresOf(store, { ...promises, [promise]: false }), [], promise)
  }
})

t.test('each bug that is planted in a store is found, and the failure says what to fix', async t => {
  let found = 0
  for (const [what, bug, says] of PLANTED) {
    const { said, test } = runner()
    await testStore(() => planted(bug) as unknown as SessionStore, { promises: WHOLE, test })
    const isFound = said.some(message => says.test(message))
    if (isFound) found++
    t.ok(isFound, what, { said })
  }
  t.comment(`${found} of ${PLANTED.length} planted bugs found`)
})

t.test("promises: 'measure' lists in one run the promises that a store keeps", async t => {
  const { log } = console
  const printed: string[] = []
  console.log = text => { printed.push(text) }
  t.teardown(() => { console.log = log })
  const stores: Array<[store: () => object, promises: object]> = [
    [() => new ThreeMethodStore(), KEPT],
    [() => new WholeStore(), WHOLE],
    [() => new UnlookedStore(), { ...KEPT, touches: true, touchesOnly: true, tellsGone: true }]
  ]
  for (const [store, promises] of stores) {
    const { failed, test } = runner()
    const findings = await testStore(store as () => SessionStore, { promises: 'measure', test })
    t.same(failed, [])
    t.same(Object.entries(findings.declared).filter(([, isKept]) => isKept).map(([name]) => name).sort(), Object.keys(promises).sort())
    t.match(printed.pop(), /^The store keeps\npromises: \{\n( {2}\w+: true,?\n)+\}$/)
  }
  const { failed, test } = runner()
  await testStore(() => new Forgetting() as unknown as SessionStore, { promises: 'measure', test })
  t.ok(failed.length > 0)
  t.match(printed.pop(), /^Fix what fails first/)
})

t.test('a failure in the tests with visitors also says what to fix', async t => {
  const dropping = (): object => planted({
    write (sessionId, record: any) {
      const { a, ...others } = record
      WholeStore.prototype.write.call(this, sessionId, typeof a === 'string' ? others : record)
    }
  })
  const { failed, said, test } = runner()
  await testStore(dropping as () => SessionStore, { promises: WHOLE, test })
  t.ok(failed.includes('a slow request does not undo what other requests have written and removed in the meantime'))
  t.same(said.filter(message => !/To fix it: (update|set|get)\(\)/.test(message)), [])
})

t.test('testRaces() passes for a store that keeps every promise, and returns the number of orders', async t => {
  const { failed, test } = runner()
  const { schedules, violated } = await testRaces(() => new ThreeMethodStore(), { test, races: RACES.slice(0, 4) })
  t.same([failed, violated], [[], 0])
  t.ok(schedules > 20)
})

t.test('testRaces() fails for a store that brings back ended sessions', async t => {
  const { failed, test } = runner()
  const { violations } = await testRaces(() => new Overwriting(), { test, races: [['write a', 'log out']] })
  t.same(failed, ['races of requests break no promise'])
  t.ok(violations.some(({ promise }) => promise === 'ended'))
})

/** A store in which a touch can shorten a session's lifetime. */
function shortening (): WholeStore {
  const touch: WholeStore['touch'] = function (this: WholeStore, sessionId, session, callback) {
    const record = this.find(sessionId) as any
    if (record !== undefined) this.write(sessionId, { ...record, cookie: { ...record.cookie, expires: session.cookie.expires } })
    callback(null, record !== undefined)
  }
  return Object.assign(planted({ touch }), { getAndTouch: undefined, inspect: undefined })
}

/** An index that forgets all entries after it has listed them. */
const forgetting = (): WholeStore => planted({
  claimsOf (userKey, before, count, callback) {
    WholeStore.prototype.claimsOf.call(this, userKey, before, count, callback)
    this.index.clear()
  }
})

const withoutMeta = (...fields: string[]): WholeStore => planted({
  changed (record, changes, session) {
    const set = Object.fromEntries(Object.entries(changes.meta.set).filter(([field]) => !fields.includes(field)))
    return WholeStore.prototype.changed.call(this, record, { ...changes, meta: { ...changes.meta, set } }, session)
  }
})

const withWrongOwner = (): WholeStore => planted({
  changed (record, changes, session) {
    const { set } = changes.meta
    const wrong = 'userKey' in set ? { ...set, userKey: 'another' } : set
    return WholeStore.prototype.changed.call(this, record, { ...changes, meta: { ...changes.meta, set: wrong } }, session)
  }
})

const withoutCreation = (): WholeStore => planted({
  changed (record, changes, session) {
    const { cookie, ...data } = WholeStore.prototype.changed.call(this, record, changes, session) as any
    return { ...data, cookie: { ...cookie, createdAt: undefined } }
  }
})

t.test('testRaces() finds the bug that each kind of request is there to find', async t => {
  const upstream = { store: () => new MemoryStore(), plugin: upstreamSession }
  const cases: Array<[what: string, how: { store: () => object, plugin?: any, users?: object }, race: RaceEvent[], promise: string]> = [
    ['a user key that is not written', { store: () => withoutMeta('userKey'), users: {} }, ['become eva', 'read'], 'owned'],
    ['a session that is listed only once', { store: forgetting, users: {} }, ['become eva', 'read'], 'listed'],
    ['a session that a revocation of its user misses', { store: withWrongOwner, users: {} }, ['become eva', 'revoke users'], 'ended'],
    ['a chosen lifetime that is not written', { store: () => withoutMeta('originalMaxAge', 'chosen') }, ['remember', 'read'], 'lived'],
    ['a chosen lifetime that is not written, with options()', { store: () => withoutMeta('originalMaxAge', 'chosen') }, ['remember by options', 'read'], 'lived'],
    ['an end that a slow reader moves back', { store: shortening }, ['remember', 'read'], 'lived'],
    ['an end that a slow touch moves back', { store: shortening }, ['remember', 'touch'], 'lived'],
    ['a cookie that loses a field', { store: withoutCreation }, ['write a', 'read'], 'kept'],
    ['an unawaited save that is lost', upstream, ['save unawaited', 'write a'], 'saved'],
    ['an unawaited login that is lost', upstream, ['log in unawaited', 'read'], 'reachable'],
    ['a late reply that clears the new cookie', upstream, ['log in', 'read'], 'leftAlone'],
    ['a second cookie that stays', upstream, ['log out of both', 'read'], 'ended']
  ]
  let found = 0
  for (const [what, { store, ...options }, race, promise] of cases) {
    const { test } = runner()
    const { violations } = await testRaces(store as () => SessionStore, { test, races: [race], ...options })
    const isFound = violations.some(violation => violation.promise === promise)
    if (isFound) found++
    t.ok(isFound, what, { violations })
  }
  t.comment(`${found} of ${cases.length} planted bugs found`)
})

t.test('FaultyStore shows how an application behaves if its store fails in any way', async t => {
  const store = new FaultyStore()
  const app = Fastify()
  app.register(fastifyCookie)
  app.register(fastifySession, { secret: SECRET, store, storeTimeout: 20, cookie: { secure: false } })
  app.get('/', async ({ session }) => {
    const data = session as any
    data.visits = (data.visits ?? 0) + 1
    return `visit ${data.visits}`
  })
  t.teardown(() => app.close())
  const [{ name, value }] = (await app.inject('/')).cookies as [{ name: string, value: string }]
  const visit = async () => await app.inject({ url: '/', cookies: { [name]: value } })

  const statuses = new Map<string, Set<number>>()
  for (const { name, how, outcome, methods = ['getAndTouch'] } of FAULTS) {
    if (!methods.includes('getAndTouch')) continue
    store.break('getAndTouch', how)
    const { statusCode, body } = await visit()
    store.heal()
    store.release()
    statuses.set(outcome, (statuses.get(outcome) ?? new Set()).add(statusCode))
    if (statusCode >= 500) t.notMatch(body, value, name)
  }
  t.same(Object.fromEntries([...statuses].map(([outcome, codes]) => [outcome, [...codes].sort()])), {
    works: [200], fails: [500, 503], 'works unseen': [500, 503], 'finds nothing': [200]
  })
  t.match((await visit()).body, /^visit \d+$/, 'afterwards the application works again')
  t.equal(AWAY, 'The store is away')
})
