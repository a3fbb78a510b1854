import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Pending } from './pending'
import type { RequestCookie } from '../options/settings'

/**
 * The phase of a reply. After `committed`, the session is only written again if the reply fails and an error handler
 * sends another one. After `failed`, it isn't.
 */
export type Phase = 'open' | 'committing' | 'committed' | 'failed'

/** The part of a session that a visit uses. */
interface Watched {
  /** Called when the session can't be saved any more. */
  tellLostChanges (): void
}

/** A response, or a socket. */
export interface Connection {
  readonly destroyed: boolean
  once (event: 'close', listener: () => void): unknown
  off (event: 'close', listener: () => void): unknown
}

/** A use of sessions: a request with its reply, or, outside of requests, a call of the application. */
export class Visit {
  phase: Phase = 'open'
  #pending: Pending | undefined
  /** How often regenerate() has replaced the session. */
  renewals = 0
  /** Missing in a job or a test. */
  readonly request: FastifyRequest | undefined
  /** Missing outside the normal course of a request. */
  readonly reply: FastifyReply | undefined
  readonly cookie: RequestCookie
  /** Whether it prolongs its session. */
  readonly rolling: boolean
  /** The values under the cookie's name, good and bad. */
  readonly sent: readonly string[]
  #watched: Watched | undefined
  #isWatching = false

  constructor (
    cookie: RequestCookie, rolling: boolean, request?: FastifyRequest, reply?: FastifyReply,
    sent: readonly string[] = []
  ) {
    this.cookie = cookie
    this.rolling = rolling
    this.request = request
    this.reply = reply
    this.sent = sent
  }

  /** The handler's operations. Made on first use, because most handlers have none. */
  get pending (): Pending {
    return (this.#pending ??= new Pending())
  }

  /** Whether operations are running or waiting. */
  get isBusy (): boolean {
    return this.#pending?.isBusy === true
  }

  get isOverHttps (): boolean {
    return this.request?.protocol === 'https'
  }

  /** Whether a change is lost for certain. */
  get isTooLate (): boolean {
    if (this.phase === 'committed') return this.reply?.raw.headersSent === true
    return this.phase !== 'open'
  }

  /** The reply has saved all changes so far, or has failed to. */
  endCommit (error: Error | null): void {
    this.phase = error === null ? 'committed' : 'failed'
    this.#watched = undefined
  }

  /** Closes when the use of the session is over; undefined if there is no such connection. */
  get connection (): Connection | undefined {
    const raw: Connection & { stream?: Connection } | undefined = this.reply?.raw
    // In HTTP/2, only the stream tells when the response is over.
    return raw?.stream ?? raw ?? socketOf(this.request)
  }

  /**
   * Notices lost changes at the end of the response, or of the socket that it became, because hooks don't run on a
   * hijacked reply.
   */
  watch (session: Watched): void {
    this.#watched = session
    if (this.#isWatching) return
    this.#isWatching = true
    const tell = (): void => this.#watched?.tellLostChanges()
    this.reply?.raw.once('finish', tell)
    socketOf(this.request)?.once('close', tell)
  }
}

/** The socket of an upgraded request, such as a WebSocket. decryptSession accepts any object as a request. */
function socketOf (request: Partial<FastifyRequest> | undefined): Socket | undefined {
  const { headers, socket } = (request?.raw ?? request ?? {}) as Partial<IncomingMessage>
  return typeof headers?.upgrade === 'string' ? socket : undefined
}
