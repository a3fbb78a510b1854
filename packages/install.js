'use strict'

// Installs packages that the root's `npm ci` leaves out, if they aren't there already.
//
//   require('../packages/stores')      in a program or test that needs them
//   node packages/install.js stores    by hand; without a name, all of them

const { spawnSync } = require('node:child_process')
const { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeSync } = require('node:fs')
const { join } = require('node:path')

const root = join(__dirname, '..')
const modules = join(root, 'node_modules')
const SQLITE = join(modules, 'better-sqlite3', 'build', 'Release', 'better_sqlite3.node')
const lockFile = join(modules, '.packages.lock')
const POLL = 200
const COMPILING = 'Compiling needs make, Python and a C++ compiler: sudo apt-get install -y build-essential python3, or xcode-select --install'

/** The folders beside this file. */
const all = () => readdirSync(__dirname, { withFileTypes: true }).filter(entry => entry.isDirectory()).map(({ name }) => name)

/** Makes sure that they are there, in the versions of the lock file. Needs no network if they are. */
module.exports = function install (names = all()) {
  if (missing(names).length > 0 || needsBuild(names)) whileLocked(() => installNow(names))
}

function installNow (names) {
  // Another process may have done it while this one waited.
  const absent = missing(names)
  if (absent.length > 0) {
    say(`Installing ${absent.map(name => `packages/${name}`).join(', ')}, once`)
    npm(['install', '--workspaces', ...absent.flatMap(name => ['-w', `packages/${name}`]), '--no-save', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'])
  }
  if (needsBuild(names)) {
    say('Installing SQLite, once. If it has to be compiled, that takes a minute')
    // The tests don't measure it, and the optimiser takes most of the time.
    npm(['rebuild', 'better-sqlite3', '--ignore-scripts=false'], { CFLAGS: '-O0' }, COMPILING)
    if (!loadsElsewhere()) throw new Error(`better-sqlite3 doesn't load after it was built. ${COMPILING}`)
  }
}

/**
 * Those of which a package isn't there as the lock file says. What npm has installed is in a file of its own; after
 * `npm install --package-lock-only` that file also lists what isn't installed.
 */
function missing (names) {
  const wanted = packagesIn(join(root, 'package-lock.json'))
  const installed = packagesIn(join(modules, '.package-lock.json'))
  return names.filter(name => {
    const { dependencies } = wanted[`packages/${name}`]
    return Object.keys(dependencies).some(dependency => {
      const path = `node_modules/${dependency}`
      return installed[path]?.version !== wanted[path].version || !existsSync(join(root, path))
    })
  })
}

function packagesIn (file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
    return {}
  }
}

/** Built for another Node.js is not built. */
function needsBuild (names) {
  if (!names.includes('sqlite')) return false
  // Node.js remembers a package that it didn't find.
  if (!existsSync(join(modules, 'better-sqlite3'))) return true
  try {
    // Not a database: on Node.js 24, one that is open when the process ends may crash it.
    require(SQLITE)
    return false
  } catch {
    return true
  }
}

/** In a new process: this one still has the file that was built for another Node.js. */
function loadsElsewhere () {
  return spawnSync(process.execPath, [SQLITE]).status === 0
}

function npm (args, env, hint = '') {
  // Tap's loader in NODE_OPTIONS is for tests.
  const [command, ...first] = process.platform === 'win32' ? ['npm.cmd'] : ['env', '-u', 'NODE_OPTIONS', 'npm']
  const { status, error, stdout, stderr } = spawnSync(command, [...first, ...args], {
    cwd: root, env: { ...process.env, ...env }, encoding: 'utf8', shell: process.platform === 'win32'
  })
  if (status !== 0) throw new Error(`npm ${args.join(' ')} failed. ${hint}\n${stdout}${stderr}`, { cause: error })
}

/** Test files run side by side. One installs, and the others wait for it. */
function whileLocked (work) {
  while (!locked()) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, POLL)
  try {
    work()
  } finally {
    rmSync(lockFile, { force: true })
  }
}

function locked () {
  mkdirSync(modules, { recursive: true })
  try {
    const file = openSync(lockFile, 'wx')
    writeSync(file, String(process.pid))
    closeSync(file)
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
    if (isLeftBehind()) rmSync(lockFile, { force: true })
    return false
  }
}

/** By a process that was killed. */
function isLeftBehind () {
  try {
    const pid = Number(readFileSync(lockFile, 'utf8'))
    return pid > 0 && !isRunning(pid)
  } catch {
    return false
  }
}

function isRunning (pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

// Standard output is for test results.
function say (text) {
  process.stderr.write(`${text} …\n`)
}

if (require.main === module) {
  const names = process.argv.slice(2)
  module.exports(names.length > 0 ? names : undefined)
}
