import type { FastifyReply } from 'fastify'
import type { SecurityReason } from '../diagnostics'
import type { SessionState } from '../session/state'
import type { SessionRecord } from '../types/store'

/** The request of a session's cookie, or the parts of one that are known. */
export interface Sender {
  readonly headers?: { readonly cookie?: string | undefined } | undefined
  readonly cookies?: Readonly<Record<string, string | undefined>> | null | undefined
}

/** May refuse a session that was found by its cookie. That request then has an empty session. */
export interface Guard {
  /** Whether an objection refuses the session. Otherwise it is only published. */
  readonly refuses: boolean
  /** Returns why this sender must not have the session; undefined if it may. */
  objection (sessionId: string, record: SessionRecord, sender: Sender): SecurityReason | undefined
  /** Runs when a reply goes out, before the session is written. */
  beforeCommit (state: SessionState, reply: FastifyReply): void
}
