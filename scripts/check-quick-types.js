'use strict'

// The types of src/ and of the tests that need no more than the root's packages. `npm run types:sources` checks all.

const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const ts = require('typescript')

const root = join(__dirname, '..')
const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
const { options, fileNames } = ts.parseJsonConfigFileContent(config, ts.sys, root)
const needsMore = file => /^import '(\.\.\/)+packages\//m.test(readFileSync(file, 'utf8'))
const problems = ts.getPreEmitDiagnostics(ts.createProgram(fileNames.filter(file => !needsMore(file)), options))
if (problems.length > 0) {
  console.error(ts.formatDiagnosticsWithColorAndContext(problems, { getCurrentDirectory: () => root, getCanonicalFileName: file => file, getNewLine: () => '\n' }))
  process.exitCode = 1
}
