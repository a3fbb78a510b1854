/** Stores are given plain data, and a handler can copy and log its session. */
import { cpSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { isProxy } from 'node:util/types'
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import { build, Visitor, type Routes } from './helpers'
import { type Answer, ThreeMethodStore } from './odd-stores'

const HOUR = 60 * 60_000
const session = (request: { session: unknown }): any => request.session

/** Records everything that it is given. */
class CuriousStore extends ThreeMethodStore {
  readonly given: any[] = []

  override set (sessionId: string, session: any, callback: Answer): void {
    this.given.push(session)
    super.set(sessionId, session, callback)
  }

  touch (_sessionId: string, session: any, callback: Answer): void {
    this.given.push(session)
    callback(null)
  }
}

const routes: Routes = app => {
  app.get('/login', async request => {
    session(request).user = { name: 'max' }
    session(request).cart = ['apple']
    app.decorated = session(request)
  })
  app.get('/whoami', async request => session(request).user?.name ?? 'nobody')
  app.get('/visit', async request => { session(request).visits = (session(request).visits ?? 0) + 1 })
  app.get('/remember', async request => { session(request).cookie.maxAge = 5 * HOUR })
}

declare module 'fastify' {
  interface FastifyInstance { decorated?: any }
}

async function visit (t: Test, store: any, options: object = {}): Promise<Visitor> {
  const app = await build({ store, cookie: { maxAge: HOUR }, ...options }, routes)
  t.teardown(() => app.close())
  return new Visitor(app)
}

t.test('a store is given plain data, with get() and sessionId for stores that ask for them', async t => {
  const store = new CuriousStore()
  const visitor = await visit(t, store)
  for (const url of ['/login', '/whoami', '/visit', '/remember']) {
    store.given.length = 0
    await visitor.get(url)
    t.ok(store.given.length > 0, url)
    const [sessionId] = [...store.records.keys()]
    for (const given of store.given) {
      t.notOk(isProxy(given), 'not the live session')
      t.equal(given.sessionId, sessionId)
      t.same(given.get('user'), { name: 'max' })
      t.same(given.get('cart'), ['apple'])
      t.equal(given.get('constructor'), undefined)
      t.equal(given.get('toString'), undefined)
      t.ok(given.cookie.expires instanceof Date)
      t.ok(Math.abs(Number(given.cookie.expires) - Date.now() - given.cookie.maxAge) < 60_000, 'stores compute their ttl from it')
      t.same(Object.keys(given).filter(key => !['user', 'cart', 'visits', 'cookie'].includes(key)), [], 'nothing but data')
      t.ok(Object.values(given.cookie).every(value => typeof value !== 'function'), 'no methods in the cookie')
      t.doesNotThrow(() => structuredClone(given), 'it can be cloned')
      t.same(JSON.parse(JSON.stringify(given)).user, { name: 'max' })
    }
  }
})

t.test('a session without an end has no maxAge for stores either', async t => {
  const store = new CuriousStore()
  await (await visit(t, store, { cookie: {} })).get('/login')
  t.same(store.given.map(({ cookie }: any) => [cookie.expires, cookie.maxAge]), [[null, null]])
})

t.test('later changes in the handler do not reach a store that keeps the object it was given', async t => {
  const store = new CuriousStore()
  const visitor = await visit(t, store)
  await visitor.get('/login')
  const [given] = store.given
  const before = JSON.stringify(given)
  const live = (visitor.app as any).decorated
  live.user.name = 'eva'
  live.cart.push('pear')
  live.cookie.maxAge = 1
  t.equal(JSON.stringify(given), before)
})

// --- Copies of the cookie

/** Copies as lodash's cloneDeep and others do: a new object with the same prototype and copies of all own values. */
function clone (value: any): any {
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Date) return new Date(value)
  const copy = Array.isArray(value) ? [] : Object.create(Object.getPrototypeOf(value))
  for (const key of Object.keys(value)) copy[key] = clone(value[key])
  return copy
}

const cloneDeep: (value: any) => any = createRequire(require.resolve('tap'))('lodash.clonedeep')

const COPIES: Record<string, (cookie: any) => any> = {
  'by hand': clone,
  lodash: cloneDeep,
  'a spread': cookie => ({ ...cookie }),
  'Object.assign': cookie => Object.assign(Object.create(Object.getPrototypeOf(cookie)), cookie),
  'Object.create': cookie => Object.create(cookie),
  JSON: cookie => JSON.parse(JSON.stringify(cookie))
}

for (const [how, copyOf] of Object.entries(COPIES)) {
  t.test(`a copy of the cookie (${how}) can be read, changed and printed without changing the session`, async t => {
    const store = new MemoryStore()
    const app = await build({ store, cookie: { maxAge: HOUR } }, app => {
      app.get('/', async request => {
        session(request).user = 'max'
        const { cookie } = session(request)
        const copy = copyOf(cookie)
        t.equal(copy.path, '/')
        JSON.stringify(copy)
        String(copy.expires)
        copy.path = '/elsewhere'
        copy.expires = new Date(0)
        copy.maxAge = 1
        copy.expires = null
        t.match(cookie, { path: '/', originalMaxAge: HOUR })
        t.ok(cookie.maxAge > HOUR - 60_000)
        return 'ok'
      })
    })
    t.teardown(() => app.close())
    const visitor = new Visitor(app)
    for (let i = 0; i < 3; i++) {
      const response = await visitor.get('/')
      t.equal(response.body, 'ok')
      const { path, expires } = response.cookies[0] as any
      t.equal(path, '/')
      t.ok(expires > Date.now() + HOUR - 60_000)
    }
    const [record] = [...store.store.values()] as any[]
    t.match(record.cookie, { originalMaxAge: HOUR, idle: HOUR, chosen: undefined })
    t.ok(record.cookie.expires > Date.now() + HOUR - 60_000)
  })
}

