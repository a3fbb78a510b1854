import { sign } from '@fastify/cookie'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { build, Gate, SECRET, setCookies, stopClock, Visitor } from './helpers'
import { ThreeMethodStore } from './odd-stores'

const session = (request: FastifyRequest): any => request.session

t.test('if a store passes a promise to its callback, the result of the promise counts', async t => {
  const memory = new Map<string, object>()
  const reasons = [undefined, new Error('away')]
  let isAway = false
  const settled = async <T> (value: T): Promise<T> => {
    await new Promise(resolve => setImmediate(resolve))
    if (isAway) throw reasons.shift()
    return value
  }
  const store: any = {
    get: (sessionId: string, callback: Function) => callback(null, settled(memory.get(sessionId))),
    set: (sessionId: string, record: object, callback: Function) => callback(null, settled(memory.set(sessionId, JSON.parse(JSON.stringify(record))))),
    destroy: (sessionId: string, callback: Function) => callback(null, settled(memory.delete(sessionId)))
  }
  const app = await build({ store }, app => {
    app.get('/', async request => (session(request).n = (session(request).n ?? 0) + 1))
  })
  const visitor = new Visitor(app)
  for (const n of [1, 2]) t.equal((await visitor.get('/')).json(), n)
  isAway = true
  t.match((await visitor.get('/')).json(), { code: 'FST_ERR_SESSION_STORE', message: /unknown error/ }, 'a rejection without a reason is an unknown error')
  t.match((await visitor.get('/')).json(), { statusCode: 500, message: 'away' })
})

t.test('if a store passes the session to its callback as the error, the message says so', async t => {
  const store: any = {
    get: (_sessionId: string, callback: Function) => callback({ user: 'max', cookie: { expires: null } }),
    set: (_sessionId: string, _record: object, callback: Function) => callback({}),
    destroy: (_sessionId: string, callback: Function) => callback()
  }
  const app = await build({ store }, app => { app.get('/', async request => session(request).user) })
  const cookie = `sessionId=${encodeURIComponent(sign('x', SECRET))}`
  t.match((await app.inject({ url: '/', headers: { cookie } })).json(), { code: 'FST_ERR_SESSION_STORE', message: /as the error.*callback\(null, session\)/ })
  t.match((await app.inject('/')).json(), { code: 'FST_ERR_SESSION_STORE', message: /set failed: an object/ })
})

t.test("a value that can't be copied fails the request, but not the process", async t => {
  const app = await build({}, app => {
    app.get('/', async request => {
      session(request).broken = { get value () { throw new Error('broken') } }
      return 'ok'
    })
  })
  t.equal((await app.inject('/')).statusCode, 500)
  t.equal((await app.inject({ url: '/', method: 'HEAD' })).statusCode, 500)
})

t.test('the error of an idGenerator reaches both the callback and the promise of regenerate()', async t => {
  let isBroken = false
  const app = await build({ idGenerator: () => { if (isBroken) throw new Error('out of ids'); return 'an id' } }, app => {
    app.get('/', async () => 'ok')
    app.get('/promise', async request => {
      isBroken = true
      return await request.session.regenerate().catch((error: Error) => error.message)
    })
    app.get('/callback', (request, reply) => {
      isBroken = true
      request.session.regenerate(error => reply.send(error.message))
    })
  })
  for (const url of ['/promise', '/callback']) {
    isBroken = false
    const visitor = new Visitor(app)
    await visitor.get('/')
    t.equal((await visitor.get(url)).body, 'out of ids')
  }
})

t.test('what a callback throws becomes the error of the reply', async t => {
  const app = await build({}, app => {
    app.get('/', request => {
      request.session.save(() => { throw new Error('mine') })
    })
  })
  const response = await app.inject('/')
  t.equal(response.json().message, 'mine')
})

t.test('what a callback throws after the reply does not reach the store', async t => {
  let intoTheStore: unknown
  const store = {
    get: (_: string, callback: Function) => callback(),
    destroy: (_: string, callback: Function) => callback(),
    set (_: string, __: unknown, callback: Function) {
      setImmediate(() => {
        try {
          callback()
        } catch (error) {
          intoTheStore = error
        }
      })
    }
  }
  const app = await build({ store: store as any }, app => {
    app.get('/', (request, reply) => {
      request.session.save(() => {
        reply.send('ok')
        throw new Error('mine, late')
      })
    })
  })
  const caught = new Promise<Error>(resolve => process.setUncaughtExceptionCaptureCallback(resolve))
  t.equal((await app.inject('/')).body, 'ok')
  t.equal((await caught).message, 'mine, late')
  process.setUncaughtExceptionCaptureCallback(null)
  t.equal(intoTheStore, undefined)
})

t.test('if a signer throws, the cookie has no session', async t => {
  const secret = { sign: (value: string) => `${value}.signed`, unsign: () => { throw new Error('not mine') } }
  const app = await build({ secret }, app => { app.get('/', async () => 'ok') })
  const response = await app.inject({ url: '/', headers: { cookie: 'sessionId=x' } })
  t.equal(response.statusCode, 200)
  t.equal(setCookies(response).length, 1)
})

