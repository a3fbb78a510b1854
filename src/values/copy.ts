import { isAnyArrayBuffer, isDate } from 'node:util/types'

/** The state of one copy. */
interface Copying {
  /** Copies by their originals, so that circles and shared objects are kept. Made on first use. */
  seen: Map<object, object> | undefined
  /** Whether nothing was passed on by reference. */
  isWhole: boolean
}

/**
 * A deep copy of data: plain objects, arrays, `Date`, `Map`, `Set`, `RegExp`, buffers and typed arrays. Anything else
 * (an instance of a class, a `URL`, a database document) is passed on by reference, as in version 11, because a copy
 * may not reach its state. Circular references survive.
 *
 * rfdc, which Fastify uses, isn't safe here. In its copies a nested `__proto__`, which JSON can have, becomes the
 * prototype. After an error (an object too deep, a getter that throws), its next copies can contain parts of that one.
 */
export function copy<T> (value: T): T {
  return copyWhole(value).result
}

/** A copy, and whether it is complete: nothing in it was passed on by reference. */
export function copyWhole<T> (value: T): { result: T, isWhole: boolean } {
  const copying: Copying = { seen: undefined, isWhole: true }
  const result = copied(value, copying) as T
  return { result, isWhole: copying.isWhole }
}

function copied (value: unknown, copying: Copying): unknown {
  if (typeof value !== 'object' || value === null) {
    if (typeof value === 'function') copying.isWhole = false
    return value
  }
  const known = copying.seen?.get(value)
  if (known !== undefined) return known
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype) return copiedKeys(value, {}, copying)
  if (prototype === Array.prototype) return copiedItems(value as unknown[], copying)
  return copiedOther(value, prototype, copying)
}

function copiedOther (value: object, prototype: unknown, copying: Copying): object {
  if (isKnownDate(value)) return new Date(value.getTime())
  if (prototype === Map.prototype) return copiedMap(value as Map<unknown, unknown>, copying)
  if (prototype === Set.prototype) return copiedSet(value as Set<unknown>, copying)
  if (prototype === Buffer.prototype) return Buffer.from(value as Buffer)
  if (prototype === RegExp.prototype || isBytes(value, prototype)) return structuredClone(value)
  if (prototype === null) return copiedKeys(value, Object.create(null) as object, copying)
  if (isPlainElsewhere(value, prototype)) {
    return Array.isArray(value) ? copiedItems(value, copying) : copiedKeys(value, {}, copying)
  }
  copying.isWhole = false
  return value
}

// Dates of other realms count, and those that test runners with a fake clock make (Jest, Vitest, Sinon).
function isKnownDate (value: object): value is Date {
  if (!isDate(value)) return false
  const { constructor } = value
  return constructor === Date || constructor?.name === 'Date'
}

function isBytes (value: object, prototype: unknown): boolean {
  if (isAnyArrayBuffer(value)) return prototype === ArrayBuffer.prototype
  const { constructor } = value
  return ArrayBuffer.isView(value) && prototype === constructor?.prototype &&
    constructor === (globalThis as Record<string, unknown>)[constructor.name]
}

// Plain objects and arrays of other realms: Jest runs tests in a realm of their own.
export function isPlainElsewhere (value: object, prototype: unknown): boolean {
  const { constructor } = value
  if (constructor?.prototype !== prototype) return false
  if (Array.isArray(value)) return constructor.name === 'Array'
  return constructor.name === 'Object' && Object.getPrototypeOf(prototype) === null
}

function remember (value: object, result: object, copying: Copying): void {
  (copying.seen ??= new Map()).set(value, result)
}

function copiedItems (value: unknown[], copying: Copying): unknown[] {
  const result: unknown[] = new Array(value.length)
  remember(value, result, copying)
  for (let i = 0; i < value.length; i++) result[i] = copied(value[i], copying)
  return result
}

function copiedMap (value: Map<unknown, unknown>, copying: Copying): Map<unknown, unknown> {
  const result = new Map()
  remember(value, result, copying)
  for (const [key, item] of value) result.set(copied(key, copying), copied(item, copying))
  return result
}

function copiedSet (value: Set<unknown>, copying: Copying): Set<unknown> {
  const result = new Set()
  remember(value, result, copying)
  for (const item of value) result.add(copied(item, copying))
  return result
}

function copiedKeys (value: object, result: object, copying: Copying): object {
  remember(value, result, copying)
  for (const key of Object.keys(value)) {
    if (key === '__proto__') continue
    ;(result as Record<string, unknown>)[key] = copied((value as Record<string, unknown>)[key], copying)
  }
  return result
}
