/** How routes, requests and caches influence the session. */
import { createReadStream } from 'node:fs'
import { request, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { inspect } from 'node:util'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyReply, type FastifyRequest, type LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore } from '../src/index'
import { warned } from './heard'
import { build, SECRET, setCookies, Visitor, type Routes, type SessionOptions } from './helpers'
import { AWAY, WatchedStore } from './odd-stores'

const HOUR = 3_600_000

const session = (request: FastifyRequest): any => request.session

const routes: Routes = app => {
  app.get('/login', async request => { session(request).user = 'max' })
  app.get('/whoami', async request => session(request).user ?? 'nobody')
  app.get('/logout', async request => { await session(request).destroy() })
  app.get('/unused', async () => 'no session needed')
}

interface Site {
  visitor: Visitor
  watched: WatchedStore
  /** Another visitor of the same app. */
  another: () => Visitor
}

async function open (t: Test, options: SessionOptions, more: Routes = () => {}, server = {}): Promise<Site> {
  const watched = new WatchedStore()
  const app = await build({ store: watched.store, ...options }, app => {
    routes(app)
    more(app)
  }, server)
  t.teardown(() => app.close())
  return { visitor: new Visitor(app), watched, another: () => new Visitor(app) }
}

/** The error in a failed response. */
function problem (response: LightMyRequestResponse): object {
  return response.json()
}

// --- Per route

t.test('config: { session: false } turns the session off for a route', async t => {
  const more: Routes = app => {
    app.get('/health', { config: { session: false } }, async request => {
      const found = JSON.stringify(request.session)
      session(request).user = 'eva'
      return found
    })
  }

  t.test('there is no store call, no session and no cookie', async t => {
    const { visitor, watched } = await open(t, {}, more)
    for (const method of ['GET', 'HEAD'] as const) {
      const calls = await watched.callsDuring(async () => {
        t.same(setCookies(await visitor.get('/health', { method })), [], 'a new visitor')
      })
      t.same(calls, [])
    }

    await visitor.get('/login')
    const calls = await watched.callsDuring(async () => {
      const response = await visitor.get('/health')
      t.equal(response.body, '{}', 'a logged-in visitor')
      t.same(setCookies(response), [])
    })
    t.same(calls, [])
    t.equal((await visitor.get('/whoami')).body, 'max', 'the visitor is still logged in afterwards')
  })

  t.test('the next visitor does not see what one visitor writes to request.session', async t => {
    const { visitor, another } = await open(t, {}, more)
    await visitor.get('/health')
    t.equal((await another().get('/health')).body, '{}')
  })

  t.test('the same applies outside of cookie.path and in an error handler', async t => {
    const { visitor, watched, another } = await open(t, { cookie: { path: '/app' } }, app => {
      app.get('/outside', async request => {
        const found = JSON.stringify(request.session)
        session(request).user = 'eva'
        return found
      })
      app.get('/app', async () => 'hello')
      app.setErrorHandler(async (_error, request) => {
        const found = JSON.stringify(request.session)
        session(request).user = 'eva'
        return found
      })
    })
    await visitor.get('/outside')
    t.equal((await another().get('/outside')).body, '{}')

    await visitor.get('/app')
    watched.isAway = true
    t.equal((await visitor.get('/app')).body, '{}')
    t.equal((await visitor.get('/app')).body, '{}')
  })
})

t.test('config: { session: { rolling: false } }: polling does not keep a session alive', async t => {
  const { visitor, watched } = await open(t, { cookie: { maxAge: HOUR } }, app => {
    app.get('/poll', { config: { session: { rolling: false } } }, async request => session(request).user ?? 'nobody')
    app.get('/poll/seen', { config: { session: { rolling: false } } }, async request => { session(request).seen = true })
  })
  await visitor.get('/login')
  t.same(await watched.callsDuring(async () => {
    const response = await visitor.get('/poll')
    t.equal(response.body, 'max')
    t.same(setCookies(response), [])
  }), ['get'])
  t.same(await watched.callsDuring(async () => {
    t.equal(setCookies(await visitor.get('/poll/seen')).length, 1, 'a change prolongs the session')
  }), ['get', 'update'])
  t.same(await watched.callsDuring(() => visitor.get('/whoami')), ['get', 'touch'], 'other routes prolong the session')
})

t.test('rolling may be a function of the request', async t => {
  t.test('it returns false for polls with a certain header, which then do not prolong the session', async t => {
    const { visitor, watched } = await open(t, { cookie: { maxAge: HOUR }, rolling: request => request.headers['x-poll'] !== '1' })
    await visitor.get('/login')
    t.same(await watched.callsDuring(async () => {
      const response = await visitor.get('/whoami', { headers: { 'x-poll': '1' } })
      t.equal(response.body, 'max')
      t.same(setCookies(response), [])
    }), ['get'])
    t.same(await watched.callsDuring(async () => {
      t.equal(setCookies(await visitor.get('/whoami')).length, 1)
    }), ['get', 'touch'])
  })

  t.test("it is not called if the route's config sets rolling, or turns the session off", async t => {
    const { visitor } = await open(t, { rolling: () => { throw new Error('not asked') } }, app => {
      app.get('/poll', { config: { session: { rolling: false } } }, async () => 'ok')
      app.get('/health', { config: { session: false } }, async () => 'ok')
    })
    for (const url of ['/poll', '/health']) t.equal((await visitor.get(url)).statusCode, 200)
  })

  t.test('if it throws or returns a promise, the request fails with 500', async t => {
    const FAULTS: Record<string, () => any> = { message: () => { throw new Error('no') }, code: async () => true }
    for (const [key, rolling] of Object.entries(FAULTS)) {
      const { visitor } = await open(t, { rolling })
      const response = await visitor.get('/whoami')
      t.equal(response.statusCode, 500)
      t.match(problem(response), { [key]: key === 'code' ? 'FST_ERR_SESSION_OPTION' : 'no' })
    }
  })

  t.test('it is not called outside of requests', async t => {
    const { visitor } = await open(t, { rolling: request => request.headers['x-poll'] !== '1' })
    await visitor.get('/login')
    const request: any = {}
    await visitor.app.decryptSession(visitor.cookies.get('sessionId'), request)
    t.equal(request.session.user, 'max')
  })
})

t.test('config: { session: { rolling: true } } prolongs the session on its route, even if other routes do not', async t => {
  const { visitor, watched } = await open(t, { rolling: false, cookie: { maxAge: HOUR } }, app => {
    app.get('/alive', { config: { session: { rolling: true } } }, async request => session(request).user)
  })
  await visitor.get('/login')
  t.same(await watched.callsDuring(() => visitor.get('/whoami')), ['get'])
  t.same(await watched.callsDuring(async () => {
    t.equal(setCookies(await visitor.get('/alive')).length, 1)
  }), ['get', 'update'], 'the end is written to the record, because the other routes do not roll')
})

