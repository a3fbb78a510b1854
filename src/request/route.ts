import type { FastifyRequest } from 'fastify'
import type { RouteSessionOptions } from '../types/options'

export type RouteOptions = RouteSessionOptions | false | undefined

const LAZY: RouteSessionOptions = { lazy: true }

/** What a route says of its session. */
export function routeOptionsOf (config: object | undefined, sessionName: string): RouteOptions {
  // Under a name that the application chooses, so no declaration can have it.
  const said = (config as Record<string, RouteOptions | 'lazy'> | undefined)?.[sessionName]
  return said === 'lazy' ? LAZY : said
}

/** Within how many milliseconds its visitors must have authenticated. */
export function freshOf (route: RouteOptions): number | undefined {
  return (route || undefined)?.fresh ?? undefined
}

/** Within how many milliseconds their devices must have proved themselves. */
export function proofOf (route: RouteOptions): number | undefined {
  return (route || undefined)?.proof ?? undefined
}

/** Whether a session is loaded when the handler asks for it. One that must be fresh or proved is loaded at once. */
export function isLoadedLate (route: RouteOptions, byDefault: boolean): boolean {
  return route !== false && (route?.lazy ?? byDefault) && freshOf(route) === undefined && proofOf(route) === undefined
}

/**
 * Whether a request is within the path of the cookie, which no browser sends outside of it. What the browser asked for
 * counts, and not what `rewriteUrl` or a router of Express has made of it.
 */
export function isWithin ({ originalUrl }: FastifyRequest, cookiePath: string): boolean {
  if (cookiePath === '/') return true
  const [path = ''] = originalUrl.replace(ORIGIN, '').split('?', 1)
  if (!path.startsWith(cookiePath)) return false
  return path.length === cookiePath.length || cookiePath.endsWith('/') || path[cookiePath.length] === '/'
}

// As proxies are asked, which servers must understand too (RFC 9112, 3.2.2).
const ORIGIN = /^https?:\/\/[^/?#]*/i
