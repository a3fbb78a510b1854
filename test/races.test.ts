/** Requests that race for one session, in every possible order. The promises that must be kept are in race-ops.ts. */
import './uncounted'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t, { type Test } from 'tap'
import upstreamSession from 'upstream-session'
import fastifySession, { MemoryStore } from '../src/index'
import { fingerprint } from '../src/diagnostics'
import { indexKey } from '../src/session/index-keys'
import type { SessionRecord, SessionStore } from '../src/types/store'
import { RedisStore } from '../src/stores/redis'
import { SilentStore, ThreeMethodStore, type Answer } from './odd-stores'
import type { RaceEvent, RaceOptions } from '../src/testing/race-options'
import { explore, PAIRS, race, raceAll, RACES, OWNER_RACES, TEAM_RACES, USER_RACES } from '../src/testing/races'
import {
  BASE, judge, LONGER, MAX_AGE, PROMISES, type Call, type Observation, type PromiseName, type Reply, type RequestName
} from '../src/testing/race-ops'
import { KeepingStore, UnlookedStore, WholeStore } from './planted-stores'
import { connectTo, startRedis } from './servers'

const threeMethods = (): SessionStore => new ThreeMethodStore() as unknown as SessionStore
const silent = (): SessionStore => new SilentStore() as unknown as SessionStore

// --- The stores

const BY_DEFAULT = { 'by default': {} }
const BOTH_WAYS = { ...BY_DEFAULT, 'without rolling and saveUninitialized': { rolling: false, saveUninitialized: false } }

async function keepsAll (t: Test, options: RaceOptions, races = RACES, ways: object = BOTH_WAYS): Promise<void> {
  for (const [name, more] of Object.entries(ways)) {
    const { schedules, violated, violations } = await raceAll({ ...options, ...more }, races)
    t.comment(`${name}: ${schedules} schedules, ${violated} with violations`)
    t.ok(schedules > races.length, name)
    t.same(violations, [], name)
  }
}

t.test('MemoryStore keeps every promise in every order', t => keepsAll(t, { store: new MemoryStore() }))

t.test('a store whose touch moves an end that its get ignores keeps every promise in every order', t =>
  keepsAll(t, { store: new UnlookedStore() }, PAIRS))

t.test('a store with every method keeps every promise in every order', t =>
  keepsAll(t, { store: new WholeStore() as unknown as SessionStore }, PAIRS))

t.test('a store that keeps and returns the object it is given keeps every promise in every order, within one process', t =>
  keepsAll(t, { store: new KeepingStore() as unknown as SessionStore }, PAIRS))

t.test('a store with three methods keeps every promise in every order, within one process', t =>
  keepsAll(t, { store: threeMethods() }))

t.test('a store whose touch does not say whether it found the session keeps every promise in every order, within one process', t =>
  keepsAll(t, { store: silent() }, RACES, BY_DEFAULT))

t.test('RedisStore keeps every promise in every order', async t => {
  const client = await connectTo(t, await startRedis(t))
  await keepsAll(t, { store: new RedisStore({ client }), expire: () => client.flushDb() }, RACES, BY_DEFAULT)
  t.equal(await client.dbSize(), 0, 'the kit removes everything that it stored')
})

// A login is a renewal with one more write. Pairs with a login alone would be two thirds of all schedules.
const SHORT_PAIRS = PAIRS.filter(events => !events.some(event => event.startsWith('log in')))

t.test('every promise is kept even if a call is answered some time after it took effect', async t => {
  const stores = { MemoryStore: new MemoryStore(), 'a touch that does not say whether it found the session': silent() }
  for (const [name, store] of Object.entries(stores)) {
    await t.test(name, t => keepsAll(t, { store, splitCalls: true }, SHORT_PAIRS, BY_DEFAULT))
  }
})

// --- With an index by user

t.test('every promise is kept in every order if sessions are ended by user', async t => {
  const client = await connectTo(t, await startRedis(t))
  const first = USER_RACES.filter(([revoke]) => revoke === 'revoke')
  for (const [store, races] of [[new MemoryStore(), USER_RACES], [new RedisStore({ client }), first]] as const) {
    await t.test(store.constructor.name, async t => {
      await keepsAll(t, { store, users: {} }, races, BY_DEFAULT)
    })
  }
  t.equal(await client.dbSize(), 0, 'the kit removes everything that it stored')
})

