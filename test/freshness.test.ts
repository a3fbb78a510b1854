/** When a visitor last authenticated, and routes that require a recent authentication. */
import { setImmediate } from 'node:timers/promises'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import fastifyCookie from '@fastify/cookie'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore, type SessionStore } from '../src/index'
import { RedisStore } from '../src/stores/redis'
import { build, Gate, SECRET, setCookies, stopClock, Visitor, type SessionOptions } from './helpers'
import { warned } from './heard'
import { AWAY, ThreeMethodStore } from './odd-stores'
import { connectTo, startRedis, type NodeRedis } from './servers'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

let redis: NodeRedis

t.before(async () => {
  redis = await connectTo(t, await startRedis(t))
})

const data = (request: FastifyRequest): any => request.session
const user = (session: any): string | undefined => session.userId

function routes (app: FastifyInstance): void {
  app.get('/login/:user', async request => {
    await request.session.regenerate()
    data(request).userId = (request.params as any).user
  })
  app.get('/become/:user', async request => { data(request).userId = (request.params as any).user })
  app.get('/forget', async request => { delete data(request).userId })
  app.get('/write', async request => { data(request).n = (data(request).n ?? 0) + 1 })
  app.get('/confirm', async request => { await request.session.regenerate(['userId', 'n'] as any, { authenticated: true }) })
  app.get('/renew', async request => { await request.session.regenerate(['userId', 'n'] as any) })
  app.get('/empty', async request => { await request.session.regenerate() })
  app.get('/fresh', async request => request.session.isFresh(10 * MINUTE))
  app.get('/list', async request => await request.session.list())
  app.get('/user', async request => data(request).userId ?? 'nobody')
  app.get('/mail', { config: { session: { fresh: 10 * MINUTE } } }, async () => 'changed')
}

async function open (t: Test, options: SessionOptions = {}, more: (app: FastifyInstance) => void = () => {}): Promise<{
  app: FastifyInstance
  visitor: Visitor
  cookie: () => any
}> {
  const store = options.store ?? new MemoryStore()
  const app = await build({ store, user, ...options }, app => {
    routes(app)
    more(app)
  })
  t.teardown(() => app.close())
  const cookie = (): any => ([...(store as MemoryStore).store.values()].at(-1) as any)?.cookie
  return { app, visitor: new Visitor(app), cookie }
}

const isFresh = async (visitor: Visitor): Promise<boolean> => (await visitor.get('/fresh')).body === 'true'

/** Runs a test on each kind of store that has an index by user. */
function onEach (title: string, run: (t: Test, store: SessionStore) => Promise<void>): void {
  t.test(title, async t => {
    await t.test('MemoryStore', t => run(t, new MemoryStore()))
    await t.test('RedisStore', async t => {
      await redis.flushDb()
      await run(t, new RedisStore({ client: redis }))
    })
  })
}

// --- The time of the last authentication

onEach('a login is when a session without a user gets one', async (t, store) => {
  const clock = stopClock(t)
  const { visitor } = await open(t, { store })
  await visitor.get('/write')
  t.notOk(await isFresh(visitor), 'a guest')
  await visitor.get('/login/ada')
  t.ok(await isFresh(visitor))
  clock.advance(10 * MINUTE - 1)
  await visitor.get('/write')
  t.ok(await isFresh(visitor), 'until the time has passed')
  clock.advance(1)
  t.notOk(await isFresh(visitor), 'using the session does not extend it')
  await visitor.get('/login/ada')
  t.ok(await isFresh(visitor), 'after a second login')
})

onEach('a change of the user is a login too, even without regenerate()', async (t, store) => {
  const clock = stopClock(t)
  const { visitor } = await open(t, { store })
  await visitor.get('/become/ada')
  t.ok(await isFresh(visitor))
  clock.advance(HOUR)
  await visitor.get('/become/ada')
  t.notOk(await isFresh(visitor), 'setting the same user again is not a login')
  await visitor.get('/become/eva')
  t.ok(await isFresh(visitor))
})

