/** Behaviour that `npm run mutate` could change without a quick test noticing, as a visitor or a store sees it. */
import { EventEmitter, once } from 'node:events'
import { sign } from '@fastify/cookie'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import type { SessionChanges } from '../src/types/store'
import { clock, HOUR, MINUTE } from '../src/testing/context'
import { build, record, SECRET, Visitor, type Routes, type SessionOptions } from './helpers'
import { ThreeMethodStore, WatchedStore, type Answer } from './odd-stores'

const WRITES = ['set', 'update']

const data = (request: FastifyRequest): any => request.session

const routes: Routes = app => {
  app.get('/login', async request => { data(request).user = 'max' })
  app.get('/whoami', async request => data(request).user ?? 'nobody')
  app.get('/write', async request => { data(request).n = 1 })
  app.get('/logout', async request => { await request.session.destroy() })
  app.get('/renew', async request => {
    await request.session.regenerate(['user'])
    return data(request).user ?? 'nobody'
  })
}

async function open (t: Test, options: SessionOptions, more: Routes = () => {}): Promise<FastifyInstance> {
  const app = await build({ saveUninitialized: false, ...options }, app => {
    routes(app)
    more(app)
  })
  t.teardown(() => app.close())
  return app
}

async function login (app: FastifyInstance): Promise<Visitor> {
  const visitor = new Visitor(app)
  await visitor.get('/login')
  return visitor
}

const whoami = async (visitor: Visitor): Promise<string> => (await visitor.get('/whoami')).body

/** Time stands still unless the test moves it. */
function stopClock (t: Test): { advance: (milliseconds: number) => void } {
  clock(t)
  let now = Date.now()
  Date.now = () => now
  return { advance: milliseconds => { now += milliseconds } }
}

// --- When

t.test("the index by user renews an entry when half of the session's life has passed, and not a millisecond earlier", async t => {
  for (const [maxAge, half] of [[HOUR, 30 * MINUTE], [undefined, HOUR]] as const) {
    const { advance } = stopClock(t)
    const watched = new WatchedStore()
    const visitor = await login(await open(t, { store: watched.store, cookie: { maxAge }, user: session => (session as any).user }))
    const claimed = async (): Promise<boolean> => (await watched.callsDuring(() => visitor.get('/write'))).includes('claim')
    advance(half - 1)
    t.notOk(await claimed(), `${half - 1} ms after the login`)
    advance(1)
    t.ok(await claimed(), `${half} ms after the login`)
    t.notOk(await claimed(), 'a second time at the same moment')
    advance(half)
    t.ok(await claimed(), 'after another half')
  }
})

t.test('without refreshAfter, a request that changes nothing calls touch and writes nothing', async t => {
  for (const refreshAfter of [undefined, 0]) {
    const watched = new WatchedStore()
    const visitor = await login(await open(t, { store: watched.store, refreshAfter, cookie: { maxAge: HOUR } }))
    const calls = await watched.callsDuring(() => whoami(visitor))
    t.notOk(calls.some(call => WRITES.includes(call)), `refreshAfter: ${refreshAfter} calls ${calls}`)
    t.ok(calls.some(call => /touch/i.test(call)), `refreshAfter: ${refreshAfter} calls ${calls}`)
  }
})

t.test('getAndTouch is called only if the reply will prolong the session', async t => {
  const cases: Array<[options: SessionOptions, method: string]> = [
    [{}, 'getAndTouch'],
    [{ refreshAfter: 0 }, 'getAndTouch'],
    [{ refreshAfter: 1 }, 'get'],
    [{ rolling: false }, 'get'],
    [{ cookie: { maxAge: HOUR, secure: true } }, 'get']
  ]
  for (const [options, method] of cases) {
    const watched = new WatchedStore()
    Object.assign(watched.memory, { getAndTouch: watched.memory.get })
    const visitor = await login(await open(t, { store: watched.store, cookie: { maxAge: HOUR } }))
    const other = new Visitor(await open(t, { store: watched.store, cookie: { maxAge: HOUR }, ...options }))
    other.cookies.set('sessionId', visitor.cookies.get('sessionId') as string)
    const calls = await watched.callsDuring(async () => t.equal(await whoami(other), 'max'))
    t.equal(calls[0], method, JSON.stringify(options))
  }
})

