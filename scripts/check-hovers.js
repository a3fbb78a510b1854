'use strict'

// What an editor shows for an option says what it does, its unit and its default. Of the plugin's own options it says
// what src/options/table.ts says, and so does the README.

const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const { inspect } = require('node:util')
const ts = require('typescript')

const root = join(__dirname, '..')
const { OPTIONS } = require('tsx/cjs/api').require('../src/options/table', __filename)
const entries = {
  'index.d.ts': ['FastifySessionOptions', 'CookieOptions', 'RouteSessionOptions', 'RegenerateOptions', 'MemoryStoreOptions'],
  'device-bound/index.d.ts': ['DeviceBoundOptions'],
  'stores/redis.d.ts': ['RedisStoreOptions'],
  'stores/postgres.d.ts': ['PostgresStoreOptions'],
  'stores/postgres-migrate.d.ts': ['MigrateOptions']
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
    of: exported.name,
    name: symbol.name,
    text: inOneLine(symbol.getDocumentationComment(checker)),
    isRequired: (symbol.flags & ts.SymbolFlags.Optional) === 0,
    byDefault: inOneLine(symbol.getJsDocTags(checker).find(({ name }) => name === 'default')?.text),
    isDuration: isNumber(symbol) && !counts.includes(symbol.name)
  }))
}

function inOneLine (parts) {
  return ts.displayPartsToString(parts).replace(/\s+/g, ' ')
}

function isNumber (symbol) {
  return checker.getNonNullableType(checker.getTypeOfSymbol(symbol)) === checker.getNumberType()
}

/** The rows of the README's table of options: what each does, and its default. */
function rowsOfReadme () {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const table = readme.slice(readme.indexOf('| option |'), readme.indexOf('| `cookie.` |'))
  return new Map(Array.from(table.matchAll(/^\| `(\w+)[^|]*\| (.+) \|(.*)\|$/gm), ([, name, text, byDefault]) => {
    return [name, { text, byDefault: byDefault.trim() }]
  }))
}

function flawsOf ({ of, name, text, isRequired, byDefault, isDuration }) {
  return [
    text === '' && `${of}.${name} has no documentation`,
    !isRequired && byDefault === '' && `${of}.${name} has no @default`,
    isDuration && !text.includes('milliseconds') && `${of}.${name} doesn't say that it is in milliseconds`
  ]
}

/** Where what is documented of an option isn't what the plugin's table says. */
function differencesOf ({ name, text, isRequired, byDefault, isDuration }) {
  const { says, unit, otherwise, byDefault: value } = OPTIONS[name]
  const row = rows.get(name) ?? { text: '', byDefault: '' }
  const expected = otherwise ?? inspect(value)
  const inReadme = expected === 'undefined' ? 'none' : expected
  return [
    !text.startsWith(says) && `The documentation of ${name} doesn't begin with '${says}'`,
    !isRequired && !isOrBegins(byDefault, expected) && `The @default of ${name} is ${byDefault}, and not ${expected}`,
    isDuration !== (unit !== undefined) && `The unit of ${name} is missing, or too much`,
    row.text === '' && `README has no row for ${name}`,
    unit !== undefined && !row.text.includes(unit) && `README doesn't say that ${name} is in ${unit}`,
    !isRequired && !isOrBegins(row.byDefault.replaceAll('`', ''), inReadme) &&
      `README says that the default of ${name} is ${row.byDefault}, and not ${inReadme}`
  ]
}

/** Whether a text is a value, or says more of it afterwards. */
function isOrBegins (text, value) {
  return text === value || [',', ':'].includes(text.startsWith(value) && text[value.length])
}

const rows = rowsOfReadme()
const own = options.filter(({ of }) => of === 'FastifySessionOptions')
const inOrder = Object.keys(OPTIONS).join()
const flaws = [
  ...options.flatMap(flawsOf),
  own.map(({ name }) => name).join() !== inOrder && 'The options are declared in another order than in the table',
  [...rows.keys()].join() !== inOrder && 'The options are in another order in the README than in the table',
  ...own.flatMap(differencesOf)
].filter(Boolean)

if (flaws.length > 0) {
  console.error(`Hovering options FAILED:\n${flaws.join('\n')}`)
  process.exitCode = 1
} else {
  const durations = options.filter(({ isDuration }) => isDuration).map(({ of, name }) => `${of}.${name}`)
  console.log(`All ${options.length} options say what they do and their default, as table and README do, and in milliseconds are ${durations.join(', ')}.`)
}
