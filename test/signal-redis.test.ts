/** `session.signal` between processes, with RedisStore and its subscribers. */
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import { Cluster, Redis } from 'ioredis'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { MemoryStore } from '../src/index'
import { recentChangesOf } from '../src/stores/recent'
import { RedisStore, type RedisClient, type RedisSubscriber } from '../src/stores/redis'
import { build, Visitor, type SessionOptions } from './helpers'
import { serve, type Program } from './program'
import { startRedis, startRedisCluster, startRedisSentinel, connectTo, type NodeRedis, type Server } from './servers'

type Client = RedisClient & RedisSubscriber & Record<string, any>

let server: Server
let redis: NodeRedis
let clusterNodes: readonly Server[]
let sentinel: Awaited<ReturnType<typeof startRedisSentinel>>

t.before(async () => {
  const [single, cluster, watched] = await Promise.all([startRedis(t), startRedisCluster(t), startRedisSentinel(t)])
  server = single
  sentinel = watched
  redis = await connectTo(t, server)
  clusterNodes = cluster.nodes
})

interface Kind {
  name: string
  connect: (t: Test, options?: Record<string, unknown>) => Promise<Client>
}

async function nodeClient (t: Test, client: any): Promise<Client> {
  client.on('error', () => {})
  t.teardown(() => client.destroy())
  await client.connect()
  return client
}

function ioClient (t: Test, client: any): Client {
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  return client
}

const nodes = (): string[] => clusterNodes.map(({ url }) => url)

const NODE_REDIS: Kind = {
  name: 'node-redis',
  connect: async (t, options) => await nodeClient(t, createClient({ url: server.url, ...options }))
}
const IOREDIS: Kind = {
  name: 'ioredis',
  connect: async (t, options) => ioClient(t, new Redis({ port: server.port, host: '127.0.0.1', ...options }))
}
const NODE_REDIS_CLUSTER: Kind = {
  name: 'node-redis, cluster',
  connect: async (t, options) => await nodeClient(t, createCluster({ rootNodes: nodes().map(url => ({ url })), ...options }))
}
const IOREDIS_CLUSTER: Kind = {
  name: 'ioredis, cluster',
  connect: async (t, options) => ioClient(t, new Cluster(nodes(), { shardedSubscribers: true, ...options } as object))
}

const KINDS: Kind[] = [
  NODE_REDIS,
  { name: 'node-redis that speaks RESP 2', connect: async t => await NODE_REDIS.connect(t, { RESP: 2 }) },
  IOREDIS,
  { name: 'ioredis with a keyPrefix', connect: async t => await IOREDIS.connect(t, { keyPrefix: 'app:' }) },
  {
    name: 'node-redis, sentinel',
    async connect (t) {
      const { sentinelPort, name } = sentinel
      return await nodeClient(t, createSentinel({ name, sentinelRootNodes: [{ host: '127.0.0.1', port: sentinelPort }] }))
    }
  },
  NODE_REDIS_CLUSTER,
  IOREDIS_CLUSTER,
  { name: 'ioredis, cluster with a keyPrefix', connect: async t => await IOREDIS_CLUSTER.connect(t, { keyPrefix: 'app:' }) }
]

/** A RedisStore whose watches a test can await. */
class ListeningStore extends RedisStore {
  readonly watches: Array<Promise<unknown>> = []

  override watch (...args: Parameters<RedisStore['watch']>): Promise<() => void> {
    const watch = super.watch(...args)
    this.watches.push(watch)
    return watch
  }
}

interface Process {
  app: FastifyInstance
  store: ListeningStore
  subscriber: Client | undefined
  login: (user?: string) => Promise<Visitor>
  /** The signal of a visitor's session in this process, once the process has subscribed. */
  signalOf: (visitor: Visitor) => Promise<AbortSignal>
}

const routes = (app: FastifyInstance): void => {
  app.get('/login/:user', async request => {
    await request.session.regenerate()
    ;(request.session as any).user = (request.params as any).user
  })
  app.get('/logout', async request => { await request.session.destroy() })
}

/** One process: a server with its own clients. */
async function start (t: Test, kind: Kind, options: SessionOptions = {}, hears = true): Promise<Process> {
  const client = await kind.connect(t)
  const subscriber = hears ? await kind.connect(t) : undefined
  const store = new ListeningStore({ client, ...(subscriber && { subscriber }) })
  const app = await build({ saveUninitialized: false, store, ...options }, routes)
  t.teardown(() => app.close())
  return { app, store, subscriber, login, signalOf }

  async function login (user = 'max'): Promise<Visitor> {
    const visitor = new Visitor(app)
    await visitor.get(`/login/${user}`)
    return visitor
  }

  async function signalOf (visitor: Visitor): Promise<AbortSignal> {
    const session = await app.loadSession(visitor.cookieHeader())
    if (session === null) throw new Error('there is no session')
    const { signal } = session
    await Promise.allSettled(store.watches)
    return signal
  }
}

