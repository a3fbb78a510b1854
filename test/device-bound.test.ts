/** Sessions that are bound to a device, without a browser. test/device-bound-browser.test.ts does the same in Chromium. */
import { createHmac } from 'node:crypto'
import { channel } from 'node:diagnostics_channel'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { fingerprint } from '../src/diagnostics'
import fastifySession, { MemoryStore, type SecurityMessage } from '../src/index'
import deviceBound, { type DeviceBoundOptions } from '../src/device-bound/index'
import { openVerifier } from '../src/device-bound/keys'
import { RedisStore } from '../src/stores/redis'
import { sealed } from '../src/stores/sealed'
import { challengeIn, Device } from './device'
import { clock, SECRET, setCookies, stopClock, Visitor, type SessionOptions } from './helpers'
import { ThreeMethodStore } from './odd-stores'
import { connectTo, startRedis } from './servers'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const BOUND = '__Host-sessionId-bound'

const data = (request: FastifyRequest): any => request.session
const isUser = (session: any): boolean => session.user !== undefined

interface Site {
  session?: SessionOptions
  bound?: DeviceBoundOptions
  /** Options of `@fastify/cookie`. */
  cookies?: object
  routes?: (app: FastifyInstance) => void
}

/** An application with the plugin, behind a proxy that terminates TLS. */
async function site (t: Test, { session, bound, cookies = {}, routes = () => {} }: Site = {}): Promise<FastifyInstance> {
  const app = Fastify({ trustProxy: true })
  t.teardown(() => app.close())
  await app.register(fastifyCookie, cookies)
  await app.register(fastifySession, { secret: SECRET, saveUninitialized: false, ...session })
  await app.register(deviceBound, { when: isUser, ...bound })
  app.get('/login', async request => {
    await request.session.regenerate()
    data(request).user = 'ada'
  })
  app.get('/logout', async request => { await request.session.destroy() })
  app.get('/who', async request => data(request).user ?? 'nobody')
  app.get('/add', async request => { data(request).cart = [...data(request).cart ?? [], 'apple'] })
  app.get('/data', async request => request.session.data())
  routes(app)
  await app.ready()
  return app
}

/** A browser that has logged in and registered more than a minute ago. */
async function bound (t: Test, options: Site = {}): Promise<{ app: FastifyInstance, device: Device, advance: (milliseconds: number) => void }> {
  const { advance } = clock(t)
  const app = await site(t, options)
  const device = await Device.open(app)
  await device.get('/login')
  t.equal((await device.register()).statusCode, 200)
  advance(2 * MINUTE)
  return { app, device, advance }
}

const who = async (visitor: Visitor): Promise<string> => (await visitor.get('/who', { headers: { 'x-forwarded-proto': 'https' } })).body

/** Collects the reasons that the security channel reports from now on. */
function hear (t: Test): string[] {
  const reasons: string[] = []
  const add = (message: unknown): void => { reasons.push((message as SecurityMessage).reason) }
  const security = channel('@fastify/session:security')
  security.subscribe(add)
  t.teardown(() => security.unsubscribe(add))
  return reasons
}

/** Someone with the session cookie, but without the bound cookie. */
function thief (device: Device): Visitor {
  const thief = device.copy()
  thief.cookies.delete(BOUND)
  return thief
}

t.test('a browser that registers has a bound session, and proves itself with a cookie', async t => {
  const store = new MemoryStore()
  const app = await site(t, { session: { store } })
  const device = await Device.open(app)
  const login = await device.get('/login')
  t.match(login.headers['secure-session-registration'], /^\(ES256\);path="\/\.well-known\/session\/register";challenge="[\w.-]+"$/)
  const response = await device.register()
  t.match(setCookies(response), [/^__Host-sessionId-bound=[^;]+; Max-Age=600; Path=\/; HttpOnly; Secure; SameSite=Lax$/])
  t.equal(setCookies(response).length, 1, 'the session cookie is unchanged')
  t.equal(response.headers['cache-control'], 'no-store')
  t.same(response.json(), {
    session_identifier: device.name,
    refresh_url: '/.well-known/session/refresh',
    scope: { include_site: false, scope_specification: [] },
    credentials: [{ type: 'cookie', name: BOUND, attributes: 'Path=/; Secure; HttpOnly; SameSite=lax' }]
  })
  t.notMatch(device.cookies.get('sessionId'), device.name, 'the session identifier is not the session id')
  t.equal(await who(device), 'ada')
  t.same((await device.get('/data')).json(), { user: 'ada' }, 'the challenge is gone')
  const [{ cookie }] = [...store.store.values()] as any
  t.match(cookie.deviceKey, /^[\da-z]+\.[\w-]{44}$/, 'the store has only the public key')
})

