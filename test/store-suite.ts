/**
 * What every store is asked: by itself, by visitors of an app that keeps its sessions there, and by those of two
 * processes. Where a store doesn't keep a promise, the suite asserts what happens instead.
 */
import type { Test } from 'tap'
import { SessionCookie } from '../src/session-cookie'
import type { SessionRecord, SessionStore } from '../src/stores/store'
import { setCookies, type SessionOptions, type Visitor } from './helpers'
import { Findings, type Promises } from './promises'
import { clock, dataOf, recordIntervals, Site } from './site'

export { clock, Gate, recordCalls } from './site'
export type { Promises } from './promises'

/** A store, and how time goes by for it. */
export interface Subject {
  store: SessionStore
  /** Lets the store's own clock go on, where it has one; `Date.now` is moved by the suite. */
  pass?: (milliseconds: number) => Promise<void>
  /** What another process has: another object on the same sessions. Missing where no other process can have them. */
  another?: () => SessionStore
}

export type MakeSubject = (t: Test) => Subject | Promise<Subject>
type AnyStore = Record<string, ((...args: any[]) => any) | undefined>

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const MOST_CALLS = 10

/** Asserts what is declared, and gives what was found. */
export async function testStore (t: Test, promises: Promises, makeSubject: MakeSubject): Promise<Findings> {
  const findings = new Findings(promises)
  await t.test('the store itself', t => testContract(t, findings, makeSubject))
  await t.test('for visitors', t => testVisits(t, findings, makeSubject))
  await t.test('for visitors of two processes', t => testProcesses(t, findings, makeSubject))
  return findings
}

// --- The store itself

