/** The session object that a handler uses, and what happens to its data. */
import { once } from 'node:events'
import { format, inspect } from 'node:util'
import fastifyCookie, { sign } from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t from 'tap'
import fastifySession, { MemoryStore } from '../src/index'
import { recordCalls } from '../src/testing/site'
import { build, Gate, holdTimeouts, record, SECRET, setCookies, stopClock, Visitor, type SessionOptions } from './helpers'
import { HeldStore, SilentStore } from './odd-stores'
import { within } from './waiting'

type Handler = (session: any, request: FastifyRequest) => unknown

const MINUTE = 60_000
const OTHER_SECRET = 'another secret with a minimum length of 32 characters'

/** A visitor with a session in the store, and a way to run code in the handler of their next request. */
async function visit (data: object = {}, options: SessionOptions = {}, maxAge?: number) {
  const store = options.store as MemoryStore | undefined ?? new MemoryStore()
  let handler: Handler = () => {}
  const app = await build({ ...options, store }, app => {
    app.get('/', async request => await handler(request.session, request))
  })
  const visitor = new Visitor(app)
  await new Promise(resolve => store.set('known', record(data, maxAge) as any, resolve))
  visitor.cookies.set('sessionId', `${options.cookiePrefix ?? ''}${sign('known', SECRET)}`)
  const calls = recordCalls(store)
  return {
    app,
    store,
    visitor,
    calls,
    request: async (next: Handler) => {
      handler = next
      calls.length = 0
      return await visitor.get('/')
    },
    /** The data that the store has now. */
    stored: (): any => {
      const { cookie, ...data } = store.store.get('known') as any
      return data
    }
  }
}

/** Runs code of a handler, and returns its result or its error. */
function attempt (run: () => unknown): any {
  try {
    return run()
  } catch (error) {
    return error
  }
}

// --- An object with the visitor's data

t.test("a session's own properties are the data and the cookie", async t => {
  const { request } = await visit({ user: { name: 'max' }, n: 1 })
  await request(session => {
    session.added = 'x'
    t.same(Object.keys(session).sort(), ['added', 'cookie', 'n', 'user'])
    t.same(Object.getOwnPropertyNames(session).sort(), ['added', 'cookie', 'n', 'user'])
    t.same(Object.getOwnPropertySymbols(session), [])
    const seen: string[] = []
    for (const key in session) seen.push(key)
    t.same(seen.sort(), ['added', 'cookie', 'n', 'user'])
    t.equal(Object.hasOwn(session, 'user'), true)
    t.equal(Object.hasOwn(session, 'save'), false)
    t.strictSame(Object.getOwnPropertyDescriptor(session, 'n'), { value: 1, writable: true, enumerable: true, configurable: true })
    t.equal(Object.getOwnPropertyDescriptor(session, 'none'), undefined)
    t.equal(Object.getOwnPropertyDescriptor(session, Symbol.iterator), undefined)
    t.same(Object.entries(session).filter(([key]) => key !== 'cookie').sort(), [['added', 'x'], ['n', 1], ['user', { name: 'max' }]])
  })
})

t.test('spread and JSON.stringify return the data and the cookie, data() only the data', async t => {
  const { request } = await visit({ user: { name: 'max' } })
  const response = await request(session => {
    t.same(Object.keys({ ...session }).sort(), ['cookie', 'user'])
    t.same({ ...session }.user, { name: 'max' })
    t.same(Object.keys(JSON.parse(JSON.stringify(session)).cookie).sort(), [
      'domain', 'expires', 'httpOnly', 'originalMaxAge', 'path', 'sameSite', 'secure'
    ])
    t.strictSame(session.data(), { user: { name: 'max' } })
    t.strictSame(structuredClone(session.data()), { user: { name: 'max' } })
    const { cookie, ...rest } = session
    t.strictSame(rest, { user: { name: 'max' } })
    return session
  })
  t.same(response.json().user, { name: 'max' }, 'the reply has the same')
})

t.test("the operator 'in' finds the data and the methods", async t => {
  const { request } = await visit({ user: 'max', empty: undefined })
  await request(session => {
    t.equal('user' in session, true)
    t.equal('cookie' in session, true)
    t.equal('save' in session, true)
    t.equal('none' in session, false)
    t.equal(Symbol.iterator in session, false)
    delete session.user
    t.equal('user' in session, false)
  })
})

t.test('delete, Object.defineProperty and Object.assign change the data', async t => {
  const { request, stored } = await visit({ user: 'max', n: 1 })
  await request(session => {
    t.equal(delete session.n, true)
    t.equal(delete session.none, true)
    t.equal(session.n, undefined)
    Object.defineProperty(session, 'defined', { value: { a: 1 }, writable: true, enumerable: true, configurable: true })
    Object.assign(session, { user: 'eva', assigned: [1] })
    t.equal(Reflect.set(session, 'reflected', true), true)
    t.same(session.data(), { user: 'eva', defined: { a: 1 }, assigned: [1], reflected: true })
  })
  t.same(stored(), { user: 'eva', defined: { a: 1 }, assigned: [1], reflected: true })
})

