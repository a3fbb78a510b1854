import { timeIn, type CookieRecord } from './record'

/**
 * What a store is given as `cookie`: plain fields, and what stores written for express-session ask of a cookie in
 * addition. It has nothing of a request.
 */
export class StoredCookie {
  constructor (public readonly expires: Date | null) {}

  /** Of what a record has under `cookie`, whatever form its end has there. */
  static of (fields: Partial<CookieRecord>): StoredCookie {
    const end = timeIn(fields.expires)
    return Object.assign(new StoredCookie(null), fields, { expires: Number.isNaN(end) ? null : new Date(end) })
  }

  /** What is left, in milliseconds; null without an end. */
  get maxAge (): number | null {
    return this.expires === null ? null : this.expires.getTime() - Date.now()
  }

  // Version 9 puts what was left then into its records.
  set maxAge (_left: unknown) {}

  toJSON (): object {
    return { ...this }
  }
}

/**
 * What a store is given as a session: its data as plain properties, and `get` and `sessionId` for stores that ask for
 * them.
 */
export class StoredSession {
  [key: string]: unknown
  readonly cookie: StoredCookie
  readonly #sessionId: string
  #isHandedOver = false

  constructor (sessionId: string, data: Readonly<Record<string, unknown>>, cookie: object) {
    for (const key of Object.keys(data)) {
      // Of a record of version 9, which has its id, or of any other software.
      if (key in this) {
        Object.defineProperty(this, key, { value: data[key], enumerable: true, writable: true, configurable: true })
      } else (this as Record<string, unknown>)[key] = data[key]
    }
    this.cookie = cookie instanceof StoredCookie ? cookie : StoredCookie.of(cookie)
    this.#sessionId = sessionId
  }

  /** Whoever gets it may keep its values, because nobody else will change them. */
  static handOver (session: StoredSession): void {
    session.#isHandedOver = true
  }

  /** Whether that was said of it. By the same copy of the library, which knows what it means. */
  static isHandedOver (session: object): boolean {
    return #isHandedOver in session && session.#isHandedOver
  }

  get sessionId (): string {
    return this.#sessionId
  }

  get (key: string): unknown {
    return Object.hasOwn(this, key) ? this[key] : undefined
  }
}
