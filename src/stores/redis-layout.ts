/** How a session lies in a hash of Redis. Names of fields and their texts, nothing that waits. */
import { RecordError } from '../errors'
import { expiryOf } from '../values/record'
import { valueError } from '../values/refusals'
import type { SessionRecord } from '../types/store'

/** The library's own fields of a session, which stand under `cookie` in its record. */
export type Meta = Record<string, unknown>

/** Fields of a hash with their texts, in turn. */
export type Fields = string[]

export const COOKIE = 'cookie'

// No key of an application begins with it: those that do are written with one more.
const MARK = '\0'

// A session of a few hundred bytes is kept in one block by Redis, where each byte counts.
const CODES: Record<string, string> = {
  absoluteTimeout: 'a',
  authenticatedAt: 'l',
  chosen: 'h',
  claimedAt: 'i',
  createdAt: 'c',
  idle: 'd',
  seenAt: 's',
  userKey: 'u'
}
const NAMES = Object.fromEntries(Object.entries(CODES).map(([name, code]) => [code, name]))
const OTHER = ':'

/** What other software reads in a cookie, and configuration decides. Never kept. */
const ATTRIBUTES = new Set(['path', 'httpOnly', 'secure', 'sameSite', 'domain', 'partitioned', 'priority'])

// What version 12.0.0 keeps in the cookie's JSON, and takes from there alone.
const KNOWN_TO_12_0 = ['userKey', 'claimedAt']

// The only form in which the cookie is written. Scripts know it by the same pattern.
const OWN_COOKIE = /^\{"expires":[\w.+-]+,"originalMaxAge":[\w.+-]+\}$/

// Longer than this, and PEXPIRE can't take it.
const LONGEST_LIFE = 1e15

export function fieldOfKey (key: string): string {
  return key.startsWith(MARK) ? MARK + key : key
}

export function fieldOfMeta (name: string): string {
  return MARK + (Object.hasOwn(CODES, name) ? CODES[name] : OTHER + name)
}

/** What a field holds: a key of the application, or one of the library's own. */
export function nameOf (field: string): { name: string, isMeta: boolean } {
  if (!field.startsWith(MARK)) return { name: field, isMeta: false }
  const rest = field.slice(1)
  if (rest.startsWith(OTHER)) return { name: rest.slice(1), isMeta: true }
  if (Object.hasOwn(NAMES, rest)) return { name: NAMES[rest] as string, isMeta: true }
  // The rest is what version 12.0.0 wrote for a key that begins so.
  return { name: rest.startsWith(MARK) ? rest : field, isMeta: false }
}

/**
 * A whole session. Keys whose value JSON lacks are left out.
 *
 * @throws FST_ERR_SESSION_VALUE
 */
export function fieldsOf (session: object): Fields {
  const { cookie, ...data } = session as SessionRecord
  return [...dataFields(data).fields, ...metaFields(metaOf(cookie)).fields, COOKIE, cookieText(cookie)]
}

/**
 * What makes a record of ours of another one: the text that must still be there, and the fields. Undefined when it
 * isn't a session.
 *
 * @param reply a hash's fields and texts in turn, which version 12.0.0 wrote, or a string, which connect-redis wrote
 * @throws FST_ERR_SESSION_RECORD
 */
export function convert (reply: Fields | string): Fields | undefined {
  if (typeof reply === 'string') {
    const record = recordOfText(reply)
    return record && [reply, ...fieldsOf(record)]
  }
  const own: Meta = {}
  let text: string | undefined
  for (let i = 0; i < reply.length; i += 2) {
    const { name, isMeta } = nameOf(reply[i] as string)
    if (isMeta) own[name] = parse(reply[i + 1] as string, 'a field of the library')
    else if (name === COOKIE) text = reply[i + 1]
  }
  const cookie = mergeMeta(text, own)
  return [text ?? '', ...fieldsOf({ cookie })]
}

/** What connect-redis wrote; undefined when it isn't a session. */
export function recordOfText (text: string): SessionRecord | undefined {
  const value = text === '' ? null : parse(text, 'the whole of it')
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as SessionRecord : undefined
}

/**
 * The fields for what is set, and the fields of what JSON lacks, a function for instance: it is no more.
 *
 * @throws FST_ERR_SESSION_VALUE
 */
export function dataFields (data: Readonly<Record<string, unknown>>): { fields: Fields, lacking: string[] } {
  return textsOf(data, fieldOfKey, isData)
}

/** The same for the library's own. */
export function metaFields (meta: Readonly<Meta>): { fields: Fields, lacking: string[] } {
  return textsOf(meta, fieldOfMeta, isMeta)
}

export function cookieText (cookie: unknown): string {
  const { originalMaxAge } = (cookie ?? {}) as Meta
  return JSON.stringify({
    expires: finiteOrNull(expiryOf({ cookie })),
    originalMaxAge: finiteOrNull(originalMaxAge)
  })
}

