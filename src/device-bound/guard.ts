import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Terms } from './options'
import type { Tokens } from './tokens'
import type { SecurityReason } from '../diagnostics'
import { saidAtOnce } from '../options/cookie'
import { isForEverybody } from '../request/cache-headers'
import type { Guard, Sender } from '../request/guard'
import { isSecure } from '../request/slot'
import type { SessionState } from '../session/state'
import { deviceKeyOf } from '../values/record'
import type { SessionRecord } from '../types/store'

/** The session's key for the challenge of its registration, until a browser registers. */
export const NONCE = '@fastify/session/device-bound'

// Requests that were sent before a binding may arrive this much later, and a bound cookie is accepted this much longer
// than the browser keeps it, in milliseconds.
const GRACE = 60_000
// How long until a browser that didn't register is asked again, in milliseconds.
const AGAIN = 60 * 60_000

/** Accepts sessions that aren't bound, and bound sessions whose device has recently proved that it has the key. */
export class DeviceGuard implements Guard {
  readonly refuses: boolean
  readonly #fastify: FastifyInstance
  readonly #terms: Terms
  readonly #tokens: Tokens

  constructor (fastify: FastifyInstance, terms: Terms, tokens: Tokens) {
    this.#fastify = fastify
    this.#terms = terms
    this.#tokens = tokens
    this.refuses = terms.isRequired
  }

  objection (sessionId: string, record: SessionRecord, sender: Sender): SecurityReason | undefined {
    const deviceKey = deviceKeyOf(record)
    if (deviceKey === undefined) return undefined
    const age = this.ageOfProof(sessionId, deviceKey, sender)
    const isEarly = Date.now() - timeIn(deviceKey) < GRACE
    if (isEarly || (age !== undefined && age < this.#terms.maxAge + GRACE)) return undefined
    return age === undefined ? 'no-device-proof' : 'bad-device-proof'
  }

  /**
   * How long ago the device proved that it has the key, in milliseconds: undefined without a bound cookie, Infinity
   * if the cookie isn't valid.
   */
  ageOfProof (sessionId: string, deviceKey: string, { cookies, headers }: Sender): number | undefined {
    const token = (cookies ?? this.#fastify.parseCookie(headers?.cookie ?? ''))[this.#terms.name]
    // Hooks of the application may have put any value there.
    if (typeof token !== 'string' || token === '') return undefined
    return this.#tokens.ageOf(token, 'bound cookie', sessionId, deviceKey)
  }

  beforeCommit (state: SessionState, reply: FastifyReply): void {
    try {
      this.#offer(state, reply)
    } catch (error) {
      // A session that can't be read ends with this reply.
      if (!state.draft.isUnreadable) throw error
    }
  }

  /** Offers the browser to bind the session, with the challenge that its registration must answer. */
  #offer (state: SessionState, reply: FastifyReply): void {
    // An offer alone creates no session.
    const isStored = state.standing === 'new' ? state.isModified() : state.isInStore
    if (!isStored || state.deviceKey !== undefined || !isSecure(state.visit) || isForEverybody(reply)) return
    if (Date.now() - timeIn(state.draft.get(NONCE)) < AGAIN) return
    if (!saidAtOnce(this.#terms.when(state.session), 'when of device-bound')) return
    const nonce = timed(randomBytes(16).toString('base64url'))
    state.draft.set(NONCE, nonce)
    const offer = `(ES256);path="${this.#terms.whole}/register";challenge="${nonce}"`
    const others = reply.getHeader(REGISTRATION)
    // Another session of this reply may have set the header.
    reply.header(REGISTRATION, others === undefined ? offer : `${others}, ${offer}`)
  }
}

const REGISTRATION = 'secure-session-registration'

/** Puts the time before a text. */
export function timed (text: string): string {
  return `${Date.now().toString(36)}.${text}`
}

/** When `timed` made the text, in milliseconds since the epoch; NaN for anything else. */
function timeIn (text: unknown): number {
  return typeof text === 'string' ? parseInt(text, 36) : NaN
}
