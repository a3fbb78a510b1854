/** Assertions whose failure says what to mend in the store. */
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

function shown (value: unknown): string {
  return inspect(value, { maxStringLength: 100, depth: 5 })
}
