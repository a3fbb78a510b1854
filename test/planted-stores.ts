/** Stores with a bug each, which the test kit must find, and the two kinds of stores that keep a session for too long. */
import { isDeepStrictEqual } from 'node:util'
import { MemoryStore } from '../src/index'
import { applyChanges, expiryOf, timeIn } from '../src/values/record'
import { MemoryIndex } from '../src/stores/memory-index'
import type { Claiming, Revoking, SessionChanges, SessionRecord } from '../src/types/store'

export type Answer = (error?: any, value?: any) => void

/** Keeps the object that it is given, and returns the same object. */
export class KeepingStore {
  readonly records = new Map<string, object>()

  get (sessionId: string, callback: Answer): void {
    callback(null, this.records.get(sessionId))
  }

  set (sessionId: string, session: object, callback: Answer): void {
    this.records.set(sessionId, session)
    callback()
  }

  destroy (sessionId: string, callback: Answer): void {
    this.records.delete(sessionId)
    callback()
  }
}

/** Its touch moves an end that its get ignores: expired sessions stay until they are cleaned up. */
export class UnlookedStore {
  readonly records = new Map<string, { json: string, end: number }>()

  get (sessionId: string, callback: Answer): void {
    callback(null, JSON.parse(this.records.get(sessionId)?.json ?? 'null'))
  }

  set (sessionId: string, session: any, callback: Answer): void {
    this.records.set(sessionId, { json: JSON.stringify(session), end: endOf(session) })
    callback()
  }

  destroy (sessionId: string, callback: Answer): void {
    this.records.delete(sessionId)
    callback()
  }

  touch (sessionId: string, session: any, callback: Answer): void {
    const entry = this.records.get(sessionId)
    if (entry !== undefined) entry.end = Math.max(entry.end, endOf(session))
    callback(null, entry !== undefined)
  }

  cleanUp (): void {
    for (const [sessionId, { end }] of this.records) if (end <= Date.now()) this.records.delete(sessionId)
  }
}

function endOf ({ cookie }: { cookie: { expires: unknown } }): number {
  return timeIn(cookie.expires) || Infinity
}

/** A store without bugs that has all methods and keeps JSON. A planted bug replaces one of its small parts. */
export class WholeStore {
  readonly records = new Map<string, string>()
  readonly index = new MemoryIndex()

  get (sessionId: string, callback: Answer): void {
    this.answer(callback, this.find(sessionId))
  }

  inspect (sessionId: string, callback: Answer): void {
    this.answer(callback, this.find(sessionId))
  }

  getAndTouch (sessionId: string, callback: Answer): void {
    const record = this.find(sessionId)
    if (record !== undefined) this.move(sessionId, Date.now() + this.idleOf(record))
    this.answer(callback, record)
  }

  set (sessionId: string, session: object, callback: Answer): void {
    this.write(sessionId, session)
    this.answer(callback)
  }

  destroy (sessionId: string, callback: Answer): void {
    const record = this.find(sessionId)
    this.records.delete(this.idOf(sessionId))
    this.answer(callback, record ?? false)
  }

  touch (sessionId: string, session: any, callback: Answer): void {
    const record = this.find(sessionId)
    if (record !== undefined) this.move(sessionId, endOf(session))
    this.answer(callback, record !== undefined)
  }

  update (sessionId: string, changes: SessionChanges, session: any, callback: Answer): void {
    const record = this.find(sessionId)
    if (record !== undefined) this.write(sessionId, this.changed(record, changes, session))
    this.answer(callback, record !== undefined)
  }

  updateIf (sessionId: string, record: SessionRecord, keys: readonly string[], changes: SessionChanges, session: any, callback: Answer): void {
    const newer = this.find(sessionId)
    const isAsExpected = newer !== undefined && this.isSame(newer, record, keys)
    if (isAsExpected) this.write(sessionId, this.changed(newer, changes, session))
    this.answer(callback, newer === undefined ? 'gone' : isAsExpected ? 'written' : 'changed')
  }

  claim (userKey: string, sessionId: string, claiming: Claiming, callback: Answer): void {
    this.answer(callback, this.index.claim(userKey, sessionId, claiming))
  }

