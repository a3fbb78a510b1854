/** `session.signal`: what depends on a session ends with it. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { connect, type ClientHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fastifyWebsocket from '@fastify/websocket'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { MemoryStore, type EndCode, type SessionStore } from '../src/index'
import { recentChangesOf } from '../src/stores/recent'
import { warned } from './heard'
import { build, clock, collectGarbage, Gate, holdTimeouts, Visitor, type Routes, type SessionOptions } from './helpers'
import { later, ThreeMethodStore } from './odd-stores'

const MINUTE = 60_000

const data = (request: FastifyRequest): any => request.session

/** A page that stays open until its session ends, and says why. */
function stream (request: FastifyRequest, reply: any, signal: AbortSignal = request.session.signal): void {
  reply.hijack()
  reply.raw.writeHead(200).flushHeaders()
  const end = (): void => { reply.raw.end(signal.reason.code) }
  if (signal.aborted) end()
  else signal.addEventListener('abort', end)
}

const routes: Routes = app => {
  app.get('/login/:user', async request => {
    await request.session.regenerate()
    data(request).user = (request.params as any).user
  })
  app.get('/user', async request => data(request).user ?? 'nobody')
  app.get('/logout', async request => { await request.session.destroy() })
  app.get('/renew', async request => { await request.session.regenerate(['user']) })
  app.get('/reload', async request => { await request.session.reload() })
  app.get('/id', async request => request.session.sessionId)
  app.get('/events', async (request, reply) => { stream(request, reply) })
}

interface Stream {
  /** The whole text, once the response has ended: why the session ended. */
  readonly said: Promise<string>
  /** Whether it is over. */
  isOver: boolean
  /** Closes the connection. */
  leave: () => void
}

interface Site {
  app: FastifyInstance
  store: SessionStore
  login: (user?: string) => Promise<Visitor>
  /** Opens a page that stays open. */
  open: (visitor: Visitor, path?: string) => Promise<Stream>
}

async function start (t: Test, options: SessionOptions = {}, more: Routes = () => {}): Promise<Site> {
  const store = options.store ?? new MemoryStore()
  const app = await build({ saveUninitialized: false, store, ...options }, app => {
    routes(app)
    more(app)
  })
  t.teardown(() => app.close())
  await app.listen({ port: 0 })
  return { app, store, login, open }

  async function login (user = 'max'): Promise<Visitor> {
    const visitor = new Visitor(app)
    await visitor.get(`/login/${user}`)
    return visitor
  }

  async function open (visitor: Visitor, path = '/events'): Promise<Stream> {
    const { port } = app.server.address() as AddressInfo
    const request = get({ port, path, agent: false, headers: { cookie: visitor.cookieHeader() } })
    t.teardown(() => request.destroy())
    const response = await new Promise<IncomingMessage>((resolve, reject) => request.on('response', resolve).on('error', reject))
    const said = textOf(response)
    const stream: Stream = { said, isOver: false, leave: () => request.destroy() }
    said.then(() => { stream.isOver = true }, () => {})
    return stream
  }
}

async function textOf (response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of response) text += chunk
  return text
}

/** Whether no session of a store is watched any more. */
const isIdle = (store: SessionStore): boolean => recentChangesOf(store).hearers.size === 0

async function until (isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(resolve => setImmediate(resolve))
}

/** Counts how often a store is asked for a session. */
function countLooks (store: MemoryStore): { count: number } {
  const looks = { count: 0 }
  const { get } = store
  store.get = function (...args) {
    looks.count++
    return get.apply(this, args)
  }
  return looks
}

const byUser: SessionOptions = { user: (session: any) => session.user }

// --- What ends a session

