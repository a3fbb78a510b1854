import type { SessionRecord } from '../types/store'

// Applications have a few keys. If one makes names up, they must not fill the memory.
const MOST_PROPERTIES = 1000

/**
 * Returns a function that defines a field whose value is made on the first read. All records share one property. If
 * each had its own, V8 would keep the records, and the text behind them, until its next full collection.
 *
 * @param read makes the value. If it throws, each read throws
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

/** Defines a field. An assignment would change the prototype if the key is __proto__. */
export function define (record: SessionRecord, key: string, value: unknown): void {
  Object.defineProperty(record, key, { value, writable: true, enumerable: true, configurable: true })
}
