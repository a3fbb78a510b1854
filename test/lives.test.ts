/** How long sessions live, rule by rule, on each kind of store: to the millisecond, with a clock that the tests move. */
import { once } from 'node:events'
import { get } from 'node:http'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import { mock } from 'node:test'
import express from 'express'
import expressSession from 'express-session'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import { applyChanges } from '../src/values/record'
import { build, SECRET, Visitor, type Routes, type SessionOptions } from './helpers'
import { type Answer, ThreeMethodStore } from './odd-stores'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

/** Keeps the expiry beside the record. A touch moves only that, and sessions end by it. */
class TouchStore extends ThreeMethodStore {
  readonly clocks = new Map<string, number>()

  override get (sessionId: string, callback: Answer): void {
    if ((this.clocks.get(sessionId) as number) <= Date.now()) this.records.delete(sessionId)
    super.get(sessionId, callback)
  }

  override set (sessionId: string, session: any, callback: Answer): void {
    this.clocks.set(sessionId, session.cookie.expires?.getTime() ?? Infinity)
    super.set(sessionId, session, callback)
  }

  touch (sessionId: string, session: any, callback: Answer): void {
    const isThere = this.records.has(sessionId)
    if (isThere) this.clocks.set(sessionId, session.cookie.expires?.getTime() ?? Infinity)
    callback(null, isThere)
  }
}

/** Returns expired sessions, as connect-session-sequelize and connect-loki do until they next clean up. */
class LaxStore extends TouchStore {
  override get (sessionId: string, callback: Answer): void {
    callback(null, JSON.parse(this.records.get(sessionId) ?? 'null'))
  }
}

/** Its getAndTouch moves the clock by the idle timeout in the record. */
class TouchingStore extends TouchStore {
  getAndTouch (sessionId: string, callback: Answer): void {
    this.get(sessionId, (error, record) => {
      if (record === null) {
        callback(error)
        return
      }
      const { originalMaxAge, idle = originalMaxAge, createdAt = 0, absoluteTimeout = Infinity, chosen } = record.cookie
      const clock = this.clocks.get(sessionId) as number
      record.cookie.expires = clock === Infinity ? null : new Date(clock)
      const last = Math.min(createdAt + absoluteTimeout, typeof chosen === 'string' ? Date.parse(chosen) : Infinity)
      if (idle != null) this.clocks.set(sessionId, Math.max(clock, Math.min(Date.now() + idle, last)))
      callback(null, record)
    })
  }

  update (sessionId: string, changes: any, session: any, callback: Answer): void {
    const record = JSON.parse(this.records.get(sessionId) ?? 'null')
    if (record === null) {
      callback(null, false)
      return
    }
    const changed: any = applyChanges(record, changes, session.cookie.expires)
    this.records.set(sessionId, JSON.stringify(changed))
    this.clocks.set(sessionId, changed.cookie.expires === null ? Infinity : new Date(changed.cookie.expires).getTime())
    callback(null, true)
  }

  override touch (sessionId: string, session: any, callback: Answer): void {
    if ((session.cookie.expires ?? 0) > (this.clocks.get(sessionId) as number)) super.touch(sessionId, session, callback)
    else callback(null, this.records.has(sessionId))
  }
}

/** Keeps the object that it is given, without a copy. */
class KeepingStore {
  readonly records = new Map<string, any>()

  get (sessionId: string, callback: Answer): void { callback(null, this.records.get(sessionId)) }

  set (sessionId: string, session: any, callback: Answer): void {
    this.records.set(sessionId, session)
    callback()
  }

  destroy (sessionId: string, callback: Answer): void {
    this.records.delete(sessionId)
    callback()
  }
}

/** A store for one session, and what the store knows about it. */
interface Subject {
  store: any
  /** Whether what the store returns tells when the session was last used. */
  isExact: boolean
  /** Whether the store returns expired sessions. */
  isLax?: boolean
  /** Milliseconds until the store would end the session. Null: never. */
  left: () => number | null
  cookie: () => any
  setCookie: (cookie: object) => void
}

const STORES: Record<string, () => Subject> = {
  MemoryStore () {
    const store = new MemoryStore()
    return { store, isExact: true, ...inRecords(store.store as Map<string, any>) }
  },
  'a store with three methods' () {
    const store = new ThreeMethodStore()
    return { store, isExact: true, ...inJson(store) }
  },
  'a store that keeps the given object': () => {
    const store = new KeepingStore()
    return { store, isExact: true, ...inRecords(store.records) }
  },
  'a store with touch' () {
    const store = new TouchStore()
    return { store, isExact: false, ...inJson(store), left: () => leftOf(store) }
  },
  'a store that returns expired sessions' () {
    const store = new LaxStore()
    return { store, isExact: false, isLax: true, ...inJson(store), left: () => leftOf(store) }
  },
  'a store with getAndTouch' () {
    const store = new TouchingStore()
    return { store, isExact: false, ...inJson(store), left: () => leftOf(store) }
  }
}

function inRecords (records: Map<string, any>): Pick<Subject, 'left' | 'cookie' | 'setCookie'> {
  const entry = (): [string, any] => [...records].at(-1) as [string, any]
  return {
    left: () => leftUntil(entry()[1].cookie.expires),
    cookie: () => entry()[1].cookie,
    setCookie: cookie => { records.set(entry()[0], { ...entry()[1], cookie }) }
  }
}

