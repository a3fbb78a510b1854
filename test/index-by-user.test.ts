/**
 * The index by user when things happen at the same time, break off, get lost or are large. What the index does is in
 * `users.test.ts`.
 *
 * The other processes run the built package: run `npm run build` first.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Pool } from 'pg'
import t, { type Test } from 'tap'
import { StoreTimeoutError } from '../src/errors'
import { MemoryStore, type SessionStore, type SessionView } from '../src/index'
import { PostgresStore } from '../src/stores/postgres'
import { RedisStore } from '../src/stores/redis'
import { inEveryOrder, METHODS, Side } from './every-order'
import { build, clock, Visitor, type SessionOptions } from './helpers'
import { startWithChannel, type Program } from './program'
import { freshTable, letPass as letRowsPass, openPool } from './postgres/tables'
import { connectTo, letPass, startPostgres, startRedis, type NodeRedis, type Server } from './servers'
import { until } from './waiting'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const ROUNDS = 200

let server: Server
let redis: NodeRedis
let postgres: Pool
let table: string

t.before(async () => {
  postgres = openPool(t, (await startPostgres(t)).url)
  server = await startRedis(t)
  redis = await connectTo(t, server)
})

const data = (request: FastifyRequest): any => request.session
const keyOf = (text: string): string => createHash('sha256').update(text).digest('base64url').slice(0, 16)
const indexOf = (user: string): string => `users:sess:{${keyOf(user)}}`

function routes (app: FastifyInstance): void {
  app.get('/login/:user', async request => {
    const { user } = request.params as { user: string }
    data(request).userId = user
  })
  app.get('/renew', async request => { await request.session.regenerate(['userId']) })
  app.get('/renew-anyway', async request => { await request.session.regenerate(['userId']).catch(() => {}) })
  app.get('/visit', async request => { data(request).visits = 1 })
  app.get('/user', async request => data(request).userId ?? 'nobody')
  app.get('/write', async request => { data(request).n = (data(request).n ?? 0) + 1 })
  app.get('/forget', async request => { delete data(request).userId })
  app.get('/remember', async request => { request.session.cookie.maxAge = 30 * DAY })
  app.get('/login-for/:seconds', async request => {
    data(request).userId = 'max'
    const { seconds } = request.params as { seconds: string }
    request.session.cookie.expires = new Date(Date.now() + 1000 * Number(seconds))
  })
  app.get('/end', async request => { request.session.cookie.maxAge = -1 })
  app.get('/end-now', async request => {
    request.session.cookie.maxAge = -1
    await request.session.save()
  })
  app.get('/logout', async request => { await request.session.destroy() })
  app.get('/id', async request => request.session.sessionId)
  app.get('/revoke/:handle', async request => await request.session.revoke((request.params as { handle: string }).handle))
  app.get('/revoke-others', async request => await request.session.revokeOthers())
}

/** A session of max, written as version 11 and Express write it. */
async function writeAsBefore (store: SessionStore, sessionId: string): Promise<void> {
  const cookie = { expires: new Date(Date.now() + HOUR), originalMaxAge: HOUR, path: '/', httpOnly: true, secure: false }
  await ask(store, 'set', sessionId, { userId: 'max', cookie })
}

async function open (t: Test, store: SessionStore, options: SessionOptions = {}): Promise<FastifyInstance> {
  const app = await build({
    store,
    saveUninitialized: false,
    user: session => (session as any).userId,
    describe: session => ({ n: (session as any).n }),
    ...options,
    cookie: { maxAge: HOUR, ...options.cookie }
  }, routes)
  t.teardown(() => app.close())
  return app
}

async function login (app: FastifyInstance, user = 'max'): Promise<Visitor> {
  const visitor = new Visitor(app)
  const { statusCode, body } = await visitor.get(`/login/${user}`)
  if (statusCode !== 200) throw new Error(body)
  return visitor
}

const userOf = async (visitor: Visitor): Promise<string> => (await visitor.get('/user')).body

interface Stores {
  store: SessionStore
  /** The same data through another store, as another process has it. */
  another: () => SessionStore
}

/**
 * Runs a test on each store that has an index.
 *
 * @param isLong leaves PostgresStore out, whose statements take longer: races-postgres.test.ts tests its orders
 */
function onEach (title: string, run: (t: Test, stores: Stores) => Promise<void>, isLong = false): void {
  t.test(title, async t => {
    await t.test('MemoryStore', async t => {
      const store = new MemoryStore()
      await run(t, { store, another: () => store })
    })
    await t.test('RedisStore', async t => {
      await redis.flushDb()
      const another = (): SessionStore => new RedisStore({ client: redis })
      await run(t, { store: another(), another })
    })
    if (isLong) return
    await t.test('PostgresStore', async t => {
      table = await freshTable(postgres)
      const another = (): SessionStore => new PostgresStore({ pool: postgres, table })
      await run(t, { store: another(), another })
    })
  })
}

// --- Every order

/** What a session does while another application, as in another process, ends it. */
interface Race {
  what: string
  /** Whether the session is logged in before. */
  isLoggedIn: boolean
  url: string
}

const RACES: Race[] = [
  { what: 'a renewal', isLoggedIn: true, url: '/renew' },
  { what: 'a request that renews an old entry', isLoggedIn: true, url: '/write' },
  { what: 'a login without regenerate()', isLoggedIn: false, url: '/login/max' }
]

