'use strict'

// What the tests need on the machine, where it is, and what installs it.
//
//   node scripts/requirements.js --apt    the names of the missing packages for Debian and Ubuntu

const { spawnSync } = require('node:child_process')
const { accessSync, constants, readdirSync } = require('node:fs')
const { delimiter, join } = require('node:path')

const NODE = [20, 19]
const REDIS = 7
const POSTGRES = '/usr/lib/postgresql'
const CHROMIUMS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome']
const CHROMIUM_APPS = ['Chromium', 'Google Chrome'].map(name => `/Applications/${name}.app/Contents/MacOS/${name}`)

const requirements = [
  { what: `redis-server ${REDIS} or newer`, apt: 'redis-server', brew: 'redis', isThere: hasRedis },
  { what: 'PostgreSQL (initdb and postgres)', apt: 'postgresql', brew: 'postgresql@17', isThere: () => ['initdb', 'postgres'].every(findPostgres) },
  { what: 'PgBouncer', apt: 'pgbouncer', brew: 'pgbouncer', isThere: () => find('pgbouncer', ['/usr/sbin']) },
  { what: 'nginx', apt: 'nginx', brew: 'nginx', isThere: findNginx },
  { what: 'Chromium or Chrome (or CHROME_PATH, its place)', apt: 'chromium', brew: '--cask google-chrome', isThere: findChromium },
  { what: 'openssl', apt: 'openssl', brew: 'openssl', isThere: () => find('openssl') },
  { what: 'curl', apt: 'curl', brew: 'curl', isThere: () => find('curl') },
  { what: 'bash', apt: 'bash', brew: 'bash', isThere: () => find('bash') }
]

/** @param names of Debian's packages; without them, all */
function missing (names) {
  return requirements.filter(({ apt, isThere }) => (names === undefined || names.includes(apt)) && !isThere())
}

/** What to tell whoever starts the tests, or nothing. */
function complaint (names) {
  const absent = missing(names)
  const lines = absent.map(({ what }) => `  ${what}`)
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < NODE[0] || (major === NODE[0] && minor < NODE[1])) lines.unshift(`  Node.js ${NODE.join('.')} or newer (this is ${process.versions.node})`)
  if (lines.length === 0) return
  if (absent.length > 0) {
    const sudo = process.getuid?.() === 0 ? '' : 'sudo '
    const casks = absent.filter(({ brew }) => brew.startsWith('--cask'))
    const formulae = absent.filter(requirement => !casks.includes(requirement))
    lines.push('Debian, Ubuntu:', `  ${sudo}apt-get update && ${sudo}apt-get install -y --no-install-recommends ${absent.map(({ apt }) => apt).join(' ')}`)
    lines.push('macOS:', `  ${[formulae, casks].filter(some => some.length > 0).map(some => `brew install ${some.map(({ brew }) => brew).join(' ')}`).join(' && ')}`)
  }
  return ['The tests need what this machine doesn\'t have:', ...lines].join('\n')
}

function hasRedis () {
  const path = find('redis-server')
  if (path === undefined) return false
  const version = /v=(\d+)/.exec(spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout)
  return version !== null && Number(version[1]) >= REDIS
}

/** On the PATH, or where Debian and Homebrew keep it. */
function findPostgres (name) {
  return find(name, [
    ...foldersIn(POSTGRES).map(version => join(POSTGRES, version, 'bin')),
    ...['/opt/homebrew/opt', '/usr/local/opt'].flatMap(folder => foldersIn(folder).filter(name => name.startsWith('postgresql')).map(name => join(folder, name, 'bin')))
  ])
}

/** On the PATH, or where Debian keeps what is for administrators. */
function findNginx () {
  return find('nginx', ['/usr/sbin'])
}

/** Where CHROME_PATH or PUPPETEER_EXECUTABLE_PATH says, on the PATH under one of its names, or an application of macOS. */
function findChromium () {
  const { CHROME_PATH, PUPPETEER_EXECUTABLE_PATH } = process.env
  const named = [CHROME_PATH, PUPPETEER_EXECUTABLE_PATH].find(path => path !== undefined && path !== '')
  if (named !== undefined) return isExecutable(named) ? named : undefined
  for (const name of CHROMIUMS) {
    const path = find(name, ['/usr/bin', '/snap/bin'])
    if (path !== undefined) return path
  }
  return CHROMIUM_APPS.find(isExecutable)
}

function find (name, more = []) {
  return [...(process.env.PATH ?? '').split(delimiter), ...more].map(folder => join(folder, name)).find(isExecutable)
}

/** The newest first. */
function foldersIn (path) {
  try {
    return readdirSync(path).sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
  } catch {
    return []
  }
}

function isExecutable (path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

module.exports = { complaint, findChromium, findNginx, findPostgres }

if (require.main === module && process.argv.includes('--apt')) {
  const names = missing().map(({ apt }) => apt)
  if (names.length > 0) console.log(names.join(' '))
}
