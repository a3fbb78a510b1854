import type { FastifyRequest } from 'fastify'
import type { Settings } from '../options/settings'
import type { RouteSessionOptions } from '../types/options'

export type RouteOptions = RouteSessionOptions | false | undefined

const LAZY: RouteSessionOptions = { lazy: true }

/** The session options of a route. */
export function routeOptionsOf (config: object | undefined, sessionName: string): RouteOptions {
  // The application chooses the name, so no type can declare it.
  const said = (config as Record<string, RouteOptions | 'lazy'> | undefined)?.[sessionName]
  return said === 'lazy' ? LAZY : said
}

/** How recently its visitors must have authenticated, in milliseconds. */
export function freshOf (route: RouteOptions): number | undefined {
  return (route || undefined)?.fresh ?? undefined
}

/** How recently the device must have proved that it has the key, in milliseconds. */
export function proofOf (route: RouteOptions): number | undefined {
  return (route || undefined)?.proof ?? undefined
}

/** Whether the session is loaded only when the handler asks for it. `fresh` and `proof` need it at once. */
export function isLoadedLate (route: RouteOptions, byDefault: boolean): boolean {
  return route !== false && (route?.lazy ?? byDefault) && freshOf(route) === undefined && proofOf(route) === undefined
}

/** Whether a session is saved in which nothing was stored: `true`, `false`, or the application's function that says. */
export function savesUnused (
  route: RouteOptions, byDefault: Settings['saveUninitialized']
): Settings['saveUninitialized'] {
  return (route || undefined)?.saveUninitialized ?? byDefault
}

/**
 * Whether a request is within the cookie's path. Browsers don't send the cookie outside of it. The browser's own URL
 * counts, and not what `rewriteUrl` or an Express router has changed it to.
 */
export function isWithin ({ originalUrl }: FastifyRequest, cookiePath: string): boolean {
  if (cookiePath === '/') return true
  const [path = ''] = originalUrl.replace(ORIGIN, '').split('?', 1)
  if (!path.startsWith(cookiePath)) return false
  return path.length === cookiePath.length || cookiePath.endsWith('/') || path[cookiePath.length] === '/'
}

// The absolute form, as sent to proxies. Servers must accept it too (RFC 9112, 3.2.2).
const ORIGIN = /^https?:\/\/[^/?#]*/i
