import type { SessionRecord } from '../types/store'

// Applications have a handful of keys. Those that make names up don't fill the memory.
const MOST_PROPERTIES = 1000

/**
 * Returns what defines a field of a record that is made when it is read first. One property for all records: where
 * each has its own, V8 keeps the records, with what they are made of, until its next full collection.
 *
 * @param read makes the value; what it throws the reader gets, each time
 */
export function lazyFields (
  read: (record: SessionRecord, key: string) => unknown
): (record: SessionRecord, key: string) => void {
  const properties = new Map<string, PropertyDescriptor>()
  return (record, key) => {
    let property = properties.get(key)
    if (property === undefined) {
      property = {
        get (this: SessionRecord) {
          const value = read(this, key)
          define(this, key, value)
          return value
        },
        set (this: SessionRecord, value) { define(this, key, value) },
        enumerable: true,
        configurable: true
      }
      if (properties.size === MOST_PROPERTIES) properties.clear()
      properties.set(key, property)
    }
    Object.defineProperty(record, key, property)
  }
}

/** Not by an assignment: a key may be called __proto__. */
export function define (record: SessionRecord, key: string, value: unknown): void {
  Object.defineProperty(record, key, { value, writable: true, enumerable: true, configurable: true })
}
