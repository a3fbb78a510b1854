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
  const note = (key: string): string => {
    if (!isReserved(key)) keys.add(key)
    return key
  }
  const has = (key: string | symbol): key is string => typeof key === 'string' && draft.has(note(key))
  const write = (key: string | symbol, value: unknown): boolean => {
    if (typeof key === 'symbol') return false
    draft.set(note(key), value)
    return true
  }
  const { proxy, revoke } = Proxy.revocable<Data>({
    get: (key: string) => draft.get(note(key)),
    set: (key: string, value: unknown) => { write(key, value) },
    [inspect.custom]: () => draft.toObject()
  }, {
    get: (target, key) => has(key) ? draft.get(key) : Reflect.get(target, key),
    has: (target, key) => has(key) || Reflect.has(target, key),
    ownKeys: () => draft.keys(),
    getOwnPropertyDescriptor: (_target, key) => has(key)
      ? { value: draft.get(key), writable: true, enumerable: true, configurable: true }
      : undefined,
    set: (_target, key, value) => write(key, value),
    deleteProperty (_target, key) {
      if (typeof key === 'string') draft.delete(note(key))
      return true
    },
    // A getter isn't data.
    defineProperty: () => false,
    preventExtensions: () => false
  })
  return { data: proxy, keys, revoke }
}
