/** Several sessions in one application, and sessions outside of requests. */
import fastifyCookie, { sign } from '@fastify/cookie'
import fc from 'fast-check'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore, type FastifySessionObject, type RouteSessionOptions } from '../src/index'
import { breakableSigner, build, clock, Gate, SECRET, setCookies, Visitor, type SessionOptions } from './helpers'
import { AWAY, ThreeMethodStore, WatchedStore } from './odd-stores'

declare module 'fastify' {
  interface FastifyRequest {
    adminSession: FastifySessionObject
  }
  interface FastifyInstance {
    loadAdminSession: FastifyInstance['loadSession']
    createAdminSession: FastifyInstance['createSession']
    decryptAdminSession: FastifyInstance['decryptSession']
  }
  interface FastifyContextConfig {
    adminSession?: false | RouteSessionOptions
  }
}

const MINUTE = 60_000
const ADMIN_SECRET = 'another secret with a length of 32 or more characters'

const user = (request: FastifyRequest): any => request.session
const admin = (request: FastifyRequest): any => request.adminSession

/** Registers the second session in a scope. */
function addAdmin (scope: FastifyInstance, options: SessionOptions = {}): void {
  scope.register(fastifySession, {
    secret: ADMIN_SECRET, sessionName: 'adminSession', cookieName: 'adminId', cookie: { secure: false }, ...options
  })
}

function addRoutes (app: FastifyInstance): void {
  app.get('/login', async request => { user(request).name = 'max' })
  app.get('/logout', async request => { await user(request).destroy() })
  app.get('/admin/login', async request => { admin(request).name = 'root' })
  app.get('/admin/logout', async request => { await admin(request).destroy() })
  app.get('/admin/renew', async request => {
    const before = [request.session, request.adminSession]
    await admin(request).regenerate(['name'])
    return [request.session === before[0], request.adminSession === before[1]]
  })
  app.get('/both', async request => [user(request).name ?? 'nobody', admin(request).name ?? 'nobody'])
}

async function buildBoth (t: Test, options: SessionOptions = {}, adminOptions: SessionOptions = {}, more: (app: FastifyInstance) => void = () => {}): Promise<Visitor> {
  const app = await build(options, app => {
    addAdmin(app, adminOptions)
    addRoutes(app)
    more(app)
  })
  t.teardown(() => app.close())
  return new Visitor(app)
}

const both = async (visitor: Visitor): Promise<string[]> => (await visitor.get('/both')).json()

// --- Several sessions

t.test('a second registration with another sessionName and cookieName adds a second session', async t => {
  const visitor = await buildBoth(t)
  const response = await visitor.get('/admin/login')
  t.same(response.cookies.map(({ name }) => name), ['sessionId', 'adminId'])
  t.same(await both(visitor), ['nobody', 'root'])
  await visitor.get('/login')
  t.same(await both(visitor), ['max', 'root'])
})

t.test('the second session has its own store, secret and lifetime', async t => {
  const store = new MemoryStore()
  const adminStore = new MemoryStore()
  const { advance } = clock(t)
  const visitor = await buildBoth(t, { store, cookie: { maxAge: 60 * MINUTE } }, { store: adminStore, cookie: { secure: false, maxAge: MINUTE } }, app => {
    app.get('/stores', async request => [request.sessionStore === store, (request as any).adminSessionStore === adminStore])
  })
  t.same((await visitor.get('/stores')).json(), [true, true])
  await visitor.get('/admin/login')
  await visitor.get('/login')
  t.match([...store.store.values()], [{ name: 'max', cookie: { originalMaxAge: 60 * MINUTE } }])
  t.match([...adminStore.store.values()], [{ name: 'root', cookie: { originalMaxAge: MINUTE } }])
  t.same([...store.store.values()].length + [...adminStore.store.values()].length, 2)

  advance(2 * MINUTE)
  const headers = { cookie: visitor.cookieHeader() }
  t.same((await new Visitor(visitor.app).get('/both', { headers })).json(), ['max', 'nobody'])
})

