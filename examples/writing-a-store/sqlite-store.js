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
    callback(null, this.#find(sessionId))
  }

  set (sessionId, session, callback) {
    // Who comes clears away what nobody comes for any more, so there is no timer.
    this.#db.prepare('DELETE FROM sessions WHERE expires <= ?').run(Date.now())
    this.#write(sessionId, session)
    callback(null)
  }

  /** Answers what it removed: `regenerate()` takes the data along as they are at that moment. */
  destroy (sessionId, callback) {
    callback(null, recordOf(this.#db.prepare('DELETE FROM sessions WHERE id = ? RETURNING *').get(sessionId)) ?? false)
  }

  /** Moves the end, and nothing else. */
  touch (sessionId, session, callback) {
    const touch = this.#db.prepare('UPDATE sessions SET expires = ? WHERE id = ? AND (expires IS NULL OR expires > ?)')
    callback(null, touch.run(endOf(session), sessionId, Date.now()).changes > 0)
  }

  /** In one transaction: no other process writes or ends the session in between. */
  update (sessionId, { set, unset }, { cookie }, callback) {
    const update = this.#db.transaction(() => {
      const record = this.#find(sessionId)
      if (record === undefined) return false
      for (const key of unset) delete record[key]
      this.#write(sessionId, { ...record, ...set, cookie })
      return true
    })
    callback(null, update.immediate())
  }

  #find (sessionId) {
    return recordOf(this.#db.prepare('SELECT * FROM sessions WHERE id = ?').get(sessionId))
  }

  #write (sessionId, session) {
    this.#db.prepare('REPLACE INTO sessions VALUES (?, ?, ?)').run(sessionId, JSON.stringify(session), endOf(session))
  }
}

const endOf = ({ cookie }) => cookie.expires?.getTime() ?? null
const recordOf = row => row && (row.expires ?? Infinity) > Date.now() ? JSON.parse(row.record) : undefined
