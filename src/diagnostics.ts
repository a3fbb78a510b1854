import { createHash } from 'node:crypto'
import { channel, tracingChannel } from 'node:diagnostics_channel'
import { StoreTimeoutError } from './errors'
import type { Answer } from './types/store'

/** Why somebody did not get the session of the cookie that came, or its changes were dropped. */
export type SecurityReason =
  'bad-signature' | 'unknown-id' | 'expired' | 'absolute-timeout' | 'gone' | 'duplicate-cookie' | 'store-timeout' |
  'unreadable' | 'no-device-proof' | 'bad-device-proof'

/** What subscribers of `@fastify/session:security` get. */
export interface SecurityMessage {
  readonly reason: SecurityReason
  readonly session: string
  readonly store: string
  /** Of the session id, or of the cookie's value where that proves none. */
  readonly fingerprint: string
  /** From the beginning of the operation that found it out, in milliseconds. */
  readonly duration: number
}

/** What subscribers of `tracing:@fastify/session:load`, `:commit` and `:destroy` get. The same object at each step. */
export interface TraceMessage {
  readonly session: string
  readonly store: string
  readonly fingerprint: string
  /** In milliseconds, when the store has answered. */
  duration?: number
  /** Of a commit: why it is done, for people. Of a destroy: why the session ends, the `code` of `session.signal`. */
  reason?: string
  /** Only if the store failed. */
  error?: Error
}

type Operation = 'load' | 'commit' | 'destroy'

const tracing = {
  load: tracingChannel<unknown, TraceMessage>('@fastify/session:load'),
  commit: tracingChannel<unknown, TraceMessage>('@fastify/session:commit'),
  destroy: tracingChannel<unknown, TraceMessage>('@fastify/session:destroy')
}
const security = channel('@fastify/session:security')

/**
 * A stable name of a session for logs: it tells whether two lines are about the same, and can't be turned into its
 * id.
 */
export function fingerprint (sessionId: string | Buffer): string {
  return createHash('sha256').update(sessionId).digest('base64url').slice(0, 16)
}

/** What one registration tells whoever listens (`node:diagnostics_channel`). Costs nothing when nobody does. */
export class Signals {
  readonly #session: string
  readonly #store: string

  constructor (sessionName: string, store: object) {
    this.#session = sessionName
    this.#store = store.constructor?.name || 'Object'
  }

  /** Runs an operation on the store and says when it begins, and when and how it ends. */
  trace<T> (
    operation: Operation, sessionId: string, answer: Answer<T>, run: (answer: Answer<T>) => void, reason?: string
  ): void {
    const { start, end, asyncStart, asyncEnd, error: failed } = tracing[operation]
    const isHeard = start.hasSubscribers || end.hasSubscribers || asyncStart.hasSubscribers ||
      asyncEnd.hasSubscribers || failed.hasSubscribers || security.hasSubscribers
    if (!isHeard) {
      run(answer)
      return
    }
    const message: TraceMessage = { session: this.#session, store: this.#store, fingerprint: fingerprint(sessionId) }
    if (reason !== undefined) message.reason = reason
    const begun = performance.now()
    start.runStores(message, () => {
      try {
        run((error, value) => {
          message.duration = performance.now() - begun
          if (error instanceof StoreTimeoutError) this.warn('store-timeout', sessionId, begun)
          if (error !== null) {
            message.error = error
            failed.publish(message)
          }
          asyncStart.runStores(message, () => {
            try {
              answer(error, value)
            } finally {
              asyncEnd.publish(message)
            }
          })
        })
      } finally {
        end.publish(message)
      }
    })
  }

  /** The beginning of an operation, for `warn`: a time is asked for only where somebody listens. */
  now (): number {
    return security.hasSubscribers ? performance.now() : 0
  }

  /** @param secret the session id, or what came in its place. Only its fingerprint is told */
  warn (reason: SecurityReason, secret: string, begun: number): void {
    if (!security.hasSubscribers) return
    const message: SecurityMessage = {
      reason,
      session: this.#session,
      store: this.#store,
      fingerprint: fingerprint(secret),
      duration: performance.now() - begun
    }
    security.publish(message)
  }
}
