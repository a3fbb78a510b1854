import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { tellCaches } from './cache-headers'
import { Signals } from './diagnostics'
import { NameTakenError, OptionError } from './errors'
import { Finder } from './finder'
import { resolveOptions, type RequestCookie, type Settings } from './options'
import { outsideOf } from './outside'
import { Repository } from './repository'
import { stateOf } from './session'
import { SessionState, type Context } from './session-state'
import type { FastifySessionObject, FastifySessionOptions, RouteSessionOptions } from './types'
import { sessionsOf, Users } from './users'
import { warnInsecure } from './warnings'

/** The session of one request. */
interface Slot {
  /** The session cookie that the visitor sent, good or bad. */
  readonly sentValue?: string
  /** The session id that it proved. */
  readonly sentId?: string
  readonly cookie?: RequestCookie
  readonly route?: RouteSessionOptions
  /** Missing where the request has no session: outside the cookie's path, and where its route wants none. */
  state?: SessionState
  /** What `request.session` is where that is no session of ours: null after destroy(), {} where there is none. */
  other?: { readonly value: unknown }
  /** The reply waits for the store. */
  isCommitting?: boolean
}

/** What a reply asks for. All but `nothing` and `clear` send the cookie. */
type Outcome = 'nothing' | 'send' | 'create' | 'update' | 'touch' | 'clear'

