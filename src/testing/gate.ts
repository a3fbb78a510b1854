import { PATIENCE } from './context'

/** Holds everyone who comes until it is opened. */
export class Gate {
  readonly #opened: Promise<void>
  readonly #watchers: Array<{ count: number, resolve: () => void }> = []
  #held = 0
  /** Lets all go, and everyone who comes later. */
  open!: () => void

  constructor () {
    this.#opened = new Promise(resolve => { this.open = resolve })
  }

  async pass (): Promise<void> {
    this.#held++
    for (const { count, resolve } of this.#watchers) if (this.#held >= count) resolve()
    await this.#opened
  }

  /** Resolves when that many are held; rejects when they don't come. */
  async holds (count = 1): Promise<void> {
    if (this.#held >= count) return
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.#held} of ${count} came to the gate`)), PATIENCE)
      this.#watchers.push({ count, resolve: () => { clearTimeout(timer); resolve() } })
    })
  }
}
