import type { SessionStore } from '../types/store'

/**
 * Whether the client of a store, node-redis's or ioredis's, is known to be closed: calls fail then, and don't wait. One
 * that is just connecting isn't.
 */
export function isDisconnected (store: SessionStore): boolean {
  const { client } = store as { client?: { isOpen?: unknown, status?: unknown } | null }
  return client?.isOpen === false || client?.status === 'end'
}