t.test('a store without touch is loaded with get, even if it has getAndTouch', async t => {
  const store = Object.assign(new ThreeMethodStore(), { getAndTouch: () => t.fail('getAndTouch was called') })
  t.equal(await whoami(await login(await open(t, { store, cookie: { maxAge: HOUR } }))), 'max')
})

t.test('regenerate(keys) does not outlive an absolute timeout that ends during the request', async t => {
  const { advance } = stopClock(t)
  const store = new ThreeMethodStore()
  const visitor = await login(await open(t, { store, absoluteTimeout: HOUR }, app => {
    app.get('/late', async request => {
      advance(HOUR)
      await request.session.regenerate(['user'])
    })
  }))
  t.not((await visitor.get('/late')).statusCode, 200)
  t.ok(store.records.size <= 1, 'no new session was written')
  t.equal(await whoami(visitor), 'nobody')
})

t.test('an end that a handler has chosen is still known in later requests', async t => {
  for (const absoluteTimeout of [undefined, 24 * HOUR]) {
    const chosen = new Date(Date.now() + HOUR)
    const visitor = await login(await open(t, { store: new WatchedStore().store, absoluteTimeout }, app => {
      app.get('/choose', async request => { request.session.cookie.expires = chosen })
      app.get('/end', async request => request.session.cookie.expires)
    }))
    await visitor.get('/choose')
    for (const request of ['first', 'second']) t.equal((await visitor.get('/end')).json(), chosen.toISOString(), `the ${request} one`)
  }
})

t.test('refreshAfter is exact to the millisecond', async t => {
  const { advance } = stopClock(t)
  for (const refreshAfter of [1, MINUTE]) {
    const watched = new WatchedStore()
    const visitor = await login(await open(t, { store: watched.store, refreshAfter, cookie: { maxAge: HOUR } }))
    const refreshed = async (): Promise<boolean> => (await visitor.get('/whoami')).headers['set-cookie'] !== undefined
    advance(refreshAfter - 1)
    t.notOk(await refreshed(), `${refreshAfter - 1} ms after the login`)
    advance(1)
    t.ok(await refreshed(), `${refreshAfter} ms after the login`)
    t.notOk(await refreshed(), 'a second time at the same moment')
  }
})

// --- What a store's answers mean

t.test('an ENOENT from touch ends the session, and the page is still sent', async t => {
  const missing = Object.assign(new Error('no such file'), { code: 'ENOENT' })
  const failures = { 'as it is': missing, 'as a cause': new Error('could not touch', { cause: missing }) }
  for (const [how, failure] of Object.entries(failures)) {
    const store = Object.assign(new ThreeMethodStore(), {
      touch: (_sessionId: string, _session: object, callback: Answer) => callback(failure)
    })
    const visitor = await login(await open(t, { store, cookie: { maxAge: HOUR } }))
    const { statusCode, body } = await visitor.get('/whoami')
    t.same([statusCode, body], [200, 'max'], how)
    t.equal(visitor.cookies.size, 0, `${how}: the cookie is cleared`)
  }
})

/** A store with `update` whose destroy answers what the test wants. */
class AnsweringStore extends ThreeMethodStore {
  constructor (readonly answerTo: (removed: unknown) => unknown) {
    super()
  }

  override destroy (sessionId: string, callback: Answer): void {
    const removed = JSON.parse(this.records.get(sessionId) ?? 'false')
    this.records.delete(sessionId)
    callback(null, this.answerTo(removed))
  }

  update (sessionId: string, { set, unset }: SessionChanges, session: { cookie: object }, callback: Answer): void {
    const stored = this.records.get(sessionId)
    if (stored === undefined) {
      callback(null, false)
      return
    }
    const changed = { ...JSON.parse(stored), ...set, cookie: session.cookie }
    for (const key of unset) delete changed[key]
    this.records.set(sessionId, JSON.stringify(changed))
    callback(null, true)
  }
}

t.test("regenerate(keys) copies from the record that the store's destroy returned", async t => {
  const store = new AnsweringStore(removed => removed)
  const visitor = await login(await open(t, { store }, app => {
    app.get('/renamed', async request => {
      t.equal(data(request).user, 'max')
      // Another process does this in the meantime.
      for (const [sessionId, stored] of store.records) store.records.set(sessionId, stored.replace('max', 'moritz'))
      await request.session.regenerate(['user'])
      return data(request).user
    })
  }))
  t.equal((await visitor.get('/renamed')).body, 'moritz')
  t.equal(await whoami(visitor), 'moritz')
})

