import type { FastifyInstance } from 'fastify'
import type { Finder } from './finder'
import type { Context } from '../session/state'

/** One registration of the session plugin, for a guard. */
export interface Guarded {
  readonly context: Context
  readonly finder: Finder
}

/** The server's property for a registration. A session's name is unique on its server. */
export function guardedKeyOf (sessionName: string): symbol {
  return Symbol.for(`@fastify/session guarded ${sessionName}`)
}

/** The registration of a session's name; undefined if there is none in this scope. */
export function guardedOf (fastify: FastifyInstance, sessionName: string): Guarded | undefined {
  return (fastify as unknown as Record<symbol, Guarded | undefined>)[guardedKeyOf(sessionName)]
}
