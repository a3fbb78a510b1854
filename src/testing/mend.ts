/** Assertions whose failure says what to fix in the store. */
import { AssertionError } from 'node:assert'
import { inspect, isDeepStrictEqual } from 'node:util'

export function ok (condition: unknown, advice: string): asserts condition {
  if (!condition) throw new AssertionError({ message: advice, actual: condition, expected: true, operator: '==' })
}

export function same (actual: unknown, expected: unknown, advice: string): void {
  if (isDeepStrictEqual(actual, expected)) return
  const message = `${advice}\nfound: ${shown(actual)}\ninstead of: ${shown(expected)}`
  throw new AssertionError({ message, actual, expected, operator: 'same' })
}

/** Adds advice to the message of a failure. */
export async function advising (advice: string, run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    const { message } = error as Error
    // The message of a broken promise already contains its advice.
    if (!message.includes('promises.') && !message.includes('to its promises')) (error as Error).message = `${message}\nTo fix it: ${advice}`
    throw error
  }
}

function shown (value: unknown): string {
  return inspect(value, { maxStringLength: 100, depth: 5 })
}
