import type { FastifyReply } from 'fastify'
import { isSecure } from './slot'
import type { SessionState } from '../session/state'
import type { Visit } from '../session/visit'

/** Sends the session's cookie. Throws what the serializer or the signer says of it. */
export function setCookie (reply: FastifyReply, state: SessionState): void {
  const { cookieName, cookiePrefix } = state.context.settings
  reply.setCookie(cookieName, cookiePrefix + state.signedId, state.cookieAttributes())
}

/** Removes the cookie. A browser refuses that, as it would refuse the cookie, if an attribute is missing. */
export function clearCookie (reply: FastifyReply, cookieName: string, visit: Visit): void {
  const { domain, path, partitioned, sameSite } = visit.cookie
  // In a page that another site embeds, browsers take only what is meant for that. Over http it can't be.
  const isLax = visit.cookie.secure === 'auto' && !visit.isOverHttps
  const isForOthers = !isLax && String(sameSite).toLowerCase() === 'none'
  const secure = isSecure(visit) || partitioned === true || isForOthers || /^__(Host|Secure)-/.test(cookieName)
  const site = isForOthers && { sameSite: 'none' as const }
  reply.clearCookie(cookieName, { domain, path: path || '/', secure, partitioned, ...site })
}
