'use strict'

// What ways to keep a session in Redis cost Redis: CPU and bytes on the disk for a read and for a change, and memory.
//   npm run build && node benchmark/redis-layouts.js [path of a redis-server, of Redis 8 for all rows]
// Prints the tables of REDIS.md.

const { RedisStore: ConnectRedis } = require('connect-redis')
const { createClient } = require('redis')
const { RedisStore } = require('@fastify/session/redis')
const { startRedis } = require('./redis-server')
const { GET_AND_TOUCH, UPDATE } = require('./redis-scripts-of-12.0.0')

const HOUR = 3_600_000
const SESSIONS = 2000
const ROUNDS = 7
const CALLS = 10_000
const AT_ONCE = 50
const SIZES = { '200 B': [6, 10], '2 KB': [10, 175], '20 KB': [20, 990] }

/** Of each: how a session is written, read (which keeps it alive) and changed in one small key. */
const LAYOUTS = {
  'connect-redis 9: a string, written whole and unconditionally' (client) {
    const store = new ConnectRedis({ client, prefix: '' })
    return {
      write: (key, session) => store.set(key, session),
      read: (key, session) => Promise.all([store.get(key), store.touch(key, session)]),
      change: (key, session) => store.set(key, session)
    }
  },
  '12.0.0: a hash, by scripts' (client) {
    const evaluate = (script, key, args) => client.eval(script, { keys: [key], arguments: args })
    const fields = session => Object.entries(session).flatMap(([key, value]) => [key, JSON.stringify(value)])
    return {
      write: (key, session) => Promise.all([client.hSet(key, fields(session)), client.pExpire(key, HOUR)]),
      read: key => evaluate(GET_AND_TOUCH, key, ['86400000']),
      change: (key, session) => {
        return evaluate(UPDATE, key, [String(HOUR), '0', 'visits', '2', 'cookie', JSON.stringify(session.cookie)])
      }
    }
  },
  '**this version: a hash, with fields for the library\'s own values**' (client) {
    const store = new RedisStore({ client, prefix: '' })
    return {
      write: (key, session) => store.set(key, session),
      read: key => store.getAndTouch(key),
      change: (key, session) => {
        const meta = { set: { seenAt: Date.now() }, unset: [] }
        return store.update(key, { set: { visits: 2 }, unset: [], meta }, session)
      }
    }
  },
  'the same, but each read moves the expiry' (client) {
    const store = new RedisStore({ client, prefix: '' })
    return {
      write: (key, session) => store.set(key, session),
      read: key => Promise.all([client.hGetAll(key), client.pTTL(key), client.pExpire(key, HOUR)]),
      change: undefined
    }
  },
  'a hash, no script: a change revives what has ended' (client) {
    const store = new RedisStore({ client, prefix: '' })
    return {
      write: (key, session) => store.set(key, session),
      read: key => Promise.all([client.hGetAll(key), client.pTTL(key)]),
      change: key => {
        const fields = { visits: '2', '\0s': String(Date.now()) }
        return client.multi().hSet(key, fields).pExpire(key, HOUR, 'GT').exec()
      }
    }
  },
  'a string with a version: a change may have to be repeated' (client) {
    const script = `
      local old = redis.call('GET', KEYS[1])
      if not old then return 0 end
      if string.sub(old, 1, 8) ~= ARGV[1] then return 2 end
      redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
      return 1`
    const text = session => '00000001' + JSON.stringify(session)
    return {
      write: (key, session) => client.set(key, text(session), { PX: HOUR }),
      read: key => Promise.all([client.get(key), client.pTTL(key)]),
      change: (key, session) => client.eval(script, { keys: [key], arguments: ['00000001', text(session)] })
    }
  },
  'a hash of two fields, data and the rest: a change may have to be repeated' (client) {
    const script = `
      if redis.call('HGET', KEYS[1], 'v') ~= ARGV[1] then return 2 end
      redis.call('HSET', KEYS[1], 'data', ARGV[2], 'v', ARGV[3])
      return 1`
    const fields = ({ cookie, ...data }) => ({ data: JSON.stringify(data), own: JSON.stringify(cookie), v: '1' })
    return {
      write: (key, session) => Promise.all([client.hSet(key, fields(session)), client.pExpire(key, HOUR)]),
      read: key => Promise.all([client.hGetAll(key), client.pTTL(key)]),
      change: (key, session) => client.eval(script, { keys: [key], arguments: ['1', fields(session).data, '1'] })
    }
  },
  'a hash with an expiry for each field (HGETEX)' (client) {
    const send = (...args) => client.sendCommand(args.map(String))
    const fields = session => Object.entries(session).flatMap(([key, value]) => [key, JSON.stringify(value)])
    const names = session => [Object.keys(session).length, ...Object.keys(session)]
    return {
      needs: 8,
      write (key, session) {
        return send('HSETEX', key, 'PX', HOUR, 'FIELDS', Object.keys(session).length, ...fields(session))
      },
      // As if the names were known before.
      read: (key, session) => send('HGETEX', key, 'PX', HOUR, 'FIELDS', ...names(session)),
      change: key => send('HSETEX', key, 'FXX', 'PX', HOUR, 'FIELDS', '1', 'visits', '2')
    }
  }
}

