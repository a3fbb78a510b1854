/** Tests of a store's index by user, and of its effects on visitors. */
import { fingerprint } from '../diagnostics'
import type { Claimed, Claiming, IndexEntry, SessionStore } from '../types/store'
import { HOUR, MINUTE, timed, type OpenStore, type TestContext } from './context'
import { ask, find, live } from './contract'
import { ok, same } from './mend'
import type { Findings } from './promises'
import { Site, type SiteOptions } from './site'

export async function testIndex (t: TestContext, findings: Findings, openStore: OpenStore): Promise<void> {
  if (findings.declared.users !== true) return

  await t.test('lists the claimed sessions with their times, the last claimed first', async t => {
    const store = await open(t)
    same(await listed(store, 'max'), [], 'claimsOf() must answer with an empty list for a user without sessions')
    for (const sessionId of ['c', 'a', 'b']) await claim(store, 'max', sessionId)
    const entries = await claimsOf(store, 'max')
    // A store may answer with anything.
    for (const entry of entries as any[]) {
      const isEntry = typeof entry?.sessionId === 'string' && typeof entry.claimedAt === 'number' && typeof entry.age === 'number'
      ok(isEntry, 'claimsOf() must answer with objects: { sessionId, claimedAt, age }')
      ok(Math.abs(Date.now() - entry.claimedAt) < MINUTE, 'claimedAt must be in milliseconds since the epoch')
      ok(entry.age >= 0 && entry.age < MINUTE, 'age must be in milliseconds since the session was entered')
    }
    same(entries.map(({ sessionId }) => sessionId), ['b', 'a', 'c'], 'claimsOf() must answer with the sessions, the last claimed first')
    same(new Set(entries.map(({ claimedAt }) => claimedAt)).size, 3, 'No two entries of a user may have the same claimedAt, because it is the cursor of lists')
  })

  await t.test('lists by pages', async t => {
    const store = await open(t)
    for (const sessionId of ['a', 'b', 'c', 'd']) await claim(store, 'max', sessionId)
    const first = await claimsOf(store, 'max', Infinity, 2)
    same(first.map(({ sessionId }) => sessionId), ['d', 'c'], 'claimsOf() must answer with as many entries as count says, and no more')
    const next = await claimsOf(store, 'max', first[1]?.claimedAt, 2)
    same(next.map(({ sessionId }) => sessionId), ['b', 'a'], 'claimsOf() must answer only with entries that were claimed before that time')
  })

  await t.test('simultaneous claims are all kept', async t => {
    const store = await open(t)
    const ids = Array.from({ length: 20 }, (_, i) => `s${i}`)
    await Promise.all(ids.map(sessionId => claim(store, 'max', sessionId)))
    same((await listed(store, 'max')).sort(), [...ids].sort(), 'claim() must enter the session in one step, and not read a list and write it back')
  })

  await t.test('a session that is claimed again keeps its single entry and its position', async t => {
    const store = await open(t)
    for (const sessionId of ['a', 'b', 'a']) await claim(store, 'max', sessionId)
    same(await claim(store, 'max', 'a', { isWritten: true }), ENTERED, "claim() must answer with 'entered' for a session that is already entered")
    same(await listed(store, 'max'), ['b', 'a'], 'claim() must not move an existing entry')
    const { outcome } = await claim(store, 'max', 'c', { isWritten: true })
    same(outcome, 'lost', "claim() with isWritten must answer with 'lost' if the session is not entered, and enter nothing")
  })

  await t.test('a session that replaces another takes over its entry', async t => {
    const store = await open(t)
    for (const sessionId of ['a', 'b']) await claim(store, 'max', sessionId)
    same(await claim(store, 'max', 'c', { replaces: 'a', max: 2, refuses: true }), ENTERED, 'claim() with replaces must not be refused, because it frees the place that it takes')
    same(await listed(store, 'max'), ['b', 'c'], 'claim() with replaces must take over the entry of that session, in the same step')
    const { outcome } = await claim(store, 'max', 'd', { replaces: 'nobody' })
    same(outcome, 'lost', "claim() with replaces must answer with 'lost' if that session is not entered, and enter nothing")
  })

  await t.test('a user can have max sessions, and no more', async t => {
    const store = await open(t)
    const outcomes: unknown[] = []
    for (const sessionId of ['a', 'b', 'c']) outcomes.push((await claim(store, 'max', sessionId, { max: 2, refuses: true })).outcome)
    same(outcomes, ['entered', 'entered', 'full'], "claim() must answer with 'full' if the user has max sessions and refuses is set, and not before")
    same(await listed(store, 'max'), ['b', 'a'], "claim() must enter nothing if it answers with 'full'")
    same(await claim(store, 'max', 'a', { max: 2, refuses: true }), ENTERED, 'claim() must not refuse a session that is already entered')
    same(await claim(store, 'eva', 'd', { max: 2, refuses: true }), ENTERED, 'claim() must count only the sessions of this user')
    await ask(store, 'release', 'max', ['a'])
    same(await claim(store, 'max', 'e', { max: 2, refuses: true }), ENTERED, 'release() must free a place')
    same(await claim(store, 'max', 'f', { max: Infinity, refuses: true }), ENTERED, 'claim() must treat max: Infinity as no limit')
  })

  await t.test('beyond the limit, the oldest sessions are marked for ending, once the new one is written', async t => {
    const store = await open(t)
    for (const sessionId of ['a', 'b', 'c']) same(await claim(store, 'max', sessionId, { max: 1 }), ENTERED, 'claim() must not end any session before the new one is written')
    const advice = 'claim() with isWritten must answer with the oldest as tooMany, and move them to the sessions to be ended'
    same((await claim(store, 'max', 'c', { max: 1, isWritten: true })).tooMany, ['a', 'b'], advice)
    same(await listed(store, 'max'), ['c'], advice)
    same((await endingsOf(store, 'max')).sort(), ['a', 'b'], advice)
  })

  await t.test('of simultaneous logins, only max succeed', async t => {
    const store = await open(t)
    const ids = Array.from({ length: 20 }, (_, i) => `s${i}`)
    const claimed = await Promise.all(ids.map(sessionId => claim(store, 'max', sessionId, { max: 5, refuses: true })))
    const advice = 'claim() must count and enter in one atomic step'
    same(claimed.filter(({ outcome }) => outcome === 'entered').length, 5, advice)
    same((await listed(store, 'max')).length, 5, advice)
  })

  await t.test('release removes only the given entries of this user', async t => {
    const store = await open(t)
    for (const sessionId of ['a', 'b', 'c']) await claim(store, 'max', sessionId)
    for (const user of ['eva', 'Max', 'maxi']) await claim(store, user, 'a')
    await ask(store, 'release', 'max', ['a', 'c'])
    same(await listed(store, 'max'), ['b'], 'release() must remove the entries of these sessions, and no others')
    for (const user of ['eva', 'Max', 'maxi']) same(await listed(store, user), ['a'], 'release() must not change the lists of other users, so compare their keys exactly')
    await ask(store, 'release', 'max', ['nobody'])
    await ask(store, 'release', 'nobody', ['a'])
    same(await listed(store, 'max'), ['b'], 'release() of a session that is not entered must change nothing')
  })

  await t.test('a revocation moves sessions to the list of those to be ended, and they stay there until release', async t => {
    const store = await open(t)
    for (const sessionId of ['a', 'b', 'c', 'd']) await claim(store, 'max', sessionId)
    await claim(store, 'eva', 'e')
    same(await ask(store, 'revoke', 'max', { fingerprint: fingerprint('b') }), 1, 'revoke() must answer with how many sessions it moved: one, the one with its fingerprint')
    same(await listed(store, 'max'), ['d', 'c', 'a'], 'revoke() must move the session with this fingerprint')
    same(await ask(store, 'revoke', 'max', { except: 'c' }), 2, 'revoke() must leave the session in except')
    same(await listed(store, 'max'), ['c'], 'revoke() must leave the session in except')
    same((await endingsOf(store, 'max')).sort(), ['a', 'b', 'd'], 'endingsOf() must answer with the revoked sessions')
    for (const [sessionId, more] of [['a', {}], ['a', { isWritten: true }], ['f', { replaces: 'a' }]] as const) {
      same((await claim(store, 'max', sessionId, more)).outcome, 'ending', "claim() must answer with 'ending' for a revoked session, and for one that would replace it")
    }
    await ask(store, 'release', 'max', ['a', 'b', 'd'])
    same(await endingsOf(store, 'max'), [], 'release() must also remove sessions from those to be ended')
    same(await ask(store, 'revoke', 'max', {}), 1, 'revoke() must move all sessions of the user')
    same([await listed(store, 'max'), await listed(store, 'eva')], [[], ['e']], 'revoke() must not change the lists of other users')
  })

  await t.test('a session can be under several keys, and a revocation by one of them leaves the others', async t => {
    const store = await open(t)
    for (const key of ['max', 'acme']) await claim(store, key, 'a')
    const advice = 'A session may be under several keys at the same time. revoke() and endingsOf() must affect only the given key'
    same(await ask(store, 'revoke', 'acme', {}), 1, advice)
    same([await endingsOf(store, 'acme'), await endingsOf(store, 'max')], [['a'], []], advice)
    same(await listed(store, 'max'), ['a'], advice)
    same(await claim(store, 'max', 'a', { isWritten: true }), ENTERED, advice)
  })

  await t.test('a claim neither creates a session nor changes one', async t => {
    const store = await open(t)
    await claim(store, 'max', 'a')
    ok(!await find(store, 'a'), 'claim() must not create the session, because it is called before the session is written')
    await ask(store, 'set', 'a', live({ n: 1 }))
    await ask(store, 'release', 'max', ['a'])
    ok(await find(store, 'a'), 'release() must not remove the session')
  })

  await t.test('an entry is kept for the time that the claim says', async t => {
    const { store, pass } = await timed(t, openStore)
    await claim(store, 'max', 'a', { lives: 2 * HOUR })
    await claim(store, 'max', 'b', { lives: MINUTE })
    await pass(MINUTE / 2)
    same(await listed(store, 'max'), ['b', 'a'], 'an entry must be kept as long as lives says, in milliseconds')
    await pass(HOUR)
    same(await claim(store, 'max', 'c', { max: 2, refuses: true }), ENTERED, 'claim() must not count entries whose time has passed')
    same(await listed(store, 'max'), ['c', 'a'], 'claim() must forget entries whose time has passed')
  })

  async function open (t: TestContext): Promise<SessionStore> {
    return (await openStore(t)).store
  }
}

