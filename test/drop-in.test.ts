import fastifyCookie, { sign } from '@fastify/cookie'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import fastifySession from '../src/index'
import { build, SECRET, setCookies, stopClock, Visitor, type Routes, type SessionOptions } from './helpers'
import { ThreeMethodStore } from './odd-stores'

// What applications that come from version 11 rely on. These tests pass there too, unless a comment says otherwise.

declare module 'fastify' {
  interface Session {
    pet?: string
    town?: string
  }
}

type Method = 'get' | 'set' | 'destroy'

const NOON = Date.UTC(2030, 5, 1, 12)
const CLEARED = 'sessionId=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=Lax'
const behindProxy = { trustProxy: true }
const overHttps = { headers: { 'x-forwarded-proto': 'https' } }
const nothing = async () => 'ok'

/** Like `build`, but without cookie options of its own. */
async function register (options: SessionOptions, routes: Routes): Promise<FastifyInstance> {
  const app = Fastify(behindProxy) as unknown as FastifyInstance
  await app.register(fastifyCookie)
  await app.register(fastifySession, { secret: SECRET, ...options })
  routes(app)
  await app.ready()
  return app
}

t.test('a session cookie that a hook put into request.cookies takes precedence over the header', async t => {
  const app = Fastify()
  app.register(fastifyCookie)
  app.addHook('onRequest', async request => {
    const token = request.headers['x-session'] as string | undefined
    if (token !== undefined) request.cookies.sessionId = token
  })
  app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
  app.get('/in/:pet', async ({ session, params }) => {
    session.pet = (params as { pet: string }).pet
    return session.encryptedSessionId
  })
  app.get('/', async ({ session }) => session.pet ?? 'nothing')
  const token = (await app.inject('/in/cat')).body
  const other = (await app.inject('/in/dog')).body
  for (const cookie of [undefined, 'a=b', 'sessionId2=x; sessionId=old', `sessionId=${other}`]) {
    const headers = { 'x-session': token, ...(cookie !== undefined && { cookie }) }
    t.equal((await app.inject({ url: '/', headers })).body, 'cat', cookie ?? 'no header')
  }
  t.equal((await app.inject({ url: '/', headers: { 'x-session': '', cookie: `sessionId=${other}` } })).body, 'nothing', 'emptied')
})

t.test('cookie options of @fastify/cookie also apply to the session cookie, unless the session has its own', async t => {
  for (const priority of [undefined, 'low'] as const) {
    const app = Fastify()
    app.register(fastifyCookie, { parseOptions: { priority: 'high' } })
    app.register(fastifySession, { secret: SECRET, cookie: { secure: false, priority } })
    app.get('/', nothing)
    t.match((await app.inject('/')).headers['set-cookie'], priority === undefined ? 'Priority=High' : 'Priority=Low')
  }
})

t.test('over plain http, save() sends the cookie of a secure session, and regenerate() does not', async t => {
  const app = await register({}, app => app.get('/:verb', async ({ session, params }) => {
    await (session as any)[(params as { verb: string }).verb]()
  }))
  t.match((await app.inject('/save')).headers['set-cookie'], 'Secure')
  t.equal((await app.inject('/regenerate')).headers['set-cookie'], undefined)
})

t.test('an option that is null has its default', async t => {
  const options = { algorithm: null, cookie: null, cookieName: null, cookiePrefix: null, rolling: null, store: null, idGenerator: null }
  const app = await register({ ...options, cookie: { secure: false } } as object, app => app.get('/', nothing))
  const [cookie] = (await app.inject('/')).cookies
  t.equal(cookie?.name, 'sessionId')
  t.equal((await register({ cookie: null } as object, app => app.get('/', nothing))) !== undefined, true)
})

/** The error with which a registration is refused. */
async function refusal (options: object): Promise<Error> {
  const app = Fastify()
  app.register(fastifyCookie)
  app.register(fastifySession, options as Parameters<typeof fastifySession>[1])
  return app.ready().then(() => { throw new Error('was accepted') }, error => error)
}

/** The arguments of a callback. */
function answerTo (operation: (callback: (...args: unknown[]) => void) => void): Promise<unknown[]> {
  return new Promise(resolve => operation((...args) => resolve(args)))
}

/** The errors, or undefined, of an operation in both of its call forms. */
async function errorsOf (operation: (callback?: (error: unknown) => void) => Promise<void> | void): Promise<unknown[]> {
  const [byCallback] = await answerTo(operation)
  const byPromise = await Promise.resolve(operation()).then(() => undefined, error => error)
  return [byCallback ?? undefined, byPromise]
}

/** The headers of a request with the cookie of a session. */
function knowing (sessionId: string, secret = SECRET) {
  return { headers: { cookie: `sessionId=${encodeURIComponent(sign(sessionId, secret))}` } }
}

