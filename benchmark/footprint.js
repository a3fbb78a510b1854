'use strict'

// What the library takes without a request: heap for a million sessions, against a Map of the same records; the event loop
// while they expire; the time that `require` takes; and what diagnostics cost a store call when nobody listens.

const { execFileSync } = require('node:child_process')
const { runIn } = require('./processes')
const { median } = require('./statistics')

const COUNT = 1_000_000
const IMPORTS = 15
const CALLS = 5_000_000

async function measureFootprint () {
  const map = await runIn('heap-worker.js', { holder: 'map', count: COUNT })
  const store = await runIn('heap-worker.js', { holder: 'store', count: COUNT })
  const expiry = { soak: 'expiry', count: COUNT, library: 'this library', store: 'memory' }
  const { expiring } = await runIn('soak-worker.js', expiry)
  const imports = Array.from({ length: IMPORTS }, importOnce)
  const footprint = {
    mapBytes: map.bytes,
    storeBytes: store.bytes,
    longestPause: expiring.max,
    importTime: median(imports.map(({ ms }) => ms)),
    importsRedis: imports.some(({ redis }) => redis),
    signalTime: signalTime()
  }
  console.log(footprint)
  return footprint
}

// What an application has loaded anyway is loaded before.
const script = `
  require('fastify'); require('@fastify/cookie')
  const begun = performance.now()
  require('../dist')
  const ms = performance.now() - begun
  console.log(JSON.stringify({ ms, redis: Object.keys(require.cache).some(file => /redis/.test(file)) }))
`

function importOnce () {
  return JSON.parse(execFileSync(process.execPath, ['-e', script], { cwd: __dirname, encoding: 'utf8' }))
}

/** How much longer an operation takes because it can be traced, in nanoseconds. */
function signalTime () {
  const { Signals } = require('tsx/cjs/api').require('../src/diagnostics', __filename)
  const signals = new Signals('session', { constructor: { name: 'none' } })
  const bare = (_operation, _sessionId, answer, run) => run(answer)
  const traced = (...operation) => signals.trace(...operation)
  const time = call => {
    let found = 0
    const begun = process.hrtime.bigint()
    for (let i = 0; i < CALLS; i++) call('load', 'id', (_error, value) => { found += value }, answer => answer(null, 1))
    if (found !== CALLS) throw new Error('not all were answered')
    return Number(process.hrtime.bigint() - begun) / CALLS
  }
  const differences = Array.from({ length: 9 }, () => -time(bare) + time(traced))
  return median(differences)
}

module.exports = { measureFootprint }
