/** Random programs of session operations, on version 11 and on this version. Each difference is one that is meant. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { DIFFERENCES, type Difference, type Meant } from './differential/differences'
import { programs, type Program, type Request } from './differential/program'
import { clock, nth, start, START, type Facts } from './differential/run'
import { ROOT } from './program'

// The same in each run, so that what fails is what was changed. SEED=n tries others, RUNS=n more.
const seed = Number(process.env.SEED ?? 2026)
const numRuns = Number(process.env.RUNS ?? 500)

const { now: realNow } = Date
Date.now = () => clock.now
t.teardown(() => { Date.now = realNow })

/** What came of a program on both. */
interface Comparison {
  /** The differences that are meant. */
  shown: Set<Meant>
  /** The first that isn't. */
  unmeant: Difference | undefined
  requests: number
  facts: number
}

t.test('each difference in the list is there', async t => {
  for (const meant of DIFFERENCES) {
    const { shown, unmeant } = await compare(meant.example)
    t.equal(unmeant && sentence(unmeant), undefined, meant.version11)
    t.ok(shown.has(meant), `${meant.version11} The example shows it`)
  }
})

t.test('whatever applications do, both are the same, but for the differences in the list', async t => {
  const shown = new Map<Meant, number>()
  let [same, requests, facts] = [0, 0, 0]
  await fc.assert(fc.asyncProperty(programs, async program => {
    const comparison = await compare(program)
    if (comparison.unmeant !== undefined) throw new Error(sentence(comparison.unmeant))
    for (const meant of comparison.shown) shown.set(meant, (shown.get(meant) ?? 0) + 1)
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

async function compare (program: Program): Promise<Comparison> {
  const comparison: Comparison = { shown: new Set(), unmeant: undefined, requests: 0, facts: 0 }
  const [version11, version12] = [await start(program, false), await start(program, true)]
  let newest = 0
  clock.now = START
  try {
    for (const [i, request] of program.requests.entries()) {
      clock.now += request.pause
      const [theirs, ours] = [await version11.visit(request), await version12.visit(request)]
      comparison.requests++
      for (const name of new Set([...theirs.keys(), ...ours.keys()])) {
        comparison.facts++
        if (isDeepStrictEqual(theirs.get(name), ours.get(name))) continue
        const difference = differenceOf(name, theirs, ours, program, i, newest)
        const meant = DIFFERENCES.find(({ fits }) => fits(difference))
        if (meant === undefined) comparison.unmeant = difference
        else comparison.shown.add(meant)
        if (meant?.parts !== undefined || meant === undefined) return comparison
      }
      // As if version 11 had cleared it, too.
      if (ours.get('cookie') === 'cleared') version11.forget(request.visitor)
      newest = Math.max(newest, ...sessionsIn(theirs))
    }
    return comparison
  } finally {
    await Promise.all([version11.close(), version12.close()])
  }
}

function differenceOf (
  name: string, theirs: Facts, ours: Facts, { config, requests }: Program, i: number, newest: number
): Difference {
  const request = requests[i] as Request
  const isOfStep = /^\d/.test(name)
  const index = isOfStep ? Number.parseInt(name) : request.steps.length
  const earlier = requests.slice(0, i)
  return {
    fact: name.replace(/^\d+ /, ''),
    theirs: theirs.get(name),
    ours: ours.get(name),
    allOfTheirs: theirs,
    allOfOurs: ours,
    step: isOfStep ? request.steps[index] : undefined,
    index,
    config,
    request,
    did: request.steps.slice(0, index + 1),
    before: earlier.flatMap(({ steps }) => steps),
    isNew: Math.max(...sessionsIn(theirs)) > newest,
    time: clock.now - START,
    wasHttps: earlier.some(({ https }) => https),
    wasHttp: earlier.some(({ https }) => !https)
  }
}

function sessionsIn (facts: Facts): number[] {
  return [...facts].map(([name, value]) => /(look\.id|cookie\.session)$/.test(name) ? nth(value) : 0)
}

function sentence ({ fact, theirs, ours, index, step, allOfTheirs, allOfOurs }: Difference): string {
  const all = [allOfTheirs, allOfOurs].map(facts => JSON.stringify(Object.fromEntries(facts), null, 1))
  return `${step === undefined ? 'The reply' : `Step ${index}`}: ${fact} is ${JSON.stringify(theirs)} in version 11, ` +
    `${JSON.stringify(ours)} here\nVersion 11: ${all[0]}\nHere: ${all[1]}`
}
