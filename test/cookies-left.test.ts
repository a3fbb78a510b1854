/** Races in the browser: late requests, several cookies, posts from other sites, and cookies that must really be cleared. */
import { sign } from '@fastify/cookie'
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import { build, record, SECRET, setCookies, type Routes, type SessionOptions } from './helpers'
import { ThreeMethodStore, type Answer } from './odd-stores'

const CLEARED = /^sessionId=; Max-Age=0/
const GRACE = 30_000

// The clock stands still unless a test moves it.
const { now: realNow } = Date
let now = realNow()
Date.now = () => now
t.teardown(() => { Date.now = realNow })

class TouchStore extends ThreeMethodStore {
  touch (_sessionId: string, _session: object, callback: Answer): void { callback() }
}

const STORES: Record<string, () => any> = {
  MemoryStore: () => new MemoryStore(), 'a store with three methods': () => new ThreeMethodStore(), 'a store with touch': () => new TouchStore()
}

const sizeOf = (store: any): number => (store.store ?? store.records).size

const routes: Routes = app => {
  app.get('/cart', async ({ session }) => { (session as any).cart = ['apple'] })
  app.get('/login', async request => {
    await request.session.regenerate(['cart'] as any)
    ;(request.session as any).user = 'ada'
  })
  app.get('/poll', async ({ session }) => (session as any).user ?? 'nobody')
  app.get('/write', async ({ session }) => { (session as any).seen = 1 })
  app.get('/touch', async ({ session }) => { session.touch() })
  app.get('/quiet', async () => 'quiet')
  app.get('/save', async ({ session }) => {
    (session as any).seen = 1
    await session.save()
  })
  app.get('/logout', async ({ session }) => { await session.destroy() })
  app.get('/logout/forgotten', async ({ session }) => { session.destroy() })
  app.get('/logout/callback', (request, reply) => { request.session.destroy(error => { reply.send(error ?? 'bye') }) })
  app.post('/paid', async () => 'thank you')
  app.post('/paid/noted', async ({ session }) => { (session as any).paid = true })
}

async function open (t: Test, options: SessionOptions, server = {}): Promise<FastifyInstance> {
  const app = await build({ saveUninitialized: false, cookie: { maxAge: 600_000, ...options.cookie as object }, ...options }, routes, server)
  t.teardown(() => app.close())
  return app
}

const cookieOf = (response: LightMyRequestResponse): string => setCookies(response)[0]?.split(';', 1)[0] ?? ''
const get = (app: FastifyInstance, url: string, cookie = '', more: InjectOptions = {}): Promise<LightMyRequestResponse> => {
  return app.inject({ url, ...more, headers: { ...(cookie !== '' && { cookie }), ...more.headers } })
}

// --- Late requests

