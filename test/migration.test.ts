/** What docs/migrating.md says, tested with the real libraries that people come from. */
import '../packages/predecessors'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { RedisStore as ConnectRedis } from 'connect-redis'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import ts from 'typescript'
import fastifySession, { MemoryStore } from '../src/index'
import { RedisStore } from '../src/stores/redis'
import { Jar } from '../src/testing/visitor'
import { clock, Gate, SECRET, setCookies, stopClock, type Routes, type SessionOptions } from './helpers'
import { ROOT } from './program'
import { connectTo, letPass, startRedis, type NodeRedis } from './servers'

// Their types are missing, or are for other versions of Fastify. They aren't needed here.
const { besideVersion9, besideVersion11, signedTwice } = require('../examples/migrating/beside-older-versions')
const { expressApp, sessionOptions } = require('../examples/migrating/express')
const moveSecureSessions = require('../examples/migrating/secure-session')
const { StringsAndHashes } = require('../examples/migrating/strings-and-hashes')
const secureSession = require('@fastify/secure-session')
const expressSession = require('express-session')

/** The options of Fastify and of @fastify/cookie as well. */
type Options = SessionOptions & { trustProxy?: boolean, cookies?: object }

interface Version {
  name: number
  fastify: any
  cookie: any
  session: any
}

const OURS: Version = { name: 12, fastify: Fastify, cookie: require('@fastify/cookie'), session: fastifySession }
const VERSIONS: Version[] = [
  { name: 9, fastify: require('fastify-4'), cookie: require('fastify-cookie-9'), session: require('upstream-session-9') },
  { name: 10, fastify: require('fastify-4'), cookie: require('fastify-cookie-9'), session: require('upstream-session-10') },
  { ...OURS, name: 11, session: require('upstream-session') }
]
const [VERSION_9, VERSION_10, VERSION_11] = VERSIONS as [Version, Version, Version]
const OTHER_SECRET = 'another secret of 32 or more characters'
const MINUTE = 60_000

let client: NodeRedis
let prefixes = 0

t.before(async () => {
  client = await connectTo(t, await startRedis(t))
})

// --- A browser, and applications

/** A browser for several servers: it sends each of them the cookies that any of them has set. */
class Traveller extends Jar {
  /** @param where an application, or the address of a server */
  async send (where: any, method: string, path: string, more: Record<string, string> = {}): Promise<{ status: number, body: string, setCookies: string[] }> {
    const headers = this.headersWith(more)
    let answer
    if (typeof where === 'string') {
      const response = await fetch(where + path, { method, headers })
      answer = { status: response.status, body: await response.text(), setCookies: response.headers.getSetCookie() }
    } else {
      const response = await where.inject({ method, url: path, headers })
      answer = { status: response.statusCode, body: response.body, setCookies: setCookies(response) }
    }
    this.keep(answer.setCookies)
    return answer
  }

  async get (where: any, path: string): Promise<string> {
    return (await this.send(where, 'GET', path)).body
  }

  async post (where: any, path: string): Promise<string> {
    return (await this.send(where, 'POST', path)).body
  }

  async data (where: any): Promise<any> {
    return JSON.parse(await this.get(where, '/data'))
  }

  copy (): Traveller {
    return new Traveller().with(this)
  }
}

/** The same application on each version. */
async function build (t: Test, version: Version, { trustProxy = false, cookies = {}, ...options }: Options, more: Routes = () => {}): Promise<FastifyInstance> {
  const app = version.fastify({ trustProxy, forceCloseConnections: true })
  await app.register(version.cookie, cookies)
  await app.register(version.session, { secret: SECRET, ...options, cookie: { secure: false, ...options.cookie } })
  app.post('/login', async (request: any) => {
    await request.session.regenerate()
    request.session.user = { name: 'ada' }
    return 'welcome'
  })
  app.get('/data', async ({ session }: any) => {
    // Version 9 shows its own fields among the data.
    const { cookie, expires, sessionId, encryptedSessionId, ...data } = session
    return data
  })
  app.post('/cart/:item', async ({ session, params }: any) => {
    session.cart ??= { items: [] }
    session.cart.items.push(params.item)
    return session.cart
  })
  app.post('/forget', async ({ session }: any) => {
    delete session.cart
    return 'forgotten'
  })
  app.post('/logout', async ({ session }: any) => {
    await session.destroy()
    return 'bye'
  })
  more(app)
  await app.ready()
  t.teardown(() => app.close())
  return app
}

/** A store in Redis, with its own key prefix. */
function redisStore (options: object = {}): { store: any, prefix: string, records: () => Promise<any[]> } {
  const prefix = `test-${prefixes++}:`
  return {
    store: new ConnectRedis({ client: client as any, prefix, ...options }),
    prefix,
    async records () {
      const keys = await client.keys(`${prefix}*`)
      return await Promise.all(keys.map(async key => JSON.parse(await client.get(key) as string)))
    }
  }
}

async function listen (app: FastifyInstance): Promise<string> {
  return await app.listen({ host: '127.0.0.1', port: 0 })
}

const ADA = { user: { name: 'ada' } }

// --- From version 9, 10 and 11

const KINDS: Record<string, Options> = {
  'with the defaults': {},
  'with maxAge': { cookie: { maxAge: MINUTE } },
  'with maxAge, not rolling': { cookie: { maxAge: MINUTE }, rolling: false },
  'without maxAge, not rolling': { rolling: false },
  'no session before there are data': { saveUninitialized: false, cookie: { maxAge: MINUTE } },
  'several secrets': { secret: [SECRET, OTHER_SECRET] },
  'a cookie of another name, with a prefix': { cookieName: 'sid', cookiePrefix: 's:' }
}

/** What version 9 does not have, or can't do correctly. */
const NOT_IN_9 = ['a cookie of another name, with a prefix', 'without maxAge, not rolling']

for (const version of VERSIONS) {
  t.test(`a visitor who logged in on version ${version.name} stays logged in on version 12, and the other way round`, async t => {
    for (const [kind, options] of Object.entries(KINDS)) {
      if (version.name === 9 && NOT_IN_9.includes(kind)) continue
      const { secret = SECRET } = options
      await t.test(kind, t => testBothWays(t, version, options, store => version.name === 9 ? besideVersion9(store, secret) : besideVersion11(store)))
      if (version.name > 9) await t.test(`${kind}, both with connect-redis itself`, t => testBothWays(t, version, options, store => store))
    }
  })
}

