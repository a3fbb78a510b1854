type Data = Record<string, unknown>

/** The JSON of a value; undefined if there is none. */
type Json = string | undefined

interface ExpectedValue {
  confirmed: Json
  /** Writes that failed or weren't answered. They may have been done, and may still be done later. */
  readonly open: Set<Json>
}

/** What a client must find in its session, according to the replies that it has received. */
export class ExpectedSession {
  readonly #values: Map<string, ExpectedValue>

  constructor (values = new Map<string, ExpectedValue>()) {
    this.#values = values
  }

  /** Notes a write that was or wasn't confirmed. If the value is undefined, it was a removal. */
  note (key: string, value: unknown, isConfirmed: boolean): void {
    if (isConfirmed) this.confirm(key, value)
    else this.#at(key).open.add(JSON.stringify(value))
  }

  confirm (key: string, value: unknown): void {
    this.#at(key).confirmed = JSON.stringify(value)
  }

  /** The value that must be there; undefined if there is none, or if it may be one of several. */
  value (key: string): unknown {
    const { confirmed, open } = this.#at(key)
    return confirmed === undefined || open.size > 0 ? undefined : JSON.parse(confirmed)
  }

  isOpen (key: string): boolean {
    return this.#at(key).open.size > 0
  }

  /** The new session that keeps these keys. */
  successor (keys: readonly string[]): ExpectedSession {
    return new ExpectedSession(new Map([...this.#values].filter(([key]) => keys.includes(key))))
  }

  /** The keys in the data of a reply that have wrong values, each with a sentence that says so. */
  differences (data: Data): Array<[key: string, sentence: string]> {
    const keys = new Set([...this.#values.keys(), ...Object.keys(data)])
    return [...keys].filter(key => !this.#allows(key, data[key])).map(key => {
      const { confirmed, open } = this.#at(key)
      const others = open.size === 0 ? '' : ` (or ${[...open].join(' or ')})`
      return [key, `${key} is ${JSON.stringify(data[key])}, not ${confirmed}${others}`]
    })
  }

  #allows (key: string, value: unknown): boolean {
    const json = JSON.stringify(value)
    const { confirmed, open } = this.#at(key)
    return json === confirmed || open.has(json)
  }

  #at (key: string): ExpectedValue {
    let value = this.#values.get(key)
    if (value === undefined) this.#values.set(key, value = { confirmed: undefined, open: new Set() })
    return value
  }
}
