'use strict'

// Preloaded by each process that runs a test file: it runs the program that run.js has built, with one mutant or none,
// and the named cases only. A case is a top-level `t.test`; its name is its place in the file.

const { readFileSync, writeFileSync } = require('node:fs')
const { _extensions: extensions } = require('node:module')
const { join, relative } = require('node:path')

const root = join(__dirname, '..', '..')
/**
 * `recordTo` is a file for what each case reached and how long it took; `without` has the names of the cases that aren't
 * run then.
 */
const { build, mutant, cases, recordTo, without } = JSON.parse(process.env.MUTATE)

extensions['.ts'] = (module, file) => {
  module._compile(readFileSync(join(build, `${relative(root, file)}.js`), 'utf8'), file)
}

/** What was reached outside of a case, as a file was loaded for example. */
const loading = { reached: new Set() }
const records = []
let current = loading
/** How long it took to get to the first case, in milliseconds. */
let start

globalThis.$mutant = recordTo === undefined
  ? id => id === mutant
  : id => {
    current.reached.add(id)
    return false
  }

// Not in the processes that a test starts itself.
if (process.argv[1]?.endsWith('.test.ts')) {
  const { t } = require('tap')
  const { test } = t
  const running = []
  let place = 0
  Object.defineProperty(t, 'test', {
    value: (...args) => {
      const index = place++
      if (cases !== undefined && !cases.includes(index)) return undefined
      if (without?.includes(args[0]) === true) return undefined
      const ended = Reflect.apply(test, t, args.map(arg => typeof arg === 'function' ? recorded(arg, args[0], index) : arg))
      running.push(ended)
      return ended
    }
  })
  // By then all cases are known. What still keeps the process alive, a connection for example, isn't waited for.
  setImmediate(async () => {
    await Promise.all(running)
    if (recordTo !== undefined) writeRecords()
    process.exit(t.passing() ? 0 : 1)
  })
}

function recorded (run, name, index) {
  return (...args) => {
    start ??= process.uptime() * 1000
    current = { name, index, reached: new Set(), began: now() }
    records.push(current)
    return run(...args)
  }
}

function writeRecords () {
  const ends = [...records.slice(1).map(({ began }) => began), now()]
  const took = records.map(({ name, index, began, reached }, i) => ({ name, index, ms: ends[i] - began, reached: [...reached] }))
  writeFileSync(recordTo, JSON.stringify({ start, cases: took, reached: [...loading.reached] }))
}

// Tests put other clocks in the place of Date and performance.
function now () {
  return Number(process.hrtime.bigint() / 1000n) / 1000
}
