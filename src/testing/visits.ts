/** What visitors of an app see whose sessions are in the store. */
import assert from 'node:assert/strict'
import { HOUR, MINUTE, timed, type OpenStore, type TestContext } from './context'
import type { Findings } from './promises'
import { sendsCookie, Site, type SiteOptions } from './site'

export async function testVisits (t: TestContext, findings: Findings, openStore: OpenStore): Promise<void> {
  const promises = findings.declared
  // A store that moves its clock, and leaves it to the library to ask whether it has passed: the library knows within half a life.
  const longestIdle = (): number => promises.touches === true && promises.expires !== true ? 1.5 * MINUTE : MINUTE

  async function open (t: TestContext, options: SiteOptions = {}): Promise<Site> {
    const { store, pass } = await timed(t, openStore)
    return await Site.open(t, store, pass, options)
  }

  await t.test('who logs in stays logged in', async t => {
    const { max, eva, stranger } = await open(t)
    await max.get('/login/max')
    await eva.get('/login/eva')
    for (let i = 0; i < 3; i++) {
      assert.equal((await max.get('/whoami')).body, 'max')
      assert.equal((await eva.get('/whoami')).body, 'eva')
    }
    assert.equal((await stranger.get('/whoami')).body, 'nobody')
    assert.notEqual(max.cookies.get('sessionId'), eva.cookies.get('sessionId'))
  })

  await t.test('who logs out is logged out, and the old cookie never works again', async t => {
    const { max, eva, revisit } = await open(t)
    await max.get('/login/max')
    await eva.get('/login/eva')
    const old = max.cookieHeader()
    assert.equal((await max.get('/logout')).body, 'bye')
    assert.equal((await max.get('/whoami')).body, 'nobody')
    assert.equal((await revisit(old, '/whoami')).body, 'nobody')
    assert.equal((await revisit(old, '/login/mallory')).body, 'hello mallory')
    assert.equal((await revisit(old, '/whoami')).body, 'nobody', 'nor is it taken up for a new session')
    assert.equal((await eva.get('/whoami')).body, 'eva', 'others stay')
  })

  await t.test('who gets a new id keeps what was taken along, and the old cookie never works again', async t => {
    const { max, eva, revisit } = await open(t)
    await max.get('/login/max')
    await max.get('/set/secret/1')
    await eva.get('/login/eva')
    const old = max.cookieHeader()
    await max.get('/renew')
    assert.notEqual(max.cookieHeader(), old)
    assert.deepEqual((await max.get('/all')).json(), { user: 'max' })
    assert.equal((await revisit(old, '/whoami')).body, 'nobody')
    assert.equal((await eva.get('/whoami')).body, 'eva')
  })

  for (const end of ['logout', 'renew']) {
    for (const what of ['read', 'write', 'touch', 'save', 'nest']) {
      for (const rolling of [true, false]) {
        const name = `a slow request (${what}, rolling: ${rolling}) does not bring back a session that ended (${end}) meanwhile`
        await t.test(name, async t => {
          const { max, eva, gate, revisit } = await open(t, { rolling })
          await max.get('/login/max')
          await eva.get('/login/eva')
          const old = max.cookieHeader()
          const slow = revisit(old, `/slow/${what}`)
          await gate.holds(1)
          await max.get(`/${end}`)
          gate.open()
          const response = await slow
          assert.equal(response.body, what === 'save' ? 'FST_ERR_SESSION_GONE' : 'done')
          assert.equal((await revisit(old, '/whoami')).body, 'nobody')
          assert.equal((await max.get('/whoami')).body, end === 'renew' ? 'max' : 'nobody')
          assert.equal((await eva.get('/whoami')).body, 'eva')
          assert.ok(!sendsCookie(response), 'no cookie is sent for a session that is gone')
        })
      }
    }
  }

  // A browser takes the cookies of a reply whenever it comes.
  for (const what of ['read', 'write']) {
    await t.test(`a slow request (${what}) does not take the cookie of the new session out of the browser`, async t => {
      const { max, gate } = await open(t)
      await max.get('/login/max')
      const slow = max.get(`/slow/${what}`)
      await gate.holds(1)
      await max.get('/renew')
      gate.open()
      await slow
      assert.equal((await max.get('/whoami')).body, 'max')
    })
  }

  await t.test('a request that is slow itself to log out ends what others wrote meanwhile', async t => {
    const { max, gate, revisit } = await open(t)
    await max.get('/login/max')
    const old = max.cookieHeader()
    const slow = revisit(old, '/slow/destroy')
    await gate.holds(1)
    await max.get('/set/a/1')
    gate.open()
    assert.equal((await slow).body, 'done')
    assert.equal((await max.get('/whoami')).body, 'nobody')
    assert.equal((await revisit(old, '/whoami')).body, 'nobody')
  })

  await t.test('a logout and a write in the same moment: logged out', async t => {
    const { max, eva, revisit } = await open(t)
    await eva.get('/login/eva')
    for (let i = 0; i < 10; i++) {
      await max.get('/login/max')
      const old = max.cookieHeader()
      const requests = ['/set/a/1', '/logout', '/set/b/1', '/whoami', '/push/c']
      await Promise.all(requests.map(url => revisit(old, url)))
      assert.equal((await revisit(old, '/whoami')).body, 'nobody')
    }
    assert.equal((await eva.get('/whoami')).body, 'eva')
  })

  for (const rolling of [true, false]) {
    await t.test(`parallel requests that write different keys all survive, rolling: ${rolling}`, async t => {
      const { max, eva, gate } = await open(t, { rolling })
      await max.get('/login/max')
      await eva.get('/login/eva')
      const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
      const requests = keys.map(key => max.get(`/slow/write?key=${key}`))
      const others = max.get('/slow/read')
      await gate.holds(keys.length + 1)
      await max.get('/delete/cart')
      gate.open()
      for (const response of await Promise.all([...requests, others])) assert.equal(response.body, 'done')
      assert.deepEqual((await max.get('/all')).json(), { user: 'max', ...Object.fromEntries(keys.map(key => [key, 1])) })
      assert.deepEqual((await eva.get('/all')).json(), { user: 'eva', cart: [] })
    })
  }

  await t.test('a slow request does not undo what others wrote and removed meanwhile', async t => {
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
    assert.deepEqual((await max.get('/all')).json(), { user: 'max', cart: [], a: '2' })
  })

  for (const rolling of [true, false]) {
    await t.test(`a request that only reads writes ${rolling ? findings.title('touches', 'no data', 'the session whole') : 'no data'}, rolling: ${rolling}`, async t => {
      const { max, calls } = await open(t, { rolling, cookie: { maxAge: HOUR } })
      await max.get('/login/max')
      calls.length = 0
      await max.get('/all')
      await max.get('/nothing')
      const written = calls.filter(method => method === 'set' || method === 'update')
      assert.deepEqual(written, promises.touches || !rolling ? [] : ['set', 'set'])
      if (!rolling) {
        assert.equal(calls.length, 2, 'one call each')
        return
      }
      findings.note('touches', written.length === 0)
      findings.note('oneCall', calls.length === 2)
    })
  }

  await t.test('a value that is set to what it was is no change', async t => {
    const { max, calls } = await open(t, { rolling: false })
    await max.get('/login/max')
    calls.length = 0
    await max.get('/login/max')
    assert.deepEqual(calls, [calls.includes('inspect') ? 'inspect' : 'get'])
  })

  await t.test('a write is one write', async t => {
    const { max, calls } = await open(t)
    await max.get('/login/max')
    assert.deepEqual(calls, ['set'])
    calls.length = 0
    await max.get('/set/a/1')
    findings.note('updates', calls.includes('update'))
    assert.deepEqual(calls, [promises.oneCall ? 'getAndTouch' : 'get', ...promises.updates ? ['update'] : ['get', 'set']])
  })

  await t.test('changes deep within a value are saved', async t => {
    const { max, eva } = await open(t, { rolling: false })
    await max.get('/login/max')
    await eva.get('/login/eva')
    await max.get('/push/apple')
    await max.get('/push/pear')
    assert.deepEqual((await max.get('/all')).json().cart, ['apple', 'pear'])
    assert.deepEqual((await eva.get('/all')).json().cart, [])
  })

  await t.test('a key that is deleted is gone', async t => {
    const { max } = await open(t, { rolling: false })
    await max.get('/login/max')
    await max.get('/set/a/1')
    assert.deepEqual((await max.get('/all')).json(), { user: 'max', cart: [], a: '1' })
    await max.get('/delete/a')
    await max.get('/delete/cart')
    assert.deepEqual((await max.get('/all')).json(), { user: 'max' })
  })

  await t.test('nobody sees a change before it is saved', async t => {
    const { max, eva, gate } = await open(t)
    await max.get('/login/max')
    await eva.get('/login/eva')
    const slow = max.get('/slow/unsaved')
    await gate.holds(1)
    assert.deepEqual((await max.get('/all')).json(), { user: 'max', cart: [] })
    assert.deepEqual((await eva.get('/all')).json(), { user: 'eva', cart: [] })
    gate.open()
    await slow
    assert.deepEqual((await max.get('/all')).json(), { user: 'max', cart: ['apple'], note: 'new' })
    assert.deepEqual((await eva.get('/all')).json(), { user: 'eva', cart: [] })
  })

  await t.test('a session ends with its maxAge', async t => {
    const { max, eva, pass, revisit } = await open(t, { rolling: false, cookie: { maxAge: MINUTE } })
    await max.get('/login/max')
    const old = max.cookieHeader()
    await pass(MINUTE / 2)
    await eva.get('/login/eva')
    assert.equal((await revisit(old, '/whoami')).body, 'max')
    await pass(MINUTE / 2 + 5000)
    assert.equal((await revisit(old, '/whoami')).body, 'nobody')
    assert.equal((await eva.get('/whoami')).body, 'eva')
    await pass(MINUTE)
    assert.equal((await eva.get('/whoami')).body, 'nobody')
  })

  await t.test('with rolling, whoever comes often stays logged in', async t => {
    const { max, eva, pass, revisit } = await open(t, { cookie: { maxAge: MINUTE } })
    await max.get('/login/max')
    await eva.get('/login/eva')
    const [oldMax, oldEva] = [max.cookieHeader(), eva.cookieHeader()]
    for (let i = 0; i < 8; i++) {
      await pass(20_000)
      assert.equal((await revisit(oldMax, '/whoami')).body, 'max')
    }
    assert.equal((await revisit(oldEva, '/whoami')).body, 'nobody')
    await pass(longestIdle() + 5000)
    assert.equal((await revisit(oldMax, '/whoami')).body, 'nobody')
  })

  for (const what of ['read', 'write']) {
    await t.test(`a slow request (${what}) does not bring back a session that expired meanwhile`, async t => {
      const { max, gate, pass, revisit } = await open(t, { cookie: { maxAge: MINUTE } })
      await max.get('/login/max')
      const old = max.cookieHeader()
      const slow = revisit(old, `/slow/${what}`)
      await gate.holds(1)
      await pass(longestIdle() + 5000)
      gate.open()
      assert.equal((await slow).body, 'done')
      assert.equal((await revisit(old, '/whoami')).body, 'nobody')
    })
  }

  await t.test('a session with a fixed end is over then, however often it is used', async t => {
    const { max, pass, revisit } = await open(t, { cookie: { expires: new Date(Date.now() + MINUTE) } })
    await max.get('/login/max')
    const old = max.cookieHeader()
    for (let i = 0; i < 2; i++) {
      await pass(20_000)
      assert.equal((await revisit(old, '/whoami')).body, 'max')
    }
    await pass(25_000)
    assert.equal((await revisit(old, '/whoami')).body, 'nobody')
  })

  await t.test(`a visitor's Date is ${findings.title('dates', 'a Date', 'its ISO string')} with the next request`, async t => {
    const { max } = await open(t)
    await max.get('/login/max')
    await max.get('/date')
    assert.equal((await max.get('/date')).body, promises.dates ? 'Date 2024-02-29T12:00:00.000Z' : 'String 2024-02-29T12:00:00.000Z')
  })
}
