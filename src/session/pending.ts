import { AsyncResource } from 'node:async_hooks'
import { GoneError } from '../errors'
import type { Answer } from '../types/store'

type Operation<T> = (answer: Answer<T>) => void

/**
 * The operations that a handler asked for: one at a time, in the order of its calls, whether it awaits them or not. An
 * operation is over when its answer is in, before its callback runs.
 */
export class Pending {
  readonly #waiting: Array<() => void> = []
  #isRunning = false
  /** Whether those that wait are being started. */
  #isStarting = false
  /** Gets the first error of those that the reply waits for. */
  #failed: ((error: Error) => void) | undefined

  get isBusy (): boolean {
    return this.#isRunning || this.#waiting.length > 0
  }

  /** Runs an operation, at once if none is under way. */
  run<T = void> (operation: Operation<T>, answer: Answer<T>): void {
    // What a callback asks for comes after those that wait already.
    if (this.isBusy) this.#waiting.push(AsyncResource.bind(() => this.#start(operation, answer)))
    else this.#start(operation, answer)
  }

  /**
   * Answers when all that was asked for until now is over, or with the error of one that failed in the meantime. A
   * session that turned out to be gone isn't an error: its reply knows.
   *
   * @param patience in milliseconds
   * @param tooLate the error after that
   */
  settle (patience: number, tooLate: () => Error, answer: Answer<void>): void {
    let failure: Error | null = null
    const timer = setTimeout(() => finish(tooLate()), patience)
    const finish = (error: Error | null): void => {
      clearTimeout(timer)
      this.#failed = undefined
      const once = answer
      answer = () => {}
      once(error)
    }
    this.#failed = error => { if (!(error instanceof GoneError)) failure ??= error }
    this.run(done => done(null), () => finish(failure))
  }

  #start<T> (operation: Operation<T>, answer: Answer<T>): void {
    let isOver = false
    this.#isRunning = true
    const finish: Answer<T> = (error, value) => {
      isOver = true
      if (error !== null) this.#failed?.(error)
      this.#isRunning = false
      try {
        answer(error, value)
      } finally {
        this.#startNext()
      }
    }
    try {
      operation(finish)
    } catch (thrown) {
      // By the callback itself: that is the caller's.
      if (isOver) throw thrown
      finish(thrown as Error)
    }
  }

  // A loop and no recursion: a long line of operations that are over at once would overflow the stack.
  #startNext (): void {
    if (this.#isStarting) return
    this.#isStarting = true
    while (!this.#isRunning) {
      const next = this.#waiting.shift()
      if (next === undefined) break
      try {
        next()
      } catch (thrown) {
        // By a callback, whose caller has gone on. The others don't suffer for it.
        queueMicrotask(() => { throw thrown })
      }
    }
    this.#isStarting = false
  }
}
