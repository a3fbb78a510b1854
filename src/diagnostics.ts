import { createHash } from 'node:crypto'
import { channel, tracingChannel } from 'node:diagnostics_channel'
import { StoreTimeoutError } from './errors'
import type { Answer } from './types/store'

/** Why a visitor did not get the session of the cookie, or why its changes were dropped. */
export type SecurityReason =
  'bad-signature' | 'unknown-id' | 'expired' | 'absolute-timeout' | 'gone' | 'duplicate-cookie' | 'store-timeout' |
  'unreadable' | 'no-device-proof' | 'bad-device-proof'

/** A message on `@fastify/session:security`. */
export interface SecurityMessage {
  readonly reason: SecurityReason
  readonly session: string
  readonly store: string
  /** The fingerprint of the session id, or of the cookie's value if that isn't signed. */
  readonly fingerprint: string
  /** Since the beginning of the operation, in milliseconds. */
  readonly duration: number
}

/** A message on `tracing:@fastify/session:load`, `:commit` or `:destroy`. The same object at each step. */
export interface TraceMessage {
  readonly session: string
  readonly store: string
  readonly fingerprint: string
  /** How long the store took, in milliseconds. Missing until it has answered. */
  duration?: number
  /** For a commit: the reason, as text. For a destroy: why the session ends, the `code` of `session.signal`. */
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
 * A stable name of a session for logs. Two lines with the same name are about the same session. The id can't be
 * derived from it.
 */
export function fingerprint (sessionId: string | Buffer): string {
  return createHash('sha256').update(sessionId).digest('base64url').slice(0, 16)
}

/** Publishes what one registration does (`node:diagnostics_channel`). Costs nothing without subscribers. */
export class Signals {
  readonly #session: string
  readonly #store: string

  constructor (sessionName: string, store: object) {
    this.#session = sessionName
    this.#store = store.constructor?.name || 'Object'
  }

  /** Runs an operation on the store, and publishes its beginning and end. */
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

  /** The beginning of an operation, for `warn`. The clock is read only if there are subscribers. */
  now (): number {
    return security.hasSubscribers ? performance.now() : 0
  }

  /** @param secret the session id, or what came in its place. Only its fingerprint is published */
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
