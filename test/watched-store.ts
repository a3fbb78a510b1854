import { MemoryStore } from '../src/index'
import type { SessionStore } from '../src/types/store'

export const AWAY = 'The store is away'

/** A MemoryStore that writes down what it is asked for, and that can go away. */
export class WatchedStore {
  readonly memory = new MemoryStore()
  /** The names of the methods as they were called. */
  readonly calls: string[] = []
  /** Whether each call fails. */
  isAway = false

  readonly store = new Proxy(this.memory, {
    get: (memory, key) => {
      const method = Reflect.get(memory, key)
      if (typeof method !== 'function' || key === 'constructor') return method
      return (...args: any[]) => {
        this.calls.push(String(key))
        if (this.isAway) return args.at(-1)(new Error(AWAY))
        return Reflect.apply(method, memory, args)
      }
    }
  }) as SessionStore

  get size (): number {
    return this.memory.store.size
  }

  /** What was called while something was done. */
  async callsDuring (work: () => Promise<unknown>): Promise<string[]> {
    this.calls.length = 0
    await work()
    return [...this.calls]
  }
}
