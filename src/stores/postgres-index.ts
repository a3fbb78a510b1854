import { ask, askInTurn, type PostgresPool } from './postgres-client'
import { escaped, quoted, sql, unescaped } from './postgres-sql'
import { fingerprint } from '../diagnostics'
import type { Claimed, Claiming, IndexEntry, Revoking } from '../types/store'

const ONE_HOUR = 3_600_000

const ALIVE = 'expires_at > now()'
const LIVES = "now() + least($4::float8, 8.7e15) * interval '1 ms'"

/**
 * The index has a table of its own, with a row for each session of a user, because a session is claimed before it is
 * written. A session that replaces another one takes over its row. A revocation at the same time waits for that row and
 * then finds it, so no session escapes by replacing itself.
 */
function statementsOn (table: string) {
  const index = quoted(table, '_index')
  const ofUser = `from ${index} where user_key = $1 and not is_ending and ${ALIVE}`
  return {
    /** $1: the user, $2: the id, $3: its fingerprint, $4: how long the entry lives, $5: the limit or null. */
    enter: sql`insert into ${index} as i (user_key, sid, fingerprint, claimed_at, expires_at)
      select $1, $2, $3, greatest(
        (extract(epoch from clock_timestamp()) * 1e6)::bigint,
        (select max(claimed_at) + 1 from ${index} where user_key = $1)
      ), ${LIVES}
      where $5::bigint is null or (select count(*) ${ofUser} and sid <> $2) < $5
        or exists (select ${ofUser} and sid = $2)
      on conflict (user_key, sid) do update set
        expires_at = greatest(i.expires_at, excluded.expires_at),
        claimed_at = case when i.${ALIVE} then i.claimed_at else excluded.claimed_at end,
        entered_at = case when i.${ALIVE} then i.entered_at else now() end,
        is_ending = false
      where not i.is_ending or not i.${ALIVE}`,

    /** $1: the user, $2: the id, $3: the id of the session that must have an entry, $4: how long the entry lives. */
    renew: sql`update ${index} set sid = $2, expires_at = greatest(expires_at, ${LIVES}),
        entered_at = case when sid = $2 then entered_at else now() end
      where user_key = $1 and sid = $3 and not is_ending and ${ALIVE}`,

    /** $1: the user, $2: the limit of sessions. Rows aren't selected by id, because ids may change in the meantime. */
    endOldest: sql`update ${index} set is_ending = true
      where user_key = $1 and not is_ending and claimed_at in (
        select claimed_at ${ofUser} order by claimed_at desc offset $2 limit 100
      ) returning sid, claimed_at`,

    isEnding: sql`select from ${index} where user_key = $1 and sid = any($2::text[]) and is_ending`,
    release: sql`delete from ${index} where user_key = $1 and sid = any($2::text[])`,

    /** $1: the user, $2: a fingerprint or null, $3: the id of the session that stays or null. */
    revoke: sql`update ${index} set is_ending = true
      where user_key = $1 and not is_ending and ${ALIVE} and fingerprint = coalesce($2, fingerprint)
        and sid is distinct from $3`,

    endingsOf: sql`select sid from ${index} where user_key = $1 and is_ending limit 100`,

    /** $1: the user, $2: the latest time, exclusive, in microseconds or null, $3: the number of entries. */
    claimsOf: sql`select sid, fingerprint, claimed_at::float8 as claimed_at,
        (extract(epoch from now() - entered_at) * 1000)::float8 as age
      ${ofUser} and ($2::float8 is null or claimed_at < $2) order by claimed_at desc limit $3`
  }
}

/** The index by user in PostgreSQL. */
export class PostgresIndex {
  readonly #pool: PostgresPool
  readonly #ttl: number
  readonly #sql: ReturnType<typeof statementsOn>

  /** @param ttl how long a session without an end of its own is kept after its last use, in milliseconds */
  constructor (pool: PostgresPool, table: string, ttl: number) {
    this.#pool = pool
    this.#ttl = ttl
    this.#sql = statementsOn(table)
  }

  async claim (userKey: string, sessionId: string, claiming: Claiming): Promise<Claimed> {
    const { replaces, isWritten, max, refuses } = claiming
    const count = await this.#enter(userKey, sessionId, claiming)
    if (count === 0) {
      const { rows } = await this.#ask('isEnding', [escaped(userKey), [sessionId, replaces ?? sessionId].map(escaped)])
      const isPlaced = isWritten || replaces !== undefined
      return { outcome: rows.length > 0 ? 'ending' : isPlaced ? 'lost' : 'full', tooMany: [] }
    }
    if (!isWritten || refuses || max === Infinity) return { outcome: 'entered', tooMany: [] }
    const { rows } = await this.#ask('endOldest', [escaped(userKey), max])
    rows.sort((a, b) => Number(a.claimed_at) - Number(b.claimed_at))
    return { outcome: 'entered', tooMany: rows.map(({ sid }) => unescaped(sid)) }
  }

  async release (userKey: string, sessionIds: readonly string[]): Promise<void> {
    if (sessionIds.length > 0) await this.#ask('release', [escaped(userKey), sessionIds.map(escaped)])
  }

  async revoke (userKey: string, { fingerprint: only, except }: Revoking): Promise<number> {
    const kept = except === undefined ? null : escaped(except)
    return (await this.#ask('revoke', [escaped(userKey), only ?? null, kept])).count
  }

  async endingsOf (userKey: string): Promise<string[]> {
    const { rows } = await this.#ask('endingsOf', [escaped(userKey)])
    return rows.map(({ sid }) => unescaped(sid))
  }

  async claimsOf (userKey: string, before: number, count: number): Promise<IndexEntry[]> {
    const bound = before === Infinity ? null : Math.round(before * 1000)
    const { rows } = await this.#ask('claimsOf', [escaped(userKey), bound, count])
    return rows.map(({ sid, fingerprint, claimed_at: claimedAt, age }) => {
      return { sessionId: unescaped(sid), fingerprint, claimedAt: Number(claimedAt) / 1000, age: Number(age) }
    })
  }

  async #enter (userKey: string, sessionId: string, claiming: Claiming): Promise<number> {
    const { lives, replaces, isWritten, max, refuses } = claiming
    const [user, id] = [escaped(userKey), escaped(sessionId)]
    // The store keeps the session itself a hundredth longer than it lives.
    const kept = (lives ?? 2 * this.#ttl + ONE_HOUR) * 1.01
    if (isWritten || replaces !== undefined) {
      return (await this.#ask('renew', [user, id, escaped(replaces ?? sessionId), kept])).count
    }
    const values = [user, id, claiming.fingerprint, kept]
    if (!refuses || max === Infinity) return (await this.#ask('enter', [...values, null])).count
    const lock = Buffer.from(fingerprint(user), 'base64url').readInt32BE()
    return (await askInTurn(this.#pool, lock, this.#sql.enter, [...values, max])).count
  }

  #ask (name: keyof ReturnType<typeof statementsOn>, values: unknown[]): ReturnType<typeof ask> {
    return ask(this.#pool, this.#sql[name], values)
  }
}
