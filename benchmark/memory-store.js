'use strict'

// What the MemoryStore costs with a million sessions: npm run build && node benchmark/memory-store.js
// Heap against a bare Map of the same records, and the longest that the event loop stood still.

const { monitorEventLoopDelay } = require('node:perf_hooks')
const { setFlagsFromString } = require('node:v8')
const { runInNewContext } = require('node:vm')
const { MemoryStore } = require('../dist')

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')

const COUNT = Number(process.argv[2] ?? 1_000_000)
// Calls to the store between two turns of the event loop, as when that many requests come at once.
const BATCH = 50
const HOUR = 3_600_000

const rows = []
// Time that passes for the sessions only.
const { now } = Date
let passed = 0
Date.now = () => now() + passed

const nothing = () => {}
const turn = () => new Promise(resolve => setImmediate(resolve))
const idOf = i => `${i}`.padStart(32, 'x')

function session (i, maxAge) {
  return {
    user: { id: i, name: `user ${i}`, roles: ['reader'] },
    visits: 1,
    cookie: {
      expires: new Date(Date.now() + maxAge),
      originalMaxAge: maxAge,
      path: '/',
      httpOnly: true,
      secure: true,
      sameSite: 'lax',
      domain: null,
      partitioned: undefined
    }
  }
}

function heap () {
  collectGarbage()
  collectGarbage()
  return process.memoryUsage().heapUsed
}

async function bytesPerRecord (put) {
  const before = heap()
  const holder = put()
  for (let i = 0; i < COUNT; i++) {
    holder.add(i)
    if (i % 10_000 === 0) await turn()
  }
  const bytes = (heap() - before) / COUNT
  return { bytes, holder }
}

/** The longest delay while a task runs, in milliseconds. */
async function worstDelay (task) {
  collectGarbage()
  // The first look at a new histogram counts what came before.
  await new Promise(resolve => setTimeout(resolve, 50))
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  await new Promise(resolve => setTimeout(resolve, 20))
  delay.reset()
  const begun = performance.now()
  await task()
  const seconds = (performance.now() - begun) / 1000
  delay.disable()
  return `${(delay.max / 1e6).toFixed(1)} ms worst, ${(delay.percentile(99) / 1e6).toFixed(1)} ms p99, in ${seconds.toFixed(1)} s`
}

const write = (holder, i) => holder.set(idOf(i), session(i, HOUR), nothing)

async function batches (count, step) {
  for (let i = 0; i < count; i++) {
    step(i)
    if (i % BATCH === BATCH - 1) await turn()
  }
}

async function main () {
  const bare = await bytesPerRecord(() => {
    const map = new Map()
    return { map, add: i => map.set(idOf(i), session(i, HOUR)) }
  })
  rows.push(['heap per record, bare Map', `${bare.bytes.toFixed(0)} B`])
  bare.holder.map.clear()
  delete bare.holder

  for (const max of [Infinity, 2 * COUNT]) {
    const label = max === Infinity ? '' : ', with a max'
    const { bytes, holder: { store } } = await bytesPerRecord(() => {
      const store = new MemoryStore(new Map(), { max })
      return { store, add: i => write(store, i) }
    })
    rows.push([`heap per record, MemoryStore${label}`, `${bytes.toFixed(0)} B, ${(100 * bytes / bare.bytes).toFixed(0)} % of the Map`])

    rows.push([`event loop, ${COUNT} alive, reads and touches${label}`, await worstDelay(() => batches(COUNT / 2, i => {
      const sessionId = idOf((i * 7919) % COUNT)
      store.get(sessionId, nothing)
      store.touch(sessionId, session(i, HOUR), nothing)
    }))])

    passed += HOUR
    let left
    rows.push([`event loop, they expire under traffic${label}`, await worstDelay(async () => {
      await batches(COUNT / 4, i => {
        const sessionId = idOf(COUNT + i)
        store.set(sessionId, session(i, HOUR), nothing)
        store.get(idOf((i * 7919) % COUNT), nothing)
      })
      left = store.store.size
    })])
    rows.push([`  sessions left after ${COUNT / 4} new ones${label}`, String(left)])

    store.clear()
    await turn()
    let most = 0
    rows.push([`event loop, ${COUNT} short sessions come and go${label}`, await worstDelay(() => batches(COUNT, i => {
      // A thousand come in a second, and live a minute.
      passed += 1
      const sessionId = idOf(i)
      store.set(sessionId, session(i, 60_000), nothing)
      store.get(sessionId, nothing)
      most = Math.max(most, store.store.size)
    }))])
    rows.push([`  most that were kept, of 60000 alive${label}`, String(most)])
    store.clear()
    write(store, 0)
  }

  for (const max of [Infinity, 100_000]) {
    const store = new MemoryStore(new Map(), { max })
    await batches(100_000, i => write(store, i))
    const begun = performance.now()
    const label = max === Infinity ? '' : `, with a max of ${max} that is reached`
    const delay = await worstDelay(() => batches(150_000, i => write(store, 100_000 + i)))
    rows.push([`a write${label}`, `${((performance.now() - begun) / 150).toFixed(1)} µs; ${delay}`])
  }

  rows.push(['event loop, the same without a store', await worstDelay(() => batches(COUNT, i => session(i, HOUR)))])
  const map = new Map()
  rows.push(['event loop, a bare Map grows to it', await worstDelay(() => batches(COUNT, i => map.set(idOf(i), session(i, HOUR))))])

  console.log(`Node.js ${process.version}, ${COUNT} sessions`)
  const width = Math.max(...rows.map(([what]) => what.length))
  for (const [what, figure] of rows) console.log(`${what.padEnd(width)}  ${figure}`)
}

main()
