/** Whatever a store, a stored record or a cookie does: a clear answer, and the next request works. */
import { connect, type AddressInfo } from 'node:net'
import { sign } from '@fastify/cookie'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { build, SECRET, setCookies, Visitor, type Routes } from './helpers'

const AWAY = 'The store is away'
const TIMEOUT = 50
const LATE = TIMEOUT + 20

type Answer = (error?: any, value?: any) => void
type Method = 'get' | 'set' | 'destroy' | 'touch' | 'update'
type Fault = (answer: Answer, work: () => unknown) => unknown

/** A store in which one method can be made to misbehave. */
class PlainStore {
  readonly records = new Map<string, string>()
  readonly sessionIds = new Set<string>()
  readonly calls: Method[] = []
  fault: { method: Method, how: Fault, healthyCalls: number } | undefined

  get (sessionId: string, callback: Answer): unknown {
    return this.answer('get', sessionId, callback, () => JSON.parse(this.records.get(sessionId) ?? 'null'))
  }

  set (sessionId: string, session: object, callback: Answer): unknown {
    return this.answer('set', sessionId, callback, () => { this.records.set(sessionId, JSON.stringify(session)) })
  }

  destroy (sessionId: string, callback: Answer): unknown {
    return this.answer('destroy', sessionId, callback, () => { this.records.delete(sessionId) })
  }

  /** Misbehaves from now on, after a number of good calls. */
  break (method: Method, how: Fault, healthyCalls = 0): void {
    this.calls.length = 0
    this.fault = { method, how, healthyCalls }
  }

  heal (): void {
    this.fault = undefined
  }

  protected answer (method: Method, sessionId: string, callback: Answer, work: () => unknown): unknown {
    this.sessionIds.add(sessionId)
    this.calls.push(method)
    if (this.fault?.method === method && this.fault.healthyCalls-- <= 0) return this.fault.how(callback, work)
    const value = work()
    setImmediate(() => callback(null, value))
    return undefined
  }
}

/** The same with all methods that the library uses. */
class FullStore extends PlainStore {
  touch (sessionId: string, session: any, callback: Answer): unknown {
    return this.answer('touch', sessionId, callback, () => {
      const json = this.records.get(sessionId)
      if (json !== undefined) this.records.set(sessionId, JSON.stringify({ ...JSON.parse(json), cookie: session.cookie }))
      return json !== undefined
    })
  }

  update (sessionId: string, changes: { set: object, unset: string[] }, session: any, callback: Answer): unknown {
    return this.answer('update', sessionId, callback, () => {
      const json = this.records.get(sessionId)
      if (json === undefined) return false
      const record = { ...JSON.parse(json), ...changes.set, cookie: session.cookie }
      for (const key of changes.unset) delete record[key]
      this.records.set(sessionId, JSON.stringify(record))
      return true
    })
  }
}

const routes: Routes = app => {
  app.get('/login', async request => {
    (request.session as any).user = 'max'
    return 'welcome'
  })
  app.get('/user', async request => (request.session as any).user ?? 'nobody')
  app.get('/visit', async request => {
    const session = request.session as any
    session.visits = (session.visits ?? 0) + 1
    return session.user ?? 'nobody'
  })
  app.get('/logout', async request => {
    await request.session.destroy()
    return 'bye'
  })
  app.get('/logout-callback', (request, reply) => {
    request.session.destroy(error => { reply.send(error ?? 'bye') })
  })
  app.get('/save', async request => {
    (request.session as any).saved = true
    await request.session.save()
    return 'saved'
  })
  app.get('/regenerate', async request => {
    await request.session.regenerate(['user'])
    return 'new'
  })
  app.get('/reload', async request => {
    await request.session.reload()
    return (request.session as any).user
  })
}

/** A server whose whole log is kept. */
async function logged (store: object, options: object = {}): Promise<{ app: FastifyInstance, log: string[] }> {
  const log: string[] = []
  const app = await build({ store: store as any, cookie: { maxAge: 60_000 }, ...options }, routes, {
    logger: { level: 'trace', stream: { write: (line: string) => { log.push(line) } } }
  })
  return { app, log }
}

