'use strict'

const Database = require('better-sqlite3')

/** Sessions in SQLite: they outlive the process, and all processes of one machine share them. */
exports.SqliteStore = class SqliteStore {
  #db
  constructor (path) {
    this.#db = new Database(path)
    this.#db.pragma('journal_mode = WAL')
    this.#db.exec(`CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, record TEXT NOT NULL, expires INTEGER);
      CREATE INDEX IF NOT EXISTS ends ON sessions (expires)`)
  }

  get (sessionId, callback) {
    callback(null, recordOf(this.#rowOf(sessionId)))
  }

  set (sessionId, session, callback) {
    // Each call of set deletes the sessions that have expired, so no timer is needed.
    this.#db.prepare('DELETE FROM sessions WHERE expires <= ?').run(Date.now())
    this.#write(sessionId, session, timeOf(session.cookie.expires))
    callback(null)
  }

  /** Answers what it removed: `regenerate()` takes along the data as they are at that moment. */
  destroy (sessionId, callback) {
    callback(null, recordOf(this.#db.prepare('DELETE FROM sessions WHERE id = ? RETURNING *').get(sessionId)) ?? false)
  }

  /** Moves the expiry, but never back, and changes nothing else. A session without an expiry stays without one. */
  touch (sessionId, { cookie }, callback) {
    const touch = this.#db.prepare('UPDATE sessions SET expires = MAX(expires, ?) WHERE id = ? AND (expires IS NULL OR expires > ?)')
    callback(null, touch.run(timeOf(cookie.expires), sessionId, Date.now()).changes > 0)
  }

  update (sessionId, changes, session, callback) {
    callback(null, this.#change(sessionId, changes, session) === 'written')
  }

  /** Does the same, but only if these keys are still as they were in a record that was read. */
  updateIf (sessionId, read, keys, changes, session, callback) {
    callback(null, this.#change(sessionId, changes, session, record => keys.every(key => textOf(record, key) === textOf(read, key))))
  }

  /** In one transaction: no other process writes or ends the session in between. */
  #change (sessionId, { set, unset, meta }, session, isAsExpected = () => true) {
    return this.#db.transaction(() => {
      const row = this.#rowOf(sessionId)
      const record = recordOf(row)
      if (record === undefined) return 'gone'
      if (!isAsExpected(record)) return 'changed'
      const end = 'expires' in meta.set ? timeOf(meta.set.expires) : later(row.expires, timeOf(session.cookie.expires))
      const cookie = { ...record.cookie, ...meta.set, expires: end && new Date(end) }
      this.#write(sessionId, { ...without(unset, { ...record, ...set }), cookie: without(meta.unset, cookie) }, end)
      return 'written'
    }).immediate()
  }

  #rowOf (sessionId) {
    return this.#db.prepare('SELECT * FROM sessions WHERE id = ?').get(sessionId)
  }

  #write (sessionId, record, end) {
    this.#db.prepare('REPLACE INTO sessions VALUES (?, ?, ?)').run(sessionId, JSON.stringify(record), end)
  }
}

const timeOf = date => date?.getTime() ?? null
const later = (end, other) => end === null || other === null ? null : Math.max(end, other)
const without = (keys, object) => Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)))
const textOf = (record, key) => Object.hasOwn(record, key) ? JSON.stringify(record[key]) : ''
const recordOf = row => row && (row.expires ?? Infinity) > Date.now() ? JSON.parse(row.record) : undefined