t.test('a session cannot be frozen, because its data must stay changeable', async t => {
  const { request, stored } = await visit({ user: 'max' })
  await request(session => {
    t.throws(() => Object.freeze(session), TypeError)
    t.throws(() => Object.preventExtensions(session), TypeError)
    t.equal(Object.isFrozen(session), false)
  })
  t.same(stored(), { user: 'max' })
})

t.test('symbol properties last for the request, and are never stored', async t => {
  const { request, stored, calls } = await visit({ user: 'max' })
  const key = Symbol('note')
  await request(session => {
    session[key] = 1
    t.equal(session[key], 1)
    t.equal(key in session, true)
    t.equal(delete session[key], true)
    t.equal(session[key], undefined)
    Object.defineProperty(session, key, { value: 2, writable: true, configurable: true })
    t.equal(session[key], 2)
    t.same(Object.keys(session).sort(), ['cookie', 'user'])
  })
  t.same(stored(), { user: 'max' })
  t.same(calls, ['get', 'touch'])
  await request(session => t.equal(session[key], undefined))
})

t.test('console.log shows the data and never the session id', async t => {
  const { request } = await visit({ user: { name: 'max' } })
  await request((session, request) => {
    for (const shown of [inspect(session), format('%s', session), format('%o', session), format('%O', session), format(session)]) {
      t.match(shown, /user/)
      t.notMatch(shown, 'known')
    }
    t.match(inspect(session), /name: 'max'/)
    t.match(inspect(session), /cookie: \{/)
    t.match(inspect({ session }), /user/)
    t.notMatch(inspect(session, { showProxy: true, showHidden: true }), 'known')
    t.equal(session.sessionId, 'known')
    t.equal(request.session.encryptedSessionId, sign('known', SECRET))
  })
})

t.test('get() only returns own data', async t => {
  const { request } = await visit({ user: 'max' })
  await request(session => {
    t.equal(session.get('user'), 'max')
    for (const key of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'save', 'get', 'sessionId', 'data', 'none']) {
      t.equal(session.get(key), undefined, key)
    }
    t.equal(session.get('cookie'), session.cookie)
    session.set('constructor', 'mine')
    t.equal(session.get('constructor'), 'mine')
    t.equal(session.constructor, 'mine')
  })
})

t.test('get(), set() and properties use the same data', async t => {
  const { request, stored } = await visit({ user: { name: 'max' } })
  await request(session => {
    t.equal(session.get('user'), session.user)
    session.set('a', 1)
    t.equal(session.a, 1)
    session.b = 2
    t.equal(session.get('b'), 2)
    session.set('user', undefined)
    t.equal(session.user, undefined)
  })
  t.same(stored(), { a: 1, b: 2 })
})

// --- The session's own names

const RESERVED = [
  '__proto__', 'cookie', 'sessionId', 'encryptedSessionId', 'save', 'destroy', 'regenerate', 'reload', 'get', 'set'
]

for (const name of RESERVED) {
  t.test(`'${name}' cannot be a key of data`, async t => {
    const { request, stored, calls } = await visit({ user: 'max' }, { rolling: false })
    await request(session => {
      const method = session[name]
      const writes: Array<() => unknown> = [
        () => session.set(name, 'mine'),
        () => { session[name] = 'mine' },
        () => Object.defineProperty(session, name, { value: 'mine' }),
        () => Object.assign(session, Object.defineProperty({}, name, { value: 'mine', enumerable: true })),
        () => delete session[name]
      ]
      for (const write of writes) {
        const error = attempt(write)
        t.equal(error.code, 'FST_ERR_SESSION_RESERVED_KEY', String(write))
        t.match(error.message, `'${name}'`)
      }
      t.equal(session[name], method)
    })
    t.same(stored(), { user: 'max' })
    t.same(calls, ['get'])
  })
}

for (const name of ['options', 'touch', 'isModified', 'isSaved', 'isAnonymous', 'list', 'revoke', 'revokeOthers', 'update', 'take']) {
  t.test(`'${name}' may be a key of data`, async t => {
    const { request, stored } = await visit({ user: 'max' })
    await request(session => { session[name] = { mine: 1 } })
    t.same(stored(), { user: 'max', [name]: { mine: 1 } })
    await request(session => {
      t.same(session[name], { mine: 1 })
      session[name].mine = 2
    })
    t.same(stored(), { user: 'max', [name]: { mine: 2 } })
    await request(session => { delete session[name] })
    t.same(stored(), { user: 'max' })
  })
}

t.test('a property that is set on an object that inherits from the session does not change the session', async t => {
  const { request, stored } = await visit({ user: 'max' })
  await request(session => {
    const child = Object.create(session)
    child.user = 'eve'
    child.more = 1
    child.options = 'mine'
    t.same([child.user, child.more, child.options], ['eve', 1, 'mine'])
    t.same(Object.keys(session), ['cookie', 'user'])
    t.equal(session.user, 'max')
  })
  t.same(stored(), { user: 'max' })
})

