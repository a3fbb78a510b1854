/** Requests that race for one session in PostgreSQL, in every possible order. The other stores are in races.test.ts. */
import './uncounted'
import type { Pool } from 'pg'
import t, { type Test } from 'tap'
import { PostgresStore } from '../src/stores/postgres'
import type { RaceOptions } from '../src/testing/race-options'
import { raceAll, RACES, USER_RACES } from '../src/testing/races'
import { freshTable, openPool } from './postgres/tables'
import { startPostgres } from './servers'

let pool: Pool

t.before(async () => { pool = openPool(t, (await startPostgres(t)).url) })

async function keepsAll (t: Test, races: typeof RACES, options: Partial<RaceOptions>): Promise<void> {
  const table = await freshTable(pool)
  const store = new PostgresStore({ pool, table })
  const expire = (): Promise<unknown> => pool.query(`delete from "${table}"`)
  const { schedules, violated, violations } = await raceAll({ store, expire, ...options }, races)
  t.comment(`${schedules} schedules, ${violated} with violations`)
  t.ok(schedules > races.length)
  t.same(violations, [])
  const { rows } = await pool.query(`select from "${table}" union all select from "${table}_index"`)
  t.equal(rows.length, 0, 'the kit removes everything that it stored')
}

t.test('PostgresStore keeps every promise in every order', t => keepsAll(t, RACES, {}))

t.test('every promise is kept in every order if sessions are ended by user', t =>
  keepsAll(t, USER_RACES.filter(([revoke]) => revoke === 'revoke'), { users: {} }))
