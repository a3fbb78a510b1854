import { cookieOf, numberIn } from './record'
import type { SessionRecord } from '../types/store'

const ONE_HOUR = 3_600_000

/** That a session is in the store's index as a user's. */
export interface Claim {
  readonly userKey: string
  /** In milliseconds since the epoch. */
  readonly claimedAt: number
}

/** Whose session the record is; undefined if it belongs to no user. */
export function claimOf (record: SessionRecord): Claim | undefined {
  const { userKey, claimedAt } = cookieOf(record)
  return typeof userKey === 'string' ? { userKey, claimedAt: numberIn(claimedAt) } : undefined
}

/**
 * How often the index by user hears of a session that is used, in milliseconds: once an hour at least.
 *
 * @param idle how long after its last use the session ends, in milliseconds
 */
export function renewalOf (idle: number | undefined): number {
  return Math.min(ONE_HOUR, (idle ?? Infinity) / 2)
}

/**
 * Whether the index by user must hear of the session again.
 *
 * @param idle how long after its last use the session ends, in milliseconds
 * @param now in milliseconds since the epoch
 */
export function claimIsAging ({ claimedAt }: Pick<Claim, 'claimedAt'>, idle: number | undefined, now: number): boolean {
  // Don't invert: a claim without a time is old.
  return !(now - claimedAt < renewalOf(idle))
}
