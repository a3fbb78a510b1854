import { AsyncResource } from 'node:async_hooks'
import { GoneError } from '../errors'
import type { Answer } from '../types/store'

type Operation<T> = (answer: Answer<T>) => void

/**
 * Runs a handler's operations one at a time, in the order of its calls, even if it doesn't await them. An operation is
 * over when its answer is in, before its callback runs.
 */
export class Pending {
  readonly #waiting: Array<() => void> = []
  #isRunning = false
  /** Whether `#startNext` is running. */
  #isStarting = false
  /** Receives errors while the reply waits. */
  #failed: ((error: Error) => void) | undefined

  get isBusy (): boolean {
    return this.#isRunning || this.#waiting.length > 0
  }

  /** Runs an operation: at once, or after those before it. */
  run<T = void> (operation: Operation<T>, answer: Answer<T>): void {
    // An operation from a callback runs after those that are waiting already.
    if (this.isBusy) this.#waiting.push(AsyncResource.bind(() => this.#start(operation, answer)))
    else this.#start(operation, answer)
  }

  /**
   * Answers when all operations so far are over, with the first error of one that failed in the meantime. A GoneError
   * doesn't count here, because the reply handles sessions that are gone.
   *
   * @param patience how long to wait, in milliseconds
   * @param tooLate makes the error after that time
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
      // The callback itself has thrown: that error is the caller's.
      if (isOver) throw thrown
      finish(thrown as Error)
    }
  }

  // A loop, because recursion would overflow the stack after many synchronous operations.
  #startNext (): void {
    if (this.#isStarting) return
    this.#isStarting = true
    while (!this.#isRunning) {
      const next = this.#waiting.shift()
      if (next === undefined) break
      try {
        next()
      } catch (thrown) {
        // A callback has thrown, and its caller has returned long ago. The other operations must still run.
        queueMicrotask(() => { throw thrown })
      }
    }
    this.#isStarting = false
  }
}
