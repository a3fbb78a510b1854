import { inspect } from 'node:util'
import { take, update, type Change } from './atomic'
import { isFresh } from './freshness'
import { destroy, regenerate, reload, saveByHand } from './operations'
import type { Index, SessionState } from './state'
import { ReservedKeyError } from '../errors'
import { promised } from '../stores/call'
import { warnLateChange } from '../warnings'
import { isReserved, type Recording } from '../values/draft'
import type { CookieOptions } from '../types/cookie'
import type { FastifySessionObject, RegenerateOptions, SessionList, SessionPage } from '../types/session'
import type { Answer, Callback } from '../types/store'

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
    if (visit.phase !== 'open') context.settings.flaws.tell(warnLateChange)
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
    // What isn't data is not inherited either: get('constructor') is the visitor's, or nothing.
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

  /** Shows data and cookie to console.log, and not the id. */
  [inspect.custom] (): object {
    const { draft, cookie } = this[kState]
    return { cookie: cookie.toJSON(), ...draft.toObject() }
  }
}

/** With the option `user`. Without it there are no such methods: applications may ask for data of these names. */
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

// One visitor's write to them, or to one of their methods, would show up in every session.
for (const { prototype } of [Session, UserSession]) {
  Object.freeze(prototype)
  for (const { value } of Object.values(Object.getOwnPropertyDescriptors(prototype))) Object.freeze(value)
}

// Own properties are the cookie and the data, which the target itself doesn't have. What else an application defined is
// the target's own, and not stored: symbols, getters and what isn't enumerable. Everything else is the API.
const traps: ProxyHandler<Session> = {
  get (target, key, receiver) {
    if (typeof key === 'symbol') return Reflect.get(target, key, receiver)
    if (key === 'cookie') return target[kState].cookie
    const value = read(target[kState], key)
    return value === undefined ? Reflect.get(target, key, receiver) : value
  },

  set (target, key, value, receiver) {
    if (Object.hasOwn(target, key)) return Reflect.set(target, key, value, receiver)
    // What inherits from the session keeps what is set on it.
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

  // Data must stay changeable to be storable.
  preventExtensions: () => false
}

/**
 * The object that a handler holds. The traps give the class the type's data properties, which the compiler can't see.
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
 * What is changed of the session's lifetime or cookie. Of an object that was replaced or destroyed it would be lost.
 */
function changeable (session: Session, change: (state: SessionState) => void): void {
  const state = session[kState]
  state.noteChange()
  change(state)
}

function read (state: SessionState, key: string): unknown {
  const value = state.draft.get(key)
  // An object can be changed inside, where no trap sees it.
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
 * Runs an operation in both call forms, after those that the handler asked for before. What was replaced passes it on
 * to the session in its place.
 *
 * @param target which of those in its place
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

/** A promise whose failure doesn't end the process if the handler doesn't wait for it. */
function unawaited<T> (promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

/**
 * Runs an operation that puts another session, or newer data, in the place of this one. What the handler writes after
 * its call comes after it, also if it doesn't wait.
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
 * Runs what reads and writes in one step. On what an object that was replaced has, nothing can be written; but a
 * regenerate() that the handler asked for before, and didn't await, comes first.
 */
function atOnce<T> (
  session: Session, operation: (state: SessionState, recording: Recording, answer: Answer<T>) => void
): Promise<T | undefined> {
  const target = session[kState].standing === 'replaced' ? 'reloaded' : 'inPlace'
  return replace(session, null, operation, target) as Promise<T | undefined>
}
