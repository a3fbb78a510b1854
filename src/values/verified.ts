import type { UnsignResult } from '../types/cookie'

/** A signed value and its result. */
interface Verification {
  /** The whole value, as a flat copy. */
  readonly signedId: string
  readonly result: UnsignResult
}

// The most entries and bytes of each of two generations. A signed id has about 76 bytes.
const MOST = 2_500
const MOST_BYTES = 2 ** 19
const LONGEST = 2 ** 11

/**
 * A cache of values that were verified or signed with the current secrets. It holds a few thousand: when the younger
 * generation is full, the older one is dropped, except for the values that were used in the meantime.
 *
 * A look-up needs the whole value. Its duration reveals nothing about a value that one doesn't have: a Map compares
 * only values with the same hash, which can't be computed outside of the process.
 */
export class Verified {
  readonly #secrets: readonly unknown[]
  /** The secrets at the last look-up. */
  #known: readonly unknown[] = []
  #young = new Map<string, Verification>()
  #old = new Map<string, Verification>()
  /** The size of the younger generation. */
  #bytes = 0

  /** @param secrets the application's own array, which it may change at any time */
  constructor (secrets: readonly unknown[]) {
    this.#secrets = secrets
    this.#isCurrent()
  }

  get (signedId: string): UnsignResult | undefined {
    if (!this.#isCurrent()) return undefined
    const young = this.#young.get(signedId)
    if (young !== undefined) return young.result
    const old = this.#old.get(signedId)
    if (old === undefined) return undefined
    this.#put(old)
    return old.result
  }

  /** Does nothing if the secrets have just changed, because it isn't known which of them signed the value. */
  add (signedId: string, isRenewed: boolean): void {
    if (signedId.length > LONGEST || !this.#isCurrent()) return
    // A substring of a header would keep the whole header in memory.
    const flat = Buffer.from(signedId).toString()
    // Malformed text changes in a Buffer.
    if (flat !== signedId) return
    this.#put({ signedId: flat, result: { valid: true, renew: isRenewed, value: flat.slice(0, flat.lastIndexOf('.')) } })
  }

  delete (signedId: string): void {
    if (this.#young.delete(signedId)) this.#bytes -= signedId.length
    this.#old.delete(signedId)
  }

  #put (verification: Verification): void {
    const { signedId } = verification
    if (this.#young.size === MOST || this.#bytes + signedId.length > MOST_BYTES) this.#age()
    if (!this.#young.has(signedId)) this.#bytes += signedId.length
    this.#young.set(signedId, verification)
  }

  #age (): void {
    this.#old = this.#young
    this.#young = new Map()
    this.#bytes = 0
  }

  /** Whether the secrets are those of the last look-up. If not, it forgets all values. */
  #isCurrent (): boolean {
    const [secrets, known] = [this.#secrets, this.#known]
    let isSame = secrets.length === known.length
    for (let i = 0; isSame && i < secrets.length; i++) isSame = isUnchanged(secrets[i], known[i])
    if (isSame) return true
    this.#known = [...secrets]
    this.#young.clear()
    this.#old.clear()
    this.#bytes = 0
    return false
  }
}

// A Buffer can be changed in place.
function isUnchanged (secret: unknown, known: unknown): boolean {
  return secret === known && typeof secret === 'string'
}