const REVOCATIONS: Record<string, (app: FastifyInstance, keeper: Visitor, handle: string) => Promise<unknown>> = {
  'revokeUser()': app => app.sessions.revokeUser('max'),
  'revokeOthers()': (_app, keeper) => keeper.get('/revoke-others'),
  'revoke(handle)': (app, _keeper, handle) => app.sessions.revoke(handle),
  'revoke(handle) by the user': (_app, keeper, handle) => keeper.get(`/revoke/${handle}`)
}

for (const { what, isLoggedIn, url } of RACES) {
  for (const [name, revoke] of Object.entries(REVOCATIONS)) {
    // There is no handle for a session that doesn't exist yet.
    if (!isLoggedIn && name.startsWith('revoke(')) continue
    onEach(`${what} and ${name} in every order: no session survives`, async (t, { store, another }) => {
      const { advance } = clock(t)
      const sides: [Side, Side] = [new Side(store), new Side(another())]
      const [app, other, fresh] = await Promise.all([sides[0].store, sides[1].store, another()].map(store => open(t, store))) as
        [FastifyInstance, FastifyInstance, FastifyInstance]
      const survived: string[] = []
      // Logins that began after the revocation. They are expected to survive.
      let later = 0
      const count = await inEveryOrder(sides, async () => {
        await new Promise<void>(resolve => store.clear?.(() => resolve()))
        const visitor = isLoggedIn ? await login(app) : new Visitor(app)
        if (!isLoggedIn) await visitor.get('/visit')
        const [view] = await other.sessions.forUser('max')
        const keeper = await login(other, name === 'revokeUser()' ? 'eva' : 'max')
        if (url === '/write') advance(31 * MINUTE)
        const before = visitor.copy(fresh)
        return {
          run: [() => visitor.get(url), () => revoke(other, keeper, String(view?.handle))],
          async end (order) {
            const users = await Promise.all([visitor.copy(fresh), before].map(userOf))
            if (users.includes('max')) {
              if (!isLoggedIn && order.indexOf('b:revoke') < order.indexOf('a:claim')) later++
              else survived.push(order.join(' '))
            }
            if (await userOf(keeper) === 'nobody') t.fail(`another session has ended (${order.join(' ')})`)
          }
        }
      })
      t.comment(`${count} orders, ${survived.length} survivors, ${later} logins after the revocation`)
      t.ok(count > 10, `${count} orders`)
      t.same(survived, [])
    }, true)
  }
}

// --- Several processes

async function openProcess (t: Test): Promise<Program> {
  const program = startWithChannel(t, join(__dirname, 'processes/user.js'), [server.url])
  await program.sends('that it is ready', ({ isReady }) => isReady)
  return program
}

t.test(`a session that renews itself in another process doesn't survive a revocation, in ${ROUNDS} rounds`, async t => {
  await redis.flushDb()
  const app = await open(t, new RedisStore({ client: redis }))
  const keeper = await login(app)
  const other = await openProcess(t)
  const survivors: Record<string, number> = { revokeUser: 0, revokeOthers: 0, revoke: 0 }
  let renewals = 0
  for (let round = 0; round < ROUNDS; round++) {
    const what = Object.keys(survivors)[round % 3] as string
    if (await userOf(keeper) === 'nobody') await keeper.get('/login/max')
    other.tell({ what: 'login', round })
    const { handle } = await other.sends('that it renews itself', message => message.round === round && message.isRenewing)
    if (what === 'revokeUser') await app.sessions.revokeUser('max')
    else if (what === 'revokeOthers') await keeper.get('/revoke-others')
    else await app.sessions.revoke(handle)
    other.tell({ what: 'stop' })
    const told = await other.sends('who it is', message => message.round === round && message.user)
    if (told.user !== 'nobody') survivors[what] = (survivors[what] as number) + 1
    t.ok(told.hasRenewed, 'it has renewed itself')
    renewals += told.renewals
  }
  t.comment(`${renewals} renewals, survivors: ${JSON.stringify(survivors)}`)
  t.same(survivors, { revokeUser: 0, revokeOthers: 0, revoke: 0 })
})

t.test('a revocation whose process is killed in the middle is finished by the next one', async t => {
  await redis.flushDb()
  const app = await open(t, new RedisStore({ client: redis }))
  const visitors: Visitor[] = []
  for (let i = 0; i < 300; i++) visitors.push(await login(app))
  const other = await openProcess(t)
  other.tell({ what: 'breakOff', after: 100 })
  await other.sends('that it has broken off', ({ hasBrokenOff }) => hasBrokenOff)
  await other.end('SIGKILL')
  const users = await Promise.all(visitors.map(userOf))
  t.equal(users.filter(user => user === 'max').length, 200, 'some sessions are left')
  const still = visitors.filter((_visitor, i) => users[i] === 'max')
  t.equal((await still[0]?.get('/renew'))?.statusCode, 409, 'a renewal of one of them fails')
  t.equal(await app.sessions.revokeUser('max'), 199)
  t.same(new Set(await Promise.all(visitors.map(userOf))), new Set(['nobody']))
  t.equal(await app.sessions.count(), 0)
  t.same(await redis.keys('users:*'), [])
})

