'use strict'

// The package beside the oldest and newest versions of what it is installed beside: a program runs, and another one
// compiles. Each pair gets an application's folder, with what would be published in it. Needs no network.

const { spawnSync } = require('node:child_process')
const { cpSync, mkdirSync, rmSync, writeFileSync } = require('node:fs')
const { dirname, join, sep } = require('node:path')
const ts = require('typescript')
const { packedFiles } = require('./packed-files')
require('../packages/installs')

const root = join(__dirname, '..')
const modules = join(root, 'node_modules')
// Within node_modules, so that what Fastify needs itself is found there.
const apps = join(modules, '.installs')

// Their folders in node_modules. What is newest of both is what all other tests run on.
const BESIDE = [
  { fastify: 'fastify-5.0', cookie: 'cookie-10.0' },
  { fastify: 'fastify-5.0', cookie: '@fastify/cookie' },
  { fastify: 'fastify', cookie: 'cookie-10' },
  { fastify: 'fastify', cookie: 'cookie-11.0' }
]

const COMPILER_OPTIONS = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  types: ['node'],
  typeRoots: [join(modules, '@types')],
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: false,
  noEmit: true
}

function checkInstalls () {
  rmSync(apps, { recursive: true, force: true })
  const files = packedFiles()
  const parsed = new Map()
  for (const beside of BESIDE) {
    const app = install(beside, files)
    const versions = [beside.fastify, beside.cookie].map(name => require(join(modules, name, 'package.json')).version)
    const problems = visit(app) + compile(app, parsed)
    if (problems !== '') {
      console.error(`Beside fastify ${versions[0]} and @fastify/cookie ${versions[1]}, FAILED:\n${problems}`)
      process.exitCode = 1
      continue
    }
    console.log(`Works and compiles beside fastify ${versions[0]} and @fastify/cookie ${versions[1]}.`)
  }
  rmSync(apps, { recursive: true, force: true })
}

/** As npm would lay it out. Returns the folder. */
function install ({ fastify, cookie }, files) {
  const app = join(apps, `${fastify} ${cookie}`.replaceAll('/', '-'))
  const at = (...path) => join(app, 'node_modules', ...path)
  cpSync(join(modules, fastify), at('fastify'), { recursive: true })
  cpSync(join(modules, cookie), at('@fastify', 'cookie'), { recursive: true })
  for (const file of files) {
    mkdirSync(dirname(at('@fastify', 'session', file)), { recursive: true })
    cpSync(join(root, file), at('@fastify', 'session', file))
  }
  // Or the name of the package would mean the root.
  writeFileSync(join(app, 'package.json'), '{}')
  for (const name of ['visits.js', 'consumer.mts']) cpSync(join(__dirname, 'installs', name), join(app, name))
  return app
}

function visit (app) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['visits.js'], { cwd: app, encoding: 'utf8' })
  return status === 0 && stderr === '' ? '' : `${stdout}${stderr}`
}

/** The consumer and our declarations. Those of others are not ours to mend. */
function compile (app, parsed) {
  const program = ts.createProgram([join(app, 'consumer.mts')], COMPILER_OPTIONS, sharingHost(app, parsed))
  const ours = join('@fastify', 'session').replaceAll(sep, '/')
  const files = program.getSourceFiles().filter(({ fileName }) => fileName.includes(`/node_modules/${ours}/`) || fileName.endsWith('consumer.mts'))
  const problems = [...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics(), ...files.flatMap(file => ts.getPreEmitDiagnostics(program, file))]
  return ts.formatDiagnostics(problems, { getCurrentDirectory: () => app, getCanonicalFileName: file => file, getNewLine: () => '\n' })
}

/** Parses what all applications share once. */
function sharingHost (app, parsed) {
  const host = ts.createCompilerHost(COMPILER_OPTIONS)
  const read = host.getSourceFile
  host.getSourceFile = (fileName, ...rest) => {
    if (!parsed.has(fileName)) parsed.set(fileName, read(fileName, ...rest))
    return parsed.get(fileName)
  }
  return host
}

checkInstalls()