t.test('the second session may be registered in a nested scope', async t => {
  const app = await build({}, app => {
    app.get('/', async request => [typeof request.session, typeof request.adminSession])
    app.register(async scope => {
      addAdmin(scope)
      scope.get('/admin', async request => [typeof request.session.save, typeof request.adminSession.save])
    })
  })
  const visitor = new Visitor(app)
  t.same((await visitor.get('/admin')).json(), ['function', 'function'])
  t.same((await visitor.get('/')).json(), ['object', 'undefined'])
  t.same((await new Visitor(app).get('/')).cookies.map(({ name }) => name), ['sessionId'])
})

t.test('the names of the decorators contain sessionName', async t => {
  const { app } = await buildBoth(t)
  for (const name of ['loadSession', 'createSession', 'decryptSession', 'loadAdminSession', 'createAdminSession', 'decryptAdminSession']) {
    t.ok(app.hasDecorator(name), name)
  }
  for (const name of ['session', 'sessionStore', 'adminSession', 'adminSessionStore']) t.ok(app.hasRequestDecorator(name), name)

  const { cookie } = await app.createAdminSession({ name: 'root' } as object)
  t.match(cookie, /^adminId=/)
  t.match(await app.loadAdminSession(cookie), { name: 'root' })
  t.equal(await app.loadSession(cookie), null)
  const request: any = {}
  await app.decryptAdminSession(decodeURIComponent(cookie.slice('adminId='.length)), request)
  t.same(Object.keys(request), ['adminSession'])
  t.equal(request.adminSession.name, 'root')
})

t.test('a logout from one session leaves the other one', async t => {
  const visitor = await buildBoth(t)
  await visitor.get('/login')
  await visitor.get('/admin/login')
  const cleared = (await visitor.get('/admin/logout')).cookies.filter(({ value }) => value === '')
  t.same(cleared.map(({ name }) => name), ['adminId'])
  t.same(await both(visitor), ['max', 'nobody'])

  await visitor.get('/admin/login')
  await visitor.get('/logout')
  t.same(await both(visitor), ['nobody', 'root'])
})

t.test('regenerate() only replaces the session on which it is called', async t => {
  const visitor = await buildBoth(t)
  await visitor.get('/login')
  await visitor.get('/admin/login')
  const { sessionId, adminId } = Object.fromEntries(visitor.cookies)
  t.same((await visitor.get('/admin/renew')).json(), [true, false])
  t.equal(visitor.cookies.get('sessionId'), sessionId)
  t.not(visitor.cookies.get('adminId'), adminId)
  t.same(await both(visitor), ['max', 'root'])
})

t.test("a route's config sets each session under its name", async t => {
  const [watched, watchedAdmin] = [new WatchedStore(), new WatchedStore()]
  const visitor = await buildBoth(t, { store: watched.store }, { store: watchedAdmin.store }, app => {
    app.get('/no-session', { config: { session: false } }, async request => [user(request), typeof admin(request).save])
    app.get('/no-admin', { config: { adminSession: false } }, async request => [typeof user(request).save, admin(request)])
  })
  await visitor.get('/login')
  watched.calls.length = watchedAdmin.calls.length = 0
  t.same((await visitor.get('/no-session')).json(), [{}, 'function'])
  t.same([watched.calls, watchedAdmin.calls], [[], ['get', 'touch']])
  watchedAdmin.calls.length = 0
  t.same((await visitor.get('/no-admin')).json(), ['function', {}])
  t.same([watched.calls, watchedAdmin.calls], [['get', 'touch'], []])
})