/** The attributes of the only cookie of a response, unchanged. */
function attributes (response: Parameters<typeof setCookies>[0]): string {
  const [header = 'no cookie', more] = setCookies(response)
  return more === undefined ? header.replace(/^sessionId=[^;]+; /, '') : 'more than one cookie'
}

// --- Defaults

t.test('a visitor gets a secure cookie named sessionId without a prefix, even if nothing was stored', async t => {
  let sessionId = ''
  const store = new ThreeMethodStore()
  const app = await register({ store }, app => {
    app.get('/', async request => {
      sessionId = request.session.sessionId
      return request.session.encryptedSessionId
    })
  })
  const response = await app.inject({ url: '/', ...overHttps })
  t.strictSame(setCookies(response), [`sessionId=${response.body}; Path=/; HttpOnly; Secure`])
  t.equal(response.body, sign(sessionId, SECRET))
  t.match(sessionId, /^[\w-]{32}$/)
  t.strictSame([...store.records.keys()], [sessionId])
})

t.test('a visitor gets the same cookie with each response', async t => {
  const visitor = new Visitor(await register({}, app => { app.get('/', nothing) }))
  const first = await visitor.get('/', overHttps)
  const second = await visitor.get('/', overHttps)
  t.strictSame(setCookies(second), setCookies(first))
})

// --- Secure cookies and plain http

t.test('over plain http, a secure session is neither saved nor sent', async t => {
  const store = new ThreeMethodStore()
  const app = await register({ store }, app => {
    app.get('/', async request => { request.session.pet = 'cat' })
  })
  t.teardown(() => app.close())
  const response = await fetch(await app.listen({ port: 0, host: '127.0.0.1' }))
  t.equal(response.status, 200)
  t.strictSame(response.headers.getSetCookie(), [])
  t.equal(store.records.size, 0)
})

t.test('a request over plain http does not clear the cookie of a secure session', async t => {
  const store = new ThreeMethodStore()
  store.put('known', { pet: 'cat', cookie: { originalMaxAge: null, expires: null } })
  const app = await register({ store }, app => { app.get('/', nothing) })
  t.strictSame(setCookies(await app.inject({ url: '/', ...knowing('known') })), [])
  t.equal(store.writes(), 0)
})

t.test('options({ secure: false }) sends a session over plain http', async t => {
  const store = new ThreeMethodStore()
  const app = await register({ store }, app => {
    app.get('/', async request => { request.session.options({ secure: false }) })
  })
  t.equal(attributes(await app.inject('/')), 'Path=/; HttpOnly')
  t.equal(store.records.size, 1)
})

t.test('options({ secure: true }) prevents a session over plain http', async t => {
  const store = new ThreeMethodStore()
  const app = await build({ store }, app => {
    app.get('/', async request => { request.session.options({ secure: true }) })
  })
  t.strictSame(setCookies(await app.inject('/')), [])
  t.equal(store.records.size, 0)
})

t.test("secure: 'true', a string, sets a secure cookie on both http and https", async t => {
  const secure = 'true' as unknown as boolean
  const app = await register({ cookie: { secure } }, app => { app.get('/', nothing) })
  t.equal(attributes(await app.inject('/')), 'Path=/; HttpOnly; Secure')
  t.equal(attributes(await app.inject({ url: '/', ...overHttps })), 'Path=/; HttpOnly; Secure')
})

// --- The clearing header

t.test('the header that clears the cookie of an ended session is exactly that of version 11', async t => {
  const app = await register({}, app => { app.get('/', nothing) })
  t.strictSame(setCookies(await app.inject({ url: '/', ...knowing('unknown') })), [CLEARED])
})

t.test('after destroy(), a cookie of that name that the handler itself sets or clears is left as it is', async t => {
  const app = await build({}, app => {
    app.get('/login/:user', async request => { (request.session as any).user = (request.params as any).user })
    app.get('/user', async request => (request.session as any).user ?? 'nobody')
    app.get('/become', async (request, reply) => {
      await request.session.destroy()
      reply.setCookie('sessionId', (request.query as any).id, { path: '/' })
    })
    app.get('/leave', async (request, reply) => {
      await request.session.destroy()
      reply.clearCookie('sessionId', { path: '/' })
    })
  })
  const [max, eva] = [new Visitor(app), new Visitor(app)]
  await max.get('/login/max')
  await eva.get('/login/eva')
  const response = await max.get(`/become?id=${encodeURIComponent(eva.cookies.get('sessionId') as string)}`)
  t.equal(setCookies(response).length, 1)
  t.equal((await max.get('/user')).body, 'eva')
  t.match(setCookies(await max.get('/leave')), [/^sessionId=;/])
})

