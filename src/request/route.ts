import type { FastifyRequest } from 'fastify'
import type { RouteSessionOptions } from '../types/options'

type RouteOptions = RouteSessionOptions | false | undefined

/** What the route of a request says of its session. */
export function routeOptionsOf ({ routeOptions }: FastifyRequest, sessionName: string): RouteOptions {
  // Under a name that the application chooses, so no declaration can have it.
  const config = routeOptions.config as unknown as Record<string, RouteOptions> | undefined
  return config?.[sessionName]
}

/** Whether a URL is within the path of the cookie, which no browser sends outside of it. */
export function isWithin (url: string, cookiePath: string): boolean {
  const end = url.indexOf('?')
  const path = end === -1 ? url : url.slice(0, end)
  if (!path.startsWith(cookiePath)) return false
  return path.length === cookiePath.length || cookiePath.endsWith('/') || path[cookiePath.length] === '/'
}
