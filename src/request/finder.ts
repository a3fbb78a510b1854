import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Guard, Sender } from './guard'
import type { Signals } from '../diagnostics'
import type { Settings } from '../options/settings'
import type { Found } from '../session/state'
import type { Repository, Stored } from '../stores/repository'
import { prove, type Proof } from '../values/cookie-value'
import type { Terms } from '../values/lifetime'
import type { Answer } from '../types/store'

// Browsers send a few cookies of one name. A client that sends more wants to keep the server busy with signatures or
// look-ups.
const MOST_TRIED = 10

/** The result of a look-up by cookies. */
export interface Finding extends Found {
  /** The first session id with a valid signature, whether or not the store has it. */
  readonly provedId?: string
}

/** Finds the record of a Cookie header. */
export class Finder {
  readonly #fastify: FastifyInstance
  readonly #settings: Settings
  readonly #repository: Repository
  readonly #signals: Signals
  /** May refuse a session that was found by a cookie. */
  guard: Guard | undefined
  /** Proofs of a header with several values, so that none is verified twice. */
  readonly #proofs = new WeakMap<readonly string[], Map<string, Proof | null>>()

  constructor (fastify: FastifyInstance, settings: Settings, repository: Repository, signals: Signals) {
    this.#fastify = fastify
    this.#settings = settings
    this.#repository = repository
    this.#signals = signals
  }

  /**
   * The values under the cookie's name, ten at most. Browsers send several after domain or path were changed.
   *
   * @param parsed the cookies, if `@fastify/cookie` has parsed the header already. Hooks may have changed them, so they
   *   come first
   */
  valuesIn (header: string | undefined, parsed?: Record<string, string | undefined> | null): string[] {
    const { cookieName } = this.#settings
    const first = (parsed ?? (header === undefined ? {} : this.#fastify.parseCookie(header)))[cookieName]
    if (typeof first !== 'string') return []
    const value = first === '' ? [] : [unquoted(first)]
    if (header === undefined || header.indexOf(cookieName) === header.lastIndexOf(cookieName)) return value
    const values = new Set(value)
    for (const pair of header.split(';')) {
      const value = pair.includes(cookieName) ? this.#fastify.parseCookie(pair)[cookieName] : undefined
      if (value) values.add(unquoted(value))
      if (values.size === MOST_TRIED) break
    }
    return [...values]
  }

  /**
   * Finds the first cookie with a valid signature whose session is stored, and which the guard doesn't refuse.
   *
   * @param sender the request, for the guard; without it the guard isn't asked
   */
  find (values: readonly string[], terms: Terms, touch: boolean, answer: Answer<Finding>, sender?: Sender): void {
    if (values.length > 1) this.#signals.warn('duplicate-cookie', values[0] as string, this.#signals.now())
    if (this.guard === undefined || sender === undefined) {
      this.#findFrom(0, values, terms, touch, NOTHING, answer)
      return
    }
    const { guard } = this
    // A refused request must not prolong the session.
    this.#findFrom(0, values, terms, false, NOTHING, answer, (sessionId, { key, record }) => {
      const objection = guard.objection(sessionId, record, sender)
      if (objection !== undefined) this.#signals.warn(objection, key, this.#signals.now())
      return objection !== undefined && guard.refuses
    })
  }

  /**
   * Finds a session by a Cookie header, a cookie's value, or an id. An id must be in an object: a string may have been
   * sent by a visitor, as a Cookie header.
   */
  findBy (source: unknown, terms: Terms, answer: Answer<Finding>): void {
    if (typeof source === 'string') {
      const values = this.valuesOf(source)
      // A header, unless it is itself a valid value: ids and signatures may have a '=', too.
      const isHeader = source.includes('=') && !values.some(value => this.prove(value) !== null)
      this.find(isHeader ? this.valuesIn(source) : values, terms, false, answer, { headers: { cookie: source } })
      return
    }
    const sessionId = (source as { sessionId?: unknown } | null | undefined)?.sessionId
    if (typeof sessionId !== 'string' || sessionId === '') {
      answer(null)
      return
    }
    this.#repository.find(sessionId, terms, false, (error, stored) => answer(error, stored && { sessionId, stored }))
  }

  /** Whether the value is that of a cookie which came with the request. */
  isSentBy ({ headers, cookies }: FastifyRequest, value: string | undefined): boolean {
    return value !== undefined && this.valuesIn(headers.cookie, cookies).includes(value)
  }

  /** A cookie's value in a list. Applications pass it as it is, or without the prefix, as version 11 wants it. */
  valuesOf (value: unknown): string[] {
    const { cookiePrefix } = this.#settings
    if (typeof value !== 'string' || value === '') return []
    const bare = unquoted(value)
    return [bare.startsWith(cookiePrefix) ? bare : cookiePrefix + bare]
  }

  #findFrom (
    start: number, values: readonly string[], terms: Terms, touch: boolean, before: Finding, answer: Answer<Finding>,
    refuses?: (sessionId: string, stored: Stored) => boolean
  ): void {
    for (let i = start; i < values.length; i++) {
      const value = values[i] as string
      const proof = this.proveOf(values, value)
      if (proof === null) {
        this.#signals.warn('bad-signature', value, this.#signals.now())
        continue
      }
      const { sessionId, signedId } = proof
      this.#repository.find(sessionId, terms, touch, (error, stored) => {
        // The store doesn't have an id if it has just removed the session, or if the id was guessed. Both get a new
        // session, and never this id (session fixation, CWE-384). So does a session that the guard refuses.
        // Written out, because a spread costs 1 to 3 us per request.
        if (error !== null) {
          answer(error, { sessionId, signedId, loadError: error, provedId: sessionId })
        } else if (stored !== undefined && refuses?.(sessionId, stored) !== true) {
          answer(null, { sessionId, signedId, stored, provedId: sessionId })
        } else {
          if (stored === undefined) this.#settings.signer.forget(sessionId, signedId)
          const isRefused = stored !== undefined || before.isRefused
          const missed = { provedId: before.provedId ?? sessionId, isRefused }
          this.#findFrom(i + 1, values, terms, touch, missed, answer, refuses)
        }
      })
      return
    }
    answer(null, before)
  }

  /** Proves one of a header's values, which is verified only once. */
  proveOf (values: readonly string[], value: string): Proof | null {
    if (values.length === 1) return this.prove(value)
    let proofs = this.#proofs.get(values)
    if (proofs === undefined) this.#proofs.set(values, proofs = new Map())
    let proof = proofs.get(value)
    if (proof === undefined) proofs.set(value, proof = this.prove(value))
    return proof
  }

  /** Proves a cookie's value: returns its session id, or null. */
  prove (value: string): Proof | null {
    const { cookiePrefix, signer } = this.#settings
    return value.startsWith(cookiePrefix) ? prove(signer, value.slice(cookiePrefix.length)) : null
  }
}

// RFC 6265, 4.1.1, allows quotes, and Java clients and proxies add them.
function unquoted (value: string): string {
  return value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
}

const NOTHING: Finding = {}
