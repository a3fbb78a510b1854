import { messageOf, placed, refusalBy, refusalOf, type Refusal } from './json-loss'
import { shownKey } from './shown-key'
import { ValueError } from '../errors'

// A message with more names isn't readable.
const MOST_NAMED = 5

export const NOTHING_WRITTEN = 'Nothing was written'

/** The keys that a write leaves out, because their values can't be stored. */
export class Refusals {
  readonly #byKey = new Map<string, Refusal>()

  has (key: string): boolean {
    return this.#byKey.has(key)
  }

  /** @param thrown what reading the value threw */
  add (key: string, value: unknown, thrown: unknown): void {
    this.#byKey.set(key, refusalBy(value, thrown))
  }

  /**
   * Adds the values that JSON can't hold, if the store's error says that there are some. Returns whether it has added
   * any.
   */
  addFrom (error: Error, values: Readonly<Record<string, unknown>>): boolean {
    const before = this.#byKey.size
    const isOurs = error instanceof ValueError
    if (!isOurs && !(error instanceof TypeError || error instanceof RangeError)) return false
    for (const key of Object.keys(values)) {
      const refusal = refusalOf(values[key])
      if (refusal === undefined) continue
      if (isOurs || messageOf(refusal.cause) === messageOf(error)) this.#byKey.set(key, refusal)
    }
    return this.#byKey.size > before
  }

  /**
   * Returns null if nothing was left out.
   *
   * @param fate what happened to the other keys
   */
  toError (sessionId: string | undefined, fate = 'The other changes were written'): Error | null {
    const [first] = this.#byKey.values()
    if (first === undefined) return null
    const named = [...this.#byKey].slice(0, MOST_NAMED).map(([key, refusal]) => reasonOf(key, refusal, sessionId))
    const more = this.#byKey.size - named.length
    if (more > 0) named.push(`and ${more} more`)
    return new ValueError(named.join('; '), fate, { cause: first.cause })
  }
}

/** An error for a store to throw. Nothing was written. */
export function valueError (key: string, value: unknown, thrown: unknown): Error {
  const refusal = refusalBy(value, thrown)
  return new ValueError(reasonOf(key, refusal), NOTHING_WRITTEN, { cause: refusal.cause })
}

function reasonOf (key: string, { name, path, instead }: Refusal, sessionId?: string): string {
  return `${shownKey(key, sessionId)} has ${placed(name, path)} (store ${instead})`
}
