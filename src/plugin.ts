import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Signals } from './diagnostics'
import { inShort, NameTakenError, STORE_AWAY, StoreTimeoutError, ValueError } from './errors'
import { mistakesInRoute } from './options/route-mistakes'
import { makeId, resolveOptions, type Settings } from './options/settings'
import { tellCaches } from './request/cache-headers'
import { checkNames, decorate, showing } from './request/decorators'
import { Finder } from './request/finder'
import type { Guard } from './request/guard'
import { guardedKeyOf, type Guarded } from './request/guarded'
import { KeepAlive } from './request/keep-alive'
import { loaderFor, putOff, type Loader } from './request/lazy'
import { hasFailed, isOutside, wantsNone, wasUsedEarly, type Why } from './request/no-session'
import { endOthers } from './request/others'
import { decide, isInsecure, isUnprolonged, resultOf, sendsCookie, type Decision, type Result } from './request/outcome'
import { outsideOf } from './request/outside'
import { hearPayload } from './request/payload'
import { freshOf, isLoadedLate, isWithin, routeOptionsOf, savesUnused, type RouteOptions } from './request/route'
import { clearCookie, dropCookie, hasCookie, setCookie } from './request/set-cookie'
import { isRefused, slotKeyOf, stateIn, type Slot, type Slotted } from './request/slot'
import { Endings } from './session/endings'
import { mistakeIn, refusalBy } from './session/freshness'
import { SessionIds } from './session/ids'
import { date, discard, prolong, remove, save } from './session/operations'
import { createSession } from './session/session'
import { SessionIndex, sessionsOf } from './session/session-index'
import { SessionState, type Context, type Found } from './session/state'
import { Visit } from './session/visit'
import { isDisconnected } from './stores/connection'
import { innermost } from './stores/methods'
import { Repository } from './stores/repository'
import { warnEarly, warnInsecure, warnNotConnected, warnNotProlonged, warnOption } from './warnings'
import type { FastifySessionOptions } from './types/options'
import type { Answer } from './types/store'

/** What the hooks of one registration share. */
interface Registration {
  readonly context: Context
  readonly finder: Finder
  readonly keepAlive: KeepAlive
  readonly kSlot: symbol
  readonly loader: Loader
  /** The configs of routes that were already checked for mistakes. */
  readonly checked: WeakSet<object>
}

type Done = (error?: Error) => void

export function sessionPlugin (fastify: FastifyInstance, options: FastifySessionOptions, done: Done): void {
  let settings: Settings
  try {
    settings = resolveOptions(fastify, options)
    checkNames(fastify, settings)
  } catch (error) {
    done(error as Error)
    return
  }
  const signals = new Signals(settings.sessionName, innermost(settings.store))
  const repository = new Repository(settings, signals)
  const finder = new Finder(fastify, settings, repository, signals)
  const context: Context = {
    settings,
    repository,
    createSession,
    show: showing(settings),
    ids: new SessionIds(settings, makeId),
    endOthers: endOthers(finder, repository),
    endings: new Endings(settings, repository)
  }
  const index = settings.indexSettings && new SessionIndex(settings.indexSettings, context)
  context.index = index
  const kSlot = slotKeyOf(settings.cookieName)
  const keepAlive = new KeepAlive()
  const loader = loaderFor(settings)
  const registration: Registration = { context, finder, keepAlive, kSlot, loader, checked: new WeakSet() }
  decorate(fastify, settings, outsideOf(fastify, context, finder), index && sessionsOf(index))
  const guarded: Guarded = { context, finder }
  fastify.decorate(guardedKeyOf(settings.sessionName), guarded)

  fastify.addHook('onRoute', ({ config, url }) => {
    const mistake = mistakeIn(freshOf(routeOptionsOf(config, settings.sessionName)))
    if (mistake !== undefined) throw mistake
    checkRoute(registration, config, url)
  })
  fastify.addHook('onRequest', (request, reply, done) => openSession(registration, request as Slotted, reply, done))
  fastify.addHook('onSend', (request, reply, payload, done) => {
    commitSession(registration, request as Slotted, reply, payload, done)
  })
  fastify.addHook('onReady', done => {
    if (isDisconnected(innermost(settings.store))) settings.flaws.tell(warnNotConnected)
    // Decorated last, because an application of version 11 may have a loadSession of its own.
    const isFree = !fastify.hasRequestDecorator(loader.name)
    if (isFree) fastify.decorateRequest(loader.name, loader.load)
    done(isFree || !settings.lazy ? undefined : new NameTakenError(`request.${loader.name}`))
  })
  fastify.addHook('onClose', (_instance, done) => {
    keepAlive.stop()
    context.endings.stop()
    done()
  })
  done()
}

