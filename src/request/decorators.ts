import type { FastifyInstance, FastifyRequest } from 'fastify'
import { hasNotRun, NoSession, NoUserSession, watched, type Why } from './no-session'
import type { Outside } from './outside'
import { slotKeyOf, stateIn, type Slot, type Slotted } from './slot'
import { NameTakenError, OptionError } from '../errors'
import type { Settings } from '../options/settings'
import { stateOf } from '../session/session'
import type { Context } from '../session/state'
import { USER } from '../values/claim'
import { warnNotASession } from '../warnings'
import type { FastifySessionObject, Sessions } from '../types/session'

/** Decorates the server and its requests with what one registration offers. */
export function decorate (
  fastify: FastifyInstance, settings: Settings, outside: Outside, sessions: Sessions | undefined
): void {
  const { sessionName, cookieName, store, indexSettings, flaws } = settings
  const kSlot = slotKeyOf(cookieName)
  const name = capital(sessionName)
  const early = hasNotRun(sessionName)
  const StandIn = indexSettings?.functions.has(USER) === true ? NoUserSession : NoSession
  fastify.decorate(`decrypt${name}`, outside.decryptSession)
  fastify.decorate(`load${name}`, outside.loadSession)
  fastify.decorate(`create${name}`, outside.createSession)
  if (sessions !== undefined) fastify.decorate(`${sessionName}s`, sessions)
  fastify.decorateRequest(kSlot, null)
  fastify.decorateRequest(`${sessionName}Store`, { getter: () => store })
  fastify.decorateRequest(sessionName, {
    getter (this: FastifyRequest) {
      const slot = (this as Slotted)[kSlot]
      // Typed as a session, which it nearly always is.
      if (slot?.other !== undefined) return slot.other.value as FastifySessionObject
      const state = stateIn(slot)
      if (state !== undefined) return state.session
      if (slot?.load !== undefined) throw (slot.why as Why)()
      // One object per request: otherwise visitors would see each other's writes.
      const other = { value: slot?.why !== undefined ? new StandIn(slot.why) : watched(new StandIn(early)) }
      if (slot) slot.other = other
      // Not on an object that inherits from the request: it must see the request's session later.
      else if (Object.hasOwn(this, kSlot)) (this as Slotted)[kSlot] = { other }
      // Typed as a session, whose methods it has.
      return other.value as unknown as FastifySessionObject
    },
    setter (this: FastifyRequest, value: unknown) {
      const slot = ((this as Slotted)[kSlot] ??= {})
      if (slot.load !== undefined) throw (slot.why as Why)()
      const isOver = value === null && slot.state?.standing === 'destroyed'
      put(slot, value)
      if (slot.other !== undefined && slot.why === undefined && !isOver) flaws.tell(warnNotASession, sessionName)
    }
  })
}

/** Puts the result of regenerate(), reload() or destroy() on the request, or on a plain object. */
export function showing ({ sessionName, cookieName }: Settings): Context['show'] {
  const kSlot = slotKeyOf(cookieName)
  return function show (request: Record<PropertyKey, any>, session) {
    const slot: Slot | undefined = request[kSlot]
    if (slot === undefined) request[sessionName] = session
    else put(slot, session)
  }
}

function put (slot: Slot, value: unknown): void {
  const state = stateOf(value)
  slot.other = state === undefined ? { value } : undefined
  slot.state = state ?? slot.state
}

/** @throws FST_ERR_SESSION_NAME_TAKEN, FST_ERR_SESSION_OPTION */
export function checkNames (fastify: FastifyInstance, { sessionName, cookieName, indexSettings }: Settings): void {
  for (const name of [sessionName, `${sessionName}Store`]) {
    if (fastify.hasRequestDecorator(name)) throw new NameTakenError(`request.${name}`)
  }
  for (const verb of ['decrypt', 'load', 'create']) {
    const name = verb + capital(sessionName)
    if (fastify.hasDecorator(name)) throw new NameTakenError(`fastify.${name}`)
  }
  if (indexSettings !== undefined && fastify.hasDecorator(`${sessionName}s`)) {
    throw new NameTakenError(`fastify.${sessionName}s`)
  }
  if (fastify.hasRequestDecorator(slotKeyOf(cookieName))) {
    throw new OptionError(`cookieName is taken: another session of this scope is in the cookie '${cookieName}'`)
  }
}

export function capital (name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1)
}
