import type { UnsignResult } from '../types/cookie'

/** What a signed value proves. */
interface Verification {
  /** The whole value, as a flat copy. */
  readonly signedId: string
  readonly result: UnsignResult
}

// In each of two generations. A signed id has about 76 bytes.
const MOST = 2_500
const MOST_BYTES = 2 ** 19
const LONGEST = 2 ** 11

/**
 * The signed values that were verified, or made, under the secrets as they are now. A few thousand: when the younger
 * generation is full, the older one goes, but for what was asked for in the meantime.
 *
 * It is asked by the whole value. Nobody who doesn't have all of it learns anything by how long that takes: a Map
 * compares only what has the same hash, which nobody outside of the process can compute.
 */
export class Verified {
  readonly #secrets: readonly unknown[]
  /** The secrets as they were. */
  #known: readonly unknown[] = []
  #young = new Map<string, Verification>()
  #old = new Map<string, Verification>()
  /** Of the younger generation. */
  #bytes = 0

  /** @param secrets the application's own array, which may change at any time */
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

  /** Not if the secrets have changed since they were looked at: nobody knows which of them it is that counts. */
  add (signedId: string, isRenewed: boolean): void {
    if (signedId.length > LONGEST || !this.#isCurrent()) return
    // A value that was cut from a header keeps all of the header in memory.
    const flat = Buffer.from(signedId).toString()
    // Text that isn't well-formed.
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

  /** Whether the secrets are those that were looked at last. If not, nothing that was verified counts any more. */
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

// What isn't a string can be changed inside.
function isUnchanged (secret: unknown, known: unknown): boolean {
  return secret === known && typeof secret === 'string'
}