/** No session id but in Set-Cookie. */
function keepsSecrets (t: Test, sessionIds: Iterable<string>, log: string[], responses: LightMyRequestResponse[]): void {
  const shown = responses.map(({ body, headers: { 'set-cookie': _, ...headers } }) => body + JSON.stringify(headers))
  for (const sessionId of sessionIds) {
    t.notOk(log.some(line => line.includes(sessionId)), 'no session id in the log')
    t.notOk(shown.some(text => text.includes(sessionId)), 'no session id in the body or another header')
  }
}

const pause = (milliseconds: number): Promise<void> => new Promise(resolve => setTimeout(resolve, milliseconds))

/** Whatever a store still has to say comes within this test: tap fails it for an uncaught exception or rejection. */
const calm = (): Promise<void> => pause(5)

const later = (work: () => void): void => { setTimeout(work, 2) }

const FAILS = { statusCode: 500, message: AWAY }
const FAILS_WITH_TEXT = { statusCode: 500, code: 'FST_ERR_SESSION_STORE', message: AWAY }
const TIMES_OUT = { statusCode: 503, code: 'FST_ERR_SESSION_STORE_TIMEOUT', message: 'storeTimeout' }
const WORKS = { statusCode: 200 }

const FAULTS: Record<string, { how: Fault, expected: { statusCode: number, code?: string, message?: string } }> = {
  'calls back with an error': { how: answer => answer(new Error(AWAY)), expected: FAILS },
  'calls back with an error, later': { how: answer => later(() => answer(new Error(AWAY))), expected: FAILS },
  'calls back with a string as the error': { how: answer => answer(AWAY), expected: FAILS_WITH_TEXT },
  'calls back with a string as the error, later': { how: answer => later(() => answer(AWAY)), expected: FAILS_WITH_TEXT },
  'calls back with an object as the error': { how: answer => answer({ message: AWAY }), expected: FAILS_WITH_TEXT },
  'throws synchronously': { how: () => { throw new Error(AWAY) }, expected: FAILS },
  'throws a string': { how: () => { throw AWAY }, expected: FAILS_WITH_TEXT },
  'throws nothing': { how: () => { throw undefined }, expected: { statusCode: 500 } }, // eslint-disable-line no-throw-literal
  rejects: { how: () => Promise.reject(new Error(AWAY)), expected: FAILS },
  'rejects, later': { how: () => pause(2).then(() => { throw new Error(AWAY) }), expected: FAILS },
  'rejects with nothing': { how: () => Promise.reject(), expected: { statusCode: 500 } }, // eslint-disable-line prefer-promise-reject-errors
  'never answers': { how: () => {}, expected: TIMES_OUT },
  'answers late, after the timeout': {
    how: (answer, work) => { setTimeout(() => answer(null, work()), LATE) }, expected: TIMES_OUT
  },
  'fails late, after the timeout': {
    how: answer => { setTimeout(() => answer(new Error(AWAY)), LATE) }, expected: TIMES_OUT
  },
  'rejects late, after the timeout': {
    how: () => pause(LATE).then(() => { throw new Error(AWAY) }), expected: TIMES_OUT
  },
  'answers twice': {
    how: (answer, work) => {
      const value = work()
      answer(null, value)
      answer(null, value)
    },
    expected: WORKS
  },
  'answers twice, later': {
    how: (answer, work) => {
      const value = work()
      later(() => answer(null, value))
      later(() => answer(null, value))
    },
    expected: WORKS
  },
  'answers and then calls back with an error': {
    how: (answer, work) => {
      answer(null, work())
      answer(new Error(AWAY))
    },
    expected: WORKS
  },
  'answers and then throws': {
    how: (answer, work) => {
      answer(null, work())
      throw new Error(AWAY)
    },
    expected: WORKS
  },
  'calls back and rejects': {
    how: (answer, work) => {
      answer(null, work())
      return Promise.reject(new Error(AWAY))
    },
    expected: WORKS
  },
  'calls back later and rejects even later': {
    how: (answer, work) => {
      const value = work()
      setTimeout(() => answer(null, value), 1)
      return pause(4).then(() => { throw new Error(AWAY) })
    },
    expected: WORKS
  }
}

/** Short only where it must pass: a busy machine should not fail the other tests. */
const timeoutFor = (expected: object): object => expected === TIMES_OUT ? { storeTimeout: TIMEOUT } : {}