async function testBothWays (t: Test, version: Version, options: Options, beside: (store: any) => any): Promise<void> {
  const { store, records } = redisStore()
  const before = await build(t, version, { ...options, store })
  const after = await build(t, OURS, { ...options, store: beside(store) })
  for (const [first, second] of [[before, after], [after, before]] as const) {
    const ada = new Traveller()
    const stranger = new Traveller()
    await ada.post(first, '/login')
    const id = cookieOf(ada).slice(0, 30)
    t.strictSame(await ada.data(second), ADA, 'logged in on both')
    t.strictSame(await ada.data(first), ADA, 'and still on the first')
    await ada.post(second, '/cart/pen')
    await ada.post(first, '/cart/ink')
    const full = { ...ADA, cart: { items: ['pen', 'ink'] } }
    t.strictSame(await ada.data(second), full, 'each sees what the other wrote')
    t.strictSame(await ada.data(first), full)
    t.equal(cookieOf(ada).slice(0, 30), id, 'in the same session')
    await ada.post(first, '/forget')
    t.strictSame(await ada.data(second), ADA, 'each sees what the other removed')
    await ada.post(first, '/cart/ink')
    await ada.post(second, '/forget')
    t.strictSame(await ada.data(first), ADA)
    t.strictSame(await stranger.data(second), {}, 'a stranger has no data')

    const old = ada.copy()
    await ada.post(second, '/login')
    t.not(cookieOf(ada).slice(0, 30), id, 'a login changes the id')
    t.strictSame(await ada.data(first), ADA)
    // Versions 9 and 10 leave the old session in the store.
    const isLeft = second === before && version.name < 11
    t.strictSame(await old.data(first), isLeft ? ADA : {}, 'the data of the old id')
    const copy = ada.copy()
    await ada.post(first, '/logout')
    t.strictSame(await copy.copy().data(second), {}, 'logged out of both')
    t.strictSame(await copy.copy().data(first), {})
  }
  if (options.saveUninitialized === false && version.name > 10) t.strictSame(await records(), [], 'no record is left')
}

function cookieOf (browser: Traveller): string {
  return [...browser.cookies.values()][0] ?? ''
}

t.test('a cookie signed with an older secret is valid in both', async t => {
  for (const version of VERSIONS) {
    const { store } = redisStore()
    const secret = [SECRET, OTHER_SECRET]
    const earlier = await build(t, version, { secret: OTHER_SECRET, store })
    const before = await build(t, version, { secret, store })
    const after = await build(t, OURS, { secret, store: version.name === 9 ? besideVersion9(store, secret) : store })
    const ada = new Traveller()
    await ada.post(earlier, '/login')
    for (const app of [after, before, after, before]) t.strictSame(await ada.data(app), ADA, String(version.name))
  }
})

t.test('a session lives as long as it is used, on any version', async t => {
  const options: Options = { cookie: { maxAge: 4 * MINUTE } }
  const { advance } = clock(t)

  async function lives (version: Version, beside: (store: any) => any, last: 'old' | 'new'): Promise<boolean> {
    const { store, prefix } = redisStore()
    const pass = async (milliseconds: number): Promise<void> => {
      advance(milliseconds)
      await letPass(client, milliseconds, `${prefix}*`)
    }
    const old = await build(t, version, { ...options, store })
    const ours = await build(t, OURS, { ...options, store: beside(store) })
    const ada = new Traveller()
    await ada.post(old, '/login')
    await pass(MINUTE)
    await ada.data(ours)
    await pass(3.5 * MINUTE)
    return (await ada.data(last === 'old' ? old : ours)).user !== undefined
  }
  const itself = (store: any): any => store
  const both = (store: any): any => besideVersion9(store, SECRET)
  const cases: Array<[what: string, expected: boolean, ...Parameters<typeof lives>]> = [
    ['9, then 12', true, VERSION_9, itself, 'new'],
    ['9, then 12 with RedisStore', true, VERSION_9, ({ prefix }) => new RedisStore({ client, prefix }), 'new'],
    ['10, then 12', true, VERSION_10, itself, 'new'],
    ['11, then 12', true, VERSION_11, itself, 'new'],
    ['12 next to 9', true, VERSION_9, both, 'old'],
    ['12 next to 10', true, VERSION_10, besideVersion11, 'old'],
    ['12 next to 11', true, VERSION_11, besideVersion11, 'old'],
    // Versions 10 and 11 go by the expiry in the record. A touch does not change it until half of the lifetime has passed.
    ['12 with touch, next to 10', false, VERSION_10, itself, 'old'],
    ['12 with touch, next to 11', false, VERSION_11, itself, 'old']
  ]
  for (const [what, expected, ...which] of cases) t.equal(await lives(...which), expected, what)
})

t.test('next to version 9', async t => {
  const { store, records } = redisStore()
  const old = await build(t, VERSION_9, { store })

  await t.test('besideVersion9 writes what version 9 looks for', async t => {
    const ours = await build(t, OURS, { store: besideVersion9(store, [SECRET, OTHER_SECRET]) })
    const ada = new Traveller()
    await ada.post(ours, '/login')
    const [{ sessionId, encryptedSessionId, ...record }] = await records()
    t.strictSame(record.user, ADA.user)
    t.equal(cookieOf(ada), encryptedSessionId)
    t.ok(cookieOf(ada).startsWith(sessionId))
    await client.flushAll()
  })

  await t.test('without besideVersion9, version 9 moves the data to a new id, or forgets them', async t => {
    const ours = await build(t, OURS, { store })
    const ada = new Traveller()
    await ada.post(ours, '/login')
    const first = ada.copy()
    t.strictSame(await ada.data(old), ADA)
    t.not(cookieOf(ada), cookieOf(first))
    await ada.post(old, '/logout')
    t.strictSame(await first.data(ours), ADA, 'the first session is still logged in')

    const careful = await build(t, VERSION_9, { store, saveUninitialized: false })
    const max = new Traveller()
    await max.post(ours, '/login')
    await max.get(careful, '/data')
    t.equal(max.cookies.size, 0, 'logged out')
  })

  await t.test("of version 9's own fields, the id is not in the data, but expires is", async t => {
    const ours = await build(t, OURS, { store }, app => {
      app.get('/keys', async request => [Object.keys(request.session), request.session.sessionId.length])
    })
    const ada = new Traveller()
    await ada.post(old, '/login')
    t.strictSame(JSON.parse(await ada.get(ours, '/keys')), [['cookie', 'expires', 'user'], 32])
  })

  await t.test('with rolling: false and without maxAge, version 9 logs visitors out by itself', async t => {
    const broken = await build(t, VERSION_9, { store, rolling: false })
    const ada = new Traveller()
    await ada.post(broken, '/login')
    await ada.get(broken, '/data')
    t.equal(ada.cookies.size, 0)
  })
})

