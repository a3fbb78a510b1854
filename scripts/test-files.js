'use strict'

// Which tests there are, and how to run one file without tap's own start, which takes longer than most files.

const { spawn } = require('node:child_process')
const { readdirSync } = require('node:fs')
const { join } = require('node:path')

const root = join(__dirname, '..')
// As in .taprc, which tap alone reads. In seconds, and for a machine that is busy: it fires if something hangs.
const TAP_TIMEOUT = '600'

/** The files of `npm run test:quick`: what decides is tested here, in a few seconds each. */
const quick = [
  'atomic', 'changes', 'cookies-left', 'copy', 'defects', 'diagnostics', 'drop-in', 'errors', 'faults', 'freshness', 'json-values', 'lazy', 'lifetimes', 'memory-store', 'properties', 'records', 'repository', 'requests',
  'session', 'several-sessions', 'signed-values', 'users', 'values', 'warnings'
].map(name => `test/${name}.test.ts`)
// What they need of the machine.
const quickNeeds = ['redis-server']

/** As .taprc includes them. */
function all () {
  const files = readdirSync(join(root, 'test')).filter(name => name.endsWith('.test.ts')).map(name => `test/${name}`)
  return ['test/all-stores/run.ts', ...files]
}

/** One file, with what it writes to its standard error. */
async function runFile (file, results) {
  const start = performance.now()
  const child = spawn(process.execPath, ['--import', 'tsx', file], { cwd: root, env: { TAP_TIMEOUT, ...process.env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', chunk => { errors += chunk })
  const ended = new Promise(resolve => child.on('close', (code, signal) => resolve(signal ?? code)))
  const { passed, failures } = await results.readFile(child.stdout)
  const code = await ended
  if (code !== 0 && failures.length === 0) failures.push({ fullname: `${file} ended with ${code}` })
  results.fileEnded(file, passed, failures, (performance.now() - start) / 1000, errors)
}

module.exports = { all, quick, quickNeeds, runFile }