t.test('a getter may be defined on the session, and is not stored', async t => {
  const { request, stored } = await visit({ first: 'max', name: 'old' })
  await request(session => {
    Object.defineProperty(session, 'name', {
      get () { return `${this.first}!` }, set (first) { this.first = first }, enumerable: true, configurable: true
    })
    t.equal(session.name, 'max!')
    session.name = 'eve'
    t.same([session.first, session.name, session.get('name')], ['eve', 'eve!', 'eve!'])
    t.same(Object.keys(session), ['cookie', 'first', 'name'])
    t.equal(JSON.parse(JSON.stringify(session)).name, 'eve!')
    Object.defineProperty(session, 'other', { get: () => 1, configurable: true })
    delete session.other
    t.notOk('other' in session)
  })
  t.same(stored(), { first: 'eve' })
})

t.test('properties that are not enumerable are not stored', async t => {
  const { request, stored } = await visit({ user: 'max', secret: 1 })
  await request(session => {
    Object.defineProperty(session, 'password', { value: 'hunter2', writable: true, configurable: true })
    Object.defineProperty(session, 'secret', { enumerable: false })
    session.password = 'hunter3'
    t.same([session.password, session.get('password'), session.secret], ['hunter3', 'hunter3', 1])
    t.same(Object.keys(session), ['cookie', 'user'])
    t.ok(Object.hasOwn(session, 'password'))
    Object.defineProperty(session, 'user', { value: 'eve' })
  })
  t.same(stored(), { user: 'eve' })
  await request(session => {
    Object.defineProperty(session, 'password', { value: 'hunter2', configurable: true })
    Object.defineProperty(session, 'password', { value: 'open', enumerable: true })
  })
  t.same(stored(), { user: 'eve', password: 'open' })
})

t.test('symbol properties can be spread, changed and deleted, and are not stored', async t => {
  const { request, stored } = await visit({ user: 'max' })
  await request(session => {
    const [set, defined] = [Symbol('set'), Symbol('defined')]
    session[set] = 1
    Object.defineProperty(session, defined, { value: 2 })
    const spread: Record<symbol, unknown> = { ...session }
    t.equal(spread[set], 1)
    t.same(Object.getOwnPropertySymbols(session), [set, defined])
    t.equal(JSON.parse(JSON.stringify(session)).user, 'max')
    session[set] = 3
    t.equal(session[set], 3)
    delete session[set]
    t.same(Object.getOwnPropertySymbols(session), [defined])
  })
  t.same(stored(), { user: 'max' })
})

t.test("'data' may be a key of data, although a session has a method data()", async t => {
  const { request, stored } = await visit()
  await request(session => {
    t.equal(session.get('data'), undefined)
    t.equal(Object.keys(session).includes('data'), false)
    session.data = { mine: 1 }
    t.same(session.data, { mine: 1 })
  })
  t.same(stored(), { data: { mine: 1 } })
  await request(session => {
    t.same(session.data, { mine: 1 })
    delete session.data
    t.same(session.data(), {}, 'the method is back')
  })
})

// --- Built on first use

t.test('a route that does not use its session stores nothing, and calls idGenerator once, as in version 11', async t => {
  const store = new MemoryStore()
  const calls = recordCalls(store)
  let ids = 0
  const app = await build({ store, saveUninitialized: false, idGenerator: () => `id ${ids++}` }, app => {
    app.get('/none', async () => 'ok')
    app.get('/read', async request => {
      const session = request.session as any
      return [session.user ?? null, session.get('user') ?? null, Object.keys(session), session.isModified(), session.isSaved()]
    })
    app.get('/id', async request => [request.session.sessionId, request.session.sessionId])
  })
  const visitor = new Visitor(app)
  t.same(setCookies(await visitor.get('/none')), [])
  t.equal(ids, 1)
  t.same((await visitor.get('/read')).json(), [null, null, ['cookie'], false, false])
  t.equal(ids, 2)
  t.same((await visitor.get('/id')).json(), ['id 2', 'id 2'])
  t.equal(ids, 3)
  t.same(calls, [])
  t.equal(visitor.cookies.size, 0)
})

t.test('with saveUninitialized, a route that does not use its session makes one id and one record', async t => {
  const store = new MemoryStore()
  const calls = recordCalls(store)
  let ids = 0
  const app = await build({ store, idGenerator: () => `id ${ids++}` }, app => { app.get('/', async () => 'ok') })
  await new Visitor(app).get('/')
  t.equal(ids, 1)
  t.same(calls, ['set'])
})

t.test('request.session is one object for the whole request', async t => {
  const { request } = await visit({ user: {} })
  await request((session, request) => {
    t.equal(request.session, session)
    t.equal(session.user, session.user)
    t.equal(session.cookie, session.cookie)
  })
})

t.test('requests share no objects with each other or with the store', async t => {
  const { request, store } = await visit({ user: { tags: ['a'] } })
  const seen: any[] = []
  await request(session => seen.push(session.user))
  await request(session => seen.push(session.user))
  t.not(seen[0], seen[1])
  t.not(seen[0].tags, seen[1].tags)
  for (const user of seen) t.not(user, (store.store.get('known') as any).user)
})

// --- isModified and isSaved