const ENDS: Array<[what: string, code: EndCode, options: SessionOptions, end: (site: Site, visitor: Visitor) => Promise<unknown>]> = [
  ['destroy()', 'logout', {}, async (_site, visitor) => await visitor.get('/logout')],
  ['destroy() of another of several cookies', 'logout', {}, async ({ login }, visitor) => {
    const [own, other] = [(await login()).cookieHeader(), visitor.cookieHeader()]
    await new Visitor(visitor.app).get('/logout', { headers: { cookie: `${own}; ${other}` } })
  }],
  ['regenerate()', 'replaced', {}, async (_site, visitor) => await visitor.get('/login/moritz')],
  ['regenerate(keys)', 'replaced', {}, async (_site, visitor) => await visitor.get('/renew')],
  ['revoke() of another session of the user', 'revoked', byUser, async ({ login }) => {
    await (await login()).get('/revoke')
  }],
  ['revoke() of itself', 'revoked', byUser, async (_site, visitor) => await visitor.get('/revoke?own=1')],
  ['revokeOthers()', 'revoked', byUser, async ({ login }) => await (await login()).get('/revoke-others')],
  ['an operator\'s revokeUser()', 'revoked', byUser, async ({ app }) => await app.sessions.revokeUser('max')],
  ['maxPerUser', 'limit', { ...byUser, maxPerUser: 1 }, async ({ login }) => await login()]
]

const STORES: Array<[string, () => SessionStore]> = [
  ['MemoryStore', () => new MemoryStore()], ['a store with three methods', () => new ThreeMethodStore(later)]
]

const withUsers: Routes = app => {
  app.get('/revoke', async request => {
    const { own } = request.query as { own?: string }
    const view = (await request.session.list()).find(({ current }) => current === (own === '1'))
    await request.session.revoke(view?.handle ?? '')
  })
  app.get('/revoke-others', async request => await request.session.revokeOthers())
}

for (const [name, newStore] of STORES) {
  for (const [what, code, options, end] of ENDS) {
    if (options.user !== undefined && name !== 'MemoryStore') continue
    t.test(`${name}: session.signal fires when the session ends by ${what}, and its reason says '${code}'`, async t => {
      const site = await start(t, { rolling: name === 'MemoryStore', ...options, store: newStore() }, withUsers)
      const visitor = await site.login()
      const stream = await site.open(visitor)
      await end(site, visitor.copy())
      t.equal(await stream.said, code)
      await until(() => isIdle(site.store))
    })
  }
}

t.test("the signal's reason is an error that says why in words", async t => {
  let reason: any
  const { login } = await start(t, {}, app => {
    app.get('/leave', async request => {
      const { signal } = request.session
      await request.session.destroy()
      reason = signal.reason
    })
  })
  await (await login()).get('/leave')
  t.ok(reason instanceof Error)
  t.match(reason, { name: 'SessionEndedError', code: 'logout', message: /logged out/ })
})

t.test('the signal has fired when destroy() resolves, and does not fire if destroy() fails', async t => {
  const store = new ThreeMethodStore(later)
  const { login } = await start(t, { store, rolling: false }, app => {
    app.get('/leave', async request => {
      const { session } = request
      const { signal } = session
      store.failures.set('destroy', new Error('away'))
      const failed = await session.destroy().then(() => false, () => true)
      const [before] = [signal.aborted]
      store.failures.clear()
      await session.destroy()
      return { failed, before, after: signal.aborted }
    })
  })
  t.same((await (await login()).get('/leave')).json(), { failed: true, before: false, after: true })
})

t.test('if a session expires, the signal fires within watchInterval, and the checks do not prolong the session', async t => {
  const timeouts = holdTimeouts(t)
  const { advance } = clock(t)
  const store = new MemoryStore()
  const { login, open, app } = await start(t, { store, cookie: { maxAge: 5 * MINUTE } })
  const visitor = await login()
  const looks = countLooks(store)
  const stream = await open(visitor)
  looks.count = 0
  for (let minute = 1; minute <= 4; minute++) {
    advance(MINUTE)
    timeouts.pass(MINUTE)
    await app.inject('/user')
  }
  t.equal(looks.count, 4)
  t.equal(stream.isOver, false)
  advance(MINUTE)
  timeouts.pass(MINUTE)
  t.equal(await stream.said, 'expired')
  t.ok(isIdle(store))
})

t.test('if a session ends by absoluteTimeout, the signal fires after watchInterval milliseconds', async t => {
  const timeouts = holdTimeouts(t)
  const { advance } = clock(t)
  const { login, open } = await start(t, { absoluteTimeout: MINUTE, watchInterval: 5000 })
  const stream = await open(await login())
  advance(MINUTE)
  timeouts.pass(5000)
  t.equal(await stream.said, 'expired')
})

