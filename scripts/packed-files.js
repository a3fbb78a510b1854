'use strict'

const { execSync } = require('node:child_process')
const { join } = require('node:path')

const root = join(__dirname, '..')

/** What npm would publish, as paths from the root. */
function packedFiles () {
  const [{ files }] = JSON.parse(execSync('npm pack --dry-run --json --ignore-scripts', { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] }))
  return files.map(({ path }) => path)
}

module.exports = { packedFiles }