// --- It forgets no session

/** Lets time pass, for the server of the store too, so that everything in the index gets older. */
async function pass (store: SessionStore, advance: (milliseconds: number) => void, milliseconds: number): Promise<void> {
  advance(milliseconds)
  if (store instanceof RedisStore) await letPass(redis, milliseconds)
  if (store instanceof PostgresStore) await letRowsPass(postgres, table, milliseconds)
}

onEach('the entry of a session that is used is renewed in time', async (t, { store }) => {
  const { advance } = clock(t)
  const app = await open(t, store, { cookie: { maxAge: 30 * DAY } })
  const visitor = await login(app)
  for (let hours = 0; hours < 40 * 24; hours += 12) {
    await pass(store, advance, 12 * HOUR)
    await visitor.get('/user')
  }
  t.equal((await app.sessions.forUser('max')).length, 1)
  t.equal(await app.sessions.revokeUser('max'), 1)
  t.equal(await userOf(visitor), 'nobody')
})

onEach('an entry lives at least as long as its session', async (t, { store }) => {
  const { advance } = clock(t)
  const app = await open(t, store, { cookie: { maxAge: 30 * DAY } })
  const visitor = await login(app)
  await pass(store, advance, 59 * MINUTE)
  t.equal(await userOf(visitor), 'max')
  // RedisStore and PostgresStore keep a session for a hundredth of its life longer.
  await pass(store, advance, 30 * DAY + (store instanceof MemoryStore ? -MINUTE : 6 * HOUR))
  t.equal(await app.sessions.revokeUser('max'), 1)
  t.equal(await userOf(visitor), 'nobody')
})

onEach('a session that has ended at a fixed time does not keep its place, however young it is', async (t, { store }) => {
  const { advance } = clock(t)
  const configured: Record<string, () => SessionOptions> = {
    absoluteTimeout: () => ({ absoluteTimeout: 20 * SECOND }),
    expires: () => ({ cookie: { maxAge: undefined, expires: new Date(Date.now() + 20 * SECOND) } }),
    "a handler's expires": () => ({})
  }
  for (const [what, options] of Object.entries(configured)) {
    const app = await open(t, store, { maxPerUser: 1, onMaxPerUser: 'refuse', ...options() })
    const start = what === "a handler's expires" ? '/login-for/20' : '/login/max'
    t.equal((await new Visitor(app).get(start)).statusCode, 200, what)
    t.equal((await new Visitor(app).get(start)).statusCode, 403, `${what}: until it ends, its place is taken`)
    await pass(store, advance, 30 * SECOND)
    t.equal((await new Visitor(app).get('/login-for/20')).statusCode, 200, what)
    await app.sessions.revokeUser('max')
  }
})

onEach('a session that a handler ends by its cookie gives its place back at once', async (t, { store }) => {
  const app = await open(t, store, { maxPerUser: 1, onMaxPerUser: 'refuse' })
  t.equal((await new Visitor(app).get('/login-for/-1')).statusCode, 200, 'a login that is over at once takes none')
  for (const url of ['/end', '/end-now']) {
    const visitor = await login(app)
    t.equal((await new Visitor(app).get('/login/max')).statusCode, 403)
    t.equal((await visitor.get(url)).statusCode, 200, url)
    t.equal(await userOf(visitor), 'nobody', url)
  }
  t.equal(await userOf(await login(app)), 'max')
  t.equal((await app.sessions.forUser('max')).length, 1)
})

onEach("a longer lifetime chosen after the login ('remember me') also prolongs the entry", async (t, { store }) => {
  const { advance } = clock(t)
  const app = await open(t, store)
  const visitor = await login(app)
  await visitor.get('/remember')
  await pass(store, advance, 29 * DAY)
  t.equal((await app.sessions.forUser('max')).length, 1)
  t.equal(await app.sessions.revokeUser('max'), 1)
  t.equal(await userOf(visitor), 'nobody')
})

onEach('entries are prolonged when a new configuration has longer lifetimes', async (t, { store, another }) => {
  const { advance } = clock(t)
  const before = await open(t, store)
  const visitor = await login(before)
  const app = await open(t, another(), { cookie: { maxAge: 30 * DAY } })
  await pass(store, advance, MINUTE)
  const later = visitor.copy(app)
  t.equal(await userOf(later), 'max')
  await pass(store, advance, 29 * DAY)
  t.equal(await app.sessions.revokeUser('max'), 1)
  t.equal(await userOf(later), 'nobody')
})

async function loseIndex (store: SessionStore): Promise<void> {
  if (store instanceof RedisStore) {
    await redis.del(await redis.keys('users:*'))
    return
  }
  const entries = await ask<Array<{ sessionId: string }>>(store, 'claimsOf', keyOf('max'), Infinity, 1000)
  await ask(store, 'release', keyOf('max'), entries.map(({ sessionId }) => sessionId))
}

function ask<T> (store: SessionStore, method: typeof METHODS[number], ...args: unknown[]): Promise<T> {
  return new Promise((resolve, reject) => {
    const callback = (error: unknown, value: T): void => error ? reject(error) : resolve(value)
    Reflect.apply(store[method] as (...args: unknown[]) => void, store, [...args, callback])
  })
}

