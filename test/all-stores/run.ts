/**
 * `npm run test:stores`: the suite and the races on every store that people use. What is found is written to
 * docs/stores.md; with CI=true the run fails instead where it says something else.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { SessionStore } from '../../src/index'
import { raceAll, type RaceResult } from '../race-kit'
import { clock, dataOf } from '../site'
import { testStore, type MakeSubject } from '../store-suite'
import { others, ours, type Contestant } from './subjects'
import { measuredIn, tableOf, withMeasured, type Row } from './table'

const ROOT = join(__dirname, '..', '..')
const DOCUMENT = join(ROOT, 'docs', 'stores.md')
const A_DAY = 86_400_000

const contestants = [...ours, ...others]
const rows: Row[] = []

for (const contestant of contestants) {
  t.test(contestant.name, async t => {
    const makeSubject = await contestant.prepare(t)
    const findings = await testStore(t, contestant.promises, makeSubject)
    const races = await testRaces(t, makeSubject, contestant.brokenRaces)
    rows.push({ name: await labelOf(contestant), findings, races })
  })
}

t.test('docs/stores.md says what was found', async t => {
  t.ok(t.parent?.counts.fail === 0 && rows.length === contestants.length, 'all stores do as is declared for them')
  const text = await readFile(DOCUMENT, 'utf8')
  const measured = tableOf(rows)
  if (process.env.CI === undefined && t.passing()) await writeFile(DOCUMENT, withMeasured(text, measured))
  else t.equal(measuredIn(text), measured)
})

async function testRaces (t: Test, makeSubject: MakeSubject, broken = 0): Promise<RaceResult> {
  let result: RaceResult = { schedules: 0, violated: 0, violations: [] }
  await t.test(`races of requests break ${broken === 0 ? 'no' : 'a'} promise`, async t => {
    clock(t)
    const { store, pass } = await makeSubject(t)
    answerPlainly(store)
    result = await raceAll({ store, expire: async () => await pass?.(A_DAY) })
    t.equal(result.violated, broken, JSON.stringify(result.violations))
    t.ok(result.schedules > 1000, `${result.schedules} schedules`)
  })
  return result
}

/**
 * The races know neither a store that says by an error that it has no such session, nor one that adds keys of its own, as the
 * library and the suite do.
 */
function answerPlainly (store: SessionStore): void {
  const get = store.get.bind(store)
  store.get = (sessionId, callback) => get(sessionId, (error, record) => {
    if (error?.code === 'ENOENT' || record == null) callback(error?.code === 'ENOENT' ? null : error)
    else callback(null, { ...dataOf(record), cookie: record.cookie })
  })
}

async function labelOf ({ name, packages }: Contestant): Promise<string> {
  const versions = await Promise.all(packages.map(async name => {
    const { version } = JSON.parse(await readFile(join(ROOT, 'node_modules', name, 'package.json'), 'utf8'))
    return version
  }))
  return versions.length === 0 ? name : `${name} (${versions.join(', ')})`
}
