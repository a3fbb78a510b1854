import type * as Fastify from 'fastify'

export type Callback = (error?: any) => void
/** A callback of the library's own. */
export type Answer<T> = (error: Error | null, value?: T) => void
export type CallbackSession = (error: any, result?: Fastify.Session | null) => void

declare const isKey: unique symbol

/** The key of a session in the store: its id, or what the store's `keyOf` returns for the id. */
export type StoreKey = string & { readonly [isKey]: true }

/** What a store keeps of a session: its data by top-level key, and the library's own fields under `cookie`. */
export type SessionRecord = Record<string, unknown>

/** Fields that were set, and fields that were removed. */
export interface FieldChanges {
  /** The store may keep these values as they are: no other code holds them. */
  readonly set: Readonly<Record<string, unknown>>
  readonly unset: readonly string[]
}

/**
 * What a request changed in a session: its data by top-level key, and the library's own fields under `cookie`.
 */
export interface SessionChanges extends FieldChanges {
  /**
   * The fields under `cookie`. If `expires` is set here, the session ends then. Otherwise it ends at
   * `session.cookie.expires`, or later if the store has a later end.
   */
  readonly meta: FieldChanges
}

/**
 * Why a session ended. `logout`: by `destroy()`. `revoked`: by `revoke()`, `revokeOthers()` or `revokeUser()`. `limit`:
 * its user has `maxPerUser` newer ones. `replaced`: by `regenerate()`. `expired`: its time is over, or the reason isn't
 * known.
 */
export type EndCode = 'logout' | 'revoked' | 'limit' | 'replaced' | 'expired'

/** The second argument is `false` if there was no such session. */
export type FoundCallback = (error?: any, found?: any) => void

/** The result of a conditional update. `changed`: a key wasn't as expected, and nothing was written. */
export type UpdateResult = 'written' | 'changed' | 'gone'

/** A session in the index by user. */
export interface IndexEntry {
  readonly sessionId: string
  /** Names the session for `revoke`. A session that replaces another one has the same fingerprint. */
  readonly fingerprint: string
  /**
   * When the session was first entered for the user, in milliseconds since the epoch, by the store's clock. No two
   * are the same.
   */
  readonly claimedAt: number
  /** How long this session has been in the index, in milliseconds. */
  readonly age: number
}

/** How a session is entered in the index by user. */
export interface Claiming {
  /** Names the session for `revoke`: the second half of its handle in lists. */
  readonly fingerprint: string
  /**
   * How long the entry is kept, in milliseconds, if it isn't claimed again; null if it is kept as long as the store
   * keeps a session.
   */
  readonly lives: number | null
  /**
   * The session that this one replaces. Its entry is removed in the same step, and this one takes over its
   * `claimedAt` and fingerprint.
   */
  readonly replaces?: string | undefined
  /** Whether the session was claimed before and has been written, so that its entry must exist. */
  readonly isWritten: boolean
  /** How many sessions the user may have. Infinity for any number. */
  readonly max: number
  /** Whether a session beyond `max` is refused. Otherwise the oldest are ended. */
  readonly refuses: boolean
}

/** Which sessions of a user are revoked. */
export interface Revoking {
  /** Only the session with this fingerprint. */
  readonly fingerprint?: string
  /** All sessions but the one with this id. */
  readonly except?: string | undefined
}

/**
 * The result of a claim. `entered`; `full`: the user has `max` sessions already; `ending`: this session, or the one
 * that it replaces, was revoked; `lost`: the entry that must exist doesn't.
 */
export interface Claimed {
  readonly outcome: 'entered' | 'full' | 'ending' | 'lost'
  /** The sessions that this claim has revoked, because the user had too many. */
  readonly tooMany: readonly string[]
}

/**
 * What a store does for the library. Only the first three methods are required; the others are used if the store has
 * them. A method answers through its callback, or by a promise if it declares no callback parameter.
 *
 * `Session` is the store's own type of a session. The option `store` accepts any, because stores for express-session
 * have express-session's.
 */
export interface SessionStore<Session = Fastify.Session> {
  /** Answers with the session's record, or nothing if there is none or it has expired. */
  get(sessionId: string, callback: (error: any, result?: Session | null) => void): void

  /** Writes the whole session. It is kept until `session.cookie.expires`, if that is set. */
  set(sessionId: string, session: Session, callback: Callback): void

  /**
   * Removes the session. It isn't an error if there is none. If the store can tell, it answers with the removed record,
   * or `false` if there was none. A store with `update` should: then `regenerate(keys)` keeps the latest data, and
   * nothing of a session that has just ended. A store without `update` is read first. A store with `watch` may declare
   * a third parameter: why the session ends.
   */
  destroy(sessionId: string, callback: FoundCallback, code?: EndCode): void

