/** What a store's index by user is asked, and what visitors see of it. */
import type { SessionStore } from '../types/store'
import { HOUR, MINUTE, timed, type OpenStore, type TestContext } from './context'
import { ask, find, live } from './contract'
import { ok, same } from './mend'
import type { Findings } from './promises'
import { Site, type SiteOptions } from './site'

export async function testIndex (t: TestContext, findings: Findings, openStore: OpenStore): Promise<void> {
  if (findings.declared.users !== true) return

  await t.test('lists what was claimed, the first first, and when', async t => {
    const store = await open(t)
    same(await listed(store, 'max'), [], 'claimsOf() must answer an empty list for a user without sessions')
    for (const sessionId of ['c', 'a', 'b']) await claim(store, 'max', sessionId)
    same(await listed(store, 'max'), ['c', 'a', 'b'], 'claimsOf() must answer the sessions in the order in which they were claimed')
    for (const entry of await claimsOf(store, 'max')) {
      const isPair = Array.isArray(entry) && entry.length === 2 && typeof entry[0] === 'string' && typeof entry[1] === 'number'
      ok(isPair, 'claimsOf() must answer pairs: [sessionId, claimedAt]')
      ok(Math.abs(Date.now() - entry[1]) < MINUTE, 'claimedAt must be in milliseconds since the epoch')
    }
  })

  await t.test('claims at the same time keep an order, and lose nothing', async t => {
    const store = await open(t)
    const ids = Array.from({ length: 20 }, (_, i) => `s${i}`)
    await Promise.all(ids.map(sessionId => claim(store, 'max', sessionId)))
    same((await listed(store, 'max')).sort(), [...ids].sort(), 'claim() must enter the session in one step: read no list that is written back')
  })

  await t.test('a session that is claimed again is entered once, at its place', async t => {
    const store = await open(t)
    for (const sessionId of ['a', 'b', 'a']) await claim(store, 'max', sessionId)
    same(await listed(store, 'max'), ['a', 'b'], 'claim() must leave what is entered where it is')
  })

  await t.test('a user has as many sessions as may be, and no more', async t => {
    const store = await open(t)
    const answers: unknown[] = []
    for (const sessionId of ['a', 'b', 'c']) answers.push(await claim(store, 'max', sessionId, 2))
    same(answers.map(answer => answer !== false), [true, true, false], 'claim() must answer false where the user has max sessions, and not before')
    same(await listed(store, 'max'), ['a', 'b'], 'claim() must enter nothing where the user has max sessions')
    ok(await claim(store, 'max', 'a', 2) !== false, 'claim() must not refuse a session that is entered already')
    ok(await claim(store, 'eva', 'd', 2) !== false, 'claim() must count the sessions of the one user')
    await ask(store, 'release', 'max', 'a')
    ok(await claim(store, 'max', 'e', 2) !== false, 'release() must make room')
    ok(await claim(store, 'max', 'f', Infinity) !== false, 'Infinity is no limit')
  })

  await t.test('of logins at the same time only as many get in as there is room for', async t => {
    const store = await open(t)
    const ids = Array.from({ length: 20 }, (_, i) => `s${i}`)
    const answers = await Promise.all(ids.map(sessionId => claim(store, 'max', sessionId, 5)))
    const advice = 'claim() must count and enter in one atomic step'
    same(answers.filter(answer => answer !== false).length, 5, advice)
    same((await listed(store, 'max')).length, 5, advice)
  })

  await t.test('release takes off the one session, of the one user', async t => {
    const store = await open(t)
    for (const sessionId of ['a', 'b']) await claim(store, 'max', sessionId)
    for (const user of ['eva', 'Max', 'maxi']) await claim(store, user, 'a')
    await ask(store, 'release', 'max', 'a')
    same(await listed(store, 'max'), ['b'], 'release() must take the session off the list, and no other one')
    for (const user of ['eva', 'Max', 'maxi']) same(await listed(store, user), ['a'], 'release() must leave the lists of other users; their keys are compared exactly')
    await ask(store, 'release', 'max', 'nobody')
    await ask(store, 'release', 'nobody', 'a')
    same(await listed(store, 'max'), ['b'], 'release() of what is not entered must change nothing')
  })

  await t.test('a claim neither creates a session nor changes one', async t => {
    const store = await open(t)
    await claim(store, 'max', 'a')
    ok(!await find(store, 'a'), 'claim() must not create the session: it comes before the session is written')
    await ask(store, 'set', 'a', live({ n: 1 }))
    await ask(store, 'release', 'max', 'a')
    ok(await find(store, 'a'), 'release() must not remove the session')
  })

  await t.test('an entry is kept as long as its session may live', async t => {
    const { store, pass } = await timed(t, openStore)
    await ask(store, 'set', 'a', live({ n: 1 }, 2 * HOUR))
    await claim(store, 'max', 'a', Infinity, 2 * HOUR)
    await claim(store, 'max', 'b', Infinity, MINUTE)
    await pass(HOUR / 2)
    same(await listed(store, 'max'), ['a', 'b'], 'an entry must be kept for twice the life of its session and an hour')
    await pass(HOUR)
    same((await listed(store, 'max'))[0], 'a', 'an entry must be kept for twice the life of its session and an hour')
  })

  await testUsers(t, openStore)

  async function open (t: TestContext): Promise<SessionStore> {
    return (await openStore(t)).store
  }
}