t.test('a cookie is cleared with its own domain and path', async t => {
  const app = await register({ cookie: { domain: 'example.com', path: '/shop' } }, app => { app.get('/shop', nothing) })
  t.strictSame(setCookies(await app.inject({ url: '/shop', ...knowing('unknown') })), [
    'sessionId=; Max-Age=0; Domain=example.com; Path=/shop; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=Lax'
  ])
})

// Version 11 leaves Secure and Partitioned out, so browsers keep such cookies.
t.test('a cookie is cleared with Secure and Partitioned if browsers would otherwise ignore the header', async t => {
  const cleared = async (options: SessionOptions, headers = {}) => {
    const app = await register({ saveUninitialized: false, ...options }, app => { app.get('/', nothing) })
    const [header] = setCookies(await app.inject({
      url: '/', headers: { cookie: `${options.cookieName ?? 'sessionId'}=${encodeURIComponent(sign('unknown', SECRET))}`, ...headers }
    }))
    return header
  }
  const path = 'Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT'
  t.equal(await cleared({}, overHttps.headers), `sessionId=; ${path}; Secure; SameSite=Lax`)
  t.equal(await cleared({ cookieName: '__Host-id' }), `__Host-id=; ${path}; Secure; SameSite=Lax`)
  t.equal(await cleared({ cookieName: '__Secure-id' }), `__Secure-id=; ${path}; Secure; SameSite=Lax`)
  t.equal(await cleared({ cookie: { partitioned: true } }), `sessionId=; ${path}; Secure; Partitioned; SameSite=Lax`)
})

// --- The order of the attributes

t.test('the attributes come in the order Domain, Path, Expires, HttpOnly, Secure, Partitioned, SameSite', async t => {
  stopClock(t, NOON)
  const app = await register({
    cookie: { domain: 'example.com', maxAge: 3_600_000, partitioned: true, sameSite: 'none' }
  }, app => { app.get('/', nothing) })
  t.equal(
    attributes(await app.inject({ url: '/', ...overHttps })),
    'Domain=example.com; Path=/; Expires=Sat, 01 Jun 2030 13:00:00 GMT; HttpOnly; Secure; Partitioned; SameSite=None'
  )
})

t.test('a lifetime is sent as Expires, never as Max-Age, and SameSite only if it is configured', async t => {
  stopClock(t, NOON)
  const app = await register({ cookie: { maxAge: 60_000, httpOnly: false } }, app => { app.get('/', nothing) })
  t.equal(
    attributes(await app.inject({ url: '/', ...overHttps })),
    'Path=/; Expires=Sat, 01 Jun 2030 12:01:00 GMT; Secure'
  )
})

// --- secure: 'auto'

t.test("with secure: 'auto', the cookie is SameSite=Lax over http, and over https Secure, with the configured SameSite", async t => {
  const app = await register({ cookie: { secure: 'auto', sameSite: 'strict' } }, app => { app.get('/', nothing) })
  t.equal(attributes(await app.inject('/')), 'Path=/; HttpOnly; SameSite=Lax')
  t.equal(attributes(await app.inject({ url: '/', ...overHttps })), 'Path=/; HttpOnly; Secure; SameSite=Strict')
})

t.test("with secure: 'auto' and no sameSite, the cookie has no SameSite over https", async t => {
  const app = await register({ cookie: { secure: 'auto' } }, app => { app.get('/', nothing) })
  t.equal(attributes(await app.inject('/')), 'Path=/; HttpOnly; SameSite=Lax')
  t.equal(attributes(await app.inject({ url: '/', ...overHttps })), 'Path=/; HttpOnly; Secure')
})

// --- Lifetimes

t.test('maxAge takes precedence over expires', async t => {
  stopClock(t, NOON)
  const app = await build({ cookie: { maxAge: 60_000, expires: new Date(NOON + 5_000) } }, app => {
    app.get('/', async request => request.session.cookie.originalMaxAge)
  })
  const response = await app.inject('/')
  t.equal(attributes(response), 'Path=/; Expires=Sat, 01 Jun 2030 12:01:00 GMT; HttpOnly')
  t.equal(response.json(), 60_000)
})

t.test('touch() does nothing without a maxAge', async t => {
  const { advance } = stopClock(t, NOON)
  const visitor = new Visitor(await build({}, app => {
    app.get('/', async request => {
      request.session.touch()
      return { expires: request.session.cookie.expires }
    })
  }))
  await visitor.get('/')
  advance(1_000)
  const response = await visitor.get('/')
  t.strictSame(response.json(), { expires: null })
  t.equal(attributes(response), 'Path=/; HttpOnly')
})