t.test('config: { session: { saveUninitialized } } applies to its route', async t => {
  const more: Routes = app => {
    app.get('/assets', { config: { session: { saveUninitialized: false } } }, async () => 'an image')
    app.get('/assets/count', { config: { session: { saveUninitialized: false } } }, async request => { session(request).n = 1 })
    app.get('/enter', { config: { session: { saveUninitialized: true } } }, async () => 'welcome')
  }

  t.test('false, although other routes save new sessions', async t => {
    const { visitor, watched, another } = await open(t, {}, more)
    t.same(setCookies(await visitor.get('/assets')), [])
    t.equal(watched.size, 0)
    t.equal(setCookies(await visitor.get('/assets/count')).length, 1, 'data are saved')
    t.equal(setCookies(await another().get('/unused')).length, 1, 'other routes save new sessions')
  })

  t.test('true, although other routes do not save new sessions', async t => {
    const { visitor, watched } = await open(t, { saveUninitialized: false }, more)
    t.same(setCookies(await visitor.get('/unused')), [])
    t.equal(setCookies(await visitor.get('/enter')).length, 1)
    t.equal(watched.size, 1)
  })

  t.test("the route's value wins over a function for all routes, which is not called", async t => {
    const { visitor } = await open(t, { saveUninitialized: () => { throw new Error('not asked') } }, more)
    t.same(setCookies(await visitor.get('/assets')), [])
    t.equal(setCookies(await visitor.get('/enter')).length, 1)
  })
})

t.test('a route without settings of its own behaves like any other', async t => {
  for (const config of [undefined, {}, { session: undefined }, { session: {} }, { session: true as any }, { session: null as any }]) {
    const { visitor } = await open(t, {}, app => { app.get('/', { config }, async request => typeof request.session.save) })
    const response = await visitor.get('/')
    t.equal(response.body, 'function')
    t.equal(setCookies(response).length, 1)
    t.equal(setCookies(await visitor.get('/there is no such route')).length, 1, 'a 404 as well')
  }
})

// --- Before there is something to save

t.test('a request without a cookie never calls the store before it has something to save', async t => {
  const { visitor, watched } = await open(t, { saveUninitialized: false })
  t.same(await watched.callsDuring(() => visitor.get('/whoami')), [])
  t.same(await watched.callsDuring(() => visitor.get('/logout')), ['destroy'], 'except for a logout, as in version 11')
  const headers = { cookie: 'sessionId=forged.signature; other=1' }
  t.same(await watched.callsDuring(() => visitor.get('/whoami', { headers })), [], 'a request with a forged cookie does not call it either')
  t.same(await watched.callsDuring(() => visitor.get('/login')), ['set'])
})

t.test('a visitor without a session may use a new one at any time before the reply goes out', async t => {
  for (const hook of ['preParsing', 'preHandler', 'preSerialization', 'onError'] as const) {
    const store = new MemoryStore()
    const app = await build({ store, saveUninitialized: false }, app => {
      app.addHook(hook as 'preHandler', async request => { session(request).usedIn = hook })
      app.get('/', async () => {
        if (hook === 'onError') throw new Error('unlucky')
        return {}
      })
    })
    t.teardown(() => app.close())
    const response = await app.inject('/')
    t.equal(setCookies(response).length, 1, hook)
    t.match([...store.store.values()], [{ usedIn: hook }])
  }
})

t.test('a new session that is first used after the reply has gone out is lost, and a warning says so', async t => {
  for (const hook of ['onSend', 'onResponse'] as const) {
    const store = new MemoryStore()
    const app = await build({ store, saveUninitialized: false }, app => {
      app.addHook(hook as 'onResponse', async request => { session(request).usedIn = hook })
      app.get('/', async () => 'ok')
    })
    t.teardown(() => app.close())
    const warnings = await warned(async () => t.same(setCookies(await app.inject('/')), []))
    t.match(warnings, [{ code: 'FST_SESSION_LATE_CHANGE' }], hook)
    t.equal(store.store.size, 0)
  }
})

t.test('if a reply fails before it is sent, what the error handler does to the session counts, as in version 11', async t => {
  const FAILURES: Record<string, Routes> = {
    'a stream': app => app.get('/fails', async (_request, reply) => reply.send(createReadStream(join(__dirname, 'missing')))),
    'a payload': app => app.get('/fails', async (_request, reply) => reply.type('text/plain').send({ not: 'a text' })),
    'a later hook': app => app.get('/fails', { onSend: async () => { throw new Error('late') } }, async () => 'ok')
  }
  const ACTIONS: Record<string, { act: (request: FastifyRequest) => unknown, wanted: string, wantedOfStranger: string }> = {
    'does not use it': { act: () => {}, wanted: 'max', wantedOfStranger: 'nobody' },
    'stores something': { act: request => { session(request).note = 'failed' }, wanted: 'max failed', wantedOfStranger: 'nobody failed' },
    'saves it at once': {
      async act (request) {
        session(request).note = 'failed'
        await request.session.save()
      },
      wanted: 'max failed',
      wantedOfStranger: 'nobody failed'
    },
    'replaces it': { act: request => request.session.regenerate(['user']), wanted: 'max', wantedOfStranger: 'nobody' },
    'destroys it': { act: request => request.session.destroy(), wanted: 'nobody', wantedOfStranger: 'nobody' }
  }
  for (const [what, fails] of Object.entries(FAILURES)) {
    for (const [action, { act, wanted, wantedOfStranger }] of Object.entries(ACTIONS)) {
      for (const saveUninitialized of [true, false]) {
        const { visitor, another } = await open(t, { saveUninitialized }, app => {
          fails(app)
          app.get('/note', async request => [session(request).user ?? 'nobody', session(request).note].join(' ').trim())
          app.setErrorHandler(async (_error, request, reply) => {
            await act(request)
            return await reply.code(500).send('an error')
          })
        })
        await visitor.get('/login')
        const cookies: string[] = []
        const warnings = await warned(async () => {
          for (const who of [visitor, another()]) {
            cookies.push(...setCookies(await who.get('/fails')))
            const { body } = await who.get('/note')
            t.equal(body, who === visitor ? wanted : wantedOfStranger, `${what} fails, the handler ${action}`)
          }
        })
        t.ok(cookies.length <= 2, 'one cookie a reply')
        t.same(warnings, [])
      }
    }
  }
})

t.test('if a reply fails because the session could not be saved, the error handler does not call the store again', async t => {
  const { visitor, watched } = await open(t, {}, app => {
    app.get('/add', async request => {
      session(request).cart = ['apple']
      watched.isAway = true
    })
    app.setErrorHandler((_error, request, reply) => {
      session(request).note = 'failed'
      reply.redirect('/sorry')
    })
  })
  await visitor.get('/login')
  const warnings = await warned(async () => {
    const calls = await watched.callsDuring(async () => { t.equal((await visitor.get('/add')).statusCode, 302) })
    t.equal(calls.filter(call => /update|set/.test(String(call))).length, 1)
  })
  t.match(warnings, [{ code: 'FST_SESSION_LATE_CHANGE' }], 'what the error handler stores is lost')
})

t.test('a CORS preflight (OPTIONS) creates no session, unless its handler stores something', async t => {
  const { visitor, watched } = await open(t, { saveUninitialized: true }, app => {
    app.options('/nothing', async () => 'ok')
    app.options('/', async request => {
      session(request).asked = true
      return 'ok'
    })
  })
  const response = await visitor.get('/nothing', { method: 'OPTIONS' })
  t.equal(response.body, 'ok')
  t.same(setCookies(response), [])
  t.same(watched.calls, [])
  t.equal(setCookies(await new Visitor(visitor.app).get('/', { method: 'OPTIONS' })).length, 1, 'as in version 11')
  watched.memory.store.clear()

  await visitor.get('/login')
  const [cookie] = setCookies(await visitor.get('/', { method: 'OPTIONS' }))
  t.match(cookie, 'sessionId=', 'an existing session is prolonged')
  t.match([...watched.memory.store.values()], [{ user: 'max', asked: true }])
})

