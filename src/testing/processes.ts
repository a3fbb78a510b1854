/** Tests from a visitor's view, with two processes that serve requests one after the other and at the same time. */
import assert from 'node:assert/strict'
import { ask, find, live } from './contract'
import type { OpenStore, StoreUnderTest, TestContext } from './context'
import { advising, ok } from './mend'
import type { Findings } from './promises'
import { dataOf, sendsCookie, Site } from './site'
import type { Visitor } from './visitor'

// More than the store calls of any request.
const MOST_CALLS = 10

export async function testProcesses (t: TestContext, findings: Findings, openStore: OpenStore): Promise<void> {
  const promises = findings.declared

  await t.test(findings.title('shared', 'both processes have the same sessions', 'another process does not have its sessions'), async t => {
    const { store, another } = await openStore(t)
    await ask(store, 'set', 'a', live({ user: 'max' }))
    const found = another === undefined ? undefined : await find(another(), 'a')
    findings.note('shared', found != null && dataOf(found).user === 'max')
  })

  if (!promises.shared) return

  async function open (t: TestContext): Promise<[here: Site, there: Site]> {
    const { store, another } = await openStore(t) as Required<StoreUnderTest>
    const pass = async (): Promise<void> => {}
    return [await Site.open(t, store, pass, {}), await Site.open(t, another(), pass, {})]
  }

  await t.test('a login or logout in one process counts in the other', t => advising('every call must use the shared storage, without a cache in the process', async () => {
    const [{ max }, there] = await open(t)
    await max.get('/login/max')
    const old = max.cookieHeader()
    assert.equal((await there.revisit(old, '/whoami')).body, 'max')
    await there.revisit(old, '/set/a/1')
    assert.deepEqual((await max.get('/all')).json(), { user: 'max', cart: [], a: '1' })
    await there.revisit(old, '/logout')
    assert.equal((await max.get('/whoami')).body, 'nobody')
  }))

  await t.test(`simultaneous writes ${findings.title('parallel', 'are all kept', 'may lose one')}`, async t => {
    const [here, there] = await open(t)
    findings.note('parallel', await atEachCall(here, there, '/set/a/1', '/set/b/1', async old => {
      const { a, b } = (await there.revisit(old, '/all')).json()
      return a === '1' && b === '1'
    }))
  })

  await t.test(`a running request ${findings.title('ended', 'does not bring', 'may bring')} back a session that ended`, async t => {
    const [here, there] = await open(t)
    const isOver = async (old: string): Promise<boolean> => {
      const replies = await Promise.all([here, there].map(({ revisit }) => revisit(old, '/whoami')))
      return replies.every(({ body }) => body === 'nobody')
    }
    let isKept = true
    for (const end of ['/logout', '/renew']) {
      ok(await atEachCall(here, there, '/whoami', end, isOver), `touch() and set() must not create: a request that only reads brings back a session that ended (${end})`)
      for (const slow of ['/set/a/1', '/push/apple', '/delete/cart']) {
        isKept = await atEachCall(here, there, slow, end, isOver) && isKept
      }
    }
    findings.note('ended', isKept)
  })

  await t.test(`regenerate() ${findings.title('renews', 'keeps no data', 'may keep data')} of a session that ended`, async t => {
    const [here, there] = await open(t)
    const isNobody = async (_old: string, max: Visitor): Promise<boolean> => (await max.get('/whoami')).body === 'nobody'
    findings.note('renews', await atEachCall(here, there, '/renew', '/logout', isNobody))
  })

  for (const end of ['/logout', '/renew']) {
    const sends = findings.title('noDeadCookie', 'sends no', 'sends a')
    await t.test(`a slow request that only reads ${sends} cookie for a session that ended (${end})`, async t => {
      const [here, there] = await open(t)
      await here.max.get('/login/max')
      const old = here.max.cookieHeader()
      const slow = here.revisit(old, '/slow/read')
      await here.gate.holds(1)
      await there.revisit(old, end)
      here.gate.open()
      const response = await slow
      assert.equal(response.statusCode, 200)
      findings.note('noDeadCookie', !sendsCookie(response))
    })
  }
}

/**
 * A visitor makes a request repeatedly. Each time, the other process serves a request with the same cookie before
 * another one of its store calls. Resolves to whether all was well each time.
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
