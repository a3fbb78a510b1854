import type * as Fastify from 'fastify'
import { OptionError, RecordError } from '../errors'
import { answered } from './answered'
import { endMoveOf, isData, isMeta, lifeOf, metaOf, objectOf, ownEndOf, slackOf, timeToKeep, type Meta } from './kept-life'
import { ask, flawOf, hearErrors, type PostgresClient, type PostgresPool } from './postgres-client'
import { PostgresIndex } from './postgres-index'
import { escaped, statementsOn, unescaped, type Statements } from './postgres-sql'
import { PostgresWatch } from './postgres-watch'
import { foundInTexts, jsonOf, parse, textOf, type Found } from './text-record'
import { checkTtl, tellMistakes } from './store-options'
import { ValueCheck } from './value-check'
import { fingerprint } from '../diagnostics'
import { expiryOf, NO_FIELDS } from '../values/record'
import type {
  Callback, CallbackSession, Claimed, Claiming, EndCode, FieldChanges, FoundCallback, IndexEntry, Revoking,
  SessionChanges, SessionRecord, SessionStore, UpdateResult
} from '../types/store'

export { migrate, schema, type MigrateOptions } from './postgres-migrate'
export type { PostgresClient, PostgresPool, UpdateResult }

export interface PostgresStoreOptions {
  /** A pool of `pg`: `new Pool({ connectionString })`. It may connect to PgBouncer, in any mode. */
  pool: PostgresPool
  /**
   * The name of the table for the sessions, which `migrate` makes. If its schema isn't in the `search_path`, put it
   * before the name: 'app.session'. The index by user is in a second table, with '_index' after the name.
   *
   * @default 'session'
   */
  table?: string
  /**
   * How long a session without an idle timeout of its own is kept after its last use (with `rolling: false`, its last
   * write), in milliseconds.
   *
   * @default 86400000, one day
   */
  ttl?: number
  /**
   * Returns a new client of `pg`, used for nothing else: `() => new Client({ connectionString })`. The client listens
   * for sessions that other processes end, so that `session.signal` fires at once. It must connect to PostgreSQL
   * itself, because PgBouncer in transaction mode doesn't pass messages on. Called again if the connection is lost.
   *
   * @default undefined, `session.signal` fires within `watchInterval`
   */
  listen?: () => PostgresClient
}

const ONE_DAY = 86_400_000

// How many expired sessions are removed at once, and the pause before the next removal, in milliseconds. If so many
// were removed, there may be more, and there is no pause.
const SWEPT = 1000
const SWEEP_PAUSE = 60_000

const LIBRARY = 'a field of the library'

/**
 * Keeps sessions in PostgreSQL. A session is one row with two columns of JSON texts: one for the top-level keys, and
 * one for the library's own fields. Each operation is one statement. Once in a hundredth of the session's life, a
 * read needs a second one, which moves the end. Changes are written in one atomic step, only if the session still
 * exists.
 *
 * A record's keys are parsed when they are read. A key that can't be parsed throws FST_ERR_SESSION_RECORD then.
 *
 * Values that JSON changes (a `Map`, a `Date`, an instance of a class) are warned about at a key's first write. A value
 * that JSON can't hold (a `BigInt`, a circle) rejects with FST_ERR_SESSION_VALUE, and nothing of that call is written.
 *
 * Expired sessions are removed when a new one is written, a thousand at a time. There is no timer.
 *
 * Methods answer through their callback, or by a promise if they are called without one.
 */
export class PostgresStore implements SessionStore {
  /** The pool, as the application made it. */
  readonly pool: PostgresPool
  readonly #sql: Statements
  readonly #index: PostgresIndex
  readonly #ttl: number
  readonly #check = new ValueCheck()
  readonly #watch: PostgresWatch | undefined
  #sweepAt = 0

  /** @throws FST_ERR_SESSION_OPTION */
  constructor (options: PostgresStoreOptions = {} as PostgresStoreOptions) {
    const { pool, table = 'session', ttl = ONE_DAY, listen } = options
    const flaw = flawOf(pool)
    if (flaw !== undefined) throw new OptionError(`store is wrong: PostgresStore ${flaw}`)
    checkTtl('PostgresStore', ttl)
    if (listen !== undefined && typeof listen !== 'function') {
      const needed = 'a function that makes a client of pg: () => new Client({ connectionString })'
      throw new OptionError(`store is wrong: listen of a PostgresStore must be ${needed}`)
    }
    tellMistakes('PostgresStore', options, NAMES)
    hearErrors(pool)
    this.pool = pool
    this.#sql = statementsOn(table)
    this.#watch = listen === undefined ? undefined : new PostgresWatch(listen, this.#sql.channel)
    this.#ttl = Math.ceil(ttl)
    this.#index = new PostgresIndex(pool, table, this.#ttl)
  }

