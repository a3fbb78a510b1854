import { cookieOf, numberIn } from './record'
import type { FieldChanges, SessionRecord } from '../types/store'

const ONE_HOUR = 3_600_000

/** The name under which sessions are in the index by the option `user`. */
export const USER = 'user'

/** That a session is in the store's index under a key: as a user's, or by another name. */
export interface Claim {
  readonly key: string
  /** When the index heard of it last, in milliseconds since the epoch. */
  readonly claimedAt: number
}

/** The claims of a session by their names. */
export type ClaimMap = ReadonlyMap<string, Claim>

const NO_CLAIMS: ClaimMap = new Map()

// In records of version 12.0 the user's claim stands under these names. Those of other names have theirs in them.
const USER_FIELDS = ['userKey', 'claimedAt'] as const
const KEY = 'key:'

/** Under which names a record has a claim under `cookie`: its key, and its time. */
function fieldsOf (name: string): readonly [string, string] {
  return name === USER ? USER_FIELDS : [`${KEY}${name}`, `claimedAt:${name}`]
}

/** Under which of these names the record is in the index. */
export function claimsIn (record: SessionRecord | undefined, names: readonly string[] | undefined): ClaimMap {
  if (record === undefined || names === undefined) return NO_CLAIMS
  const cookie = cookieOf(record) as Record<string, unknown>
  const claims = new Map<string, Claim>()
  for (const name of names) {
    const [keyField, timeField] = fieldsOf(name)
    const key = cookie[keyField]
    if (typeof key === 'string') claims.set(name, { key, claimedAt: numberIn(cookie[timeField]) })
  }
  return claims
}

/** The keys under which the record is in the index, by whatever names. */
export function keysIn (record: SessionRecord): string[] {
  const keys: string[] = []
  for (const [field, key] of Object.entries(cookieOf(record))) {
    if ((field === USER_FIELDS[0] || field.startsWith(KEY)) && typeof key === 'string') keys.push(key)
  }
  return keys
}

/** What a record has of the claims under `cookie`. */
export function fieldsOfClaims (claims: ClaimMap): Record<string, unknown> {
  const fields: Record<string, unknown> = {}
  for (const [name, { key, claimedAt }] of claims) {
    const [keyField, timeField] = fieldsOf(name)
    fields[keyField] = key
    fields[timeField] = claimedAt
  }
  return fields
}

/** Which fields of the record are written for that. */
export function claimChanges (claims: ClaimMap, stored: ClaimMap): FieldChanges {
  const set: Record<string, unknown> = {}
  const unset: string[] = []
  for (const name of stored.keys()) if (!claims.has(name)) unset.push(...fieldsOf(name))
  for (const [name, { key, claimedAt }] of claims) {
    const [keyField, timeField] = fieldsOf(name)
    const before = stored.get(name)
    const isSame = key === before?.key
    if (!isSame || claimedAt !== before?.claimedAt) set[timeField] = claimedAt
    // If only the claim was renewed, another request may have changed the key in the meantime.
    if (!isSame) set[keyField] = key
  }
  return { set, unset }
}

/**
 * How often the index hears of a session that is used, in milliseconds: once an hour at least.
 *
 * @param idle how long after its last use the session ends, in milliseconds
 */
export function renewalOf (idle: number | undefined): number {
  return Math.min(ONE_HOUR, (idle ?? Infinity) / 2)
}

/**
 * Whether the index must hear of the session again.
 *
 * @param claimedAt when it heard of it last, in milliseconds since the epoch
 * @param idle how long after its last use the session ends, in milliseconds
 * @param now in milliseconds since the epoch
 */
export function claimIsAging (claimedAt: number, idle: number | undefined, now: number): boolean {
  // Don't invert: a claim without a time is old.
  return !(now - claimedAt < renewalOf(idle))
}
