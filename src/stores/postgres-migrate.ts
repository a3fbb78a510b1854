import { flawOf, type PostgresPool } from './postgres-client'
import { quoted } from './postgres-sql'
import { OptionError } from '../errors'

export interface MigrateOptions {
  /**
   * The name of the table, as in the store's options.
   *
   * @default 'session'
   */
  table?: string
  /**
   * What to do with the columns that connect-pg-simple made in this table. 'keep': both stores can be used at the same
   * time, and each reads what the other writes. 'drop': removes these columns. Use it only when no process with
   * connect-pg-simple is left.
   *
   * @default 'keep'
   */
  oldColumns?: 'keep' | 'drop'
}

// How many rows of connect-pg-simple are converted in one transaction.
const MOVED = 1000

// The column may contain 'infinity', which PostgreSQL can't subtract from.
const LATEST = "timestamp '9999-12-31'"

// One lock for all tables. If two processes made a table at the same time, one would fail.
const LOCK = 1_936_028_531

const EXPIRY = '_expires_at'
const INDEX_EXPIRY = '_index_expires_at'

// Looks for the table first: even with 'if not exists', statements that make it wait for everyone who reads the table,
// such as a backup, and every request would wait behind them.
const IS_MADE = `select
  (select count(*) from pg_attribute where attrelid = to_regclass($1) and attname in ('data', 'meta', 'expires_at')) = 3
  and (select count(*) from pg_index join pg_class on oid = indexrelid
    where indrelid in (to_regclass($1), to_regclass($2)) and relname in ($3, $4)) = 2 as is_made`
const OLD = `select
  exists (select from pg_attribute where attrelid = $1::regclass and attname = 'sess' and not attisdropped) as is_old,
  exists (select from pg_trigger where tgrelid = $1::regclass and tgname = 'fastify_session') as has_trigger`

/**
 * Returns the SQL that makes the tables of a `PostgresStore`, or adds what is missing to a table of connect-pg-simple.
 * It can be run again, and by several processes at the same time.
 *
 * @param table the name of the table, as in the store's options
 */
export function schema (table = 'session'): string {
  const [sessions, index] = [quoted(table), quoted(table, '_index')]
  return `select pg_advisory_xact_lock(${LOCK});
create table if not exists ${sessions} (sid text primary key);
alter table ${sessions}
  add column if not exists data jsonb,
  add column if not exists meta jsonb,
  add column if not exists expires_at timestamptz;
create index if not exists ${nameOf(table, EXPIRY)} on ${sessions} (expires_at);
create table if not exists ${index} (
  user_key text not null,
  sid text not null,
  fingerprint text not null,
  claimed_at bigint not null,
  entered_at timestamptz not null default now(),
  expires_at timestamptz not null,
  is_ending boolean not null default false,
  primary key (user_key, sid),
  unique (user_key, claimed_at)
);
create index if not exists ${nameOf(table, INDEX_EXPIRY)} on ${index} (expires_at);
`
}

/**
 * Makes the tables of a `PostgresStore`. In a table that connect-pg-simple made, it also converts the sessions, row by
 * row. Every process may call it when it starts.
 *
 * @throws FST_ERR_SESSION_OPTION
 */
export async function migrate (
  pool: PostgresPool, { table = 'session', oldColumns = 'keep' }: MigrateOptions = {}
): Promise<void> {
  const flaw = flawOf(pool)
  if (flaw !== undefined) throw new OptionError(`store is wrong: migrate() ${flaw}`)
  const sessions = quoted(table)
  const names = [sessions, quoted(table, '_index'), bareOf(table) + EXPIRY, bareOf(table) + INDEX_EXPIRY]
  const { rows: [{ is_made: isMade }] } = await pool.query(IS_MADE, names)
  if (isMade !== true) await pool.query(schema(table))
  const { rows: [{ is_old: isOld, has_trigger: hasTrigger }] } = await pool.query(OLD, [sessions])
  if (isOld !== true) return
  await pool.query(bothWays(table) + (hasTrigger === true ? '' : trigger(table)))
  for (let after = ''; ;) {
    const { rows: [{ last, count }] } = await pool.query(`with old as (
      select sid from ${sessions} where sid >= $1 and data is null order by sid limit $2 for update
    ), moved as (
      update ${sessions} s set data = null from old where s.sid = old.sid
    ) select max(sid) as last, count(*)::int as count from old`, [after, MOVED])
    if (Number(count) < MOVED) break
    after = last
  }
  if (oldColumns === 'drop') await pool.query(switched(table))
}

