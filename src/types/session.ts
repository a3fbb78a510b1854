import type * as Fastify from 'fastify'
import type { CookieOptions } from './cookie'
import type { Callback } from './store'

declare module 'fastify' {
  /** The data of a session. Extend it by module augmentation. */
  interface Session extends ExpressSessionData {}
}

// The name is version 11's: @fastify/passport declares one in 'fastify', which counts instead of this one, and with it
// any name is data.
export interface ExpressSessionData {
  /** The session's cookie. Changes of its attributes go out with the reply. */
  cookie: {
    /** The lifetime that `touch()` starts again, in milliseconds; null for a browser-session or a fixed `expires`. */
    originalMaxAge: number | null
    /**
     * Milliseconds until the cookie ends. At run time it is null if the cookie ends with the browser or if its end
     * isn't known, which version 11's type doesn't say either. Setting it chooses a lifetime for this session, which
     * is kept; undefined: the cookie ends with the browser.
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

/** Which part of a list is wanted. */
export interface SessionPage {
  /**
   * Where the page before ended: the `next` of its list.
   *
   * @default undefined, from the newest login on
   */
  cursor?: string | undefined
  /**
   * How many there may be. Fewer come only at the end of the list.
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

/** One session in a list, with what the option `describe` says of it. */
export interface SessionView extends Record<string, any> {
  /**
   * The session's name for lists, logs and `revoke()`. Always the same, also after `regenerate(keys)`, and nobody can
   * get from it to the id or the cookie: a truncated SHA-256 of the user, a dot, and one of the id that the session
   * began with, which is the `fingerprint` that diagnostics tell.
   */
  handle: string
  /** Whether it is the session of this request. */
  current: boolean
  createdAt: Date
  /**
   * When the visitor authenticated last: by a login, or by `regenerate(keys, { authenticated: true })`. null if the
   * record doesn't say, as one of an older version.
   */
  authenticatedAt: Date | null
  /** Whether it is bound to the device of its browser, by `@fastify/session/device-bound`. */
  deviceBound: boolean
  /** When it was used last: with `rolling` by its last request, otherwise by its last change. */
  lastSeenAt: Date
  /** When it ends if nobody uses it; null if the store decides. */
  expiresAt: Date | null
}

/** The sessions of a user, an organisation or the like. All of it rejects with the store's error, if there is one. */
export interface SessionsBy {
  /** Those that were logged in last come first. */
  list(page?: SessionPage): Promise<SessionList>
  /** Ends all of them. Says how many there were. */
  revoke(): Promise<number>
}

/** `fastify.sessions`. All of it rejects with the store's error, if there is one. */
export interface Sessions {
  /**
   * The sessions for which a function of the option `index` has returned the value. By the name `user`, those of the
   * option `user`.
   *
   * @throws FST_ERR_SESSION_INDEX for a name that there isn't, and for what is no value, an empty string for instance;
   *   FST_ERR_SESSION_USER for what is nobody's name
   */
  by(name: string, value: string | number): SessionsBy
  /**
   * The sessions of a user, the newest login first.
   *
   * @throws FST_ERR_SESSION_USER for what is nobody's name, an empty string for instance
   */
  forUser(user: string | number, page?: SessionPage): Promise<SessionList>
  /** Ends one session. Says whether there was one. */
  revoke(handle: string): Promise<boolean>
  /**
   * Ends all sessions of a user, after a change of the password for instance. Says how many there were.
   *
   * @throws FST_ERR_SESSION_USER for what is nobody's name, an empty string for instance
   */
  revokeUser(user: string | number): Promise<number>
  /** How many sessions the store has. In Redis it walks through all keys. */
  count(): Promise<number>
}

// If any name may be data, `data` is `any` in version 11's types. Plugins do with it what they like.
type AllData = string extends keyof Fastify.Session ? any : Record<string, any>

/** The data of a session, as the function of `update()` gets them. */
export type SessionData = {
  [K in keyof Fastify.Session as K extends 'cookie' ? never : K]: Fastify.Session[K]
} & Accessors

/** Data by name. */
interface Accessors {
  /**
   * Stores a value.
   *
   * @throws FST_ERR_SESSION_RESERVED_KEY for a name of the session's own
   */
  set<K extends keyof Fastify.Session>(key: K, value: Fastify.Session[K]): void

  /** The value that was stored under a name, or undefined. Sees the session's own data only. */
  get<K extends keyof Fastify.Session>(key: K): Fastify.Session[K] | undefined
}

/** What a session can do under names that data may have, too. */
interface SessionTools {
  /**
   * Changes data onto what the store has now, and writes them at once, in one step: if another request has changed a
   * key that the function used, it is called again. It gets the data as they are in the store, without what this
   * request has changed and not saved; that stays to be saved, unless the function changes the same key. Afterwards
   * the session has the new values. A session that isn't stored yet is changed itself.
   *
   * Resolves to what the function returned. Rejects with what it threw, the store's error, FST_ERR_SESSION_GONE,
   * FST_ERR_SESSION_VALUE, FST_ERR_SESSION_UPDATE if the function returns a promise, or FST_ERR_SESSION_BUSY (409) if
   * other requests were faster each time: then nothing is written.
   *
   * @param fn may be called several times; its argument can't be used later
   */
  update<T>(fn: (session: SessionData) => T extends PromiseLike<unknown> ? never : T): Promise<T>

  /**
   * Removes a key from the store, and resolves to its value. Of all requests that take it at the same time one gets it,
   * the others undefined. Of a session that isn't stored yet it takes what was set. Rejects as `update()` does.
   */
  take<K extends keyof Fastify.Session>(key: K): Promise<Fastify.Session[K] | undefined>

  /** Uses the session: its idle time starts again, and its cookie is sent, also if nothing rolls. */
  touch(): void

  /**
   * Changes the attributes of this session's cookie. `maxAge` (milliseconds) and `expires` are a choice that is kept
   * with the session and wins over the configuration; the other attributes hold for this request.
   *
   * @throws FST_ERR_SESSION_COOKIE when a cookie can't carry them
   */
  options(options: Partial<CookieOptions>): void

  /** All data as a plain object, without the cookie. */
  data(): AllData

  /** Whether the data differ from what the store has. */
  isModified(): boolean

  /** Whether the store has the session as it is now. */
  isSaved(): boolean

  /**
   * Whether the visitor has authenticated within so many milliseconds: by a login, which is a change of what the option
   * `user` returns, or by `regenerate(keys, { authenticated: true })`. A login of this request counts at once.
   *
   * @throws FST_ERR_SESSION_USER, and whatever the option `user` throws
   */
  isFresh(milliseconds: number): boolean

  /**
   * Fires when the session ends, wherever that happens: for a socket, a stream or a timer that must end with it.
   * `signal.reason` is an `Error` whose `code` says why: `'logout'`, `'revoked'`, `'limit'`, `'replaced'` or
   * `'expired'`. It is followed until the response of its request is over, or the socket that the request became;
   * outside of requests until the session ends. It costs nothing before it is read.
   */
  readonly signal: AbortSignal

  /**
   * Whether this is only a stand-in, because the store failed to load the session and `onStoreError` is `'anonymous'`.
   * It is empty, nothing of it is saved, and `save()` fails with the store's error. `reload()` tries once more.
   */
  readonly isAnonymous: boolean
}

/** What a session can do with the sessions of its user. */
interface UserSessions {
  /**
   * The sessions of this session's user, the newest login first; none if nobody is logged in. Only with the option
   * `user`.
   */
  list(page?: SessionPage): Promise<SessionList>

  /**
   * Ends a session of the same user. `request.session` is null afterwards, if that was this one. Says whether there was
   * such a session. Only with the option `user`.
   */
  revoke(handle: string): Promise<boolean>

  /** Ends all other sessions of the same user. Says how many there were. Only with the option `user`. */
  revokeOthers(): Promise<number>
}

/** How a session is replaced by a new one. */
export interface RegenerateOptions {
  /**
   * Whether the visitor has just authenticated: by a second factor, or by the password once more. Then that is what
   * `isFresh()`, `config: { session: { fresh } }` and lists reckon from.
   *
   * @default false, the time of the last authentication is taken along with the data
   */
  authenticated?: boolean
}

/** The names of the data that the application declares. */
type DataKey = `${Exclude<keyof Fastify.Session, 'cookie' | symbol>}`

// As `string`, but editors complete those that are declared.
type AnyName = DataKey | (string & {})

/** Of names that are written out, those which are declared; of names that nobody knows before run time, all. */
type KnownKey<K extends AnyName> = string extends K ? K : [DataKey] extends [never] ? K : DataKey

/** The names that the application declares one by one: an index signature takes no method away. */
type DeclaredName = keyof { [K in keyof Fastify.Session as string extends K ? never : number extends K ? never : K]: 1 }

// If the application's own data are called so, they have the name.
export interface FastifySessionObject
  extends Fastify.Session, Accessors, Omit<SessionTools & UserSessions, DeclaredName> {
  /** The session's id. Whoever has it and the secret has the session: don't log it. */
  sessionId: string

  /** The signed id, as the cookie carries it, without `cookiePrefix`. */
  encryptedSessionId: string

  /**
   * Replaces the session by a new one with a new id, which is written at once, and destroys the old one. Call it when a
   * visitor logs in or gains rights (session fixation, OWASP ASVS 7.2.4). `request.session` is a new object afterwards.
   *
   * Names that are written out must be keys of the `Session` that the application declares;
   * `regenerate<any>(['other'])` is the way out. A variable that holds any strings is taken as it is, and so is every
   * name where nothing is declared: as version 11 takes them.
   *
   * @param keys the names of the data to take along; none by default
   * @param options whether the visitor has just authenticated
   * @param callback gets the store's error; without one a promise is returned
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
   * @param callback gets the store's error; without one a promise is returned
   */
  destroy(callback: Callback): void
  destroy(): Promise<void>

  /**
   * Loads the session from the store again; unsaved changes are dropped. `request.session` is a new object afterwards.
   * When that fails, the session stays as it was.
   *
   * @param callback gets the store's error, or FST_ERR_SESSION_GONE; without one a promise is returned
   */
  reload(callback: Callback): void
  reload(): Promise<void>

  /**
   * Writes what changed to the store now, instead of when the reply goes out.
   *
   * @param callback gets the store's error, FST_ERR_SESSION_GONE, or FST_ERR_SESSION_VALUE if a value can't be stored
   *   and the rest is written; without one a promise is returned
   */
  save(callback: Callback): void
  save(): Promise<void>
}

/** A session that was made outside of a request. */
export interface CreatedSession {
  readonly session: FastifySessionObject
  /** The value of a `Cookie` header that carries the session. */
  readonly cookie: string
}