  /**
   * Moves the expiry to `session.cookie.expires`, if that is later, and changes nothing else. If the store can, it
   * moves the expiry no further than the record's own `cookie.idle` from now, because another request may have chosen
   * a shorter lifetime since. Never creates a session; may answer `false` if there was none. A store with `touch`
   * keeps the expiry itself, so the record's `cookie.expires` may be older.
   */
  touch?(sessionId: string, session: Session, callback: FoundCallback): void

  /**
   * Applies the changes and the expiry to the current record in one atomic step, only if the session still exists.
   * Answers `false` if it doesn't.
   */
  update?(sessionId: string, changes: SessionChanges, session: Session, callback: FoundCallback): void

  /**
   * Does the same as `update`, but only if these keys are exactly as in a record that this store has answered with. A
   * store that keeps text compares texts. A key that the record lacks must be missing. Other keys may have changed. For
   * `session.update()` and `session.take()`. Without it, or without `update`, these read again and compare, one at a
   * time within this process.
   */
  updateIf?(
    sessionId: string, record: SessionRecord, keys: readonly string[], changes: SessionChanges, session: Session,
    callback: (error: any, result?: UpdateResult) => void
  ): void

  /**
   * `get`, and `touch` by the record's `cookie.idle` (`originalMaxAge` in records of older versions), in one step. It
   * loads rolling sessions if the store has `touch` too, so that a request that changes nothing needs one call. Answers
   * with the store's own expiry as `cookie.expires`, as it was before.
   */
  getAndTouch?(sessionId: string, callback: (error: any, result?: Session | null) => void): void

  /**
   * `get`, with the store's own expiry as `cookie.expires`. Used for requests that don't prolong their session, and for
   * lists. Without it they use `get`.
   */
  inspect?(sessionId: string, callback: (error: any, result?: Session | null) => void): void

  /**
   * Enters a session for a user. The session may not be stored yet. Checking the limit, entering the session and
   * removing the one that it replaces are one atomic step. If it is entered already, its entry only lives longer. A
   * session that was revoked isn't entered. Expired entries don't count. The cost must not grow with the number of
   * the user's sessions.
   *
   * The index by user is this method and the next four. Only the options `user` and `index` use it. It finds sessions;
   * the record keeps the owner. A session may be entered under several keys: its user's, and one for each name of
   * `index`. A store treats all of them as users.
   */
  claim?(
    userKey: string, sessionId: string, claiming: Claiming, callback: (error: any, claimed?: Claimed) => void
  ): void

  /** Removes sessions from the user's, and from those to be ended. It isn't an error if they aren't there. */
  release?(userKey: string, sessionIds: readonly string[], callback: Callback): void

  /**
   * Moves a user's sessions to those to be ended, in one atomic step: one of them, or all, or all but one. Answers with
   * their number.
   */
  revoke?(userKey: string, which: Revoking, callback: (error: any, count?: number) => void): void

  /** Answers with the ids of a user's sessions that are to be ended, a hundred at most. `release` removes them. */
  endingsOf?(userKey: string, callback: (error: any, sessionIds?: string[]) => void): void

  /**
   * Answers with a user's sessions, the newest claim first.
   *
   * @param before only sessions claimed before that, in milliseconds since the epoch; Infinity for all
   * @param count how many at most
   */
  claimsOf?(
    userKey: string, before: number, count: number, callback: (error: any, entries?: IndexEntry[]) => void
  ): void

  /**
   * Calls `onEnd` with the reason when a session ends, in this process or another. If messages may have been lost, it
   * calls `onEnd` without a reason, and the library asks the store whether the watched sessions still live. Called
   * when the application reads `session.signal`. Returns a function that stops watching, or a promise of it. The
   * library asks the store once that promise is fulfilled, so nothing that ended before is missed.
   */
  watch?(sessionId: string, onEnd: (code?: EndCode) => void): (() => void) | Promise<() => void>

  /**
   * Returns the store's key for a session id, if that isn't the id itself. All other methods then receive the key in
   * place of the id, and the index by user answers with keys. Called once for each id that a visitor sends.
   */
  keyOf?(sessionId: string): string

  /** Returns an older key that the session may have, or undefined. New sessions have the key of `keyOf`. */
  formerKeyOf?(sessionId: string): string | undefined

  /** Answers with all sessions. */
  all?(callback: (error: any, sessions?: any) => void): void

  /** Answers with the number of sessions. */
  length?(callback: (error: any, length?: any) => void): void

  /** Removes all sessions. */
  clear?(callback?: Callback): void
}
