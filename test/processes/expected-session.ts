type Data = Record<string, unknown>

/** The JSON of a value; undefined where there is none. */
type Json = string | undefined

interface ExpectedValue {
  confirmed: Json
  /** Writes that failed, or that nobody answered. They may have been done, and may still be done later. */
  readonly open: Set<Json>
}

/** What a client must find in its session, by what it was told. */
export class ExpectedSession {
  readonly #values: Map<string, ExpectedValue>

  constructor (values = new Map<string, ExpectedValue>()) {
    this.#values = values
  }

  /** A write that was confirmed, or was not; of undefined, a removal. */
  note (key: string, value: unknown, isConfirmed: boolean): void {
    if (isConfirmed) this.confirm(key, value)
    else this.#at(key).open.add(JSON.stringify(value))
  }

  confirm (key: string, value: unknown): void {
    this.#at(key).confirmed = JSON.stringify(value)
  }

  /** The value that must be there; undefined where there is none, or more than one may be. */
  value (key: string): unknown {
    const { confirmed, open } = this.#at(key)
    return confirmed === undefined || open.size > 0 ? undefined : JSON.parse(confirmed)
  }

  isOpen (key: string): boolean {
    return this.#at(key).open.size > 0
  }

  /** The session that takes these keys along. */
  successor (keys: readonly string[]): ExpectedSession {
    return new ExpectedSession(new Map([...this.#values].filter(([key]) => keys.includes(key))))
  }

  /** The keys that are not as they must be in the data of a reply, each with a sentence. */
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