onEach('after the index is lost, use restores an entry within the hour; until then a renewal fails', async (t, { store }) => {
  const { advance } = clock(t)
  const app = await open(t, store, { cookie: { maxAge: DAY } })
  const [phone, laptop] = [await login(app), await login(app)]
  await loseIndex(store)
  t.equal((await laptop.get('/renew')).statusCode, 409, 'without its entry, a renewal is refused')
  t.equal(await userOf(laptop), 'nobody')
  t.equal((await phone.get('/write')).statusCode, 200)
  t.same(await app.sessions.forUser('max'), [])
  await pass(store, advance, HOUR)
  t.equal(await userOf(phone), 'max')
  t.equal((await app.sessions.forUser('max')).length, 1)
  t.equal((await phone.get('/renew')).statusCode, 200)
  t.equal(await app.sessions.revokeUser('max'), 1)
  t.equal(await userOf(phone), 'nobody')
})

/** Runs something after a renewal has removed the old session, before the new one is entered in its place. */
function duringRenewal (store: SessionStore, run: () => Promise<unknown>): void {
  const { claim } = store
  store.claim = (...args) => {
    const go = (): unknown => Reflect.apply(claim as (...args: unknown[]) => unknown, store, args)
    if (args[2].replaces === undefined) {
      go()
      return
    }
    store.claim = claim as NonNullable<typeof claim>
    run().then(go, error => args[3](error))
  }
}

/** Makes entries older. Their ages are by Redis's clock, which can't be moved. */
async function setBack (user: string, milliseconds: number): Promise<void> {
  const key = `${indexOf(user)}:ids`
  for (const [fingerprint, entry] of Object.entries(await redis.hGetAll(key))) {
    await redis.hSet(key, fingerprint, entry.replace(/^\d+/, enteredAt => String(Number(enteredAt) - milliseconds)))
  }
}

onEach('a list or a refused login of another process during a renewal does not end the session', async (t, { store, another }) => {
  const { advance } = clock(t)
  const options: SessionOptions = { maxPerUser: 2, onMaxPerUser: 'refuse' }
  const [app, other] = [await open(t, store, options), await open(t, another(), options)]
  const [phone] = [await login(app), await login(app)]
  const acts: Record<string, () => Promise<unknown>> = {
    'a list': async () => t.equal((await other.sessions.forUser('max')).length, 1),
    'a login': async () => t.equal((await new Visitor(other).get('/login/max')).statusCode, 403)
  }
  for (const [what, run] of Object.entries(acts)) {
    await pass(store, advance, 2 * MINUTE)
    if (store instanceof RedisStore) await setBack('max', 2 * MINUTE)
    const { body: before } = await phone.get('/id')
    duringRenewal(store, run)
    t.equal((await phone.get('/renew')).statusCode, 200, what)
    t.equal(await userOf(phone), 'max')
    t.equal((await app.sessions.forUser('max')).length, 2)
    await until('no mark is left', async () => {
      return (await ask<unknown[]>(store, 'claimsOf', `replaced:${keyOf(before)}`, Infinity, 10)).length === 0
    })
  }
})

onEach('a revocation in the middle of the renewal of an older session ends it', async (t, { store, another }) => {
  const { advance } = clock(t)
  const [app, other] = [await open(t, store), await open(t, another())]
  const phone = await login(app)
  await pass(store, advance, 2 * MINUTE)
  duringRenewal(store, async () => await other.sessions.revokeUser('max'))
  t.equal((await phone.get('/renew')).statusCode, 409)
  t.equal(await userOf(phone), 'nobody')
  t.equal(await app.sessions.count(), 0)
})

onEach('a renewal of an older session succeeds even if the index refuses its mark', async (t, { store }) => {
  const { advance } = clock(t)
  const app = await open(t, store)
  const phone = await login(app)
  await pass(store, advance, 2 * MINUTE)
  const { claim } = store
  store.claim = (key, ...args) => {
    if (key.startsWith('replaced:')) args[2](new Error('away'))
    else Reflect.apply(claim as (...args: unknown[]) => void, store, [key, ...args])
  }
  t.equal((await phone.get('/renew')).statusCode, 200)
  t.equal(await userOf(phone), 'max')
})

t.test('RedisStore: if the index has lost its ids, a revocation ends sessions when their entries are renewed', async t => {
  await redis.flushDb()
  const { advance } = clock(t)
  const app = await open(t, new RedisStore({ client: redis }))
  const visitor = await login(app)
  await redis.del(`${indexOf('max')}:ids`)
  t.equal(await app.sessions.revokeUser('max'), 0, 'it found no session to end')
  advance(31 * MINUTE)
  await visitor.get('/user')
  t.equal(visitor.cookies.size, 0)
  t.equal(await app.sessions.count(), 0)
})

const FAILURES: Record<string, (...args: unknown[]) => unknown> = {
  throws: () => { throw new Error('away') },
  rejects: async () => { throw new Error('away') },
  'answers with an error': (...args) => { (args.at(-1) as (error: Error) => void)(new Error('away')) },
  'never answers': (...args) => { args.at(-1) }
}