t.test('isModified() and isSaved() say whether the store has the same data', async t => {
  const { request, visitor } = await visit({ user: { name: 'max' } })
  const both = (session: any): boolean[] => [session.isModified(), session.isSaved()]
  await request(async session => {
    t.same(both(session), [false, true], 'loaded')
    t.equal(session.user.name, 'max')
    t.same(both(session), [false, true], 'read')
    session.user = { name: 'max' }
    t.same(both(session), [false, true], 'set to an equal value')
    session.user.name = 'eva'
    t.same(both(session), [true, false], 'changed deep within')
    await session.save()
    t.same(both(session), [false, true], 'saved')
    session.n = 1
    t.same(both(session), [true, false], 'changed again')
    delete session.n
    t.same(both(session), [false, true], 'changed back')
    delete session.user
    t.same(both(session), [true, false], 'removed')
    await session.reload()
    t.same(both(session), [true, false], 'a replaced object stays as it was')
  })
  visitor.cookies.clear()
  await request(async (session, request) => {
    t.same(both(session), [false, false], 'new')
    await session.save()
    t.same(both(session), [false, true], 'new and saved')
    await session.regenerate()
    t.same(both(request.session), [false, true], 'regenerated')
  })
})

// --- If a handler or a hook sets request.session

t.test('if a handler sets request.session to another value, it reads that value, and nothing is saved', async t => {
  for (const own of [{ mine: true }, 'text', null]) {
    const { request, calls, stored } = await visit({ user: 'max' })
    const response = await request((session, request) => {
      session.user = 'eva'
      ;(request as any).session = own
      t.equal(request.session, own)
    })
    t.equal(response.statusCode, 200)
    t.same(setCookies(response), [])
    t.same(calls, ['get'])
    t.same(stored(), { user: 'max' })
  }
})

t.test('nothing is saved either if the handler first stored something for a new visitor', async t => {
  const store = new MemoryStore()
  const app = await build({ store }, app => {
    app.get('/', async request => {
      (request.session as any).user = 'eva'
      ;(request as any).session = null
    })
  })
  t.teardown(() => app.close())
  const response = await app.inject('/')
  t.equal(response.statusCode, 200)
  t.same(setCookies(response), [])
  t.equal(store.store.size, 0)
})

t.test('if a handler sets request.session back to the session, it is saved again', async t => {
  const { request, stored } = await visit({ user: 'max' })
  const response = await request((session, request) => {
    ;(request as any).session = { mine: true }
    ;(request as any).session = session
    t.equal(request.session, session)
    session.user = 'eva'
  })
  t.equal(setCookies(response).length, 1)
  t.same(stored(), { user: 'eva' })
})

t.test('a hook before the plugin may set request.session', async t => {
  const app = Fastify() as unknown as FastifyInstance
  await app.register(fastifyCookie)
  app.addHook('onRequest', async request => {
    t.same(Object.keys(request.session), [])
    ;(request as any).session = { early: true }
    t.same(request.session, { early: true })
  })
  await app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
  app.get('/', async request => ({ early: (request.session as any).early ?? null, id: request.session.sessionId.length }))
  t.same((await app.inject('/')).json(), { early: null, id: 32 }, 'the value is gone once the session is loaded')
})

t.test("if a hook before the plugin's answers the request, there is no session and no cookie", async t => {
  const app = Fastify() as unknown as FastifyInstance
  await app.register(fastifyCookie)
  app.addHook('onRequest', async (_request, reply) => await reply.code(503).send('closed'))
  await app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
  app.get('/', async () => 'open')
  const response = await app.inject('/')
  t.same([response.statusCode, response.body], [503, 'closed'])
  t.same(setCookies(response), [])
})

// --- decryptSession

t.test('decryptSession() puts a session on any object, by callback and by promise', async t => {
  const { app } = await visit({ user: 'max' })
  const value = sign('known', SECRET)
  const called: any = {}
  const answers: unknown[][] = []
  app.decryptSession(value, called, (...answer: unknown[]) => answers.push(answer))
  t.equal(answers.length, 1, 'synchronously, like the store')
  t.notOk(answers[0]?.[0])
  t.equal(called.session.user, 'max')
  const promised: any = {}
  t.equal(await app.decryptSession(value, promised), undefined)
  t.equal(promised.session.user, 'max')
  t.equal(promised.session.sessionId, 'known')
  t.not(promised.session, called.session)
})

t.test('a session that decryptSession() has loaded can be changed and saved', async t => {
  const { app, stored } = await visit({ user: 'max' })
  const request: any = {}
  await app.decryptSession(sign('known', SECRET), request)
  request.session.n = 1
  await request.session.save()
  t.same(stored(), { user: 'max', n: 1 })
  await request.session.reload()
  t.equal(request.session.n, 1)
  await request.session.regenerate(['user'])
  t.same(request.session.data(), { user: 'max' })
  t.not(request.session.sessionId, 'known')
  await request.session.destroy()
  t.equal(request.session, null)
})

t.test('decryptSession() accepts a value with and without its prefix', async t => {
  const { app } = await visit({ user: 'max' }, { cookiePrefix: 's:' })
  for (const value of [sign('known', SECRET), `s:${sign('known', SECRET)}`]) {
    const request: any = {}
    await app.decryptSession(value, request)
    t.equal(request.session.user, 'max', value)
  }
})

