import type { SessionState } from './state'
import { NotFreshError, OptionError } from '../errors'
import { isDuration } from '../options/table'
import { shown } from '../values/kind'

/** Whether the visitor has authenticated within this many milliseconds, including a login that isn't written yet. */
export function isFresh (state: SessionState, milliseconds: number): boolean {
  // A session that can't be written any more is never fresh.
  if (!state.isInStore && state.standing !== 'new') return false
  const { index } = state.context
  return isWithin(index === undefined ? state.authenticatedAt : index.claims.authenticatedAt(state), milliseconds)
}

/** Whether a time is within the last milliseconds. A time in the future counts, because clocks differ. */
function isWithin (time: number | undefined, milliseconds: number): boolean {
  // Don't invert: an unknown time must not count as fresh.
  return time !== undefined && Date.now() - time < milliseconds
}

/** Returns an error if the `fresh` of a route is wrong. */
export function mistakeIn (fresh: unknown): Error | undefined {
  if (fresh === undefined || isDuration(fresh)) return undefined
  return new OptionError(`fresh must be a positive number of milliseconds, and not ${shown(fresh)}`)
}

/** Returns an error if a route with `fresh` refuses this visitor. */
export function refusalBy (fresh: number | undefined, state?: SessionState): Error | undefined {
  if (fresh === undefined) return undefined
  // The options of a route that was added before the plugin haven't been checked yet.
  return mistakeIn(fresh) ?? (isWithin(state?.authenticatedAt, fresh) ? undefined : new NotFreshError(fresh))
}

/** Passes the time of the last authentication on in regenerate(). A new session without data doesn't get it. */
export function takeAuthentication (
  from: SessionState, next: SessionState, takesData: boolean, isAuthenticated: boolean
): void {
  if (takesData) {
    next.authenticatedAt = from.authenticatedAt
    next.ownerTaken = from.context.index?.claims.ownerBefore(from)
  }
  if (isAuthenticated) next.authenticatedAt = Date.now()
}
