import { isPromise } from 'node:util/types'
import { sign, unsign } from '@fastify/cookie'
import { SecretError, SignerError } from '../errors'
import { Verified } from './verified'
import type { Signer, UnsignResult } from '../types/cookie'

/** The session id of a cookie value with a valid signature. */
export interface Proof {
  readonly sessionId: string
  /** The signed id; missing if it must be signed again, because an older secret matched. */
  readonly signedId: string | undefined
}

/** A signer that may remember what it has verified. */
export interface SessionSigner extends Signer {
  /**
   * Called when the session has ended.
   *
   * @param signedId its signed id; if it isn't known, the id is signed again to find it
   */
  readonly forget: (sessionId: string, signedId?: string) => void
}

const REFUSED = { valid: false, renew: false, value: null }

/** Signs with the first secret of an array and verifies with all. The application may change the array. */
export function secretsSigner (secrets: readonly string[], algorithm: string): SessionSigner {
  const verified = new Verified(secrets)
  return {
    sign (sessionId) {
      const first = secrets.find(isUsable)
      if (first === undefined) throw new SecretError('at least one secret is required')
      const signedId = sign(sessionId, first, algorithm)
      verified.add(signedId, false)
      return signedId
    },
    unsign (signedId) {
      const known = verified.get(signedId)
      if (known !== undefined) return known
      let renew = false
      for (const secret of secrets) {
        // Anyone can sign with an empty secret.
        if (!isUsable(secret)) continue
        const { valid, value } = unsign(signedId, secret, algorithm)
        if (valid) {
          verified.add(signedId, renew)
          return { valid, renew, value }
        }
        renew = true
      }
      return REFUSED
    },
    forget (sessionId, signedId) {
      if (signedId !== undefined) verified.delete(signedId)
      else for (const secret of secrets.filter(isUsable)) verified.delete(sign(sessionId, secret, algorithm))
    }
  }
}

/** The application's own signer. It must be synchronous, because the cookie can't wait for it. */
export function customSigner (signer: Signer): SessionSigner {
  return {
    sign (sessionId) {
      const signedId: unknown = signer.sign(sessionId)
      if (typeof signedId === 'string') return signedId
      ignoreRejection(signedId)
      throw new SignerError()
    },
    unsign (signedId) {
      const result: unknown = signer.unsign(signedId)
      if (!isPromise(result)) return result as UnsignResult
      ignoreRejection(result)
      return REFUSED
    },
    // The application's signer decides at each request, so nothing was remembered.
    forget () {}
  }
}

// A promise of an async function: its rejection must not end the process.
function ignoreRejection (value: unknown): void {
  Promise.resolve(value).catch(() => {})
}

// The signed text of a named session begins with this, and that of the default one doesn't. Otherwise the cookie of one
// would be valid for the other if they share secret and store.
const NAMED = '::'

/**
 * Signs for the session with the default name: the id alone, as version 11 does.
 *
 * @param names the names of the other sessions. An id that looks like one that 12.0.0 signed for one of them is signed
 *   with a prefix
 */
export function defaultSigner (signer: SessionSigner, names: ReadonlySet<string>): SessionSigner {
  const prefix = prefixOf('')
  const signed = (sessionId: string): string => {
    const isPlain = !sessionId.startsWith(NAMED) && ![...names].some(name => sessionId.startsWith(prefixOf12(name)))
    return isPlain ? sessionId : prefix + sessionId
  }
  return {
    sign: sessionId => signer.sign(signed(sessionId)),
    forget: (sessionId, signedId) => signer.forget(signed(sessionId), signedId),
    unsign (signedId) {
      const result = signer.unsign(signedId)
      if (!result.valid || !String(result.value).startsWith(NAMED)) return result
      const isOurs = result.value?.startsWith(prefix) === true
      return isOurs ? { ...result, value: (result.value as string).slice(prefix.length) } : REFUSED
    }
  }
}

/** Signs for a named session. What 12.0.0 signed is valid, and is signed again. */
export function namedSigner (signer: SessionSigner, sessionName: string): SessionSigner {
  const [prefix, prefix12] = [prefixOf(sessionName), prefixOf12(sessionName)]
  return {
    sign: sessionId => signer.sign(prefix + sessionId),
    forget (sessionId, signedId) {
      signer.forget(prefix + sessionId, signedId)
      signer.forget(prefix12 + sessionId, signedId)
    },
    unsign (signedId) {
      const { valid, renew, value } = signer.unsign(signedId)
      if (value?.startsWith(prefix) === true) return { valid, renew, value: value.slice(prefix.length) }
      if (value?.startsWith(prefix12) !== true) return REFUSED
      return { valid, renew: true, value: value.slice(prefix12.length) }
    }
  }
}

function prefixOf (sessionName: string): string {
  return `${NAMED}${encodeURIComponent(sessionName)}:`
}

function prefixOf12 (sessionName: string): string {
  return `${sessionName}.`
}

/** The proof of a signed id, or null if its signature isn't valid. Never throws. */
export function prove (signer: Signer, signedId: string): Proof | null {
  try {
    const { valid, renew, value: sessionId } = signer.unsign(signedId)
    if (!valid || typeof sessionId !== 'string' || sessionId === '') return null
    return { sessionId, signedId: renew ? undefined : signedId }
  } catch {
    return null
  }
}

export function isUsable (secret: string | Buffer): boolean {
  return (typeof secret === 'string' || Buffer.isBuffer(secret)) && secret.length > 0
}
