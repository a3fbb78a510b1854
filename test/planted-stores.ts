/** Stores of the two kinds that keep a session longer than they should, and stores with one bug each, for the kit to find. */
import { MemoryStore } from '../src/index'
import { applyChanges, expiryOf, timeIn } from '../src/values/record'
import type { SessionChanges, SessionRecord } from '../src/types/store'

export type Answer = (error?: any, value?: any) => void

/** Keeps the very object that it is given, and hands it out. */
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

/** Its touch moves a clock, and its get doesn't look at it: what has expired goes when somebody cleans up. */
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

type Claims = Array<[sessionId: string, claimedAt: number]>

/** Without fault: all methods that there are, on JSON. Each of its small parts is one that a planted bug can take the place of. */
export class WholeStore {
  readonly records = new Map<string, string>()
  readonly claims = new Map<string, Claims>()

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

  claim (userKey: string, sessionId: string, _session: object, max: number, callback: Answer): void {
    const claims = this.claims.get(userKey) ?? []
    const isEntered = claims.some(([id]) => id === sessionId)
    const isClaimed = isEntered || this.hasRoom(claims, max)
    if (isClaimed && !isEntered) this.claims.set(userKey, this.entered(claims, sessionId))
    this.answer(callback, isClaimed)
  }

  release (userKey: string, sessionId: string, callback: Answer): void {
    this.claims.set(userKey, (this.claims.get(userKey) ?? []).filter(([id]) => id !== sessionId))
    this.answer(callback)
  }

