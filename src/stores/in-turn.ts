import { AsyncResource } from 'node:async_hooks'
import type { Method } from './call'
import { Turns } from './turns'
import { MANY_CHANGES, STORE_AWAY, StoreTimeoutError } from '../errors'
import type { Answer, SessionStore } from '../types/store'

// By store, because two registrations may share a store.
const turnsOf = new WeakMap<SessionStore, Turns>()

/** Runs operations on one session of a store one at a time, if they must not overlap. */
export class InTurn {
  readonly #turns: Turns
  readonly #timeout: number
  /** The callers that share an operation which waits for its turn. */
  readonly #joining = new Map<string, Array<Answer<boolean>>>()

  /** @param timeout how long to wait for a turn, in milliseconds */
  constructor (store: SessionStore, timeout: number) {
    let turns = turnsOf.get(store)
    if (turns === undefined) turnsOf.set(store, turns = new Turns())
    this.#turns = turns
    this.#timeout = timeout
  }

  /**
   * @param method the method in the error if the turn doesn't come in time
   * @param busy makes the error in that case, if others had their turn in the meantime. Otherwise the store is down,
   *   and the error says so
   */
  run<T> (
    method: Method, sessionId: string, answer: Answer<T>, task: (done: Answer<T>) => void, isShared = false,
    busy?: () => Error
  ): void {
    const giveUp = (hasMoved: boolean): void => {
      const tooLate = (): Error => new StoreTimeoutError(method, this.#timeout, hasMoved ? MANY_CHANGES : STORE_AWAY)
      answer(hasMoved && busy !== undefined ? busy() : tooLate())
    }
    this.#turns.take(sessionId, this.#timeout, giveUp, release => task((error, value) => {
      release()
      answer(error, value)
    }), isShared)
  }

  /** Runs an operation once for all callers that want the same while it waits. Touches don't wait for each other. */
  joined (
    method: 'touch' | 'set', sessionId: string, answer: Answer<boolean>, task: (done: Answer<boolean>) => void
  ): void {
    const key = `${method} ${sessionId}`
    const waiting = this.#joining.get(key)
    if (waiting !== undefined) {
      waiting.push(AsyncResource.bind(answer))
      return
    }
    const answers = [answer]
    const close = (): void => { if (this.#joining.get(key) === answers) this.#joining.delete(key) }
    const answerAll: Answer<boolean> = (error, found) => {
      close()
      for (const answer of answers) answer(error, found)
    }
    this.#joining.set(key, answers)
    this.run<boolean>(method, sessionId, answerAll, done => {
      close()
      task(done)
    }, method === 'touch')
  }
}
