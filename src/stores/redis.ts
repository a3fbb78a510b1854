import type * as Fastify from 'fastify'
import { OptionError, RecordError, StoreError } from '../errors'
import { answered } from './answered'
import {
  flawOf, isCluster, isWrongType, plainClient, read, remove, scan, type RedisClient, type Script
} from './redis-client'
import { absoluteEndOf, COOKIE, endMoveOf, isData, isMeta, objectOf, ownEndOf, timeToKeep } from './kept-life'
import {
  convert, cookieText, dataFields, fieldOfKey, fieldOfMeta, fieldsOf, metaFields, timeArgument, type Fields
} from './redis-layout'
import { foundIn } from './redis-record'
import { textOf, type Found } from './text-record'
import { RedisIndex } from './redis-index'
import { RedisWatch, type RedisSubscriber } from './redis-watch'
import { CONVERT, DESTROY, SET, TOUCH, UPDATE } from './redis-scripts'
import { checkTtl, tellMistakes } from './store-options'
import { ValueCheck } from './value-check'
import { NO_FIELDS } from '../values/record'
import type {
  Callback, CallbackSession, Claimed, Claiming, EndCode, FoundCallback, IndexEntry, Revoking, SessionChanges,
  SessionRecord, SessionStore, UpdateResult
} from '../types/store'

export type { RedisClient, RedisSubscriber, UpdateResult }

export interface RedisStoreOptions {
  /**
   * A connected client, of node-redis (`createClient`, `createCluster`, `createSentinel`) or ioredis (`Redis`,
   * `Cluster`).
   */
  client: RedisClient
  /**
   * A second connected client of the same kind, used for nothing else. It listens for sessions that other processes
   * end, so that `session.signal` fires at once. ioredis's `Cluster` needs its option `shardedSubscribers`.
   *
   * @default undefined, `session.signal` fires within `watchInterval`
   */
  subscriber?: RedisSubscriber
  /**
   * The prefix of keys, before the session id.
   *
   * @default 'sess:'
   */
  prefix?: string
  /**
   * How long a session without an idle timeout of its own is kept after its last use (with `rolling: false`, its last
   * write), in milliseconds.
   *
   * @default 86400000, one day
   */
  ttl?: number
}

const ONE_DAY = 86_400_000

// How often an update is tried because another writer keeps writing the session in an older form.
const MOST_TRIES = 10

// PTTL's answer if the key doesn't exist.
const GONE = -2

// By the numbers that the script returns.
const RESULTS: readonly UpdateResult[] = ['gone', 'written', 'changed']

/**
 * Keeps sessions in Redis or Valkey. A session is one hash that expires by Redis's own expiry, with a field for each
 * top-level key (JSON), one for each of the library's own, and one for the cookie. Each operation uses one key, so it
 * works on a cluster, and needs one round trip. A read is two native commands. Once in a hundredth of the session's
 * life, one more moves the expiry. Changes are written in one atomic step, only if the session still exists.
 *
 * A record's fields are parsed when they are read. A field that can't be parsed throws FST_ERR_SESSION_RECORD then.
 *
 * Values that JSON changes (a `Map`, a `Date`, an instance of a class) are warned about at a key's first write. A value
 * that JSON can't hold (a `BigInt`, a circle) rejects with FST_ERR_SESSION_VALUE, and nothing of that call is written.
 *
 * Sessions that version 12.0.0 or connect-redis wrote under the same prefix are read. Their next update converts them.
 *
 * The index by user has keys of its own, with `users:` before the prefix. They expire after the user's last session.
 *
 * Methods answer through their callback, or by a promise if they are called without one.
 */
export class RedisStore implements SessionStore {
  /** The client, as the application made it. */
  readonly client: RedisClient
  readonly #client: RedisClient
  readonly #prefix: string
  readonly #userPrefix: string
  readonly #index: RedisIndex
  readonly #ttl: number
  readonly #check = new ValueCheck()
  readonly #isCluster: boolean
  readonly #watch: RedisWatch | undefined