t.test('if the user of a session changes but its id does not, it belongs to the new user, in every order', async t => {
  for (const store of [new MemoryStore(), new WholeStore() as unknown as SessionStore]) {
    await t.test(store.constructor.name, t => keepsAll(t, { store, users: {} }, OWNER_RACES, BY_DEFAULT))
  }
})

t.test('every promise is kept in every order if sessions are ended by either of two names', async t => {
  await keepsAll(t, { store: new MemoryStore(), users: {}, teams: true, passing: ['get', 'inspect', 'endingsOf', 'release'] }, TEAM_RACES, BY_DEFAULT)
})

t.test('two parallel logins never exceed maxPerUser, in every order', async t => {
  for (const onMaxPerUser of ['revoke-oldest', 'refuse'] as const) {
    await t.test(onMaxPerUser, t => {
      const users = { maxPerUser: 1, onMaxPerUser }
      return keepsAll(t, { store: new MemoryStore(), users, passing: ['get', 'inspect'] }, [['sign up', 'sign up']])
    })
  }
})

// --- The kit finds what is wrong

t.test('the explorer tries every sequence of choices once', async t => {
  const seen: string[] = []
  const runs = await explore(async choose => {
    const left: Record<string, number> = { a: 2, b: 1, c: 1 }
    let order = ''
    for (let names = Object.keys(left); names.length > 0; names = names.filter(name => left[name] as number > 0)) {
      const name = names[choose(names)] as string
      left[name] = left[name] as number - 1
      order += name
    }
    seen.push(order)
  })
  t.equal(runs, 12, '4! / 2!')
  t.equal(new Set(seen).size, 12)
  t.ok(seen.every(order => [...order].sort().join('') === 'aabc'))
})

t.test('the explorer fails if a race does not repeat itself', async t => {
  let runs = 0
  const growing = explore(async choose => {
    choose(Array.from({ length: 2 + runs++ }, (_, i) => `step ${i}`))
  })
  await t.rejects(growing, { message: 'The race does not repeat itself: step 0, step 1 became step 0, step 1, step 2' })
  runs = 0
  const shrinking = explore(async choose => {
    if (runs++ === 0) choose(['a', 'b'])
  })
  await t.rejects(shrinking, { message: 'The race does not repeat itself: it ended before a, b' })
})

t.test('the kit finds the promises that version 11 breaks', async t => {
  const { schedules, violated, violations } = await raceAll({ store: new MemoryStore(), plugin: upstreamSession as any })
  t.comment(`@fastify/session 11.1.3: ${schedules} schedules, ${violated} with violations`)
  const broken = new Set(violations.map(({ promise }) => promise))
  // Version 11 has neither update() nor take(), so requests that use them fail.
  t.same([...broken].sort(), ['answered', 'ended', 'free', 'kept', 'leftAlone', 'lived', 'next', 'reachable', 'saved', 'told'])
})

t.test('the kit finds a request that hangs', async t => {
  const hanging = fp((app: FastifyInstance, options: any, done: () => void) => {
    app.register(fastifySession, options)
    app.addHook('onSend', ({ url }, _reply, payload, done) => { if (url !== '/race/1') done(null, payload) })
    done()
  })
  const events: RaceEvent[] = ['read', 'write a']
  const { schedules, violated, violations } = await race({ store: new MemoryStore(), events, plugin: hanging })
  t.equal(violated, schedules)
  t.match(violations, [{ promise: 'answered', what: "'write a' got no reply", count: schedules }])
})

type Update = (store: ThreeMethodStore, sessionId: string, changes: any, session: any) => boolean

/** A store with a given `update`. */
class OddStore extends ThreeMethodStore {
  readonly #update: Update

  constructor (update: Update) {
    super()
    this.#update = update
  }

  touch (sessionId: string, session: object, callback: Answer): void {
    this.update(sessionId, { set: {}, unset: [] }, session, callback)
  }