/**
 * The trigger's function. As long as the columns of connect-pg-simple exist, it keeps both forms of a row in sync.
 * PostgreSQL refuses to read JSON with the escape of a zero byte or of half a character, so the escapes are escaped
 * first: each backslash becomes two, by way of characters that JSON can't contain. The texts of values stay as they
 * are, and keys stay escaped.
 */
function bothWays (table: string): string {
  const name = quoted(table, '_both_ways')
  const texts = (json: string): string => `(select coalesce(
    jsonb_object_agg(key, regexp_replace(value::text, '\\\\\\\\\\\\?(.)', '\\\\\\1', 'g')), '{}') from json_each(${json}))`
  const fields = (texts: string): string =>
    `(select string_agg('"' || key || '":' || value, ',') from jsonb_each_text(${texts}))`
  const date = (time: string): string =>
    `jsonb_build_object('expires', to_char(${time} at time zone 'UTC', '\\"YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\\"'))`
  return `select pg_advisory_xact_lock(${LOCK});
create or replace function ${name}() returns trigger language plpgsql as $$
declare
  masked json;
  cookie json;
  fields jsonb;
  ends text := 'null';
begin
  if new.data is null or (tg_op = 'UPDATE' and new.sess::text is distinct from old.sess::text) then
    masked := replace(replace(replace(replace(replace(replace(new.sess::text, '\\\\', chr(1)), '\\"', chr(2)), '\\', chr(3)),
      chr(1), '\\\\\\\\'), chr(2), '\\\\\\"'), chr(3), '\\\\');
    masked := case json_typeof(masked) when 'object' then masked else '{}' end;
    cookie := case json_typeof(masked->'cookie') when 'object' then masked->'cookie' else '{}' end;
    begin
      if cookie->>'expires' ~ '^\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z$' then
        ends := round(extract(epoch from (cookie->>'expires')::timestamptz) * 1000)::bigint;
      end if;
    exception when data_exception then
      -- It looks like a date, and isn't one. So the session has no end of its own.
    end;
    new.data := ${texts('masked')} - 'cookie';
    new.meta := ${texts('cookie')} - '{path,httpOnly,secure,sameSite,domain,partitioned,priority}'::text[]
      || jsonb_build_object('expires', ends);
    new.expires_at := least(new.expire, ${LATEST}) + case when cookie->>'originalMaxAge' ~ '^\\d{1,15}(\\.\\d+)?$'
      then (cookie->>'originalMaxAge')::float8 / 100 else 0 end * interval '1 ms';
  elsif tg_op = 'UPDATE' and new.expire is distinct from old.expire then
    new.expires_at := greatest(new.expires_at, least(new.expire, ${LATEST}));
  else
    fields := new.meta || case
      when not new.meta->>'expires' ~ '^\\d' then '{}'
      when coalesce(new.meta->>'idle', new.meta->>'originalMaxAge') ~ '^\\d' then ${date('new.expires_at')}
      else ${date("to_timestamp((new.meta->>'expires')::float8 / 1000)")} end;
    new.expire := new.expires_at;
    new.sess := ('{' || concat_ws(',', ${fields('new.data')}, '"cookie":{' || ${fields('fields')} || '}') || '}')::json;
  end if;
  return new;
end $$;
`
}

function trigger (table: string): string {
  const name = quoted(table, '_both_ways')
  return `drop trigger if exists fastify_session on ${quoted(table)};
create trigger fastify_session before insert or update on ${quoted(table)} for each row execute function ${name}();
`
}

function switched (table: string): string {
  return `select pg_advisory_xact_lock(${LOCK});
drop function if exists ${quoted(table, '_both_ways')} cascade;
alter table ${quoted(table)} drop column if exists sess, drop column if exists expire;
`
}

/** The name of an index. It has no schema, because an index is always in its table's schema. */
function nameOf (table: string, suffix: string): string {
  return quoted(bareOf(table), suffix)
}

function bareOf (table: string): string {
  return table.slice(table.lastIndexOf('.') + 1)
}