t.test('the cookie of one session is not valid for the other, even if they share secret and store', async t => {
  const store = new MemoryStore()
  const visitor = await buildBoth(t, { store, secret: SECRET, saveUninitialized: false }, { store, secret: SECRET, saveUninitialized: false })
  await visitor.get('/login')
  await visitor.get('/admin/login')
  const { sessionId, adminId } = Object.fromEntries(visitor.cookies) as Record<'sessionId' | 'adminId', string>
  const as = async (cookie: string): Promise<string[]> => (await new Visitor(visitor.app).get('/both', { headers: { cookie } })).json()
  t.same(await as(`sessionId=${sessionId}; adminId=${adminId}`), ['max', 'root'])
  t.same(await as(`sessionId=${adminId}; adminId=${sessionId}`), ['nobody', 'nobody'])
  t.equal(await visitor.app.loadAdminSession(sessionId), null)
  t.equal(await visitor.app.loadSession(adminId), null)
})

t.test('an id that looks like the signed text of another session is treated like any other id', async t => {
  for (const sessionId of ['adminSession.x', '::adminSession:x', '::x']) {
    const store = new MemoryStore()
    const shared = { store, secret: SECRET, saveUninitialized: false }
    const visitor = await buildBoth(t, { ...shared, idGenerator: () => sessionId }, { ...shared, idGenerator: () => 'x' })
    await visitor.get('/login')
    await new Visitor(visitor.app).get('/admin/login')
    t.same([...store.store.keys()], [sessionId, 'x'])
    t.same(await both(visitor), ['max', 'nobody'])
    const cookie = `adminId=${visitor.cookies.get('sessionId') as string}`
    t.same((await visitor.app.inject({ url: '/both', headers: { cookie } })).json(), ['nobody', 'nobody'], sessionId)
  }
})

t.test('the secret of a second session can be rotated', async t => {
  const secret = [ADMIN_SECRET]
  const visitor = await buildBoth(t, { saveUninitialized: false }, { secret, rolling: false, saveUninitialized: false })
  await visitor.get('/admin/login')
  const before = visitor.cookies.get('adminId')
  secret.unshift('a newer secret with a length of 32 characters')
  t.same(await both(visitor), ['nobody', 'root'])
  t.not(visitor.cookies.get('adminId'), before)
  secret.pop()
  t.same(await both(visitor), ['nobody', 'root'])
})

t.test('ready() rejects with one clear error if names clash', async t => {
  const NAME_TAKEN = 'FST_ERR_SESSION_NAME_TAKEN'

  /** The error of ready() in an app with a default session and more. */
  async function problem (more: (app: FastifyInstance) => void, before: (app: FastifyInstance) => void = () => {}): Promise<any> {
    const app = Fastify() as unknown as FastifyInstance
    app.register(fastifyCookie)
    before(app)
    app.register(fastifySession, { secret: SECRET })
    more(app)
    return await app.ready().then(() => undefined, error => error)
  }

  await t.test('the same sessionName, in the same scope or a nested one', async t => {
    const add = (scope: FastifyInstance): void => addAdmin(scope, { sessionName: 'session' })
    for (const more of [add, (app: FastifyInstance) => { app.register(async scope => add(scope)) }]) {
      t.match(await problem(more), { code: NAME_TAKEN, message: /^request\.session is already decorated in this scope.*another sessionName/ })
    }
  })

  await t.test('the same cookieName, in the same scope or a nested one', async t => {
    const add = (scope: FastifyInstance): void => addAdmin(scope, { cookieName: 'sessionId' })
    for (const more of [add, (app: FastifyInstance) => { app.register(async scope => add(scope)) }]) {
      t.match(await problem(more), { code: 'FST_ERR_SESSION_OPTION', message: /cookieName is taken.*'sessionId'/ })
    }
  })

  await t.test('a name that another plugin or Fastify itself uses', async t => {
    for (const sessionName of ['body', 'id', 'cookies', 'raw', 'toString']) {
      t.match(await problem(app => addAdmin(app, { sessionName })), { code: NAME_TAKEN, message: `request.${sessionName} ` })
    }
    const cases: Array<[string, (app: FastifyInstance) => void]> = [
      ['request.session', app => app.decorateRequest('session', null as any)],
      ['request.sessionStore', app => app.decorateRequest('sessionStore', null as any)],
      ['fastify.loadSession', app => app.decorate('loadSession', null as any)],
      ['fastify.createSession', app => app.decorate('createSession', null as any)],
      ['fastify.decryptSession', app => app.decorate('decryptSession', null as any)]
    ]
    for (const [name, before] of cases) {
      t.match(await problem(() => {}, app => { app.register(fp(async app => before(app))) }), { code: NAME_TAKEN, message: `${name} ` })
    }
  })

  await t.test('no error for the same names in separate scopes', async t => {
    const app = Fastify() as unknown as FastifyInstance
    app.register(fastifyCookie)
    for (const prefix of ['/a', '/b']) {
      app.register(async scope => {
        scope.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
        scope.get(prefix, async request => typeof request.session.save)
      })
    }
    await app.ready()
    for (const url of ['/a', '/b']) t.equal((await new Visitor(app).get(url)).body, 'function')
  })

  await t.test('a sessionName that is not a name', async t => {
    for (const sessionName of ['', 5, {}] as any[]) {
      t.match(await problem(app => addAdmin(app, { sessionName })), { code: 'FST_ERR_SESSION_OPTION', message: /sessionName must be/ })
    }
  })
})