  get (sessionId: string, callback?: CallbackSession): Promise<SessionRecord | undefined> {
    return answered(this.#get(sessionId), callback)
  }

  getAndTouch (sessionId: string, callback?: CallbackSession): Promise<SessionRecord | undefined> {
    return answered(this.#getAndTouch(sessionId), callback)
  }

  inspect (sessionId: string, callback?: CallbackSession): Promise<SessionRecord | undefined> {
    return answered(this.#get(sessionId), callback)
  }

  set (sessionId: string, session: Fastify.Session, callback?: Callback): Promise<void> {
    return answered(this.#set(sessionId, session), callback)
  }

  /** @param code why the session ends, for `session.signal`; 'revoked' by default */
  destroy (sessionId: string, callback?: FoundCallback, code?: EndCode): Promise<SessionRecord | false> {
    return answered(this.#destroy(sessionId, code ?? 'revoked'), callback)
  }

  touch (sessionId: string, session: Fastify.Session, callback?: FoundCallback): Promise<boolean> {
    return answered(this.#touch(sessionId, ownEndOf(objectOf(session.cookie))), callback)
  }

  update (
    sessionId: string, changes: SessionChanges, session: Fastify.Session, callback?: FoundCallback
  ): Promise<boolean> {
    return answered(this.#update(sessionId, '{}', changes, session), callback)
  }

  /**
   * As `update`, but only if these keys are as they were in a record that this store returned: their texts are
   * compared, and a key that was missing must be missing.
   */
  updateIf (
    sessionId: string, record: SessionRecord, keys: readonly string[], changes: SessionChanges,
    session: Fastify.Session, callback?: (error: any, result?: UpdateResult) => void
  ): Promise<UpdateResult> {
    return answered(this.#updateIf(sessionId, record, keys, changes, session), callback)
  }

  claim (
    userKey: string, sessionId: string, claiming: Claiming, callback?: (error: any, claimed?: Claimed) => void
  ): Promise<Claimed> {
    return answered(this.#index.claim(userKey, sessionId, claiming), callback)
  }

  release (userKey: string, sessionIds: readonly string[], callback?: Callback): Promise<void> {
    return answered(this.#index.release(userKey, sessionIds), callback)
  }

  revoke (userKey: string, which: Revoking, callback?: (error: any, count?: number) => void): Promise<number> {
    return answered(this.#index.revoke(userKey, which), callback)
  }

  endingsOf (userKey: string, callback?: (error: any, sessionIds?: string[]) => void): Promise<string[]> {
    return answered(this.#index.endingsOf(userKey), callback)
  }

  claimsOf (
    userKey: string, before: number, count: number, callback?: (error: any, entries?: IndexEntry[]) => void
  ): Promise<IndexEntry[]> {
    return answered(this.#index.claimsOf(userKey, before, count), callback)
  }

  /** Calls `onEnd` when a session ends, if there is the option `listen`. */
  async watch (sessionId: string, onEnd: (code?: EndCode) => void): Promise<() => void> {
    return await this.#watch?.watch(sessionId, onEnd) ?? (() => {})
  }

  /** All sessions, by their ids. Reads the whole table, so don't call it with every request. */
  all (
    callback?: (error: any, sessions?: Record<string, SessionRecord>) => void
  ): Promise<Record<string, SessionRecord>> {
    return answered(this.#all(), callback)
  }

  /** The number of sessions. Reads the whole table, so don't call it with every request. */
  length (callback?: (error: any, length?: number) => void): Promise<number> {
    return answered(this.#ask('length', []).then(({ rows }) => Number(rows[0].count)), callback)
  }

  /** Removes all sessions, and the index by user. */
  clear (callback?: Callback): Promise<void> {
    return answered(this.#ask('clear', []).then(() => {}), callback)
  }

  async #find (sessionId: string): Promise<Found | undefined> {
    const { rows } = await this.#ask('read', [escaped(sessionId)])
    return rows.length === 0 ? undefined : this.#foundIn(rows[0])
  }

  async #get (sessionId: string): Promise<SessionRecord | undefined> {
    return (await this.#find(sessionId))?.record
  }

  async #getAndTouch (sessionId: string): Promise<SessionRecord | undefined> {
    const found = await this.#find(sessionId)
    if (found === undefined || !found.isDue) return found?.record
    return await this.#touch(sessionId, NaN) ? found.record : undefined
  }

  async #set (sessionId: string, session: object): Promise<void> {
    const { cookie, ...data } = session as SessionRecord
    const kept = textsOf(data, isData)
    const meta = textsOf({ ...metaOf(cookie), ...endIn(cookie) }, isKept)
    this.#check.look(sessionId, session)
    await this.#ask('set', [escaped(sessionId), kept.text, meta.text, timeToKeep(session, this.#ttl)])
    this.#sweep()
  }

  async #destroy (sessionId: string, code: EndCode): Promise<SessionRecord | false> {
    const { rows } = await this.#ask('destroy', [escaped(sessionId), `${fingerprint(sessionId)} ${code}`])
    if (rows.length === 0) return false
    try {
      return this.#foundIn(rows[0]).record
    } catch {
      // It can't be read, but it was removed.
      return {}
    }
  }

  /** @param end in milliseconds since the epoch; NaN for one idle timeout from now */
  async #touch (sessionId: string, end: number): Promise<boolean> {
    const { count } = await this.#ask('touch', [escaped(sessionId), Date.now(), orNull(end), this.#ttl])
    return count > 0
  }

  /** @param expected the JSON of an object with the expected texts by key, null for a key that must be missing */
  async #update (
    sessionId: string, expected: string, { set, unset, meta = NO_FIELDS }: SessionChanges, { cookie }: Fastify.Session
  ): Promise<boolean> {
    const isExact = Object.hasOwn(meta.set, 'expires')
    const data = textsOf(set, isData)
    const ends = isExact ? endIn({ expires: objectOf(cookie).expires, originalMaxAge: meta.set.originalMaxAge }) : {}
    const own = textsOf({ ...meta.set, ...ends }, isExact ? isKept : isMeta)
    this.#check.look(sessionId, set)
    const ownEnd = ownEndOf(objectOf(cookie))
    const { count } = await this.#ask('update', [
      escaped(sessionId),
      removed(unset, data, isData), data.text, removed(meta.unset, own, isMeta), own.text,
      Date.now(), orNull(ownEnd), this.#ttl, endMoveOf(meta.set, ownEnd), expected
    ])
    return count > 0
  }

  async #updateIf (
    sessionId: string, record: SessionRecord, keys: readonly string[], changes: SessionChanges, session: Fastify.Session
  ): Promise<UpdateResult> {
    const expected = Object.fromEntries(keys.map(key => [escaped(key), textOf(record, key) || null]))
    if (await this.#update(sessionId, JSON.stringify(expected), changes, session)) return 'written'
    const { rows } = await this.#ask('isThere', [escaped(sessionId)])
    return rows.length > 0 ? 'changed' : 'gone'
  }

  async #all (): Promise<Record<string, SessionRecord>> {
    const sessions: Record<string, SessionRecord> = Object.create(null)
    const { rows } = await this.#ask('all', [])
    for (const row of rows) {
      try {
        sessions[unescaped(row.sid)] = this.#foundIn(row).record
      } catch {
        // It can't be read. The others can.
      }
    }
    return sessions
  }

  #foundIn ({ data, meta, left_: left }: { data: string, meta: string, left_: unknown }): Found {
    const texts = textsIn(data, 'the whole of it')
    const own: Meta = {}
    for (const [name, text] of textsIn(meta, LIBRARY)) own[name] = parse(text, LIBRARY)
    return foundInTexts(texts, own, Number(left), this.#ttl, slackOf(lifeOf(own, this.#ttl)))
  }

  /** Removes expired sessions. Nothing waits for it, and if it fails, a later call tries again. */
  #sweep (): void {
    const now = Date.now()
    if (now < this.#sweepAt) return
    this.#sweepAt = now + SWEEP_PAUSE
    this.#ask('sweep', [SWEPT]).then(({ count }) => { if (count === SWEPT) this.#sweepAt = 0 }, () => {})
  }

  #ask (name: keyof Statements, values: unknown[]): ReturnType<typeof ask> {
    return ask(this.pool, this.#sql[name], values)
  }
}

interface Texts {
  /** The JSON of an object with a JSON text for each key. */
  readonly text: string
  /** Keys whose value JSON leaves out, such as a function. They are removed. */
  readonly lacking: readonly string[]
}

/** @throws FST_ERR_SESSION_VALUE */
function textsOf (values: Readonly<Record<string, unknown>>, isKept: (name: string) => boolean): Texts {
  const texts: Record<string, string> = Object.create(null)
  const lacking: string[] = []
  for (const name of Object.keys(values)) {
    if (!isKept(name)) continue
    const text = jsonOf(name, values[name])
    if (text === undefined) lacking.push(escaped(name))
    else texts[escaped(name)] = text
  }
  return { text: JSON.stringify(texts), lacking }
}

/** @throws FST_ERR_SESSION_RECORD */
function textsIn (json: string, what: string): Map<string, string> {
  // Other software may have written anything. NULL, too, is parsed as null.
  const texts: unknown = JSON.parse(json)
  if (typeof texts !== 'object' || texts === null || Array.isArray(texts)) throw new RecordError(what)
  // What isn't a text becomes one that can't be parsed.
  return new Map(Object.entries(texts).map(([key, text]) => [unescaped(key), typeof text === 'string' ? text : '']))
}

function removed (unset: FieldChanges['unset'], { lacking }: Texts, isKept: (name: string) => boolean): string[] {
  return [...unset.filter(isKept).map(escaped), ...lacking]
}

/** The end in the form that the statements read: in milliseconds since the epoch. */
function endIn (cookie: unknown): { expires: number | null, originalMaxAge: unknown } {
  const { originalMaxAge = null } = objectOf(cookie)
  return { expires: orNull(expiryOf({ cookie })), originalMaxAge }
}

function isKept (name: string): boolean {
  return name === 'expires' || name === 'originalMaxAge' || isMeta(name)
}

function orNull (time: number): number | null {
  return Number.isFinite(time) ? time : null
}

const NAMES = ['pool', 'table', 'ttl', 'listen']
