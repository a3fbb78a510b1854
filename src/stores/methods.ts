import { MemoryStore } from './memory'
import type { Method } from './call'
import type { SessionStore } from '../types/store'

/**
 * Whether a store has a method that the library may call. A store that inherits from ours and brings its own `set`
 * keeps its records elsewhere, or wants to see every write: the other methods that it inherits would go past it.
 */
export function has (store: SessionStore, method: Method): boolean {
  if (typeof store[method] !== 'function') return false
  return store[method] !== MemoryStore.prototype[method] || store.set === MemoryStore.prototype.set
}

const INDEX = ['claim', 'release', 'revoke', 'endingsOf', 'claimsOf'] as const

/** Whether the store has an index by user. */
export function hasIndex (store: SessionStore): boolean {
  return INDEX.every(method => has(store, method))
}

/** Whether `get` hands out the store's own end: a touch of ours moves the one in the record. */
export function tellsEnd (store: SessionStore): boolean {
  return store.get === MemoryStore.prototype.get && store.touch === MemoryStore.prototype.touch
}
