/** What went wrong in @fastify/session 11.1.3, with one test for each defect. Every test fails there. */
import fastifyCookie, { sign, unsign } from '@fastify/cookie'
import { Authenticator } from '@fastify/passport'
import Fastify, { type FastifyInstance, type FastifyRequest, type InjectOptions } from 'fastify'
import t from 'tap'
import fastifySession, { MemoryStore } from '../src/index'
import { build, clock, collectGarbage, Gate, SECRET, setCookies, stopClock, Visitor, type Routes, type SessionOptions } from './helpers'
import { later, SilentStore, ThreeMethodStore } from './odd-stores'

const OLD_SECRET = 'the secret of last month, with more than 32 characters'
const NEW_SECRET = 'the secret of this month, with more than 32 characters'
const CLEARED = 'sessionId=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=Lax'
const HTTPS: InjectOptions = { headers: { 'x-forwarded-proto': 'https' } }

const STORES = {
  'the MemoryStore': () => new MemoryStore(),
  'a store with get, set and destroy only': () => new ThreeMethodStore(later)
}

const session = (request: FastifyRequest): any => request.session

const idOf = (visitor: Visitor): string => visitor.cookies.get('sessionId')!.split('.')[0] as string

const userRoutes: Routes = app => {
  app.get('/login', async request => {
    session(request).user = 'max'
    return 'welcome'
  })
  app.get('/user', async request => session(request).user ?? 'nobody')
}

t.test("session.get('__proto__') handed out the prototype that all sessions share", async t => {
  const app = await build({}, app => {
    app.get('/attack', async request => {
      for (const key of ['__proto__', 'constructor']) {
        const found = session(request).get(key)
        if (found) (found.prototype ?? found).isAdmin = true
      }
      return { proto: typeof session(request).get('__proto__'), constructor: typeof session(request).get('constructor') }
    })
    app.get('/store', async request => session(request).set('__proto__', { isAdmin: true }))
    app.get('/admin', async request => ({ property: session(request).isAdmin === true, get: session(request).get('isAdmin') === true }))
  })

  t.same((await new Visitor(app).get('/attack')).json(), { proto: 'undefined', constructor: 'undefined' })
  t.equal((await new Visitor(app).get('/store')).json().code, 'FST_ERR_SESSION_RESERVED_KEY')
  t.same((await new Visitor(app).get('/admin')).json(), { property: false, get: false })
})

for (const [storeName, makeStore] of Object.entries(STORES)) {
  /** A server with a slow route for each thing that a request can do to its session. */
  async function slowServer (options: SessionOptions = {}): Promise<{ visitor: Visitor, store: MemoryStore | ThreeMethodStore, gate: Gate }> {
    const gate = new Gate()
    const store = makeStore()
    const app = await build({ store, ...options }, app => {
      userRoutes(app)
      const slow = (url: string, use: (session: any) => void): void => {
        app.get(url, async request => {
          const own = session(request)
          t.equal(own.user, 'max')
          await gate.pass()
          use(own)
          return 'done'
        })
      }
      slow('/slow-read', () => {})
      slow('/slow-write', session => { session.visits = 1 })
      slow('/slow-touch', session => session.touch())
      app.get('/logout', async request => {
        await request.session.destroy()
        return 'bye'
      })
      app.get('/renew', async request => {
        await request.session.regenerate(['user'])
        return 'new'
      })
      app.get('/add/:key', async request => {
        session(request)[(request.params as { key: string }).key] = 1
        return 'added'
      })
      app.get('/all', async request => session(request))
    })
    const visitor = new Visitor(app)
    await visitor.get('/login')
    return { visitor, store, gate }
  }

  const isStored = (store: MemoryStore | ThreeMethodStore, sessionId: string): Promise<boolean> =>
    new Promise(resolve => store.get(sessionId, (_error: unknown, record: unknown) => resolve(Boolean(record))))

  for (const url of ['/slow-read', '/slow-write', '/slow-touch']) {
    t.test(`a slow request revived a destroyed session: ${url}, with ${storeName}`, async t => {
      const { visitor, store, gate } = await slowServer()
      const stolen = visitor.copy()
      const sessionId = idOf(visitor)

      const slow = stolen.get(url)
      await gate.holds()
      await visitor.get('/logout')
      gate.open()

      const response = await slow
      t.equal(response.statusCode, 200)
      t.equal(response.body, 'done')
      t.same(setCookies(response), [CLEARED])
      t.equal(await isStored(store, sessionId), false)
      stolen.cookies.set('sessionId', sign(sessionId, SECRET))
      t.equal((await stolen.get('/user')).body, 'nobody')
    })

    t.test(`a slow request revived a regenerated session: ${url}, with ${storeName}`, async t => {
      const { visitor, store, gate } = await slowServer()
      const stolen = visitor.copy()
      const oldId = idOf(visitor)

      const slow = stolen.get(url)
      await gate.holds()
      await visitor.get('/renew')
      gate.open()

      const response = await slow
      t.equal(response.statusCode, 200)
      t.notMatch(setCookies(response).join(), oldId)
      t.equal(await isStored(store, oldId), false)
      stolen.cookies.set('sessionId', sign(oldId, SECRET))
      t.equal((await stolen.get('/user')).body, 'nobody')
      t.equal((await visitor.get('/user')).body, 'max')
    })
  }

  for (const [url, rolling] of [['/slow-read', true], ['/slow-touch', true], ['/slow-write', true], ['/slow-write', false]] as const) {
    t.test(`a slow request overwrote a parallel write: ${url}, rolling: ${rolling}, with ${storeName}`, async t => {
      const { visitor, gate } = await slowServer({ rolling, cookie: { maxAge: 60_000 } })

      const slow = visitor.copy().get(url)
      await gate.holds()
      await visitor.get('/add/cart')
      gate.open()
      await slow

      const { cookie, ...data } = (await visitor.get('/all')).json()
      t.same(data, { user: 'max', cart: 1, ...(url === '/slow-write' && { visits: 1 }) })
    })
  }
}