t.test('regenerate(keys) keeps what the handler has changed, whatever the store has', async t => {
  for (const store of [new AnsweringStore(removed => removed), new ThreeMethodStore(), new WatchedStore().store]) {
    const visitor = await login(await open(t, { store }, app => {
      app.get('/change', async request => {
        data(request).user = 'moritz'
        await request.session.regenerate(['user'])
        return data(request).user
      })
    }))
    t.equal((await visitor.get('/change')).body, 'moritz')
    t.equal(await whoami(visitor), 'moritz')
  }
})

t.test('the option user needs all three methods of an index', async t => {
  for (const missing of ['claim', 'release', 'claimsOf']) {
    const { store } = new WatchedStore()
    const part = new Proxy(store, { get: (target, key) => key === missing ? undefined : Reflect.get(target, key) })
    await t.rejects(build({ store: part, user: () => 'max' }, () => {}), { code: /^FST_ERR_SESSION_/ }, missing)
  }
})

t.test('a session whose id cannot be made is not written', async t => {
  const store = new ThreeMethodStore()
  const app = await open(t, { store, idGenerator: () => { throw new Error('no ids today') } }, app => {
    app.get('/save', async request => {
      data(request).user = 'max'
      await t.rejects(request.session.save() as Promise<void>, { message: 'no ids today' })
    })
  })
  await app.inject('/save')
  t.equal(store.records.size, 0)
})

t.test('if destroy returns something else than a record, regenerate(keys) keeps what was loaded', async t => {
  const hostile = new Proxy({}, { getOwnPropertyDescriptor: () => { throw new Error('not to be looked at') } })
  const answers = [undefined, null, true, 1, 'OK', Object.assign([], { cookie: {} }), { acknowledged: true, deletedCount: 1 }, hostile]
  for (const [i, answer] of answers.entries()) {
    const visitor = await login(await open(t, { store: new AnsweringStore(() => answer) }))
    t.equal((await visitor.get('/renew')).body, 'max', `answer ${i}`)
    t.equal(await whoami(visitor), 'max', `answer ${i}`)
  }
})

t.test('regenerate(keys) fails if the session has ended in the meantime, in this process or another', async t => {
  for (const answer of [false, undefined]) {
    const store = new AnsweringStore(removed => removed === false ? answer : removed)
    const app = await open(t, { store }, app => {
      app.get('/late', async request => {
        t.equal(data(request).user, 'max')
        // A logout in another process, or in this one.
        if (answer === false) store.records.clear()
        else await app.inject({ url: '/logout', headers: { cookie: visitor.cookieHeader() } })
        await request.session.regenerate(['user'])
      })
    })
    const visitor = await login(app)
    t.not((await visitor.get('/late')).statusCode, 200, String(answer))
    t.equal(await whoami(visitor), 'nobody', String(answer))
    t.equal([...store.records.values()].filter(stored => stored.includes('max')).length, 0, 'nothing of the session is left')
  }
})

// --- Requests that wait for each other

/** Holds each destroy until it is released. */
function holdDestroys (store: ThreeMethodStore): { begun: Promise<void>, release: () => void } {
  const destroy = store.destroy.bind(store)
  let release = (): void => {}
  const begun = new Promise<void>(resolve => {
    store.destroy = (sessionId, callback) => {
      release = () => destroy(sessionId, callback)
      resolve()
    }
  })
  return { begun, release: () => release() }
}

t.test("on a store with update, writes and touches don't wait for a logout", async t => {
  const store = Object.assign(new AnsweringStore(removed => removed), {
    touch: (_sessionId: string, _session: object, callback: Answer) => callback()
  })
  const app = await open(t, { store })
  const visitor = await login(app)
  const { begun, release } = holdDestroys(store)
  const ask = (url: string) => app.inject({ url, headers: { cookie: visitor.cookieHeader() } })
  const logout = ask('/logout')
  await begun
  t.equal((await ask('/write')).statusCode, 200, 'the write is done before the logout')
  t.equal((await ask('/whoami')).body, 'max', 'so is the touch')
  release()
  t.equal((await logout).statusCode, 200)
  t.equal(store.records.size, 0)
})

