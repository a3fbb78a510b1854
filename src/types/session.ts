import type * as Fastify from 'fastify'
import type { CookieOptions } from './cookie'
import type { Callback } from './store'

declare module 'fastify' {
  /** The data of a session. Extend it by module augmentation. */
  interface Session extends ExpressSessionData {}
}

// The name is version 11's. @fastify/passport declares an interface of that name in 'fastify', which replaces this one
// and allows any name for data.
export interface ExpressSessionData {
  /** The session's cookie. The reply sends changed attributes. */
  cookie: {
    /** The lifetime that `touch()` starts again, in milliseconds; null for a browser-session or a fixed `expires`. */
    originalMaxAge: number | null
    /**
     * Milliseconds until the cookie ends. At run time it is null if the cookie ends with the browser or if its end
     * isn't known; version 11's type doesn't include null. Setting it chooses a lifetime for this session, which is
     * kept. With undefined, the cookie ends with the browser.
     */
    maxAge?: number | undefined
    signed?: boolean
    /** When the cookie ends; null if it ends with the browser or if its end isn't known. Setting it chooses, too. */
    expires?: Date | null
    httpOnly?: boolean
    path?: string
    domain?: string
    secure?: boolean | 'auto'
    sameSite?: boolean | 'lax' | 'strict' | 'none'
    partitioned?: boolean
    priority?: 'low' | 'medium' | 'high'
  }
}

/** Which page of a list to return. */
export interface SessionPage {
  /**
   * The `next` of the page before.
   *
   * @default undefined, the first page
   */
  cursor?: string | undefined
  /**
   * The most sessions of a page. Only the last page has fewer.
   *
   * @default 100
   */
  limit?: number
}

/** A page of a list. */
export interface SessionList extends Array<SessionView> {
  /** The `cursor` of the next page; missing if this is the last one. */
  next?: string
}

/** One session in a list, with what the option `describe` returns for it. */
export interface SessionView extends Record<string, any> {
  /**
   * The session's name for lists, logs and `revoke()`. It stays the same after `regenerate(keys)`, and doesn't reveal
   * the id or the cookie: a truncated SHA-256 of the user, a dot, and one of the session's first id. Diagnostics
   * publish the second part as `fingerprint`.
   */
  handle: string
  /** Whether it is the session of this request. */
  current: boolean
  createdAt: Date
  /**
   * When the visitor authenticated last: by a login, or by `regenerate(keys, { authenticated: true })`. null if the
   * record doesn't say, because an older version wrote it.
   */
  authenticatedAt: Date | null
  /** Whether it is bound to the device of its browser, by `@fastify/session/device-bound`. */
  deviceBound: boolean
  /** When it was used last: the last request with `rolling`, otherwise the last change. */
  lastSeenAt: Date
  /** When it ends if nobody uses it; null if the store decides. */
  expiresAt: Date | null
}

/** The sessions of a user, an organisation or the like. Its methods reject with the store's error, if any. */
export interface SessionsBy {
  /** Lists the sessions, the newest login first. */
  list(page?: SessionPage): Promise<SessionList>
  /** Ends all of them. Resolves to their number. */
  revoke(): Promise<number>
}

/** `fastify.sessions`. Its methods reject with the store's error, if any. */
export interface Sessions {
  /**
   * The sessions for which a function of the option `index` has returned this value. The name `user` stands for the
   * option `user`.
   *
   * @throws FST_ERR_SESSION_INDEX if `index` doesn't have the name, or if the value isn't a number or a non-empty
   *   string; FST_ERR_SESSION_USER likewise for the name `user`
   */
  by(name: string, value: string | number): SessionsBy
  /**
   * Lists the sessions of a user, the newest login first.
   *
   * @throws FST_ERR_SESSION_USER if the user isn't a number or a non-empty string
   */
  forUser(user: string | number, page?: SessionPage): Promise<SessionList>
  /** Ends one session. Resolves to whether there was one. */
  revoke(handle: string): Promise<boolean>
  /**
   * Ends all sessions of a user, after a password change for instance. Resolves to their number.
   *
   * @throws FST_ERR_SESSION_USER if the user isn't a number or a non-empty string
   */
  revokeUser(user: string | number): Promise<number>
  /** Resolves to the number of sessions in the store. In Redis it scans all keys. */
  count(): Promise<number>
}