t.test('touch() starts the maxAge again', async t => {
  const { advance } = stopClock(t, NOON)
  const app = await build({ cookie: { maxAge: 60_000 } }, app => {
    app.get('/', async request => {
      advance(1_000)
      request.session.touch()
    })
  })
  t.equal(attributes(await app.inject('/')), 'Path=/; Expires=Sat, 01 Jun 2030 12:01:01 GMT; HttpOnly')
})

t.test('with a fixed expires, touch() changes nothing and originalMaxAge is null', async t => {
  const { advance } = stopClock(t, NOON)
  const visitor = new Visitor(await build({ cookie: { expires: new Date(NOON + 60_000) } }, app => {
    app.get('/', async request => {
      request.session.touch()
      return { originalMaxAge: request.session.cookie.originalMaxAge }
    })
  }))
  for (let i = 0; i < 2; i++) {
    const response = await visitor.get('/')
    t.strictSame(response.json(), { originalMaxAge: null })
    t.equal(attributes(response), 'Path=/; Expires=Sat, 01 Jun 2030 12:01:00 GMT; HttpOnly')
    advance(1_000)
  }
})

t.test('a stored originalMaxAge takes precedence over the configured maxAge', async t => {
  stopClock(t, NOON)
  const store = new ThreeMethodStore()
  store.put('known', { cookie: { originalMaxAge: 60_000, expires: new Date(NOON + 30_000) } })
  const app = await build({ store, cookie: { maxAge: 5_000 } }, app => { app.get('/', nothing) })
  t.equal(
    attributes(await app.inject({ url: '/', ...knowing('known') })),
    'Path=/; Expires=Sat, 01 Jun 2030 12:01:00 GMT; HttpOnly'
  )
  t.equal(store.record('known')?.cookie.originalMaxAge, 60_000)
})

t.test('a fixed expires in the past is still sent', async t => {
  stopClock(t, NOON)
  const app = await build({ cookie: { expires: new Date(NOON - 60_000) } }, app => { app.get('/', nothing) })
  t.equal(attributes(await app.inject('/')), 'Path=/; Expires=Sat, 01 Jun 2030 11:59:00 GMT; HttpOnly')
})

// --- destroy, regenerate, reload, save

t.test('in the callback of destroy(), request.session is null', async t => {
  const store = new ThreeMethodStore()
  store.put('known', { pet: 'cat' })
  const app = await build({ store }, app => {
    app.get('/', (request, reply) => {
      request.session.destroy(error => reply.send({ failed: Boolean(error), session: request.session }))
    })
  })
  t.strictSame((await app.inject({ url: '/', ...knowing('known') })).json(), { failed: false, session: null })
  t.equal(store.records.size, 0)
})

t.test('after the promise of destroy(), request.session is null', async t => {
  const store = new ThreeMethodStore()
  store.put('known', { pet: 'cat' })
  const app = await build({ store }, app => {
    app.get('/', async request => {
      const value: unknown = await request.session.destroy()
      return { isUndefined: value === undefined, session: request.session }
    })
  })
  t.strictSame((await app.inject({ url: '/', ...knowing('known') })).json(), { isUndefined: true, session: null })
  t.equal(store.records.size, 0)
})

t.test('regenerate() takes a callback or returns a promise', async t => {
  const store = new ThreeMethodStore()
  const visitor = new Visitor(await build({ store }, app => {
    app.get('/start', async request => request.session.sessionId)
    app.get('/callback', (request, reply) => {
      request.session.regenerate(error => reply.send(error ?? request.session.sessionId))
    })
    app.get('/promise', async request => {
      await request.session.regenerate()
      return request.session.sessionId
    })
  }))
  let last = (await visitor.get('/start')).body
  for (const url of ['/callback', '/promise']) {
    const response = await visitor.get(url)
    t.equal(response.statusCode, 200)
    t.not(response.body, last, 'another id')
    t.strictSame([...store.records.keys()], [response.body], 'the old session is gone')
    t.equal(visitor.cookies.get('sessionId'), sign(response.body, SECRET))
    last = response.body
  }
})

t.test('reload() takes a callback or returns a promise, and loads what the store has', async t => {
  const store = new ThreeMethodStore()
  const app = await build({ store }, app => {
    app.addHook('preHandler', async request => {
      request.session.town = 'unsaved'
      store.put('known', { pet: 'dog' })
    })
    app.get('/callback', (request, reply) => {
      request.session.reload(error => reply.send(error ?? [request.session.pet, request.session.town]))
    })
    app.get('/promise', async request => {
      await request.session.reload()
      return [request.session.pet, request.session.town]
    })
  })
  for (const url of ['/callback', '/promise']) {
    store.put('known', { pet: 'cat' })
    const response = await app.inject({ url, ...knowing('known') })
    t.strictSame(response.json(), ['dog', null])
    t.strictSame(store.record('known')?.pet, 'dog')
  }
})

