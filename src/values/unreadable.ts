/** The code of `RecordError`. A store's error with this code means the same. */
export const RECORD_ERROR = 'FST_ERR_SESSION_RECORD'

/** Whether an error means that a record, or a part of it, can't be read: one of JSON.parse, or of RedisStore. */
export function isUnreadable (error: unknown): boolean {
  return codeOf(error) === RECORD_ERROR || causeOf(error) instanceof SyntaxError
}

/** The code of an error, or of what caused it. */
export function codeOf (error: unknown): unknown {
  return (causeOf(error) as NodeJS.ErrnoException | null | undefined)?.code
}

function causeOf (error: unknown): unknown {
  return (error as Error | null | undefined)?.cause ?? error
}
