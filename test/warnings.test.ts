/** A likely mistake causes one warning. If something can't work, ready() rejects. */
import cluster from 'node:cluster'
import { once } from 'node:events'
import { request, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyRequest } from 'fastify'
import { createClient } from 'redis'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore } from '../src/index'
import { RedisStore } from '../src/stores/redis'
import { warned, type Warning } from './heard'
import { build, SECRET, setCookies, stopClock, Visitor, type Routes, type SessionOptions } from './helpers'

/** The methods of a store for express-session; with `touch` if wanted. */
function makeStore (touch: boolean): any {
  const store = new MemoryStore()
  return {
    get: store.get.bind(store),
    set: store.set.bind(store),
    destroy: store.destroy.bind(store),
    ...(touch && { touch: store.touch.bind(store) })
  }
}

const session = (request: FastifyRequest): any => request.session

const noRoutes: Routes = () => {}

const loginRoutes: Routes = app => {
  app.get('/login', async request => {
    session(request).user = { name: 'max' }
    return 'welcome'
  })
  app.get('/user', async request => session(request).user ?? {})
}

t.test('cookie.secure: true and a plain http request', async t => {
  const secure: SessionOptions = { cookie: { secure: true } }

  t.test('causes one warning', async t => {
    const heard = await warned(async () => {
      for (let i = 0; i < 2; i++) {
        const app = await build(secure, loginRoutes)
        for (const url of ['/login', '/login', '/user']) {
          const response = await new Visitor(app).get(url)
          t.equal(response.statusCode, 200)
          t.same(setCookies(response), [])
        }
      }
    })
    t.match(heard[0], { name: 'FastifySessionWarning', code: 'FST_SESSION_INSECURE', message: /cookie\.secure/ })
    t.equal(heard.length, 1)
    t.match(heard[0]?.message, /trustProxy/)
    t.match(heard[0]?.message, /'auto'/)
  })

  t.test('causes no warning if nothing would be saved', async t => {
    t.same(await warned(async () => {
      const app = await build({ ...secure, saveUninitialized: false }, loginRoutes)
      await new Visitor(app).get('/user')
    }), [])
  })

  t.test('causes no warning over https', async t => {
    t.same(await warned(async () => {
      const app = await build(secure, loginRoutes, { trustProxy: true })
      const response = await new Visitor(app).get('/login', { headers: { 'x-forwarded-proto': 'https' } })
      t.equal(setCookies(response).length, 1)
    }), [])
  })

  t.test("causes no warning with secure: 'auto' or false", async t => {
    t.same(await warned(async () => {
      for (const value of ['auto', false] as const) {
        await new Visitor(await build({ cookie: { secure: value } }, loginRoutes)).get('/login')
      }
    }), [])
  })
})

