import { NoSessionError } from '../errors'

/** Why a request has no session: the error of its methods. */
export type Why = () => Error

export function hasNotRun (sessionName: string): Why {
  return () => new NoSessionError(
    sessionName,
    "the session plugin's onRequest hook has not run. Register what uses the session after the plugin. " +
    'If an earlier hook answers the request or fails, the session is never loaded'
  )
}

export function isOutside (sessionName: string, path: string): Why {
  return () => new NoSessionError(sessionName, `the URL is outside of cookie.path, which is '${path}'`)
}

export function wantsNone (sessionName: string): Why {
  return () => new NoSessionError(sessionName, `the route has config: { ${sessionName}: false }`)
}

export function isLazy (sessionName: string, loader: string): Why {
  return () => new NoSessionError(sessionName, `it is lazy here and not loaded yet. Call await request.${loader}() first`)
}

export function hasFailed (sessionName: string, cause: Error): Why {
  return () => new NoSessionError(sessionName, "it could not be loaded or created. This error's cause says why", { cause })
}

/**
 * What `request.session` is if there is no session: as in version 11, an empty object on which anything can be set. Its
 * methods fail, and say why there is no session.
 */
export class NoSession {
  readonly #why: Why

  constructor (why: Why) {
    this.#why = why
  }

  get signal (): never { throw this.#why() }
  set signal (value: unknown) { keep(this, 'signal', value) }

  get (): never { throw this.#why() }
  set (): never { throw this.#why() }
  data (): never { throw this.#why() }
  touch (): never { throw this.#why() }
  options (): never { throw this.#why() }
  isModified (): never { throw this.#why() }
  isSaved (): never { throw this.#why() }
  isFresh (): never { throw this.#why() }

  save (callback?: unknown): Promise<never> | undefined { return refuse(this.#why(), callback) }
  reload (callback?: unknown): Promise<never> | undefined { return refuse(this.#why(), callback) }
  destroy (callback?: unknown): Promise<never> | undefined { return refuse(this.#why(), callback) }
  update (): Promise<never> | undefined { return refuse(this.#why()) }
  take (): Promise<never> | undefined { return refuse(this.#why()) }

  regenerate (...args: unknown[]): Promise<never> | undefined {
    return refuse(this.#why(), args.find(arg => typeof arg === 'function'))
  }
}

/** For the option `user`. Without it, applications may have data with these names. */
export class NoUserSession extends NoSession {
  readonly #why: Why

  constructor (why: Why) {
    super(why)
    this.#why = why
  }

  list (): Promise<never> | undefined { return refuse(this.#why()) }
  revoke (): Promise<never> | undefined { return refuse(this.#why()) }
  revokeOthers (): Promise<never> | undefined { return refuse(this.#why()) }
}

/** Assigns a property, even if the prototype has a setter for it. */
function keep (object: object, key: string, value: unknown): void {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
}

/** Fails by callback or by promise. A promise that nobody awaits doesn't end the process. */
function refuse (error: Error, callback?: unknown): Promise<never> | undefined {
  if (typeof callback === 'function') {
    callback(error)
    return undefined
  }
  const promise = Promise.reject(error)
  promise.catch(() => {})
  return promise
}

const asked = new WeakSet<object>()

/** For hooks that run before the plugin's: it notes whether they read data, which it can't have yet. */
export function watched (none: NoSession): NoSession {
  const proxy: NoSession = new Proxy(none, {
    get (target, key) {
      const value: unknown = Reflect.get(target, key)
      if (value === undefined && typeof key === 'string' && !OF_LANGUAGE.includes(key)) asked.add(proxy)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
  return proxy
}

// `await` and `JSON.stringify` read these of any object.
const OF_LANGUAGE = ['then', 'toJSON']

/** Whether a hook has read or stored data. */
export function wasUsedEarly (value: unknown): boolean {
  return value instanceof NoSession && (asked.has(value) || Object.keys(value).length > 0)
}
