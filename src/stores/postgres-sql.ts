/**
 * The statements of PostgresStore. Each is a transaction of its own, and checks and acts in one step: if another
 * transaction holds the row, the statement waits for it, and then checks again. The statements don't make or parse a
 * session's JSON, because its texts must stay as they are.
 */
import { parse } from './text-record'
import { OptionError } from '../errors'

// PostgreSQL cuts names off after 63 bytes. The names of the index and of the function begin with the table's.
const LONGEST_NAME = 63 - '_index_expires_at'.length

/**
 * A table's name quoted for SQL, with or without a schema.
 *
 * @throws FST_ERR_SESSION_OPTION
 */
export function quoted (table: string, suffix = ''): string {
  const parts = typeof table === 'string' ? table.split('.') : []
  const name = parts.pop() ?? ''
  if (name === '' || Buffer.byteLength(name) > LONGEST_NAME) {
    const needed = `a table's name of at most ${LONGEST_NAME} bytes, with or without a schema before it`
    throw new OptionError(`store is wrong: the table of a PostgresStore must be ${needed}`)
  }
  return [...parts, name + suffix].map(part => `"${part.replaceAll('"', '""')}"`).join('.')
}

/**
 * Escapes a text so that PostgreSQL can store it, without zero bytes and halves of characters. Our ids and most keys
 * stay the same.
 */
export function escaped (text: string): string {
  return JSON.stringify(text).slice(1, -1)
}

/** @throws FST_ERR_SESSION_RECORD, if other software wrote the text */
export function unescaped (text: string): string {
  return text.includes('\\') ? parse(`"${text}"`, 'a name') as string : text
}

/** Joins a statement into one line, because it is sent with each call. Inserted values stay as they are. */
export function sql (parts: TemplateStringsArray, ...values: string[]): string {
  return parts.map((part, i) => part.replace(/\s+/g, ' ') + (values[i] ?? '')).join('').trim()
}

const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`

// Reads one of the library's own fields, which are JSON texts, as a number. Null if it can't be a time.
const number = (name: string): string =>
  `case when meta->>'${name}' ~ '^-?\\d{1,16}(\\.\\d+)?$' then (meta->>'${name}')::float8 end`
const life = (name: string): string => `case when ${name} > 0 and ${name} < 1e15 then ${name} end`

const LEFT = 'extract(epoch from expires_at - now()) * 1000'
const milliseconds = (value: string): string => `now() + least(greatest(${value}, 0), 8.7e15) * interval '1 ms'`

/**
 * Computes from a row's `meta` how long the row must be kept, in milliseconds. `wanted`: until the session's end plus a
 * hundredth of its life, but never past its absolute end. `needed`: the same without the hundredth. `most`: until the
 * absolute end. Unless the end is exact, it is no later than the record's own idle timeout from now, because another
 * request may have chosen a shorter lifetime since. `offset 0` makes PostgreSQL compute each step once. Otherwise it
 * would repeat a step wherever the next one names it.
 *
 * @param now the statement's parameter with the time
 * @param ends the one with the session's end; null for one idle timeout from now
 * @param ttl the one with the store's ttl
 */
const timesFrom = (meta: string, now: string, ends: string, ttl: string, isExact: string): string => sql`
  (select ${meta} as meta offset 0) _0,
  lateral (select ${number('idle')} as n1, ${number('originalMaxAge')} as n2, ${number('expires')} as fixed,
    ${number('createdAt')} + ${number('absoluteTimeout')} - ${now} as n3 offset 0) _1,
  lateral (select ${life('n1')} as own, ${life('n2')} as max_age, coalesce(n3, 'infinity') as most) _2,
  lateral (select case
    when ${ends} is null or ${isExact} or not meta ? 'seenAt' then ${ends}
    when own is not null then least(${ends}, ${now} + own)
    else fixed end as ends offset 0) _3,
  lateral (select coalesce(own, max_age, case when ends is null then ${ttl} end) as idle offset 0) _4,
  lateral (select coalesce(ends - ${now}, idle) as whole offset 0) _5,
  lateral (select case when whole <= 0 then 0 else least(whole + coalesce(idle, 0) / 100, most) end as wanted,
    least(whole, most) as needed, ${LEFT} as kept offset 0) _6`

/** The statements for a table. */
export function statementsOn (table: string) {
  const sessions = quoted(table)
  const index = quoted(table, '_index')
  const channel = `'session_' || ${literal(sessions)}::regclass::oid`
  const row = `data::text as data, meta::text as meta, (${LEFT})::float8 as left_`
  const alive = 'expires_at > now()'
  return {
    read: sql`select ${row} from ${sessions} where sid = $1 and ${alive}`,

    /** $1: the id, $2: data, $3: meta, $4: how long to keep it in milliseconds. */
    set: sql`insert into ${sessions} (sid, data, meta, expires_at)
      values ($1, $2::jsonb, $3::jsonb, ${milliseconds('$4::float8')})
      on conflict (sid) do update set data = excluded.data, meta = excluded.meta, expires_at = excluded.expires_at`,

    /**
     * $1: the id, $2 and $3: the keys of the data to remove, and the data to write, $4 and $5: the same for the meta,
     * $6: the time, $7: the end or null, $8: the store's ttl, $9: what the end is (1: exact; 2: limited by what is
     * written; 3: the same, and not moved otherwise; 0: none of these), $10: the expected texts by key, null for a key
     * that must be missing. Differences are counted, because PostgreSQL would make a join of 'not exists', and wouldn't
     * check that again after waiting for the row.
     */
    update: sql`update ${sessions} s set (data, meta, expires_at) = (
        select (s.data - $2::text[]) || $3::jsonb, meta, case
          when $9 = 1 or (needed > kept and $9 <> 3) then ${milliseconds('wanted')}
          when kept > most then ${milliseconds('most')}
          else s.expires_at end
        from ${timesFrom('(s.meta - $4::text[]) || $5::jsonb', '$6::float8', '$7::float8', '$8::float8', '$9::int = 1')}
      )
      where sid = $1 and ${alive} and (
        select count(*) from jsonb_each_text($10::jsonb) e where s.data->>e.key is distinct from e.value
      ) = 0`,

    /** $1: the id, $2: the time, $3: the end or null, $4: the store's ttl. */
    touch: sql`update ${sessions} s set expires_at = (
        select greatest(s.expires_at, ${milliseconds('wanted')})
        from ${timesFrom('s.meta', '$2::float8', '$3::float8', '$4::float8', 'false')}
      )
      where sid = $1 and ${alive}`,

    /** $1: the id, $2: the message for processes that listen. */
    destroy: sql`with gone as (delete from ${sessions} where sid = $1 returning data, meta, expires_at)
      select ${row}, pg_notify(${channel}, $2) from gone where ${alive}`,

    isThere: sql`select from ${sessions} where sid = $1 and ${alive}`,
    all: sql`select sid, ${row} from ${sessions} where ${alive}`,
    length: sql`select count(*)::float8 as count from ${sessions} where ${alive}`,
    clear: sql`with entries as (delete from ${index}) delete from ${sessions}`,
    channel: sql`select ${channel} as channel`,

    /** $1: how many rows. Skips rows that another process is removing. */
    sweep: sql`with old as (
        select sid from ${sessions} where expires_at <= now() order by expires_at limit $1 for update skip locked
      ), entries as (
        delete from ${index} where (user_key, sid) in (
          select user_key, sid from ${index} where expires_at <= now() order by expires_at limit $1
          for update skip locked
        )
      )
      delete from ${sessions} where sid in (select sid from old)`
  }
}

export type Statements = ReturnType<typeof statementsOn>