t.test('a secret in an array that is shorter than 32 characters', async t => {
  const heard = await warned(async () => {
    await build({ secret: ['short', SECRET] }, noRoutes)
    await build({ secret: [SECRET, 'also short'] }, noRoutes)
  })
  t.equal(heard.length, 1)
  t.match(heard[0], { code: 'FST_SESSION_SHORT_SECRET', message: /32/ })
  t.notMatch(heard[0]?.message, /short'|also/, 'the secret is not shown')

  t.same(await warned(() => build({ secret: [SECRET, 'x'.repeat(32)] }, noRoutes)), [])
})

t.test("a change of a session that could not be loaded (onStoreError: 'anonymous')", async t => {
  const store = makeStore(true)
  const { get } = store
  const heard = await warned(async () => {
    const app = await build({ store, onStoreError: 'anonymous' }, loginRoutes)
    const visitor = new Visitor(app)
    await visitor.get('/login')
    store.get = (_sessionId: string, callback: (error: Error) => void) => callback(new Error('The store is away'))
    for (const url of ['/user', '/login', '/login']) await visitor.get(url)
    store.get = get
    t.same((await visitor.get('/user')).json(), { name: 'max' })
  })
  t.match(heard, [{ code: 'FST_SESSION_ANONYMOUS', message: /session\.isAnonymous/ }])
  t.equal(heard.length, 1, 'only once, and not for a read')
})

t.test('the default MemoryStore in production', async t => {
  const { NODE_ENV } = process.env
  t.teardown(() => {
    if (NODE_ENV === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = NODE_ENV
  })

  process.env.NODE_ENV = 'production'
  const heard = await warned(async () => {
    await build({}, noRoutes)
  })
  t.equal(heard.length, 1)
  t.match(heard, [{ code: 'FST_SESSION_MEMORY_STORE', message: /with NODE_ENV=production.*store option/ }])
  t.same(await warned(() => build({ store: new MemoryStore() }, noRoutes)), [], "an application's own MemoryStore causes no warning")

  process.env.NODE_ENV = 'development'
  t.same(await warned(() => build({}, noRoutes)), [])
})

t.test('a session that is changed after its headers went out', async t => {
  const CHANGES: Record<string, (session: any) => void> = {
    'by a property': session => { session.late = true },
    'by set()': session => session.set('late', true),
    'by delete': session => { delete session.user }
  }
  for (const [how, change] of Object.entries(CHANGES)) {
    t.test(how, async t => {
      const heard = await warned(async () => {
        const app = await build({}, app => {
          loginRoutes(app)
          app.get('/late', (request, reply) => {
            const own = session(request)
            reply.raw.once('finish', () => change(own))
            reply.send('ok')
          })
          app.get('/hook', { onResponse: async request => change(session(request)) }, async () => 'ok')
        })
        const visitor = new Visitor(app)
        await visitor.get('/login')
        t.equal((await visitor.get('/late')).body, 'ok')
        t.equal((await visitor.get('/hook')).body, 'ok')
        t.same((await visitor.get('/user')).json(), { name: 'max' }, 'the change is lost')
      })
      t.equal(heard.length, 1)
      t.match(heard, [{ code: 'FST_SESSION_LATE_CHANGE', message: /before reply\.send\(\)/ }])
    })
  }

  for (const hook of ['onSend', 'onResponse']) {
    t.test(`by regenerate() in ${hook}, whose cookie never reaches the visitor`, async t => {
      const heard = await warned(async () => {
        const app = await build({}, app => {
          loginRoutes(app)
          app.get('/late', { [hook]: async (request: FastifyRequest) => await session(request).regenerate(['user']) }, async () => 'ok')
        })
        const visitor = new Visitor(app)
        await visitor.get('/login')
        t.equal((await visitor.get('/late')).body, 'ok')
        t.same((await visitor.get('/user')).json(), {}, 'the visitor has lost the session')
      })
      t.equal(heard.length, 1)
      t.match(heard, [{ code: 'FST_SESSION_LATE_CHANGE' }])
    })
  }

  t.test('causes no warning if the session is only read, or changed in time', async t => {
    t.same(await warned(async () => {
      const app = await build({}, app => {
        loginRoutes(app)
        app.get('/read', { onResponse: async request => session(request).user.name }, async () => 'ok')
        app.get('/in-time', {
          onSend: async request => { session(request).sent = true }
        }, async request => {
          session(request).handled = true
          return 'ok'
        })
      })
      const visitor = new Visitor(app)
      await visitor.get('/login')
      await visitor.get('/read')
    }), [])
  })
})

t.test('a session that is changed on a hijacked reply', async t => {
  const CHANGES: Record<string, (session: any) => void> = {
    'by a property': session => { session.late = true },
    'by set()': session => session.set('late', true),
    'by delete': session => { delete session.user },
    'deep inside': session => { session.user.name = 'moritz' }
  }
  for (const [how, change] of Object.entries(CHANGES)) {
    t.test(how, async t => {
      const heard = await warned(async () => {
        const app = await build({}, app => {
          loginRoutes(app)
          app.get('/hijack', (request, reply) => {
            reply.hijack()
            change(session(request))
            reply.raw.end('mine')
          })
        })
        const visitor = new Visitor(app)
        await visitor.get('/login')
        for (let i = 0; i < 2; i++) t.equal((await visitor.get('/hijack')).body, 'mine')
        t.same((await visitor.get('/user')).json(), { name: 'max' }, 'the change is lost')
      })
      t.equal(heard.length, 1)
      t.match(heard, [{ code: 'FST_SESSION_HIJACKED', message: /session\.save\(\)/ }])
    })
  }

  t.test('causes no warning if the session was saved, or only read', async t => {
    t.same(await warned(async () => {
      const app = await build({}, app => {
        loginRoutes(app)
        app.get('/saved', async (request, reply) => {
          reply.hijack()
          session(request).user.name = 'moritz'
          await request.session.save()
          reply.raw.end('mine')
        })
        app.get('/read', (request, reply) => {
          reply.hijack()
          reply.raw.end(session(request).user.name)
        })
      })
      const visitor = new Visitor(app)
      await visitor.get('/login')
      await visitor.get('/saved')
      t.equal((await visitor.get('/read')).body, 'moritz')
    }), [])
  })
})

t.test('a write to a session object that was replaced or destroyed', async t => {
  const ENDS: Record<string, (session: any) => Promise<void>> = {
    'by regenerate()': session => session.regenerate(),
    'by reload()': session => session.reload(),
    'by destroy()': session => session.destroy()
  }
  const WRITES: Record<string, (session: any) => void> = {
    'a property': session => { session.late = true },
    'set()': session => session.set('late', true),
    delete: session => { delete session.user }
  }
  for (const [ending, end] of Object.entries(ENDS)) {
    for (const [writing, write] of Object.entries(WRITES)) {
      t.test(`${ending}, with ${writing}`, async t => {
        const heard = await warned(async () => {
          const app = await build({}, app => {
            loginRoutes(app)
            app.get('/', async request => {
              const old = session(request)
              await end(old)
              write(old)
              write(old)
              return session(request)?.late ?? 'lost'
            })
          })
          const visitor = new Visitor(app)
          await visitor.get('/login')
          t.equal((await visitor.get('/')).body, 'lost')
        })
        t.equal(heard.length, 1)
        t.match(heard, [{ code: 'FST_SESSION_REPLACED', message: /request\.session/ }])
      })
    }

    t.test(`${ending}: to read the old object and write to the new one causes no warning`, async t => {
      t.same(await warned(async () => {
        const app = await build({}, app => {
          loginRoutes(app)
          app.get('/', async request => {
            const old = session(request)
            await end(old)
            if (request.session !== null) session(request).fine = true
            return old.user ?? {}
          })
        })
        const visitor = new Visitor(app)
        await visitor.get('/login')
        t.equal((await visitor.get('/')).statusCode, 200)
      }), [])
    })
  }
})

t.test('a store without touch with rolling sessions', async t => {
  const heard = await warned(async () => {
    const visitor = new Visitor(await build({ store: makeStore(false) }, loginRoutes))
    await visitor.get('/login')
    await visitor.get('/user')
  })
  t.equal(heard.length, 1)
  t.match(heard, [{ code: 'FST_SESSION_NO_TOUCH', message: /touch/ }])
  t.match(heard[0]?.message, /rolling/)

  t.same(await warned(() => build({ store: makeStore(false), rolling: false }, noRoutes)), [])
  t.same(await warned(() => build({ store: makeStore(true) }, noRoutes)), [])
})

t.test('cookie settings that browsers refuse', async t => {
  const REFUSED: Array<[string, SessionOptions, RegExp]> = [
    ['__Host- and a domain', { cookieName: '__Host-id', cookie: { secure: true, domain: 'example.com' } }, /remove cookie\.domain/],
    ['__Host- and another path', { cookieName: '__Host-id', cookie: { secure: true, path: '/app' } }, /cookie\.path/],
    ['__host- in small letters and secure: false', { cookieName: '__host-id', cookie: { secure: false } }, /set cookie\.secure to true/],
    ['__secure- in small letters and secure: false', { cookieName: '__secure-id', cookie: { secure: false } }, /set cookie\.secure to true/],
    ['__Host- and secure: false', { cookieName: '__Host-id', cookie: { secure: false } }, /set cookie\.secure to true/],
    ['__Secure- and secure: false', { cookieName: '__Secure-id', cookie: { secure: false } }, /set cookie\.secure to true/],
    ["sameSite: 'None' and secure: false", { cookie: { sameSite: 'None' as any, secure: false } }, /set cookie\.secure to true/],
    ["sameSite: 'none' and secure: false", { cookie: { sameSite: 'none', secure: false } }, /set cookie\.secure to true/],
    ['partitioned and secure: false', { cookie: { partitioned: true, secure: false } }, /set cookie\.secure to true/]
  ]
  for (const [what, options, sentence] of REFUSED) {
    t.test(what, async t => {
      const heard = await warned(async () => {
        const visitor = new Visitor(await build(options, loginRoutes))
        for (let i = 0; i < 2; i++) await visitor.get('/login')
      })
      t.match(heard[0], { code: 'FST_SESSION_COOKIE_REFUSED', message: sentence })
      t.equal(heard.filter(({ code }) => code === 'FST_SESSION_COOKIE_REFUSED').length, 1)
    })
  }

  t.test('each of several flaws causes one warning for each registration', async t => {
    const options: SessionOptions = { cookieName: '__Host-id', cookie: { secure: false, partitioned: true, path: '/app' } }
    const heard = await warned(async () => {
      await build(options, noRoutes)
      await build(options, noRoutes)
    })
    t.equal(heard.length, 6)
    t.equal(new Set(heard.map(({ message }) => message)).size, 3)
  })

  const REFUSED_LATE: Array<[string, SessionOptions, RegExp]> = [
    ["secure: 'auto' and __Host-, over http", { cookieName: '__Host-id', cookie: { secure: 'auto' } }, /must be secure/],
    ["secure: 'auto' and partitioned, over http", { cookie: { secure: 'auto', partitioned: true } }, /partitioned/],
    ['a cookie function that returns a domain for __Host-', {
      cookieName: '__Host-id', cookie: () => ({ secure: true, domain: 'example.com' })
    }, /remove cookie\.domain/]
  ]
  for (const [what, options, sentence] of REFUSED_LATE) {
    t.test(`${what}: one warning, when the cookie is sent`, async t => {
      const heard = await warned(async () => {
        const isHttps = typeof options.cookie === 'function'
        const visitor = new Visitor(await build(options, loginRoutes, { trustProxy: true }))
        for (let i = 0; i < 2; i++) {
          const response = await visitor.get('/login', isHttps ? { headers: { 'x-forwarded-proto': 'https' } } : {})
          t.equal(setCookies(response).length, 1)
        }
      })
      t.match(heard, [{ code: 'FST_SESSION_COOKIE_REFUSED', message: sentence }])
      t.equal(heard.length, 1)
    })
  }

  t.test("secure: 'auto' with __Host- or partitioned causes no warning over https", async t => {
    t.same(await warned(async () => {
      for (const options of [{ cookieName: '__Host-id' }, {}]) {
        const app = await build({ ...options, cookie: { secure: 'auto', partitioned: true } }, loginRoutes, { trustProxy: true })
        await new Visitor(app).get('/login', { headers: { 'x-forwarded-proto': 'https' } })
      }
    }), [])
  })

  const ACCEPTED: SessionOptions[] = [
    { cookieName: '__Host-id', cookie: { secure: true } },
    { cookieName: '__Host-id', cookie: { secure: true, path: '/' } },
    { cookieName: '__Secure-id', cookie: { secure: true, domain: 'example.com', path: '/app' } },
    { cookie: { secure: true, sameSite: 'none', partitioned: true } },
    { cookie: { secure: 'auto', sameSite: 'none' } },
    { cookie: { secure: false, sameSite: 'lax' } }
  ]
  for (const options of ACCEPTED) {
    t.test(`no warning with ${JSON.stringify(options)}`, async t => {
      t.same(await warned(() => build(options, noRoutes)), [])
    })
  }
})

t.test('options that are likely a mistake', async t => {
  const HOUR = 3_600_000
  const DAY_AGO = new Date(Date.now() - 24 * HOUR)
  const MISTAKES: Array<[what: string, options: object, sentences: RegExp[]]> = [
    ['maxAge in seconds', { cookie: { maxAge: 3600 } }, [/cookie\.maxAge .* 1 hour .*write 3600 \* 1000/]],
    ['a day', { cookie: { maxAge: 86_400 } }, [/1 day/]],
    ['a week', { idleTimeout: 604_800 }, [/idleTimeout .* 7 days/]],
    ['30 days', { absoluteTimeout: 2_592_000 }, [/absoluteTimeout .* 30 days/]],
    ['a year', { cookie: { maxAge: 31_536_000 } }, [/365 days/]],
    ['half an hour', { idleTimeout: 1800 }, [/30 minutes/]],
    ['ten hours', { idleTimeout: 36_000 }, [/10 hours/]],
    ['several options', { idleTimeout: 900, absoluteTimeout: 43_200, refreshAfter: 300, cookie: { maxAge: 1_209_600 } }, [
      /idleTimeout .* 15 minutes/, /absoluteTimeout .* 12 hours/, /refreshAfter .* 5 minutes/, /cookie\.maxAge .* 14 days/
    ]],
    ['a fixed end in the past', { cookie: { expires: DAY_AGO } }, [/cookie\.expires has passed/]],
    ["express-session's name", { name: 'sid' }, [/name is express-session's: write cookieName/]],
    ["express-session's genid, resave, unset, proxy", { genid: () => 'x', resave: false, unset: 'destroy', proxy: true }, [
      /genid .*idGenerator/, /resave .*not needed/, /unset .*destroy\(\)/, /proxy .*trustProxy/
    ]],
    ['British spelling', { saveUninitialised: false }, [/write saveUninitialized/]],
    ['small letters', { cookiename: 'sid' }, [/write cookieName/]],
    ['an extra letter', { roling: false, stores: {}, idleTimout: HOUR }, [/write rolling/, /write store/, /write idleTimeout/]],
    ['letters in the wrong order', { refershAfter: 1000 }, [/write refreshAfter/]],
    ['another letter', { cookieNane: 'x' }, [/write cookieName/]],
    ['two letters', { saveUnitialized: false }, [/write saveUninitialized/]],
    ['an option among the attributes', { cookie: { rolling: false } }, [/write rolling beside cookie/]],
    ['a fragment in a path', { cookie: { path: '/a#b' } }, [/cookie\.path isn't a pattern or a URL/]],
    ['a pattern for a path', { cookie: { path: '/admin/*' } }, [/cookie\.path isn't a pattern/]],
    ['seconds for storeTimeout', { storeTimeout: 10 }, [/storeTimeout is in milliseconds/]],
    ["the cookie's attributes in the wrong place", { maxAge: HOUR, secure: false }, [/write cookie: \{ maxAge \}/, /write cookie: \{ secure \}/]],
    ['misspelt names of attributes', { cookie: { httponly: true, SameSite: 'lax', max_age: HOUR } }, [
      /write cookie\.httpOnly/, /write cookie\.sameSite/, /write cookie\.maxAge/
    ]]
  ]
  for (const [what, options, sentences] of MISTAKES) {
    t.test(what, async t => {
      const heard = await warned(async () => {
        const visitor = new Visitor(await build(options as SessionOptions, loginRoutes))
        for (let i = 0; i < 2; i++) await visitor.get('/login')
      })
      for (const sentence of sentences) {
        t.equal(heard.filter(({ code, message }) => code === 'FST_SESSION_OPTION' && sentence.test(message)).length, 1, String(sentence))
      }
      t.equal(heard.length, sentences.length)
    })
  }

  t.test('a plausible number or name causes no warning', async t => {
    const FINE: object[] = [
      ...[1, 50, 100, 1000, 1500, 3000, 5000, 10_000, 15_000, 30_000, 60_000, 90_000, 120_000, 900_000, 1_800_000]
        .map(idleTimeout => ({ idleTimeout })),
      ...[1, 2, 3, 6, 12, 24, 24 * 7, 24 * 30, 24 * 365].map(hours => ({ cookie: { maxAge: hours * HOUR } })),
      { cookie: { maxAge: HOUR, expires: DAY_AGO } },
      { cookie: { maxAge: 0, path: '', encode: String, signed: false } },
      { prefix: '/api', logLevel: 'warn', logSerializers: {}, something: 'else', ttl: 1 },
      { cookie: { whatever: true } }
    ]
    for (const options of FINE) {
      t.same(await warned(() => build(options as SessionOptions, noRoutes)), [], JSON.stringify(options))
    }
  })
})

t.test("secure: 'auto' that became insecure", async t => {
  const HEADERS: Array<Record<string, string>> = [
    { 'x-forwarded-proto': 'https' },
    { 'x-forwarded-proto': 'https, http' },
    { forwarded: 'for=192.0.2.60;proto=https;by=203.0.113.43' },
    { forwarded: 'Proto="HTTPS"' }
  ]
  for (const headers of HEADERS) {
    t.test(`although a proxy says ${JSON.stringify(headers)}`, async t => {
      const heard = await warned(async () => {
        const visitor = new Visitor(await build({ cookie: { secure: 'auto' } }, loginRoutes))
        for (let i = 0; i < 2; i++) await visitor.get('/login', { headers })
      })
      t.match(heard, [{ code: 'FST_SESSION_PROXY', message: /trustProxy/ }])
      t.match(heard[0]?.message, new RegExp(String(Object.keys(headers)[0]), 'i'))
      t.equal(heard.length, 1)
    })
  }

  t.test('causes no warning over http, with trustProxy or with secure: false', async t => {
    t.same(await warned(async () => {
      const auto: SessionOptions = { cookie: { secure: 'auto' } }
      await new Visitor(await build(auto, loginRoutes)).get('/login')
      await new Visitor(await build(auto, loginRoutes)).get('/login', { headers: { 'x-forwarded-proto': 'http' } })
      const https = { headers: { 'x-forwarded-proto': 'https' } }
      await new Visitor(await build(auto, loginRoutes, { trustProxy: true })).get('/login', https)
      await new Visitor(await build({}, loginRoutes)).get('/login', https)
    }), [])
  })
})

t.test('request.session that is set to something else', async t => {
  const VALUES: Record<string, unknown> = { 'an object': { user: 'max' }, null: null, undefined, 'a copy': {} }
  for (const [what, value] of Object.entries(VALUES)) {
    t.test(what, async t => {
      const heard = await warned(async () => {
        const app = await build({}, app => {
          loginRoutes(app)
          app.get('/set', async request => {
            (request as any).session = value
            return 'ok'
          })
        })
        const visitor = new Visitor(app)
        await visitor.get('/login')
        for (let i = 0; i < 2; i++) await visitor.get('/set')
        t.same((await visitor.get('/user')).json(), { name: 'max' }, 'the session is neither saved nor ended')
      })
      t.match(heard, [{ code: 'FST_SESSION_NOT_A_SESSION', message: /request\.session .*destroy\(\)/ }])
      t.equal(heard.length, 1)
    })
  }

  t.test('causes no warning if the library sets it, if there is no session, or if the value is a session', async t => {
    t.same(await warned(async () => {
      const app = await build({}, app => {
        loginRoutes(app)
        app.get('/all', async request => {
          await request.session.reload()
          await request.session.regenerate()
          const other = request.session
          request.session = other
          await request.session.destroy()
          ;(request as any).session = null
          return 'ok'
        })
        app.get('/none', { config: { session: false } }, async request => {
          (request as any).session = { user: 'of another plugin' }
          return session(request).user
        })
      })
      const visitor = new Visitor(app)
      for (const url of ['/login', '/all', '/none']) t.equal((await visitor.get(url)).statusCode, 200)
      t.same(setCookies(await visitor.get('/none')), [])
    }), [])
  })

  t.test('a destroy() that fails sets it to null without a warning', async t => {
    const store = makeStore(true)
    t.same(await warned(async () => {
      store.destroy = (_sessionId: string, callback: (error: Error) => void) => callback(new Error('away'))
      const app = await build({ store }, app => {
        loginRoutes(app)
        app.get('/logout', async request => {
          await request.session.destroy().catch(() => {})
          return String(request.session)
        })
      })
      t.equal((await new Visitor(app).get('/logout')).body, 'null')
    }), [])
  })
})

t.test('an idGenerator that returns the same id twice in a row', async t => {
  const GENERATORS: Record<string, () => any> = { synchronously: () => 'the same', 'by a promise': async () => 'the same' }
  for (const [how, idGenerator] of Object.entries(GENERATORS)) {
    t.test(how, async t => {
      const heard = await warned(async () => {
        const app = await build({ idGenerator }, loginRoutes)
        for (let i = 0; i < 3; i++) await new Visitor(app).get('/login')
      })
      t.match(heard, [{ code: 'FST_SESSION_SAME_ID', message: /idGenerator/ }])
      t.notMatch(heard[0]?.message, /the same'/)
      t.equal(heard.length, 1)
    })
  }

  t.test('causes no warning if the ids differ', async t => {
    let n = 0
    t.same(await warned(async () => {
      const app = await build({ idGenerator: () => `id ${n++}` }, loginRoutes)
      for (let i = 0; i < 3; i++) await new Visitor(app).get('/login')
    }), [])
  })
})

t.test('the default MemoryStore in a worker of a cluster', async t => {
  const { isWorker } = cluster
  t.teardown(() => Object.assign(cluster, { isWorker }))
  Object.assign(cluster, { isWorker: true })
  const heard = await warned(() => build({}, noRoutes))
  t.match(heard, [{ code: 'FST_SESSION_MEMORY_STORE', message: /in a worker of a cluster/ }])
  t.equal(heard.length, 1)
  t.same(await warned(() => build({ store: new MemoryStore() }, noRoutes)), [])
})

t.test("a store's client that isn't connected at ready()", async t => {
  const CLIENTS: Record<string, object> = { 'of node-redis': { isOpen: false }, 'of ioredis': { status: 'end' } }
  for (const [what, client] of Object.entries(CLIENTS)) {
    const heard = await warned(() => build({ store: Object.assign(new MemoryStore(), { client }) }, noRoutes))
    t.match(heard, [{ code: 'FST_SESSION_NOT_CONNECTED', message: /connect\(\)/ }], what)
    t.equal(heard.length, 1)
  }
  for (const client of [null, undefined, {}, { isOpen: true }, { status: 'connecting' }, { status: 'wait' }]) {
    t.same(await warned(() => build({ store: Object.assign(new MemoryStore(), { client }) }, noRoutes)), [])
  }
  const client = createClient()
  const heard = await warned(() => build({ store: new RedisStore({ client, ttl: 86_400, prefx: 'x' } as any) }, noRoutes))
  t.match(heard, [
    { code: 'FST_SESSION_OPTION', message: /prefx of RedisStore isn't known: write prefix/ },
    { code: 'FST_SESSION_OPTION', message: /ttl of RedisStore .* 1 day/ },
    { code: 'FST_SESSION_NOT_CONNECTED' }
  ])
  t.equal(heard.length, 3)
  for (const ttl of ['86400000', 0, -1, NaN]) t.throws(() => new RedisStore({ client, ttl } as any), { code: 'FST_ERR_SESSION_OPTION', message: /ttl/ })
})

t.test('a change in a WebSocket that nothing saves', async t => {
  const SAVES: Record<string, { save: boolean, codes: string[] }> = {
    'causes a warning when the socket ends': { save: false, codes: ['FST_SESSION_HIJACKED'] },
    'causes no warning if the session is saved': { save: true, codes: [] }
  }
  for (const [what, { save, codes }] of Object.entries(SAVES)) {
    t.test(what, async t => {
      const app = await build({}, app => {
        loginRoutes(app)
        app.get('/socket', (request, reply) => {
          reply.hijack()
          const { socket } = request.raw
          socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n')
          socket.once('data', async () => {
            session(request).user.name = 'moritz'
            if (save) await request.session.save()
            socket.end()
          })
        })
      })
      t.teardown(() => app.close())
      // As @fastify/websocket does: the upgrade is routed like any request.
      app.server.on('upgrade', (raw, socket) => {
        const response = new ServerResponse(raw)
        response.assignSocket(socket as Socket)
        app.routing(raw, response)
      })
      const visitor = new Visitor(app)
      await visitor.get('/login')
      const heard = await warned(async () => {
        const url = new URL('/socket', await app.listen({ port: 0, host: '127.0.0.1' }))
        const upgrade = request(url, { headers: { cookie: visitor.cookieHeader(), upgrade: 'websocket', connection: 'upgrade' } }).end()
        const [, socket] = await once(upgrade, 'upgrade') as [unknown, Socket]
        socket.write('hello')
        socket.resume()
        await once(socket, 'close')
      })
      t.same(heard.map(({ code }) => code), codes)
      t.same((await visitor.get('/user')).json(), { name: save ? 'moritz' : 'max' })
    })
  }
})

/** An application with a store that has one given method, and a logged-in visitor. */
async function withMethod (t: Test, method: 'get' | 'set', written: (record: any) => Function, options: SessionOptions = {}): Promise<Visitor> {
  const store = makeStore(true)
  const app = await build({ store, rolling: false, ...options }, app => {
    loginRoutes(app)
    app.get('/change', async request => { session(request).n = (session(request).n ?? 0) + 1 })
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/login')
  store[method] = written({ user: { name: 'max' }, cookie: { expires: null, originalMaxAge: null } })
  return visitor
}

t.test('if a method of the store does not answer, the error says what it did instead', async t => {
  const silent = /neither called its callback nor returned a promise/
  const uncalled = /promise was fulfilled, but it never called the callback that it declares/
  const returned = /returned a value, which is ignored/
  const away = /ms: check that the store can be reached/
  const wrong: Array<[what: string, method: 'get' | 'set', written: (record: object) => Function, says: RegExp]> = [
    ['a callback that is never called', 'get', () => (_id: string, _callback: unknown) => {}, silent],
    ['a callback that is never called, and a value', 'get', record => (_id: string, _callback: unknown) => record, returned],
    ['a callback that is never called, and a value that is not a session', 'get', () => (_id: string, _callback: unknown) => 5, silent],
    ['a callback that is never called', 'set', () => (_id: string, _record: object, _callback: unknown) => {}, silent],
    ['neither a callback nor a value', 'set', () => (_id: string, _record: object) => {}, silent],
    ['an async method that declares a callback', 'get', record => async (_id: string, _callback: unknown) => record, uncalled],
    ['an async method that declares a callback', 'set', () => async (_id: string, _record: object, _callback: unknown) => {}, uncalled],
    ['what map.set() returns', 'set', () => (id: string, record: object) => new Map().set(id, record), returned],
    ['a string that is not a session', 'get', () => (_id: string) => 'max', returned],
    ['the JSON of something else', 'get', () => (_id: string) => '["max"]', returned],
    ['a promise that is never settled', 'get', () => () => new Promise(() => {}), away],
    ['the same, and a callback', 'get', () => async (_id: string, _callback: unknown) => { await new Promise(() => {}) }, away]
  ]
  for (const [what, method, written, says] of wrong) {
    t.test(`${method}: ${what}`, async t => {
      const visitor = await withMethod(t, method, written, { storeTimeout: 20 })
      const response = await visitor.get('/change')
      t.equal(response.statusCode, 503)
      t.match(response.json(), { code: 'FST_ERR_SESSION_STORE_TIMEOUT', message: says })
      t.match(response.json().message, `store's ${method} did not answer within 20 ms`)
    })
  }
})

t.test('if get of a store returns the session instead of answering with it, the request fails at once', async t => {
  for (const returned of [(record: object) => record, JSON.stringify]) {
    const visitor = await withMethod(t, 'get', record => (_id: string) => returned(record))
    const response = await visitor.get('/user')
    t.equal(response.statusCode, 500, 'not after storeTimeout, which would be a 503')
    t.match(response.json(), { code: 'FST_ERR_SESSION_STORE', message: /store's get failed: it returned a value.*async.*callback/ })
  }
})

t.test('a store that answers causes no error, whatever it returns', async t => {
  const right: Record<string, (record: object) => Function> = {
    'any arguments, and an answer before it returns the session': record => (...args: any[]) => { args[1](null, record); return record },
    'any arguments, and an answer after it': record => (...args: any[]) => { queueMicrotask(() => args[1](null, record)); return record },
    'any arguments, and an answer in the next tick': record => (...args: any[]) => { process.nextTick(args[1], null, record); return record },
    'any arguments, and an answer a little later': record => (...args: any[]) => { setImmediate(args[1], null, record); return record },
    'any arguments, and something else at once': record => (...args: any[]) => setTimeout(args[1], 5, null, record),
    'a callback with a default': record => (_id: string, callback: any = () => {}) => { setImmediate(callback, null, record); return record },
    'a callback that comes after the return': record => (_id: string, callback: any) => { setTimeout(callback, 5, null, record); return record },
    'a callback that comes after the promise': record => async (_id: string, callback: any) => { setTimeout(callback, 5, null, record); return record },
    'a promise': record => async () => record
  }
  for (const [what, written] of Object.entries(right)) {
    const visitor = await withMethod(t, 'get', written)
    t.same((await visitor.get('/user')).json(), { name: 'max' }, what)
  }
})

t.test('a store whose get answers with something that is not an object', async t => {
  const wrong: Array<[says: RegExp, written: (record: object) => Function]> = [
    [/store's get answered with a string instead of an object.*JSON\.parse/, record => (_id: string, callback: any) => callback(null, JSON.stringify(record))],
    [/answered with a string/, record => async () => JSON.stringify(record)],
    [/answered with a Buffer/, record => async () => Buffer.from(JSON.stringify(record))],
    [/answered with an array/, record => async () => [record]],
    [/answered with a number/, () => async () => 1]
  ]
  for (const [message, written] of wrong) {
    const heard = await warned(async () => {
      const visitor = await withMethod(t, 'get', written)
      for (let i = 0; i < 2; i++) {
        const response = await visitor.get('/user')
        t.same([response.statusCode, response.json()], [200, {}], 'a new session, with which the visitor can log in')
      }
    })
    t.equal(heard.length, 1, 'only once')
    t.match(heard, [{ code: 'FST_SESSION_NOT_RECORD', message }])
    t.notMatch(heard[0]?.message, /max/, 'its answer is not shown')
  }
})

t.test('a hook that uses the session before it is loaded', async t => {
  const visit = (early: (request: any) => void): Promise<Warning[]> => warned(async () => {
    const app = Fastify()
    await app.register(fastifyCookie)
    app.addHook('onRequest', async request => early(request))
    await app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
    app.get('/', async request => session(request).locale ?? 'none')
    for (let i = 0; i < 2; i++) t.equal((await app.inject('/')).body, 'none')
  })
  const heard = await visit(({ session }) => { session.locale = 'de' })
  t.match(heard, [{ code: 'FST_SESSION_EARLY', message: /request\.session before.*after the session plugin/ }])
  t.equal(heard.length, 1)
  t.match(await visit(({ session }) => session.banned), [{ code: 'FST_SESSION_EARLY' }], 'a read of a session key')
  for (const looks of [({ session }: any) => JSON.stringify(session), async ({ session }: any) => await session, () => {}]) {
    t.same(await visit(looks), [], 'no warning if no session key is used')
  }

  t.test('a guard that refuses every request causes the warning too', async t => {
    const turned = (status: number, read: (session: any) => unknown): Promise<Warning[]> => warned(async () => {
      const app = Fastify()
      await app.register(fastifyCookie)
      app.addHook('onRequest', async (request, reply) => {
        if (read(session(request)) === undefined) return await reply.code(status).send('no')
      })
      await app.register(fastifySession, { secret: SECRET, cookie: { secure: false } })
      app.get('/', async () => 'ok')
      for (let i = 0; i < 2; i++) t.equal((await app.inject('/')).statusCode, status)
    })
    for (const status of [302, 401, 403]) {
      const heard = await turned(status, session => session.user)
      t.match(heard, [{ code: 'FST_SESSION_EARLY' }])
      t.equal(heard.length, 1)
    }
    t.same(await turned(429, session => session.user), [], 'a rate limiter (429) causes no warning')
    t.same(await turned(403, () => undefined), [], 'a guard that reads nothing causes no warning')
  })
})

t.test('a touch that fails at the end of a request', async t => {
  const TOUCHES: Record<string, [touch: Function, says: RegExp]> = {
    'declares a callback that it never calls': [(_id: string, _session: object, _callback: Function) => {}, /touch did not answer within 20 ms: it neither called/],
    'calls back with an error': [(_id: string, _session: object, callback: Function) => callback(new Error('secret key')), /The store says: Error\./],
    throws: [() => { throw Object.assign(new Error('secret key'), { code: 'EAWAY' }) }, /The store says: EAWAY\./]
  }
  for (const [what, [touch, says]] of Object.entries(TOUCHES)) {
    t.test(what, async t => {
      const heard = await warned(async () => {
        const app = await build({ store: Object.assign(makeStore(true), { touch }), storeTimeout: 20, cookie: { maxAge: 60_000 } }, loginRoutes)
        const visitor = new Visitor(app)
        await visitor.get('/login')
        for (let i = 0; i < 2; i++) {
          const response = await visitor.get('/user')
          t.same([response.statusCode, response.json()], [200, { name: 'max' }], 'the reply succeeds')
        }
      })
      t.match(heard.filter(({ code }) => code !== 'FST_SESSION_OPTION'), [{ code: 'FST_SESSION_NOT_PROLONGED', message: says }])
      t.equal(heard.filter(({ code }) => code === 'FST_SESSION_NOT_PROLONGED').length, 1)
      t.notMatch(heard.map(({ message }) => message).join(), /secret key/, "the store's message is not shown, because it may contain a session id")
    })
  }
})

t.test('likely mistakes in session.options()', async t => {
  const MISTAKES: Array<[options: object, says: RegExp]> = [
    [{ path: 'x' }, /cookie\.path must be a string that begins with .*session\.options\(\)/],
    [{ secure: 'false' }, /cookie\.secure must be/],
    [{ maxage: 60_000 }, /write cookie\.maxAge/],
    [{ maxAge: 3600 }, /1 hour/]
  ]
  for (const [options, says] of MISTAKES) {
    const heard = await warned(async () => {
      const app = await build({}, app => {
        app.get('/', async request => {
          session(request).options(options)
          return 'ok'
        })
      })
      for (let i = 0; i < 2; i++) t.equal((await app.inject('/')).statusCode, 200)
    })
    t.match(heard, [{ code: 'FST_SESSION_OPTION', message: says }])
    t.equal(heard.length, 1)
  }
})

t.test('an argument of regenerate() that has no effect', async t => {
  for (const [keys, kind] of [['cart', 'a string'], [{ authenticated: true }, 'an object'], [new Set(['cart']), 'a Set']] as const) {
    const heard = await warned(async () => {
      const app = await build({}, app => {
        app.get('/', async request => {
          session(request).cart = 1
          await session(request).regenerate(keys)
          return String(session(request).cart)
        })
      })
      for (let i = 0; i < 2; i++) t.equal((await app.inject('/')).body, 'undefined')
    })
    const message = `keys must be an array, and not ${kind}: write regenerate([keys], { authenticated: true })`
    t.match(heard, [{ code: 'FST_SESSION_OPTION', message }])
    t.equal(heard.length, 1)
  }
})

t.test('a fixed end that passes while the application runs', async t => {
  const time = stopClock(t)
  const heard = await warned(async () => {
    const visitor = new Visitor(await build({ cookie: { expires: new Date(Date.now() + 60_000) } }, loginRoutes))
    await visitor.get('/login')
    time.advance(61_000)
    for (let i = 0; i < 2; i++) await visitor.get('/login')
  })
  t.match(heard, [{ code: 'FST_SESSION_OPTION', message: /cookie\.expires has passed/ }])
  t.equal(heard.length, 1)
})

t.test('a correct application causes no warning', async t => {
  t.same(await warned(async () => {
    const app = await build({ store: new MemoryStore(), cookie: { maxAge: 60_000, sameSite: 'lax' } }, app => {
      loginRoutes(app)
      app.get('/logout', async request => {
        await request.session.destroy()
        return 'bye'
      })
    })
    const visitor = new Visitor(app)
    for (const url of ['/login', '/user', '/user', '/logout', '/user']) await visitor.get(url)
  }), [])
})

/** Registers the plugin with exactly these options. */
async function ready (options: object): Promise<void> {
  const app = Fastify()
  app.register(fastifyCookie)
  app.register(fastifySession, options as any)
  await app.ready()
}

t.test('ready() refuses a secret that cannot sign', async t => {
  const TOO_SHORT = 'the secret must have length 32 or greater'
  const NONE = 'at least one secret is required'
  const MISSING = 'the secret option is required, and must be a String, Array of Strings, or a signer object with .sign and .unsign methods'
  const CASES: Array<[string, unknown, string?]> = [
    ['an empty string', '', TOO_SHORT],
    ['31 characters', 'x'.repeat(31), TOO_SHORT],
    ['an empty array', [], NONE],
    ['an array with an empty string', ['']],
    ['an empty string among good ones', [SECRET, '']],
    ['an array with a number', [42]],
    ['an array with null', [SECRET, null]],
    ['undefined', undefined, MISSING],
    ['null', null, MISSING],
    ['a number', 42, MISSING],
    ['a Buffer', Buffer.from(SECRET), MISSING],
    ['an object without methods', {}, MISSING],
    ['a signer without unsign', { sign: () => '' }, MISSING],
    ['a signer without sign', { unsign: () => '' }, MISSING],
    ['a signer whose sign is no function', { sign: 'x', unsign: () => '' }, MISSING]
  ]
  for (const [what, secret, message] of CASES) {
    await t.rejects(ready({ secret }), { code: 'FST_ERR_SESSION_SECRET', ...(message !== undefined && { message }) }, what)
  }
  const error = await ready({ secret: ['', 'a short secret'] }).catch(error => error)
  t.notMatch(error.message, /a short secret/, 'a secret is not shown')
  await t.resolves(ready({ secret: 'x'.repeat(32) }))
  await t.resolves(ready({ secret: { sign: (value: string) => value, unsign: (value: string) => ({ valid: true, renew: false, value }) } }))
})

t.test('ready() refuses an option with a wrong value', async t => {
  const method = (): void => {}
  const CASES: Record<string, { values: unknown[], options: (value: any) => object, message: RegExp }> = {
    cookieName: { values: ['a b', 'a;b', 'a=b', 'a\n', '\u0000', 'ü', 42], options: cookieName => ({ cookieName }), message: /cookieName/ },
    'cookie.path': { values: ['/a;b', '/\n', '/ü', '/\u0000'], options: path => ({ cookie: { path } }), message: /cookie/ },
    'cookie.domain': { values: ['a;b', 'example .com', '!', 'ü.de', '\n'], options: domain => ({ cookie: { domain } }), message: /cookie/ },
    'cookie.maxAge': {
      values: ['1000', 'a day', NaN, Infinity, -Infinity, {}, [], true, 1e300], options: maxAge => ({ cookie: { maxAge } }), message: /maxAge/
    },
    'cookie.expires': { values: ['garbage', new Date(NaN), {}, NaN, 1e300], options: expires => ({ cookie: { expires } }), message: /expires/ },
    'cookie.sameSite': { values: ['maybe', 42], options: sameSite => ({ cookie: { sameSite } }), message: /cookie/ },
    'cookie.priority': { values: ['urgent'], options: priority => ({ cookie: { priority } }), message: /cookie/ },
    store: {
      values: [{}, { get: method }, { get: method, set: method }, { set: method, destroy: method }, { get: method, set: method, destroy: true }, 42, 'redis'],
      options: store => ({ store }),
      message: /store/
    },
    'a Map as the store': { values: [new Map()], options: store => ({ store }), message: /new MemoryStore\(map\)/ },
    'a Redis client as the store': {
      values: [createClient(), { get: method, set: method, destroy: method, evalsha: method }],
      options: store => ({ store }),
      message: /new RedisStore\(\{ client \}\)/
    },
    'the class of a store instead of a store': { values: [MemoryStore, RedisStore], options: store => ({ store }), message: /new (MemoryStore|RedisStore)\(/ },
    'a store that lacks something': { values: [{ get: method, set: method, destory: method }], options: store => ({ store }), message: /not an object without destroy/ },
    'a factory of stores': { values: [() => new MemoryStore(), async () => new MemoryStore()], options: store => ({ store }), message: /write what it returns/ },
    'an algorithm that is a secret': { values: ['x'.repeat(64)], options: algorithm => ({ algorithm }), message: /and not a string of 64 characters/ },
    'a promise of a store': { values: [Promise.resolve(new MemoryStore()), Promise.reject(new Error('away'))], options: store => ({ store }), message: /await it/ },
    rolling: { values: ['true', 'false', ''], options: rolling => ({ rolling }), message: /rolling must be true, false or a function.* the string/ },
    saveUninitialized: {
      values: ['true', 'false'], options: saveUninitialized => ({ saveUninitialized }), message: /saveUninitialized must be .* the string/
    },
    cacheControl: { values: ['true', () => true], options: cacheControl => ({ cacheControl }), message: /cacheControl must be true or false, and not (the string|a function)/ },
    'cookie.secure': { values: ['false', '', 'TRUE', 'yes', () => true], options: secure => ({ cookie: { secure } }), message: /cookie\.secure must be true, false or 'auto', and not/ },
    'cookie.httpOnly': { values: ['false', 'true', () => true], options: httpOnly => ({ cookie: { httpOnly } }), message: /cookie\.httpOnly must/ },
    'cookie.partitioned': { values: ['false', 'true', () => true], options: partitioned => ({ cookie: { partitioned } }), message: /cookie\.partitioned must/ },
    'a path without its slash': { values: ['app', 'app/', '*', 42], options: path => ({ cookie: { path } }), message: /cookie\.path must be a string that begins with '\/'/ },
    'a negative maxAge': { values: [-1, -3_600_000], options: maxAge => ({ cookie: { maxAge } }), message: /cookie\.maxAge must be a positive number of milliseconds, or 0, and not -/ },
    'a maxAge beside refreshAfter': {
      values: ['1h', '3600000', -1, NaN], options: maxAge => ({ refreshAfter: 1000, cookie: { maxAge } }), message: /cookie\.maxAge must/
    },
    refreshAfter: { values: [60_000, '1s', -1], options: refreshAfter => ({ refreshAfter, cookie: { maxAge: 60_000 } }), message: /refreshAfter must/ },
    'several kinds': {
      values: [[], Object.create(null), new (class Id {})(), null], options: what => ({ idGenerator: what ?? 7n }), message: /not (an? (array|Array|object|Id|BigInt))/
    },
    idGenerator: { values: ['id', 42, {}, true], options: idGenerator => ({ idGenerator }), message: /idGenerator/ },
    algorithm: { values: ['md6', 'sha', 42, {}], options: algorithm => ({ algorithm }), message: /algorithm/ },
    cookie: { values: [[], 'secure', 42], options: cookie => ({ cookie }), message: /cookie must be an object or a function/ },
    cookiePrefix: { values: [42, {}, true, '\ud800', 's:\udc00'], options: cookiePrefix => ({ cookiePrefix }), message: /cookiePrefix/ },
    storeTimeout: {
      values: [0, -1, NaN, Infinity, '50', 'soon', {}, [], true, 2 ** 31], options: storeTimeout => ({ storeTimeout }), message: /storeTimeout/
    }
  }
  for (const [option, { values, options, message }] of Object.entries(CASES)) {
    t.test(option, async t => {
      for (const value of values) {
        const what = typeof value === 'string' || typeof value === 'object' ? JSON.stringify(value) : String(value)
        await t.rejects(ready({ secret: SECRET, ...options(value) }), { code: 'FST_ERR_SESSION_OPTION', message }, what)
      }
    })
  }

  t.test('good values are accepted', async t => {
    for (const options of [
      {},
      { cookie: {} },
      { cookieName: "!#$%&'*+-.^_`|~a1", cookiePrefix: 's:', cookie: { path: '/app', domain: '.example.com' } },
      { cookie: { maxAge: 1 } },
      { rolling: 1, saveUninitialized: 0, cacheControl: null, cookie: { secure: null, httpOnly: 0, partitioned: undefined, path: null } },
      { rolling: () => true, saveUninitialized: () => true },
      { cookie: { secure: 'true', sameSite: 'LAX', priority: 'High' } },
      { cookie: { secure: 'auto', sameSite: false, domain: '', maxAge: 0 } },
      { store: false, cookie: { maxAge: false } },
      { cookie: { maxAge: undefined, expires: undefined, path: undefined, domain: undefined, sameSite: undefined } },
      { cookie: { expires: new Date(0) } },
      { cookie: { expires: new Date(Date.now() + 1000), maxAge: 1000, sameSite: true, httpOnly: false } },
      { storeTimeout: 1, algorithm: 'sha512', rolling: false, saveUninitialized: false, idGenerator: () => 'id' },
      { store: { get: method, set: method, destroy: method }, rolling: false }
    ]) await t.resolves(ready({ secret: SECRET, ...options }))
  })
})
