'use strict'

// Tests what the store promises, with the library's own kit:
//
//   node --test examples/writing-a-store/sqlite-store.test.js

const { mkdtempSync, rmSync } = require('node:fs')
const { tmpdir } = require('node:os')
const { join } = require('node:path')
const { testRaces, testStore } = require('@fastify/session/testing')
const { SqliteStore } = require('./sqlite-store')

/** Returns an empty store for one test, and a function that opens it again, as another process would. */
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