function sessionOf ([keys, length]) {
  const now = Date.now()
  const data = Object.fromEntries(Array.from({ length: keys }, (_, i) => [`key${i}`, 'x'.repeat(length)]))
  const cookie = {
    expires: new Date(now + HOUR),
    originalMaxAge: HOUR,
    path: '/',
    httpOnly: true,
    secure: true,
    sameSite: 'lax',
    domain: null,
    createdAt: now,
    seenAt: now
  }
  return { ...data, visits: 1, cookie }
}

async function measure (client, makeLayout, size) {
  const layout = makeLayout(client)
  if (layout.needs > await versionOf(client)) return undefined
  const session = sessionOf(size)
  const keys = Array.from({ length: SESSIONS }, (_, i) => `sess:${String(i).padStart(32, 'x')}`)
  await client.flushAll()
  const before = await used(client)
  await parallel(keys.length, i => layout.write(keys[i], session))
  const memory = (await used(client) - before) / SESSIONS
  const cost = { memory: Math.round(memory) }
  for (const what of ['read', 'change']) {
    if (layout[what] === undefined) continue
    // An hour's session, so that its first hundredth isn't over before this is.
    const run = () => parallel(CALLS, i => layout[what](keys[i % keys.length], session))
    await run()
    const rounds = []
    const aofBefore = await info(client, 'aof_current_size')
    for (let i = 0; i < ROUNDS; i++) rounds.push(await cpuOf(client, run))
    const aof = await info(client, 'aof_current_size') - aofBefore
    cost[what] = {
      all: median(rounds.map(({ all }) => all)) / CALLS,
      commands: median(rounds.map(({ commands }) => commands)) / CALLS,
      disk: Math.round(aof / CALLS / ROUNDS)
    }
  }
  return cost
}

/** Of Redis, in microseconds: all of its CPU, and that of the commands alone. */
async function cpuOf (client, run) {
  await client.sendCommand(['CONFIG', 'RESETSTAT'])
  const before = await cpu(client)
  await run()
  const all = await cpu(client) - before
  const stats = await client.info('commandstats')
  const counted = Array.from(stats.matchAll(/cmdstat_([^:]+):calls=\d+,usec=(\d+)/g))
  // What a script calls is counted with the script already.
  const scripts = counted.filter(([, name]) => name.startsWith('eval'))
  const native = counted.filter(([, name]) => !/^eval|info|config/.test(name))
  const sum = list => list.reduce((total, [, , usec]) => total + Number(usec), 0)
  return { all, commands: scripts.length > 0 ? sum(scripts) : sum(native) }
}

const cpu = async client => 1e6 * (await info(client, 'used_cpu_user') + await info(client, 'used_cpu_sys'))
const used = client => info(client, 'used_memory')
const versionOf = client => info(client, 'redis_version')

async function info (client, name) {
  return parseFloat(new RegExp(`^${name}:(.*)`, 'm').exec(await client.info())[1])
}

async function parallel (count, run) {
  let next = 0
  const one = async () => { while (next < count) await run(next++) }
  await Promise.all(Array.from({ length: AT_ONCE }, one))
}

function median (numbers) {
  return numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)]
}

async function main () {
  const server = await startRedis({
    command: process.argv[2],
    args: ['--appendonly', 'yes', '--appendfsync', 'no', '--auto-aof-rewrite-percentage', '0']
  })
  const client = createClient({ url: `redis://127.0.0.1:${server.port}` })
  await client.connect()
  for (const [name, size] of Object.entries(SIZES)) {
    console.log(`\n| ${name} | memory | read: CPU | of it commands | disk | change: CPU | of it commands | disk |`)
    console.log('|---|--:|--:|--:|--:|--:|--:|--:|')
    for (const [layout, make] of Object.entries(LAYOUTS)) {
      const cost = await measure(client, make, size)
      if (cost === undefined) continue
      const cells = ['read', 'change'].flatMap(what => {
        const { all, commands, disk } = cost[what] ?? {}
        return all === undefined ? ['', '', ''] : [`${all.toFixed(1)} µs`, `${commands.toFixed(1)} µs`, `${disk} B`]
      })
      console.log(`| ${layout} | ${cost.memory} B | ${cells.join(' | ')} |`)
    }
  }
  client.destroy()
  await server.stop()
}

main()
