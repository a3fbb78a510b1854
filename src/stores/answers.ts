import { isRecord } from '../values/record'
import type { SessionRecord } from '../types/store'

/** A file store's word for 'there is no such session'. */
export function isNotFound (error: NodeJS.ErrnoException | null): boolean {
  return codeOf(error) === 'ENOENT'
}

/** What a store of JSON says of a record that was cut off, and RedisStore of one that isn't a session's. */
export function isUnreadable (error: Error): boolean {
  return codeOf(error) === 'FST_ERR_SESSION_RECORD' || (error.cause ?? error) instanceof SyntaxError
}

function codeOf (error: NodeJS.ErrnoException | null): string | undefined {
  return ((error?.cause ?? error) as NodeJS.ErrnoException | null)?.code
}

/** Whether what a destroy answers is the record. Some stores answer their database's result, which has no cookie. */
export function isWhole (removed: unknown): removed is SessionRecord {
  try {
    return isRecord(removed) && Object.hasOwn(removed, 'cookie')
  } catch {
    return false
  }
}