onEach('a session that no longer has a user is not fresh', async (t, store) => {
  const { visitor } = await open(t, { store })
  await visitor.get('/become/ada')
  await visitor.get('/forget')
  t.notOk(await isFresh(visitor))
  await visitor.get('/login/ada')
  await visitor.get('/empty')
  t.notOk(await isFresh(visitor), 'after a regenerate() that keeps nothing')
})

onEach('regenerate(keys) keeps the time of authentication, and { authenticated: true } sets it', async (t, store) => {
  const clock = stopClock(t)
  const { visitor } = await open(t, { store })
  await visitor.get('/login/ada')
  clock.advance(5 * MINUTE)
  await visitor.get('/renew')
  t.ok(await isFresh(visitor))
  clock.advance(5 * MINUTE)
  t.notOk(await isFresh(visitor), 'it counts from the login, and not from the renewal')
  await visitor.get('/confirm')
  t.ok(await isFresh(visitor))
  t.equal((await visitor.get('/user')).body, 'ada')
})

onEach('list() shows when each session last authenticated', async (t, store) => {
  const clock = stopClock(t)
  const begun = Date.now()
  const { app, visitor } = await open(t, { store, cookie: { maxAge: 24 * HOUR } })
  await visitor.get('/login/ada')
  clock.advance(MINUTE)
  await visitor.get('/write')
  t.same((await visitor.get('/list')).json().map((view: any) => view.authenticatedAt), [new Date(begun).toJSON()])
  await visitor.get('/confirm')
  t.same((await app.sessions.forUser('ada')).map(view => view.authenticatedAt), [new Date(begun + MINUTE)])
})

t.test('an authenticatedAt from describe() stays', async t => {
  const { visitor } = await open(t, { describe: () => ({ authenticatedAt: 'mine' }) })
  await visitor.get('/login/ada')
  t.equal((await visitor.get('/list')).json()[0].authenticatedAt, 'mine')
})

t.test('a list shows null for a session without a time of authentication', async t => {
  const { visitor, cookie } = await open(t)
  await visitor.get('/login/ada')
  delete cookie().authenticatedAt
  t.equal((await visitor.get('/list')).json()[0].authenticatedAt, null)
})

t.test('a parallel request that writes something else does not change the time of authentication', async t => {
  for (const [what, store] of Object.entries({ MemoryStore: new MemoryStore(), RedisStore: new RedisStore({ client: redis }) })) {
    for (const change of ['/become/eva', '/forget']) {
      const clock = stopClock(t)
      const gate = new Gate()
      const { visitor } = await open(t, { store }, app => {
        app.get('/slow', async request => {
          data(request).slow = true
          await gate.pass()
        })
      })
      await visitor.get('/become/ada')
      clock.advance(HOUR)
      const slow = visitor.get('/slow')
      await gate.holds()
      await visitor.get(change)
      gate.open()
      t.equal((await slow).statusCode, 200)
      t.equal(await isFresh(visitor), change === '/become/eva', `${what}: ${change}`)
    }
  }
})

t.test('isFresh() is right within the request of a login or a logout', async t => {
  const clock = stopClock(t)
  const { visitor } = await open(t, {}, app => {
    app.get('/at-once', async request => {
      const said = [request.session.isFresh(MINUTE)]
      data(request).userId = 'ada'
      said.push(request.session.isFresh(MINUTE))
      await request.session.save()
      said.push(request.session.isFresh(MINUTE))
      delete data(request).userId
      said.push(request.session.isFresh(MINUTE))
      return said
    })
  })
  t.same((await visitor.get('/at-once')).json(), [false, true, true, false])
  await visitor.get('/login/ada')
  clock.advance(HOUR)
  t.notOk(await isFresh(visitor))
})

onEach('update() can log in or out too', async (t, store) => {
  const clock = stopClock(t)
  const { visitor } = await open(t, { store }, app => {
    app.get('/update/:user', async request => {
      const { user } = request.params as any
      await request.session.update((data: any) => {
        if (user === 'nobody') delete data.userId
        else data.userId = user
      })
      return request.session.isFresh(MINUTE)
    })
  })
  await visitor.get('/login/ada')
  clock.advance(HOUR)
  t.equal((await visitor.get('/update/ada')).body, 'false', 'the same user')
  t.equal((await visitor.get('/update/eva')).body, 'true')
  t.ok(await isFresh(visitor))
  t.equal((await visitor.get('/update/nobody')).body, 'false')
  t.notOk(await isFresh(visitor))
})

