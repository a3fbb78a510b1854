import type { RouteOptions } from './route'
import { NotFreshError, OptionError } from '../errors'
import { isDuration } from '../options/table'
import { isWithin } from '../session/freshness'
import type { SessionState } from '../session/state'
import { shown } from '../values/kind'

/** What is wrong with the `fresh` of a route. */
export function mistakeIn (route: RouteOptions): Error | undefined {
  const fresh: unknown = freshOf(route)
  if (fresh === undefined || isDuration(fresh)) return undefined
  return new OptionError(`fresh must be a positive number of milliseconds, and not ${shown(fresh)}`)
}

/** Why the route isn't for this visitor, who must have authenticated lately. */
export function refusalBy (route: RouteOptions, { authenticatedAt }: SessionState): Error | undefined {
  const fresh = freshOf(route)
  if (fresh === undefined) return undefined
  // Of a route that was there before the plugin nobody has heard until now.
  return mistakeIn(route) ?? (isWithin(authenticatedAt, fresh) ? undefined : new NotFreshError(fresh))
}

/** Whether the route's answer depends on the session, whatever its handler does. */
export function isGuarded (route: RouteOptions): boolean {
  return freshOf(route) !== undefined
}

function freshOf (route: RouteOptions): number | undefined {
  return (route || undefined)?.fresh ?? undefined
}
