/**
 * Atomic operations, in Lua. Each script has one key, so it works on a cluster. A script's first write must be one that
 * a full Redis refuses: after any other write, Redis would let the script continue. The scripts don't parse or make
 * JSON, because Lua's spoils large numbers and empty arrays. Each line has one command, because an ACL error tells only
 * the line.
 */
import { fieldOfMeta } from './redis-layout'
import { Script } from './redis-client'

// A hash's alternating fields and texts; or the text of a string, which connect-redis wrote. A key of another type is
// like an empty string: no session.
const READ = `
  local function read()
    local kind = redis.call('TYPE', KEYS[1]).ok
    if kind == 'hash' then
      return redis.call('HGETALL', KEYS[1])
    elseif kind == 'string' then
      return redis.call('GET', KEYS[1])
    end
    return ''
  end
`

// ARGV has alternating fields and texts from an index on. Lua limits the number of arguments of a call.
const WRITE = `
  local function write(first)
    for i = first, #ARGV, 1000 do
      redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
    end
  end
  local function keep(milliseconds)
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(milliseconds)))
  end
`

// Escaped for Lua.
const [IDLE, CREATED_AT, ABSOLUTE_TIMEOUT, SEEN_AT, USER_KEY, CLAIMED_AT, AUTHENTICATED_AT] = [
  'idle', 'createdAt', 'absoluteTimeout', 'seenAt', 'userKey', 'claimedAt', 'authenticatedAt'
].map(name => fieldOfMeta(name).replace('\0', '\\0'))

const LIFE = `'${IDLE}', '${CREATED_AT}', '${ABSOLUTE_TIMEOUT}', '${SEEN_AT}'`

// Returns how long Redis must keep a session: until its end plus a hundredth of its life, but never past its absolute
// end. Also returns the same without the hundredth, and the time until the absolute end. The arguments are the time,
// the session's end (nil for one idle timeout from now), the store's ttl, and what a caller may know that a script
// can't read: an absolute end and the idle timeout. All in milliseconds. Unless the end is exact, it is no later than
// the record's own fixed end, or its own idle timeout from now, because another request may have chosen a shorter
// lifetime since. An expiry that equals the absolute end isn't a fixed end.
const TIMES = `
  local function life(text)
    local number = tonumber(text)
    if number and number > 0 and number < 1e15 then return number end
  end
  local function times(now, ends, ttl, limit, idle, isExact)
    local own = redis.call('HMGET', KEYS[1], 'cookie', ${LIFE})
    local cookie = own[1] or ''
    local ownIdle, maxAge = life(own[2]), life(string.match(cookie, '"originalMaxAge":([^,}]+)'))
    local createdAt, absoluteTimeout = tonumber(own[3]), tonumber(own[4])
    local last = createdAt and absoluteTimeout and createdAt + absoluteTimeout or math.huge
    if own[5] and not isExact then
      local fixed = tonumber(string.match(cookie, '"expires":([%d.]+)'))
      if ends and ownIdle then ends = math.min(ends, now + ownIdle)
      elseif ends or not (ownIdle or maxAge or fixed == math.floor(last)) then ends = fixed end
      idle = nil
    end
    idle = ownIdle or idle or maxAge
    if not ends then idle = idle or ttl end
    local slack = (idle or 0) / 100
    local left = ends and ends - now or idle
    local most = math.min(limit or math.huge, last) - now
    if left <= 0 then return left, left, most end
    return math.min(left + slack, most), math.min(left, most), most
  end
`

/** ARGV: milliseconds, then alternating fields and texts. */
export const SET = new Script(`${WRITE}
  if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('SET', KEYS[1], '')
    redis.call('DEL', KEYS[1])
  end
  write(2)
  keep(ARGV[1])
`)

/**
 * ARGV: the time, the end or '', the store's ttl, what the end is (1: exact; 2: limited by what is written; 3: the
 * same, and not moved otherwise; 0: none of these), the numbers of expected values and of fields to remove, the
 * expected fields and texts ('' if missing), the fields to remove, then alternating fields and texts to write. Answers
 * with 0 if the session is gone, 2 if it isn't as expected, or the record if it has another form than ours. If the end
 * is late enough already, it isn't moved, which costs less.
 */
