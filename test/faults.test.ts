/** Whatever a store, a stored record or a cookie does: the reply is clear, and the next request works. */
import { sign } from '@fastify/cookie'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import t from 'tap'
import {
  AWAY, BROKEN_ANSWERS, BROKEN_RECORDS, FAULTS, FaultyStore, nested, promising, revoked, throwing,
  type Fault, type How, type Method, type OptionalMethod
} from '../src/testing/faults'
import { build, SECRET, setCookies, stopClock, Visitor, type Routes, type SessionOptions } from './helpers'
import { HeldStore } from './odd-stores'
import { PATIENCE } from './waiting'

const MINUTE = 60_000

// The clock stands still unless a test moves it, so that every Set-Cookie header is known exactly.
const { advance } = stopClock(t)

let handed: unknown

const routes: Routes = app => {
  const userOf = (session: any): string => session.user ?? 'nobody'

  app.get('/login', async request => {
    (request.session as any).user = 'max'
    return 'welcome'
  })
  app.get('/user', async request => userOf(request.session))
  app.get('/all', async request => {
    const session = request.session as any
    const { profile } = session.data()
    return session.isAdmin || profile?.isAdmin || ({} as any).isAdmin ? 'admin' : userOf(session)
  })
  app.get('/write', async request => {
    (request.session as any).n = 1
    return userOf(request.session)
  })
  app.get('/write/handed', async request => {
    (request.session as any).handed = handed
    return userOf(request.session)
  })
  app.get('/touch', async request => {
    request.session.touch()
    return userOf(request.session)
  })
  app.get('/lifetime', async request => {
    request.session.cookie.maxAge = MINUTE
    return userOf(request.session)
  })
  app.get('/save', async request => {
    (request.session as any).n = 1
    await request.session.save()
    return userOf(request.session)
  })
  app.get('/reload', async request => {
    await request.session.reload()
    return userOf(request.session)
  })
  app.get('/renew', async request => {
    await request.session.regenerate()
    return userOf(request.session)
  })
  app.get('/renew/user', async request => {
    await request.session.regenerate(['user'] as any)
    return userOf(request.session)
  })
  app.get('/logout', async request => {
    await request.session.destroy()
    return 'bye'
  })
  app.get('/logout/callback', (request, reply) => {
    request.session.destroy(error => { reply.send(error ?? 'bye') })
  })
  app.get('/decrypt', async request => {
    const other: any = {}
    await app.decryptSession(request.cookies.sessionId, other)
    return userOf(other.session)
  })
}

type Form = (store: FaultyStore) => object

interface Reply {
  status: number
  says: string
  /** `same` as before, `new`, `clear` or `none`. Anything else is the header itself. */
  cookie: string
  /** The names of the other headers. */
  headers: string
  /** Whether a session id appears in the log, in the body or in another header. */
  leaks: boolean
}

/** A request to a broken store, and the next one. */
interface Course {
  reply: Reply
  next: Reply
  isTriedAgain: boolean
}

const CLEARED = 'sessionId=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=Lax'

/** An app with a store that can be broken, its complete log, and a visitor. */
class Site {
  readonly log: string[] = []
  readonly sessionIds: string[] = []
  app!: FastifyInstance
  visitor!: Visitor

  constructor (readonly store: FaultyStore) {}

  async open (options: SessionOptions, form: Form): Promise<this> {
    const idGenerator = (): string => {
      this.sessionIds.push(`session-id-number-${this.sessionIds.length + 1}`)
      return this.sessionIds.at(-1) as string
    }
    const logger = { level: 'trace', stream: { write: (line: string) => { this.log.push(line) } } }
    const defaults = { store: form(this.store) as any, cookie: { maxAge: MINUTE }, idGenerator }
    this.app = await build({ ...defaults, ...options }, routes, { logger })
    return this
  }

  begin (): void {
    this.visitor = new Visitor(this.app)
    this.store.heal()
    this.store.records.clear()
    this.log.length = 0
  }

  /** What the visitor gets, in short words. */
  async get (url: string): Promise<Reply> {
    const before = this.visitor.cookies.get('sessionId')
    const made = this.sessionIds.length
    const response = await this.visitor.get(url, { signal: AbortSignal.timeout(PATIENCE) })
    const isError = response.statusCode !== 200
    return {
      status: response.statusCode,
      says: isError ? response.json().code ?? response.json().message : response.body,
      cookie: this.#cookieOf(response, before, this.sessionIds.slice(made)),
      headers: Object.keys(response.headers).filter(name => name !== 'set-cookie').sort().join(' '),
      leaks: this.#leaks(response)
    }
  }

