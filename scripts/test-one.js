'use strict'

// Runs test files without coverage, each in a process of its own: npm run test:one -- test/copy.test.ts

const { spawnSync } = require('node:child_process')
const { existsSync } = require('node:fs')
const { join, relative, resolve } = require('node:path')
const { Results } = require('./results')
const { runFile } = require('./test-files')

const root = join(__dirname, '..')
// By their names alone, or as the shell completes them.
const files = process.argv.slice(2).map(name => [join(root, 'test', `${name}.test.ts`), resolve(name)].find(existsSync) ?? exit(`There is no ${name}`))
if (files.length === 0) exit('npm run test:one -- test/copy.test.ts')

// Some start what is built.
if (spawnSync(process.execPath, [join(__dirname, 'build.js'), '--if-needed'], { stdio: 'inherit' }).status !== 0) process.exit(1)
main()

async function main () {
  const results = new Results(files.length)
  for (const file of files) await runFile(relative(root, file), results)
  results.summary()
}

function exit (message) {
  console.error(message)
  process.exit(1)
}
