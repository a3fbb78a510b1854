import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Signals } from './diagnostics'
import { NameTakenError, OptionError, StoreTimeoutError } from './errors'
import { makeId, resolveOptions, type Settings } from './options'
import { tellCaches } from './request/cache-headers'
import { Finder } from './request/finder'
import { KeepAlive } from './request/keep-alive'
import { endOthers } from './request/others'
import { decide, isInsecure, resultOf, type Decision } from './request/outcome'
import { outsideOf } from './request/outside'
import { hearPayload } from './request/payload'
import { clearCookie, setCookie } from './request/set-cookie'
import { isRefused, type Slot } from './request/slot'
import { SessionIds } from './session/ids'
import { date, prolong, save } from './session/operations'
import { createSession, stateOf } from './session/session'
import { SessionState, type Context } from './session/state'
import { sessionsOf, Users } from './session/users'
import { Visit } from './session/visit'
import { Repository } from './stores/repository'
import { warnInsecure } from './warnings'
import type { FastifySessionOptions, RouteSessionOptions } from './types/options'
import type { FastifySessionObject } from './types/session'
import type { Answer } from './types/store'

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

  const { sessionName, cookieName, store } = settings
  const kSlot = slotOf(cookieName)
  const signals = new Signals(sessionName, store)
  const repository = new Repository(settings, signals)
  const finder = new Finder(fastify, settings, repository, signals)
  const keepAlive = new KeepAlive()
  const context: Context = {
    settings, repository, createSession, ids: new SessionIds(settings.idGenerator, makeId), endOthers: endOthers(finder, repository)
  }
  const users = settings.userSettings && new Users(settings.userSettings, context)
  context.users = users
  const { decryptSession, loadSession, createSession: createStored } = outsideOf(fastify, context, finder, function keep (request, slot) {
    if (kSlot in request) request[kSlot] = slot
    else request[sessionName] = slot.state.session
  })
  type Slotted = FastifyRequest & { [kSlot]: Slot | null }

  fastify.decorate(`decrypt${capital(sessionName)}`, decryptSession)
  fastify.decorate(`load${capital(sessionName)}`, loadSession)
  fastify.decorate(`create${capital(sessionName)}`, createStored)
  if (users !== undefined) fastify.decorate(`${sessionName}s`, sessionsOf(users))
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
  fastify.addHook('onClose', (_instance, done) => {
    keepAlive.stop()
    done()
  })
  done()

  function openSession (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    const route = routeOptionsOf(request, sessionName)
    if (route === false) {
      goWithout(request, done)
      return
    }
    let visit: Visit
    try {
      const cookie = settings.cookieFor(request)
      if (!isWithin(request.raw.url as string, cookie.path || '/')) {
        goWithout(request, done)
        return
      }
      visit = new Visit(cookie, route?.rolling ?? settings.rolling, request, reply, finder.valuesIn(request.headers.cookie, request.cookies))
    } catch (error) {
      goWithout(request, done, error as Error)
      return
    }
    const { cookie, rolling, sent } = visit
    // Not if nothing may be sent, which isn't a use of the session.
    const touch = rolling && settings.refreshAfter === 0 && !isRefused(visit, cookie.secure)
    finder.find(sent, cookie.terms, touch, (error, found) => {
      if (error !== null && settings.failsWithStore) {
        goWithout(request, done, error)
        return
      }
      const state = new SessionState(context, visit, found)
      const slot: Slot = { visit, route, sentId: found?.provedId, state };
      (request as Slotted)[kSlot] = slot
      if (rolling && state.standing !== 'anonymous') keepAlive.begin(slot)
      if (state.standing === 'new' && context.ids.isEarly) state.makeId(error => error === null ? done() : goWithout(request, done, error))
      else done()
    })
  }

  // What an error handler finds, too. Each request its own: one visitor's write to it would show up in the next one's.
  function goWithout (request: FastifyRequest, done: (error?: Error) => void, error?: Error): void {
    (request as Slotted)[kSlot] = { other: { value: {} } }
    done(error)
  }

  function commitSession (request: FastifyRequest, reply: FastifyReply, payload: unknown, done: (error?: Error | null) => void): void {
    const slot = (request as Slotted)[kSlot]
    const { visit } = slot ?? {}
    // An async handler that called reply.send() and did not return it makes Fastify send once more, with nothing. The
    // first is the reply, so the second goes no further.
    if (visit?.phase === 'committing') return
    // Committed: an error in a later hook brings the same reply here again.
    if (slot?.state === undefined || visit?.phase !== 'open') {
      done()
      return
    }
    keepAlive.end(slot)
    visit.phase = 'committing'
    const wasUsed = slot.state.wasUsed
    const payloadError = hearPayload(payload)
    const tooLate = (): Error => new StoreTimeoutError('calls', settings.storeTimeout)
    visit.pending.settle(settings.storeTimeout, tooLate, error => error === null ? commit(slot as CommittedSlot, request, reply, finish) : finish(error, false))

    function finish (error: Error | null, isCookieChanged: boolean): void {
      (visit as Visit).phase = 'committed'
      if (settings.cacheControl) tellCaches(reply, wasUsed, isCookieChanged)
      done(payloadError() ?? error)
    }
  }

  function commit (
    slot: CommittedSlot, request: FastifyRequest, reply: FastifyReply, finish: (error: Error | null, isCookieChanged: boolean) => void
  ): void {
    const { state, visit } = slot
    let decision: Decision
    try {
      decision = decide(slot, state, settings, request, reply)
    } catch (error) {
      finish(error as Error, false)
      return
    }
    if (isInsecure(decision)) warnInsecure()
    carryOut(decision, state, error => {
      const result = resultOf(decision, state, error)
      try {
        if (result === 'sent') setCookie(reply, state)
        const clears = result === 'cleared' && visit.sent.length > 0
        if (clears) clearCookie(reply, cookieName, visit)
        finish(result === 'failed' ? error : null, clears || result === 'sent')
      } catch (thrown) {
        finish(thrown as Error, false)
      }
    })
  }
}

type CommittedSlot = Slot & { state: SessionState, visit: Visit }

function carryOut ({ outcome, reason }: Decision, state: SessionState, answer: Answer<void>): void {
  if (outcome === 'create' || outcome === 'update') save(state, answer, reason)
  else if (outcome === 'touch') prolong(state, answer, reason)
  else if (outcome === 'date') date(state, answer, reason)
  else answer(null)
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
