import { has } from '../stores/methods'
import { callStore, promised, type Method } from '../stores/call'
import type { Answer, SessionStore } from '../types/store'
import type { Call } from './race-ops'
import type { RaceOptions } from './race-options'

/** Something that can happen next. */
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

/** Holds the calls to a store until they are told to go on. They are real calls then, and their answers are handed on. */
export class CallGate {
  /** The store as the plugin gets it: with the same methods, which answer by their callback whatever the real ones do. */
  readonly store: SessionStore
  /** Lets all calls pass, and writes down none. */
  isOpen = true
  /** The number of steps taken. */
  now = 0
  /** How many calls are under way that don't wait for their turn. */
  passing = 0
  /** What waits. */
  readonly steps: Step[] = []
  /** What came since the gate was closed. */
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
    // It has the methods that the library uses of that store, which no type can say.
    this.store = Object.fromEntries(METHODS.filter(method => has(store, method)).map(method => [
      method, (...args: unknown[]) => this.#receive(method, args.slice(0, -1), args.at(-1) as Answer<unknown>)
    ])) as unknown as SessionStore
    // These ask nothing of it.
    const { keyOf, formerKeyOf } = store
    Object.assign(this.store, { ...keyOf && { keyOf }, ...formerKeyOf && { formerKeyOf } })
  }

  /** By what the store knows a session. */
  keyOf (sessionId: string): string {
    return this.#store.keyOf?.(sessionId) ?? sessionId
  }

  close (): void {
    this.isOpen = false
    this.now = 0
    this.calls = []
  }

  /** Asks the store itself. */
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

  /** Lets something wait until it is taken as a step. */
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

// Some methods of the index take several, and some none.
function idIn (argument: unknown): string {
  const [id] = Array.isArray(argument) ? argument : [argument]
  return typeof id === 'string' ? id : ''
}

/** What a call writes. */
function detailsOf (method: Method, what: any): string {
  let keys: string[] = []
  if (method === 'set') keys = Object.keys(what).filter(key => key !== 'cookie')
  else if (method === 'update' || method === 'updateIf') keys = [...Object.keys(what.set), ...what.unset.map((key: string) => `-${key}`)]
  return keys.length > 0 ? ` { ${keys.join(', ')} }` : ''
}
