import type { FastifyRequest } from 'fastify'
import type { Why } from './no-session'
import type { SessionState } from '../session/state'
import type { Visit } from '../session/visit'
import type { RouteSessionOptions } from '../types/options'

/** The session of one request. */
export interface Slot {
  readonly visit?: Visit
  readonly route?: RouteSessionOptions | undefined
  /** The session id of the visitor's signed cookie, whether or not the store has it. */
  readonly sentId?: string | undefined
  /** Missing if the request has no session, or if it hasn't been made yet. */
  state?: SessionState | undefined
  /** Makes the session of a visitor who sent no cookie. Most requests of such visitors don't use it. */
  readonly begin?: () => SessionState
  /** Why the request has no session. */
  readonly why?: Why
  /** Loads the session of a lazy route. Missing once it is loaded. */
  readonly load?: () => Promise<unknown>
  /** What `request.session` is if it isn't a session: null after destroy(), a NoSession if there is none. */
  other?: { readonly value: unknown } | undefined
  /** Its place among the open requests. */
  open?: Open | undefined
}

/** An open request in a linked list, so that it is removed without a search. */
export interface Open {
  readonly slot: Slot
  /** When its session must be prolonged, in milliseconds since the epoch. */
  due: number
  before: Open | undefined
  behind: Open | undefined
}

/** A request with the slot of a registration. */
export type Slotted = FastifyRequest & Record<symbol, Slot | null | undefined>

/** The request's property for the slot. Two registrations with one cookie name in a scope conflict, and are refused. */
export function slotKeyOf (cookieName: string): symbol {
  return Symbol.for(`@fastify/session ${cookieName}`)
}

/** The session of a request; undefined if it has none. */
export function stateIn (slot: Slot | null | undefined): SessionState | undefined {
  return slot?.state ?? slot?.begin?.()
}

/** Whether the cookie may be sent over https only, and this request isn't https. */
export function isRefused (visit: Visit, secure: unknown): boolean {
  return secure === true && !isSecure(visit)
}

/** Whether the request came over https, as far as Fastify or the application's cookie function can tell. */
export function isSecure (visit: Visit): boolean {
  return visit.isOverHttps || visit.cookie.isVouched
}
