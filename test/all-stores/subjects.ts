/** The stores on which the suite runs, and which promises each is declared to keep. */
import '../../packages/sqlite'
import '../../packages/stores'
import { once } from 'node:events'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import connectSqlite from 'better-sqlite3-session-store'
import connectLoki from 'connect-loki'
import connectPg from 'connect-pg-simple'
import { RedisStore as ConnectRedis9 } from 'connect-redis'
import { RedisStore as ConnectRedis10 } from 'connect-redis-10'
import { RedisStore as ConnectRedis8 } from 'connect-redis-8'
import connectSequelize from 'connect-session-sequelize'
import { MemoryStore as ExpressMemoryStore } from 'express-session'
import IoRedis from 'ioredis'
import connectMemory from 'memorystore'
import pg from 'pg'
import { Sequelize } from 'sequelize'
import connectFile from 'session-file-store'
import type { Test } from 'tap'
import fastifySession, { MemoryStore, type SessionStore } from '../../src/index'
import { RedisStore } from '../../src/stores/redis'
import { MINUTE, recordIntervals, type CreateStore, type StoreUnderTest } from '../../src/testing/context'
import type { Promises } from '../../src/testing/promises'
import { openPool, underTest } from '../postgres/tables'
import { connectTo, letPass, startPostgres, startRedis, temporaryFolder, type NodeRedis } from '../servers'

export interface Contestant {
  name: string
  /** The packages that it consists of, for their versions. */
  packages: string[]
  promises: Promises
  /** Starts what the store needs, for all of its tests. */
  prepare (t: Test): CreateStore | Promise<CreateStore>
}

// The plugin as a Fastify application passes it on.
const connectable = fastifySession as any

// What holds for most of them.
const base: Promises = {
  shared: true,
  parallel: false,
  ended: false,
  renews: false,
  noDeadCookie: false,
  touches: true,
  oneCall: false,
  expires: true,
  waits: false,
  dates: false,
  onlyYours: true,
  lists: true,
  stops: true,
  copies: true,
  touchesOnly: false,
  users: false,
  updates: false,
  tellsGone: false
}
const memory: Promises = { ...base, shared: false }
const redis: Promises = {
  ...base, parallel: true, ended: true, renews: true, oneCall: true, touchesOnly: true, users: true, updates: true, tellsGone: true
}

// RedisStore sets the expiry in Redis again only after a hundredth of the lifetime.
const REDIS_GRAIN = 0.01

/** The stores of this package. */
export const ours: Contestant[] = [
  {
    name: 'MemoryStore',
    packages: [],
    promises: { ...memory, waits: true, dates: true, touchesOnly: true, users: true, updates: true, tellsGone: true },
    prepare: () => () => ({ store: new MemoryStore() })
  },
  {
    name: 'RedisStore with node-redis',
    packages: ['redis'],
    promises: redis,
    prepare: t => withNodeRedis(t, client => new RedisStore({ client }), REDIS_GRAIN)
  },
  {
    name: 'RedisStore with ioredis',
    packages: ['ioredis'],
    promises: redis,
    prepare: t => withIoRedis(t, client => new RedisStore({ client }), REDIS_GRAIN)
  },
  {
    name: 'PostgresStore',
    packages: ['pg'],
    promises: redis,
    async prepare (t) {
      const pool = openPool(t, (await startPostgres(t)).url)
      return t => underTest(t, pool)
    }
  }
]