for (const [name, makeStore] of Object.entries(STORES)) {
  for (const saveUninitialized of [true, false]) {
    for (const rolling of [true, false]) {
      const title = `saveUninitialized: ${saveUninitialized}, rolling: ${rolling}, ${name}`
      t.test(`for half a minute after a login, a request with the old id leaves the cookie alone: ${title}`, async t => {
        const store = makeStore()
        const app = await open(t, { store, saveUninitialized, rolling })
        const old = cookieOf(await get(app, '/cart'))
        const login = await get(app, '/login', old)
        const begun = now
        const size = sizeOf(store)
        for (const time of [0, GRACE - 1]) {
          now = begun + time
          for (const url of ['/poll', '/quiet', '/write', '/touch']) {
            const late = await get(app, url, old)
            t.same([late.statusCode, setCookies(late)], [200, []], `${url} after ${time} ms`)
          }
          t.equal((await get(app, '/poll', old)).body, 'nobody', 'the old id never reaches the new session')
        }
        t.equal(sizeOf(store), size, 'nothing is stored for the old id')
        t.equal((await get(app, '/poll', cookieOf(login))).body, 'ada')
      })

      t.test(`after half a minute, the old id is treated as any unknown id: ${title}`, async t => {
        const app = await open(t, { store: makeStore(), saveUninitialized, rolling })
        const old = cookieOf(await get(app, '/cart'))
        await get(app, '/login', old)
        now += GRACE - 1
        t.same(setCookies(await get(app, '/poll', old)), [])
        now += 1
        const [header = ''] = setCookies(await get(app, '/poll', old))
        if (saveUninitialized) t.ok(header.startsWith('sessionId=') && !CLEARED.test(header), header)
        else t.match(header, CLEARED)
        t.notMatch(header, old)
      })
    }

    t.test(`a second login with the old id sends its cookie: saveUninitialized: ${saveUninitialized}, ${name}`, async t => {
      const store = makeStore()
      const app = await open(t, { store, saveUninitialized })
      const old = cookieOf(await get(app, '/cart'))
      const first = cookieOf(await get(app, '/login', old))
      const second = cookieOf(await get(app, '/login', old))
      t.not(second, '')
      t.equal((await get(app, '/poll', second)).body, 'ada')
      t.equal((await get(app, '/poll', first)).body, 'ada')
      const size = sizeOf(store)
      t.equal(cookieOf(await get(app, '/save', old)), '', 'a late request that calls save() sends no cookie')
      t.equal(sizeOf(store), size, 'and stores no session that nobody has the cookie of')
    })
  }

  t.test(`each of several replaced ids is left alone, even after the last session has logged out: ${name}`, async t => {
    const app = await open(t, { store: makeStore() })
    const cookies = [cookieOf(await get(app, '/cart'))]
    for (let i = 0; i < 3; i++) cookies.push(cookieOf(await get(app, '/login', cookies.at(-1))))
    const last = cookies.pop()
    for (const cookie of cookies) t.same(setCookies(await get(app, '/poll', cookie)), [])
    t.match(setCookies(await get(app, '/logout', last)), [CLEARED])
    for (const cookie of cookies) t.same(setCookies(await get(app, '/poll', cookie)), [])
    t.match(setCookies(await get(app, '/poll', last)), [CLEARED], 'an id that was logged out does not count as replaced')
  })
}

// --- Several cookies

for (const [name, makeStore] of Object.entries(STORES)) {
  for (const url of ['/logout', '/logout/forgotten', '/logout/callback']) {
    t.test(`a logout ends every session whose cookie came with the request: ${url}, ${name}`, async t => {
      const store = makeStore()
      const app = await open(t, { store })
      const cookies = [cookieOf(await get(app, '/login')), cookieOf(await get(app, '/login')), cookieOf(await get(app, '/login'))]
      const bystander = cookieOf(await get(app, '/login'))
      const dead = `sessionId=${encodeURIComponent(sign('an-id-that-nobody-has', SECRET))}`
      const header = ['sessionId=forged', dead, cookies[0], cookies[1], cookies[1], 'other=1', cookies[2]].join('; ')
      const response = await get(app, url, header)
      t.equal(response.statusCode, 200)
      t.match(setCookies(response), [CLEARED])
      for (const cookie of cookies) t.equal((await get(app, '/poll', cookie)).body, 'nobody')
      t.equal((await get(app, '/poll', bystander)).body, 'ada')
      t.equal(sizeOf(store), 1)
    })
  }
}

t.test("a logout that can't end one of several sessions ends the others and reports the error", async t => {
  const store = new MemoryStore()
  const app = await open(t, { store })
  const cookies = [cookieOf(await get(app, '/login')), cookieOf(await get(app, '/login')), cookieOf(await get(app, '/login'))]
  const [, second] = store.store.keys()
  const { destroy } = store
  store.destroy = function (sessionId: string, callback: any) {
    if (sessionId === second) callback(new Error('The store is away'))
    else destroy.call(this, sessionId, callback)
  }
  t.match((await get(app, '/logout', cookies.join('; '))).json(), { statusCode: 500, message: 'The store is away' })
  t.same([...store.store.keys()], [second])
})

t.test('a request that loaded the second session before the logout does not bring it back', async t => {
  const store = new MemoryStore()
  let go!: () => void
  const waits = new Promise<void>(resolve => { go = resolve })
  const app = await build({ store, saveUninitialized: false }, app => {
    routes(app)
    app.get('/slow', async ({ session }) => {
      (session as any).seen = 1
      await waits
    })
  })
  t.teardown(() => app.close())
  const cookies = [cookieOf(await get(app, '/login')), cookieOf(await get(app, '/login'))]
  const slow = get(app, '/slow', cookies[1])
  await new Promise(setImmediate)
  await get(app, '/logout', cookies.join('; '))
  go()
  t.match(setCookies(await slow), [CLEARED])
  t.equal(store.store.size, 0)
})