async function testContract (t: Test, findings: Findings, makeSubject: MakeSubject): Promise<void> {
  const promises = findings.declared

  t.test('answers nothing for a session that it does not have', async t => {
    const { store } = await makeSubject(t)
    t.notOk(await find(store, 'nobody'))
    await ask(store, 'destroy', 'nobody')
    t.notOk(await find(store, 'nobody'))
  })

  t.test('answers what was set, and its cookie', async t => {
    const { store } = await makeSubject(t)
    const session = live({ user: { name: 'max', tags: ['a', 'b'] }, n: 0, no: false, nothing: null, text: 'ü\u0000' })
    await ask(store, 'set', 'a', session)
    const stored = await find(store, 'a') as any
    t.same(dataOf(stored), dataOf(session))
    const { cookie } = stored
    t.equal(new Date(cookie.expires).getTime(), session.cookie.expires?.getTime())
    t.equal(cookie.originalMaxAge, HOUR)
    t.equal(cookie.path, '/')
    t.equal(cookie.httpOnly, true)
  })

  t.test('replaces the whole session by set', async t => {
    const { store } = await makeSubject(t)
    await ask(store, 'set', 'a', live({ old: 1 }))
    await ask(store, 'set', 'a', live({ new: 1 }))
    t.same(dataOf(await find(store, 'a')), { new: 1 })
  })

  t.test('keeps sessions apart', async t => {
    const { store } = await makeSubject(t)
    await ask(store, 'set', 'a', live({ user: 'max' }))
    await ask(store, 'set', 'b', live({ user: 'eva' }))
    await ask(store, 'destroy', 'a')
    t.notOk(await find(store, 'a'))
    t.same(dataOf(await find(store, 'b')), { user: 'eva' })
  })

  t.test('keeps what was set, whatever becomes of the object', async t => {
    const { store } = await makeSubject(t)
    const cart = ['apple']
    const session = live({ cart }) as any
    const expires = session.cookie.expires.getTime()
    await ask(store, 'set', 'a', session)
    cart.push('pear')
    session.cookie.expires.setTime(0)
    session.other = 1
    const stored = await find(store, 'a') as any
    t.same(dataOf(stored), { cart: ['apple'] })
    t.equal(new Date(stored.cookie.expires).getTime(), expires)
  })

  t.test(promises.onlyYours ? 'adds nothing to the data' : 'adds a key of its own to the data', async t => {
    const { store } = await makeSubject(t)
    await ask(store, 'set', 'a', live({ user: 'max' }))
    findings.note(t, 'onlyYours', Object.keys(await find(store, 'a') ?? {}).sort().join() === 'cookie,user')
  })

  t.test(promises.dates ? 'keeps a Date' : 'makes a Date its ISO string', async t => {
    const { store } = await makeSubject(t)
    const date = new Date('2024-02-29T12:00:00.123Z')
    await ask(store, 'set', 'a', live({ date }))
    const { date: stored } = dataOf(await find(store, 'a'))
    findings.note(t, 'dates', stored instanceof Date)
    t.strictSame(stored, promises.dates ? date : date.toISOString())
  })

  t.test(promises.expires ? 'no longer answers a session that has expired' : 'leaves the expiry to the library', async t => {
    const { store, pass } = await timed(t, makeSubject)
    await ask(store, 'set', 'a', live({ user: 'max' }, MINUTE))
    await pass(MINUTE - 5000)
    t.ok(await find(store, 'a'))
    await pass(10_000)
    findings.note(t, 'expires', await find(store, 'a') == null)
  })

  t.test('keeps a session without expiry', async t => {
    const { store, pass } = await timed(t, makeSubject)
    await ask(store, 'set', 'a', live({ user: 'max' }, null))
    await pass(HOUR / 2)
    t.same(dataOf(await find(store, 'a')), { user: 'max' })
    await pass(25 * HOUR)
    findings.note(t, 'waits', await find(store, 'a') != null)
  })

  if (promises.touches) {
    t.test('touch moves the expiry, and no data', async t => {
      const { store, pass } = await timed(t, makeSubject)
      await ask(store, 'set', 'a', live({ n: 1 }, MINUTE))
      await pass(MINUTE / 2)
      const found = await ask(store, 'touch', 'a', live({ n: 2 }, MINUTE))
      t.not(found, false)
      await pass(MINUTE - 5000)
      t.same(dataOf(await find(store, 'a')), { n: 1 })
      await pass(10_000)
      t.notOk(await find(store, 'a'))
    })

    t.test('touch never creates a session', async t => {
      const { store } = await makeSubject(t)
      findings.note(t, 'tellsGone', await touch(store, 'a', live({ n: 1 })) === false)
      t.notOk(await find(store, 'a'))
    })
  }

  if (promises.updates) {
    t.test('update applies the changes and the expiry', async t => {
      const { store, pass } = await timed(t, makeSubject)
      await ask(store, 'set', 'a', live({ keep: { n: 1 }, change: 1, remove: 1 }, MINUTE))
      const changes = { set: { change: 2, add: ['x'] }, unset: ['remove', 'never there'] }
      const found = await ask(store, 'update', 'a', changes, live({ other: 1 }, HOUR))
      t.not(found, false)
      await pass(HOUR - MINUTE)
      t.same(dataOf(await find(store, 'a')), { keep: { n: 1 }, change: 2, add: ['x'] })
      await pass(2 * MINUTE)
      t.notOk(await find(store, 'a'))
    })

    t.test('update never creates a session', async t => {
      const { store } = await makeSubject(t)
      t.equal(await ask(store, 'update', 'a', { set: { n: 1 }, unset: [] }, live({ n: 1 })), false)
      t.notOk(await find(store, 'a'))
    })

    t.test('update revives no expired session', async t => {
      const { store, pass } = await timed(t, makeSubject)
      await ask(store, 'set', 'a', live({ n: 1 }, MINUTE))
      await pass(2 * MINUTE)
      t.equal(await ask(store, 'update', 'a', { set: { n: 2 }, unset: [] }, live({}, MINUTE)), false)
      t.notOk(await find(store, 'a'))
    })

    t.test('updates at the same time lose nothing', async t => {
      const { store } = await makeSubject(t)
      await ask(store, 'set', 'a', live({}))
      const keys = Array.from({ length: 20 }, (_, i) => `key${i}`)
      await Promise.all(keys.map(key => ask(store, 'update', 'a', { set: { [key]: 1 }, unset: [] }, live({}))))
      t.same(Object.keys(dataOf(await find(store, 'a'))).sort(), keys.sort())
    })
  }

  t.test(promises.lists ? 'all, length and clear' : 'all, length and clear are not all there', async t => {
    const { store } = await makeSubject(t)
    findings.note(t, 'lists', await lists(store).catch(() => false))
  })

  t.test(promises.stops ? 'lets the process end' : 'keeps the process from ending', async t => {
    const intervals = recordIntervals(t)
    const { store } = await makeSubject(t)
    await ask(store, 'set', 'a', live({}))
    await ask(store, 'destroy', 'a')
    findings.note(t, 'stops', !intervals.some(interval => interval.hasRef()))
  })
}

// --- What visitors see

