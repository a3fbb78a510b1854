import { IS_OURS, MemoryStore } from './memory'
import type { Method } from './call'
import type { SessionStore } from '../types/store'

/**
 * Whether a store has a method that the library may call. A store that inherits from ours and brings its own `set`
 * keeps its records elsewhere, or wants to see every write: the other methods that it inherits would go past it.
 */
export function has (store: SessionStore, method: Method): boolean {
  if (typeof store[method] !== 'function') return false
  const ours = inheritedBy(store)
  return store[method] !== ours?.[method] || store.set === ours.set
}

/**
 * Whether `set` is ours, so that nobody else sees what it is given: what has been copied for the store needs no second
 * copy. Asked at each call, because an application may put a method of its own in its place.
 */
export function keepsToItself (store: SessionStore): boolean {
  return store.set === MemoryStore.prototype.set
}

const INDEX = ['claim', 'release', 'revoke', 'endingsOf', 'claimsOf'] as const

/** Whether the store has an index by user. */
export function hasIndex (store: SessionStore): boolean {
  return INDEX.every(method => has(store, method))
}

/** Whether `get` hands out the store's own end: a touch of ours moves the one in the record. */
export function tellsEnd (store: SessionStore): boolean {
  const inner = innermost(store)
  const ours = inheritedBy(inner)
  return ours !== undefined && inner.get === ours.get && inner.touch === ours.touch
}

/** Under it a store that wraps another one names that. For every copy of the library. */
export const INNER = Symbol.for('@fastify/session inner store')

/** The store that keeps the sessions, of one that may wrap it. */
export function innermost (store: SessionStore): SessionStore {
  const { [INNER]: inner } = store as { [INNER]?: SessionStore }
  return inner === undefined ? store : innermost(inner)
}

/** What a store inherits from ours, or from that of a second copy of the library. */
function inheritedBy (store: SessionStore): SessionStore | undefined {
  for (let object: object | null = store; object !== null; object = Object.getPrototypeOf(object)) {
    if (Object.hasOwn(object, IS_OURS)) return object as SessionStore
  }
  return undefined
}
