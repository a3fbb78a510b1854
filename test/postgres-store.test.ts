/** What is special about PostgresStore. The store suite tests what it has in common with other stores. */
import { sign } from '@fastify/cookie'
import type { FastifyInstance } from 'fastify'
import { Client, Pool } from 'pg'
import t, { type Test } from 'tap'
import { migrate, PostgresStore, schema } from '../src/stores/postgres'
import { testStore } from '../src/testing/index'
import { build, record, SECRET, Visitor, type Routes, type SessionOptions } from './helpers'
import { warned } from './heard'
import { open, testContract } from './postgres/contract'
import { freshTable, openPool, promises, underTest } from './postgres/tables'
import { isAbout } from './redis/contract'
import { Wire } from './redis/wire'
import { startPostgres, type PostgresServer } from './servers'
import { until, within } from './waiting'

const NO_META = { set: {}, unset: [] }

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

let server: PostgresServer
let pool: Pool

t.before(async () => {
  server = await startPostgres(t, { settings: ['shared_preload_libraries=pg_stat_statements', 'max_connections=60'] })
  pool = openPool(t, server.url)
})

t.test('PostgresStore', async t => testContract(t, pool))

t.test('PostgresStore passes the store suite', async t => {
  await testStore(t => underTest(t, pool), {
    promises,
    test: t.test
  })
})

t.test('options that cannot work are refused', async t => {
  const refused = (options: any, why: string | RegExp): void => {
    const shown = Object.entries(options ?? {}).slice(-1).join()
    t.throws(() => new PostgresStore(options), { code: 'FST_ERR_SESSION_OPTION', message: why }, shown)
  }
  for (const pool of [undefined, null, {}, 7, new Map(), { query: true }, { query () {}, getConnection () {} }]) {
    refused({ pool }, /PostgresStore needs a pool of pg/)
  }
  refused(undefined, /PostgresStore needs a pool of pg/)
  refused({ pool: Promise.resolve(pool) }, /PostgresStore was given a promise: await it first/)
  refused({ pool: server.url }, /was given a connection string: write new Pool/)
  refused({ pool: new Client() }, /was given a client, which is one connection/)
  const client = await pool.connect()
  refused({ pool: client }, /was given a client, which is one connection/)
  client.release()
  refused({ pool: { $pool: pool, query () {}, connect () {} } }, /its pool is db\.\$pool/)
  for (const table of [null, 7, {}, '', 'a.', 'ü'.repeat(24)]) refused({ pool, table }, /the table of a PostgresStore must be/)
  for (const ttl of [0, -1, NaN, null, 'a day', {}, Infinity, 1e21]) refused({ pool, ttl }, /the ttl of a PostgresStore must be/)
  for (const listen of [null, true, pool, new Client(), server.url]) refused({ pool, listen }, /listen of a PostgresStore must be a function/)
  for (const options of [{}, { table: 'a.b' }, { ttl: 1 }, { ttl: undefined, table: undefined, listen: undefined }]) {
    t.ok(new PostgresStore({ pool, ...options }))
  }
  await t.rejects(migrate(server.url as any), { code: 'FST_ERR_SESSION_OPTION', message: /migrate\(\) was given a connection string/ })
})

t.test('a misspelt option and a ttl in seconds cause a warning', async t => {
  const warnings = await warned(async () => {
    t.ok(new PostgresStore({ pool, tabel: 'x' } as any))
    t.ok(new PostgresStore({ pool, ttl: 86_400 }))
    t.ok(new PostgresStore({ pool, prefix: 'sess:' } as any), 'an unknown option that resembles none of its own')
  })
  t.match(warnings.map(({ message }) => message), [
    /tabel of PostgresStore isn't known: write table/, /ttl of PostgresStore is in milliseconds/
  ])
})

t.test('the process survives if an idle connection of the pool breaks', async t => {
  const own = new Pool({ connectionString: server.url, application_name: 'breaks' })
  t.teardown(() => own.end())
  const store = new PostgresStore({ pool: own, table: await freshTable(pool) })
  await store.length()
  // Not those of the other pool, which would hear of it some time later.
  await pool.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'breaks'")
  await until('the pool has heard of it', async () => own.totalCount === 0)
  t.equal(await store.length(), 0)
})

// --- The cost of a request

const REQUESTS = 10

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
  app.get('/renew', async request => {
    await request.session.regenerate(['filler0'])
    return 'renewed'
  })
}

