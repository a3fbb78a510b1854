import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { prove } from './cookie-value'
import { NameTakenError } from './errors'
import { resolveOptions, type Settings } from './options'
import { Repository } from './repository'
import { stateOf } from './session'
import { SessionState, type Context, type Origin } from './session-state'
import type { Answer } from './stores/call'
import type { Callback, CookieOptions, FastifySessionObject, FastifySessionOptions } from './types'
import { warnInsecure } from './warnings'

/** The session of one request. */
interface Slot {
  /** The session cookie that the visitor sent, good or bad. */
  readonly sentValue?: string
  /** The session id that it proved. */
  readonly sentId?: string
  /** Missing outside the cookie's path. */
  state?: SessionState
  /** What `request.session` is where that is no session of ours: null after destroy(), {} outside the cookie's path. */
  other?: { readonly value: unknown }
  /** The reply waits for the store. */
  isCommitting?: boolean
}

/** A session that a cookie led to. */
type Found = Omit<Origin, 'request' | 'reply' | 'cookieOptions'>

// Browsers send a few cookies of one name. Who sends more signed ones wants to keep the store busy.
const MOST_LOOK_UPS = 10

/** What a reply asks for. All but `nothing` and `clear` send the cookie. */
type Outcome = 'nothing' | 'send' | 'create' | 'update' | 'touch' | 'clear'

export function sessionPlugin (
  fastify: FastifyInstance,
  options: FastifySessionOptions,
  done: (error?: Error) => void
): void {
  let settings: Settings
  try {
    if (fastify.hasRequestDecorator('session')) throw new NameTakenError()
    settings = resolveOptions(fastify, options)
  } catch (error) {
    done(error as Error)
    return
  }

  const { cookieName, cookiePrefix, signer, store } = settings
  const cookiePath = settings.cookie.path || '/'
  const repository = new Repository(store, settings.storeTimeout)
  const context: Context = { settings, repository }
  const kSlot = Symbol('session slot')
  type Slotted = FastifyRequest & { [kSlot]: Slot | null }

  fastify.decorate('decryptSession', decryptSession)
  fastify.decorateRequest(kSlot, null)
  fastify.decorateRequest('sessionStore', { getter: () => store })
  fastify.decorateRequest('session', {
    getter (this: FastifyRequest) {
      const slot = (this as Slotted)[kSlot]
      // Typed as what it is nearly always.
      return (slot?.other !== undefined ? slot.other.value : slot?.state?.session ?? null) as FastifySessionObject
    },
    setter (this: FastifyRequest, value: unknown) {
      const slot = ((this as Slotted)[kSlot] ??= {})
      const state = stateOf(value)
      slot.other = state === undefined ? { value } : undefined
      slot.state = state ?? slot.state
    }
  })
  fastify.addHook('onRequest', loadSession)
  fastify.addHook('onSend', commitSession)
  done()

  function loadSession (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    const slotted = request as Slotted
    if (!isWithin(request.raw.url as string, cookiePath)) {
      slotted[kSlot] = { other: { value: {} } }
      done()
      return
    }
    const values = sentValues(request)
    // Not where nothing may be sent, which is no use of the session.
    const touch = repository.touchesOnLoad && settings.rolling && !isRefused(settings.cookie, request)
    findSession(values, touch, (error, found) => {
      if (error !== null) {
        // What an error handler finds, as outside the path.
        slotted[kSlot] = { other: { value: {} } }
        done(error)
        return
      }
      const state = newState(request, settings.cookie, found, reply)
      slotted[kSlot] = { sentValue: values[0], sentId: found?.sessionId, state }
      done()
    })
  }

  function commitSession (
    request: FastifyRequest,
    reply: FastifyReply,
    _payload: unknown,
    done: (error?: Error | null) => void
  ): void {
    const slot = (request as Slotted)[kSlot]
    // An async handler that called reply.send() and did not return it makes Fastify send once more, with nothing. The
    // first is the reply, so the second goes no further.
    if (slot?.isCommitting === true) return
    // Sealed: an error in a later hook brings the same reply here again.
    if (slot?.state === undefined || slot.state.isSealed) {
      done()
      return
    }
    const { state, sentValue } = slot
    state.isSealed = true
    let outcome: Outcome
    try {
      // The reply says already that it could not be written. A handler that made do with that has it tried once more.
      outcome = state.hasFailed && reply.statusCode >= 500 ? 'nothing' : outcomeOf(slot, state, settings)
      if (sends(outcome) && isRefused(state.cookie, request)) {
        warnInsecure()
        outcome = state.isStored && state.sessionId === slot.sentId ? 'nothing' : 'clear'
      }
    } catch (error) {
      done(error as Error)
      return
    }
    slot.isCommitting = true
    if (outcome === 'create' || outcome === 'update') state.save(finish)
    else if (outcome === 'touch') state.touch(finish)
    else finish(null)

    function finish (error: Error | null): void {
      (slot as Slot).isCommitting = false
      // Another request ended the session meanwhile: what this one changed is dropped, and its stale cookie cleared. But
      // where that was a login, clearing would hit the new session's cookie.
      if (state.status === 'gone' || (sends(outcome) && state.hasEnded)) {
        outcome = repository.wasReplaced(state.sessionId) ? 'nothing' : 'clear'
        error = null
      }
      try {
        if (outcome === 'clear' && sentValue !== undefined) clearCookie(request, reply)
        if (error === null && sends(outcome)) {
          reply.setCookie(cookieName, cookiePrefix + state.signedId, state.cookie.attributes())
        }
      } catch (thrown) {
        error = thrown as Error
      }
      done(error)
    }
  }

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
      return new Promise((resolve, reject) => {
        decryptSession(value, request, cookieOptions, error => error ? reject(error) : resolve())
      })
    }
    try {
      if (cookieOptions !== undefined) settings.checkCookie(cookieOptions)
    } catch (error) {
      callback(error)
      return
    }
    // People pass the cookie's value as it is, or without the prefix, as version 11 asked for.
    const values = typeof value === 'string' ? [value.startsWith(cookiePrefix) ? value : cookiePrefix + value] : []
    findSession(values, false, (error, found) => {
      if (error === null) {
        const state = newState(request as FastifyRequest, { ...settings.cookie, ...cookieOptions }, found)
        if (kSlot in request) request[kSlot] = { sentValue: value, sentId: found?.sessionId, state }
        else request.session = state.session
      }
      callback(error)
    })
  }

  /** The first of the cookies, from an index on, that proves a session which the store has. */
  function findSession (values: readonly string[], touch: boolean, answer: Answer<Found>, from = 0, lookUps = 0): void {
    for (let i = from; i < values.length; i++) {
      const value = values[i] as string
      const proof = value.startsWith(cookiePrefix) ? prove(signer, value.slice(cookiePrefix.length)) : null
      if (proof === null) continue
      const loadedAt = repository.now
      repository.load(proof.sessionId, touch, (error, record) => {
        // An id that the store does not know is either a race with its clean-up or somebody guessing. Both get a new
        // session, never the id they brought (session fixation, CWE-384).
        if (error === null && record === undefined) {
          if (lookUps + 1 < MOST_LOOK_UPS) findSession(values, touch, answer, i + 1, lookUps + 1)
          else answer(null)
        } else if (record === undefined) answer(error)
        // Named, here and in newState: with a spread, a request costs 1 to 3 us more.
        else answer(null, { sessionId: proof.sessionId, signedId: proof.signedId, record, isTouched: touch, loadedAt })
      })
      return
    }
    answer(null)
  }

  function newState (
    request: FastifyRequest,
    cookieOptions: CookieOptions,
    found?: Found,
    reply?: FastifyReply
  ): SessionState {
    const { sessionId, signedId, record, isTouched, loadedAt } = found ?? {} as Found
    return new SessionState(context, { request, reply, cookieOptions, sessionId, signedId, record, isTouched, loadedAt })
  }

  /** All values that came under the cookie's name: browsers send several when domain or path were changed. */
  function sentValues (request: FastifyRequest): string[] {
    const header = request.headers.cookie
    if (header === undefined) return []
    // Null where @fastify/cookie was told to parse in a later hook, or not at all.
    const cookies = request.cookies ?? fastify.parseCookie(header)
    const first = cookies[cookieName]
    if (first === undefined) return []
    const isOnly = header.indexOf(cookieName) === header.lastIndexOf(cookieName)
    const values = isOnly ? [first] : header.split(';').map(pair => fastify.parseCookie(pair)[cookieName])
    return [...new Set(values)].filter((value): value is string => value !== undefined && value !== '')
  }

  function clearCookie (request: FastifyRequest, reply: FastifyReply): void {
    const { domain, partitioned } = settings.cookie
    // Browsers refuse the removal, as they would refuse the cookie, where these are missing.
    const secure = request.protocol === 'https' || partitioned === true || /^__(Host|Secure)-/.test(cookieName)
    reply.clearCookie(cookieName, { domain, path: cookiePath, secure, partitioned })
  }
}

