import { inspect } from 'node:util'
import { take, update, type Change } from './atomic'
import { isFresh } from './freshness'
import { destroy, regenerate, reload, saveByHand } from './operations'
import type { Index, SessionState } from './state'
import { ReservedKeyError } from '../errors'
import { promised } from '../stores/call'
import { kindOf } from '../values/kind'
import { warnLateChange, warnOption } from '../warnings'
import { isReserved, type Recording } from '../values/draft'
import type { CookieOptions } from '../types/cookie'
import type { FastifySessionObject, RegenerateOptions, SessionList, SessionPage } from '../types/session'
import type { Answer, Callback } from '../types/store'

const kState = Symbol('session state')

/**
 * The API of a session. A handler receives a proxy of it (see `createSession`), which shows the session's data as its
 * own properties. Private fields don't work through a proxy, so the state is under a symbol.
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
    changeable(this, state => state.touch())
  }

  options (options: Partial<CookieOptions>): void {
    if (Object.keys(options).length > 0) changeable(this, state => state.setCookieOptions(options))
  }

  regenerate (
    keys?: readonly string[] | Callback | null,
    options?: RegenerateOptions | Callback | null,
    callback?: Callback | null
  ): Promise<void> | undefined {
    if (typeof keys === 'function') return this.regenerate([], keys)
    if (typeof options === 'function') return this.regenerate(keys, null, options)
    const { visit, context } = this[kState]
    const { flaws } = context.settings
    if (visit.isTooLate) flaws.tell(warnLateChange)
    // Only the reply of an error handler can still send the new cookie.
    else if (visit.phase === 'committed') visit.watch({ tellLostChanges: () => flaws.tell(warnLateChange) })
    if (keys != null && !Array.isArray(keys)) flaws.tell(warnOption, mistakenKeys(keys))
    const renewal = { keys: Array.isArray(keys) ? keys : [], isAuthenticated: options?.authenticated === true }
    return replace(this, callback, (state, recording, answer) => regenerate(state, renewal, recording, answer))
  }

  destroy (callback?: Callback | null): Promise<void> | undefined {
    return perform(this, callback, destroy)
  }

  reload (callback?: Callback | null): Promise<void> | undefined {
    return replace(this, callback, reload)
  }

  save (callback?: Callback | null): Promise<void> | undefined {
    return perform(this, callback, saveByHand, 'reloaded')
  }

  update<T> (fn: Change<T>): Promise<T> {
    return atOnce(this, (state, recording, answer) => update(state, recording, fn, answer)) as Promise<T>
  }

  take (key: string): Promise<unknown> {
    return atOnce(this, (state, recording, answer) => take(state, recording, key, answer))
  }

  get (key: string): unknown {
    const value = key === 'cookie' ? this[kState].cookie : read(this[kState], key)
    // Nothing is inherited: get('constructor') returns data of that name, or undefined.
    return value === undefined && Object.hasOwn(this, key) ? Reflect.get(this, key) : value
  }

  set (key: string, value: unknown): void {
    Reflect.set(this, key, value)
  }

  data (): Record<string, unknown> {
    return this[kState].draft.toObject()
  }

  isModified (): boolean {
    return this[kState].isModified()
  }

  isFresh (milliseconds: number): boolean {
    return isFresh(this[kState].inPlace, milliseconds)
  }

  get isAnonymous (): boolean {
    return this[kState].standing === 'anonymous'
  }

  get signal (): AbortSignal {
    const state = this[kState]
    return state.context.endings.signalOf(state)
  }

  isSaved (): boolean {
    return this[kState].isInStore && !this[kState].isModified()
  }

  /** console.log shows data and cookie, but not the id. */
  [inspect.custom] (): object {
    const { draft, cookie } = this[kState]
    return { cookie: cookie.toJSON(), ...draft.toObject() }
  }
}

/** For the option `user`. Without it these methods don't exist, because applications may have data with their names. */
class UserSession extends Session {
  list (page?: SessionPage): Promise<SessionList> {
    return unawaited(indexOf(this).list(this[kState], page))
  }

  revoke (handle: string): Promise<boolean> {
    return unawaited(indexOf(this).revokeFor(this[kState], handle))
  }

  revokeOthers (): Promise<number> {
    return unawaited(indexOf(this).revokeOthers(this[kState]))
  }
}

// A write to a prototype, or to one of its methods, would show up in every visitor's session.
for (const { prototype } of [Session, UserSession]) {
  Object.freeze(prototype)
  for (const { value } of Object.values(Object.getOwnPropertyDescriptors(prototype))) Object.freeze(value)
}

