import type { FastifyReply } from 'fastify'
import type { SecurityReason } from '../diagnostics'
import type { SessionState } from '../session/state'
import type { SessionRecord } from '../types/store'

/** What came with a session's cookie: a request, or as much of one as there is. */
export interface Sender {
  readonly headers?: { readonly cookie?: string | undefined } | undefined
  readonly cookies?: Readonly<Record<string, string | undefined>> | null | undefined
}

/** May refuse a session that was loaded by its cookie: for that request it belongs to nobody then. */
export interface Guard {
  /** Whether what it objects to is refused, and not only told. */
  readonly refuses: boolean
  /** What is wrong with a session of the store, by what came with its cookie. */
  objection (sessionId: string, record: SessionRecord, sender: Sender): SecurityReason | undefined
  /** A reply goes out, and what the session will be is written next. */
  beforeCommit (state: SessionState, reply: FastifyReply): void
}
