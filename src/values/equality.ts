import { isDeepStrictEqual } from 'node:util'
import equal from 'fast-deep-equal/es6'

/** Whether writing one value over the other changes anything that a store can keep. */
export function differ (a: unknown, b: unknown): boolean {
  try {
    if (equal(a, b)) return false
  } catch {
    // Circles are too deep for it.
  }
  if (typeof a !== 'object' && typeof b !== 'object') return true
  if (a === undefined || b === undefined) return true
  try {
    // Slower, so asked last. It knows circles, objects in a Set or as keys, and data that are called `constructor`.
    return !isDeepStrictEqual(a, b) && differsAsJson(a, b)
  } catch {
    // Writing once more is always right.
    return true
  }
}

/** The JSON of a value; undefined if JSON doesn't tell all of it. */
function jsonOf (value: unknown): string | undefined {
  try {
    return JSON.stringify(value, refuseLoss)
  } catch {
    return undefined
  }
}

// A Date and its ISO string are the same to a store of JSON, which hands out the string.
function differsAsJson (a: unknown, b: unknown): boolean {
  const json = jsonOf(a)
  return json === undefined || json !== jsonOf(b)
}

// Of these JSON says the same, or nothing, whatever is in them.
function refuseLoss (_key: string, value: unknown): unknown {
  const isLost = value instanceof Map || value instanceof Set || value instanceof RegExp ||
    typeof value === 'function' || typeof value === 'symbol' || (typeof value === 'number' && !Number.isFinite(value))
  if (isLost) throw new TypeError('JSON can not tell this')
  return value
}
