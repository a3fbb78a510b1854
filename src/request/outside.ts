import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Finder } from './finder'
import type { Slot } from './slot'
import { save } from '../session/operations'
import { SessionState, type Context, type Found } from '../session/state'
import { Visit } from '../session/visit'
import { promised } from '../stores/call'
import type { CookieOptions } from '../types/cookie'
import type { CreatedSession, FastifySessionObject } from '../types/session'
import type { Answer, Callback } from '../types/store'

type Source = Parameters<FastifyInstance['loadSession']>[0]

/** Puts a session on a request, or on a plain object. */
type Keep = (request: Record<PropertyKey, any>, slot: Slot & { state: SessionState }) => void

/** Sessions outside the normal course of a request: in WebSocket upgrades, jobs and tests. */
export function outsideOf (fastify: FastifyInstance, context: Context, finder: Finder, keep: Keep): {
  decryptSession: FastifyInstance['decryptSession']
  loadSession: FastifyInstance['loadSession']
  createSession: FastifyInstance['createSession']
} {
  const { settings, repository, ids } = context
  const { cookieName, cookiePrefix, rolling } = settings
  return { decryptSession, loadSession, createSession }

  function decryptSession (value: string | undefined, request: Record<string, any>, cookieOptions?: CookieOptions): Promise<void>
  function decryptSession (...all: [string | undefined, Record<string, any>, CookieOptions | Callback | undefined, Callback?]): void
  function decryptSession (
    value: string | undefined,
    request: Record<string, any>,
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
    const sent = valuesOf(value)
    let visit: Visit
    try {
      visit = new Visit(settings.cookieFor(undefined, cookieOptions), rolling, request as FastifyRequest, undefined, sent)
    } catch (error) {
      callback(error)
      return
    }
    finder.find(sent, visit.cookie.terms, false, (error, found) => {
      if (error !== null) {
        callback(error)
        return
      }
      const state = new SessionState(context, visit, found)
      keep(request, { visit, sentId: found?.provedId, state })
      if (!state.isInStore && ids.isEarly) state.makeId(callback)
      else callback(error)
    })
  }

  async function loadSession (source: Source): Promise<FastifySessionObject | null> {
    const visit = newVisit()
    const found = await promised<Found>(answer => find(source, visit, answer))
    return found?.stored === undefined ? null : new SessionState(context, visit, found).session
  }

  async function createSession (data: object = {}): Promise<CreatedSession> {
    const state = new SessionState(context, newVisit())
    for (const [key, value] of Object.entries(data)) state.draft.set(key, value)
    await promised<void>(answer => save(state, answer))
    return { session: state.session, cookie: fastify.serializeCookie(cookieName, cookiePrefix + state.signedId) }
  }

  // An id counts unsigned only in an object. As a string it might be what somebody sent for a Cookie header.
  function find (source: unknown, { cookie: { terms } }: Visit, answer: Answer<Found>): void {
    if (typeof source === 'string') {
      const values = valuesOf(source)
      // A header, and no forged value. (Ids and signatures may have a '=', too.)
      const isHeader = source.includes('=') && !values.some(value => finder.prove(value) !== null)
      finder.find(isHeader ? finder.valuesIn(source) : values, terms, false, answer)
      return
    }
    const sessionId = (source as { sessionId?: unknown } | null | undefined)?.sessionId
    if (typeof sessionId !== 'string' || sessionId === '') {
      answer(null)
      return
    }
    repository.load(sessionId, terms, false, (error, stored) => answer(error, stored && { sessionId, stored }))
  }

  // People pass the cookie's value as it is, or without the prefix, as version 11 asked for.
  function valuesOf (value: unknown): string[] {
    if (typeof value !== 'string' || value === '') return []
    return [value.startsWith(cookiePrefix) ? value : cookiePrefix + value]
  }

  // What is done outside of requests is no visit of the visitor's: it prolongs nothing but what it saves.
  function newVisit (): Visit {
    return new Visit(settings.cookieFor(undefined), false)
  }
}
