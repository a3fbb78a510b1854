/** How a session is laid out in a Redis hash: the names of its fields and their texts. All of this is synchronous. */
import { expiryOf } from '../values/record'
import { ATTRIBUTES, COOKIE, isData, isMeta, metaOf, objectOf, type Meta } from './kept-life'
import { jsonOf, parse, recordOfText } from './text-record'
import type { SessionRecord } from '../types/store'

/** A hash's alternating fields and texts. */
export type Fields = string[]

// Begins the names of the library's own fields. A key of the application that begins with it gets one more.
const MARK = '\0'

// Short names, because Redis keeps a session of a few hundred bytes in one block, and each byte counts.
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

// Half of a character, which UTF-8 can't hold. Keys that have one are written in JSON, so that they stay different.
const HALF = /\p{Surrogate}/u

// Version 12.0.0 keeps these fields in the cookie's JSON, and reads them only there.
const KNOWN_TO_12_0 = ['userKey', 'claimedAt']

// The only form in which we write the cookie. The scripts have the same pattern.
const OWN_COOKIE = /^\{"expires":[\w.+-]+,"originalMaxAge":[\w.+-]+\}$/

export function fieldOfKey (key: string): string {
  if (HALF.test(key)) return MARK + JSON.stringify(key)
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
  // Version 12.0.0 wrote keys that begin with the mark as they are.
  return { name: rest.startsWith(MARK) ? rest : halfKeyIn(rest) ?? field, isMeta: false }
}

/** The key in its JSON; undefined if the text isn't the JSON of a key with half of a character. */
function halfKeyIn (text: string): string | undefined {
  try {
    const key: unknown = JSON.parse(text)
    return typeof key === 'string' && HALF.test(key) ? key : undefined
  } catch {
    return undefined
  }
}

/**
 * The fields of a whole session. Keys whose value JSON leaves out are missing.
 *
 * @throws FST_ERR_SESSION_VALUE
 */
export function fieldsOf (session: object): Fields {
  const { cookie, ...data } = session as SessionRecord
  return [...dataFields(data).fields, ...metaFields(metaOf(cookie)).fields, COOKIE, cookieText(cookie)]
}

/**
 * The arguments for converting a record into our form: the text that must still be there, then the fields. Undefined
 * if the record isn't a session.
 *
 * @param reply a hash's alternating fields and texts, which version 12.0.0 wrote; or a string, from connect-redis
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

/**
 * The fields to write, and the fields to remove because JSON leaves out their value, such as a function.
 *
 * @throws FST_ERR_SESSION_VALUE
 */
export function dataFields (data: Readonly<Record<string, unknown>>): { fields: Fields, lacking: string[] } {
  return textsOf(data, fieldOfKey, isData)
}

/** The same for the library's own fields. */
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

/**
 * Merges the cookie and the library's own fields. If the cookie isn't in our form, version 12.0.0 wrote it, before us
 * or in another process. Then the owner comes from the cookie only, and the earlier creation date is the right one. If
 * the owner has changed, the last authentication isn't theirs.
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

/** Whether the cookie's text is in our form. Otherwise other software wrote it, and added no slack. */
export function isOwnCookie (text: string | undefined): boolean {
  return text !== undefined && OWN_COOKIE.test(text)
}

/** A time as an argument of scripts; '' for none. */
export function timeArgument (time: number): number | '' {
  return Number.isFinite(time) ? time : ''
}

function textsOf (
  values: Readonly<Record<string, unknown>>, fieldOf: (name: string) => string, isKept: (name: string) => boolean
): { fields: Fields, lacking: string[] } {
  const fields: Fields = []
  const lacking: string[] = []
  for (const name of Object.keys(values)) {
    if (!isKept(name)) continue
    const json = jsonOf(name, values[name])
    if (json === undefined) lacking.push(fieldOf(name))
    else fields.push(fieldOf(name), json)
  }
  return { fields, lacking }
}

function finiteOrNull (value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}
