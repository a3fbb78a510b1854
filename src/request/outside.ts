import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Finder, Finding } from './finder'
import { slotKeyOf } from './slot'
import { remove, save } from '../session/operations'
import { SessionState, type Context, type Found } from '../session/state'
import { Visit } from '../session/visit'
import { promised } from '../stores/call'
import type { CookieOptions } from '../types/cookie'
import type { CreatedSession, FastifySessionObject } from '../types/session'
import type { Callback } from '../types/store'

type Target = Record<PropertyKey, any>
type Source = Parameters<FastifyInstance['loadSession']>[0]

export type Outside = Pick<FastifyInstance, 'decryptSession' | 'loadSession' | 'createSession'>

/** Sessions outside the normal course of a request: in WebSocket upgrades, jobs and tests. */
export function outsideOf (fastify: FastifyInstance, context: Context, finder: Finder): Outside {
  const { settings, settings: { cookieName, cookiePrefix } } = context
  return { decryptSession, loadSession, createSession }

  function decryptSession (value: string | undefined, request: Target, cookieOptions?: CookieOptions): Promise<void>
  function decryptSession (...all: [string | undefined, Target, CookieOptions | Callback | undefined, Callback?]): void
  function decryptSession (
    value: string | undefined,
    request: Target,
    cookieOptions?: CookieOptions | Callback,
    callback?: Callback
  ): Promise<void> | undefined {
    if (typeof cookieOptions === 'function') {
      decryptSession(value, request, undefined, cookieOptions)
      return
    }
    if (callback === undefined) {
      return promised(answer => decryptSession(value, request, cookieOptions, error => answer(error ?? null)))
    }
    let visit: Visit
    try {
      const cookie = settings.cookieFor(undefined, cookieOptions)
      visit = new Visit(cookie, settings.rolling, request as FastifyRequest, undefined, finder.valuesOf(value))
    } catch (error) {
      callback(error)
      return
    }
    finder.find(visit.sent, visit.cookie.terms, false, (error, found) => {
      if (error === null) keep(request, visit, found as Finding, callback)
      else callback(error)
    }, request)
  }

  /** Puts a session on a request, or on a plain object. */
  function keep (request: Target, visit: Visit, found: Finding, callback: Callback): void {
    const kSlot = slotKeyOf(cookieName)
    // If the browser doesn't have this cookie yet, the reply sends it, even if it doesn't prolong the session.
    const isSent = kSlot in request && finder.isSentBy(request as FastifyRequest, visit.sent[0])
    const state = new SessionState(context, visit, isSent ? found : { ...found, signedId: undefined })
    if (kSlot in request) request[kSlot] = { visit, sentId: isSent ? found.provedId : undefined, state }
    else request[settings.sessionName] = state.session
    if (!state.isInStore && context.ids.isEarly) state.makeId(callback)
    else callback(null)
  }

  async function loadSession (source: Source): Promise<FastifySessionObject | null> {
    const visit = newVisit()
    const found = await promised<Found>(answer => finder.findBy(source, visit.cookie.terms, answer))
    return found?.stored === undefined ? null : new SessionState(context, visit, found).session
  }

  async function createSession (data: object = {}): Promise<CreatedSession> {
    const state = new SessionState(context, newVisit())
    for (const [key, value] of Object.entries(data)) state.draft.set(key, value)
    const cookie = await saveWhole(state, () => fastify.serializeCookie(cookieName, cookiePrefix + state.signedId))
    return { session: state.session, cookie }
  }

  // Outside of requests no visitor uses the session, so only a save() prolongs it.
  function newVisit (): Visit {
    return new Visit(settings.cookieFor(undefined), false)
  }
}

/** Writes a new session, and returns its cookie. If that fails, nothing is left: nobody will have the cookie. */
async function saveWhole (state: SessionState, makeCookie: () => string): Promise<string> {
  await promised<void>(answer => state.makeId(answer))
  const cookie = makeCookie()
  await promised<void>(answer => save(state, error => {
    if (state.lastWrite === 'partly') remove(state, () => answer(error), 'expired')
    else answer(error)
  }))
  return cookie
}
