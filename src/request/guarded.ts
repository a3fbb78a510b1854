import type { FastifyInstance } from 'fastify'
import type { Finder } from './finder'
import type { Context } from '../session/state'

/** What a guard gets to work with: one registration of the session plugin. */
export interface Guarded {
  readonly context: Context
  readonly finder: Finder
}

/** Where a registration is found on its server. By the session's name, which is nobody else's there. */
export function guardedKeyOf (sessionName: string): symbol {
  return Symbol.for(`@fastify/session guarded ${sessionName}`)
}

/** The registration of a session's name; undefined if there is none in this scope. */
export function guardedOf (fastify: FastifyInstance, sessionName: string): Guarded | undefined {
  return (fastify as unknown as Record<symbol, Guarded | undefined>)[guardedKeyOf(sessionName)]
}
