'use strict'

// Runs npm scripts, two at the same time, as most machines that build have two cores. Says of each how it went, shows what
// those have written that fail, and exits with 1 then. `types:` stands for all that begin so.
//
//   node scripts/run.js types: lint

const { spawn } = require('node:child_process')
const { join } = require('node:path')
const { scripts } = require('../package.json')
const { Results } = require('./results')

const root = join(__dirname, '..')
// attw packs, and packing would build once more, while others read what was built.
const env = { ...process.env, npm_config_ignore_scripts: 'true' }

function namesOf (wanted) {
  return wanted.flatMap(name => name.endsWith(':') ? Object.keys(scripts).filter(script => script.startsWith(name)) : name)
}

/** Does all of it, some at the same time. A job is a function. */
async function inParallel (jobs, atOnce = 2) {
  const left = [...jobs]
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let job = left.shift(); job !== undefined; job = left.shift()) await job()
  }))
}

/** Returns the names of those that failed. */
async function runScripts (names, results) {
  const failed = []
  await inParallel(names.map(name => async () => {
    const start = performance.now()
    const { code, output } = await run('npm', ['run', '--silent', name])
    results.scriptEnded(name, (performance.now() - start) / 1000, code === 0 ? undefined : output)
    if (code !== 0) failed.push(name)
  }))
  return failed
}

/** A program, to its end. */
function run (command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], shell: process.platform === 'win32' })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', chunk => { output += chunk })
    child.on('error', reject)
    child.on('close', code => resolve({ code, output }))
  })
}

module.exports = { inParallel, namesOf, runScripts }

if (require.main === module) main()

async function main () {
  const names = namesOf(process.argv.slice(2))
  const results = new Results(names.length)
  // What the others read is built before.
  const isBuild = name => name.startsWith('build')
  await runScripts(names.filter(isBuild), results)
  await runScripts(names.filter(name => !isBuild(name)), results)
  results.summary()
}
