/** What is special about RedisStore. stores.test.ts tests what it has in common with other stores. */
import { channel } from 'node:diagnostics_channel'
import '../packages/installs'
import fastifyCookie, { sign } from '@fastify/cookie'
import { RedisStore as ConnectRedis } from 'connect-redis'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { createClient, RESP_TYPES } from 'redis'
import t, { type Test } from 'tap'
import upstream from 'upstream-session'
import fastifySession, { type SecurityMessage } from '../src/index'
import { RedisStore, type RedisClient } from '../src/stores/redis'
import { sealed } from '../src/stores/sealed'
import type { SessionRecord } from '../src/types/store'
import { build, record, SECRET, setCookies, Visitor, type Routes, type SessionOptions } from './helpers'
import { startAll, type Kind, type Kinds, type Redises } from './redis/clients'
import { asJson, isAbout, open, testContract, text } from './redis/contract'
import { Wire } from './redis/wire'
import { until } from './waiting'

// These versions have no types.
const redis3 = require('redis-3').createClient
const redis4 = require('redis-4').createClient

const NO_META = { set: {}, unset: [] }

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

t.test('RedisStore', async t => {
  const all = await startAll(t)
  for (const kind of all.kinds) await t.test(kind.name, async t => testContract(t, kind))
  await t.test('a read takes one round trip and a change two, and their bytes do not grow with the session', t => testCosts(t, all.single))
  await t.test('scripts that Redis has forgotten are sent again', t => testForgottenScripts(t, all))
  await t.test("connect-redis's sessions", t => testConnectRedis(t, all))
  await t.test('when the end moves', t => testExpiry(t, all))
  await t.test('broken records', t => testBrokenValues(t, all))
  await t.test('a client that fails', t => testFailingClients(t, all))
  // This comes last, because it stops the servers.
  await t.test('a server that stops and comes back', t => testOutage(t, all))
})

t.test('options that cannot work are refused', async t => {
  const client = createClient()
  const refused = (options: any, why: string): void => {
    const message = `The session option store is wrong: ${why}`
    const shown = Object.entries(options ?? {}).slice(-1).join()
    t.throws(() => new RedisStore(options), { code: 'FST_ERR_SESSION_OPTION', message }, shown)
  }
  const noClient = 'RedisStore needs a client of node-redis or ioredis, version 5 or newer, that answers by promises'
  for (const client of [undefined, null, {}, 7, new Map(), { get () {}, set () {} }]) {
    refused({ client }, noClient)
  }
  refused(undefined, noClient)
  refused({ client: 'redis://127.0.0.1' }, 'RedisStore was given a URL: write await createClient({ url }).connect()')
  refused({ client: Promise.resolve(client) }, 'RedisStore was given a promise: await it first')
  // An application may use such clients for other purposes.
  const callbacks = redis3({ port: 1, retry_strategy: () => undefined }).on('error', () => {})
  for (const old of [callbacks, redis4(), redis4({ legacyMode: true }), client.legacy()]) refused({ client: old }, noClient)
  for (const prefix of [null, 7, {}, Buffer.from('sess:')]) {
    refused({ client, prefix }, 'the prefix of a RedisStore must be a string')
  }
  // If Redis can't read the ttl as a number, a key would never expire.
  for (const ttl of [0, -1, NaN, null, 'a day', {}, Infinity, 1e21]) {
    refused({ client, ttl }, 'the ttl of a RedisStore must be a positive number of milliseconds')
  }
  for (const options of [{}, { prefix: '' }, { prefix: 'app:' }, { ttl: 1 }, { ttl: undefined, prefix: undefined }]) {
    t.ok(new RedisStore({ client, ...options }))
  }
})

// --- The cost of a request

interface Library {
  name: string
  plugin: typeof fastifySession
  makeStore: (client: any) => object
}

const OURS: Library = { name: 'RedisStore', plugin: fastifySession, makeStore: client => new RedisStore({ client }) }
const THEIRS: Library = {
  name: '11.1.3, connect-redis 9', plugin: upstream as any, makeStore: client => new ConnectRedis({ client })
}

/** Per request. */
interface Cost {
  commands: number
  roundTrips: number
  bytes: number
  /** The commands that the server counts, including those within scripts. */
  counted: Record<string, number>
  /** Everything that was sent. */
  sent: string[][]
}

const REQUESTS = 10

