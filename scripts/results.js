'use strict'

// Reads the results of test files and scripts, prints a line for each, and at the end all that is known of what failed.

const { Parser } = require('tap-parser')

class Results {
  passed = 0
  failed = 0
  /** Seconds, by the name of the file or script. */
  times = new Map()
  #failures = []
  #total
  #done = 0

  /** @param total how many files and scripts there will be */
  constructor (total = 0) {
    this.#total = total
  }

  /** Reads the results of one file that runs by itself. */
  async readFile (stream) {
    const parser = new Parser()
    const checks = checksOf(parser)
    const { ok, failures: [first] } = await finished(parser, stream)
    if (!ok && checks.failures.length === 0) checks.failures.push({ fullname: first?.tapError ?? 'it ended early' })
    return checks
  }

  /** @param errors what it wrote to its standard error */
  fileEnded (file, passed, failures, seconds, errors = '') {
    this.passed += passed
    this.failed += failures.length
    this.#ended(file, seconds, failures.length === 0, `${passed} checks`)
    if (failures.length > 0) this.#fail([...failures.map(textOf), errors.trim(), `Again: npm run test:one -- ${file}`])
  }

  /** @param output of one that failed */
  scriptEnded (script, seconds, output, again = `npm run ${script}`) {
    this[output === undefined ? 'passed' : 'failed']++
    this.#ended(script, seconds, output === undefined)
    if (output !== undefined) this.#fail([output.trim(), `Again: ${again}`])
  }

  /** What went wrong, at the end, and how many checks passed. */
  summary () {
    if (this.#failures.length > 0) console.log(`\nFAILED:\n\n${this.#failures.join('\n\n')}`)
    console.log(`\n${this.passed} passed, ${this.failed} failed`)
    if (this.failed > 0) process.exitCode = 1
  }

  #ended (name, seconds, isOk, more = '') {
    this.times.set(name, seconds)
    const count = this.#total > 0 ? `[${String(++this.#done).padStart(String(this.#total).length)}/${this.#total}] ` : ''
    console.log(`${count}${isOk ? 'ok    ' : 'FAILED'} ${name.padEnd(34)} ${seconds.toFixed(1).padStart(6)} s  ${more}`.trimEnd())
  }

  #fail (texts) {
    this.#failures.push(texts.filter(text => text !== '').join('\n\n'))
  }
}

/** What a parser has read of a file, so far. */
function checksOf (parser) {
  const checks = { passed: 0, failures: [] }
  parser.on('pass', () => { checks.passed++ })
  // Nothing here is skipped, or left to be done.
  for (const kind of ['fail', 'skip', 'todo']) parser.on(kind, check => checks.failures.push(check))
  return checks
}

function finished (parser, stream) {
  return new Promise((resolve, reject) => {
    parser.on('complete', resolve)
    stream.on('error', reject)
    stream.pipe(parser)
  })
}

/** All that is known of a check that failed. */
function textOf ({ fullname, name, todo, skip, diag }) {
  const { at, diff, stack, source, found, wanted, message, ...others } = diag ?? {}
  const place = at === undefined ? '' : ` (${at.fileName}:${at.lineNumber})`
  const values = [['found', found], ['wanted', wanted]].filter(([, value]) => value !== undefined).map(([key, value]) => `${key}: ${JSON.stringify(value)}`)
  const rest = ['code', 'errorOrigin', 'tapCaught', 'timeout', 'signal', 'exitCode', 'expired'].filter(key => others[key] != null).map(key => `${key}: ${others[key]}`)
  return [
    `${fullname ?? name}${todo ? ' is yet to be done' : skip ? ' is skipped' : ''}${place}`,
    ...[message, diff, ...values, ...rest, source, stack].filter(Boolean).map(text => String(text).trimEnd().replace(/^/gm, '    '))
  ].join('\n')
}

module.exports = { Results, checksOf }