t.test('a read takes one statement and a change two, and their bytes do not grow with the session', async t => {
  await pool.query('create extension pg_stat_statements')
  async function costOf (url: string, size: number, options: SessionOptions = {}): Promise<{ statements: number, written: number, roundTrips: number, bytes: number }> {
    const wire = await Wire.to(t, server.port)
    const own = openPool(t, `postgres://postgres@127.0.0.1:${wire.port}/postgres`)
    const table = await freshTable(pool)
    const app = await build({ store: new PostgresStore({ pool: own, table }), ...options, cookie: { maxAge: HOUR } }, sizedSessions)
    t.teardown(() => app.close())
    const visitor = new Visitor(app)
    await visitor.get(`/fill/${size}`)
    await visitor.get(url)
    // The request doesn't wait for the sweep of expired sessions.
    await until('nothing is under way', async () => own.idleCount === own.totalCount)
    await pool.query('select pg_stat_statements_reset()')
    wire.reset()
    for (let i = 0; i < REQUESTS; i++) t.equal((await visitor.get(url)).statusCode, 200)
    const { rows: [{ calls, rows }] } = await pool.query(
      'select sum(calls)::int as calls, sum(rows) filter (where query ilike \'update%\')::int as rows from pg_stat_statements where query like $1', [`%"${table}"%`]
    )
    return { statements: calls / REQUESTS, written: rows ?? 0, roundTrips: wire.roundTrips / REQUESTS, bytes: Math.round(wire.bytes / REQUESTS) }
  }
  const bytes: number[] = []
  for (const size of [2000, 20_000]) {
    const [read, change] = [await costOf('/read', size), await costOf('/change', size)]
    t.comment(`${size} bytes: read`, read, 'one key changed', change)
    t.match(read, { statements: 1, roundTrips: 1, written: 0 }, `read, ${size}`)
    t.match(change, { statements: 2, roundTrips: 2, written: REQUESTS }, `changed, ${size}`)
    bytes.push(read.bytes, change.bytes)
  }
  t.ok(Math.abs(bytes[0] as number - (bytes[2] as number)) <= 2 && Math.abs(bytes[1] as number - (bytes[3] as number)) <= 2, `the bytes do not grow with the session: ${bytes}`)
  t.match(await costOf('/read', 2000, { rolling: false }), { statements: 1, written: 0 }, 'rolling: false')
  t.match(await costOf('/nothing', 2000), { statements: 1, written: 0 }, 'a request that does not use its session')
  t.match(await costOf('/renew', 2000), { statements: 3 }, 'regenerate: load, destroy, set')
})

t.test('a read moves the end only if a hundredth of the lifetime has passed since the last move', async t => {
  const { store, left, leave } = await open(pool)
  await store.set('a', record({ user: 'max' }))
  for (const [kept, moves] of [[HOUR * 1.01, false], [HOUR + SECOND, false], [HOUR - SECOND, true], [10 * SECOND, true]] as const) {
    await leave('a', kept)
    const { cookie } = await store.getAndTouch('a')
    t.ok(isAbout(await left('a') as number, moves ? HOUR * 1.01 : kept), `${kept} ms kept`)
    t.ok(cookie.expires.getTime() > Date.now(), 'the returned record has not expired')
  }
})

t.test('a session that ends between the read and the touch is gone', async t => {
  const { table, leave, store } = await open(pool)
  await store.set('a', record({ user: 'max' }))
  await leave('a', MINUTE)
  const loggingOut = {
    connect: () => pool.connect(),
    async query (text: string, values: unknown[]) {
      const result = await pool.query(text, values)
      if (text.startsWith('select')) await store.destroy('a')
      return result
    }
  }
  t.equal(await new PostgresStore({ pool: loggingOut, table }).getAndTouch('a'), undefined)
})

t.test('writes also remove expired sessions, a thousand at a time, and never wait for locked rows', async t => {
  const sweeps: Array<Promise<unknown>> = []
  const watched = {
    connect: () => pool.connect(),
    async query (text: string, values: unknown[]) {
      const result = pool.query(text, values)
      if (text.includes('skip locked')) sweeps.push(result)
      return await result
    }
  }
  const { table } = await open(pool)
  const store = new PostgresStore({ pool: watched, table }) as any
  const count = async (name = table): Promise<number> => Number((await pool.query(`select count(*) from "${name}"`)).rows[0].count)
  await pool.query(`insert into "${table}" select 'old ' || n, '{}', '{}', now() - interval '1 s' from generate_series(1, 2500) n`)
  await pool.query(`insert into "${table}_index" select 'eva', 'old ' || n, 'f', n, now(), now() - interval '1 s' from generate_series(1, 10) n`)
  t.equal(await store.length(), 0)
  // Another transaction has locked two of them.
  const client = await pool.connect()
  await client.query(`begin; select from "${table}" where sid in ('old 1', 'old 2') for update`)
  for (const left of [1501, 502, 5]) {
    await store.set(`new ${left}`, record({}))
    // The next write sweeps only if the store knows how this sweep went.
    await within('it has swept', Promise.all(sweeps))
    t.equal(await count(), left)
  }
  t.equal(sweeps.length, 3)
  await client.query('rollback')
  client.release()
  t.equal(await count(`${table}_index`), 0, 'expired entries of the index are removed too')
  t.equal(await store.length(), 3, 'sessions that have not expired stay')
  await store.set('another', record({}))
  t.equal(await store.length(), 4)
})

