/** Routes that load a session when their handler asks for it. */
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import t, { type Test } from 'tap'
import fastifySession from '../src/index'
import { build, Gate, holdTimeouts, SECRET, setCookies, stopClock, Visitor, type SessionOptions } from './helpers'
import { AWAY, WatchedStore } from './odd-stores'

const MINUTE = 60_000

/** The same store, but get waits at a gate. */
function held (store: any, gate: Gate): any {
  const get = (...args: unknown[]): void => { gate.pass().then(() => store.get(...args), () => {}) }
  return new Proxy(store, { get: (store, key) => key === 'get' ? get : Reflect.get(store, key) })
}

const LAZY = { config: { session: 'lazy' } } as const
const data = (request: FastifyRequest): any => request.session

async function open (t: Test, { gate, ...options }: SessionOptions & { gate?: Gate } = {}, more: (app: FastifyInstance) => void = () => {}): Promise<{
  app: FastifyInstance
  store: WatchedStore
  visitor: Visitor
}> {
  const store = new WatchedStore()
  const app = await build({ store: gate === undefined ? store.store : held(store.store, gate), cookie: { maxAge: 60 * MINUTE }, ...options }, app => {
    app.get('/login', { config: { session: { lazy: false } } }, async request => { data(request).user = 'ada' })
    app.get('/page', LAZY, async () => 'a page')
    app.get('/me', LAZY, async request => {
      const session: any = await request.loadSession()
      return session.user ?? 'nobody'
    })
    app.get('/write', LAZY, async request => {
      await request.loadSession()
      data(request).n = 1
    })
    more(app)
  })
  t.teardown(() => app.close())
  return { app, store, visitor: new Visitor(app) }
}

t.test('a lazy route that never loads its session calls no store, and neither sends nor clears a cookie', async t => {
  for (const options of [{}, { saveUninitialized: false }, { rolling: false }, { cacheControl: true }, { onStoreError: 'anonymous' as const }]) {
    const { store, visitor } = await open(t, options)
    for (const who of ['a stranger', 'a visitor with a session', 'a visitor with a worthless cookie']) {
      if (who === 'a visitor with a session') await visitor.get('/login')
      else store.memory.store.clear()
      store.calls.length = 0
      const response = await visitor.get('/page')
      t.equal(response.body, 'a page')
      t.same(setCookies(response), [], who)
      t.same([response.headers.vary, response.headers['cache-control']], [undefined, undefined])
      t.same(store.calls, [])
    }
  }
})

t.test('a lazy page works while the store is away', async t => {
  const { store, visitor } = await open(t)
  await visitor.get('/login')
  store.isAway = true
  t.equal((await visitor.get('/page')).statusCode, 200)
  t.equal((await visitor.get('/me')).statusCode, 500, "a route that loads its session gets the store's error")
  t.equal((await visitor.get('/me')).json().message, AWAY)
  store.isAway = false
  t.equal((await visitor.get('/me')).body, 'ada', 'the visitor is still logged in')
})

t.test('loadSession() fills request.session as an ordinary load does, and the session is saved as usual', async t => {
  const { store, visitor } = await open(t)
  t.equal((await visitor.get('/me')).body, 'nobody')
  t.same(store.calls, ['set'], 'a new session is created, as on any route')
  await visitor.get('/login')
  store.calls.length = 0
  const response = await visitor.get('/me')
  t.equal(response.body, 'ada')
  t.equal(setCookies(response).length, 1, 'a rolling session is prolonged')
  t.same(store.calls, ['get', 'touch'])
  store.calls.length = 0
  await visitor.get('/write')
  t.same(store.calls, ['get', 'update'])
})

