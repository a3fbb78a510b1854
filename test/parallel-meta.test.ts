/** The session's user and lifetime, changed by one request while other requests of the same session are under way. */
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import { build, Visitor, type SessionOptions } from './helpers'
import { type Answer, ThreeMethodStore } from './odd-stores'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** Requests wait here until it is opened. */
class Gate {
  #open: () => void = () => {}
  #arrived: () => void = () => {}
  readonly #opened = new Promise<void>(resolve => { this.#open = resolve })
  readonly arrival = new Promise<void>(resolve => { this.#arrived = resolve })

  async pass (): Promise<void> {
    this.#arrived()
    await this.#opened
  }

  open (): void {
    this.#open()
  }
}

/** Keeps the session's end apart from the record, and moves it to wherever a touch says. */
class TouchStore extends ThreeMethodStore {
  readonly clocks = new Map<string, number>()

  override set (sessionId: string, session: any, callback: Answer): void {
    this.clocks.set(sessionId, session.cookie.expires?.getTime() ?? Infinity)
    super.set(sessionId, session, callback)
  }

  touch (sessionId: string, session: any, callback: Answer): void {
    this.clocks.set(sessionId, session.cookie.expires?.getTime() ?? Infinity)
    callback(null, this.records.has(sessionId))
  }

  override destroy (sessionId: string, callback: Answer): void {
    this.clocks.delete(sessionId)
    super.destroy(sessionId, callback)
  }
}

/** A store with an index by user that answers asynchronously. */
function lateStore (): any {
  const memory: any = new MemoryStore()
  const methods = ['get', 'set', 'destroy', 'touch', 'update', 'claim', 'release', 'revoke', 'endingsOf', 'claimsOf']
  return Object.fromEntries(methods.map(method => [method, (...args: any[]) => { setImmediate(() => memory[method](...args)) }]))
}

const WITH_INDEX: Record<string, () => any> = { MemoryStore: () => new MemoryStore(), 'a store that answers later': lateStore }

interface Subject {
  store: any
  /** How much longer the store keeps the session, in milliseconds. */
  left: () => number
}

const STORES: Record<string, () => Subject> = {
  MemoryStore () {
    const store = new MemoryStore()
    return { store, left: () => ([...store.store.values()][0] as any).cookie.expires - Date.now() }
  },
  'a store with three methods' () {
    const store = new ThreeMethodStore()
    return { store, left: () => new Date(JSON.parse([...store.records.values()][0] as string).cookie.expires).getTime() - Date.now() }
  },
  'a store with touch' () {
    const store = new TouchStore()
    return { store, left: () => [...store.clocks.values()][0] as number - Date.now() }
  }
}

// The clock stands still, so that ends can be compared exactly.
const { now: realNow } = Date
const NOW = Math.floor(realNow() / 1000) * 1000
Date.now = () => NOW
t.teardown(() => { Date.now = realNow })

const session = (request: { session: unknown }): any => request.session

/** What slow requests do: their handler reads the session, waits at the gate, and then runs one of these. */
const SLOW: Record<string, (session: any) => unknown> = {
  'a slow read': () => {},
  'a slow write': session => { session.seen = 1 },
  'a slow save()': async session => {
    session.seen = 1
    await session.save()
  },
  'a slow touch()': session => session.touch(),
  'slow options({ priority })': session => session.options({ priority: 'high' }),
  'a slow regenerate(keys)': session => session.regenerate(['user', 'cart'])
}

/** Slow requests that choose a lifetime of 20 minutes themselves. */
const CHOOSING: Record<string, (session: any, request: any) => unknown> = {
  'before regenerate(keys)': session => {
    session.cookie.maxAge = 20 * MINUTE
    return session.regenerate(['cart'])
  },
  'and saved before regenerate(keys)': async session => {
    session.cookie.maxAge = 20 * MINUTE
    await session.save()
    await session.regenerate(['cart'])
  },
  'after an un-awaited regenerate(keys)': (session, request) => {
    session.regenerate(['cart'])
    request.session.cookie.maxAge = 20 * MINUTE
  }
}

interface Site {
  visitor: Visitor
  app: Awaited<ReturnType<typeof build>>
  /** Begins a request that waits for the gate. */
  begin: (slow: string) => Promise<{ end: () => Promise<void> }>
}

async function open (t: Test, options: SessionOptions): Promise<Site> {
  let gate = new Gate()
  const app = await build({ cookie: { maxAge: HOUR }, ...options }, app => {
    app.get('/visit', async request => { session(request).cart = [] })
    app.get('/slow/:what', async request => {
      session(request).get('cart')
      await gate.pass()
      const run = { ...SLOW, ...CHOOSING }[(request.params as any).what] as (session: any, request: any) => unknown
      await run(session(request), request)
    })
    app.get('/login/:name', async request => { session(request).user = (request.params as any).name })
    app.get('/logout', async request => { delete session(request).user })
    app.get('/live/:minutes', async request => { session(request).cookie.maxAge = Number((request.params as any).minutes) * MINUTE })
    app.get('/options/:minutes', async request => session(request).options({ maxAge: Number((request.params as any).minutes) * MINUTE }))
    app.get('/unticked', async request => { session(request).cookie.maxAge = null })
    app.get('/me', { config: { session: { rolling: false } } }, async request => ({
      user: session(request).user, seen: session(request).seen, maxAge: session(request).cookie.originalMaxAge
    }))
    app.get('/ping', async () => 'pong')
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/visit')
  return {
    visitor,
    app,
    async begin (slow) {
      gate = new Gate()
      const held = gate
      const reply = visitor.get(`/slow/${encodeURIComponent(slow)}`)
      await held.arrival
      return {
        async end () {
          held.open()
          const { statusCode } = await reply
          if (statusCode !== 200) throw new Error(`The slow request ended with ${statusCode}`)
        }
      }
    }
  }
}

const BY_USER: SessionOptions = { user: session => (session as any).user }

for (const slow of Object.keys(SLOW)) {
  for (const maxAge of [undefined, HOUR]) {
    for (const [name, makeStore] of Object.entries(WITH_INDEX)) {
      const beside = `during ${slow}, maxAge ${maxAge}, ${name}`

      t.test(`a login that keeps the session id, ${beside}: the session is listed, counted and revoked`, async t => {
        const { visitor, app, begin } = await open(t, { ...BY_USER, store: makeStore(), maxPerUser: 1, cookie: { maxAge } })
        const request = await begin(slow)
        await visitor.get('/login/eva')
        await request.end()
        t.equal((await app.sessions.forUser('eva')).length, 1, 'listed')
        t.equal((await visitor.get('/me')).json().user, 'eva')

        const other = new Visitor(app)
        await other.get('/visit')
        await other.get('/login/eva')
        t.equal((await app.sessions.forUser('eva')).length, 1, 'counted: the first session was ended to make room')
        t.notMatch((await visitor.get('/me')).json(), { user: 'eva' })
        t.equal(await app.sessions.revokeUser('eva'), 1, 'revoked')
        t.notMatch((await other.get('/me')).json(), { user: 'eva' })
      })

      t.test(`a change of user ${beside}: the session belongs to the second user`, async t => {
        const { visitor, app, begin } = await open(t, { ...BY_USER, store: makeStore(), cookie: { maxAge } })
        await visitor.get('/login/max')
        const request = await begin(slow)
        await visitor.get('/login/eva')
        await request.end()
        t.equal((await app.sessions.forUser('max')).length, 0)
        t.equal((await app.sessions.forUser('eva')).length, 1)
        t.equal(await app.sessions.revokeUser('max'), 0)
        t.equal((await visitor.get('/me')).json().user, 'eva', 'revoking the first user ends nothing')
        t.equal(await app.sessions.revokeUser('eva'), 1)
        t.notMatch((await visitor.get('/me')).json(), { user: 'eva' })
      })

      t.test(`the user is removed ${beside}: nobody owns the session`, async t => {
        const { visitor, app, begin } = await open(t, { ...BY_USER, store: makeStore(), cookie: { maxAge } })
        await visitor.get('/login/max')
        const request = await begin(slow)
        await visitor.get('/logout')
        await request.end()
        t.equal((await app.sessions.forUser('max')).length, 0)
        t.equal(await app.sessions.revokeUser('max'), 0)
        t.notMatch((await visitor.get('/me')).json(), { user: 'max' })
      })
    }
  }
}

for (const [name, makeSubject] of Object.entries(STORES)) {
  for (const slow of Object.keys(SLOW)) {
    for (const how of ['live', 'options']) {
      for (const minutes of [600, 5]) {
        t.test(`${name}: a handler sets a lifetime of ${minutes} minutes (${how}) during ${slow}`, async t => {
          const { store, left } = makeSubject()
          const { visitor, begin } = await open(t, { store })
          const request = await begin(slow)
          await visitor.get(`/${how}/${minutes}`)
          await request.end()
          t.equal(left(), minutes * MINUTE, 'in the store')
          t.equal((await visitor.get('/me')).json().maxAge, minutes * MINUTE, 'as the next handler sees it')
          await visitor.get('/ping')
          t.equal(left(), minutes * MINUTE, 'after the next request')
        })
      }
    }

    t.test(`${name}: a handler lets the session end with the browser during ${slow}`, async t => {
      const { store, left } = makeSubject()
      const { visitor, begin } = await open(t, { store })
      const request = await begin(slow)
      await visitor.get('/unticked')
      await request.end()
      t.equal((await visitor.get('/me')).json().maxAge, null)
      t.equal(left(), HOUR, 'the idle timeout stays as configured')
      t.equal((await visitor.get('/ping')).cookies[0]?.expires, undefined)
    })
  }

  for (const how of Object.keys(CHOOSING)) {
    t.test(`${name}: a lifetime that a slow request chose ${how} takes precedence over that of another request`, async t => {
      const { store, left } = makeSubject()
      const { visitor, begin } = await open(t, { store })
      const request = await begin(how)
      await visitor.get('/live/600')
      await request.end()
      t.equal(left(), 20 * MINUTE)
      t.equal((await visitor.get('/me')).json().maxAge, 20 * MINUTE)
    })
  }

  t.test(`${name}: if two parallel requests set different lifetimes, the later one applies as a whole`, async t => {
    const { store, left } = makeSubject()
    const { visitor } = await open(t, { store })
    await Promise.all([visitor.get('/live/600'), visitor.get('/options/5')])
    const { maxAge } = (await visitor.get('/me')).json()
    t.equal(left(), maxAge)
  })
}

t.test('a store with touch: a request that loads a session while a longer lifetime is being written does not shorten it', async t => {
  const store = new TouchStore()
  const gate = new Gate()
  const { visitor, begin } = await open(t, { store })
  const { set } = store
  store.set = (...args) => { gate.pass().then(() => set.apply(store, args), t.fail) }
  const longer = visitor.get('/live/600')
  await gate.arrival
  // It still gets the old record.
  const request = await begin('a slow read')
  gate.open()
  await longer
  await request.end()
  t.equal([...store.clocks.values()][0] as number - Date.now(), 600 * MINUTE)
})