for (const [what, fail] of Object.entries(FAILURES)) {
  onEach(`an index that ${what} while an entry is renewed does not fail the request`, async (t, { store }) => {
    const { advance } = clock(t)
    // Longer than Redis takes on a busy machine.
    const app = await open(t, store, { storeTimeout: 2000 })
    const visitor = await login(app)
    advance(31 * MINUTE)
    store.claim = fail
    t.equal(await userOf(visitor), 'max')
    t.equal((await visitor.get('/write')).statusCode, 200)
    t.equal(visitor.cookies.size, 1)
  })
}

onEach('renewing an entry is never refused', async (t, { store, another }) => {
  const { advance } = clock(t)
  const before = await open(t, store)
  const visitors = [await login(before), await login(before), await login(before)]
  const app = await open(t, another(), { maxPerUser: 1, onMaxPerUser: 'refuse' })
  advance(31 * MINUTE)
  for (const visitor of visitors.map(visitor => visitor.copy(app))) {
    t.equal((await visitor.get('/write')).statusCode, 200)
    t.equal((await visitor.get('/renew')).statusCode, 200, 'regenerate() is not refused either')
    t.equal(await userOf(visitor), 'max')
  }
  t.equal((await new Visitor(app).get('/login/max')).statusCode, 403)
})

onEach('if older software has written a session without its owner, user() finds the owner', async (t, { store }) => {
  const app = await open(t, store)
  const visitor = await login(app)
  const { body: sessionId } = await visitor.get('/id')
  await writeAsBefore(store, sessionId)
  t.equal((await app.sessions.forUser('max')).length, 1)
  t.equal(await app.sessions.revokeUser('max'), 1)
  t.equal(await userOf(visitor), 'nobody')
})

onEach('a session written by older software gets an entry when it is used, even beyond the limit', async (t, { store }) => {
  const app = await open(t, store, { maxPerUser: 1, onMaxPerUser: 'refuse' })
  const visitor = new Visitor(app)
  await visitor.get('/visit')
  await login(app)
  const { body: sessionId } = await visitor.get('/id')
  await writeAsBefore(store, sessionId)
  t.equal(await userOf(visitor), 'max')
  t.equal((await app.sessions.forUser('max')).length, 2)
  t.equal((await visitor.get('/write')).statusCode, 200)
  t.equal(await app.sessions.revokeUser('max'), 2)
  t.equal(await userOf(visitor), 'nobody')
})

t.test('sessions in the index of version 12.0.0 are listed and revoked', async t => {
  await redis.flushDb()
  const app = await open(t, new RedisStore({ client: redis }))
  const visitors: Visitor[] = []
  for (let i = 0; i < 600; i++) {
    const visitor = await login(app)
    visitors.push(visitor)
    await redis.zAdd(`users:sess:${keyOf('max')}`, { score: Date.now() * 1000 + i, value: (await visitor.get('/id')).body })
  }
  await redis.pExpire(`users:sess:${keyOf('max')}`, 3 * HOUR)
  await redis.del(['', ':ends', ':ids'].map(key => indexOf('max') + key))
  const last = visitors.at(-1) as Visitor
  const [view] = await app.sessions.forUser('max', { limit: 1 })
  t.equal(view?.handle, `${keyOf('max')}.${keyOf((await last.get('/id')).body)}`, 'the newest comes first')
  t.equal(await app.sessions.revokeUser('max'), 600)
  t.equal(await app.sessions.count(), 0)
  t.same(await redis.keys('*'), [])
})

t.test('sessions in the index of version 12.0.0 are found, even if Redis was restored without the expiry of its keys', async t => {
  await redis.flushDb()
  const app = await open(t, new RedisStore({ client: redis }))
  const { body: sessionId } = await (await login(app)).get('/id')
  await redis.del(['', ':ends', ':ids'].map(key => indexOf('max') + key))
  await redis.zAdd(`users:sess:${keyOf('max')}`, { score: Date.now() * 1000, value: sessionId })
  t.equal((await app.sessions.forUser('max')).length, 1)
  for (const key of await redis.keys(`${indexOf('max')}*`)) t.ok(await redis.pTTL(key) > HOUR, key)
  t.equal(await app.sessions.revokeUser('max'), 1)
  t.same(await redis.keys('*'), [])
})

onEach('endingsOf names at most a hundred sessions at a time, and all are ended', async (t, { store }) => {
  const app = await open(t, store)
  const { body: sessionId } = await (await login(app)).get('/id')
  const record = await ask<object>(store, 'get', sessionId)
  await enter(store, 'max', 0, 250)
  for (let i = 0; i < 250; i++) await ask(store, 'set', `max-${i}`.padEnd(32, 'x'), record)
  await ask(store, 'revoke', keyOf('max'), {})
  t.equal((await ask<string[]>(store, 'endingsOf', keyOf('max'))).length, 100)
  t.equal(await app.sessions.count(), 251)
  await app.sessions.revokeUser('max')
  t.equal(await app.sessions.count(), 0)
  t.same(await ask(store, 'endingsOf', keyOf('max')), [])
})

// --- Logins that fail

onEach('a login whose write failed takes no place', async (t, { store }) => {
  const app = await open(t, store, { maxPerUser: 1, onMaxPerUser: 'refuse' })
  const { set } = store
  store.set = (_sessionId, _session, callback) => callback(new Error('full'))
  t.equal((await new Visitor(app).get('/login/max')).statusCode, 500)
  store.set = set
  t.equal(await userOf(await login(app)), 'max')
})