t.test('if another process has ended the session, the next check makes the signal fire', async t => {
  const timeouts = holdTimeouts(t)
  const store = new ThreeMethodStore(later)
  const { login, open } = await start(t, { store, rolling: false })
  const stream = await open(await login())
  store.records.clear()
  timeouts.pass(MINUTE)
  t.equal(await stream.said, 'expired')
})

t.test('the signal does not fire because a store fails or is slow', async t => {
  const timeouts = holdTimeouts(t)
  const gate = new Gate()
  class Slow extends ThreeMethodStore {
    isSlow = false
    looks = 0

    override get (...args: Parameters<ThreeMethodStore['get']>): void {
      if (this.isSlow) this.looks++
      if (this.isSlow) gate.pass().then(() => super.get(...args))
      else super.get(...args)
    }
  }
  const store = new Slow(later)
  const { login, open } = await start(t, { store, storeTimeout: 100 * MINUTE, rolling: false })
  const stream = await open(await login())
  store.failures.set('get', new Error('away'))
  timeouts.pass(MINUTE)
  await until(() => store.calls.at(-1) === 'get')
  store.failures.clear()
  store.isSlow = true
  for (let i = 0; i < 5; i++) {
    timeouts.pass(MINUTE)
    await new Promise(resolve => setImmediate(resolve))
  }
  t.equal(store.looks, 1, 'there is only one check at a time')
  t.equal(stream.isOver, false)
  gate.open()
  store.isSlow = false
  store.records.clear()
  // By now, the earlier checks have been answered.
  await until(() => {
    timeouts.pass(MINUTE)
    return stream.isOver
  })
  t.equal(await stream.said, 'expired')
})

// --- Which signal

t.test('a request always reads the same signal of its session, also after reload()', async t => {
  const { login, store } = await start(t, {}, app => {
    app.get('/signals', async request => {
      const before = request.session
      const { signal } = before
      const isSame = before.signal === signal
      await request.session.reload()
      const again = request.session.signal
      await request.session.destroy()
      return [isSame, signal.reason?.code, again.reason?.code, before.signal === signal]
    })
    app.get('/late', async request => {
      const before = request.session
      await request.session.reload()
      const { signal } = before
      await request.session.destroy()
      return signal.reason?.code
    })
  })
  t.same((await (await login()).get('/signals')).json(), [true, 'logout', 'logout', true])
  t.equal((await (await login()).get('/late')).body, 'logout')
  await until(() => isIdle(store))
})

t.test('if a session was already destroyed, replaced or gone, its signal has already fired', async t => {
  const store = new MemoryStore()
  const gate = new Gate()
  const { login } = await start(t, { store }, app => {
    app.get('/destroyed', async request => {
      const { session } = request
      await session.destroy()
      return session.signal.reason.code
    })
    app.get('/replaced', async request => {
      const { session } = request
      await session.regenerate()
      return [session.signal.reason.code, request.session.signal.aborted]
    })
    app.get('/gone', async request => {
      data(request).n = 1
      await store.destroy(request.session.sessionId, () => {})
      await request.session.save().catch(() => {})
      return request.session.signal.reason.code
    })
    app.get('/ended', async request => {
      await gate.pass()
      return request.session.signal.reason.code
    })
  })
  t.equal((await (await login()).get('/destroyed')).body, 'logout')
  t.same((await (await login()).get('/replaced')).json(), ['replaced', false])
  t.equal((await (await login()).get('/gone')).body, 'expired')
  const visitor = await login()
  const ended = visitor.copy().get('/ended')
  await gate.holds()
  await visitor.get('/logout')
  gate.open()
  t.equal((await ended).body, 'logout')
  t.ok(isIdle(store))
})

t.test('a new session is watched, and does not count as expired before it is written', async t => {
  const timeouts = holdTimeouts(t)
  const gate = new Gate()
  const store = new MemoryStore()
  const { app, open } = await start(t, { store }, app => {
    app.get('/new', async (request, reply) => {
      const { signal } = request.session
      timeouts.pass(MINUTE)
      await gate.pass()
      if (signal.aborted) return 'fired'
      data(request).user = 'max'
      await request.session.save()
      stream(request, reply, signal)
    })
  })
  const opening = open(new Visitor(app), '/new')
  await gate.holds()
  gate.open()
  const stream2 = await opening
  t.equal(stream2.isOver, false)
  store.clear()
  timeouts.pass(MINUTE)
  t.equal(await stream2.said, 'expired')
})