// --- From the request

t.test('the option cookie may be a function of the request', async t => {
  t.test('it can set a domain per tenant, which is also used when the cookie is cleared', async t => {
    const cookie: SessionOptions['cookie'] = request => ({ domain: request?.hostname, path: '/app', secure: false })
    const { another } = await open(t, { cookie }, app => {
      app.get('/app/login', async request => { session(request).user = 'max' })
      app.get('/app/logout', async request => { await session(request).destroy() })
    })
    for (const host of ['a.example', 'b.example']) {
      const visitor = another()
      const headers = { host }
      t.match(setCookies(await visitor.get('/app/login', { headers })), [`Domain=${host}; Path=/app; HttpOnly`])
      t.same(setCookies(await visitor.get('/app/logout', { headers })),
        [`sessionId=; Max-Age=0; Domain=${host}; Path=/app; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=Lax`])
    }
    t.same(setCookies(await another().get('/login')), [], 'outside of its path there is no session')
  })

  t.test("it can set secure from a proxy's header, even if Fastify takes the request for plain http", async t => {
    const cookie: SessionOptions['cookie'] = request => ({ secure: request?.headers['cloudfront-forwarded-proto'] === 'https' })
    const { visitor, watched, another } = await open(t, { cookie })
    const headers = { 'cloudfront-forwarded-proto': 'https' }
    t.match(setCookies(await visitor.get('/login', { headers })), ['; Secure'])
    t.equal(watched.size, 1)
    t.match(setCookies(await visitor.get('/whoami', { headers })), ['; Secure'])
    t.match(setCookies(await visitor.get('/logout', { headers })), ['Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure'])
    const [plain] = setCookies(await another().get('/login'))
    t.notMatch(plain, 'Secure')
  })

  t.test('if it does not set secure, the cookie is sent over https only', async t => {
    const { visitor, watched } = await open(t, { cookie: () => ({}) }, undefined, { trustProxy: true })
    t.same(setCookies(await visitor.get('/login')), [])
    t.equal(watched.size, 0)
    t.match(setCookies(await visitor.get('/login', { headers: { 'x-forwarded-proto': 'https' } })), ['; Secure'])
  })

  t.test('options() overrides what it returns', async t => {
    const { visitor } = await open(t, { cookie: () => ({ secure: false, domain: 'a.example' }) }, app => {
      app.get('/', async request => { session(request).options({ domain: 'b.example', maxAge: HOUR }) })
    })
    t.match(setCookies(await visitor.get('/')), ['Domain=b.example'])
  })

  t.test('it is called once per request, with the request, and never on a route with session: false', async t => {
    const asked: Array<string | undefined> = []
    const cookie: SessionOptions['cookie'] = request => {
      asked.push(request?.url)
      return { secure: false }
    }
    const { visitor } = await open(t, { cookie }, app => {
      app.get('/health', { config: { session: false } }, async () => 'ok')
      app.get('/renew', async request => {
        await session(request).regenerate()
        await session(request).reload()
      })
    })
    await visitor.get('/login')
    await visitor.get('/health')
    await visitor.get('/renew')
    t.same(asked, ['/login', '/renew'])
  })

  t.test('if it throws or returns an invalid value, the request fails with 500, and the next request works', async t => {
    const COOKIE = 'FST_ERR_SESSION_COOKIE'
    const OPTION = 'FST_ERR_SESSION_OPTION'
    const faults: Array<[string, () => any, object]> = [
      ['throws', () => { throw new Error('no such tenant') }, { message: 'no such tenant' }],
      ['returns nothing', () => undefined, { code: COOKIE }],
      ['returns null', () => null, { code: COOKIE }],
      ['returns a string', () => 'sessionId=1', { code: COOKIE }],
      ['returns a function', () => () => ({}), { code: COOKIE }],
      ['returns a promise', async () => ({ secure: false }), { code: OPTION, message: /cookie must answer at once/ }],
      ['returns a promise that rejects', async () => { throw new Error('unheard') }, { code: OPTION }],
      ['returns an invalid lifetime', () => ({ maxAge: '1h' }), { code: COOKIE, message: /maxAge/ }],
      ['returns an invalid date', () => ({ expires: new Date(NaN) }), { code: COOKIE, message: /expires/ }],
      ['returns an invalid path', () => ({ path: 5 }), { code: COOKIE, message: /path/ }],
      ['returns a path that injects an attribute', () => ({ path: '/; Domain=evil.example' }), { code: COOKIE, message: /path/ }],
      ['returns a domain that injects a header', () => ({ domain: 'a\r\nSet-Cookie: b=c' }), { code: COOKIE, message: /domain/ }],
      ['returns an invalid sameSite', () => ({ sameSite: 'sometimes' }), { code: COOKIE }],
      ['returns an invalid priority', () => ({ priority: 'highest' }), { code: COOKIE }]
    ]
    for (const [name, fault, expected] of faults) {
      await t.test(name, async t => {
        let isBroken = false
        const { visitor, watched } = await open(t, { cookie: () => isBroken ? fault() : { secure: false } })
        await visitor.get('/login')
        isBroken = true
        t.same(await watched.callsDuring(async () => {
          const response = await visitor.get('/whoami')
          t.equal(response.statusCode, 500)
          t.match(problem(response), expected)
          t.same(setCookies(response), [])
        }), [])
        isBroken = false
        t.equal((await visitor.get('/whoami')).body, 'max')
      })
    }
  })

  t.test('anything else is refused at registration', async t => {
    for (const cookie of ['secure', 5, true] as any[]) {
      const app = Fastify()
      app.register(fastifyCookie)
      app.register(fastifySession, { secret: SECRET, cookie })
      await t.rejects(async () => await app.ready(), { code: 'FST_ERR_SESSION_OPTION', message: /cookie must be an object or a function/ })
    }
  })
})