t.test("a login that isn't awaited counts", async t => {
  const clock = stopClock(t)
  const { visitor } = await open(t, {}, app => {
    app.get('/hasty', (request, reply) => {
      request.session.regenerate()
      data(request).userId = 'ada'
      reply.send('ok')
    })
  })
  await visitor.get('/login/ada')
  clock.advance(HOUR)
  await visitor.get('/hasty')
  t.ok(await isFresh(visitor))
})

t.test('a login that was refused changes nothing', async t => {
  const clock = stopClock(t)
  const { app, visitor } = await open(t, { maxPerUser: 1, onMaxPerUser: 'refuse' }, app => {
    app.get('/try/:user', async request => {
      const before = data(request).userId
      data(request).userId = (request.params as any).user
      const error = await request.session.save().then(() => undefined, error => error)
      data(request).userId = before
      return error.code
    })
  })
  await new Visitor(app).get('/login/eva')
  await visitor.get('/login/ada')
  clock.advance(HOUR)
  t.equal((await visitor.get('/try/eva')).body, 'FST_ERR_SESSION_TOO_MANY')
  t.equal((await visitor.get('/user')).body, 'ada')
  t.notOk(await isFresh(visitor))
})

t.test('a renewal that is tried again after a failed write is not a login', async t => {
  const clock = stopClock(t)
  const store = new MemoryStore()
  const { set } = store
  const { visitor } = await open(t, { store }, app => {
    app.get('/again', async request => {
      Object.assign(store, { set (_id: string, _session: object, callback: Function) { callback(new Error('full')) } })
      const error: any = await data(request).regenerate(['userId']).catch((error: Error) => error)
      Object.assign(store, { set })
      await request.session.regenerate(['userId'] as any)
      return error.message
    })
  })
  await visitor.get('/login/ada')
  clock.advance(HOUR)
  t.equal((await visitor.get('/again')).body, 'full')
  t.equal((await visitor.get('/user')).body, 'ada')
  t.notOk(await isFresh(visitor))
})

t.test('a session from an earlier version is not fresh, even after a save or a renewal', async t => {
  for (const url of ['/write', '/renew']) {
    const { visitor, cookie } = await open(t)
    await visitor.get('/login/ada')
    for (const name of ['authenticatedAt', 'userKey', 'claimedAt']) delete cookie()[name]
    await visitor.get(url)
    t.notOk(await isFresh(visitor), url)
    t.equal((await visitor.get('/list')).json().length, 1, 'it is in the list again')
    await visitor.get('/confirm')
    t.ok(await isFresh(visitor))
  }
})

t.test('if user() names users differently after a deployment, that is not a login', async t => {
  const clock = stopClock(t)
  const store = new MemoryStore()
  const before = await open(t, { store })
  await before.visitor.get('/login/ada')
  clock.advance(HOUR)
  for (const url of ['/write', '/renew']) {
    const after = await open(t, { store, user: session => user(session) && `${url}:${user(session)}` })
    const visitor = before.visitor.copy(after.app)
    await visitor.get(url)
    t.notOk(await isFresh(visitor), url)
  }
})

t.test('without the option user, only regenerate(keys, { authenticated: true }) sets the time', async t => {
  const clock = stopClock(t)
  for (const store of [new MemoryStore(), new ThreeMethodStore()]) {
    const { visitor } = await open(t, { store, user: undefined })
    await visitor.get('/login/ada')
    t.notOk(await isFresh(visitor))
    await visitor.get('/confirm')
    t.ok(await isFresh(visitor))
    await visitor.get('/renew')
    await visitor.get('/write')
    t.ok(await isFresh(visitor), 'regenerate(keys) keeps it')
    await visitor.get('/empty')
    t.notOk(await isFresh(visitor), 'not without data: nobody is logged in')
    await visitor.get('/confirm')
    clock.advance(10 * MINUTE)
    t.notOk(await isFresh(visitor))
  }
})

