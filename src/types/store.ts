import type * as Fastify from 'fastify'

export type Callback = (error?: any) => void
/** How the library itself is answered. */
export type Answer<T> = (error: Error | null, value?: T) => void
export type CallbackSession = (error: any, result?: Fastify.Session | null) => void

declare const isKey: unique symbol

/** By what a store knows a session: its id, or what the store's `keyOf` makes of that. */
export type StoreKey = string & { readonly [isKey]: true }

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

/**
 * Why a session ended: by `destroy()`; by `revoke()`, `revokeOthers()` or `revokeUser()`; because its user has
 * `maxPerUser` newer ones; by `regenerate()`; or by its own end. `expired` is also what is said if nobody knows why.
 */
export type EndCode = 'logout' | 'revoked' | 'limit' | 'replaced' | 'expired'

/** As the second argument, `false` says that there was no such session. */
export type FoundCallback = (error?: any, found?: any) => void

/** What became of a conditional update. `changed`: a key wasn't as expected, and nothing was written. */
export type UpdateResult = 'written' | 'changed' | 'gone'

/** A session in the index by user. */
export interface IndexEntry {
  readonly sessionId: string
  /** By which it is revoked: that of the first of the sessions that replaced each other. */
  readonly fingerprint: string
  /**
   * When it was claimed for the user first, in milliseconds since the epoch, by the store's clock. No two are the
   * same.
   */
  readonly claimedAt: number
  /** How long this session is in the index, in milliseconds. */
  readonly age: number
}

/** How a session is entered in the index by user. */
export interface Claiming {
  /** By which it is revoked, as the second half of its handle in lists. */
  readonly fingerprint: string
  /**
   * How long the entry is kept, in milliseconds, if it isn't claimed again; null for as long as the store keeps a
   * session.
   */
  readonly lives: number | null
  /**
   * The session in whose place this one is: its entry goes, in the same step, and this one has its `claimedAt` and
   * its fingerprint.
   */
  readonly replaces?: string | undefined
  /** Whether it is claimed again after it was written, so that it must be there. */
  readonly isWritten: boolean
  /** How many sessions the user may have. Infinity for any number. */
  readonly max: number
  /** Whether one too many is refused; otherwise the oldest are ended. */
  readonly refuses: boolean
}

/** Which sessions of a user are revoked. */
export interface Revoking {
  /** Only the one that was claimed with it, or that has replaced that one. */
  readonly fingerprint?: string
  /** All but the one of that id. */
  readonly except?: string | undefined
}

/**
 * What came of a claim. `entered`; `full`: the user has as many sessions as may be; `ending`: this session, or the
 * one that it replaces, was revoked; `lost`: the entry that must be there isn't.
 */
export interface Claimed {
  readonly outcome: 'entered' | 'full' | 'ending' | 'lost'
  /** The sessions that are ended by this claim, because the user has too many. They are revoked now. */
  readonly tooMany: readonly string[]
}

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
   * then, and none of a session that ended meanwhile. One without is read first. A store with `watch` may declare
   * a third parameter: why the session ends.
   */
  destroy(sessionId: string, callback: FoundCallback, code?: EndCode): void

  /**
   * Moves the expiry to `session.cookie.expires`, if that is later, and nothing else. A store that can moves it no
   * further than the record's own `cookie.idle` from now, because whoever uses the session may not know of a lifetime
   * that somebody has chosen since. Never creates a session; may answer `false` if there was none. A store that has
   * it keeps the expiry, so the record's own may be older.
   */
  touch?(sessionId: string, session: Session, callback: FoundCallback): void

  /**
   * Applies the changes and the expiry in one atomic step, onto what the store has now, only if the session is still
   * there. Answers `false` if it was not.
   */
  update?(sessionId: string, changes: SessionChanges, session: Session, callback: FoundCallback): void

  /**
   * As `update`, but only if these keys are exactly as in a record that this store handed out: as text if the store
   * keeps text, and a key that the record lacks must be missing. Another writer may have changed other keys. For
   * `session.update()` and `session.take()`; without it, or without `update`, they read once more and compare, in turn
   * within this process.
   */
  updateIf?(
    sessionId: string, record: SessionRecord, keys: readonly string[], changes: SessionChanges, session: Session,
    callback: (error: any, result?: UpdateResult) => void
  ): void

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
   * Enters a session, which may not be stored yet, as a user's. In one atomic step: whether it may, and what it takes
   * the place of. A session that is entered already stays what it is, and lives longer; one that was revoked isn't
   * entered. Entries whose time has passed don't count. It reads no list: its cost doesn't grow with the user's
   * sessions.
   *
   * The index by user is this method and the next four. Only the options `user` and `index` ask for it. It finds
   * sessions; whose a session is, its record says. A session may be entered under several keys: its user's, and one for
   * each name of `index`, which to a store is a user's like any other.
   */
  claim?(
    userKey: string, sessionId: string, claiming: Claiming, callback: (error: any, claimed?: Claimed) => void
  ): void

  /** Takes sessions off a user's, and off those to be ended. No error when they are not there. */
  release?(userKey: string, sessionIds: readonly string[], callback: Callback): void

  /**
   * Moves a user's sessions to those to be ended, in one atomic step: the one with a fingerprint, or all, but for one.
   * Answers how many.
   */
  revoke?(userKey: string, which: Revoking, callback: (error: any, count?: number) => void): void

  /** Answers the ids of a user's sessions that are to be ended, a hundred at most. They go by `release`. */
  endingsOf?(userKey: string, callback: (error: any, sessionIds?: string[]) => void): void

  /**
   * Answers a user's sessions, the first that was claimed last.
   *
   * @param before only those that were claimed before that, in milliseconds since the epoch; Infinity for all
   * @param count how many at most
   */
  claimsOf?(
    userKey: string, before: number, count: number, callback: (error: any, entries?: IndexEntry[]) => void
  ): void

  /**
   * Tells when a session ends, whichever process ends it: calls `onEnd` with why. Without a code it means that the
   * session, and any other, should be looked at again, because messages may have been lost. Asked when somebody reads
   * `session.signal`. Returns what ends it, or a promise of it: what ends before that promise is fulfilled is looked
   * for in the store.
   */
  watch?(sessionId: string, onEnd: (code?: EndCode) => void): (() => void) | Promise<() => void>

  /**
   * Answers by what the store knows the session of an id, if not by the id itself. All other methods are called with
   * that in place of the id then, and the index by user answers it. Called once for each id that a visitor brings.
   */
  keyOf?(sessionId: string): string

  /** By what else the store may know it, from an earlier time; undefined if by nothing. New sessions have `keyOf`'s. */
  formerKeyOf?(sessionId: string): string | undefined

  /** All sessions. */
  all?(callback: (error: any, sessions?: any) => void): void

  /** The number of sessions. */
  length?(callback: (error: any, length?: any) => void): void

  /** Removes all sessions. */
  clear?(callback?: Callback): void
}
