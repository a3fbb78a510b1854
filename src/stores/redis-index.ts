import { evictionOf, Script, type RedisClient } from './redis-client'
import { fingerprint } from '../diagnostics'
import { warnRedisEvicts } from '../warnings'
import type { Claimed, Claiming, IndexEntry, Revoking } from '../types/store'

// Each user has four keys, in one slot of a cluster. All of them name a session by its fingerprint:
// - a sorted set by the time of the claim, in microseconds
// - ':ends', a sorted set by when the entry may be forgotten, in milliseconds
// - ':ending', the same for sessions that are to be ended
// - ':ids', a hash. A session's field has the time of entering in milliseconds, the fingerprint by which it is revoked
//   (that of the first session if sessions replaced each other), and its id, with zero bytes between. The field '>'
//   plus the revoking fingerprint has the session's own fingerprint
const COMMON = `
  local claims, ends, ending, ids = KEYS[1], KEYS[1] .. ':ends', KEYS[1] .. ':ending', KEYS[1] .. ':ids'
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  local function number (value)
    return string.format('%.0f', value)
  end
  local function entry (print)
    return string.match(redis.call('HGET', ids, print) or '', '^(%d+)%z(.-)%z(.*)$')
  end
  local function idOf (print)
    local _, _, id = entry(print)
    return id
  end
  local function forget (print)
    local _, first = entry(print)
    for _, set in ipairs({ claims, ends, ending }) do
      redis.call('ZREM', set, print)
    end
    redis.call('HDEL', ids, print, '>' .. (first or ''))
  end
`

// A few at each claim, so that the sets don't grow.
const FORGET = `
  for _, set in ipairs({ ends, ending }) do
    for _, old in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, 100)) do
      forget(old)
    end
  end
`

/**
 * ARGV: fingerprint, the one by which it is revoked, id, how long the entry lives in milliseconds, the fingerprint of
 * the session that it replaces or '', whether it is written, the limit of sessions or 0, and whether one too many is
 * refused. Answers with the outcome, then the ids of the sessions beyond the limit. The first write is one that a full
 * Redis refuses.
 */
const CLAIM = new Script(`${COMMON}
  local print, first, id, lives, replaces, isWritten, most, refuses = unpack(ARGV)
  lives, most = tonumber(lives), tonumber(most)
  redis.call('HSET', ids, '', '')
  redis.call('HDEL', ids, '')
  ${FORGET}
  local function outcome ()
    if redis.call('ZSCORE', ending, print) or (replaces ~= '' and redis.call('ZSCORE', ending, replaces)) then
      return 'ending'
    end
    if replaces ~= '' then return redis.call('ZSCORE', ends, replaces) and 'entered' or 'lost' end
    if redis.call('ZSCORE', ends, print) then return 'entered' end
    if isWritten == '1' then return 'lost' end
    if refuses == '1' and most > 0 and redis.call('ZCOUNT', ends, '(' .. now, '+inf') >= most then return 'full' end
    return 'entered'
  end
  local came = outcome()
  if came ~= 'entered' then return { came } end
  local claimedAt = redis.call('ZSCORE', claims, print) or (replaces ~= '' and redis.call('ZSCORE', claims, replaces))
  if replaces ~= '' then
    local _, before = entry(replaces)
    first = before or first
    forget(replaces)
  end
  redis.call('ZADD', claims, claimedAt or number(clock[1] * 1e6 + clock[2]), print)
  redis.call('ZADD', ends, number(math.max(now + lives, tonumber(redis.call('ZSCORE', ends, print) or 0))), print)
  if redis.call('HSETNX', ids, print, table.concat({ number(now), first, id }, '\\0')) == 1 and first ~= print then
    redis.call('HSET', ids, '>' .. first, print)
  end
  local answer = { came }
  if isWritten == '1' and refuses ~= '1' and most > 0 then
    local tooMany = math.min(redis.call('ZCOUNT', ends, '(' .. now, '+inf') - most, 100)
    while tooMany > 0 do
      local oldest = redis.call('ZRANGE', claims, 0, tooMany - 1)
      if #oldest == 0 then break end
      for _, old in ipairs(oldest) do
        local last = redis.call('ZSCORE', ends, old)
        if last and tonumber(last) > now then
          redis.call('ZREM', claims, old)
          redis.call('ZREM', ends, old)
          redis.call('ZADD', ending, last, old)
          table.insert(answer, idOf(old))
          tooMany = tooMany - 1
        else
          forget(old)
        end
      end
    end
  end
  local latest = now + lives
  for _, set in ipairs({ ends, ending }) do
    local last = redis.call('ZREVRANGE', set, 0, 0, 'WITHSCORES')[2]
    latest = math.max(latest, tonumber(last or 0))
  end
  for _, key in ipairs({ claims, ends, ending, ids }) do
    redis.call('PEXPIREAT', key, number(latest))
  end
  return answer
`)

