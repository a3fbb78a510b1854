import type { CookieSerializeOptions } from '@fastify/cookie'
import type * as Fastify from 'fastify'
import type { SessionStore } from './stores/store'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Loads the session that a signed cookie value names and puts it on `request.session`, outside the normal
     * course of a request: in a WebSocket upgrade, for instance. A missing, forged or unknown value gives a new,
     * unsaved session, not an error. Answers synchronously when the store does.
     *
     * @param sessionId the cookie's value, with or without `cookiePrefix`
     * @param request any object; it gets a property `session`
     * @param cookieOptions replace those of the registration for this session
     * @param callback gets the store's error, if any
     */
    decryptSession<Request extends Record<string, any> = FastifyRequest>(
      sessionId: string | undefined, request: Request, cookieOptions: CookieOptions, callback: Callback
    ): void
    decryptSession<Request extends Record<string, any> = FastifyRequest>(
      sessionId: string | undefined, request: Request, callback: Callback
    ): void
    decryptSession<Request extends Record<string, any> = FastifyRequest>(
      sessionId: string | undefined, request: Request, cookieOptions?: CookieOptions
    ): Promise<void>
  }

  interface FastifyInstance {
    /**
     * The session that a `Cookie` header carries, outside the normal course of a request: in a WebSocket upgrade, in a
     * job, in a test. What comes in a header counts only when it is signed; an id as `session.sessionId` gives it, from a
     * source that can be trusted, goes in an object. Call `save()` to keep changes or a `touch()`.
     *
     * @param source a `Cookie` header, a signed cookie value, or `{ sessionId }`
     * @returns null where there is no such session, whatever was brought; rejects with the store's error only
     */
    loadSession(source: string | undefined | { readonly sessionId: string }): Promise<FastifySessionObject | null>

    /**
     * Stores a new session with the data, outside the normal course of a request.
     *
     * @returns the session, and the `Cookie` header that carries it: `inject({ url, headers: { cookie } })`
     */
    createSession(data?: Partial<Session>): Promise<CreatedSession>
  }

  interface FastifyInstance {
    /** The sessions by user, for operators. Only with the option `user`. */
    sessions: Sessions
  }

  interface FastifyContextConfig {
    /** How this route uses the session. `false`: not at all, so no store is called and no cookie sent. */
    session?: false | RouteSessionOptions
  }

  interface FastifyRequest {
    /** The visitor's session. */
    session: FastifySessionObject

    /** The store that the plugin was registered with. */
    sessionStore: Readonly<SessionStore>
  }

  /** The data of a session. Extend it by module augmentation. */
  interface Session extends CookieData {}
}