/** Waits until the signal fires, and returns the code. */
async function fired (signal: AbortSignal): Promise<string> {
  if (!signal.aborted) await new Promise(resolve => signal.addEventListener('abort', resolve))
  return signal.reason.code
}

async function until (isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!await isSo()) await new Promise(resolve => setImmediate(resolve))
}

const keyOf = ({ app }: Process, visitor: Visitor): string => {
  const [value = ''] = decodeURIComponent(visitor.cookieHeader().replace('sessionId=', '')).split('.')
  return `sess:${app.prefix}${value}`
}

const channels = async (): Promise<string[]> => (await redis.sendCommand(['PUBSUB', 'CHANNELS', 'sess:*'])) as unknown as string[]

// --- What a process tells the others

const byUser: SessionOptions = { user: (session: any) => session.user, maxPerUser: 2 }

async function tellsAll (t: Test, kind: Kind): Promise<void> {
  const [one, other] = [await start(t, kind, byUser), await start(t, kind, byUser)]
  const visitors = [await one.login('anna'), await one.login('berta'), await one.login('carl'), await one.login('dora')] as const
  const signals = await Promise.all(visitors.map(async visitor => await other.signalOf(visitor)))
  await visitors[0].get('/logout')
  await visitors[1].get('/login/berta')
  await one.app.sessions.revokeUser('carl')
  await one.login('dora')
  await one.login('dora')
  t.same(await Promise.all(signals.map(fired)), ['logout', 'replaced', 'revoked', 'limit'])
}

for (const kind of KINDS) {
  t.test(`${kind.name}: if one process ends a session, the signals in the others fire at once, with the cause`, async t => await tellsAll(t, kind))
}

t.test('a cluster without sharded channels, as before Redis 7, uses ordinary channels', async t => {
  const without = ['SPUBLISH', 'SSUBSCRIBE', 'SUNSUBSCRIBE'].flatMap(name => ['--rename-command', name, ''])
  const { nodes } = await startRedisCluster(t, { args: without })
  await tellsAll(t, {
    name: 'node-redis',
    connect: async t => await nodeClient(t, createCluster({ rootNodes: nodes.map(({ url }) => ({ url })) }))
  })
})

t.test('a process without a subscriber tells the others, but hears nothing', async t => {
  const [deaf, hearing] = [await start(t, NODE_REDIS, {}, false), await start(t, NODE_REDIS)]
  const [first, second] = [await deaf.login(), await hearing.login()]
  const [heard, unheard] = [await hearing.signalOf(first), await deaf.signalOf(second)]
  await first.get('/logout')
  t.equal(await fired(heard), 'logout')
  await second.get('/logout')
  t.equal(unheard.aborted, false)
})

t.test("if a session is ended by the store's destroy() alone, the reason is 'revoked'", async t => {
  const [one, other] = [await start(t, NODE_REDIS), await start(t, IOREDIS)]
  const visitor = await one.login()
  const signal = await other.signalOf(visitor)
  await one.store.destroy(keyOf(one, visitor).slice('sess:'.length))
  t.equal(await fired(signal), 'revoked')
})

t.test('a Redis user without the right to publish can end sessions', async t => {
  await redis.sendCommand(['ACL', 'SETUSER', 'mute', 'on', '>secret', '~*', 'resetchannels', '+@all', '-publish', '-spublish'])
  const one = await start(t, {
    name: 'mute',
    connect: async t => await nodeClient(t, createClient({ url: server.url, username: 'mute', password: 'secret' }))
  }, {}, false)
  const visitor = await one.login()
  t.equal((await visitor.get('/logout')).statusCode, 200)
  t.equal(await redis.exists(keyOf(one, visitor)), 0)
})

// --- What a process hears