  claimsOf (userKey: string, callback: Answer): void {
    this.answer(callback, [...this.claims.get(userKey) ?? []])
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

  changed (record: SessionRecord, changes: SessionChanges, session: any): SessionRecord {
    return applyChanges(record, changes, session.cookie.expires)
  }

  hasRoom (claims: Claims, max: number): boolean {
    return claims.length < max
  }

  entered (claims: Claims, sessionId: string): Claims {
    return [...claims, [sessionId, Date.now()]]
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

const overLatin1 = /[^\x00-\xff]/g // eslint-disable-line no-control-regex
const asOf = (record: any, key: string): any => JSON.parse(JSON.stringify(record[key] ?? null))

function merged (a: any, b: any): any {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || Array.isArray(b)) return b
  return { ...a, ...Object.fromEntries(Object.entries(b).map(([key, value]) => [key, merged(a[key], value)])) }
}

/** Sets what a path of keys names, as databases of documents do. */
function setAt (target: any, path: string, value: unknown): void {
  const keys = path.split('.')
  const last = keys.pop() as string
  for (const key of keys) target = target[key] = typeof target[key] === 'object' && target[key] !== null ? target[key] : {}
  target[last] = value
}

type Bug = Partial<WholeStore> & ThisType<WholeStore>
type Planted = [name: string, bug: Bug, says: RegExp]

/** What each does wrong, and what the kit says to mend. */
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
  }, /onto what is stored, and nothing else of the session/],
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
  }, /update\(\) must answer false/],
  ['an update that does not tell', {
    update (sessionId, changes, session, callback) {
      const record = this.find(sessionId)
      if (record !== undefined) this.write(sessionId, this.changed(record, changes, session))
      callback()
    }
  }, /update\(\) must answer false/],
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
  ['a getAndTouch that does not touch', {
    getAndTouch (sessionId, callback) { this.answer(callback, this.find(sessionId)) }
  }, /getAndTouch\(\) must move the end by cookie.idle/],
  ['a getAndTouch that does not know idle', { idleOf: ({ cookie }: any) => cookie.originalMaxAge }, /by more than cookie.idle/],
  ['a getAndTouch that knows idle only', { idleOf: ({ cookie }: any) => cookie.idle ?? NaN }, /by cookie.originalMaxAge/],
  ['a getAndTouch in seconds', { idleOf: ({ cookie }: any) => (cookie.idle ?? cookie.originalMaxAge) / 1000 }, /getAndTouch\(\) must move the end/],
  ['a getAndTouch that answers the end of before the touch', {
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
  }, /get\(\) must answer the data/],
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
  }, /destroy\(\) must answer false/],
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
  ['a get that calls back twice where there is nothing', {
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
  ['an index that has no max', { hasRoom: () => true }, /claim\(\) must answer false where the user has max/],
  ['an index with room for one more', { hasRoom: (claims, max) => claims.length <= max }, /claim\(\) must answer false where the user has max/],
  ['an index with room for one less', { hasRoom: (claims, max) => claims.length < max - 1 }, /and not before/],
  ['an index that takes Infinity for nothing', { hasRoom: (claims, max) => claims.length < (JSON.parse(JSON.stringify(max)) ?? 0) }, /claim\(\)|claimsOf\(\)/],
  ['an index that refuses what is entered', {
    claim (userKey, sessionId, _session, max, callback) {
      const claims = this.claims.get(userKey) ?? []
      const isClaimed = claims.length < max
      if (isClaimed && !claims.some(([id]) => id === sessionId)) this.claims.set(userKey, this.entered(claims, sessionId))
      callback(null, isClaimed)
    }
  }, /must not refuse a session that is entered already/],
  ['an index that enters what it refuses', {
    claim (userKey, sessionId, _session, max, callback) {
      const claims = this.claims.get(userKey) ?? []
      this.claims.set(userKey, this.entered(claims, sessionId))
      callback(null, claims.length < max)
    }
  }, /claim\(\) must/],
  ['an index in two steps', {
    claim (userKey, sessionId, _session, max, callback) {
      const claims = this.claims.get(userKey) ?? []
      setImmediate(() => {
        const isClaimed = claims.length < max
        if (isClaimed && !claims.some(([id]) => id === sessionId)) this.claims.set(userKey, this.entered(claims, sessionId))
        callback(null, isClaimed)
      })
    }
  }, /claim\(\) must enter the session in one step/],
  ['an index that counts in one step, and enters in another', {
    claim (userKey, sessionId, _session, max, callback) {
      const isClaimed = (this.claims.get(userKey) ?? []).length < max
      setImmediate(() => {
        const claims = this.claims.get(userKey) ?? []
        if (isClaimed && !claims.some(([id]) => id === sessionId)) this.claims.set(userKey, this.entered(claims, sessionId))
        callback(null, isClaimed)
      })
    }
  }, /count and enter in one atomic step/],
  ['an index that enters twice', {
    claim (userKey, sessionId, _session, max, callback) {
      const claims = this.claims.get(userKey) ?? []
      const isClaimed = claims.length < max || claims.some(([id]) => id === sessionId)
      if (isClaimed) this.claims.set(userKey, this.entered(claims, sessionId))
      callback(null, isClaimed)
    }
  }, /claim\(\) must leave what is entered where it is/],
  ['an index that moves what is claimed again', {
    claim (userKey, sessionId, _session, max, callback) {
      const claims = (this.claims.get(userKey) ?? []).filter(([id]) => id !== sessionId)
      if (claims.length < max) this.claims.set(userKey, this.entered(claims, sessionId))
      callback(null, claims.length < max)
    }
  }, /claim\(\) must leave what is entered where it is/],
  ['a release that takes off all', {
    release (userKey, _sessionId, callback) {
      this.claims.delete(userKey)
      callback()
    }
  }, /release\(\)/],
  ['a release that takes off nothing', { release: (_userKey, _sessionId, callback) => callback() }, /release\(\)/],
  ['a release that takes it off all users', {
    release (_userKey, sessionId, callback) {
      for (const [userKey, claims] of this.claims) this.claims.set(userKey, claims.filter(([id]) => id !== sessionId))
      callback()
    }
  }, /release\(\) must leave the lists of other users/],
  ['a release that removes the session', {
    release (userKey, sessionId, callback) {
      WholeStore.prototype.release.call(this, userKey, sessionId, callback)
      this.records.delete(sessionId)
    }
  }, /release\(\) must not remove the session/],
  ['a release that is an error where nothing is entered', {
    release (userKey, sessionId, callback) {
      if ((this.claims.get(userKey) ?? []).every(([id]) => id !== sessionId)) callback(new Error('No such entry'))
      else WholeStore.prototype.release.call(this, userKey, sessionId, callback)
    }
  }, /No such entry/],
  ['a claim that creates the session', {
    claim (userKey, sessionId, session, max, callback) {
      WholeStore.prototype.claim.call(this, userKey, sessionId, session, max, callback)
      this.write(sessionId, session)
    }
  }, /claim\(\) must not create the session/],
  ['an index in the wrong order', { entered: (claims, sessionId) => [[sessionId, Date.now()], ...claims] }, /in the order in which they were claimed/],
  ['an index in the order of ids', {
    entered: (claims, sessionId) => [...claims, [sessionId, Date.now()] as [string, number]].sort(([a], [b]) => a < b ? -1 : 1)
  }, /in the order in which they were claimed/],
  ['an index in seconds', { entered: (claims, sessionId) => [...claims, [sessionId, Math.floor(Date.now() / 1000)]] }, /in milliseconds/],
  ['an index of ids alone', {
    claimsOf (userKey, callback) { callback(null, (this.claims.get(userKey) ?? []).map(([id]) => id)) }
  }, /claimsOf\(\) must answer/],
  ['an index of objects', {
    claimsOf (userKey, callback) {
      callback(null, (this.claims.get(userKey) ?? []).map(([sessionId, claimedAt]) => ({ sessionId, claimedAt })))
    }
  }, /claimsOf\(\) must answer|is not iterable/],
  ['an index of texts', {
    entered: (claims, sessionId) => [...claims, [sessionId, String(Date.now())] as any]
  }, /pairs: \[sessionId, claimedAt\]/],
  ['an index that is no list', {
    claimsOf (userKey, callback) { callback(null, Object.fromEntries(this.claims.get(userKey) ?? [])) }
  }, /claimsOf\(\) must answer a list/],
  ['an index of users without case', {
    claimsOf (userKey, callback) {
      callback(null, [...this.claims].flatMap(([key, claims]) => key.toLowerCase() === userKey.toLowerCase() ? claims : []))
    }
  }, /release\(\)/],
  ['an index whose entries end with their sessions', {
    claimsOf (userKey, callback) {
      callback(null, (this.claims.get(userKey) ?? []).filter(([, claimedAt]) => Date.now() - claimedAt < 60_000))
    }
  }, /an entry must be kept/]
]

export function planted (bug: Bug): WholeStore {
  return Object.assign(new WholeStore(), bug)
}

/** A MemoryStore with a bug. Its own `set` tells the library to use no method of MemoryStore's but those of its own. */
export class Overwriting extends MemoryStore {
  override update (...[sessionId, { set }, { cookie }, callback]: Parameters<MemoryStore['update']>): void {
    super.set(sessionId, { ...set, cookie } as any, error => callback(error, true))
  }
}
