import type * as Fastify from 'fastify'
import { OptionError, StoreError } from '../errors'
import { applyChanges, cookieOf, expiryOf } from '../values/record'
import type { Callback, CallbackSession } from '../types/store'
import { hearErrors, isClient, scan, Script, type RedisClient } from './redis-client'
import type { FoundCallback, SessionChanges, SessionRecord, SessionStore } from '../types/store'

export type { RedisClient }

export interface RedisStoreOptions {
  /** A connected client: node-redis's (`createClient`, `createCluster`, `createSentinel`) or ioredis's (`Redis`, `Cluster`). */
  client: RedisClient
  /**
   * What stands before the session id in the key.
   *
   * @default 'sess:'
   */
  prefix?: string
  /**
   * How long a session without an expiry of its own is kept after its last use (with `rolling: false`, its last write), in
   * milliseconds.
   *
   * @default 86400000, one day
   */
  ttl?: number
}

const ONE_DAY = 86_400_000

// A hash's fields and values in turn; the text of a string, which connect-redis wrote; or nothing.
const READ = `
  local record = redis.pcall('HGETALL', KEYS[1])
  if record.err then record = redis.call('GET', KEYS[1]) end
  if #record == 0 then record = false end
`

const GET = new Script(`${READ} return record`)

// ARGV: ttl. The lifetime is the record's own; a fixed expiry stays.
const GET_AND_TOUCH = new Script(`${READ}
  if type(record) ~= 'table' then return record end
  local isCookie, cookie = pcall(cjson.decode, redis.call('HGET', KEYS[1], 'cookie') or '{}')
  if not isCookie or type(cookie) ~= 'table' then cookie = {} end
  local ttl, maxAge = tonumber(ARGV[1]), cookie.originalMaxAge
  if type(maxAge) == 'number' and maxAge > 0 and maxAge < 1e15 then ttl = maxAge
  elseif cookie.expires and cookie.expires ~= cjson.null then return record
  end
  local createdAt, absoluteTimeout = cookie.createdAt, cookie.absoluteTimeout
  if type(createdAt) == 'number' and type(absoluteTimeout) == 'number' then
    local now = redis.call('TIME')
    ttl = math.max(0, math.min(ttl, createdAt + absoluteTimeout - now[1] * 1000 - now[2] / 1000))
  end
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(ttl)))
  return record
`)

// ARGV: ttl, and from an index on fields and values in turn.
const WRITE = `
  local function write(first)
    for i = first, #ARGV - 1, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    return 1
  end
`

// ARGV: ttl, then fields and values in turn.
const SET = new Script(`${WRITE}
  redis.call('DEL', KEYS[1])
  return write(2)
`)

// ARGV: ttl, the number of fields to remove, these, then fields and values in turn. A string, which connect-redis wrote, is
// answered as it is.
const UPDATE = new Script(`${WRITE}
  local kind = redis.call('TYPE', KEYS[1]).ok
  if kind == 'none' then return 0 end
  if kind == 'string' then return { redis.call('GET', KEYS[1]) } end
  local first = 3 + ARGV[2]
  for i = 3, first - 1 do redis.call('HDEL', KEYS[1], ARGV[i]) end
  return write(first)
`)

// ARGV: as for SET, and the string that must still be there as the last.
const REPLACE = new Script(`${WRITE}
  if redis.pcall('GET', KEYS[1]) ~= ARGV[#ARGV] then return 0 end
  redis.call('DEL', KEYS[1])
  return write(2)
`)

// ARGV: ttl.
const TOUCH = new Script("return redis.call('PEXPIRE', KEYS[1], ARGV[1])")

const DESTROY = new Script(`${READ} redis.call('UNLINK', KEYS[1]) return record`)

const INSPECT = new Script(`${READ} return { record, redis.call('PTTL', KEYS[1]) }`)

// The rest is on a sorted set for each user: the ids of the sessions, by the time of their first claim in microseconds.