t.test('a failed reload() left an empty session, which was then saved over the good one', async t => {
  const store = new ThreeMethodStore(later)
  const { get } = store
  const app = await build({ store }, app => {
    userRoutes(app)
    app.get('/reload', async request => {
      store.get = (_sessionId, callback) => setImmediate(callback, new Error('The store is away'))
      const error = await request.session.reload().then(() => null, error => error)
      store.get = get
      return { message: error?.message, user: session(request)?.user }
    })
    app.get('/reload-callback', (request, reply) => {
      store.get = (_sessionId, callback) => setImmediate(callback, new Error('The store is away'))
      request.session.reload((error: any) => {
        store.get = get
        reply.send({ message: error?.message, user: session(request)?.user })
      })
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')

  for (const url of ['/reload', '/reload-callback']) {
    t.same((await visitor.get(url)).json(), { message: 'The store is away', user: 'max' })
    t.equal((await visitor.get('/user')).body, 'max')
  }
})

t.test('rotating secrets logged users out with saveUninitialized: false', async t => {
  const store = new ThreeMethodStore(later)
  const start = (secret: string[]): Promise<FastifyInstance> => build({ store, secret, saveUninitialized: false }, userRoutes)
  const before = new Visitor(await start([OLD_SECRET]))
  await before.get('/login')

  const during = before.copy(await start([NEW_SECRET, OLD_SECRET]))
  t.equal((await during.get('/user')).body, 'max')
  t.equal(unsign(during.cookies.get('sessionId')!, NEW_SECRET).valid, true)
  t.equal((await during.get('/user')).body, 'max')

  const after = during.copy(await start([NEW_SECRET]))
  t.equal((await after.get('/user')).body, 'max')
})

for (const rolling of [true, false]) {
  t.test(`pushing a new secret to the live array broke sessions, rolling: ${rolling}`, async t => {
    const secret = [OLD_SECRET]
    const app = await build({ secret, rolling }, userRoutes)
    const visitor = new Visitor(app)
    await visitor.get('/login')

    secret.unshift(NEW_SECRET)
    t.equal((await visitor.get('/user')).body, 'max')
    t.equal(unsign(visitor.cookies.get('sessionId')!, NEW_SECRET).valid, true)
    secret.pop()
    t.equal((await visitor.get('/user')).body, 'max')

    const newcomer = new Visitor(app)
    await newcomer.get('/login')
    t.equal((await newcomer.get('/user')).body, 'max')
  })
}

t.test("secret: [''] was accepted", async t => {
  await t.rejects(build({ secret: [''] }, userRoutes), { code: 'FST_ERR_SESSION_SECRET' })
  await t.rejects(build({ secret: [SECRET, ''] }, userRoutes), { code: 'FST_ERR_SESSION_SECRET' })
})

t.test('a cookie that was forged with the empty key passed', async t => {
  const secret = [SECRET]
  const app = await build({ secret }, userRoutes)
  const victim = new Visitor(app)
  await victim.get('/login')
  secret.push('')

  const forger = new Visitor(app)
  forger.cookies.set('sessionId', sign(idOf(victim), ''))
  t.equal((await forger.get('/user')).body, 'nobody')
  t.equal((await victim.get('/user')).body, 'max')
})

t.test('stored cookie attributes won over a hardened configuration for ever', async t => {
  const store = new ThreeMethodStore(later)
  const lax = await build({ store, cookie: { httpOnly: false, sameSite: 'lax' } }, userRoutes)
  const visitor = new Visitor(lax)
  await visitor.get('/login')

  const hardened = await build({ store, cookie: { httpOnly: true, sameSite: 'strict' } }, userRoutes)
  const response = await visitor.copy(hardened).get('/user')
  t.equal(response.body, 'max')
  t.match(setCookies(response), [/; Path=\/; HttpOnly; SameSite=Strict$/])
})

t.test("secure: 'auto' was frozen by the first request", async t => {
  const app = await build({ cookie: { secure: 'auto', sameSite: 'strict' } }, userRoutes, { trustProxy: true })
  const visitor = new Visitor(app)
  t.match(setCookies(await visitor.get('/login')), [/; Path=\/; HttpOnly; SameSite=Lax$/])

  const overHttps = await visitor.get('/user', HTTPS)
  t.equal(overHttps.body, 'max')
  t.match(setCookies(overHttps), [/; Path=\/; HttpOnly; Secure; SameSite=Strict$/])
  t.match(setCookies(await visitor.get('/user')), [/; Path=\/; HttpOnly; SameSite=Lax$/])
})

t.test('the in-memory store kept the whole request alive', async t => {
  const store = new MemoryStore()
  const requests: Array<WeakRef<FastifyRequest>> = []
  const app = await build({ store }, app => {
    app.get('/', async request => {
      session(request).user = { name: 'max' }
      requests.push(new WeakRef(request))
      return 'ok'
    })
  })
  for (let i = 0; i < 20; i++) await new Visitor(app).get('/')

  for (let i = 0; i < 10; i++) {
    await new Promise(resolve => setImmediate(resolve))
    collectGarbage()
  }
  t.equal(store.store.size, 20)
  // The last one may still be referenced.
  t.ok(requests.filter(request => request.deref() !== undefined).length <= 2, 'requests are collected')
})

t.test('the in-memory store never forgot an expired session', async t => {
  const { advance } = clock(t)
  const store = new MemoryStore()
  const app = await build({ store, cookie: { maxAge: 1000 } }, userRoutes)
  for (let i = 0; i < 100; i++) await new Visitor(app).get('/login')
  advance(2000)
  for (let i = 0; i < 100; i++) await new Visitor(app).get('/login')

  t.ok(store.store.size <= 110, `${store.store.size} sessions are left`)
})

t.test('the in-memory store had no limit', async t => {
  const store = new MemoryStore(new Map(), { max: 10 })
  const app = await build({ store }, userRoutes)
  const regular = new Visitor(app)
  await regular.get('/login')
  for (let i = 0; i < 50; i++) {
    await new Visitor(app).get('/login')
    await regular.get('/user')
  }

  t.equal(store.store.size, 10)
  t.equal((await regular.get('/user')).body, 'max', 'a visitor who comes often stays logged in')
})

t.test('the in-memory store showed unsaved nested changes to other requests', async t => {
  const gate = new Gate()
  const app = await build({}, app => {
    app.get('/login', async request => {
      session(request).cart = { items: [] }
      return 'ok'
    })
    app.get('/slow-add', async request => {
      session(request).cart.items.push('book')
      await gate.pass()
      return session(request).cart
    })
    app.get('/cart', async request => session(request).cart)
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')

  const slow = visitor.get('/slow-add')
  await gate.holds()
  t.same((await visitor.get('/cart')).json(), { items: [] })
  gate.open()
  await slow
  t.same((await visitor.get('/cart')).json(), { items: ['book'] })
})

t.test("the process ended on session.set('cookie', x)", async t => {
  const app = await build({ store: new ThreeMethodStore(later) }, app => {
    userRoutes(app)
    app.get('/set', async request => session(request).set('cookie', 'chocolate'))
    app.get('/assign', async request => { session(request).cookie = 'chocolate' })
    app.get('/catch', async request => {
      try {
        session(request).set('cookie', 'chocolate')
      } catch {}
      return 'caught'
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')

  for (const url of ['/set', '/assign']) {
    const response = await visitor.get(url)
    t.equal(response.statusCode, 500)
    t.equal(response.json().code, 'FST_ERR_SESSION_RESERVED_KEY')
  }
  t.equal((await visitor.get('/catch')).body, 'caught')
  t.equal((await visitor.get('/user')).body, 'max')
})

t.test('the process ended on an own __proto__ key in a stored record', async t => {
  const store = new ThreeMethodStore(later)
  const app = await build({ store }, app => {
    userRoutes(app)
    app.get('/look', async request => {
      session(request).seen = true
      return { polluted: session(request).polluted ?? null, everywhere: ({} as any).polluted ?? null, user: session(request).user }
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  for (const value of ['{"polluted":true}', 'null', '"x"']) {
    store.tamper(json => json.replace('{', `{"__proto__":${value},`))
    const response = await visitor.get('/look')
    t.equal(response.statusCode, 200)
    t.same(response.json(), { polluted: null, everywhere: null, user: 'max' })
  }
})

for (const [what, idGenerator, code] of [
  ['throws', () => { throw Object.assign(new Error('No dice'), { code: 'NO_DICE' }) }, 'NO_DICE'],
  ['is async and rejects', async () => { throw new Error('No dice') }, undefined],
  ['returns nothing', () => undefined, 'FST_ERR_SESSION_ID'],
  ['returns an empty string', () => '', 'FST_ERR_SESSION_ID']
] as const) {
  t.test(`the process ended on an id generator that ${what}`, async t => {
    const store = new ThreeMethodStore(later)
    let isGood = true
    let ids = 0
    const app = await build({ store, idGenerator: () => isGood ? `id-${ids++}` : (idGenerator as () => string)() }, app => {
      userRoutes(app)
      app.get('/regenerate', async request => request.session.regenerate())
    })
    const visitor = new Visitor(app)
    await visitor.get('/login')
    isGood = false

    const newcomer = await new Visitor(app).get('/login')
    t.equal(newcomer.statusCode, 500)
    t.equal(newcomer.json().code, code)
    t.same(setCookies(newcomer), [])

    const stranger = new Visitor(app)
    stranger.cookies.set('sessionId', sign('unknown', SECRET))
    t.equal((await stranger.get('/login')).json().code, code)

    t.equal((await visitor.get('/regenerate')).json().code, code)
    t.equal((await visitor.get('/user')).body, 'max')
  })
}

t.test('the process ended on an invalid stored expires', async t => {
  const store = new ThreeMethodStore(later)
  const app = await build({ store }, userRoutes)
  const visitor = new Visitor(app)
  for (const expires of ['"garbage"', '"2026-99-99T00:00:00Z"', '{}', '1e300']) {
    await visitor.get('/login')
    store.tamper(json => json.replace('"expires":null', `"expires":${expires}`))
    const response = await visitor.get('/user')
    t.equal(response.statusCode, 200, `expires: ${expires}`)
    t.equal(response.body, 'max')
  }
})

t.test('the process ended on a maxAge that is a string', async t => {
  await t.rejects(build({ cookie: { maxAge: 'a day' as any } }, userRoutes), { code: 'FST_ERR_SESSION_OPTION' })

  const app = await build({ store: new ThreeMethodStore(later) }, app => {
    userRoutes(app)
    app.get('/options', async request => request.session.options({ maxAge: 'a day' as any }))
    app.get('/cookie', async request => { request.session.cookie.maxAge = 'a day' as any })
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  for (const url of ['/options', '/cookie']) {
    const response = await visitor.get(url)
    t.equal(response.statusCode, 500)
    t.equal(response.json().code, 'FST_ERR_SESSION_COOKIE')
  }
  t.equal((await visitor.get('/user')).body, 'max')
})

t.test('a store that answers twice ran the handler twice', async t => {
  for (const later of [(answer: () => void) => answer(), setImmediate]) {
    const store = new ThreeMethodStore(later)
    const { get } = store
    let runs = 0
    const app = await build({ store }, app => {
      userRoutes(app)
      app.get('/count', async () => `run ${++runs}`)
    })
    const visitor = new Visitor(app)
    await visitor.get('/login')
    store.get = (sessionId, callback) => get.call(store, sessionId, (error, record) => {
      callback(error, record)
      later(() => callback(error, record))
    })

    t.equal((await visitor.get('/count')).body, 'run 1')
    await new Promise(resolve => setImmediate(resolve))
    t.equal(runs, 1)
  }
})

t.test('a store that returns promises hung every request', async t => {
  const records = new Map<string, string>()
  const store: any = {
    async get (sessionId: string) { return JSON.parse(records.get(sessionId) ?? 'null') },
    async set (sessionId: string, session: object) { records.set(sessionId, JSON.stringify(session)) },
    async destroy (sessionId: string) { records.delete(sessionId) }
  }
  const app = await build({ store }, app => {
    userRoutes(app)
    app.get('/logout', async request => {
      await request.session.destroy()
      return 'bye'
    })
  })
  const visitor = new Visitor(app)

  t.equal((await visitor.get('/login')).body, 'welcome')
  t.equal((await visitor.get('/user')).body, 'max')
  t.equal((await visitor.get('/logout')).body, 'bye')
  t.equal(records.size, 0)
})

t.test('a store that never answers hung every request', async t => {
  const store = new ThreeMethodStore(later)
  const app = await build({ store, storeTimeout: 50 }, userRoutes)
  const visitor = new Visitor(app)
  await visitor.get('/login')
  for (const method of ['get', 'set'] as const) {
    const silenced = t.intercept(store, method, { value: () => {} })
    const response = await visitor.get('/login')
    silenced.restore()
    t.equal(response.statusCode, 503)
    t.equal(response.json().code, 'FST_ERR_SESSION_STORE_TIMEOUT')
  }
  t.equal((await visitor.get('/user')).body, 'max')
})

t.test('a failed save was attempted twice', async t => {
  const store = new ThreeMethodStore(later)
  const app = await build({ store }, userRoutes)
  let attempts = 0
  store.set = (_sessionId, _session, callback) => {
    attempts++
    setImmediate(callback, new Error('The disk is full'))
  }

  const response = await new Visitor(app).get('/login')
  t.equal(response.statusCode, 500)
  t.equal(response.json().message, 'The disk is full')
  t.same(setCookies(response), [])
  t.equal(attempts, 1)
})

const logoutRoutes: Routes = app => {
  userRoutes(app)
  app.get('/logout', async request => {
    await request.session.destroy()
    return 'bye'
  })
}

t.test('destroy() left the cookie in the browser', async t => {
  const visitor = new Visitor(await build({}, logoutRoutes))
  await visitor.get('/login')

  t.same(setCookies(await visitor.get('/logout')), [CLEARED])
  t.equal(visitor.cookies.size, 0)
})

for (const [what, options, cleared] of [
  ['a __Host- cookie', { cookieName: '__Host-id', cookie: { secure: true } },
    '__Host-id=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; SameSite=Lax'],
  ['a __Secure- cookie', { cookieName: '__Secure-id', cookie: { secure: true } },
    '__Secure-id=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; SameSite=Lax'],
  ['a partitioned cookie', { cookieName: 'id', cookie: { secure: true, partitioned: true, path: '/', domain: 'example.com' } },
    'id=; Max-Age=0; Domain=example.com; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; Partitioned; SameSite=Lax']
] as const) {
  t.test(`${what} could not be cleared`, async t => {
    const app = await build({ ...options, saveUninitialized: false }, logoutRoutes, { trustProxy: true })
    const visitor = new Visitor(app)
    await visitor.get('/login', HTTPS)
    t.equal((await visitor.get('/user', HTTPS)).body, 'max')
    t.same(setCookies(await visitor.get('/logout', HTTPS)), [cleared])

    const stranger = new Visitor(app)
    stranger.cookies.set(options.cookieName, sign('unknown', SECRET))
    t.same(setCookies(await stranger.get('/user', HTTPS)), [cleared])
  })
}

for (const [what, change, expected] of [
  ['touch()', (session: any) => session.touch(), { expires: 100_000, originalMaxAge: 60_000 }],
  ['options()', (session: any) => session.options({ maxAge: 90_000 }), { expires: 130_000, originalMaxAge: 90_000 }],
  ['cookie.maxAge =', (session: any) => { session.cookie.maxAge = 90_000 }, { expires: 130_000, originalMaxAge: 90_000 }]
] as const) {
  for (const [storeName, makeStore] of Object.entries(STORES)) {
    t.test(`with rolling: false, ${what} had no effect on an existing session, with ${storeName}`, async t => {
      const { advance } = stopClock(t)
      const start = Date.now()
      const store = makeStore()
      const app = await build({ store, rolling: false, cookie: { maxAge: 60_000 } }, app => {
        userRoutes(app)
        app.get('/extend', async request => {
          change(request.session)
          return 'extended'
        })
      })
      const visitor = new Visitor(app)
      await visitor.get('/login')
      advance(40_000)

      const extended = await visitor.get('/extend')
      const sent = extended.cookies[0]?.expires?.getTime() ?? 0
      t.equal(sent - start, expected.expires, 'the expiry of the cookie')
      const record: any = await new Promise(resolve => store.get(idOf(visitor), (_error: unknown, record: any) => resolve(record)))
      t.equal(new Date(record.cookie.expires).getTime() - start, expected.expires, 'the expiry in the record')
      t.equal(record.cookie.originalMaxAge, expected.originalMaxAge)

      advance(expected.expires - 40_000 - 1)
      const later = await visitor.get('/user')
      t.equal(later.body, 'max', 'it lives longer than it did before')
      t.same(setCookies(later), [])
      advance(1)
      t.equal((await visitor.get('/user')).body, 'nobody', 'and no longer than it should')
    })
  }
}

t.test('saveUninitialized: false wrote an unreachable empty record for an expired session', async t => {
  const { advance } = clock(t)
  const store = new ThreeMethodStore(later)
  const visitor = new Visitor(await build({ store, saveUninitialized: false, cookie: { maxAge: 1000 } }, userRoutes))
  await visitor.get('/login')
  advance(2000)
  store.calls.length = 0

  const response = await visitor.get('/user')
  t.equal(response.body, 'nobody')
  t.equal(store.records.size, 0)
  t.notOk(store.calls.includes('set'))
  t.same(setCookies(response), [CLEARED])
})

t.test('isSaved() was false for a session just loaded', async t => {
  const app = await build({}, app => {
    userRoutes(app)
    app.get('/saved', async request => request.session.isSaved())
  })
  const visitor = new Visitor(app)
  t.equal((await visitor.get('/saved')).json(), false)
  t.equal((await visitor.get('/saved')).json(), true)
})

t.test('isSaved() was true after a change of a saved session', async t => {
  const app = await build({}, app => {
    app.get('/', async request => {
      const own = session(request)
      const states = [own.isSaved()]
      own.cart = { items: [] }
      await own.save()
      states.push(own.isSaved())
      own.cart.items.push('book')
      states.push(own.isSaved())
      await own.save()
      return [...states, own.isSaved()]
    })
  })
  t.same((await new Visitor(app).get('/')).json(), [false, true, false, true])
})

t.test('of two cookies with the session\'s name only the first was tried', async t => {
  const app = await build({}, userRoutes)
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const value = visitor.cookies.get('sessionId')!
  const good = `sessionId=${encodeURIComponent(value)}`
  const unknown = `sessionId=${encodeURIComponent(sign('unknown', SECRET))}`

  for (const cookie of [
    `sessionId=rubbish; ${good}`,
    `${good}; sessionId=rubbish`,
    `${unknown}; ${good}`,
    `${good}; ${unknown}`,
    `sessionId=; ${good}`,
    `sessionId=a; other=1; sessionId=b.c; ${good}; sessionId=d`
  ]) {
    const response = await app.inject({ url: '/user', headers: { cookie } })
    t.equal(response.body, 'max')
    t.same(response.cookies.map(cookie => cookie.value), [value])
  }
})

t.test('decryptSession threw without a cookie', async t => {
  const app = await build({}, userRoutes)
  for (const value of [undefined, null, '']) {
    const request: any = {}
    await new Promise<void>((resolve, reject) => {
      app.decryptSession(value as any, request, (error?: any) => error ? reject(error) : resolve())
    })
    t.ok(request.session)
    t.equal(request.session.user, undefined)
    t.equal(request.session.isSaved(), false)
  }
})

t.test('decryptSession ignored the prefix', async t => {
  const app = await build({ cookiePrefix: 's:' }, userRoutes)
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const value = visitor.cookies.get('sessionId')!
  t.match(value, /^s:/)

  for (const sent of [value, value.slice(2)]) {
    const request: any = {}
    await new Promise<void>((resolve, reject) => {
      app.decryptSession(sent, request, (error?: any) => error ? reject(error) : resolve())
    })
    t.equal(request.session.user, 'max')
  }
})

t.test('priority was typed but never sent', async t => {
  const app = await build({ cookie: { priority: 'high' } }, app => {
    userRoutes(app)
    app.get('/low', async request => {
      request.session.options({ priority: 'low' })
      return 'ok'
    })
  })
  t.match(setCookies(await new Visitor(app).get('/user')), [/; Priority=High/])
  t.match(setCookies(await new Visitor(app).get('/low')), [/; Priority=Low/])
})

t.test("the user's own options object was changed", async t => {
  const app = Fastify()
  const options = { secret: SECRET, cookie: { maxAge: 1000 } }
  await app.register(fastifyCookie)
  await app.register(fastifySession, options)
  await app.ready()
  t.strictSame(options, { secret: SECRET, cookie: { maxAge: 1000 } })
})

t.test("the user's own options object was read live", async t => {
  const app = Fastify()
  const options: any = { secret: SECRET, cookieName: 'mine', rolling: false, cookie: { secure: false, path: '/' } }
  await app.register(fastifyCookie)
  await app.register(fastifySession, options)
  userRoutes(app as unknown as FastifyInstance)
  await app.ready()
  Object.assign(options, { cookieName: 'other', rolling: true, saveUninitialized: false })
  Object.assign(options.cookie, { path: '/elsewhere', domain: 'example.com', httpOnly: false, maxAge: 1000 })

  const response = await app.inject('/login')
  t.match(setCookies(response as any), [/^mine=[^;]+; Path=\/; HttpOnly$/])
})

t.test('@fastify/passport with clearSessionOnLogin: false lost all data', async t => {
  const passport = new Authenticator({ clearSessionOnLogin: false })
  passport.registerUserSerializer(async user => user)
  passport.registerUserDeserializer(async user => user)
  const app = await build({}, app => {
    app.register(passport.initialize())
    app.register(passport.secureSession())
    app.register(async app => {
      app.get('/fill-cart', async request => {
        session(request).cart = ['book']
        return 'ok'
      })
      app.get('/login', async request => {
        await (request as any).logIn({ name: 'max' })
        return 'welcome'
      })
      app.get('/cart', async request => ({ cart: session(request).cart, user: (request as any).user ?? null }))
      app.get('/logout', async request => {
        await (request as any).logOut()
        return 'bye'
      })
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/fill-cart')
  const anonymousId = idOf(visitor)
  t.equal((await visitor.get('/login')).body, 'welcome')

  t.not(idOf(visitor), anonymousId)
  t.same((await visitor.get('/cart')).json(), { cart: ['book'], user: { name: 'max' } })
  t.equal((await visitor.get('/logout')).body, 'bye')
  t.same((await visitor.get('/cart')).json(), { cart: ['book'], user: null })
})

t.test('a second commit of the same reply saved and sent headers twice', async t => {
  const store = new ThreeMethodStore(later)
  const { set } = store
  const gate = new Gate()
  const app = await build({ store }, app => {
    app.get('/', async (request, reply) => {
      session(request).user = 'max'
      // Not returned: while the session is being saved, Fastify sends the handler's `undefined` as well.
      reply.send('the answer')
    })
  })
  store.set = (sessionId, session, callback) => set.call(store, sessionId, session, () => {
    gate.pass().then(() => callback())
  })

  const visiting = new Visitor(app).get('/')
  await gate.holds()
  // Time for the second send to arrive.
  for (let i = 0; i < 5; i++) await new Promise(resolve => setImmediate(resolve))
  gate.open()
  const response = await visiting
  await new Promise(resolve => setImmediate(resolve))

  t.equal(response.statusCode, 200)
  t.equal(response.body, 'the answer')
  t.equal(setCookies(response).length, 1)
  t.same(store.calls, ['set'])
})

t.test('a slow request that ended after a login logged the visitor out again', async t => {
  const gate = new Gate()
  const app = await build({ cookie: { maxAge: 60_000 } }, app => {
    app.get('/login', async request => {
      await request.session.regenerate()
      session(request).user = 'max'
      return 'ok'
    })
    app.get('/slow', async request => {
      session(request).seen = true
      await gate.pass()
      return 'ok'
    })
    app.get('/who', async request => session(request).user ?? 'nobody')
  })
  const visitor = new Visitor(app)
  await visitor.get('/who')
  const slow = visitor.get('/slow')
  await gate.holds()
  await visitor.get('/login')
  gate.open()
  t.same(setCookies(await slow), [], 'the cookie is already that of the new session')
  t.equal((await visitor.get('/who')).body, 'max')
})

for (const [storeName, makeStore] of Object.entries(STORES)) {
  t.test(`a slow regenerate(keys) brought back a session that was logged out, on ${storeName}`, async t => {
    const gate = new Gate()
    const app = await build({ store: makeStore(), cookie: { maxAge: 60_000 } }, app => {
      userRoutes(app)
      app.get('/renew', async request => {
        session(request).note = 'new'
        await gate.pass()
        await request.session.regenerate((request.query as { keys: string }).keys.split(' '))
        return Object.keys(session(request))
      })
      app.get('/logout', async request => {
        await request.session.destroy()
        return 'bye'
      })
    })
    const visitor = new Visitor(app)
    await visitor.get('/login')
    const renewing = [visitor.get('/renew?keys=user'), visitor.get('/renew?keys=user+note+cookie')]
    const anew = visitor.get('/renew?keys=note+cookie')
    await gate.holds(3)
    await visitor.get('/logout')
    gate.open()
    for (const response of await Promise.all(renewing)) {
      t.equal(response.statusCode, 409)
      t.equal(response.json().code, 'FST_ERR_SESSION_GONE')
      t.notMatch(setCookies(response), [/^sessionId=[^;]/])
    }
    t.same((await anew).json(), ['cookie', 'note'], "the request's own data are kept")
    t.equal((await visitor.get('/user')).body, 'nobody')
  })

  t.test(`regenerate(keys) kept what the request had read instead of what was saved since, on ${storeName}`, async t => {
    const gate = new Gate()
    const app = await build({ store: makeStore(), cookie: { maxAge: 60_000 } }, app => {
      userRoutes(app)
      app.get('/put/:key', async request => {
        session(request)[(request.params as { key: string }).key] = ['put']
        return 'ok'
      })
      app.get('/renew', async request => {
        const { mine } = session(request)
        delete session(request).removed
        await gate.pass()
        await request.session.regenerate(['user', 'theirs', 'mine', 'removed', 'never', 'constructor'])
        mine.push('after')
        return session(request).data()
      })
    })
    const visitor = new Visitor(app)
    await visitor.get('/login')
    await visitor.get('/put/mine')
    await visitor.get('/put/removed')
    const renewing = visitor.get('/renew')
    await gate.holds()
    await visitor.get('/put/theirs')
    gate.open()
    t.same((await renewing).json(), { user: 'max', theirs: ['put'], mine: ['put', 'after'] })
  })
}

t.test("a slow request's reply brought back the cookie of a session that was regenerated in the meantime", async t => {
  const gate = new Gate()
  const app = await build({ store: new SilentStore(later), cookie: { maxAge: 60_000 } }, app => {
    userRoutes(app)
    app.get('/renew', async request => {
      await request.session.regenerate(['user'])
      return 'ok'
    })
    app.get('/slow', async request => {
      await gate.pass()
      return session(request).user
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const slow = visitor.get('/slow')
  await gate.holds()
  await visitor.get('/renew')
  gate.open()
  t.same(setCookies(await slow), [])
  t.equal((await visitor.get('/user')).body, 'max')
})

t.test('a regenerate() or save() that failed was attempted again when its error went out', async t => {
  const store = new ThreeMethodStore(later)
  store.failures.set('set', new Error('disk full'))
  const app = await build({ store }, app => {
    app.get('/renew', async request => { await request.session.regenerate() })
    app.get('/save', async request => { await request.session.save() })
    app.get('/careless', async request => {
      await request.session.save().catch(() => {})
      return 'ok'
    })
  })
  for (const url of ['/renew', '/save']) {
    store.calls.length = 0
    const response = await app.inject(url)
    t.equal(response.json().message, 'disk full')
    t.same(setCookies(response), [])
    t.same(store.calls, ['set'], url)
  }
  store.calls.length = 0
  t.equal((await app.inject('/careless')).statusCode, 500, 'an error that the handler ignores is not lost')
  t.same(store.calls, ['set', 'set'])
})
