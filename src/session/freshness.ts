import type { SessionState } from './state'
import { NotFreshError, OptionError } from '../errors'
import { isDuration } from '../options/table'
import { shown } from '../values/kind'

/** Whether the visitor has authenticated within so many milliseconds, as the session would be written now. */
export function isFresh (state: SessionState, milliseconds: number): boolean {
  // Of one that can't be written nothing is known.
  if (!state.isInStore && state.standing !== 'new') return false
  const { index } = state.context
  return isWithin(index === undefined ? state.authenticatedAt : index.claims.authenticatedAt(state), milliseconds)
}

/** Whether a time is no longer ago than that. One that is still to come, of a clock that is ahead, is. */
function isWithin (time: number | undefined, milliseconds: number): boolean {
  // Don't invert: a time that isn't known is no longer fresh.
  return time !== undefined && Date.now() - time < milliseconds
}

/** What is wrong with the `fresh` of a route. */
export function mistakeIn (fresh: unknown): Error | undefined {
  if (fresh === undefined || isDuration(fresh)) return undefined
  return new OptionError(`fresh must be a positive number of milliseconds, and not ${shown(fresh)}`)
}

/** Why a route with `fresh` isn't for this visitor. */
export function refusalBy (fresh: number | undefined, state?: SessionState): Error | undefined {
  if (fresh === undefined) return undefined
  // Of a route that was there before the plugin nobody has heard until now.
  return mistakeIn(fresh) ?? (isWithin(state?.authenticatedAt, fresh) ? undefined : new NotFreshError(fresh))
}

/** What regenerate() makes of the last authentication. Without data a session takes nothing of it along. */
export function takeAuthentication (
  from: SessionState, next: SessionState, takesData: boolean, isAuthenticated: boolean
): void {
  if (takesData) {
    next.authenticatedAt = from.authenticatedAt
    next.ownerTaken = from.context.index?.claims.ownerBefore(from)
  }
  if (isAuthenticated) next.authenticatedAt = Date.now()
}
