import type * as Fastify from 'fastify'

export type Callback = (error?: any) => void
/** How the library itself is answered. */
export type Answer<T> = (error: Error | null, value?: T) => void
export type CallbackSession = (error: any, result?: Fastify.Session | null) => void

/** What a store keeps of a session: its data by top-level key, and under `cookie` what the library keeps of it. */
export type SessionRecord = Record<string, unknown>

/** Fields that are new or have another value, and fields that were removed. */
export interface FieldChanges {
  /** The values belong to the store: nobody else holds them. */
  readonly set: Readonly<Record<string, unknown>>
  readonly unset: readonly string[]
}

/**
 * What a request changed in a session: of its data by top-level key, and of what the library keeps by field of
 * `cookie`.
 */
export interface SessionChanges extends FieldChanges {
  /**
   * The fields under `cookie`. If `expires` is among those to set, the session ends then. Otherwise it ends when
   * `session.cookie.expires` says, or later if the store has a later end.
   */
  readonly meta: FieldChanges
}

/** As the second argument, `false` says that there was no such session. */
export type FoundCallback = (error?: any, found?: any) => void

/** Answers the ids of sessions, and when they were claimed, in milliseconds since the epoch. */
export type ClaimsCallback = (error: any, claims?: Array<[sessionId: string, claimedAt: number]>) => void

/**
 * What a store does for the library. The first three methods are all it needs; each further one is used where it
 * is there. A method answers through its callback, or by a promise when it declares no callback parameter.
 *
 * `Session` is what the store takes for a session. The option `store` takes any: express-session's types have their
 * own.
 */
export interface SessionStore<Session = Fastify.Session> {
  /** Answers the session's record, or nothing when there is none (or it has expired). */
  get(sessionId: string, callback: (error: any, result?: Session | null) => void): void

  /** Writes the whole session, until `session.cookie.expires` where that is set. */
  set(sessionId: string, session: Session, callback: Callback): void

  /**
   * Removes the session. No error when it is not there. Answers what it removed, if it can tell: the record, or `false`
   * where there was none. A store with `update` should tell, because `regenerate(keys)` takes the latest data along
   * then, and none of a session that ended meanwhile. One without is read first.
   */
  destroy(sessionId: string, callback: FoundCallback): void

  /**
   * Moves the expiry to `session.cookie.expires`, if that is later, and nothing else. Never creates a session; may
   * answer `false` if there was none. A store that has it keeps the expiry, so the record's own may be older.
   */
  touch?(sessionId: string, session: Session, callback: FoundCallback): void

  /**
   * Applies the changes and the expiry in one atomic step, onto what the store has now, only if the session is still
   * there. Answers `false` if it was not.
   */
  update?(sessionId: string, changes: SessionChanges, session: Session, callback: FoundCallback): void

  /**
   * `get`, and `touch` by the record's `cookie.idle` (`originalMaxAge` in records of older versions), in one step.
   * Rolling sessions are loaded by it, if the store has `touch` too: a request that changes nothing costs one call
   * then. `cookie.expires` is the store's own end, before it was moved.
   */
  getAndTouch?(sessionId: string, callback: (error: any, result?: Session | null) => void): void

  /**
   * `get`, with the store's own end as `cookie.expires`. Sessions that aren't prolonged are loaded by it, and lists
   * ask it; without it they use `get`.
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

  /**
   * Answers the ids that were claimed for a user, the first claimed first, and when, in milliseconds since the epoch.
   */
  claimsOf?(userKey: string, callback: ClaimsCallback): void

  /** All sessions. */
  all?(callback: (error: any, sessions?: any) => void): void

  /** The number of sessions. */
  length?(callback: (error: any, length?: any) => void): void

  /** Removes all sessions. */
  clear?(callback?: Callback): void
}