function inJson ({ records }: ThreeMethodStore): Pick<Subject, 'left' | 'cookie' | 'setCookie'> {
  const entry = (): [string, any] => [...records].map(([id, json]) => [id, JSON.parse(json)] as [string, any]).at(-1) as [string, any]
  return {
    left: () => leftUntil(entry()[1].cookie.expires),
    cookie: () => entry()[1].cookie,
    setCookie: cookie => { records.set(entry()[0], JSON.stringify({ ...entry()[1], cookie })) }
  }
}

function leftOf ({ clocks }: TouchStore): number | null {
  const clock = [...clocks.values()].at(-1) as number
  return clock === Infinity ? null : clock - Date.now()
}

function leftUntil (expires: string | Date | null): number | null {
  return expires === null ? null : new Date(expires).getTime() - Date.now()
}

/** The clock of all tests. It starts at a whole second, because cookies are only exact to the second. */
const { now: realNow } = Date
let time = 0

function pass (milliseconds: number): void {
  time += milliseconds
}

t.beforeEach(() => {
  time = Math.floor(realNow() / SECOND) * SECOND
  Date.now = () => time
})
t.teardown(() => { Date.now = realNow })

type Open = (options: SessionOptions, visitor?: Visitor) => Promise<Visitor>

/** Runs a test on each kind of store. `open` makes an app on it, with a visitor or with the same visitor after a deployment. */
function onEachStore (name: string, test: (t: Test, subject: Subject, open: Open) => Promise<void>): void {
  t.test(name, async t => {
    for (const [store, makeSubject] of Object.entries(STORES)) {
      await t.test(store, async t => {
        const subject = makeSubject()
        await test(t, subject, async (options, visitor) => {
          const app = await build({ store: subject.store, saveUninitialized: false, ...options }, routes)
          t.teardown(() => app.close())
          const next = new Visitor(app)
          for (const [name, value] of visitor?.cookies ?? []) next.cookies.set(name, value)
          return next
        })
      })
    }
  })
}

const session = (request: { session: unknown }): any => request.session
const quiet = { config: { session: { rolling: false } } }
const look = async (request: any): Promise<object> => ({ maxAge: session(request).cookie.maxAge, expires: session(request).cookie.expires })

const UNTICKED: Record<string, (session: any) => void> = {
  'cookie.maxAge = null': session => { session.cookie.maxAge = null },
  'cookie.maxAge = undefined': session => { session.cookie.maxAge = undefined },
  'cookie.expires = null': session => { session.cookie.expires = null },
  'cookie.expires = false': session => { session.cookie.expires = false },
  'options({ maxAge: null })': session => session.options({ maxAge: null }),
  'options({ maxAge: undefined })': session => session.options({ maxAge: undefined }),
  'options({ maxAge: 0 })': session => session.options({ maxAge: 0 }),
  'options({ maxAge: false })': session => session.options({ maxAge: false }),
  "options({ maxAge: '' })": session => session.options({ maxAge: '' }),
  'options({ maxAge: NaN })': session => session.options({ maxAge: NaN }),
  'options({ expires: null })': session => session.options({ expires: null }),
  'options({ expires: undefined })': session => session.options({ expires: undefined })
}

const routes: Routes = app => {
  app.get('/login', async request => { session(request).user = 'max' })
  app.get('/whoami', async request => session(request).user ?? 'nobody')
  app.get('/visit', async request => { session(request).visits = (session(request).visits ?? 0) + 1 })
  app.get('/poll', quiet, async request => session(request).user ?? 'nobody')
  app.get('/left', quiet, look)
  app.get('/left-rolling', look)
  app.get('/remember/:minutes', async request => {
    session(request).user = 'max'
    session(request).cookie.maxAge = Number((request.params as any).minutes) * MINUTE
  })
  app.get('/until/:minutes', async request => {
    session(request).user = 'max'
    session(request).cookie.expires = new Date(Date.now() + Number((request.params as any).minutes) * MINUTE)
  })
  app.get('/unticked/:way', async request => {
    session(request).user = 'max'
    const untick = UNTICKED[(request.params as any).way] as (session: any) => void
    untick(session(request))
  })
  app.get('/late', async request => {
    session(request).visits = 1
    pass(10 * MINUTE)
  })
  app.get('/read-late', async request => {
    const { user } = session(request)
    pass(10 * MINUTE)
    return user
  })
  app.get('/saved-late', async request => {
    session(request).user = 'max'
    await session(request).save()
    pass(10 * MINUTE)
  })
  app.get('/renewed-late', async request => {
    session(request).user = 'max'
    await session(request).regenerate(['user'])
    pass(10 * MINUTE)
  })
  app.get('/save', quiet, async request => {
    session(request).visits = (session(request).visits ?? 0) + 1
    await session(request).save()
    return await look(request)
  })
  app.get('/hijacked', async (request, reply) => {
    session(request).get('user')
    reply.hijack()
    reply.raw.end('hijacked')
  })
}