// --- Outside of a request

/** An app with a logged-in visitor, the id of the session, and its signed value. */
async function loggedIn (t: Test, options: SessionOptions = {}): Promise<{
  app: FastifyInstance
  visitor: Visitor
  watched: WatchedStore
  sessionId: string
  signed: string
}> {
  const watched = new WatchedStore()
  const app = await build({ store: watched.store, saveUninitialized: false, ...options }, app => {
    addAdmin(app, { saveUninitialized: false })
    addRoutes(app)
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const [sessionId] = watched.memory.store.keys()
  return { app, visitor, watched, sessionId: sessionId as string, signed: visitor.cookies.get('sessionId') as string }
}

t.test('loadSession() returns the session for a Cookie header, a signed value or { sessionId }', async t => {
  const { app, signed, sessionId } = await loggedIn(t)
  const sources = [
    `sessionId=${signed}`,
    `theme=dark; sessionId=${encodeURIComponent(signed)}; other=1`,
    `sessionId=forged.signature; sessionId=${signed}`,
    signed,
    { sessionId }
  ]
  for (const source of sources) {
    const session = await app.loadSession(source) as any
    t.equal(session?.name, 'max', JSON.stringify(source))
    t.equal(session.sessionId, sessionId)
    t.equal(session.isSaved(), true)
    t.equal((await app.loadSession(session) as any).name, 'max', 'a session object is accepted too')
  }
})

t.test('loadSession() accepts a value with or without the prefix', async t => {
  const { app, signed } = await loggedIn(t, { cookiePrefix: 's:' })
  for (const source of [signed, signed.slice('s:'.length), `sessionId=${signed}`]) {
    t.match(await app.loadSession(source), { name: 'max' }, source)
  }
  t.equal(await app.loadSession(`sessionId=${signed.slice('s:'.length)}`), null, 'in a header, the prefix is required')
})

t.test('loadSession() accepts ids that contain =', async t => {
  const { app, signed, sessionId } = await loggedIn(t, { idGenerator: () => 'id=with==padding=' })
  t.equal(sessionId, 'id=with==padding=')
  for (const source of [signed, `sessionId=${encodeURIComponent(signed)}`]) t.match(await app.loadSession(source), { name: 'max' })
})

t.test('loadSession() does not accept an unsigned session id as a string, because anybody could send it in a header', async t => {
  const { app, sessionId } = await loggedIn(t)
  for (const source of [sessionId, `sessionId=${sessionId}`, `sessionId=${sessionId}.`, `${sessionId}.signature`]) {
    t.equal(await app.loadSession(source), null, source)
  }
})

t.test('loadSession() returns null if there is no such session', async t => {
  const { app, visitor, watched, sessionId, signed } = await loggedIn(t, { cookie: { maxAge: MINUTE } })
  await visitor.get('/admin/login')
  const sources: Record<string, any> = {
    nothing: undefined,
    'an empty header': '',
    'a header without our cookie': 'theme=dark; other=1',
    'an empty cookie': 'sessionId=',
    'a forged cookie': `sessionId=${sessionId}.AAAA${signed.slice(sessionId.length + 5)}`,
    'a cookie signed with another secret': `sessionId=${sign(sessionId, ADMIN_SECRET)}`,
    "another session's cookie": `adminId=${visitor.cookies.get('adminId') as string}`,
    "another session's cookie under this session's name": `sessionId=${visitor.cookies.get('adminId') as string}`,
    'an unknown id': { sessionId: 'unknown' },
    'a signed unknown id': sign('unknown', SECRET),
    'an id that is not a string': { sessionId: 5 },
    'an empty id': { sessionId: '' },
    'no id': {},
    null: null,
    'a number': 5,
    'a boolean': true,
    'an array': [signed],
    'a function': () => signed
  }
  for (const [name, source] of Object.entries(sources)) {
    watched.calls.length = 0
    t.equal(await app.loadSession(source), null, name)
    if (!name.includes('unknown')) t.same(watched.calls, [], `${name}: the store is not called`)
  }

  const time = clock(t)
  time.advance(2 * MINUTE)
  t.equal(await app.loadSession(signed), null, 'an expired session')
  t.equal(await app.loadSession({ sessionId }), null)
  time.passed = 0
  await visitor.get('/logout')
  t.equal(await app.loadSession(signed), null, 'a session that has been logged out')
})

t.test('loadSession() returns null for a session past its absolute timeout', async t => {
  const { app, watched, sessionId, signed } = await loggedIn(t, { absoluteTimeout: MINUTE })
  const record: any = watched.memory.store.get(sessionId)
  record.cookie.createdAt -= MINUTE
  record.cookie.expires = null
  t.equal(await app.loadSession(signed), null)
  t.equal(watched.size, 0, 'the session is removed')
})

t.test('loadSession() never throws on bad input', async t => {
  const { app, sessionId, signed } = await loggedIn(t)
  const part = fc.constantFrom('sessionId', '=', ';', ' ', '.', '%', '%E0', ',', '"', sessionId, signed.slice(-20), '\u0000', '__proto__')
  const header = fc.array(fc.oneof(part, fc.string()), { maxLength: 12 }).map(parts => parts.join(''))
  const source = fc.oneof(header, fc.string({ unit: 'binary' }), fc.anything(), fc.record({ sessionId: fc.anything() }))
  await fc.assert(fc.asyncProperty(source, async source => await app.loadSession(source as any) === null), { numRuns: 1000 })
})

t.test('a session from loadSession() can be saved, touched and destroyed', async t => {
  const { app, visitor, watched, sessionId, signed } = await loggedIn(t, { cookie: { maxAge: MINUTE } })
  const load = async (): Promise<any> => await app.loadSession(signed)
  const expires = (): number => (watched.memory.store.get(sessionId) as any).cookie.expires.getTime()

  const session = await load()
  session.name = 'eva'
  t.same(await both(visitor), ['max', 'nobody'], 'it is not saved automatically')
  await session.save()
  t.same(await both(visitor), ['eva', 'nobody'])

  const before = expires()
  clock(t).advance(MINUTE / 2)
  const touched = await load()
  touched.touch()
  await touched.save()
  t.ok(expires() >= before + MINUTE / 2)
  t.match(watched.memory.store.get(sessionId), { name: 'eva' })

  const late = await load()
  await new Promise<void>((resolve, reject) => { touched.destroy((error: unknown) => error ? reject(error) : resolve()) })
  t.equal(watched.size, 0)
  t.same(await both(visitor), ['nobody', 'nobody'])
  late.name = 'back again'
  await t.rejects(late.save(), { code: 'FST_ERR_SESSION_GONE' }, 'the session stays destroyed')
  t.equal(watched.size, 0)
})

t.test('regenerate() on a session from loadSession() ends the old session and writes a new one', async t => {
  const { app, watched, sessionId, signed } = await loggedIn(t)
  const session = await app.loadSession(signed) as FastifySessionObject
  await session.regenerate(['name'] as never)
  t.notOk(watched.memory.store.has(sessionId))
  t.match([...watched.memory.store.values()], [{ name: 'max' }])
})

t.test('createSession() logs a test in with two lines', async t => {
  const { app, watched } = await loggedIn(t, { cookie: { secure: true } })
  t.equal(watched.size, 0, 'over http, the login was not saved')
  const { cookie } = await app.createSession({ name: 'eva' } as object)
  const response = await app.inject({ url: '/both', headers: { cookie } })
  t.same(response.json(), ['eva', 'nobody'])
})

t.test('createSession() stores a session, and returns it with its Cookie header', async t => {
  const { app, watched } = await loggedIn(t, { cookiePrefix: 's:', cookie: { maxAge: MINUTE } })
  watched.memory.clear()
  const { session, cookie } = await app.createSession({ name: 'eva', cart: ['apple'] } as object) as any
  t.match([...watched.memory.store], [[session.sessionId, { name: 'eva', cart: ['apple'], cookie: { originalMaxAge: MINUTE } }]])
  t.equal(session.isSaved(), true)
  t.match(cookie, /^sessionId=s/)
  t.match(await app.loadSession(cookie), { name: 'eva' })
  session.cart.push('pear')
  await session.save()
  t.match(await app.loadSession(cookie), { cart: ['apple', 'pear'] })
})

t.test('createSession() without data stores an empty session', async t => {
  const { app } = await loggedIn(t)
  const { cookie } = await app.createSession()
  t.same((await app.loadSession(cookie))?.data(), {})
})

t.test('createSession() refuses reserved keys, like a session', async t => {
  const { app, watched } = await loggedIn(t)
  for (const data of [{ cookie: {} }, { sessionId: 'mine' }, { save: 1 }]) {
    await t.rejects(app.createSession(data as object), { code: 'FST_ERR_SESSION_RESERVED_KEY' })
  }
  t.equal(watched.size, 1)
})

t.test('createSession() waits for an async idGenerator, which is called without a request', async t => {
  const { app, watched } = await loggedIn(t, {
    idGenerator: async request => request === undefined ? 'made by a job' : 'made for a visitor'
  })
  const { session } = await app.createSession({ name: 'eva' } as object)
  t.equal(session.sessionId, 'made by a job')
  t.same([...watched.memory.store.keys()], ['made for a visitor', 'made by a job'])
})

t.test('createSession() fails if idGenerator, the cookie function or the store fails', async t => {
  let fault: 'id' | 'cookie' | undefined
  const { app, watched } = await loggedIn(t, {
    idGenerator: () => fault === 'id' ? '' : `id ${Math.random()}`,
    cookie () {
      if (fault === 'cookie') throw new Error('no tenant')
      return { secure: false }
    }
  })
  fault = 'id'
  await t.rejects(app.createSession(), { code: 'FST_ERR_SESSION_ID' })
  fault = 'cookie'
  await t.rejects(app.createSession(), { message: 'no tenant' })
  fault = undefined
  watched.isAway = true
  await t.rejects(app.createSession(), { message: AWAY })
})

t.test('createSession() that fails leaves no session, of which nobody has the cookie', async t => {
  const store = new ThreeMethodStore()
  const signer = breakableSigner()
  const { app } = await loggedIn(t, { store, secret: signer })
  await t.rejects(app.createSession({ name: 'eva', balance: 10n } as object), { code: 'FST_ERR_SESSION_VALUE' })
  t.equal(store.records.size, 1, 'a value that JSON cannot hold')
  signer.isBroken = true
  await t.rejects(app.createSession({ name: 'eva' } as object), { message: 'no key' })
  t.equal(store.records.size, 1, 'a signer that fails')
  signer.isBroken = false
  store.failures.set('destroy', new Error(AWAY))
  await t.rejects(app.createSession({ name: 'eva', balance: 10n } as object), { code: 'FST_ERR_SESSION_VALUE' }, 'and the store, too')
})

t.test('outside of a request, the cookie function is called with undefined', async t => {
  const asked: unknown[] = []
  const { app, signed } = await loggedIn(t, {
    cookie (request) {
      asked.push(request?.url)
      return { secure: false, maxAge: MINUTE }
    }
  })
  asked.length = 0
  const session = await app.loadSession(signed)
  t.equal(session?.cookie.originalMaxAge, MINUTE)
  await app.createSession()
  t.same(asked, [undefined, undefined])
})

t.test('the cookie of a session from decryptSession() is cleared with the attributes with which it was set', async t => {
  const app = await build({ cookie: { domain: 'a.example' } }, app => {
    app.get('/login', async request => { user(request).name = 'max' })
    app.get('/logout', async request => {
      await app.decryptSession(request.cookies.sessionId, request as any)
      await request.session.destroy()
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  t.match(setCookies(await visitor.get('/logout')), ['sessionId=; Max-Age=0; Domain=a.example; Path=/'])
})

t.test('the reply sends the cookie of a session from decryptSession() if the browser does not have it, as after a link by mail', async t => {
  for (const rolling of [true, false]) {
    const app = await build({ rolling, saveUninitialized: false, cookie: { maxAge: 60_000 } }, app => {
      app.get('/login', async request => { user(request).name = 'max' })
      app.get('/link/:token', async (request, reply) => {
        await app.decryptSession((request.params as { token: string }).token, request as any)
        return await reply.redirect('/')
      })
      app.get('/', async request => user(request).name ?? 'nobody')
    })
    const first = new Visitor(app)
    await first.get('/login')
    const link = `/link/${encodeURIComponent(first.cookies.get('sessionId') as string)}`
    const second = new Visitor(app)
    t.equal(setCookies(await second.get(link)).length, 1)
    t.equal((await second.get('/')).body, 'max', `rolling: ${rolling}`)
    t.equal(setCookies(await second.get(link)).length, rolling ? 1 : 0, 'now it has it')
  }
})

t.test('decryptSession() puts a new session on the request if the value is not valid', async t => {
  const app = await build({ saveUninitialized: false }, app => {
    app.get('/', async request => {
      await app.decryptSession('forged', request as any)
      user(request).name = 'new here'
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/')
  t.same((await app.loadSession(visitor.cookieHeader()))?.data(), { name: 'new here' })
})

t.test('two applications of one process that share a store do not clear the cookie of a session that the other has just renewed', async t => {
  for (const store of [new MemoryStore(), new ThreeMethodStore()]) {
    const slow = new Gate()
    const open = async (): Promise<FastifyInstance> => {
      const app = await build({ store: store as SessionOptions['store'] }, app => {
        addRoutes(app)
        app.get('/renew', async request => {
          await request.session.regenerate()
          user(request).name = 'max'
        })
        app.get('/slow', async request => {
          await slow.pass()
          user(request).n = 1
        })
        app.get('/name', async request => user(request).name ?? 'nobody')
      })
      t.teardown(() => app.close())
      return app
    }
    const [one, two] = [await open(), await open()]
    const visitor = new Visitor(one)
    await visitor.get('/name')
    const cookie = [...visitor.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const late = two.inject({ url: '/slow', headers: { cookie } })
    await slow.holds()
    await visitor.get('/renew')
    slow.open()
    // A cookie here would overwrite that of the new session.
    t.equal((await late).headers['set-cookie'], undefined)
    t.equal((await two.inject({ url: '/name', headers: { cookie } })).headers['set-cookie'], undefined)
    t.equal((await visitor.get('/name')).body, 'max')
  }
})
