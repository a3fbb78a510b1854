'use strict'

// What the store promises, asked by the library's own kit:
//
//   node --test examples/writing-a-store/

const { mkdtempSync, rmSync } = require('node:fs')
const { tmpdir } = require('node:os')
const { join } = require('node:path')
const { testRaces, testStore } = require('@fastify/session/testing')
const { SqliteStore } = require('./sqlite-store')

/** An empty store for one test, and what another process would have. */
function createStore (t) {
  const folder = mkdtempSync(join(tmpdir(), 'sessions-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const open = () => new SqliteStore(join(folder, 'sessions.db'))
  return { store: open(), another: open }
}

testStore(createStore, {
  promises: {
    shared: true, // by all processes of the machine
    parallel: true,
    ended: true,
    renews: true,
    noDeadCookie: true,
    copies: true,
    touches: true,
    touchesOnly: true,
    tellsGone: true,
    updates: true,
    expires: true,
    waits: true,
    onlyYours: true,
    stops: true
  }
})

testRaces(createStore)