t.test('on a sealed store, a request without a proof is reported with the fingerprint of the stored id', async t => {
  const inner = new MemoryStore()
  const { device } = await bound(t, { session: { store: sealed(inner, { keys: [SECRET] }) } })
  const fingerprints: string[] = []
  const add = (message: unknown): void => { fingerprints.push((message as SecurityMessage).fingerprint) }
  channel('@fastify/session:security').subscribe(add)
  t.teardown(() => channel('@fastify/session:security').unsubscribe(add))
  t.equal(await who(thief(device)), 'nobody')
  t.same(fingerprints, [...inner.store.keys()].map(fingerprint))
  t.equal(await who(device), 'ada')
})

t.test('with the cookie of a bound session but without the device, nobody is logged in', async t => {
  const { app, device, advance } = await bound(t)
  const reasons = hear(t)
  const other = thief(device)
  const response = await other.get('/who', { headers: { 'x-forwarded-proto': 'https' } })
  t.equal(response.body, 'nobody')
  t.same(setCookies(response), [], 'the cookie is not cleared')
  t.same(reasons, ['no-device-proof'])
  t.equal(await who(device), 'ada')
  t.test('with both cookies, a thief is logged in until the bound cookie expires', async t => {
    const both = device.copy()
    t.equal(await who(both), 'ada')
    advance(8.5 * MINUTE)
    t.equal(await who(both), 'ada')
    advance(MINUTE)
    t.equal(await who(both), 'nobody')
    t.equal(reasons.at(-1), 'bad-device-proof')
    const stranger = await Device.open(app)
    Object.assign(stranger, { path: device.path, name: device.name })
    stranger.keep(['sessionId=' + encodeURIComponent(device.cookies.get('sessionId') as string)])
    t.equal((await stranger.refresh()).statusCode, 404, 'another key proves nothing')
    t.equal((await device.refresh()).statusCode, 200)
    t.equal(await who(device), 'ada')
  })
})

t.test('a refused request writes nothing and starts no session, whatever the options say', async t => {
  const store = new MemoryStore()
  const { device, advance } = await bound(t, { session: { store, saveUninitialized: true, rolling: true, cookie: { maxAge: HOUR } } })
  const before = JSON.stringify([...store.store])
  const other = thief(device)
  advance(MINUTE)
  t.same(setCookies(await other.get('/who', { headers: { 'x-forwarded-proto': 'https' } })), [])
  t.equal(JSON.stringify([...store.store]), before)
  await other.get('/add', { headers: { 'x-forwarded-proto': 'https' } })
  t.equal(store.store.size, 2, 'what its handler stores is a separate session')
  t.equal(JSON.stringify([...store.store].slice(0, 1)), before)
  t.equal(await who(device), 'ada')
})

t.test('an offer alone starts no session and sets no cookie', async t => {
  const store = new MemoryStore()
  const { app, device } = await bound(t, {
    session: { store },
    bound: { when: () => true },
    routes: app => app.route({ method: ['POST', 'OPTIONS'], url: '/form', handler: async () => 'ok' })
  })
  const headers = { 'x-forwarded-proto': 'https' }
  t.same(setCookies(await thief(device).get('/who', { headers })), [], 'to a request that is refused')
  t.same(setCookies(await app.inject({ url: '/who', headers })), [], 'to a new visitor')
  t.same(setCookies(await app.inject({ method: 'OPTIONS', url: '/form', headers })), [])
  const elsewhere = { ...headers, 'sec-fetch-site': 'cross-site' }
  t.same(setCookies(await app.inject({ method: 'POST', url: '/form', headers: elsewhere })), [], 'to a form of another site')
  t.equal(store.store.size, 1)
})

