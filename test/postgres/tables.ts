/** Tables of PostgresStore for tests, in which time can be made to pass. */
import { Pool } from 'pg'
import type { Test } from 'tap'
import type { StoreUnderTest, TestContext } from '../../src/testing/context'
import type { Promises } from '../../src/testing/index'
import { migrate, PostgresStore, type PostgresStoreOptions } from '../../src/stores/postgres'

// PostgreSQL itself knows the end, and a read moves it only after a hundredth of the lifetime.
export const GRAIN = 0.01

let tables = 0

export function openPool (t: Pick<Test, 'teardown'>, url: string, options: object = {}): Pool {
  const pool = new Pool({ connectionString: url, ...options }).on('error', () => {})
  t.teardown(() => pool.end())
  return pool
}

/** A table of its own for a test. */
export async function freshTable (pool: Pool, schema = ''): Promise<string> {
  const table = `${schema}session ${++tables}`
  await migrate(pool, { table })
  return table
}

/** Makes the rows older, because PostgreSQL's clock can't be moved. */
export async function letPass (pool: Pool, table: string, milliseconds: number): Promise<void> {
  const [sessions, index] = [`"${table}"`, `"${table}_index"`]
  const earlier = '- $1::float8 * interval \'1 ms\''
  await pool.query(`update ${sessions} set expires_at = expires_at ${earlier}`, [milliseconds])
  await pool.query(`update ${index} set expires_at = expires_at ${earlier}, entered_at = entered_at ${earlier}`, [milliseconds])
}

/** The promises that the store suite finds kept. */
export const promises: Promises = {
  shared: true,
  parallel: true,
  ended: true,
  renews: true,
  noDeadCookie: false,
  touches: true,
  oneCall: true,
  expires: true,
  waits: false,
  dates: false,
  onlyYours: true,
  lists: true,
  stops: true,
  copies: true,
  touchesOnly: true,
  users: true,
  updates: true,
  tellsGone: true
}

/** Opens a store for the store suite. */
export async function underTest (
  _t: TestContext, pool: Pool, options: Partial<PostgresStoreOptions> = {}
): Promise<StoreUnderTest> {
  const table = await freshTable(pool)
  const open = (): PostgresStore => new PostgresStore({ pool, table, ...options })
  return { store: open(), another: open, pass: milliseconds => letPass(pool, table, milliseconds), grain: GRAIN }
}
