import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Pending } from './pending'
import type { RequestCookie } from '../options/settings'

/** How far a reply has come: nothing of the session is written after it was committed. */
export type Phase = 'open' | 'committing' | 'committed'

/** A session as far as a visit must know it. */
interface Watched {
  /** Its last chance to be saved has passed. */
  tellLostChanges (): void
}

/** A response, or a socket. */
export interface Connection {
  readonly destroyed: boolean
  once (event: 'close', listener: () => void): unknown
  off (event: 'close', listener: () => void): unknown
}

/** What sessions are used for: a request and its reply, or, outside of requests, whoever asked for one. */
export class Visit {
  phase: Phase = 'open'
  #pending: Pending | undefined
  /** How many times regenerate() has put a session in the place of another. */
  renewals = 0
  /** Unknown in a job or a test. */
  readonly request: FastifyRequest | undefined
  /** Unknown outside the normal course of a request. */
  readonly reply: FastifyReply | undefined
  readonly cookie: RequestCookie
  /** Whether it prolongs its session. */
  readonly rolling: boolean
  /** The values under the cookie's name, good and bad. */
  readonly sent: readonly string[]
  #watched: Watched | undefined

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

  /** The operations that the handler asks for. Most ask for none. */
  get pending (): Pending {
    return (this.#pending ??= new Pending())
  }

  /** Whether operations are under way. */
  get isBusy (): boolean {
    return this.#pending?.isBusy === true
  }

  get isOverHttps (): boolean {
    return this.request?.protocol === 'https'
  }

  /** What the session is used for, and closes when that is over; undefined if nobody can tell. */
  get connection (): Connection | undefined {
    const raw: Connection & { stream?: Connection } | undefined = this.reply?.raw
    // In HTTP/2 only the stream tells whether it is over.
    return raw?.stream ?? raw ?? socketOf(this.request)
  }

  /**
   * Hooks don't run on a hijacked reply, so the end of the response, or of the socket that it became, is all there is
   * to notice a lost change by.
   */
  watch (session: Watched): void {
    const isNew = this.#watched === undefined
    this.#watched = session
    if (!isNew) return
    const tell = (): void => {
      if (this.phase === 'open') this.#watched?.tellLostChanges()
    }
    this.reply?.raw.once('finish', tell)
    socketOf(this.request)?.once('close', tell)
  }
}

/** The WebSocket, or the like, that a request became. The request may be any object: decryptSession takes all. */
function socketOf (request: Partial<FastifyRequest> | undefined): Socket | undefined {
  const { headers, socket } = (request?.raw ?? request ?? {}) as Partial<IncomingMessage>
  return typeof headers?.upgrade === 'string' ? socket : undefined
}