export function sessionPlugin (
  fastify: FastifyInstance,
  options: FastifySessionOptions,
  done: (error?: Error) => void
): void {
  let settings: Settings
  try {
    settings = resolveOptions(fastify, options)
    checkNames(fastify, settings)
  } catch (error) {
    done(error as Error)
    return
  }

  const { sessionName, cookieName, cookiePrefix, store } = settings
  const kSlot = slotOf(cookieName)
  const signals = new Signals(sessionName, store)
  const repository = new Repository(store, settings.storeTimeout, signals, settings.absoluteTimeout)
  const context: Context = { settings, repository }
  if (settings.userSettings !== undefined) context.users = new Users(settings.userSettings, context)
  const finder = new Finder(fastify, settings, repository, signals)
  const { decryptSession, loadSession, createSession } = outsideOf(fastify, context, finder, function keep (request, found) {
    const { state } = found
    if (kSlot in request) request[kSlot] = { ...found, sentId: state.isStored ? state.sessionId : undefined }
    else request[sessionName] = state.session
  })
  type Slotted = FastifyRequest & { [kSlot]: Slot | null }

  fastify.decorate(`decrypt${capital(sessionName)}`, decryptSession)
  fastify.decorate(`load${capital(sessionName)}`, loadSession)
  fastify.decorate(`create${capital(sessionName)}`, createSession)
  if (context.users !== undefined) fastify.decorate(`${sessionName}s`, sessionsOf(context.users))
  fastify.decorateRequest(kSlot, null)
  fastify.decorateRequest(`${sessionName}Store`, { getter: () => store })
  fastify.decorateRequest(sessionName, {
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
  fastify.addHook('onRequest', openSession)
  fastify.addHook('onSend', commitSession)
  done()

  function openSession (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    const route = routeOptionsOf(request, sessionName)
    if (route === false) {
      goWithout(request, done)
      return
    }
    let cookie: RequestCookie
    try {
      cookie = settings.cookieFor(request)
    } catch (error) {
      goWithout(request, done, error as Error)
      return
    }
    if (!isWithin(request.raw.url as string, cookie.path || '/')) {
      goWithout(request, done)
      return
    }
    // Null where @fastify/cookie was told to parse in a later hook, or not at all.
    const values = finder.valuesIn(request.headers.cookie, request.cookies)
    const rolling = route?.rolling ?? settings.rolling
    // Not where nothing may be sent, which is no use of the session.
    const touch = repository.touchesOnLoad && rolling && settings.refreshAfter === 0 && !isRefused(cookie, request, cookie)
    finder.find(values, touch, (error, found) => {
      if (error !== null && settings.failsWithStore) {
        goWithout(request, done, error)
        return
      }
      const state = new SessionState(context, { request, reply, cookieOptions: cookie, rolling }, found)
      const show = (): void => {
        (request as Slotted)[kSlot] = { sentValue: values[0], sentId: found?.sessionId, cookie, route, state }
        done()
      }
      if (found === undefined && settings.idIsAsync) state.makeId(error => error === null ? show() : goWithout(request, done, error))
      else show()
    })
  }

  // What an error handler finds, too. Each request its own: one visitor's write to it would show up in the next one's.
  function goWithout (request: FastifyRequest, done: (error?: Error) => void, error?: Error): void {
    (request as Slotted)[kSlot] = { other: { value: {} } }
    done(error)
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
    const { wasUsed } = state
    state.isSealed = true
    let outcome: Outcome
    try {
      // The reply says already that it could not be written. A handler that made do with that has it tried once more.
      outcome = state.hasFailed && reply.statusCode >= 500 ? 'nothing' : outcomeOf(slot, state, settings, request)
      if (sends(outcome) && isRefused(state.cookie, request, slot.cookie)) {
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
      const clears = outcome === 'clear' && sentValue !== undefined
      const sets = error === null && sends(outcome)
      try {
        // Where a cookie came, its options are known.
        if (clears) clearCookie(request, reply, (slot as Slot).cookie as RequestCookie)
        if (sets) reply.setCookie(cookieName, cookiePrefix + state.signedId, state.cookie.attributes())
      } catch (thrown) {
        error = thrown as Error
      }
      if (settings.cacheControl) tellCaches(reply, wasUsed, sets || clears)
      done(error)
    }
  }

  function clearCookie (request: FastifyRequest, reply: FastifyReply, cookie: RequestCookie): void {
    const { domain, path, partitioned } = cookie
    // Browsers refuse the removal, as they would refuse the cookie, where these are missing.
    const secure = isOverHttps(request, cookie) || partitioned === true || /^__(Host|Secure)-/.test(cookieName)
    reply.clearCookie(cookieName, { domain, path: path || '/', secure, partitioned })
  }
}

/** What to do when a reply goes out. Only decides; commitSession does it. */
function outcomeOf ({ other, route }: Slot, state: SessionState, settings: Settings, request: FastifyRequest): Outcome {
  if (state.status === 'destroyed' || state.status === 'gone') return 'clear'
  if (other !== undefined || state.isAnonymous) return 'nothing'
  if (!state.isStored) {
    // A preflight carries no cookie, and browsers keep none that comes with its answer.
    if (request.method === 'OPTIONS') return 'clear'
    return state.isModified() || (route?.saveUninitialized ?? settings.saveUninitialized(request)) ? 'create' : 'clear'
  }
  if (state.lifetimeWasSet || state.isUndated || state.isModified()) return 'update'
  if (state.wasWritten) return 'send'
  if (state.wasTouched || (state.isRolling && !state.isFresh)) {
    if (settings.refreshAfter > 0 || state.recordIsAging || state.claimIsAging) return 'update'
    return state.isTouched ? 'send' : 'touch'
  }
  // Where it is this route only that does not roll, the record may not know how far a touch has moved the end. A cookie that
  // ends too early would log out; the next route that rolls signs it anew.
  return state.mustSignAnew && (state.isRolling || !settings.rolling) ? 'send' : 'nothing'
}

function sends (outcome: Outcome): boolean {
  return outcome !== 'nothing' && outcome !== 'clear'
}

/** Whether the cookie may go over https only, and this is no https. */
function isRefused ({ secure }: { secure?: unknown }, request: FastifyRequest, cookie: RequestCookie | undefined): boolean {
  return secure === true && !isOverHttps(request, cookie)
}

function isOverHttps ({ protocol }: FastifyRequest, cookie: RequestCookie | undefined): boolean {
  return protocol === 'https' || cookie?.isVouched === true
}

function isWithin (url: string, cookiePath: string): boolean {
  const end = url.indexOf('?')
  const path = end === -1 ? url : url.slice(0, end)
  if (!path.startsWith(cookiePath)) return false
  return path.length === cookiePath.length || cookiePath.endsWith('/') || path[cookiePath.length] === '/'
}

function routeOptionsOf ({ routeOptions }: FastifyRequest, sessionName: string): RouteSessionOptions | false | undefined {
  return (routeOptions.config as unknown as Record<string, RouteSessionOptions | false | undefined> | undefined)?.[sessionName]
}

// By the cookie's name, so that a second registration in the same scope finds it taken.
function slotOf (cookieName: string): symbol {
  return Symbol.for(`@fastify/session ${cookieName}`)
}

/** @throws FST_ERR_SESSION_NAME_TAKEN, FST_ERR_SESSION_OPTION */
function checkNames (fastify: FastifyInstance, { sessionName, cookieName, userSettings }: Settings): void {
  for (const name of [sessionName, `${sessionName}Store`]) {
    if (fastify.hasRequestDecorator(name)) throw new NameTakenError(`request.${name}`)
  }
  for (const verb of ['decrypt', 'load', 'create']) {
    const name = verb + capital(sessionName)
    if (fastify.hasDecorator(name)) throw new NameTakenError(`fastify.${name}`)
  }
  if (userSettings !== undefined && fastify.hasDecorator(`${sessionName}s`)) throw new NameTakenError(`fastify.${sessionName}s`)
  if (fastify.hasRequestDecorator(slotOf(cookieName))) {
    throw new OptionError(`cookieName is taken: another session of this scope is in the cookie '${cookieName}'`)
  }
}

function capital (name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1)
}
