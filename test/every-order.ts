/** Runs two users of a store at the same time, in every order in which their calls can follow each other. */
import type { SessionStore } from '../src/index'

// These calls of a request don't wait: they come before and after what is tested.
const PASSING: readonly string[] = ['getAndTouch', 'touch']
export const METHODS = ['get', 'getAndTouch', 'inspect', 'set', 'destroy', 'touch', 'update', 'claim', 'release', 'revoke', 'endingsOf', 'claimsOf'] as const

/** One of two users of a store. Its calls wait until they are released. */
export class Side {
  readonly store: SessionStore
  readonly #waiting: Array<{ method: string, call: () => void }> = []
  #isHeld = false
  #isOver = false
  #hear: () => void = () => {}

  /** @param passing calls that don't wait, so that there are fewer orders */
  constructor (store: SessionStore, passing: readonly string[] = []) {
    const held = Object.fromEntries(METHODS.filter(method => method in store).map(method => [
      method,
      (...args: unknown[]) => {
        const call = (): void => Reflect.apply(store[method] as (...args: unknown[]) => void, store, args)
        if (!this.#isHeld || PASSING.includes(method) || passing.includes(method)) {
          call()
          return
        }
        this.#waiting.push({ method, call })
        this.#hear()
      }
    ]))
    // Each has the five parameters of the longest signature. The last one is the callback.
    for (const method of METHODS) {
      if (held[method] !== undefined) Object.defineProperty(held[method], 'length', { value: 5 })
    }
    this.store = held as unknown as SessionStore
  }

  run (what: () => Promise<unknown>): Promise<unknown> {
    this.#isHeld = true
    this.#isOver = false
    return what().finally(() => {
      this.#isHeld = false
      this.#isOver = true
      this.#hear()
    })
  }

  get canGo (): boolean {
    return this.#waiting.length > 0
  }

  /** Resolves when a call waits, or when everything is done. */
  async rest (): Promise<void> {
    while (!this.canGo && !this.#isOver) await new Promise<void>(resolve => { this.#hear = resolve })
  }

  /** Makes the next call. Returns its method. */
  async go (): Promise<string> {
    const { method, call } = this.#waiting.shift() as { method: string, call: () => void }
    call()
    await this.rest()
    return method
  }
}

/**
 * Runs two users of a store at the same time, in every order in which their calls can follow each other.
 *
 * @returns the number of orders
 */
export async function inEveryOrder (
  sides: [Side, Side], begin: () => Promise<{ run: Array<() => Promise<unknown>>, end: (order: string[]) => Promise<void> }>
): Promise<number> {
  let orders = 0
  for (let order: number[] | undefined = []; order !== undefined; orders++) {
    const { run, end } = await begin()
    const running = sides.map((side, i) => side.run(run[i] as () => Promise<unknown>))
    const taken: Array<{ side: number, isChoice: boolean, method: string }> = []
    await Promise.all(sides.map(side => side.rest()))
    while (sides.some(side => side.canGo)) {
      const isChoice = sides.every(side => side.canGo)
      const side = isChoice ? order[taken.length] ?? 0 : sides.findIndex(side => side.canGo)
      taken.push({ side, isChoice, method: await (sides[side] as Side).go() })
    }
    await Promise.all(running)
    await end(taken.map(({ side, method }) => `${'ab'[side]}:${method}`))
    // The next order: change the last choice that can still be made differently.
    const last = taken.findLastIndex(({ side, isChoice }) => isChoice && side === 0)
    order = last === -1 ? undefined : [...taken.slice(0, last).map(({ side }) => side), 1]
  }
  return orders
}