async function testVisits (t: Test, findings: Findings, makeSubject: MakeSubject): Promise<void> {
  const promises = findings.declared

  async function open (t: Test, options: SessionOptions = {}): Promise<Site> {
    const { store, pass } = await timed(t, makeSubject)
    return await Site.open(t, store, pass, options)
  }

  t.test('who logs in stays logged in', async t => {
    const { max, eva, stranger } = await open(t)
    await max.get('/login/max')
    await eva.get('/login/eva')
    for (let i = 0; i < 3; i++) {
      t.equal((await max.get('/whoami')).body, 'max')
      t.equal((await eva.get('/whoami')).body, 'eva')
    }
    t.equal((await stranger.get('/whoami')).body, 'nobody')
    t.not(max.cookies.get('sessionId'), eva.cookies.get('sessionId'))
  })

  t.test('who logs out is logged out, and the old cookie never works again', async t => {
    const { max, eva, revisit } = await open(t)
    await max.get('/login/max')
    await eva.get('/login/eva')
    const old = max.cookieHeader()
    t.equal((await max.get('/logout')).body, 'bye')
    t.equal((await max.get('/whoami')).body, 'nobody')
    t.equal((await revisit(old, '/whoami')).body, 'nobody')
    t.equal((await revisit(old, '/login/mallory')).body, 'hello mallory')
    t.equal((await revisit(old, '/whoami')).body, 'nobody', 'nor is it taken up for a new session')
    t.equal((await eva.get('/whoami')).body, 'eva', 'others stay')
  })

  t.test('who gets a new id keeps what was taken along, and the old cookie never works again', async t => {
    const { max, eva, revisit } = await open(t)
    await max.get('/login/max')
    await max.get('/set/secret/1')
    await eva.get('/login/eva')
    const old = max.cookieHeader()
    await max.get('/renew')
    t.not(max.cookieHeader(), old)
    t.same((await max.get('/all')).json(), { user: 'max' })
    t.equal((await revisit(old, '/whoami')).body, 'nobody')
    t.equal((await eva.get('/whoami')).body, 'eva')
  })

  for (const end of ['logout', 'renew']) {
    for (const what of ['read', 'write', 'touch', 'save', 'nest']) {
      for (const rolling of [true, false]) {
        const name = `a slow request (${what}, rolling: ${rolling}) does not bring back a session that ended (${end}) meanwhile`
        t.test(name, async t => {
          const { max, eva, gate, revisit } = await open(t, { rolling })
          await max.get('/login/max')
          await eva.get('/login/eva')
          const old = max.cookieHeader()
          const slow = revisit(old, `/slow/${what}`)
          await gate.holds(1)
          await max.get(`/${end}`)
          gate.open()
          const response = await slow
          t.equal(response.body, what === 'save' ? 'FST_ERR_SESSION_GONE' : 'done')
          t.equal((await revisit(old, '/whoami')).body, 'nobody')
          t.equal((await max.get('/whoami')).body, end === 'renew' ? 'max' : 'nobody')
          t.equal((await eva.get('/whoami')).body, 'eva')
          t.notOk(sendsCookie(response), 'no cookie is sent for a session that is gone')
        })
      }
    }
  }

  // A browser takes the cookies of a reply whenever it comes.
  for (const what of ['read', 'write']) {
    t.test(`a slow request (${what}) does not take the cookie of the new session out of the browser`, async t => {
      const { max, gate } = await open(t)
      await max.get('/login/max')
      const slow = max.get(`/slow/${what}`)
      await gate.holds(1)
      await max.get('/renew')
      gate.open()
      await slow
      t.equal((await max.get('/whoami')).body, 'max')
    })
  }

  t.test('a request that is slow itself to log out ends what others wrote meanwhile', async t => {
    const { max, gate, revisit } = await open(t)
    await max.get('/login/max')
    const old = max.cookieHeader()
    const slow = revisit(old, '/slow/destroy')
    await gate.holds(1)
    await max.get('/set/a/1')
    gate.open()
    t.equal((await slow).body, 'done')
    t.equal((await max.get('/whoami')).body, 'nobody')
    t.equal((await revisit(old, '/whoami')).body, 'nobody')
  })

  t.test('a logout and a write in the same moment: logged out', async t => {
    const { max, eva, revisit } = await open(t)
    await eva.get('/login/eva')
    for (let i = 0; i < 10; i++) {
      await max.get('/login/max')
      const old = max.cookieHeader()
      const requests = ['/set/a/1', '/logout', '/set/b/1', '/whoami', '/push/c']
      await Promise.all(requests.map(url => revisit(old, url)))
      t.equal((await revisit(old, '/whoami')).body, 'nobody')
    }
    t.equal((await eva.get('/whoami')).body, 'eva')
  })

  for (const rolling of [true, false]) {
    t.test(`parallel requests that write different keys all survive, rolling: ${rolling}`, async t => {
      const { max, eva, gate } = await open(t, { rolling })
      await max.get('/login/max')
      await eva.get('/login/eva')
      const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
      const requests = keys.map(key => max.get(`/slow/write?key=${key}`))
      const others = max.get('/slow/read')
      await gate.holds(keys.length + 1)
      await max.get('/delete/cart')
      gate.open()
      for (const response of await Promise.all([...requests, others])) t.equal(response.body, 'done')
      t.same((await max.get('/all')).json(), { user: 'max', ...Object.fromEntries(keys.map(key => [key, 1])) })
      t.same((await eva.get('/all')).json(), { user: 'eva', cart: [] })
    })
  }

  t.test('a slow request does not undo what others wrote and removed meanwhile', async t => {
    const { max, gate } = await open(t)
    await max.get('/login/max')
    await max.get('/set/a/1')
    await max.get('/set/b/1')
    const slow = max.get('/slow/all')
    await gate.holds(1)
    await max.get('/set/a/2')
    await max.get('/delete/b')
    gate.open()
    await slow
    t.same((await max.get('/all')).json(), { user: 'max', cart: [], a: '2' })
  })

  for (const rolling of [true, false]) {
    const isFree = promises.touches || !rolling
    t.test(`a request that only reads writes ${isFree ? 'no data' : 'the session whole'}, rolling: ${rolling}`, async t => {
      const { max, calls } = await open(t, { rolling, cookie: { maxAge: HOUR } })
      await max.get('/login/max')
      calls.length = 0
      await max.get('/all')
      await max.get('/nothing')
      const written = calls.filter(method => method === 'set' || method === 'update')
      t.same(written, isFree ? [] : ['set', 'set'])
      if (!rolling) {
        t.equal(calls.length, 2, 'one call each')
        return
      }
      findings.note(t, 'touches', written.length === 0)
      findings.note(t, 'oneCall', calls.length === 2)
    })
  }

  t.test('a value that is set to what it was is no change', async t => {
    const { max, calls } = await open(t, { rolling: false })
    await max.get('/login/max')
    calls.length = 0
    await max.get('/login/max')
    t.same(calls, ['get'])
  })

  t.test('a write is one write', async t => {
    const { max, calls } = await open(t)
    await max.get('/login/max')
    t.same(calls, ['set'])
    calls.length = 0
    await max.get('/set/a/1')
    findings.note(t, 'updates', calls.includes('update'))
    t.same(calls, [promises.oneCall ? 'getAndTouch' : 'get', ...promises.updates ? ['update'] : ['get', 'set']])
  })

  t.test('changes deep within a value are saved', async t => {
    const { max, eva } = await open(t, { rolling: false })
    await max.get('/login/max')
    await eva.get('/login/eva')
    await max.get('/push/apple')
    await max.get('/push/pear')
    t.same((await max.get('/all')).json().cart, ['apple', 'pear'])
    t.same((await eva.get('/all')).json().cart, [])
  })

  t.test('a key that is deleted is gone', async t => {
    const { max } = await open(t, { rolling: false })
    await max.get('/login/max')
    await max.get('/set/a/1')
    t.same((await max.get('/all')).json(), { user: 'max', cart: [], a: '1' })
    await max.get('/delete/a')
    await max.get('/delete/cart')
    t.same((await max.get('/all')).json(), { user: 'max' })
  })

  t.test('nobody sees a change before it is saved', async t => {
    const { max, eva, gate } = await open(t)
    await max.get('/login/max')
    await eva.get('/login/eva')
    const slow = max.get('/slow/unsaved')
    await gate.holds(1)
    t.same((await max.get('/all')).json(), { user: 'max', cart: [] })
    t.same((await eva.get('/all')).json(), { user: 'eva', cart: [] })
    gate.open()
    await slow
    t.same((await max.get('/all')).json(), { user: 'max', cart: ['apple'], note: 'new' })
    t.same((await eva.get('/all')).json(), { user: 'eva', cart: [] })
  })

  t.test('a session ends with its maxAge', async t => {
    const { max, eva, pass, revisit } = await open(t, { rolling: false, cookie: { maxAge: MINUTE } })
    await max.get('/login/max')
    const old = max.cookieHeader()
    await pass(MINUTE / 2)
    await eva.get('/login/eva')
    t.equal((await revisit(old, '/whoami')).body, 'max')
    await pass(MINUTE / 2 + 5000)
    t.equal((await revisit(old, '/whoami')).body, 'nobody')
    t.equal((await eva.get('/whoami')).body, 'eva')
    await pass(MINUTE)
    t.equal((await eva.get('/whoami')).body, 'nobody')
  })

  t.test('with rolling, whoever comes often stays logged in', async t => {
    const { max, eva, pass, revisit } = await open(t, { cookie: { maxAge: MINUTE } })
    await max.get('/login/max')
    await eva.get('/login/eva')
    const [oldMax, oldEva] = [max.cookieHeader(), eva.cookieHeader()]
    for (let i = 0; i < 8; i++) {
      await pass(20_000)
      t.equal((await revisit(oldMax, '/whoami')).body, 'max')
    }
    t.equal((await revisit(oldEva, '/whoami')).body, 'nobody')
    await pass(MINUTE + 5000)
    t.equal((await revisit(oldMax, '/whoami')).body, 'nobody')
  })

  for (const what of ['read', 'write']) {
    t.test(`a slow request (${what}) does not bring back a session that expired meanwhile`, async t => {
      const { max, gate, pass, revisit } = await open(t, { cookie: { maxAge: MINUTE } })
      await max.get('/login/max')
      const old = max.cookieHeader()
      const slow = revisit(old, `/slow/${what}`)
      await gate.holds(1)
      await pass(MINUTE + 5000)
      gate.open()
      t.equal((await slow).body, 'done')
      t.equal((await revisit(old, '/whoami')).body, 'nobody')
    })
  }

  t.test('a session with a fixed end is over then, however often it is used', async t => {
    const { max, pass, revisit } = await open(t, { cookie: { expires: new Date(Date.now() + MINUTE) } })
    await max.get('/login/max')
    const old = max.cookieHeader()
    for (let i = 0; i < 2; i++) {
      await pass(20_000)
      t.equal((await revisit(old, '/whoami')).body, 'max')
    }
    await pass(25_000)
    t.equal((await revisit(old, '/whoami')).body, 'nobody')
  })

  t.test(`a visitor's Date is ${promises.dates ? 'a Date' : 'its ISO string'} with the next request`, async t => {
    const { max } = await open(t)
    await max.get('/login/max')
    await max.get('/date')
    t.equal((await max.get('/date')).body, promises.dates ? 'Date 2024-02-29T12:00:00.000Z' : 'String 2024-02-29T12:00:00.000Z')
  })
}

