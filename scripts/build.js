'use strict'

// src/ to dist/, with declarations. With --if-needed: only if src/ has changed since.

const { spawnSync } = require('node:child_process')
const { readdirSync, rmSync, statSync } = require('node:fs')
const { join } = require('node:path')

const root = join(__dirname, '..')
const dist = join(root, 'dist')
const sources = ['tsconfig.json', 'tsconfig.build.json', 'src']

if (!process.argv.includes('--if-needed') || isOutdated()) {
  rmSync(dist, { recursive: true, force: true })
  const { status } = spawnSync(process.execPath, [require.resolve('typescript/bin/tsc'), '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
  process.exitCode = status ?? 1
}

function isOutdated () {
  const built = statSync(join(dist, 'index.js'), { throwIfNoEntry: false })
  return built === undefined || sources.some(name => lastChange(join(root, name)) > built.mtimeMs)
}

/** Of a folder, with all that is in it. A file that was removed has changed its folder. */
function lastChange (path) {
  const stat = statSync(path)
  const below = stat.isDirectory() ? readdirSync(path).map(name => lastChange(join(path, name))) : []
  return Math.max(stat.mtimeMs, ...below)
}