  update (sessionId: string, changes: object, session: object, callback: Answer): void {
    callback(null, this.#update(this, sessionId, changes, session))
  }

  override destroy (sessionId: string, callback: Answer): void {
    const json = this.records.get(sessionId)
    this.records.delete(sessionId)
    callback(null, json === undefined ? false : JSON.parse(json))
  }
}

/** A correct update, except that it creates a session that is gone. */
const update: Update = ({ records }, sessionId, { set, unset }, { cookie }) => {
  const record = { ...JSON.parse(records.get(sessionId) ?? '{}'), ...set, cookie }
  for (const key of unset) delete record[key]
  records.set(sessionId, JSON.stringify(record))
  return true
}

const ODD_STORES: Record<string, { update: Update, events: RaceEvent[], broken: PromiseName[] }> = {
  'brings back a session that is gone': { update, events: ['write a', 'log out'], broken: ['ended'] },
  'replaces the whole record': {
    update: ({ records }, sessionId, { set }, session) => {
      const isThere = records.has(sessionId)
      if (isThere && Object.keys(set).length > 0) records.set(sessionId, JSON.stringify({ ...BASE, ...session, ...set }))
      return isThere
    },
    events: ['write a', 'write b'],
    broken: ['kept']
  },
  'says that it has saved although it has not': {
    update: ({ records }, sessionId) => records.has(sessionId),
    events: ['read', 'save'],
    broken: ['kept', 'saved']
  },
  'leaves half of a record': {
    update: ({ records }, sessionId, { set }) => {
      const isThere = records.has(sessionId)
      if (isThere) records.set(sessionId, JSON.stringify(set))
      return isThere
    },
    events: ['log in', 'write b'],
    broken: ['kept', 'next']
  }
}

for (const [what, { update, events, broken }] of Object.entries(ODD_STORES)) {
  t.test(`the kit finds a store that ${what}`, async t => {
    const store = new OddStore(update) as unknown as SessionStore
    const { violated, violations } = await race({ store, events })
    t.ok(violated > 0)
    t.same([...new Set(violations.map(({ promise }) => promise))].sort(), broken)
    t.match(violations[0], { events, count: Number, schedule: ['get S0', 'get S0', String] })
  })
}

// --- The judge, with made-up evidence

const cookie = { expires: new Date(Date.now() + MAX_AGE).toISOString(), originalMaxAge: MAX_AGE, createdAt: Date.now() }
const CHOSEN = { ...cookie, originalMaxAge: LONGER }
const WRITTEN = { ...BASE, a: 1 }
const GROWN = { ...BASE, cart: ['apple', 1] }
const { d: _taken, ...TAKEN }: SessionRecord = GROWN

function reply (request: RequestName, at: number, sessionId?: string, stored?: SessionRecord): Reply {
  return { request, value: 1, wasLoaded: true, statusCode: 200, at, sessionId, stored }
}

function call (method: string, sessionId: string, askedAt: number, doneAt: number): Call {
  return { method, sessionId, askedAt, doneAt, answeredAt: doneAt }
}

function observation (replies: Reply[], calls: Call[], records: object, visits: object): Observation {
  return {
    first: 'S0',
    fields: ['createdAt'],
    rolling: true,
    hasTouch: true,
    hasUpdate: true,
    replies,
    calls,
    records: new Map(Object.entries(records)),
    visits: new Map(Object.entries(visits))
  }
}

const GOOD = {
  'read and write': () => observation(
    [reply('read', 1, 'S0', BASE), reply('write a', 3, 'S0', WRITTEN)],
    [call('get', 'S0', 0, 1), call('get', 'S0', 0, 2), call('update', 'S0', 2, 3)],
    { S0: { ...WRITTEN, cookie } },
    { S0: WRITTEN }
  ),
  'log out, then write': () => observation(
    [reply('log out', 3), reply('write a', 4)],
    [call('get', 'S0', 0, 1), call('get', 'S0', 0, 2), call('destroy', 'S0', 1, 3), call('update', 'S0', 2, 4)],
    {},
    { S0: {} }
  ),
  'write, then renew': () => observation(
    [reply('write a', 3, 'S0', WRITTEN), reply('renew', 5, 'S1', WRITTEN)],
    [
      call('get', 'S0', 0, 1), call('get', 'S0', 0, 2), call('update', 'S0', 1, 3),
      call('destroy', 'S0', 2, 4), call('set', 'S1', 4, 5)
    ],
    { S1: { ...WRITTEN, cookie } },
    { S0: {}, S1: WRITTEN }
  ),
  'remember me, and read': () => ({
    ...observation(
      [reply('remember', 3, 'S0', { ...BASE, cookie: CHOSEN }), reply('read', 4, 'S0', BASE)],
      [call('get', 'S0', 0, 1), call('get', 'S0', 0, 2), call('update', 'S0', 2, 3), call('touch', 'S0', 2, 4)],
      { S0: { ...BASE, cookie: CHOSEN } },
      { S0: BASE }
    ),
    lasts: true
  }),
  'log in, and a late write': () => observation(
    [{ ...reply('write a', 5), wasLoaded: false }, reply('log in', 4, 'S1', { user: 'eva' })],
    [call('get', 'S0', 0, 1), call('destroy', 'S0', 1, 2), call('set', 'S1', 2, 3), call('get', 'S0', 0, 4)],
    { S1: { user: 'eva', cookie } },
    { S0: {}, S1: { user: 'eva' } }
  ),
  'log out of both': () => ({
    ...observation(
      [reply('read', 3), reply('log out of both', 5)],
      [call('get', 'S0', 0, 1), call('get', 'S0', 0, 2), call('destroy', 'S0', 2, 3), call('destroy', 'S9', 3, 4)],
      {},
      { S0: {}, S9: {} }
    ),
    second: 'S9'
  }),
  'push and take': () => observation(
    [{ ...reply('take', 5, 'S0', TAKEN), result: 1 }, reply('push', 4, 'S0', GROWN)],
    [
      call('get', 'S0', 0, 1), call('get', 'S0', 0, 2), call('get', 'S0', 1, 3), call('updateIf', 'S0', 3, 4),
      call('get', 'S0', 2, 4), call('updateIf', 'S0', 4, 5)
    ],
    { S0: { ...TAKEN, cookie } },
    { S0: TAKEN }
  ),
  'log out, then save in vain': () => observation(
    [reply('log out', 3), { ...reply('save', 4), statusCode: 409, code: 'FST_ERR_SESSION_GONE' }],
    [call('get', 'S0', 0, 1), call('get', 'S0', 0, 2), call('destroy', 'S0', 1, 3), call('update', 'S0', 2, 4)],
    {},
    { S0: {} }
  )
}

const EVA = fingerprint('eva')
const MAX = fingerprint('max')
const listed = (...ids: string[]): Map<string, Set<string>> => new Map([[MAX, new Set(['S0'])], [EVA, new Set(ids)]])

/** Evidence with a user who may have one session. */
const OF_USER = () => ({
  ...observation(
    [reply('sign up', 2, 'S1', { user: 'eva' })],
    [call('claim', 'S1', 0, 1), call('set', 'S1', 1, 2)],
    { S0: { ...BASE, cookie: { ...cookie, userKey: MAX } }, S1: { user: 'eva', cookie: { ...cookie, userKey: EVA } } },
    { S0: BASE, S1: { user: 'eva' } }
  ),
  index: { listed: listed('S1'), max: 1 }
})

t.test('the judge finds nothing wrong with a user whose session is listed', async t => t.same(judge(OF_USER()), []))

t.test("the judge finds a user's session that is not in a list", async t => {
  t.match(judge({ ...OF_USER(), index: { listed: listed(), max: 1 } }), [{ promise: 'listed' }])
})

t.test("the judge finds a session that contains another user's data", async t => {
  const seen = OF_USER()
  const records = new Map([...seen.records, ['S1', { user: 'eva', cookie: { ...cookie, userKey: MAX } }]])
  t.match(judge({ ...seen, records, index: { listed: listed('S1'), max: 2 } }), [{ promise: 'listed' }, { promise: 'owned' }])
})

t.test('the judge finds a session in the list of the wrong team, and one that is missing in the list of its team', async t => {
  const seen = OF_USER()
  const inTeam = (team: string): SessionRecord => ({ user: 'eva', cookie: { ...cookie, userKey: EVA, 'key:team': indexKey('session', 'team', team) } })
  const withTeam = (team: string, ...ids: string[]): Observation => ({
    ...seen,
    records: new Map([['S1', inTeam(team)]]),
    index: { listed: new Map([...listed('S1'), [indexKey('session', 'team', team), new Set(ids)]]), max: 2, teams: true }
  })
  const about = (seen: Observation): PromiseName[] => judge(seen).map(({ promise }) => promise).filter(promise => promise === 'listed' || promise === 'owned')
  t.same(about(withTeam('red', 'S1')), [])
  t.same(about(withTeam('blue', 'S1')), ['owned'])
  t.same(about(withTeam('red')), ['listed'])
})

t.test('the judge finds a session beyond the limit, and a missing session', async t => {
  const tooMany = OF_USER()
  const record = { user: 'eva', cookie: { ...cookie, userKey: EVA } }
  const records = new Map([...tooMany.records, ['S2', record]])
  t.match(judge({ ...tooMany, records, index: { listed: listed('S1', 'S2'), max: 1 } }), [{ promise: 'reachable' }, { promise: 'limited' }])
  const none = new Map([['S0', { ...BASE, cookie: { ...cookie, userKey: MAX } }]])
  t.ok(judge({ ...tooMany, records: none }).some(({ promise }) => promise === 'limited'))
})

for (const [what, make] of Object.entries(GOOD)) {
  t.test(`the judge finds nothing wrong with '${what}'`, async t => t.same(judge(make()), []))
}

/** Evidence that a test can change. */
type Changeable = Omit<Observation, 'records' | 'visits' | 'calls' | 'replies'> & {
  records: Map<string, SessionRecord>
  visits: Map<string, SessionRecord>
  calls: Call[]
  replies: [Reply, Reply]
}

const BAD: Array<[what: string, good: keyof typeof GOOD, change: (seen: Changeable) => void, broken: PromiseName[]]> = [
  ['no reply', 'read and write', ({ replies }) => { delete replies[0].statusCode }, ['answered']],
  ['a server error', 'read and write', ({ replies }) => { replies[0].statusCode = 500 }, ['answered']],
  ['a live session reported as gone', 'write, then renew', ({ replies }) => {
    Object.assign(replies[0], { statusCode: 409, code: 'FST_ERR_SESSION_GONE' })
  }, ['answered']],
  ['a refusal with another code', 'log out, then save in vain', ({ replies }) => { replies[1].code = 'OTHER' }, ['answered']],
  ['a record of a session that has ended', 'log out, then write', ({ records }) => { records.set('S0', { ...WRITTEN, cookie }) }, ['ended']],
  ['a working cookie of a session that has ended', 'log out, then write', ({ visits }) => { visits.set('S0', BASE) }, ['ended']],
  ['data of a session that another request had ended', 'write, then renew', ({ calls }) => { calls.push(call('destroy', 'S0', 2, 3.5)) }, ['ended']],
  ['data of a session that had expired', 'write, then renew', seen => { seen.expiredAt = 3.5 }, ['ended']],
  ['a new session that has outlived its time', 'write, then renew', seen => { seen.expiredAt = 6 }, ['ended']],
  ['a lost change', 'read and write', ({ records, visits }) => {
    records.set('S0', { ...BASE, cookie })
    visits.set('S0', BASE)
  }, ['kept']],
  ['a value that nobody wrote', 'read and write', ({ records, visits }) => {
    records.set('S0', { ...WRITTEN, b: 1, cookie })
    visits.set('S0', { ...WRITTEN, b: 1 })
  }, ['kept']],
  ['a record without a cookie', 'read and write', ({ records }) => { records.set('S0', WRITTEN) }, ['kept']],
  ['a cookie that has lost a field', 'read and write', ({ records }) => {
    const { createdAt, ...others } = cookie
    records.set('S0', { ...WRITTEN, cookie: others })
  }, ['kept']],
  ['a lost session', 'read and write', ({ records, visits }) => {
    records.clear()
    visits.set('S0', {})
  }, ['kept']],
  ['a session that was not found', 'read and write', ({ replies }) => { replies[0].wasLoaded = false }, ['kept']],
  ['a cookie that does not work', 'read and write', ({ visits }) => { visits.set('S0', {}) }, ['kept']],
  ['a change that is not taken along', 'write, then renew', ({ records, visits }) => {
    records.set('S1', { ...BASE, cookie })
    visits.set('S1', BASE)
  }, ['next']],
  ['a new cookie that does not work', 'write, then renew', ({ visits }) => { visits.set('S1', {}) }, ['next']],
  ['a new session that no reply sent', 'write, then renew', ({ replies }) => { delete replies[1].sessionId }, ['next', 'reachable']],
  ['a change that was not in the store', 'read and write', ({ replies }) => { replies[1].stored = BASE }, ['saved']],
  ['a cookie for a session that was not in the store', 'read and write', ({ replies }) => { delete replies[0].stored }, ['saved']],
  ['an unnecessary write', 'read and write', ({ calls }) => { calls.push(call('set', 'S0', 0, 1)) }, ['free']],
  ['a session whose cookie nobody got', 'log out, then write', ({ records }) => { records.set('S9', { cookie }) }, ['reachable']],
  ['a chosen lifetime that was forgotten', 'remember me, and read', ({ records }) => {
    records.set('S0', { ...BASE, cookie })
  }, ['lived']],
  ['an end that was moved back', 'remember me, and read', seen => { seen.lasts = false }, ['lived']],
  ['a lifetime that nobody chose', 'read and write', ({ records }) => {
    records.set('S0', { ...WRITTEN, cookie: CHOSEN })
  }, ['lived']],
  ['a chosen lifetime that was not in the store', 'remember me, and read', ({ replies }) => { replies[0].stored = { ...BASE, cookie } }, ['saved']],
  ['a late reply that clears the new cookie', 'log in, and a late write', ({ replies }) => { replies[0].isCleared = true }, ['leftAlone']],
  ['a late reply with a cookie of its own', 'log in, and a late write', ({ replies, records, visits }) => {
    Object.assign(replies[0], { sessionId: 'S2', stored: { a: 1 } })
    records.set('S2', { a: 1, cookie })
    visits.set('S2', { a: 1 })
  }, ['leftAlone']],
  ['a second session that is still there after the logout', 'log out of both', ({ records, visits }) => {
    records.set('S9', { ...BASE, cookie })
    visits.set('S9', BASE)
  }, ['ended']],
  ['a lost addition', 'push and take', ({ records, visits }) => {
    const lost = { ...TAKEN, cart: ['apple'] }
    records.set('S0', { ...lost, cookie })
    visits.set('S0', lost)
  }, ['kept']],
  ['an addition that is there twice', 'push and take', ({ records, visits }) => {
    const twice = { ...TAKEN, cart: ['apple', 1, 1] }
    records.set('S0', { ...twice, cookie })
    visits.set('S0', twice)
  }, ['kept']],
  ['an addition that was not in the store', 'push and take', ({ replies }) => { replies[1].stored = BASE }, ['saved']],
  ['two requests that took the same value', 'push and take', ({ replies }) => {
    replies[1] = { ...replies[0] }
  }, ['kept']],
  ['a value that was taken but returned to nobody', 'push and take', ({ replies }) => { delete replies[0].result }, ['kept']],
  ['a cookie that is sent after the session has ended', 'log out, then write', ({ replies }) => { replies[1].sessionId = 'S0' }, ['told']]
]

for (const [what, good, change, broken] of BAD) {
  t.test(`the judge finds ${what}`, async t => {
    const seen = GOOD[good]() as Changeable
    change(seen)
    t.same([...new Set(judge(seen).map(({ promise }) => promise))], broken)
  })
}

t.test('the bad evidence breaks every promise at least once', async t => {
  const ofUsers = ['listed', 'limited', 'owned']
  t.same(new Set([...BAD.flatMap(([, , , broken]) => broken), ...ofUsers]), new Set(Object.keys(PROMISES)))
})