t.test('a session that cannot be read ends with the next reply, which is not an error', async t => {
  const { advance } = clock(t)
  const store = new MemoryStore()
  const device = await Device.open(await site(t, {
    session: { store: sealed(store, { keys: ['k'.repeat(32)] }) },
    routes: app => { app.get('/other', async () => 'does not use the session') }
  }))
  await device.get('/login')
  advance(2 * HOUR)
  for (const record of store.store.values()) (record as any).user = 'sealed1:' + 'A'.repeat(60)
  const reply = await device.get('/other')
  t.equal(reply.statusCode, 200)
  t.match(setCookies(reply), [/^sessionId=;/])
  t.equal(store.store.size, 0)
  t.equal(await who(device), 'nobody')
})

t.test('a logout without a proof clears the cookie, but does not end the session', async t => {
  const { device } = await bound(t)
  const other = thief(device)
  t.match(setCookies(await other.get('/logout', { headers: { 'x-forwarded-proto': 'https' } })), [/^sessionId=;/])
  t.equal(await who(device), 'ada')
})

t.test("a thief can't keep a session alive", async t => {
  const { device, advance } = await bound(t, { session: { cookie: { maxAge: 20 * MINUTE } } })
  const other = thief(device)
  advance(15 * MINUTE)
  t.equal(await who(other), 'nobody')
  await device.refresh()
  advance(6 * MINUTE)
  t.equal(await who(device), 'nobody', "a refresh doesn't prolong it either; the request after it does")
})

t.test('after a second login, the new session is bound, and the first one is left alone', async t => {
  const { app, device, advance } = await bound(t)
  const first = Object.assign(await Device.open(app), { keys: device.keys, path: device.path, name: device.name })
  device.drop()
  t.equal(await who(device), 'nobody')
  await device.get('/login')
  t.equal(await who(device), 'ada')
  t.equal((await device.register()).statusCode, 200)
  t.test('a refresh of the first binding with the cookie of the second session is answered 404', async t => {
    for (const [name, value] of device.cookies) first.cookies.set(name, value)
    const response = await first.ask()
    t.equal(response.statusCode, 404)
    t.same(setCookies(response), [])
    advance(2 * MINUTE)
    t.equal(await who(device), 'ada')
  })
})

t.test('requests that were sent before the binding are not refused', async t => {
  const { advance } = stopClock(t)
  const app = await site(t)
  const device = await Device.open(app)
  await device.get('/login')
  const early = device.copy()
  await device.register()
  advance(MINUTE - 1)
  t.equal(await who(early), 'ada')
  advance(1)
  t.equal(await who(early), 'nobody')
})

t.test("with enforce: 'observe', a missing proof is reported, but not refused", async t => {
  const { device } = await bound(t, { bound: { enforce: 'observe' } })
  const reasons = hear(t)
  t.equal(await who(thief(device)), 'ada')
  t.same(reasons, ['no-device-proof'])
})

t.test('only one registration counts, however often a challenge is answered', async t => {
  const app = await site(t)
  const device = await Device.open(app)
  await device.get('/login')
  const [first, second] = [device, Object.assign(await Device.open(app), { path: device.path, challenge: device.challenge })]
  for (const [name, value] of device.cookies) second.cookies.set(name, value)
  const codes = (await Promise.all([first.register(), second.register()])).map(({ statusCode }) => statusCode)
  t.same(codes.sort(), [200, 400])
  Object.assign(second, { path: '/.well-known/session/register' })
  t.equal((await second.register()).statusCode, 400)
})

