import { copy, copyWhole } from './copy'
import { differ } from './equality'
import { Refusals } from './refusals'
import { codeOf, isUnreadable, RECORD_ERROR } from './unreadable'
import { RecordError, ReservedKeyError } from '../errors'
import type { FieldChanges, SessionRecord } from '../types/store'

// These read, write or end a session. Data may have the names of all other methods, and win, as in version 11.
const RESERVED = new Set([
  '__proto__', 'cookie', 'sessionId', 'encryptedSessionId', 'save', 'destroy', 'regenerate', 'reload', 'get', 'set'
])

export function isReserved (key: string): boolean {
  return RESERVED.has(key)
}

/** The keys that were written since a call whose operation isn't over yet. */
export type Recording = Set<string>

/**
 * The data of a record in one request. The record itself is never changed, because the store may return the same one to
 * other requests: the first read of an object copies it. Only keys that were read or written are compared in the end.
 */
export class Draft {
  /** Whether a field was used that can't be read. */
  isUnreadable = false
  readonly #record: SessionRecord
  /** What save() has written since the record was loaded; undefined for a key that it removed. */
  #saved: Record<string, unknown> | undefined
  /** What was read or written; undefined for a key that was removed. */
  readonly #own: Record<string, unknown> = {}
  /** The JSON of stored values that can't be copied completely: only their JSON shows a change inside. */
  #texts: Map<string, string | undefined> | undefined
  /** The same for the result of the last `changes()`. */
  #changedTexts: Map<string, string | undefined> | undefined
  #recordings: Recording[] | undefined

  constructor (record: SessionRecord) {
    this.#record = record
  }

