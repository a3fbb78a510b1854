/** Turns Redis's reply to a read into a record. */
import { COOKIE, lifeOf, slackOf, type Meta } from './kept-life'
import { isOwnCookie, mergeMeta, nameOf, type Fields } from './redis-layout'
import { foundInText, foundInTexts, parse, type Found } from './text-record'

/**
 * @param reply a hash's alternating fields and texts, or a string, which connect-redis wrote
 * @param left how long Redis will still keep it, in milliseconds; -1 if for ever
 * @param ttl the store's ttl, in milliseconds
 * @returns undefined if it isn't a session
 * @throws FST_ERR_SESSION_RECORD
 */
export function foundIn (reply: Fields | string, left: number, ttl: number): Found | undefined {
  if (typeof reply === 'string') return foundInText(reply, left, ttl)
  if (reply.length === 0) return undefined
  const texts = new Map<string, string>()
  const own: Meta = {}
  let cookie: string | undefined
  for (let i = 0; i < reply.length; i += 2) {
    const [field, text] = [reply[i] as string, reply[i + 1] as string]
    const { name, isMeta } = nameOf(field)
    if (isMeta) own[name] = parse(text, 'a field of the library')
    else if (field === COOKIE) cookie = text
    else texts.set(name, text)
  }
  const meta = mergeMeta(cookie, own)
  return foundInTexts(texts, meta, left, ttl, isOwnCookie(cookie) ? slackOf(lifeOf(meta, ttl)) : 0)
}
