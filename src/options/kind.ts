/** What a wrong value is, in words: 'a function', 'a Map', '-1'. Of a text only that it is one: it may be a secret. */
export function kindOf (value: unknown): string {
  switch (typeof value) {
    case 'object': return value === null ? 'null' : kindOfObject(value)
    case 'number':
    case 'boolean':
    case 'undefined': return String(value)
    case 'bigint': return 'a BigInt'
    default: return `a ${typeof value}`
  }
}

function kindOfObject (value: object): string {
  const name: unknown = value.constructor?.name
  if (typeof name !== 'string' || name === '' || name === 'Object') return 'an object'
  return /^[AEIOU]/i.test(name) ? `an ${name}` : `a ${name}`
}

/** The same of a value that is no secret, so that a text can be shown. */
export function shown (value: unknown): string {
  return typeof value === 'string' && value.length <= 40 ? `the string '${value}'` : kindOf(value)
}