interface Case {
  /** The method that misbehaves. */
  method: Method
  /** How many calls of it are good before. */
  healthyCalls?: number
  url: string
  body: string
  store: new () => PlainStore
  /** Of a visitor whom the server doesn't know yet. */
  isNewcomer?: boolean
  /** Whether the session is saved nevertheless when the reply goes out, because the fault was in something else. */
  isSavedAnyway?: boolean
  /** How often it may be tried: a save() by hand that failed is made up for when the reply goes out. */
  attempts?: number
  /** What is in the body of the next request's reply to `/user`, when the fault was one. */
  afterwards: string
}

const CASES: Record<string, Case> = {
  get: { method: 'get', url: '/user', body: 'max', store: FullStore, afterwards: 'max' },
  'set, of a new session': { method: 'set', url: '/login', body: 'welcome', store: FullStore, isNewcomer: true, afterwards: 'nobody' },
  'destroy, as a promise': { method: 'destroy', url: '/logout', body: 'bye', store: FullStore, afterwards: 'max' },
  'destroy, with a callback': { method: 'destroy', url: '/logout-callback', body: 'bye', store: FullStore, afterwards: 'max' },
  touch: { method: 'touch', url: '/user', body: 'max', store: FullStore, afterwards: 'max' },
  update: { method: 'update', url: '/visit', body: 'max', store: FullStore, afterwards: 'max' },
  'update, by save()': { method: 'update', url: '/save', body: 'saved', store: FullStore, attempts: 2, afterwards: 'max' },
  'get, by reload()': { method: 'get', healthyCalls: 1, url: '/reload', body: 'max', store: FullStore, isSavedAnyway: true, afterwards: 'max' },
  'set, of an existing session without update': { method: 'set', url: '/visit', body: 'max', store: PlainStore, afterwards: 'max' },
  'get, before an existing session is set': { method: 'get', healthyCalls: 1, url: '/visit', body: 'max', store: PlainStore, afterwards: 'max' },
  'destroy, of a store without update': { method: 'destroy', url: '/logout', body: 'bye', store: PlainStore, afterwards: 'max' }
}

for (const [caseName, test] of Object.entries(CASES)) {
  const { method, healthyCalls = 0, url, body, store: Store, isNewcomer, isSavedAnyway, attempts = 1, afterwards } = test
  t.test(`a store's ${caseName}`, async t => {
    for (const [faultName, { how, expected }] of Object.entries(FAULTS)) {
      t.test(faultName, async t => {
        const store = new Store()
        const { app, log } = await logged(store, timeoutFor(expected))
        const visitor = new Visitor(app)
        if (isNewcomer !== true) await visitor.get('/login')

        store.break(method, how, healthyCalls)
        const response = await visitor.get(url)
        store.heal()
        const isLogout = url.startsWith('/logout')
        t.equal(response.statusCode, expected.statusCode)
        if (expected === WORKS) {
          t.equal(response.body, body)
          t.match(setCookies(response), [isLogout ? /^sessionId=; Max-Age=0; / : /^sessionId=[^;]+; /])
        } else {
          t.match(response.json(), { statusCode: expected.statusCode, ...(expected.code !== undefined && { code: expected.code }) })
          t.match(response.json().message, expected.message ?? /./)
          t.equal(setCookies(response).length, isSavedAnyway === true ? 1 : 0, 'no cookie where nothing was saved')
          t.ok(store.calls.filter(call => call === method).length <= healthyCalls + attempts, 'it was tried once')
        }

        if (faultName.includes('late, after')) await pause(LATE - TIMEOUT + 10)
        const next = await visitor.get('/user')
        t.equal(next.statusCode, 200)
        t.equal(setCookies(next).length, 1)
        if (expected === WORKS) t.equal(next.body, isLogout ? 'nobody' : 'max')
        else if (!(isLogout && faultName.startsWith('answers late'))) t.equal(next.body, afterwards)
        t.equal((await visitor.get('/visit')).statusCode, 200)

        await calm()
        keepsSecrets(t, store.sessionIds, log, [response, next])
      })
    }
  })
}

t.test('a store whose destroy or set fails within regenerate() fails regenerate()', async t => {
  for (const [faultName, { how, expected }] of Object.entries(FAULTS)) {
    for (const method of ['destroy', 'set'] as const) {
      const store = new FullStore()
      const { app, log } = await logged(store, timeoutFor(expected))
      const visitor = new Visitor(app)
      await visitor.get('/login')

      store.break(method, how)
      const response = await visitor.get('/regenerate')
      store.heal()
      t.equal(response.statusCode, expected.statusCode, `${method} ${faultName}`)
      if (faultName.includes('late, after')) await pause(LATE - TIMEOUT + 10)
      const next = await visitor.get('/user')
      t.equal(next.statusCode, 200)
      await calm()
      keepsSecrets(t, store.sessionIds, log, [response, next])
    }
  }
})