t.test('decryptSession() makes a new session, without an error, if the value is not valid', async t => {
  for (const cookiePrefix of ['', 's:']) {
    const { app, store } = await visit({ user: 'max' }, { cookiePrefix })
    const values = [
      undefined, null, '', 's:', '.', 'known', 'known.', sign('known', OTHER_SECRET), sign('unknown', SECRET)
    ]
    for (const value of values) {
      const request: any = {}
      await app.decryptSession(value as string, request)
      t.same(request.session.data(), {}, String(value))
      t.not(request.session.sessionId, 'known')
      t.not(request.session.sessionId, 'unknown')
      t.equal(request.session.isSaved(), false)
    }
    t.equal(store.store.size, 1)
  }
})

t.test('decryptSession() also makes a new session if the value is not a string, such as a repeated query parameter', async t => {
  const { app } = await visit({ user: 'max' })
  for (const value of [[sign('known', SECRET), 'x'], 5, {}, true] as any[]) {
    const request: any = {}
    const answers: unknown[][] = []
    t.doesNotThrow(() => app.decryptSession(value, request, (...answer: unknown[]) => answers.push(answer)))
    t.same(answers.map(([error]) => error ?? null), [null])
    t.same(request.session?.data(), {})
  }
})

t.test('decryptSession() accepts cookie options, and refuses those that cannot be sent', async t => {
  const { app } = await visit({ user: 'max' }, { cookie: { path: '/shop', maxAge: MINUTE } })
  const request: any = {}
  const value = sign('known', SECRET)
  await app.decryptSession('', request, { maxAge: 1000, sameSite: 'strict' })
  t.match(request.session.cookie.toJSON(), { originalMaxAge: 1000, sameSite: 'strict', path: '/shop', secure: false })
  const answers: unknown[][] = []
  app.decryptSession(value, request, { httpOnly: false }, (...answer: unknown[]) => answers.push(answer))
  t.notOk(answers[0]?.[0])
  t.equal(request.session.cookie.httpOnly, false)
  t.equal(request.session.user, 'max')

  for (const options of [{ maxAge: '1000' }, { maxAge: NaN }, { expires: new Date(NaN) }, { domain: 'a b;c' }, { sameSite: 'no' }] as any[]) {
    const untouched: any = {}
    await t.rejects(async () => await app.decryptSession(value, untouched, options), JSON.stringify(options))
    const answers: unknown[][] = []
    app.decryptSession(value, untouched, options, (...answer: unknown[]) => answers.push(answer))
    t.equal(answers.length, 1)
    t.ok(answers[0]?.[0] instanceof Error)
    t.equal(untouched.session, undefined)
  }
  await t.rejects(async () => await app.decryptSession(value, {}, { maxAge: '1000' } as any), { code: 'FST_ERR_SESSION_COOKIE' })
})

t.test('decryptSession() on the request itself replaces its session', async t => {
  const { app, store, request, stored } = await visit({ user: 'max' })
  await new Promise(resolve => store.set('other', record({ user: 'eva' }) as any, resolve))
  const response = await request(async (session, request) => {
    t.equal(session.user, 'max')
    await app.decryptSession(sign('other', SECRET), request)
    t.equal((request.session as any).user, 'eva')
    ;(request.session as any).n = 1
  })
  t.match(setCookies(response).join(), 'sessionId=other.')
  t.same(stored(), { user: 'max' })
  t.equal((store.store.get('other') as any).n, 1)
})

// --- Registrations

t.test('two scopes can have their own sessions, secrets and cookies', async t => {
  const app = Fastify() as unknown as FastifyInstance
  await app.register(fastifyCookie)
  const stores: Record<string, MemoryStore> = {}
  for (const [name, secret] of [['shop', SECRET], ['admin', OTHER_SECRET]] as const) {
    await app.register(async scope => {
      const store = stores[name] = new MemoryStore()
      await scope.register(fastifySession, { secret, store, cookieName: name, cookie: { secure: false } })
      scope.get(`/${name}/login/:user`, async request => { (request.session as any).user = (request.params as any).user })
      scope.get(`/${name}/whoami`, async request => (request.session as any).user ?? 'nobody')
      scope.get(`/${name}/store`, async request => request.sessionStore === store)
      scope.get(`/${name}/decrypt/:value`, async request => {
        const other: any = {}
        await scope.decryptSession((request.params as any).value, other)
        return other.session.user ?? 'nobody'
      })
    })
  }
  app.get('/outside', async request => String((request as any).session))
  await app.ready()

  const visitor = new Visitor(app)
  await visitor.get('/shop/login/max')
  await visitor.get('/admin/login/eva')
  t.same([...visitor.cookies.keys()].sort(), ['admin', 'shop'])
  t.equal((await visitor.get('/shop/whoami')).body, 'max')
  t.equal((await visitor.get('/admin/whoami')).body, 'eva')
  t.equal((await visitor.get('/shop/store')).body, 'true')
  t.equal((await visitor.get('/admin/store')).body, 'true')
  t.equal((await visitor.get('/outside')).body, 'undefined')
  t.equal(stores.shop?.store.size, 1)
  t.equal(stores.admin?.store.size, 1)

  const value = visitor.cookies.get('shop') as string
  t.equal((await visitor.get(`/shop/decrypt/${encodeURIComponent(value)}`)).body, 'max')
  t.equal((await visitor.get(`/admin/decrypt/${encodeURIComponent(value)}`)).body, 'nobody')
  const mallory = new Visitor(app)
  mallory.cookies.set('admin', value)
  t.equal((await mallory.get('/admin/whoami')).body, 'nobody')
})