// ARGV: id, max or 0, ttl. The key lives as long as the latest of its sessions may.
const CLAIM = new Script(`
  if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
    local max = tonumber(ARGV[2])
    if max > 0 and redis.call('ZCARD', KEYS[1]) >= max then return 0 end
    local now = redis.call('TIME')
    redis.call('ZADD', KEYS[1], string.format('%.0f', now[1] * 1e6 + now[2]), ARGV[1])
  end
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
  return 1
`)

const RELEASE = new Script("return redis.call('ZREM', KEYS[1], ARGV[1])")

const CLAIMS_OF = new Script("return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')")

const UNLINK = new Script("return redis.call('UNLINK', KEYS[1])")

const ONE_HOUR = 3_600_000

// How often a session is read again because another writer keeps replacing it by a string.
const MOST_TRIES = 10

/**
 * Keeps sessions in Redis or Valkey: one hash per session, with a field for each top-level key (JSON) and for the cookie, and
 * Redis's own expiry. Each operation is one round trip and touches one key, so it works on a cluster. What changed is
 * written in one atomic step, and only where the session is still there.
 *
 * Sessions that connect-redis wrote under the same prefix are read, and become hashes when they are next written.
 *
 * Whose sessions are whose is kept in keys of its own, `users:` before the prefix: a sorted set for each user, which
 * expires after the last of them.
 *
 * Methods answer through their callback, or by a promise where they are called without one.
 */
export class RedisStore implements SessionStore {
  readonly #client: RedisClient
  readonly #prefix: string
  readonly #userPrefix: string
  readonly #ttl: number

  /** @throws FST_ERR_SESSION_OPTION */
  constructor ({ client, prefix = 'sess:', ttl = ONE_DAY }: RedisStoreOptions = {} as RedisStoreOptions) {
    if (!isClient(client)) throw new OptionError('store is wrong: RedisStore needs a client of node-redis or ioredis')
    if (typeof prefix !== 'string') throw new OptionError('store is wrong: the prefix of a RedisStore must be a string')
    if (!(ttl > 0 && ttl <= Number.MAX_SAFE_INTEGER)) {
      throw new OptionError('store is wrong: the ttl of a RedisStore must be a positive number of milliseconds')
    }
    hearErrors(client)
    this.#client = client
    this.#prefix = prefix
    this.#userPrefix = `users:${prefix}`
    this.#ttl = Math.ceil(ttl)
  }