const GOOD_COOKIE = { expires: null, originalMaxAge: null, path: '/', httpOnly: true, secure: false, sameSite: null, domain: null }

/** Whose user is max, where it can be told. */
const BROKEN_RECORDS: Record<string, { record: () => unknown, user: 'max' | 'nobody' }> = {
  'a string': { record: () => 'rubbish', user: 'nobody' },
  'an empty string': { record: () => '', user: 'nobody' },
  'the JSON of a record': { record: () => JSON.stringify({ user: 'max', cookie: GOOD_COOKIE }), user: 'nobody' },
  'a number': { record: () => 42, user: 'nobody' },
  true: { record: () => true, user: 'nobody' },
  'an array': { record: () => [{ user: 'max' }], user: 'nobody' },
  'without cookie': { record: () => ({ user: 'max' }), user: 'max' },
  'with cookie: null': { record: () => ({ user: 'max', cookie: null }), user: 'max' },
  "with cookie: 'x'": { record: () => ({ user: 'max', cookie: 'x' }), user: 'max' },
  'with cookie: []': { record: () => ({ user: 'max', cookie: [] }), user: 'max' },
  'with cookie: 7': { record: () => ({ user: 'max', cookie: 7 }), user: 'max' },
  "with cookie.expires: 'garbage'": { record: () => ({ user: 'max', cookie: { ...GOOD_COOKIE, expires: 'garbage' } }), user: 'max' },
  'with cookie.expires: {}': { record: () => ({ user: 'max', cookie: { ...GOOD_COOKIE, expires: {} } }), user: 'max' },
  'with cookie.expires: an invalid Date': { record: () => ({ user: 'max', cookie: { ...GOOD_COOKIE, expires: new Date(NaN) } }), user: 'max' },
  "with cookie.originalMaxAge: 'abc'": { record: () => ({ user: 'max', cookie: { ...GOOD_COOKIE, originalMaxAge: 'abc' } }), user: 'max' },
  'with cookie.originalMaxAge: {}': { record: () => ({ user: 'max', cookie: { ...GOOD_COOKIE, originalMaxAge: {} } }), user: 'max' },
  'with cookie.originalMaxAge: NaN': { record: () => ({ user: 'max', cookie: { ...GOOD_COOKIE, originalMaxAge: NaN } }), user: 'max' },
  'with cookie.originalMaxAge: Infinity': { record: () => ({ user: 'max', cookie: { ...GOOD_COOKIE, originalMaxAge: Infinity } }), user: 'max' },
  'with cookie attributes that no cookie can carry': {
    record: () => ({ user: 'max', cookie: { ...GOOD_COOKIE, path: 'a;b\n', domain: '!', sameSite: 'maybe', priority: 9 } }), user: 'max'
  },
  'with an own __proto__ key': {
    record: () => JSON.parse(`{"__proto__":{"polluted":true},"user":"max","cookie":${JSON.stringify(GOOD_COOKIE)}}`), user: 'max'
  },
  "with keys of the session's own": {
    record: () => ({ sessionId: 'evil', encryptedSessionId: 'evil', save: 'evil', get: 'evil', user: 'max', cookie: GOOD_COOKIE }), user: 'max'
  },
  'without a prototype': { record: () => Object.assign(Object.create(null), { user: 'max', cookie: GOOD_COOKIE }), user: 'max' },
  frozen: { record: () => Object.freeze({ user: 'max', cookie: Object.freeze({ ...GOOD_COOKIE }) }), user: 'max' }
}

