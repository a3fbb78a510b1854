import type { FastifyPluginCallback } from 'fastify'
import type { RequestName } from './race-ops'
import type { FastifySessionOptions } from '../index'
import type { Method } from '../stores/call'
import type { SessionStore } from '../types/store'

/** What takes part in a race: a request, or `expire`, by which the lives of all sessions pass. */
export type RaceEvent = RequestName | 'expire'

export interface RaceOptions {
  /** What the races write they remove again. */
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
  /** Ends the lives of all sessions in a store that doesn't go by `Date.now()`, which the kit moves. */
  expire?: () => unknown
  /**
   * Makes two steps of a call: it takes effect, and the library hears of it. As one step it loses no race for what is in the
   * store: in between, its request does nothing, and other requests see the effect, not the answer. What the library
   * itself remembers (whose turn it is, which sessions it ended) it learns from answers, though. Many more schedules.
   *
   * @default false
   */
  splitCalls?: boolean
  /** Methods whose calls are not held, and so make no schedules. Only of a store that answers at once. */
  passing?: readonly Method[]
  /** Enters the sessions in the store's index by user, with these limits. */
  users?: Pick<FastifySessionOptions, 'maxPerUser' | 'onMaxPerUser'>
  /**
   * With `users`: enters them by a second name, too, that of their team.
   *
   * @default false
   */
  teams?: boolean
  /** Another plugin of the same interface. */
  plugin?: FastifyPluginCallback<any>
}

/** Chooses what happens next, and answers its index. */
export type Choose = (names: readonly string[]) => number
