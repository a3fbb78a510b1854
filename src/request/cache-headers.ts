import type { FastifyReply } from 'fastify'

/**
 * Keeps caches in between from handing one visitor's response, or session cookie, to another (CWE-525, RFC 9111).
 *
 * @param isUsed whether the response may depend on the session
 * @param isSet whether it sets the session's cookie
 */
export function tellCaches (reply: FastifyReply, isUsed: boolean, isSet: boolean): void {
  if (isSet && !reply.hasHeader('cache-control')) reply.header('cache-control', 'no-store')
  if (!isUsed) return
  const varies = String(reply.getHeader('vary') ?? '')
  if (varies === '') reply.header('vary', 'Cookie')
  else if (!/(^|,)\s*(\*|cookie)\s*(,|$)/i.test(varies)) reply.header('vary', `${varies}, Cookie`)
}
