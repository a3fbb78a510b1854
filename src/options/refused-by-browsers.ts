import type { CookieOptions } from '../types/cookie'

const NONE: readonly string[] = []

/**
 * Why browsers refuse a cookie. It only causes a warning and is sent anyway, because other clients accept such cookies.
 */
export function refusedByBrowsers (cookieName: string, cookie: CookieOptions): readonly string[] {
  const { domain, path, secure, sameSite, partitioned } = cookie
  // Browsers recognise the prefixes in small letters, too.
  const isHost = /^__Host-/i.test(cookieName)
  // Called with each response, and true for nearly all.
  if (secure && !isHost) return NONE
  const flaws: string[] = []
  if (isHost && domain) flaws.push("a __Host- cookie can't have a domain; remove cookie.domain")
  if (isHost && path && path !== '/') flaws.push('a __Host- cookie must have the path /; remove cookie.path')
  if (secure) return flaws
  if (isHost) flaws.push('a __Host- cookie must be secure; set cookie.secure to true')
  if (/^__Secure-/i.test(cookieName)) flaws.push('a __Secure- cookie must be secure; set cookie.secure to true')
  if (String(sameSite).toLowerCase() === 'none') {
    flaws.push("a cookie with sameSite 'none' must be secure; set cookie.secure to true")
  }
  if (partitioned) flaws.push('a partitioned cookie must be secure; set cookie.secure to true')
  return flaws
}
