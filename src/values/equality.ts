import { isDeepStrictEqual } from 'node:util'
import { isAnyArrayBuffer } from 'node:util/types'
import equal from 'fast-deep-equal/es6'
import { hasMore, hasOwnJson, isMoreThanItems, isPlainElsewhere } from './copy'

/** Whether two values differ in anything that a store can keep. */
export function differ (a: unknown, b: unknown): boolean {
  if (a === b) return false
  let isSeen = true
  try {
    isSeen = isSeenWhole(b)
    if (isSeen && equal(a, b)) return false
  } catch {
    // Circles overflow the stack.
  }
  if (typeof a !== 'object' && typeof b !== 'object') return true
  if (a === undefined || b === undefined) return true
  try {
    if (!isSeen) return JSON.stringify(a, withReferences) !== JSON.stringify(b, withReferences)
    // Slower, so it runs last. It handles circles, objects in a Set or as keys, and data named `constructor`.
    return !isDeepStrictEqual(a, b) && differsAsJson(a, b)
  } catch {
    // If in doubt, write.
    return true
  }
}

/**
 * Whether `equal` sees all of a value. It takes two objects without keys of their own for equal, such as errors, array
 * buffers and instances with private fields, never returns from a DataView, and sees only the items of lists.
 */
function isSeenWhole (value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (Array.isArray(value)) return isPlain(value) && !isMoreThanItems(value) && value.every(isSeenWhole)
  if (value instanceof Date || value instanceof RegExp) return !hasMore(value)
  if (value instanceof Map || value instanceof Set) return !hasMore(value) && isSeenWhole([...value])
  if (ArrayBuffer.isView(value)) return !(value instanceof DataView) && !hasMore(value)
  return isPlain(value) && !hasOwnJson(value) && Object.values(value).every(isSeenWhole)
}

function isPlain (value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === Array.prototype || prototype === null ||
    isPlainElsewhere(value, prototype)
}

const references = new WeakMap<object, number>()
let count = 0

// About some objects JSON tells nothing, or not all, so only the same object counts as equal.
function withReferences (_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  const shown = shownInJson(value)
  if (shown !== undefined) return shown
  if (!references.has(value)) references.set(value, ++count)
  return { reference: references.get(value) }
}

function shownInJson (value: object): object | undefined {
  if (Array.isArray(value) && isMoreThanItems(value)) return undefined
  if (value instanceof Map || value instanceof Set) return hasMore(value) ? undefined : [...value]
  if (isAnyArrayBuffer(value)) return [...new Uint8Array(value)]
  if (value instanceof DataView) return [...new Uint8Array(value.buffer, value.byteOffset, value.byteLength)]
  return isPlain(value) || Object.keys(value).length > 0 ? value : undefined
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
