'use strict'

// All test files under tap, with coverage: a line a file, and what failed. tap itself would print every check.

const { spawn } = require('node:child_process')
const { join } = require('node:path')
const { Results } = require('./results')
const { all } = require('./test-files')

const root = join(__dirname, '..')

async function runUnitTests (results) {
  const start = performance.now()
  const tap = spawn('node_modules/.bin/tap', ['run', '--reporter=tap', ...all()], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], shell: process.platform === 'win32' })
  let errors = ''
  tap.stderr.setEncoding('utf8').on('data', chunk => { errors += chunk })
  const ended = new Promise(resolve => tap.on('close', resolve))
  const { ok, others } = await results.readFiles(tap.stdout)
  const code = await ended
  if (!ok) {
    results.note(`Standard error of all files:\n\n${errors}`)
  } else {
    // tap ends with 1 below 100 %.
    results.scriptEnded('coverage', (performance.now() - start) / 1000, code === 0 ? undefined : `${others}\n${errors}`, 'npm run test:unit')
  }
}

module.exports = { runUnitTests }

if (require.main === module) main()

async function main () {
  const results = new Results(all().length + 1)
  await runUnitTests(results)
  results.summary()
}