  /** @throws FST_ERR_SESSION_OPTION */
  constructor (options: RedisStoreOptions = {} as RedisStoreOptions) {
    const { client, subscriber, prefix = 'sess:', ttl = ONE_DAY } = options
    const flaw = flawOf(client)
    if (flaw !== undefined) throw new OptionError(`store is wrong: RedisStore ${flaw}`)
    if (typeof prefix !== 'string') throw new OptionError('store is wrong: the prefix of a RedisStore must be a string')
    checkTtl('RedisStore', ttl)
    tellMistakes('RedisStore', options, NAMES)
    this.client = client
    this.#isCluster = isCluster(client)
    this.#watch = subscriber == null ? undefined : new RedisWatch(client, subscriber)
    this.#client = plainClient(client)
    this.#prefix = prefix
    this.#userPrefix = `users:${prefix}`
    this.#ttl = Math.ceil(ttl)
    this.#index = new RedisIndex(this.#client, this.#userPrefix, this.#ttl)
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
    return answered(this.#touch(sessionId, session), callback)
  }

  update (
    sessionId: string, changes: SessionChanges, session: Fastify.Session, callback?: FoundCallback
  ): Promise<boolean> {
    return answered(this.#update(sessionId, [], changes, session).then(result => result === 'written'), callback)
  }

  /**
   * As `update`, but only if these keys are as they were in a record that this store returned: their texts are
   * compared, and a key that was missing must be missing.
   */
  updateIf (
    sessionId: string, record: SessionRecord, keys: readonly string[], changes: SessionChanges,
    session: Fastify.Session, callback?: (error: any, result?: UpdateResult) => void
  ): Promise<UpdateResult> {
    const expected = keys.flatMap(key => [fieldOfKey(key), textOf(record, key)])
    return answered(this.#update(sessionId, expected, changes, session), callback)
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

  /** Calls `onEnd` when a session ends, if there is a `subscriber`. */
  async watch (sessionId: string, onEnd: (code?: EndCode) => void): Promise<() => void> {
    return await this.#watch?.watch(this.#prefix + sessionId, onEnd) ?? (() => {})
  }

  /**
   * All sessions that can be read, by their ids. Scans all keys (SCAN), so don't call it with every request.
   */
  all (
    callback?: (error: any, sessions?: Record<string, SessionRecord>) => void
  ): Promise<Record<string, SessionRecord>> {
    return answered(this.#all(), callback)
  }

  /**
   * The number of sessions. Scans all keys (SCAN), so don't call it with every request. If Redis shrinks its table in
   * the meantime, a session may be counted twice.
   */
  length (callback?: (error: any, length?: number) => void): Promise<number> {
    return answered(this.#length(), callback)
  }

  /** Removes all sessions with this prefix. Scans all keys (SCAN). */
  clear (callback?: Callback): Promise<void> {
    return answered(this.#clear(), callback)
  }

  async #find (key: string): Promise<Found | undefined> {
    const [reply, left] = await read(this.#client, key).catch(failAsUnreadable)
    return left === GONE ? undefined : foundIn(reply, left, this.#ttl)
  }

  async #get (sessionId: string): Promise<SessionRecord | undefined> {
    return (await this.#find(this.#prefix + sessionId))?.record
  }

  async #getAndTouch (sessionId: string): Promise<SessionRecord | undefined> {
    const found = await this.#find(this.#prefix + sessionId)
    if (found === undefined || !found.isDue) return found?.record
    const { record, life, limit } = found
    const isThere = await this.#run(TOUCH, sessionId, [Date.now(), '', this.#ttl, timeArgument(limit), life])
    return isOne(isThere) ? record : undefined
  }

  async #set (sessionId: string, session: object): Promise<void> {
    const fields = fieldsOf(session)
    this.#check.look(sessionId, session)
    await this.#run(SET, sessionId, [timeToKeep(session, this.#ttl), ...fields])
  }

  async #destroy (sessionId: string, code: EndCode): Promise<SessionRecord | false> {
    const args = [code, Number(this.#isCluster)]
    const removed = await this.#run(DESTROY, sessionId, args) as [Fields | string, number] | null
    if (removed === null) return false
    const [reply, left] = removed
    try {
      return foundIn(reply, Number(left), this.#ttl)?.record ?? {}
    } catch {
      // It can't be read, but it was removed.
      return {}
    }
  }

  async #touch (sessionId: string, { cookie }: Fastify.Session): Promise<boolean> {
    const end = timeArgument(ownEndOf(objectOf(cookie)))
    // The hash of a session that version 12.0.0 wrote doesn't have it yet.
    const limit = timeArgument(absoluteEndOf(objectOf(cookie)))
    return isOne(await this.#run(TOUCH, sessionId, [Date.now(), end, this.#ttl, limit, '']))
  }

  async #update (
    sessionId: string, expected: Fields, { set, unset, meta = NO_FIELDS }: SessionChanges,
    { cookie }: Fastify.Session
  ): Promise<UpdateResult> {
    const [data, own] = [dataFields(set), metaFields(meta.set)]
    this.#check.look(sessionId, set)
    const fields = [...data.fields, ...own.fields]
    const removed = [
      ...unset.filter(isData).map(fieldOfKey), ...data.lacking,
      ...meta.unset.filter(isMeta).map(fieldOfMeta), ...own.lacking
    ]
    const ownEnd = ownEndOf(objectOf(cookie))
    if (Object.hasOwn(meta.set, 'expires')) {
      const { expires } = objectOf(cookie)
      fields.push(COOKIE, cookieText({ expires, originalMaxAge: meta.set.originalMaxAge }))
    }
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const reply = await this.#run(UPDATE, sessionId, [
        Date.now(), timeArgument(ownEnd), this.#ttl, endMoveOf(meta.set, ownEnd),
        expected.length / 2, removed.length, ...expected, ...removed, ...fields
      ])
      if (!Array.isArray(reply)) return RESULTS[Number(reply)] as UpdateResult
      const converted = convert(reply[0])
      if (converted === undefined) return 'gone'
      await this.#run(CONVERT, sessionId, converted)
    }
    throw new StoreError('update', 'other writers keep replacing the session', { cause: undefined })
  }

  async #all (): Promise<Record<string, SessionRecord>> {
    const sessions: Record<string, SessionRecord> = Object.create(null)
    for await (const keys of this.#scan()) {
      const all = await Promise.all(keys.map(key => this.#find(key).catch(leaveOut)))
      all.forEach((found, i) => {
        if (found !== undefined) sessions[(keys[i] as string).slice(this.#prefix.length)] = found.record
      })
    }
    return sessions
  }

  async #length (): Promise<number> {
    let length = 0
    for await (const keys of this.#scan()) length += keys.length
    return length
  }

  async #clear (): Promise<void> {
    for (const prefix of [this.#prefix, this.#userPrefix]) {
      for await (const keys of scan(this.#client, prefix)) await remove(this.#client, keys)
    }
  }

  /** The keys of the sessions. With an empty prefix, SCAN finds the users' keys too. */
  async * #scan (): AsyncGenerator<string[]> {
    for await (const keys of scan(this.#client, this.#prefix)) {
      yield keys.filter(key => !key.startsWith(this.#userPrefix))
    }
  }

  #run (script: Script, sessionId: string, args?: Array<string | number>): Promise<unknown> {
    return script.run(this.#client, this.#prefix + sessionId, args)
  }
}

const NAMES = ['client', 'subscriber', 'prefix', 'ttl']

/** Other software may have put something else under the key, such as a list. */
function failAsUnreadable (error: unknown): never {
  throw isWrongType(error) ? new RecordError('the whole of it') : error
}

/** One key that can't be read must not hide all sessions. Any other error says that not all can be loaded now. */
function leaveOut (error: unknown): undefined {
  if (!(error instanceof RecordError)) throw error
}

// ioredis has an option to answer numbers as strings.
function isOne (reply: unknown): boolean {
  return Number(reply) === 1
}
