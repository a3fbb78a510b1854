import type { CookieOptions } from './cookie'
import type { RouteSessionOptions } from './options'
import type { CreatedSession, FastifySessionObject, Sessions } from './session'
import type { Callback, SessionStore } from './store'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Loads the session of a signed cookie value and puts it on `request.session`, outside the normal course of a
     * request: in a WebSocket upgrade, for instance. If the value is missing, forged or unknown, the session is a new,
     * unsaved one; that isn't an error. Calls back synchronously if the store does.
     *
     * @param sessionId the cookie's value, with or without `cookiePrefix`
     * @param request any object; it receives a property `session`
     * @param cookieOptions replace the option `cookie` for this session
     * @param callback receives the store's error, if any
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
     * Loads the session of a `Cookie` header, outside the normal course of a request: in a WebSocket upgrade, in a
     * job, in a test. A header's cookie must be signed. An unsigned `session.sessionId`, from a source that you trust,
     * goes in an object. Call `save()` to keep changes or a `touch()`.
     *
     * @param source a `Cookie` header, a signed cookie value, or `{ sessionId }`
     * @returns the session, or null if there is none, whatever the source is; rejects only with the store's error
     */
    loadSession(source: string | undefined | { readonly sessionId: string }): Promise<FastifySessionObject | null>

    /**
     * Stores a new session with this data, outside the normal course of a request.
     *
     * @returns the session, and the `Cookie` header that carries it: `inject({ url, headers: { cookie } })`
     */
    createSession(data?: Partial<Session>): Promise<CreatedSession>
  }

  interface FastifyInstance {
    /** Lists and ends sessions by user or by a name of `index`, for operators. Only with one of these options. */
    sessions: Sessions
  }

  interface FastifyContextConfig {
    /**
     * How this route uses the session. `false`: not at all, so no store is called and no cookie is sent. `'lazy'`: only
     * after the handler calls `await request.loadSession()`.
     */
    session?: false | 'lazy' | RouteSessionOptions
  }

  interface FastifyRequest {
    /**
     * The visitor's session. It is empty, and its methods fail with FST_ERR_SESSION_NONE, if the request has none:
     * outside the cookie's path, on a route with `session: false`, in hooks before the plugin, and after a failed load.
     * On a lazy route, reading it throws FST_ERR_SESSION_NONE until `loadSession()` has loaded it.
     */
    session: FastifySessionObject

    /**
     * Loads the session of a lazy route (`config: { session: 'lazy' }`, or the option `lazy`). Further calls don't load
     * it again. On other routes it is loaded already.
     *
     * @returns `request.session`; rejects with the store's error, or with FST_ERR_SESSION_NONE if there is no session
     */
    loadSession(): Promise<FastifySessionObject>

    /** The store that the plugin was registered with. */
    sessionStore: Readonly<SessionStore>
  }
}
