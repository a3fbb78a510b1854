import { ECDH } from 'node:crypto'
import { OptionError } from '../errors'

/**
 * Verifies what browsers sign. Resolves to the challenge and the public key, or to undefined if the signature isn't
 * valid.
 *
 * @param known the session's key; if it is missing, as at a registration, the key in the JWS's own header is used
 */
export type Verifier = (jws: string, known?: string) => Promise<{ jti: unknown, key: string } | undefined>

const CURVE = 'prime256v1'
const RULES = { algorithms: ['ES256'], typ: 'dbsc+jwt' }

/** @throws FST_ERR_SESSION_OPTION if `jose` isn't installed */
export async function openVerifier (load = () => import('jose')): Promise<Verifier> {
  const jose = await load().catch(() => undefined)
  // jose 2 had other names.
  if (jose?.EmbeddedJWK === undefined) throw new OptionError('device-bound needs jose 4 or newer: npm install jose')
  return async (jws, known) => {
    try {
      const getKey = known === undefined ? jose.EmbeddedJWK : async () => await jose.importJWK(jwkOf(known), 'ES256')
      const { payload, key } = await jose.jwtVerify(jws, getKey, RULES)
      return { jti: payload.jti, key: known ?? shortOf(await jose.exportJWK(key)) }
    } catch {
      return undefined
    }
  }
}

// The compressed point, because Redis keeps fields of up to 64 bytes in less memory.
function shortOf ({ x = '', y = '' }: { x?: string, y?: string }): string {
  const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')])
  return ECDH.convertKey(point, CURVE, undefined, 'base64url', 'compressed') as string
}

function jwkOf (short: string): { kty: 'EC', crv: 'P-256', x: string, y: string } {
  const point = ECDH.convertKey(short, CURVE, 'base64url', undefined, 'uncompressed') as Buffer
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map(half => half.toString('base64url')) as [string, string]
  return { kty: 'EC', crv: 'P-256', x, y }
}
