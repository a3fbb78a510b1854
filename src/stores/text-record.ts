/** Records whose keys are parsed when they are read. RedisStore and PostgresStore return them. */
import { RecordError } from '../errors'
import { define, lazyFields } from '../values/lazy-fields'
import { expiryOf } from '../values/record'
import { valueError } from '../values/refusals'
import { absoluteEndOf, COOKIE, lifeOf, objectOf, ownEndOf, type Meta } from './kept-life'
import type { SessionRecord } from '../types/store'

/** The result of a read. */
export interface Found {
  readonly record: SessionRecord
  /** Whether a use must move its end, because more than a hundredth of its life has passed since the last move. */
  readonly isDue: boolean
  /** Its idle timeout in milliseconds; 0 if its end is fixed. */
  readonly life: number
  /** Its absolute end, in milliseconds since the epoch. */
  readonly limit: number
}

/** A record's texts by key, as the store returned them. If connect-redis wrote the record, its whole text. */
const TEXTS = Symbol('texts')

interface Hidden {
  [TEXTS]?: Map<string, string> | string
}

// Up to this length, parsing a text costs less than postponing it.
const SHORT = 64

const parseLater = lazyFields((record, key) => parse(textOf(record, key), 'the field of a key'))

// Two ends that differ by less are the same, in milliseconds. A store returns the time left, which is converted to an
// end when the answer arrives.
const SAME = 1000

/**
 * Makes the record of a session that is stored as a text for each key.
 *
 * @param cookie the fields under `cookie`
 * @param left how long the store will still keep it, in milliseconds; negative if for ever
 * @param ttl the store's ttl, in milliseconds
 * @param slack how much longer than its life the store keeps it, in milliseconds
 */
export function foundInTexts (
  texts: Map<string, string>, cookie: Meta, left: number, ttl: number, slack: number
): Found {
  const record: SessionRecord = {}
  let isWhole = true
  for (const [name, text] of texts) if (!setLazily(record, name, text)) isWhole = false
  const found = finish(record, cookie, left, ttl, slack)
  hide(record, texts)
  // Attempts to read a broken record must not prolong it.
  return isWhole ? found : { ...found, isDue: false }
}

/**
 * Makes the record of a session that is stored as one text, as connect-redis does. Undefined if it isn't a session.
 *
 * @throws FST_ERR_SESSION_RECORD
 */
export function foundInText (text: string, left: number, ttl: number): Found | undefined {
  const record = recordOfText(text)
  if (record === undefined) return undefined
  const cookie: Meta = { ...objectOf(record.cookie) }
  // connect-redis adds no slack.
  const found = finish(record, cookie, left, ttl, 0)
  hide(record, text)
  return found
}

/** Parses what connect-redis wrote; undefined if it isn't a session. */
export function recordOfText (text: string): SessionRecord | undefined {
  const value = text === '' ? null : parse(text, 'the whole of it')
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as SessionRecord : undefined
}

/**
 * The JSON of a value; undefined if JSON has none for it, as for a function.
 *
 * @throws FST_ERR_SESSION_VALUE
 */
export function jsonOf (name: string, value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch (thrown) {
    throw valueError(name, value, thrown)
  }
}

/** @throws FST_ERR_SESSION_RECORD, because the message of JSON.parse would contain a part of the data */
export function parse (json: string, what: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    throw new RecordError(what)
  }
}

/** The text of a key as the store returned it; '' if the record doesn't have the key. */
export function textOf (record: SessionRecord, key: string): string {
  const { [TEXTS]: texts } = record as Hidden
  if (typeof texts === 'object') return texts.get(key) ?? ''
  const source = texts === undefined ? record : recordOfText(texts) as SessionRecord
  return Object.hasOwn(source, key) ? JSON.stringify(source[key]) ?? '' : ''
}

function finish (record: SessionRecord, cookie: Meta, left: number, ttl: number, slack: number): Found {
  const now = Date.now()
  const limit = absoluteEndOf(cookie)
  const life = lifeOf(cookie, ttl)
  const end = endOf(cookie, now + left, slack, limit, now)
  define(record, COOKIE, {
    ...cookie,
    expires: Number.isNaN(end) ? null : new Date(end),
    originalMaxAge: cookie.originalMaxAge ?? null
  })
  return { record, isDue: life > 0 && left < Math.min(life, limit - now), life, limit }
}

/** The session's end, as the store knows it; NaN if the session has no end of its own. */
function endOf (cookie: Meta, keptUntil: number, slack: number, limit: number, now: number): number {
  const written = expiryOf({ cookie })
  // It ends only by the store's ttl, or the store keeps it for ever.
  if (Number.isNaN(ownEndOf(cookie)) || keptUntil < now) return written
  // In the last hundredth before the absolute end, the slack may have been cut short, so it isn't subtracted. Nor is it
  // subtracted if the result would be in the past: the session is still alive.
  const isUncut = keptUntil <= limit - slack && keptUntil - slack > now
  const end = isUncut ? keptUntil - slack : Math.min(keptUntil, limit)
  return Math.abs(end - written) < SAME ? written : end
}

/** Returns whether the text seems to be valid. A long text isn't parsed for that. */
function setLazily (record: SessionRecord, key: string, text: string): boolean {
  if (text.length <= SHORT) {
    try {
      define(record, key, JSON.parse(text))
      return true
    } catch {}
  }
  parseLater(record, key)
  return text.length > SHORT && looksWhole(text)
}

// Most texts that can't be parsed were cut off.
function looksWhole (text: string): boolean {
  const ends = text.at(0) as string + text.at(-1)
  return ends === '{}' || ends === '[]' || ends === '""' || /^[-\d]+$/.test(ends)
}

function hide (record: SessionRecord, texts: Map<string, string> | string): void {
  Object.defineProperty(record, TEXTS, { value: texts })
}
