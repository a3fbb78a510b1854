/**
 * `npm run test:lost`: how much stores without `update` lose between processes. Four processes share one Redis or PostgreSQL,
 * and visitors' pages make requests in parallel. The results are written to docs/stores.md. They depend on the machine, so this
 * is not part of CI.
 */
import '../../packages/stores'
import { readFile, writeFile } from 'node:fs/promises'
import { availableParallelism, loadavg } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import pg from 'pg'
import t, { type Test } from 'tap'
import { migrate } from '../../src/stores/postgres'
import { openPool } from '../postgres/tables'
import { measuredIn, withMeasured } from '../measured'
import { Fleet, type Backend } from '../processes/fleet'
import { ROOT } from '../program'
import { startPostgres, startRedis } from '../servers'
import { tableOf, type Row } from './table'
import { Visitor, type Losses } from './visitor'

const COMMAND = 'npm run test:lost'
const DOCUMENT = join(ROOT, 'docs', 'stores.md')
const PROCESSES = 4
const VISITORS = 40
const DURATION = 40_000

const subjects: Array<{ name: string, backend: Backend, start: (t: Test) => Promise<{ url: string }> }> = [
  { name: 'RedisStore', backend: 'node-redis', start: startRedis },
  { name: 'PostgresStore', backend: 'postgres', start: startOurTable },
  { name: 'connect-redis 9', backend: 'connect-redis', start: startRedis },
  { name: 'connect-pg-simple', backend: 'connect-pg-simple', start: startTable },
  { name: 'connect-redis 9, with `@fastify/session` 11.1.3', backend: 'version 11', start: startRedis }
]
const rows: Row[] = []
const [load] = loadavg() as [number, number, number]

for (const { name, backend, start } of subjects) {
  t.test(name, async t => {
    const { url } = await start(t)
    const fleet = new Fleet(t, backend, [url])
    await fleet.start(PROCESSES)
    const losses: Losses = { writes: 0, lost: 0, logouts: 0, revived: 0 }
    let isOver = false
    const visitors = Array.from({ length: VISITORS }, (_, i) => new Visitor(`visitor ${i}`, fleet, losses))
    const visits = Promise.all(visitors.map(visitor => visitor.run(() => isOver)))
    await Promise.race([visits, setTimeout(DURATION)])
    isOver = true
    await visits
    t.comment(JSON.stringify(losses))
    t.equal(fleet.crashes, 0, 'no process has crashed')
    t.ok(losses.writes > 1000 && losses.logouts > 50, 'enough pages were opened for a result')
    if (['node-redis', 'postgres'].includes(backend)) t.match(losses, { lost: 0, revived: 0 }, 'our stores lose and revive nothing')
    rows.push({ name, ...losses })
  })
}

t.test('docs/stores.md contains the results', async t => {
  t.ok(t.parent?.counts.fail === 0 && rows.length === subjects.length, 'all were measured')
  if (!t.passing()) return
  const conditions = { date: new Date(), node: process.version, processors: availableParallelism(), load }
  const measured = tableOf(rows, conditions)
  const text = withMeasured(await readFile(DOCUMENT, 'utf8'), COMMAND, measured)
  await writeFile(DOCUMENT, text)
  t.equal(measuredIn(text, COMMAND), measured)
})

/** The table must exist before the processes start. Otherwise several of them would create it. */
async function startTable (t: Test): Promise<{ url: string }> {
  const server = await startPostgres(t)
  const client = new pg.Client({ connectionString: server.url })
  await client.connect()
  await client.query(await readFile(require.resolve('connect-pg-simple/table.sql'), 'utf8'))
  await client.end()
  return server
}

async function startOurTable (t: Test): Promise<{ url: string }> {
  const server = await startPostgres(t)
  await migrate(openPool(t, server.url))
  return server
}