/** What to do when a reply goes out. Only decides; commitSession does it. */
function outcomeOf ({ other }: Slot, state: SessionState, settings: Settings): Outcome {
  if (state.status === 'destroyed' || state.status === 'gone') return 'clear'
  if (other !== undefined) return 'nothing'
  if (!state.isStored) return settings.saveUninitialized || state.isModified() ? 'create' : 'clear'
  if (state.lifetimeWasSet || state.isModified()) return 'update'
  if (state.wasWritten) return 'send'
  if (settings.rolling || state.wasTouched) {
    if (state.recordIsAging) return 'update'
    return state.isTouched ? 'send' : 'touch'
  }
  return state.mustSignAnew ? 'send' : 'nothing'
}

function sends (outcome: Outcome): boolean {
  return outcome !== 'nothing' && outcome !== 'clear'
}

/** Whether the cookie may go over https only, and this is no https. */
function isRefused ({ secure }: { secure?: unknown }, { protocol }: FastifyRequest): boolean {
  return secure === true && protocol !== 'https'
}

function isWithin (url: string, cookiePath: string): boolean {
  const end = url.indexOf('?')
  const path = end === -1 ? url : url.slice(0, end)
  if (!path.startsWith(cookiePath)) return false
  return path.length === cookiePath.length || cookiePath.endsWith('/') || path[cookiePath.length] === '/'
}
