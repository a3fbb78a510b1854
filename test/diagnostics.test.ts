/** What the library publishes on node:diagnostics_channel, and what it never publishes. */
import { AsyncLocalStorage } from 'node:async_hooks'
import crypto from 'node:crypto'
import { channel, tracingChannel } from 'node:diagnostics_channel'
import { inspect } from 'node:util'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore, type SecurityMessage, type TraceMessage } from '../src/index'
import { build, clock, Gate, SECRET, Visitor, type Routes, type SessionOptions } from './helpers'
import { AWAY, later, ThreeMethodStore, WatchedStore } from './odd-stores'

type Operation = 'load' | 'commit' | 'destroy'

const MINUTE = 60_000
const PASSWORD = 'what nobody else may know'

const session = (request: FastifyRequest): any => request.session

const routes: Routes = app => {
  app.get('/login', async request => {
    session(request).user = 'max'
    session(request).password = PASSWORD
  })
  app.get('/whoami', async request => session(request).user ?? 'nobody')
  app.get('/visit', async request => { session(request).visits = (session(request).visits ?? 0) + 1 })
  app.get('/logout', async request => { await session(request).destroy() })
  app.get('/renew', async request => { await session(request).regenerate() })
  app.get('/renew-as', async request => { await session(request).regenerate(['user']) })
}

async function open (t: Test, options: SessionOptions, more: Routes = () => {}): Promise<Visitor> {
  const app = await build({ saveUninitialized: false, ...options }, app => {
    routes(app)
    more(app)
  })
  t.teardown(() => app.close())
  return new Visitor(app)
}

/** Collects the messages of the security channel from now on. */
function hearSecurity (t: Test): SecurityMessage[] {
  const heard: SecurityMessage[] = []
  const hear = (message: unknown): void => { heard.push(message as SecurityMessage) }
  const security = channel('@fastify/session:security')
  security.subscribe(hear)
  t.teardown(() => security.unsubscribe(hear))
  return heard
}

interface Step {
  operation: Operation
  step: string
  message: TraceMessage
  /** The duration at that step. */
  duration: number | undefined
}

/** Collects the messages of the three tracing channels from now on. */
function hearTraces (t: Test): Step[] {
  const heard: Step[] = []
  for (const operation of ['load', 'commit', 'destroy'] as const) {
    const at = (step: string) => (message: unknown) => {
      heard.push({ operation, step, message: message as TraceMessage, duration: (message as TraceMessage).duration })
    }
    const subscribers = {
      start: at('start'), end: at('end'), asyncStart: at('asyncStart'), asyncEnd: at('asyncEnd'), error: at('error')
    }
    const tracing = tracingChannel(`@fastify/session:${operation}`)
    tracing.subscribe(subscribers)
    t.teardown(() => tracing.unsubscribe(subscribers))
  }
  return heard
}

const stepsOf = (heard: Step[]): string[] => heard.map(({ operation, step }) => `${operation} ${step}`)

function fingerprintOf (secret: string): string {
  return crypto.createHash('sha256').update(secret).digest('base64url').slice(0, 16)
}

// --- The security channel

t.test('bad-signature: a cookie that nobody signed', async t => {
  const visitor = await open(t, {})
  const heard = hearSecurity(t)
  await visitor.get('/whoami', { headers: { cookie: 'sessionId=forged.signature' } })
  t.match(heard, [{ reason: 'bad-signature', session: 'session', store: 'MemoryStore', fingerprint: fingerprintOf('forged.signature') }])
  t.equal(heard.length, 1)
})

t.test('unknown-id: a signed id that the store does not have', async t => {
  const store = new MemoryStore()
  const visitor = await open(t, { store })
  await visitor.get('/login')
  const [sessionId] = store.store.keys()
  store.clear()
  const heard = hearSecurity(t)
  await visitor.get('/whoami')
  t.match(heard, [{ reason: 'unknown-id', session: 'session', store: 'MemoryStore', fingerprint: fingerprintOf(sessionId as string) }])
  t.equal(heard.length, 1)
})

t.test('expired: a session that the library finds expired', async t => {
  const store = new ThreeMethodStore(later)
  const visitor = await open(t, { store, cookie: { maxAge: MINUTE } })
  await visitor.get('/login')
  const headers = { cookie: visitor.cookieHeader() }
  clock(t).advance(MINUTE)
  const heard = hearSecurity(t)
  await visitor.get('/whoami', { headers })
  t.match(heard, [{ reason: 'expired', store: 'ThreeMethodStore' }])
  t.equal(heard.length, 1)
})