async function testCosts (t: Test, single: Redises): Promise<void> {
  async function costOf (library: Library, size: number, url: string, options: SessionOptions = {}): Promise<Cost> {
    const wire = await Wire.to(t, single.servers[0]?.port as number)
    const client = createClient({ url: wire.url })
    await client.connect()
    t.teardown(() => client.destroy())
    const store = library.makeStore(client) as any
    const cookie = { secure: false, maxAge: HOUR, ...options.cookie }
    const app = Fastify() as unknown as FastifyInstance
    await app.register(fastifyCookie)
    await app.register(library.plugin, { secret: SECRET, store, ...options, cookie })
    sizedSessions(app)
    t.teardown(() => app.close())
    const visitor = new Visitor(app)
    await visitor.get(`/fill/${size}`)
    // From now on, Redis knows the scripts.
    await visitor.get(url)

    wire.reset()
    await single.sendAll('CONFIG', 'RESETSTAT')
    for (let i = 0; i < REQUESTS; i++) t.equal((await visitor.get(url)).statusCode, 200)
    return {
      commands: wire.commands.length / REQUESTS,
      roundTrips: wire.roundTrips / REQUESTS,
      bytes: Math.round(wire.bytes / REQUESTS),
      counted: await commandStats(single),
      sent: [...wire.commands]
    }
  }

  const row = (...cells: unknown[]): void => {
    t.comment(`| ${cells.map((cell, i) => i === 0 ? String(cell).padEnd(47) : String(cell).padStart(11)).join(' | ')} |`)
  }
  const bytes: Record<string, number> = {}
  row('per request', 'commands', 'round trips', 'bytes out')
  for (const library of [OURS, THEIRS]) {
    for (const [url, what, commands, roundTrips] of [['/read', 'read', 2, 1], ['/change', 'one key changed', 3, 2]] as const) {
      for (const size of [2000, 20_000]) {
        const cost = await costOf(library, size, url)
        row(`${library.name}, ${size / 1000} KB, ${what}`, cost.commands, cost.roundTrips, cost.bytes)
        bytes[`${library.name} ${what} ${size}`] = cost.bytes
        if (library !== OURS) continue
        t.same([cost.commands, cost.roundTrips], [commands, roundTrips], `${what}, ${size} bytes`)
        t.notOk(cost.sent.flat().some(argument => /filler/.test(argument)), 'no unchanged key is sent')
        // Redis also counts commands within scripts, which cost neither a round trip nor a byte on the wire.
        const { evalsha = 0, ...rest } = cost.counted
        t.equal(evalsha, commands === 2 ? 0 : REQUESTS, 'a read does not run a script')
        t.same(Object.keys(rest).sort(), commands === 2 ? ['hgetall', 'pttl'] : ['hget', 'hgetall', 'hset', 'pttl'])
      }
    }
  }
  for (const what of ['read', 'one key changed']) {
    const [small, big] = [2000, 20_000].map(size => bytes[`RedisStore ${what} ${size}`]) as [number, number]
    t.ok(Math.abs(big - small) <= 2, `${what}: the bytes do not grow with the session (${small}, ${big})`)
  }
  t.ok(bytes[`${THEIRS.name} read 20000`] as number > 18_000, 'with connect-redis, they do')

  for (const [name, options] of Object.entries<SessionOptions>({
    'rolling: false': { rolling: false },
    'no maxAge': { cookie: { maxAge: undefined } },
    'rolling: false, no maxAge': { rolling: false, cookie: { maxAge: undefined } }
  })) {
    const [read, change] = [await costOf(OURS, 2000, '/read', options), await costOf(OURS, 2000, '/change', options)]
    t.same([read.commands, read.roundTrips], [2, 1], `${name}: read`)
    t.same([change.commands, change.roundTrips], [3, 2], `${name}: changed`)
  }
  t.equal((await costOf(OURS, 2000, '/nothing')).roundTrips, 1, 'a request that does not use its session')
  t.equal((await costOf(OURS, 2000, '/save')).roundTrips, 2, 'save()')
  t.equal((await costOf(OURS, 2000, '/renew')).roundTrips, 3, 'regenerate: load, destroy, set')
}

const sizedSessions: Routes = app => {
  app.get('/fill/:size', async request => {
    const count = Number((request.params as { size: string }).size) / 100
    for (let i = 0; i < count; i++) (request.session as any)[`filler${i}`] = 'x'.repeat(85)
    return 'filled'
  })
  app.get('/read', async request => (request.session as any).filler0)
  app.get('/nothing', async () => 'nothing')
  app.get('/change', async request => {
    const session = request.session as any
    session.visits = (session.visits ?? 10) + 1
    return 'changed'
  })
  app.get('/save', async request => {
    const session = request.session as any
    session.visits = (session.visits ?? 10) + 1
    await session.save()
    return 'saved'
  })
  app.get('/renew', async request => {
    await request.session.regenerate(['filler0'])
    return 'renewed'
  })
}

/** How often each command was called, as Redis itself counts. */
async function commandStats ({ sendAll }: Redises): Promise<Record<string, number>> {
  const [info] = await sendAll('INFO', 'commandstats')
  const stats = Array.from(String(info).matchAll(/cmdstat_([^:]+):calls=(\d+)/g), ([, name, calls]) => [name, Number(calls)])
  const { 'config|resetstat': _, ...counted } = Object.fromEntries(stats)
  return counted
}

// --- Scripts that Redis has forgotten

async function testForgottenScripts (t: Test, { single, kinds }: Kinds): Promise<void> {
  for (const [name, { store, wire }] of Object.entries(await watchedStores(t, single, 'forgotten:'))) {
    const session = record({ n: 1 })
    const calls: Array<[method: string, ...args: unknown[]]> = [
      ['set', 'a', session],
      ['touch', 'a', session],
      ['update', 'a', { set: { n: 2 }, unset: [], meta: NO_META }, session],
      ['destroy', 'a']
    ]
    for (const [method, ...args] of calls) {
      const answers: unknown[] = []
      for (const expected of [['evalsha', 'eval'], ['evalsha']]) {
        await store.set('a', session)
        if (expected.length > 1) await single.sendAll('SCRIPT', 'FLUSH')
        wire.reset()
        answers.push(await store[method](...args))
        t.same(namesOf(wire), expected, `${name}, ${method}`)
        t.equal(wire.roundTrips, expected.length)
      }
      t.same(answers[0], answers[1])
    }
    await store.set('a', session)
    await single.sendAll('SCRIPT', 'FLUSH')
    const many = Array.from({ length: 20 }, (_, i) => store.update('a', { set: { [`key${i}`]: i }, unset: [] }, session))
    t.ok((await Promise.all(many)).every(found => found === true), 'many updates at the same time work too')
    t.equal(Object.keys(await store.get('a')).length, 22)
    await single.sendAll('SCRIPT', 'FLUSH')
    t.equal(Object.keys(await store.all()).length, 1)
    await single.sendAll('SCRIPT', 'FLUSH')
    await store.clear()
    t.equal(await store.length(), 0)
  }
  for (const kind of kinds) {
    const { store } = await open(t, kind)
    await store.set('a', record({ n: 1 }) as any)
    await kind.redis.sendAll('SCRIPT', 'FLUSH')
    t.match(await store.destroy('a'), { n: 1 }, kind.name)
  }
}

interface Watched {
  store: any
  wire: Wire
  ping: () => Promise<unknown>
}

/** A store with each client library, behind a Wire that sees all commands. */
async function watchedStores (t: Test, single: Redises, prefix: string): Promise<Record<'node-redis' | 'ioredis', Watched>> {
  const { port } = single.servers[0] as { port: number }
  const [nodeWire, ioWire] = await Promise.all([Wire.to(t, port), Wire.to(t, port)])
  const node = createClient({ url: nodeWire.url })
  const io = new Redis(ioWire.url)
  t.teardown(() => { node.destroy(); io.disconnect() })
  await node.connect()
  return {
    'node-redis': { store: new RedisStore({ client: node, prefix }), wire: nodeWire, ping: () => node.ping() },
    ioredis: { store: new RedisStore({ client: io, prefix }), wire: ioWire, ping: () => io.ping() }
  }
}

