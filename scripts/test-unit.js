'use strict'

// All test files under tap, with coverage: a line a file, and what failed. tap itself would print every check.

const { spawn } = require('node:child_process')
const { join } = require('node:path')
const { stripVTControlCharacters } = require('node:util')
const { Results } = require('./results')
const { all } = require('./test-files')

const root = join(__dirname, '..')
const tap = join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs')

async function runUnitTests (results, files = []) {
  const start = performance.now()
  const child = spawn(process.execPath, [tap, 'run', '--reporter=./scripts/reporter.mjs', ...files], { cwd: root, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', chunk => { output += chunk })
  let isWhole = true
  child.on('message', ({ file, passed, failures, seconds, errors }) => {
    // tap has messages of its own.
    if (file === undefined) return
    results.fileEnded(file, passed, failures, seconds, errors)
    isWhole &&= failures.length === 0
  })
  const code = await new Promise(resolve => child.on('close', (code, signal) => resolve(signal ?? code)))
  // tap ends with 1 below 100 % too. If a file has failed, something is not covered.
  if (isWhole) results.scriptEnded('coverage', (performance.now() - start) / 1000, code === 0 ? undefined : stripVTControlCharacters(output), 'npm run test:unit')
}

module.exports = { runUnitTests }

if (require.main === module) main()

async function main () {
  const files = process.argv.slice(2)
  const results = new Results((files.length > 0 ? files : all()).length + 1)
  await runUnitTests(results, files)
  results.summary()
}
