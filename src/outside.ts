import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Finder } from './finder'
import { SessionState, type Context, type Found } from './session-state'
import { promised, type Answer } from './stores/call'
import type { Callback, CookieOptions, CreatedSession, FastifySessionObject } from './types'

type Source = Parameters<FastifyInstance['loadSession']>[0]
type Keep = (
  request: Record<PropertyKey, any>,
  found: { state: SessionState, sentValue: string | undefined, cookie: CookieOptions }
) => void

/** Sessions outside the normal course of a request: in WebSocket upgrades, jobs and tests. */
export function outsideOf (fastify: FastifyInstance, context: Context, finder: Finder, keep: Keep): {
  decryptSession: FastifyInstance['decryptSession']
  loadSession: FastifyInstance['loadSession']
  createSession: FastifyInstance['createSession']
} {
  const { settings, repository } = context
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
    let cookie: CookieOptions
    try {
      if (cookieOptions !== undefined) settings.checkCookie(cookieOptions)
      cookie = { ...settings.cookieFor(undefined), ...cookieOptions }
    } catch (error) {
      callback(error)
      return
    }
    finder.find(valuesOf(value), false, (error, found) => {
      if (error !== null) {
        callback(error)
        return
      }
      const state = new SessionState(context, { request: request as FastifyRequest, cookieOptions: cookie, rolling }, found)
      keep(request, { state, sentValue: value, cookie })
      if (found === undefined && settings.idIsAsync) state.makeId(callback)
      else callback(error)
    })
  }

  async function loadSession (source: Source): Promise<FastifySessionObject | null> {
    const found = await promised<Found>(answer => find(source, answer))
    return found === undefined ? null : newState(found).session
  }

  async function createSession (data: object = {}): Promise<CreatedSession> {
    const state = newState()
    for (const [key, value] of Object.entries(data)) state.draft.set(key, value)
    await promised<void>(answer => state.makeId(answer))
    await promised<void>(answer => state.save(answer))
    return { session: state.session, cookie: fastify.serializeCookie(cookieName, cookiePrefix + state.signedId) }
  }

  // An id counts unsigned only in an object. As a string it might be what somebody sent for a Cookie header.
  function find (source: unknown, answer: Answer<Found>): void {
    if (typeof source === 'string') {
      const values = valuesOf(source)
      // A header, and no forged value. (Ids and signatures may have a '=', too.)
      const isHeader = source.includes('=') && !values.some(value => finder.prove(value) !== null)
      finder.find(isHeader ? finder.valuesIn(source) : values, false, answer)
      return
    }
    const sessionId = (source as { sessionId?: unknown } | null | undefined)?.sessionId
    if (typeof sessionId !== 'string' || sessionId === '') {
      answer(null)
      return
    }
    const loadedAt = repository.now
    repository.load(sessionId, false, (error, record) => {
      answer(error, record && { sessionId, record, loadedAt })
    })
  }

  // People pass the cookie's value as it is, or without the prefix, as version 11 asked for.
  function valuesOf (value: unknown): string[] {
    if (typeof value !== 'string' || value === '') return []
    return [value.startsWith(cookiePrefix) ? value : cookiePrefix + value]
  }

  function newState (found?: Found): SessionState {
    return new SessionState(context, { cookieOptions: settings.cookieFor(undefined), rolling }, found)
  }
}
