'use strict'

// The heap that sessions take, in the MemoryStore or in a bare Map, in a process of its own (see footprint.js).

const { MemoryStore } = require('../dist')

const { holder, count } = JSON.parse(process.argv[2])
const HOUR = 3_600_000

/** A session as the plugin hands it to a store. */
function record (i) {
  return {
    user: { id: i, name: `user ${i}`, roles: ['reader'] },
    visits: 1,
    cookie: {
      expires: new Date(Date.now() + HOUR),
      originalMaxAge: HOUR,
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
  global.gc()
  global.gc()
  return process.memoryUsage().heapUsed
}

const map = new Map()
const store = new MemoryStore(map)
const put = holder === 'map'
  ? (sessionId, i) => map.set(sessionId, record(i))
  : (sessionId, i) => store.set(sessionId, record(i), () => {})

const before = heap()
for (let i = 0; i < count; i++) put(`${i}`.padStart(32, 'x'), i)
process.send({ bytes: (heap() - before) / map.size }, () => process.disconnect())
