'use strict'

// Imports go down, from floor to floor, and never in a ring: docs/architecture.md has the floors.

const { readdirSync, readFileSync } = require('node:fs')
const { dirname, join, relative } = require('node:path')
const ts = require('typescript')

const root = join(__dirname, '..', 'src')

/** The floors, from the top. A room is a folder, or a file beside the folders. */
const FLOORS = [
  ['testing'],
  ['index', 'plugin', 'device-bound'],
  ['request'],
  ['session'],
  ['options'],
  ['stores'],
  ['values'],
  ['diagnostics', 'errors', 'warnings', 'types']
]
// An entry beside the package's own, of stores that need nothing above them.
const OWN_ENTRIES = ['stores/redis', 'stores/postgres']

const files = readdirSync(root, { recursive: true })
  .map(file => file.replaceAll('\\', '/'))
  .filter(file => file.endsWith('.ts'))
  .map(file => file.slice(0, -3))
const imports = new Map(files.map(file => [file, importsOf(file)]))
const problems = []

for (const [file, imported] of imports) {
  for (const other of imported) {
    if (floorOf(file) > floorOf(other)) problems.push(`${file} imports ${other}, which is on a floor above it`)
  }
}
for (const ring of rings()) problems.push(`a ring: ${ring.join(' -> ')}`)
for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exitCode = 1

function importsOf (file) {
  const { importedFiles } = ts.preProcessFile(readFileSync(join(root, `${file}.ts`), 'utf8'))
  return importedFiles
    .filter(({ fileName }) => fileName.startsWith('.'))
    .map(({ fileName }) => relative(root, join(root, dirname(file), fileName)).replaceAll('\\', '/'))
}

function floorOf (file) {
  if (OWN_ENTRIES.includes(file)) return FLOORS.findIndex(floor => floor.includes('stores'))
  const floor = FLOORS.findIndex(rooms => rooms.includes(file.split('/')[0]))
  if (floor === -1) problems.push(`${file} is on no floor`)
  return floor
}

function rings () {
  const found = []
  const done = new Set()
  const visit = (file, path) => {
    const start = path.indexOf(file)
    if (start !== -1) {
      found.push([...path.slice(start), file])
      return
    }
    if (done.has(file)) return
    for (const other of imports.get(file) ?? []) visit(other, [...path, file])
    done.add(file)
  }
  for (const file of files) visit(file, [])
  return found
}
