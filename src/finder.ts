import type { FastifyInstance } from 'fastify'
import { prove, type Proof } from './cookie-value'
import type { Signals } from './diagnostics'
import type { Settings } from './options'
import type { Repository } from './repository'
import type { Found } from './session-state'
import type { Answer } from './stores/call'

// Browsers send a few cookies of one name. Who sends more signed ones wants to keep the store busy.
const MOST_LOOK_UPS = 10

/** From a Cookie header to a record. */
export class Finder {
  readonly #fastify: FastifyInstance
  readonly #settings: Settings
  readonly #repository: Repository
  readonly #signals: Signals

  constructor (fastify: FastifyInstance, settings: Settings, repository: Repository, signals: Signals) {
    this.#fastify = fastify
    this.#settings = settings
    this.#repository = repository
    this.#signals = signals
  }

  /**
   * All values under the cookie's name: browsers send several when domain or path were changed.
   *
   * @param parsed the cookies, where `@fastify/cookie` has parsed the header already
   */
  valuesIn (header: string | undefined, parsed?: Record<string, string | undefined> | null): string[] {
    if (header === undefined) return []
    const { cookieName } = this.#settings
    const first = (parsed ?? this.#fastify.parseCookie(header))[cookieName]
    if (first === undefined) return []
    if (header.indexOf(cookieName) === header.lastIndexOf(cookieName)) return first === '' ? [] : [first]
    const values = header.split(';').map(pair => this.#fastify.parseCookie(pair)[cookieName])
    return [...new Set(values)].filter((value): value is string => value !== undefined && value !== '')
  }

  /** The first of the cookies, from an index on, that proves a session which the store has. */
  find (values: readonly string[], touch: boolean, answer: Answer<Found>, from = 0, lookUps = 0): void {
    if (from === 0 && values.length > 1) this.#signals.warn('duplicate-cookie', values[0] as string, this.#signals.now())
    for (let i = from; i < values.length; i++) {
      const value = values[i] as string
      const proof = this.prove(value)
      if (proof === null) {
        this.#signals.warn('bad-signature', value, this.#signals.now())
        continue
      }
      const loadedAt = this.#repository.now
      this.#repository.load(proof.sessionId, touch, (error, record) => {
        // An id that the store does not know is either a race with its clean-up or somebody guessing. Both get a new
        // session, never the id they brought (session fixation, CWE-384).
        const { sessionId, signedId } = proof
        if (error !== null) answer(error, { sessionId, signedId, loadError: error })
        // Named: a spread costs a request 1 to 3 us more.
        else if (record !== undefined) answer(null, { sessionId, signedId, record, isTouched: touch, loadedAt })
        else if (lookUps + 1 < MOST_LOOK_UPS) this.find(values, touch, answer, i + 1, lookUps + 1)
        else answer(null)
      })
      return
    }
    answer(null)
  }

  /** The session id that a cookie's value proves. */
  prove (value: string): Proof | null {
    const { cookiePrefix, signer } = this.#settings
    return value.startsWith(cookiePrefix) ? prove(signer, value.slice(cookiePrefix.length)) : null
  }
}