function namesOf ({ commands }: Wire): string[] {
  return commands.map(([name]) => String(name).toLowerCase())
}

// --- connect-redis's sessions

/** The data of a record, own `__proto__` included. */
function dataOf (session: object | undefined): string {
  const { cookie: _, ...data } = asJson(session)
  return text(data)
}

/** Values that Lua's JSON changes or can't hold. */
const EXACT = {
  list: [],
  object: {},
  lists: [[], [[]], { list: [] }],
  nulls: { a: null, b: [null, { c: null }] },
  float: 0.1,
  third: 1 / 3,
  big: 1e21,
  small: 5e-324,
  max: Number.MAX_SAFE_INTEGER,
  minusZero: -0,
  text: 'ü日本👩‍👩‍👧\u0000\u2028\ud800 </script> \\ "',
  '': 'no name',
  no: false,
  nothing: null,
  sparse: { 1: 'a', 100000: 'b' },
  nested: JSON.parse('{"__proto__":{"isAdmin":true}}'),
  constructor: 'x'
}
const EXACT_JSON = JSON.stringify(EXACT).replace('{', '{"__proto__":{"isAdmin":true},')

async function testConnectRedis (t: Test, { single, kinds }: Kinds): Promise<void> {
  const nodeRedis = await kinds[0]?.connect() as { client: ReturnType<typeof createClient>, close: () => void }
  t.teardown(nodeRedis.close)
  const { client } = nodeRedis
  const { send } = single

  function subject (name: string, wrap: (client: RedisClient) => RedisClient = client => client): {
    store: RedisStore & Record<string, any>
    old: ConnectRedis
    key: string
    ttl: () => Promise<number>
    type: () => Promise<string>
  } {
    const prefix = `old ${name}:`
    const key = `${prefix}a`
    return {
      store: new RedisStore({ client: wrap(client), prefix }) as any,
      old: new ConnectRedis({ client: client as any, prefix }),
      key,
      ttl: () => send(key, 'PTTL', key),
      type: () => send(key, 'TYPE', key)
    }
  }

  for (const kind of kinds) {
    await t.test(`they are read, touched, changed and removed: ${kind.name}`, async t => {
      const { store, key, ttl, send } = await open(t, kind)
      const anyStore = store as any
      const type = (): Promise<string> => send(key('a'), 'TYPE', key('a'))
      const session = asJson({ ...EXACT, ...record({}, 2 * HOUR) })
      const write = (): Promise<unknown> => send(key('a'), 'SET', key('a'), JSON.stringify(session), 'PX', String(HOUR))
      await write()
      t.same(dataOf(await store.get('a')), dataOf(session))
      t.same(dataOf((await store.all()).a), dataOf(session))
      t.equal(await store.length(), 1)
      t.ok(isAbout(await ttl('a'), HOUR), 'get does not move the end')
      t.equal(await anyStore.touch('a', record({}, 3 * HOUR)), true)
      t.ok(isAbout(await ttl('a'), 3 * HOUR))
      t.same(dataOf(await store.getAndTouch('a')), dataOf(session))
      t.ok(isAbout(await ttl('a'), 3 * HOUR), 'getAndTouch does not shorten the lifetime')
      await send(key('a'), 'PEXPIRE', key('a'), String(HOUR))
      t.same(dataOf(await store.getAndTouch('a')), dataOf(session))
      t.ok(isAbout(await ttl('a'), 2 * HOUR), 'getAndTouch starts the lifetime in the record again')
      t.equal(await type(), 'string', 'none of this rewrites the record')

      t.equal(await anyStore.update('a', { set: { n: 1 }, unset: ['list'], meta: NO_META }, record({}, 3 * HOUR)), true)
      const { list: _, ...rest } = session
      const changed = await store.get('a')
      t.same(dataOf(changed), dataOf({ ...rest, n: 1 }))
      t.equal((changed as any).cookie.originalMaxAge, 2 * HOUR)
      t.equal(await type(), 'hash')
      t.ok(isAbout(await ttl('a'), 3 * HOUR + 2 * HOUR / 100))

      await write()
      t.same(dataOf(await store.destroy('a') || {}), dataOf(session), 'destroy answers with the record that it removed')
      t.equal(await store.destroy('a'), false)
      await write()
      await anyStore.set('a', record({ n: 2 }))
      t.equal((await store.get('a'))?.n, 2)
    })
  }

  t.test('a session that connect-redis itself wrote is read, changed, and removed by connect-redis', async t => {
    const { store, old, ttl } = subject('itself')
    await old.set('a', { user: 'max', list: [], ...record({}) } as any)
    t.equal((await store.getAndTouch('a'))?.user, 'max')
    t.ok(isAbout(await ttl(), HOUR))
    await store.update('a', { set: { n: 1 }, unset: [], meta: NO_META }, record({}) as any)
    const { cookie: _, ...data } = await store.get('a') as SessionRecord
    t.same(data, { user: 'max', list: [], n: 1 })
    await old.destroy('a')
    t.equal(await store.get('a'), undefined, 'a logout in an old process works')
  })

  // connect-redis's touch moves the end in Redis, and leaves the end in the record as it was written.
  t.test('a session that was only kept alive by touches is found, and lives for the maxAge in its record', async t => {
    const { store, old, key, ttl } = subject('stale')
    const stale = { user: 'max', cookie: { originalMaxAge: HOUR, expires: new Date(Date.now() - MINUTE).toISOString() } }
    for (const method of ['getAndTouch', 'get']) {
      await client.set(key, JSON.stringify(stale), { PX: HOUR })
      await old.touch('a', record({}) as any)
      t.same(dataOf(await store[method]('a')), dataOf(stale))
      t.ok(isAbout(await ttl(), HOUR), method)
    }
    const visitor = await visitorOf(t, { store, cookie: { maxAge: HOUR } }, 'a')
    await client.set(key, JSON.stringify(stale), { PX: HOUR })
    t.equal((await visitor.get('/user')).body, 'max')
    t.equal((await visitor.get('/user')).body, 'max')
  })

  t.test('getAndTouch prolongs a session by the lifetime in its record', async t => {
    const { store, key, ttl } = subject('lives')
    for (const [name, cookie, expected] of [
      ['maxAge', { originalMaxAge: 2 * HOUR, expires: new Date(Date.now() + MINUTE) }, 2 * HOUR],
      ['a fixed end', { originalMaxAge: null, expires: new Date(Date.now() + HOUR) }, HOUR],
      ['none', { originalMaxAge: null, expires: null }, 24 * HOUR],
      ['no cookie', undefined, 24 * HOUR]
    ] as const) {
      await client.set(key, JSON.stringify({ user: 'max', cookie }), { PX: HOUR })
      t.equal((await store.getAndTouch('a'))?.user, 'max')
      t.ok(isAbout(await ttl(), expected), `${name}: ${await ttl()}`)
    }
  })

  t.test('an update that rewrites the record as a hash keeps every value exactly', async t => {
    const { store, key, type } = subject('exact')
    await client.set(key, EXACT_JSON)
    t.equal(await store.update('a', { set: { n: 1 }, unset: [], meta: NO_META }, record({}) as any), true)
    t.equal(await type(), 'hash')
    const { cookie: _, n, ...rest } = await store.get('a') as SessionRecord
    t.equal(n, 1)
    t.equal(text(rest), text(JSON.parse(EXACT_JSON)))
    t.equal(Object.getPrototypeOf(rest), Object.prototype)
    t.ok(Object.hasOwn(rest, '__proto__'))
  })

  t.test('parallel updates that rewrite the record as a hash are all kept', async t => {
    const { store, key, type } = subject('parallel')
    await client.set(key, JSON.stringify({ user: 'max', list: [], ...record({}) }))
    const numbers = Array.from({ length: 20 }, (_, i) => i)
    const updates = numbers.map(n => store.update('a', { set: { [`key${n}`]: n }, unset: [], meta: NO_META }, record({}) as any))
    const found = await Promise.all(updates)
    t.ok(found.every(found => found === true))
    const { cookie: _, ...data } = await store.get('a') as SessionRecord
    t.same(data, { user: 'max', list: [], ...Object.fromEntries(numbers.map(n => [`key${n}`, n])) })
    t.equal(await type(), 'hash')
  })

  type Meddle = (key: string, store: any) => Promise<unknown>
  const MEDDLERS: Array<[what: string, meddle: Meddle, expected: object | undefined]> = [
    [
      'a string that an old process writes',
      key => nodeRedis.client.set(key, JSON.stringify({ user: 'eva', theirs: 1 })),
      { user: 'eva', theirs: 1, ours: 1 }
    ],
    [
      'an update by another process',
      (_key, store) => store.update('a', { set: { theirs: 1 }, unset: [], meta: NO_META }, record({})),
      { user: 'max', theirs: 1, ours: 1 }
    ],
    ['a logout', key => nodeRedis.client.del(key), undefined]
  ]
  for (const [what, meddle, expected] of MEDDLERS) {
    t.test(`between the read and the write of an update, ${what} is not lost`, async t => {
      let readings = 0
      const { store, key } = subject(what, client => afterReading(client, async () => {
        if (++readings === 1) await meddle(key, store)
      }))
      await client.set(key, JSON.stringify({ user: 'max' }))
      const found = await store.update('a', { set: { ours: 1 }, unset: [], meta: NO_META }, record({}) as any)
      t.equal(found, expected !== undefined)
      const { cookie: _, ...data } = (await store.get('a') ?? { none: true }) as SessionRecord
      t.same(data, expected ?? { none: true })
    })
  }

  t.test('a read finds a session that another request converts at that moment', async t => {
    const { store, key, type } = subject('converted')
    const slow: any = {
      ...afterReading(client, async () => {}),
      sendCommand: async (args: string[]) => {
        return await client.withTypeMapping({ [RESP_TYPES.MAP]: Array }).sendCommand(args).catch(async error => {
          await store.update('a', { set: { theirs: 1 }, unset: [], meta: NO_META }, record({}))
          throw error
        })
      }
    }
    const slowStore = new RedisStore({ client: slow, prefix: key.slice(0, -1) }) as any
    for (const method of ['get', 'getAndTouch', 'inspect']) {
      await client.set(key, JSON.stringify({ user: 'max', ...record({}) }), { PX: HOUR })
      const { cookie: _, ...data } = await slowStore[method]('a')
      t.same(data, { user: 'max', theirs: 1 }, method)
      t.equal(await type(), 'hash')
    }
  })

  t.test('an update fails with an error if the record keeps being replaced', async t => {
    let writings = 0
    const { store, key } = subject('busy', client => afterReading(client, async () => {
      await nodeRedis.client.set(key, JSON.stringify({ writings: ++writings }))
    }))
    await client.set(key, '{}')
    await t.rejects(store.update('a', { set: { ours: 1 }, unset: [], meta: NO_META }, record({}) as any), {
      code: 'FST_ERR_SESSION_STORE', message: "The session store's update failed: other writers keep replacing the session"
    })
    t.ok(writings > 1 && writings < 100)
    t.equal((await store.get('a'))?.writings, writings, 'the last of the other writes is there')
  })
}