t.test('if all secrets are removed, nothing is signed and the reply is an error', async t => {
  const secret = [SECRET]
  const app = await build({ secret }, app => { app.get('/', async () => 'ok') })
  secret.pop()
  const response = await app.inject('/')
  t.equal(response.statusCode, 500)
  t.equal(response.json().code, 'FST_ERR_SESSION_SECRET')
  secret.push(SECRET)
  t.equal((await app.inject('/')).statusCode, 200)
})

t.test("a session that was destroyed or replaced can't be saved", async t => {
  const app = await build({}, app => {
    app.get('/destroy', async request => {
      const own = request.session
      await own.destroy()
      await own.save()
    })
    app.get('/regenerate', async request => {
      const own = request.session
      await own.regenerate()
      await own.save()
    })
  })
  for (const url of ['/destroy', '/regenerate']) {
    const response = await app.inject(url)
    t.equal(response.statusCode, 409)
    t.equal(response.json().code, 'FST_ERR_SESSION_GONE')
  }
})

t.test('an option that is undefined has its default, also in options()', async t => {
  const app = await build({}, app => {
    app.get('/', async request => {
      session(request).options({ secure: undefined, httpOnly: undefined, path: undefined })
      return 'ok'
    })
  })
  t.match(setCookies(await app.inject('/')), [/^sessionId=[^;]+; Path=\/; HttpOnly$/])
})

t.test('cookie.maxAge is the time left, or null without an end', async t => {
  stopClock(t)
  const app = await build({}, app => {
    app.get('/', async request => {
      const { cookie } = session(request)
      const before = cookie.maxAge
      cookie.maxAge = 60_000
      const left = cookie.maxAge
      session(request).options({ maxAge: null })
      return [before, left, session(request).cookie.expires]
    })
  })
  t.same((await app.inject('/')).json(), [null, 60_000, null])
})

t.test('a record that throws when it is read fails the reply or regenerate(keys), but not the process', async t => {
  const broken = (): never => { throw new Error('broken') }
  const store = {
    record: {} as object,
    get (_sessionId: string, callback: any) { callback(null, this.record) },
    set (_sessionId: string, _session: unknown, callback: any) { callback() },
    touch (_sessionId: string, _session: unknown, callback: any) { callback() },
    update (_sessionId: string, _changes: unknown, _session: unknown, callback: any) { callback() },
    destroy (_sessionId: string, callback: any) {
      callback(null, { user: { get name () { return broken() } }, cookie: {} })
    }
  }
  const app = await build({ store }, app => {
    app.get('/', async () => 'ok')
    app.get('/renew', async request => { await request.session.regenerate(['user'] as any) })
  })
  const cookie = `sessionId=${encodeURIComponent(sign('a', SECRET))}`
  store.record = { user: 'max', cookie: { originalMaxAge: 1000, get expires () { return broken() } } }
  t.equal((await app.inject({ url: '/', headers: { cookie } })).json().message, 'broken')
  store.record = { user: 'max', cookie: {} }
  t.equal((await app.inject({ url: '/renew', headers: { cookie } })).json().message, 'broken')
  t.equal((await app.inject({ url: '/', headers: { cookie } })).statusCode, 200)
})

t.test('if a handler ignores that regenerate() failed, its login is not written under the old id', async t => {
  for (const isSaved of [false, true]) {
    const store = new ThreeMethodStore()
    const app = await build({ store: store as any }, app => {
      app.get('/login', async request => {
        await request.session.regenerate().catch(() => {})
        ;(request.session as any).user = 'max'
        if (isSaved) await request.session.save().catch(() => {})
        return 'welcome'
      })
      app.get('/user', async request => (request.session as any).user ?? 'nobody')
    })
    const visitor = new Visitor(app)
    await visitor.get('/user')
    store.failures.set('destroy', new Error('away'))
    const planted = visitor.copy()
    t.equal((await visitor.get('/login')).statusCode, 500)
    t.equal((await planted.get('/user')).body, 'nobody')
    store.failures.clear()
    t.equal((await visitor.get('/login')).statusCode, 200)
    t.equal((await visitor.get('/user')).body, 'max')
    t.equal((await planted.get('/user')).body, 'nobody')
  }
})

t.test('a request that waits too long behind others is told so, and not that the store is away', async t => {
  class Slow extends ThreeMethodStore {
    readonly gates = [new Gate(), new Gate()]
    readonly #held = [...this.gates]
    isSlow = false
    override set (...args: Parameters<ThreeMethodStore['set']>): void {
      const gate = this.isSlow ? this.#held.shift() : undefined
      if (gate === undefined) super.set(...args)
      else gate.pass().then(() => super.set(...args), t.fail)
    }
  }
  const store = new Slow()
  const app = await build({ store: store as any, storeTimeout: 1000 }, app => {
    app.get('/login', async request => { (request.session as any).user = 'max' })
    app.get('/change', async request => { (request.session as any).at = Math.random() })
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  store.isSlow = true
  const replies = [1, 2, 3].map(() => visitor.copy().get('/change'))
  const [first, second] = store.gates as [Gate, Gate]
  await first.holds()
  first.open()
  await second.holds()
  const third = await replies[2]
  t.match([third?.statusCode, third?.json()], [503, { code: 'FST_ERR_SESSION_STORE_TIMEOUT', message: /many requests change this session/ }])
  second.open()
  t.equal((await replies[0])?.statusCode, 200)
})