  #cookieOf (response: LightMyRequestResponse, before: string | undefined, newIds: string[]): string {
    const [header, ...more] = setCookies(response)
    if (header === undefined) return 'none'
    const attributes = `; Path=/; Expires=${new Date(Date.now() + MINUTE).toUTCString()}; HttpOnly`
    const sent = (value: string): string => this.app.serializeCookie('sessionId', value) + attributes
    if (more.length > 0) return `${header} ${more.join(' ')}`
    if (header === CLEARED) return 'clear'
    if (before !== undefined && header === sent(before)) return 'same'
    return newIds.some(sessionId => header === sent(sign(sessionId, SECRET))) ? 'new' : header
  }

  #leaks ({ body, headers: { 'set-cookie': _, ...headers } }: LightMyRequestResponse): boolean {
    const texts = [...this.log, body, JSON.stringify(headers)]
    return this.sessionIds.some(sessionId => texts.some(text => text.includes(sessionId)))
  }
}

/** A call of a store's method, and the request that leads to it. */
interface Use {
  method: Method
  title: string
  url: string
  /** The optional methods that the store has. All of them if this is missing. */
  has?: readonly OptionalMethod[]
  /** The number of earlier calls of the method, which succeed. */
  healthyCalls?: number
  rolling?: boolean
  /** Whether it is the first request of a visitor. */
  isNewcomer?: boolean
  /** The time that passes before the request, in milliseconds. */
  elapse?: number
}

/**
 * What a visitor gets: the first reply and its cookie | the reply of /user after that and its cookie. `error` is the store's
 * failure. The cookie is the `same` as before, a `new` one, one to `clear` it, or `none`.
 */
interface Replies {
  works: string
  fails: string
  /** As `fails` if this is missing. */
  worksUnseen?: string
  /** Only for methods that find sessions. */
  findsNothing?: string
}

const GONE = 'FST_ERR_SESSION_GONE'

