/**
 * What holds across processes: four real ones behind one Redis, behind a Redis Cluster and behind a PostgreSQL, with 200
 * visitors who make parallel requests through all of them, while one process is killed and one server of the store goes
 * away and comes back.
 *
 * What Redis itself may lose is not tested here: without persistence, everything when it ends; with `appendfsync
 * everysec`, a second or two of confirmed writes when the machine crashes (not when Redis is stopped, as here: it writes
 * everything to disk first); at a failover, what had not reached the replica, because replication is asynchronous.
 *
 * The processes run the built package: `npm run build` first.
 */
import { Client as PgClient } from 'pg'
import { createClient } from 'redis'
import t, { type Test } from 'tap'
import { Client } from './processes/client'
import { Findings, VIOLATIONS } from './processes/findings'
import { Fleet, type Backend, type Member } from './processes/fleet'
import { sessionIdOf } from './processes/replies'
import { migrate } from '../src/stores/postgres'
import { openPool } from './postgres/tables'
import { startPostgres, startRedis, startRedisCluster, type Server } from './servers'
import { until } from './waiting'

const PROCESSES = 4
const CLIENTS = 200

// How many requests are confirmed, or fail, before the next thing happens.
const BEFORE_KILL = 3_000
const BEFORE_REPLACE = 2_000
const BEFORE_STOP = 2_000
const FAILED_BEFORE_RESTART = 400
const TOTAL = 15_000
const CLUSTER_TOTAL = 10_000
const AFTER_RESTART = 1_000

const MAX_AGE = 10 * 60_000
const ID_LENGTH = 32
const LONG_WORD = /[\w-]{32,}/g
// How many violations of each kind are shown.
const SHOWN = 5

interface Run {
  backend: Backend
  servers: Server[]
  /** What happens while the visitors make requests. They stop when it is over. */
  course: (fleet: Fleet, findings: Findings) => Promise<void>
  keysOf?: typeof keysOf
}

t.test('four processes behind one Redis lose no confirmed write and revive no session', async t => {
  const redis = await startRedis(t, { appendOnly: true })
  await keepsItsPromises(t, { backend: 'node-redis', servers: [redis], course: disturbance(redis, TOTAL) })
})

t.test('four processes behind a Redis Cluster lose no confirmed write and revive no session', async t => {
  const { nodes } = await startRedisCluster(t, { appendOnly: true })
  const course = disturbance(nodes[1] as Server, CLUSTER_TOTAL)
  await keepsItsPromises(t, { backend: 'ioredis Cluster', servers: nodes, course })
})

t.test('four processes behind one PostgreSQL lose no confirmed write and revive no session', async t => {
  const postgres = await startPostgres(t)
  await migrate(openPool(t, postgres.url))
  await keepsItsPromises(t, { backend: 'postgres', servers: [postgres], course: disturbance(postgres, CLUSTER_TOTAL), keysOf: rowsOf })
})

// If they found nothing here, the tests above would prove nothing.
t.test('the same visitors find lost keys and revived sessions in version 11', async t => {
  const redis = await startRedis(t)
  const course: Run['course'] = async (_fleet, findings) => {
    for (const kind of ['lost key', 'revived session'] as const) {
      await findings.reach(`a ${kind}`, () => findings.violations(kind).length > 0)
    }
  }
  await run(t, { backend: 'version 11', servers: [redis], course })
})

/** A process is killed and replaced, then a server of the store goes away and comes back. */
function disturbance (server: Server, total: number): Run['course'] {
  return async (fleet, findings) => {
    const { 'all is well': well, 'a process is gone': killed, 'the store is away': away, 'the store is back': back } = findings.counts
    await findings.reach('requests while all is well', () => well.confirmed >= BEFORE_KILL)
    findings.phase = 'a process is gone'
    await fleet.kill(0)
    await findings.reach('requests while a process is gone', () => killed.confirmed >= BEFORE_REPLACE)
    await fleet.replace(0)
    findings.phase = 'all is well'
    await findings.reach('requests after it was replaced', () => well.confirmed >= BEFORE_KILL + BEFORE_STOP)
    findings.phase = 'the store is away'
    await server.stop()
    await findings.reach('errors while the store is away', () => away.failed >= FAILED_BEFORE_RESTART)
    await server.restart()
    findings.phase = 'the store is back'
    await findings.reach('requests when the store is back', () => back.confirmed >= AFTER_RESTART && findings.total('confirmed') >= total)
  }
}

