import { isRecord } from '../values/record'
import { codeOf } from '../values/unreadable'
import type { SessionRecord } from '../types/store'

/** A file store's word for 'there is no such session'. */
export function isNotFound (error: Error | null): boolean {
  return codeOf(error) === 'ENOENT'
}

/** Whether this is a session as stores keep them: a record, or the JSON of one. */
export function isSession (value: unknown): boolean {
  if (typeof value !== 'string') return isWhole(value)
  try {
    return isWhole(JSON.parse(value))
  } catch {
    return false
  }
}

/** Whether what a destroy answers is the record. Some stores answer their database's result, which has no cookie. */
export function isWhole (removed: unknown): removed is SessionRecord {
  try {
    return isRecord(removed) && Object.hasOwn(removed, 'cookie')
  } catch {
    return false
  }
}
