import { IS_OURS, MemoryStore } from './memory'
import type { Method } from './call'
import type { SessionStore } from '../types/store'

/**
 * Whether a store has a method that the library may call. If a store inherits from MemoryStore and has its own `set`,
 * it keeps its records elsewhere or wants to see every write, so the inherited methods don't count: they would bypass
 * it.
 */
export function has (store: SessionStore, method: Method): boolean {
  if (typeof store[method] !== 'function') return false
  // With this option, touch of connect-redis and connect-pg-simple does nothing, so nothing would prolong sessions.
  if (method === 'touch' && (store as { disableTouch?: unknown }).disableTouch === true) return false
  const ours = inheritedBy(store)
  return store[method] !== ours?.[method] || store.set === ours.set
}

// As it was before anybody could put another one in its place.
const { set: OURS } = MemoryStore.prototype

/**
 * Whether `set` is MemoryStore's own, so that the values need no second copy. Checked at each call, because an
 * application may replace the method.
 */
export function keepsToItself (store: SessionStore): boolean {
  return store.set === OURS
}

const INDEX = ['claim', 'release', 'revoke', 'endingsOf', 'claimsOf'] as const

/** Whether the store has an index by user. */
export function hasIndex (store: SessionStore): boolean {
  return INDEX.every(method => has(store, method))
}

/** Whether `get` returns the store's own end: MemoryStore's touch moves the one in the record. */
export function tellsEnd (store: SessionStore): boolean {
  const inner = innermost(store)
  const ours = inheritedBy(inner)
  return ours !== undefined && inner.get === ours.get && inner.touch === ours.touch
}

/** The property of a wrapping store for the wrapped one. The same for every copy of the library. */
export const INNER = Symbol.for('@fastify/session inner store')

/** The store that keeps the sessions, behind any wrappers. */
export function innermost (store: SessionStore): SessionStore {
  const { [INNER]: inner } = store as { [INNER]?: SessionStore }
  return inner === undefined ? store : innermost(inner)
}

/** The MemoryStore prototype that a store inherits from, of this or another copy of the library. */
function inheritedBy (store: SessionStore): SessionStore | undefined {
  for (let object: object | null = store; object !== null; object = Object.getPrototypeOf(object)) {
    if (Object.hasOwn(object, IS_OURS)) return object as SessionStore
  }
  return undefined
}
