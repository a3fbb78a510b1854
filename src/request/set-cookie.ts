import type { FastifyReply } from 'fastify'
import { cookieText } from './cookie-text'
import { isSecure } from './slot'
import { CookieError } from '../errors'
import { hasPassed, PASSED } from '../options/mistakes'
import { refusedByBrowsers } from '../options/refused-by-browsers'
import type { SessionState } from '../session/state'
import type { Visit } from '../session/visit'
import { warnCookieRefused, warnOption, warnProxy } from '../warnings'
import type { CookieOptions } from '../types/cookie'

/** Sends the session's cookie. Throws if the serializer or the signer does. */
export function setCookie (reply: FastifyReply, state: SessionState): void {
  const { visit, context: { settings } } = state
  const value = settings.cookiePrefix + state.signedId
  const text = state.hasPlainCookie ? cookieText(reply, state, value) : undefined
  if (text !== undefined) reply.header('Set-Cookie', text)
  else writeCookie(reply, state, value)
  if (hasPassed(visit.cookie)) settings.flaws.tell(warnOption, PASSED)
  if (visit.cookie.secure === 'auto' && state.attributes.secure === false) tellOfProxy(state)
}

/** Removes the cookie that an earlier reply to this request set, before an error handler sent another one. */
export function dropCookie (reply: FastifyReply, cookieName: string): void {
  const others = cookiesOf(reply).filter(cookie => !cookie.startsWith(`${cookieName}=`))
  reply.removeHeader('set-cookie')
  reply.header('set-cookie', others)
}

/** Whether the application itself sets or clears the cookie. */
export function hasCookie (reply: FastifyReply, cookieName: string): boolean {
  return cookiesOf(reply).some(cookie => cookie.startsWith(`${cookieName}=`))
}

function cookiesOf (reply: FastifyReply): string[] {
  return [reply.getHeader('set-cookie') ?? []].flat().map(String)
}

function writeCookie (reply: FastifyReply, state: SessionState, value: string): void {
  const { cookieName, flaws } = state.context.settings
  const attributes = state.cookieAttributes()
  try {
    reply.setCookie(cookieName, value, attributes)
  } catch (error) {
    throw new CookieError((error as Error).message)
  }
  // Flaws that were already warned about at registration aren't told again.
  flaws.tellAll(warnCookieRefused, refusedByBrowsers(cookieName, attributes as CookieOptions))
}

/** Warns if a proxy that terminates TLS says https in a header, and Fastify isn't configured to trust it. */
function tellOfProxy ({ visit, context }: SessionState): void {
  const headers = visit.request?.headers
  if (/^https\b/i.test(String(headers?.['x-forwarded-proto']))) context.settings.flaws.tell(warnProxy, 'X-Forwarded-Proto')
  else if (/\bproto="?https\b/i.test(String(headers?.forwarded))) context.settings.flaws.tell(warnProxy, 'Forwarded')
}

/** Clears the cookie. A browser refuses that if an attribute is missing, as it would refuse the cookie itself. */
export function clearCookie (reply: FastifyReply, cookieName: string, visit: Visit): void {
  const { domain, path, partitioned, sameSite } = visit.cookie
  // In a page that another site embeds, browsers only accept cookies with SameSite=None, which needs https.
  const isLax = visit.cookie.secure === 'auto' && !visit.isOverHttps
  const isForOthers = !isLax && String(sameSite).toLowerCase() === 'none'
  const secure = isSecure(visit) || partitioned === true || isForOthers || /^__(Host|Secure)-/.test(cookieName)
  const site = isForOthers && { sameSite: 'none' as const }
  reply.clearCookie(cookieName, { domain, path: path || '/', secure, partitioned, ...site })
}
