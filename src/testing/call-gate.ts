import { has } from '../stores/methods'
import { callStore, promised, type Method } from '../stores/call'
import type { Answer, SessionStore } from '../types/store'
import type { Call } from './race-ops'
import type { RaceOptions } from './race-options'

/** A step that can be taken next. */
export interface Step {
  readonly name: string
  readonly take: () => Promise<void>
}

const METHODS: readonly Method[] = [
  'get', 'getAndTouch', 'set', 'destroy', 'touch', 'update', 'updateIf', 'inspect', 'claim', 'release', 'revoke', 'endingsOf',
  'claimsOf'
]
// Their first argument is the user, the second the session's id.
const BY_USER: readonly Method[] = ['claim', 'release', 'revoke', 'endingsOf', 'claimsOf']
const CALL_TIMEOUT = 10_000

/** Holds the calls to a store until their step is taken. Then the real call is made, and its answer is passed on. */
export class CallGate {
  /** The store for the plugin: with the same methods, which always answer by their callback. */
  readonly store: SessionStore
  /** Lets all calls pass, and records none. */
  isOpen = true
  /** The number of steps taken. */
  now = 0
  /** The number of running calls that aren't held. */
  passing = 0
  /** The waiting steps. */
  readonly steps: Step[] = []
  /** The calls since the gate was closed. */
  calls: Call[] = []
  /** The sessions that were written. */
  readonly written = new Set<string>()

  readonly #store: SessionStore
  readonly #splitCalls: boolean
  readonly #passing: readonly Method[]
  readonly #nameOf: (sessionId: string) => string

  constructor ({ store, splitCalls = false, passing = [] }: Pick<RaceOptions, 'store' | 'splitCalls' | 'passing'>, nameOf: (sessionId: string) => string) {
    this.#store = store
    this.#passing = passing
    this.#splitCalls = splitCalls
    this.#nameOf = nameOf
    // Only the store's own methods, which the type can't express.
    this.store = Object.fromEntries(METHODS.filter(method => has(store, method)).map(method => [
      method, (...args: unknown[]) => this.#receive(method, args.slice(0, -1), args.at(-1) as Answer<unknown>)
    ])) as unknown as SessionStore
    // These don't call the store's back end, so they aren't held.
    const { keyOf, formerKeyOf } = store
    Object.assign(this.store, { ...keyOf && { keyOf }, ...formerKeyOf && { formerKeyOf } })
  }

  /** The key of a session in the store. */
  keyOf (sessionId: string): string {
    return this.#store.keyOf?.(sessionId) ?? sessionId
  }

  close (): void {
    this.isOpen = false
    this.now = 0
    this.calls = []
  }

  /** Calls the store itself. */
  ask (method: Method, ...args: unknown[]): Promise<unknown> {
    return promised(answer => this.#call(method, args, answer))
  }

  #receive (method: Method, args: unknown[], answer: Answer<unknown>): void {
    const sessionId = idIn(args[BY_USER.includes(method) ? 1 : 0])
    if (method === 'set') this.written.add(sessionId)
    if (this.isOpen || this.#passing.includes(method)) {
      this.passing++
      this.#call(method, args, (error, value) => {
        this.passing--
        answer(error, value)
      })
      return
    }
    const call: Call = { method, sessionId, askedAt: this.now }
    const name = `${method} ${this.#nameOf(sessionId)}${detailsOf(method, args[method === 'updateIf' ? 3 : 1])}`
    this.calls.push(call)
    this.hold(name, () => new Promise(resolve => {
      this.#call(method, args, (error, value) => {
        const hear = (): void => {
          call.answeredAt = this.now
          answer(error, value)
        }
        call.doneAt = this.now
        if (this.#splitCalls) this.hold(`answer of ${name}`, async () => hear())
        else hear()
        resolve()
      })
    }))
  }

  /** Adds a step. */
  hold (name: string, go: () => Promise<void>): void {
    const step = {
      name,
      take: () => {
        this.steps.splice(this.steps.indexOf(step), 1)
        this.now++
        return go()
      }
    }
    this.steps.push(step)
  }

  #call (method: Method, args: unknown[], answer: Answer<unknown>): void {
    callStore(this.#store, method, args, CALL_TIMEOUT, answer)
  }
}

// Some methods of the index take several ids, and some take none.
function idIn (argument: unknown): string {
  const [id] = Array.isArray(argument) ? argument : [argument]
  return typeof id === 'string' ? id : ''
}

/** The keys that a call writes. */
function detailsOf (method: Method, what: any): string {
  let keys: string[] = []
  if (method === 'set') keys = Object.keys(what).filter(key => key !== 'cookie')
  else if (method === 'update' || method === 'updateIf') keys = [...Object.keys(what.set), ...what.unset.map((key: string) => `-${key}`)]
  return keys.length > 0 ? ` { ${keys.join(', ')} }` : ''
}