/** ARGV: fingerprints. */
const RELEASE = new Script(`${COMMON}
  for _, print in ipairs(ARGV) do
    forget(print)
  end
`)

/** ARGV: one fingerprint or '', and the one that stays or ''. Answers with the number. Works in a full Redis, too. */
const REVOKE = new Script(`${COMMON}
  local only, except = unpack(ARGV)
  redis.call('ZREM', ending, '')
  local left = 1
  for _, key in ipairs({ ends, ending, ids }) do
    left = math.max(left, redis.call('PTTL', key))
  end
  if only ~= '' then
    only = redis.call('HGET', ids, '>' .. only) or only
    local last = redis.call('ZSCORE', ends, only)
    if not last or only == except then return 0 end
    redis.call('ZREM', claims, only)
    redis.call('ZREM', ends, only)
    redis.call('ZADD', ending, last, only)
    redis.call('PEXPIRE', ending, left)
    return 1
  end
  local kept = { redis.call('ZSCORE', claims, except), redis.call('ZSCORE', ends, except) }
  local count = redis.call('ZCARD', ends)
  if count == 0 then return 0 end
  if redis.call('EXISTS', ending) == 1 then
    redis.call('ZUNIONSTORE', ending, 2, ending, ends, 'AGGREGATE', 'MAX')
    redis.call('UNLINK', ends)
  else
    redis.call('RENAME', ends, ending)
  end
  redis.call('UNLINK', claims)
  redis.call('PEXPIRE', ending, left)
  if kept[1] and kept[2] then
    redis.call('ZREM', ending, except)
    redis.call('ZADD', claims, kept[1], except)
    redis.call('ZADD', ends, kept[2], except)
    redis.call('PEXPIRE', claims, left)
    redis.call('PEXPIRE', ends, left)
    count = count - 1
  end
  return count
`)

/**
 * Answers with ids of sessions that are to be ended. If an id was lost, the entry stays, and the session ends at its
 * next claim.
 */
const ENDINGS_OF = new Script(`${COMMON}
  local found, from = {}, 0
  repeat
    local prints = redis.call('ZRANGE', ending, from, from + 99)
    for _, print in ipairs(prints) do
      table.insert(found, idOf(print))
    end
    from = from + 100
  until #found > 0 or #prints < 100
  return found
`)

/**
 * ARGV: the latest time, exclusive, in microseconds, and the number of entries. Answers with four values per entry: id,
 * the fingerprint by which it is revoked, the time of the claim, and the age in milliseconds. Drops expired entries.
 */
const CLAIMS_OF = new Script(`${COMMON}
  local found, bound, missing = {}, ARGV[1], tonumber(ARGV[2])
  repeat
    local asked = missing
    local prints = redis.call('ZREVRANGEBYSCORE', claims, bound, '-inf', 'WITHSCORES', 'LIMIT', 0, asked)
    for i = 1, #prints, 2 do
      local print, claimedAt = prints[i], prints[i + 1]
      local enteredAt, first, id = entry(print)
      local last = redis.call('ZSCORE', ends, print)
      if not last or tonumber(last) <= now then
        forget(print)
      elseif id then
        table.insert(found, id)
        table.insert(found, first)
        table.insert(found, claimedAt)
        table.insert(found, number(now - enteredAt))
        missing = missing - 1
      end
      bound = '(' .. claimedAt
    end
  until #prints < 2 * asked or missing == 0
  return found
`)

// Version 12.0.0 had one key for each user: a sorted set of ids by the time of the claim, in microseconds.

/** Answers with pairs of id and time of the claim, and how long the key is kept. */
const OLD_CLAIMS = new Script(`
  local found = redis.call('ZRANGE', KEYS[1], 0, 499, 'WITHSCORES')
  return { found, redis.call('PTTL', KEYS[1]) }
`)

const OLD_RELEASE = new Script("return redis.call('ZREM', KEYS[1], unpack(ARGV))")

