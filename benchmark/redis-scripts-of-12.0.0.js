'use strict'

// What RedisStore of version 12.0.0 sent, to the letter: so that redis-layouts.js can compare.

const READ = `
  local record = redis.pcall('HGETALL', KEYS[1])
  if record.err then record = redis.call('GET', KEYS[1]) end
  if #record == 0 then record = false end
`

const GET_AND_TOUCH = `${READ}
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
`

const WRITE = `
  local function write(first)
    for i = first, #ARGV - 1, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    return 1
  end
`

const UPDATE = `${WRITE}
  local kind = redis.call('TYPE', KEYS[1]).ok
  if kind == 'none' then return 0 end
  if kind == 'string' then return { redis.call('GET', KEYS[1]) } end
  local first = 3 + ARGV[2]
  for i = 3, first - 1 do redis.call('HDEL', KEYS[1], ARGV[i]) end
  return write(first)
`

module.exports = { GET_AND_TOUCH, UPDATE }
