'use strict'

// What a long life does to a server: npm run soak (minutes; -- --quick for a tenth of the load)
//
// A million requests of visitors who log in, read, write, log out, stay away and come back, on the MemoryStore and on
// Redis: heap and store must be flat at the end. And a million live sessions in memory that expire while requests come:
// how long the event loop stands still. The same for version 11.1.3. Exits 1 when this version isn't flat.

const { runIn } = require('./processes')
const { startRedis } = require('./redis-server')

const isQuick = process.argv.includes('--quick')
const COUNT = isQuick ? 100_000 : 1_000_000
const SAMPLES = 10
// Growth over the last half of the run. What the collector leaves behind and chance in the visitors' ways is less.
const FLAT = 0.05
const FLAT_HEAP = 2 ** 20

const OURS = 'this library'
const THEIRS = '@fastify/session 11.1.3'

async function main () {
  const redis = await startRedis()
  const begun = Date.now()
  const request = { soak: 'requests', count: COUNT, samples: SAMPLES, port: redis.port }
  const requests = []
  for (const store of ['memory', 'redis']) {
    for (const library of [OURS, THEIRS]) requests.push(await run({ ...request, library, store }))
  }
  await redis.stop()
  const expiries = []
  for (const library of ['no session plugin', OURS, `${OURS}, with a max`, THEIRS]) {
    expiries.push(await run({ soak: 'expiry', count: COUNT, library, store: 'memory' }))
  }

  console.log(`Node.js ${process.version}, ${((Date.now() - begun) / 60_000).toFixed(1)} minutes\n`)
  console.log(`${COUNT} requests; heap and store at a tenth, half and the end of them\n`)
  print(
    ['library', 'store', 'heap, MB', 'growth in the last half', 'sessions in the store', 'growth', 'CPU per request, µs', 'flat'],
    requests.map(result => [
      result.library, result.store,
      three(result.samples.map(({ heap }) => (heap / 2 ** 20).toFixed(1))), percent(growth(result.samples, 'heap')),
      three(result.samples.map(({ sessions }) => sessions)), result.left === undefined ? percent(growth(result.samples, 'sessions')) : `${result.left} left after their lifetime`,
      result.cpu.toFixed(1), isFlat(result) ? 'yes' : 'no'
    ])
  )
  console.log(`\n${COUNT} live sessions in memory, event-loop delay in milliseconds\n`)
  print(
    ['library', 'heap, MB', 'while they live: p99, max', 'while they expire: p99, max', `left of ${COUNT}, after ${COUNT / 2} requests`],
    expiries.map(({ library, heap, alive, expiring, left }) => [
      library, (heap / 2 ** 20).toFixed(0), delays(alive), delays(expiring), left
    ])
  )
  if (!requests.every(result => result.library !== OURS || isFlat(result))) process.exitCode = 1
}

async function run (job) {
  process.stderr.write(`${job.soak}, ${job.library}, ${job.store} ...\n`)
  return { ...job, ...await runIn('soak-worker.js', job) }
}

// On Redis the number of live sessions follows the machine's speed, so there all must be gone in the end.
function isFlat ({ samples, left }) {
  const { part, amount } = growth(samples, 'heap')
  const heapIsFlat = part <= FLAT || amount <= FLAT_HEAP
  return heapIsFlat && (left === undefined ? growth(samples, 'sessions').part <= FLAT : left === 0)
}

/** How much a figure grows over the last half of the samples, by the line that fits them best; and as a part of their mean. */
function growth (samples, figure) {
  const half = samples.slice(samples.length / 2).map(sample => sample[figure])
  const mean = half.reduce((sum, y) => sum + y, 0) / half.length
  const middle = (half.length - 1) / 2
  let products = 0
  let squares = 0
  half.forEach((y, x) => {
    products += (x - middle) * (y - mean)
    squares += (x - middle) ** 2
  })
  const amount = products / squares * (half.length - 1)
  return { amount, part: amount / mean }
}

function three (figures) {
  return [figures[0], figures[figures.length / 2 - 1], figures.at(-1)].join(' → ')
}

function percent ({ part }) {
  return `${part < 0 ? '−' : '+'}${Math.abs(100 * part).toFixed(1)} %`
}

function delays ({ p99, max }) {
  return `${p99.toFixed(1)}, ${max.toFixed(1)}`
}

function print (head, rows) {
  for (const row of [head, head.map(() => '---'), ...rows]) console.log(`| ${row.join(' | ')} |`)
}

main()