t.test('absolute-timeout: a session that has reached its absolute timeout', async t => {
  const store = new MemoryStore()
  const visitor = await open(t, { store, absoluteTimeout: MINUTE })
  await visitor.get('/login')
  const [record] = store.store.values() as any
  Object.assign(record.cookie, { createdAt: Date.now() - MINUTE, expires: null })
  const heard = hearSecurity(t)
  await visitor.get('/whoami')
  t.match(heard, [{ reason: 'absolute-timeout' }])
  t.equal(heard.length, 1)
})

t.test('gone: a change, a touch or a regenerate(keys) of a session that another request has ended', async t => {
  const cases = [
    ['/slow-visit', new MemoryStore()], ['/slow', new MemoryStore()], ['/slow-renew', new MemoryStore()],
    ['/slow-visit', new ThreeMethodStore(later)], ['/slow-renew', new ThreeMethodStore(later)]
  ] as const
  for (const [url, store] of cases) {
    const gate = new Gate()
    const visitor = await open(t, { store, cookie: { maxAge: MINUTE } }, app => {
      app.get('/slow', async () => { await gate.pass() })
      app.get('/slow-renew', async request => {
        session(request).user.toString()
        await gate.pass()
        await session(request).regenerate(['user'])
      })
      app.get('/slow-visit', async request => {
        session(request).visits = 1
        await gate.pass()
      })
    })
    await visitor.get('/login')
    const slow = visitor.get(url)
    await gate.holds(1)
    await visitor.get('/logout')
    const heard = hearSecurity(t)
    gate.open()
    await slow
    t.match(heard, [{ reason: 'gone' }], `${url} on ${store.constructor.name}`)
    t.equal(heard.length, 1)
  }
})

t.test("duplicate-cookie: more than one cookie with the session's name", async t => {
  const visitor = await open(t, {})
  await visitor.get('/login')
  const value = visitor.cookies.get('sessionId') as string
  const heard = hearSecurity(t)
  const response = await new Visitor(visitor.app).get('/whoami', { headers: { cookie: `sessionId=tossed; sessionId=${value}` } })
  t.equal(response.body, 'max')
  t.match(heard, [
    { reason: 'duplicate-cookie', fingerprint: fingerprintOf('tossed') },
    { reason: 'bad-signature', fingerprint: fingerprintOf('tossed') }
  ])
  t.equal(heard.length, 2)
})

t.test('duplicate-cookie is reported once, however many cookies are tried', async t => {
  const store = new MemoryStore()
  const visitor = await open(t, { store })
  await visitor.get('/login')
  const old = visitor.cookies.get('sessionId') as string
  store.clear()
  const other = new Visitor(visitor.app)
  await other.get('/login')
  const heard = hearSecurity(t)
  const cookie = `sessionId=${old}; ${other.cookieHeader()}; sessionId=${old}`
  t.equal((await new Visitor(visitor.app).get('/whoami', { headers: { cookie } })).body, 'max')
  t.same(heard.map(({ reason }) => reason), ['duplicate-cookie', 'unknown-id'])
})

t.test('store-timeout: a store that does not answer in time', async t => {
  for (const method of ['get', 'update', 'destroy'] as const) {
    const store = new WatchedStore()
    const visitor = await open(t, { store: store.store, storeTimeout: 20 })
    await visitor.get('/login')
    const [sessionId] = store.memory.store.keys()
    store.memory[method] = () => {}
    const heard = hearSecurity(t)
    const response = await visitor.get(method === 'destroy' ? '/logout' : '/visit')
    t.equal(response.statusCode, 503)
    t.match(heard, [{ reason: 'store-timeout', store: 'MemoryStore', fingerprint: fingerprintOf(sessionId as string) }], method)
    t.equal(heard.length, 1)
    t.ok((heard[0] as SecurityMessage).duration >= 10, 'the message says how long it took')
  }
})

t.test('ordinary requests cause no security messages', async t => {
  const heard = hearSecurity(t)
  const visitor = await open(t, { cookie: { maxAge: MINUTE } })
  for (const url of ['/whoami', '/login', '/visit', '/whoami', '/renew-as', '/renew', '/login', '/logout']) await visitor.get(url)
  await visitor.app.loadSession('theme=dark')
  await visitor.app.loadSession('')
  await visitor.app.loadSession(undefined)
  await visitor.app.decryptSession('', {})
  t.same(heard, [])
})

