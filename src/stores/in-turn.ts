import { AsyncResource } from 'node:async_hooks'
import type { Method } from './call'
import { Turns } from './turns'
import { STORE_AWAY, StoreTimeoutError } from '../errors'
import type { Answer, SessionStore } from '../types/store'

// By store and not by registration, because two registrations may share one store.
const turnsOf = new WeakMap<SessionStore, Turns>()

/** What must not be done at the same time to one session of a store. */
export class InTurn {
  readonly #turns: Turns
  readonly #timeout: number
  /** Who wants the same of a session, while that waits for its turn. */
  readonly #joining = new Map<string, Array<Answer<boolean>>>()

  /** @param timeout how long to wait for a turn, in milliseconds */
  constructor (store: SessionStore, timeout: number) {
    let turns = turnsOf.get(store)
    if (turns === undefined) turnsOf.set(store, turns = new Turns())
    this.#turns = turns
    this.#timeout = timeout
  }

  /**
   * @param method what the turn is for, if it doesn't come in time
   * @param busy the error then, if others had their turn all the same; otherwise that of the store, which is away
   */
  run<T> (
    method: Method, sessionId: string, answer: Answer<T>, task: (done: Answer<T>) => void, isShared = false,
    busy?: () => Error
  ): void {
    const giveUp = (hasMoved: boolean): void => {
      answer(hasMoved && busy !== undefined ? busy() : new StoreTimeoutError(method, this.#timeout, STORE_AWAY))
    }
    this.#turns.take(sessionId, this.#timeout, giveUp, release => task((error, value) => {
      release()
      answer(error, value)
    }), isShared)
  }

  /** Once for all that want the same while it waits. Touches don't wait for each other. */
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