// --- What visitors of two processes see

async function testProcesses (t: Test, findings: Findings, makeSubject: MakeSubject): Promise<void> {
  const promises = findings.declared

  t.test(promises.shared ? 'both have the same sessions' : 'no other process has its sessions', async t => {
    const { store, another } = await makeSubject(t)
    await ask(store, 'set', 'a', live({ user: 'max' }))
    const found = another === undefined ? undefined : await find(another(), 'a')
    findings.note(t, 'shared', found != null && dataOf(found).user === 'max')
  })

  if (!promises.shared) return

  async function open (t: Test): Promise<[here: Site, there: Site]> {
    const { store, another } = await makeSubject(t) as Required<Subject>
    const pass = async (): Promise<void> => {}
    return [await Site.open(t, store, pass, {}), await Site.open(t, another(), pass, {})]
  }

  t.test('who logs in or out in one is logged in or out in the other', async t => {
    const [{ max }, there] = await open(t)
    await max.get('/login/max')
    const old = max.cookieHeader()
    t.equal((await there.revisit(old, '/whoami')).body, 'max')
    await there.revisit(old, '/set/a/1')
    t.same((await max.get('/all')).json(), { user: 'max', cart: [], a: '1' })
    await there.revisit(old, '/logout')
    t.equal((await max.get('/whoami')).body, 'nobody')
  })

  t.test(`writes at the same time ${promises.parallel ? 'lose nothing' : 'may lose one'}`, async t => {
    const [here, there] = await open(t)
    findings.note(t, 'parallel', await atEachCall(here, there, '/set/a/1', '/set/b/1', async old => {
      const { a, b } = (await there.revisit(old, '/all')).json()
      return a === '1' && b === '1'
    }))
  })

  t.test(`a request under way ${promises.ended ? 'does not bring' : 'may bring'} back a session that ended`, async t => {
    const [here, there] = await open(t)
    const isOver = async (old: string): Promise<boolean> => {
      const replies = await Promise.all([here, there].map(({ revisit }) => revisit(old, '/whoami')))
      return replies.every(({ body }) => body === 'nobody')
    }
    let isKept = true
    for (const end of ['/logout', '/renew']) {
      t.ok(await atEachCall(here, there, '/whoami', end, isOver), `one that only reads, and ${end}`)
      for (const slow of ['/set/a/1', '/push/apple', '/delete/cart']) {
        isKept = await atEachCall(here, there, slow, end, isOver) && isKept
      }
    }
    findings.note(t, 'ended', isKept)
  })

  t.test(`a new id ${promises.renews ? 'takes nothing' : 'may take something'} along out of a session that ended`, async t => {
    const [here, there] = await open(t)
    const isNobody = async (_old: string, max: Visitor): Promise<boolean> => (await max.get('/whoami')).body === 'nobody'
    findings.note(t, 'renews', await atEachCall(here, there, '/renew', '/logout', isNobody))
  })

  for (const end of ['/logout', '/renew']) {
    const sends = promises.noDeadCookie ? 'sends no' : 'sends a'
    t.test(`a slow request that only reads ${sends} cookie for a session that ended (${end})`, async t => {
      const [here, there] = await open(t)
      await here.max.get('/login/max')
      const old = here.max.cookieHeader()
      const slow = here.revisit(old, '/slow/read')
      await here.gate.holds(1)
      await there.revisit(old, end)
      here.gate.open()
      const response = await slow
      t.equal(response.statusCode, 200)
      findings.note(t, 'noDeadCookie', !sendsCookie(response))
    })
  }
}

