'use strict'

// What an editor shows for an option says what it does, its unit and its default.

const { join } = require('node:path')
const ts = require('typescript')

const root = join(__dirname, '..')
const entries = {
  'index.d.ts': ['FastifySessionOptions', 'CookieOptions', 'RouteSessionOptions', 'MemoryStoreOptions'],
  'stores/redis.d.ts': ['RedisStoreOptions']
}
// All other numbers are durations.
const counts = ['max', 'maxPerUser']

const files = Object.keys(entries).map(file => join(root, 'dist', file))
const program = ts.createProgram(files, { module: ts.ModuleKind.NodeNext, strict: true, types: ['node'] })
const checker = program.getTypeChecker()

const options = files.flatMap((file, i) => {
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)))
  return Object.values(entries)[i].flatMap(name => optionsOf(exported.find(symbol => symbol.name === name)))
})

function optionsOf (exported) {
  return checker.getDeclaredTypeOfSymbol(exported).getProperties().map(symbol => ({
    name: `${exported.name}.${symbol.name}`,
    text: ts.displayPartsToString(symbol.getDocumentationComment(checker)),
    isRequired: (symbol.flags & ts.SymbolFlags.Optional) === 0,
    hasDefault: symbol.getJsDocTags(checker).some(({ name, text }) => name === 'default' && ts.displayPartsToString(text) !== ''),
    isDuration: isNumber(symbol) && !counts.includes(symbol.name)
  }))
}

function isNumber (symbol) {
  return checker.getNonNullableType(checker.getTypeOfSymbol(symbol)) === checker.getNumberType()
}

const flaws = options.flatMap(({ name, text, isRequired, hasDefault, isDuration }) => [
  text === '' && `${name} has no documentation`,
  !isRequired && !hasDefault && `${name} has no @default`,
  isDuration && !text.includes('milliseconds') && `${name} doesn't say that it is in milliseconds`
].filter(Boolean))

if (flaws.length > 0) {
  console.error(`Hovering options FAILED:\n${flaws.join('\n')}`)
  process.exitCode = 1
} else {
  const durations = options.filter(({ isDuration }) => isDuration).map(({ name }) => name)
  console.log(`All ${options.length} options say what they do and their default, and in milliseconds are ${durations.join(', ')}.`)
}
