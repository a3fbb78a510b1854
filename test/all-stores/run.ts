/**
 * `npm run test:stores`: the suite and the races on every store that people use. The results are written to docs/stores.md.
 * With CI=true, the run fails instead if docs/stores.md says something else.
 */
import '../../packages/sqlite'
import '../../packages/stores'
import '../uncounted'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PAIRS, raceAll, type RaceResult } from '../../src/testing/races'
import { clock, opener, type CreateStore } from '../../src/testing/context'
import { testStore } from '../../src/testing/suite'
import { measuredIn, withMeasured } from '../measured'
import { others, ours, type Contestant } from './subjects'
import { tableOf, type Row } from './table'

const ROOT = join(__dirname, '..', '..')
const COMMAND = 'npm run test:stores'
const DOCUMENT = join(ROOT, 'docs', 'stores.md')
const A_DAY = 86_400_000
const SHOWN = 3

const contestants = [...ours, ...others]
const rows: Row[] = []

for (const contestant of contestants) {
  t.test(contestant.name, async t => {
    const createStore = await contestant.prepare(t)
    const findings = await testStore(createStore, { promises: contestant.promises, test: t.test })
    const races = await testRaces(t, createStore)
    rows.push({ name: await labelOf(contestant), findings, races })
  })
}

t.test('docs/stores.md contains the results', async t => {
  t.ok(t.parent?.counts.fail === 0 && rows.length === contestants.length, 'all stores behave as declared')
  const text = await readFile(DOCUMENT, 'utf8')
  const measured = tableOf(rows)
  if (process.env.CI === undefined && t.passing()) await writeFile(DOCUMENT, withMeasured(text, COMMAND, measured))
  else t.equal(measuredIn(text, COMMAND), measured)
})

async function testRaces (t: Test, createStore: CreateStore): Promise<RaceResult> {
  let result: RaceResult = { schedules: 0, violated: 0, violations: [] }
  await t.test('races of requests break no promise', async t => {
    clock(t)
    const { store, pass } = await opener(createStore)(t)
    // Only pairs. races.test.ts also has triples, and rolling: false, on our stores and on stores like these.
    result = await raceAll({ store, expire: async () => await pass?.(A_DAY) }, PAIRS)
    t.equal(result.violated, 0, JSON.stringify(result.violations.slice(0, SHOWN)))
    t.ok(result.schedules > PAIRS.length, `${result.schedules} schedules`)
  })
  return result
}

async function labelOf ({ name, packages }: Contestant): Promise<string> {
  const versions = await Promise.all(packages.map(async name => {
    const { version } = JSON.parse(await readFile(join(ROOT, 'node_modules', name, 'package.json'), 'utf8'))
    return version
  }))
  return versions.length === 0 ? name : `${name} (${versions.join(', ')})`
}