export function isData (key: string): boolean {
  return key !== COOKIE
}

export function isMeta (name: string): boolean {
  return name !== 'expires' && name !== 'originalMaxAge' && !ATTRIBUTES.has(name)
}

/**
 * The cookie and the library's own in one. A cookie in another form was written by version 12.0.0, beside us or
 * before us: of what it keeps there, the owner is right there and nowhere else, and the earlier creation is the true
 * one. Another owner hasn't authenticated as the one before did.
 */
export function mergeMeta (text: string | undefined, own: Meta): Meta {
  const cookie: Meta = { ...objectOf(text === undefined ? {} : parse(text, 'its cookie')) }
  for (const name of ATTRIBUTES) delete cookie[name]
  if (text === undefined || isOwnCookie(text)) return { ...cookie, ...own }
  const meta: Meta = { ...own, ...cookie }
  for (const name of KNOWN_TO_12_0) if (!Object.hasOwn(cookie, name)) delete meta[name]
  if (cookie.userKey !== own.userKey) delete meta.authenticatedAt
  if (Number(own.createdAt) < Number(cookie.createdAt)) meta.createdAt = own.createdAt
  return meta
}

/** Whether the cookie's text is in our form: other software wrote it otherwise, and knows no slack. */
export function isOwnCookie (text: string | undefined): boolean {
  return text !== undefined && OWN_COOKIE.test(text)
}

/**
 * The session's end by what was written, in milliseconds since the epoch; NaN if it has none of its own. Of one that
 * has an absolute end only, that stands there, too: how long such a session may be idle the store's ttl says.
 */
export function ownEndOf (cookie: Meta): number {
  const end = expiryOf({ cookie })
  const isAbsolute = end === Math.trunc(absoluteEndOf(cookie)) && cookie.chosen === undefined &&
    !isLife(cookie.idle) && !isLife(cookie.originalMaxAge)
  return isAbsolute ? NaN : end
}

/**
 * How long the session may be idle, in milliseconds; 0 for one with a fixed end.
 *
 * @param ttl the store's, for a session without an end
 */
export function lifeOf (cookie: Meta, ttl: number): number {
  if (isLife(cookie.idle)) return cookie.idle
  if (isLife(cookie.originalMaxAge)) return cookie.originalMaxAge
  return Number.isNaN(ownEndOf(cookie)) ? ttl : 0
}

/** By how much Redis keeps a session longer, so that a read moves the end only once in a hundredth of its life. */
export function slackOf (life: number): number {
  return life / 100
}

/**
 * How long Redis must keep a session that is written now, in milliseconds. Never past its absolute end.
 *
 * @param ttl the store's, for a session without an end
 */
export function timeToKeep (session: object, ttl: number): number {
  const cookie = metaOf((session as SessionRecord).cookie)
  const life = lifeOf(cookie, ttl)
  const now = Date.now()
  const end = ownEndOf(cookie)
  const left = Number.isNaN(end) ? life : end - now
  return Math.ceil(left <= 0 ? left : Math.min(left + slackOf(life), absoluteEndOf(cookie) - now))
}

/** A time as scripts take it: '' for none. */
export function timeArgument (time: number): number | '' {
  return Number.isFinite(time) ? time : ''
}

/** When the session ends however much it is used, in milliseconds since the epoch. */
export function absoluteEndOf ({ createdAt, absoluteTimeout }: Meta): number {
  return typeof createdAt === 'number' && typeof absoluteTimeout === 'number' ? createdAt + absoluteTimeout : Infinity
}

/** @throws FST_ERR_SESSION_RECORD JSON.parse would show a part of the data in its error */
export function parse (json: string, what: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    throw new RecordError(what)
  }
}

/** Whatever other software wrote there. */
export function objectOf (value: unknown): Meta {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Meta : {}
}

function metaOf (cookie: unknown): Meta {
  // A live cookie says what it holds by its toJSON.
  const { toJSON } = objectOf(cookie)
  return objectOf(typeof toJSON === 'function' ? toJSON.call(cookie) : cookie)
}

function textsOf (
  values: Readonly<Record<string, unknown>>, fieldOf: (name: string) => string, isKept: (name: string) => boolean
): { fields: Fields, lacking: string[] } {
  const fields: Fields = []
  const lacking: string[] = []
  for (const name of Object.keys(values)) {
    if (!isKept(name)) continue
    const json = textOf(name, values[name])
    if (json === undefined) lacking.push(fieldOf(name))
    else fields.push(fieldOf(name), json)
  }
  return { fields, lacking }
}

function textOf (name: string, value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch (thrown) {
    throw valueError(name, value, thrown)
  }
}

function finiteOrNull (value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}

function isLife (value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value < LONGEST_LIFE
}
