'use strict'

// What the library takes without a request: heap for a million sessions, against a Map of the same records; the event loop
// while they expire; and the time that `require` takes.

const { execFileSync } = require('node:child_process')
const { runIn } = require('./processes')
const { median } = require('./statistics')

const COUNT = 1_000_000
const IMPORTS = 15

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
    importsRedis: imports.some(({ redis }) => redis)
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

module.exports = { measureFootprint }
