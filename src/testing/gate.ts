import { PATIENCE } from './context'

/** Holds requests until it is opened. */
export class Gate {
  readonly #opened: Promise<void>
  readonly #watchers: Array<{ count: number, resolve: () => void, reject: (reason: Error) => void }> = []
  #held = 0
  #missing: Error | undefined
  /** Lets all requests pass, also later ones. */
  open!: () => void

  constructor () {
    this.#opened = new Promise(resolve => { this.open = resolve })
  }

  async pass (): Promise<void> {
    this.#held++
    for (const { count, resolve } of this.#watchers) if (this.#held >= count) resolve()
    await this.#opened
  }

  /** A request won't come. */
  miss (reason: Error): void {
    this.#missing = reason
    for (const { reject } of this.#watchers) reject(reason)
  }

  /** Resolves when this many requests are held. Rejects if they don't come. */
  async holds (count = 1): Promise<void> {
    if (this.#held >= count) return
    let limit: NodeJS.Timeout | undefined
    await new Promise<void>((resolve, reject) => {
      if (this.#missing !== undefined) reject(this.#missing)
      limit = setTimeout(() => reject(new Error(`${this.#held} of ${count} requests came to the gate`)), PATIENCE)
      this.#watchers.push({ count, resolve, reject })
    }).finally(() => clearTimeout(limit))
  }
}