/** A client that calls `meddle` each time after it has read a string. */
function afterReading (client: RedisClient, meddle: () => Promise<void>): any {
  const nodeRedis = client as ReturnType<typeof createClient>
  const watched = async (answer: Promise<unknown>): Promise<unknown> => {
    const reply = await answer
    if (Array.isArray(reply) && reply.length === 1) await meddle()
    return reply
  }
  return {
    sendCommand: (args: string[]) => nodeRedis.withTypeMapping({ [RESP_TYPES.MAP]: Array }).sendCommand(args),
    evalSha: (...args: Parameters<typeof nodeRedis.evalSha>) => watched(nodeRedis.evalSha(...args)),
    eval: (...args: Parameters<typeof nodeRedis.eval>) => watched(nodeRedis.eval(...args))
  }
}

// --- When the end moves

async function testExpiry (t: Test, { single, kinds }: Kinds): Promise<void> {
  const kind = kinds[0] as Kind

  /** A session that will expire in Redis in half an hour, half of its lifetime. */
  async function halfTime (t: Test, options: SessionOptions, left = HOUR / 2, cookie = record({}).cookie): Promise<{
    visitor: Visitor, ttl: () => Promise<number>, cookie: () => Promise<any>
  }> {
    const { store, ttl, key, send } = await open(t, kind)
    await (store as any).set('a', { user: 'max', cookie })
    await send(key('a'), 'PEXPIRE', key('a'), String(left))
    return {
      visitor: await visitorOf(t, { store, ...options, cookie: { maxAge: HOUR, ...options.cookie } }, 'a'),
      ttl: () => ttl('a'),
      cookie: async () => JSON.parse(await send(key('a'), 'HGET', key('a'), 'cookie'))
    }
  }

  // Redis keeps a session longer by a hundredth of its lifetime, so that it doesn't end too early.
  const MOVES = [HOUR * 1.01, true] as const
  const STAYS = [HOUR / 2, false] as const
  type Expected = readonly [ttl: number, isSent: boolean]
  const CASES: Array<[name: string, options: SessionOptions, url: string, expected: Expected]> = [
    ['rolling, a request that reads', {}, '/user', MOVES],
    ['rolling, a request that does not use its session', {}, '/nothing', MOVES],
    ['rolling, a request that writes', {}, '/write', MOVES],
    ['a secure cookie over http, a request that reads', { cookie: { secure: true } }, '/user', STAYS],
    ['a secure cookie over http, a request that writes', { cookie: { secure: true } }, '/write', STAYS],
    ['a secure cookie over http that is made insecure', { cookie: { secure: true } }, '/insecure', MOVES],
    ['rolling: false, a request that reads', { rolling: false }, '/user', STAYS],
    ['rolling: false, a request that does not use its session', { rolling: false }, '/nothing', STAYS],
    ['rolling: false, touch()', { rolling: false }, '/touch', MOVES],
    ['rolling: false, a request that writes', { rolling: false }, '/write', MOVES]
  ]
  for (const [name, options, url, [expected, isSent]] of CASES) {
    t.test(`${name}: the end ${expected > HOUR ? 'moves' : 'stays'}`, async t => {
      const { visitor, ttl } = await halfTime(t, options)
      const response = await visitor.get(url)
      t.equal(response.statusCode, 200)
      t.ok(isAbout(await ttl(), expected), `${await ttl()} ms`)
      t.equal(setCookies(response).length > 0, isSent)
    })
  }

  t.test('over http, a session with a secure cookie is read without a touch', async t => {
    const { visitor } = await halfTime(t, { cookie: { secure: true } })
    await visitor.get('/user')
    await single.sendAll('CONFIG', 'RESETSTAT')
    await visitor.get('/user')
    t.same(await commandStats(single), { hgetall: 1, pttl: 1 })
  })

  t.test('the end in Redis decides, however old the end in the record is', async t => {
    const ages = { young: HOUR - 10 * MINUTE, 'half-expired': HOUR / 2 - MINUTE, expired: -MINUTE }
    for (const [name, left] of Object.entries(ages)) {
      const { store, key, send, ttl } = await open(t, kind)
      await (store as any).set('a', record({ user: 'max' }))
      await send(key('a'), 'HSET', key('a'), 'cookie', JSON.stringify({ expires: Date.now() + left, originalMaxAge: HOUR }))
      await send(key('a'), 'PEXPIRE', key('a'), String(HOUR / 2))
      const visitor = await visitorOf(t, { store, cookie: { maxAge: HOUR } }, 'a')
      t.equal((await visitor.get('/user')).body, 'max')
      t.ok(isAbout(await ttl('a'), HOUR * 1.01), name)
      const { cookie } = await store.get('a') as any
      t.ok(isAbout(cookie.expires - Date.now(), HOUR), `${name}: ${cookie.expires.toISOString()}`)
    }
  })

  t.test('a read moves the end only if a hundredth of the lifetime has passed since the last move', async t => {
    const { store, ttl, key, send } = await open(t, kind)
    await (store as any).set('a', record({ user: 'max' }))
    for (const [kept, moves] of [[HOUR * 1.01, false], [HOUR + SECOND, false], [HOUR - SECOND, true], [10 * SECOND, true]] as const) {
      await send(key('a'), 'PEXPIRE', key('a'), String(kept))
      await single.sendAll('CONFIG', 'RESETSTAT')
      const { cookie } = await store.getAndTouch('a') as any
      t.equal((await commandStats(single)).pexpire, moves ? 1 : undefined, `${kept} ms kept`)
      t.ok(isAbout(await ttl('a'), moves ? HOUR * 1.01 : kept))
      t.ok(cookie.expires.getTime() > Date.now(), 'the returned record has not expired')
    }
  })

  t.test('a maxAge that was configured later applies to existing sessions without one', async t => {
    const { visitor, ttl } = await halfTime(t, {}, 24 * HOUR, { originalMaxAge: null, expires: null })
    await visitor.get('/user')
    t.ok(isAbout(await ttl(), HOUR * 1.01), `${await ttl()} ms`)
  })

  t.test('for a session that is gone, the cookie is cleared and no key is created', async t => {
    const { store, key, send } = await open(t, kind)
    const visitor = await visitorOf(t, { store, saveUninitialized: false }, 'nobody')
    const response = await visitor.get('/user')
    t.equal(response.body, 'nobody')
    t.match(setCookies(response), [/^sessionId=;/])
    t.equal(await send(key('nobody'), 'EXISTS', key('nobody')), 0)
  })
}