const USES = [
  use('get', 'as a request loads', { has: ['touch', 'update'], url: '/user' },
    { works: 'max same | max same', fails: 'error none | max same', findsNothing: 'nobody new | nobody same' }),
  use('get', 'as a request loads that reads everything', { has: ['touch', 'update'], url: '/all' },
    { works: 'max same | max same', fails: 'error none | max same', findsNothing: 'nobody new | nobody same' }),
  use('get', 'as a request loads that writes', { has: ['touch', 'update'], url: '/write' },
    { works: 'max same | max same', fails: 'error none | max same', findsNothing: 'nobody new | nobody same' }),
  use('get', 'as a request loads, rolling: false', { url: '/user', rolling: false },
    { works: 'max none | max none', fails: 'error none | max none', findsNothing: 'nobody new | nobody none' }),
  use('get', 'by decryptSession()', { url: '/decrypt' },
    { works: 'max same | max same', fails: 'error same | max same', findsNothing: 'nobody same | max same' }),
  use('get', 'by reload()', { url: '/reload' },
    { works: 'max same | max same', fails: 'error same | max same', findsNothing: `${GONE} same | max same` }),
  use('get', 'before a write, without update', { has: [], url: '/write', healthyCalls: 1 },
    { works: 'max same | max same', fails: 'error none | max same', findsNothing: 'max clear | nobody new' }),
  use('get', 'before the expiry is moved, without touch', { has: [], url: '/user', healthyCalls: 1 },
    { works: 'max same | max same', fails: 'error none | max same', findsNothing: 'max clear | nobody new' }),
  use('get', 'by save(), without update', { has: ['touch'], url: '/save', healthyCalls: 1 },
    { works: 'max same | max same', fails: 'error none | max same', findsNothing: `${GONE} clear | nobody new` }),
  use('get', 'by regenerate(keys), without update', { has: ['touch'], url: '/renew/user', healthyCalls: 1 },
    { works: 'max new | max same', fails: 'error same | max same', findsNothing: `${GONE} clear | nobody new` }),
  use('getAndTouch', 'as a request loads', { url: '/user' },
    { works: 'max same | max same', fails: 'error none | max same', findsNothing: 'nobody new | nobody same' }),
  use('getAndTouch', 'as a request loads that reads everything', { has: ['touch', 'getAndTouch'], url: '/all' },
    { works: 'max same | max same', fails: 'error none | max same', findsNothing: 'nobody new | nobody same' }),
  use('getAndTouch', 'as a request loads that saves', { url: '/save' },
    { works: 'max same | max same', fails: 'error none | max same', findsNothing: 'nobody new | nobody same' }),
  use('getAndTouch', 'as a request loads that regenerates', { url: '/renew/user' },
    { works: 'max new | max same', fails: 'error none | max same', findsNothing: 'nobody new | nobody same' }),
  use('getAndTouch', 'as a request loads that logs out', { url: '/logout' },
    { works: 'bye clear | nobody new', fails: 'error none | max same', findsNothing: 'bye clear | nobody new' }),
  use('set', 'of a new session', { url: '/login', isNewcomer: true },
    { works: 'welcome new | max same', fails: 'error none | nobody new' }),
  use('set', 'of a new session by save()', { url: '/save', isNewcomer: true },
    { works: 'nobody new | nobody same', fails: 'error none | nobody new' }),
  use('set', 'by regenerate()', { url: '/renew' },
    { works: 'nobody new | nobody same', fails: 'error none | nobody new' }),
  use('set', 'by regenerate(keys)', { url: '/renew/user' },
    { works: 'max new | max same', fails: 'error none | nobody new' }),
  use('set', 'of changes, without update', { has: ['touch'], url: '/write' },
    { works: 'max same | max same', fails: 'error none | max same' }),
  use('set', 'of changes by save(), without update', { has: ['touch'], url: '/save' },
    { works: 'max same | max same', fails: 'error none | max same' }),
  use('set', 'to move the expiry, without touch', { has: [], url: '/user' },
    { works: 'max same | max same', fails: 'error none | max same' }),
  use('destroy', 'by destroy()', { url: '/logout' },
    { works: 'bye clear | nobody new', fails: 'error none | max same', worksUnseen: 'error none | nobody new' }),
  use('destroy', 'by destroy() with a callback', { url: '/logout/callback' },
    { works: 'bye clear | nobody new', fails: 'error none | max same', worksUnseen: 'error none | nobody new' }),
  use('destroy', 'by destroy(), without update', { has: [], url: '/logout' },
    { works: 'bye clear | nobody new', fails: 'error none | max same', worksUnseen: 'error none | nobody new' }),
  use('destroy', 'by regenerate()', { url: '/renew' },
    { works: 'nobody new | nobody same', fails: 'error same | max same', worksUnseen: 'error same | nobody new' }),
  use('destroy', 'by regenerate(keys)', { url: '/renew/user' },
    { works: 'max new | max same', fails: 'error same | max same', worksUnseen: 'error same | nobody new' }),
  use('destroy', 'by regenerate(keys), without update', { has: ['touch', 'getAndTouch'], url: '/renew/user' },
    { works: 'max new | max same', fails: 'error same | max same', worksUnseen: 'error same | nobody new' }),
  use('destroy', 'of an expired session, as a request loads', { has: [], url: '/user', elapse: 2 * MINUTE },
    { works: 'nobody new | nobody same', fails: 'error none | nobody new' }),
  use('touch', 'as a reply goes out', { has: ['touch', 'update'], url: '/user' },
    { works: 'max same | max same', fails: 'max none | max same' }),
  use('touch', 'as a reply goes out, without update', { has: ['touch'], url: '/user' },
    { works: 'max same | max same', fails: 'max none | max same' }),
  use('touch', 'after touch()', { has: ['touch', 'update'], url: '/touch' },
    { works: 'max same | max same', fails: 'max none | max same' }),
  use('set', 'after touch(), rolling: false', { has: ['touch'], url: '/touch', rolling: false },
    { works: 'max same | max none', fails: 'max none | max none' }),
  use('update', 'as a reply goes out', { url: '/write' },
    { works: 'max same | max same', fails: 'error none | max same' }),
  use('update', 'by save()', { url: '/save' },
    { works: 'max same | max same', fails: 'error none | max same' }),
  use('update', 'of the lifetime', { url: '/lifetime' },
    { works: 'max same | max same', fails: 'error none | max same' }),
  use('update', 'of a record that grows old', { has: ['touch', 'update'], url: '/user', elapse: 0.6 * MINUTE },
    { works: 'max same | max same', fails: 'max none | max same' }),
  use('update', 'to move the expiry, without touch', { has: ['update'], url: '/user' },
    { works: 'max same | max same', fails: 'error none | max same' })
]

