/** The kit as authors of stores and applications have it: `@fastify/session/testing`. */
import '../packages/sqlite'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import fastifyCookie from '@fastify/cookie'
import Fastify from 'fastify'
import t from 'tap'
import fastifySession, { MemoryStore, type SessionStore } from '../src/index'
import {
  AWAY, FAULTS, FaultyStore, RACES, testRaces, testStore, type PromiseName, type StoreTestOptions, type TestContext
} from '../src/testing/index'
import { Site } from '../src/testing/site'
import { holdTimeouts, SECRET } from './helpers'
import { ThreeMethodStore, type Answer } from './odd-stores'
import { Program } from './program'

/** A runner that keeps going, and the names of the tests that failed in it. */
function runner (): { failed: string[], test: TestContext['test'] } {
  const failed: string[] = []
  const test: TestContext['test'] = async (name, run) => {
    const ends: Array<() => unknown> = []
    await run({ test, after: end => { ends.push(end) } }).catch(() => failed.push(name))
    for (const end of ends.reverse()) await end()
  }
  return { failed, test }
}

async function failuresOf (store: () => object, promises: StoreTestOptions['promises']): Promise<string[]> {
  const { failed, test } = runner()
  await testStore(store as () => SessionStore, { promises, test })
  return failed
}

const MINUTE = 60_000
const KEPT = { onlyYours: true, waits: true, stops: true } as const

t.test('a store under sixty lines passes all of it, under node:test', async t => {
  const env = ['-u', 'NODE_OPTIONS', process.execPath, '--test', 'examples/writing-a-store/']
  const TMPDIR = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  const { code, stdout } = await new Program(t, 'env', env, { env: { TMPDIR } }).end()
  t.equal(code, 0, stdout)
  t.match(stdout, /^# fail 0$/m)
  t.ok(Number(/^# pass (\d+)$/m.exec(stdout)?.[1]) > 60, 'and all of it was run')
})

t.test('a store that does as it is declared to fails in nothing', async t => {
  t.same(await failuresOf(() => new ThreeMethodStore(), KEPT), [])
})

t.test('a promise that is declared and not kept fails, and one that is kept and not declared', async t => {
  const cases: Array<[declared: Partial<Record<PromiseName, boolean>>, failed: string[]]> = [
    [{ ...KEPT, dates: true }, ['keeps a Date']],
    [{ ...KEPT, expires: true }, ['no longer answers a session that has expired']],
    [{ ...KEPT, shared: true }, ['both have the same sessions']],
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

class Overwriting extends MemoryStore {
  override update (...[sessionId, { set }, { cookie }, callback]: Parameters<MemoryStore['update']>): void {
    super.set(sessionId, { ...set, cookie } as any, error => callback(error, true))
  }
}

t.test('a method that never answers is named, and nothing is waited for after that', async t => {
  const { pass } = holdTimeouts(t)
  class Forgetful extends ThreeMethodStore {
    override set (): void {
      setImmediate(() => pass(MINUTE))
    }
  }
  const messages: string[] = []
  const test: TestContext['test'] = async (name, run) => {
    if (name !== 'the store itself' && name !== 'replaces the whole session by set') return
    await run({ test, after () {} }).catch(({ message }) => messages.push(message))
  }
  await testStore(() => new Forgetful(), { promises: KEPT, test })
  t.same(messages, ['set() did not answer: call its callback, or declare none and return a promise'])
})

t.test('a request that fails on its way to the gate is not waited for', async t => {
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
  await t.rejects(site.gate.holds(), { message: '/slow/write was answered with 500 before all were at the gate' })
  t.equal((await reply).statusCode, 500)
})

t.test('what no store may do fails', async t => {
  const memory = { ...KEPT, touches: true, expires: true, dates: true, lists: true, updates: true, tellsGone: true }
  const cases: Array<[store: new () => object, promises: object, failed: string[]]> = [
    [Remembering, KEPT, ['keeps sessions apart']],
    [Mixing, KEPT, ['keeps sessions apart']],
    [Creating, memory, ['touch moves the expiry, and no data', 'touch never creates a session']],
    [Overwriting, memory, ['update applies the changes and the expiry', 'update never creates a session', 'updates at the same time lose nothing']]
  ]
  for (const [Store, promises, failed] of cases) {
    const failures = await failuresOf(() => new Store(), promises)
    for (const name of failed) t.ok(failures.includes(name), `${Store.name}: ${name}`)
  }
})

t.test('testRaces passes a store that keeps every promise, and says how many orders there were', async t => {
  const { failed, test } = runner()
  const { schedules, violated } = await testRaces(() => new ThreeMethodStore(), { test, races: RACES.slice(0, 4) })
  t.same([failed, violated], [[], 0])
  t.ok(schedules > 20)
})

t.test('testRaces fails one that brings back what has ended', async t => {
  const { failed, test } = runner()
  const { violations } = await testRaces(() => new Overwriting(), { test, races: [['write a', 'log out']] })
  t.same(failed, ['races of requests break no promise'])
  t.ok(violations.some(({ promise }) => promise === 'ended'))
})

t.test('an application can be asked what it does when its store fails, in each way that there is', async t => {
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
  t.match((await visit()).body, /^visit \d+$/, 'and afterwards it goes on')
  t.equal(AWAY, 'The store is away')
})
