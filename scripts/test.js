'use strict'

// npm test: everything. First what the machine lacks, then a line for each part, and what failed at the end.

const { Results } = require('./results')
const { complaint } = require('./requirements')
const { namesOf, runScripts } = require('./run')
const { all } = require('./test-files')
const { runUnitTests } = require('./test-unit')

// Seconds on a machine with two cores that does nothing else. `processes` has the four processes and the cluster.
const BUDGETS = {
  'test/all-stores/run.ts': 220,
  'test/browser.test.ts': 90,
  'test/device-bound-races.test.ts': 65,
  'test/processes.test.ts': 90,
  'test/races.test.ts': 340
}
const TOTAL = 13 * 60

const before = ['packages', 'lint', 'build:if-needed']
const checks = [...namesOf(['types:']), 'test:package']

async function main () {
  const missing = complaint()
  if (missing !== undefined) {
    console.error(missing)
    process.exitCode = 1
    return
  }
  console.log('This takes about twelve minutes. Less than one: npm run test:quick')
  const results = new Results(before.length + checks.length + all().length + 1)
  const start = performance.now()
  const failed = await runScripts(before, results)
  // Without them, all that follows would fail.
  if (failed.some(name => name !== 'lint')) {
    results.summary()
    return
  }
  await runScripts(checks, results)
  await runUnitTests(results)
  console.log('\nSeconds of the parts that take long:')
  for (const [name, budget] of [...Object.entries(BUDGETS), ['all', TOTAL]]) {
    const seconds = name === 'all' ? (performance.now() - start) / 1000 : results.times.get(name)
    console.log(`  ${name.padEnd(32)} ${seconds === undefined ? '-' : seconds.toFixed(0).padStart(4)} of ${budget}${seconds > budget ? '  OVER ITS BUDGET' : ''}`)
  }
  results.summary()
}

main()
