/**
 * What must be checked and done in one step, in Lua. Each script has one key, so it works on a cluster. A script's
 * first write is one that a full Redis refuses: after another one, Redis lets the script write on. No JSON is made or
 * read here, because Lua's spoils large numbers and empty arrays. One command a line: where Redis refuses one, its
 * line tells which.
 */
import { fieldOfMeta } from './redis-layout'
import { Script } from './redis-client'

// A hash's fields and texts in turn; the text of a string, which connect-redis wrote; or nothing.
const READ = `
  local function read()
    if redis.call('TYPE', KEYS[1]).ok == 'string' then
      return redis.call('GET', KEYS[1])
    end
    return redis.call('HGETALL', KEYS[1])
  end
`

// From an index on, ARGV has fields and texts in turn. Lua can't pass on any number at once.
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

// As Lua writes them.
const [IDLE, CREATED_AT, ABSOLUTE_TIMEOUT, SEEN_AT, USER_KEY, CLAIMED_AT, AUTHENTICATED_AT] = [
  'idle', 'createdAt', 'absoluteTimeout', 'seenAt', 'userKey', 'claimedAt', 'authenticatedAt'
].map(name => fieldOfMeta(name).replace('\0', '\\0'))

const LIFE = `'${IDLE}', '${CREATED_AT}', '${ABSOLUTE_TIMEOUT}', '${SEEN_AT}'`

// Answers how long Redis must keep a session, in milliseconds: until its end and a hundredth of its life, but never
// past its absolute end. Further answers are the same without the hundredth, and what is left until the absolute end.
// The arguments are the time, the session's end (nothing for the end of a whole life from now), the store's ttl, and
// from who has read more than a script can: an absolute end and how long the session may be idle. All in
// milliseconds. Unless the end is exact, it is no later than what the record itself says of the idle time: whoever uses
// a session may not know of a lifetime that somebody has chosen since.
const TIMES = `
  local function life(text)
    local number = tonumber(text)
    if number and number > 0 and number < 1e15 then return number end
  end
  local function times(now, ends, ttl, limit, idle, isExact)
    local own = redis.call('HMGET', KEYS[1], 'cookie', ${LIFE})
    local cookie = own[1] or ''
    if ends and own[5] and not isExact then
      local ownIdle = life(own[2])
      local fixed = tonumber(string.match(cookie, '"expires":([%d.]+)'))
      if ownIdle then ends = math.min(ends, now + ownIdle) else ends = fixed end
    end
    idle = idle or life(own[2]) or life(string.match(cookie, '"originalMaxAge":([^,}]+)'))
    if not ends then idle = idle or ttl end
    local slack = (idle or 0) / 100
    local left = ends and ends - now or idle
    local createdAt, absoluteTimeout = tonumber(own[3]), tonumber(own[4])
    if createdAt and absoluteTimeout then limit = math.min(limit or math.huge, createdAt + absoluteTimeout) end
    local most = (limit or math.huge) - now
    if left <= 0 then return left, left, most end
    return math.min(left + slack, most), math.min(left, most), most
  end
`

/** ARGV: milliseconds, then fields and texts in turn. */
export const SET = new Script(`${WRITE}
  if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('SET', KEYS[1], '')
    redis.call('DEL', KEYS[1])
  end
  write(2)
  keep(ARGV[1])
`)

/**
 * ARGV: the time, the end or '', the store's ttl, what the end is (1: exactly that; 2: cut short by what is written;
 * 3: the same, and not moved otherwise; 0: none of these), the numbers of values that are expected and of fields to
 * remove, the expected as fields and texts ('' for none), the fields to remove, then fields and texts in turn. Answers
 * 0 where the session is gone, 2 where it isn't as expected, or the record where it is in another form than ours. The
 * end is left where it is if it is as late already, which costs less.
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
 * Puts a record into our form, unless it has changed: ARGV has the text of the string or of the cookie ('' for none),
 * then fields and texts in turn. Its time stays. Fields of the owner, and when it authenticated, that aren't written
 * go: version 12.0.0 knows better.
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
 * ARGV: the time, the end or '' for a whole life from now, the store's ttl, and an absolute end and a life, or ''.
 * Never shortens. Answers whether the session is there.
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
 * ARGV: why the session ends, and whether that is told on the channels of a cluster's shards. The channel is called as
 * the key, so it is on the same server. Who may not tell it ends it all the same. Answers what it removes, and how long
 * that was kept still; nothing where there was nothing.
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
