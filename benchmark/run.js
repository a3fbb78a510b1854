'use strict'

// What a session costs: npm run benchmark (long; -- --quick for a glance)
//
//   --part hooks,inject,http,growth,footprint   --store memory,redis   --size "100 B,2 KB,20 KB,100 KB"
//   --scenario read,changed-rolling (see scenarios.js)   --rounds 7
//
// A group is one scenario with one size on one store, and always has all contestants, so all ratios are of the same minute.
// What a run measures replaces what results.json had of it; RESULTS.md and the charts are drawn from all that is there.

const { parseArgs } = require('node:util')
const { contestants, takesPart } = require('./contestants')
const { measureFootprint } = require('./footprint')
const { measureGrowth } = require('./growth')
const { startRedis } = require('./redis-server')
const { groupTable, readResults, report, writeResults } = require('./results')
const { scenarios, sizes } = require('./scenarios')
const { ratio, summary } = require('./statistics')
const { ways } = require('./ways')
const { startWorker } = require('./processes')

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    part: { type: 'string' },
    store: { type: 'string' },
    size: { type: 'string' },
    scenario: { type: 'string' },
    rounds: { type: 'string' }
  }
})

const { quick } = options
const parts = chosen(options.part, ['hooks', 'inject', 'http', 'growth', 'footprint'], ['hooks'])
const stores = chosen(options.store, ['memory', 'redis'], ['memory'])
const sizeNames = chosen(options.size, Object.keys(sizes), ['2 KB'])
const scenarioIds = chosen(options.scenario, scenarios.map(({ id }) => id), [
  'no-cookie', 'created', 'read-rolling', 'changed-rolling', 'untouched-rolling'
])
const rounds = Number(options.rounds ?? (quick ? 3 : 7))
// Of a round, and of all warming up, in milliseconds. Over HTTP there is more to settle.
const ms = quick ? { hooks: 50, inject: 50, http: 300 } : { hooks: 200, inject: 200, http: 1_000 }
const longest = quick ? 600 : 3_000
// As many live sessions as a store of this size may have.
const SESSIONS = 1_000
const BYTES = 2e7

function chosen (option, all, ifQuick = all) {
  const names = option?.split(',') ?? (quick ? ifQuick : all)
  const unknown = names.find(name => !all.includes(name))
  if (unknown !== undefined) throw new Error(`'${unknown}' is none of: ${all.join(', ')}`)
  return all.filter(name => names.includes(name))
}

async function main () {
  const redis = await startRedis()
  const results = readResults()
  for (const way of parts.filter(part => part in ways)) {
    for (const store of stores) {
      for (const size of sizeNames) {
        for (const scenario of scenarios.filter(({ id }) => scenarioIds.includes(id))) {
          const group = await measureGroup({ way, store, size, scenario }, redis.port)
          results.groups[`${way}, ${store}, ${size}, ${scenario.id}`] = group
          console.log(groupTable(group))
          if (!quick) writeResults(results)
        }
      }
    }
  }
  if (parts.includes('growth')) results.growth = await measureGrowth(redis.port, { quick })
  if (parts.includes('footprint')) results.footprint = await measureFootprint()
  await redis.stop()
  if (quick) return
  writeResults(results)
  report(results)
}

async function measureGroup ({ way, store, size, scenario }, port) {
  const bytes = sizes[size]
  const sessions = Math.min(SESSIONS, Math.ceil(BYTES / bytes))
  const taking = contestants.filter(contestant => takesPart(contestant, { store, scenario, size: bytes }))
  const workers = await Promise.all(taking.map(({ name }, database) => startWorker({
    contestant: name, way, store, scenario: scenario.id, size: bytes, sessions, port, database
  })))
  const figures = await ways[way].measure(workers, { rounds, ms: ms[way], longest })
  const rows = []
  for (const worker of workers) {
    const { isBare } = contestants.find(({ name }) => name === worker.name)
    const ofAll = name => column => figures.get(name).map(row => row[column])
    const [own, floor, upstream] = [worker.name, 'floor', '@fastify/session 11.1.3'].map(ofAll)
    const row = { name: worker.name, cpu: summary(own('cpu')) }
    row.ofFloor = ratio(own('cpu'), floor('cpu'))
    row.ofUpstream = ratio(own('cpu'), upstream('cpu'))
    if (way === 'http') {
      for (const column of ['perSecond', 'p50', 'p99']) row[column] = summary(own(column))
      row.timesUpstream = ratio(own('perSecond'), upstream('perSecond'))
    }
    if (way === 'hooks' && store === 'redis' && isBare !== true) row.traffic = await worker.ask('traffic')
    rows.push(row)
    await worker.stop()
  }
  return { way, store, size, scenario: scenario.id, rows }
}

main()