t.test('two scopes may share one store', async t => {
  const app = Fastify() as unknown as FastifyInstance
  await app.register(fastifyCookie)
  const store = new MemoryStore()
  for (const name of ['one', 'two']) {
    await app.register(async scope => {
      await scope.register(fastifySession, { secret: SECRET, store, cookie: { secure: false } })
      scope.get(`/${name}/add`, async request => { (request.session as any)[name] = 1 })
      scope.get(`/${name}/all`, async request => request.session.data())
    })
  }
  const visitor = new Visitor(app)
  await visitor.get('/one/add')
  await visitor.get('/two/add')
  t.same((await visitor.get('/one/all')).json(), { one: 1, two: 1 })
})

t.test('ready() rejects if the plugin is registered twice in one scope', async t => {
  for (const inside of [false, true]) {
    const app = Fastify() as unknown as FastifyInstance
    app.register(fastifyCookie)
    app.register(fastifySession, { secret: SECRET })
    if (inside) app.register(async scope => { scope.register(fastifySession, { secret: SECRET, cookieName: 'other' }) })
    else app.register(fastifySession, { secret: SECRET, cookieName: 'other' })
    await t.rejects(async () => await app.ready(), { code: 'FST_ERR_SESSION_NAME_TAKEN', message: /request\.session is already decorated/ })
  }
})

t.test('ready() rejects if another plugin has decorated request.session', async t => {
  const app = Fastify() as unknown as FastifyInstance
  app.register(fastifyCookie)
  app.decorateRequest('session' as any, null)
  app.register(fastifySession, { secret: SECRET })
  await t.rejects(async () => await app.ready(), { code: 'FST_ERR_SESSION_NAME_TAKEN' })
})

for (const hook of ['preHandler', 'preParsing'] as const) {
  t.test(`sessions work with @fastify/cookie's hook: ${hook}`, async t => {
    const app = Fastify() as unknown as FastifyInstance
    await app.register(fastifyCookie, { hook })
    await app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
    app.get('/login', async request => { (request.session as any).user = 'max' })
    app.get('/whoami', async request => (request.session as any).user ?? 'nobody')
    app.get('/logout', async request => await request.session.destroy())
    const visitor = new Visitor(app)
    await visitor.get('/login')
    t.equal((await visitor.get('/whoami')).body, 'max')
    await visitor.get('/logout')
    t.equal(visitor.cookies.size, 0)
    t.equal((await visitor.get('/whoami')).body, 'nobody')
  })
}

// --- The lifetime

const expiresOf = (response: Awaited<ReturnType<Visitor['get']>>): number | undefined => response.cookies[0]?.expires?.getTime()

for (const [name, change, expected] of [
  ['touch()', session => session.touch(), 10 * MINUTE],
  ['options({ maxAge })', session => session.options({ maxAge: 30 * MINUTE }), 30 * MINUTE],
  ['cookie.maxAge', session => { session.cookie.maxAge = 30 * MINUTE }, 30 * MINUTE],
  ['cookie.expires', session => { session.cookie.expires = new Date(Date.now() + 30 * MINUTE) }, 30 * MINUTE],
  ['cookie.expires, a string', session => { session.cookie.expires = new Date(Date.now() + 30 * MINUTE).toISOString() }, 30 * MINUTE]
] as Array<[string, Handler, number]>) {
  t.test(`with rolling: false, ${name} moves the end of the session`, async t => {
    const { advance } = stopClock(t)
    const { request } = await visit({ user: 'max' }, { rolling: false, cookie: { maxAge: 10 * MINUTE } }, 10 * MINUTE)
    t.same(setCookies(await request(() => {})), [])
    advance(6 * MINUTE)
    const begun = Date.now()
    t.equal(expiresOf(await request(change)), begun + expected)
    advance(expected - MINUTE)
    const response = await request(session => session.user)
    t.equal(response.body, 'max')
    t.same(setCookies(response), [], 'the end is only moved once')
    advance(2 * MINUTE)
    t.equal((await request(session => session.user ?? 'nobody')).body, 'nobody')
  })
}

