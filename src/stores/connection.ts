import type { SessionStore } from '../types/store'

type Client = { readonly isOpen?: unknown, readonly status?: unknown } & Record<never, unknown>

/**
 * Whether a store's client (node-redis or ioredis) is closed, so that calls fail at once. A client that is connecting
 * isn't closed.
 */
export function isDisconnected (store: SessionStore): boolean {
  const { client } = store as { client?: Client | null }
  return isClosed(client)
}

export function isClosed (client: Client | null | undefined): boolean {
  return client?.isOpen === false || client?.status === 'end'
}