  release (userKey: string, sessionIds: readonly string[], callback: Answer): void {
    this.index.release(userKey, sessionIds)
    this.answer(callback)
  }

  revoke (userKey: string, which: Revoking, callback: Answer): void {
    this.answer(callback, this.index.revoke(userKey, which))
  }

  endingsOf (userKey: string, callback: Answer): void {
    this.answer(callback, this.index.endingsOf(userKey))
  }

  claimsOf (userKey: string, before: number, count: number, callback: Answer): void {
    this.answer(callback, this.index.claimsOf(userKey, before, count))
  }

  answer (callback: Answer, value?: unknown): void {
    callback(null, value)
  }

  idOf (sessionId: string): string {
    return sessionId
  }

  find (sessionId: string): SessionRecord | undefined {
    const record = JSON.parse(this.records.get(this.idOf(sessionId)) ?? 'null') as SessionRecord | null
    return record === null || expiryOf(record) <= Date.now() ? undefined : record
  }

  write (sessionId: string, record: object): void {
    this.records.set(this.idOf(sessionId), JSON.stringify(record))
  }

  move (sessionId: string, end: number): void {
    const record = this.find(sessionId) as { cookie: any }
    if (end > expiryOf(record)) this.write(sessionId, { ...record, cookie: { ...record.cookie, expires: new Date(end) } })
  }

  idleOf ({ cookie }: any): number {
    return cookie.idle ?? cookie.originalMaxAge ?? NaN
  }

  isSame (newer: SessionRecord, record: SessionRecord, keys: readonly string[]): boolean {
    return keys.every(key => textOf(newer, key) === textOf(record, key))
  }

  changed (record: SessionRecord, changes: SessionChanges, session: any): SessionRecord {
    return applyChanges(record, changes, session.cookie.expires)
  }
}

export const WHOLE = {
  onlyYours: true,
  waits: true,
  stops: true,
  copies: true,
  touches: true,
  oneCall: true,
  expires: true,
  updates: true,
  tellsGone: true,
  touchesOnly: true,
  users: true
} as const

const textOf = (record: SessionRecord, key: string): string => Object.hasOwn(record, key) ? JSON.stringify(record[key]) : ''
const overLatin1 = /[^\x00-\xff]/g // eslint-disable-line no-control-regex
const asOf = (record: any, key: string): any => JSON.parse(JSON.stringify(record[key] ?? null))

function merged (a: any, b: any): any {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || Array.isArray(b)) return b
  return { ...a, ...Object.fromEntries(Object.entries(b).map(([key, value]) => [key, merged(a[key], value)])) }
}

/** Sets the value at a path of keys, as document databases do. */
function setAt (target: any, path: string, value: unknown): void {
  const keys = path.split('.')
  const last = keys.pop() as string
  for (const key of keys) target = target[key] = typeof target[key] === 'object' && target[key] !== null ? target[key] : {}
  target[last] = value
}

type Bug = Partial<WholeStore> & ThisType<WholeStore>
type Planted = [name: string, bug: Bug, says: RegExp]