t.test('cookie.expires can be removed, and cannot be set to an invalid value', async t => {
  const { advance } = stopClock(t)
  const { request, store } = await visit({ user: 'max' }, { rolling: false }, 10 * MINUTE)
  await request(session => {
    for (const bad of ['tomorrow', NaN, new Date(NaN), {}]) {
      const before = session.cookie.expires
      const error = attempt(() => { session.cookie.expires = bad })
      if (Number.isNaN(bad)) t.equal(session.cookie.expires, null)
      else {
        t.equal(error.code, 'FST_ERR_SESSION_COOKIE', String(bad))
        t.equal(session.cookie.expires, before)
      }
    }
    for (const bad of ['1000', NaN, Infinity, {}]) {
      t.equal(attempt(() => { session.cookie.maxAge = bad })?.code, 'FST_ERR_SESSION_COOKIE', String(bad))
    }
  })
  for (const none of [null, undefined, false]) {
    const response = await request(session => {
      session.cookie.expires = none
      session.cookie.originalMaxAge = null
      t.equal(session.cookie.expires, null)
      t.equal(session.cookie.maxAge, null)
    })
    t.equal(setCookies(response).length, 1)
    t.notMatch(setCookies(response).join(), 'Expires')
  }
  t.equal((store.store.get('known') as any).cookie.expires, null)
  advance(24 * 60 * MINUTE)
  t.equal((await request(session => session.user)).body, 'max')
  const response = await request(session => { session.cookie.maxAge = undefined })
  t.notMatch(setCookies(response).join(), 'Expires')
})

t.test('cookie.maxAge is the time until the session ends', async t => {
  const { advance } = stopClock(t)
  const { request } = await visit({ user: 'max' }, { rolling: false, cookie: { maxAge: 10 * MINUTE } }, 10 * MINUTE)
  advance(4 * MINUTE)
  await request(session => {
    t.equal(session.cookie.maxAge, 6 * MINUTE)
    session.touch()
    t.equal(session.cookie.maxAge, 10 * MINUTE)
    session.cookie.maxAge = MINUTE
    t.equal(session.cookie.maxAge, MINUTE)
    t.equal(session.cookie.originalMaxAge, MINUTE)
  })
})

t.test('attributes that are set on session.cookie are sent with this reply only', async t => {
  const { request } = await visit({ user: 'max' })
  const response = await request(session => {
    session.cookie.path = '/shop'
    session.cookie.sameSite = 'strict'
    session.cookie.httpOnly = false
    session.cookie.priority = 'high'
  })
  t.match(setCookies(response).join(), /; Path=\/shop; Expires=[^;]+; Priority=High; SameSite=Strict$/)
  t.match(setCookies(await request(() => {})).join(), /; Path=\/; Expires=[^;]+; HttpOnly$/)
})

t.test('a cookie attribute that cannot be sent only makes its own request fail', async t => {
  const { request } = await visit({ user: 'max' })
  t.equal((await request(session => { session.cookie.domain = 'a b;c' })).statusCode, 500)
  t.equal((await request(session => session.user)).body, 'max')
  t.match((await request(session => session.options({ path: 5 }))).json(), { statusCode: 500, code: 'FST_ERR_SESSION_COOKIE' })
  const response = await request(session => session.options({ maxAge: '5' }))
  t.equal(response.statusCode, 500)
  t.equal(response.json().code, 'FST_ERR_SESSION_COOKIE')
  t.same((await request(session => session.options({}))).statusCode, 200)
})