t.test('each message names the session and the store, and says how long it took', async t => {
  class TeamStore extends MemoryStore {}
  const visitor = await open(t, {}, app => {
    app.register(fastifySession, {
      secret: SECRET, sessionName: 'adminSession', cookieName: 'adminId', cookie: { secure: false }, store: new TeamStore()
    })
  })
  const heard = hearSecurity(t)
  await visitor.get('/whoami', { headers: { cookie: 'sessionId=a.b; adminId=c.d' } })
  t.same(heard.map(({ session, store }) => [session, store]), [['session', 'MemoryStore'], ['adminSession', 'TeamStore']])
  for (const { duration, ...others } of heard) {
    t.ok(duration >= 0 && duration < MINUTE)
    t.same(Object.keys(others), ['reason', 'session', 'store', 'fingerprint'])
  }
})

t.test('a store that is not an instance of a class has a name as well', async t => {
  const store = new ThreeMethodStore()
  const plain = { get: store.get.bind(store), set: store.set.bind(store), destroy: store.destroy.bind(store) }
  for (const store of [plain, Object.assign(Object.create(null), plain)]) {
    const visitor = await open(t, { store })
    const heard = hearSecurity(t)
    await visitor.get('/whoami', { headers: { cookie: 'sessionId=forged.signature' } })
    t.match(heard, [{ store: 'Object' }])
  }
})

// --- The tracing channels

t.test('load, commit and destroy are traced, step by step', async t => {
  const visitor = await open(t, { cookie: { maxAge: MINUTE } })
  const heard = hearTraces(t)
  const stepsFor = async (url: string): Promise<string[]> => {
    heard.length = 0
    await visitor.get(url)
    return stepsOf(heard)
  }
  // This store answers at once, so the call ends after the answer, as with Node's own traceCallback.
  const traced = (...operations: Operation[]): string[] =>
    operations.flatMap(operation => [`${operation} start`, `${operation} asyncStart`, `${operation} asyncEnd`, `${operation} end`])

  t.same(await stepsFor('/whoami'), [], 'nothing to load, nothing to save')
  t.same(await stepsFor('/login'), traced('commit'), 'created')
  t.same((await stepsFor('/whoami')).filter(step => step.endsWith('start')), ['load start', 'commit start'], 'touched')
  t.same((await stepsFor('/visit')).filter(step => step.endsWith('start')), ['load start', 'commit start'], 'changed')
  t.same((await stepsFor('/renew')).filter(step => step.endsWith('start')), ['load start', 'destroy start', 'commit start'])
  t.same((await stepsFor('/renew-as')).filter(step => step.endsWith('start')), ['load start', 'destroy start', 'commit start'])
  t.same((await stepsFor('/logout')).filter(step => step.endsWith('start')), ['load start', 'destroy start'])
})

t.test('with a store that answers later, the call ends before the answer', async t => {
  const visitor = await open(t, { store: new ThreeMethodStore(later), rolling: false })
  await visitor.get('/login')
  const heard = hearTraces(t)
  await visitor.get('/whoami')
  t.same(stepsOf(heard), ['load start', 'load end', 'load asyncStart', 'load asyncEnd'])
  heard.length = 0
  await visitor.get('/renew-as')
  for (const operation of ['load', 'destroy', 'commit']) {
    t.same(heard.filter(step => step.operation === operation).map(({ step }) => step), ['start', 'end', 'asyncStart', 'asyncEnd'])
  }
})

t.test('all steps of an operation get the same message object, which has the duration in the end', async t => {
  const store = new ThreeMethodStore(later)
  const visitor = await open(t, { store, rolling: false })
  await visitor.get('/login')
  const [sessionId] = store.records.keys()
  const heard = hearTraces(t)
  await visitor.get('/whoami')
  const [start, end, asyncStart, asyncEnd] = heard as [Step, Step, Step, Step]
  for (const { message } of heard) t.equal(message, start.message)
  t.same([start.duration, end.duration], [undefined, undefined])
  t.ok(asyncStart.duration as number >= 0)
  t.equal(asyncEnd.duration, asyncStart.duration)
  const { duration, ...others } = start.message
  t.same(others, { session: 'session', store: 'ThreeMethodStore', fingerprint: fingerprintOf(sessionId as string) })
})

t.test("if the store fails, the message has the store's error", async t => {
  const watched = new WatchedStore()
  const visitor = await open(t, { store: watched.store })
  await visitor.get('/login')
  watched.isAway = true
  const heard = hearTraces(t)
  await visitor.get('/whoami')
  t.same(stepsOf(heard), ['load start', 'load error', 'load asyncStart', 'load asyncEnd', 'load end'])
  t.equal((heard[1] as Step).message.error?.message, AWAY)
})

