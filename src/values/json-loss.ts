/** What JSON changes in values, and what it can't hold at all. */
import { isAnyArrayBuffer, isDate, isMap, isNativeError, isRegExp, isSet } from 'node:util/types'
import { isMoreThanItems, isPlainElsewhere } from './copy'
import { shownPath } from './shown-key'

/** A kind of value that a store of JSON returns changed. */
interface Kind {
  /** With its article. */
  readonly name: string
  /** What happens to it in a store of JSON. */
  readonly fate: string
  /** What to store. */
  readonly instead: string
}

/** Something in a value that JSON changes. */
export interface Loss extends Kind {
  /** Where it is: '' for the value itself. */
  readonly path: string
}

/** Why JSON can't hold a value. */
export interface Refusal {
  readonly name: string
  readonly path: string
  readonly instead: string
  /** The error that was thrown; undefined if something else was thrown. */
  readonly cause: unknown
}

export interface Losses {
  /** The first loss of each kind. */
  readonly losses: readonly Loss[]
  /** Whether the whole value could be read. If not, or if there are losses, JSON may refuse it. */
  readonly isWhole: boolean
}

const kind = (name: string, fate: string, instead: string): Kind => ({ name, fate, instead })

const BIGINT = kind('a BigInt', 'becomes what its toJSON returns', 'its text: String(value)')
const CIRCLE = kind('a circle', 'is refused', 'an id in place of the reference back')
const MINUS_ZERO = kind('-0', 'becomes 0', '0')
const FUNCTION = kind('a function', 'is left out (null in a list)', 'a name by which to find it again')
const SYMBOL = kind('a symbol', 'is left out (null in a list)', 'its description')
const UNDEFINED = kind('undefined in an array', 'becomes null', 'null')
const DATE = kind('a Date', 'becomes its text', 'date.toISOString() or date.getTime(), and read it by new Date()')
const MAP = kind('a Map', 'becomes {}', 'an object, Object.fromEntries(map), or a list: [...map]')
const SET = kind('a Set', 'becomes {}', 'a list: [...set]')
const REGEXP = kind('a RegExp', 'becomes {}', 'its source and flags')
const ERROR = kind('an Error', 'becomes an object without its message', 'the message')
const BUFFER = kind('a Buffer', 'becomes an object with a list of numbers', "its text: buffer.toString('base64')")
const BYTES = kind('a typed array or ArrayBuffer', 'becomes a plain object', "its text: Buffer.from(value).toString('base64')")
const NO_PROTOTYPE = kind('an object without the usual prototype', 'becomes a plain object', 'a plain object: { ...value }')
const MATCH = kind('a result of match()', 'becomes a list of its texts', 'an object with what you need of it')
const OWN_JSON = kind('an object with toJSON', 'becomes what its toJSON returns', 'that')

// Deeper than any data, and well before JSON.stringify overflows the stack.
const MOST_LEVELS = 1000
const MOST_OF_A_NAME = 40

interface Walk {
  readonly losses: Map<string, Loss>
  readonly path: Array<string | number>
  /** The objects that were seen, and whether the walk is inside them. */
  readonly seen: Map<object, boolean>
}

/**
 * What a store of JSON changes in a value. Keys of an object whose value is undefined don't count: JSON leaves them
 * out, and they read as undefined again.
 */
export function lossesIn (value: unknown): Losses {
  const walk: Walk = { losses: new Map(), path: [], seen: new Map() }
  let isWhole = true
  try {
    look(value, false, walk)
  } catch {
    // A getter that throws, or too many levels.
    isWhole = false
  }
  return { losses: [...walk.losses.values()], isWhole }
}

/** Why JSON can't hold the value; undefined if it can. */
export function refusalOf (value: unknown): Refusal | undefined {
  try {
    JSON.stringify(value)
    return undefined
  } catch (thrown) {
    return refusalBy(value, thrown)
  }
}

/** @param thrown what reading the value threw */
export function refusalBy (value: unknown, thrown: unknown): Refusal {
  const { name, instead } = refusedKind(thrown)
  const found = lossesIn(value).losses.find(loss => loss.name === name)
  return { name, path: found?.path ?? '', instead, cause: isNativeError(thrown) ? thrown : undefined }
}