t.test('a write succeeds even if the sweep that it starts fails', async t => {
  const table = await freshTable(pool)
  const failing = {
    connect: () => pool.connect(),
    query: async (text: string, values: unknown[]) => {
      if (text.includes('skip locked')) throw new Error('too slow')
      return await pool.query(text, values)
    }
  }
  const store = new PostgresStore({ pool: failing, table }) as any
  await store.set('a', record({ n: 1 }))
  t.equal((await store.get('a')).n, 1)
})

// --- Broken records

t.test('a broken record is treated as no session or causes a clear error, which shows no part of it', async t => {
  const HIDDEN = 'hidden data'
  const { store, table, leave } = await open(pool)
  const log: string[] = []
  const app = await loggedApp(t, { store, saveUninitialized: false }, log)
  type Json = object | string | null
  const CASES: Array<[name: string, data: Json, meta: Json, answer: string | number]> = [
    ['a key that is not JSON', { user: `"${HIDDEN}` }, {}, 500],
    ['a long key that is not JSON', { user: `"${HIDDEN.repeat(50)}` }, {}, 500],
    ['a key that is not JSON and is not read', { user: '"max"', note: `"${HIDDEN}` }, {}, 'max'],
    ['a key that is null', { user: null }, {}, 500],
    ['a key that is not a text', { user: 7 }, {}, 500],
    ['a key that is null and is not read', { user: '"max"', note: null }, {}, 'max'],
    ['a key whose name is not escaped', { user: '"max"', [`\\x ${HIDDEN}`]: '1' }, {}, 'nobody'],
    ['no data', null, {}, 'nobody'],
    ['data that is null', 'null', {}, 'nobody'],
    ['data that is a list', `["${HIDDEN}"]`, {}, 'nobody'],
    ["a field of the library's own that is not JSON", { user: '"max"' }, { userKey: HIDDEN }, 'nobody'],
    ["a field of the library's own that is null", { user: '"max"' }, { userKey: null }, 'nobody'],
    ['none of these fields', { user: '"max"' }, null, 'nobody'],
    ['null instead of these fields', { user: '"max"' }, 'null', 'nobody'],
    ['no cookie', { user: '"max"' }, {}, 'max'],
    ['invalid lifetimes', { user: '"max"' }, { idle: '"abc"', originalMaxAge: '{}', expires: 'true', createdAt: '1e300', absoluteTimeout: '[]' }, 'max'],
    ['endless lifetimes', { user: '"max"' }, { idle: '1e15', originalMaxAge: '999999999999999999999', seenAt: 'null' }, 'max']
  ]
  for (const [name, data, meta, answer] of CASES) {
    const sessionId = `an id that nobody knows, ${name}`
    await pool.query(`insert into "${table}" values ($1, $2, $3, now() + interval '1 minute')`, [sessionId, data, meta])
    const visitor = visitorWith(app, sessionId)
    const response = await visitor.get('/user')
    if (answer === 500) t.match(response.json(), { statusCode: 500, code: 'FST_ERR_SESSION_RECORD' }, name)
    else t.equal(response.body, answer, name)
    if (answer === 'max') t.equal((await visitor.get('/write')).statusCode, 200, name)
    const said = `${response.body} ${log.join(' ')}`
    t.notOk(said.includes(HIDDEN), 'no part of the data is shown')
    t.notOk(said.includes('an id that nobody knows'), 'the session id is not shown')
  }
  await store.set('a', record({ user: 'max' }))
  await pool.query(`update "${table}" set data = data || '{"cart": "{"}' where sid = 'a'`)
  await leave('a', MINUTE)
  const found = await store.getAndTouch('a')
  t.throws(() => found.cart, { code: 'FST_ERR_SESSION_RECORD' })
  t.equal(found.user, 'max')
  t.ok(isAbout(await (await open(pool)).left('a') ?? MINUTE, MINUTE), 'attempts to read it do not prolong it')
  await pool.query(`update "${table}" set meta = meta || '{"userKey": "{"}' where sid = 'a'`)
  t.same(await store.destroy('a'), {}, 'it can be removed')
})

