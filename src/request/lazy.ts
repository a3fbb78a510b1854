import type { FastifyReply, FastifyRequest } from 'fastify'
import { capital } from './decorators'
import { hasNotRun, isLazy } from './no-session'
import { slotKeyOf, stateIn, type Slotted } from './slot'
import { NameTakenError } from '../errors'
import type { Settings } from '../options/settings'
import { promised } from '../stores/call'
import type { FastifySessionObject } from '../types/session'

/** `request.loadSession`, or its name for another session. */
export interface Loader {
  readonly name: string
  readonly load: (this: FastifyRequest) => Promise<FastifySessionObject>
}

export function loaderFor ({ sessionName, cookieName }: Settings): Loader {
  const kSlot = slotKeyOf(cookieName)
  const sessionOf = async (request: Slotted): Promise<FastifySessionObject> => {
    await request[kSlot]?.load?.()
    const slot = request[kSlot]
    if (stateIn(slot) === undefined) throw (slot?.why ?? hasNotRun(sessionName))()
    return (request as Record<string, any>)[sessionName]
  }
  return {
    name: `load${capital(sessionName)}`,
    load () {
      const loading = sessionOf(this as Slotted)
      // A failure that nobody awaits must not end the process.
      loading.catch(() => {})
      return loading
    }
  }
}

/**
 * Leaves loading the session to the handler, which may call it more than once. Returns an error if the application has
 * a `request.loadSession` of its own.
 */
export function putOff (
  { name, load }: Loader, { sessionName, cookieName }: Settings, request: Slotted, reply: FastifyReply,
  loadNow: (done: (error?: Error) => void) => void
): Error | undefined {
  const kSlot = slotKeyOf(cookieName)
  if ((request as Record<string, any>)[name] !== load) return new NameTakenError(`request.${name}`)
  let loading: Promise<unknown> | undefined
  const loadLate = async (): Promise<void> => {
    await promised(answer => loadNow(error => answer(error ?? null)))
    const visit = request[kSlot]?.visit
    // Later changes are lost, and a warning says so.
    if (visit !== undefined && reply.raw.headersSent) visit.phase = 'committed'
  }
  request[kSlot] = { why: isLazy(sessionName, name), load: () => (loading ??= loadLate()) }
  return undefined
}