/** The stores of other packages. */
export const others: Contestant[] = [
  {
    name: 'connect-redis 9 with node-redis',
    packages: ['connect-redis', 'redis'],
    promises: base,
    prepare: t => withNodeRedis(t, client => new ConnectRedis9({ client: client as any }))
  },
  {
    name: 'connect-redis 10 with node-redis',
    packages: ['connect-redis-10', 'redis'],
    promises: base,
    prepare: t => withNodeRedis(t, client => new ConnectRedis10({ client: client as any }))
  },
  {
    name: 'connect-redis 8 with ioredis',
    packages: ['connect-redis-8', 'ioredis'],
    promises: base,
    prepare: t => withIoRedis(t, client => new ConnectRedis8({ client }))
  },
  {
    name: 'connect-pg-simple',
    packages: ['connect-pg-simple'],
    promises: { ...base, lists: false },
    async prepare (t) {
      const { url } = await startPostgres(t)
      const pool = new pg.Pool({ connectionString: url })
      t.teardown(() => pool.end())
      const PgStore = connectPg(connectable)
      return async t => {
        const open = (): SessionStore => {
          const store = new PgStore({ pool, createTableIfMissing: true })
          t.after(() => store.close())
          return store
        }
        await pool.query('DROP TABLE IF EXISTS session')
        return { store: open(), another: open }
      }
    }
  },
  {
    name: 'connect-session-sequelize',
    packages: ['connect-session-sequelize'],
    promises: { ...base, expires: false, lists: false },
    async prepare (t) {
      const { url } = await startPostgres(t)
      const db = new Sequelize(url, { logging: false })
      t.teardown(() => db.close())
      const SequelizeStore = connectSequelize(connectable.Store)
      return async t => {
        const open = () => {
          const store = new SequelizeStore({ db })
          t.after(() => store.stopExpiringSessions())
          return store
        }
        const store = open()
        await store.sync({ force: true })
        // The column has room for 36 characters: enough for the library's ids, but not for all that the suite makes up.
        await db.query('ALTER TABLE "Sessions" ALTER sid TYPE text')
        return { store, another: open, pass: cleaning(() => (store as any).clearExpiredSessions()) }
      }
    }
  },
  {
    name: 'better-sqlite3-session-store',
    packages: ['better-sqlite3-session-store'],
    promises: { ...base, lists: false, stops: false },
    prepare () {
      const SqliteStore = connectSqlite(connectable)
      return async t => {
        const path = await temporaryFolder(t)
        // The store has no way to stop its interval.
        recordIntervals(t)
        const open = (): SessionStore => {
          const client = new Database(join(path, 'sessions.db'))
          t.after(() => client.close())
          client.pragma('journal_mode = WAL')
          client.pragma('synchronous = OFF')
          // SQLite has its own clock.
          client.function('datetime', { deterministic: false }, datetime)
          return new SqliteStore({ client })
        }
        return { store: open(), another: open }
      }
    }
  },
  {
    name: 'session-file-store',
    packages: ['session-file-store'],
    promises: { ...base, noDeadCookie: true, onlyYours: false, lists: false },
    prepare () {
      const FileStore = connectFile(connectable)
      return async t => {
        const path = await temporaryFolder(t, true)
        const open = (): SessionStore => new FileStore({ path, retries: 0, logFn () {} })
        return { store: open(), another: open }
      }
    }
  },
  {
    name: 'connect-loki',
    packages: ['connect-loki'],
    promises: { ...memory, expires: false, waits: true, dates: true, lists: false, stops: false, copies: false, touchesOnly: true },
    prepare () {
      const LokiStore = connectLoki(connectable)
      return async t => {
        // The store has no way to stop its interval for saving.
        recordIntervals(t)
        const store = new LokiStore({ path: join(await temporaryFolder(t, true), 'sessions.db') })
        await once(store, 'connect')
        return { store }
      }
    }
  },
  {
    name: 'memorystore',
    packages: ['memorystore'],
    promises: memory,
    prepare () {
      const Store = connectMemory(connectable)
      return () => ({ store: new Store({}) as unknown as SessionStore })
    }
  },
  {
    name: "express-session's MemoryStore",
    packages: ['express-session'],
    promises: { ...memory, waits: true },
    prepare: () => () => ({ store: new ExpressMemoryStore() as unknown as SessionStore })
  }
]

function datetime (text: string): string {
  return new Date(text === 'now' ? Date.now() : text).toISOString().slice(0, 19).replace('T', ' ')
}

/** Cleans up when its timer would, because the suite does not wait for the timer. */
function cleaning (clean: () => Promise<unknown>, interval = 15 * MINUTE): (milliseconds: number) => Promise<void> {
  let passed = 0
  return async milliseconds => {
    const before = passed
    passed += milliseconds
    if (Math.floor(passed / interval) > Math.floor(before / interval)) await clean()
  }
}

async function withNodeRedis (t: Test, open: (client: NodeRedis) => unknown, grain = 0): Promise<CreateStore> {
  const client = await connectTo(t, await startRedis(t))
  return () => redisStoreUnderTest(client, () => open(client) as SessionStore, grain)
}

async function withIoRedis (t: Test, open: (client: IoRedis) => unknown, grain = 0): Promise<CreateStore> {
  const server = await startRedis(t)
  const admin = await connectTo(t, server)
  const client = new IoRedis(server.url)
  t.teardown(() => client.disconnect())
  return () => redisStoreUnderTest(admin, () => open(client) as SessionStore, grain)
}

async function redisStoreUnderTest (admin: NodeRedis, open: () => SessionStore, grain: number): Promise<StoreUnderTest> {
  await admin.flushAll()
  return {
    store: open(),
    another: open,
    pass: milliseconds => letPass(admin, milliseconds),
    grain
  }
}