t.test('cookies that version 9 read with unsignSignedCookie are valid', async t => {
  const { store } = redisStore()
  const cookieSecret = 'what @fastify/cookie signs with'
  const cookies = { secret: cookieSecret, parseOptions: { signed: true } }
  const old = await build(t, VERSION_9, { store, cookies, unsignSignedCookie: true } as Options)
  const ours = await build(t, OURS, { store: besideVersion9(store, SECRET), cookies, secret: signedTwice(SECRET, cookieSecret) })
  const without = await build(t, OURS, { store, secret: signedTwice(SECRET, cookieSecret) })
  const ada = new Traveller()
  await ada.post(old, '/login')
  t.strictSame(await ada.copy().data(await build(t, OURS, { store })), {}, 'without that, one signature is too many')
  for (const app of [ours, ours, old, ours, without, without]) t.strictSame(await ada.data(app), ADA)
  const max = new Traveller()
  await max.post(ours, '/login')
  for (const app of [old, ours, without]) t.strictSame(await max.data(app), ADA)
})

t.test('behind a proxy that terminates TLS, version 12 needs trustProxy, and version 9 did not', async t => {
  const https = { 'x-forwarded-proto': 'https' }
  async function cookies (version: Version, trustProxy: boolean): Promise<number> {
    const app = await build(t, version, { cookie: { secure: true }, trustProxy })
    return (await new Traveller().send(app, 'POST', '/login', https)).setCookies.length
  }
  t.equal(await cookies(VERSION_9, false), 1)
  t.equal(await cookies(VERSION_10, false), 0)
  t.equal(await cookies(OURS, false), 0)
  t.equal(await cookies(OURS, true), 1)
})

t.test('the limits of running next to an older version', async t => {
  for (const version of VERSIONS) {
    const name = `version ${version.name}`
    const { store, records } = redisStore()
    const gate = new Gate()
    const old = await build(t, version, { store, cookie: { maxAge: MINUTE } }, app => {
      app.get('/slow', async () => {
        await gate.pass()
        return 'done'
      })
    })
    const ourStore = version.name === 9 ? besideVersion9(store, SECRET) : store
    const ours = await build(t, OURS, { store: ourStore, cookie: { maxAge: MINUTE }, absoluteTimeout: 10 * MINUTE })
    const ada = new Traveller()
    await ada.post(ours, '/login')
    t.ok((await records())[0].cookie.createdAt)
    await ada.data(old)
    t.notOk((await records())[0].cookie.createdAt, `${name} removes the creation time from the record, so absoluteTimeout starts again`)

    const slow = ada.copy().get(old, '/slow')
    await gate.holds()
    const copy = ada.copy()
    await ada.post(ours, '/logout')
    t.strictSame(await records(), [])
    gate.open()
    await slow
    t.equal((await records()).length, 1, `a request in flight in ${name} brings back what was logged out`)
    t.strictSame(await copy.data(ours), ADA)
  }
})

// --- What other versions drop from a record

/** Our store, and the same store as other software sees it: three methods, and JSON as from any database. */
function sharedStore (): { store: MemoryStore, three: any, record: () => any } {
  const store = new MemoryStore()
  return {
    store,
    three: {
      get (sessionId: string, callback: any) { store.get(sessionId, (error, record) => callback(error, record && JSON.parse(JSON.stringify(record)))) },
      set (sessionId: string, session: object, callback: any) { store.set(sessionId, JSON.parse(JSON.stringify(session)), callback) },
      destroy (sessionId: string, callback: any) { store.destroy(sessionId, callback) }
    },
    record: () => [...store.store.values()][0]
  }
}

/** An application on this version in which a visitor chooses a lifetime at login. */
async function choosing (t: Test, options: Options): Promise<FastifyInstance> {
  return await build(t, OURS, { saveUninitialized: false, ...options }, app => {
    app.post('/remember/:choice', async ({ session, params }: any) => {
      session.user = { name: 'ada' }
      if (params.choice === 'maxAge') session.cookie.maxAge = 30 * MINUTE
      if (params.choice === 'date') session.cookie.expires = new Date(Date.now() + 90 * MINUTE)
      if (params.choice === 'browser') session.cookie.maxAge = null
      return 'welcome'
    })
  })
}

/** Lets other software change a visitor's session. */
type Change = (t: Test, visitor: Traveller, shared: ReturnType<typeof sharedStore>, options: Options) => Promise<unknown>

const OTHERS: Record<string, Change> = {
  9: async (t, visitor, { three, store }, { cookie }) => {
    const [sessionId] = store.store.keys()
    // As besideVersion9 does.
    await new Promise<void>(resolve => three.get(sessionId, (_: unknown, record: object) => {
      three.set(sessionId, { ...record, sessionId, encryptedSessionId: cookieOf(visitor) }, resolve)
    }))
    return await visitor.post(await build(t, VERSION_9, { store: three, cookie }), '/cart/pen')
  },
  10: async (t, visitor, { three }, { cookie }) => await visitor.post(await build(t, VERSION_10, { store: three, cookie }), '/cart/pen'),
  11: async (t, visitor, { three }, { cookie }) => await visitor.post(await build(t, VERSION_11, { store: three, cookie }), '/cart/pen'),
  // What 12.0.0 wrote on a change: it keeps what it knows, if it has the options.
  '12.0.0': async (_t, _visitor, { three, store }, { cookie: { maxAge } = {}, absoluteTimeout, user }: any) => {
    const [sessionId] = store.store.keys()
    await new Promise<void>(resolve => three.get(sessionId, (_: unknown, { cookie, ...data }: any) => {
      const { expires, originalMaxAge, path, httpOnly, secure, createdAt, userKey, claimedAt } = cookie
      const written: any = { originalMaxAge: originalMaxAge ?? maxAge ?? null, path, httpOnly, secure }
      written.expires = written.originalMaxAge === null ? expires : new Date(Date.now() + written.originalMaxAge)
      if (absoluteTimeout !== undefined) Object.assign(written, { createdAt, absoluteTimeout })
      if (user !== undefined && userKey !== undefined) Object.assign(written, { createdAt, touchedAt: Date.now(), userKey, claimedAt })
      three.set(sessionId, { ...data, cart: { items: ['pen'] }, cookie: written }, resolve)
    }))
  },
  Express: async (t, visitor, { three }, { cookie }) => {
    const store = Object.assign(new expressSession.Store(), three)
    const theirs = await serve(t, expressApp({ secret: SECRET, store, cookie: { secure: false, ...cookie } }))
    // Express has another name for the cookie, and a prefix.
    const guest = new Traveller()
    guest.cookies.set('connect.sid', `s:${cookieOf(visitor)}`)
    await guest.post(theirs, '/cart/pen')
  }
}

