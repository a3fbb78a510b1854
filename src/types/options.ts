import type * as Fastify from 'fastify'
import type { CookieOptions, Signer } from './cookie'
import type { FastifySessionObject } from './session'
import type { SessionStore } from './store'

/** What a route may say of its sessions: `config: { session: { rolling: false } }`. */
export interface RouteSessionOptions {
  /**
   * `false`: requests of this route don't keep a session alive, unless they change it. For polling, for instance.
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
  /**
   * Requests of this route are for visitors who have authenticated within so many milliseconds. Everybody else gets 401
   * `FST_ERR_SESSION_NOT_FRESH` before the handler runs, and keeps the session. It is loaded at once, also where `lazy`
   * says otherwise. (OWASP ASVS 7.5.1, 7.5.3)
   *
   * @default undefined, whenever that was
   */
  fresh?: number
  /**
   * Only with `@fastify/session/device-bound`: the device of a bound session must have proved itself within so many
   * milliseconds. Otherwise the request gets 403 `FST_ERR_SESSION_NO_PROOF` before the handler runs, and the browser
   * proves itself before the next one. Sessions that aren't bound are let through. It is loaded at once, as with
   * `fresh`.
   *
   * @default undefined, within the `maxAge` of the bound cookie
   */
  proof?: number
  /**
   * `true`: requests of this route load no session before the handler says `await request.loadSession()`.
   * `config: { session: 'lazy' }` is the same.
   *
   * @default the plugin's option `lazy`
   */
  lazy?: boolean
}

/** Says what a session is found by: a string, a number, or undefined or null if it isn't to be found. */
export type IndexFunction = (session: FastifySessionObject) => string | number | null | undefined

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
   * with another name (and `cookieName`) makes a second session, `request.adminSession` for instance, and with it
   * `request.adminSessionStore`, `fastify.decryptAdminSession`, `loadAdminSession` and `createAdminSession`.
   *
   * @default 'session'
   */
  sessionName?: string
  /**
   * The attributes of the session cookie, or a function that returns them for a request: a domain per tenant, for
   * instance. It gets undefined when a session is loaded or created outside of a request. If it returns `secure:
   * true`, that counts, whatever protocol Fastify takes the request for.
   *
   * @default {}, each attribute's own default
   */
  cookie?: CookieOptions | ((request: Fastify.FastifyRequest | undefined) => CookieOptions)
  /**
   * How long a session lives after its last use, kept by the server, in milliseconds. It ends then whatever the
   * cookie says, also if the cookie ends with the browser. Each use starts that time again, up to `absoluteTimeout`.
   * A shorter `cookie.maxAge` ends the session earlier. (OWASP ASVS 7.3.1)
   *
   * @default undefined, the cookie's maxAge, or without one the store's own ttl
   */
  idleTimeout?: number
  /**
   * How long a session may live from its creation, in milliseconds, however much it is used. Only `regenerate()` starts
   * that time again. Neither the cookie nor the store keeps the session for longer. (OWASP ASVS 7.3.2)
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
   * Whether the store alone says when an idle session is over: `'trusted'`. By default a session is over as well if
   * its record is older than one and a half idle times, because some stores hand out what has expired until they next
   * clean up. Set it if Express or an older version of this library uses the same store: they move the store's clock
   * and leave the record as it is.
   *
   * @default undefined, the record counts as well
   */
  storeTtl?: 'trusted'
  /**
   * How often the store is asked whether the sessions still live whose `session.signal` is used, in milliseconds. So
   * long it takes at most until a signal fires whose session has expired, or has been ended by another process that
   * couldn't tell.
   *
   * @default 60000, one minute
   */
  watchInterval?: number
  /**
   * Saves a new session that nothing was stored in, and sends its cookie. With `false`, visitors get no cookie before
   * there is something to remember. A function decides for each request, when its reply goes out.
   *
   * @default true
   */
  saveUninitialized?: boolean | ((request: Fastify.FastifyRequest) => boolean)
  /**
   * Starts the session's lifetime again, and sends its cookie, with each response. With `false`, only a change does. A
   * function decides for each request, when it comes in: polls that say so by a header keep no session alive.
   *
   * @default true
   */
  rolling?: boolean | ((request: Fastify.FastifyRequest) => boolean)
  /**
   * How long an unchanged rolling session goes without being touched and its cookie being sent again, in milliseconds.
   * Must be shorter than `cookie.maxAge`: a session may end that much too early.
   *
   * @default 0, with each response
   */
  refreshAfter?: number
  /**
   * Makes the id of a new session. Must be unguessable. It gets the request, returns the id or a promise, and runs
   * before the handler of each request that has no session, and for `regenerate()`.
   *
   * @default 24 random bytes, by `uid-safe`: 32 url-safe characters
   */
  idGenerator?(request?: Fastify.FastifyRequest): string | Promise<string>
  /**
   * Says in the response's headers that it depends on the session: `Vary: Cookie` if the session was used, and
   * `Cache-Control: no-store` if its cookie is sent or cleared and the application sets no other. Without that, a cache
   * in between can hand one visitor's session to another.
   *
   * @default false
   */
  cacheControl?: boolean
  /**
   * Loads a session when a handler asks for it by `await request.loadSession()`, and not before. A request that never
   * asks calls no store, gets no cookie, and is answered while the store is away. `request.session` throws until then.
   * For all routes that don't say otherwise by `config: { session: { lazy: false } }`.
   *
   * @default false
   */
  lazy?: boolean
  /**
   * What becomes of a request whose session can't be loaded because the store fails. `'fail'`: it fails with the
   * store's error. `'anonymous'`: it continues with an empty session of which nothing is saved (`session.isAnonymous`),
   * and the visitor's cookie stays.
   *
   * @default 'fail'
   */
  onStoreError?: 'fail' | 'anonymous'
  /**
   * Whose session it is, asked whenever a session is saved: `session => session.userId`. What it returns is kept as a
   * hash. The number 1 and the string '1' are the same user. With this option there are `request.session.list()`,
   * `revoke()` and `revokeOthers()`, and `fastify.sessions`. The store must have an index by user, as MemoryStore and
   * RedisStore have.
   *
   * @default undefined, sessions belong to no user
   */
  user?: IndexFunction
  /**
   * What else sessions are found by, each by a name of yours: `{ sid: session => session.oidc?.sid }`. All sessions of
   * a value are listed and ended by `fastify.sessions.by('sid', sid)`. As with `user`, it is asked whenever a session
   * is saved, what it returns is kept as a hash, undefined is for sessions that aren't to be found by that name, and
   * the store must have an index by user.
   *
   * @default undefined, by nothing else
   */
  index?: Readonly<Record<string, IndexFunction>>
  /**
   * What lists tell of a session in addition, from its data: the device, for instance.
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
   * What becomes of a login too many. `'revoke-oldest'`: the session that was logged in longest ago ends. `'refuse'`:
   * it is not saved, and `save()` or the reply fails with `FST_ERR_SESSION_TOO_MANY` (403).
   *
   * @default 'revoke-oldest'
   */
  onMaxPerUser?: 'revoke-oldest' | 'refuse'
}
