import { isDeepStrictEqual } from 'node:util'
import equal from 'fast-deep-equal/es6'

/** Whether two values differ in anything that a store can keep. */
export function differ (a: unknown, b: unknown): boolean {
  try {
    if (equal(a, b)) return false
  } catch {
    // Circles overflow its stack.
  }
  if (typeof a !== 'object' && typeof b !== 'object') return true
  if (a === undefined || b === undefined) return true
  try {
    // Slower, so it runs last. It handles circles, objects in a Set or as keys, and data named `constructor`.
    return !isDeepStrictEqual(a, b) && differsAsJson(a, b)
  } catch {
    // If in doubt, write.
    return true
  }
}

/** The JSON of a value; undefined if JSON would lose a part of it. */
function jsonOf (value: unknown): string | undefined {
  try {
    return JSON.stringify(value, refuseLoss)
  } catch {
    return undefined
  }
}

// A Date and its ISO string are the same to a store of JSON, which returns the string.
function differsAsJson (a: unknown, b: unknown): boolean {
  const json = jsonOf(a)
  return json === undefined || json !== jsonOf(b)
}

// The JSON of these is the same, or nothing, for different content.
function refuseLoss (_key: string, value: unknown): unknown {
  const isLost = value instanceof Map || value instanceof Set || value instanceof RegExp ||
    typeof value === 'function' || typeof value === 'symbol' || (typeof value === 'number' && !Number.isFinite(value))
  if (isLost) throw new TypeError('JSON can not tell this')
  return value
}