t.test('save() takes a callback or returns a promise, after which the store has the data', async t => {
  const store = new ThreeMethodStore()
  const app = await build({ store }, app => {
    app.addHook('preHandler', async request => { request.session.pet = 'dog' })
    app.get('/callback', (request, reply) => {
      request.session.save(error => reply.send(error ?? store.record('known')?.pet))
    })
    app.get('/promise', async request => {
      await request.session.save()
      return store.record('known')?.pet
    })
  })
  for (const url of ['/callback', '/promise']) {
    store.put('known', { pet: 'cat' })
    t.equal((await app.inject({ url, ...knowing('known') })).body, 'dog')
  }
})

const failures: Array<[name: 'destroy' | 'regenerate' | 'reload' | 'save', failing: Method]> = [
  ['destroy', 'destroy'], ['regenerate', 'destroy'], ['regenerate', 'set'], ['reload', 'get'], ['save', 'set']
]
for (const [name, failing] of failures) {
  t.test(`an error of the store's ${failing} reaches the callback and the promise of ${name}()`, async t => {
    const store = new ThreeMethodStore()
    const failure = new Error('disk full')
    let errors: unknown[] = []
    const app = await build({ store }, app => {
      app.get('/', async request => {
        const { session } = request
        session.pet = 'dog'
        store.failures.set(failing, failure)
        errors = await errorsOf(callback => callback === undefined ? session[name]() : session[name](callback))
        store.failures.clear()
      })
    })
    store.put('known', { pet: 'cat' })
    await app.inject({ url: '/', ...knowing('known') })
    t.equal(errors.length, 2)
    t.equal(errors[0], failure, 'callback')
    t.equal(errors[1], failure, 'promise')
  })
}

t.test("if destroying an expired session fails, the reply is a 500 with the store's message", async t => {
  stopClock(t, NOON)
  const store = new ThreeMethodStore()
  store.put('known', { pet: 'cat', cookie: { originalMaxAge: 1_000, expires: new Date(NOON - 1_000) } })
  store.failures.set('destroy', new Error('disk full'))
  const app = await build({ store }, app => { app.get('/', nothing) })
  const response = await app.inject({ url: '/', ...knowing('known') })
  t.equal(response.statusCode, 500)
  t.equal(response.json().message, 'disk full')
})

// --- reload

t.test('reload() of a session that was never saved drops its data, and calls back with exactly null', async t => {
  const store = new ThreeMethodStore()
  let args: unknown[] = []
  const app = await build({ store }, app => {
    app.get('/', async request => {
      request.session.pet = 'cat'
      const { sessionId } = request.session
      args = await answerTo(callback => request.session.reload(callback))
      return { pet: request.session.pet ?? null, sameId: request.session.sessionId === sessionId }
    })
  })
  const response = await app.inject('/')
  t.equal(args[0], null)
  t.strictSame(response.json(), { pet: null, sameId: true })
  t.notOk(Object.hasOwn(JSON.parse([...store.records.values()][0] as string), 'pet'))
})

t.test('save() works after a reload()', async t => {
  const store = new ThreeMethodStore()
  const app = await build({ store }, app => {
    app.get('/', async request => {
      await request.session.reload()
      request.session.pet = 'cat'
      await request.session.save()
      return store.record(request.session.sessionId)?.pet
    })
  })
  t.equal((await app.inject('/')).body, 'cat')
})

// In version 11 the session becomes an empty one, which is then saved.
t.test('reload() of a session that has ended since it was loaded is an error, and leaves the session unchanged', async t => {
  const store = new ThreeMethodStore()
  store.put('known', { pet: 'cat' })
  let errors: any[] = []
  const app = await build({ store }, app => {
    app.get('/', async request => {
      store.records.clear()
      const { session } = request
      errors = await errorsOf(callback => callback === undefined ? session.reload() : session.reload(callback))
      return request.session.pet
    })
  })
  const response = await app.inject({ url: '/', ...knowing('known') })
  t.strictSame(errors.map(error => error?.code), ['FST_ERR_SESSION_GONE', 'FST_ERR_SESSION_GONE'])
  t.equal(response.body, 'cat')
  t.equal(store.records.size, 0)
})

// --- regenerate

