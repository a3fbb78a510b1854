'use strict'

// Runs npm scripts, two at the same time, as CI has two cores; fails if one does. `types:` is all that begin so.
//
//   node scripts/two-at-a-time.js types: lint

const { spawn } = require('node:child_process')
const { join } = require('node:path')
const { scripts } = require('../package.json')

const cwd = join(__dirname, '..')
// attw packs, and packing would build once more, while others read what was built.
const env = { ...process.env, npm_config_ignore_scripts: 'true' }
const names = process.argv.slice(2).flatMap(name => name.endsWith(':') ? Object.keys(scripts).filter(script => script.startsWith(name)) : name)

async function runNext () {
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    const child = spawn('npm', ['run', name], { cwd, env, stdio: 'inherit' })
    const code = await new Promise(resolve => child.on('close', resolve))
    if (code === 0) continue
    console.error(`npm run ${name} FAILED`)
    process.exitCode = 1
  }
}

runNext()
runNext()
