/** What a read of Redis becomes: a record whose fields are parsed when they are read. */
import { define, lazyFields } from '../values/lazy-fields'
import { expiryOf } from '../values/record'
import {
  absoluteEndOf, COOKIE, isOwnCookie, lifeOf, mergeMeta, nameOf, objectOf, ownEndOf, parse, recordOfText, slackOf,
  type Fields, type Meta
} from './redis-layout'
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

// Redis tells what is left, the record when: they differ by the way between.
const SAME = 1000

/**
 * @param reply a hash's fields and texts in turn, or a string, which connect-redis wrote
 * @param left what Redis keeps it for, in milliseconds; -1 for ever
 * @param ttl the store's, in milliseconds
 * @returns undefined when it isn't a session
 * @throws FST_ERR_SESSION_RECORD
 */
export function foundIn (reply: Fields | string, left: number, ttl: number): Found | undefined {
  if (typeof reply !== 'string') return foundInHash(reply, left, ttl)
  const record = recordOfText(reply)
  if (record === undefined) return undefined
  const cookie: Meta = { ...objectOf(record.cookie) }
  // No slack: what wrote it knows none.
  const found = finish(record, cookie, left, ttl, 0)
  hide(record, reply)
  return found
}

/** The text of a key as it was handed out, or '' where the record hasn't got it. */
export function textOf (record: SessionRecord, key: string): string {
  const { [TEXTS]: texts } = record as Hidden
  if (typeof texts === 'object') return texts.get(key) ?? ''
  const source = texts === undefined ? record : recordOfText(texts) as SessionRecord
  return Object.hasOwn(source, key) ? JSON.stringify(source[key]) ?? '' : ''
}

function foundInHash (fields: Fields, left: number, ttl: number): Found | undefined {
  if (fields.length === 0) return undefined
  const record: SessionRecord = {}
  const texts = new Map<string, string>()
  const own: Meta = {}
  let cookie: string | undefined
  let isWhole = true
  for (let i = 0; i < fields.length; i += 2) {
    const [field, text] = [fields[i] as string, fields[i + 1] as string]
    if (field === COOKIE) {
      cookie = text
      continue
    }
    const { name, isMeta } = nameOf(field)
    if (isMeta) {
      own[name] = parse(text, 'a field of the library')
      continue
    }
    texts.set(name, text)
    if (!setLazily(record, name, text)) isWhole = false
  }
  const meta = mergeMeta(cookie, own)
  const found = finish(record, meta, left, ttl, isOwnCookie(cookie) ? slackOf(lifeOf(meta, ttl)) : 0)
  hide(record, texts)
  // What can't be read isn't kept alive by those who try.
  return isWhole ? found : { ...found, isDue: false }
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
  // It ends by the store's ttl only, or never by Redis's word.
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