async function whoami (visitor: Visitor): Promise<string> {
  return (await visitor.get('/whoami')).body
}

/** Who a copy of the cookie is logged in as, on a route that does not prolong. A thief keeps cookies that a browser drops. */
async function copyIs (visitor: Visitor): Promise<string> {
  const headers = { cookie: visitor.cookieHeader() }
  return (await new Visitor(visitor.app as FastifyInstance).get('/poll', { headers })).body
}

/** Milliseconds for which the browser keeps the cookie. Null: until it ends. Undefined: no cookie was sent. */
function sent (response: LightMyRequestResponse): number | null | undefined {
  const [cookie] = response.cookies
  if (cookie === undefined) return undefined
  return cookie.expires === undefined ? null : cookie.expires.getTime() - Date.now()
}

/** The session lives for so long and then ends. If the store returns expired sessions, it ends half of that time later. */
async function endsAfter (t: Test, { isLax = false }: Subject, visitor: Visitor, milliseconds: number, later = milliseconds / 2): Promise<void> {
  pass(milliseconds - 1)
  t.equal(await copyIs(visitor), 'max', 'until the last millisecond')
  pass(1 + (isLax ? later : 0))
  t.equal(await copyIs(visitor), 'nobody', 'and not one more')
}

// --- Three limits

onEachStore('ends with the browser, 30 minutes idle, 12 hours at most: each of these limits ends the session', async (t, subject, open) => {
  const options = { idleTimeout: 30 * MINUTE, absoluteTimeout: 12 * HOUR }
  const idle = await open(options)
  t.equal(sent(await idle.get('/login')), null, 'the cookie ends with the browser')
  t.equal(subject.left(), 30 * MINUTE)
  await endsAfter(t, subject, idle, 30 * MINUTE)

  const busy = await open(options)
  await busy.get('/login')
  for (let passed = 0; passed < 12 * HOUR - 20 * MINUTE; passed += 20 * MINUTE) {
    t.equal(sent(await busy.get('/whoami')), null, 'the cookie still ends with the browser')
    pass(20 * MINUTE)
  }
  t.equal(await whoami(busy), 'max', 'an active session stays')
  t.equal(subject.left(), 20 * MINUTE, 'no longer than its absolute timeout')
  await endsAfter(t, { ...subject, isLax: false }, busy, 20 * MINUTE)
})

onEachStore('absoluteTimeout does not lengthen the idle timeout', async (t, subject, open) => {
  for (const options of [{ idleTimeout: 30 * MINUTE }, { cookie: { maxAge: 30 * MINUTE } }]) {
    const visitor = await open({ absoluteTimeout: 12 * HOUR, ...options })
    await visitor.get('/login')
    t.equal(subject.left(), 30 * MINUTE)
    pass(20 * MINUTE)
    await whoami(visitor)
    t.equal(subject.left(), 30 * MINUTE, 'prolonged')
    await endsAfter(t, subject, visitor, 30 * MINUTE)
  }
})

onEachStore('if both maxAge and idleTimeout are set, the shorter one counts', async (t, subject, open) => {
  for (const [maxAge, idleTimeout] of [[24 * HOUR, 30 * MINUTE], [30 * MINUTE, 24 * HOUR]] as const) {
    const visitor = await open({ idleTimeout, cookie: { maxAge } })
    t.equal(sent(await visitor.get('/login')), maxAge)
    t.equal(subject.left(), 30 * MINUTE)
    pass(20 * MINUTE)
    t.equal(sent(await visitor.get('/whoami')), maxAge)
    t.equal(subject.left(), 30 * MINUTE)
    await endsAfter(t, subject, visitor, 30 * MINUTE)
  }
})

onEachStore('a date that a handler chose ends the session, however much it is used', async (t, subject, open) => {
  for (const options of [{}, { cookie: { maxAge: 30 * MINUTE } }, { idleTimeout: 3 * HOUR }]) {
    const visitor = await open(options)
    t.equal(sent(await visitor.get('/until/90')), 90 * MINUTE)
    pass(20 * MINUTE)
    t.equal(sent(await visitor.get('/whoami')), 70 * MINUTE)
    t.equal(subject.left(), 70 * MINUTE)
    await endsAfter(t, { ...subject, isLax: false }, visitor, 70 * MINUTE)
  }
})

// --- Remember me

for (const way of Object.keys(UNTICKED)) {
  onEachStore(`remember me unticked, by ${way}: the cookie ends with the browser, over any number of requests`, async (t, subject, open) => {
    const visitor = await open({ cookie: { maxAge: 30 * MINUTE } })
    t.equal(sent(await visitor.get(`/unticked/${encodeURIComponent(way)}`)), null)
    for (const url of ['/whoami', '/visit', '/whoami', '/whoami', '/visit', '/whoami']) {
      pass(20 * MINUTE)
      t.equal(sent(await visitor.get(url)), null, url)
      t.equal(subject.left(), 30 * MINUTE, 'the idle timeout is the configured one')
    }
    t.same((await visitor.get('/left-rolling')).json(), { maxAge: null, expires: null })
    await endsAfter(t, subject, visitor, 30 * MINUTE)
  })
}

