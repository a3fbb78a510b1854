import { isPromise } from 'node:util/types'
import { sign, unsign } from '@fastify/cookie'
import { SecretError, SignerError } from '../errors'
import { Verified } from './verified'
import type { Signer, UnsignResult } from '../types/cookie'

/** A session id that a cookie value has proved. */
export interface Proof {
  readonly sessionId: string
  /** The value as it came; missing if it must be signed again, because an older secret matched. */
  readonly signedId: string | undefined
}

/** A signer that may remember what it has verified. */
export interface SessionSigner extends Signer {
  /**
   * The session has ended.
   *
   * @param signedId its signed id, if that is known: otherwise it is signed again, to find it
   */
  readonly forget: (sessionId: string, signedId?: string) => void
}

const REFUSED = { valid: false, renew: false, value: null }

/** Signs with the first secret of an array and verifies with all. The array stays the application's: it may change. */
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
        // With an empty secret everybody can sign.
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

/** The application's own signer, which must answer at once: the cookie can't wait for it. */
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
    // What it takes for valid is its own business, at each request.
    forget () {}
  }
}

// Of an async function, with nobody there to hear it.
function ignoreRejection (value: unknown): void {
  Promise.resolve(value).catch(() => {})
}

// What a named session signs begins so, and what the default one signs doesn't: where they share secret and store, the
// cookie of one would be good for the other.
const NAMED = '::'

/**
 * Signs for the session that has the default name: the id alone, as version 11 does.
 *
 * @param names of the other sessions. An id that could be taken for what 12.0.0 signed for one of them is signed by the
 *   default name
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

/** Signs for one session of several, by its name. What 12.0.0 signed counts, and is signed again. */
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

/** The session id that a signed id proves, or null. Whatever comes in, it doesn't throw. */
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