/** ARGV: how long the entries live, then fingerprint, id and time of each claim. Works in a full Redis, too. */
const ADOPT = new Script(`${COMMON}
  local lives = tonumber(ARGV[1])
  redis.call('ZREM', ending, '')
  for i = 2, #ARGV, 3 do
    local print, id, claimedAt = unpack(ARGV, i, i + 2)
    if not redis.call('ZSCORE', ends, print) and not redis.call('ZSCORE', ending, print) then
      redis.call('HSET', ids, print, table.concat({ number(claimedAt / 1000), print, id }, '\\0'))
      redis.call('ZADD', claims, claimedAt, print)
      redis.call('ZADD', ends, number(now + lives), print)
    end
  end
  for _, key in ipairs({ claims, ends, ids }) do
    if redis.call('PTTL', key) < lives then
      redis.call('PEXPIRE', key, number(lives))
    end
  end
`)

const ONE_HOUR = 3_600_000

/** The index by user in Redis. */
export class RedisIndex {
  readonly #client: RedisClient
  readonly #prefix: string
  readonly #ttl: number
  #isChecked = false

  /** @param ttl how long a session without an end of its own is kept after its last use, in milliseconds */
  constructor (client: RedisClient, prefix: string, ttl: number) {
    this.#client = client
    this.#prefix = prefix
    this.#ttl = ttl
  }

  async claim (userKey: string, sessionId: string, claiming: Claiming): Promise<Claimed> {
    const { lives, replaces, isWritten, max, refuses } = claiming
    this.#check()
    const [outcome, ...tooMany] = await this.#run(CLAIM, userKey, [
      fingerprint(sessionId),
      claiming.fingerprint,
      sessionId,
      // Redis keeps the session itself a hundredth longer than it lives.
      Math.ceil((lives ?? 2 * this.#ttl + ONE_HOUR) * 1.01),
      replaces === undefined ? '' : fingerprint(replaces),
      Number(isWritten),
      max === Infinity ? 0 : max,
      Number(refuses)
    ]) as string[]
    return { outcome: outcome as Claimed['outcome'], tooMany }
  }

  async release (userKey: string, sessionIds: readonly string[]): Promise<void> {
    if (sessionIds.length > 0) await this.#run(RELEASE, userKey, sessionIds.map(id => fingerprint(id)))
  }

  async revoke (userKey: string, { fingerprint: only = '', except }: Revoking): Promise<number> {
    await this.#adopt(userKey)
    return Number(await this.#run(REVOKE, userKey, [only, except === undefined ? '' : fingerprint(except)]))
  }

  async endingsOf (userKey: string): Promise<string[]> {
    return await this.#run(ENDINGS_OF, userKey, []) as string[]
  }

  async claimsOf (userKey: string, before: number, count: number): Promise<IndexEntry[]> {
    if (before === Infinity) await this.#adopt(userKey)
    const bound = before === Infinity ? '+inf' : `(${Math.round(before * 1000)}`
    const found = await this.#run(CLAIMS_OF, userKey, [bound, count]) as string[]
    const entries: IndexEntry[] = []
    for (let i = 0; i < found.length; i += 4) {
      const [sessionId = '', first = '', claimedAt, age] = found.slice(i, i + 4)
      entries.push({ sessionId, fingerprint: first, claimedAt: Number(claimedAt) / 1000, age: Number(age) })
    }
    return entries
  }

  /** Warns if the server may evict entries. If it refuses to tell, that isn't an error. */
  #check (): void {
    if (this.#isChecked) return
    this.#isChecked = true
    evictionOf(this.#client).then(policy => {
      if (policy !== undefined) warnRedisEvicts(policy)
    }, () => {})
  }

  /** Converts the claims of version 12.0.0. Not atomic, because they may be on another server of a cluster. */
  async #adopt (userKey: string): Promise<void> {
    const oldKey = this.#prefix + userKey
    for (;;) {
      const [found, left] = await OLD_CLAIMS.run(this.#client, oldKey) as [string[], number]
      if (found.length === 0) return
      const lives = Number(left) > 0 ? Number(left) : 2 * this.#ttl + ONE_HOUR
      const ids = found.filter((_text, i) => i % 2 === 0)
      const entries = ids.flatMap((id, i) => [fingerprint(id), id, found[2 * i + 1] as string])
      await this.#run(ADOPT, userKey, [lives, ...entries])
      await OLD_RELEASE.run(this.#client, oldKey, ids)
    }
  }

  #run (script: Script, userKey: string, args: Array<string | number>): Promise<unknown> {
    return script.run(this.#client, `${this.#prefix}{${userKey}}`, args)
  }
}