// --- Broken records

const HIDDEN = 'hidden data'

async function testBrokenValues (t: Test, { kinds }: Kinds): Promise<void> {
  const NO_JSON = {
    statusCode: 500, code: 'FST_ERR_SESSION_RECORD', message: /^The stored session can't be read: .* isn't JSON\. The session has ended/
  }
  const whole = JSON.stringify(record({}).cookie)
  const hash = (fields: Record<string, string>): string[] => ['HSET', ...Object.entries(fields).flat()]

  /** The command without its key, and the answer: an error, or the name of the user. */
  const CASES: Record<string, [command: string[], answer: object | string]> = {
    'a string that is not JSON': [['SET', `{"user":"${HIDDEN}`], 'nobody'],
    'a string that is half a session': [['SET', `{"user":"max","note":"${HIDDEN}"`], 'nobody'],
    'a field that is not JSON': [hash({ user: `"${HIDDEN}`, cookie: whole }), NO_JSON],
    'a long field that is not JSON': [hash({ user: `"${HIDDEN.repeat(50)}`, cookie: whole }), NO_JSON],
    'a field that is not JSON and is not read': [hash({ user: '"max"', note: `"${HIDDEN}`, cookie: whole }), 'max'],
    "a field of the library's own that is not JSON": [hash({ user: '"max"', '\0u': HIDDEN, cookie: whole }), 'nobody'],
    'an empty field': [hash({ user: '', note: HIDDEN, cookie: whole }), NO_JSON],
    'a cookie that is not JSON': [hash({ user: '"max"', cookie: `{"path":"${HIDDEN}` }), 'nobody'],
    'a list': [['RPUSH', HIDDEN], 'nobody'],
    'a set': [['SADD', HIDDEN], 'nobody'],
    'a sorted set': [['ZADD', '1', HIDDEN], 'nobody'],
    'a stream': [['XADD', '*', 'user', HIDDEN], 'nobody'],
    'an empty string': [['SET', ''], 'nobody'],
    'the string null': [['SET', 'null'], 'nobody'],
    'a number': [['SET', '7'], 'nobody'],
    'the JSON of a string': [['SET', `"${HIDDEN}"`], 'nobody'],
    'the JSON of an array': [['SET', `["${HIDDEN}"]`], 'nobody'],
    'a string with cookie null': [['SET', '{"user":"max","cookie":null}'], 'max'],
    'a string with a cookie that is not an object': [['SET', '{"user":"max","cookie":7}'], 'max'],
    'no cookie': [hash({ user: '"max"' }), 'max'],
    'a cookie of lists in lists': [hash({ user: '"max"', cookie: '['.repeat(2000) + ']'.repeat(2000) }), 'max']
  }
  const COOKIES = ['null', '7', '"text"', '[]', 'true', '{}', '{"expires":"garbage"}', '{"expires":{}}', '{"expires":false}']
  const MAX_AGES = ['"abc"', '"5"', '"0x5"', '{}', '[]', 'true', '0', '1e300', '1e15', '-1e300']
  for (const cookie of [...COOKIES, ...MAX_AGES.map(maxAge => `{"originalMaxAge":${maxAge}}`)]) {
    CASES[`the cookie ${cookie}`] = [hash({ user: '"max"', cookie }), 'max']
  }

  for (const kind of kinds.filter(({ name }) => name === 'node-redis' || name === 'ioredis')) {
    for (const rolling of [true, false]) {
      await t.test(`${kind.name}, rolling: ${rolling}`, async t => {
        const { store, key, send, ttl } = await open(t, kind)
        const log: string[] = []
        const app = await loggedApp(t, { store, rolling, saveUninitialized: false }, log)
        for (const [name, [[command, ...args], answer]] of Object.entries(CASES)) {
          const sessionId = `an id that nobody knows, ${name}`
          await send(key(sessionId), command as string, key(sessionId), ...args)
          await send(key(sessionId), 'PEXPIRE', key(sessionId), String(HOUR))
          log.length = 0
          const response = await visitorWith(app, sessionId).get('/user')
          if (typeof answer === 'string') t.equal(response.body, answer, name)
          else t.match({ ...response.json(), statusCode: response.statusCode }, answer, name)
          const said = `${response.body} ${log.join(' ')}`
          if (said.includes(HIDDEN)) t.fail(`${name}: a part of the data is shown`)
          if (said.includes('an id that nobody knows')) t.fail(`${name}: the session id is shown`)
          const left = await ttl(sessionId)
          // A session with an unreadable field ends with the reply that reads it.
          if (answer === NO_JSON ? left !== -2 : left <= MINUTE) t.fail(`${name}: ${left} ms left`)
        }
      })
    }
  }

  const OTHER_TYPES = { list: ['RPUSH', 'x'], set: ['SADD', 'x'], 'sorted set': ['ZADD', '1', 'x'], stream: ['XADD', '*', 'n', '1'] }

  t.test('a key of another type is no session: set overwrites it, and destroy removes it', async t => {
    const { store, key, send, ttl } = await open(t, kinds[0] as Kind)
    const anyStore = store as any
    for (const [type, [command, ...args]] of Object.entries(OTHER_TYPES)) {
      await send(key('a'), command as string, key('a'), ...args)
      await send(key('a'), 'PEXPIRE', key('a'), String(HOUR))
      for (const method of ['get', 'getAndTouch', 'inspect']) await t.rejects(anyStore[method]('a'), { code: 'FST_ERR_SESSION_RECORD' }, type)
      t.equal(await anyStore.update('a', { set: { n: 1 }, unset: ['m'], meta: NO_META }, record({})), false)
      t.equal(await anyStore.update('a', { set: {}, unset: [], meta: NO_META }, record({}, 2 * HOUR)), false)
      t.equal(await anyStore.updateIf('a', {}, ['n'], { set: { n: 1 }, unset: [], meta: NO_META }, record({})), 'gone')
      t.equal(await send(key('a'), 'TYPE', key('a')), { 'sorted set': 'zset' }[type] ?? type)
      t.ok(isAbout(await ttl('a'), HOUR))
      t.same(await store.destroy('a'), {})
      t.equal(await send(key('a'), 'EXISTS', key('a')), 0)
      await send(key('a'), command as string, key('a'), ...args)
      await anyStore.set('a', record({ n: 1 }))
      t.equal((await store.get('a'))?.n, 1)
      await store.destroy('a')
    }
  })

  for (const kind of kinds.filter(({ isVariant }) => !isVariant)) {
    await t.test(`a visitor whose key has another type can log in and out, and the user can be listed and revoked: ${kind.name}`, async t => {
      const { store, key, send } = await open(t, kind)
      const heard: string[] = []
      const hear = (message: unknown): void => { heard.push((message as SecurityMessage).reason) }
      channel('@fastify/session:security').subscribe(hear)
      t.teardown(() => channel('@fastify/session:security').unsubscribe(hear))
      const app = await build({ store, saveUninitialized: false, user: ({ user }: any) => user }, app => {
        routes(app)
        app.get('/logout', async ({ session }) => await session.destroy())
        app.get('/keep', async ({ session }) => await session.regenerate(['user'] as any))
        app.get('/id', async ({ session }) => session.sessionId)
      })
      t.teardown(() => app.close())
      for (const [type, [command, ...args]] of Object.entries(OTHER_TYPES)) {
        for (const url of ['/login', '/logout', '/user', '/write', '/keep']) {
          const visitor = new Visitor(app)
          await visitor.get('/login')
          const sessionId = (await visitor.get('/id')).body
          await store.destroy(sessionId)
          await send(key(sessionId), command as string, key(sessionId), ...args)
          heard.length = 0
          t.equal((await visitor.get(url)).statusCode, 200, `${type}: ${url}`)
          t.same(heard, ['unreadable'], `${type}: ${url}`)
          await visitor.get('/login')
          t.equal((await visitor.get('/user')).body, 'max', `${type}: login after ${url}`)
        }
        t.ok((await app.sessions.forUser('max')).length > 0)
        t.ok(await app.sessions.revokeUser('max') > 0)
        t.same(await app.sessions.forUser('max'), [])
      }
    })
  }

  t.test('attempts to read a broken record do not prolong it', async t => {
    const { store, key, send, ttl } = await open(t, kinds[0] as Kind)
    const long = 'x'.repeat(100)
    for (const broken of ['', '{', '"', HIDDEN, `"${long}`, `{"a":"${long}"`, `[{"a":"${long}"},{"na`, `${long}}`]) {
      await (store as any).set('a', record({ user: 'max' }))
      await send(key('a'), 'HSET', key('a'), 'cart', broken)
      await send(key('a'), 'PEXPIRE', key('a'), String(MINUTE))
      const found = await store.getAndTouch('a')
      t.equal(found?.user, 'max')
      t.throws(() => found?.cart, { code: 'FST_ERR_SESSION_RECORD', message: "The stored session can't be read: the field of a key isn't JSON" })
      t.ok(await ttl('a') <= MINUTE, broken.slice(0, 10))
    }
  })

  for (const kind of kinds.filter(({ isVariant }) => !isVariant)) {
    await t.test(`all() leaves out only what cannot be read: ${kind.name}`, async t => {
      const { store, key, send } = await open(t, kind)
      for (const id of ['max', 'eva']) await store.set(id, record({ user: id }) as any)
      for (const [name, [[command, ...args], answer]] of Object.entries(CASES)) {
        await send(key(name), command as string, key(name), ...args)
        if (answer === 'max') await store.destroy(name)
      }
      const all = await store.all()
      // A key's text is only read later.
      const readable = Object.keys(CASES).filter(name => CASES[name]?.[1] === NO_JSON)
      t.same(Object.keys(all).sort(), ['max', 'eva', ...readable].sort())
      t.same([all.max?.user, all.eva?.user], ['max', 'eva'])

      const opened = await (sealed(store, { keys: ['k'.repeat(32)] }) as any).all()
      t.same(Object.keys(opened).sort(), Object.keys(all).sort())
    })
  }

  t.test('a broken record can be removed', async t => {
    const { store, key, send } = await open(t, kinds[0] as Kind)
    await send(key('a'), 'HSET', key('a'), 'user', HIDDEN)
    const found = await store.get('a')
    t.throws(() => found?.user, { code: 'FST_ERR_SESSION_RECORD' })
    t.same(Object.keys(found ?? {}), ['user', 'cookie'], 'a broken field is not read as absent')
    await store.clear()
    t.equal(await store.get('a'), undefined)
  })
}