interface CookieData {
  /** The session's cookie. Changes of its attributes go out with the reply. */
  cookie: {
    /** The lifetime that `touch()` starts anew, in milliseconds; null for a browser-session or a fixed `expires`. */
    originalMaxAge: number | null
    /**
     * Milliseconds until the session ends; at run time null where nothing ends it, which version 11's type doesn't say
     * either. Setting it sets `expires` and `originalMaxAge`; undefined takes the end away.
     */
    maxAge?: number | undefined
    signed?: boolean
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

export type Callback = (error?: any) => void
export type CallbackSession = (error: any, result?: Fastify.Session | null) => void

/** What a custom signer answers for a cookie value. */
export interface UnsignResult {
  valid: boolean
  /** True where the value should be signed anew, because an older secret matched. */
  renew: boolean
  /** The session id; null when not valid. */
  value: string | null
}

/** A signer of your own, in the form of `@fastify/cookie`'s. */
export interface Signer {
  sign: (value: string) => string
  unsign: (input: string) => UnsignResult
}

// All that `@fastify/cookie` has are declared here, with what they mean for a session.
type Redeclared = 'domain' | 'encode' | 'expires' | 'httpOnly' | 'maxAge' | 'partitioned' | 'path' | 'priority' | 'sameSite' | 'secure'

export interface CookieOptions extends Omit<CookieSerializeOptions, 'signed' | Redeclared> {
  /**
   * How long the session and its cookie live, in milliseconds. Sent as `Expires`. Wins over `expires`.
   *
   * @default undefined, a cookie that ends with the browser's session
   */
  maxAge?: number
  /**
   * A fixed end of the session and its cookie. `maxAge` wins over it.
   *
   * @default undefined, a cookie that ends with the browser's session
   */
  expires?: Date
  /**
   * The paths the cookie is sent for. Outside of them there is no session: `request.session` is an empty object.
   *
   * @default '/'
   */
  path?: string
  /**
   * The domain the cookie is sent to, with its subdomains.
   *
   * @default undefined, this host only
   */
  domain?: string
  /**
   * Keeps scripts in the page from reading the cookie.
   *
   * @default true
   */
  httpOnly?: boolean
  /**
   * Sends the cookie over https only. With `true`, a request over plain http saves nothing and gets no cookie.
   * With `'auto'`, the cookie is secure over https, and over http it is not and has `SameSite=Lax`.
   *
   * @default true
   */
  secure?: boolean | 'auto'
  /**
   * Whether requests that other sites start carry the cookie. `'strict'` or `true`: none. `'lax'`: links only. `'none'`:
   * all of them, which needs `secure`. `false`: left to the browser.
   *
   * @default undefined, left to the browser
   */
  sameSite?: boolean | 'lax' | 'strict' | 'none'
  /**
   * One cookie for each site that embeds this one (CHIPS). Needs `secure`.
   *
   * @default false
   */
  partitioned?: boolean
  /**
   * Which cookies the browser drops last when it has too many.
   *
   * @default undefined, as 'medium'
   */
  priority?: 'low' | 'medium' | 'high'
  /**
   * Not used, as in version 11: the signed id needs no other encoding.
   *
   * @default undefined
   */
  encode?(value: string): string
}

/** What a route may say of its sessions: `config: { session: { rolling: false } }`. */
export interface RouteSessionOptions {
  /**
   * `false`: requests of this route don't keep a session alive, as long as they change nothing. Polling, for instance.
   *
   * @default the plugin's option `rolling`
   */
  rolling?: boolean
  /**
   * `false`: requests of this route start no session without data.
   *
   * @default the plugin's option `saveUninitialized`
   */
  saveUninitialized?: boolean
}

export interface FastifySessionOptions {
  /**
   * What the cookies are signed with: a string of 32 or more characters; an array, of which the first signs and all
   * verify, and which the application may change while it runs; or a signer object.
   */
  secret: string | string[] | Signer
  /**
   * The hash of the signature, by Node's name for it. Not used with a signer object.
   *
   * @default 'sha256'
   */
  algorithm?: string
  /**
   * The name of the session cookie.
   *
   * @default 'sessionId'
   */
  cookieName?: string
  /**
   * What stands before the signed id in the cookie's value. `'s:'` is express-session's.
   *
   * @default ''
   */
  cookiePrefix?: string
  /**
   * What the session is called: the property of the request, and the key of a route's `config`. A second registration
   * with another name (and `cookieName`) gives a second session, `request.adminSession` for instance, and with it
   * `request.adminSessionStore`, `fastify.decryptAdminSession`, `loadAdminSession` and `createAdminSession`.
   *
   * @default 'session'
   */
  sessionName?: string
  /**
   * The attributes of the session cookie, or a function that gives them for a request: a domain per tenant, for
   * instance. It gets undefined where a session is loaded or created outside of a request. Where it gives `secure: true`,
   * that counts, whatever protocol Fastify takes the request for.
   *
   * @default {}, each attribute's own default
   */
  cookie?: CookieOptions | ((request: Fastify.FastifyRequest | undefined) => CookieOptions)
  /**
   * How long a session may live from its creation, in milliseconds, however much it is used. `regenerate()` starts it
   * anew, nothing else does. Neither cookie nor store keep it for longer. (OWASP ASVS 7.3.2)
   *
   * @default undefined, no limit
   */
  absoluteTimeout?: number
  /**
   * Where the sessions are kept. Stores written for express-session work, whatever they take for a session's type.
   *
   * @default new MemoryStore()
   */
  store?: SessionStore<any>
  /**
   * How long one call to the store may take, in milliseconds. After that the request fails with
   * `FST_ERR_SESSION_STORE_TIMEOUT` (503).
   *
   * @default 10000
   */
  storeTimeout?: number
  /**
   * Saves a new session that nothing was stored in, and sends its cookie. With `false`, visitors get no cookie before
   * there is something to remember. A function decides for each request, when its reply goes out.
   *
   * @default true
   */
  saveUninitialized?: boolean | ((request: Fastify.FastifyRequest) => boolean)
  /**
   * Starts the session's lifetime anew, and sends its cookie, with each response. With `false`, only a change does.
   *
   * @default true
   */
  rolling?: boolean
  /**
   * How long an unchanged rolling session goes without being touched and its cookie being sent again, in milliseconds.
   * Must be shorter than `cookie.maxAge`: a session may end that much too early.
   *
   * @default 0, with each response
   */
  refreshAfter?: number
  /**
   * Makes the id of a new session. Must be unguessable. A function that is declared `async` runs before the handler
   * of each request that has no session; any other runs when the id is first needed, and must not return a promise.
   *
   * @default 24 random bytes by `uid-safe`, 32 url-safe characters
   */
  idGenerator?(request?: Fastify.FastifyRequest): string | Promise<string>
  /**
   * Says in the response's headers that it depends on the session: `Vary: Cookie` where the session was used, and
   * `Cache-Control: no-store` where its cookie is sent and the application says nothing else. Without that, a cache in
   * between can hand one visitor's session to another.
   *
   * @default false
   */
  cacheControl?: boolean
  /**
   * What becomes of a request whose session can't be loaded because the store fails. `'fail'`: it fails with the
   * store's error. `'anonymous'`: it goes on with an empty session of which nothing is saved (`session.isAnonymous`),
   * and the visitor's cookie stays.
   *
   * @default 'fail'
   */
  onStoreError?: 'fail' | 'anonymous'
  /**
   * Whose session it is, asked whenever a session is saved: `session => session.userId`. What it gives is kept as a hash.
   * The number 1 and the string '1' are the same user. With this option there are `request.session.list()`, `revoke()` and
   * `revokeOthers()`, and `fastify.sessions`. The store must have an index by user, as MemoryStore and RedisStore have.
   *
   * @default undefined, sessions are nobody's
   */
  user?: (session: FastifySessionObject) => string | number | null | undefined
  /**
   * What lists say of a session besides, from its data: the device, for instance.
   *
   * @default undefined, nothing
   */
  describe?: (session: FastifySessionObject) => object
  /**
   * How many sessions a user may have at the same time.
   *
   * @default Infinity
   */
  maxPerUser?: number
  /**
   * What becomes of a login too many. `'revoke-oldest'`: the session that was logged in longest ago ends. `'refuse'`: it is
   * not saved, and `save()` or the reply fails with `FST_ERR_SESSION_TOO_MANY` (403).
   *
   * @default 'revoke-oldest'
   */
  onMaxPerUser?: 'revoke-oldest' | 'refuse'
}

/** Which part of a list is wanted. */
export interface SessionPage {
  /**
   * How many are left out.
   *
   * @default 0
   */
  offset?: number
  /**
   * How many there may be. Fewer come where some have ended, also before the end of the list.
   *
   * @default 100
   */
  limit?: number
}

/** One session in a list, with what the option `describe` says of it. */
export interface SessionView extends Record<string, any> {
  /**
   * The session's name for lists, logs and `revoke()`. Always the same, and nobody can get from it to the id or the cookie:
   * a truncated SHA-256 of the user, a dot, and one of the id, which is the `fingerprint` that diagnostics tell.
   */
  handle: string
  /** Whether it is the session of this request. */
  current: boolean
  createdAt: Date
  /** When its lifetime was started anew last: with `rolling` by its last request, otherwise by its last change. */
  lastSeenAt: Date
  /** When it ends if nobody comes; null where the store decides. */
  expiresAt: Date | null
}

/** `fastify.sessions`. All of it rejects with the store's error, if there is one. */
export interface Sessions {
  /**
   * The sessions of a user, the newest login first.
   *
   * @throws FST_ERR_SESSION_USER for what is nobody's name, an empty string for instance
   */
  forUser(user: string | number, page?: SessionPage): Promise<SessionView[]>
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

/** What a session can do with the sessions of its user. */
interface UserSessions {
  /** The sessions of this session's user, the newest login first; none where nobody is logged in. Only with the option `user`. */
  list(page?: SessionPage): Promise<SessionView[]>

  /**
   * Ends a session of the same user. `request.session` is null afterwards, if that was this one. Says whether there was
   * such a session. Only with the option `user`.
   */
  revoke(handle: string): Promise<boolean>

  /** Ends all other sessions of the same user. Says how many there were. Only with the option `user`. */
  revokeOthers(): Promise<number>
}

/** The names of the data that the application declares. */
type DataKey = `${Exclude<keyof Fastify.Session, 'cookie' | symbol>}`

// As `string`, but editors complete those that are declared.
type AnyName = DataKey | (string & {})

/** Of names that are written out, those which are declared; of names that nobody knows before run time, all. */
type KnownKey<K extends AnyName> = string extends K ? K : [DataKey] extends [never] ? K : DataKey

// The application's own data have the name, where they are called so.
export interface FastifySessionObject extends Fastify.Session, Omit<UserSessions, keyof Fastify.Session> {
  /** The session's id. Whoever has it and the secret has the session: don't log it. */
  sessionId: string

  /** The signed id, as the cookie carries it, without `cookiePrefix`. */
  encryptedSessionId: string

  /** Starts the lifetime anew: `cookie.expires` becomes now + `originalMaxAge`. Does nothing without a `maxAge`. */
  touch(): void

  /**
   * Replaces the session by a new one with a new id, which is written at once, and destroys the old one. Call it when a
   * visitor logs in or gains rights (session fixation, OWASP ASVS 7.2.4). `request.session` is a new object afterwards.
   *
   * Names that are written out must be keys of the `Session` that the application declares; `regenerate<any>(['other'])`
   * is the way out. A variable that holds any strings is taken as it is, and so is every name where nothing is declared:
   * as version 11 takes them.
   *
   * @param keys the names of the data to take along; none by default
   * @param callback gets the store's error; without one a promise is returned
   */
  regenerate(callback: Callback): void
  regenerate<K extends AnyName>(keys: ReadonlyArray<KnownKey<K>>, callback: Callback): void
  regenerate(): Promise<void>
  regenerate<K extends AnyName>(keys: ReadonlyArray<KnownKey<K>>): Promise<void>

  /**
   * Changes the attributes of this session's cookie. `maxAge` (milliseconds) and `expires` are kept with the session;
   * the other attributes hold for this request.
   *
   * @throws FST_ERR_SESSION_COOKIE when a cookie can't carry them
   */
  options(options: Partial<CookieOptions>): void

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
   * @param callback gets the store's error, or FST_ERR_SESSION_GONE; without one a promise is returned
   */
  save(callback: Callback): void
  save(): Promise<void>

  /**
   * Stores a value.
   *
   * @throws FST_ERR_SESSION_RESERVED_KEY for a name of the session's own
   */
  set<K extends keyof Fastify.Session>(key: K, value: Fastify.Session[K]): void

  /** The value that was stored under a name, or undefined. Sees the session's own data only. */
  get<K extends keyof Fastify.Session>(key: K): Fastify.Session[K] | undefined

  /** All data as a plain object, without the cookie. */
  data(): Record<string, any>

  /** Whether the data differ from what the store has. */
  isModified(): boolean

  /** Whether the store has the session as it is now. */
  isSaved(): boolean

  /**
   * Whether this is only a stand-in, because the store failed to load the session and `onStoreError` is `'anonymous'`.
   * It is empty, nothing of it is saved, and `save()` fails with the store's error. `reload()` tries once more.
   */
  readonly isAnonymous: boolean
}

/** A session that was made outside of a request. */
export interface CreatedSession {
  readonly session: FastifySessionObject
  /** The value of a `Cookie` header that carries the session. */
  readonly cookie: string
}