t.test('an operation always ends, even if its callback throws', async t => {
  const visitor = await open(t, {})
  const { session } = await visitor.app.createSession()
  const heard = hearTraces(t)
  t.throws(() => session.save(() => { throw new Error('of the application') }), { message: 'of the application' })
  t.same(stepsOf(heard), ['commit start', 'commit asyncStart', 'commit asyncEnd', 'commit end'])
})

t.test('a context bound to start reaches the store, and one bound to asyncStart reaches the handler', async t => {
  const spans = new AsyncLocalStorage<TraceMessage>()
  const tracing = tracingChannel<TraceMessage, TraceMessage>('@fastify/session:load')
  const atStore: unknown[] = []
  const store = new ThreeMethodStore(later)
  const { get } = store
  store.get = (...args) => {
    atStore.push(spans.getStore()?.session)
    Reflect.apply(get, store, args)
  }
  const visitor = await open(t, { store }, app => {
    app.get('/span', async () => spans.getStore()?.store)
  })
  await visitor.get('/login')
  tracing.start.bindStore(spans)
  tracing.asyncStart.bindStore(spans)
  t.teardown(() => {
    tracing.start.unbindStore(spans)
    tracing.asyncStart.unbindStore(spans)
  })
  t.equal((await visitor.get('/span')).body, 'ThreeMethodStore')
  t.equal(atStore[0], 'session')
})

t.test('an operation starts in the context of its request, so that its span has a parent', async t => {
  const requests = new AsyncLocalStorage<string>()
  const heard: unknown[] = []
  for (const operation of ['load', 'commit', 'destroy']) {
    const { start } = tracingChannel(`@fastify/session:${operation}`)
    const hear = (): void => { heard.push([operation, requests.getStore()]) }
    start.subscribe(hear)
    t.teardown(() => start.unsubscribe(hear))
  }
  const app = Fastify() as unknown as FastifyInstance
  app.addHook('onRequest', (request, _reply, done) => requests.run(request.url, done))
  app.register(fastifyCookie)
  app.register(fastifySession, { secret: SECRET, store: new ThreeMethodStore(later), rolling: false, cookie: { secure: false } })
  routes(app)
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  for (const url of ['/login', '/visit', '/logout']) await visitor.get(url)
  t.same(heard, [['commit', '/login'], ['load', '/visit'], ['commit', '/visit'], ['load', '/logout'], ['destroy', '/logout']])
})

t.test('a subscriber to a single step hears that step', async t => {
  const visitor = await open(t, {})
  for (const step of ['start', 'end', 'asyncStart', 'asyncEnd'] as const) {
    let heard = 0
    const tracing = tracingChannel('@fastify/session:commit')[step]
    const hear = (): void => { heard++ }
    tracing.subscribe(hear)
    await visitor.get('/login')
    tracing.unsubscribe(hear)
    t.ok(heard > 0, step)
  }
  let failed = 0
  const { error } = tracingChannel('@fastify/session:load')
  const hear = (): void => { failed++ }
  error.subscribe(hear)
  const watched = new WatchedStore()
  const other = await open(t, { store: watched.store })
  await other.get('/login')
  watched.isAway = true
  await other.get('/whoami')
  error.unsubscribe(hear)
  t.equal(failed, 1)
})

t.test("a destroy has the reason why the session ends, as the session's signal does", async t => {
  const store = new ThreeMethodStore(later)
  const visitor = await open(t, { store, rolling: false, cookie: { maxAge: MINUTE } })
  const reasonFor = async (url: string): Promise<unknown> => {
    const heard = hearTraces(t)
    await visitor.get(url)
    return heard.find(({ operation }) => operation === 'destroy')?.message.reason
  }
  await visitor.get('/login')
  t.equal(await reasonFor('/renew'), 'replaced')
  t.equal(await reasonFor('/renew-as'), 'replaced')
  t.equal(await reasonFor('/logout'), 'logout')
  await visitor.get('/login')
  const { advance } = clock(t)
  const headers = { cookie: visitor.cookieHeader() }
  advance(MINUTE)
  const heard = hearTraces(t)
  await visitor.get('/whoami', { headers })
  t.equal(heard.find(({ operation }) => operation === 'destroy')?.message.reason, 'expired')
  const user = (session: any): string | undefined => session.user
  const first = await open(t, { user, maxPerUser: 1 }, app => {
    app.get('/revoke', async () => await app.sessions.revokeUser('max'))
  })
  await first.get('/login')
  const limited = hearTraces(t)
  const other = new Visitor(first.app)
  await other.get('/login')
  t.equal(limited.find(({ operation }) => operation === 'destroy')?.message.reason, 'limit')
  const revoked = hearTraces(t)
  await other.get('/revoke')
  t.equal(revoked.find(({ operation }) => operation === 'destroy')?.message.reason, 'revoked')
})