t.test('regenerate() takes its options in each call form', async t => {
  const forms: Record<string, (session: any, callback: (error: unknown) => void) => unknown> = {
    'keys, options, callback': (session, callback) => session.regenerate(['n'], { authenticated: true }, callback),
    'no keys, options, callback': (session, callback) => session.regenerate(null, { authenticated: true }, callback),
    'keys, options': (session, callback) => session.regenerate([], { authenticated: true }).then(callback, callback)
  }
  const others: typeof forms = {
    'keys, callback': (session, callback) => session.regenerate(['n'], callback),
    callback: (session, callback) => session.regenerate(callback),
    'keys, null, callback': (session, callback) => session.regenerate(['n'], null, callback),
    'a string that only looks like true': (session, callback) => session.regenerate(['n'], { authenticated: 'false' }, callback),
    'not authenticated': (session, callback) => session.regenerate(['n'], { authenticated: false }, callback)
  }
  for (const [form, regenerate] of Object.entries({ ...forms, ...others })) {
    const { visitor } = await open(t, { user: undefined }, app => {
      app.get('/form', (request, reply) => {
        const { sessionId } = request.session
        regenerate(request.session, error => reply.send([error ?? null, request.session.sessionId !== sessionId]))
      })
    })
    t.same((await visitor.get('/form')).json(), [null, true], form)
    t.equal(await isFresh(visitor), form in forms, form)
  }
})

t.test('isFresh() of a stale object is that of the session in its place', async t => {
  const { visitor } = await open(t, {}, app => {
    app.get('/stale', async request => {
      const stale = request.session
      await stale.regenerate([], { authenticated: true })
      const said = [stale.isFresh(MINUTE)]
      await request.session.destroy()
      return [...said, stale.isFresh(MINUTE)]
    })
  })
  t.same((await visitor.get('/stale')).json(), [true, false])
})

t.test("isFresh() returns false if it isn't given a positive number", async t => {
  const { visitor } = await open(t, {}, app => {
    app.get('/odd', async request => [undefined, NaN, 'x', 0, -1, null].map(odd => request.session.isFresh(odd as number)))
  })
  await visitor.get('/login/ada')
  t.same((await visitor.get('/odd')).json(), [false, false, false, false, false, false])
})

t.test("a stored authenticatedAt that isn't a valid time is not fresh", async t => {
  for (const odd of ['now', null, {}, new Date(), NaN]) {
    const { visitor, cookie } = await open(t)
    await visitor.get('/login/ada')
    cookie().authenticatedAt = odd
    t.notOk(await isFresh(visitor), String(odd))
  }
})

t.test('a time in the future, from a clock that is ahead, is fresh', async t => {
  const { visitor, cookie } = await open(t)
  await visitor.get('/login/ada')
  cookie().authenticatedAt += MINUTE
  t.ok(await isFresh(visitor))
})

t.test('data called isFresh or authenticatedAt belong to the application', async t => {
  const { visitor } = await open(t, {}, app => {
    app.get('/own', async request => {
      Object.assign(request.session, { isFresh: 'mine', authenticatedAt: 'mine too' })
    })
    app.get('/own/seen', async request => [data(request).isFresh, data(request).authenticatedAt])
  })
  await visitor.get('/login/ada')
  await visitor.get('/own')
  t.same((await visitor.get('/own/seen')).json(), ['mine', 'mine too'])
  t.equal((await visitor.get('/mail')).body, 'changed', 'the route still asks the library')
})

// --- Next to version 12.0.0, on Redis, where it keeps our fields unchanged

t.test('on Redis, if version 12.0.0 changes the user, the authentication before does not count', async t => {
  await redis.flushDb()
  const { visitor } = await open(t, { store: new RedisStore({ client: redis }) })
  await visitor.get('/login/ada')
  const [key] = await redis.keys('sess:*') as [string]
  t.ok(await isFresh(visitor))
  // Version 12.0.0 writes its whole cookie, with the owner of the session if there is one.
  const theirs = JSON.stringify({ originalMaxAge: null, path: '/', httpOnly: true, secure: false, expires: null })
  await redis.hSet(key, { cookie: theirs, userId: '"eva"' })
  t.notOk(await isFresh(visitor))
  await visitor.get('/write')
  t.notOk(await isFresh(visitor), 'even after this version has written the record again')
  t.equal(await redis.hExists(key, '\0l'), 0)
})

