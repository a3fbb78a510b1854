/** PostgresStore behind PgBouncer, during a restart of PostgreSQL, and during a failover to a replica. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { Client, type Pool } from 'pg'
import t, { type Test } from 'tap'
import { migrate, PostgresStore } from '../src/stores/postgres'
import { testStore } from '../src/testing/index'
import { build, Visitor } from './helpers'
import { openPool, promises, underTest } from './postgres/tables'
import { startPgBouncer, startPostgres, startReplica } from './servers'
import { until } from './waiting'

const VISITORS = 10

t.test('PostgresStore works through PgBouncer in transaction mode', async t => {
  const server = await startPostgres(t)
  // Fewer connections than the application has: each statement may come through a different one.
  const { url } = await startPgBouncer(t, server, ['default_pool_size = 3', 'max_client_conn = 100'])
  await testStore(t => underTest(t, openPool(t as any, url)), {
    promises,
    test: t.test
  })

  await t.test('the listening client connects directly to PostgreSQL', async t => {
    const pool = openPool(t, url)
    await migrate(pool)
    const store = new PostgresStore({ pool, listen: () => new Client({ connectionString: server.url }) }) as any
    const heard: unknown[] = []
    await store.watch('a', (code: unknown) => heard.push(code))
    await store.set('a', { cookie: {} })
    await store.destroy('a', undefined, 'logout')
    await until('it is heard', async () => heard.length > 0)
    t.same(heard, ['logout'])
  })
})

t.test('while a server restarts, requests fail with clear errors; afterwards they work, and no confirmed write is lost', async t => {
  const server = await startPostgres(t)
  const site = await Site.open(t, openPool(t, server.url, { connectionTimeoutMillis: 2000 }))
  await site.run(async () => {
    await site.confirms(100)
    await server.stop()
    await site.fails(20)
    await server.restart()
    await site.confirms(100)
  })
  await site.check(t)
})

t.test('if the connection breaks while a login waits for a lock, only that login fails', async t => {
  const server = await startPostgres(t)
  const address = await Address.of(t, server.port)
  const direct = openPool(t, server.url)
  const pool = openPool(t, `postgres://postgres@127.0.0.1:${address.port}/postgres`, { max: 1 })
  await migrate(pool)
  const app = await build({ store: new PostgresStore({ pool }), user: session => (session as any).user, maxPerUser: 3, onMaxPerUser: 'refuse' }, app => {
    app.get('/login', async request => {
      (request.session as any).user = 'max'
      return 'welcome'
    })
  })
  t.teardown(() => app.close())
  const other = await direct.connect()
  await other.query('begin; lock table session_index')
  const login = new Visitor(app).get('/login')
  const waiting = 'select from pg_stat_activity where wait_event_type = \'Lock\''
  await until('the login waits', async () => (await direct.query(waiting)).rows.length === 1)
  address.breakConnections()
  t.equal((await login).statusCode, 500)
  await other.query('rollback')
  other.release()
  for (let i = 0; i < 3; i++) t.equal((await new Visitor(app).get('/login')).body, 'welcome')
  const lent = await pool.connect()
  t.equal(lent.listenerCount('error'), 0, 'no listener is left on the connection')
  lent.release()
})

t.test('after a failover to a replica, no confirmed write is lost, and logged-out visitors stay logged out', async t => {
  const primary = await startPostgres(t)
  const replica = await startReplica(t, primary)
  const address = await Address.of(t, primary.port)
  const pool = openPool(t, `postgres://postgres@127.0.0.1:${address.port}/postgres`, { connectionTimeoutMillis: 2000 })
  const site = await Site.open(t, pool)
  // From now on a commit is confirmed only when the replica has it.
  await pool.query('alter system set synchronous_standby_names = \'*\'')
  await pool.query('select pg_reload_conf()')
  await until('the replica is waited for', async () =>
    (await pool.query('select from pg_stat_replication where sync_state = \'sync\'')).rows.length === 1)
  await site.run(async () => {
    await site.confirms(100)
    await primary.stop()
    await site.fails(20)
    await replica.promote()
    address.target = replica.port
    await site.confirms(100)
  })
  await site.check(t)

  await t.test('on a replica that is not promoted, writes fail with a clear error', async t => {
    const second = await startReplica(t, replica)
    const app = await siteOf(t, openPool(t, second.url))
    const response = await site.visitors[0]?.copy(app).get('/write/late')
    t.equal(response?.statusCode, 500)
    t.match(response?.body, /read-only transaction/)
  })
})

/** An address that leads to the current primary. */
class Address {
  target: number
  readonly port: number
  readonly #sockets: Set<Socket>