onEachStore("remember me ticked: the handler's maxAge takes precedence over the configured one, over any number of requests", async (t, subject, open) => {
  const visitor = await open({ cookie: { maxAge: 30 * MINUTE } })
  t.equal(sent(await visitor.get('/remember/600')), 10 * HOUR)
  for (const url of ['/whoami', '/visit', '/whoami', '/whoami']) {
    pass(9 * HOUR)
    t.equal(sent(await visitor.get(url)), 10 * HOUR, url)
    t.equal(subject.left(), 10 * HOUR)
  }
  await endsAfter(t, subject, visitor, 10 * HOUR)
})

// --- A changed configuration

const idles = (minutes: number | undefined): Record<string, SessionOptions> => ({
  'cookie.maxAge': { cookie: { maxAge: minutes && minutes * MINUTE } },
  idleTimeout: { idleTimeout: minutes && minutes * MINUTE }
})

for (const option of Object.keys(idles(1))) {
  const idle = (minutes: number | undefined): SessionOptions => idles(minutes)[option] as SessionOptions
  const cookieOf = (minutes: number | undefined): number | null => option === 'cookie.maxAge' && minutes ? minutes * MINUTE : null

  onEachStore(`${option} lowered: it applies to existing sessions, and active ones stay`, async (t, subject, open) => {
    const before = await open(idle(60))
    await before.get('/login')
    // If a store only moves its clock, the last use is uncertain by up to half of the earlier idle timeout.
    // If loading moves the clock, only the store knows the last use, until the earlier end.
    const unknown = subject.isExact ? 0 : subject.store.getAndTouch === undefined ? 30 * MINUTE : 40 * MINUTE
    const late = await open(idle(20), before)
    await endsAfter(t, { ...subject, isLax: false }, late, 20 * MINUTE + unknown)

    await before.get('/login')
    pass(29 * MINUTE)
    t.equal(await whoami(before), 'max')
    const visitor = await open(idle(20), before)
    pass(20 * MINUTE - SECOND)
    const response = await visitor.get('/whoami')
    t.equal(response.body, 'max', 'an active session stays')
    t.equal(sent(response), cookieOf(20), 'it gets the new lifetime')
    for (let i = 0; i < 5; i++) {
      pass(20 * MINUTE - 1)
      t.equal(await whoami(visitor), 'max')
    }
    await endsAfter(t, subject, visitor, 20 * MINUTE)
  })

  onEachStore(`${option} raised: it applies from the next use`, async (t, subject, open) => {
    const before = await open(idle(20))
    await before.get('/login')
    pass(15 * MINUTE)
    t.equal(await whoami(before), 'max')
    const visitor = await open(idle(60), before)
    pass(20 * MINUTE - SECOND)
    const response = await visitor.get('/whoami')
    t.equal(response.body, 'max')
    t.equal(sent(response), cookieOf(60))
    t.equal(subject.left(), 60 * MINUTE)
    await endsAfter(t, subject, visitor, 60 * MINUTE)
  })

  onEachStore(`${option} removed: the session has no idle timeout from its next use`, async (t, subject, open) => {
    const before = await open(idle(20))
    await before.get('/login')
    const visitor = await open(idle(undefined), before)
    pass(20 * MINUTE - SECOND)
    t.equal(sent(await visitor.get('/whoami')), null)
    t.equal(subject.left(), null)
    pass(1000 * HOUR)
    t.equal(await whoami(visitor), 'max')
  })

  onEachStore(`${option} added: existing sessions get one at their next use`, async (t, subject, open) => {
    const before = await open(idle(undefined))
    await before.get('/login')
    pass(1000 * HOUR)
    const visitor = await open(idle(20), before)
    t.equal(sent(await visitor.get('/whoami')), cookieOf(20))
    t.equal(subject.left(), 20 * MINUTE)
    await endsAfter(t, subject, visitor, 20 * MINUTE)
  })
}

for (const [change, minutes] of Object.entries({ lowered: 5, raised: 300, removed: undefined })) {
  onEachStore(`cookie.maxAge ${change}: a lifetime that a handler chose stays`, async (t, subject, open) => {
    const chosen = await open({ cookie: { maxAge: 30 * MINUTE } })
    await chosen.get('/remember/60')
    const after = await open({ cookie: { maxAge: minutes && minutes * MINUTE } }, chosen)
    for (const url of ['/whoami', '/visit', '/whoami']) {
      pass(60 * MINUTE - SECOND)
      t.equal(sent(await after.get(url)), 60 * MINUTE, url)
      t.equal(subject.left(), 60 * MINUTE)
    }
    await endsAfter(t, subject, after, 60 * MINUTE)
  })
}

onEachStore('absoluteTimeout lowered, raised, removed or added applies to existing sessions', async (t, subject, open) => {
  for (const [before, after] of [[120, 60], [60, 120], [undefined, 60], [60, undefined]] as const) {
    const options = (minutes: number | undefined): SessionOptions => ({
      absoluteTimeout: minutes && minutes * MINUTE, cookie: { maxAge: 40 * MINUTE }
    })
    const first = await open(options(before))
    await first.get('/login')
    pass(35 * MINUTE)
    const visitor = await open(options(after), first)
    const left = after === undefined ? Infinity : after * MINUTE - 35 * MINUTE
    t.equal(sent(await visitor.get('/whoami')), Math.min(40 * MINUTE, left), `${before} to ${after}`)
    t.equal(subject.left(), Math.min(40 * MINUTE, left))
    pass(20 * MINUTE)
    t.equal(await whoami(visitor), 'max')
    if (left > 40 * MINUTE) continue
    await endsAfter(t, { ...subject, isLax: false }, visitor, left - 20 * MINUTE)
  }
})

