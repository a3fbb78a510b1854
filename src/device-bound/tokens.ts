import { hash } from 'node:crypto'
import type { Settings } from '../options/settings'
import { prove } from '../values/cookie-value'

/** What a token is good for: none is good for anything else. */
export type Purpose = 'bound cookie' | 'refresh'

/**
 * What nobody else can have made: HMACs over purpose, session, key and time, under the session's own secrets. All of
 * these verify, so they can be rotated, and nothing is stored.
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

  /** How old a token is, in milliseconds; Infinity for one that wasn't made for that. */
  ageOf (token: string, purpose: Purpose, sessionId: string, deviceKey: string): number {
    const dot = token.indexOf('.')
    const time = token.slice(0, dot)
    // A signer of the application's own may show what it signs or not, so it signs what is as good as all of it.
    const proved = prove(this.#signer, token.slice(dot + 1))?.sessionId
    return proved === digest(purpose, sessionId, deviceKey, time) ? Date.now() - parseInt(time, 36) : Infinity
  }
}

function digest (...parts: string[]): string {
  return hash('sha256', JSON.stringify(parts), 'base64url')
}