const ERRORS = {
  error: { status: 500, says: AWAY },
  'no error': { status: 500, says: 'FST_ERR_SESSION_STORE' },
  silence: { status: 503, says: 'FST_ERR_SESSION_STORE_TIMEOUT' }
}
const SAFE = { headers: 'connection content-length content-type date', leaks: false }

const inCallbacks: Form = store => store
const inPromises: Form = promising

for (const { replies, ...use } of USES) {
  t.test(`${use.method} ${use.title}`, async t => {
    for (const form of [inCallbacks, inPromises]) {
      const store = new FaultyStore(use.has)
      const { rolling } = use
      const site = await new Site(store).open({ rolling }, form)
      // Short only for calls that must time out.
      const impatientSite = await new Site(store).open({ rolling, storeTimeout: 5 }, form)
      const actual: Record<string, Course> = {}
      const wanted: Record<string, Course> = {}
      for (const fault of form === inPromises ? FAULTS : [...FAULTS, ...BROKEN_ANSWERS, ...BROKEN_RECORDS]) {
        if (fault.methods?.includes(use.method) === false) continue
        actual[fault.name] = await play(fault.failure === 'silence' ? impatientSite : site, use, fault.how)
        wanted[fault.name] = expected(replies, fault)
      }
      t.same(actual, wanted)
    }
  })
}

function use (method: Method, title: string, call: Omit<Use, 'method' | 'title'>, replies: Replies) {
  return { method, title, ...call, replies }
}

async function play (site: Site, use: Use, how: How): Promise<Course> {
  const { method, url, healthyCalls = 0, isNewcomer = false, elapse = 0 } = use
  const { store } = site
  site.begin()
  if (!isNewcomer) await site.get('/login')
  advance(elapse)

  store.break(method, how, healthyCalls)
  const reply = await site.get(url)
  const count = store.calls.filter(call => call === method).length
  store.heal()
  store.release()
  const next = await site.get('/user')
  await calm()
  return { reply, next, isTriedAgain: count > healthyCalls + 1 }
}

function expected (replies: Replies, { outcome, failure = 'error' }: Pick<Fault, 'outcome' | 'failure'>): Course {
  const { works, fails, worksUnseen = fails, findsNothing = '' } = replies
  const row = { works, fails, 'works unseen': worksUnseen, 'finds nothing': findsNothing }[outcome]
  const [says, cookie, , nextSays, nextCookie] = row.split(' ') as [string, string, string, string, string]
  return {
    reply: {
      ...(says === 'error' ? ERRORS[failure] : { status: says === GONE ? 409 : 200, says }),
      cookie,
      ...SAFE
    },
    next: { status: 200, says: nextSays, cookie: nextCookie, ...SAFE },
    isTriedAgain: false
  }
}

/** An object with a getter that throws. */
function trap (key: string, more: object = {}): object {
  return Object.defineProperty({ ...more }, key, { enumerable: true, get () { throw new Error(AWAY) } })
}

const WORDS = /The store is away|Maximum call stack size exceeded|a proxy that has been revoked/

/** Records that throw when they are read, by the part that throws. */
const THROWING_RECORDS: ReadonlyArray<[string, 'within a key' | 'a key' | 'its cookie', () => unknown]> = [
  ['with an object that throws', 'within a key', () => ({ user: 'max', cookie: {}, trap: throwing() })],
  ['with an object with a getter that throws', 'within a key', () => ({ user: 'max', cookie: {}, trap: trap('n') })],
  ['with a list nested 100,000 times', 'within a key', () => ({ user: 'max', cookie: {}, trap: nested(100_000) })],
  ['with a getter that throws', 'a key', () => trap('trap', { user: 'max', cookie: {} })],
  ['with a cookie that throws', 'its cookie', () => trap('cookie', { user: 'max' })],
  ['with a cookie of which everything throws', 'its cookie', () => ({ user: 'max', cookie: throwing() })],
  ['with an expires that throws', 'its cookie', () => ({ user: 'max', cookie: trap('expires') })],
  ['with an originalMaxAge that throws', 'its cookie', () => ({ user: 'max', cookie: trap('originalMaxAge') })],
  ['of which everything throws', 'its cookie', throwing],
  ['that is a revoked proxy', 'its cookie', revoked]
]

