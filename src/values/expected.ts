import { isDeepStrictEqual } from 'node:util'
import type { SessionRecord } from '../types/store'

/** What must still be so when something is written: these keys, as they are in a record that the store handed out. */
export interface Expected {
  readonly record: SessionRecord
  readonly keys: readonly string[]
}

/** Whether the keys are the same in a newer record. null isn't the same as nothing, nor a Date as its text. */
export function isAsExpected (newer: SessionRecord, { record, keys }: Expected): boolean {
  return keys.every(key => isDeepStrictEqual(fieldOf(newer, key), fieldOf(record, key)))
}

function fieldOf (record: SessionRecord, key: string): unknown[] {
  if (!Object.hasOwn(record, key)) return []
  try {
    return [record[key]]
  } catch {
    // A record may read its fields when it is asked for them. What can't be read may be overwritten.
    return ['unreadable', key]
  }
}
