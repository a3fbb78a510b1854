import { copy, copyWhole } from './copy'
import { differ } from './equality'
import { ReservedKeyError } from '../errors'
import type { FieldChanges, SessionRecord } from '../types/store'

// By these a session is read, written or ended. Under all other names of its methods data win, as in version 11.
const RESERVED = new Set([
  '__proto__', 'cookie', 'sessionId', 'encryptedSessionId', 'save', 'destroy', 'regenerate', 'reload', 'get', 'set'
])

export function isReserved (key: string): boolean {
  return RESERVED.has(key)
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
  /** What was read or written; undefined for a key that was removed. */
  readonly #own: Record<string, unknown> = {}
  /** The JSON of stored values that can't be copied whole, because a change inside shows nowhere else. */
  #texts: Map<string, string | undefined> | undefined
  /** The same, of what `changes()` told last. */
  #changedTexts: Map<string, string | undefined> | undefined
  /** What was written since `beginRecording()`. */
  #recorded: Set<string> | undefined

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

  get (key: string): unknown {
    if (Object.hasOwn(this.#own, key)) return this.#own[key]
    if (!this.isStored(key)) return undefined
    const value = this.#stored(key)
    if (typeof value !== 'object' || value === null) return value
    return (this.#own[key] = this.#copied(key, value))
  }

  /**
   * JSON has no undefined, so a key that is set to it is removed.
   *
   * @throws FST_ERR_SESSION_RESERVED_KEY
   */
  set (key: string, value: unknown): void {
    if (isReserved(key)) throw new ReservedKeyError(key)
    this.#own[key] = value
    this.#recorded?.add(key)
  }

  /** @throws FST_ERR_SESSION_RESERVED_KEY */
  delete (key: string): void {
    this.set(key, undefined)
    if (!this.isStored(key)) delete this.#own[key]
  }

  keys (): string[] {
    return this.#allKeys(this.#own).filter(key => this.has(key))
  }

  toObject (): Record<string, unknown> {
    return Object.fromEntries(this.keys().map(key => [key, this.get(key)]))
  }

  isChanged (): boolean {
    for (const key in this.#own) if (this.#differs(key)) return true
    return false
  }

  /** The values are copies, so what the handler does to its own objects later reaches neither store nor comparison. */
  changes (): FieldChanges {
    const set: Record<string, unknown> = {}
    const unset: string[] = []
    this.#changedTexts = undefined
    for (const key in this.#own) {
      if (!this.#differs(key)) continue
      if (this.#own[key] === undefined) {
        unset.push(key)
        continue
      }
      const { result, isWhole } = copyWhole(this.#own[key])
      set[key] = result
      if (!isWhole) (this.#changedTexts ??= new Map()).set(key, textOf(result))
    }
    return { set, unset }
  }

  /** The data as the store has them, for stores that want to see all of them. */
  stored (): Record<string, unknown> {
    const stored: Record<string, unknown> = {}
    for (const key of this.#allKeys()) {
      if (this.isStored(key)) stored[key] = this.#stored(key)
    }
    return stored
  }

  /** A value as it is once the changes are applied to a newer record. */
  getOnto (newer: SessionRecord, key: string): unknown {
    const ours = this.get(key)
    const isOurs = Object.hasOwn(this.#own, key) && this.#differs(key)
    if (isOurs || isReserved(key)) return ours
    const theirs = Object.hasOwn(newer, key) ? newer[key] : undefined
    // The handler may hold our object.
    return differ(theirs, ours) ? copy(theirs) : ours
  }

  /** The changes are in the store now; what comes after is compared with that. */
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

  /** From now on it is known what is written, for `moveRecordedTo`. */
  beginRecording (): void {
    this.#recorded = new Set()
  }

  /** What was written since `beginRecording()` is written to another draft. */
  moveRecordedTo (other: Draft): void {
    for (const key of this.#recorded ?? []) other.set(key, this.#own[key])
    this.#recorded = undefined
  }

  // Not by a spread: that would read every value, which a lazy record has yet to parse.
  #allKeys (more: object = {}): string[] {
    return [...new Set([this.#record, this.#saved ?? {}, more].flatMap(fields => Object.keys(fields)))]
  }

  #stored (key: string): unknown {
    return this.#saved !== undefined && Object.hasOwn(this.#saved, key) ? this.#saved[key] : this.#record[key]
  }

  #copied (key: string, value: unknown): unknown {
    const { result, isWhole } = copyWhole(value)
    if (!isWhole) (this.#texts ??= new Map()).set(key, textOf(value))
    return result
  }

  #differs (key: string): boolean {
    const value = this.#own[key]
    if (differ(this.isStored(key) ? this.#stored(key) : undefined, value)) return true
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
