import { isDeepStrictEqual } from 'node:util'
import equal from 'fast-deep-equal/es6'
import { copy } from './copy'
import { ReservedKeyError } from './errors'
import type { SessionChanges, SessionRecord } from './stores/store'

// What a session calls its own. `data` is missing on purpose: it is a popular name for users' own data.
const RESERVED = new Set([
  '__proto__', 'cookie', 'sessionId', 'encryptedSessionId', 'touch', 'regenerate', 'options', 'destroy', 'reload', 'save',
  'get', 'set', 'isModified', 'isSaved'
])

export function isReserved (key: string): boolean {
  return RESERVED.has(key)
}

/** The record that the changes make of a record; neither is changed. */
export function applyChanges (record: SessionRecord, changes: SessionChanges): SessionRecord {
  const result = { ...record, ...changes.set }
  for (const key of changes.unset) delete result[key]
  return result
}

/**
 * The data of a record as one request sees and changes them. The record itself is never changed, because the store may
 * hand the same one to other requests: the first read of an object copies that key, and only keys that were read or
 * written are compared in the end.
 */
export class Draft {
  readonly #record: SessionRecord
  /** What save() has changed in the store since the record was loaded; undefined for a key it removed. */
  #saved: Record<string, unknown> | undefined
  readonly #own: Record<string, unknown> = {}
  #removed: Set<string> | undefined

  constructor (record: SessionRecord) {
    this.#record = record
  }

  has (key: string): boolean {
    return Object.hasOwn(this.#own, key) || this.isStored(key)
  }

  /** Whether the store has the key, as far as this request knows. */
  isStored (key: string): boolean {
    if (isReserved(key) || this.#removed?.has(key) === true) return false
    if (this.#saved !== undefined && Object.hasOwn(this.#saved, key)) return this.#saved[key] !== undefined
    return Object.hasOwn(this.#record, key)
  }

  get (key: string): unknown {
    if (Object.hasOwn(this.#own, key)) return this.#own[key]
    if (!this.isStored(key)) return undefined
    const value = this.#stored(key)
    if (typeof value !== 'object' || value === null) return value
    return (this.#own[key] = copy(value))
  }

  /** @throws FST_ERR_SESSION_RESERVED_KEY */
  set (key: string, value: unknown): void {
    if (isReserved(key)) throw new ReservedKeyError(key)
    this.#own[key] = value
  }

  /** @throws FST_ERR_SESSION_RESERVED_KEY */
  delete (key: string): void {
    if (isReserved(key)) throw new ReservedKeyError(key)
    delete this.#own[key]
    if (this.isStored(key)) (this.#removed ??= new Set()).add(key)
  }

  keys (): string[] {
    return Object.keys({ ...this.#record, ...this.#saved, ...this.#own }).filter(key => this.has(key))
  }

  toObject (): Record<string, unknown> {
    return Object.fromEntries(this.keys().map(key => [key, this.get(key)]))
  }

  isChanged (): boolean {
    if (this.#removed !== undefined && this.#removed.size > 0) return true
    for (const key in this.#own) if (this.#differs(key)) return true
    return false
  }

  /** The values are copies, so what the handler does to its own objects later reaches neither store nor comparison. */
  changes (): SessionChanges {
    const set: Record<string, unknown> = {}
    for (const key in this.#own) {
      if (this.#own[key] !== undefined && this.#differs(key)) set[key] = copy(this.#own[key])
    }
    return { set, unset: this.#unset() }
  }

  /** A value as it is once the changes are applied to a newer record. */
  getOnto (newer: SessionRecord, key: string): unknown {
    const ours = this.get(key)
    const isOurs = this.#removed?.has(key) === true || (Object.hasOwn(this.#own, key) && this.#differs(key))
    if (isOurs || isReserved(key)) return ours
    const theirs = Object.hasOwn(newer, key) ? newer[key] : undefined
    // The handler may hold our object.
    return differ(theirs, ours) ? copy(theirs) : ours
  }

  /** The changes are in the store now; what comes after is compared with that. */
  rebase (changes: SessionChanges): void {
    this.#saved = { ...this.#saved, ...changes.set }
    for (const key of changes.unset) this.#saved[key] = undefined
    this.#removed = undefined
  }

  #stored (key: string): unknown {
    return this.#saved !== undefined && Object.hasOwn(this.#saved, key) ? this.#saved[key] : this.#record[key]
  }

  #differs (key: string): boolean {
    return differ(this.isStored(key) ? this.#stored(key) : undefined, this.#own[key])
  }

  // JSON has no undefined, so a key that was set to it is a key that was removed.
  #unset (): string[] {
    const unset = Object.keys(this.#own).filter(key => this.#own[key] === undefined && this.isStored(key))
    for (const key of this.#removed ?? []) if (!Object.hasOwn(this.#own, key) || this.#own[key] === undefined) unset.push(key)
    return unset
  }
}

function differ (a: unknown, b: unknown): boolean {
  try {
    if (equal(a, b)) return false
  } catch {
    // Circles are too deep for it.
  }
  try {
    // Slower, so asked last. It knows circles, objects in a Set or as keys, and data that are called `constructor`.
    return typeof a !== 'object' || typeof b !== 'object' || !isDeepStrictEqual(a, b)
  } catch {
    // Writing once more is always right.
    return true
  }
}