onEachStore('records of other software keep their lifetime', async (t, subject, open) => {
  const others: Record<string, object> = {
    'express-session and version 11': { originalMaxAge: HOUR, path: '/', httpOnly: true, secure: false },
    '12.0.0': { originalMaxAge: HOUR, path: '/', httpOnly: true, secure: false, createdAt: Date.now(), touchedAt: Date.now() }
  }
  for (const [software, cookie] of Object.entries(others)) {
    for (const url of ['/whoami', '/visit']) {
      const before = await open({ cookie: { maxAge: HOUR } })
      await before.get('/login')
      subject.setCookie({ ...cookie, expires: new Date(Date.now() + HOUR) })
      const visitor = await open({ cookie: { maxAge: 20 * MINUTE } }, before)
      for (let i = 0; i < 4; i++) {
        pass(40 * MINUTE)
        t.equal(sent(await visitor.get(url)), HOUR, `${software}, ${url}`)
        t.equal(subject.left(), HOUR)
      }
      await endsAfter(t, subject, visitor, HOUR)
    }
  }
})

// --- The time left

onEachStore('a route that does not prolong shows the time that is really left, or null', async (t, { isExact }, open) => {
  const visitor = await open({ cookie: { maxAge: HOUR } })
  await visitor.get('/login')
  const end = new Date(Date.now() + 70 * MINUTE).toISOString()
  pass(10 * MINUTE)
  await visitor.get('/whoami')
  pass(10 * MINUTE)
  const left = isExact ? { maxAge: 50 * MINUTE, expires: end } : { maxAge: null, expires: null }
  t.same((await visitor.get('/left')).json(), left, 'a polling route')
  const [sessionId] = (visitor.cookies.get('sessionId') as string).split('.')
  const loaded = await (visitor.app as FastifyInstance).loadSession({ sessionId: sessionId as string })
  t.same(JSON.parse(JSON.stringify({ maxAge: loaded?.cookie.maxAge, expires: loaded?.cookie.expires })), left, 'loadSession()')
  t.same((await visitor.get('/left-rolling')).json(), { maxAge: HOUR, expires: new Date(Date.now() + HOUR).toISOString() }, 'a route that prolongs')
})

onEachStore('with rolling: false, each store knows the time left', async (t, _subject, open) => {
  const visitor = await open({ rolling: false, cookie: { maxAge: HOUR } })
  await visitor.get('/login')
  pass(20 * MINUTE)
  t.equal((await visitor.get('/left')).json().maxAge, 40 * MINUTE)
  t.equal((await visitor.get('/save')).json().maxAge, HOUR, 'a save starts the time again')
  pass(10 * MINUTE)
  t.equal((await visitor.get('/left')).json().maxAge, 50 * MINUTE)
})

onEachStore('for a cookie that ends with the browser, the time left is null on every route', async (t, _subject, open) => {
  const visitor = await open({ idleTimeout: 30 * MINUTE, absoluteTimeout: HOUR })
  await visitor.get('/login')
  pass(10 * MINUTE)
  for (const url of ['/left', '/left-rolling']) t.same((await visitor.get(url)).json(), { maxAge: null, expires: null })
})

onEachStore("for a cookie that lives longer than the idle timeout, the time left is the cookie's", async (t, { isExact }, open) => {
  const visitor = await open({ idleTimeout: 30 * MINUTE, cookie: { maxAge: 24 * HOUR } })
  await visitor.get('/login')
  pass(10 * MINUTE)
  t.equal((await visitor.get('/left')).json().maxAge, isExact ? 24 * HOUR - 10 * MINUTE : null)
  t.equal((await visitor.get('/left-rolling')).json().maxAge, 24 * HOUR)
})

/** A store with an index by user whose touch only moves its clock. */
class IndexedTouchStore extends TouchStore {
  readonly index = new MemoryStore() as any
  claim (...args: any[]): void { this.index.claim(...args) }
  release (...args: any[]): void { this.index.release(...args) }
  claimsOf (...args: any[]): void { this.index.claimsOf(...args) }
  revoke (...args: any[]): void { this.index.revoke(...args) }
  endingsOf (...args: any[]): void { this.index.endingsOf(...args) }
}

