import type { SessionStore } from '../types/store'

type Client = { readonly isOpen?: unknown, readonly status?: unknown } & Record<never, unknown>

/**
 * Whether the client of a store, node-redis's or ioredis's, is known to be closed: calls fail then, and don't wait. One
 * that is just connecting isn't.
 */
export function isDisconnected (store: SessionStore): boolean {
  const { client } = store as { client?: Client | null }
  return isClosed(client)
}

export function isClosed (client: Client | null | undefined): boolean {
  return client?.isOpen === false || client?.status === 'end'
}