t.test('loadSession() loads once, however often it is called', async t => {
  const gate = new Gate()
  const { store, visitor } = await open(t, { gate }, app => {
    app.get('/often', LAZY, async request => {
      const sessions = await Promise.all([request.loadSession(), request.loadSession()])
      sessions.push(await request.loadSession(), request.session)
      return [new Set(sessions).size, data(request).user]
    })
  })
  await visitor.get('/login')
  store.calls.length = 0
  const response = visitor.get('/often')
  await gate.holds()
  gate.open()
  t.same((await response).json(), [1, 'ada'])
  t.same(store.calls, ['get', 'touch'])
})

t.test('before it is loaded, request.session of a lazy route throws an error that says what to do', async t => {
  const { visitor } = await open(t, {}, app => {
    app.get('/read', LAZY, async request => request.session)
    app.get('/replace', LAZY, async request => { (request as any).session = {} })
  })
  await visitor.get('/login')
  for (const url of ['/read', '/replace']) {
    const response = await visitor.get(url)
    t.equal(response.statusCode, 500)
    t.match(response.json(), { code: 'FST_ERR_SESSION_NONE', message: /request\.session: it is lazy here.*await request\.loadSession\(\) first/ })
  }
})

t.test('the option lazy makes all routes lazy unless they say otherwise', async t => {
  const { store, visitor } = await open(t, { lazy: true }, app => {
    app.get('/other', async () => 'ok')
    app.get('/rolling', { config: { session: { rolling: true } } }, async request => data(request).user)
    app.get('/eager', { config: { session: { lazy: false } } }, async request => data(request).user)
    app.get('/none', { config: { session: false } }, async request => String(data(request).user))
  })
  await visitor.get('/login')
  store.calls.length = 0
  t.equal((await visitor.get('/other')).body, 'ok')
  t.equal((await visitor.get('/nowhere')).statusCode, 404)
  t.equal((await visitor.get('/rolling')).json().code, 'FST_ERR_SESSION_NONE')
  t.equal((await visitor.get('/none')).body, 'undefined')
  t.same(store.calls, [])
  t.equal((await visitor.get('/eager')).body, 'ada')
})

t.test('other session options of a lazy route apply when the session is loaded', async t => {
  const { store, visitor } = await open(t, {}, app => {
    app.get('/still', { config: { session: { lazy: true, rolling: false } } }, async request => {
      await request.loadSession()
      return data(request).user
    })
  })
  await visitor.get('/login')
  store.calls.length = 0
  t.equal((await visitor.get('/still')).body, 'ada')
  t.same(store.calls, ['get'])
})

t.test('a route with fresh loads its session at once, even if it is lazy', async t => {
  const { visitor } = await open(t, { lazy: true }, app => {
    app.get('/confirm', LAZY, async request => {
      const session = await request.loadSession()
      await session.regenerate([], { authenticated: true })
    })
    app.get('/secret', { config: { session: { lazy: true, fresh: MINUTE } } }, async request => data(request).cookie !== undefined)
  })
  t.equal((await visitor.get('/secret')).statusCode, 401)
  await visitor.get('/confirm')
  t.equal((await visitor.get('/secret')).body, 'true')
})

t.test('on a route that is not lazy, loadSession() resolves with the session that is already there', async t => {
  const { store, visitor } = await open(t, {}, app => {
    app.get('/ordinary', async request => [await request.loadSession() === request.session, data(request).user])
    app.get('/after', async request => {
      await request.session.destroy()
      return [await request.loadSession()]
    })
  })
  await visitor.get('/login')
  store.calls.length = 0
  t.same((await visitor.get('/ordinary')).json(), [true, 'ada'])
  t.same(store.calls, ['get', 'touch'])
  t.same((await visitor.get('/after')).json(), [null])
})