t.test('lists show when a session really ends, or null', async t => {
  const user = (session: any): string => session.user
  const seen: unknown[] = []
  const describe = (session: any): object => {
    seen.push(session.cookie.maxAge)
    return {}
  }
  for (const store of [new MemoryStore(), new IndexedTouchStore()] as any[]) {
    const isExact = store instanceof MemoryStore
    await t.test(isExact ? 'MemoryStore' : 'a store with touch', async t => {
      const open = async (options: SessionOptions): Promise<any> => {
        const app = await build({ store, user, describe, saveUninitialized: false, ...options }, routes)
        t.teardown(() => app.close())
        return app
      }
      const before = await open({ cookie: { maxAge: HOUR } })
      const visitor = new Visitor(before)
      await visitor.get('/login')
      pass(10 * MINUTE)
      await visitor.get('/whoami')
      pass(10 * MINUTE)
      const ends = async (app: any): Promise<unknown> => {
        const [{ expiresAt }] = await app.sessions.forUser('max')
        return expiresAt && expiresAt.getTime() - Date.now()
      }
      t.equal(await ends(before), isExact ? 50 * MINUTE : null)
      t.equal(seen.at(-1), isExact ? 50 * MINUTE : null, 'what describe() sees')
      t.equal(await ends(await open({ cookie: { maxAge: 30 * MINUTE } })), isExact ? 20 * MINUTE : null, 'lowered')
      t.equal(await ends(await open({ cookie: { maxAge: 90 * MINUTE } })), isExact ? 50 * MINUTE : null, 'raised, and not used since')
      t.equal(await ends(await open({ absoluteTimeout: 25 * MINUTE, cookie: { maxAge: HOUR } })), 5 * MINUTE, 'absolute')
      await visitor.get('/until/40')
      t.equal(await ends(before), 40 * MINUTE, 'a date that a handler chose is known on every store')
    })
  }
})

t.test('lists show the absolute end of a session that has no other', async t => {
  for (const store of [new MemoryStore(), new IndexedTouchStore()] as any[]) {
    const open = async (options: SessionOptions): Promise<any> => {
      const app = await build({ store, user: (session: any) => session.user, saveUninitialized: false, ...options }, routes)
      t.teardown(() => app.close())
      return app
    }
    await new Visitor(await open({})).get('/login')
    pass(10 * MINUTE)
    const [{ expiresAt }] = await (await open({ absoluteTimeout: HOUR })).sessions.forUser('max')
    t.equal(expiresAt.getTime() - Date.now(), 50 * MINUTE)
  }
})

// --- Requests that take time

onEachStore('lifetimes count from when the reply is sent', async (t, subject, open) => {
  const visitor = await open({ cookie: { maxAge: 30 * MINUTE } })
  await visitor.get('/login')
  for (const url of ['/late', '/read-late', '/saved-late', '/renewed-late']) {
    t.equal(sent(await visitor.get(url)), 30 * MINUTE, url)
    t.equal(subject.left(), 30 * MINUTE, url)
  }
  await endsAfter(t, subject, visitor, 30 * MINUTE)
})

onEachStore('with rolling: false, a cookie that is sent ends with its session', async (t, subject, open) => {
  const visitor = await open({ rolling: false, cookie: { maxAge: 30 * MINUTE } })
  for (const url of ['/saved-late', '/renewed-late', '/late']) {
    const response = await visitor.get(url)
    t.equal(sent(response), subject.left(), url)
  }
})

// --- Active and idle visitors

onEachStore('a visitor who returns in time is never logged out, at any pace and on any route', async (t, _subject, open) => {
  const PACES = [29, 1, 14, 15, 16, 29, 29, 29, 5, 5, 5, 5, 5, 5, 29, 16, 16, 16, 1, 29]
  for (const options of [{ idleTimeout: 30 * MINUTE }, { cookie: { maxAge: 30 * MINUTE } }, { idleTimeout: 30 * MINUTE, refreshAfter: MINUTE }]) {
    const visitor = await open(options)
    await visitor.get('/login')
    for (const [index, minutes] of PACES.entries()) {
      pass(minutes * MINUTE)
      t.equal(await copyIs(visitor), 'max', `request ${index}, polling`)
      t.equal(await whoami(visitor), 'max', `request ${index}`)
    }
  }
})

onEachStore('a hijacked reply prolongs nothing, unless loading does', async (t, subject, open) => {
  const visitor = await open({ cookie: { maxAge: 30 * MINUTE } })
  await visitor.get('/login')
  pass(20 * MINUTE)
  t.equal((await visitor.get('/hijacked')).body, 'hijacked')
  if (subject.store.getAndTouch === undefined) {
    t.equal(subject.left(), 10 * MINUTE)
    pass(10 * MINUTE + (subject.isLax ? 15 * MINUTE : 0))
    t.equal(await copyIs(visitor), 'nobody')
    return
  }
  for (let i = 0; i < 5; i++) {
    pass(20 * MINUTE)
    t.equal(await copyIs(visitor), 'max', 'an active session stays')
    t.equal((await visitor.get('/hijacked')).body, 'hijacked')
  }
  await endsAfter(t, subject, visitor, 30 * MINUTE)
})

/** An Express application on the same store. */
async function serveExpress (t: Test, store: any, maxAge: number): Promise<string> {
  const app = express()
  // Express expects a store to be an EventEmitter. Ours need not be one.
  Object.assign(store, { on () {}, createSession: (expressSession.Store.prototype as any).createSession })
  app.use(expressSession({ secret: SECRET, name: 'sessionId', store, resave: false, saveUninitialized: false, rolling: true, cookie: { maxAge, secure: false } }))
  app.get('/whoami', (request, response) => { response.send((request.session as any).user ?? 'nobody') })
  const server = app.listen(0)
  t.teardown(() => new Promise(resolve => server.close(resolve)))
  await once(server, 'listening')
  return `http://localhost:${(server.address() as AddressInfo).port}`
}