/**
 * A visitor makes a request, and before each of its calls to the store in turn the other process serves one with the same
 * cookie. Says whether all was well each time.
 */
async function atEachCall (
  here: Site,
  there: Site,
  slow: string,
  fast: string,
  isWell: (old: string, max: Visitor) => Promise<boolean>
): Promise<boolean> {
  const { max } = here
  let wasWell = true
  for (let i = 0; i < MOST_CALLS; i++) {
    max.cookies.clear()
    await max.get('/login/max')
    const old = max.cookieHeader()
    let wasInTime = false
    const wasMade = here.interruptAt(i, async () => {
      wasInTime = (await there.revisit(old, '/whoami')).body === 'max'
      await there.revisit(old, fast)
    })
    await max.get(slow)
    if (!wasMade()) return wasWell
    if (wasInTime) wasWell = await isWell(old, max) && wasWell
  }
  throw new Error(`${slow} made more than ${MOST_CALLS} calls to the store`)
}

// --- How it asks

/** Calls a method of a store in whichever way it answers. */
export function ask (store: SessionStore, method: string, ...args: unknown[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fn = (store as unknown as AnyStore)[method] as (...args: unknown[]) => unknown
    const answer = (error: unknown, value: unknown): void => error ? reject(error) : resolve(value)
    const result = fn.call(store, ...args, answer) as Promise<unknown> | undefined
    if (fn.length <= args.length) result?.then(resolve, reject)
  })
}