t.test('idGenerator may be async', async t => {
  let count = 0
  const idGenerator = async (): Promise<string> => {
    await new Promise(resolve => setImmediate(resolve))
    return `id number ${++count}`
  }

  t.test('nothing is left that keeps the process alive', async t => {
    const timers = (): number => process.getActiveResourcesInfo().filter(kind => kind === 'Timeout').length
    const { visitor } = await open(t, { idGenerator })
    const before = timers()
    await visitor.get('/login')
    t.equal(timers(), before)
  })

  t.test('its ids are used for new sessions and by regenerate()', async t => {
    const { visitor, watched } = await open(t, { idGenerator }, app => {
      app.get('/renew', async request => {
        const before = session(request).sessionId
        await session(request).regenerate(['user'])
        return `${before}, ${session(request).sessionId as string}`
      })
      app.get('/renew-callback', (request, reply) => {
        request.session.regenerate(['user'], error => { reply.send(error ?? session(request).sessionId) })
      })
    })
    count = 0
    await visitor.get('/login')
    t.same([...watched.memory.store.keys()], ['id number 1'])
    t.equal((await visitor.get('/renew')).body, 'id number 1, id number 2')
    t.equal((await visitor.get('/renew-callback')).body, 'id number 3')
    t.equal((await visitor.get('/whoami')).body, 'max')
    t.same([...watched.memory.store.keys()], ['id number 3'])
  })

  t.test('it is only called for requests without a session', async t => {
    const { visitor } = await open(t, { idGenerator })
    await visitor.get('/login')
    count = 0
    await visitor.get('/whoami')
    t.equal(count, 0)
    await visitor.get('/whoami', { headers: { cookie: 'sessionId=forged.signature' } })
    t.equal(count, 1)
  })

  t.test('while it runs for regenerate(), request.session is still the old session', async t => {
    const seen: unknown[] = []
    const { visitor } = await open(t, {
      async idGenerator (request) {
        await new Promise(resolve => setImmediate(resolve))
        seen.push(request && session(request)?.user)
        return `id ${seen.length}`
      }
    }, app => {
      app.get('/renew', async request => {
        const before = request.session
        const renewed = session(request).regenerate()
        t.equal(request.session, before)
        await renewed
        t.not(request.session, before)
        t.equal(session(request).user, undefined)
      })
    })
    await visitor.get('/login')
    await visitor.get('/renew')
    t.same(seen, [undefined, 'max'])
  })

  t.test('decryptSession() waits for it', async t => {
    const { visitor } = await open(t, { idGenerator: async () => 'an id from afar' })
    const request: any = {}
    await visitor.app.decryptSession('forged', request)
    t.equal(request.session.sessionId, 'an id from afar')
    await new Promise<void>(resolve => visitor.app.decryptSession(undefined, request, resolve))
    t.equal(request.session.sessionId, 'an id from afar')
  })

  t.test('if it rejects or resolves with an invalid id, the request fails with 500, and the next request works', async t => {
    const faults: Array<[string, () => any, object]> = [
      ['rejects', async () => { throw new Error('no entropy') }, { message: 'no entropy' }],
      ['returns nothing', async () => undefined, { code: 'FST_ERR_SESSION_ID' }],
      ['resolves with an empty string', async () => '', { code: 'FST_ERR_SESSION_ID' }],
      ['resolves with a number', async () => 5, { code: 'FST_ERR_SESSION_ID' }]
    ]
    for (const [name, fault, expected] of faults) {
      await t.test(name, async t => {
        let isBroken = false
        const { visitor, watched, another } = await open(t, { idGenerator: async () => isBroken ? await fault() : `id ${Math.random()}` }, app => {
          app.get('/renew', async request => { await session(request).regenerate() })
        })
        await visitor.get('/login')
        isBroken = true
        for (const response of [await another().get('/login'), await visitor.get('/renew')]) {
          t.equal(response.statusCode, 500)
          t.match(problem(response), expected)
        }
        t.equal(watched.size, 1, 'nothing was saved')
        isBroken = false
        t.equal((await visitor.get('/whoami')).body, 'max', 'the old session still works')
        t.equal((await another().get('/login')).statusCode, 200)
      })
    }
  })

  t.test('if it never answers, the request fails after storeTimeout', async t => {
    const { visitor } = await open(t, { idGenerator: () => new Promise<string>(() => {}), storeTimeout: 20 })
    t.match(problem(await visitor.get('/login')), { statusCode: 503, code: 'FST_ERR_SESSION_ID', message: /within 20 ms/ })
  })

  t.test('if it answers regenerate() too late, the old session stays', async t => {
    let isSlow = false
    let answer = (_id: string): void => {}
    const idGenerator = (): any => isSlow ? new Promise<string>(resolve => { answer = resolve }) : 'the first'
    const { visitor, watched } = await open(t, { idGenerator, storeTimeout: 20 }, app => {
      app.get('/renew', async request => { await session(request).regenerate() })
    })
    await visitor.get('/login')
    isSlow = true
    t.match(problem(await visitor.get('/renew')), { statusCode: 503, code: 'FST_ERR_SESSION_ID' })
    answer('too late')
    await new Promise(resolve => setImmediate(resolve))
    t.same([...watched.memory.store.keys()], ['the first'])
    t.equal((await visitor.get('/whoami')).body, 'max')
  })

  t.test('it may return a promise without being declared async, and may return strings and promises by turns', async t => {
    const pool: string[] = []
    const GENERATORS: Record<string, () => any> = {
      'returns a promise': () => Promise.resolve('an id'),
      bound: async () => 'an id',
      'a string at first': () => pool.pop() ?? Promise.resolve('an id')
    }
    for (const [how, idGenerator] of Object.entries(GENERATORS)) {
      pool.push('an id')
      const { visitor, another } = await open(t, { idGenerator, saveUninitialized: false }, app => {
        app.get('/id', async request => request.session.sessionId)
      })
      for (const each of [visitor, another()]) t.equal((await each.get('/id')).body, 'an id', how)
    }
    const { visitor: other } = await open(t, { idGenerator: () => Promise.reject(new Error('No dice')) })
    for (let i = 0; i < 2; i++) t.match(problem(await other.get('/login')), { statusCode: 500, message: 'No dice' })
  })
})

t.test('saveUninitialized may be a function of the request', async t => {
  t.test('it is called for each request without a session', async t => {
    const { visitor, another } = await open(t, { saveUninitialized: request => request.headers['x-consent'] === 'yes' })
    t.same(setCookies(await visitor.get('/unused')), [])
    t.equal(setCookies(await visitor.get('/unused', { headers: { 'x-consent': 'yes' } })).length, 1)
    t.equal(setCookies(await another().get('/login')).length, 1, 'data are saved anyway')
  })

  t.test('it is called when the reply goes out, and only for unmodified new sessions', async t => {
    const asked: string[] = []
    const { visitor } = await open(t, {
      saveUninitialized (request) {
        asked.push(request.url)
        return (request as any).hasConsent === true
      }
    }, app => {
      app.decorateRequest('hasConsent', false)
      app.get('/agree', async request => { (request as any).hasConsent = true })
    })
    t.equal(setCookies(await visitor.get('/agree')).length, 1)
    await visitor.get('/whoami')
    await visitor.get('/login')
    t.same(asked, ['/agree'])
  })

  t.test('if it throws or returns a promise, the request fails with 500, nothing is saved, and the next request works', async t => {
    const faults: Array<[string, () => any, object]> = [
      ['throws', () => { throw new Error('no consent service') }, { message: 'no consent service' }],
      ['returns a promise', async () => false, { code: 'FST_ERR_SESSION_OPTION', message: /saveUninitialized must answer at once/ }],
      ['returns a promise that rejects', async () => { throw new Error('unheard') }, { code: 'FST_ERR_SESSION_OPTION' }]
    ]
    for (const [name, fault, expected] of faults) {
      await t.test(name, async t => {
        let isBroken = true
        const { visitor, watched } = await open(t, { saveUninitialized: () => isBroken ? fault() : true })
        const response = await visitor.get('/unused')
        t.equal(response.statusCode, 500)
        t.match(problem(response), expected)
        t.same(setCookies(response), [])
        t.same(watched.calls, [])
        isBroken = false
        t.equal(setCookies(await visitor.get('/unused')).length, 1)
      })
    }
  })
})

// --- Caches and proxies

