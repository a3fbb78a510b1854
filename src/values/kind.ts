import { isDate } from 'node:util/types'

/** Describes a wrong value: 'a function', 'a Map', 'null'. Doesn't show the value, which may be a secret. */
export function kindOf (value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (typeof value === 'bigint') return 'a BigInt'
  if (typeof value !== 'object') return `a ${typeof value}`
  const name: unknown = Array.isArray(value) ? 'array' : value.constructor?.name
  if (typeof name !== 'string' || name === '' || name === 'Object') return 'an object'
  if (isDate(value) && Number.isNaN(value.getTime())) return 'an invalid Date'
  return /^([AEIO]|Un)/i.test(name) ? `an ${name}` : `a ${name}`
}

/** The same for a value that isn't a secret: shows numbers and short texts. */
export function shown (value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value !== 'string') return kindOf(value)
  return value.length <= 40 ? `the string '${value}'` : `a string of ${value.length} characters`
}
