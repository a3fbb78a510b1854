/** Tests from the view of visitors of an app that keeps its sessions in the store. */
import assert from 'node:assert/strict'
import { HOUR, MINUTE, timed, type OpenStore, type TestContext } from './context'
import { advising } from './mend'
import type { Findings } from './promises'
import { sendsCookie, Site, type SiteOptions } from './site'

export async function testVisits (t: TestContext, findings: Findings, openStore: OpenStore): Promise<void> {
  const promises = findings.declared
  // If touch moves the store's own expiry, but the store doesn't check it, the library ends the session at most half a
  // life later.
  const longestIdle = (): number => promises.touches === true && promises.expires !== true ? 1.5 * MINUTE : MINUTE

  async function ask (name: string, run: (t: TestContext) => Promise<void>, advice: string): Promise<void> {
    await t.test(name, t => advising(advice, () => run(t)))
  }

  async function open (t: TestContext, options: SiteOptions = {}): Promise<Site> {
    const { store, pass } = await timed(t, openStore)
    return await Site.open(t, store, pass, options)
  }

  await ask('a visitor who logs in stays logged in', async t => {
    const { max, eva, stranger } = await open(t)
    await max.get('/login/max')
    await eva.get('/login/eva')
    for (let i = 0; i < 3; i++) {
      assert.equal((await max.get('/whoami')).body, 'max')
      assert.equal((await eva.get('/whoami')).body, 'eva')
    }
    assert.equal((await stranger.get('/whoami')).body, 'nobody')
    assert.notEqual(max.cookies.get('sessionId'), eva.cookies.get('sessionId'))
  }, 'get() must find what set() wrote, by the id alone')

  await ask('a visitor who logs out is logged out, and the old cookie never works again', async t => {
    const { max, eva, revisit } = await open(t)
    await max.get('/login/max')
    await eva.get('/login/eva')
    const old = max.cookieHeader()
    assert.equal((await max.get('/logout')).body, 'bye')
    assert.equal((await max.get('/whoami')).body, 'nobody')
    assert.equal((await revisit(old, '/whoami')).body, 'nobody')
    assert.equal((await revisit(old, '/login/mallory')).body, 'hello mallory')
    assert.equal((await revisit(old, '/whoami')).body, 'nobody', 'nor is its id used for a new session')
    assert.equal((await eva.get('/whoami')).body, 'eva', 'others stay logged in')
  }, 'destroy() must remove the session, and set() must write under the given id')

  await ask('regenerate() keeps the given keys, and the old cookie never works again', async t => {
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
  }, 'destroy() must remove the old session, and set() must write the new one')

  for (const end of ['logout', 'renew']) {
    for (const what of ['read', 'write', 'touch', 'save', 'nest']) {
      for (const rolling of [true, false]) {
        const name = `a slow request (${what}, rolling: ${rolling}) does not bring back a session that has ended (${end})`
        await ask(name, async t => {
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
        }, 'update() and touch() must write nothing if the session is gone, and answer with false; a store with three methods must answer get() with what is stored now')
      }
    }
  }

  // A browser accepts the cookies of a reply at any time.
  for (const what of ['read', 'write']) {
    await ask(`a slow request (${what}) does not remove the cookie of the new session from the browser`, async t => {
      const { max, gate } = await open(t)
      await max.get('/login/max')
      const slow = max.get(`/slow/${what}`)
      await gate.holds(1)
      await max.get('/renew')
      gate.open()
      await slow
      assert.equal((await max.get('/whoami')).body, 'max')
    }, 'update() and touch() must answer with false if the session is gone')
  }

  await ask('a slow logout also ends what other requests have written in the meantime', async t => {
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
  }, 'destroy() must also remove what was written a moment ago')

  await ask('a logout and writes at the same moment: the visitor is logged out', async t => {
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
  }, 'destroy() must be done when it answers, and update() must never create a session')

  for (const rolling of [true, false]) {
    await ask(`the changes of parallel requests to different keys are all kept, rolling: ${rolling}`, async t => {
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
    }, 'update() must apply the changes to the stored session; get() must answer with what the last set() wrote, as soon as that has answered')
  }

  await ask('a slow request does not undo what other requests have written and removed in the meantime', async t => {
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
  }, 'update() must apply set and unset, and leave the other keys as they are stored')

  for (const rolling of [true, false]) {
    await ask(`a request that only reads writes ${rolling ? findings.title('touches', 'no data', 'the whole session') : 'no data'}, rolling: ${rolling}`, async t => {
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
    }, 'a store without touch() can\'t promise touches: add touch(), or remove the promise')
  }

  await ask('setting a value to what it was is not a change', async t => {
    const { max, calls } = await open(t, { rolling: false })
    await max.get('/login/max')
    calls.length = 0
    await max.get('/login/max')
    assert.deepEqual(calls, [calls.includes('inspect') ? 'inspect' : 'get'])
  }, 'get() must answer with values equal to those that were set, including the keys of objects')

  await ask('a change is one write', async t => {
    const { max, calls } = await open(t)
    await max.get('/login/max')
    assert.deepEqual(calls, ['set'])
    calls.length = 0
    await max.get('/set/a/1')
    findings.note('updates', calls.includes('update'))
    assert.deepEqual(calls, [promises.oneCall ? 'getAndTouch' : 'get', ...promises.updates ? ['update'] : ['get', 'set']])
  }, 'declare in promises what the store has: updates for update(), oneCall for getAndTouch() and touch()')

  await ask('changes deep within a value are saved', async t => {
    const { max, eva } = await open(t, { rolling: false })
    await max.get('/login/max')
    await eva.get('/login/eva')
    await max.get('/push/apple')
    await max.get('/push/pear')
    assert.deepEqual((await max.get('/all')).json().cart, ['apple', 'pear'])
    assert.deepEqual((await eva.get('/all')).json().cart, [])
  }, 'set() and update() must write the whole new value of a key')

  await ask('a key that is deleted is gone', async t => {
    const { max } = await open(t, { rolling: false })
    await max.get('/login/max')
    await max.get('/set/a/1')
    assert.deepEqual((await max.get('/all')).json(), { user: 'max', cart: [], a: '1' })
    await max.get('/delete/a')
    await max.get('/delete/cart')
    assert.deepEqual((await max.get('/all')).json(), { user: 'max' })
  }, 'update() must remove the keys in unset; set() must replace the record')

  await ask('nobody sees a change before it is saved', async t => {
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
  }, 'get() must return a copy each time, or an object that is never changed')

  await ask('a session ends with its maxAge', async t => {
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
  }, 'set() and touch() must keep the session until session.cookie.expires, not less')

  await ask('with rolling, a visitor who comes often stays logged in', async t => {
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
  }, 'touch(), getAndTouch() and update() must move the end, and update() must write it into the record as cookie.expires too')

  for (const what of ['read', 'write']) {
    await ask(`a slow request (${what}) does not bring back a session that has expired in the meantime`, async t => {
      const { max, gate, pass, revisit } = await open(t, { cookie: { maxAge: MINUTE } })
      await max.get('/login/max')
      const old = max.cookieHeader()
      const slow = revisit(old, `/slow/${what}`)
      await gate.holds(1)
      await pass(longestIdle() + 5000)
      gate.open()
      assert.equal((await slow).body, 'done')
      assert.equal((await revisit(old, '/whoami')).body, 'nobody')
    }, 'touch() and update() must not revive an expired session')
  }

  await ask('a session with a fixed end ends then, no matter how often it is used', async t => {
    const { max, pass, revisit } = await open(t, { cookie: { expires: new Date(Date.now() + MINUTE) } })
    await max.get('/login/max')
    const old = max.cookieHeader()
    for (let i = 0; i < 2; i++) {
      await pass(20_000)
      assert.equal((await revisit(old, '/whoami')).body, 'max')
    }
    await pass(25_000)
    assert.equal((await revisit(old, '/whoami')).body, 'nobody')
  }, 'touch() must set the end to session.cookie.expires, and not to a ttl of the store')

  await ask(`a visitor's Date is ${findings.title('dates', 'a Date', 'its ISO string')} with the next request`, async t => {
    const { max } = await open(t)
    await max.get('/login/max')
    await max.get('/date')
    assert.equal((await max.get('/date')).body, promises.dates ? 'Date 2024-02-29T12:00:00.000Z' : 'String 2024-02-29T12:00:00.000Z')
  }, 'declare in promises.dates whether a Date comes back as a Date')
}
