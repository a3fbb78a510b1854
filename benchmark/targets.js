'use strict'

// What the figures must be. `figure` finds one in the results; the worst of all that are asked for counts.

const READ = ['read-rolling', 'read']
const CHANGED = ['changed-rolling', 'changed']
const UNTOUCHED = ['untouched-rolling', 'untouched']
const ALL_BUT_CREATED = ['no-cookie', ...READ, ...CHANGED, ...UNTOUCHED]
const OURS = 'this library'

const targets = [
  atMost(1.3, 'one small key read, against the floor', { scenarios: READ }, row => row.ofFloor),
  atMost(1.5, 'one key changed, against the floor', { scenarios: CHANGED }, row => row.ofFloor),
  atMost(1.1, "route that doesn't touch the session, against the floor", { scenarios: UNTOUCHED }, row => row.ofFloor),
  atMost(1.5, 'session created, against the floor', { scenarios: ['created'] }, row => row.ofFloor),
  atMost(1.5, 'no cookie, untouched, against Fastify with @fastify/cookie', { scenarios: ['no-cookie'] }, row => row.ofFloor),
  atMost(0.12, 'part of the CPU of 11.1.3, all but creation', { scenarios: ALL_BUT_CREATED }, row => row.ofUpstream),
  atMost(0.25, 'part of the CPU of 11.1.3, creation', { scenarios: ['created'] }, row => row.ofUpstream),
  atMost(0.02, 'part of the CPU of 11.1.3, all but creation', { scenarios: ALL_BUT_CREATED, size: '20 KB' }, row => row.ofUpstream),
  atMost(0.3, 'part of the CPU of 11.1.3, all but creation', { scenarios: ALL_BUT_CREATED, size: '100 B' }, row => row.ofUpstream),
  atLeast(2.8, 'times the requests per second of 11.1.3, read', { way: 'http', scenarios: READ }, row => row.timesUpstream),
  atLeast(4, 'times the requests per second of 11.1.3, untouched', { way: 'http', scenarios: UNTOUCHED }, row => row.timesUpstream),
  atMost(1.3, 'one small key read at 100 KB, against 100 B', { scenarios: READ, size: '100 KB', against: '100 B' },
    (row, small) => row.cpu.median / small.cpu.median),
  atMost(1.3, 'one small key read, against the floor', { store: 'redis', scenarios: READ }, row => row.ofFloor),
  atMost(0.45, 'part of the CPU of 11.1.3 with connect-redis, read', { store: 'redis', scenarios: READ }, row => row.ofUpstream),
  atMost(1, 'Redis commands for a request that reads', { store: 'redis', scenarios: READ }, row => row.traffic.commands),
  atMost(2, 'Redis commands for a request that changes a key', { store: 'redis', scenarios: CHANGED }, row => row.traffic.commands),
  atMost(1.3, 'bytes sent to Redis when a small key of 100 KB changes, against 100 B',
    { store: 'redis', scenarios: CHANGED, size: '100 KB', against: '100 B' },
    (row, small) => row.traffic.sent / small.traffic.sent),
  ofFootprint(1.3, 'heap of the MemoryStore, against a bare Map', footprint => footprint.storeBytes / footprint.mapBytes),
  ofFootprint(50, 'ms, the longest pause while a million sessions expire', footprint => footprint.longestPause),
  ofFootprint(5, 'ms, require of the package', footprint => footprint.importTime),
  ofFootprint(0, 'modules of Redis loaded by it', footprint => Number(footprint.importsRedis)),
  ofFootprint(50, 'ns, diagnostics of one store call with no subscriber', footprint => footprint.signalTime)
]

function atMost (limit, what, where, figure) {
  return target('at most', limit, what, where, figure, Math.max, found => found <= limit)
}

function atLeast (limit, what, where, figure) {
  return target('at least', limit, what, where, figure, Math.min, found => found >= limit)
}

function target (kind, limit, what, { way = 'hooks', store = 'memory', size = '2 KB', against = size, scenarios }, figure, worst, holds) {
  return ({ groups }) => {
    const where = `${way}, ${store}, ${size}`
    const rowsOf = size => scenarios.map(scenario => (
      groups[[way, store, size, scenario].join(', ')]?.rows.find(({ name }) => name === OURS)
    ))
    const rows = rowsOf(size)
    const others = rowsOf(against)
    if ([...rows, ...others].includes(undefined)) return result(kind, limit, what, where)
    return result(kind, limit, what, where, worst(...rows.map((row, i) => figure(row, others[i]))), holds)
  }
}

function ofFootprint (limit, what, figure) {
  return ({ footprint }) => {
    if (footprint === undefined) return result('at most', limit, what, '')
    return result('at most', limit, what, '', figure(footprint), found => found <= limit)
  }
}

function result (kind, limit, what, where, found, holds) {
  return { what, where, wanted: `${kind} ${limit}`, found, isMet: found === undefined ? undefined : holds(found) }
}

module.exports = { targets }
