/** Requests that race for one session in a sealed store, in every possible order. */
import './uncounted'
import { RedisStore as ConnectRedis } from 'connect-redis'
import t from 'tap'
import { MemoryStore } from '../src/index'
import { PostgresStore } from '../src/stores/postgres'
import { RedisStore } from '../src/stores/redis'
import { sealed, type SealedOptions } from '../src/stores/sealed'
import { raceAll, PAIRS, USER_RACES } from '../src/testing/races'
import type { RaceEvent } from '../src/testing/race-options'
import type { SessionStore } from '../src/types/store'
import { freshTable, openPool } from './postgres/tables'
import { connectTo, startPostgres, startRedis } from './servers'

const sealing = (store: SessionStore, options: Partial<SealedOptions> = {}) =>
  sealed(store, { keys: ['the first key, which has 32 characters'], legacy: false, ...options })

const FEW: ReadonlyArray<readonly RaceEvent[]> = [
  ['write a', 'write b'], ['write a', 'log out'], ['read', 'log out'], ['push', 'push'], ['take', 'take'], ['renew', 'write a'], ['log in', 'write a']
] as const

t.test('sealed stores keep every promise in every order', async t => {
  const client = await connectTo(t, await startRedis(t))
  const expire = (): Promise<unknown> => client.flushDb()
  const pool = openPool(t, (await startPostgres(t)).url)
  const table = await freshTable(pool)
  const emptyTable = (): Promise<unknown> => pool.query(`delete from "${table}"`)
  for (const [name, options, races] of [
    ['MemoryStore', { store: sealing(new MemoryStore()) }, PAIRS],
    ['MemoryStore, by user', { store: sealing(new MemoryStore()), users: {} }, USER_RACES],
    ['MemoryStore, with sessions from before', { store: sealing(new MemoryStore(), { legacy: true }), users: {} }, FEW],
    ['RedisStore', { store: sealing(new RedisStore({ client })), expire }, FEW],
    ['PostgresStore', { store: sealing(new PostgresStore({ pool, table })), expire: emptyTable }, FEW],
    ['connect-redis', { store: sealing(new ConnectRedis({ client: client as any }) as unknown as SessionStore), expire }, FEW]
  ] as const) {
    const { schedules, violations } = await raceAll(options, races)
    t.ok(schedules > races.length, `${name}: ${schedules} schedules`)
    t.same(violations, [], name)
  }
})