t.test('if there is no session, loadSession() rejects and says why', async t => {
  const says = async (request: FastifyRequest): Promise<string> => await request.loadSession().then(() => 'nothing', error => `${error.code}: ${error.message}`)
  const { visitor } = await open(t, { cookie: { path: '/app' } }, app => {
    app.get('/outside', LAZY, says)
    app.get('/app/none', { config: { session: false } }, says)
    app.get('/app/own', { config: { session: false } }, async request => {
      await app.decryptSession(undefined, request)
      return await request.loadSession() === request.session
    })
  })
  t.match((await visitor.get('/outside')).body, /^FST_ERR_SESSION_NONE: .*outside of cookie\.path/)
  t.match((await visitor.get('/app/none')).body, /^FST_ERR_SESSION_NONE: .*config: \{ session: false \}/)
  t.equal((await visitor.get('/app/own')).body, 'true', 'unless decryptSession() has put one there')

  const app = Fastify()
  await app.register(fastifyCookie)
  const said: string[] = []
  app.addHook('onRequest', async request => { said.push(await says(request)) })
  await app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
  app.get('/', async () => 'ok')
  await app.inject('/')
  t.match(said, [/^FST_ERR_SESSION_NONE: .*hook has not run/])
})

t.test('a failed load is not tried again, and request.session says why it failed', async t => {
  const { store, visitor } = await open(t, {}, app => {
    app.get('/again', LAZY, async request => {
      const first = await request.loadSession().catch(error => error)
      const second = await request.loadSession().catch(error => error)
      t.equal(data(request).user, undefined)
      return [first.message, second.code, second.cause.message]
    })
    app.get('/unawaited', LAZY, async request => {
      request.loadSession()
      return 'ok'
    })
  })
  await visitor.get('/login')
  store.isAway = true
  store.calls.length = 0
  t.same((await visitor.get('/again')).json(), [AWAY, 'FST_ERR_SESSION_NONE', AWAY])
  t.same(store.calls, ['get'])
  t.equal((await visitor.get('/unawaited')).body, 'ok', 'an un-awaited failure does not end the process')
})

t.test('loadSession() rejects with what a function of the application throws', async t => {
  const { visitor } = await open(t, { cookie: () => { throw new Error('no such tenant') } })
  t.equal((await visitor.get('/page')).body, 'a page')
  t.equal((await visitor.get('/me')).json().message, 'no such tenant')
})

t.test('with onStoreError: anonymous, loadSession() resolves with an anonymous session', async t => {
  const { store, visitor } = await open(t, { onStoreError: 'anonymous' }, app => {
    app.get('/which', LAZY, async request => (await request.loadSession()).isAnonymous)
  })
  await visitor.get('/login')
  store.isAway = true
  t.equal((await visitor.get('/which')).body, 'true')
})

t.test('an un-awaited load that ends after the reply saves nothing, and a change of its session causes a warning', async t => {
  const warnings: string[] = []
  const note = ({ code }: any): void => { warnings.push(code) }
  process.on('warning', note)
  t.teardown(() => process.off('warning', note))
  let late: Promise<void> | undefined
  const gate = new Gate()
  const { store, visitor } = await open(t, { gate }, app => {
    app.get('/late', LAZY, async request => {
      late = request.loadSession().then(session => { (session as any).n = 1 })
      return 'ok'
    })
  })
  await visitor.get('/login')
  store.calls.length = 0
  const response = await visitor.get('/late')
  t.equal(response.body, 'ok')
  t.same(setCookies(response), [])
  gate.open()
  await late
  await new Promise(resolve => setImmediate(resolve))
  t.same(store.calls, ['get'])
  t.same(warnings.filter(code => code === 'FST_SESSION_LATE_CHANGE'), ['FST_SESSION_LATE_CHANGE'])
})