for (const [recordName, { record, user }] of Object.entries(BROKEN_RECORDS)) {
  t.test(`a record ${recordName}`, async t => {
    for (const Store of [FullStore, PlainStore]) {
      for (const maxAge of [60_000, undefined]) {
        for (const url of ['/user', '/visit']) {
          const what = `${Store.name}, maxAge: ${maxAge}, ${url}`
          const store = new Store()
          const { app, log } = await logged(store, { cookie: { maxAge } })
          const visitor = new Visitor(app)
          await visitor.get('/login')
          const sent = visitor.cookies.get('sessionId')

          store.break('get', answer => answer(null, record()))
          const response = await visitor.get(url)
          store.heal()
          t.equal(response.statusCode, 200, what)
          t.equal(response.body, user, what)
          t.equal(({} as any).polluted, undefined)
          const [cookie = '', ...more] = setCookies(response)
          t.same(more, [])
          t.match(cookie, maxAge === undefined ? /^sessionId=[^;]+; Path=\/; HttpOnly$/ : /^sessionId=[^;]+; Path=\/; Expires=\w{3}, [^;]+ GMT; HttpOnly$/, what)
          if (user === 'max') t.equal(visitor.cookies.get('sessionId'), sent, 'the session goes on')
          else t.not(visitor.cookies.get('sessionId'), sent, 'a new session has a new id')

          const next = await visitor.get('/user')
          t.equal(next.statusCode, 200)
          t.equal(next.body, user, what)
          await calm()
          keepsSecrets(t, store.sessionIds, log, [response, next])
        }
      }
    }
  })
}