for (const name of ['a store with touch', 'a store that returns expired sessions']) {
  t.test(`next to Express, which touches without writing: ${name}`, async t => {
    for (const storeTtl of ['trusted', undefined] as const) {
      const { store } = (STORES[name] as () => Subject)()
      const theirs = await serveExpress(t, store, 30 * MINUTE)
      const app = await build({ store, storeTtl, saveUninitialized: false, cookie: { maxAge: 30 * MINUTE } }, routes)
      t.teardown(() => app.close())
      const visitor = new Visitor(app)
      await visitor.get('/login')
      const value = visitor.cookies.get('sessionId') as string
      const cookie = `sessionId=${encodeURIComponent(`s:${value}`)}`
      for (let i = 0; i < 4; i++) {
        pass(20 * MINUTE)
        t.equal(await (await fetch(`${theirs}/whoami`, { headers: { cookie } })).text(), 'max', 'in Express')
      }
      pass(20 * MINUTE)
      t.equal(await whoami(visitor), storeTtl === 'trusted' ? 'max' : 'nobody', `storeTtl: ${storeTtl}`)
    }
  })
}

t.test("storeTtl: 'trusted': a session that 12.0.0 has touched lives on here, but its absolute end still counts", async t => {
  const { store, setCookie } = (STORES['a store with touch'] as () => Subject)()
  const app = await build({ store, storeTtl: 'trusted', absoluteTimeout: 10 * HOUR, saveUninitialized: false, cookie: { maxAge: HOUR } }, routes)
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/login')
  setCookie({ originalMaxAge: HOUR, expires: new Date(Date.now() + HOUR), createdAt: Date.now(), absoluteTimeout: 10 * HOUR })
  for (let i = 0; i < 3; i++) {
    pass(50 * MINUTE)
    for (const sessionId of store.records.keys()) store.touch(sessionId, { cookie: { expires: new Date(Date.now() + HOUR) } }, () => {})
  }
  t.equal(await whoami(visitor), 'max')
  for (const sessionId of store.records.keys()) store.touch(sessionId, { cookie: { expires: null } }, () => {})
  pass(10 * HOUR)
  t.equal(await copyIs(visitor), 'nobody')
})

// --- A request that takes longer than the idle timeout, with timers that the tests also move

const WRITES = ['set', 'touch', 'update']

/** Lifetimes that a long request chooses at its start and doesn't save. */
const CHOICES: Record<string, (cookie: any) => void> = {
  longer: cookie => { cookie.maxAge = 10 * MINUTE },
  shorter: cookie => { cookie.maxAge = 20 * SECOND },
  fixed: cookie => { cookie.expires = new Date(Date.now() + 10 * MINUTE) },
  'with-the-browser': cookie => { cookie.expires = null }
}

/** An app with long requests, with mocked timers. `writes` are the calls that prolonged or wrote the session. */
async function longRequests (t: Test, store: any, options: SessionOptions = {}, server: object = {}): Promise<{ visitor: Visitor, writes: string[], wait: () => Promise<void>, end: () => void }> {
  const writes: string[] = []
  for (const method of WRITES) {
    const real = store[method]
    if (real === undefined) continue
    store[method] = (...args: any[]) => {
      writes.push(method)
      return real.apply(store, args)
    }
  }
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  let end = (): void => {}
  const held = new Promise<void>(resolve => { end = resolve })
  const app = await build({ store, saveUninitialized: false, cookie: { maxAge: 30 * SECOND }, ...options }, app => {
    routes(app)
    app.get('/long', async request => {
      await held
      return session(request).user ?? 'nobody'
    })
    const ends: Array<() => void> = []
    app.get<{ Params: { i: number } }>('/held/:i', async request => {
      await new Promise<void>(resolve => { ends[request.params.i] = resolve })
      return session(request).user ?? 'nobody'
    })
    app.get<{ Params: { i: number } }>('/end/:i', { config: { session: false } }, async request => ends[request.params.i]?.())
    app.get('/long-quiet', quiet, async request => {
      await held
      return session(request).user ?? 'nobody'
    })
    app.get('/long-rolling', { config: { session: { rolling: true } } }, async request => {
      await held
      return session(request).user ?? 'nobody'
    })
    for (const [name, choose] of Object.entries(CHOICES)) {
      app.get(`/long-${name}`, async request => {
        choose(session(request).cookie)
        await held
        return session(request).user ?? 'nobody'
      })
    }
    app.get('/login-long', async request => {
      session(request).user = 'max'
      await session(request).regenerate(['user'])
      await held
      return session(request).user ?? 'nobody'
    })
    app.get('/stream', async (_request, reply) => {
      const stream = new PassThrough()
      stream.write('begun')
      held.then(() => stream.end(), t.fail)
      return await reply.send(stream)
    })
    app.get('/hijacked-long', async (_request, reply) => {
      reply.hijack()
      reply.raw.write('begun')
      held.then(() => reply.raw.end(), t.fail)
    })
  }, server)
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const wait = async (): Promise<void> => {
    for (let i = 0; i < 30; i++) {
      pass(5 * SECOND)
      mock.timers.tick(5 * SECOND)
      await new Promise(resolve => setImmediate(resolve))
    }
  }
  return { visitor, writes, wait, end: () => end() }
}

