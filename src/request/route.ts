import type { FastifyRequest } from 'fastify'
import type { RouteSessionOptions } from '../types/options'

type RouteOptions = RouteSessionOptions | false | undefined

/** What the route of a request says of its session. */
export function routeOptionsOf ({ routeOptions }: FastifyRequest, sessionName: string): RouteOptions {
  // Under a name that the application chooses, so no declaration can have it.
  const config = routeOptions.config as unknown as Record<string, RouteOptions> | undefined
  return config?.[sessionName]
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