t.test('a registration must be signed as the draft requires, with the challenge of its own session', async t => {
  const app = await site(t)
  const [device, other] = [await Device.open(app), await Device.open(app)]
  await device.get('/login')
  await other.get('/login')
  const rsa = await Device.open(app, 'RS256')
  const odd: Array<[string, Parameters<Device['register']>[0]]> = [
    ['another type', { typ: 'JWT' }],
    ['another algorithm', { alg: 'RS256', keys: rsa.keys, jwk: rsa.jwk }],
    ['a key that did not sign it', { jwk: other.jwk }],
    ['no key', { jwk: undefined }],
    ['an invalid key', { jwk: { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' } }],
    ['a challenge of another session', { jti: other.challenge as string }],
    ['an old challenge', { jti: 'mwy1rd9j.C_XiEu3TMNSblx9kNBvBqg' }]
  ]
  for (const [what, how] of odd) t.equal((await device.register(how)).statusCode, 400, what)
  const unsigned = [{ alg: 'none', typ: 'dbsc+jwt', jwk: device.jwk }, { jti: device.challenge }].map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.') + '.'
  for (const jws of ['', '""', 'nonsense', '"a.b.c"', unsigned]) t.equal((await device.post(device.path as string, { 'secure-session-response': jws })).statusCode, 400, jws)
  const hmac = (text: string): string => createHmac('sha256', JSON.stringify(device.jwk)).update(text).digest('base64url')
  const symmetric = unsigned.replace(/^[^.]+/, Buffer.from(JSON.stringify({ alg: 'HS256', typ: 'dbsc+jwt', jwk: device.jwk })).toString('base64url')).slice(0, -1)
  t.equal((await device.post(device.path as string, { 'secure-session-response': `${symmetric}.${hmac(symmetric)}` })).statusCode, 400)
  t.equal((await device.register()).statusCode, 200, 'none of these has used up the challenge')
})

t.test('a registration without a session, or for one that has ended, is refused', async t => {
  const app = await site(t)
  const device = await Device.open(app)
  await device.get('/login')
  const { challenge } = device
  const stranger = await Device.open(app)
  Object.assign(stranger, { path: device.path, challenge })
  t.equal((await stranger.register()).statusCode, 400)
  const before = device.copy()
  await device.get('/logout')
  for (const [name, value] of before.cookies) device.cookies.set(name, value)
  t.equal((await device.register()).statusCode, 400)
})

t.test('a challenge is only valid for one session, one key and one minute', async t => {
  const { app, device, advance } = await bound(t)
  const other = await Device.open(app)
  await other.get('/login')
  await other.register()
  t.equal((await device.answer(await device.sign({ jti: challengeIn(await other.ask()) }))).statusCode, 403, 'a challenge of another session')
  t.equal((await device.answer(await device.sign({ jti: device.challenge as string }))).statusCode, 403, 'the challenge of the registration')
  t.equal((await device.answer(await device.sign({ jti: device.cookies.get(BOUND) as string }))).statusCode, 403, 'a bound cookie')
  t.equal((await device.answer(await device.sign({}))).statusCode, 403, 'none')
  t.equal((await device.refresh({ keys: other.keys })).statusCode, 404, 'another key')
  t.equal((await device.refresh({ typ: 'JWT' })).statusCode, 404, 'another type')
  t.equal((await device.answer('"a.b.c"')).statusCode, 404, 'nonsense')
  const asked = challengeIn(await device.ask())
  advance(MINUTE)
  const late = await device.answer(await device.sign({ jti: asked }))
  t.equal(late.statusCode, 403, 'a late answer gets a new challenge')
  device.drop()
  t.equal((await device.answer(await device.sign({ jti: challengeIn(late) }))).statusCode, 200)
  t.equal(await who(device), 'ada')
  Object.assign(device, { name: other.name })
  t.equal((await device.ask()).statusCode, 404, 'the identifier of another session')
})

t.test("a session that isn't bound has nothing to refresh", async t => {
  const app = await site(t)
  const device = await Device.open(app)
  Object.assign(device, { path: '/.well-known/session/refresh', name: 'x' })
  t.equal((await device.ask()).statusCode, 404)
  await device.get('/login')
  Object.assign(device, { path: '/.well-known/session/refresh' })
  t.equal((await device.ask()).statusCode, 404)
})

t.test('a challenge or a session cookie is not accepted as a bound cookie, nor is a forged or changed one', async t => {
  const { device } = await bound(t)
  const reasons = hear(t)
  const challenge = challengeIn(await device.ask())
  const good = device.cookies.get(BOUND) as string
  const later = good.replace(/^[^.]+/, (Date.now() + HOUR).toString(36))
  for (const value of [challenge, later, `${good}x`, good.slice(1), 'x', '.', '..', device.cookies.get('sessionId') as string]) {
    device.cookies.set(BOUND, value)
    t.equal(await who(device), 'nobody', value)
  }
  t.ok(reasons.every(reason => reason === 'bad-device-proof'))
  device.cookies.set(BOUND, good)
  t.equal(await who(device), 'ada')
})

t.test('bound sessions survive a rotation of the secrets', async t => {
  const secret = [SECRET]
  const { device } = await bound(t, { session: { secret } })
  const asked = challengeIn(await device.ask())
  secret.unshift('a newer secret with minimum length of 32 characters')
  t.equal(await who(device), 'ada')
  t.equal((await device.answer(await device.sign({ jti: asked }))).statusCode, 200)
  secret.pop()
  t.equal(await who(device), 'ada', 'the bound cookie is signed with the new secret')
})

t.test('a custom signer also signs challenges and bound cookies, whatever its signatures look like', async t => {
  const sign = (value: string): string => `"${Buffer.from(value).toString('base64')}\\${createHmac('sha256', SECRET).update(value).digest('hex')}`
  const signer = {
    sign,
    unsign (signed: string) {
      const value = Buffer.from(signed.slice(1).split('\\')[0] as string, 'base64').toString()
      const valid = sign(value) === signed
      return { valid, renew: false, value: valid ? value : null }
    }
  }
  const { device } = await bound(t, { session: { secret: signer } })
  t.equal(await who(device), 'ada')
  t.equal(await who(thief(device)), 'nobody')
  const header = String((await device.ask()).headers['secure-session-challenge'])
  const jti = (JSON.parse(header.slice(0, header.lastIndexOf(';id=')))) as string
  t.equal((await device.answer(await device.sign({ jti }))).statusCode, 200)
  t.equal(await who(device), 'ada')
})

t.test('after regenerate() a session is no longer bound, and gets a new offer', async t => {
  const { device } = await bound(t, {
    routes: app => { app.get('/renew', async request => { await request.session.regenerate(['user']) }) }
  })
  const { challenge } = device
  await device.get('/renew')
  t.not(device.challenge, challenge)
  device.drop()
  t.equal(await who(device), 'ada')
  t.equal((await device.register()).statusCode, 200)
})

t.test('a parallel request does not undo the binding, and keeps its own changes', async t => {
  for (const store of [new MemoryStore(), new ThreeMethodStore()]) {
    const { device, advance } = await bound(t, {
      session: { store },
      routes: app => app.get('/slow', async request => {
        data(request).slow = true
        await device.register()
      })
    })
    await device.get('/login')
    await device.get('/slow')
    advance(2 * MINUTE)
    t.same((await device.get('/data')).json(), { user: 'ada', slow: true })
    t.equal(await who(thief(device)), 'nobody')
  }
})

t.test('which sessions get an offer to be bound', async t => {
  t.test('not one that the application does not want to bind', async t => {
    const device = await Device.open(await site(t))
    await device.get('/add')
    t.equal(device.challenge, undefined)
  })

  t.test('not one over http, because no browser would bind it', async t => {
    const app = await site(t, { session: { cookie: { secure: false } } })
    const visitor = new Visitor(app)
    t.notOk('secure-session-registration' in (await visitor.get('/login')).headers)
    t.notOk('secure-session-registration' in (await visitor.get('/who')).headers)
  })

  t.test('not one whose response may be cached', async t => {
    const app = await site(t, { routes: app => app.get('/public', async (_request, reply) => { reply.header('cache-control', 'public, max-age=60') }) })
    const device = await Device.open(app)
    await device.get('/login')
    delete device.challenge
    await device.get('/logout')
    await device.get('/public')
    t.equal(device.challenge, undefined)
  })

  t.test('one that gets it once, and again after an hour', async t => {
    const { advance } = stopClock(t)
    const device = await Device.open(await site(t, { session: { rolling: false } }))
    await device.get('/login')
    const first = device.challenge
    await device.get('/who')
    advance(HOUR - 1)
    await device.get('/who')
    t.equal(device.challenge, first)
    advance(1)
    await device.get('/who')
    t.not(device.challenge, first)
    t.equal((await device.register()).statusCode, 200)
  })

  t.test('by default, one with a user', async t => {
    const device = await Device.open(await site(t, { session: { user: (session: any) => session.user }, bound: { when: undefined } as any }))
    await device.get('/add')
    t.equal(device.challenge, undefined)
    await device.get('/login')
    t.ok(device.challenge)
  })

  t.test('not one that is logged out', async t => {
    const device = await Device.open(await site(t))
    await device.get('/login')
    delete device.challenge
    await device.get('/logout')
    t.equal(device.challenge, undefined)
  })
})

t.test('lists show which sessions are bound', async t => {
  const { app, device } = await bound(t, { session: { user: (session: any) => session.user } })
  const other = await Device.open(app)
  await other.get('/login')
  t.same((await app.sessions.forUser('ada')).map(view => view.deviceBound), [false, true])
  await app.sessions.revokeUser('ada')
  t.equal(await who(device), 'nobody')
  t.equal((await device.ask()).statusCode, 404, 'a revoked session is not refreshed')
})

t.test('loadSession() and decryptSession() ask for the proof too', async t => {
  const { app, device } = await bound(t)
  const cookies = (visitor: Visitor): string => visitor.cookieHeader()
  const value = device.cookies.get('sessionId') as string
  t.equal((await app.loadSession(cookies(device)))?.get('user' as never), 'ada')
  t.equal(await app.loadSession(cookies(thief(device))), null)
  t.equal(await app.loadSession(value), null, 'the session cookie alone')
  const { sessionId } = await app.loadSession(cookies(device)) as any
  t.equal((await app.loadSession({ sessionId }))?.get('user' as never), 'ada', 'a session id, which is trusted')
  const upgrade = { headers: { cookie: cookies(device) } } as any
  await app.decryptSession(value, upgrade)
  t.equal(upgrade.session.user, 'ada')
  const stolen = { headers: { cookie: cookies(thief(device)) } } as any
  await app.decryptSession(value, stolen)
  t.equal(stolen.session.user, undefined)
  const bare = {} as any
  await app.decryptSession(value, bare)
  t.equal(bare.session.user, undefined)
})

t.test('if the first of two session cookies is refused, the second is tried', async t => {
  const { app, device } = await bound(t)
  const other = new Visitor(app)
  other.keep(setCookies(await other.get('/login', { headers: { 'x-forwarded-proto': 'https' } })))
  const cookie = [device, other].map(({ cookies }) => `sessionId=${encodeURIComponent(cookies.get('sessionId') as string)}`).join('; ')
  const response = await app.inject({ url: '/who', headers: { cookie, 'x-forwarded-proto': 'https' } })
  t.equal(response.body, 'ada')
})

t.test('lazy sessions need a proof as well', async t => {
  const { device } = await bound(t, {
    routes: app => app.get('/lazy', { config: { session: 'lazy' } }, async request => {
      await request.loadSession()
      return data(request).user ?? 'nobody'
    })
  })
  const ask = async (visitor: Visitor): Promise<string> => (await visitor.get('/lazy', { headers: { 'x-forwarded-proto': 'https' } })).body
  t.equal(await ask(device), 'ada')
  t.equal(await ask(thief(device)), 'nobody')
})

t.test("a challenge that is left over in a bound session can't bind it to another device", async t => {
  const store = new MemoryStore()
  const { app, device } = await bound(t, { session: { store } })
  const [record] = [...store.store.values()] as any
  record['@fastify/session/device-bound'] = 'left over'
  const other = Object.assign(await Device.open(app), { path: '/.well-known/session/register', challenge: 'left over' })
  for (const [name, value] of device.cookies) other.cookies.set(name, value)
  t.equal((await other.register()).statusCode, 400)
  t.equal(await who(device), 'ada')
})

t.test('a registration is refused with a 404 if the session ends in the meantime', async t => {
  const store = new MemoryStore()
  const app = await site(t, { session: { store } })
  const device = await Device.open(app)
  await device.get('/login')
  const { get } = store
  let loads = 0
  store.get = (sessionId: string, callback: any) => {
    if (++loads === 2) store.store.clear()
    get.call(store, sessionId, callback)
  }
  t.equal((await device.register()).statusCode, 404)
})

t.test('if the store is away, a refresh is answered with a 503', async t => {
  const store = new MemoryStore()
  const { device } = await bound(t, { session: { store } })
  store.get = (_sessionId: string, callback: any) => callback(new Error('away'))
  t.equal((await device.ask()).statusCode, 503)
})

t.test("if the session can't be loaded, the request is not reported as one without a proof", async t => {
  const store = new MemoryStore()
  const { device } = await bound(t, { session: { store, onStoreError: 'anonymous' } })
  const reasons = hear(t)
  store.get = (_sessionId: string, callback: any) => callback(new Error('away'))
  t.equal(await who(device), 'nobody')
  t.same(reasons, [])
})

t.test('a route may require a recent proof', async t => {
  const { app, device, advance } = await bound(t, {
    routes: app => {
      app.get('/pay', { config: { session: { proof: MINUTE } } }, async request => data(request).user ?? 'nobody')
      app.get('/lazy/pay', { config: { session: { proof: MINUTE, lazy: true } } }, async request => data(request).user ?? 'nobody')
    }
  })
  for (const path of ['/pay', '/lazy/pay']) {
    device.keep(setCookies(await device.refresh()))
    t.equal((await device.get(path)).body, 'ada')
    advance(MINUTE)
    const refused = await device.get(path)
    t.equal(refused.statusCode, 403)
    t.match(refused.json(), { code: 'FST_ERR_SESSION_NO_PROOF', message: /within the last 60000 ms/ })
    t.match(setCookies(refused), [/^__Host-sessionId-bound=; Max-Age=0; Path=\/;.* Secure/], 'so that the browser refreshes it')
    t.notOk(device.cookies.has(BOUND))
    t.equal((await device.refresh()).statusCode, 200)
    t.equal((await device.get(path)).body, 'ada')
  }
  const other = await Device.open(app)
  await other.get('/login')
  t.equal((await other.get('/pay')).body, 'ada', "a browser that is not bound can't give a proof")
  t.equal((await thief(device).get('/pay', { headers: { 'x-forwarded-proto': 'https' } })).body, 'nobody')
})

t.test('the bound cookie is cleared whatever @fastify/cookie adds to other cookies', async t => {
  const { device, advance } = await bound(t, {
    cookies: { parseOptions: { domain: 'example.com', partitioned: true, sameSite: 'lax' } },
    routes: app => { app.get('/pay', { config: { session: { proof: MINUTE } } }, async () => 'paid') }
  })
  advance(MINUTE)
  const [cleared] = setCookies(await device.get('/pay'))
  t.match(cleared, /^__Host-sessionId-bound=; Max-Age=0; Path=\/; Expires=[^;]+; HttpOnly; Secure/)
  t.notMatch(cleared, /Domain|Partitioned/, 'a browser refuses a __Host- cookie with a domain')
})

t.test('a request without any session needs no recent proof', async t => {
  const app = await site(t, {
    session: { cookie: { path: '/app' } },
    bound: { path: '/app/session' },
    routes: app => { app.get('/pay', { config: { session: { proof: MINUTE } } }, async () => 'paid') }
  })
  t.equal((await app.inject('/pay')).body, 'paid')
})

t.test("with enforce: 'observe', no recent proof is required", async t => {
  const { device } = await bound(t, {
    bound: { enforce: 'observe' },
    routes: app => { app.get('/pay', { config: { session: { proof: MINUTE } } }, async () => 'paid') }
  })
  t.equal((await device.get('/pay')).body, 'paid')
})

t.test("a proof option that isn't a number of milliseconds is refused", async t => {
  await t.rejects(site(t, { routes: app => { app.get('/pay', { config: { session: { proof: '1 minute' as never } } }, async () => '') } }), { code: 'FST_ERR_SESSION_OPTION', message: /proof of a route/ })
})

t.test('hooks of the application do not get in the way of a refresh', async t => {
  const { device } = await bound(t, {
    routes: app => {
      app.addHook('onRequest', async (request, reply) => {
        if (request.url !== '/login' && data(request).user === undefined) return await reply.redirect('/login-form')
      })
    }
  })
  device.drop()
  t.equal((await device.refresh()).statusCode, 200)
})

t.test('it works in a scope with a prefix, with a second session, and with cookies that are parsed late', async t => {
  const app = Fastify({ trustProxy: true }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  const { advance } = clock(t)
  await app.register(fastifyCookie, { hook: 'preHandler' })
  await app.register(async scope => {
    for (const [sessionName, cookieName] of [['session', 'sessionId'], ['adminSession', '__Host-admin']] as const) {
      scope.register(fastifySession, { secret: SECRET, sessionName, cookieName, saveUninitialized: false, cookie: { sameSite: sessionName === 'session' ? true : 'none' } })
      scope.register(deviceBound, { sessionName, path: `/${sessionName}`, when: isUser })
    }
    scope.get('/login', async (request: any) => {
      request.session.user = 'ada'
      request.adminSession.user = 'root'
    })
    scope.get('/who', async (request: any) => [request.session.user ?? 'nobody', request.adminSession.user ?? 'nobody'])
  }, { prefix: '/app' })
  const device = await Device.open(app)
  const offers = String((await device.get('/app/login')).headers['secure-session-registration'])
  const challenges = [...offers.matchAll(/\(ES256\);path="([^"]+)";challenge="([^"]+)"/g)].map(([, path, challenge]) => ({ path, challenge }))
  t.same(challenges.map(({ path }) => path), ['/app/session/register', '/app/adminSession/register'])
  const answers = []
  for (const offer of challenges) answers.push((await Object.assign(device, offer).register()).json())
  t.same(answers.map(({ credentials: [{ name, attributes }] }) => [name, attributes]), [
    ['__Host-sessionId-bound', 'Path=/; Secure; HttpOnly; SameSite=strict'], ['__Host-admin-bound', 'Path=/; Secure; HttpOnly; SameSite=none']
  ])
  t.equal(device.path, '/app/adminSession/refresh')
  advance(2 * MINUTE)
  const names = async (visitor: Visitor): Promise<string[]> => (await visitor.get('/app/who', { headers: { 'x-forwarded-proto': 'https' } })).json()
  t.same(await names(device), ['ada', 'root'])
  const [bare, first] = [device.copy(), device.copy()]
  for (const name of ['__Host-sessionId-bound', '__Host-admin-bound']) bare.cookies.delete(name)
  first.cookies.delete('__Host-admin-bound')
  t.same(await names(bare), ['nobody', 'nobody'])
  t.same(await names(first), ['ada', 'nobody'])
  first.cookies.set('__Host-admin-bound', first.cookies.get('__Host-sessionId-bound') as string)
  t.same(await names(first), ['ada', 'nobody'], 'the bound cookie of one session is not valid for the other')
  device.drop()
  t.equal((await device.refresh()).statusCode, 200)
  t.same(await names(device), ['nobody', 'root'])
})

t.test("options that can't work are refused", async t => {
  const refused: Array<[string, Site, RegExp]> = [
    ['a short maxAge', { bound: { maxAge: 5 * MINUTE - 1 } }, /maxAge must be 300000 .* and not 299999/],
    ['no life', { bound: { maxAge: NaN } }, /maxAge/],
    ['another word', { bound: { enforce: 'warn' as never } }, /enforce must be 'require' or 'observe'/],
    ['no path', { bound: { path: 'session' } }, /path must be a path/],
    ['a number as path', { bound: { path: 7 as never } }, /path must be a path/],
    ['no function when', { bound: { when: undefined as never } }, /when must be a function/],
    ['another session', { bound: { sessionName: 'adminSession' } }, /sessionName/],
    ['a cookie for other hosts', { session: { cookie: { domain: 'example.com' } } }, /without a domain/],
    ['a partitioned cookie', { session: { cookie: { partitioned: true } } }, /not partitioned/],
    ["a path outside the cookie's path", { session: { cookie: { path: '/app' } } }, /within the session cookie's path, which is '\/app'/]
  ]
  for (const [what, options, message] of refused) await t.rejects(site(t, options), { code: 'FST_ERR_SESSION_OPTION', message }, what)
  await t.rejects(site(t, { routes: app => { app.register(deviceBound, { when: isUser, path: '/again' }) } }), { code: 'FST_ERR_SESSION_OPTION', message: /not yet device-bound/ })
  await site(t, { session: { cookie: { path: '/app' } }, bound: { path: '/app/session' } })
  await site(t, { bound: { maxAge: 5 * MINUTE } })
})

t.test('a function when that returns a promise is refused', async t => {
  const device = await Device.open(await site(t, { bound: { when: async () => false } as any }))
  t.match((await device.get('/login')).json(), { code: 'FST_ERR_SESSION_OPTION', message: /when of device-bound/ })
})

t.test('without a version of jose that it can use, it says so', async t => {
  const message = /needs jose 4 or newer/
  await t.rejects(openVerifier(async () => { throw new Error('not found') }), { code: 'FST_ERR_SESSION_OPTION', message })
  await t.rejects(openVerifier(async () => ({ JWT: {} }) as never), { message })
})

t.test('RedisStore keeps the key of the device, in a compact hash', async t => {
  const client = await connectTo(t, await startRedis(t))
  const { device } = await bound(t, { session: { store: new RedisStore({ client }) } })
  t.equal(await who(device), 'ada')
  await device.get('/add')
  t.equal(await who(thief(device)), 'nobody')
  const [key] = await client.keys('*') as [string]
  t.equal(await client.objectEncoding(key), 'listpack')
  t.equal((await device.refresh()).statusCode, 200)
  t.equal(await who(device), 'ada')
})