/** What a store has of a session. A file store may say by an error that there is none. */
async function find (store: SessionStore, sessionId: string): Promise<unknown> {
  return await ask(store, 'get', sessionId).catch(orNothing)
}

async function touch (store: SessionStore, sessionId: string, session: unknown): Promise<unknown> {
  return await ask(store, 'touch', sessionId, session).catch(orNothing)
}

function orNothing (error: NodeJS.ErrnoException): undefined {
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
function live (data: object, maxAge: number | null = HOUR): SessionRecord & { cookie: SessionCookie } {
  return { ...data, cookie: new SessionCookie({ maxAge: maxAge ?? undefined, secure: false }, false) }
}

/** A record as a store keeps it. */
export function record (data: object, maxAge = HOUR): SessionRecord {
  const cookie = { expires: new Date(Date.now() + maxAge), originalMaxAge: maxAge, path: '/', httpOnly: true, secure: false }
  return { ...data, cookie }
}

function sendsCookie (response: Parameters<typeof setCookies>[0]): boolean {
  return setCookies(response).some(header => !header.startsWith('sessionId=;'))
}

async function timed (t: Test, makeSubject: MakeSubject): Promise<Subject & Required<Pick<Subject, 'pass'>>> {
  const { advance } = clock(t)
  const { store, pass } = await makeSubject(t)
  return {
    store,
    async pass (milliseconds) {
      advance(milliseconds)
      await pass?.(milliseconds)
    }
  }
}
