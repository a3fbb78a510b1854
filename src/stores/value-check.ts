import { lossesIn, placed, refusalOf } from '../values/json-loss'
import { shownKey } from '../values/shown-key'
import { warnValue } from '../warnings'

// Applications have a few keys. If one makes names up, they must fill neither the memory nor the log.
const MOST_KEYS = 1000
const MOST_WARNINGS = 200
const LONGEST_KEY = 200

// Once per process, because several stores of one application have the same keys.
const looked = new Set<string>()
const told = new Set<string>()

/**
 * Warns about values that a store of JSON would lose, once for each key and kind of value. In production it checks only
 * a key's first write in this process, otherwise each write.
 */
export class ValueCheck {
  readonly #looksAgain = process.env.NODE_ENV !== 'production'
  readonly #keepsAll: boolean

  /** @param keepsAll whether the store doesn't use JSON, so that values that JSON refuses are warned about, too */
  constructor (keepsAll = false) {
    this.#keepsAll = keepsAll
  }

  look (sessionId: string, values: object): void {
    if (told.size >= MOST_WARNINGS) return
    for (const key of Object.keys(values)) {
      if (key !== 'cookie' && this.#mustLook(key)) this.#lookAt(sessionId, key, (values as Record<string, unknown>)[key])
    }
  }

  #mustLook (key: string): boolean {
    if (this.#looksAgain) return true
    if (looked.size >= MOST_KEYS || key.length > LONGEST_KEY || looked.has(key)) return false
    looked.add(key)
    return true
  }

  #lookAt (sessionId: string, key: string, value: unknown): void {
    const { losses, isWhole } = lossesIn(value)
    if (losses.length === 0 && isWhole) return
    const refusal = this.#keepsAll ? refusalOf(value) : undefined
    if (refusal !== undefined) {
      const { name, path, instead } = refusal
      tell(shownKey(key, sessionId), name, path, 'is refused with FST_ERR_SESSION_VALUE', instead)
    }
    for (const { name, path, fate, instead } of losses) {
      if (name !== refusal?.name) tell(shownKey(key, sessionId), name, path, fate, instead)
    }
  }
}

function tell (key: string, name: string, path: string, fate: string, instead: string): void {
  const about = `${key} ${name}`
  if (told.has(about) || told.size >= MOST_WARNINGS) return
  told.add(about)
  warnValue(`${key} has ${placed(name, path)}`, fate, instead)
}