/** The onRequest hook: loads the session, unless the route is lazy. */
function openSession (registration: Registration, request: Slotted, reply: FastifyReply, done: Done): void {
  const { kSlot, loader, context: { settings } } = registration
  const { sessionName, lazy, flaws } = settings
  const { config, url } = request.routeOptions
  const route = routeOptionsOf(config, sessionName)
  // The onRoute hook hasn't seen routes that were declared before the plugin was loaded.
  if (route !== undefined && !registration.checked.has(config)) checkRoute(registration, config, url)
  if (wasUsedEarly(request[kSlot]?.other?.value)) flaws.tell(warnEarly, sessionName)
  if (!isLoadedLate(route, lazy)) {
    loadSession(registration, request, reply, route, done)
    return
  }
  done(putOff(loader, settings, request, reply, done => loadSession(registration, request, reply, route, done)))
}

/** Warns of likely mistakes in the session options of a route. */
function checkRoute ({ checked, context: { settings } }: Registration, config: object | undefined, url = ''): void {
  if (config === undefined) return
  checked.add(config)
  settings.flaws.tellAll(warnOption, mistakesInRoute(routeOptionsOf(config, settings.sessionName), url))
}

/** Finds the session of a request. */
function loadSession (
  registration: Registration, request: Slotted, reply: FastifyReply, route: RouteOptions, done: Done
): void {
  const { context, finder, kSlot } = registration
  const { settings, ids } = context
  const { sessionName } = settings
  let visit: Visit | Why
  try {
    visit = visitOf()
  } catch (error) {
    fail(error as Error)
    return
  }
  if (typeof visit === 'function') {
    goWithout(visit)
    return
  }
  const { cookie, rolling, sent } = visit
  const fresh = freshOf(route)
  if (sent.length === 0 && fresh === undefined && !ids.isEarly) {
    request[kSlot] = slotOfStranger(registration, visit, route)
    done()
    return
  }
  // If no cookie may be sent, the request isn't a use of the session.
  const touch = rolling && settings.refreshAfter === 0 && !isRefused(visit, cookie.secure)
  finder.find(sent, cookie.terms, touch, (error, found) => {
    if (error !== null && settings.failsWithStore) {
      fail(error)
      return
    }
    const slot: Slot = { visit, route: route || undefined, sentId: found?.provedId }
    request[kSlot] = slot
    const state = beginState(registration, slot, found)
    const refusal = refusalBy(fresh, state)
    if (state.standing === 'new' && ids.isEarly) state.makeId(error => error === null ? done(refusal) : fail(error))
    else done(refusal)
  }, request)

  /** The visit, or why the request has no session. */
  function visitOf (): Visit | Why {
    if (route === false) return wantsNone(sessionName)
    const cookie = settings.cookieFor(request)
    const path = cookie.path || '/'
    if (!isWithin(request, path)) return isOutside(sessionName, path)
    const rolling = route?.rolling ?? settings.rolls(request)
    return new Visit(cookie, rolling, request, reply, finder.valuesIn(request.headers.cookie, request.cookies))
  }

  function fail (error: Error): void {
    goWithout(hasFailed(sessionName, error), error)
  }

  function goWithout (why: Why, error?: Error): void {
    request[kSlot] = { why }
    done(error ?? refusalBy(freshOf(route)))
  }
}

/**
 * The slot of a visitor who sent no cookie, whose session is made on first use. Not written beside the
 * other slot: V8 learns for each object literal how long its objects live. While large sessions are created, slots live
 * long, and later reads would pay for it: with sessions of 20 KB, 2.6 times as much, in garbage collection.
 */
function slotOfStranger (registration: Registration, visit: Visit, route: RouteOptions): Slot {
  const slot: Slot = { visit, route: route || undefined, begin: () => beginState(registration, slot) }
  return slot
}

/** Makes the session that the request found, or a new one. */
function beginState ({ context, keepAlive }: Registration, slot: Slot, found?: Found): SessionState {
  const visit = slot.visit as Visit
  const state = slot.state = new SessionState(context, visit, found)
  if (visit.rolling && state.standing !== 'anonymous') keepAlive.begin(slot)
  return state
}