async function keepsItsPromises (t: Test, options: Run): Promise<void> {
  const { findings, fleet } = await run(t, options)
  for (const kind of VIOLATIONS) t.same(findings.violations(kind).slice(0, SHOWN), [], `no ${kind}`)

  const keys = (await Promise.all(options.servers.map(options.keysOf ?? keysOf))).flat()
  // The store keeps a session longer by a hundredth of its lifetime.
  const endless = keys.filter(({ ttl }) => ttl <= 0 || ttl > MAX_AGE * 1.01)
  t.same(endless.slice(0, SHOWN), [], 'every session in the store has an end, and none ends later than it should')

  t.equal(fleet.crashes, 0, 'only the process that was killed has ended')
  const sessionIds = [...findings.ended.map(sessionIdOf), ...keys.map(({ key }) => key.replace(/^sess:/, ''))]
  // A store that is away refuses connections, or doesn't answer.
  t.match(fleet.output, /FST_ERR_SESSION_STORE_TIMEOUT|ECONNREFUSED/, 'the processes log their errors')
  t.same(idsIn(fleet.output, new Set(sessionIds)), [], 'but no session ids')

  const { 'all is well': well, 'a process is gone': killed } = findings.counts
  // On a busy machine, a store call may take longer than its timeout of a second.
  const errors = Object.keys({ ...well.errors, ...killed.errors })
  t.same(errors.filter(words => !/FST_ERR_SESSION_(GONE|STORE_TIMEOUT)/.test(words)), [], 'no errors while the store was there')

  t.ok(findings.ended.length > 50, 'dozens of sessions have ended')
}

async function run (t: Test, options: Run): Promise<{ findings: Findings, fleet: Fleet }> {
  const { backend, servers, course } = options
  const fleet = new Fleet(t, backend, servers.map(({ url }) => url))
  await fleet.start(PROCESSES)
  const findings = new Findings()
  const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(`visitor ${i}`, fleet, findings))
  let isOver = false
  const done = course(fleet, findings).finally(() => { isOver = true })
  await Promise.all([done, ...clients.map(client => client.run(() => isOver))])

  // A client may need a moment to reconnect to Redis.
  for (const member of fleet.members) await until('every process works in the end', () => works(member))
  const ended = [...findings.ended]
  await Promise.all(clients.map(async client => {
    while (ended.length > 0) await client.expectNobody(ended.pop() as string, 'ended long ago')
  }))
  report(t, backend, findings)
  return { findings, fleet }
}

async function works (member: Member): Promise<boolean> {
  return (await member.ask({ path: '/data' })).status === 200
}

async function keysOf ({ url }: Server): Promise<Array<{ key: string, ttl: number }>> {
  const client = await createClient({ url }).connect()
  try {
    const keys = new Set<string>()
    for await (const some of client.scanIterator({ COUNT: 1000 })) for (const key of some) keys.add(key)
    return await Promise.all(Array.from(keys, async key => ({ key, ttl: await client.pTTL(key) })))
  } finally {
    client.destroy()
  }
}

async function rowsOf ({ url }: Server): ReturnType<typeof keysOf> {
  const client = new PgClient({ connectionString: url })
  await client.connect()
  try {
    // Expired rows are removed by later writes.
    const text = 'select sid as key, (extract(epoch from expires_at - now()) * 1000)::float8 as ttl from session where expires_at > now()'
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

/** All ids have the same length, so it is enough to look for parts of that length. */
function idsIn (output: string, sessionIds: Set<string>): string[] {
  const words = [...new Set(output.match(LONG_WORD))]
  const parts = words.flatMap(word => Array.from(word, (_, i) => word.slice(i, i + ID_LENGTH)))
  return parts.filter(part => sessionIds.has(part))
}

function report (t: Test, backend: Backend, findings: Findings): void {
  t.comment(`${backend}: ${findings.total('requests')} requests, ${findings.total('confirmed')} confirmed, ` +
    `${findings.total('gone')} gone, ${findings.total('failed')} failed, ${findings.total('cut')} cut, ` +
    `${findings.ended.length} sessions ended`)
  for (const kind of VIOLATIONS) t.comment(`${kind}: ${findings.violations(kind).length}`)
  for (const [phase, counts] of Object.entries(findings.counts)) t.comment(phase, counts)
  t.comment('cookies of late replies', findings.lateCookies)
}