function onEachLongRequest (name: string, urls: string[], test: (t: Test, long: Awaited<ReturnType<typeof longRequests>>, url: string, subject: Subject) => Promise<void>): void {
  t.test(name, async t => {
    for (const [store, makeSubject] of Object.entries(STORES)) {
      for (const url of urls) {
        await t.test(`${store}: ${url}`, async t => {
          const subject = makeSubject()
          await test(t, await longRequests(t, subject.store), url, subject)
        })
      }
    }
  })
}

onEachLongRequest('a request keeps its session alive for as long as it takes', ['/long', '/login-long'], async (t, { visitor, wait, end }, url) => {
  const reply = visitor.get(url)
  await wait()
  end()
  t.equal((await reply).body, 'max')
  t.equal(sent(await reply), 30 * SECOND)
  pass(29 * SECOND)
  t.equal(await whoami(visitor), 'max')
})

onEachLongRequest(
  'a long request that chooses another lifetime keeps its session alive until that is written', Object.keys(CHOICES).map(name => `/long-${name}`),
  async (t, { visitor, wait, end }, url) => {
    const reply = visitor.get(url)
    await wait()
    end()
    t.equal((await reply).body, 'max')
    pass(19 * SECOND)
    t.equal(await whoami(visitor), 'max')
  }
)

t.test('in whatever order requests end, the others keep their sessions alive', async t => {
  for (const order of [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]) {
    await t.test(order.join(', '), async t => {
      const { visitor, wait } = await longRequests(t, new MemoryStore())
      const visitors = [visitor, new Visitor(visitor.app), new Visitor(visitor.app)]
      for (const visitor of visitors) await visitor.get('/login')
      const replies = visitors.map(async (visitor, i) => await visitor.get(`/held/${i}`))
      await wait()
      for (const i of order) {
        await visitor.get(`/end/${i}`)
        await replies[i]
        t.equal(await whoami(visitors[i] as Visitor), 'max')
        await wait()
      }
      for (const visitor of visitors) t.equal(await whoami(visitor), 'nobody', 'and not longer')
    })
  }
})

t.test('with rolling: false, a long request keeps its session alive on a route with rolling: true', async t => {
  for (const [name, makeSubject] of Object.entries(STORES)) {
    await t.test(name, async t => {
      const { visitor, wait, end } = await longRequests(t, makeSubject().store, { rolling: false })
      const reply = visitor.get('/long-rolling')
      await wait()
      end()
      t.equal((await reply).body, 'max')
      t.equal(sent(await reply), 30 * SECOND)
      pass(29 * SECOND)
      t.equal(await whoami(visitor), 'max')
    })
  }
})

onEachLongRequest('a long request never brings back a session that has ended in the meantime', ['/long'], async (t, { visitor, wait, end }, url, { store }) => {
  const reply = visitor.get(url)
  await new Promise(resolve => setImmediate(resolve))
  const records: Map<string, unknown> = store.records ?? store.store
  records.clear()
  await wait()
  t.equal(records.size, 0)
  end()
  await reply
  t.equal(records.size, 0)
  t.equal(await whoami(visitor), 'nobody')
})

onEachLongRequest(
  'a streamed or hijacked reply does not keep the session alive, nor does a route with rolling: false', ['/stream', '/hijacked-long', '/long-quiet'],
  async (t, { visitor, writes, wait, end }, url) => {
    const cookies = new Map(visitor.cookies)
    const reply = visitor.get(url)
    await new Promise(resolve => setImmediate(resolve))
    await new Promise(resolve => setImmediate(resolve))
    writes.length = 0
    await wait()
    t.same(writes, [])
    end()
    await reply
    for (const [name, value] of cookies) visitor.cookies.set(name, value)
    t.equal(await copyIs(visitor), 'nobody')
  }
)

t.test('a request whose client has gone does not keep its session alive, over HTTP/1 and HTTP/2', async t => {
  for (const http2 of [false, true]) {
    await t.test(http2 ? 'HTTP/2' : 'HTTP/1', async t => {
      const { visitor, writes, wait, end } = await longRequests(t, new MemoryStore(), {}, { http2 })
      const { app } = visitor
      await app.listen({ port: 0 })
      const { port } = app.server.address() as AddressInfo
      const [url, cookie] = [`http://localhost:${port}`, visitor.cookieHeader()]
      const came = once(app.server, 'request')
      const client = http2 ? connect(url) : get(`${url}/long`, { headers: { cookie } })
      client.on('error', () => {})
      if ('request' in client) client.request({ ':path': '/long', cookie }).on('error', () => {})
      const [, response] = await came
      await new Promise(resolve => setImmediate(resolve))
      const left = once(response, 'close')
      client.destroy()
      await left
      writes.length = 0
      await wait()
      t.same(writes, [])
      t.equal(await whoami(visitor), 'nobody')
      end()
    })
  }
})