const nameOf = ({ user }: any): string | undefined => user?.name
const DAY = 24 * 60 * MINUTE
// As after a browser's registration.
const DEVICE_KEY = 'mwy1rd9j.A2SphXJ46EhipaFITlH_r7JBJJ4cmWI8z1QLip_q7nah'

type IsKept = (cookie: any, before: any, again: any) => boolean

// `again` is the cookie after version 12 has written again. The standard fields alone may be enough to restore the choice.
const isChosen: IsKept = (_cookie, { chosen }, again) => again.chosen === chosen

/** In the order of the guide's table: the options of a session, the visitor's choice, and whether the record still has it. */
const KEPT: Array<[options: Options, choice: string, isKept: IsKept]> = [
  [{ user: nameOf }, 'nothing', ({ userKey }, before) => userKey === before.userKey],
  [{ user: nameOf }, 'nothing', ({ authenticatedAt }, before) => authenticatedAt !== undefined && authenticatedAt === before.authenticatedAt],
  [{}, 'device', ({ deviceKey }) => deviceKey === DEVICE_KEY],
  [{ absoluteTimeout: 10 * DAY }, 'nothing', ({ createdAt }, before) => createdAt === before.createdAt],
  [{ idleTimeout: 30 * MINUTE }, 'nothing', ({ idle }, before) => idle === before.idle],
  [{ cookie: { maxAge: 60 * MINUTE } }, 'maxAge', isChosen],
  [{}, 'date', isChosen],
  [{ cookie: { maxAge: 60 * MINUTE } }, 'date', isChosen],
  [{ cookie: { maxAge: 60 * MINUTE } }, 'browser', isChosen],
  [{}, 'nothing', ({ seenAt }) => seenAt !== undefined]
]

t.test('the table in the guide says what is dropped from a record', async t => {
  const start = GUIDE.indexOf('| what the record keeps | field |')
  const [head = [], , ...rows] = GUIDE.slice(start, GUIDE.indexOf('\n\n', start)).split('\n')
    .map(line => line.split('|').slice(1, -1).map(cell => cell.trim()))
  t.equal(rows.length, KEPT.length)
  t.strictSame(head.slice(2), Object.keys(OTHERS))
  const { advance } = stopClock(t)
  for (const [i, [options, choice, isKept]] of KEPT.entries()) {
    for (const [j, [name, change]] of Object.entries(OTHERS).entries()) {
      await t.test(`${rows[i]?.[0]}: ${name}`, async t => {
        const shared = sharedStore()
        const ours = await choosing(t, { store: shared.store, ...options })
        const ada = new Traveller()
        await ada.post(ours, `/remember/${choice}`)
        if (choice === 'device') shared.record().cookie.deviceKey = DEVICE_KEY
        const { cookie: before } = shared.record()
        advance(MINUTE)
        await change(t, ada, shared, options)
        const { cookie, ...data } = shared.record()
        t.match(data, { ...ADA, cart: { items: ['pen'] } }, 'all data are still there')
        await ada.post(ours, '/cart/ink')
        t.equal(isKept(cookie, before, shared.record().cookie) ? 'kept' : 'dropped', rows[i]?.[j + 2])
      })
    }
  }
})

t.test('a session whose record has lost its owner is still listed and revoked, and gets its owner back at the next save', async t => {
  for (const [name, change] of Object.entries(OTHERS)) {
    const shared = sharedStore()
    const options: Options = { user: nameOf }
    const ours: any = await choosing(t, { store: shared.store, ...options })
    const ada = new Traveller()
    await ada.post(ours, '/remember/nothing')
    const { userKey } = shared.record().cookie
    await change(t, ada, shared, options)
    t.equal((await ours.sessions.forUser('ada')).length, 1, name)
    await ada.post(ours, '/cart/ink')
    t.equal(shared.record().cookie.userKey, userKey, name)
    await change(t, ada, shared, options)
    t.equal(await ours.sessions.revokeUser('ada'), 1, name)
    t.strictSame(await ada.data(ours), {}, name)
  }
})

t.test('a session that is only read is found too: at once after other software, and within the hour if it began before the option user', async t => {
  const { advance } = stopClock(t)
  for (const [name, change] of Object.entries(OTHERS)) {
    const shared = sharedStore()
    const ours: any = await choosing(t, { store: shared.store, user: nameOf })
    const ada = new Traveller()
    await ada.post(ours, '/remember/nothing')
    const { userKey } = shared.record().cookie
    await change(t, ada, shared, {})
    t.equal(shared.record().cookie.userKey, undefined, name)
    await ada.data(ours)
    t.equal(shared.record().cookie.userKey, userKey, name)
  }
  for (const cookie of [{}, { maxAge: 4 * 60 * MINUTE }]) {
    const shared = sharedStore()
    const before = await choosing(t, { store: shared.store, cookie })
    const ours: any = await choosing(t, { store: shared.store, cookie, user: nameOf })
    const ada = new Traveller()
    await ada.post(before, '/remember/nothing')
    advance(30 * MINUTE)
    await ada.data(ours)
    advance(30 * MINUTE)
    await ada.data(ours)
    t.equal((await ours.sessions.forUser('ada')).length, 1)
    t.equal(await ours.sessions.revokeUser('ada'), 1)
    t.strictSame(await ada.data(ours), {})
  }
})