// --- What is never published

t.test('the fingerprint is stable, differs between sessions, and is not part of the id', async t => {
  const store = new MemoryStore()
  const visitor = await open(t, { store, rolling: false })
  const other = new Visitor(visitor.app)
  await visitor.get('/login')
  await other.get('/login')
  const heard = hearTraces(t)
  for (const who of [visitor, visitor, other]) await who.get('/whoami')
  const fingerprints = heard.filter(({ step }) => step === 'start').map(({ message }) => message.fingerprint)
  t.equal(fingerprints[0], fingerprints[1])
  t.not(fingerprints[0], fingerprints[2])
  for (const fingerprint of fingerprints) {
    t.match(fingerprint, /^[\w-]{16}$/)
    for (const sessionId of store.store.keys()) t.notOk(sessionId.includes(fingerprint))
  }
})

t.test('no message contains an id, a cookie, a secret or data, at any depth', async t => {
  const everything: unknown[] = []
  const secrets = new Set([SECRET, PASSWORD, 'forged.signature'])
  const security = hearSecurity(t)
  const traces = hearTraces(t)
  const watched = new WatchedStore()
  for (const [store, storeTimeout] of [[watched.store, 20], [new ThreeMethodStore(later), 1000]] as const) {
    const visitor = await open(t, { store, storeTimeout, absoluteTimeout: 10 * MINUTE, cookie: { maxAge: MINUTE } })
    const noteSecrets = (): void => {
      for (const value of visitor.cookies.values()) for (const secret of [value, ...value.split('.')]) secrets.add(secret)
    }
    await visitor.get('/whoami', { headers: { cookie: 'sessionId=forged.signature' } })
    for (const url of ['/login', '/visit', '/whoami', '/renew-as', '/whoami', '/logout', '/login', '/renew', '/login']) {
      await visitor.get(url)
      noteSecrets()
    }
    const value = visitor.cookies.get('sessionId') as string
    await visitor.get('/whoami', { headers: { cookie: `sessionId=forged.signature; sessionId=${value}` } })
    await visitor.get('/logout')
    await visitor.get('/whoami', { headers: { cookie: `sessionId=${value}` } })
    await visitor.get('/login')
    noteSecrets()
    if (store === watched.store) {
      watched.isAway = true
      await visitor.get('/whoami')
      watched.isAway = false
      watched.memory.get = () => {}
      await visitor.get('/whoami')
    }
  }
  everything.push(...security, ...traces.map(({ message }) => message))
  t.same([...new Set(security.map(({ reason }) => reason))].sort(), ['bad-signature', 'duplicate-cookie', 'store-timeout', 'unknown-id'])
  t.ok(traces.some(({ step }) => step === 'error'))
  t.ok(secrets.size > 10, 'there are secrets to look for')
  const text = inspect(everything, { depth: Infinity, showHidden: true, maxArrayLength: Infinity, maxStringLength: Infinity, getters: true })
  for (const secret of secrets) t.notOk(text.includes(secret), 'no message contains it')
})

t.test('without a subscriber, neither fingerprint nor time is computed', async t => {
  const { createHash } = crypto
  const { now } = performance
  let computed = 0
  crypto.createHash = (...args: any[]) => {
    computed++
    return Reflect.apply(createHash, crypto, args)
  }
  t.teardown(() => { crypto.createHash = createHash })
  const visitor = await open(t, { cookie: { maxAge: MINUTE } })
  const urls = ['/login', '/visit', '/whoami', '/renew-as', '/logout', '/whoami']
  const asked: string[] = []
  performance.now = () => {
    const caller = new Error('asked').stack?.split('\n')[2] ?? ''
    if (caller.includes('diagnostics')) asked.push(caller)
    return now.call(performance)
  }
  t.teardown(() => { performance.now = now })

  const visit = async (): Promise<void> => {
    for (const url of urls) await visitor.get(url)
    await visitor.get('/whoami', { headers: { cookie: 'sessionId=forged.signature' } })
  }
  await visit()
  t.equal(computed, 0, 'no fingerprint')
  t.same(asked, [], 'no time')

  hearSecurity(t)
  await visit()
  t.ok(computed > 0, 'with a subscriber, both are computed')
  t.ok(asked.length > 0)
})
