import type * as Fastify from 'fastify'
import type { CookieOptions, Signer } from './cookie'
import type { FastifySessionObject } from './session'
import type { SessionStore } from './store'

/** The session options of a route: `config: { session: { rolling: false } }`. */
export interface RouteSessionOptions {
  /**
   * `false`: requests of this route don't prolong a session, unless they change it. For polling, for instance.
   *
   * @default the plugin's option `rolling`
   */
  rolling?: boolean
  /**
   * `false`: requests of this route don't save a new session without data.
   *
   * @default the plugin's option `saveUninitialized`
   */
  saveUninitialized?: boolean
  /**
   * Only visitors who have authenticated within this many milliseconds may use this route. All others get 401
   * `FST_ERR_SESSION_NOT_FRESH` before the handler runs, and keep their session. It is loaded before the handler, even
   * with `lazy`. (OWASP ASVS 7.5.1, 7.5.3)
   *
   * @default undefined, no limit
   */
  fresh?: number
  /**
   * Only with `@fastify/session/device-bound`: the device of a bound session must have proved within this many
   * milliseconds that it has the session's key. Otherwise the request gets 403 `FST_ERR_SESSION_NO_PROOF` before the
   * handler runs, and the browser proves it before the next request. Sessions that aren't bound may use the route. The
   * session is loaded before the handler, as with `fresh`.
   *
   * @default undefined, within the `maxAge` of the bound cookie
   */
  proof?: number
  /**
   * `true`: requests of this route don't load the session before the handler calls `await request.loadSession()`.
   * `config: { session: 'lazy' }` is the same.
   *
   * @default the plugin's option `lazy`
   */
  lazy?: boolean
}

/** Returns the value that a session is found by. With undefined or null, it can't be found. */
export type IndexFunction = (session: FastifySessionObject) => string | number | null | undefined

