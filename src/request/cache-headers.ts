import type { FastifyReply } from 'fastify'

/**
 * Keeps shared caches from sending one visitor's response or session cookie to another (CWE-525, RFC 9111).
 *
 * @param isUsed whether the response may depend on the session
 * @param isSet whether it sets the session's cookie
 */
export function tellCaches (reply: FastifyReply, isUsed: boolean, isSet: boolean): void {
  if (isSet) keepFromCaches(reply)
  if (!isUsed) return
  const varies = String(reply.getHeader('vary') ?? '')
  if (varies === '') reply.header('vary', 'Cookie')
  else if (!/(^|,)\s*(\*|cookie)\s*(,|$)/i.test(varies)) reply.header('vary', `${varies}, Cookie`)
}

/** Whether the response says that a shared cache may send it to everybody. */
export function isForEverybody (reply: FastifyReply): boolean {
  const control = directivesOf(cacheControlOf(reply))
  return FOR_EVERYBODY.test(control) && !FOR_ONE.test(control)
}

function keepFromCaches (reply: FastifyReply): void {
  const control = cacheControlOf(reply)
  if (control === '' || isForEverybody(reply)) reply.header('cache-control', 'no-store')
  // Otherwise a shared cache might keep it with the cookie. The browser's own cache may still keep it.
  else if (!FOR_ONE.test(directivesOf(control))) reply.header('cache-control', `${control}, private`)
}

function cacheControlOf (reply: FastifyReply): string {
  return String(reply.getHeader('cache-control') ?? '')
}

/** Without what is in quotes: the names of headers, as in `no-cache="private"`. */
function directivesOf (control: string): string {
  return control.replace(/"(\\.|[^"\\])*"/g, '""')
}

const FOR_EVERYBODY = /(^|[\s,])(public|s-maxage)\b/i
const FOR_ONE = /(^|[\s,])(private|no-store)\b/i
