'use strict'

// What to run while changing src/: the unit and type tests of the core, in less than a minute.

const { availableParallelism } = require('node:os')
const { Results } = require('./results')
const { complaint } = require('./requirements')
const { inParallel, runScripts } = require('./run')
const { quick, quickNeeds, runFile } = require('./test-files')

const types = ['quick:types', 'types:tsd']

async function main () {
  const missing = complaint(quickNeeds)
  if (missing !== undefined) {
    console.error(missing)
    process.exitCode = 1
    return
  }
  const results = new Results(1 + types.length + quick.length)
  // tsd reads what is built.
  await runScripts(['build:if-needed'], results)
  const jobs = [...types.map(name => () => runScripts([name], results)), ...quick.map(file => () => runFile(file, results))]
  await inParallel(jobs, Math.min(4, availableParallelism()))
  results.summary()
}

main()
