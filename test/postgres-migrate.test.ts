/** A table that connect-pg-simple made: read in place, written by both stores, and migrated row by row. */
import '../packages/stores'
import connectPg from 'connect-pg-simple'
import Fastify, { type FastifyInstance } from 'fastify'
import fastifyCookie from '@fastify/cookie'
import type { Pool } from 'pg'
import t, { type Test } from 'tap'
import upstreamSession from 'upstream-session'
import { migrate, PostgresStore } from '../src/stores/postgres'
import { build, record, SECRET, Visitor, type Routes } from './helpers'
import { openPool } from './postgres/tables'
import { isAbout } from './redis/contract'
import { startPostgres } from './servers'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

let pool: Pool
let url: string
let tables = 0

t.before(async () => {
  url = (await startPostgres(t)).url
  pool = openPool(t, url)
})

const routes: Routes = app => {
  app.get('/login/:user', async request => { Object.assign(request.session, request.params) })
  app.get('/write/:key/:value', async request => {
    const { key, value } = request.params as any
    ;(request.session as any)[key] = JSON.parse(value)
  })
  app.get('/data', async request => {
    const { cookie: _, ...data } = request.session as any
    return data
  })
  app.get('/logout', async request => { await request.session.destroy() })
}

interface Sites {
  table: string
  /** Version 11 with connect-pg-simple. */
  old: FastifyInstance
  /** This version, after the table is migrated. */
  ours: () => Promise<FastifyInstance>
  oldStore: any
}

async function start (t: Test): Promise<Sites> {
  const table = `old sessions ${++tables}`
  const cookie = { secure: false, maxAge: HOUR }
  // As its table.sql makes it, except for the names of indexes: with several tables, they would clash.
  await pool.query(`create table "${table}" (sid varchar not null collate "default" primary key, sess json not null, expire timestamp(6) not null)`)
  await pool.query(`create index on "${table}" (expire)`)
  const OldStore = connectPg({ Store: require('node:events') } as any)
  const oldStore = new OldStore({ pool, tableName: table, pruneSessionInterval: false }) as any
  const old = Fastify() as unknown as FastifyInstance
  await old.register(fastifyCookie)
  await old.register(upstreamSession as any, { secret: SECRET, store: oldStore, cookie, rolling: false })
  routes(old)
  t.teardown(() => old.close())
  await old.ready()
  return {
    table,
    old,
    oldStore,
    async ours () {
      await migrate(pool, { table })
      const app = await build({ secret: SECRET, store: new PostgresStore({ pool, table }), cookie, rolling: false }, routes)
      t.teardown(() => app.close())
      return app
    }
  }
}

/** The same browser with another server. */
function at (app: FastifyInstance, visitor: Visitor): Visitor {
  const other = new Visitor(app)
  for (const [name, value] of visitor.cookies) other.cookies.set(name, value)
  return other
}

t.test('everyone who is logged in stays logged in, with all data', async t => {
  const { old, ours, table } = await start(t)
  const visitor = new Visitor(old)
  await visitor.get('/login/max')
  const values = { list: [], object: {}, float: 0.1, big: 1e21, text: 'ü日本\u2028"\\', nothing: null, nested: { __proto__: null, b: [1] } }
  for (const [key, value] of Object.entries(values)) await visitor.get(`/write/${key}/${encodeURIComponent(JSON.stringify(value))}`)
  const before = (await visitor.get('/data')).json()
  const app = await ours()
  t.same((await at(app, visitor).get('/data')).json(), before)
  t.equal((await pool.query(`select from "${table}" where data is null`)).rows.length, 0, 'all rows are migrated')
})

t.test('migrate() does not wait for an open transaction on the table, such as a backup', async t => {
  const { ours, table, old } = await start(t)
  const visitor = new Visitor(old)
  await visitor.get('/login/max')
  await ours()
  const client = await pool.connect()
  await client.query(`begin; insert into "${table}" (sid, sess, expire) values ('other', '{}', now())`)
  const impatient = openPool(t, url, { options: '-c lock_timeout=2s' })
  await migrate(impatient, { table })
  await client.query('rollback')
  client.release()
  await migrate(pool, { table })
  t.match((await at(await ours(), visitor).get('/data')).json(), { user: 'max' })
})

