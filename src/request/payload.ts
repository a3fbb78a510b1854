import type { Readable } from 'node:stream'

/**
 * Hears the errors of a payload that is a stream, for as long as the reply waits for a store: nobody else does yet,
 * and an error that nobody hears ends the process.
 *
 * @returns ends that, and returns the error if there was one; undefined for any other payload
 */
export function hearPayload (payload: unknown): (() => Error | null) | undefined {
  if (typeof (payload as Readable | null)?.pipe !== 'function') return undefined
  const stream = payload as Readable
  let failure: Error | null = null
  const note = (error: Error): void => { failure ??= error }
  stream.on('error', note)
  return () => {
    stream.off('error', note)
    return failure ?? stream.errored ?? null
  }
}