t.test('on a store without update, a write waits for a logout before it reads the record', async t => {
  const store = new ThreeMethodStore()
  // If the wait never ended, the test would hang.
  const app = await open(t, { store, storeTimeout: 5 * MINUTE })
  const visitor = await login(app)
  const { begun, release } = holdDestroys(store)
  const ask = (url: string) => app.inject({ url, headers: { cookie: visitor.cookieHeader() } })
  const logout = ask('/logout')
  await begun
  const get = t.capture(store, 'get', store.get)
  const written = ask('/write')
  // By the time a later request is answered, the handler of the write is done.
  t.equal((await app.inject('/whoami')).body, 'nobody')
  t.equal(get().length, 1, 'the session was loaded, and not yet read again for the write')
  release()
  t.equal((await logout).statusCode, 200)
  t.equal((await written).statusCode, 200)
  t.equal(store.records.size, 0, 'the write did not bring it back')
  t.equal(await whoami(visitor), 'nobody')
})

// --- Cookies

t.test('options that save() has written are not written again with the reply', async t => {
  const watched = new WatchedStore()
  const app = await open(t, { store: watched.store, cookie: { maxAge: HOUR } }, app => {
    app.get('/options', async request => { request.session.options({ maxAge: 2 * HOUR, path: '/' }) })
    app.get('/saved', async request => {
      request.session.options({ maxAge: 3 * HOUR })
      await request.session.save()
    })
    app.get('/after', async request => {
      await request.session.save()
      request.session.options({ maxAge: 4 * HOUR })
    })
  })
  const visitor = await login(app)
  for (const [url, writes, hours] of [['/options', 1, 2], ['/saved', 1, 3], ['/after', 2, 4]] as const) {
    let left = 0
    const calls = await watched.callsDuring(async () => {
      const { cookies } = await visitor.get(url)
      left = (cookies[0]?.expires?.getTime() as number) - Date.now()
    })
    t.equal(calls.filter(call => WRITES.includes(call)).length, writes, `${url} calls ${calls}`)
    t.ok(left > (hours - 0.5) * HOUR && left <= hours * HOUR, `${url}: the cookie lives ${hours} hours`)
  }
})

t.test('save() writes once, even if the absolute timeout is new', async t => {
  const watched = new WatchedStore()
  const visitor = await login(await open(t, { store: watched.store, cookie: { maxAge: HOUR } }))
  const app = await open(t, { store: watched.store, cookie: { maxAge: HOUR }, absoluteTimeout: 24 * HOUR }, app => {
    app.get('/save', async request => { await request.session.save() })
  })
  const headers = { cookie: visitor.cookieHeader() }
  const calls = await watched.callsDuring(() => app.inject({ url: '/save', headers }))
  t.equal(calls.filter(call => WRITES.includes(call)).length, 1, `calls ${calls}`)
})

t.test('an id from a signer counts only if it is a non-empty string', async t => {
  const ids = [undefined, null, '', 0, 42, true, {}, ['an-id'], Object('an-id'), Promise.resolve('an-id')]
  for (const sessionName of [undefined, 'admin']) {
    let id: unknown
    const store = new ThreeMethodStore()
    store.get = (_sessionId, callback) => callback(null, record({ user: 'max' }))
    const app = await build({
      store,
      sessionName,
      saveUninitialized: false,
      secret: { sign: (value: string) => value, unsign: () => ({ valid: true, renew: false, value: id as string }) }
    }, app => {
      app.get('/', async request => (request as any)[sessionName ?? 'session'].user ?? 'nobody')
    })
    t.teardown(() => app.close())
    const cookie = 'sessionId=signed'
    for (id of ids) t.equal((await app.inject({ url: '/', headers: { cookie } })).body, 'nobody', String(typeof id))
    id = sessionName === undefined ? 'an-id' : 'admin.an-id'
    t.equal((await app.inject({ url: '/', headers: { cookie } })).body, 'max', 'a string')
  }
})

t.test('if a signer says that a cookie is not valid, no session is loaded, whatever id it returns', async t => {
  const store = new ThreeMethodStore()
  store.get = (_sessionId, callback) => callback(null, record({ user: 'max' }))
  for (const valid of [false, undefined]) {
    const secret = { sign: (value: string) => value, unsign: () => ({ valid: valid as boolean, renew: false, value: 'an-id' }) }
    const app = await open(t, { store, secret })
    t.equal((await app.inject({ url: '/whoami', headers: { cookie: 'sessionId=an-id' } })).body, 'nobody')
  }
})