  get (sessionId: string, callback?: CallbackSession): Promise<SessionRecord | undefined> {
    return answered(this.#run(GET, sessionId).then(recordOf), callback)
  }

  getAndTouch (sessionId: string, callback?: CallbackSession): Promise<SessionRecord | undefined> {
    return answered(this.#getAndTouch(sessionId), callback)
  }

  inspect (sessionId: string, callback?: CallbackSession): Promise<SessionRecord | undefined> {
    return answered(this.#inspect(sessionId), callback)
  }

  set (sessionId: string, session: Fastify.Session, callback?: Callback): Promise<void> {
    return answered(this.#set(sessionId, session), callback)
  }

  destroy (sessionId: string, callback?: FoundCallback): Promise<SessionRecord | false> {
    return answered(this.#destroy(sessionId), callback)
  }

  touch (sessionId: string, session: Fastify.Session, callback?: FoundCallback): Promise<boolean> {
    return answered(this.#touch(sessionId, session), callback)
  }

  update (
    sessionId: string, changes: SessionChanges, session: Fastify.Session, callback?: FoundCallback
  ): Promise<boolean> {
    return answered(this.#update(sessionId, changes, session), callback)
  }

  claim (
    userKey: string, sessionId: string, session: Fastify.Session, max: number, callback?: FoundCallback
  ): Promise<boolean> {
    return answered(this.#claim(userKey, sessionId, session, max), callback)
  }

  release (userKey: string, sessionId: string, callback?: Callback): Promise<void> {
    return answered(this.#runOfUser(RELEASE, userKey, [sessionId]).then(() => {}), callback)
  }

  claimsOf (
    userKey: string, callback?: (error: any, claims?: Array<[sessionId: string, claimedAt: number]>) => void
  ): Promise<Array<[sessionId: string, claimedAt: number]>> {
    return answered(this.#runOfUser(CLAIMS_OF, userKey).then(claimsIn), callback)
  }

  /** All sessions, by their ids. Walks through all keys (SCAN): not for every request. */
  all (callback?: (error: any, sessions?: Record<string, SessionRecord>) => void): Promise<Record<string, SessionRecord>> {
    return answered(this.#all(), callback)
  }

  /** The number of sessions. Walks through all keys (SCAN): not for every request. */
  length (callback?: (error: any, length?: number) => void): Promise<number> {
    return answered(this.#length(), callback)
  }

  /** Removes the sessions of this prefix. Walks through all keys (SCAN). */
  clear (callback?: Callback): Promise<void> {
    return answered(this.#clear(), callback)
  }

  async #getAndTouch (sessionId: string): Promise<SessionRecord | undefined> {
    const reply = await this.#run(GET_AND_TOUCH, sessionId, [String(this.#ttl)])
    const record = recordOf(reply)
    // The script doesn't look into what connect-redis wrote, whose touch leaves the record's expiry old.
    if (record !== undefined && !Array.isArray(reply)) {
      const { originalMaxAge } = (record.cookie ?? {}) as { originalMaxAge?: unknown }
      const isRolling = typeof originalMaxAge === 'number' && originalMaxAge > 0
      await this.#touch(sessionId, isRolling ? { cookie: { expires: Date.now() + originalMaxAge } } : record)
    }
    return record
  }

  async #inspect (sessionId: string): Promise<SessionRecord | undefined> {
    const [reply, ttl] = await this.#run(INSPECT, sessionId) as unknown[]
    const record = recordOf(reply)
    // A touch moves Redis's expiry and not the one in the record.
    if (record !== undefined && cookieOf(record).originalMaxAge) {
      record.cookie = { ...record.cookie as object, expires: new Date(Date.now() + Number(ttl)) }
    }
    return record
  }

  async #claim (userKey: string, sessionId: string, session: Fastify.Session, max: number): Promise<boolean> {
    const ttl = 2 * Number(this.#ttlOf(session)) + ONE_HOUR
    return isOne(await this.#runOfUser(CLAIM, userKey, [sessionId, String(max === Infinity ? 0 : max), String(ttl)]))
  }

  async #set (sessionId: string, session: object): Promise<void> {
    await this.#run(SET, sessionId, this.#argsOf(session))
  }

  async #destroy (sessionId: string): Promise<SessionRecord | false> {
    const reply = await this.#run(DESTROY, sessionId)
    try {
      return recordOf(reply) ?? false
    } catch {
      // It was broken, and is gone all the same.
      return {}
    }
  }

  async #touch (sessionId: string, session: object): Promise<boolean> {
    return isOne(await this.#run(TOUCH, sessionId, [this.#ttlOf(session)]))
  }

  async #update (sessionId: string, { set, unset }: SessionChanges, { cookie }: Fastify.Session): Promise<boolean> {
    const changed = { ...set, cookie }
    const fields = fieldsOf(changed)
    // What can't be JSON, a function for instance, is no more.
    const removed = [...unset, ...Object.keys(set).filter(key => !fields.has(key))]
    const args = [this.#ttlOf(changed), String(removed.length), ...removed, ...[...fields].flat()]
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const reply = await this.#run(UPDATE, sessionId, args)
      if (!Array.isArray(reply)) return isOne(reply)
      const [text] = reply
      const merged = applyChanges(recordOf(text) as SessionRecord, { set: changed, unset: removed, meta: { set: {}, unset: [] } }, undefined)
      const isReplaced = await this.#run(REPLACE, sessionId, [...this.#argsOf(merged), String(text)])
      if (isOne(isReplaced)) return true
    }
    throw new StoreError('update', 'other writers keep replacing the session', { cause: undefined })
  }

  async #all (): Promise<Record<string, SessionRecord>> {
    const sessions: Record<string, SessionRecord> = Object.create(null)
    for await (const keys of this.#scan()) {
      const records = await Promise.all(keys.map(key => GET.run(this.#client, key, []).then(recordOf)))
      records.forEach((record, i) => {
        if (record !== undefined) sessions[(keys[i] as string).slice(this.#prefix.length)] = record
      })
    }
    return sessions
  }

  async #length (): Promise<number> {
    const found = new Set<string>()
    for await (const keys of this.#scan()) for (const key of keys) found.add(key)
    return found.size
  }

  async #clear (): Promise<void> {
    for (const prefix of [this.#prefix, this.#userPrefix]) {
      for await (const keys of scan(this.#client, prefix)) {
        await Promise.all(keys.map(key => UNLINK.run(this.#client, key, [])))
      }
    }
  }

  /** The keys of the sessions. With an empty prefix those of the users begin as they do. */
  async * #scan (): AsyncGenerator<string[]> {
    for await (const keys of scan(this.#client, this.#prefix)) {
      yield keys.filter(key => !key.startsWith(this.#userPrefix))
    }
  }

  #run (script: Script, sessionId: string, args: string[] = []): Promise<unknown> {
    return script.run(this.#client, this.#prefix + sessionId, args)
  }

  #runOfUser (script: Script, userKey: string, args: string[] = []): Promise<unknown> {
    return script.run(this.#client, this.#userPrefix + userKey, args)
  }

  /** A whole session, for the scripts that write one. */
  #argsOf (session: object): string[] {
    return [this.#ttlOf(session), ...[...fieldsOf(session)].flat()]
  }

  /** What is left of the session's life, in milliseconds, for Redis. */
  #ttlOf (session: object): string {
    const left = expiryOf(session as SessionRecord) - Date.now()
    return String(Math.ceil(Number.isNaN(left) ? this.#ttl : left))
  }
}

function recordOf (reply: unknown): SessionRecord | undefined {
  if (reply === null) return undefined
  if (!Array.isArray(reply)) return parse(reply, 'session') as SessionRecord ?? undefined
  const entries: Array<[string, unknown]> = []
  for (let i = 0; i < reply.length; i += 2) entries.push([String(reply[i]), parse(reply[i + 1], `field '${reply[i]}'`)])
  return Object.fromEntries(entries)
}

// JSON.parse would show a part of the data in its error.
function parse (json: unknown, what: string): unknown {
  try {
    return JSON.parse(String(json))
  } catch {
    throw new StoreError('get', `a stored ${what} is no JSON`, { cause: undefined })
  }
}

function fieldsOf (session: object): Map<string, string> {
  const fields = new Map<string, string>()
  for (const [key, value] of Object.entries(session)) {
    const json: string | undefined = JSON.stringify(value)
    if (json !== undefined) fields.set(key, json)
  }
  return fields
}

// Ids and scores in turn.
function claimsIn (reply: unknown): Array<[sessionId: string, claimedAt: number]> {
  const claims: Array<[string, number]> = []
  const all = reply as unknown[]
  for (let i = 0; i < all.length; i += 2) claims.push([String(all[i]), Number(all[i + 1]) / 1000])
  return claims
}

// ioredis can be told to answer numbers as strings.
function isOne (reply: unknown): boolean {
  return Number(reply) === 1
}

/** Answers by the callback too, where there is one. */
function answered<T> (promise: Promise<T>, callback: ((error: any, value?: any) => void) | undefined): Promise<T> {
  if (callback !== undefined) promise.then(value => callback(null, value), callback)
  return promise
}
