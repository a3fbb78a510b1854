import { isAnyArrayBuffer, isRegExp } from 'node:util/types'

/**
 * A deep copy: of plain objects, arrays, `Date`, `Map`, `Set`, buffers and instances of classes, which keep their class.
 * Circular references survive.
 *
 * Not rfdc's, which Fastify brings: a nested `__proto__`, as JSON can have one, becomes the prototype of its copy, and
 * after an error within a copy (an object too deep, a getter that throws) its next copies can get parts of that one.
 */
export function copy<T> (value: T): T {
  return (typeof value === 'object' && value !== null ? copied(value, new Map()) : value) as T
}

function copied (value: unknown, seen: Map<object, object>): unknown {
  if (typeof value !== 'object' || value === null) return value
  const known = seen.get(value)
  if (known !== undefined) return known
  if (Array.isArray(value)) {
    const result: unknown[] = new Array(value.length)
    seen.set(value, result)
    for (let i = 0; i < value.length; i++) result[i] = copied(value[i], seen)
    return result
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype ? copiedKeys(value, {}, seen) : copiedOther(value, prototype as object | null, seen)
}

function copiedOther (value: object, prototype: object | null, seen: Map<object, object>): object {
  if (value instanceof Date) return new Date(value)
  if (Buffer.isBuffer(value)) return Buffer.from(value)
  if (ArrayBuffer.isView(value) || isAnyArrayBuffer(value) || isRegExp(value)) return structuredClone(value)
  if (value instanceof Map) {
    const result = new Map()
    seen.set(value, result)
    for (const [key, item] of value) result.set(copied(key, seen), copied(item, seen))
    return result
  }
  if (value instanceof Set) {
    const result = new Set()
    seen.set(value, result)
    for (const item of value) result.add(copied(item, seen))
    return result
  }
  return copiedKeys(value, Object.create(prototype) as object, seen)
}

function copiedKeys (value: object, result: object, seen: Map<object, object>): object {
  seen.set(value, result)
  for (const key of Object.keys(value)) {
    if (key === '__proto__') continue
    ;(result as Record<string, unknown>)[key] = copied((value as Record<string, unknown>)[key], seen)
  }
  return result
}