// --- A client that fails

async function testFailingClients (t: Test, { kinds }: Kinds): Promise<void> {
  const session = record({}) as any
  const CALLS: Array<[method: keyof RedisStore, ...args: any[]]> = [
    ['get', 'a'], ['getAndTouch', 'a'], ['set', 'a', session], ['destroy', 'a'], ['touch', 'a', session],
    ['update', 'a', { set: {}, unset: [], meta: NO_META }, session]
  ]

  t.test('if the client fails, each method rejects or calls back with the error', async t => {
    const away = (): never => { throw new Error('away') }
    const forgotten = (): never => { throw new Error('NOSCRIPT No matching script.') }
    const rejects = async (): Promise<never> => away()
    const reads = { sendCommand: rejects }
    const clients: Record<string, any> = {
      'node-redis rejects': { ...reads, evalSha: rejects, eval: rejects },
      'node-redis throws': { sendCommand: away, evalSha: away, eval: away },
      'ioredis rejects': { hgetall: rejects, get: rejects, pttl: async () => 1, evalsha: rejects, eval: rejects },
      'ioredis throws': { hgetall: away, get: away, pttl: away, evalsha: away, eval: away },
      'ioredis rejects, a cluster': { isCluster: true, options: {}, evalsha: rejects, eval: rejects },
      'ioredis rejects, a cluster that makes pipelines': {
        isCluster: true, options: { enableAutoPipelining: true }, evalsha () {}, pipeline: () => ({ exec: rejects })
      },
      'the script is unknown, and the next call fails': { ...reads, evalSha: async () => forgotten(), eval: rejects }
    }
    for (const [name, client] of Object.entries(clients)) {
      const store = new RedisStore({ client }) as any
      for (const [method, ...args] of CALLS) {
        await t.rejects(store[method](...args), new Error('away'), `${name}: ${method}`)
        const error = await new Promise(resolve => store[method](...args, resolve))
        t.match(error, new Error('away'))
      }
    }
  })

  t.test('all, length and clear fail if the scan fails', async t => {
    const client: any = { evalSha: async () => null, eval: async () => null, scan: async () => { throw new Error('away') } }
    const store = new RedisStore({ client }) as any
    for (const method of ['all', 'length', 'clear']) {
      await t.rejects(store[method](), new Error('away'))
      t.match(await new Promise(resolve => store[method](resolve)), new Error('away'))
    }
  })

  t.test('all fails if a session cannot be loaded now, and does not leave it out', async t => {
    const client: any = {
      evalSha () {}, scan: async () => ({ cursor: '0', keys: ['sess:a'] }), sendCommand: async () => { throw new Error('away') }
    }
    await t.rejects(new RedisStore({ client }).all(), new Error('away'))
  })

  for (const kind of kinds.filter(({ isVariant }) => !isVariant)) {
    await t.test(`a closed client causes a clear error: ${kind.name}`, async t => {
      const { client, close } = await kind.connect()
      const store = new RedisStore({ client }) as any
      await store.get('a')
      const visitor = await visitorOf(t, { store }, 'a')
      await close()
      for (const [method, ...args] of CALLS) await t.rejects(store[method](...args), Error, method)
      const response = await visitor.get('/user')
      t.equal(response.statusCode, 500)
      t.ok(response.json().message.length > 10, `it says why: ${response.json().message}`)
    })
  }

  t.test('errors of ioredis are passed on without their arguments, which contain the session id', async t => {
    const kind = kinds.find(({ name }) => name === 'ioredis') as Kind
    const sessionId = 'an id that nobody knows'
    const { client, close } = await kind.connect()
    t.teardown(close)
    await kind.redis.send('', 'ACL', 'SETUSER', 'blind', 'on', '>word', '~*', '+@all', '-hgetall')
    await (client as Redis).auth('blind', 'word')
    const store = new RedisStore({ client })
    const error = await (client as Redis).hgetall(`sess:${sessionId}`).catch(error => error)
    t.match(error.command, { args: [`sess:${sessionId}`] }, "ioredis's own error has them")
    const ours: any = await store.get(sessionId).catch(error => error)
    t.match(ours.message, /^NOPERM/)
    t.equal(ours.command, undefined)
    const log: string[] = []
    const visitor = await visitorOf(t, { store }, sessionId, log)
    t.equal((await visitor.get('/user')).statusCode, 500)
    t.ok(log.some(line => line.includes('NOPERM')), 'it is logged')
    t.notOk(log.some(line => line.includes(sessionId)))
  })
}