export const UPDATE = new Script(`${WRITE}
  local kept = redis.call('PTTL', KEYS[1])
  if kept == -2 then return 0 end
  local cookie = redis.pcall('HGET', KEYS[1], 'cookie')
  if type(cookie) == 'table' and string.sub(cookie.err, 1, 9) ~= 'WRONGTYPE' then
    redis.call('HGET', KEYS[1], 'cookie')
  end
  if type(cookie) ~= 'string' or not string.find(cookie, '^{"expires":[%w.+-]+,"originalMaxAge":[%w.+-]+}$') then
    ${READ}
    return { read() }
  end
  local at = 7
  for i = 1, ARGV[5] do
    local text = redis.call('HGET', KEYS[1], ARGV[at])
    if (text or '') ~= ARGV[at + 1] then return 2 end
    at = at + 2
  end
  local first = at + ARGV[6]
  write(first)
  for i = at, first - 1 do
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
  local ends = tonumber(ARGV[2])
  if ARGV[4] ~= '0' or kept < 0 or not ends or ends - ARGV[1] > kept then
    ${TIMES}
    local wanted, needed, most = times(tonumber(ARGV[1]), ends, tonumber(ARGV[3]), nil, nil, ARGV[4] == '1')
    if ARGV[4] == '1' or kept < 0 or (needed > kept and ARGV[4] ~= '3') then keep(wanted)
    elseif kept > most then keep(most)
    end
  end
  return 1
`)

/**
 * Converts a record into our form, unless it has changed. ARGV: the text of the string or of the cookie ('' if
 * missing), then alternating fields and texts. The expiry stays. The fields of the owner and of the last
 * authentication are removed if they aren't written, because version 12.0.0 wrote the record later.
 */
export const CONVERT = new Script(`${WRITE}
  local kept = redis.call('PTTL', KEYS[1])
  local kind = redis.call('TYPE', KEYS[1]).ok
  if kind == 'hash' then
    if (redis.call('HGET', KEYS[1], 'cookie') or '') ~= ARGV[1] then return end
    write(2)
    redis.call('HDEL', KEYS[1], '${USER_KEY}', '${CLAIMED_AT}', '${AUTHENTICATED_AT}')
    write(2)
  elseif kind == 'string' then
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return end
    redis.call('SET', KEYS[1], '')
    redis.call('DEL', KEYS[1])
    write(2)
    if kept >= 0 then keep(kept) end
  end
`)

/**
 * ARGV: the time, the end or '' for one idle timeout from now, the store's ttl, and an absolute end and an idle
 * timeout, or ''. Never shortens the expiry. Answers with whether the session exists.
 */
export const TOUCH = new Script(`${WRITE} ${TIMES}
  local kept = redis.call('PTTL', KEYS[1])
  if kept == -2 then return 0 end
  local wanted
  if redis.call('TYPE', KEYS[1]).ok == 'hash' then
    wanted = times(tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]))
  else
    wanted = (tonumber(ARGV[2]) or ARGV[1] + (tonumber(ARGV[5]) or ARGV[3])) - ARGV[1]
  end
  if wanted > kept then keep(wanted) end
  return 1
`)

/**
 * ARGV: why the session ends, and whether that is published on the channels of a cluster's shards. The channel has the
 * name of the key, so it is on the same server. If publishing isn't allowed, the session ends anyway. Answers with the
 * removed record and its remaining time, or with nothing if there was none.
 */
export const DESTROY = new Script(`${READ}
  local kept = redis.call('PTTL', KEYS[1])
  if kept == -2 then return false end
  local record = read()
  redis.call('UNLINK', KEYS[1])
  local told = ARGV[2] == '1' and redis.pcall('SPUBLISH', KEYS[1], ARGV[1])
  if type(told) ~= 'number' then redis.pcall('PUBLISH', KEYS[1], ARGV[1]) end
  return { record, kept }
`)