// The proxy's own properties are the cookie and the data, which the target doesn't have. Symbols, getters and
// properties that aren't enumerable are defined on the target, and aren't stored. Everything else is the API.
const traps: ProxyHandler<Session> = {
  get (target, key, receiver) {
    if (typeof key === 'symbol') return Reflect.get(target, key, receiver)
    if (key === 'cookie') return target[kState].cookie
    const value = read(target[kState], key)
    return value === undefined ? Reflect.get(target, key, receiver) : value
  },

  set (target, key, value, receiver) {
    if (Object.hasOwn(target, key)) return Reflect.set(target, key, value, receiver)
    // An object that inherits from the session gets the property itself.
    if (receiver !== target[kState].session) return Reflect.set(Object.create(null), key, value, receiver)
    if (typeof key === 'symbol') return Reflect.set(target, key, value)
    write(target[kState], key, value)
    return true
  },

  has (target, key) {
    return isOwn(target, key) || Reflect.has(target, key)
  },

  deleteProperty (target, key) {
    if (typeof key === 'symbol' || Object.hasOwn(target, key)) return Reflect.deleteProperty(target, key)
    target[kState].draft.delete(key)
    target[kState].noteChange()
    return true
  },

  ownKeys (target) {
    return ['cookie', ...target[kState].draft.keys(), ...Reflect.ownKeys(target).filter(key => key !== kState)]
  },

  getOwnPropertyDescriptor (target, key) {
    if (!isOwn(target, key)) return Reflect.getOwnPropertyDescriptor(target, key)
    return { value: traps.get?.(target, key, target), writable: true, enumerable: true, configurable: true }
  },

  defineProperty (target, key, descriptor) {
    if (typeof key === 'symbol') return Reflect.defineProperty(target, key, descriptor)
    if (isReserved(key)) throw new ReservedKeyError(key)
    const { draft } = target[kState]
    const isAccessor = 'get' in descriptor || 'set' in descriptor
    const before = isAccessor || !draft.has(key) ? undefined : traps.getOwnPropertyDescriptor?.(target, key)
    const whole = { ...before, ...descriptor }
    if (!isAccessor && whole.enumerable === true && Reflect.deleteProperty(target, key)) {
      write(target[kState], key, whole.value)
      return true
    }
    if (draft.has(key)) draft.delete(key)
    return Reflect.defineProperty(target, key, whole)
  },

  // A frozen session couldn't be changed.
  preventExtensions: () => false
}

/**
 * Makes the object that a handler receives. The compiler can't know that the traps add the type's data properties.
 */
export function createSession (state: SessionState): FastifySessionObject {
  const session = state.context.index?.hasUsers === true ? new UserSession(state) : new Session(state)
  return new Proxy(session, traps) as unknown as FastifySessionObject
}

/** The state behind a session object; undefined for any other value. */
export function stateOf (value: unknown): SessionState | undefined {
  return value instanceof Session ? value[kState] : undefined
}

function indexOf (session: Session): Index {
  return session[kState].context.index as Index
}

/**
 * Changes the session's lifetime or cookie. If the session was replaced or destroyed, the change is lost, and
 * `noteChange` warns.
 */
function changeable (session: Session, change: (state: SessionState) => void): void {
  const state = session[kState]
  state.noteChange()
  change(state)
}

function read (state: SessionState, key: string): unknown {
  const value = state.draft.get(key)
  // No trap sees a change inside an object.
  if (typeof value === 'object' && value !== null) state.visit.watch(state)
  return value
}

function write (state: SessionState, key: string, value: unknown): void {
  state.draft.set(key, value)
  state.noteChange()
}

function isOwn (target: Session, key: string | symbol): boolean {
  return typeof key === 'string' && (key === 'cookie' || target[kState].draft.has(key))
}

/**
 * Runs an operation with a callback or a promise, after the handler's earlier operations. If the session was replaced,
 * the operation runs on its successor.
 *
 * @param target which successor: the latest, or the latest with the same id
 */
function perform<T> (
  session: Session,
  callback: Callback | null | undefined,
  operation: (state: SessionState, answer: Answer<T>) => void,
  target: 'inPlace' | 'reloaded' = 'inPlace'
): Promise<T | undefined> | undefined {
  const state = session[kState]
  const { pending } = state.visit
  const run = (answer: Answer<T>): void => operation(state[target], answer)
  if (typeof callback === 'function') {
    pending.run(run, callback)
    return undefined
  }
  return unawaited(promised<T>(answer => pending.run(run, answer)))
}

function mistakenKeys (keys: unknown): string {
  const meant = 'write regenerate([keys], { authenticated: true })'
  return `keys must be an array, and not ${kindOf(keys)}: ${meant} (in a call of session.regenerate())`
}

/** A rejection that the handler doesn't await must not end the process. */
function unawaited<T> (promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

/**
 * Runs an operation that replaces the session or its data. What the handler writes after the call applies to the
 * result, even if the handler doesn't wait.
 */
function replace<T> (
  session: Session,
  callback: Callback | null | undefined,
  operation: (state: SessionState, recording: Recording, answer: Answer<T>) => void,
  target?: 'inPlace' | 'reloaded'
): Promise<T | undefined> | undefined {
  const asked = session[kState]
  const recording = asked.inPlace.draft.record()
  return perform<T>(session, callback, (state, answer) => operation(state, recording, (error, value) => {
    if (error !== null) asked.inPlace.draft.forget(recording)
    answer(error, value)
  }), target)
}

/**
 * Runs an atomic operation. It fails on an object that regenerate() has replaced. But a regenerate() that the handler
 * called before, and didn't await, runs first, and the operation runs on the new session.
 */
function atOnce<T> (
  session: Session, operation: (state: SessionState, recording: Recording, answer: Answer<T>) => void
): Promise<T | undefined> {
  const target = session[kState].standing === 'replaced' ? 'reloaded' : 'inPlace'
  return replace(session, null, operation, target) as Promise<T | undefined>
}