// --- A server that stops

async function testOutage (t: Test, { single, kinds }: Kinds): Promise<void> {
  const sites = await Promise.all(kinds.filter(({ isVariant }) => !isVariant).map(async kind => {
    // No listener for 'error' is added here: an uncaught error would end the process and fail this test.
    const { store, key } = await open(t, kind)
    await store.length()
    const log: string[] = []
    const visitor = new Visitor(await loggedApp(t, { store, storeTimeout: 3000 }, log))
    await logIn(visitor)
    const sessionId = decodeURIComponent(visitor.cookieHeader()).replace(/^sessionId=|\.[^.]*$/g, '')
    t.equal(await kind.redis.send(key(sessionId), 'EXISTS', key(sessionId)), 1, 'the test knows the session id')
    return { kind, visitor, log, sessionId }
  }))
  const watched = await watchedStores(t, single, 'outage:')
  await Promise.all(Object.values(watched).map(({ ping }) => ping()))
  const servers = new Set(kinds.flatMap(({ redis }) => redis.servers))
  await Promise.all([...servers].map(server => server.stop()))

  await Promise.all(sites.map(async ({ kind, visitor, log, sessionId }) => {
    const response = await visitor.get('/user')
    t.ok([500, 503].includes(response.statusCode), `${kind.name}: ${response.body}`)
    t.ok(response.json().message.length > 10, 'it says why')
    t.same(setCookies(response), [])
    t.notOk(log.some(line => line.includes(sessionId)), 'no session id in the log')
  }))

  await single.servers[0]?.restart()
  // One script for each client that nothing else here uses, so the restarted Redis doesn't know it.
  const ask = { 'node-redis': (store: any) => store.destroy('a'), ioredis: (store: any) => store.touch('a', record({})) }
  for (const [name, { store, wire, ping }] of Object.entries(watched)) {
    await untilAnswered(ping)
    for (const expected of [['evalsha', 'eval'], ['evalsha']]) {
      wire.reset()
      await ask[name as keyof typeof ask](store)
      t.same(namesOf(wire), expected, `${name}: one extra round trip, only once`)
    }
  }
  for (const { kind, visitor } of sites.filter(({ kind }) => kind.redis === single)) {
    await logIn(visitor)
    t.equal((await visitor.get('/user')).body, 'max', `${kind.name} works again`)
  }
}

