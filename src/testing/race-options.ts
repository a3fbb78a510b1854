import type { FastifyPluginCallback } from 'fastify'
import type { RequestName } from './race-ops'
import type { FastifySessionOptions } from '../index'
import type { Method } from '../stores/call'
import type { SessionStore } from '../types/store'

/** A participant of a race: a request, or `expire`, which lets all sessions expire. */
export type RaceEvent = RequestName | 'expire'

export interface RaceOptions {
  /** The races remove the sessions that they write. */
  store: SessionStore
  /**
   * As for the plugin.
   *
   * @default true
   */
  rolling?: boolean
  /**
   * As for the plugin.
   *
   * @default true
   */
  saveUninitialized?: boolean
  /** Lets all sessions expire in a store that doesn't use `Date.now()`, which the kit moves. */
  expire?: () => unknown
  /**
   * Splits a call into two steps: it takes effect, and the library receives the answer. For the store's content one
   * step is enough: between effect and answer the request does nothing, and other requests see only the effect. But the
   * library's own memory (turns, ended sessions) changes with the answer. Makes many more schedules.
   *
   * @default false
   */
  splitCalls?: boolean
  /** Methods whose calls aren't held, so that they make no schedules. Only for a store that answers synchronously. */
  passing?: readonly Method[]
  /** Enters the sessions in the store's index by user, with these limits. */
  users?: Pick<FastifySessionOptions, 'maxPerUser' | 'onMaxPerUser'>
  /**
   * With `users`: also enters the sessions by a second name, that of their team.
   *
   * @default false
   */
  teams?: boolean
  /** Another plugin of the same interface. */
  plugin?: FastifyPluginCallback<any>
}

/** Returns the index of the step that is taken next. */
export type Choose = (names: readonly string[]) => number