t.test('on a store with touch, the record is written again once half of its lifetime has passed', async t => {
  const { advance } = stopClock(t)
  const store = new SilentStore()
  const app = await build({ store, cookie: { maxAge: 10 * MINUTE } }, app => {
    app.get('/login', async request => { (request.session as any).user = 'max' })
    app.get('/whoami', async request => (request.session as any).user ?? 'nobody')
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const visits: Array<[minutes: number, calls: string[]]> = [
    [2, ['get', 'touch']],
    [2, ['get', 'touch']],
    [2, ['get', 'get', 'set']],
    [4, ['get', 'touch']],
    [2, ['get', 'get', 'set']],
    [9, ['get', 'get', 'set']]
  ]
  for (const [minutes, calls] of visits) {
    advance(minutes * MINUTE)
    store.calls.length = 0
    t.equal((await visitor.get('/whoami')).body, 'max')
    t.same(store.calls, calls)
    const [json = ''] = store.records.values()
    t.ok(new Date(JSON.parse(json).cookie.expires).getTime() > Date.now(), 'the end in the record has not passed, as an older deployment sees it')
  }
  advance(11 * MINUTE)
  t.equal((await visitor.get('/whoami')).body, 'nobody')
})

// --- Turns

async function heldSite (storeTimeout = 10_000) {
  const store = new HeldStore()
  const gate = new Gate()
  const exit = new Gate()
  const app = await build({ store, storeTimeout }, app => {
    app.get('/login', async request => { (request.session as any).user = 'max' })
    app.get('/all', async request => request.session.data())
    app.get('/set/:key', async request => {
      t.equal((request.session as any).user, 'max')
      await gate.pass()
      ;(request.session as any)[(request.params as { key: string }).key] = 1
    })
    app.get('/logout', async request => {
      await exit.pass()
      await request.session.destroy()
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  return { store, gate, exit, visitor }
}

t.test('updates of one session run one at a time, in the order in which they were called', async t => {
  const { store, gate, visitor } = await heldSite()
  const keys = ['a', 'b', 'c', 'd']
  const requests = keys.map(key => visitor.get(`/set/${key}`))
  await gate.holds(keys.length)
  store.holds = true
  gate.open()
  for (const key of keys) {
    await store.release('get')
    await store.release('set')
    t.ok([...store.records.values()][0]?.includes(`"${key}":1`))
  }
  for (const response of await Promise.all(requests)) t.equal(response.statusCode, 200)
  t.equal(store.most, 1)
  store.holds = false
  t.same((await visitor.get('/all')).json(), { user: 'max', a: 1, b: 1, c: 1, d: 1 })
})

t.test('updates of different sessions do not wait for each other', async t => {
  const { store, gate, visitor } = await heldSite()
  const other = new Visitor(visitor.app)
  await other.get('/login')
  const requests = [visitor.get('/set/a'), other.get('/set/a')]
  await gate.holds(2)
  store.holds = true
  gate.open()
  await store.waits(2)
  t.same(store.waiting.map(({ method }) => method), ['get', 'get'])
  for (const method of ['get', 'get', 'set', 'set'] as const) await store.release(method)
  for (const response of await Promise.all(requests)) t.equal(response.statusCode, 200)
})

t.test('a logout waits for earlier writes', async t => {
  const { store, gate, exit, visitor } = await heldSite()
  const writes = [visitor.get('/set/a'), visitor.get('/set/b')]
  const logout = visitor.get('/logout')
  await gate.holds(2)
  await exit.holds(1)
  store.holds = true
  gate.open()
  // The first write has its turn, and the second waits for one.
  await store.release('get')
  exit.open()
  for (const method of ['set', 'get', 'set', 'destroy'] as const) await store.release(method)
  for (const response of await Promise.all([...writes, logout])) t.equal(response.statusCode, 200)
  t.equal(store.records.size, 0)
})

t.test('a write waits for an earlier logout, and then writes nothing', async t => {
  const { store, gate, exit, visitor } = await heldSite()
  const write = visitor.get('/set/a')
  const logout = visitor.get('/logout')
  await gate.holds(1)
  await exit.holds(1)
  store.holds = true
  exit.open()
  await store.waits()
  gate.open()
  for (const method of ['destroy', 'get'] as const) await store.release(method)
  for (const response of await Promise.all([write, logout])) t.equal(response.statusCode, 200)
  t.equal(store.records.size, 0)
})

t.test('an update that waits longer than storeTimeout for its turn fails with 503, and the queue continues', async t => {
  const TIMEOUT = 1000
  const { store, gate, visitor } = await heldSite(TIMEOUT)
  const { pass } = holdTimeouts(t)
  const first = visitor.get('/set/a')
  const second = visitor.get('/set/b')
  await gate.holds(2)
  store.holds = true
  gate.open()
  // Each call takes less than the limit, and both together take longer.
  await store.waits()
  pass(TIMEOUT * 0.6)
  await store.release('get')
  await store.waits()
  pass(TIMEOUT * 0.6)
  const late = await second
  t.equal(late.statusCode, 503)
  t.equal(late.json().code, 'FST_ERR_SESSION_STORE_TIMEOUT')
  t.match(late.json().message, /did not answer within 1000 ms/)
  t.same(setCookies(late), [])
  store.holds = false
  await store.release('set')
  t.equal((await first).statusCode, 200)
  t.equal((await visitor.get('/set/c')).statusCode, 200)
  t.same((await visitor.get('/all')).json(), { user: 'max', a: 1, c: 1 })
})

t.test('many updates that wait for their turn do not overflow the stack if the store then answers synchronously', async t => {
  const COUNT = 2000
  const { store, gate, visitor } = await heldSite()
  let answered = 0
  const requests = Array.from({ length: COUNT }, async () => {
    const response = await visitor.app.inject({ url: '/set/a', headers: { cookie: visitor.cookieHeader() } })
    if (response.statusCode === 200) answered++
  })
  await gate.holds(COUNT)
  store.holds = true
  gate.open()
  await store.waits()
  // By now, all others wait for their turn, because only promises are between the gate and the store.
  await new Promise(resolve => setImmediate(resolve))
  const records = store.records
  store.get = (sessionId, callback) => callback(null, JSON.parse(records.get(sessionId) ?? 'null'))
  store.set = (sessionId, session, callback) => {
    records.set(sessionId, JSON.stringify(session))
    callback()
  }
  await store.release('get')
  await within('all requests are answered', Promise.all(requests), () => `${answered} of ${COUNT}`)
  t.equal(answered, COUNT)
})

t.test('no timer is left if the store answers in time', async t => {
  const { gate, visitor } = await heldSite()
  gate.open()
  const before = process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
  await Promise.all([visitor.get('/set/a'), visitor.get('/set/b'), visitor.get('/all')])
  t.equal(process.getActiveResourcesInfo().filter(name => name === 'Timeout').length, before)
})

t.test('a session works over a real connection', async t => {
  const { app } = await visit({ user: 'max' })
  t.teardown(() => app.close())
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const { request } = await import('node:http')
  const outgoing = request(address, { headers: { cookie: `sessionId=${encodeURIComponent(sign('known', SECRET))}`, connection: 'close' } })
  outgoing.end()
  const [response] = await once(outgoing, 'response')
  response.resume()
  t.equal(response.statusCode, 200)
  t.match(response.headers['set-cookie']?.join(), 'sessionId=known.')
})
