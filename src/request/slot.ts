import type { RequestCookie } from '../options'
import type { SessionState } from '../session/state'
import type { Visit } from '../session/visit'
import type { RouteSessionOptions } from '../types/options'

/** The session of one request. */
export interface Slot {
  readonly visit?: Visit
  readonly route?: RouteSessionOptions
  /** The session id that the visitor's cookie proved, whether or not the store has it. */
  readonly sentId?: string
  /** Missing if the request has no session: outside the cookie's path, and if its route wants none. */
  state?: SessionState
  /** What `request.session` is if that isn't a session of ours: null after destroy(), {} if there is none. */
  other?: { readonly value: unknown }
}

/** Whether the cookie may go over https only, and this isn't https. */
export function isRefused (visit: Visit, secure: unknown): boolean {
  return secure === true && !isSecure(visit.cookie, visit)
}

/** Whether the request came over https, as far as Fastify or the application's cookie function can tell. */
export function isSecure (cookie: RequestCookie, visit: Visit): boolean {
  return visit.isOverHttps || cookie.isVouched
}
