'use strict'

// What applications compile: the projects in types/strict, by one of the compilers that are supported.
//
//   node scripts/check-types.js typescript-5.5

const { spawnSync } = require('node:child_process')
const { join } = require('node:path')
require('../packages/installs')
require('../packages/stores')
require('../packages/tools')

const root = join(__dirname, '..')

const BESIDE_OTHERS = ['passport', 'beside', 'after', 'both'].map(name => ({ project: `tsconfig.${name}.json` }))
const OURS = [
  ...['json', 'stores.json', 'bare.json', 'named.json', 'indexed.json', 'bundler.json'].map(name => ({ project: `tsconfig.${name}` })),
  ...BESIDE_OTHERS
]

// What compiles with version 11's own types compiles with ours: one compiler tells.
const elevens = { paths: { '@fastify/session': [join(root, 'node_modules', 'upstream-session', 'types', 'index.d.ts')] } }
const ELEVENS = [{ project: 'tsconfig.eleven.json' }, ...BESIDE_OTHERS].map(({ project }) => ({ project, options: elevens }))

const projectsOf = name => name === 'typescript' ? [...OURS, ...ELEVENS] : OURS

// With skipLibCheck: false, all of our declarations are checked. Those of other packages are not ours to mend (those that
// @types/pg needs don't compile under 5.5), and to check them takes most of the time.
const isOurs = ({ fileName }) => !fileName.includes('/node_modules/')

function checkUnder (name) {
  const ts = require(name)
  // From 7 on it is a program and not a library.
  if (ts.createProgram === undefined) {
    checkByProgram(name, ts.version)
    return
  }
  const files = new Map()
  const projects = projectsOf(name)
  const problems = projects.flatMap(project => problemsOf(ts, project, files))
  if (problems.length === 0) {
    console.log(`TypeScript ${ts.version}: ${projects.length} projects compile.`)
    return
  }
  const host = { getCurrentDirectory: () => root, getCanonicalFileName: file => file, getNewLine: () => '\n' }
  console.error(`TypeScript ${ts.version} FAILED:\n${ts.formatDiagnostics(problems, host)}`)
  process.exitCode = 1
}

function checkByProgram (name, version) {
  const tsc = join(root, 'node_modules', name, 'bin', 'tsc')
  const projects = projectsOf(name)
  for (const { project } of projects) {
    const { status, stdout } = spawnSync(process.execPath, [tsc, '--pretty', 'false', '-p', join('types', 'strict', project)], { cwd: root, encoding: 'utf8' })
    // A line that isn't of another package's declarations.
    const problems = stdout.split('\n').filter(line => /error TS/.test(line) && !line.includes('node_modules/'))
    if (status === 0 || (problems.length === 0 && stdout.includes('node_modules/'))) continue
    console.error(`TypeScript ${version} FAILED:\n${problems.join('\n')}`)
    process.exitCode = 1
  }
  if (process.exitCode === undefined) console.log(`TypeScript ${version}: ${projects.length} projects compile.`)
}

function problemsOf (ts, { project, options = {} }, files) {
  const unreadable = []
  const system = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: problem => unreadable.push(problem) }
  const config = ts.getParsedCommandLineOfConfigFile(join(root, 'types', 'strict', project), options, system)
  if (config === undefined) return unreadable
  const program = ts.createProgram({
    rootNames: config.fileNames,
    options: config.options,
    host: sharingHost(ts, config.options, files),
    configFileParsingDiagnostics: config.errors
  })
  return ts.sortAndDeduplicateDiagnostics(program.getSourceFiles().filter(isOurs).flatMap(file => ts.getPreEmitDiagnostics(program, file)))
}

/** Parses a file once for all projects in which it means the same. */
function sharingHost (ts, options, files) {
  const host = ts.createCompilerHost(options)
  const read = host.getSourceFile
  host.getSourceFile = (fileName, parseOptions, ...rest) => {
    const key = [fileName, options.module, parseOptions.impliedNodeFormat].join()
    if (!files.has(key)) files.set(key, read(fileName, parseOptions, ...rest))
    return files.get(key)
  }
  return host
}

checkUnder(process.argv[2])