/** The onSend hook: decides what happens to the session, and does it. */
function commitSession (
  registration: Registration, request: Slotted, reply: FastifyReply, payload: unknown, done: Done
): void {
  const { storeTimeout, cacheControl, flaws, sessionName } = registration.context.settings
  const { guard } = registration.finder
  const slot = request[registration.kSlot]
  const visit = slot?.visit
  // If an async handler calls reply.send() and doesn't return the reply, Fastify sends again, with no payload. The
  // second call is stopped here.
  if (visit?.phase === 'committing') return
  const state = visit && stateToCommit(slot as Slot, registration)
  if (visit === undefined || state === undefined) {
    if (visit?.phase === 'open') visit.endCommit(null)
    else if (wasTurnedAway(slot, reply)) flaws.tell(warnEarly, sessionName)
    done()
    return
  }
  const isAgain = visit.phase === 'committed'
  visit.phase = 'committing'
  registration.keepAlive.end(slot as Slot)
  const wasUsed = state.wasUsed
  const payloadError = hearPayload(payload)
  if (!visit.isBusy) {
    commit(slot as Slot, guard, request, reply, isAgain, finish)
    return
  }
  const tooLate = (): Error => new StoreTimeoutError('methods together', storeTimeout, STORE_AWAY)
  visit.pending.settle(storeTimeout, tooLate, error => {
    if (error === null) commit(slot as Slot, guard, request, reply, isAgain, finish)
    // The rest of the session was stored, so the visitor needs its cookie.
    else if (error instanceof ValueError) commit(slot as Slot, guard, request, reply, isAgain, finishWith(error))
    else finish(error, false)
  })

  function finishWith (earlier: Error): typeof finish {
    return (error, isCookieChanged) => finish(error ?? earlier, isCookieChanged)
  }

  function finish (error: Error | null, isCookieChanged: boolean): void {
    (visit as Visit).endCommit(error)
    if (cacheControl) tellCaches(reply, wasUsed || freshOf(slot?.route) !== undefined, isCookieChanged)
    done(payloadError?.() ?? error ?? undefined)
  }
}

/** The session of the reply; undefined if nobody has used it, and it isn't stored unused. */
function stateToCommit (slot: Slot, { context: { settings }, finder }: Registration): SessionState | undefined {
  const { phase } = slot.visit as Visit
  // A later hook or a stream has failed, and the reply of an error handler comes here.
  if (phase === 'committed') return mayHaveChanged(slot.state) ? slot.state : undefined
  if (phase !== 'open') return undefined
  const isNeeded = finder.guard !== undefined || savesUnused(slot.route, settings.saveUninitialized) !== false
  return isNeeded ? stateIn(slot) : slot.state
}

/** Whether an error handler may have changed the session since it was committed. */
function mayHaveChanged (state: SessionState | undefined): boolean {
  if (state === undefined) return false
  return (state.standing !== 'stored' && state.standing !== 'new') || state.isModified() || state.wasChosen
}

/** Whether an authentication hook that runs before the plugin saw no session. It refuses everybody. */
function wasTurnedAway (slot: Slot | null | undefined, reply: FastifyReply): boolean {
  if (reply.statusCode < 300 || reply.statusCode > 403) return false
  return slot?.why === undefined && wasUsedEarly(slot?.other?.value)
}

function commit (
  slot: Slot, guard: Guard | undefined, request: FastifyRequest, reply: FastifyReply, isAgain: boolean,
  finish: (error: Error | null, isCookieChanged: boolean) => void
): void {
  // The latest session, if the handler called regenerate().
  const state = slot.state as SessionState
  const { settings } = state.context
  let decision: Decision
  try {
    guard?.beforeCommit(state, reply)
    decision = decide(slot, state, settings, request, reply)
    // A handler may have set an attribute that can't be sent. Then nothing is written.
    if (!state.hasPlainCookie && sendsCookie(decision)) settings.checkCookie(state.cookieAttributes())
  } catch (error) {
    fail(error as Error)
    return
  }
  if (isInsecure(decision)) settings.flaws.tell(warnInsecure)
  carryOut(decision, state, error => {
    const result = resultOf(decision, state, error)
    if (error !== null && isUnprolonged(decision, state, result)) settings.flaws.tell(warnNotProlonged, inShort(error))
    // A session that can't be read can't be written either, until it ends. So it ends with this reply.
    if (result === 'failed' && state.draft.isUnreadable) {
      discard(state, unended => answer(unended === null ? 'cleared' : result, error))
      return
    }
    answer(result, result === 'failed' || result === 'partly' ? error : null)
  })

  function answer (result: Result, error: Error | null): void {
    // A cookie with another signature may belong to another application on this host, and isn't cleared.
    const clears = result === 'cleared' && slot.sentId !== undefined
    const sends = result === 'sent' || result === 'partly'
    try {
      if (isAgain && (sends || clears)) dropCookie(reply, settings.cookieName)
      if (sends) setCookie(reply, state)
      if (clears && !hasCookie(reply, settings.cookieName)) clearCookie(reply, settings.cookieName, slot.visit as Visit)
    } catch (thrown) {
      fail(thrown as Error)
      return
    }
    finish(error, clears || sends)
  }

  function fail (error: Error): void {
    const isOurs = state.isInStore && state.found.stored === undefined
    // Nobody will have the cookie of this session, which the request has written. In the index it would take a place.
    if (isOurs && !hasCookie(reply, settings.cookieName)) remove(state, () => finish(error, false), 'expired')
    else finish(error, false)
  }
}

function carryOut ({ outcome, reason }: Decision, state: SessionState, answer: Answer<void>): void {
  if (outcome === 'create' || outcome === 'update') save(state, answer, reason)
  else if (outcome === 'end') discard(state, answer)
  else if (outcome === 'drop') remove(state, answer, 'replaced')
  else if (outcome === 'touch') prolong(state, answer, reason)
  else if (outcome === 'date') date(state, answer, reason)
  else answer(null)
}
