/** A record whose keys are parsed when they are read: what RedisStore and PostgresStore hand out. */
import { RecordError } from '../errors'
import { define, lazyFields } from '../values/lazy-fields'
import { expiryOf } from '../values/record'
import { valueError } from '../values/refusals'
import { absoluteEndOf, COOKIE, lifeOf, objectOf, ownEndOf, type Meta } from './kept-life'
import type { SessionRecord } from '../types/store'

/** What a read found out about a session. */
export interface Found {
  readonly record: SessionRecord
  /** Whether more than a hundredth of its life has passed since its end was moved, so that a use must move it. */
  readonly isDue: boolean
  /** How long it may be idle, in milliseconds; 0 for one with a fixed end. */
  readonly life: number
  /** When the session ends however much it is used, in milliseconds since the epoch. */
  readonly limit: number
}

/** The texts of a record by key, as they were handed out; of one that connect-redis wrote, the whole. */
const TEXTS = Symbol('texts')

interface Hidden {
  [TEXTS]?: Map<string, string> | string
}

// Below this, parsing costs less than putting it off.
const SHORT = 64

const parseLater = lazyFields((record, key) => parse(textOf(record, key), 'the field of a key'))

// The store tells what is left, the record when: they differ by the way between.
const SAME = 1000

/**
 * A session whose keys are kept as texts.
 *
 * @param cookie what it has under `cookie`
 * @param left what the store keeps it for, in milliseconds; less than 0 for ever
 * @param ttl the store's, in milliseconds
 * @param slack by how much it is kept longer than it lives, in milliseconds
 */
export function foundInTexts (
  texts: Map<string, string>, cookie: Meta, left: number, ttl: number, slack: number
): Found {
  const record: SessionRecord = {}
  let isWhole = true
  for (const [name, text] of texts) if (!setLazily(record, name, text)) isWhole = false
  const found = finish(record, cookie, left, ttl, slack)
  hide(record, texts)
  // What can't be read isn't kept alive by those who try.
  return isWhole ? found : { ...found, isDue: false }
}

/**
 * A session that is one text, as connect-redis writes it. Undefined when it isn't a session.
 *
 * @throws FST_ERR_SESSION_RECORD
 */
export function foundInText (text: string, left: number, ttl: number): Found | undefined {
  const record = recordOfText(text)
  if (record === undefined) return undefined
  const cookie: Meta = { ...objectOf(record.cookie) }
  // No slack: what wrote it knows none.
  const found = finish(record, cookie, left, ttl, 0)
  hide(record, text)
  return found
}

/** What connect-redis wrote; undefined when it isn't a session. */
export function recordOfText (text: string): SessionRecord | undefined {
  const value = text === '' ? null : parse(text, 'the whole of it')
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as SessionRecord : undefined
}

/**
 * The text of a value; undefined if JSON has none for it, as for a function.
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

/** @throws FST_ERR_SESSION_RECORD JSON.parse would show a part of the data in its error */
export function parse (json: string, what: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    throw new RecordError(what)
  }
}

/** The text of a key as it was handed out, or '' where the record hasn't got it. */
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

/** The session's end as the store knows it: NaN where it has none of its own. */
function endOf (cookie: Meta, keptUntil: number, slack: number, limit: number, now: number): number {
  const written = expiryOf({ cookie })
  // It ends by the store's ttl only, or never by the store's word.
  if (Number.isNaN(ownEndOf(cookie)) || keptUntil < now) return written
  // Of the last hundredth before the absolute end nobody knows whether it was cut short. Nor is a living session over.
  const isUncut = keptUntil <= limit - slack && keptUntil - slack > now
  const end = isUncut ? keptUntil - slack : Math.min(keptUntil, limit)
  return Math.abs(end - written) < SAME ? written : end
}

/** Answers whether the text can be read, as far as can be told without reading all of it. */
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

// Most texts that can't be read were cut.
function looksWhole (text: string): boolean {
  const ends = text.at(0) as string + text.at(-1)
  return ends === '{}' || ends === '[]' || ends === '""' || /^[-\d]+$/.test(ends)
}

function hide (record: SessionRecord, texts: Map<string, string> | string): void {
  Object.defineProperty(record, TEXTS, { value: texts })
}
