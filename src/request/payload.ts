import type { Readable } from 'node:stream'

/**
 * Listens for errors of a payload that is a stream, while the reply waits for the store. Nothing else listens yet, and
 * an unhandled error would end the process.
 *
 * @returns a function that stops listening and returns the error, if any; undefined if the payload isn't a stream
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