t.test('at most ten cookies of a request are looked up in the store', async t => {
  for (const [unknown, user] of [[9, 'max'], [10, 'nobody']] as const) {
    const store = new ThreeMethodStore()
    store.set('known', record({ user: 'max' }), () => {})
    const get = t.capture(store, 'get', store.get)
    const app = await open(t, { store })
    const ids = [...Array.from({ length: unknown }, (_, i) => `unknown-${i}`), 'known', 'one-more']
    const cookie = ids.map(sessionId => `sessionId=${encodeURIComponent(sign(sessionId, SECRET))}`).join('; ')
    t.equal((await app.inject({ url: '/whoami', headers: { cookie } })).body, user)
    t.equal(new Set(get().map(({ args: [sessionId] }) => sessionId)).size, 10, `behind ${unknown} unknown ones`)
  }
})

t.test('a signed id counts only with the right prefix', async t => {
  const store = new ThreeMethodStore()
  store.set('known', record({ user: 'max' }), () => {})
  const app = await open(t, { store, cookiePrefix: 's:' })
  for (const [prefix, user] of [['s:', 'max'], ['x:', 'nobody'], ['', 'nobody']]) {
    const cookie = `sessionId=${encodeURIComponent(prefix + sign('known', SECRET))}`
    t.equal((await app.inject({ url: '/whoami', headers: { cookie } })).body, user, `prefix '${prefix}'`)
  }
})

t.test('after a logout, a slow reply that writes nothing does not bring the cookie back', async t => {
  const watched = new WatchedStore()
  Object.assign(watched.memory, { getAndTouch: watched.memory.get })
  const gate = new EventEmitter()
  const app = await open(t, { store: watched.store, cookie: { maxAge: HOUR } }, app => {
    app.get('/slow', async request => {
      const go = once(gate, 'go')
      gate.emit('begun')
      await go
      return data(request).user ?? 'nobody'
    })
  })
  const visitor = await login(app)
  const headers = { cookie: visitor.cookieHeader() }
  const begun = once(gate, 'begun')
  const slow = app.inject({ url: '/slow', headers })
  await begun
  t.equal((await app.inject({ url: '/logout', headers })).statusCode, 200)
  gate.emit('go')
  const { cookies } = await slow
  t.notOk(cookies.some(({ value }) => value !== ''), 'the cookie of the ended session is not sent')
})

// --- What a handler does

t.test('a key that is deleted and then set to undefined is gone', async t => {
  for (const store of [new WatchedStore().store, new ThreeMethodStore()]) {
    const visitor = await login(await open(t, { store }, app => {
      app.get('/forget', async request => {
        delete data(request).user
        data(request).user = undefined
      })
    }))
    t.equal((await visitor.get('/forget')).statusCode, 200)
    t.equal(await whoami(visitor), 'nobody')
  }
})

t.test('decryptSession() of a stored session keeps its id, also with an asynchronous idGenerator', async t => {
  let ids = 0
  const app = await open(t, { store: new WatchedStore().store, idGenerator: async () => `id-${++ids}` }, app => {
    app.get('/decrypt', async request => {
      const { cookie } = request.query as { cookie: string }
      await app.decryptSession(cookie, request)
      return { sessionId: request.session.sessionId, user: data(request).user }
    })
  })
  const visitor = await login(app)
  const cookie = visitor.cookies.get('sessionId') as string
  const { sessionId, user } = (await app.inject({ url: '/decrypt', query: { cookie } })).json()
  t.equal(sessionId, cookie.split('.')[0])
  t.equal(user, 'max')
})

t.test('if user() returns null or undefined, nobody is logged in', async t => {
  for (const nobody of [null, undefined]) {
    const visitor = await login(await open(t, { store: new WatchedStore().store, user: () => nobody as undefined }, app => {
      app.get('/list', async request => await request.session.list())
    }))
    t.equal(await whoami(visitor), 'max')
    const list = await visitor.get('/list')
    t.same([list.statusCode, list.json()], [200, []])
  }
})

t.test("a property can't be set on the prototype of a session", async t => {
  for (const user of [undefined, () => 'max']) {
    const app = await open(t, { store: new WatchedStore().store, user }, app => {
      app.get('/set', async request => {
        for (let at = Object.getPrototypeOf(request.session); at !== Object.prototype; at = Object.getPrototypeOf(at)) {
          t.notOk(Reflect.set(at, 'left', 'here'))
        }
      })
      app.get('/other', async request => data(request).left ?? 'nothing')
    })
    t.equal((await app.inject('/set')).statusCode, 200)
    t.equal((await app.inject('/other')).body, 'nothing')
  }
})