onEach('a login takes no place if its claim is made but times out', async (t, { store }) => {
  const app = await open(t, store, { maxPerUser: 1, onMaxPerUser: 'refuse' })
  const { claim } = store
  store.claim = (...args) => {
    Reflect.apply(claim as (...args: unknown[]) => void, store, [...args.slice(0, -1), () => args[3](new Error('too late'))])
  }
  t.equal((await new Visitor(app).get('/login/max')).statusCode, 500)
  store.claim = claim as NonNullable<typeof claim>
  t.equal(await userOf(await login(app)), 'max')
})

onEach('a login stays in the index if its write is done but times out', async (t, { store }) => {
  const app = await open(t, store)
  const visitor = new Visitor(app)
  await visitor.get('/visit')
  const { update } = store
  store.update = (...args) => {
    Reflect.apply(update as (...args: unknown[]) => void, store, [...args.slice(0, -1), () => args[3](new Error('too late'))])
  }
  t.equal((await visitor.get('/login/max')).statusCode, 500)
  store.update = update as NonNullable<typeof update>
  t.equal(await userOf(visitor), 'max')
  t.equal(await app.sessions.revokeUser('max'), 1)
  t.equal(await userOf(visitor), 'nobody')
})

onEach('a login whose write times out and is done later is found by a revocation', async (t, { store }) => {
  const app = await open(t, store)
  const visitor = new Visitor(app)
  await visitor.get('/visit')
  const { update } = store
  let finish = async (): Promise<unknown> => { throw new Error('nothing was written') }
  store.update = (...args) => {
    finish = async () => await ask(store, 'update', ...args.slice(0, -1))
    args[3](new StoreTimeoutError('update', 1, 'it is slow'))
  }
  t.equal((await visitor.get('/login/max')).statusCode, 503)
  store.update = update as NonNullable<typeof update>
  await finish()
  t.equal(await userOf(visitor), 'max')
  t.equal(await app.sessions.revokeUser('max'), 1)
  t.equal(await userOf(visitor), 'nobody')
})

onEach('if the write of a renewal fails once, the reply tries again, and finds out about a revocation', async (t, { store }) => {
  const app = await open(t, store)
  const visitor = await login(app)
  const { set } = store
  const failOnce = (run: () => Promise<unknown>): void => {
    store.set = (_sessionId, _session, callback) => {
      store.set = set
      run().then(() => callback(new Error('away')), callback)
    }
  }
  const [before] = await app.sessions.forUser('max')
  failOnce(async () => {})
  t.equal((await visitor.get('/renew-anyway')).statusCode, 200)
  t.equal(await userOf(visitor), 'max')
  t.same((await app.sessions.forUser('max')).map(({ handle }) => handle), [before?.handle])
  failOnce(async () => await app.sessions.revokeUser('max'))
  await visitor.get('/renew-anyway')
  t.equal(await userOf(visitor), 'nobody')
  t.equal(await app.sessions.count(), 0)
})

onEach("a login ends if it can't be known whether it was revoked", async (t, { store }) => {
  const app = await open(t, store)
  const visitor = new Visitor(app)
  await visitor.get('/visit')
  const { claim } = store
  let claims = 0
  store.claim = (...args) => {
    if (++claims === 2) args[3](new Error('away'))
    else Reflect.apply(claim as (...args: unknown[]) => void, store, args)
  }
  t.equal((await visitor.get('/login/max')).statusCode, 500)
  t.equal(await userOf(visitor), 'nobody')
  t.same(await app.sessions.forUser('max'), [])
})

// --- The index only grows with living sessions

onEach('expired entries are removed', async (t, { store }) => {
  const { advance } = clock(t)
  const app = await open(t, store, { maxPerUser: 3 })
  const remembered = await login(app)
  await remembered.get('/remember')
  await login(app)
  await login(app)
  await pass(store, advance, 2 * HOUR)
  // They do not count towards maxPerUser, so the oldest living session does not end in their place.
  await login(app)
  await login(app)
  t.equal((await app.sessions.forUser('max')).length, 3)
  t.equal(await userOf(remembered), 'max')
  t.equal((await ask<unknown[]>(store, 'claimsOf', keyOf('max'), Infinity, 1000)).length, 3)
  if (store instanceof RedisStore) {
    t.equal(await redis.zCard(indexOf('max')), 3)
    t.equal(await redis.zCard(`${indexOf('max')}:ends`), 3)
    t.equal(await redis.hLen(`${indexOf('max')}:ids`), 3)
  }
})

t.test('repeated renewals leave nothing in the index', async t => {
  await redis.flushDb()
  const app = await open(t, new RedisStore({ client: redis }))
  const visitor = await login(app)
  for (let i = 0; i < 20; i++) await visitor.get('/renew')
  t.equal(await redis.zCard(indexOf('max')), 1)
  t.equal(await redis.hLen(`${indexOf('max')}:ids`), 2, 'its entry, and the handle of its first id')
  await visitor.get('/logout')
  t.same(await redis.keys('*'), [])
})

/** The commands that Redis has run, including those of scripts. */
async function commandsOf (run: () => Promise<unknown>): Promise<Record<string, number>> {
  await redis.sendCommand(['CONFIG', 'RESETSTAT'])
  await run()
  const counts: Record<string, number> = {}
  for (const [, command, calls] of String(await redis.info('commandstats')).matchAll(/cmdstat_([^:]+):calls=(\d+)/g)) {
    if (!/^(config|info)/.test(command as string)) counts[command as string] = Number(calls)
  }
  return counts
}

