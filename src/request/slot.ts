import type { FastifyRequest } from 'fastify'
import type { Why } from './no-session'
import type { SessionState } from '../session/state'
import type { Visit } from '../session/visit'
import type { RouteSessionOptions } from '../types/options'

/** The session of one request. */
export interface Slot {
  readonly visit?: Visit
  readonly route?: RouteSessionOptions | undefined
  /** The session id that the visitor's cookie proved, whether or not the store has it. */
  readonly sentId?: string | undefined
  /** Missing if the request has no session. */
  state?: SessionState | undefined
  /** Why it has none. */
  readonly why?: Why
  /** Loads it. Of a lazy route, until it is loaded. */
  readonly load?: () => Promise<unknown>
  /** What `request.session` is if that isn't a session of ours: null after destroy(), a NoSession if there is none. */
  other?: { readonly value: unknown } | undefined
  /** Its place among the requests that are under way. */
  open?: Open | undefined
}

/** A request that is under way, in a list: those before and behind it, so that it leaves without being looked for. */
export interface Open {
  readonly slot: Slot
  /** When its session must be prolonged, in milliseconds since the epoch. */
  due: number
  before: Open | undefined
  behind: Open | undefined
}

/** A request with the slot of a registration. */
export type Slotted = FastifyRequest & Record<symbol, Slot | null | undefined>

/** Where the slot is. By the cookie's name, so that a second registration in the same scope finds it taken. */
export function slotKeyOf (cookieName: string): symbol {
  return Symbol.for(`@fastify/session ${cookieName}`)
}

/** Whether the cookie may go over https only, and this isn't https. */
export function isRefused (visit: Visit, secure: unknown): boolean {
  return secure === true && !isSecure(visit)
}

/** Whether the request came over https, as far as Fastify or the application's cookie function can tell. */
export function isSecure (visit: Visit): boolean {
  return visit.isOverHttps || visit.cookie.isVouched
}