t.test('cacheControl: true tells caches what depends on the session', async t => {
  const more: Routes = app => {
    app.get('/control/:value', async (request, reply) => {
      return await reply.header('cache-control', (request.params as { value: string }).value).send('own')
    })
    const everybody = async (_request: unknown, reply: FastifyReply): Promise<void> => { reply.header('cache-control', 'public, max-age=60') }
    app.get('/public-login', { preHandler: everybody }, async request => { session(request).user = 'max' })
    app.get('/public-touch', { preHandler: everybody }, async request => { request.session.touch() })
    app.get('/public-remember', { preHandler: everybody }, async request => { session(request).cookie.maxAge = 2 * HOUR })
    app.get('/public-logout', { preHandler: everybody }, async request => { await request.session.destroy() })
    app.get('/raw', async (_request, reply) => {
      reply.raw.setHeader('Cache-Control', 'private')
      return 'own'
    })
    app.get('/vary/:value', async (request, reply) => {
      const { value } = request.params as { value: string }
      return await reply.header('vary', value.includes('+') ? value.split('+') : value).send(session(request).user ?? 'nobody')
    })
    app.get('/renew', async request => { await session(request).regenerate() })
    app.get('/health', { config: { session: false } }, async () => 'ok')
  }
  const headersOf = (response: LightMyRequestResponse): unknown[] => [response.headers['cache-control'], response.headers.vary]
  const openCached = (t: Test, options: SessionOptions = {}): Promise<Site> =>
    open(t, { cacheControl: true, saveUninitialized: false, ...options }, more)

  t.test('a response that sets the cookie is no-store', async t => {
    const { visitor } = await openCached(t, { saveUninitialized: true })
    t.same(headersOf(await visitor.get('/unused')), ['no-store', undefined])
  })

  t.test('a response that clears the cookie is no-store', async t => {
    const { visitor } = await openCached(t)
    await visitor.get('/login')
    const gone = visitor.copy()
    t.same(headersOf(await visitor.get('/logout')), ['no-store', 'Cookie'])
    t.same(headersOf(await gone.get('/unused')), ['no-store', undefined])
  })

  t.test("a handler's own Cache-Control stays if it excludes shared caches; otherwise private is added", async t => {
    const { visitor } = await openCached(t, { saveUninitialized: true })
    t.same(headersOf(await visitor.get('/raw')), ['private', undefined])
    t.same(headersOf(await visitor.get('/control/no-store')), ['no-store', undefined])
    t.same(headersOf(await visitor.get('/control/no-cache')), ['no-cache, private', undefined])
    t.same(headersOf(await visitor.get('/control/max-age=60')), ['max-age=60, private', undefined])
    const named = 'no-cache="x-public, public, private"'
    const response = await visitor.get(`/control/${encodeURIComponent(named)}`)
    t.same(headersOf(response), [`${named}, private`, undefined], 'names of headers in quotes do not count')
  })

  t.test('a response that a shared cache may keep starts no session and sends no rolling cookie', async t => {
    const controls = ['public', 'public, max-age=60', 'max-age=60,s-maxage=600', 'PUBLIC, immutable', 'public, no-cache="x-private, private"']
    for (const control of controls) {
      const { visitor, another, watched } = await openCached(t, { saveUninitialized: true, cookie: { maxAge: HOUR } })
      const url = `/control/${encodeURIComponent(control)}`
      t.same(setCookies(await visitor.get(url)), [], 'a new visitor starts no session')
      t.equal(watched.size, 0)
      await visitor.get('/login')
      const gone = visitor.copy()
      t.same(await watched.callsDuring(async () => {
        const response = await visitor.get(url)
        t.same(setCookies(response), [], 'the cookie is not sent again')
        t.same(headersOf(response), [control, undefined])
      }), ['get', 'touch'], 'the session is loaded and touched')
      t.equal((await visitor.get('/whoami')).body, 'max')
      await visitor.get('/logout')
      t.same(setCookies(await gone.get(url)), [], 'an invalid cookie is not cleared by this reply')
      t.match(setCookies(await gone.get('/unused')), [/./])
      t.equal((await another().get('/whoami')).body, 'nobody')
    }
  })

  t.test('a response that a shared cache may keep does not clear the cookie if save() finds the session gone', async t => {
    const { visitor, watched } = await open(t, { cacheControl: true, saveUninitialized: false }, app => {
      app.get('/save', async (request, reply) => {
        session(request).n = 1
        watched.memory.store.clear()
        await session(request).save().catch(() => {})
        return await reply.header('cache-control', 'public').send('for everybody')
      })
    })
    await visitor.get('/login')
    t.same(setCookies(await visitor.get('/save')), [])
    t.equal(setCookies(await visitor.get('/unused')).length, 1, 'the next reply clears it')
  })

  t.test('a login, a touch() or a logout is sent even on a response that a shared cache may keep, which becomes no-store', async t => {
    const { visitor } = await openCached(t, { cookie: { maxAge: HOUR } })
    for (const url of ['/public-login', '/public-touch', '/public-remember', '/public-logout']) {
      const response = await visitor.get(url)
      t.equal(setCookies(response).length, 1, url)
      t.same(headersOf(response), ['no-store', 'Cookie'], url)
    }
  })

  t.test('a response varies by Cookie if the session was used', async t => {
    const { visitor } = await openCached(t, { rolling: false })
    t.same(headersOf(await visitor.get('/whoami')), [undefined, 'Cookie'], 'for new visitors too')
    t.same(headersOf(await visitor.get('/login')), ['no-store', 'Cookie'])
    t.same(headersOf(await visitor.get('/whoami')), [undefined, 'Cookie'])
    t.same(headersOf(await visitor.get('/renew')), ['no-store', 'Cookie'])
  })

  t.test('a response does not vary by Cookie if the session was not used', async t => {
    const { visitor } = await openCached(t, { cookie: { maxAge: HOUR } })
    t.same(headersOf(await visitor.get('/unused')), [undefined, undefined])
    await visitor.get('/login')
    t.same(headersOf(await visitor.get('/unused')), ['no-store', undefined], 'although it was touched')
    t.same(headersOf(await visitor.get('/health')), [undefined, undefined])
  })

  t.test('Cookie is added to an existing Vary header', async t => {
    const { visitor } = await openCached(t)
    const expected = {
      Origin: 'Origin, Cookie',
      'Accept-Encoding, Origin': 'Accept-Encoding, Origin, Cookie',
      'Origin+Accept': 'Origin,Accept, Cookie',
      'X-Cookie-Consent': 'X-Cookie-Consent, Cookie',
      Cookie: 'Cookie',
      'Origin, cookie': 'Origin, cookie',
      '*': '*',
      'Origin+*': 'Origin,*'
    }
    for (const [vary, merged] of Object.entries(expected)) {
      const response = await visitor.get(`/vary/${encodeURIComponent(vary)}`)
      t.same(response.headers.vary?.toString(), merged, vary)
    }
  })

  t.test('without cacheControl, no header changes', async t => {
    for (const cacheControl of [undefined, false]) {
      const { visitor } = await openCached(t, { cacheControl })
      for (const url of ['/login', '/whoami', '/logout']) t.same(headersOf(await visitor.get(url)), [undefined, undefined])
    }
  })
})

// --- @fastify/cookie, URLs and other applications