t.test("regenerate(keys) keeps those keys and no others, and tolerates 'cookie' and 'session' among them", async t => {
  const store = new ThreeMethodStore()
  store.put('known', { pet: 'cat', town: 'Ulm' })
  const app = await build({ store }, app => {
    app.get('/', async request => {
      await request.session.regenerate(['pet', 'cookie', 'session'])
      return request.session.sessionId
    })
  })
  const response = await app.inject({ url: '/', ...knowing('known') })
  t.equal(response.statusCode, 200)
  t.strictSame([...store.records.keys()], [response.body])
  t.strictSame(Object.keys(store.record(response.body) as object).sort(), ['cookie', 'pet'])
  t.equal(store.record(response.body)?.pet, 'cat')
})

t.test('while idGenerator runs for regenerate(), request.session is still the old session', async t => {
  const seen: unknown[] = []
  let count = 0
  const visitor = new Visitor(await build({
    idGenerator (request) {
      seen.push(request?.session.pet)
      return `id-${++count}`
    }
  }, app => {
    app.get('/', async request => {
      request.session.pet = 'cat'
      return request.session.sessionId
    })
    app.get('/regenerate', async request => {
      await request.session.regenerate()
      return request.session.sessionId
    })
  }))
  t.equal((await visitor.get('/')).body, 'id-1')
  t.equal((await visitor.get('/regenerate')).body, 'id-2')
  t.equal(seen.at(-1), 'cat')
})

t.test('what options() set survives regenerate()', async t => {
  stopClock(t, NOON)
  const app = await build({ cookie: { maxAge: 60_000 } }, app => {
    app.get('/', async request => {
      request.session.options({ maxAge: 120_000, sameSite: 'strict' })
      await request.session.regenerate()
    })
  })
  t.equal(attributes(await app.inject('/')), 'Path=/; Expires=Sat, 01 Jun 2030 12:02:00 GMT; HttpOnly; SameSite=Strict')
})

t.test('options() without a maxAge leaves the configured expires', async t => {
  stopClock(t, NOON)
  const expires = new Date('2030-06-02T12:00:00Z')
  for (const maxAge of [0, null, undefined, false] as any[]) {
    const app = await build({ cookie: { expires } }, app => { app.get('/', async request => request.session.options({ maxAge })) })
    t.equal(attributes(await app.inject('/')), 'Path=/; Expires=Sun, 02 Jun 2030 12:00:00 GMT; HttpOnly', String(maxAge))
  }
})

t.test('a store whose option disableTouch switches its touch off is written instead', async t => {
  const store = Object.assign(new ThreeMethodStore(), {
    disableTouch: true,
    touch (_sessionId: string, _session: unknown, callback: () => void) { callback() }
  })
  const app = await build({ store: store as any, cookie: { maxAge: 60_000 } }, app => { app.get('/', async () => 'ok') })
  const visitor = new Visitor(app)
  await visitor.get('/')
  const [before] = store.records.values()
  await new Promise(resolve => setTimeout(resolve, 2))
  await visitor.get('/')
  t.not([...store.records.values()][0], before)
})

// --- What a store's get may answer

t.test("an ENOENT from the store's get means that there is no session", async t => {
  const store = new ThreeMethodStore()
  store.failures.set('get', Object.assign(new Error('no such file'), { code: 'ENOENT' }))
  const app = await build({ store }, app => { app.get('/', async request => request.session.sessionId) })
  const response = await app.inject({ url: '/', ...knowing('known') })
  t.equal(response.statusCode, 200)
  t.not(response.body, 'known')
  t.strictSame([...store.records.keys()], [response.body])
})

t.test("any other error of the store's get is a 500 with its message", async t => {
  const store = new ThreeMethodStore()
  store.failures.set('get', Object.assign(new Error('connection lost'), { code: 'ECONNRESET' }))
  const app = await build({ store }, app => { app.get('/', nothing) })
  const response = await app.inject({ url: '/', ...knowing('known') })
  t.equal(response.statusCode, 500)
  t.equal(response.json().message, 'connection lost')
})

// --- Secrets

t.test('a cookie signed with an older secret loads its session, and is signed again with the first', async t => {
  const older = 'an older secret of 32 characters or more'
  const store = new ThreeMethodStore()
  store.put('known', { pet: 'cat' })
  const app = await build({ store, secret: [SECRET, older] }, app => {
    app.get('/', async request => request.session.pet)
  })
  const response = await app.inject({ url: '/', ...knowing('known', older) })
  t.equal(response.body, 'cat')
  t.equal(response.cookies[0]?.value, sign('known', SECRET))
  t.strictSame([...store.records.keys()], ['known'])
})

t.test('a short secret in an array is accepted, with a warning', async t => {
  const codes: unknown[] = []
  const listen = (warning: NodeJS.ErrnoException) => codes.push(warning.code)
  process.on('warning', listen)
  t.teardown(() => process.off('warning', listen))
  const app = await build({ secret: ['short'] }, app => { app.get('/', nothing) })
  const [cookie] = (await app.inject('/')).cookies
  const sessionId = cookie?.value.slice(0, cookie.value.lastIndexOf('.')) as string
  t.equal(cookie?.value, sign(sessionId, 'short'))
  // Version 11 doesn't warn.
  t.ok(codes.includes('FST_SESSION_SHORT_SECRET'))
})