t.test('all() leaves out a record that cannot be read', async t => {
  const { store, table } = await open(pool)
  await store.set('good', record({ user: 'max' }))
  for (const [sessionId, data, meta] of [['no data', null, '{}'], ['null', '{}', 'null'], ['no field', '{}', '{"idle": "x"}'], ['\\x', '{}', '{}']]) {
    await pool.query(`insert into "${table}" values ($1, $2, $3, now() + interval '1 minute')`, [sessionId, data, meta])
  }
  t.same(Object.keys(await store.all()), ['good'])
})

// --- A pool that fails

const session = record({ user: 'max' }) as any
const CLAIMING = { fingerprint: 'f', lives: HOUR, isWritten: false, max: 1, refuses: true }
const CALLS: Array<[method: string, ...args: any[]]> = [
  ['get', 'a secret id'], ['getAndTouch', 'a secret id'], ['inspect', 'a secret id'], ['set', 'a secret id', session],
  ['destroy', 'a secret id'], ['touch', 'a secret id', session], ['update', 'a secret id', { set: {}, unset: [], meta: NO_META }, session],
  ['updateIf', 'a secret id', {}, ['n'], { set: {}, unset: [], meta: NO_META }, session], ['claim', 'eva', 'a secret id', CLAIMING],
  ['claim', 'eva', 'a secret id', { ...CLAIMING, refuses: false }], ['release', 'eva', ['a secret id']], ['revoke', 'eva', {}],
  ['endingsOf', 'eva'], ['claimsOf', 'eva', Infinity, 1], ['all'], ['length'], ['clear']
]

t.test('if the pool fails, each method rejects or calls back with the error', async t => {
  const away = async (): Promise<never> => { throw new Error('away') }
  const pools: Record<string, any> = {
    rejects: { query: away, connect: away },
    throws: { query () { throw new Error('away') }, connect () { throw new Error('away') } },
    'rejects with something that is not an Error': { query: () => Promise.reject('away'), connect: () => Promise.reject('away') } // eslint-disable-line prefer-promise-reject-errors
  }
  for (const [name, pool] of Object.entries(pools)) {
    const store = new PostgresStore({ pool }) as any
    for (const [method, ...args] of CALLS) {
      const error = await store[method](...args).then(() => t.fail(method), (error: unknown) => error)
      t.match(error, { code: 'FST_ERR_SESSION_STORE', message: /away/ }, `${name}: ${method}`)
      t.equal(await new Promise(resolve => store[method](...args, resolve)) !== null, true)
    }
  }
})

t.test('the error for a missing table says how to make it, and no error shows a session id', async t => {
  const store = new PostgresStore({ pool, table: 'nowhere' }) as any
  for (const [method, ...args] of CALLS) {
    const error = await store[method](...args).then(() => t.fail(method), (error: any) => error)
    t.match(error.message, /"nowhere(_index)?" does not exist.* made by migrate\(\)/, method)
    t.notOk(JSON.stringify({ ...error, message: error.message, stack: error.stack }).includes('a secret id'), method)
  }
  const { store: other, table } = await open(pool)
  await pool.query(`alter table "${table}" add check (data = '{}')`)
  const error = await other.set('a secret id', session).catch((error: any) => error)
  t.match(error, { code: '23514' })
  t.notOk(JSON.stringify({ ...error, message: error.message, stack: error.stack }).includes('a secret id'), 'a row that a constraint refuses')
})

t.test('no change is lost if the pool uses serializable transactions by default', async t => {
  const strict = openPool(t, server.url, { options: '-c default_transaction_isolation=serializable' })
  const { table } = await open(pool)
  const store = new PostgresStore({ pool: strict, table }) as any
  await store.set('a', record({}))
  await Promise.all(Array.from({ length: 8 }, (_, i) => store.update('a', { set: { [i]: i }, unset: [] }, record({}))))
  t.equal(Object.keys(await store.get('a')).length, 9)
})