/** What each does wrong, and what the kit's message says. */
export const PLANTED: readonly Planted[] = [
  ['an update that keeps the old cookie', {
    changed: (record, changes, session) => ({ ...applyChanges(record, changes, session.cookie.expires), cookie: record.cookie })
  }, /update\(\) did not move the end/],
  ['an update that keeps all of the cookie but its end', {
    changed: (record, changes, session) => {
      const { cookie, ...data } = applyChanges(record, changes, session.cookie.expires) as any
      return { ...data, cookie: { ...record.cookie as object, expires: cookie.expires } }
    }
  }, /update\(\) must apply changes.meta/],
  ['an update that writes the new cookie whole', {
    changed: (record, changes, session) => ({ ...applyChanges(record, changes, session.cookie.expires), cookie: session.cookie })
  }, /update\(\) must apply changes.meta/],
  ['an update that unsets no field of the cookie', {
    changed: (record, { meta, ...changes }, session) => applyChanges(record, { ...changes, meta: { ...meta, unset: [] } }, session.cookie.expires)
  }, /update\(\) must apply changes.meta/],
  ['an update that merges deeply', {
    changed: (record, changes, session) => {
      const set = Object.fromEntries(Object.entries(changes.set).map(([key, value]) => [key, merged(record[key], value)]))
      return applyChanges(record, { ...changes, set }, session.cookie.expires)
    }
  }, /update\(\) must not merge within a key/],
  ['an update that removes nothing', {
    changed: (record, changes, session) => applyChanges(record, { ...changes, unset: [] }, session.cookie.expires)
  }, /update\(\) must apply set and unset|unset/],
  ['an update that sets what it should remove to null', {
    changed: (record, changes, session) => {
      const nulls = Object.fromEntries(changes.unset.map(key => [key, null]))
      return applyChanges(record, { ...changes, set: { ...changes.set, ...nulls }, unset: [] }, session.cookie.expires)
    }
  }, /update\(\) must remove the keys in unset/],
  ['an update that writes all data of the session', {
    changed: (record, changes, session) => ({ ...record, ...session, ...applyChanges(record, changes, session.cookie.expires) })
  }, /to the stored session, and write nothing else of session/],
  ['an update that shortens a life', {
    changed: (record, changes, session) => {
      const { cookie, ...data } = applyChanges(record, changes, session.cookie.expires) as any
      return { ...data, cookie: { ...cookie, expires: session.cookie.expires } }
    }
  }, /update\(\) shortened a life/],
  ['an update that never shortens a life', {
    changed: (record, changes, session) => {
      const { cookie, ...data } = applyChanges(record, changes, session.cookie.expires) as any
      return { ...data, cookie: { ...cookie, expires: new Date(Math.max(timeIn(cookie.expires), expiryOf(record))) } }
    }
  }, /changes.meta.set/],
  ['an update that moves a clock, and leaves the end in the record', {
    changed: (record, changes, session) => {
      const { cookie, ...data } = applyChanges(record, changes, session.cookie.expires) as any
      return { ...data, cookie: { told: record.cookie, ...cookie } }
    },
    get (sessionId, callback) {
      const { cookie, ...data } = this.find(sessionId) as any ?? {}
      callback(null, cookie && { ...data, cookie: { ...cookie, expires: cookie.told?.expires ?? cookie.expires, told: undefined } })
    }
  }, /into the record too/],
  ['an update that creates', {
    update (sessionId, changes, session, callback) {
      this.write(sessionId, this.changed(this.find(sessionId) ?? {}, changes, session))
      callback(null, true)
    }
  }, /update\(\) must answer with false/],
  ['an update that does not say whether it found the session', {
    update (sessionId, changes, session, callback) {
      const record = this.find(sessionId)
      if (record !== undefined) this.write(sessionId, this.changed(record, changes, session))
      callback()
    }
  }, /update\(\) must answer with false/],
  ['an update in two steps', {
    update (sessionId, changes, session, callback) {
      const record = this.find(sessionId)
      setImmediate(() => {
        if (record !== undefined) this.write(sessionId, this.changed(record, changes, session))
        callback(null, record !== undefined)
      })
    }
  }, /update\(\) must read and write in one step/],
  ['an update of the cookie in a second step', {
    update (sessionId, changes, session, callback) {
      const record = this.find(sessionId)
      if (record === undefined) return callback(null, false)
      const { cookie } = this.changed(record, changes, session)
      this.write(sessionId, { ...this.changed(record, changes, session), cookie: record.cookie })
      setImmediate(() => {
        this.write(sessionId, { ...this.find(sessionId), cookie })
        callback(null, true)
      })
    }
  }, /in the same step/],
  ['an updateIf that takes null for nothing', {
    isSame: (newer, record, keys) => keys.every(key => isDeepStrictEqual(newer[key] ?? null, record[key] ?? null))
  }, /updateIf\(\) must answer with 'changed'/],
  ['an updateIf that compares loosely', {
    // eslint-disable-next-line eqeqeq
    isSame: (newer, record, keys) => keys.every(key => textOf(newer, key) === textOf(record, key) || newer[key] == record[key])
  }, /updateIf\(\) must answer with 'changed'/],
  ['an updateIf that compares the first key only', {
    isSame: (newer, record, keys) => keys.slice(0, 1).every(key => textOf(newer, key) === textOf(record, key))
  }, /updateIf\(\) must answer with 'changed'/],
  ['an updateIf that compares only lengths', {
    isSame: (newer, record, keys) => keys.every(key => textOf(newer, key).length === textOf(record, key).length)
  }, /updateIf\(\) must answer with 'changed'/],
  ['an updateIf that compares all keys', {
    isSame: (newer, record) => isDeepStrictEqual({ ...newer, cookie: 0 }, { ...record, cookie: 0 })
  }, /updateIf\(\) must answer with 'written'.*others may have changed/],
  ['an updateIf that compares what is inherited', {
    isSame: (newer, record, keys) => keys.every(key => key in newer === Object.hasOwn(record, key) && JSON.stringify(newer[key]) === JSON.stringify(record[key]))
  }, /updateIf\(\) must answer with 'written'/],
  ['an updateIf that answers true', {
    updateIf (sessionId, record, keys, changes, session, callback) {
      WholeStore.prototype.updateIf.call(this, sessionId, record, keys, changes, session, (_error, value) => callback(null, value === 'written'))
    }
  }, /updateIf\(\) must answer with 'written'/],
  ['an updateIf that always writes', {
    updateIf (sessionId, record, keys, changes, session, callback) {
      WholeStore.prototype.updateIf.call(this, sessionId, record, keys, changes, session, (_error, value) => {
        if (value === 'changed') this.write(sessionId, this.changed(this.find(sessionId) as SessionRecord, changes, session))
        callback(null, value)
      })
    }
  }, /updateIf\(\) must write nothing/],
  ['an updateIf that creates', {
    updateIf (sessionId, record, keys, changes, session, callback) {
      if (this.find(sessionId) === undefined) this.write(sessionId, { cookie: session.cookie })
      WholeStore.prototype.updateIf.call(this, sessionId, record, keys, changes, session, callback)
    }
  }, /updateIf\(\) must answer with 'gone'/],
  ['an updateIf in two steps', {
    updateIf (sessionId, record, keys, changes, session, callback) {
      const newer = this.find(sessionId)
      const isAsExpected = newer !== undefined && this.isSame(newer, record, keys)
      setImmediate(() => {
        if (isAsExpected) this.write(sessionId, this.changed(this.find(sessionId) as SessionRecord, changes, session))
        callback(null, newer === undefined ? 'gone' : isAsExpected ? 'written' : 'changed')
      })
    }
  }, /updateIf\(\) must compare and write in one step/],
  ['an updateIf that leaves the end', {
    updateIf (sessionId, record, keys, changes, _session, callback) {
      WholeStore.prototype.updateIf.call(this, sessionId, record, keys, changes, { cookie: { expires: null } }, callback)
    }
  }, /updateIf\(\) must move the end/],
  ['an updateIf without an update', {
    update: undefined as any
  }, /updateIf\(\) is only used if the store has update/],
  ['a getAndTouch that does not touch', {
    getAndTouch (sessionId, callback) { this.answer(callback, this.find(sessionId)) }
  }, /getAndTouch\(\) must move the end by cookie.idle/],
  ['a getAndTouch that does not know idle', { idleOf: ({ cookie }: any) => cookie.originalMaxAge }, /by more than cookie.idle/],
  ['a getAndTouch that knows idle only', { idleOf: ({ cookie }: any) => cookie.idle ?? NaN }, /by cookie.originalMaxAge/],
  ['a getAndTouch in seconds', { idleOf: ({ cookie }: any) => (cookie.idle ?? cookie.originalMaxAge) / 1000 }, /getAndTouch\(\) must move the end/],
  ['a getAndTouch that answers with the end from before the touch', {
    getAndTouch (sessionId, callback) {
      const record = this.find(sessionId) as any
      if (record !== undefined) this.move(sessionId, Date.now() + this.idleOf(record))
      this.answer(callback, record && { ...record, cookie: { ...record.cookie, expires: new Date(record.cookie.createdAt + record.cookie.originalMaxAge) } })
    }
  }, /the store's own end/],
  ['an inspect that touches', {
    inspect (sessionId, callback) { this.getAndTouch(sessionId, callback) }
  }, /inspect\(\) must not move the end/],
  ['keys with a dot for paths, in set', {
    set (sessionId, session, callback) {
      const record = {}
      for (const [key, value] of Object.entries(session)) setAt(record, key, value)
      this.write(sessionId, record)
      callback()
    }
  }, /set\(\): keys are any text/],
  ['keys with a dot for paths, in update', {
    changed: (record, changes, session) => {
      const { ...result } = applyChanges(record, { ...changes, set: {}, unset: [] }, session.cookie.expires)
      for (const [key, value] of Object.entries(changes.set)) setAt(result, key, value)
      for (const key of changes.unset) delete result[key]
      return result
    }
  }, /update\(\): keys are any text/],
  ['keys without what begins with $', {
    write (sessionId, record) {
      this.records.set(sessionId, JSON.stringify(Object.fromEntries(Object.entries(record).filter(([key]) => !key.startsWith('$')))))
    }
  }, /keys are any text/],
  ['values up to 64 KB', {
    write (sessionId, record) {
      const cut = (_key: string, value: unknown): unknown => typeof value === 'string' ? value.slice(0, 65_535) : value
      this.records.set(sessionId, JSON.stringify(record, cut))
    }
  }, /larger than 64 KB/],
  ['records up to 64 KB, and an error beyond', {
    set (sessionId, session, callback) {
      if (JSON.stringify(session).length > 65_535) callback(new Error('Data too long'))
      else WholeStore.prototype.set.call(this, sessionId, session, callback)
    }
  }, /larger than 64 KB|Data too long/],
  ['characters of Latin-1 only', {
    write (sessionId, record) { this.records.set(sessionId, JSON.stringify(record).replace(overLatin1, '?')) }
  }, /text is any Unicode|keys are any text/],
  ['no characters of four bytes', {
    write (sessionId, record) { this.records.set(sessionId, JSON.stringify(record).replace(/[\u{10000}-\u{10ffff}]/gu, '?')) }
  }, /text is any Unicode/],
  ['empty lists for empty objects', {
    write (sessionId, record) { this.records.set(sessionId, JSON.stringify(record).replaceAll('[]', '{}')) }
  }, /values are any JSON/],
  ['null for absent', {
    write (sessionId, record) {
      this.records.set(sessionId, JSON.stringify(record, (key, value) => value === null && key !== 'expires' ? undefined : value))
    }
  }, /get\(\) must answer with the data/],
  ['ids without case', { idOf: sessionId => sessionId.toLowerCase() }, /with case/],
  ['ids by their first 32 characters', { idOf: sessionId => sessionId.slice(0, 32) }, /ids must be compared whole/],
  ['ids without space at the end', { idOf: sessionId => sessionId.trimEnd() }, /ids must be compared whole/],
  ['a destroy by pattern', {
    destroy (sessionId, callback) {
      const record = this.find(sessionId)
      const pattern = new RegExp(`^${sessionId.replace(/[*?]/g, '\\$&').replaceAll('_', '.').replaceAll('%', '.*')}$`)
      for (const id of this.records.keys()) if (pattern.test(id)) this.records.delete(id)
      callback(null, record ?? false)
    }
  }, /without patterns/],
  ['a destroy by prefix', {
    destroy (sessionId, callback) {
      const record = this.find(sessionId)
      for (const id of this.records.keys()) if (id.startsWith(sessionId)) this.records.delete(id)
      callback(null, record ?? false)
    }
  }, /ids must be compared whole/],
  ['a destroy that answers a record for nothing', {
    destroy (sessionId, callback) {
      const record = this.find(sessionId) ?? { cookie: {} }
      this.records.delete(sessionId)
      callback(null, record)
    }
  }, /destroy\(\) must answer with false/],
  ['a destroy that answers what was set first', {
    set (sessionId, session, callback) {
      WholeStore.prototype.set.call(this, sessionId, session, callback)
      Object.assign(this, { [`first ${sessionId}`]: asOf({ session }, 'session') })
    },
    destroy (sessionId, callback) {
      const isThere = this.records.delete(sessionId)
      callback(null, isThere && (this as any)[`first ${sessionId}`])
    }
  }, /as it was at that moment/],
  ['a get that calls back twice', {
    get (sessionId, callback) {
      callback(null, this.find(sessionId))
      callback(null, this.find(sessionId))
    }
  }, /get\(\): call the callback once/],
  ['a get that calls back twice if there is no session', {
    get (sessionId, callback) {
      const record = this.find(sessionId)
      if (record === undefined) callback()
      callback(null, record)
    }
  }, /get\(\): call the callback once/],
  ['a destroy that calls back twice, later', {
    destroy (sessionId, callback) {
      WholeStore.prototype.destroy.call(this, sessionId, callback)
      setImmediate(callback, null, false)
    }
  }, /destroy\(\): call the callback once/],
  ['an update that calls back twice', {
    update (sessionId, changes, session, callback) {
      WholeStore.prototype.update.call(this, sessionId, changes, session, callback)
      process.nextTick(callback, null, true)
    }
  }, /update\(\): call the callback once/],
  ['a touch that creates', {
    touch (sessionId, session, callback) {
      this.write(sessionId, { ...this.find(sessionId), cookie: session.cookie })
      callback(null, true)
    }
  }, /touchesOnly|touch\(\) must not create/],
  ['a touch that shortens', {
    move (sessionId, end) {
      const record = this.find(sessionId) as any
      this.write(sessionId, { ...record, cookie: { ...record.cookie, expires: Number.isFinite(end) ? new Date(end) : null } })
    }
  }, /promises.touchesOnly is declared/],
  ['a touch that writes the cookie', {
    touch (sessionId, session, callback) {
      const record = this.find(sessionId) as any
      const expires = new Date(Math.max(timeIn(session.cookie.expires), expiryOf(record ?? {})))
      if (record !== undefined) this.write(sessionId, { ...record, cookie: { ...session.cookie, expires } })
      callback(null, record !== undefined)
    }
  }, /promises.touchesOnly is declared/],
  ['a set that forgets fields of the cookie that it does not know', {
    set (sessionId, { cookie, ...data }: any, callback) {
      const { expires, originalMaxAge, path, httpOnly, secure } = cookie
      this.write(sessionId, { ...data, cookie: { expires, originalMaxAge, path, httpOnly, secure } })
      callback()
    }
  }, /must write all fields of the cookie/],
  ['a set that merges', {
    set (sessionId, session, callback) {
      this.write(sessionId, { ...this.find(sessionId), ...session })
      callback()
    }
  }, /set\(\) must replace/],

  // The index by user.
  ['an index that has no max', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey, sessionId, { ...claiming, max: Infinity })) }
  }, /claim\(\) must answer/],
  ['an index with room for one more', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey, sessionId, { ...claiming, max: claiming.max + 1 })) }
  }, /claim\(\) must answer/],
  ['an index with room for one less', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey, sessionId, { ...claiming, max: claiming.max - 1 })) }
  }, /and not before/],
  ['an index that takes Infinity for zero', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey, sessionId, { ...claiming, max: JSON.parse(JSON.stringify(claiming.max)) ?? 0 })) }
  }, /claim\(\)/],
  ['an index that refuses nobody', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey, sessionId, { ...claiming, refuses: false })) }
  }, /claim\(\) must answer with 'full'/],
  ['an index that refuses always', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey, sessionId, { ...claiming, refuses: true })) }
  }, /claim\(\) must not end any session/],
  ['an index that swaps nothing', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey, sessionId, { ...claiming, replaces: undefined })) }
  }, /claim\(\) with replaces/],
  ['an index that enters what must be there', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey, sessionId, { ...claiming, isWritten: false })) }
  }, /lost|tooMany/],
  ['an index that knows no fingerprints', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey, sessionId, { ...claiming, fingerprint: '' })) }
  }, /the one with its fingerprint/],
  ['an index whose entries never end', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey, sessionId, { ...claiming, lives: null })) }
  }, /whose time has passed/],
  ['an index in which a life is in seconds', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey, sessionId, { ...claiming, lives: claiming.lives && claiming.lives / 1000 })) }
  }, /must be kept as long|the sessions, the last claimed first/],
  ['an index in two steps', {
    claim (userKey, sessionId, claiming, callback) {
      const isFull = this.index.claimsOf(userKey, Infinity, 100).length >= claiming.max && claiming.refuses
      setImmediate(() => {
        if (isFull) callback(null, { outcome: 'full', tooMany: [] })
        else callback(null, this.index.claim(userKey, sessionId, { ...claiming, refuses: false }))
      })
    }
  }, /in one atomic step/],
  ['an index that does not say which sessions are too many', {
    claim (userKey, sessionId, claiming, callback) {
      callback(null, { ...this.index.claim(userKey, sessionId, claiming), tooMany: [] })
    }
  }, /the oldest as tooMany/],
  ['an index that ends the last', {
    claim (userKey, sessionId, claiming, callback) {
      const { outcome, tooMany } = this.index.claim(userKey, sessionId, claiming)
      callback(null, { outcome, tooMany: tooMany.length > 0 ? [sessionId] : [] })
    }
  }, /the oldest as tooMany/],
  ['an index in which revoked sessions come back', {
    claim (userKey, sessionId, claiming, callback) {
      const claimed = this.index.claim(userKey, sessionId, claiming)
      callback(null, { ...claimed, outcome: claimed.outcome === 'ending' ? 'entered' : claimed.outcome })
    }
  }, /claim\(\) must answer with 'ending'/],
  ['an index that answers true', {
    claim (userKey, sessionId, claiming, callback) {
      callback(null, this.index.claim(userKey, sessionId, claiming).outcome === 'entered')
    }
  }, /claim\(\) must answer with \{ outcome, tooMany \}/],
  ['an index that enters what it refuses', {
    claim (userKey, sessionId, claiming, callback) {
      const claimed = this.index.claim(userKey, sessionId, claiming)
      if (claimed.outcome === 'full') this.index.claim(userKey, sessionId, { ...claiming, max: Infinity })
      callback(null, claimed)
    }
  }, /claim\(\) must enter nothing/],
  ['a claim that creates the session', {
    claim (userKey, sessionId, claiming, callback) {
      this.write(sessionId, { cookie: {} })
      callback(null, this.index.claim(userKey, sessionId, claiming))
    }
  }, /claim\(\) must not create the session/],
  ['a release that removes all entries', {
    release (userKey, _sessionIds, callback) {
      this.index.release(userKey, this.index.claimsOf(userKey, Infinity, 100).map(({ sessionId }) => sessionId))
      callback()
    }
  }, /release\(\)/],
  ['a release that removes no entry', { release: (_userKey, _sessionIds, callback) => callback() }, /release\(\)/],
  ['a release that removes the first entry only', {
    release (userKey, sessionIds, callback) {
      this.index.release(userKey, sessionIds.slice(0, 1))
      callback()
    }
  }, /release\(\)/],
  ['a release that leaves sessions marked to be ended', {
    release (userKey, sessionIds, callback) {
      const endings = this.index.endingsOf(userKey)
      this.index.release(userKey, sessionIds.filter(sessionId => !endings.includes(sessionId)))
      callback()
    }
  }, /release\(\) must also remove sessions from those to be ended/],
  ['a release that removes the session', {
    release (userKey, sessionIds, callback) {
      this.index.release(userKey, sessionIds)
      for (const sessionId of sessionIds) this.records.delete(sessionId)
      callback()
    }
  }, /release\(\) must not remove the session/],
  ['a revocation that ends nothing', { revoke: (_userKey, _which, callback) => callback(null, 0) }, /revoke\(\)/],
  ['a revocation of all, always', {
    revoke (userKey, _which, callback) { callback(null, this.index.revoke(userKey, {})) }
  }, /revoke\(\)/],
  ['a revocation without exception', {
    revoke (userKey, { fingerprint }, callback) { callback(null, this.index.revoke(userKey, fingerprint === undefined ? {} : { fingerprint })) }
  }, /revoke\(\) must leave the session in except/],
  ['a revocation that forgets which sessions to end', {
    revoke (userKey, which, callback) {
      const count = this.index.revoke(userKey, which)
      this.index.release(userKey, this.index.endingsOf(userKey))
      callback(null, count)
    }
  }, /endingsOf\(\)/],
  ['a revocation that does not count', {
    revoke (userKey, which, callback) {
      this.index.revoke(userKey, which)
      callback()
    }
  }, /revoke\(\) must answer with how many/],
  ['a revocation by one key that reaches another', {
    revoke (userKey, which, callback) {
      if (userKey === 'acme') this.index.revoke('max', which)
      callback(null, this.index.revoke(userKey, which))
    }
  }, /several keys/],
  ['endings that are always empty', { endingsOf: (_userKey, callback) => callback(null, []) }, /endingsOf\(\)/],
  ['an index in the wrong order', {
    claimsOf (userKey, before, count, callback) { callback(null, this.index.claimsOf(userKey, before, count).reverse()) }
  }, /the last claimed first/],
  ['an index in the order of ids', {
    claimsOf (userKey, before, count, callback) { callback(null, this.index.claimsOf(userKey, before, count).sort((a, b) => a.sessionId < b.sessionId ? -1 : 1)) }
  }, /the last claimed first/],
  ['an index in seconds', {
    claimsOf (userKey, before, count, callback) { callback(null, this.index.claimsOf(userKey, before, count).map(entry => ({ ...entry, claimedAt: Math.floor(entry.claimedAt / 1000) }))) }
  }, /in milliseconds|claimedAt/],
  ['an index of ids alone', {
    claimsOf (userKey, before, count, callback) { callback(null, this.index.claimsOf(userKey, before, count).map(({ sessionId }) => sessionId)) }
  }, /claimsOf\(\) must answer/],
  ['an index of pairs', {
    claimsOf (userKey, before, count, callback) { callback(null, this.index.claimsOf(userKey, before, count).map(({ sessionId, claimedAt }) => [sessionId, claimedAt])) }
  }, /claimsOf\(\) must answer/],
  ['an index of texts', {
    claimsOf (userKey, before, count, callback) { callback(null, this.index.claimsOf(userKey, before, count).map(entry => ({ ...entry, claimedAt: String(entry.claimedAt) }))) }
  }, /claimsOf\(\) must answer with objects/],
  ['an index without ages', {
    claimsOf (userKey, before, count, callback) { callback(null, this.index.claimsOf(userKey, before, count).map(({ age, ...entry }) => entry)) }
  }, /claimsOf\(\) must answer with objects/],
  ['an index whose ages are times', {
    claimsOf (userKey, before, count, callback) { callback(null, this.index.claimsOf(userKey, before, count).map(entry => ({ ...entry, age: Date.now() - entry.age }))) }
  }, /age must be/],
  ['an index in which two entries have the same time', {
    claimsOf (userKey, before, count, callback) { callback(null, this.index.claimsOf(userKey, before, count).map(entry => ({ ...entry, claimedAt: Math.floor(entry.claimedAt / 1000) * 1000 }))) }
  }, /No two|claimedAt/],
  ['an index that is not a list', {
    claimsOf (userKey, before, count, callback) { callback(null, Object.fromEntries(this.index.claimsOf(userKey, before, count).map(entry => [entry.sessionId, entry]))) }
  }, /claimsOf\(\) must answer with a list/],
  ['an index without pages', {
    claimsOf (userKey, _before, count, callback) { callback(null, this.index.claimsOf(userKey, Infinity, count)) }
  }, /only with entries that were claimed before/],
  ['an index that lists all', {
    claimsOf (userKey, before, _count, callback) { callback(null, this.index.claimsOf(userKey, before, Infinity)) }
  }, /as many entries as count/],
  ['an index of users without case', {
    claim (userKey, sessionId, claiming, callback) { callback(null, this.index.claim(userKey.toLowerCase(), sessionId, claiming)) }
  }, /claimsOf\(\)|release\(\)/]
]

export function planted (bug: Bug): WholeStore {
  return Object.assign(new WholeStore(), bug)
}

/** A MemoryStore with a bug. Because it has its own `set`, the library uses no methods that it inherits from MemoryStore. */
export class Overwriting extends MemoryStore {
  override update (...[sessionId, { set }, { cookie }, callback]: Parameters<MemoryStore['update']>): void {
    super.set(sessionId, { ...set, cookie } as any, error => callback(error, true))
  }
}