t.test("a secret that can't sign is refused with the message of version 11", async t => {
  t.equal((await refusal({ secret: 'x'.repeat(31) })).message, 'the secret must have length 32 or greater')
  t.equal((await refusal({ secret: [] })).message, 'at least one secret is required')
  const noSecret = 'the secret option is required, and must be a String, Array of Strings, or a signer object with ' +
    '.sign and .unsign methods'
  t.equal((await refusal({})).message, noSecret)
  t.equal((await refusal({ secret: Buffer.alloc(32) })).message, noSecret)
  t.equal((await refusal({ secret: { sign () {} } })).message, noSecret)
})

// --- isModified() and save()

t.test('isModified() is false right after save()', async t => {
  const app = await build({}, app => {
    app.get('/', async request => {
      const { session } = request
      const seen = [session.isModified()]
      session.pet = 'cat'
      seen.push(session.isModified())
      await session.save()
      seen.push(session.isModified())
      session.pet = 'dog'
      seen.push(session.isModified())
      return seen
    })
  })
  t.strictSame((await app.inject('/')).json(), [false, true, false, true])
})

t.test('with rolling: false, a save() writes once, and the cookie is still sent', async t => {
  const store = new ThreeMethodStore()
  store.put('known', { pet: 'cat' })
  const app = await build({ store, rolling: false }, app => {
    app.get('/', async request => {
      request.session.pet = 'dog'
      await request.session.save()
    })
  })
  const response = await app.inject({ url: '/', ...knowing('known') })
  t.equal(store.writes(), 1)
  t.equal(store.record('known')?.pet, 'dog')
  t.equal(response.cookies[0]?.value, sign('known', SECRET))
})

// --- request.sessionStore and fastify.decryptSession

t.test('request.sessionStore is available in hooks that were registered before the plugin', async t => {
  const store = new ThreeMethodStore()
  const seen: unknown[] = []
  const app = Fastify()
  app.addHook('onRequest', async request => { seen.push(request.sessionStore) })
  await app.register(fastifyCookie)
  await app.register(fastifySession, { secret: SECRET, store })
  app.get('/', nothing)
  await app.inject('/')
  t.equal(seen.length, 1)
  t.equal(seen[0], store)
})

t.test('decryptSession loads from the store into a plain object, synchronously if the store is synchronous', async t => {
  const store = new ThreeMethodStore()
  store.put('known', { pet: 'cat' })
  const app = await build({ store }, () => {})
  const request: { session?: any } = {}
  const answers: unknown[][] = []
  app.decryptSession(sign('known', SECRET), request, (...args: unknown[]) => answers.push(args))
  t.equal(answers.length, 1)
  t.notOk(answers[0]?.[0])
  t.equal(request.session.pet, 'cat')
  t.equal(request.session.sessionId, 'known')
  t.strictSame(store.calls, ['get'])
})

t.test('decryptSession takes cookie options', async t => {
  stopClock(t, NOON)
  const app = await build({}, () => {})
  const request: { session?: any } = {}
  app.decryptSession('nonsense', request, { maxAge: 60_000, sameSite: 'strict' }, () => {})
  t.match(request.session.cookie, { originalMaxAge: 60_000, sameSite: 'strict', expires: new Date(NOON + 60_000) })
})

t.test("decryptSession reports the store's error", async t => {
  const store = new ThreeMethodStore()
  const failure = new Error('connection lost')
  store.failures.set('get', failure)
  const app = await build({ store }, () => {})
  const [error] = await answerTo(callback => app.decryptSession(sign('known', SECRET), {}, callback))
  t.equal(error, failure)
})

// --- The cookie's path

const paths: Array<[cookiePath: string, url: string, within: boolean]> = [
  ['/shop', '/shop', true],
  ['/shop', '/shop?page=2', true],
  ['/shop', '/shop/cart', true],
  ['/shop', '/shopping', false],
  ['/shop', '/', false],
  ['/shop', '/other?from=/shop', false],
  ['/shop/', '/shop/cart', true],
  ['/shop/', '/shop', false],
  ['/', '/shop', true]
]
for (const [cookiePath, url, within] of paths) {
  t.test(`with the cookie path ${cookiePath}, ${url} has ${within ? 'a' : 'an empty'} session`, async t => {
    const store = new ThreeMethodStore()
    store.put('known', { pet: 'cat' })
    const app = await build({ store, cookie: { path: cookiePath } }, app => {
      app.get('*', async request => ({ isTruthy: Boolean(request.session), keys: Object.keys(request.session).sort() }))
    })
    const response = await app.inject({ url, ...knowing('known') })
    t.strictSame(response.json(), { isTruthy: true, keys: within ? ['cookie', 'pet'] : [] })
    t.equal(setCookies(response).length, within ? 1 : 0)
    t.equal(store.calls.length > 0, within)
  })
}