/** Creates entries as logins do, without the sessions. */
async function enter (store: SessionStore, user: string, from: number, to: number): Promise<void> {
  for (let i = from; i < to; i += 1000) {
    await Promise.all(Array.from({ length: Math.min(1000, to - i) }, async (_, j) => {
      const sessionId = `${user}-${i + j}`.padEnd(32, 'x')
      const claiming = { fingerprint: keyOf(sessionId), lives: DAY, isWritten: false, max: Infinity, refuses: false }
      await ask(store, 'claim', keyOf(user), sessionId, claiming)
    }))
  }
}

t.test('100,000 earlier logins of a user make a login no slower', async t => {
  await redis.flushDb()
  const store = new RedisStore({ client: redis })
  const app = await open(t, store)
  const seen: Array<Record<string, number>> = []
  let count = 0
  for (const size of [10, 1_000, 100_000]) {
    await enter(store, 'max', count, size)
    count = size
    seen.push(await commandsOf(() => login(app)))
  }
  t.comment(`a login: ${JSON.stringify(seen[0])}, ${sum(seen[0])} commands with those of scripts`)
  t.same(seen[1], seen[0])
  t.same(seen[2], seen[0])
  const revoked = await commandsOf(() => app.sessions.revoke(`${keyOf('max')}.${keyOf('max-500'.padEnd(32, 'x'))}`))
  t.ok(sum(revoked) < 50, `revoke(handle) doesn't read all entries: ${sum(revoked)} commands`)
  for (let i = 0; i < 12; i++) await login(app)
  const page = await commandsOf(async () => t.equal((await app.sessions.forUser('max', { limit: 10 })).length, 10))
  t.ok(sum(page) < 100, `neither does a page: ${sum(page)} commands`)
})

function sum (counts: Record<string, number> = {}): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}

t.test('after 300 logins of one user at the same time, five sessions are left, and the commands grow linearly', async t => {
  const perLogin: number[] = []
  for (const count of [10, 100, 300]) {
    await redis.flushDb()
    const app = await open(t, new RedisStore({ client: redis }), { maxPerUser: 5 })
    const visitors = Array.from({ length: count }, () => new Visitor(app))
    let replies: number[] = []
    const commands = await commandsOf(async () => {
      replies = (await Promise.all(visitors.map(visitor => visitor.get('/login/max')))).map(({ statusCode }) => statusCode)
    })
    const users = await Promise.all(visitors.map(userOf))
    t.equal(users.filter(user => user === 'max').length, 5)
    t.equal((await app.sessions.forUser('max')).length, 5)
    t.equal(await app.sessions.count(), 5)
    // A login is answered 200, or 409 if others at the same moment have ended it already.
    t.ok(replies.every(status => status === 200 || status === 409), replies.join(' '))
    t.ok(replies.filter(status => status === 200).length >= 5)
    perLogin.push(sum(commands) / count)
    t.comment(`${count} logins at once: ${commands.evalsha} scripts and ${commands.hgetall ?? 0} reads, ${replies.filter(status => status === 200).length} answered 200`)
  }
  const [few = 0, , many = 0] = perLogin
  t.ok(many < 1.5 * few, `${few} commands a login, with many logins ${many}`)
})

t.test('of 300 logins of one user at the same time, all but five are refused', async t => {
  await redis.flushDb()
  const app = await open(t, new RedisStore({ client: redis }), { maxPerUser: 5, onMaxPerUser: 'refuse' })
  const replies = await Promise.all(Array.from({ length: 300 }, () => new Visitor(app).get('/login/max')))
  t.equal(replies.filter(({ statusCode }) => statusCode === 200).length, 5)
  t.equal(replies.filter(({ statusCode }) => statusCode === 403).length, 295)
  t.equal(await app.sessions.count(), 5)
})

t.test('revokeUser ends 60,000 sessions, a few at a time, while other requests are served', async t => {
  await redis.flushDb()
  const store = new RedisStore({ client: redis })
  const count = 60_000
  const app = await open(t, store, { storeTimeout: 2000 })
  const cookie = { expires: new Date(Date.now() + DAY), seenAt: Date.now(), idle: DAY, userKey: keyOf('max'), claimedAt: Date.now() }
  await ask(store, 'set', 'copied', { userId: 'max', cookie })
  for (let i = 0; i < count; i += 1000) {
    await Promise.all(Array.from({ length: 1000 }, (_, j) => redis.copy('sess:copied', `sess:${`max-${i + j}`.padEnd(32, 'x')}`)))
  }
  await redis.del('sess:copied')
  await enter(store, 'max', 0, count)
  const visitor = await login(app, 'eva')
  const alone = await waitsOf(visitor, () => new Promise(resolve => setTimeout(resolve, 1000)))
  let underWay = 0
  let most = 0
  for (const method of ['inspect', 'destroy', 'release', 'endingsOf', 'revoke'] as const) {
    const run = store[method] as (...args: any[]) => Promise<unknown>
    Object.assign(store, {
      [method]: async (...args: unknown[]) => {
        most = Math.max(most, ++underWay)
        return await Reflect.apply(run, store, args.slice(0, -1)).finally(() => underWay--)
      }
    })
  }
  let ended = 0
  const begun = performance.now()
  const beside = await waitsOf(visitor, async () => { ended = await app.sessions.revokeUser('max') })
  const took = performance.now() - begun
  t.equal(ended, count)
  t.ok(most <= 32, `${most} calls at a time`)
  t.equal(await app.sessions.count(), 1)
  t.same(await redis.keys(`${indexOf('max')}*`), [])
  t.comment(`${Math.round(took)} ms; a visitor's wait in ms: ${format(beside)} beside it (${beside.length} requests), ${format(alone)} alone`)
})