// --- Routes with fresh

t.test('a route with fresh answers 401 unless the visitor has authenticated that recently', async t => {
  const clock = stopClock(t)
  const { app, visitor } = await open(t)
  const refused = await visitor.get('/mail')
  t.equal(refused.statusCode, 401, 'a stranger')
  t.match(refused.json(), { code: 'FST_ERR_SESSION_NOT_FRESH', message: /within the last 600000 ms/ })
  await visitor.get('/login/ada')
  t.equal((await visitor.get('/mail')).body, 'changed')
  clock.advance(10 * MINUTE)
  t.equal((await visitor.get('/mail')).statusCode, 401)
  t.equal((await app.inject({ url: '/mail', method: 'HEAD', headers: { cookie: visitor.cookieHeader() } })).statusCode, 401)
  t.equal((await visitor.get('/user')).body, 'ada', 'the session is still there')
  await visitor.get('/confirm')
  t.equal((await visitor.get('/mail')).body, 'changed')
})

t.test('if the session is not fresh, the handler of a route with fresh never runs, and the reply is otherwise normal', async t => {
  let runs = 0
  const { visitor } = await open(t, { cookie: { maxAge: HOUR }, saveUninitialized: false }, app => {
    app.setErrorHandler((error: any, request, reply) => reply.code(error.statusCode).send([error.code, user(request.session)]))
    app.get('/secret', { config: { session: { fresh: MINUTE } } }, async () => { runs++ })
  })
  await visitor.get('/become/ada')
  await visitor.get('/forget')
  await visitor.get('/write')
  const response = await visitor.get('/secret')
  t.equal(response.statusCode, 401)
  t.equal(setCookies(response).length, 1, 'the request prolongs the session')
  t.same(response.json(), ['FST_ERR_SESSION_NOT_FRESH', null])
  t.equal(setCookies(await new Visitor(visitor.app).get('/secret')).length, 0, 'a stranger gets no session')
  t.equal(runs, 0)
})

t.test('a session that could not be loaded is not fresh', async t => {
  const store = new MemoryStore()
  const { visitor } = await open(t, { store, onStoreError: 'anonymous' }, app => {
    app.get('/both', async request => {
      data(request).userId = 'ada'
      return [request.session.isAnonymous, request.session.isFresh(MINUTE)]
    })
  })
  await visitor.get('/login/ada')
  const away = (...args: any[]): void => args.at(-1)(new Error(AWAY))
  Object.assign(store, { get: away, getAndTouch: away, inspect: away })
  t.equal((await visitor.get('/mail')).statusCode, 401)
  t.same((await visitor.get('/both')).json(), [true, false])
})

t.test('with an asynchronous idGenerator, a stranger gets 401 as well', async t => {
  const { visitor } = await open(t, { idGenerator: async () => { await setImmediate(); return String(Math.random()) } })
  t.equal((await visitor.get('/mail')).statusCode, 401)
  await visitor.get('/login/ada')
  t.equal((await visitor.get('/mail')).body, 'changed')
})

t.test('with cacheControl, the replies of a route with fresh have Vary: Cookie', async t => {
  const { visitor } = await open(t, { cacheControl: true })
  t.equal((await visitor.get('/mail')).headers.vary, 'Cookie')
  await visitor.get('/login/ada')
  t.equal((await visitor.get('/mail')).headers.vary, 'Cookie')
})

t.test('a second session has its own time of authentication', async t => {
  const { visitor } = await open(t, {}, app => {
    app.register(fastifySession, { secret: SECRET, sessionName: 'admin', cookieName: 'adminId', cookie: { secure: false } })
    app.get('/admin/confirm', async (request: any) => { await request.admin.regenerate([], { authenticated: true }) })
    app.get('/admin/delete', { config: { admin: { fresh: MINUTE } } as any }, async () => 'deleted')
  })
  await visitor.get('/login/ada')
  t.equal((await visitor.get('/admin/delete')).statusCode, 401)
  await visitor.get('/admin/confirm')
  t.equal((await visitor.get('/admin/delete')).body, 'deleted')
})