// JSON.stringify has no error codes, so the messages are compared.
function refusedKind (thrown: unknown): { name: string, instead: string } {
  // `instanceof` first would be unsafe: a toJSON may throw an object that throws when it is read.
  const isError = isNativeError(thrown)
  const message = messageOf(thrown)
  if (isError && thrown instanceof RangeError) return { name: 'too many levels', instead: 'flat data' }
  if (isError && message.startsWith('Do not know how to serialize a BigInt')) return BIGINT
  if (isError && message.startsWith('Converting circular structure to JSON')) return CIRCLE
  return { name: 'a getter or toJSON that throws', instead: 'plain data' }
}

/** Name and place, for a message. */
export function placed (name: string, path: string): string {
  return path === '' ? name : `${name} at ${path}`
}

/** The first line of a message. Anything can be thrown. */
export function messageOf (thrown: unknown): string {
  try {
    return String((thrown as Error | undefined)?.message ?? thrown).split('\n')[0] as string
  } catch {
    return ''
  }
}

function look (value: unknown, isItem: boolean, walk: Walk): void {
  if (typeof value !== 'object' || value === null) {
    const kind = kindOfPrimitive(value, isItem)
    if (kind !== undefined) note(kind, walk)
    return
  }
  const isWithin = walk.seen.get(value)
  if (isWithin === true) note(CIRCLE, walk)
  if (isWithin !== undefined) return
  const kind = kindOfObject(value)
  if (kind !== undefined) note(kind, walk)
  if (kind !== undefined && kind !== NO_PROTOTYPE) return
  if (walk.path.length === MOST_LEVELS) throw new RangeError('too many levels')
  walk.seen.set(value, true)
  lookInto(value, walk)
  walk.seen.set(value, false)
}

function lookInto (value: object, walk: Walk): void {
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) lookAt(value[i], i, walk)
    return
  }
  for (const key of Object.keys(value)) lookAt((value as Record<string, unknown>)[key], key, walk)
}

function lookAt (value: unknown, step: string | number, walk: Walk): void {
  walk.path.push(step)
  look(value, typeof step === 'number', walk)
  walk.path.pop()
}

function note (kind: Kind, { losses, path }: Walk): void {
  if (!losses.has(kind.name)) losses.set(kind.name, { ...kind, path: shownPath(path) })
}

function kindOfPrimitive (value: unknown, isItem: boolean): Kind | undefined {
  switch (typeof value) {
    case 'number':
      if (Number.isFinite(value)) return Object.is(value, -0) ? MINUS_ZERO : undefined
      return kind(String(value), 'becomes null', 'null, or nothing')
    case 'bigint': return BIGINT
    case 'function': return FUNCTION
    case 'symbol': return SYMBOL
    case 'undefined': return isItem ? UNDEFINED : undefined
    default: return undefined
  }
}

function kindOfObject (value: object): Kind | undefined {
  const prototype: unknown = Object.getPrototypeOf(value)
  const hasToJson = typeof (value as { toJSON?: unknown }).toJSON === 'function'
  if (prototype === Object.prototype || prototype === Array.prototype) {
    if (hasToJson) return OWN_JSON
    return Array.isArray(value) && isMoreThanItems(value) ? MATCH : undefined
  }
  if (isDate(value)) return DATE
  if (value instanceof Buffer) return BUFFER
  if (prototype === null) return NO_PROTOTYPE
  if (isPlainElsewhere(value, prototype)) return undefined
  return hasToJson ? instanceOf(value, OWN_JSON) : kindOfBuiltIn(value) ?? instanceOf(value)
}

function kindOfBuiltIn (value: object): Kind | undefined {
  if (isMap(value)) return MAP
  if (isSet(value)) return SET
  if (isRegExp(value)) return REGEXP
  if (isNativeError(value)) return ERROR
  return ArrayBuffer.isView(value) || isAnyArrayBuffer(value) ? BYTES : undefined
}

function instanceOf (value: object, { fate, instead } = kind('', 'becomes plain data', 'plain data')): Kind {
  const { constructor } = value
  if (typeof constructor !== 'function') return NO_PROTOTYPE
  // A class may have a static member of that name.
  const name: unknown = constructor.name
  const shown = typeof name === 'string' && name !== '' ? name.slice(0, MOST_OF_A_NAME) : 'a class'
  return kind(`an instance of ${shown}`, fate, instead)
}
