'use strict'

// As it is in real life: over TLS with a thousand connections that stay open, and two processes on one Redis.
//
//   node benchmark/real.js            writes REAL.md; -- --quick for a glance

const { execFileSync } = require('node:child_process')
const { mkdtempSync, readFileSync, rmSync, writeFileSync } = require('node:fs')
const { cpus, tmpdir } = require('node:os')
const { join } = require('node:path')
require('../packages/contestants')
const { startWorker } = require('./processes')
const { startRedis } = require('./redis-server')
const { scenarios, sizes } = require('./scenarios')
const { median, quantile } = require('./statistics')
const { load } = require('./ways')

const CONTESTANTS = ['@fastify/session 11.1.3', 'this library', 'floor']
const UPSTREAM = CONTESTANTS[0]
const quick = process.argv.includes('--quick')
const ROUNDS = quick ? 3 : 5
const MS = quick ? 1_000 : 2_000
const job = { scenario: 'read-rolling', size: sizes['2 KB'], sessions: 1_000, way: 'http' }

const CASES = [
  { title: 'http, 32 connections, in memory', connections: 32, start: contestant => startWorker({ ...job, contestant, store: 'memory' }).then(one) },
  { title: 'https, 1,000 connections, in memory', connections: 1_000, start: (contestant, { tls }) => startWorker({ ...job, contestant, store: 'memory', tls }).then(one) },
  { title: 'two processes on one Redis, https, 200 connections', connections: 200, start: startTwo }
]

const one = worker => [worker]

async function startTwo (contestant, { tls, redis }) {
  const database = CONTESTANTS.indexOf(contestant)
  const both = { ...job, contestant, store: 'redis', port: redis.port, database, tls }
  const first = await startWorker(both)
  const { cookies } = await first.ask('target')
  return [first, await startWorker({ ...both, cookies })]
}

/** Requests per second of all its processes, latency of the slowest in a hundred in milliseconds, CPU per request in microseconds. */
async function measure (workers, connections) {
  const targets = await Promise.all(workers.map(worker => worker.ask('target')))
  let before
  let waiting = targets.length
  const onSteady = () => { if (--waiting === 0) before = cpuOf(workers) }
  const loads = await Promise.all(targets.map(target => load(target, MS, connections / targets.length, onSteady)))
  const count = sum(loads.map(({ count }) => count))
  return {
    perSecond: sum(loads.map(({ count, seconds }) => count / seconds)),
    p99: quantile(loads.flatMap(({ latencies }) => latencies), 0.99),
    cpu: (await cpuOf(workers) - await before) / count
  }
}

const cpuOf = async workers => sum((await Promise.all(workers.map(worker => worker.ask('cpu')))).map(({ cpu }) => cpu))
const sum = numbers => numbers.reduce((total, number) => total + number, 0)

/** Each has its turn in each round. */
async function measureCase ({ title, connections, start }, with_) {
  const groups = []
  for (const contestant of CONTESTANTS) groups.push({ contestant, workers: await start(contestant, with_), figures: [] })
  for (const { workers } of groups) await measure(workers, connections)
  for (let round = 0; round < ROUNDS; round++) {
    for (const { workers, figures } of groups) figures.push(await measure(workers, connections))
  }
  for (const { workers } of groups) for (const worker of workers) await worker.stop()
  const theirs = groups.find(({ contestant }) => contestant === UPSTREAM).figures
  return [
    `### ${title}`,
    '',
    '| | requests per second | times 11.1.3 | p99, ms | CPU per request, µs | of 11.1.3 |',
    '|---|--:|--:|--:|--:|--:|',
    ...groups.map(({ contestant, figures }) => {
      const middle = key => median(figures.map(figure => figure[key]))
      const ratio = key => median(figures.map((figure, i) => figure[key] / theirs[i][key]))
      return `| ${contestant} | ${Math.round(middle('perSecond'))} | ${ratio('perSecond').toFixed(2)} | ${middle('p99').toFixed(1)} | ${middle('cpu').toFixed(0)} | ${ratio('cpu').toFixed(2)} |`
    }),
    ''
  ].join('\n')
}

function makeCertificate () {
  const folder = mkdtempSync(join(tmpdir(), 'session-benchmark-'))
  try {
    const [key, cert] = ['key.pem', 'cert.pem'].map(name => join(folder, name))
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1', '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' })
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function main () {
  if (!scenarios.some(({ id }) => id === job.scenario)) throw new Error(`There is no ${job.scenario}`)
  const redis = await startRedis()
  const tls = makeCertificate()
  const tables = []
  for (const one of CASES) {
    tables.push(await measureCase(one, { tls, redis }))
    console.log(tables.at(-1))
  }
  await redis.stop()
  if (quick) return
  writeFileSync(join(__dirname, 'REAL.md'), [
    '# As it is in real life',
    '',
    'A rolling read of a session of 2 KB. The load comes from the same machine, so the requests per second are those of both; more is',
    'better. CPU is that of the servers, all processes and threads; less is better. A ratio is the median of the ratios round by round.',
    '',
    `Node.js ${process.version}, ${cpus().length} cores (${cpus()[0].model.trim()}), ${ROUNDS} rounds of ${MS / 1000} s. Made by \`node benchmark/real.js\`.`,
    '',
    ...tables
  ].join('\n'))
}

main()
