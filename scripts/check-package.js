'use strict'

// What a consumer gets: the files that would be published, and what require() and import make of them.

const assert = require('node:assert/strict')
const { isBuiltin } = require('node:module')
const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const { packedFiles } = require('./packed-files')
const pkg = require('../package.json')

const root = join(__dirname, '..')

async function checkPackage () {
  const files = packedFiles()
  checkFiles(files)
  checkLinks(files)
  checkWhatIsAskedFor()
  checkDependencies(files)
  checkRequire(require(pkg.name))
  checkImport(await import(pkg.name))
  checkThatOthersAreAside()
  checkSealed(require(`${pkg.name}/sealed`), await import(`${pkg.name}/sealed`))
  checkRedis(require(`${pkg.name}/redis`), await import(`${pkg.name}/redis`))
  checkDeviceBound(require(`${pkg.name}/device-bound`), await import(`${pkg.name}/device-bound`))
  checkPostgres(require(`${pkg.name}/postgres`), await import(`${pkg.name}/postgres`))
  checkTesting(require(`${pkg.name}/testing`), await import(`${pkg.name}/testing`))
  await checkServer(require(pkg.name))
  console.log(`The package is whole: ${files.length} files, require() and import give the same.`)
}

function checkFiles (files) {
  for (const file of ['LICENSE', 'README.md', 'package.json', 'dist/index.js', 'dist/index.d.ts']) {
    assert.ok(files.includes(file), `${file} is missing`)
  }
  // Where each message says to read on.
  assert.ok(files.includes('docs/troubleshooting.md'))
  assert.deepEqual(files.filter(file => !/^((LICENSE|README\.md|CHANGELOG\.md|SECURITY\.md|package\.json)$|docs\/.+\.md$|examples\/|dist\/.+\.(js|js\.map|d\.ts)$)/.test(file)), [])
}

/** What the README leads to is in the package, or is told apart by its folder: that it is only in the repository. */
function checkLinks (files) {
  for (const [, path] of readFileSync(join(root, 'README.md'), 'utf8').matchAll(/\]\(\.\/([^)#]+)/g)) {
    assert.ok(files.includes(path) || /^(test|benchmark|CONTRIBUTING\.md|docs\/.+\.png)/.test(path), `README.md leads to ${path}, which isn't published`)
  }
}

// npm refuses an optional peer, too, if another version of it is there: so any may be. Version 11 asks for nothing. `prepare` is for clones.
function checkWhatIsAskedFor () {
  assert.deepEqual(pkg.peerDependencies, { '@fastify/cookie': '>=10', fastify: '^5.0.0', jose: '*', pg: '*' })
  assert.deepEqual(pkg.peerDependenciesMeta, { jose: { optional: true }, pg: { optional: true } })
  for (const name of ['engines', 'os', 'cpu', 'devEngines', 'optionalDependencies', 'bundleDependencies']) assert.equal(pkg[name], undefined, name)
  for (const name of ['preinstall', 'install', 'postinstall']) assert.equal(pkg.scripts[name], undefined, name)
}

function checkDependencies (files) {
  const declared = [pkg.name, ...Object.keys(pkg.dependencies), ...Object.keys(pkg.peerDependencies)]
  for (const file of files.filter(file => file.startsWith('dist/'))) {
    for (const [, name] of readFileSync(join(root, file), 'utf8').matchAll(/(?:require\(|from |import\()["']([^."'][^"']*)["']/g)) {
      assert.ok(isBuiltin(name) || declared.some(known => name === known || name.startsWith(`${known}/`)), `${file} needs ${name}, which package.json doesn't declare`)
    }
  }
}

function checkRequire (plugin) {
  assert.equal(typeof plugin, 'function')
  assert.equal(plugin.default, plugin)
  assert.equal(plugin.fastifySession, plugin)
  assert.equal(plugin.Store, plugin.MemoryStore)
  assert.ok(new plugin.MemoryStore().store instanceof Map)
  assert.ok(plugin.Store() instanceof plugin.Store)
  assert.equal(plugin[Symbol.for('fastify.display-name')], pkg.name)
  assert.deepEqual(plugin[Symbol.for('plugin-meta')], { fastify: '5.x', name: pkg.name, dependencies: ['@fastify/cookie'] })
}

function checkImport (imported) {
  const plugin = require(pkg.name)
  for (const name of ['default', 'fastifySession']) assert.equal(imported[name], plugin, name)
  for (const name of ['Store', 'MemoryStore']) assert.equal(imported[name], plugin.MemoryStore, name)
}

function checkThatOthersAreAside () {
  const loaded = Object.keys(require.cache).filter(file => /dist[\\/].*(redis|postgres|text-record|kept-life|seal|lazy-fields)/.test(file))
  assert.deepEqual(loaded, [], 'nothing of the other entries is loaded by the main one')
}

function checkPostgres ({ PostgresStore, migrate, schema }, imported) {
  assert.deepEqual([imported.PostgresStore, imported.migrate, imported.schema], [PostgresStore, migrate, schema])
  assert.throws(() => new PostgresStore({}), { code: 'FST_ERR_SESSION_OPTION' })
  const loaded = Object.keys(require.cache).filter(file => /node_modules[\\/](@?pg|pg-[\w-]+)[\\/]/.test(file))
  assert.deepEqual(loaded, [], 'PostgresStore brings no client of its own')
}

function checkSealed ({ sealed }, imported) {
  assert.equal(imported.sealed, sealed)
  assert.throws(() => sealed(new Map(), { keys: [] }), { code: 'FST_ERR_SESSION_OPTION' })
}

function checkRedis ({ RedisStore }, imported) {
  assert.equal(imported.RedisStore, RedisStore)
  assert.throws(() => new RedisStore({}), { code: 'FST_ERR_SESSION_OPTION' })
  const loaded = Object.keys(require.cache).filter(file => /node_modules[\\/](@?redis|ioredis|connect-redis|express-session)[\\/]/.test(file))
  assert.deepEqual(loaded, [], 'RedisStore brings no client of its own')
}

function checkDeviceBound (plugin, imported) {
  for (const name of ['default', 'deviceBound']) {
    assert.equal(plugin[name], plugin, name)
    assert.equal(imported[name], plugin, name)
  }
  const loaded = Object.keys(require.cache).filter(file => /node_modules[\\/]jose[\\/]/.test(file))
  assert.deepEqual(loaded, [], 'jose is loaded by whoever registers it')
}

function checkTesting (kit, imported) {
  for (const name of ['testStore', 'testRaces', 'FaultyStore', 'FAULTS', 'PROMISES']) assert.equal(imported[name], kit[name], name)
  assert.equal(typeof kit.testStore, 'function')
}

async function checkServer (plugin) {
  const app = require('fastify')()
  await app.register(require('@fastify/cookie'))
  await app.register(plugin, { secret: 'a secret with minimum length of 32 characters', cookie: { secure: false } })
  app.get('/', async ({ session }) => {
    session.visits = (session.visits ?? 0) + 1
    return session.visits
  })
  const { cookies: [{ name, value }] } = await app.inject('/')
  assert.equal((await app.inject({ url: '/', cookies: { [name]: value } })).body, '2')
  await app.close()
}

checkPackage()