t.test('16 KB of cookies cost at most ten verifications and ten look-ups', async t => {
  let verified = 0
  const signer = {
    sign: (value: string) => `${value}.signed`,
    unsign: (value: string) => {
      verified++
      const valid = value.endsWith('.signed')
      return { valid, renew: false, value: valid ? value.slice(0, -'.signed'.length) : null }
    }
  }
  const kinds: Record<string, (i: number) => string> = {
    forged: i => `sessionId=forged${i}`,
    'signed but unknown': i => `sessionId=unknown${i}.signed`,
    quoted: i => `sessionId="forged${i}"`,
    'with spaces': i => `  sessionId = forged${i}  `,
    'among cookies with similar names': i => `sessionId${i}=x; xsessionId=y; sessionId=forged${i}`,
    empty: () => 'sessionId='
  }
  for (const [what, pair] of Object.entries(kinds)) {
    for (const url of ['/poll', '/logout', '/login']) {
      const store = new ThreeMethodStore()
      let looked = 0
      const { get: find } = store
      store.get = (sessionId, callback) => {
        if (sessionId.startsWith('unknown')) looked++
        find.call(store, sessionId, callback)
      }
      const app = await open(t, { store: store as any, secret: signer })
      const pairs: string[] = []
      for (let i = 0, length = 0; length < 16_384; i++) length += pairs[pairs.push(pair(i)) - 1]?.length as number + 2
      verified = looked = 0
      const response = await get(app, url, pairs.join('; '))
      t.equal(response.statusCode, 200)
      t.ok(verified <= 10, `${what}, ${url}: ${verified} verifications`)
      t.ok(looked <= 10, `${what}, ${url}: ${looked} look-ups`)
    }
  }
})

// --- Requests from other sites

t.test('a POST from another site that brings no session cookie and stores nothing creates no session', async t => {
  const store = new MemoryStore()
  const app = await open(t, { store, saveUninitialized: true })
  const mine = cookieOf(await get(app, '/login'))
  const post = (site: string | undefined, url = '/paid', cookie = '', method: 'POST' | 'GET' | 'HEAD' = 'POST'): Promise<LightMyRequestResponse> => {
    return get(app, url, cookie, { method, headers: site === undefined ? {} : { 'sec-fetch-site': site, 'sec-fetch-mode': 'navigate' } })
  }
  const size = store.store.size
  t.same(setCookies(await post('cross-site')), [])
  t.same(setCookies(await post('cross-site', '/paid', 'theme=dark')), [], 'another cookie is not a session')
  t.equal(store.store.size, size)
  t.equal((await get(app, '/poll', mine)).body, 'ada', "the visitor's own session is unchanged")
  t.equal(setCookies(await post('cross-site', '/paid/noted')).length, 1, 'a session with data is kept')
  for (const site of ['same-origin', 'same-site', 'none', undefined]) t.equal(setCookies(await post(site)).length, 1, String(site))
  for (const method of ['GET', 'HEAD'] as const) t.equal(setCookies(await post('cross-site', '/quiet', '', method)).length, 1, method)
  t.same(setCookies(await post('cross-site', '/paid', mine)).map(header => header.split(';', 1)[0]), [mine])
})

t.test('with sameSite strict, no link from another site does that, either', async t => {
  for (const [sameSite, isStrict] of [['strict', true], ['Strict', true], [true, true], ['lax', false], ['none', false], [undefined, false]] as const) {
    const app = await open(t, { saveUninitialized: true, cookie: { secure: false, sameSite: sameSite as 'strict' } })
    const link = (site: string, method: 'GET' | 'HEAD' = 'GET'): Promise<LightMyRequestResponse> => {
      return get(app, '/quiet', '', { method, headers: { 'sec-fetch-site': site, 'sec-fetch-mode': 'navigate' } })
    }
    for (const method of ['GET', 'HEAD'] as const) {
      t.equal(setCookies(await link('cross-site', method)).length, isStrict ? 0 : 1, `${sameSite}, ${method}`)
    }
    for (const site of ['same-origin', 'same-site', 'none']) t.equal(setCookies(await link(site)).length, 1, `${sameSite}, ${site}`)
  }
})

