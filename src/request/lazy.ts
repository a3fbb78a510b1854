import { promised } from '../stores/call'
import type { Answer } from '../types/store'

/** The session of a lazy route: found when the handler asks for it, and not before. */
export class LazyLoad {
  /** Whether the reply has gone out without it. */
  isLate = false
  readonly #run: (answer: Answer<void>) => void
  #loading: Promise<unknown> | undefined

  constructor (run: (answer: Answer<void>) => void) {
    this.#run = run
  }

  /** Once, however often it is asked for. Rejects with the store's error. */
  async load (): Promise<void> {
    await (this.#loading ??= promised(this.#run))
  }
}
