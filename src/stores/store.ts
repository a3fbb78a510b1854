import type * as Fastify from 'fastify'
import type { Callback } from '../types'

/** What a store keeps of a session: its data by top-level key, and its cookie. */
export type SessionRecord = Record<string, unknown>

/** What a request changed in a session, by top-level key. */
export interface SessionChanges {
  /** Keys that are new or have another value. The values belong to the store: nobody else holds them. */
  readonly set: Readonly<Record<string, unknown>>
  /** Keys that were removed. */
  readonly unset: readonly string[]
}

/** As the second argument, `false` says that there was no such session. */
export type FoundCallback = (error?: any, found?: any) => void

/**
 * What a store does for the library. The first three methods are all it needs; each further one is used where it
 * is there. A method answers through its callback, or by a promise when it declares no callback parameter.
 *
 * `Session` is what the store takes for a session. The option `store` takes any: express-session's types have their own.
 */
export interface SessionStore<Session = Fastify.Session> {
  /** Answers the session's record, or nothing when there is none (or it has expired). */
  get(sessionId: string, callback: (error: any, result?: Session | null) => void): void

  /** Writes the whole session, until `session.cookie.expires` where that is set. */
  set(sessionId: string, session: Session, callback: Callback): void

  /**
   * Removes the session. No error when it is not there. Answers what it removed, if it can tell: the record, or `false`
   * where there was none. A store with `update` should tell, because `regenerate(keys)` takes the latest data along then,
   * and none of a session that ended meanwhile. One without is read first.
   */
  destroy(sessionId: string, callback: FoundCallback): void

  /**
   * Moves the expiry to `session.cookie.expires` and nothing else. Never creates a session; may answer `false` where
   * there was none. A store that has it keeps the expiry: the library no longer judges by the record's own.
   */
  touch?(sessionId: string, session: Session, callback: FoundCallback): void

  /**
   * Applies the changes, the new cookie and its expiry in one atomic step, only if the session is still there.
   * Answers `false` where it was not.
   */
  update?(sessionId: string, changes: SessionChanges, session: Session, callback: FoundCallback): void

  /**
   * `get`, and `touch` with the lifetime that is in the record, in one step. Rolling sessions are loaded by it, given a
   * store with `touch` too: a request that changes nothing costs one call then.
   */
  getAndTouch?(sessionId: string, callback: (error: any, result?: Session | null) => void): void

  /**
   * `get`, with `cookie.expires` as far as touches have moved it. For lists; where it is missing, they use `get`.
   */
  inspect?(sessionId: string, callback: (error: any, result?: Session | null) => void): void

  /**
   * Enters a session, which may not be stored yet, as a user's, with the time of the first claim. Answers `false`, and
   * does nothing, where it is not entered yet and the user has `max` sessions: in one atomic step, so that of two
   * logins only one can be the last. What it keeps may be dropped when twice the session's lifetime has passed, and an
   * hour: a session that is used is claimed again before.
   *
   * The index by user is this method and the next two. Only the option `user` asks for it.
   *
   * @param max `Infinity` for no limit
   */
  claim?(userKey: string, sessionId: string, session: Session, max: number, callback: FoundCallback): void

  /** Takes a session off a user's. No error when it is not there. */
  release?(userKey: string, sessionId: string, callback: Callback): void

  /** Answers the ids that were claimed for a user, the first claimed first, and when, in milliseconds since the epoch. */
  claimsOf?(userKey: string, callback: (error: any, claims?: Array<[sessionId: string, claimedAt: number]>) => void): void

  /** All sessions. */
  all?(callback: (error: any, sessions?: any) => void): void

  /** The number of sessions. */
  length?(callback: (error: any, length?: any) => void): void

  /** Removes all sessions. */
  clear?(callback?: Callback): void
}
