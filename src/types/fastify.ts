import type { CookieOptions } from './cookie'
import type { RouteSessionOptions } from './options'
import type { CreatedSession, FastifySessionObject, Sessions } from './session'
import type { Callback, SessionStore } from './store'

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
     * job, in a test. What comes in a header counts only when it is signed; an id as `session.sessionId` gives it,
     * from a source that can be trusted, goes in an object. Call `save()` to keep changes or a `touch()`.
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
    /** The sessions by user, and by what the option `index` names, for operators. Only with one of these options. */
    sessions: Sessions
  }

  interface FastifyContextConfig {
    /**
     * How this route uses the session. `false`: not at all, so no store is called and no cookie sent. `'lazy'`: only
     * when the handler says `await request.loadSession()`.
     */
    session?: false | 'lazy' | RouteSessionOptions
  }

  interface FastifyRequest {
    /**
     * The visitor's session. Where there is none, it is empty, and its methods fail with FST_ERR_SESSION_NONE: outside
     * the cookie's path, on a route with `session: false`, in hooks before the plugin, and after the load has failed.
     * On a lazy route, reading it throws FST_ERR_SESSION_NONE until `loadSession()` has loaded it.
     */
    session: FastifySessionObject

    /**
     * Loads the session of a lazy route (`config: { session: 'lazy' }`, or the option `lazy`), once however often it is
     * called. On other routes it is loaded already.
     *
     * @returns `request.session`; rejects with the store's error, or with FST_ERR_SESSION_NONE if there is no session
     */
    loadSession(): Promise<FastifySessionObject>

    /** The store that the plugin was registered with. */
    sessionStore: Readonly<SessionStore>
  }
}
