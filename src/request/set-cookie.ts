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

/** Sends the session's cookie. Throws what the serializer or the signer says of it. */
export function setCookie (reply: FastifyReply, state: SessionState): void {
  const { visit, context: { settings } } = state
  const value = settings.cookiePrefix + state.signedId
  const text = state.hasPlainCookie ? cookieText(reply, state, value) : undefined
  if (text !== undefined) reply.header('Set-Cookie', text)
  else writeCookie(reply, state, value)
  if (hasPassed(visit.cookie)) settings.flaws.tell(warnOption, PASSED)
  if (visit.cookie.secure === 'auto' && state.attributes.secure === false) tellOfProxy(state)
}

function writeCookie (reply: FastifyReply, state: SessionState, value: string): void {
  const { cookieName, flaws } = state.context.settings
  const attributes = state.cookieAttributes()
  try {
    reply.setCookie(cookieName, value, attributes)
  } catch (error) {
    throw new CookieError((error as Error).message)
  }
  // What could be known at registration has been told then, and is not told twice.
  flaws.tellAll(warnCookieRefused, refusedByBrowsers(cookieName, attributes as CookieOptions))
}

/** A proxy that ends TLS says so, and Fastify was not told to believe it. */
function tellOfProxy ({ visit, context }: SessionState): void {
  const headers = visit.request?.headers
  if (/^https\b/i.test(String(headers?.['x-forwarded-proto']))) context.settings.flaws.tell(warnProxy, 'X-Forwarded-Proto')
  else if (/\bproto="?https\b/i.test(String(headers?.forwarded))) context.settings.flaws.tell(warnProxy, 'Forwarded')
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