export interface FastifySessionOptions {
  /**
   * What the cookies are signed with: a string of 32 or more characters, an array of them, or a signer object. Of an
   * array, the first signs and all verify. The application may change the array at run time.
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
   * What stands before the signed id in the cookie's value. express-session uses `'s:'`.
   *
   * @default ''
   */
  cookiePrefix?: string
  /**
   * What the session is called: the property of the request, and the key of a route's `config`. A second registration
   * with another name and `cookieName` makes a second session: `request.adminSession` for instance, with
   * `request.adminSessionStore`, `fastify.decryptAdminSession`, `loadAdminSession` and `createAdminSession`.
   *
   * @default 'session'
   */
  sessionName?: string
  /**
   * The attributes of the session cookie, or a function that returns them for a request: a domain per tenant, for
   * instance. The function receives undefined when a session is loaded or created outside of a request. If it returns
   * `secure: true`, the cookie is sent even if the request came over plain http.
   *
   * @default {}, each attribute's own default
   */
  cookie?: CookieOptions | ((request: Fastify.FastifyRequest | undefined) => CookieOptions)
  /**
   * How long a session lives after its last use, kept by the server, in milliseconds. The session ends then even if
   * its cookie lives longer. Each use starts that time again, up to `absoluteTimeout`. A shorter `cookie.maxAge` ends
   * the session earlier. (OWASP ASVS 7.3.1)
   *
   * @default undefined, the cookie's maxAge, or without one the store's own ttl
   */
  idleTimeout?: number
  /**
   * How long a session may live from its creation, in milliseconds, even if it is in use. Only `regenerate()` starts
   * that time again. Neither the cookie nor the store keeps the session for longer. (OWASP ASVS 7.3.2)
   *
   * @default undefined, no limit
   */
  absoluteTimeout?: number
  /**
   * Where the sessions are kept. Stores written for express-session work, with the types that they declare.
   *
   * @default new MemoryStore()
   */
  store?: SessionStore<any>
  /**
   * How long one call to the store may take, in milliseconds. If it takes longer, the request fails with
   * `FST_ERR_SESSION_STORE_TIMEOUT` (503).
   *
   * @default 10000
   */
  storeTimeout?: number
  /**
   * With `'trusted'`, the store alone decides when an idle session is over. By default a session is also over if its
   * record is older than one and a half idle timeouts, because some stores return expired sessions until their next
   * cleanup. Set it if Express or an older version of this library uses the same store: they move the expiry in the
   * store, but not in the record.
   *
   * @default undefined, the record counts as well
   */
  storeTtl?: 'trusted'
  /**
   * How often the store is asked whether a session whose `session.signal` is used still lives, in milliseconds. If the
   * session expires, or another process ends it and the store can't tell, its signal fires at most this much later.
   *
   * @default 60000, one minute
   */
  watchInterval?: number
  /**
   * Saves a new session that nothing was stored in, and sends its cookie. With `false`, visitors get no cookie until
   * something is stored. A function decides for each request, when its reply goes out.
   *
   * @default true
   */
  saveUninitialized?: boolean | ((request: Fastify.FastifyRequest) => boolean)
  /**
   * Starts the session's lifetime again, and sends its cookie, with each response. With `false`, only a change does. A
   * function decides for each request, when it comes in: it can return false for polls, which have a header.
   *
   * @default true
   */
  rolling?: boolean | ((request: Fastify.FastifyRequest) => boolean)
  /**
   * How long to wait before an unchanged rolling session is prolonged again, in milliseconds. Until then it isn't
   * touched, and its cookie isn't sent. Must be shorter than `cookie.maxAge`. A session may end that much too early.
   *
   * @default 0, with each response
   */
  refreshAfter?: number
  /**
   * Makes the id of a new session. It must be unguessable. The function receives the request and returns the id or a
   * promise. It runs before the handler of each request that has no session, and in `regenerate()`.
   *
   * @default 24 random bytes, by `uid-safe`: 32 url-safe characters
   */
  idGenerator?(request?: Fastify.FastifyRequest): string | Promise<string>
  /**
   * Sets the response's headers for caches: `Vary: Cookie` if the session was used, and `Cache-Control: no-store` if
   * its cookie is sent or cleared and the application has set no `Cache-Control`. Without them, a cache between server
   * and browser can send one visitor's session to another.
   *
   * @default false
   */
  cacheControl?: boolean
  /**
   * Loads the session only when a handler calls `await request.loadSession()`. A request that doesn't calls no store,
   * gets no cookie, and is answered even if the store is down. `request.session` throws until then. A route turns it
   * off by `config: { session: { lazy: false } }`.
   *
   * @default false
   */
  lazy?: boolean
  /**
   * What happens to a request if the store fails to load its session. `'fail'`: it fails with the store's error.
   * `'anonymous'`: it continues with an empty session, which isn't saved (`session.isAnonymous`), and the visitor keeps
   * the cookie.
   *
   * @default 'fail'
   */
  onStoreError?: 'fail' | 'anonymous'
  /**
   * Returns the user of a session: `session => session.userId`. Called whenever a session is saved. The user is kept as
   * a hash. The number 1 and the string '1' are the same user. This option adds `request.session.list()`, `revoke()`
   * and `revokeOthers()`, and `fastify.sessions`. The store must have an index by user, as MemoryStore, RedisStore and
   * PostgresStore have.
   *
   * @default undefined, sessions belong to no user
   */
  user?: IndexFunction
  /**
   * Finds sessions by other values, each under a name of yours: `{ sid: session => session.oidc?.sid }`.
   * `fastify.sessions.by('sid', sid)` lists and ends all sessions with that value. If a function returns undefined, the
   * session isn't found by that name. As with `user`, the functions are called whenever a session is saved, the values
   * are kept as hashes, and the store must have an index by user.
   *
   * @default undefined, by nothing else
   */
  index?: Readonly<Record<string, IndexFunction>>
  /**
   * Returns additional properties for a session in a list: the device, for instance.
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
   * What happens to a login beyond `maxPerUser`. `'revoke-oldest'`: the user's oldest login ends. `'refuse'`: the new
   * session isn't saved, and `save()` or the reply fails with `FST_ERR_SESSION_TOO_MANY` (403).
   *
   * @default 'revoke-oldest'
   */
  onMaxPerUser?: 'revoke-oldest' | 'refuse'
}
