/** Random programs of session operations, run on version 11 and on this version. Each difference must be intended. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { compare, stopClock } from './differential/compare'
import { DIFFERENCES, type Difference, type Meant } from './differential/differences'
import { programs } from './differential/program'
import { ROOT } from './program'

// The same programs in each run, so that a failure comes from a change of the code. SEED=n tries others, RUNS=n more.
const seed = Number(process.env.SEED ?? 2026)
const numRuns = Number(process.env.RUNS ?? 700)

t.teardown(stopClock())

t.test('the example of each listed difference shows it', async t => {
  for (const meant of DIFFERENCES) {
    const { shown, unmeant } = await compare(meant.example)
    t.equal(unmeant && sentence(unmeant), undefined, meant.version11)
    t.ok(shown.has(meant), `${meant.version11} The example shows it`)
  }
})

t.test('whatever applications do, both versions behave the same, except for the listed differences', async t => {
  const shown = new Map<Meant, number>()
  let [same, requests, facts] = [0, 0, 0]
  await fc.assert(fc.asyncProperty(programs, async program => {
    const comparison = await compare(program)
    if (comparison.unmeant !== undefined) throw new Error(sentence(comparison.unmeant))
    for (const meant of comparison.shown.keys()) shown.set(meant, (shown.get(meant) ?? 0) + 1)
    if (comparison.shown.size === 0) same++
    requests += comparison.requests
    facts += comparison.facts
  }), { numRuns, seed, includeErrorInReport: true })
  t.comment(`${numRuns} programs, ${same} the same all through; ${requests} requests and ${facts} facts compared`)
  for (const meant of DIFFERENCES) t.comment(`${shown.get(meant) ?? 0} programs: ${meant.version11}`)
  t.ok(same > numRuns / 4, 'most of what is compared is the same')
})

t.test('the list is the table in docs/migrating.md', t => {
  const [, section = ''] = readFileSync(join(ROOT, 'docs/migrating.md'), 'utf8').split('\n## Version 11, seen from outside\n')
  const [text = ''] = section.split('\n## ')
  const rows = text.split('\n').filter(line => line.startsWith('| ')).slice(1)
  t.strictSame(rows, DIFFERENCES.map(({ version11, version12, why }) => `| ${version11} | ${version12} | ${why} |`))
  t.end()
})

function sentence ({ fact, theirs, ours, index, step, allOfTheirs, allOfOurs }: Difference): string {
  const all = [allOfTheirs, allOfOurs].map(facts => JSON.stringify(Object.fromEntries(facts), null, 1))
  return `${step === undefined ? 'The reply' : `Step ${index}`}: ${fact} is ${JSON.stringify(theirs)} in version 11, ` +
    `${JSON.stringify(ours)} here\nVersion 11: ${all[0]}\nHere: ${all[1]}`
}