t.test('the parseOptions of @fastify/cookie and the session cookie', async t => {
  const ask = async (parseOptions: object, cookie: object = {}): Promise<Visitor> => {
    const app = Fastify()
    await app.register(fastifyCookie, { secret: SECRET, parseOptions })
    await app.register(fastifySession, { secret: SECRET, cookie: { secure: false, maxAge: HOUR, ...cookie } })
    routes(app as any)
    t.teardown(() => app.close())
    return new Visitor(app as any)
  }
  const cookieOf = async (visitor: Visitor): Promise<string> => String(setCookies(await visitor.get('/login')))

  t.test('signed and maxAge do not apply to the session cookie', async t => {
    for (const parseOptions of [{ signed: true }, { maxAge: 60 }, { maxAge: 60, signed: true, expires: new Date(0) }]) {
      const visitor = await ask(parseOptions)
      t.notMatch(await cookieOf(visitor), /Max-Age/)
      t.equal((await visitor.get('/whoami')).body, 'max')
      t.match(setCookies(await visitor.get('/logout')), [/Max-Age=0/])
    }
  })

  t.test('priority applies to the session cookie unless it has its own', async t => {
    t.match(await cookieOf(await ask({ priority: 'high' })), /; Priority=High/)
    t.match(await cookieOf(await ask({ priority: 'high' }, { priority: 'low' })), /; Priority=Low/)
  })
})

t.test('cookie.path is compared with the path that the browser asked for', async t => {
  t.test('rewriteUrl does not matter', async t => {
    const { visitor } = await open(t, { cookie: { path: '/app' } }, () => {}, {
      rewriteUrl: (request: { url?: string }) => String(request.url).replace(/^\/app(?=\/)/, '')
    })
    t.equal(setCookies(await visitor.get('/app/login')).length, 1)
    t.equal((await visitor.get('/app/whoami?x=/app')).body, 'max')
    t.same(setCookies(await visitor.get('/login')), [], 'outside')
  })

  t.test('a request line with the whole URL works, as proxies send it', async t => {
    const { visitor } = await open(t, { cookie: { path: '/app' } }, app => {
      app.get('/app/x', async request => { session(request).n = 1 })
      app.get('/apple', async () => 'outside')
    })
    const { port } = new URL(await visitor.app.listen({ port: 0, host: '127.0.0.1' }))
    const cookiesFor = async (path: string): Promise<number> => {
      const response = await new Promise<IncomingMessage>(resolve => request({ port, host: '127.0.0.1', path }, resolve).end())
      response.resume()
      t.equal(response.statusCode, 200, path)
      return response.headers['set-cookie']?.length ?? 0
    }
    for (const origin of ['', 'http://example.com', 'HTTPS://example.com:8443', 'http://[::1]:80']) {
      t.equal(await cookiesFor(`${origin}/app/x`), 1, origin)
      t.equal(await cookiesFor(`${origin}/app/x?y=/z`), 1, origin)
      t.equal(await cookiesFor(`${origin}/apple`), 0, origin)
    }
  })
})

t.test('a cookie in quotes is read, as Java clients send it', async t => {
  for (const cookiePrefix of ['', 's:']) {
    const { visitor } = await open(t, { saveUninitialized: false, cookiePrefix })
    await visitor.get('/login')
    const value = String(visitor.cookieHeader().split('=')[1])
    const HEADERS = [`sessionId="${value}"`, `$Version="1"; sessionId="${value}"; $Path="/"`, `sessionId="forged"; sessionId="${value}"`]
    for (const cookie of HEADERS) {
      const response = await visitor.app.inject({ url: '/whoami', headers: { cookie } })
      t.equal(response.body, 'max', cookie.replace(value, '…'))
      t.ok(await visitor.app.loadSession(cookie))
    }
    t.ok(await visitor.app.loadSession(`"${decodeURIComponent(value)}"`))
    for (const cookie of ['sessionId="', 'sessionId=""', 'sessionId="x']) {
      t.equal((await visitor.app.inject({ url: '/whoami', headers: { cookie } })).body, 'nobody')
    }
  }
})

t.test('a cookie with the configured name but another signature is left alone until a session starts: it may belong to another application', async t => {
  const { visitor, another } = await open(t, { saveUninitialized: false })
  const stranger = another()
  stranger.cookies.set('sessionId', 'of.another')
  for (const url of ['/unused', '/whoami', '/logout']) t.same(setCookies(await stranger.get(url)), [], `${url} leaves it alone`)
  t.match(setCookies(await stranger.get('/login')), [/^sessionId=/], 'a new session replaces it')
  t.equal((await stranger.get('/whoami')).body, 'max')

  await visitor.get('/login')
  const gone = visitor.copy()
  await visitor.get('/logout')
  t.match(setCookies(await gone.get('/unused')), [/^sessionId=; Max-Age=0/], "the application's own cookie is cleared if its session is gone")
})

// --- Requests without a session

const CALLS: Record<string, unknown[]> = {
  get: ['user'],
  set: ['user', 'max'],
  data: [],
  touch: [],
  options: [{ maxAge: HOUR }],
  isModified: [],
  isSaved: [],
  isFresh: [1000],
  save: [],
  reload: [],
  regenerate: [['user']],
  update: [() => {}],
  take: ['user'],
  destroy: []
}
const USER_CALLS = { list: [], revoke: ['a.b'], revokeOthers: [] }

/** The methods of a session, without what every object has. */
function methodsOf (session: object): string[] {
  const names = new Set<string>()
  for (let proto = Object.getPrototypeOf(session); proto !== Object.prototype; proto = Object.getPrototypeOf(proto)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(proto))) {
      if (name !== 'constructor' && typeof value === 'function') names.add(name)
    }
  }
  return [...names].sort()
}

/** The errors of all methods, called by promise and by callback. */
async function saidBy (session: any, calls: Record<string, unknown[]>): Promise<any[]> {
  const said = []
  for (const [name, args] of Object.entries(calls)) {
    try {
      await session[name](...args)
      said.push(`${name}() works`)
    } catch (error) {
      said.push(error)
    }
  }
  for (const name of ['save', 'reload', 'regenerate', 'destroy']) said.push(await new Promise(resolve => session[name](resolve)))
  said.push(await new Promise(resolve => session.regenerate(['user'], resolve)))
  return said
}

interface Without {
  /** In which situation a request has no session. */
  readonly where: string
  /** The message of each method's error. */
  readonly says: RegExp
  readonly cause?: object
  /** Lets a request look at the object that it has instead of a session. */
  readonly visit: (t: Test, look: Look, options?: SessionOptions) => Promise<unknown>
}

type Look = (request: FastifyRequest) => Promise<void>