t.test("names of the session's own in a record don't hide the session's methods", async t => {
  const store = new FullStore()
  const app = await build({ store: store as any }, app => {
    routes(app)
    app.get('/own', async request => {
      const session = request.session as any
      return {
        keys: Object.keys(session).sort(),
        types: [typeof session.sessionId, typeof session.encryptedSessionId, typeof session.save, typeof session.get, typeof session.touch],
        isEvil: [session.sessionId, session.encryptedSessionId, session.save].includes('evil'),
        got: [session.get('sessionId') ?? null, session.get('save') ?? null, session.get('__proto__') ?? null]
      }
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  for (const [sessionId, json] of store.records) {
    store.records.set(sessionId, json.replace('{', '{"sessionId":"evil","encryptedSessionId":"evil","save":"evil","get":1,"touch":{},"__proto__":{"x":1},'))
  }

  t.same((await visitor.get('/own')).json(), {
    keys: ['cookie', 'user'],
    types: ['string', 'string', 'function', 'function', 'function'],
    isEvil: false,
    got: [null, null, null]
  })
})

/** One request as bytes on a socket: what inject and fetch refuse to send. */
function raw (app: FastifyInstance, cookies: string[]): Promise<{ statusCode: number, head: string, body: string }> {
  return new Promise((resolve, reject) => {
    const { port } = app.server.address() as AddressInfo
    const chunks: Buffer[] = []
    const socket = connect(port, '127.0.0.1', () => {
      const lines = cookies.map(cookie => `Cookie: ${cookie}\r\n`).join('')
      socket.write(`GET /user HTTP/1.1\r\nHost: example.com\r\n${lines}Connection: close\r\n\r\n`, 'latin1')
    })
    socket.on('data', chunk => chunks.push(chunk))
    // The server may hang up on a request that is too large before it was read.
    socket.on('error', reject)
    socket.on('close', () => {
      const [head = '', body = ''] = Buffer.concat(chunks).toString('latin1').split('\r\n\r\n')
      resolve({ statusCode: Number(head.split(' ')[1]), head, body })
    })
  })
}

/** Numbers from 0 to 1, the same in each run, so that a failure can be repeated (mulberry32). */
function randomNumbers (seed: number): () => number {
  return () => {
    seed = (seed + 0x6D2B79F5) | 0
    let n = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    n = (n + Math.imul(n ^ (n >>> 7), 61 | n)) ^ n
    return ((n ^ (n >>> 14)) >>> 0) / 4294967296
  }
}

async function listening (t: Test, options: object): Promise<{ app: FastifyInstance, log: string[], good: string, store: FullStore }> {
  const store = new FullStore()
  const { app, log } = await logged(store, { saveUninitialized: false, ...options })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/login')
  return { app, log, good: visitor.cookieHeader(), store }
}

const UNKNOWN = encodeURIComponent(sign('unknown', SECRET))

const BAD_VALUES = [
  '', ' ', '"', '""', '"x', 'x"', '"x.y"', '%', '%%', '%E0%A4%A', '%zz', '%00', '%ff%fe', '=', '==', '.', '..', '.x', 'x.', 'a.b.c',
  'unsigned', 'unsigned.', '.signature', 's:', 's%3A', 's:unsigned', 'S:x.y', 'null', 'undefined', '[object Object]', '{}', '[]', '__proto__',
  UNKNOWN, `s%3A${UNKNOWN}`, encodeURIComponent(sign('', SECRET)), encodeURIComponent(sign('__proto__', SECRET)),
  encodeURIComponent(sign('constructor', SECRET)), sign('forged', 'another secret'), 'é', '\x80\xff', '\t', ',', 'a,b', 'a b', '\\', '\\"', '\x7f',
  'x'.repeat(4000), '.'.repeat(4000), '%'.repeat(2000), 'a=b', 'a=b=c', '../../etc/passwd', '*', '$Version=1', '💥'
]

for (const cookiePrefix of ['', 's:']) {
  t.test(`bad Cookie headers, with cookiePrefix '${cookiePrefix}'`, async t => {
    t.test('each of them alone: a new visitor, and no server error', async t => {
      const { app, log, store } = await listening(t, { cookiePrefix })
      for (const value of BAD_VALUES) {
        for (const cookie of [`sessionId=${value}`, `sessionId=${value};`, `sessionId="${value}"`, ` sessionId = ${value} `, `sessionId${value}`, `=${value}`, `;${value};;`]) {
          const { statusCode, body, head } = await raw(app, [cookie])
          if (statusCode !== 200 && !(statusCode === 400 && cookie.includes('\x7f'))) t.fail(`${statusCode} for ${JSON.stringify(cookie)}`)
          else if (statusCode === 200 && body !== 'nobody') t.fail(`${body} for ${JSON.stringify(cookie)}`)
          if (/set-cookie: sessionId=[^;]/i.test(head)) t.fail(`a session for ${JSON.stringify(cookie)}`)
        }
      }
      t.notOk(log.some(line => /"level":(50|60)/.test(line)), 'nothing is logged as an error')
      t.notOk([...store.sessionIds].includes('forged'), 'the store is not asked for an id that is not signed')
    })

    t.test('a good one among several bad ones wins', async t => {
      const { app, good, log, store } = await listening(t, { cookiePrefix })
      const random = randomNumbers(2026)
      const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T
      const usable = BAD_VALUES.filter(value => value.length < 100 && !/[\x7f]/.test(value))
      for (let i = 0; i < 300; i++) {
        const cookies = Array.from({ length: Math.floor(random() * 6) }, () => `${pick(['sessionId', 'sessionId', 'other', '', '__proto__', 'sessionid'])}=${pick(usable)}`)
        cookies.splice(Math.floor(random() * (cookies.length + 1)), 0, good)
        const header = cookies.join(pick(['; ', ';', ' ; ', ';;']))
        const { statusCode, body } = await raw(app, [header])
        if (statusCode !== 200 || body !== 'max') t.fail(`${statusCode} ${body} for ${JSON.stringify(header)}`)
      }
      const twoLines = await raw(app, ['sessionId=rubbish', good])
      t.equal(twoLines.body, 'max', 'in a second Cookie line')
      t.notOk(log.some(line => [...store.sessionIds].some(id => id.length > 20 && line.includes(id))), 'no session id in the log')
    })

    t.test('random bytes: never a server error', async t => {
      const { app } = await listening(t, { cookiePrefix })
      const random = randomNumbers(500)
      const letters = 'sesionId=;"% .,\\:{}[]()<>@/?\t\x00\x01\x0b\x7f\x80\xff0aZ+-_'
      for (let i = 0; i < 300; i++) {
        const noise = Array.from({ length: Math.floor(random() * 60) }, () => letters[Math.floor(random() * letters.length)]).join('')
        const { statusCode } = await raw(app, [`sessionId=${noise}`])
        if (statusCode !== 200 && statusCode !== 400) t.fail(`${statusCode} for ${JSON.stringify(noise)}`)
      }
    })

    t.test('NUL and huge ones are refused by Node.js or ignored', async t => {
      const { app, good } = await listening(t, { cookiePrefix })
      t.equal((await raw(app, [`sessionId=a\x00b; ${good}`])).statusCode, 400)
      t.equal((await raw(app, [`sessionId=${'x'.repeat(15_000)}`])).body, 'nobody')
      t.equal((await raw(app, [`sessionId=${'x'.repeat(10_000)}; ${good}`])).body, 'max')
      t.equal((await raw(app, [`${'sessionId=x;'.repeat(1000)}${good}`])).body, 'max')
      t.equal((await raw(app, [`sessionId=${'x'.repeat(17_000)}`])).statusCode, 431)
      t.equal((await raw(app, [good])).body, 'max')
    })
  })
}