/** How long each of a visitor's requests takes, in milliseconds, until something has ended. */
async function waitsOf (visitor: Visitor, run: () => Promise<unknown>): Promise<number[]> {
  const waits: number[] = []
  const state = { isOver: false }
  const over = run().finally(() => { state.isOver = true })
  while (!state.isOver) {
    const begun = performance.now()
    if (await userOf(visitor) !== 'eva') throw new Error('the visitor was not served')
    waits.push(performance.now() - begun)
  }
  await over
  return waits.sort((a, b) => a - b)
}

function format (waits: number[]): string {
  const at = (share: number): string => (waits[Math.floor(waits.length * share)] ?? NaN).toFixed(1)
  return `median ${at(0.5)}, 99 % ${at(0.99)}, longest ${(waits.at(-1) ?? NaN).toFixed(1)}`
}

// --- Lists

onEach('pages are full of living sessions, and list each of them once, while others begin and end', async (t, { store }) => {
  const app = await open(t, store)
  const visitors: Visitor[] = []
  const ids: string[] = []
  for (let n = 0; n < 60; n++) {
    const visitor = await login(app)
    visitors.push(visitor)
    ids.push((await visitor.get('/id')).body)
  }
  const handles = new Map((await app.sessions.forUser('max')).map(view => [view.handle, view]))
  // Every second session has ended, and its entry is still there.
  for (const [i, sessionId] of ids.entries()) if (i % 2 === 1) await ask(store, 'destroy', sessionId)
  const living = ids.filter((_sessionId, i) => i % 2 === 0).map(sessionId => `${keyOf('max')}.${keyOf(sessionId)}`)
  const told: string[] = []
  const gone: string[] = []
  let cursor: string | undefined
  const sizes: number[] = []
  do {
    const page: SessionView[] & { next?: string } = await app.sessions.forUser('max', { limit: 7, cursor })
    sizes.push(page.length)
    told.push(...page.map(({ handle }) => handle))
    cursor = page.next
    // A session begins, one that was listed ends, one that wasn't listed ends, and one renews itself.
    await login(app)
    await app.sessions.revoke(page[0]?.handle as string)
    const last = living.find(handle => !told.includes(handle) && !gone.includes(handle))
    if (last !== undefined) {
      await app.sessions.revoke(last)
      gone.push(last)
    }
    const renewing = visitors[26] as Visitor
    await renewing.get('/renew')
  } while (cursor !== undefined)
  t.equal(new Set(told).size, told.length, 'nothing is listed twice')
  t.same(living.filter(handle => !told.includes(handle) && !gone.includes(handle)), [], 'nothing is skipped')
  t.ok(told.every(handle => handles.has(handle)), 'nothing that began later is listed')
  t.ok(sizes.slice(0, -1).every(size => size === 7), `full pages: ${sizes.join(' ')}`)
})

// --- A Redis that evicts keys

t.test('no warning for a Redis without a memory limit, or one that refuses INFO', async t => {
  const heard: Error[] = []
  const listen = (warning: Error): void => { heard.push(warning) }
  process.on('warning', listen)
  t.teardown(() => process.off('warning', listen))
  const unlimited = await connectTo(t, await startRedis(t, { args: ['--maxmemory-policy', 'allkeys-lru'] }))
  const silent = await connectTo(t, await startRedis(t, { args: ['--rename-command', 'INFO', ''] }))
  for (const client of [unlimited, silent]) {
    const visitor = await login(await open(t, new RedisStore({ client })))
    t.equal(await userOf(visitor), 'max')
  }
  t.same(heard, [])
})

t.test('a Redis that may evict keys causes a warning, once for each store', async t => {
  const heard: Array<{ code: string, message: string }> = []
  const listen = (warning: Error): void => { heard.push(warning as Error & { code: string }) }
  process.on('warning', listen)
  t.teardown(() => process.off('warning', listen))
  const POLICIES = ['noeviction', 'allkeys-lru', 'volatile-ttl']
  for (const [i, policy] of POLICIES.entries()) {
    const client = await connectTo(t, await startRedis(t, { args: ['--maxmemory', '50mb', '--maxmemory-policy', policy] }))
    const app = await open(t, new RedisStore({ client }))
    for (let n = 0; n < 3; n++) await login(app)
    await until(policy, async () => heard.length === i)
  }
  t.match(heard, [
    { code: 'FST_SESSION_REDIS_EVICTS', message: /allkeys-lru/ },
    { code: 'FST_SESSION_REDIS_EVICTS', message: /volatile-ttl/ }
  ])
  t.equal(heard.length, 2)
})
