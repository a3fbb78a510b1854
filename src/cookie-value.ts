import { sign, unsign } from '@fastify/cookie'
import { SecretError } from './errors'
import type { Signer } from './types'

/** A session id that a cookie value has proved. */
export interface Proof {
  readonly sessionId: string
  /** The value as it came; missing where it must be signed anew, because an older secret matched. */
  readonly signedId: string | undefined
}

/** Signs with the first secret of an array and verifies with all. The array stays the application's: it may change. */
export function secretsSigner (secrets: readonly string[], algorithm: string): Signer {
  return {
    sign (sessionId) {
      const first = secrets.find(isUsable)
      if (first === undefined) throw new SecretError('at least one secret is required')
      return sign(sessionId, first, algorithm)
    },
    unsign (value) {
      let renew = false
      for (const secret of secrets) {
        // With an empty secret everybody can sign.
        if (!isUsable(secret)) continue
        const { valid, value: sessionId } = unsign(value, secret, algorithm)
        if (valid) return { valid, renew, value: sessionId }
        renew = true
      }
      return { valid: false, renew: false, value: null }
    }
  }
}

/** Signs for one session of several: where they share secret and store, the cookie of one would be good for the other. */
export function namedSigner (signer: Signer, sessionName: string): Signer {
  const prefix = `${sessionName}.`
  return {
    sign: sessionId => signer.sign(prefix + sessionId),
    unsign (signedId) {
      const { valid, renew, value } = signer.unsign(signedId)
      if (value?.startsWith(prefix) !== true) return { valid: false, renew: false, value: null }
      return { valid, renew, value: value.slice(prefix.length) }
    }
  }
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