for (const kind of [NODE_REDIS, IOREDIS]) {
  t.test(`${kind.name}: if the session ended between its load and the first read of its signal, the signal fires`, async t => {
    const [one, other] = [await start(t, kind), await start(t, kind)]
    const visitor = await one.login()
    const session = await other.app.loadSession(visitor.cookieHeader())
    await visitor.get('/logout')
    t.equal(await fired(session?.signal as AbortSignal), 'expired')
  })

  t.test(`${kind.name}: after a lost connection, all sessions are checked, and messages arrive again`, async t => {
    const [one, other] = [await start(t, kind), await start(t, kind)]
    const visitors = await Promise.all(Array.from({ length: 100 }, async () => await one.login()))
    const signals = await Promise.all(visitors.map(async visitor => await other.signalOf(visitor)))
    const halves = [visitors.slice(0, 50), visitors.slice(50)] as const
    // No message is sent for this.
    for (const visitor of halves[0]) await redis.del(keyOf(one, visitor))
    await redis.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub'])
    t.same(new Set(await Promise.all(signals.slice(0, 50).map(fired))), new Set(['expired']))
    t.notOk(signals.slice(50).some(({ aborted }) => aborted))
    for (const visitor of halves[1]) await visitor.get('/logout')
    t.same(new Set(await Promise.all(signals.slice(50).map(fired))), new Set(['logout']))
  })

  t.test(`${kind.name}: if the message is lost, the signal fires within watchInterval`, async t => {
    const [one, other] = [await start(t, kind), await start(t, kind, { watchInterval: 50 })]
    const visitor = await one.login()
    const signal = await other.signalOf(visitor)
    await redis.del(keyOf(one, visitor))
    t.equal(await fired(signal), 'expired')
  })

  t.test(`${kind.name}: a process unsubscribes when a session ends, and when the server closes`, async t => {
    const [one, other] = [await start(t, kind), await start(t, kind)]
    const visitors = [await one.login(), await one.login()] as const
    const signals = [await other.signalOf(visitors[0]), await other.signalOf(visitors[1])] as const
    t.same(new Set(await channels()), new Set(visitors.map(visitor => keyOf(one, visitor))), 'one channel for each session')
    await visitors[0].get('/logout')
    await fired(signals[0])
    await other.app.close()
    await until(async () => (await channels()).length === 0)
    t.equal(recentChangesOf(other.store).hearers.size, 0)
  })
}

for (const kind of [NODE_REDIS_CLUSTER, IOREDIS_CLUSTER]) {
  t.test(`${kind.name}: after a lost connection, all sessions are checked, and messages arrive again`, async t => {
    const [one, other] = [await start(t, kind), await start(t, kind)]
    const client: any = await kind.connect(t)
    const visitors = await Promise.all(Array.from({ length: 30 }, async () => await one.login()))
    const signals = await Promise.all(visitors.map(async visitor => await other.signalOf(visitor)))
    // No message is sent for this.
    for (const visitor of visitors.slice(0, 10)) await client.unlink(keyOf(one, visitor))
    for (const node of clusterNodes) await (await connectTo(t, node)).sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub'])
    t.same(new Set(await Promise.all(signals.slice(0, 10).map(fired))), new Set(['expired']))
    t.notOk(signals.slice(10).some(({ aborted }) => aborted))
    // Each by its name: a subscription to a session that has ended may still be there.
    const admins = await Promise.all(clusterNodes.map(async node => await connectTo(t, node)))
    const living = visitors.slice(10).map(visitor => keyOf(one, visitor))
    await until(async () => {
      const all = await Promise.all(admins.map(async admin => await admin.sendCommand(['PUBSUB', 'SHARDCHANNELS'])))
      const listening = (all as unknown as string[][]).flat()
      return living.every(key => listening.includes(key))
    })
    for (const visitor of visitors.slice(10)) await visitor.get('/logout')
    t.same(new Set(await Promise.all(signals.slice(10).map(fired))), new Set(['logout']))
  })
}

t.test('two registrations on one store share a subscription until both have closed', async t => {
  const one = await start(t, NODE_REDIS)
  const apps = [await build({ store: one.store }, routes), await build({ store: one.store }, routes)] as const
  for (const app of apps) t.teardown(() => app.close())
  const visitor = await one.login()
  const signals = await Promise.all(apps.map(async app => (await app.loadSession(visitor.cookieHeader()))?.signal as AbortSignal))
  await Promise.all(one.store.watches)
  await apps[0].close()
  t.equal((await channels()).length, 1)
  const other = await start(t, NODE_REDIS)
  await visitor.copy(other.app).get('/logout')
  t.equal(await fired(signals[1] as AbortSignal), 'logout')
  t.equal(signals[0]?.aborted, false)
})