t.test('a lost absolute timeout counts from the next request; 10 and 11 keep it as a date, and 12.0.0 unchanged', async t => {
  const { advance } = stopClock(t)
  for (const [name, change] of Object.entries(OTHERS)) {
    const shared = sharedStore()
    const options: Options = { absoluteTimeout: 10 * DAY }
    const ours = await choosing(t, { store: shared.store, ...options })
    const ada = new Traveller()
    await ada.post(ours, '/remember/nothing')
    advance(4 * DAY)
    await change(t, ada, shared, options)
    await ada.data(ours)
    const isKept = ['10', '11', '12.0.0'].includes(name)
    advance((isKept ? 6 : 10) * DAY - 1)
    t.strictSame((await ada.copy().data(ours)).user, ADA.user, name)
    advance(1)
    t.strictSame(await ada.data(ours), {}, name)
  }
})

t.test('an idle timeout without maxAge is a fixed date after 10, 11 and 12.0.0; after 9 and Express there is none until the next use', async t => {
  const { advance } = stopClock(t)
  for (const [name, change] of Object.entries(OTHERS)) {
    const shared = sharedStore()
    const ours = await choosing(t, { store: shared.store, idleTimeout: 30 * MINUTE })
    const ada = new Traveller()
    await ada.post(ours, '/remember/nothing')
    await change(t, ada, shared, {})
    const isDate = ['10', '11', '12.0.0'].includes(name)
    if (!isDate) advance(DAY)
    t.strictSame((await ada.data(ours)).user, ADA.user, name)
    advance(20 * MINUTE)
    t.strictSame((await ada.data(ours)).user, ADA.user, name)
    advance(20 * MINUTE)
    t.strictSame((await ada.data(ours)).user, isDate ? undefined : ADA.user, `${name}: used ten minutes ago`)
    advance(30 * MINUTE)
    t.strictSame(await ada.data(ours), {}, name)
  }
})

t.test('a configured maxAge is not lost, and a record that other software wrote keeps its own', async t => {
  const { advance } = stopClock(t)
  for (const [name, change] of Object.entries(OTHERS)) {
    const shared = sharedStore()
    const options: Options = { cookie: { maxAge: 60 * MINUTE } }
    const ada = new Traveller()
    await ada.post(await choosing(t, { store: shared.store, ...options }), '/remember/nothing')
    await change(t, ada, shared, options)
    // Version 9 writes only the end of a session, and not its lifetime.
    const left = name === '9' ? 10 : 60
    const lowered = await choosing(t, { store: shared.store, cookie: { maxAge: 10 * MINUTE } })
    await ada.data(lowered)
    advance(left * MINUTE - 1)
    t.strictSame((await ada.copy().data(lowered)).user, ADA.user, name)
    await ada.data(lowered)
    advance(left * MINUTE)
    t.strictSame(await ada.data(lowered), {}, name)
  }
})

t.test("Express touches without writing: storeTtl: 'trusted' is needed, and a store that keeps the time", async t => {
  const { advance } = clock(t)
  for (const [rolling, storeTtl] of [[true, 'trusted'], [false, 'trusted'], [true, undefined]] as const) {
    const { store, prefix } = redisStore()
    const pass = async (milliseconds: number): Promise<void> => {
      advance(milliseconds)
      await letPass(client, milliseconds, `${prefix}*`)
    }
    const all = { secret: SECRET, store, rolling, cookie: { secure: false, maxAge: 4 * MINUTE } }
    const theirs = await serve(t, expressApp(all))
    const ours = await build(t, OURS, { ...sessionOptions(all), ...storeTtl && { storeTtl } })
    const ada = new Traveller()
    await ada.post(theirs, '/login')
    for (let i = 0; i < 3; i++) {
      await pass(3 * MINUTE)
      t.strictSame(await ada.data(theirs), ADA, 'still there in Express')
    }
    t.strictSame(await ada.data(ours), storeTtl === 'trusted' ? ADA : {}, `rolling: ${rolling}, storeTtl: ${storeTtl}`)
  }
})

// --- From express-session

t.test('one session for Express and Fastify', async t => {
  for (const [kind, options] of Object.entries<Options>({
    'a cookie that ends with the browser': {},
    'with maxAge': { cookie: { maxAge: MINUTE } },
    'with maxAge, rolling': { cookie: { maxAge: MINUTE }, rolling: true },
    'several secrets': { secret: [SECRET, OTHER_SECRET] }
  })) {
    await t.test(kind, async t => {
      const { store, records } = redisStore()
      const all = { secret: SECRET, store, ...options, cookie: { secure: false, sameSite: 'lax', ...options.cookie } } as const
      const theirs = await serve(t, expressApp(all))
      const ours = await listen(await build(t, OURS, sessionOptions(all)))
      for (const [first, second] of [[theirs, ours], [ours, theirs]] as const) {
        const ada = new Traveller()
        t.strictSame(await ada.data(first), {})
        t.equal(ada.cookies.size, 0, 'a visitor who only looks gets no cookie')
        await ada.post(first, '/login')
        t.strictSame([...ada.cookies.keys()], ['connect.sid'])
        t.strictSame(await ada.data(second), ADA, 'logged in on both')
        await ada.post(second, '/cart/pen')
        await ada.post(first, '/cart/ink')
        await ada.post(second, '/cart/cap')
        const full = { ...ADA, cart: { items: ['pen', 'ink', 'cap'] } }
        t.strictSame(await ada.data(first), full, 'each sees what the other wrote')
        t.strictSame(await ada.data(second), full)
        const { cookie } = (await records())[0]
        t.match(cookie, { path: '/', httpOnly: true, secure: false, sameSite: 'lax' })
        // express-session computes it from the date, a moment later.
        t.equal(cookie.originalMaxAge && Math.round(cookie.originalMaxAge / 10_000) * 10_000, options.cookie === undefined ? null : MINUTE)

        const earlier = ada.copy()
        await ada.post(second, '/login')
        t.strictSame(await ada.data(first), ADA, 'a new session after a login')
        t.strictSame(await earlier.data(first), {})
        t.strictSame(await earlier.data(second), {})
        const copy = ada.copy()
        await ada.post(first, '/logout')
        t.strictSame(await copy.data(second), {}, 'logged out of both')
        t.strictSame(await copy.data(first), {})
        t.strictSame(await records(), [])
      }
    })
  }
})

t.test('rolling in Express and Fastify: an active session stays, and its cookie is sent again', async t => {
  const { store, prefix } = redisStore()
  const all = { secret: SECRET, store, rolling: true, cookie: { secure: false, maxAge: MINUTE } }
  const theirs = await serve(t, expressApp(all))
  const ours = await listen(await build(t, OURS, sessionOptions(all)))
  const ada = new Traveller()
  await ada.post(theirs, '/login')
  const [key] = await client.keys(`${prefix}*`) as [string]
  for (const server of [theirs, ours, theirs, ours]) {
    await client.expire(key, 10)
    const { setCookies } = await ada.send(server, 'GET', '/data')
    t.match(setCookies[0], /^connect\.sid=s(%3A|:).+Expires=/i)
    t.ok(await client.ttl(key) > 50)
  }
})