t.test('an exhausted pool causes a clear error, and requests work again once a connection is free', async t => {
  const small = openPool(t, server.url, { max: 1 })
  const { table } = await open(pool)
  const store = new PostgresStore({ pool: small, table })
  const app = await loggedApp(t, { store }, [])
  // Short only for the call that must time out.
  const impatient = await loggedApp(t, { store, storeTimeout: 200 }, [])
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const client = await small.connect()
  const { statusCode, body } = await visitor.copy(impatient).get('/user')
  t.equal(statusCode, 503)
  t.match(body, /FST_ERR_SESSION_STORE_TIMEOUT/)
  client.release()
  t.equal((await visitor.get('/user')).body, 'max')
})

// --- The table

t.test('several processes may make the table at the same time, and may do so again', async t => {
  const pools = Array.from({ length: 4 }, () => openPool(t, server.url))
  await Promise.all([...pools, ...pools].map(pool => migrate(pool, { table: 'at once' })))
  await migrate(pool, { table: 'at once' })
  t.equal(await new PostgresStore({ pool, table: 'at once' }).length(), 0)
  await pool.query(schema('by hand'))
  t.equal(await new PostgresStore({ pool, table: 'by hand' }).length(), 0)
  await migrate(pool)
  t.equal(await new PostgresStore({ pool }).length(), 0, 'the default table')
})

t.test('migrate() does not wait for an open transaction that reads and writes the table', async t => {
  const { table, store } = await open(pool)
  const client = await pool.connect()
  await client.query(`begin; select from "${table}"; insert into "${table}" (sid) values ('other'); insert into "${table}_index" values ('u', 's', 'f', 1, now(), now())`)
  const impatient = openPool(t, server.url, { options: '-c lock_timeout=2s' })
  await migrate(impatient, { table })
  await store.set('a', record({ n: 1 }))
  t.match(await store.get('a'), { n: 1 })
  await client.query('rollback')
  client.release()
})

t.test('migrate() works for a role that may not create tables if the table exists', async t => {
  const { table } = await open(pool)
  await pool.query(`create role visitor; grant select, insert, update, delete on "${table}", "${table}_index" to visitor`)
  const weak = openPool(t, server.url, { options: '-c role=visitor' })
  await migrate(weak, { table })
  const store = new PostgresStore({ pool: weak, table }) as any
  await store.set('a', record({ n: 1 }))
  t.match(await store.get('a'), { n: 1 })
  await t.rejects(migrate(weak, { table: 'another' }), { message: /permission denied/ })
})

t.test('a row of connect-pg-simple with an impossible date, or with an empty id, is migrated and written as others are', async t => {
  await pool.query('create table dates (sid varchar primary key, sess json not null, expire timestamp(6) not null)')
  const DATES = ['2026-99-99T11:42:32.628Z', '2026-02-30T11:42:32.628Z', '2026-02-20T99:99Z', '2026-02-20T...Z', '0000-01-01T00:00:00.000Z']
  const write = (sessionId: string, expires: string): Promise<unknown> => pool.query(
    "insert into dates (sid, sess, expire) values ($1, $2, now() + interval '1 hour') on conflict (sid) do update set sess = excluded.sess",
    [sessionId, { n: 1, cookie: { expires, originalMaxAge: null } }]
  )
  const ids = ['', ...DATES]
  for (const id of ids) await write(id, id)
  await migrate(pool, { table: 'dates' })
  const store = new PostgresStore({ pool, table: 'dates' }) as any
  for (const id of ids) t.match(await store.get(id), { n: 1, cookie: { expires: null } }, id)
  for (const date of DATES) await write('good', date)
  t.match(await store.get('good'), { n: 1, cookie: { expires: null } })
  await write('good', '2999-12-31T00:00:00.000Z')
  t.equal((await pool.query("select meta->>'expires' as expires from dates where sid = 'good'")).rows[0].expires, String(Date.UTC(2999, 11, 31)))
})

// --- Visitors

const routes: Routes = app => {
  app.get('/login', async request => {
    (request.session as any).user = 'max'
    return 'welcome'
  })
  app.get('/user', async request => (request.session as any).user ?? 'nobody')
  app.get('/write', async request => {
    const session = request.session as any
    session.n = (session.n ?? 0) + 1
    return 'written'
  })
}

async function loggedApp (t: Test, options: SessionOptions, log: string[]): Promise<FastifyInstance> {
  const stream = { write: (line: string): void => { log.push(line) } }
  const app = await build(options, routes, { logger: { level: 'trace', stream } })
  t.teardown(() => app.close())
  return app
}

function visitorWith (app: FastifyInstance, sessionId: string): Visitor {
  const visitor = new Visitor(app)
  visitor.cookies.set('sessionId', sign(sessionId, SECRET))
  return visitor
}