t.test('a session that ends while the store subscribes leaves no subscription', async t => {
  const one = await start(t, NODE_REDIS)
  const visitor = await one.login()
  const session = await one.app.loadSession(visitor.cookieHeader())
  t.equal(session?.signal.aborted, false)
  await session?.destroy()
  t.equal(session?.signal.reason.code, 'logout')
  await Promise.all(one.store.watches)
  await until(async () => (await channels()).length === 0)
})

t.test('a store that cannot subscribe causes one warning, and sessions are checked within watchInterval', async t => {
  const warnings: string[] = []
  const hear = ({ code }: any): void => { warnings.push(code) }
  process.on('warning', hear)
  t.teardown(() => process.off('warning', hear))
  const store = new ListeningStore({ client: redis as any, subscriber: createClient({ url: server.url }) as any })
  const app = await build({ store, watchInterval: 50 }, routes)
  t.teardown(() => app.close())
  const visitors = [new Visitor(app), new Visitor(app)] as const
  for (const visitor of visitors) await visitor.get('/login/max')
  const signals = await Promise.all(visitors.map(async visitor => (await app.loadSession(visitor.cookieHeader()))?.signal as AbortSignal))
  await Promise.allSettled(store.watches)
  for (const key of await redis.keys('sess:*')) await redis.del(key)
  t.same(await Promise.all(signals.map(fired)), ['expired', 'expired'])
  t.same(warnings.filter(code => code === 'FST_SESSION_NOT_WATCHING').length, 1)
})

t.test("if the subscriber lacks the right to subscribe, signals still fire for this process's own ends", async t => {
  await redis.sendCommand(['ACL', 'SETUSER', 'deaf', 'on', '>secret', '~*', '&*', '+@all', '-subscribe'])
  const subscriber = createClient({ url: server.url, username: 'deaf', password: 'secret' })
  t.teardown(() => subscriber.destroy())
  await subscriber.connect()
  const store = new ListeningStore({ client: redis as any, subscriber: subscriber as any })
  const app = await build({ store }, routes)
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/login/max')
  const session = await app.loadSession(visitor.cookieHeader())
  t.equal(session?.signal.aborted, false)
  const [{ reason }] = await Promise.allSettled(store.watches) as any
  t.match(reason.message, /permissions/)
  await visitor.get('/logout')
  t.equal(session?.signal.reason.code, 'logout', 'an end in this process needs no message')
})

t.test('in a cluster, watch() rejects if the subscriber lacks the right to subscribe', async t => {
  for (const node of clusterNodes) {
    const admin = await connectTo(t, node)
    await admin.sendCommand(['ACL', 'SETUSER', 'deaf', 'on', '>secret', '~*', '&*', '+@all', '-ssubscribe'])
  }
  const subscriber = await nodeClient(t, createCluster({
    rootNodes: nodes().map(url => ({ url })), defaults: { username: 'deaf', password: 'secret' }
  }))
  const store = new RedisStore({ client: await NODE_REDIS_CLUSTER.connect(t), subscriber })
  await t.rejects(store.watch('id', () => {}), { message: /permissions/ })
})

t.test('a second message about the same session is ignored', async t => {
  const one = await start(t, IOREDIS)
  const visitor = await one.login()
  const signal = await one.signalOf(visitor)
  const key = keyOf(one, visitor)
  await redis.multi().publish(key, 'limit').publish(key, 'logout').exec()
  t.equal(await fired(signal), 'limit')
  await until(async () => (await channels()).length === 0)
})

t.test('a custom store may implement watch(), and may call back without a code if it has missed messages', async t => {
  class Told extends MemoryStore {
    readonly hearers = new Map<string, (code?: any) => void>()
    unwatched = 0

    override watch (sessionId: string, onEnd: (code?: any) => void): () => void {
      this.hearers.set(sessionId, onEnd)
      return () => { this.unwatched++ }
    }

    override destroy (sessionId: string, callback: (error?: any, found?: any) => void, code?: string): void {
      this.codes.push(code)
      super.destroy(sessionId, callback)
    }

    readonly codes: Array<string | undefined> = []
  }
  const store = new Told()
  const app = await build({ store, saveUninitialized: false }, routes)
  t.teardown(() => app.close())
  const visitors = [new Visitor(app), new Visitor(app), new Visitor(app)] as const
  for (const visitor of visitors) await visitor.get('/login/max')
  const signals = await Promise.all(visitors.map(async visitor => (await app.loadSession(visitor.cookieHeader()))?.signal as AbortSignal))
  const ids = [...store.store.keys()]
  store.hearers.get(ids[0] as string)?.('limit')
  t.equal(signals[0]?.reason.code, 'limit')
  store.store.delete(ids[1] as string)
  // An unknown code, as a later version may have, makes the library check the session.
  store.hearers.get(ids[1] as string)?.('melted')
  store.hearers.get(ids[2] as string)?.()
  t.equal(await fired(signals[1] as AbortSignal), 'expired')
  t.equal(signals[2]?.aborted, false)
  await visitors[2].get('/logout')
  t.equal(signals[2]?.reason.code, 'logout')
  t.equal(store.codes.at(-1), 'logout', 'destroy() is called with the cause')
  t.equal(store.unwatched, 3)
  // This call comes too late and does nothing.
  store.hearers.get(ids[0] as string)?.('logout')
})