t.test('an Express request in flight that changes the session overwrites the changes of Fastify', async t => {
  const { store } = redisStore()
  const all = { secret: SECRET, store, cookie: { secure: false } }
  const ours = await listen(await build(t, OURS, sessionOptions(all)))
  const gate = new Gate()
  const app = expressApp(all)
  app.get('/slow', async (request: any, response: any) => {
    await gate.pass()
    request.session.seen = true
    response.send('done')
  })
  const theirs = await serve(t, app)
  const ada = new Traveller()
  await ada.post(ours, '/login')
  const slow = ada.copy().get(theirs, '/slow')
  await gate.holds()
  await ada.post(ours, '/cart/pen')
  gate.open()
  await slow
  t.strictSame(await ada.data(ours), { ...ADA, seen: true })
})

t.test('an Express request in flight brings back a session that Fastify logged out, if it changed something', async t => {
  const { store, records } = redisStore()
  const all = { secret: SECRET, store, cookie: { secure: false, maxAge: MINUTE } }
  const ours = await listen(await build(t, OURS, sessionOptions(all)))

  for (const [what, changes, isBack] of [['reads', false, false], ['changes', true, true]] as const) {
    const gate = new Gate()
    const app = expressApp(all)
    app.get('/slow', async (request: any, response: any) => {
      await gate.pass()
      if (changes) request.session.seen = true
      response.send('done')
    })
    const theirs = await serve(t, app)
    const ada = new Traveller()
    await ada.post(theirs, '/login')
    const copy = ada.copy()
    const slow = ada.copy().get(theirs, '/slow')
    await gate.holds()
    await ada.post(ours, '/logout')
    gate.open()
    await slow
    t.equal((await records()).length === 1, isBack, `a request that ${what}`)
    t.strictSame(await copy.data(ours), isBack ? { ...ADA, seen: true } : {})
    await client.flushAll()
  }
})

