/** The form of a sealed session in the inner store. All of this is synchronous. */
import { isDate } from 'node:util/types'
import { isKey, isSealed, type Seals, type SessionSeals } from './seals'
import { ValueCheck } from './value-check'
import { UnopenedError } from '../errors'
import { define, lazyFields } from '../values/lazy-fields'
import { NO_FIELDS } from '../values/record'
import { valueError } from '../values/refusals'
import { StoredSession } from '../values/stored-session'
import type { FieldChanges, SessionChanges, SessionRecord } from '../types/store'

type Fields = Readonly<Record<string, unknown>>

/** What a record was opened from. */
interface Source {
  readonly raw: SessionRecord
  readonly seals: SessionSeals
  /** Whether it may have values from before the store was sealed. */
  readonly isFormer: boolean
}

const SOURCE = Symbol('source')

// Fields under `cookie` that stores change, or that come from the configuration: the library doesn't rely on them.
const UNPROVED = new Set([
  'expires', 'originalMaxAge', 'path', 'httpOnly', 'secure', 'sameSite', 'domain', 'partitioned', 'priority'
])
// Without these a session might live longer, so their absence needs a proof, too.
const NEEDED = ['createdAt', 'seenAt']
// The name of a field's proof under `cookie` is the field's name with this before it.
const PROOF = '~'

const openLater = lazyFields((record, name) => {
  const { raw, seals, isFormer } = sourceOf(record) as Source
  const value = raw[name]
  if (isFormer && !isSealed(value)) return value
  return JSON.parse(seals.open(placeOf(name), value, `its field '${name}'`))
})

/** The inner store's record of an opened one. */
export function rawOf (record: SessionRecord): SessionRecord {
  return sourceOf(record)?.raw ?? record
}

export class SealedRecords {
  readonly #seals: Seals
  readonly #legacy: boolean
  readonly #check = new ValueCheck()

  constructor (seals: Seals, legacy: boolean) {
    this.#seals = seals
    this.#legacy = legacy
  }

  /** Whether the session may be from before the store was sealed. Under a key of ours, unsealed values are refused. */
  isFormer (key: string): boolean {
    return this.#legacy && !isKey(key)
  }

