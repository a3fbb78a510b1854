import { inspect } from 'node:util'
import { isReserved, type Draft } from './draft'

export interface Data {
  [key: string]: unknown
  get(key: string): unknown
}

/** The data of a draft as properties of an object, until it is revoked. */
export interface OpenData {
  readonly data: Data
  /** Those that were read, looked for or written. */
  readonly keys: ReadonlySet<string>
  /** From now on every use of the object throws. */
  readonly revoke: () => void
}

/** As a session shows them: `get()` and `set()` are there, and names of the session's own are refused as data. */
export function openData (draft: Draft): OpenData {
  const keys = new Set<string>()
  // Whoever calls get() or set() by hand may give a number.
  const note = (key: string | symbol): string => {
    if (typeof key === 'symbol') return key as unknown as string
    const name = String(key)
    if (!isReserved(name)) keys.add(name)
    return name
  }
  const read = (key: string | symbol): unknown => draft.get(note(key))
  const has = (key: string | symbol): boolean => draft.has(note(key))
  const write = (key: string | symbol, value: unknown): boolean => {
    draft.set(note(key), value)
    return true
  }
  const { proxy, revoke } = Proxy.revocable<Data>({ get: read, set: write, [inspect.custom]: () => draft.toObject() }, {
    get: (target, key) => has(key) ? read(key) : Reflect.get(target, key),
    has: (target, key) => has(key) || Reflect.has(target, key),
    set: (_target, key, value) => write(key, value),
    deleteProperty: (_target, key) => write(key, undefined),
    ownKeys: () => draft.keys(),
    getOwnPropertyDescriptor: (_target, key) =>
      has(key) ? { value: read(key), writable: true, enumerable: true, configurable: true } : undefined,
    // A getter isn't data.
    defineProperty: () => false
  })
  return { data: proxy, keys, revoke }
}
