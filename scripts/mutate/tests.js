'use strict'

const { spawn } = require('node:child_process')
const { mkdirSync, readFileSync } = require('node:fs')
const { join } = require('node:path')

const root = join(__dirname, '..', '..')

/** The quick tests, in the program that was built into a folder. */
class Tests {
  #build
  #without
  /** Of each test file: its cases, and what they reach. */
  #files = []
  /** How many mutants of a source file a test file has killed. */
  #kills = new Map()

  /** @param without the names of cases that aren't quick, or run none of the sources */
  constructor (build, without) {
    this.#build = build
    this.#without = without
  }

  /** Runs a test file without a mutant, to know what each of its cases reaches. @throws if the file fails */
  async record (name) {
    const recordTo = join(this.#build, `${name}.json`)
    const { hasPassed, output } = await this.#run(name, { recordTo, without: this.#without }, 300_000)
    if (!hasPassed) throw new Error(`test/${name}.test.ts fails without a mutant\n\n${output}`)
    const { start, cases, reached } = JSON.parse(readFileSync(recordTo, 'utf8'))
    this.#files.push({
      name,
      start,
      cases: cases.map(test => ({ ...test, reached: new Set(test.reached) })),
      reached: new Set(reached)
    })
  }

  /** Answers 'killed', 'timeout', 'survived', or 'unreached' if no quick test gets there. */
  async try ({ id, file }) {
    const runs = this.#runsFor(id, file)
    for (const { name, cases, ms } of runs) {
      // Enough for a machine that is busy with other things by now.
      const { hasPassed, isLate } = await this.#run(name, { mutant: id, cases }, 10_000 + Math.ceil(5 * ms))
      if (hasPassed) continue
      this.#kills.set(file + name, this.#killsOf(file, name) + 1)
      return isLate ? 'timeout' : 'killed'
    }
    return runs.length === 0 ? 'unreached' : 'survived'
  }

  // Only the cases that reach the mutant. First what is quick and has killed most of the file's mutants.
  #runsFor (id, file) {
    const runs = this.#files.map(({ name, start, cases, reached }) => {
      const reaching = reached.has(id) ? cases : cases.filter(({ reached }) => reached.has(id))
      return { name, cases: reaching.map(({ index }) => index), ms: reaching.reduce((sum, { ms }) => sum + ms, start) }
    })
    const price = ({ name, ms }) => ms / (1 + this.#killsOf(file, name))
    return runs.filter(({ cases }) => cases.length > 0).sort((a, b) => price(a) - price(b))
  }

  #killsOf (file, name) {
    return this.#kills.get(file + name) ?? 0
  }

  #run (name, settings, timeout) {
    // What a killed test leaves behind goes with the folder.
    const TMPDIR = join(this.#build, 'tmp')
    mkdirSync(TMPDIR, { recursive: true })
    // The time limit is ours, because tap's would take a busy machine for a failure.
    const env = { ...process.env, TMPDIR, TAP_BAIL: '1', TAP_TIMEOUT: '3600', MUTATE: JSON.stringify({ build: this.#build, ...settings }) }
    const args = ['--require', join(__dirname, 'child.js'), join(root, 'test', `${name}.test.ts`)]
    const child = spawn(process.execPath, args, { cwd: root, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    running.add(child)
    let isLate = false
    const limit = setTimeout(() => {
      isLate = true
      endGroup(child)
    }, timeout)
    let output = ''
    const keep = chunk => { output = (output + chunk).slice(-4000) }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.on('exit', () => {
      clearTimeout(limit)
      running.delete(child)
      endGroup(child)
    })
    return new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', code => resolve({ hasPassed: code === 0, isLate, output }))
    })
  }
}

// A test that ends in a hurry leaves the programs behind that it has started. They are of its process group.
const running = new Set()

function endGroup ({ pid }) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Nobody is left.
  }
}

/** Ends all tests that run. */
function endTests () {
  for (const child of running) endGroup(child)
}

module.exports = { endTests, Tests }