  /**
   * Opens a record. Its values are opened when they are read.
   *
   * @throws FST_ERR_SESSION_RECORD
   */
  open (key: string, raw: SessionRecord): SessionRecord {
    const source: Source = { raw, seals: this.#seals.of(key), isFormer: this.isFormer(key) }
    const record: SessionRecord = {}
    Object.defineProperty(record, SOURCE, { value: source })
    define(record, 'cookie', openCookie(source))
    for (const name of Object.keys(raw)) {
      if (name !== 'cookie' && !isOfStore(name, source)) openLater(record, name)
    }
    return record
  }

  /** @throws FST_ERR_SESSION_VALUE */
  seal (key: string, session: SessionRecord): StoredSession {
    const seals = this.#seals.of(key)
    const cookie = cookieOf(session)
    const missing = NEEDED.filter(name => cookie[name] === undefined)
    const fields = { ...this.#prove(seals, cookie), ...proofsOf(seals, missing) }
    return new StoredSession(key, this.#sealData(seals, key, session).set, fields)
  }

  /** @throws FST_ERR_SESSION_VALUE */
  sealChanges (key: string, { set, unset, meta = NO_FIELDS }: SessionChanges): SessionChanges {
    const seals = this.#seals.of(key)
    const data = this.#sealData(seals, key, set)
    const missing = meta.unset.filter(name => NEEDED.includes(name))
    const proofs = meta.unset.filter(name => !NEEDED.includes(name)).map(name => PROOF + name)
    return {
      set: data.set,
      unset: [...unset, ...data.unset],
      meta: {
        set: { ...this.#prove(seals, meta.set), ...proofsOf(seals, missing) },
        unset: [...meta.unset, ...proofs]
      }
    }
  }

  /** The changes that seal an older record; undefined if there is nothing to seal. */
  sealPlain (key: string, raw: SessionRecord): SessionChanges | undefined {
    try {
      const plain = Object.entries(raw).filter(([name, value]) => name !== 'cookie' && !isSealed(value))
      const set = Object.fromEntries(plain)
      return plain.length === 0 ? undefined : this.sealChanges(key, { set, unset: [], meta: NO_FIELDS })
    } catch {
      // A part of it can't be read. Reading that part will fail.
      return undefined
    }
  }

  /** Seals values as JSON. A value that JSON leaves out, a function for instance, is removed. */
  #sealData (seals: SessionSeals, key: string, data: Fields): FieldChanges {
    const set: Array<[string, string]> = []
    const unset: string[] = []
    this.#check.look(key, data)
    for (const name of Object.keys(data)) {
      if (name === 'cookie') continue
      const text = textOf(name, data[name])
      if (text === undefined) unset.push(name)
      else set.push([name, seals.seal(placeOf(name), text)])
    }
    return { set: Object.fromEntries(set), unset }
  }

  /** Adds a proof to each field, because stores must read the fields themselves. A user's key is replaced by a hash. */
  #prove (seals: SessionSeals, fields: Fields): Record<string, unknown> {
    const proved: Record<string, unknown> = {}
    for (const [name, value] of Object.entries(fields)) {
      const place = placeOf(name, 'cookie')
      if (isUserKey(name) && typeof value === 'string') {
        proved[name] = this.#seals.usersOf(value)[0]
        proved[PROOF + name] = seals.seal(place, value)
      } else {
        proved[name] = value
        if (!UNPROVED.has(name)) proved[PROOF + name] = seals.tag(place, value)
      }
    }
    return proved
  }
}

/** The session for a store that writes changes or moves the end: without data and without the user's key. */
export function endOf (key: string, session: SessionRecord): StoredSession {
  const fields = Object.entries(cookieOf(session)).filter(([name]) => !isUserKey(name))
  return new StoredSession(key, {}, Object.fromEntries(fields))
}

/** @throws FST_ERR_SESSION_RECORD */
function openCookie ({ raw, seals, isFormer }: Source): Fields {
  const fields = cookieOf(raw)
  const cookie: Record<string, unknown> = {}
  for (const name of new Set([...Object.keys(fields), ...NEEDED])) {
    if (name.startsWith(PROOF)) continue
    const [value, proof] = [fields[name], fields[PROOF + name]]
    const place = placeOf(name, 'cookie')
    const isBelieved = UNPROVED.has(name) || (isFormer && proof === undefined)
    if (!isBelieved && isUserKey(name)) {
      cookie[name] = seals.open(place, proof, `its ${name}`)
      continue
    }
    if (!isBelieved && !seals.isTagged(place, value, proof)) throw new UnopenedError(`its ${name}`)
    if (Object.hasOwn(fields, name)) cookie[name] = value
  }
  return cookie
}

function proofsOf (seals: SessionSeals, missing: readonly string[]): Fields {
  return Object.fromEntries(missing.map(name => [PROOF + name, seals.tag(placeOf(name, 'cookie'), undefined)]))
}

function sourceOf (record: SessionRecord): Source | undefined {
  return (record as { [SOURCE]?: Source })[SOURCE]
}

function cookieOf ({ cookie }: SessionRecord): Fields {
  const { toJSON } = (cookie ?? {}) as { toJSON?: () => Fields }
  return typeof toJSON === 'function' ? toJSON.call(cookie) : { ...cookie as Fields }
}

/** Whether it is a store's own field among the data. With such a name an attacker in the store can only remove data. */
function isOfStore (name: string, { raw, isFormer }: Source): boolean {
  // connect-mongo, with touchAfter.
  if (name === 'lastModified' && isDate(raw[name])) return true
  return !isFormer && name.startsWith('__') && !isSealed(raw[name])
}

/** The place of a value in its session. A seal opens only there. */
function placeOf (name: string, part = 'data'): string {
  return `${part} ${JSON.stringify(name)}`
}

/** Whether a field under `cookie` is a key in the index by user. */
function isUserKey (name: string): boolean {
  return name === 'userKey' || name.startsWith('key:')
}

function textOf (name: string, value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch (thrown) {
    throw valueError(name, value, thrown)
  }
}