// As in version 11's types: `data` is `any` if any name may be data.
type AllData = string extends keyof Fastify.Session ? any : Record<string, any>

/** The data of a session, as the function of `update()` receives them. */
export type SessionData = {
  [K in keyof Fastify.Session as K extends 'cookie' ? never : K]: Fastify.Session[K]
} & Accessors

/** Reads and stores data by name. */
interface Accessors {
  /**
   * Stores a value.
   *
   * @throws FST_ERR_SESSION_RESERVED_KEY for the name of a method or property of the session
   */
  set<K extends keyof Fastify.Session>(key: K, value: Fastify.Session[K]): void

  /** Returns the value that is stored under a name, or undefined. Reads only the session's data, not its methods. */
  get<K extends keyof Fastify.Session>(key: K): Fastify.Session[K] | undefined
}

/** Methods of the session whose names may also be used for data. */
interface SessionTools {
  /**
   * Changes the data that the store has now, and writes them at once, in one atomic step. If another request has
   * changed a key that the function used, the function is called again. It receives the data from the store, without
   * the unsaved changes of this request. Those are saved later, unless the function changes the same key. Afterwards
   * the session has the new values. If the session isn't stored yet, the function changes its data in this process.
   *
   * Resolves to what the function returned. Rejects with what it threw, the store's error, FST_ERR_SESSION_GONE,
   * FST_ERR_SESSION_VALUE, FST_ERR_SESSION_UPDATE if the function returns a promise, or FST_ERR_SESSION_BUSY (409) if
   * other requests changed the same data before each attempt. Then nothing is written.
   *
   * @param fn may be called several times; its argument can't be used later
   */
  update<T>(fn: (session: SessionData) => T extends PromiseLike<unknown> ? never : T): Promise<T>

  /**
   * Removes a key from the store, and resolves to its value. If several requests take it at the same time, one gets
   * it and the others undefined. If the session isn't stored yet, it takes what was set. Rejects as `update()` does.
   */
  take<K extends keyof Fastify.Session>(key: K): Promise<Fastify.Session[K] | undefined>

  /** Counts as a use of the session: its idle timeout starts again, and its cookie is sent, even without `rolling`. */
  touch(): void

  /**
   * Changes the attributes of this session's cookie. `maxAge` (milliseconds) and `expires` are kept with the session
   * and win over the option `cookie`. The other attributes apply to this request only.
   *
   * @throws FST_ERR_SESSION_COOKIE if a cookie can't carry them
   */
  options(options: Partial<CookieOptions>): void

  /** Returns all data as a plain object, without the cookie. */
  data(): AllData

  /** Returns whether the data differ from what the store has. */
  isModified(): boolean

  /** Returns whether the store has the session as it is now. */
  isSaved(): boolean

  /**
   * Returns whether the visitor has authenticated within this many milliseconds. What counts is a login, which is a
   * change of what the option `user` returns, or `regenerate(keys, { authenticated: true })`. A login of this request
   * counts at once.
   *
   * @throws FST_ERR_SESSION_USER, or what the option `user` throws
   */
  isFresh(milliseconds: number): boolean

  /**
   * Aborts when the session ends, in this process or another: for a socket, a stream or a timer that must end with it.
   * `signal.reason` is an `Error` whose `code` says why: `'logout'`, `'revoked'`, `'limit'`, `'replaced'` or
   * `'expired'`. The session is watched until the request's response or WebSocket is closed; outside of requests, until
   * the session ends. It costs nothing before the property is read.
   */
  readonly signal: AbortSignal

  /**
   * Whether this is an empty session, because the store failed to load it and `onStoreError` is `'anonymous'`. Nothing
   * of it is saved, and `save()` fails with the store's error. `reload()` tries to load the session again.
   */
  readonly isAnonymous: boolean
}