  private constructor (target: number, port: number, sockets: Set<Socket>) {
    this.target = target
    this.port = port
    this.#sockets = sockets
  }

  /** Breaks all connections without closing them properly. */
  breakConnections (): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  static async of (t: Test, target: number): Promise<Address> {
    const sockets = new Set<Socket>()
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = new Address(target, (server.address() as AddressInfo).port, sockets)
    server.on('connection', near => {
      const far = connect(address.target, '127.0.0.1')
      for (const [one, other] of [[near, far], [far, near]] as const) {
        sockets.add(one)
        one.on('error', () => {})
        one.on('close', () => other.destroy())
        one.pipe(other)
      }
    })
    t.teardown(() => {
      address.breakConnections()
      server.close()
    })
    return address
  }
}

async function siteOf (t: Test, pool: Pool): Promise<FastifyInstance> {
  const app = await build({ store: new PostgresStore({ pool }), storeTimeout: 2000, saveUninitialized: false }, app => {
    app.get('/login', async request => { (request.session as any).user = 'max' })
    app.get('/write/:key', async request => { (request.session as any)[(request.params as any).key] = 1 })
    app.get('/data', async request => Object.keys(request.session))
    app.get('/logout', async request => { await request.session.destroy() })
  })
  t.teardown(() => app.close())
  return app
}

/** An application with visitors who write to their sessions, log in and log out, all at the same time. */
class Site {
  readonly visitors: Visitor[]
  readonly #app: FastifyInstance
  readonly #confirmed: string[][] = []
  readonly #ended: Visitor[] = []
  readonly #errors = new Set<string>()
  #confirmations = 0
  #failures = 0

  private constructor (app: FastifyInstance) {
    this.#app = app
    this.visitors = Array.from({ length: VISITORS }, () => new Visitor(app))
  }

  static async open (t: Test, pool: Pool): Promise<Site> {
    await migrate(pool)
    return new Site(await siteOf(t, pool))
  }

  /** Waits until that many more requests are confirmed. */
  async confirms (count: number): Promise<void> {
    const wanted = this.#confirmations + count
    await until(`${count} requests are confirmed`, async () => this.#confirmations >= wanted)
  }

  async fails (count: number): Promise<void> {
    const wanted = this.#failures + count
    await until(`${count} requests fail`, async () => this.#failures >= wanted)
  }

  async run (course: () => Promise<void>): Promise<void> {
    for (const visitor of this.visitors) await visitor.get('/login')
    const state = { isOver: false }
    const done = course().finally(() => { state.isOver = true })
    await Promise.all([done, ...this.visitors.map(async (visitor, i) => {
      const confirmed: string[] = this.#confirmed[i] = []
      for (let n = 0; !state.isOver; n++) {
        if (await this.#confirm(visitor, `/write/key${n}`)) confirmed.push(`key${n}`)
        if (n % 5 === 0) await this.#comeAndGo()
      }
    })])
  }

  async check (t: Test): Promise<void> {
    t.ok(this.#confirmations > 200 && this.#failures >= 20, `${this.#confirmations} confirmed, ${this.#failures} failed`)
    t.comment('errors', [...this.#errors])
    for (const error of this.#errors) t.ok(error.length > 10 && !error.includes('undefined'), `the error says why: ${error}`)
    for (const [i, visitor] of this.visitors.entries()) {
      const keys: string[] = (await visitor.get('/data')).json()
      t.same(this.#confirmed[i]?.filter(key => !keys.includes(key)), [], 'no confirmed write is lost')
    }
    t.ok(this.#ended.length > 10)
    for (const visitor of this.#ended) t.same((await visitor.get('/data')).json(), ['cookie'], 'a logged-out visitor stays logged out')
  }

  async #comeAndGo (): Promise<void> {
    const visitor = new Visitor(this.#app)
    if (!await this.#confirm(visitor, '/login')) return
    const before = visitor.copy()
    if (await this.#confirm(visitor, '/logout')) this.#ended.push(before)
  }

  async #confirm (visitor: Visitor, url: string): Promise<boolean> {
    const { statusCode, body } = await visitor.get(url)
    if (statusCode === 200) this.#confirmations++
    else {
      this.#failures++
      this.#errors.add(JSON.parse(body).message)
      await new Promise(resolve => setTimeout(resolve, 20))
    }
    return statusCode === 200
  }
}
