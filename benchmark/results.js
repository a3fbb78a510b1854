'use strict'

// results.json keeps every group that was measured; RESULTS.md and the charts are drawn from it.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { execFileSync } = require('node:child_process')
const { addedChart, growthChart } = require('./chart')
const { capacity } = require('./capacity')
const { scenarios, sizes } = require('./scenarios')
const { targets } = require('./targets')
const { ways } = require('./ways')

const FILE = path.join(__dirname, 'results.json')
const PACKAGES = ['fastify', '@fastify/cookie', 'upstream-session', '@fastify/secure-session', 'iron-session', 'express', 'express-session', 'redis', 'connect-redis']
const OURS = 'this library'

function readResults () {
  return fs.existsSync(FILE) ? JSON.parse(fs.readFileSync(FILE, 'utf8')) : { groups: {} }
}

function writeResults (results) {
  results.machine = machine()
  fs.writeFileSync(FILE, JSON.stringify(results, rounded) + '\n')
  const write = (file, text) => fs.writeFileSync(path.join(__dirname, file), text)
  write('RESULTS.md', page(results))
  const added = addedChart(results)
  if (added !== undefined) write('added.svg', added)
  if (results.growth === undefined) return
  write('growth-size.svg', growthChart('CPU per request by size of the session', results.growth.bySize, 'size', 'B'))
  write('growth-count.svg', growthChart('CPU per request by live sessions', results.growth.byCount, 'sessions', ''))
}

function report (results) {
  console.log(targetTable(results))
}

function page (results) {
  const parts = [
    '# What a session costs',
    'Made by `npm run benchmark`; how is said in [the README](./README.md). All times are medians, with the quartiles where there is room.',
    results.machine,
    '## At a glance',
    'What a request costs, as a part of the CPU of @fastify/session 11.1.3 (on Redis with connect-redis), and how many times as many of them are served a second:',
    glance(results)
  ]
  for (const way in ways) {
    for (const store of ['memory', 'redis']) {
      for (const size in sizes) {
        const groups = groupsOf(results, way, store, size)
        if (groups.length === 0) continue
        parts.push(`## ${ways[way].title}, ${store === 'redis' ? 'Redis' : 'memory'}, ${size}`, ...tablesOf(groups))
      }
    }
  }
  if (results.growth !== undefined) {
    parts.push('## How it grows', '![By size](./growth-size.svg)', '![By number](./growth-count.svg)', capacity(results))
  }
  parts.push('## Targets', targetTable(results), fs.readFileSync(path.join(__dirname, 'unreached.md'), 'utf8').trim())
  return parts.filter(part => part !== undefined).join('\n\n') + '\n'
}

// What a user wants to know first.
function glance ({ groups }) {
  const columns = [
    ['memory, 2 KB', 'hooks, memory, 2 KB', row => row.ofUpstream.toFixed(3)],
    ['memory, 20 KB', 'hooks, memory, 20 KB', row => row.ofUpstream.toFixed(3)],
    ['Redis, 2 KB', 'hooks, redis, 2 KB', row => row.ofUpstream.toFixed(2)],
    ['HTTP, memory, 2 KB', 'http, memory, 2 KB', row => `${row.timesUpstream.toFixed(1)} times`]
  ]
  const rows = scenarios.map(({ id, title }) => [title, ...columns.map(([, where, cell]) => {
    const group = groups[`${where}, ${id}`]
    return group && cell(ours(group))
  })])
  return table(['', ...columns.map(([head]) => head)], rows)
}