async function untilAnswered (ask: () => Promise<unknown>): Promise<void> {
  await until('the server is there again', () => ask().then(() => true, () => false))
}

/** Retries, because clients take a while to connect and to reconnect. */
async function logIn (visitor: Visitor): Promise<void> {
  await until('the visitor is logged in', async () => (await visitor.get('/login')).statusCode === 200)
}

// --- Visitors

const routes: Routes = app => {
  app.get('/login', async request => {
    (request.session as any).user = 'max'
    return 'welcome'
  })
  app.get('/user', async request => (request.session as any).user ?? 'nobody')
  app.get('/nothing', async () => 'nothing')
  app.get('/write', async request => {
    const session = request.session as any
    session.n = (session.n ?? 0) + 1
    return 'written'
  })
  app.get('/touch', async request => {
    request.session.touch()
    return 'touched'
  })
  app.get('/insecure', async request => {
    request.session.options({ secure: false })
    return 'insecure'
  })
}

async function loggedApp (t: Test, options: SessionOptions, log: string[]): Promise<FastifyInstance> {
  const stream = { write: (line: string): void => { log.push(line) } }
  const app = await build(options, routes, { logger: { level: 'trace', stream } })
  t.teardown(() => app.close())
  return app
}

/** A visitor with the cookie of a session. */
async function visitorOf (t: Test, options: SessionOptions, sessionId: string, log: string[] = []): Promise<Visitor> {
  return visitorWith(await loggedApp(t, options, log), sessionId)
}

function visitorWith (app: FastifyInstance, sessionId: string): Visitor {
  const visitor = new Visitor(app)
  visitor.cookies.set('sessionId', sign(sessionId, SECRET))
  return visitor
}

t.test('destroy() also ends a session whose record is not JSON', async t => {
  const answer = async (): Promise<unknown> => ['no JSON', 1]
  t.same(await new RedisStore({ client: { evalSha: answer, eval: answer } as any }).destroy('a'), {})
})