t.test('a client that cannot be the subscriber is refused', async t => {
  const client = await NODE_REDIS.connect(t)
  const cluster = await NODE_REDIS_CLUSTER.connect(t)
  const old = ioClient(t, new Cluster(nodes()))
  const cases: Array<[unknown, unknown, RegExp]> = [
    [client, createClientPool({ url: server.url }), /can subscribe/],
    [client, client, /second client/],
    [client, cluster, /same kind/],
    [cluster, client, /same kind/],
    [old, ioClient(t, new Cluster(nodes())), /shardedSubscribers/],
    [old, await IOREDIS_CLUSTER.connect(t, { keyPrefix: 'app:' }), /keyPrefix/]
  ]
  for (const [client, subscriber, message] of cases) {
    t.throws(() => new RedisStore({ client, subscriber } as any), { code: 'FST_ERR_SESSION_OPTION', message })
  }
})

// --- Four processes

interface SocketServer {
  program: Program
  address: string
}

/** The Cookie header of someone who has logged in. */
async function cookieFrom ({ address }: SocketServer): Promise<string> {
  const { headers } = await fetch(`${address}/login`)
  return (headers.getSetCookie()[0] as string).split(';')[0] as string
}

t.test('four processes, one killed, subscriptions cut in the middle: every socket that was opened is closed', async t => {
  const servers = await Promise.all(Array.from({ length: 4 }, async () => {
    return await serve(t, 'test/processes/sockets.js', { REDIS_URL: server.url })
  }))
  const cookies = await Promise.all(Array.from({ length: 60 }, async (_none, i) => await cookieFrom(servers[i % 4] as SocketServer)))
  const codes: string[] = []
  let opened = 0
  // Each visitor opens one socket at each process. The last third do so while they are being logged out.
  const open = (cookie: string): WebSocket[] => servers.map(({ address }) => {
    const socket = new WebSocket(`${address.replace('http', 'ws')}/socket`, { headers: { cookie } })
    socket.on('open', () => { opened++ })
    socket.on('close', (_code, reason) => codes.push(String(reason)))
    socket.on('error', () => {})
    t.teardown(() => socket.terminate())
    return socket
  })
  const first = cookies.slice(0, 40).flatMap(open)
  await Promise.all(first.map(async socket => await once(socket, 'open')))
  // A process subscribes only when the socket is open. Until then it can't hear the cause.
  await until(async () => {
    const open = await channels()
    const counts = await redis.sendCommand(['PUBSUB', 'NUMSUB', ...open]) as unknown[]
    return open.length === 40 && counts.filter(count => Number(count) === 4).length === 40
  })
  const [one, , , last] = servers as [SocketServer, SocketServer, SocketServer, SocketServer]
  const logout = async (cookie: string): Promise<unknown> => await fetch(`${one.address}/logout`, { headers: { cookie } })
  await Promise.all(cookies.slice(0, 20).map(logout))
  await last.program.end('SIGKILL')
  servers.pop()
  const racing = cookies.slice(40).flatMap(cookie => {
    const sockets = open(cookie)
    logout(cookie).catch(() => {})
    return sockets
  })
  await redis.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub'])
  await Promise.all(cookies.slice(20, 40).map(logout))
  const all = [...first, ...racing]
  await until(() => codes.length === all.length)
  t.equal(codes.length, 40 * 4 + 20 * 3)
  t.ok(opened >= 160)
  for (const { address } of servers) {
    await until(async () => {
      const { opened, closed } = await (await fetch(`${address}/counts`)).json() as any
      return opened >= 40 && opened === closed
    })
  }
  await until(async () => (await channels()).length === 0)
  t.ok(codes.filter(code => code === 'logout').length >= 60, 'most sockets got the cause')
})
