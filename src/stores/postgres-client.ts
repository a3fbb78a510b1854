/** What PostgresStore needs from a pool, and how it sends statements to it. */
import { StoreError } from '../errors'

/** A pool that the application made: a `Pool` of `pg` 8 or newer, or an object with the same interface. */
export interface PostgresPool {
  query (text: string, values?: any[]): Promise<PostgresResult>
  connect (): Promise<Lent>
}

interface Lent {
  query (text: string, values?: any[]): Promise<PostgresResult>
  release (error?: any): void
  on? (event: string, listener: () => void): unknown
  off? (event: string, listener: () => void): unknown
}

interface Answered {
  readonly rows: any[]
  readonly count: number
}

interface PostgresResult {
  rows: any[]
  rowCount: number | null
}

/** A client of `pg` that isn't connected yet. */
export interface PostgresClient {
  connect (): Promise<unknown>
  query (text: string): Promise<{ rows: any[] }>
  on (event: string, listener: (...args: any[]) => void): unknown
  end (): Promise<unknown>
}

type AnyPool = Record<string, any>

// A deadlock, a serialization failure (if the application has made transactions stricter), or two claims in the same
// microsecond. Nothing was written, so the statement is sent again.
const TRY_AGAIN = ['40P01', '40001', '23505']
const MOST_TRIES = 10

// Unknown table, unknown column.
const NOT_MADE = ['42P01', '42703']

/** Describes what is wrong with a value given as the pool; undefined if nothing is. */
export function flawOf (pool: unknown): string | undefined {
  const { query, connect, then, $pool, release, processID } = (pool ?? {}) as AnyPool
  if (typeof pool === 'string') return 'was given a connection string: write new Pool({ connectionString })'
  if (typeof then === 'function') return 'was given a promise: await it first'
  if ($pool !== undefined) return 'was given a database of pg-promise: its pool is db.$pool'
  if (typeof query !== 'function' || typeof connect !== 'function') {
    return 'needs a pool of pg: new Pool({ connectionString })'
  }
  if (typeof release === 'function' || processID !== undefined) {
    return 'was given a client, which is one connection, and useless once that breaks: write new Pool()'
  }
  return undefined
}

/**
 * Adds a listener if there is none, because otherwise a connection that breaks would end the process. Calls report the
 * error anyway.
 */
export function hearErrors (pool: AnyPool): void {
  if (pool.listenerCount?.('error') === 0) pool.on('error', saidByTheCall)
}

function saidByTheCall (): void {}

/** Runs one statement, which is a transaction of its own. */
export async function ask (
  pool: PostgresPool, text: string, values: unknown[], tries = MOST_TRIES
): Promise<Answered> {
  try {
    const { rows, rowCount } = await pool.query(text, values)
    return { rows, count: Number(rowCount) }
  } catch (error: any) {
    if (tries > 1 && TRY_AGAIN.includes(error?.code)) return await ask(pool, text, values, tries - 1)
    throw withoutValues(error)
  }
}

/** Runs one statement, after those of other processes that hold the same lock. */
export async function askInTurn (
  pool: PostgresPool, lock: number, text: string, values: unknown[]
): Promise<Answered> {
  let client: Lent | undefined
  try {
    client = await pool.connect()
    // A pool doesn't listen for errors of a client that it has lent, so one that breaks would end the process.
    client.on?.('error', saidByTheCall)
    // Two statements, so that the second one sees what was written while the first one waited.
    await client.query(`begin isolation level read committed; select pg_advisory_xact_lock(${lock})`)
    const { rows, rowCount } = await client.query(text, values)
    await client.query('commit')
    client.off?.('error', saidByTheCall)
    client.release()
    return { rows, count: Number(rowCount) }
  } catch (error) {
    // This closes the connection, which rolls the transaction back.
    client?.release(true)
    throw withoutValues(error)
  }
}

/**
 * Removes the statement's values from an error. PostgreSQL puts them there, so a session id would end up in a log. An
 * error without a code only says that the connection is lost, or that there is none.
 */
export function withoutValues (error: any): unknown {
  if (error?.code === undefined) return new StoreError('query', String(error?.message ?? error), { cause: error })
  for (const name of ['detail', 'where', 'internalQuery']) delete error[name]
  if (NOT_MADE.includes(error.code)) error.message += ' (the table is made by migrate() of @fastify/session/postgres)'
  return error
}