const WITHOUT: Without[] = [
  {
    where: 'on a route with session: false',
    says: /session in request\.session.*config: \{ session: false \}/,
    async visit (t, look, options = {}) {
      const { visitor } = await open(t, options, app => { app.get('/health', { config: { session: false } }, look) })
      return await visitor.get('/health')
    }
  },
  {
    where: 'outside of cookie.path',
    says: /outside of cookie\.path, which is '\/app'/,
    async visit (t, look, options = {}) {
      const { visitor } = await open(t, { ...options, cookie: { path: '/app' } }, app => { app.get('/other', look) })
      return await visitor.get('/other')
    }
  },
  {
    where: 'in an error handler after the store has failed',
    says: /could not be loaded.*cause/,
    cause: { message: AWAY },
    async visit (t, look, options = {}) {
      const { visitor, watched } = await open(t, options, app => { app.setErrorHandler((_error, request) => look(request)) })
      await visitor.get('/login')
      watched.isAway = true
      return await visitor.get('/whoami')
    }
  },
  {
    where: 'in an error handler after the cookie function has failed',
    says: /could not be loaded.*cause/,
    cause: { message: 'no such tenant' },
    async visit (t, look, options = {}) {
      const cookie = (): never => { throw new Error('no such tenant') }
      const { visitor } = await open(t, { ...options, cookie }, app => { app.setErrorHandler((_error, request) => look(request)) })
      return await visitor.get('/whoami')
    }
  },
  {
    where: 'in a hook before the plugin',
    says: /onRequest hook has not run.*after the plugin/,
    async visit (_t, look, options) {
      const app = Fastify()
      await app.register(fastifyCookie)
      app.addHook('onRequest', look)
      await app.register(fastifySession, { secret: SECRET, ...options })
      app.get('/', async request => { request.session.touch() })
      return await app.inject('/')
    }
  },
  {
    where: 'in an error handler after a hook before the plugin has failed',
    says: /onRequest hook has not run/,
    async visit (_t, look, options) {
      const app = Fastify()
      await app.register(fastifyCookie)
      app.addHook('onRequest', async () => { throw new Error('too many requests') })
      app.setErrorHandler((_error, request) => look(request))
      await app.register(fastifySession, { secret: SECRET, ...options })
      app.get('/', async () => 'ok')
      return await app.inject('/')
    }
  }
]

/** What a request without a session sees. */
async function seen<T> (t: Test, { visit }: Without, see: (request: any) => T | Promise<T>, options?: SessionOptions): Promise<T> {
  const all: T[] = []
  await visit(t, async request => { all.push(await see(request)) }, options)
  t.equal(all.length, 1, 'the request came there, and nothing threw')
  return all[0] as T
}

for (const without of WITHOUT) {
  const { where, says, cause } = without

  t.test(`${where}, request.session is an empty object to which anything can be assigned, as in version 11`, async t => {
    t.same(await seen(t, without, ({ session }) => {
      const inherited = []
      for (const key in session) inherited.push(key)
      return [Boolean(session), inherited, Object.keys(session), JSON.stringify(session), { ...session }, 'user' in session, inspect(session)]
    }), [true, [], [], '{}', {}, false, 'NoSession {}'])
    t.same(await seen(t, without, ({ session }) => {
      return ['user', 'cookie', 'sessionId', 'encryptedSessionId', 'list'].filter(key => session[key] !== undefined)
    }), [])
    t.same(await seen(t, without, request => {
      request.session.user = 'max'
      request.session.data = { own: true }
      return JSON.stringify(request.session)
    }), '{"user":"max","data":{"own":true}}')
  })

  t.test(`${where}, the error of each method of request.session says why there is no session`, async t => {
    const { visitor } = await open(t, {}, app => { app.get('/methods', async request => methodsOf(session(request))) })
    const methods = (await visitor.get('/methods')).json()
    t.same(await seen(t, without, request => methodsOf(request.session)), methods, 'the methods are those of a session')
    t.same(Object.keys(CALLS).sort(), methods)
    for (const error of await seen(t, without, request => saidBy(request.session, CALLS))) {
      t.match(error, { code: 'FST_ERR_SESSION_NONE', statusCode: 500, message: says })
      t.match(error.cause, cause)
    }
  })

  t.test(`${where}, list(), revoke() and revokeOthers() say so too, with the option user`, async t => {
    const user = ({ user }: any): string | undefined => user
    for (const error of await seen(t, without, request => saidBy(request.session, USER_CALLS), { user })) {
      t.match(error, { code: 'FST_ERR_SESSION_NONE', message: says })
    }
  })
}

t.test('if there is no session, an operation that is not awaited does not end the process', async t => {
  const { visitor } = await open(t, {}, app => {
    app.get('/health', { config: { session: false } }, request => {
      request.session.destroy()
      request.session.regenerate()
      return 'ok'
    })
  })
  t.equal((await visitor.get('/health')).body, 'ok')
})

t.test("an object that inherits from a request has the request's session, even if it was read before the plugin's hook", async t => {
  const app = Fastify()
  await app.register(fastifyCookie)
  const heirs = new Map<string, any>()
  app.addHook('onRequest', async request => {
    const heir = Object.create(request)
    t.throws(() => heir.session.get('user'), { code: 'FST_ERR_SESSION_NONE' })
    heirs.set(request.id, heir)
  })
  await app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
  app.get('/', async request => heirs.get(request.id).session === request.session)
  t.equal((await app.inject('/')).body, 'true')
})

t.test("with several sessions, each error says under its session's own name why there is none", async t => {
  const { visitor } = await open(t, {}, app => {
    app.register(fastifySession, { secret: SECRET, sessionName: 'admin', cookieName: 'adminId', cookie: { path: '/admin' } } as any)
    app.get('/page', { config: { session: false } }, async request => {
      const said = []
      for (const session of [request.session, (request as any).admin]) {
        try {
          session.touch()
        } catch (error) {
          said.push((error as Error).message)
        }
      }
      return said
    })
  })
  t.match((await visitor.get('/page')).json(), [/request\.session: the route/, /request\.admin: the URL/])
})

t.test('on a route with session: false, decryptSession() sets request.session, and so may a handler with loadSession()', async t => {
  const { visitor } = await open(t, {}, app => {
    app.get('/socket', { config: { session: false } }, async request => {
      t.throws(() => request.session.get('user' as any), { code: 'FST_ERR_SESSION_NONE' })
      await app.decryptSession(request.cookies.sessionId, request)
      const decrypted = session(request).get('user')
      ;(request as any).session = await app.loadSession(request.headers.cookie)
      return [decrypted, session(request).get('user')]
    })
  })
  await visitor.get('/login')
  t.same((await visitor.get('/socket')).json(), ['max', 'max'])
})

// --- When the store fails