// --- The header that clears a cookie

const GONE = 'Expires=Thu, 01 Jan 1970 00:00:00 GMT'
const HTTPS = { 'x-forwarded-proto': 'https' }

for (const [what, cookie, headers, wanted] of [
  ['of an embedded page', { secure: true, sameSite: 'none', partitioned: true }, HTTPS, `sessionId=; Max-Age=0; Path=/; ${GONE}; Secure; Partitioned; SameSite=None`],
  ['of an embedded page, secure: auto', { secure: 'auto', sameSite: 'none', partitioned: true }, HTTPS, `sessionId=; Max-Age=0; Path=/; ${GONE}; Secure; Partitioned; SameSite=None`],
  ['of another site', { secure: true, sameSite: 'none' }, HTTPS, `sessionId=; Max-Age=0; Path=/; ${GONE}; Secure; SameSite=None`],
  ['of another site, in capitals', { secure: true, sameSite: 'None' as 'none' }, HTTPS, `sessionId=; Max-Age=0; Path=/; ${GONE}; Secure; SameSite=None`],
  ['of another site, secure: auto, over http (Lax)', { secure: 'auto', sameSite: 'none' }, {}, `sessionId=; Max-Age=0; Path=/; ${GONE}; SameSite=Lax`],
  ['of a domain and a path', { secure: true, sameSite: 'none', domain: 'shop.example', path: '/' }, HTTPS, `sessionId=; Max-Age=0; Domain=shop.example; Path=/; ${GONE}; Secure; SameSite=None`],
  ['that is Strict', { secure: true, sameSite: 'strict' }, HTTPS, `sessionId=; Max-Age=0; Path=/; ${GONE}; Secure; SameSite=Lax`],
  ['over http', { secure: false }, {}, `sessionId=; Max-Age=0; Path=/; ${GONE}; SameSite=Lax`]
] as const) {
  t.test(`the header that clears a cookie ${what}`, async t => {
    const app = await open(t, { cookie }, { trustProxy: true })
    const sent = await get(app, '/login', '', { headers })
    t.match(setCookies(sent), [/^sessionId=[^;]{20}/])
    t.same(setCookies(await get(app, '/logout', cookieOf(sent), { headers })), [wanted])
  })
}

// --- A store that reports a missing session as an error

for (const message of ['Unable to find the session to touch', 'no such row']) {
  t.test(`an error '${message}' from touch does not replace a page that is ready`, async t => {
    class Mongo extends ThreeMethodStore {
      touch (sessionId: string, _session: object, callback: Answer): void {
        setImmediate(() => callback(this.records.has(sessionId) ? null : new Error(message)))
      }
    }
    const store = new Mongo()
    const app = await build({ store: store as any, saveUninitialized: false, cookie: { maxAge: 60_000 } }, app => {
      routes(app)
      app.get('/page', async ({ session }) => {
        store.records.clear()
        return `page for ${(session as any).user}`
      })
      app.get('/page/touched', async ({ session }) => {
        session.touch()
        store.records.clear()
        return 'page'
      })
      app.get('/page/changed', async ({ session }) => {
        (session as any).seen = 1
        store.records.clear()
        return 'page'
      })
    })
    t.teardown(() => app.close())
    for (const [url, body] of [['/page', 'page for ada'], ['/page/touched', 'page'], ['/page/changed', 'page']] as const) {
      const cookie = cookieOf(await get(app, '/login'))
      const response = await get(app, url, cookie)
      t.same([response.statusCode, response.body], [200, body])
      t.same(setCookies(response).filter(header => !CLEARED.test(header)), [], 'the cookie of the ended session is not sent')
      t.equal(store.records.size, 0)
    }
    t.equal((await get(app, '/poll', `sessionId=${encodeURIComponent(sign('an-id', SECRET))}`)).body, 'nobody')
    store.records.set('an-id', JSON.stringify(record({ user: 'max' })))
    t.equal((await get(app, '/poll', `sessionId=${encodeURIComponent(sign('an-id', SECRET))}`)).body, 'max')
  })
}