t.test('a row with an infinite or ancient end does not make migrate() fail, and can be read', async t => {
  const { table, ours } = await start(t)
  const cookie = { expires: '0000-01-01T00:00:00.000Z', originalMaxAge: null }
  await pool.query(`insert into "${table}" values ('never', '{"n":1,"cookie":{}}', 'infinity'), ('long ago', $1, '-infinity')`, [{ cookie }])
  await ours()
  const store = new PostgresStore({ pool, table })
  t.match(await store.get('never'), { n: 1 })
  await pool.query(`update "${table}" set expire = 'infinity' where sid = 'long ago'`)
  t.same(Object.keys(await store.all()).sort(), ['long ago', 'never'])
})

t.test('the JSON text of each value stays the same, to the letter', async t => {
  const { table, ours, oldStore } = await start(t)
  await new Promise(resolve => oldStore.set('a', record({}), resolve))
  const sess = '{"n": 1.0, "big":12345678901234567890123, "zero":"\\u0000", "half":"\\ud800", "o":{"b":1,"a":2,"b":3}, "qu\\"ote\\n": [ ], "cookie":{"originalMaxAge":null}}'
  await pool.query(`update "${table}" set sess = $1`, [sess])
  await ours()
  const { rows: [{ data }] } = await pool.query(`select data from "${table}"`)
  t.same(data, {
    n: '1.0', big: '12345678901234567890123', zero: '"\\u0000"', half: '"\\ud800"', o: '{"b":1,"a":2,"b":3}', 'qu\\"ote\\n': '[ ]'
  })
  const { cookie: _, ...found } = await new PostgresStore({ pool, table }).get('a') as any
  t.same(found, JSON.parse(sess.replace(/, "cookie.*/, '}')))
})

t.test('both versions can be used at the same time: each reads what the other one writes', async t => {
  const { old, ours, table } = await start(t)
  const app = await ours()
  for (const [first, second] of [[old, app], [app, old]] as const) {
    const visitor = new Visitor(first)
    await visitor.get('/login/max')
    t.same((await at(second, visitor).get('/data')).json(), { user: 'max' })
    await at(second, visitor).get('/write/a/1')
    await visitor.get('/write/b/%7B%22c%22%3A%5B%5D%7D')
    await at(second, visitor).get('/write/a/null')
    for (const site of [first, second]) t.same((await at(site, visitor).get('/data')).json(), { user: 'max', a: null, b: { c: [] } })
    await at(second, visitor).get('/logout')
    for (const site of [first, second]) t.same((await at(site, visitor).get('/data')).json(), {}, 'logged out in both')
  }
  const { rows } = await pool.query(`select sess::text from "${table}"`)
  t.ok(rows.every(({ sess }) => typeof JSON.parse(sess).cookie === 'object'), 'records stay complete')
})

t.test('each version knows the end of a session that the other one has written or touched', async t => {
  const { table, ours, oldStore } = await start(t)
  await ours()
  const store = new PostgresStore({ pool, table }) as any
  const ask = (method: string, ...args: unknown[]): Promise<any> => new Promise((resolve, reject) => {
    oldStore[method](...args, (error: unknown, value: unknown) => error ? reject(error) : resolve(value))
  })
  const left = async (sessionId: string): Promise<number[]> => {
    const { rows: [{ old, ours }] } = await pool.query(
      `select extract(epoch from expire - now()) * 1000 as old, extract(epoch from expires_at - now()) * 1000 as ours from "${table}" where sid = $1`, [sessionId])
    return [Number(old), Number(ours)]
  }
  const end = async (sessionId: string): Promise<number> => new Date((await ask('get', sessionId)).cookie.expires).getTime() - Date.now()

  await store.set('a', record({ n: 1 }))
  t.ok((await left('a')).every(left => isAbout(left, HOUR * 1.01)), 'a session of this version')
  t.ok(isAbout(await end('a'), HOUR * 1.01))
  await store.touch('a', record({}, 2 * HOUR))
  t.ok((await left('a')).every(left => isAbout(left, 2 * HOUR + HOUR / 100)), 'touched by this version')
  t.ok(isAbout(await end('a'), 2 * HOUR + HOUR / 100), 'and its record says the same')
  await ask('touch', 'a', record({}, 3 * HOUR))
  t.ok(isAbout((await left('a'))[1] as number, 3 * HOUR), 'touched by connect-pg-simple')
  t.ok(isAbout((await store.get('a')).cookie.expires - Date.now(), 3 * HOUR - HOUR / 100))

  await ask('set', 'b', record({ n: 1 }))
  t.ok(isAbout((await store.get('b')).cookie.expires - Date.now(), HOUR), 'a session of connect-pg-simple')
  const fixed = { n: 1, cookie: { originalMaxAge: null, expires: new Date(Date.now() + 2 * HOUR) } }
  for (const [sessionId, set] of [['c', () => ask('set', 'c', fixed)], ['d', () => store.set('d', fixed)]] as const) {
    await set()
    t.ok(isAbout((await store.get(sessionId)).cookie.expires - Date.now(), 2 * HOUR), 'a fixed end')
    t.ok(isAbout(await end(sessionId), 2 * HOUR))
  }
  const none = { n: 1, cookie: { originalMaxAge: null, expires: null } }
  for (const [sessionId, set] of [['e', () => ask('set', 'e', none)], ['f', () => store.set('f', none)]] as const) {
    await set()
    t.equal((await store.get(sessionId)).cookie.expires, null, 'no end')
    t.equal((await ask('get', sessionId)).cookie.expires, null)
  }
  await store.set('g', { cookie: {} })
  t.same(Object.keys(await ask('get', 'g')), ['cookie'])
})

t.test('a row whose sess is not a session is read as an empty session', async t => {
  const { table, ours } = await start(t)
  for (const [i, sess] of ['null', '7', '[]', '{}', '{"cookie":7}', '{"cookie":{"expires":"garbage","originalMaxAge":"x"}}'].entries()) {
    await pool.query(`insert into "${table}" (sid, sess, expire) values ($1, $2, now() + interval '1 hour')`, [`s${i}`, sess])
  }
  await ours()
  t.equal(await new PostgresStore({ pool, table }).length(), 6)
  for (let i = 0; i < 6; i++) t.same(Object.keys(await new PostgresStore({ pool, table }).get(`s${i}`) ?? {}), ['cookie'])
})

t.test('several processes can migrate many rows at the same time', async t => {
  const { table } = await start(t)
  await pool.query(`insert into "${table}" select 's' || n, json_build_object('n', n), now() + interval '1 hour' from generate_series(1, 2500) n`)
  await Promise.all([1, 2, 3].map(() => migrate(pool, { table })))
  t.equal((await pool.query(`select from "${table}" where data->>'n' <> substr(sid, 2) or data is null`)).rows.length, 0)
})

t.test("oldColumns: 'drop' removes connect-pg-simple's columns, and sessions stay", async t => {
  const { old, ours, table } = await start(t)
  const visitor = new Visitor(old)
  await visitor.get('/login/max')
  const app = await ours()
  await migrate(pool, { table, oldColumns: 'drop' })
  t.same((await at(app, visitor).get('/data')).json(), { user: 'max' })
  await at(app, visitor).get('/write/a/1')
  t.same((await at(app, visitor).get('/data')).json(), { user: 'max', a: 1 })
  await migrate(pool, { table })
  await migrate(pool, { table, oldColumns: 'drop' })
  const { rows } = await pool.query('select attname from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped', [`"${table}"`])
  t.same(rows.map(({ attname }) => attname), ['sid', 'data', 'meta', 'expires_at'])
})
