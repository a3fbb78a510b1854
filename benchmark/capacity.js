'use strict'

// What the figures mean for a large site: arithmetic, no measurement.

const SESSIONS = 100_000_000
const SHARD_BYTES = 64 * 2 ** 30
// A visitor who is there asks for something as often, in seconds.
const INTERVAL = 60
// Of all live sessions, the part whose visitors are there.
const PRESENT = 0.1
// Redis has one thread for commands. More than that much of it is no plan.
const BUSIEST = 0.5
const NAME = 'this library'

/** A paragraph, or nothing where the figures are missing. */
function capacity ({ groups, growth }) {
  const traffic = scenario => groups[`hooks, redis, 2 KB, ${scenario}`]?.rows.find(({ name }) => name === NAME)?.traffic
  const cpu = scenario => groups[`hooks, redis, 2 KB, ${scenario}`].rows.find(({ name }) => name === NAME).cpu.median
  const read = traffic('read-rolling')
  const small = growth.byCount.findLast(({ library, store }) => library === NAME && store === 'redis')
  if (read === undefined || small === undefined) return undefined

  const requests = SESSIONS * PRESENT / INTERVAL
  const bytes = SESSIONS * read.stored
  const forMemory = Math.ceil(bytes / SHARD_BYTES)
  const shards = Math.max(forMemory, Math.ceil(requests * read.server / 1e6 / BUSIEST))
  const perShard = requests / shards
  return [
    '**A site of a hundred million sessions** (by calculation from the figures above, not measured).',
    `A session of 2 KB takes ${read.stored} bytes of Redis, so all of them take ${gb(bytes)} GB, ${forMemory} times 64 GiB.`,
    `With a tenth of the visitors there and a request of each in a minute, that is ${thousands(requests)} requests a second, and as many commands.`,
    `A read takes ${read.server.toFixed(1)} µs of Redis, so ${shards} shards are needed, that none is busy for more than ${percent(BUSIEST)} of the time.`,
    `Each has ${thousands(perShard)} commands a second and ${gb(bytes / shards)} GB, receives ${mbit(perShard * read.sent)} Mbit/s and sends ${mbit(perShard * read.received)} Mbit/s.`,
    `The servers need ${Math.ceil(requests * cpu('read-rolling') / 1e6)} cores for sessions, Fastify and the Redis client together.`,
    `Sessions of 100 B take ${small.traffic.stored} bytes each, ${gb(SESSIONS * small.traffic.stored)} GB in all.`
  ].join(' ')
}

const gb = bytes => Math.round(bytes / 1e9)
const mbit = bytes => (bytes * 8 / 1e6).toFixed(bytes < 1e6 ? 1 : 0)
const percent = part => `${Math.round(100 * part)} %`
const thousands = number => Math.round(number).toLocaleString('en')

module.exports = { capacity }