t.test('onStoreError decides what happens if the store fails', async t => {
  const more: Routes = app => {
    app.get('/which', async request => String(session(request).isAnonymous))
    app.get('/change', async request => {
      session(request).user = 'eva'
      session(request).cart = ['apple']
      return Object.keys(session(request))
    })
    app.get('/cart', async request => { session(request).cart = ['apple'] })
    app.get('/health', { config: { session: false } }, async () => 'ok')
    app.get('/save', async request => { await session(request).save() })
    app.get('/save-callback', (request, reply) => { session(request).save((error: Error) => { reply.send(error) }) })
    app.get('/renew', async request => {
      await session(request).regenerate()
      session(request).user = 'max again'
    })
    app.get('/reload', async request => {
      const anonymous = request.session
      await session(request).reload().catch((error: Error) => {
        t.equal(request.session, anonymous, 'request.session stays the same object')
        throw error
      })
      session(request).reloaded = true
      return [session(request).isAnonymous, session(request).user]
    })
    app.get('/return', async (request, reply) => {
      watched.isAway = false
      const { next } = request.query as { next: string }
      return await reply.send((await Reflect.apply(session(request)[next], request.session, [])) ?? `${next} is done`)
    })
    app.get('/return/renew', async request => {
      watched.isAway = false
      await session(request).regenerate()
      session(request).user = 'max again'
    })
    app.get('/return/reload', async request => {
      watched.isAway = false
      await session(request).reload()
      session(request).reloaded = true
      return [session(request).isAnonymous, session(request).user]
    })
  }
  let watched: WatchedStore

  /** A logged-in visitor, after whose login the store fails. */
  async function loggedIn (t: Test, options: SessionOptions): Promise<Visitor> {
    const site = await open(t, { cookie: { maxAge: HOUR }, ...options }, more)
    watched = site.watched
    await site.visitor.get('/login')
    watched.isAway = true
    return site.visitor
  }

  /** The data of the sessions in the store. */
  function stored (): any[] {
    return [...watched.memory.store.values()].map(({ cookie, ...data }: any) => data)
  }

  t.test("'fail', the default: the request fails with the store's own error", async t => {
    for (const options of [{}, { onStoreError: 'fail' as const }]) {
      const visitor = await loggedIn(t, options)
      const response = await visitor.get('/whoami')
      t.equal(response.statusCode, 500)
      t.match(problem(response), { message: AWAY })
      t.same(setCookies(response), [])
      watched.isAway = false
      t.equal((await visitor.get('/whoami')).body, 'max')
    }
  })

  t.test("'anonymous': the visitor is not logged in, nothing is written, and the cookie is left alone", async t => {
    const visitor = await loggedIn(t, { onStoreError: 'anonymous' })
    for (const url of ['/whoami', '/unused', '/change']) {
      t.same(await watched.callsDuring(async () => {
        const response = await visitor.get(url)
        t.equal(response.statusCode, 200)
        t.not(response.body, 'max')
        t.same(setCookies(response), [])
      }), ['get'])
    }
    watched.isAway = false
    t.same(stored(), [{ user: 'max' }])
    t.equal((await visitor.get('/whoami')).body, 'max')
  })

  t.test("'anonymous': a cookie that was signed with an older secret is not signed again", async t => {
    const [old, next] = ['an old secret with a length of 32 characters', 'a new secret with a length of 32 characters']
    const secret = [old]
    const visitor = await loggedIn(t, { onStoreError: 'anonymous', secret })
    secret.unshift(next)
    t.same(setCookies(await visitor.get('/whoami')), [])
  })

  t.test('request.session.isAnonymous says whether the session could not be loaded', async t => {
    const visitor = await loggedIn(t, { onStoreError: 'anonymous' })
    t.equal((await visitor.get('/which')).body, 'true')
    t.equal((await new Visitor(visitor.app).get('/whoami')).statusCode, 500, 'a new visitor still needs a store')
    watched.isAway = false
    t.equal((await visitor.get('/which')).body, 'false')
    t.equal((await new Visitor(visitor.app).get('/which')).body, 'false')
  })

  t.test('isAnonymous may also be a key of your own data', async t => {
    const { visitor } = await open(t, {}, app => {
      app.get('/', async request => {
        const found = session(request).isAnonymous
        session(request).isAnonymous = 'so they say'
        return String(found)
      })
    })
    t.equal((await visitor.get('/')).body, 'false')
    t.equal((await visitor.get('/')).body, 'so they say')
  })

  t.test("'anonymous': save() fails with the store's error, even when the store works again", async t => {
    const visitor = await loggedIn(t, { onStoreError: 'anonymous' })
    for (const url of ['/save', '/save-callback', '/return?next=save']) {
      const response = await visitor.get(url)
      t.equal(response.statusCode, 500)
      t.match(problem(response), { message: AWAY })
      watched.isAway = true
    }
    t.same(stored(), [{ user: 'max' }])
  })

  t.test("'anonymous': destroy() ends the session if the store works again, and fails otherwise", async t => {
    const visitor = await loggedIn(t, { onStoreError: 'anonymous' })
    const response = await visitor.get('/logout')
    t.match(problem(response), { message: AWAY })
    t.same(setCookies(response), [], 'a visitor who is not logged out keeps the cookie')
    t.match(setCookies(await visitor.get('/return?next=destroy')), ['sessionId=; Max-Age=0'])
    t.same(stored(), [])
  })

  t.test("'anonymous': a login with regenerate() works if the store works again, and fails otherwise", async t => {
    const visitor = await loggedIn(t, { onStoreError: 'anonymous' })
    const response = await visitor.get('/renew')
    t.match(problem(response), { message: AWAY })
    t.same(setCookies(response), [])
    t.equal(setCookies(await visitor.get('/return/renew')).length, 1)
    t.same(stored(), [{ user: 'max again' }])
  })

  t.test("'anonymous': reload() loads the session if the store works again, and fails otherwise", async t => {
    const visitor = await loggedIn(t, { onStoreError: 'anonymous' })
    t.match(problem(await visitor.get('/reload')), { message: AWAY })
    t.same((await visitor.get('/return/reload')).json(), [false, 'max'])
    t.same(stored(), [{ user: 'max', reloaded: true }])

    watched.memory.clear()
    watched.isAway = true
    t.match(problem(await visitor.get('/return/reload')), { code: 'FST_ERR_SESSION_GONE' })
    t.same(stored(), [], 'an id that the store does not know is not used again')
  })

  t.test("'anonymous': if an expired session cannot be removed, the visitor is not logged in", async t => {
    const records = new Map<string, string>()
    const store: any = {
      get: (id: string, done: any) => done(null, JSON.parse(records.get(id) ?? 'null')),
      set: (id: string, record: object, done: any) => done(null, records.set(id, JSON.stringify(record))),
      destroy: (_id: string, done: any) => done(new Error(AWAY))
    }
    const { visitor } = await open(t, { onStoreError: 'anonymous', store, cookie: { maxAge: HOUR } }, more)
    await visitor.get('/login')
    for (const [id, json] of records) {
      const record = JSON.parse(json)
      record.cookie.expires = new Date(0)
      records.set(id, JSON.stringify(record))
    }
    t.equal((await visitor.get('/whoami')).body, 'nobody')
    t.equal((await visitor.get('/which')).body, 'true')
  })

  t.test("'anonymous': a store that does not answer in time counts as failed", async t => {
    const { visitor, watched } = await open(t, { onStoreError: 'anonymous', storeTimeout: 20 }, more)
    await visitor.get('/login')
    watched.memory.get = () => {}
    t.equal((await visitor.get('/which')).body, 'true')
  })

  t.test('a route with session: false works with both values', async t => {
    for (const onStoreError of ['fail', 'anonymous'] as const) {
      const visitor = await loggedIn(t, { onStoreError })
      t.same(await watched.callsDuring(async () => { t.equal((await visitor.get('/health')).body, 'ok') }), [])
    }
  })

  t.test("decryptSession() fails with the store's error with both values", async t => {
    for (const onStoreError of ['fail', 'anonymous'] as const) {
      const visitor = await loggedIn(t, { onStoreError })
      const { app } = visitor
      const request: any = {}
      await t.rejects(app.loadSession(visitor.cookieHeader()), { message: AWAY })
      await t.rejects(app.createSession({ user: 'max' } as object), { message: AWAY })
      await t.rejects(app.decryptSession(visitor.cookies.get('sessionId'), request), { message: AWAY })
      t.same(request, {})
    }
  })

  t.test('anything else is refused at registration', async t => {
    for (const onStoreError of ['ignore', true] as any[]) {
      await t.rejects(build({ onStoreError }, () => {}), { code: 'FST_ERR_SESSION_OPTION', message: /onStoreError must be/ })
    }
  })
})