export async function testUsers (t: TestContext, findings: Findings, openStore: OpenStore): Promise<void> {
  if (findings.declared.users !== true) return

  async function open (t: TestContext, options: SiteOptions = {}): Promise<Site> {
    const { store, pass } = await timed(t, openStore)
    // The application that uses the kit may not have declared this key.
    return await Site.open(t, store, pass, { user: session => (session as any).user, ...options })
  }

  await t.test('users who log in are listed, the last login first, and can be logged out by name', async t => {
    const { max, eva, stranger, app } = await open(t)
    for (const visitor of [max, stranger]) await visitor.get('/login/max')
    await eva.get('/login/eva')
    same((await app.sessions.forUser('max')).length, 2, 'both logins must be in the list: claim() enters, claimsOf() lists')
    same(await app.sessions.revokeUser('max'), 2, 'both sessions must be ended')
    const bodies = await Promise.all([max, stranger, eva].map(async visitor => (await visitor.get('/whoami')).body))
    same(bodies, ['nobody', 'nobody', 'eva'], 'the revoked sessions must be logged out, and no others')
    same(await app.sessions.forUser('max'), [], 'ended sessions must be removed from the list: release()')
  })

  await t.test('a session that changes its user without a new id is listed under the new user', async t => {
    const { max, app } = await open(t)
    await max.get('/login/max')
    await max.get('/login/eva')
    same((await app.sessions.forUser('max')).length, 0, 'release() must remove the session from the list of the former user')
    same(await app.sessions.revokeUser('eva'), 1, 'the new owner must be written: update() applies changes.meta')
    same((await max.get('/whoami')).body, 'nobody', 'a revoked session must be logged out')
  })

  await t.test('beyond maxPerUser, the oldest login is ended, or the last is refused', async t => {
    const { max, eva, stranger } = await open(t, { maxPerUser: 2 })
    for (const visitor of [max, eva, stranger]) await visitor.get('/login/max')
    const bodies = await Promise.all([max, eva, stranger].map(async visitor => (await visitor.get('/whoami')).body))
    same(bodies, ['nobody', 'max', 'max'], 'the oldest must be ended: claim() answers with it as tooMany')
    const refusing = await open(t, { maxPerUser: 1, onMaxPerUser: 'refuse' })
    const statuses = []
    for (const visitor of [refusing.max, refusing.eva]) statuses.push((await visitor.get('/login/refused')).statusCode)
    same(statuses, [200, 403], "the second must be refused: claim() answers with 'full' at max")
    await refusing.max.get('/logout')
    same((await refusing.eva.get('/login/refused')).statusCode, 200, 'a logout must free a place: release()')
  })
}

