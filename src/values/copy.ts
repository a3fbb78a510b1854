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
 * may not reach its state. So are known types with a `toJSON` of their own, which may hide a part or read what isn't
 * copied, and all but plain objects and arrays with any property of their own. Circular references survive.
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
  if (isBuiltIn(value, prototype)) {
    return hasMore(value) ? byReference(value, copying) : copiedBuiltIn(value, prototype, copying)
  }
  if (prototype === null) return copiedKeys(value, Object.create(null) as object, copying)
  if (isPlainElsewhere(value, prototype)) {
    return Array.isArray(value) ? copiedItems(value, copying) : copiedKeys(value, {}, copying)
  }
  return byReference(value, copying)
}

function isBuiltIn (value: object, prototype: unknown): boolean {
  return prototype === Map.prototype || prototype === Set.prototype || prototype === Buffer.prototype ||
    prototype === RegExp.prototype || isKnownDate(value) || isBytes(value, prototype)
}

function copiedBuiltIn (value: object, prototype: unknown, copying: Copying): object {
  if (prototype === Map.prototype) return copiedMap(value as Map<unknown, unknown>, copying)
  if (prototype === Set.prototype) return copiedSet(value as Set<unknown>, copying)
  if (prototype === Buffer.prototype) return Buffer.from(value as Buffer)
  // Not structuredClone, because a test clock may have replaced Date.
  return isDate(value) ? new Date(value.getTime()) : structuredClone(value)
}

function byReference<T extends object> (value: T, copying: Copying): T {
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

/** Whether a value has a `toJSON` of its own. Data may have a key of that name, too. */
export function hasOwnJson (value: object): boolean {
  return typeof (value as { toJSON?: unknown }).toJSON === 'function' && Object.hasOwn(value, 'toJSON')
}

/** Whether an array is more than its items: what `match()` returns, or with a `toJSON` of its own. */
export function isMoreThanItems (value: unknown[]): boolean {
  // All its names contain every index, so reading them would cost every array a fifth more.
  const { index, toJSON } = value as { index?: unknown, toJSON?: unknown }
  return index !== undefined || (toJSON !== undefined && hasOwnJson(value))
}

/** Whether a `Date`, `Map`, `Set`, `RegExp`, buffer or view has properties of its own. */
export function hasMore (value: object): boolean {
  if (!ArrayBuffer.isView(value)) return Reflect.ownKeys(value).some(key => !isUsual(value, key))
  // The names contain every index.
  return hasOwnJson(value) || Object.getOwnPropertySymbols(value).length > 0
}

// Dates of test clocks have a constructor of their own.
function isUsual (value: object, key: string | symbol): boolean {
  return key === 'constructor' || (key === 'lastIndex' && (value as RegExp).lastIndex === 0)
}

function remember (value: object, result: object, copying: Copying): void {
  (copying.seen ??= new Map()).set(value, result)
}

function copiedItems (value: unknown[], copying: Copying): unknown[] {
  if (isMoreThanItems(value)) return byReference(value, copying)
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
  // To find symbols and what isn't enumerable, too, would double the time of a copy.
  if (hasOwnJson(value)) return byReference(value, copying)
  remember(value, result, copying)
  for (const key of Object.keys(value)) {
    if (key === '__proto__') continue
    ;(result as Record<string, unknown>)[key] = copied((value as Record<string, unknown>)[key], copying)
  }
  return result
}
