'use strict'

// Installs packages that the root's `npm ci` leaves out, if they aren't there already.
//
//   require('../packages/stores')      in a program or test that needs them
//   node packages/install.js stores    by hand; without a name, all of them

const { spawnSync } = require('node:child_process')
const { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, symlinkSync, writeSync } = require('node:fs')
const { join } = require('node:path')

const root = join(__dirname, '..')
const modules = join(root, 'node_modules')
const NODE20 = 'sqlite-node20'
const SQLITE = join(modules, 'better-sqlite3')
const SQLITE_BUILT = join(SQLITE, 'build', 'Release', 'better_sqlite3.node')
const lockFile = join(modules, '.packages.lock')
const POLL = 200
const COMPILING = 'Compiling needs make, Python and a C++ compiler: sudo apt-get install -y build-essential python3, or xcode-select --install'

const isNode20 = parseInt(process.versions.node) < 22

/** The folders beside this file. */
function all () {
  const folders = readdirSync(__dirname, { withFileTypes: true }).filter(entry => entry.isDirectory())
  return folders.map(({ name }) => name).filter(name => name !== NODE20)
}

/** Makes sure that they are there, in the versions of the lock file. Needs no network if they are. */
module.exports = function install (folders = all()) {
  const names = folders.map(name => name === 'sqlite' && isNode20 ? NODE20 : name)
  if (missing(names).length > 0 || needsBuild(names)) whileLocked(() => installNow(names))
}

function installNow (names) {
  // Another process may have done it while this one waited.
  const absent = missing(names)
  if (absent.length > 0) {
    // Node.js 20 left a link there.
    if (absent.includes('sqlite')) rmSync(SQLITE, { recursive: true, force: true })
    say(`Installing ${absent.map(name => `packages/${name}`).join(', ')}, once`)
    npm(['install', '--workspaces', ...absent.flatMap(name => ['-w', `packages/${name}`]), '--no-save', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'])
  }
  if (needsBuild(names)) {
    say('Installing SQLite, once. If it has to be compiled, that takes a minute')
    // The tests don't measure it, and the optimiser takes most of the time.
    npm(['rebuild', 'better-sqlite3-12', '--ignore-scripts=false'], { CFLAGS: '-O0' }, COMPILING)
    rmSync(SQLITE, { recursive: true, force: true })
    symlinkSync('better-sqlite3-12', SQLITE, 'junction')
    if (!loadsElsewhere()) throw new Error(`better-sqlite3 doesn't load after it was built. ${COMPILING}`)
  }
}

/** Those of which a package isn't there as the lock file says. */
function missing (names) {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  return names.filter(name => Object.keys(packages[`packages/${name}`].dependencies).some(dependency => {
    return versionIn(join(modules, dependency)) !== packages[`node_modules/${dependency}`].version
  }))
}

function versionIn (folder) {
  try {
    return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
    return undefined
  }
}

/** From Node.js 22 on, SQLite needs no build. */
function needsBuild (names) {
  if (!names.includes(NODE20)) return false
  // Node.js remembers a package that it didn't find.
  if (!existsSync(SQLITE)) return true
  try {
    // Another Node.js may have built it.
    require(SQLITE_BUILT)
    return false
  } catch {
    return true
  }
}

/** In a new process: this one still has the file that was built for another Node.js. */
function loadsElsewhere () {
  return spawnSync(process.execPath, [SQLITE_BUILT]).status === 0
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