async function testUsers (t: TestContext, openStore: OpenStore): Promise<void> {
  async function open (t: TestContext, options: SiteOptions = {}): Promise<Site> {
    const { store, pass } = await timed(t, openStore)
    return await Site.open(t, store, pass, { user: session => (session as any).user, ...options })
  }

  await t.test('whoever logs in is listed, the last login first, and can be logged out by name', async t => {
    const { max, eva, stranger, app } = await open(t)
    for (const visitor of [max, stranger]) await visitor.get('/login/max')
    await eva.get('/login/eva')
    same((await app.sessions.forUser('max')).length, 2, 'both logins must be in the list: claim() enters, claimsOf() lists')
    same(await app.sessions.revokeUser('max'), 2, 'both sessions must be ended')
    const bodies = await Promise.all([max, stranger, eva].map(async visitor => (await visitor.get('/whoami')).body))
    same(bodies, ['nobody', 'nobody', 'eva'], 'whoever was revoked must be logged out, and nobody besides')
    same(await app.sessions.forUser('max'), [], 'what was ended must be taken off the list: release()')
  })

  await t.test('whoever becomes another user on the same id is listed as that one', async t => {
    const { max, app } = await open(t)
    await max.get('/login/max')
    await max.get('/login/eva')
    same((await app.sessions.forUser('max')).length, 0, 'release() must take the session off the user before')
    same(await app.sessions.revokeUser('eva'), 1, 'the new owner must be written: update() applies changes.meta')
    same((await max.get('/whoami')).body, 'nobody', 'whoever was revoked must be logged out')
  })

  await t.test('of too many logins the oldest are ended, or the last is refused', async t => {
    const { max, eva, stranger } = await open(t, { maxPerUser: 2 })
    for (const visitor of [max, eva, stranger]) await visitor.get('/login/max')
    const bodies = await Promise.all([max, eva, stranger].map(async visitor => (await visitor.get('/whoami')).body))
    same(bodies, ['nobody', 'max', 'max'], 'the oldest must be ended: claimsOf() answers it first')
    const refusing = await open(t, { maxPerUser: 1, onMaxPerUser: 'refuse' })
    const statuses = []
    for (const visitor of [refusing.max, refusing.eva]) statuses.push((await visitor.get('/login/refused')).statusCode)
    same(statuses, [200, 403], 'the second must be refused: claim() answers false at max')
    await refusing.max.get('/logout')
    same((await refusing.eva.get('/login/refused')).statusCode, 200, 'a logout must make room: release()')
  })
}

function claim (store: SessionStore, userKey: string, sessionId: string, max = Infinity, life = HOUR): Promise<unknown> {
  return ask(store, 'claim', userKey, sessionId, live({ n: 1 }, life), max)
}

async function claimsOf (store: SessionStore, userKey: string): Promise<Array<[string, number]>> {
  const claims = await ask(store, 'claimsOf', userKey) ?? []
  ok(Array.isArray(claims), 'claimsOf() must answer a list')
  return claims
}

async function listed (store: SessionStore, userKey: string): Promise<string[]> {
  return (await claimsOf(store, userKey)).map(([sessionId]) => sessionId)
}