t.test('a whole session can be copied', async t => {
  const app = await build({}, app => {
    app.get('/', async request => {
      session(request).user = { name: 'max' }
      return JSON.stringify([cloneDeep(session(request)), clone(session(request)), { ...session(request) }])
    })
  })
  t.teardown(() => app.close())
  for (const copy of (await new Visitor(app).get('/')).json()) t.match(copy, { user: { name: 'max' }, cookie: { path: '/' } })
})

// --- Logs

for (const rolling of [true, false]) {
  for (const field of ['path', 'expires', 'maxAge', 'originalMaxAge', '*', 'secure']) {
    for (const life of ['configured', 'chosen', 'ends with the browser']) {
      const path = `session.cookie.${field}`
      t.test(`pino logs a session with redact: ['${path}'] without changing it: ${life}, rolling: ${rolling}`, async t => {
        const lines: string[] = []
        const stream = new Writable({
          write (line, _encoding, done) {
            lines.push(String(line))
            done()
          }
        })
        const store = new MemoryStore()
        const app = await build({ store, rolling, cookie: { maxAge: HOUR } }, app => {
          app.get('/login', async request => {
            session(request).user = 'max'
            if (life === 'chosen') session(request).cookie.maxAge = 5 * HOUR
            if (life === 'ends with the browser') session(request).cookie.maxAge = null
            if (life === 'chosen') request.log.info({ session: request.session }, 'while it is chosen')
          })
          app.get('/log', async request => {
            const before = JSON.stringify(session(request).cookie)
            request.log.info({ session: request.session }, 'here')
            t.equal(JSON.stringify(session(request).cookie), before)
            return session(request).isModified()
          })
        }, { logger: { level: 'info', stream, redact: [path] } })
        t.teardown(() => app.close())
        const visitor = new Visitor(app)
        await visitor.get('/login')
        const kept = (): object => {
          const { expires, seenAt, ...others } = ([...store.store.values()][0] as any).cookie
          return others
        }
        const before = kept()
        for (let i = 0; i < 2; i++) {
          const response = await visitor.get('/log')
          t.equal(response.statusCode, 200)
          t.equal(response.body, 'false')
          t.same(kept(), before)
          if (!rolling) t.same(response.cookies, [], 'nothing was chosen')
        }
        const logged = lines.map(line => JSON.parse(line)).filter(({ msg }) => msg === 'here')
        t.equal(logged.length, 2)
        for (const { session } of logged) {
          t.match(session, { user: 'max', cookie: {} }, 'it was logged')
          if (field === 'path') t.equal(session.cookie.path, '[Redacted]')
        }
      })
    }
  }
}

// --- A second copy of the library

t.test('a MemoryStore from a second copy of the library works, and so do stores that inherit from it', async t => {
  const folder = t.testdir({})
  cpSync(join(__dirname, '..', 'src'), join(folder, 'src'), { recursive: true })
  symlinkSync(join(process.cwd(), 'node_modules'), join(folder, 'node_modules'))
  const second = createRequire(__filename)(join(folder, 'src', 'index'))
  t.not(second.MemoryStore, MemoryStore)

  await t.test('on its own', async t => {
    const store = new second.MemoryStore()
    const visitor = await visit(t, store)
    await visitor.get('/login')
    await visitor.get('/visit')
    t.equal((await visitor.get('/whoami')).body, 'max')
    const [record] = [...store.store.values()]
    t.match(record, { user: { name: 'max' }, visits: 1 })
  })

  await t.test('with an index by user', async t => {
    const store = new second.MemoryStore()
    const visitor = await visit(t, store, { user: (session: any) => session.user?.name })
    await visitor.get('/login')
    const app = visitor.app as any
    t.equal((await app.sessions.forUser('max')).length, 1)
    t.equal(await app.sessions.revokeUser('max'), 1)
    t.equal((await visitor.get('/whoami')).body, 'nobody')
  })

  // As connect-memcached, session-file-store and connect-loki do.
  await t.test('as the base class of a store with its own methods', async t => {
    const calls: string[] = []
    class Inheriting extends second.Store {
      readonly files = new Map<string, string>()

      get (sessionId: string, callback: Answer): void {
        calls.push('get')
        callback(null, JSON.parse(this.files.get(sessionId) ?? 'null'))
      }

      set (sessionId: string, session: object, callback: Answer): void {
        calls.push('set')
        this.files.set(sessionId, JSON.stringify(session))
        callback()
      }

      destroy (sessionId: string, callback: Answer): void {
        this.files.delete(sessionId)
        callback()
      }
    }
    const store = new Inheriting()
    const visitor = await visit(t, store)
    await visitor.get('/login')
    await visitor.get('/visit')
    await visitor.get('/visit')
    t.equal((await visitor.get('/whoami')).body, 'max')
    t.match(JSON.parse([...store.files.values()][0] as string), { visits: 2 })
    t.ok(calls.length > 4)
  })
})