const ENTERED: Claimed = { outcome: 'entered', tooMany: [] }

async function claim (store: SessionStore, userKey: string, sessionId: string, more: Partial<Claiming> = {}): Promise<Claimed> {
  const claiming: Claiming = {
    fingerprint: fingerprint(sessionId), lives: HOUR, replaces: undefined, isWritten: false, max: Infinity, refuses: false, ...more
  }
  const claimed = await ask(store, 'claim', userKey, sessionId, claiming) as Claimed
  ok(typeof claimed?.outcome === 'string' && Array.isArray(claimed.tooMany), 'claim() must answer with { outcome, tooMany }')
  return { outcome: claimed.outcome, tooMany: claimed.tooMany }
}

async function claimsOf (store: SessionStore, userKey: string, before = Infinity, count = 100): Promise<IndexEntry[]> {
  const entries = await ask(store, 'claimsOf', userKey, before, count) ?? []
  ok(Array.isArray(entries), 'claimsOf() must answer with a list')
  return entries
}

async function listed (store: SessionStore, userKey: string): Promise<string[]> {
  return (await claimsOf(store, userKey)).map(({ sessionId }) => sessionId)
}

async function endingsOf (store: SessionStore, userKey: string): Promise<string[]> {
  return await ask(store, 'endingsOf', userKey) as string[] ?? []
}
