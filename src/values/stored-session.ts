import { timeIn, type CookieRecord } from './record'

/**
 * The `cookie` of a session that a store receives: plain fields, and what stores written for express-session use in
 * addition. It doesn't refer to the request.
 */
export class StoredCookie {
  constructor (public readonly expires: Date | null) {}

  /** Makes one of a record's fields. Their `expires` may be a date in any form. */
  static of (fields: Partial<CookieRecord>): StoredCookie {
    const end = timeIn(fields.expires)
    return Object.assign(new StoredCookie(null), fields, { expires: Number.isNaN(end) ? null : new Date(end) })
  }

  /** Milliseconds until the end; null without an end. */
  get maxAge (): number | null {
    return this.expires === null ? null : this.expires.getTime() - Date.now()
  }

  // Records of version 9 have a maxAge, which Object.assign must be able to set.
  set maxAge (_left: unknown) {}

  toJSON (): object {
    return { ...this }
  }
}

/**
 * The session that a store receives: its data as plain properties, and `get` and `sessionId` for stores that use them.
 */
export class StoredSession {
  [key: string]: unknown
  readonly cookie: StoredCookie
  readonly #sessionId: string
  #isHandedOver = false

  constructor (sessionId: string, data: Readonly<Record<string, unknown>>, cookie: object) {
    for (const key of Object.keys(data)) {
      // A record of version 9 has a sessionId, and one of other software may have any name.
      if (key in this) {
        Object.defineProperty(this, key, { value: data[key], enumerable: true, writable: true, configurable: true })
      } else (this as Record<string, unknown>)[key] = data[key]
    }
    this.cookie = cookie instanceof StoredCookie ? cookie : StoredCookie.of(cookie)
    this.#sessionId = sessionId
  }

  /** Allows the store to keep the values as they are, because nothing else will change them. */
  static handOver (session: StoredSession): void {
    session.#isHandedOver = true
  }

  /** Whether this copy of the library has handed the session over. */
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
