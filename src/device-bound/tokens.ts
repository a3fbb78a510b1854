import { hash } from 'node:crypto'
import type { Settings } from '../options/settings'
import { prove } from '../values/cookie-value'

/** What a token is for. It isn't valid for anything else. */
export type Purpose = 'bound cookie' | 'refresh'

/**
 * Makes and verifies tokens: HMACs over purpose, session, key and time, with the session's own secrets. All secrets
 * verify, so they can be rotated. Nothing is stored.
 */
export class Tokens {
  readonly #signer: Settings['signer']

  constructor ({ signer }: Settings) {
    this.#signer = signer
  }

  /** @throws FST_ERR_SESSION_SIGNER */
  make (purpose: Purpose, sessionId: string, deviceKey: string): string {
    const time = Date.now().toString(36)
    return `${time}.${this.#signer.sign(digest(purpose, sessionId, deviceKey, time))}`
  }

  /** How old a token is, in milliseconds; Infinity if it wasn't made for these. */
  ageOf (token: string, purpose: Purpose, sessionId: string, deviceKey: string): number {
    const dot = token.indexOf('.')
    const time = token.slice(0, dot)
    // An application's signer may reveal what it signs, so it signs a digest.
    const proved = prove(this.#signer, token.slice(dot + 1))?.sessionId
    return proved === digest(purpose, sessionId, deviceKey, time) ? Date.now() - parseInt(time, 36) : Infinity
  }
}

function digest (...parts: string[]): string {
  return hash('sha256', JSON.stringify(parts), 'base64url')
}