  has (key: string): boolean {
    return Object.hasOwn(this.#own, key) ? this.#own[key] !== undefined : this.isStored(key)
  }

  /** Whether the store has the key, as far as this request knows. */
  isStored (key: string): boolean {
    if (isReserved(key)) return false
    if (this.#saved !== undefined && Object.hasOwn(this.#saved, key)) return this.#saved[key] !== undefined
    return Object.hasOwn(this.#record, key)
  }

  /** @throws FST_ERR_SESSION_RECORD */
  get (key: string): unknown {
    if (Object.hasOwn(this.#own, key)) return this.#own[key]
    if (!this.isStored(key)) return undefined
    const value = this.#readFrom(this.#holderOf(key), key)
    if (typeof value !== 'object' || value === null) return value
    return (this.#own[key] = this.#copied(key, value))
  }

  /**
   * Stores a value. undefined removes the key, because JSON has no undefined.
   *
   * @throws FST_ERR_SESSION_RESERVED_KEY
   */
  set (key: string, value: unknown): void {
    if (isReserved(key)) throw new ReservedKeyError(key)
    this.#own[key] = value
    this.note(key)
  }

  /** Adds a key to the recordings: one of the data, or `cookie` if a lifetime was chosen. */
  note (key: string): void {
    if (this.#recordings !== undefined) for (const recording of this.#recordings) recording.add(key)
  }

  /**
   * Removes a key. That is noted even if the store doesn't have it, because a write that adds it may be under way.
   *
   * @throws FST_ERR_SESSION_RESERVED_KEY
   */
  delete (key: string): void {
    this.set(key, undefined)
  }

  keys (): string[] {
    return this.#allKeys(this.#own).filter(key => this.has(key))
  }

  toObject (): Record<string, unknown> {
    return Object.fromEntries(this.keys().map(key => [key, this.get(key)]))
  }

  isChanged (): boolean {
    for (const key in this.#own) if (this.#differs(key) && !this.#isNothing(key)) return true
    return false
  }

  /**
   * The changes since the last write. The values are copies, so that later changes of the handler's objects don't
   * affect them.
   *
   * @param refused the keys to leave out. Keys whose values can't be copied are added
   */
  changes (refused = new Refusals()): FieldChanges {
    const set: Record<string, unknown> = {}
    const unset: string[] = []
    this.#changedTexts = undefined
    for (const key in this.#own) {
      if (refused.has(key) || !this.#differs(key)) continue
      if (this.#own[key] === undefined) {
        unset.push(key)
        continue
      }
      try {
        const { result, isWhole } = copyWhole(this.#own[key])
        set[key] = result
        if (!isWhole) (this.#changedTexts ??= new Map()).set(key, textOf(result))
      } catch (thrown) {
        refused.add(key, this.#own[key], thrown)
      }
    }
    return { set, unset }
  }

  /**
   * All data that the store has, for stores that need them.
   *
   * @throws FST_ERR_SESSION_RECORD
   */
  stored (): Record<string, unknown> {
    const stored: Record<string, unknown> = {}
    for (const key of this.#allKeys()) {
      if (this.isStored(key)) stored[key] = this.#readFrom(this.#holderOf(key), key)
    }
    return stored
  }

  /** The value of a key after this draft's changes are applied to a newer record. */
  getOnto (newer: SessionRecord, key: string): unknown {
    const ours = this.get(key)
    const isOurs = Object.hasOwn(this.#own, key) && this.#differs(key)
    if (isOurs || isReserved(key)) return ours
    const theirs = Object.hasOwn(newer, key) ? this.#readFrom(newer, key) : undefined
    // If the value is the same, the handler keeps the object that it may already hold.
    return differ(theirs, ours) ? copy(theirs) : ours
  }

  /** The changes were written, so later ones are compared with them. */
  rebase ({ set, unset }: FieldChanges): void {
    this.#saved = { ...this.#saved, ...set }
    for (const key in set) {
      this.#texts?.delete(key)
      if (this.#changedTexts?.has(key) === true) (this.#texts ??= new Map()).set(key, this.#changedTexts.get(key))
    }
    for (const key of unset) {
      this.#saved[key] = undefined
      if (this.#own[key] === undefined) delete this.#own[key]
    }
  }

  /**
   * Takes over these keys from a newer draft of the same session. Unsaved changes of this draft stay, unless the newer
   * draft has changed the same key.
   *
   * @param recording the keys that were written since the call
   */
  adopt (newer: Draft, keys: Iterable<string>, recording: Recording): void {
    const saved = { ...this.#saved }
    for (const key of keys) {
      const isOurs = recording.has(key) || (Object.hasOwn(this.#own, key) && this.#differs(key))
      if (isOurs && !Object.hasOwn(newer.#saved ?? {}, key)) continue
      try {
        saved[key] = newer.isStored(key) ? newer.#stored(key) : undefined
      } catch {
        // It can't be read, and the handler hasn't tried to.
      }
      if (recording.has(key)) continue
      delete this.#own[key]
      this.#texts?.delete(key)
    }
    this.#saved = saved
    this.#changedTexts = undefined
    this.forget(recording)
  }

  /** Records the keys that are written from now on, for the draft that will replace this one. */
  record (): Recording {
    const recording: Recording = new Set()
    ;(this.#recordings ??= []).push(recording)
    return recording
  }

  forget (recording: Recording): void {
    this.#recordings = this.#recordings?.filter(other => other !== recording)
  }

  /** Writes the recorded keys to the draft that replaces this one. The other recordings continue there. */
  handOver (next: Draft, recording: Recording): void {
    this.#recordings?.forEach(keys => keys.forEach(key => {
      if (!isReserved(key)) next.set(key, this.#own[key])
    }))
    next.#recordings = this.#recordings?.filter(other => other !== recording)
    this.#recordings = undefined
  }

  // A spread would read every value, and so parse all of a lazy record.
  #allKeys (more: object = {}): string[] {
    return [...new Set([this.#record, this.#saved ?? {}, more].flatMap(fields => Object.keys(fields)))]
  }

  #stored (key: string): unknown {
    return this.#holderOf(key)[key]
  }

  #holderOf (key: string): SessionRecord {
    return this.#saved !== undefined && Object.hasOwn(this.#saved, key) ? this.#saved : this.#record
  }

  // A lazy record parses a field when it is read.
  #readFrom (record: SessionRecord, key: string): unknown {
    try {
      return record[key]
    } catch (error) {
      if (!isUnreadable(error)) throw error
      this.isUnreadable = true
      throw codeOf(error) === RECORD_ERROR ? error : new RecordError(`its field '${key}' is broken`)
    }
  }

  #copied (key: string, value: unknown): unknown {
    const { result, isWhole } = copyWhole(value)
    if (!isWhole) (this.#texts ??= new Map()).set(key, textOf(value))
    return result
  }

  // JSON has no functions and symbols, so stores wouldn't keep the change.
  #isNothing (key: string): boolean {
    const value = this.#own[key]
    if (typeof value !== 'function' && typeof value !== 'symbol') return false
    return !this.isStored(key) || ['function', 'symbol'].includes(typeof this.#stored(key))
  }

  #differs (key: string): boolean {
    const value = this.#own[key]
    try {
      if (differ(this.isStored(key) ? this.#stored(key) : undefined, value)) return true
    } catch {
      // It can't be read, and the new value repairs it.
      return true
    }
    return this.#texts?.has(key) === true && this.#texts.get(key) !== textOf(value)
  }
}

function textOf (value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch {
    return undefined
  }
}