t.test('an invalid fresh is refused when its route is registered', async t => {
  for (const [fresh, said] of [['600000', "the string '600000'"], [0, '0'], [-1, '-1'], [NaN, 'NaN'], [Infinity, 'Infinity'], [true, 'true']] as const) {
    const refused = { code: 'FST_ERR_SESSION_OPTION', message: `fresh must be a positive number of milliseconds, and not ${said}` }
    await open(t, {}, app => {
      t.throws(() => app.get('/odd', { config: { session: { fresh: fresh as any } } }, async () => 'ok'), refused)
    })
  }
  await open(t, {}, app => {
    for (const session of [false, { fresh: undefined }, { fresh: null }, { rolling: false }, 'other', null] as any[]) {
      app.get(`/${JSON.stringify(session)}`, { config: { session } }, async () => 'ok')
    }
  })
})

t.test('a route with fresh refuses requests that have no session, however the URL is written', async t => {
  const { app } = await open(t, { cookie: { secure: false, path: '/app' } }, app => {
    app.get('/app/pay', { config: { session: { fresh: HOUR } } }, async () => 'paid')
    app.get('/outside', { config: { session: { fresh: HOUR } } }, async () => 'paid')
  })
  for (const url of ['/app/pay', '/%61pp/pay', '/outside']) {
    const response = await app.inject(url)
    t.match([response.statusCode, response.json().code], [401, 'FST_ERR_SESSION_NOT_FRESH'], url)
  }
})

t.test('a likely mistake in the config of a route causes a warning with its URL', async t => {
  const LIKELY: Array<[any, RegExp | undefined]> = [
    [{ Fresh: HOUR }, /Fresh isn't known: write fresh \(in the config of the route \/r\)/],
    [{ isFresh: HOUR }, /isFresh isn't known: write fresh/],
    [{ rollling: false }, /rollling isn't known: write rolling/],
    [{ fresh: 600 }, /fresh is in milliseconds, and 600 looks like 10 minutes in seconds: write 600 \* 1000/],
    [{ lazy: 'no' }, /lazy must be true or false, and not the string 'no'/],
    ['fresh', /'fresh' isn't known: write \{ fresh: milliseconds \}/],
    ['Lazy', /'Lazy' isn't known: write 'lazy'/],
    ['false', /'false' isn't known: write false/],
    ['lazy', undefined],
    [{ rolling: false, lazy: true, saveUninitialized: null, fresh: HOUR }, undefined],
    // Other values belong to the application.
    [{ title: 'x' }, undefined],
    ['other', undefined],
    [3, undefined]
  ]
  for (const [session, message] of LIKELY) {
    const heard = await warned(async () => { await open(t, {}, app => { app.get('/r', { config: { session } }, async () => 'ok') }) })
    t.match(heard, message === undefined ? [] : [{ code: 'FST_SESSION_OPTION', message }], JSON.stringify(session))
    t.equal(heard.length, message === undefined ? 0 : 1)
  }
})

t.test('a likely mistake in a route registered before the plugin causes one warning, at its first request', async t => {
  const app = Fastify()
  app.register(fastifyCookie)
  app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
  app.get('/odd', { config: { session: { fesh: HOUR } as any } }, async () => 'ok')
  t.teardown(() => app.close())
  const heard = await warned(async () => { for (let i = 0; i < 3; i++) await app.inject('/odd') })
  t.match(heard, [{ code: 'FST_SESSION_OPTION', message: /fesh isn't known: write fresh \(in the config of the route \/odd\)/ }])
  t.equal(heard.length, 1)
})

t.test('an invalid fresh of a route registered before the plugin is refused at its first request', async t => {
  const app = Fastify()
  app.register(fastifyCookie)
  app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
  app.get('/odd', { config: { session: { fresh: '600000' as any } } }, async () => 'ok')
  app.get('/confirm', async request => { await request.session.regenerate([], { authenticated: true }) })
  const visitor = new Visitor(app)
  for (const url of ['/odd', '/confirm', '/odd']) {
    const response = await visitor.get(url)
    if (url === '/odd') t.match([response.statusCode, response.json()], [500, { code: 'FST_ERR_SESSION_OPTION' }])
  }
})