async function serve (t: Test, app: any): Promise<string> {
  const server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

// --- From @fastify/secure-session

const KEY = randomBytes(32)
const SECURE = { key: KEY, cookieName: 'old', cookie: { path: '/' }, expiry: 3600 }

/** The application before the move. */
async function secureApp (t: Test, options: object = SECURE): Promise<FastifyInstance> {
  const app = Fastify() as unknown as FastifyInstance
  await app.register(secureSession, options)
  app.post('/login', async ({ session }: any) => {
    session.set('userId', 7)
    session.cart = { items: ['pen'] }
    return 'welcome'
  })
  app.get('/data', async ({ session }: any) => session.data())
  await app.ready()
  t.teardown(() => app.close())
  return app
}

/** The application after the move. */
async function movedApp (t: Test, options: object = {}, sessionOptions: Options = {}): Promise<FastifyInstance> {
  const app = await build(t, OURS, { saveUninitialized: false, ...sessionOptions }, app => {
    app.register(moveSecureSessions, { ...SECURE, ...options })
    app.get('/free', { config: { session: false } }, async () => 'free')
  })
  return app
}

const SECURE_DATA = { userId: 7, cart: { items: ['pen'] } }

t.test('a visitor who logged in with @fastify/secure-session stays logged in', async t => {
  const before = await secureApp(t)
  const after = await movedApp(t)
  const ada = new Traveller()
  await ada.post(before, '/login')
  t.strictSame(await ada.data(before), SECURE_DATA)
  t.strictSame([...ada.cookies.keys()], ['old'])
  await ada.get(after, '/free')
  t.ok(ada.cookies.has('old'), 'a route without a session keeps the old cookie')

  t.strictSame(await ada.data(after), SECURE_DATA, 'on the first visit')
  t.strictSame([...ada.cookies.keys()], ['sessionId'], 'the old cookie is cleared')
  t.strictSame(await ada.data(after), SECURE_DATA, 'and later')
  await ada.post(after, '/cart/ink')
  t.strictSame(await ada.data(after), { userId: 7, cart: { items: ['pen', 'ink'] } })

  const copy = ada.copy()
  await ada.post(after, '/logout')
  t.equal(ada.cookies.size, 0)
  t.strictSame(await copy.data(after), {}, 'the logout is effective')
  t.strictSame(await new Traveller().data(after), {}, 'a stranger has no data')
})

t.test('an old cookie does not undo later changes', async t => {
  const before = await secureApp(t)
  const after = await movedApp(t)
  const ada = new Traveller()
  await ada.post(before, '/login')
  const old = ada.cookies.get('old') as string
  await ada.post(after, '/login')
  await ada.post(after, '/cart/ink')
  const data = await ada.data(after)
  ada.cookies.set('old', old)
  t.strictSame(await ada.data(after), data)
  t.notOk(ada.cookies.has('old'), 'it is cleared again')
})

t.test('a session cookie planted by an attacker does not get the data of the old cookie', async t => {
  const before = await secureApp(t)
  const after = await movedApp(t, {}, { saveUninitialized: true })
  const mallory = new Traveller()
  await mallory.get(after, '/data')
  const ada = new Traveller()
  await ada.post(before, '/login')
  ada.cookies.set('sessionId', cookieOf(mallory))
  t.strictSame(await ada.data(after), SECURE_DATA)
  t.not(ada.cookies.get('sessionId'), cookieOf(mallory))
  t.strictSame(await mallory.data(after), {})
})

t.test('if nothing can be saved, the old cookie stays', async t => {
  const before = await secureApp(t)
  const ada = new Traveller()
  await ada.post(before, '/login')

  const secure = await movedApp(t, {}, { cookie: { secure: true }, trustProxy: true })
  await ada.get(secure, '/data')
  t.ok(ada.cookies.has('old'), 'plain http')
  const https = { 'x-forwarded-proto': 'https' }
  t.strictSame(JSON.parse((await ada.copy().send(secure, 'GET', '/data', https)).body), SECURE_DATA)

  const down: any = { get (_id: string, done: any) { done(new Error('down')) }, set (_id: string, _session: any, done: any) { done(new Error('down')) }, destroy (_id: string, done: any) { done(new Error('down')) } }
  const failing = await movedApp(t, {}, { store: down })
  t.equal((await ada.send(failing, 'GET', '/data')).status, 500)
  t.ok(ada.cookies.has('old'), 'the store is away')
  const lenient = await movedApp(t, {}, { store: down, onStoreError: 'anonymous' })
  const visitor = ada.copy()
  visitor.keep([(await (await build(t, OURS, {})).createSession()).cookie])
  t.equal((await visitor.send(lenient, 'GET', '/data')).status, 200)
  t.ok(visitor.cookies.has('old'), 'the request continues without the session')
  t.strictSame(await ada.data(await movedApp(t)), SECURE_DATA, 'at the next request')
})

t.test('how long a copied cookie of @fastify/secure-session is valid', async t => {
  const before = await secureApp(t)
  const ada = new Traveller()
  await ada.post(before, '/login')
  const stolen = ada.copy()

  await t.test('until its expiry, also after a logout, as before', async t => {
    const after = await movedApp(t)
    const visitor = ada.copy()
    await visitor.data(after)
    await visitor.post(after, '/logout')
    t.strictSame(await stolen.copy().data(after), SECURE_DATA)
    // As if the expiry had passed.
    const expired = await movedApp(t, { expiry: -1 })
    t.strictSame(await stolen.copy().data(expired), {})
  })

  await t.test('until a date', async t => {
    const late = await movedApp(t, { until: new Date(Date.now() - 1) })
    const visitor = stolen.copy()
    t.strictSame(await visitor.data(late), {})
    t.equal(visitor.cookies.size, 0, 'the cookie is cleared')
    t.strictSame(await stolen.copy().data(await movedApp(t, { until: new Date(Date.now() + MINUTE) })), SECURE_DATA)
    for (const until of ['2027-01-31', new Date('soon')]) await t.rejects(movedApp(t, { until }), { message: 'until must be a date' })
  })

  await t.test('until its user logs out, if the application remembers that', async t => {
    const convert = async (data: any): Promise<any> => await client.exists(`left:${data.userId}`) === 1 ? null : data
    const after = await build(t, OURS, { saveUninitialized: false }, app => {
      app.register(moveSecureSessions, { ...SECURE, convert })
      app.addHook('preHandler', async (request: any) => {
        if (request.url === '/logout') await client.set(`left:${request.session.userId}`, '1', { EX: SECURE.expiry })
      })
    })
    const visitor = ada.copy()
    t.strictSame(await visitor.data(after), SECURE_DATA)
    await visitor.post(after, '/logout')
    t.strictSame(await stolen.copy().data(after), {})
  })
})

t.test("data with one of the session's own names must be renamed", async t => {
  const before = await secureApp(t) as any
  const ada = new Traveller()
  ada.cookies.set('old', before.encodeSecureSession(before.createSecureSession({ userId: 7, save: 'all' })))
  t.match(JSON.parse(await ada.get(await movedApp(t), '/data')), { code: 'FST_ERR_SESSION_RESERVED_KEY' })
  const convert = ({ save, ...data }: any): any => ({ ...data, saved: save })
  t.strictSame(await ada.data(await movedApp(t, { convert })), { userId: 7, saved: 'all' })
})

t.test('the old cookie is found by its name: cookieName, sessionName, or session', async t => {
  for (const names of [{}, { sessionName: 'user' }, { sessionName: 'user', cookieName: 'crumb' }]) {
    const options: any = { key: KEY, cookie: { path: '/' }, ...names }
    const before = Fastify() as unknown as FastifyInstance
    await before.register(secureSession, options)
    before.get('/login', async (request: any) => {
      request[options.sessionName ?? 'session'].userId = 7
      return 'welcome'
    })
    t.teardown(() => before.close())
    const after = await build(t, OURS, {}, app => { app.register(moveSecureSessions, options) })
    const ada = new Traveller()
    await ada.get(before, '/login')
    t.strictSame(await ada.data(after), { userId: 7 })
    t.strictSame([...ada.cookies.keys()], ['sessionId'])
  }
})

// --- From connect-redis to RedisStore

t.test('RedisStore takes over sessions that connect-redis wrote', async t => {
  const { store, prefix } = redisStore()
  const options = { cookie: { maxAge: MINUTE } }
  const before = await build(t, OURS, { ...options, store })
  const after = await build(t, OURS, { ...options, store: new RedisStore({ client, prefix }) })
  const ada = new Traveller()
  await ada.post(before, '/login')
  const [key] = await client.keys(`${prefix}*`) as [string]
  const about = async (): Promise<boolean> => Math.abs(await client.pTTL(key) - MINUTE) < MINUTE / 3

  await client.expire(key, 10)
  t.strictSame(await ada.data(after), ADA, 'logged in')
  t.equal(await client.type(key), 'string', 'a visit that changes nothing keeps the string')
  t.ok(await about(), 'but starts its lifetime again')
  t.strictSame(await ada.data(before), ADA, 'old processes can still read it')

  await client.expire(key, 10)
  await ada.post(after, '/cart/pen')
  t.equal(await client.type(key), 'hash', 'the next change makes it a hash')
  t.ok(await about())

  const { status, body } = await ada.send(before, 'GET', '/data')
  t.equal(status, 500, "a process with connect-redis can't read the hash")
  t.match(body, /WRONGTYPE/)
  t.strictSame(await ada.data(after), { ...ADA, cart: { items: ['pen'] } }, 'nothing is lost')
  t.equal((await ada.send(before, 'POST', '/logout')).status, 500)

  const max = new Traveller()
  await max.post(after, '/login')
  t.equal((await max.send(before, 'GET', '/data')).status, 500, 'nor can it read a new session')
  await max.post(after, '/logout')
  t.strictSame(await ada.data(after), { ...ADA, cart: { items: ['pen'] } })
})

t.test('a move there and back without downtime: StringsAndHashes reads both formats', async t => {
  const { store: strings, prefix } = redisStore()
  const hashes = new RedisStore({ client, prefix })
  const options = { cookie: { maxAge: MINUTE } }
  const first = await build(t, OURS, { ...options, store: strings })
  const between = await build(t, OURS, { ...options, store: new StringsAndHashes({ client, prefix, hashes }) })
  const last = await build(t, OURS, { ...options, store: hashes })

  async function together (one: FastifyInstance, other: FastifyInstance): Promise<Traveller> {
    const ada = new Traveller()
    await ada.post(one, '/login')
    t.strictSame(await ada.data(other), ADA)
    await ada.post(other, '/cart/pen')
    await ada.post(one, '/cart/ink')
    await ada.post(other, '/cart/cap')
    for (const app of [one, other]) t.strictSame(await ada.data(app), { ...ADA, cart: { items: ['pen', 'ink', 'cap'] } })
    const copy = ada.copy()
    await ada.copy().post(one, '/logout')
    t.strictSame(await copy.data(other), {})
    const max = new Traveller()
    await max.post(other, '/login')
    await max.copy().post(one, '/cart/pen')
    return max
  }
  const full = { ...ADA, cart: { items: ['pen'] } }
  for (const app of [first, between]) t.strictSame(await (await together(first, between)).data(app), full)
  const stays = await together(between, last)
  for (const app of [between, last]) t.strictSame(await stays.data(app), full)
  await together(last, between)

  await client.flushAll()
  const ada = new Traveller()
  await ada.post(last, '/login')
  const [key] = await client.keys(`${prefix}*`) as [string]
  await client.expire(key, 10)
  t.strictSame(await ada.data(between), ADA)
  t.ok(await client.ttl(key) > 50, 'the hash is touched')
  await ada.post(between, '/cart/pen')
  t.equal(await client.type(key), 'string', 'the next write makes it a string')
  t.strictSame(await ada.data(first), full, 'for connect-redis')

  const failed = new StringsAndHashes({ client: { get: async () => { throw new Error('down') } } as any, hashes })
  await new Promise<void>(resolve => failed.get('a', (error: Error) => {
    t.equal(error.message, 'down', 'other errors are passed on')
    resolve()
  }))
})

// --- The tables of the document

const GUIDE = readFileSync(join(ROOT, 'docs/migrating.md'), 'utf8')

/** The members of a type, each with `prefix` before its name, and the members of their types. */
function membersOf (file: string, typeName: string, prefix = ''): string[] {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true)
  const names: string[] = []
  function find (node: ts.Node): void {
    const isType = ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) || ts.isClassDeclaration(node)
    if (isType && node.name?.text === typeName) collect(node, prefix)
    else ts.forEachChild(node, find)
  }
  function collect (node: ts.Node, prefix: string): void {
    ts.forEachChild(node, child => {
      const isMember = ts.isPropertySignature(child) || ts.isMethodSignature(child) || ts.isMethodDeclaration(child)
      if (isMember) names.push(prefix + child.name.getText(source))
      collect(child, isMember ? `${prefix}${child.name.getText(source)}.` : prefix)
    })
  }
  find(source)
  if (names.length === 0) throw new Error(`${file} has no type ${typeName}`)
  return [...new Set(names)]
}

