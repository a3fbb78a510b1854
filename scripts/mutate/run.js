'use strict'

// Changes the sources in one small place at a time, and looks whether the quick tests notice.
//
//   npm run mutate                                              all files that mutate.json names
//   npm run mutate -- --files session/life,stores/turns:81      some of them, and line 81 of another
//   npm run mutate -- --sample 10 --seed 1                      10 mutants of each file by chance, the same ones for the same seed
//   npm run mutate -- --tests changes,session                   by some of the tests only
//
// A hundred mutants take about ten minutes, all of them hours. Ctrl-C ends it with what is known by then.

const { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } = require('node:fs')
const { dirname, join, relative } = require('node:path')
const { parseArgs } = require('node:util')
const { compile, instrument } = require('./instrument')
const settings = require('./mutate.json')
const { report, scoreOf, short } = require('./report')
const { endTests, Tests } = require('./tests')

const root = join(__dirname, '..', '..')
const cache = join(root, 'node_modules', '.cache', 'mutate')
// Of this run alone, so that two may run at the same time.
const build = join(cache, String(process.pid))
const reportFile = join(cache, 'report.md')

const { values: options } = parseArgs({
  options: { files: { type: 'string' }, tests: { type: 'string' }, sample: { type: 'string' }, seed: { type: 'string' } }
})

let isStopped = false
process.on('SIGINT', () => {
  if (isStopped) quit()
  isStopped = true
})
process.on('SIGTERM', quit)

function quit () {
  endTests()
  process.exit(1)
}

async function main () {
  process.on('exit', () => rmSync(build, { recursive: true, force: true }))
  const began = Date.now()
  const mutants = sample(buildAll(options.files?.split(',') ?? settings.files))
  const tests = new Tests(build, settings.without)
  await forEach(options.tests?.split(',') ?? settings.tests, async name => {
    await tests.record(name)
  })
  console.log(`${mutants.length} mutants; the tests alone took ${secondsSince(began)} s`)

  const results = []
  await forEach(mutants, async mutant => {
    if (isStopped) return
    results.push({ ...mutant, state: await tests.try(mutant), why: reasonFor(mutant) })
    if (results.length % 100 === 0) console.log(`${results.length} of ${mutants.length}, ${secondsSince(began)} s`)
  })

  if (isStopped) console.log(`Stopped: ${results.length} of ${mutants.length} mutants were tried`)
  const text = report(results.sort((a, b) => a.id - b.id))
  writeFileSync(reportFile, text)
  console.log(`\n${text}\n${secondsSince(began)} s; also in ${relative(root, reportFile)}`)
  if (scoreOf(results) < settings.least) {
    console.log(`Less than ${settings.least} % were noticed`)
    process.exitCode = 1
  }
}

/** Compiles sources and tests, the named files with all their mutants, and answers these. */
function buildAll (files) {
  const linesOf = new Map()
  for (const [file, line] of files.map(file => file.split(':'))) {
    const name = `src/${file}.ts`
    linesOf.set(name, [...linesOf.get(name) ?? [], line])
  }
  const mutants = []
  for (const name of [...sourcesIn('src'), ...sourcesIn('test')]) {
    let text = readFileSync(join(root, name), 'utf8')
    if (linesOf.has(name)) {
      const instrumented = instrument(name, text, mutants.length)
      text = instrumented.text
      mutants.push(...instrumented.mutants)
    }
    const target = join(build, `${name}.js`)
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, compile(text))
  }
  const named = mutants.filter(({ file, line }) => linesOf.get(file).some(named => named === undefined || named === String(line)))
  const missing = [...linesOf.keys()].filter(name => !named.some(({ file }) => file === name))
  if (missing.length > 0) throw new Error(`Nothing to change in ${missing.join(', ')}`)
  return named
}

function sourcesIn (folder) {
  const paths = readdirSync(join(root, folder), { recursive: true }).map(path => join(folder, path).replaceAll('\\', '/'))
  return paths.filter(path => path.endsWith('.ts') && !path.endsWith('.d.ts')).sort()
}

function sample (mutants) {
  if (options.sample === undefined) return mutants
  const random = randomFrom(Number(options.seed ?? 1))
  const order = new Map(mutants.map(mutant => [mutant, random()]))
  const inOrder = [...mutants].sort((a, b) => order.get(a) - order.get(b))
  const files = [...new Set(mutants.map(({ file }) => file))]
  return files.flatMap(name => inOrder.filter(({ file }) => file === name).slice(0, Number(options.sample)))
}

// mulberry32: chance that can be had again.
function randomFrom (seed) {
  return () => {
    seed = (seed + 0x6D2B79F5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Why a mutant may live: `reasons` in mutate.json, with `before` and `after` as the report shows them. */
function reasonFor ({ file, before, after }) {
  const isMeant = reason => `src/${reason.file}.ts` === file && reason.before === short(before) && reason.after === short(after)
  return settings.reasons.find(isMeant)?.why
}

/** As many at once as the machine has cores for. */
async function forEach (items, work) {
  const rest = items.values()
  await Promise.all(Array.from({ length: settings.atOnce }, async () => {
    for (const item of rest) await work(item)
  }))
}

function secondsSince (began) {
  return Math.round((Date.now() - began) / 1000)
}

main().catch(error => {
  console.error(error.message)
  process.exitCode = 1
})
