/** Four processes behind one Redis or PostgreSQL change one key of one session. They run the built package. */
import t, { type Test } from 'tap'
import { Fleet, type Backend, type Reply } from './processes/fleet'
import { migrate } from '../src/stores/postgres'
import { openPool } from './postgres/tables'
import { startPostgres, startRedis } from './servers'

const PROCESSES = 4
// The store is always there, so no call may time out, even on a busy machine.
const STORE_TIMEOUT = 30_000

async function start (t: Test, backend: Backend): Promise<Fleet> {
  const { url } = backend === 'postgres' ? await startPostgres(t) : await startRedis(t)
  if (backend === 'postgres') await migrate(openPool(t, url))
  const fleet = new Fleet(t, backend, [url], STORE_TIMEOUT)
  await fleet.start(PROCESSES)
  return fleet
}

async function newSession (fleet: Fleet, data: object): Promise<string> {
  const { setCookies: [cookie] } = await fleet.ask({ path: '/write', body: data })
  return (cookie as string).slice('sessionId='.length).split(';')[0] as string
}

/** How often each status came, and the items of the replies with 200. */
function said (replies: Reply[]): { statuses: Record<string, number>, kept: number[] } {
  const statuses: Record<string, number> = {}
  for (const { status } of replies) statuses[status] = (statuses[status] ?? 0) + 1
  return { statuses, kept: replies.flatMap(({ status }, item) => status === 200 ? [item] : []) }
}

const ascending = (a: number, b: number): number => a - b

for (const backend of ['node-redis', 'postgres'] as const) {
  t.test(`${backend}: four processes add to one array: each addition that was answered with 200 is kept, and up to twenty at the same time are never refused`, async t => {
    const fleet = await start(t, backend)
    for (const count of [2, 5, 20, 100]) {
      for (let round = 0; round < 5; round++) {
        const cookie = await newSession(fleet, { cart: [] })
        const replies = await Promise.all(Array.from({ length: count }, (_, item) => fleet.ask({ path: '/push', cookie, body: { item } })))
        const { statuses, kept } = said(replies)
        t.comment(`${count} at the same time:`, statuses)
        const { cart } = JSON.parse((await fleet.ask({ path: '/data', cookie })).body)
        t.same(cart.sort(ascending), kept, `${count} at the same time`)
        t.same(Object.keys(statuses).filter(status => status !== '200' && (status !== '409' || count <= 20)), [])
        t.match(replies.filter(({ status }) => status === 409).map(({ body }) => JSON.parse(body).code), /^(FST_ERR_SESSION_BUSY,?)*$/)
      }
    }
  })

  t.test(`${backend}: if twenty requests take a key through four processes at the same time, exactly one gets it`, async t => {
    const fleet = await start(t, backend)
    for (let round = 0; round < 10; round++) {
      const cookie = await newSession(fleet, { state: 'xyz' })
      const replies = await Promise.all(Array.from({ length: 20 }, () => fleet.ask({ path: '/take', cookie, body: { key: 'state' } })))
      t.same(said(replies).statuses, { 200: 20 })
      t.same(replies.filter(({ body }) => JSON.parse(body).value === 'xyz').length, 1)
    }
  })
}

// On such a store, update() can only exclude other requests of the same process.
t.test('on a store with three methods, all additions of one process are kept', async t => {
  const fleet = await start(t, 'connect-redis')
  const cookie = await newSession(fleet, { cart: [] })
  const member = fleet.next()
  const replies = await Promise.all(Array.from({ length: 20 }, (_, item) => member.ask({ path: '/push', cookie, body: { item } })))
  t.same(said(replies).statuses, { 200: 20 })
  const { cart } = JSON.parse((await fleet.ask({ path: '/data', cookie })).body)
  t.equal(cart.length, 20)
})
