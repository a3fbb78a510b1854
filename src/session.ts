import { inspect } from 'node:util'
import type { SessionState } from './session-state'
import type { Answer } from './stores/call'
import type { Callback, CookieOptions, FastifySessionObject, SessionPage, SessionView } from './types'
import type { Users } from './users'

const kState = Symbol('session state')

/**
 * The API of a session. What a handler gets is a proxy of it (see `createSession`) that shows the session's data as
 * properties of its own, so the methods find their state by a symbol and not in private fields.
 */
class Session {
  readonly [kState]: SessionState

  constructor (state: SessionState) {
    this[kState] = state
  }

  get sessionId (): string {
    return this[kState].sessionId
  }

  get encryptedSessionId (): string {
    return this[kState].signedId
  }

  touch (): void {
    this[kState].touchCookie()
  }

  options (options: Partial<CookieOptions>): void {
    if (Object.keys(options).length > 0) this[kState].setCookieOptions(options)
  }

  regenerate (keys?: readonly string[] | Callback, callback?: Callback): Promise<void> | undefined {
    if (typeof keys === 'function') return this.regenerate([], keys)
    return answered(callback, answer => this[kState].regenerate(keys ?? [], answer))
  }

  destroy (callback?: Callback): Promise<void> | undefined {
    return answered(callback, answer => this[kState].destroy(answer))
  }

  reload (callback?: Callback): Promise<void> | undefined {
    return answered(callback, answer => this[kState].reload(answer))
  }

  save (callback?: Callback): Promise<void> | undefined {
    return answered(callback, answer => this[kState].save(answer))
  }

  get (key: string): unknown {
    return key === 'cookie' ? this[kState].cookie : read(this[kState], key)
  }

  set (key: string, value: unknown): void {
    write(this[kState], key, value)
  }

  data (): Record<string, unknown> {
    return this[kState].draft.toObject()
  }

  isModified (): boolean {
    return this[kState].isModified()
  }

  get isAnonymous (): boolean {
    return this[kState].isAnonymous
  }

  isSaved (): boolean {
    return this[kState].isStored && !this[kState].isModified()
  }

  /** Shows data and cookie to console.log, and not the id. */
  [inspect.custom] (): object {
    const { draft, cookie } = this[kState]
    return { cookie: cookie.toJSON(), ...draft.toObject() }
  }
}

/** With the option `user`. Without it there are no such methods: applications may ask for data of these names. */
class UserSession extends Session {
  list (page?: SessionPage): Promise<SessionView[]> {
    return usersOf(this).list(this[kState], page)
  }

  revoke (handle: string): Promise<boolean> {
    return usersOf(this).revokeFor(this[kState], handle)
  }

  revokeOthers (): Promise<number> {
    return usersOf(this).revokeOthers(this[kState])
  }
}

// One visitor's write to them would show up in every session.
Object.freeze(Session.prototype)
Object.freeze(UserSession.prototype)

// Own properties are the cookie and the data; everything else is the API. The target itself has neither.
const traps: ProxyHandler<Session> = {
  get (target, key, receiver) {
    if (typeof key === 'symbol') return Reflect.get(target, key, receiver)
    if (key === 'cookie') return target[kState].cookie
    const value = read(target[kState], key)
    return value === undefined ? Reflect.get(target, key, receiver) : value
  },

  set (target, key, value) {
    if (typeof key === 'symbol') return Reflect.set(target, key, value)
    write(target[kState], key, value)
    return true
  },

  has (target, key) {
    return isOwn(target, key) || Reflect.has(target, key)
  },

  deleteProperty (target, key) {
    if (typeof key === 'symbol') return Reflect.deleteProperty(target, key)
    target[kState].draft.delete(key)
    target[kState].noteChange()
    return true
  },

  ownKeys (target) {
    return ['cookie', ...target[kState].draft.keys()]
  },

  getOwnPropertyDescriptor (target, key) {
    if (!isOwn(target, key)) return undefined
    return { value: traps.get?.(target, key, target), writable: true, enumerable: true, configurable: true }
  },

  defineProperty (target, key, descriptor) {
    if (typeof key === 'symbol') return Reflect.defineProperty(target, key, descriptor)
    if (!('value' in descriptor)) return false
    write(target[kState], key, descriptor.value)
    return true
  },

  // Data must stay changeable to be storable.
  preventExtensions: () => false
}

/** The object that a handler holds. The traps give the class the type's data properties, which the compiler can't see. */
export function createSession (state: SessionState): FastifySessionObject {
  return new Proxy(state.users === undefined ? new Session(state) : new UserSession(state), traps) as unknown as FastifySessionObject
}

/** The state behind a session object; undefined for any other value. */
export function stateOf (value: unknown): SessionState | undefined {
  return value instanceof Session ? value[kState] : undefined
}

function usersOf (session: Session): Users {
  return session[kState].users as Users
}

function read (state: SessionState, key: string): unknown {
  const value = state.draft.get(key)
  // An object can be changed inside, where no trap sees it.
  if (typeof value === 'object' && value !== null) state.watch()
  return value
}

function write (state: SessionState, key: string, value: unknown): void {
  state.draft.set(key, value)
  state.noteChange()
}

function isOwn (target: Session, key: string | symbol): boolean {
  return typeof key === 'string' && (key === 'cookie' || target[kState].draft.has(key))
}

/** Runs an operation in both call forms. What it throws before its answer is the answer. */
function answered (
  callback: Callback | undefined,
  operation: (answer: Answer<void>) => void
): Promise<void> | undefined {
  if (callback === undefined) {
    return new Promise((resolve, reject) => operation(error => error === null ? resolve() : reject(error)))
  }
  let isAnswered = false
  try {
    operation(error => {
      isAnswered = true
      callback(error)
    })
  } catch (thrown) {
    // By the callback itself: that is the caller's.
    if (isAnswered) throw thrown
    callback(thrown)
  }
}