function tablesOf (groups) {
  const tables = ['CPU per request in microseconds (quartiles):', tableOf(groups, row => (
    `${fixed(row.cpu.median)} (${fixed(row.cpu.q1)}–${fixed(row.cpu.q3)})`
  ), ratioRows(groups))]
  if (groups[0].way === 'http') {
    tables.push('Requests per second; latency, p50 and p99 in milliseconds:', tableOf(groups, ({ perSecond, p50, p99 }) => (
      `${Math.round(perSecond.median)}; ${p50.median.toFixed(2)}, ${p99.median.toFixed(2)}`
    ), [[`${OURS} ÷ 11.1.3`, ...groups.map(group => ours(group)?.timesUpstream.toFixed(2))]]))
  }
  if (groups.some(({ rows }) => rows.some(({ traffic }) => traffic !== undefined))) {
    tables.push('Commands a request; bytes sent to Redis and received; CPU of Redis in microseconds:', tableOf(groups, ({ traffic }) => (
      traffic && `${traffic.commands}; ${traffic.sent}, ${traffic.received}; ${fixed(traffic.server)}`
    )))
  }
  return tables
}

function ratioRows (groups) {
  return [
    [`${OURS} ÷ floor`, ...groups.map(group => ours(group)?.ofFloor.toFixed(2))],
    [`${OURS} ÷ 11.1.3`, ...groups.map(group => ours(group)?.ofUpstream.toFixed(3))]
  ]
}

function tableOf (groups, cell, more = []) {
  const names = [...new Set(groups.flatMap(({ rows }) => rows.map(({ name }) => name)))]
  const rows = names.map(name => [name, ...groups.map(({ rows }) => {
    const row = rows.find(row => row.name === name)
    return row && cell(row)
  })])
  return table(['', ...groups.map(({ scenario }) => scenarios.find(({ id }) => id === scenario).title)], [...rows, ...more])
}

/** One group, to be read while the others are measured. */
function groupTable (group) {
  const { way, store, size, scenario, rows } = group
  const http = way === 'http' ? ['requests/s', 'p50, ms', 'p99, ms'] : []
  return `${way}, ${store}, ${size}, ${scenario}\n\n` + table(
    ['', 'CPU, µs', 'quartiles', '÷ floor', '÷ 11.1.3', ...http],
    rows.map(({ name, cpu, ofFloor, ofUpstream, perSecond, p50, p99 }) => [
      name, fixed(cpu.median), `${fixed(cpu.q1)}–${fixed(cpu.q3)}`, ofFloor.toFixed(2), ofUpstream.toFixed(3),
      ...(way === 'http' ? [Math.round(perSecond.median), p50.median.toFixed(2), p99.median.toFixed(2)] : [])
    ])
  ) + '\n'
}

function targetTable (results) {
  return table(['what', 'where', 'wanted', 'found', 'met'], targets.map(target => target(results)).map(({ what, where, wanted, found, isMet }) => [
    what, where, wanted, found === undefined ? 'not measured' : Number(found.toPrecision(3)), isMet === undefined ? '' : isMet ? 'yes' : 'no'
  ]))
}

function table (head, rows) {
  return [head, head.map(() => '---'), ...rows].map(row => `| ${row.map(cell => cell ?? '–').join(' | ')} |`).join('\n')
}

function groupsOf ({ groups }, way, store, size) {
  return scenarios.map(({ id }) => groups[[way, store, size, id].join(', ')]).filter(group => group !== undefined)
}

function ours ({ rows }) {
  return rows.find(({ name }) => name === OURS)
}

function machine () {
  const versions = PACKAGES.map(name => {
    const file = path.join(__dirname, '../node_modules', name, 'package.json')
    return `${name} ${JSON.parse(fs.readFileSync(file, 'utf8')).version}`
  })
  const [redis] = /v=\S+/.exec(execFileSync('redis-server', ['--version'], { encoding: 'utf8' }))
  return `${new Date().toISOString().slice(0, 10)}. ${os.cpus()[0].model}, ${os.cpus().length} cores, ${Math.round(os.totalmem() / 2 ** 30)} GiB, ` +
    `${os.type()}; Node.js ${process.version}; Redis ${redis.slice(2)}; ${versions.join(', ')}.`
}

const fixed = number => number.toFixed(number < 10 ? 2 : 1)

const rounded = (_key, value) => typeof value === 'number' ? Number(value.toPrecision(4)) : value

module.exports = { groupTable, readResults, report, writeResults }