t.test('the signal of an anonymous session, which could not be loaded, never fires', async t => {
  const store = new ThreeMethodStore(later)
  const { login } = await start(t, { store, onStoreError: 'anonymous', rolling: false }, app => {
    app.get('/anonymous', async request => [request.session.isAnonymous, request.session.signal.aborted])
  })
  const visitor = await login()
  store.failures.set('get', new Error('away'))
  t.same((await visitor.get('/anonymous')).json(), [true, false])
  t.ok(isIdle(store))
})

t.test('if there is no session, reading signal throws, and a value that is set under that name is kept', async t => {
  const { app } = await start(t, {}, app => {
    app.get('/none', { config: { session: false } }, async request => {
      let code
      try {
        code = request.session.signal
      } catch (error: any) {
        code = error.code
      }
      data(request).signal = 'green'
      return [code, data(request).signal, JSON.stringify(request.session)]
    })
  })
  t.same((await app.inject('/none')).json(), ['FST_ERR_SESSION_NONE', 'green', '{"signal":"green"}'])
})

t.test('a data key called signal hides session.signal', async t => {
  const { app } = await start(t, {}, app => {
    app.get('/green', async request => { data(request).signal = 'green' })
    app.get('/signal', async request => [data(request).signal, request.session.get('signal' as never), Object.keys(request.session)])
  })
  const visitor = new Visitor(app)
  await visitor.get('/green')
  t.same((await visitor.get('/signal')).json(), ['green', 'green', ['cookie', 'signal']])
})

t.test('listeners run in the async context in which the signal was read, not in that of the request that ended the session', async t => {
  const requests = new AsyncLocalStorage<string>()
  let seen: string | undefined
  const { login, app } = await start(t, {}, app => {
    app.addHook('onRequest', (request, _reply, done) => requests.run(request.url, done))
    app.get('/listen', async (request, reply) => {
      stream(request, reply)
      request.session.signal.addEventListener('abort', () => { seen = requests.getStore() })
    })
  })
  t.ok(app)
  const site = await login()
  const { port } = app.server.address() as AddressInfo
  const request = get({ port, path: '/listen', agent: false, headers: { cookie: site.cookieHeader() } })
  await new Promise(resolve => request.on('response', resolve))
  await site.get('/logout')
  t.equal(seen, '/listen')
  request.destroy()
})

t.test('a session that one registration ends fires the signals of another registration on the same store', async t => {
  const store = new MemoryStore()
  const [first, second] = [await start(t, { store }), await start(t, { store })]
  const visitor = await first.login()
  const stream = await second.open(visitor.copy(second.app))
  await visitor.get('/logout')
  t.equal(await stream.said, 'logout')
})

// --- WebSockets

interface Sockets {
  opened: number
  closed: number
  connect: (visitor: Visitor) => WebSocket
  site: Site
}