for (const { replies, ...use } of USES) {
  const isAnswered = ['get', 'getAndTouch'].includes(use.method) || (use.method === 'destroy' && use.url === '/renew/user')
  if (!isAnswered) continue
  t.test(`${use.method} ${use.title}: a record that throws causes a 500 with a clear message, or does no harm`, async t => {
    const site = await new Site(new FaultyStore(use.has)).open({ rolling: use.rolling }, inCallbacks)
    for (const [name, place, record] of THROWING_RECORDS) {
      for (const step of [(answer: () => void) => answer(), setImmediate]) {
        const course = await play(site, use, ({ answer, work }) => { work(); step(() => answer(null, record())) })
        const { reply: { status, says, cookie }, next } = course
        if (status === 200) {
          t.same(course, expected(replies, { outcome: 'works' }), name)
          continue
        }
        // Without update, the whole record is written again.
        const isRead = use.url === '/all' || (place === 'a key' && use.has?.includes('update') === false)
        t.ok(isRead || place === 'its cookie', `${name}: the part was not read`)
        t.same(course.reply, { status: 500, says, cookie, ...SAFE }, name)
        t.match(says, WORDS, name)
        t.match(cookie, /^(none|same|clear)$/, name)
        t.equal(next.status, 200, name)
      }
    }
  })
}

t.test('a value that throws when it is copied causes a 500 that names its key, and the value is not stored', async t => {
  for (const optional of [[], ['touch', 'update']] as const) {
    const site = await new Site(new FaultyStore(optional)).open({}, inCallbacks)
    for (const value of [throwing(), revoked(), trap('n'), nested(100_000)]) {
      site.begin()
      await site.get('/login')
      handed = value
      const reply = await site.get('/write/handed')
      t.match(reply, { status: 500, says: 'FST_ERR_SESSION_VALUE', cookie: 'same', ...SAFE })
      t.notOk(Object.hasOwn([...site.store.records.values()][0] as object, 'handed'))
      t.match(await site.get('/user'), { status: 200, says: 'max', cookie: 'same' })
    }
  }
})

t.test("a record that contains the session's own names does not hide its methods", async t => {
  const store = new FaultyStore()
  const app = await build({ store: store as any }, app => {
    routes(app)
    app.get('/own', async request => {
      const session = request.session as any
      const { sessionId, encryptedSessionId, save, get, touch } = session
      return {
        keys: Object.keys(session).sort(),
        types: [sessionId, encryptedSessionId, save, get, touch].map(value => typeof value),
        isEvil: [sessionId, encryptedSessionId, save].includes('evil'),
        got: ['sessionId', 'save', '__proto__'].map(key => session.get(key) ?? null)
      }
    })
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const evil = JSON.parse('{"sessionId":"evil","encryptedSessionId":"evil","save":"evil","get":1,"__proto__":{"x":1}}')
  for (const [sessionId, record] of store.records) store.records.set(sessionId, { ...evil, ...record })

  t.same((await visitor.get('/own')).json(), {
    keys: ['cookie', 'user'],
    types: ['string', 'string', 'function', 'function', 'function'],
    isEvil: false,
    got: [null, null, null]
  })
})

/** Waits until the store has no more to say, so that tap reports an uncaught exception or rejection in this test. */
async function calm (): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
}

for (const [what, url] of [['a logout', '/logout'], ['a login', '/renew']] as const) {
  t.test(`a write that comes after its time limit does not bring back a session that ${what} has ended`, async t => {
    const store = new HeldStore()
    const app = await build({ store: store as any, storeTimeout: 100, saveUninitialized: false }, app => {
      app.get('/login', async ({ session }) => { (session as any).user = 'max' })
      app.get('/write', async ({ session }) => { (session as any).n = 1 })
      app.get('/user', async ({ session }) => (session as any).user ?? 'nobody')
      app.get('/logout', async ({ session }) => { await session.destroy() })
      app.get('/renew', async ({ session }) => { await session.regenerate() })
    })
    t.teardown(() => app.close())
    const [visitor, copied] = [new Visitor(app), new Visitor(app)]
    await visitor.get('/login')
    for (const [name, value] of visitor.cookies) copied.cookies.set(name, value)
    store.holds = true
    const late = visitor.get('/write')
    for (let i = 0; i < 2; i++) await store.release('get')
    await store.waits()
    t.equal((await late).statusCode, 503)
    const [write] = store.waiting.splice(0)
    store.holds = false
    t.equal((await visitor.get(url)).statusCode, 200)
    write?.answer()
    t.equal((await copied.get('/user')).body, 'nobody')
  })
}