t.test('once loaded, the session of a long lazy request is kept alive', async t => {
  const clock = stopClock(t)
  const timeouts = holdTimeouts(t)
  const calls: string[] = []
  const { store, visitor } = await open(t, { cookie: { maxAge: MINUTE } }, app => {
    app.get('/long', LAZY, async request => {
      for (const isLoaded of [false, true]) {
        if (isLoaded) await request.loadSession()
        store.calls.length = 0
        clock.advance(MINUTE / 2)
        timeouts.pass(MINUTE / 2)
        calls.push(`${isLoaded ? 'after' : 'before'}: ${store.calls.join()}`)
      }
      return data(request).user
    })
  })
  await visitor.get('/login')
  t.equal((await visitor.get('/long')).body, 'ada')
  t.match(calls, ['before: ', /after: .+/])
  t.equal(calls[0], 'before: ')
})

t.test('idGenerator runs when a lazy session is loaded', async t => {
  let ids = 0
  const { visitor } = await open(t, { idGenerator: async () => `id ${++ids}` }, app => {
    app.get('/id', LAZY, async request => (await request.loadSession()).sessionId)
  })
  await visitor.get('/page')
  t.equal(ids, 0)
  t.equal((await visitor.get('/id')).body, 'id 1')
})

t.test('decryptSession() can set the session of a lazy request', async t => {
  const { visitor } = await open(t, {}, app => {
    app.get('/by-hand', LAZY, async request => {
      await app.decryptSession(request.cookies.sessionId, request)
      return data(request).user
    })
  })
  await visitor.get('/login')
  t.equal((await visitor.get('/by-hand')).body, 'ada')
})

t.test('each of two sessions is loaded by its own name', async t => {
  const admin = new WatchedStore()
  const { store, visitor } = await open(t, {}, app => {
    app.register(fastifySession, { secret: SECRET, store: admin.store, sessionName: 'adminSession', cookieName: 'adminId', cookie: { secure: false } })
    app.get('/admin', { config: { session: 'lazy', adminSession: 'lazy' } as any }, async (request: any) => {
      const session = await request.loadAdminSession()
      session.n = 1
      t.throws(() => request.session, { code: 'FST_ERR_SESSION_NONE', message: /request\.loadSession/ })
      return 'ok'
    })
  })
  t.equal((await visitor.get('/admin')).body, 'ok')
  t.same([store.calls, admin.calls], [[], ['set']])
})

// --- The name loadSession

t.test('an application that decorates request.loadSession itself keeps its own', async t => {
  for (const isFirst of [true, false]) {
    const app = Fastify()
    const decorate = fp(async (app: FastifyInstance) => { app.decorateRequest('loadSession', async () => 'mine' as any) })
    await app.register(fastifyCookie)
    if (isFirst) await app.register(decorate)
    await app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
    if (!isFirst) await app.register(decorate)
    app.get('/', async request => await request.loadSession())
    app.get('/lazy', LAZY, async () => 'never')
    t.equal((await app.inject('/')).body, 'mine')
    const refused = await app.inject('/lazy')
    t.equal(refused.statusCode, 500, 'a lazy route has no way to load its session')
    t.match(refused.json(), { code: 'FST_ERR_SESSION_NAME_TAKEN', message: /request\.loadSession/ })
  }
})

t.test("with the option lazy, ready() refuses an application's own request.loadSession", async t => {
  const app = Fastify()
  app.register(fastifyCookie)
  app.register(fastifySession, { secret: SECRET, lazy: true })
  app.decorateRequest('loadSession', async () => 'mine' as any)
  await t.rejects(async () => await app.ready(), { code: 'FST_ERR_SESSION_NAME_TAKEN', message: /request\.loadSession/ })
})

t.test('loadSession() works on routes that were registered before the plugin, and in nested scopes', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.register(fastifyCookie)
  app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
  app.addHook('onReady', async () => { await new Promise(resolve => setImmediate(resolve)) })
  app.get('/', LAZY, async request => typeof await request.loadSession())
  app.register(async app => {
    app.decorateRequest('mine', 1)
    app.get('/nested', LAZY, async request => typeof await request.loadSession())
  })
  t.equal((await app.inject('/')).body, 'object')
  t.equal((await app.inject('/nested')).body, 'object')
})
