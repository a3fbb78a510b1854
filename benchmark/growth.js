'use strict'

// How the cost of a request grows with the size of the session and with the number of live sessions: a key read, rolling.

const { startWorker } = require('./processes')
const { median } = require('./statistics')
const { measureCpu } = require('./ways')

const LIBRARIES = ['this library', '@fastify/session 11.1.3']
const SIZES = [100, 1_000, 10_000, 100_000, 1_000_000]
const COUNTS = [1_000, 10_000, 100_000, 1_000_000]
const SMALL = 100
// What the sessions of one store may take together.
const BYTES = 2e7

async function measureGrowth (port, { quick }) {
  const shorter = axis => quick ? axis.slice(0, -1) : axis
  const bySize = []
  const byCount = []
  for (const store of ['memory', 'redis']) {
    for (const size of shorter(SIZES)) bySize.push(...await measure({ store, size, sessions: Math.min(1_000, BYTES / size) }))
    for (const sessions of shorter(COUNTS)) byCount.push(...await measure({ store, size: SMALL, sessions }))
  }
  return { bySize, byCount }

  async function measure (what) {
    const workers = await Promise.all(LIBRARIES.map((contestant, database) => startWorker({
      contestant, database, port, way: 'hooks', scenario: 'read-rolling', ...what
    })))
    const figures = await measureCpu(workers, quick ? { rounds: 3, ms: 50, longest: 1_000 } : { rounds: 5, ms: 300, longest: 3_000 })
    const points = []
    for (const worker of workers) {
      const cpu = median(figures.get(worker.name).map(({ cpu }) => cpu))
      const traffic = what.store === 'redis' ? await worker.ask('traffic') : undefined
      points.push({ library: worker.name, ...what, cpu, traffic })
      await worker.stop()
      console.log(`${worker.name}, ${what.store}, ${what.sessions} sessions of ${what.size} B: ${cpu.toFixed(1)} µs`)
    }
    return points
  }
}

module.exports = { measureGrowth }