/** The session's methods for all sessions of its user. */
interface UserSessions {
  /**
   * Lists the sessions of this session's user, the newest login first. The list is empty if nobody is logged in. Only
   * with the option `user`.
   */
  list(page?: SessionPage): Promise<SessionList>

  /**
   * Ends a session of the same user. If it is this one, `request.session` is null afterwards. Resolves to whether there
   * was such a session. Only with the option `user`.
   */
  revoke(handle: string): Promise<boolean>

  /** Ends all other sessions of the same user. Resolves to their number. Only with the option `user`. */
  revokeOthers(): Promise<number>
}

/** Options of `regenerate()`. */
export interface RegenerateOptions {
  /**
   * Whether the visitor has just authenticated: by a second factor, or by the password again. `isFresh()`,
   * `config: { session: { fresh } }` and lists count from then.
   *
   * @default false, the new session keeps the time of the last authentication
   */
  authenticated?: boolean
}

/** The names of the data that the application declares. */
type DataKey = `${Exclude<keyof Fastify.Session, 'cookie' | symbol>}`

// The same as `string`, but editors complete the declared names.
type AnyName = DataKey | (string & {})

/** Literal names must be declared. Strings that are known only at run time are all allowed. */
type KnownKey<K extends AnyName> = string extends K ? K : [DataKey] extends [never] ? K : DataKey

/** The names that the application declares one by one. An index signature doesn't hide the session's methods. */
type DeclaredName = keyof { [K in keyof Fastify.Session as string extends K ? never : number extends K ? never : K]: 1 }

// If the application declares data of such a name, they replace the session's method.
export interface FastifySessionObject
  extends Fastify.Session, Accessors, Omit<SessionTools & UserSessions, DeclaredName> {
  /** The session's id. Don't log it: with the secret, it opens the session. */
  sessionId: string

  /** The signed id, as the cookie carries it, without `cookiePrefix`. */
  encryptedSessionId: string

  /**
   * Replaces the session by a new one with a new id, which is written at once, and destroys the old one. Call it when a
   * visitor logs in or gains rights (session fixation, OWASP ASVS 7.2.4). `request.session` is a new object afterwards.
   *
   * Literal names must be keys of the `Session` that the application declares; `regenerate<any>(['other'])` allows
   * others. A `string[]` may hold any names. If the application declares no keys, all names are allowed, as in version
   * 11.
   *
   * @param keys the names of the data to keep; none by default
   * @param options whether the visitor has just authenticated
   * @param callback receives the store's error; without one a promise is returned
   */
  regenerate(callback: Callback): void
  regenerate<K extends AnyName>(keys: ReadonlyArray<KnownKey<K>>, callback: Callback): void
  regenerate<K extends AnyName>(
    keys: ReadonlyArray<KnownKey<K>>, options: RegenerateOptions, callback: Callback
  ): void
  regenerate(): Promise<void>
  regenerate<K extends AnyName>(keys: ReadonlyArray<KnownKey<K>>, options?: RegenerateOptions): Promise<void>

  /**
   * Ends the session: removes it from the store and its cookie from the browser. `request.session` is null afterwards.
   *
   * @param callback receives the store's error; without one a promise is returned
   */
  destroy(callback: Callback): void
  destroy(): Promise<void>

  /**
   * Loads the session from the store again; unsaved changes are dropped. `request.session` is a new object afterwards.
   * If that fails, the session stays as it was.
   *
   * @param callback receives the store's error, or FST_ERR_SESSION_GONE; without one a promise is returned
   */
  reload(callback: Callback): void
  reload(): Promise<void>

  /**
   * Writes the changes to the store now, instead of when the reply goes out.
   *
   * @param callback receives the store's error, FST_ERR_SESSION_GONE, or FST_ERR_SESSION_VALUE if a value can't be
   *   stored (the others are written); without one a promise is returned
   */
  save(callback: Callback): void
  save(): Promise<void>
}

/** A session that was created outside of a request. */
export interface CreatedSession {
  readonly session: FastifySessionObject
  /** The value of a `Cookie` header that carries the session. */
  readonly cookie: string
}
