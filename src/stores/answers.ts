import { isRecord } from '../values/record'
import { codeOf } from '../values/unreadable'
import type { SessionRecord } from '../types/store'

/** Whether an error means that there is no such session, as in a store of files. */
export function isNotFound (error: Error | null): boolean {
  return codeOf(error) === 'ENOENT'
}

/** Whether a value is a record, or the JSON of one. */
export function isSession (value: unknown): boolean {
  if (typeof value !== 'string') return isWhole(value)
  try {
    return isWhole(JSON.parse(value))
  } catch {
    return false
  }
}

/** Whether `destroy` has answered with the record. Some stores answer with a database result, which has no cookie. */
export function isWhole (removed: unknown): removed is SessionRecord {
  try {
    return isRecord(removed) && Object.hasOwn(removed, 'cookie')
  } catch {
    return false
  }
}