// --- Rolling and stores without touch

t.test('on a store without touch, rolling: true calls set with each request', async t => {
  const store = new ThreeMethodStore()
  const visitor = new Visitor(await build({ store, cookie: { maxAge: 60_000 } }, app => { app.get('/', nothing) }))
  for (const writes of [1, 2, 3]) {
    await visitor.get('/')
    t.equal(store.writes(), writes)
  }
})

t.test('with rolling: false, only a change calls set and sends the cookie', async t => {
  const store = new ThreeMethodStore()
  const visitor = new Visitor(await build({ store, rolling: false, cookie: { maxAge: 60_000 } }, app => {
    app.get('/', async request => request.session.pet ?? 'none')
    app.get('/change', async request => { request.session.pet = 'cat' })
  }))
  const seen = []
  for (const url of ['/', '/', '/change', '/', '/change']) {
    const response = await visitor.get(url)
    seen.push([url, store.writes(), setCookies(response).length])
  }
  t.strictSame(seen, [['/', 1, 1], ['/', 1, 0], ['/change', 2, 1], ['/', 2, 0], ['/change', 2, 0]])
})

// --- The clock, what is enumerable, and when regenerate() writes

for (const [name, store] of [['the default store', undefined], ['a store with three methods', new ThreeMethodStore()]] as const) {
  t.test(`with ${name}, a session ends when its maxAge has passed according to Date.now()`, async t => {
    const { advance } = stopClock(t, NOON)
    const app = await build({ cookie: { maxAge: 60_000 }, store }, app => {
      app.get('/start', async request => { request.session.pet = 'cat' })
      app.get('/', async request => request.session.pet ?? 'none')
    })
    // Not a Visitor, which would drop the cookie.
    const [cookie] = (await app.inject('/start')).cookies
    const ask = async () => (await app.inject({ url: '/', cookies: { sessionId: cookie?.value as string } })).body
    advance(59_999)
    t.equal(await ask(), 'cat')
    advance(59_999)
    t.equal(await ask(), 'cat', 'each request starts the maxAge again')
    advance(60_000)
    t.equal(await ask(), 'none')
  })
}

t.test('only the data keys and cookie are enumerable on a session', async t => {
  const store = new ThreeMethodStore()
  store.put('known', { pet: 'cat' })
  const app = await build({ store }, app => {
    app.get('/', async request => {
      request.session.town = 'Ulm'
      const inLoop = []
      for (const key in request.session) inLoop.push(key)
      return {
        keys: Object.keys(request.session).sort(),
        inLoop: inLoop.sort(),
        spread: Object.keys({ ...request.session }).sort(),
        json: Object.keys(JSON.parse(JSON.stringify(request.session))).sort()
      }
    })
  })
  const keys = ['cookie', 'pet', 'town']
  const response = await app.inject({ url: '/', ...knowing('known') })
  t.strictSame(response.json(), { keys, inLoop: keys, spread: keys, json: keys })
})

t.test('regenerate() writes the new record at once', async t => {
  const store = new ThreeMethodStore()
  store.put('known', { pet: 'cat' })
  const app = await build({ store }, app => {
    app.get('/', async request => {
      await request.session.regenerate(['pet'])
      return store.record(request.session.sessionId)
    })
  })
  t.match((await app.inject({ url: '/', ...knowing('known') })).json(), { pet: 'cat', cookie: { originalMaxAge: null } })
})

t.test('regenerate() reports an error of writing the new record', async t => {
  const store = new ThreeMethodStore()
  store.failures.set('set', new Error('disk full'))
  const app = await build({ store }, app => {
    app.get('/', async request => { await request.session.regenerate() })
  })
  const response = await app.inject('/')
  t.equal(response.statusCode, 500)
  t.equal(response.json().message, 'disk full')
})

t.test('an instance of a class keeps its class in the in-memory store', async t => {
  class Cart {
    items: string[] = []
    add (item: string): number { return this.items.push(item) }
  }
  const app = await build({}, app => {
    app.get('/add', async request => {
      (request.session as any).cart ??= new Cart()
      return (request.session as any).cart.add('apple')
    })
  })
  const visitor = new Visitor(app)
  t.equal((await visitor.get('/add')).body, '1')
  t.equal((await visitor.get('/add')).body, '2')
})