/** @param before what an upgrade waits for after its session is loaded, and before its signal is read */
async function withSockets (t: Test, before?: () => Promise<void>, options: SessionOptions = {}): Promise<Sockets> {
  const site = await start(t, options, app => {
    app.register(fastifyWebsocket)
    app.register(async scope => {
      scope.get('/socket', { websocket: true, preValidation: async () => { await before?.() } }, (socket, request) => {
        sockets.opened++
        socket.on('close', () => { sockets.closed++ })
        const { signal } = request.session
        const hangUp = (): void => socket.close(1008, signal.reason.code)
        if (signal.aborted) hangUp()
        else signal.addEventListener('abort', hangUp)
      })
    })
  })
  const { port } = site.app.server.address() as AddressInfo
  const sockets: Sockets = { opened: 0, closed: 0, site, connect }
  return sockets

  function connect (visitor: Visitor): WebSocket {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/socket`, { headers: { cookie: visitor.cookieHeader() } })
    t.teardown(() => socket.terminate())
    return socket
  }
}

async function codeOf (socket: WebSocket): Promise<string> {
  const [, reason] = await once(socket, 'close')
  return String(reason)
}

t.test('a WebSocket is closed when its session ends, and is no longer watched if it closes before', async t => {
  const sockets = await withSockets(t)
  const { site, connect } = sockets
  const visitors = await Promise.all(Array.from({ length: 20 }, async () => await site.login()))
  const all = visitors.flatMap(visitor => [connect(visitor), connect(visitor), connect(visitor)])
  await Promise.all(all.map(async socket => await once(socket, 'open')))
  for (const socket of all.slice(0, 30)) socket.close()
  const codes = Promise.all(all.slice(30).map(codeOf))
  for (const visitor of visitors.slice(10)) await visitor.get('/logout')
  t.same(new Set(await codes), new Set(['logout']))
  await until(() => sockets.closed === sockets.opened)
  t.equal(sockets.opened, 60)
  await until(() => isIdle(site.store))
})

/** A MemoryStore whose destroy() waits at gates, before and after it takes effect. */
class HeldStore extends MemoryStore {
  gates = new Map<string, { before?: Gate, after?: Gate }>()

  override destroy (sessionId: string, callback: (error?: any, found?: any) => void): void {
    const { before, after } = this.gates.get('destroy') ?? {}
    const run = async (): Promise<void> => {
      await before?.pass()
      super.destroy(sessionId, (...answer) => {
        if (after === undefined) callback(...answer)
        else after.pass().then(() => callback(...answer))
      })
    }
    if (before === undefined && after === undefined) super.destroy(sessionId, callback)
    else run()
  }
}

const RACES = ['the signal is read, then the store destroys', 'the store destroys, then the signal is read, then it answers', 'the store answers, then the signal is read']

for (const [i, order] of RACES.entries()) {
  t.test(`a logout during the upgrade closes the WebSocket: ${order}`, async t => {
    const store = new HeldStore()
    const loaded = new Gate()
    const { connect, site } = await withSockets(t, async () => await loaded.pass(), { store })
    const visitor = await site.login()
    const socket = connect(visitor)
    const code = codeOf(socket)
    const opened = once(socket, 'open')
    await loaded.holds()
    const gate = new Gate()
    if (i < 2) store.gates.set('destroy', { [i === 0 ? 'before' : 'after']: gate })
    const logout = visitor.get('/logout')
    if (i < 2) await gate.holds()
    else await logout
    loaded.open()
    await opened
    gate.open()
    await logout
    t.equal(await code, 'logout')
    await until(() => isIdle(store))
  })
}

// --- What it costs

t.test('a session is not watched if the request does not read the signal', async t => {
  const { login, store } = await start(t)
  await (await login()).get('/user')
  t.ok(isIdle(store))
})

t.test('a session is watched until the response ends or the connection closes', async t => {
  const timeouts = holdTimeouts(t)
  const store = new MemoryStore()
  const looks = countLooks(store)
  let signal: AbortSignal | undefined
  const { login, open } = await start(t, { store }, app => {
    app.get('/short', async request => { signal = request.session.signal })
  })
  const visitor = await login()
  await visitor.get('/short')
  await until(() => isIdle(store))
  const streams = [await open(visitor), await open(visitor)]
  t.notOk(isIdle(store))
  for (const { leave } of streams) leave()
  await until(() => isIdle(store))
  looks.count = 0
  timeouts.pass(10 * MINUTE)
  t.equal(looks.count, 0)
  await visitor.get('/logout')
  t.equal(signal?.aborted, false)
})

t.test('a session is not watched if its signal is first read after the response has ended', async t => {
  const gate = new Gate()
  let signal: AbortSignal | undefined
  const { login, open, store } = await start(t, {}, app => {
    app.get('/late', async request => {
      const { session } = request
      gate.pass().then(() => { signal = session.signal })
    })
  })
  const visitor = await login()
  await visitor.get('/late')
  await new Promise(resolve => setImmediate(resolve))
  gate.open()
  await until(() => signal !== undefined)
  t.ok(isIdle(store))
  signal = undefined
  const { said } = await open(visitor, '/late')
  await said
  await until(() => signal !== undefined)
  t.ok(isIdle(store))
})

t.test('over HTTP/2, a session is watched until the response ends too', async t => {
  const store = new MemoryStore()
  const gate = new Gate()
  let read: (() => AbortSignal) | undefined
  const app = await build({ store }, app => {
    app.get('/login', async request => { data(request).user = 'max' })
    app.get('/wait', async request => {
      const { session } = request
      read = () => session.signal
      if (session.signal.aborted) return 'fired'
      await gate.pass()
    })
    app.get('/late', async request => {
      const { session } = request
      read = () => session.signal
    })
  }, { http2: true } as any)
  t.teardown(() => app.close())
  await app.listen({ port: 0 })
  const client = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(() => client.close())
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const request = (path: string): ClientHttp2Stream => client.request({ ':path': path, cookie: visitor.cookieHeader() })
  const waiting = request('/wait')
  await gate.holds()
  t.notOk(isIdle(store))
  waiting.close()
  await until(() => isIdle(store))
  gate.open()
  read = undefined
  const late = request('/late').resume()
  await new Promise(resolve => late.on('close', resolve))
  await until(() => read !== undefined)
  t.equal((read as unknown as () => AbortSignal)().aborted, false)
  await until(() => isIdle(store))
})

t.test('after ten thousand requests that read the signal, no session is watched and no timer is left', async t => {
  const timeouts = holdTimeouts(t)
  const store = new MemoryStore()
  const looks = countLooks(store)
  let fired = 0
  const { login, app } = await start(t, { store }, app => {
    app.get('/short', async request => {
      request.session.signal.addEventListener('abort', () => { fired++ })
      return 'ok'
    })
  })
  const visitors = await Promise.all(Array.from({ length: 100 }, async () => await login()))
  for (let i = 0; i < 100; i++) {
    await Promise.all(visitors.map(async visitor => await app.inject({ url: '/short', headers: { cookie: visitor.cookieHeader() } })))
  }
  await until(() => isIdle(store))
  looks.count = 0
  timeouts.pass(10 * MINUTE)
  t.equal(looks.count, 0)
  t.equal(fired, 0)
})

t.test('when the server closes, no session is watched any more', async t => {
  const { login, store, app } = await start(t)
  await login()
  const [sessionId] = (store as MemoryStore).store.keys()
  const session = await app.loadSession({ sessionId: sessionId as string })
  t.equal(session?.signal.aborted, false)
  t.notOk(isIdle(store))
  await app.close()
  t.ok(isIdle(store))
  t.equal(session?.signal.aborted, false)
})

// --- Outside of requests

t.test('sessions from loadSession() share one signal, which fires when the session ends', async t => {
  const { login, store, app } = await start(t)
  const visitor = await login()
  const load = async (): Promise<AbortSignal | undefined> => (await app.loadSession(visitor.cookieHeader()))?.signal
  const [first, second] = [await load(), await load()]
  t.equal(first, second)
  t.equal(first?.aborted, false)
  await visitor.get('/logout')
  t.equal(first?.reason.code, 'logout')
  t.ok(isIdle(store))
})

t.test('sessions from createSession() and decryptSession() have a signal too', async t => {
  const { app, login } = await start(t)
  const { session } = await app.createSession({ user: 'max' })
  const { signal } = session
  await session.destroy()
  t.equal(signal.reason.code, 'logout')
  const visitor = await login()
  const request: any = {}
  await app.decryptSession(decodeURIComponent(visitor.cookieHeader().replace('sessionId=', '')), request)
  t.equal(request.session.signal.aborted, false)
  await visitor.get('/logout')
  t.equal(request.session.signal.reason.code, 'logout')
})

t.test('a new session outside of a request does not count as expired before it is saved', async t => {
  const timeouts = holdTimeouts(t)
  const { store, app } = await start(t)
  const job: any = {}
  await app.decryptSession('', job)
  const { signal } = job.session
  const round = async (): Promise<void> => {
    timeouts.pass(MINUTE)
    await new Promise(resolve => setImmediate(resolve))
  }
  await round()
  t.equal(signal.aborted, false)
  await job.session.save()
  await round()
  t.equal(signal.aborted, false)
  store.destroy(job.session.sessionId, () => {})
  await round()
  t.equal(signal.reason.code, 'expired')
})

t.test('a new session outside of a request is not watched for ever if it is never saved', async t => {
  const timeouts = holdTimeouts(t)
  const { store, app } = await start(t)
  const job: any = {}
  await app.decryptSession('', job)
  t.equal(job.session.signal.aborted, false)
  delete job.session
  await until(() => {
    collectGarbage()
    timeouts.pass(MINUTE)
    return isIdle(store)
  })
})

t.test('nothing is watched if watch() of a store resolves, or fails, only after the session has ended', async t => {
  const OUTCOMES: Record<string, () => any> = {
    'it fails': () => { throw new Error('away') },
    'it has nothing to end': () => undefined,
    'it begins': () => () => { ended++ }
  }
  let ended = 0
  const heard = await warned(async () => {
    for (const [what, outcome] of Object.entries(OUTCOMES)) {
      const begins = new Gate()
      let watches = 0
      const store: SessionStore = Object.assign(new MemoryStore(), {
        async watch () {
          await begins.pass()
          watches++
          return outcome()
        }
      })
      const { login, open } = await start(t, { store })
      const visitor = await login()
      const stream = await open(visitor)
      await visitor.get('/logout')
      t.equal(await stream.said, 'logout', what)
      t.ok(isIdle(store))
      begins.open()
      await until(() => watches === 1)
    }
    await until(() => ended === 1)
  })
  t.same(heard, [], 'a watch that failed was no longer needed')
})

t.test('an unwatch function that throws, rejects or is not a function does no harm', async t => {
  const ENDS: Record<string, any> = {
    'it throws': () => { throw new Error('away') },
    'it rejects': async () => { throw new Error('away') },
    'it is not a function': { close () {} }
  }
  for (const [what, end] of Object.entries(ENDS)) {
    const store: SessionStore = Object.assign(new MemoryStore(), { watch: () => end })
    const { login, open } = await start(t, { store })
    const visitor = await login()
    const [stream, left] = [await open(visitor), await open(visitor)]
    left.leave()
    t.equal((await visitor.get('/logout')).statusCode, 200, what)
    t.equal(await stream.said, 'logout', what)
    t.ok(isIdle(store))
  }
})

t.test('a store may report the end while watch() is called', async t => {
  const store: SessionStore = Object.assign(new MemoryStore(), {
    watch (_sessionId: string, onEnd: (code: EndCode) => void) {
      onEnd('revoked')
      return () => {}
    }
  })
  const { login, open } = await start(t, { store })
  t.equal(await (await open(await login())).said, 'revoked')
})

t.test('any number of listeners may be added to one signal', async t => {
  const { login, app } = await start(t)
  const visitor = await login()
  const names: string[] = []
  const hear = ({ name }: Error): void => { names.push(name) }
  process.on('warning', hear)
  t.teardown(() => { process.off('warning', hear) })
  let fired = 0
  for (let i = 0; i < 20; i++) {
    const session = await app.loadSession(visitor.cookieHeader())
    session?.signal.addEventListener('abort', () => { fired++ })
  }
  await visitor.get('/logout')
  await new Promise(resolve => setImmediate(resolve))
  t.equal(fired, 20)
  t.same(names, [])
})

t.test('a request that reloads or regenerates its session many times adds one listener to its response', async t => {
  const { login, app } = await start(t, {}, app => {
    app.get('/again/:how', async (request, reply) => {
      const signals = new Set<AbortSignal>()
      for (let i = 0; i < 20; i++) {
        signals.add(request.session.signal)
        if ((request.params as any).how === 'reload') await request.session.reload()
        else await request.session.regenerate(['user'])
      }
      signals.add(request.session.signal)
      return [signals.size, reply.raw.listenerCount('close')]
    })
    app.get('/idle', async (_request, reply) => reply.raw.listenerCount('close'))
  })
  const visitor = await login()
  const others = (await visitor.get('/idle')).json()
  t.same((await visitor.get('/again/reload')).json(), [1, others + 1], 'the same session has the same signal')
  t.same((await visitor.get('/again/regenerate')).json(), [21, others + 1])
  t.equal((await visitor.get('/user')).body, 'max')
  await app.close()
})