/** The rows of the table under a heading: the name in the first column without arguments, and the second column. */
function rowsUnder (heading: string): Array<[name: string, verdict: string]> {
  const start = GUIDE.indexOf(`\n${heading}\n`)
  if (start === -1) throw new Error(`the guide has no ${heading}`)
  const end = GUIDE.indexOf('\n## ', start + 1)
  const lines = GUIDE.slice(start, end === -1 ? undefined : end).split('\n').filter(line => line.startsWith('| `'))
  return lines.map(line => {
    const [, name, verdict] = line.split(/(?<!\\)\|/).map(cell => cell.trim()) as [string, string, string]
    return [/^`([^`(]+)/.exec(name)?.[1] ?? name, verdict]
  })
}

const UPSTREAM = 'upstream-session'
const types = (name: string): string => join(ROOT, 'node_modules', name)

t.test('the guide has a row for each name of version 11, and no other rows', async t => {
  const file = types('upstream-session/types/index.d.ts')
  const cookie = types('@fastify/cookie/types/index.d.ts')
  const declared: Record<string, string> = {
    FastifySessionOptions: '',
    CookieOptions: 'cookie.',
    Signer: 'secret.',
    UnsignResult: 'secret.unsign.',
    FastifyRequest: 'request.',
    FastifyInstance: 'fastify.',
    FastifySessionObject: 'session.',
    ExpressSessionData: 'session.',
    SessionStore: 'store.',
    MemoryStore: 'MemoryStore.'
  }
  const theirs = Object.entries(declared).flatMap(([name, prefix]) => membersOf(file, name, prefix))
  theirs.push(...membersOf(cookie, 'SerializeOptions', 'cookie.'))

  const plugin = require(UPSTREAM)
  const Session = require(`${UPSTREAM}/lib/session.js`)
  theirs.push(...Object.keys(plugin).map(name => `fastifySession.${name}`))
  theirs.push(...Object.getOwnPropertyNames(Session.prototype).filter(name => name !== 'constructor').map(name => `session.${name}`))
  theirs.push(...Object.getOwnPropertyNames(plugin.Store.prototype).filter(name => name !== 'constructor').map(name => `MemoryStore.${name}`))
  theirs.push(...Object.keys(new plugin.MemoryStore()).filter(name => !name.startsWith('_')).map(name => `MemoryStore.${name}`))
  theirs.push('new MemoryStore')

  // All interfaces of the types are among those above, except Session, which only extends one of them.
  const interfaces = readFileSync(file, 'utf8').matchAll(/(?:interface|class) (\w+)/g)
  t.strictSame([...interfaces].map(([, name]) => name).filter(name => !Object.hasOwn(declared, name as string)), ['Session'])

  const rows = rowsUnder('## Version 11, name by name')
  t.strictSame(rows.map(([name]) => name).sort(), [...new Set(theirs)].sort())
  for (const [name, verdict] of rows) t.match(verdict, /^(same|better|different)$/, name)
})

t.test('the guide has a row for each option of express-session', async t => {
  const file = types('@types/express-session/index.d.ts')
  const names = membersOf(file, 'SessionOptions')
  const rows = rowsUnder('## express-session, name by name').map(([name]) => name)
  for (const name of names) t.ok(rows.includes(name), name)
})

t.test('the guide has a row for each name of @fastify/secure-session', async t => {
  const file = types('@fastify/secure-session/types/index.d.ts')
  const names = [
    ...membersOf(file, 'SecureSessionPluginOptions'), ...membersOf(file, 'Session', 'session.'), ...membersOf(file, 'FastifyInstance', 'fastify.')
  ]
  const rows = rowsUnder('## @fastify/secure-session, name by name').map(([name]) => name)
  for (const name of names) t.ok(rows.includes(name), name)
})
