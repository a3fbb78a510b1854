import type { Attributes } from './cookie'
import { fieldsOfClaims, type ClaimMap } from '../values/claim'
import { cookieLifeOf, endOf, idleOf, type Lifetime } from '../values/lifetime'
import type { CookieRecord } from '../values/record'
import { StoredCookie } from '../values/stored-session'
import type { FieldChanges } from '../types/store'

const LIFE_FIELDS = ['idle', 'absoluteTimeout', 'chosen'] as const

/** What stores keep of a session under `cookie`, if it is used now. */
export function keptOf (
  lifetime: Lifetime, claims: ClaimMap, authenticatedAt: number | undefined, deviceKey: string | undefined,
  attributes: Attributes, now: number
): StoredCookie & CookieRecord {
  const { path, httpOnly, secure, sameSite, domain, partitioned } = attributes
  const { terms: { absoluteTimeout }, createdAt, chosen } = lifetime
  const life = cookieLifeOf(lifetime)
  const end = endOf(lifetime, now)
  const idle = idleOf(lifetime)
  const kept = new StoredCookie(end === Infinity ? null : new Date(end)) as StoredCookie & CookieRecord
  kept.originalMaxAge = typeof life === 'number' ? life : null
  kept.path = path
  kept.httpOnly = httpOnly
  kept.secure = secure ?? null
  kept.sameSite = sameSite ?? null
  kept.domain = domain
  kept.partitioned = partitioned
  kept.createdAt = createdAt
  kept.seenAt = now
  if (idle !== undefined) kept.idle = idle
  if (absoluteTimeout !== undefined) kept.absoluteTimeout = absoluteTimeout
  if (chosen !== undefined) kept.chosen = chosen instanceof Date ? chosen.toISOString() : chosen
  if (authenticatedAt !== undefined) kept.authenticatedAt = authenticatedAt
  if (deviceKey !== undefined) kept.deviceKey = deviceKey
  if (claims.size > 0) Object.assign(kept, fieldsOfClaims(claims))
  return kept
}

/**
 * The fields of it that a request changes, and no others: another request may have changed those since.
 *
 * @param isNewLife whether the session's lifetime isn't what its record says
 * @param isOlder whether the record can't say who chose its lifetime
 * @param claims what becomes of its claims
 * @param storedAuthenticatedAt as the record has it
 * @param boundTo what this request has bound it to. It is never unbound, so nobody else has changed that
 */
export function keptChanges (
  kept: CookieRecord, isNewLife: boolean, isOlder: boolean, claims: FieldChanges,
  storedAuthenticatedAt: number | undefined, boundTo: string | undefined
): FieldChanges {
  const { expires, originalMaxAge, createdAt, authenticatedAt, seenAt } = kept
  const set: Record<string, unknown> = { seenAt, ...claims.set }
  const unset = [...claims.unset]
  if (isNewLife) Object.assign(set, { expires, originalMaxAge })
  if (isNewLife || isOlder) {
    set.createdAt = createdAt
    for (const field of LIFE_FIELDS) {
      if (kept[field] === undefined) unset.push(field)
      else set[field] = kept[field]
    }
  }
  if (authenticatedAt !== storedAuthenticatedAt) {
    if (authenticatedAt === undefined) unset.push('authenticatedAt')
    else set.authenticatedAt = authenticatedAt
  }
  if (boundTo !== undefined) set.deviceKey = boundTo
  return { set, unset }
}
