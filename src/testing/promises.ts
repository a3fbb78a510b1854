/** What a store can promise. The suite measures each promise, and docs/stores.md has the results for several stores. */
import assert from 'node:assert/strict'

interface Promised {
  /** The column heading in docs/stores.md. Promises without one matter only to the library. */
  title?: string
  kept: string
  otherwise: string
}

export const PROMISES = {
  shared: {
    title: 'Shared',
    kept: 'Several processes can use the same sessions, and a process that restarts finds them.',
    otherwise: 'The sessions belong to one process and end with it.'
  },
  parallel: {
    title: 'Parallel writes',
    kept: 'If two processes change different keys of one session at the same time, both changes are kept.',
    otherwise: 'One may read before and write after the other, and the other\'s change is lost. Within one process nothing is lost.'
  },
  ended: {
    title: 'Logged out',
    kept: 'A running request in one process never brings back a session that another process ends.',
    otherwise: 'It may, if the session ends between that request\'s last read and its write. Within one process it never does.'
  },
  renews: {
    title: 'Renewed',
    kept: '`regenerate(keys)` keeps no data of a session that another process ends at the same time.',
    otherwise: 'It may: a visitor who was just logged out is logged in under the new id. Within one process it never does.'
  },
  noDeadCookie: {
    title: 'Cookies',
    kept: 'A request that only reads sends no cookie for a session that another process has ended in the meantime.',
    otherwise: 'It does. That cookie opens no session, but it may replace the cookie of a login that the same browser has made through another process. Within one process it is not sent.'
  },
  touches: {
    title: 'Free reads',
    kept: 'A request that changes nothing writes no data.',
    otherwise: 'With `rolling`, each request writes the whole session.'
  },
  oneCall: {
    title: 'One call',
    kept: 'A request that changes nothing is one call to the store.',
    otherwise: 'With `rolling` it is two: `get`, and `touch` at the end.'
  },
  expires: {
    title: 'Expiry',
    kept: 'The store itself doesn\'t return a session that has expired.',
    otherwise: 'The library checks the record, and removes the session from the store. If the store has `touch`, an idle session is over after one and a half idle timeouts at the latest.'
  },
  waits: {
    title: 'No maxAge',
    kept: 'A session without `maxAge` is kept for more than a day without a visit.',
    otherwise: 'It ends earlier, by the store\'s own `ttl`.'
  },
  dates: {
    title: 'Dates',
    kept: 'A `Date` comes back as a `Date`.',
    otherwise: 'It comes back as its ISO string: the store writes JSON.'
  },
  onlyYours: {
    title: 'Only yours',
    kept: 'The session contains your data and nothing else.',
    otherwise: 'It also contains a key of the store\'s own.'
  },
  lists: {
    title: 'Lists',
    kept: '`all`, `length` and `clear` do what they say.',
    otherwise: 'One of them is missing or does something else. The library needs none of them.'
  },
  stops: {
    title: 'Lets go',
    kept: 'No timer of the store keeps the process from ending.',
    otherwise: 'A process that uses the store must be ended by `process.exit()` or a signal.'
  },
  copies: {
    kept: 'The store keeps what it was given, even if the object changes later.',
    otherwise: 'It keeps the object itself. The library passes an object that no other code holds.'
  },
  touchesOnly: {
    kept: '`touch` moves only the expiry, and never to an earlier time.',
    otherwise: 'It also writes the cookie, or an earlier expiry: a slow request that only reads may undo another process\'s change of the session\'s lifetime. Within one process it can\'t.'
  },
  users: {
    kept: 'The store has an index by user, so the option `user` can be used.',
    otherwise: 'The option `user` is refused.'
  },
  updates: {
    kept: 'The store has `update`: changes are applied in one atomic step.',
    otherwise: 'The library reads again and writes, one request at a time.'
  },
  tellsGone: {
    kept: '`touch` answers with `false` if there is no such session.',
    otherwise: 'It doesn\'t say whether there is one.'
  }
} satisfies Record<string, Promised>

export type PromiseName = keyof typeof PROMISES
export type Promises = Readonly<Record<PromiseName, boolean>>

/** The results of the suite for a store, compared with what is declared. */
export class Findings {
  /** The promises that the suite expects: those that are declared or, if it measures, those found so far. */
  readonly declared: Partial<Record<PromiseName, boolean>>
  readonly #isMeasuring: boolean
  readonly #kept = new Map<PromiseName, boolean>()

  constructor (declared: Partial<Promises> | 'measure') {
    this.#isMeasuring = declared === 'measure'
    this.declared = declared === 'measure' ? {} : declared
  }

  /** When measuring: expects a promise because the store has the method for it. */
  expect (promise: PromiseName, isKept: boolean): void {
    if (this.#isMeasuring) this.declared[promise] ??= isKept
  }

  note (promise: PromiseName, isKept: boolean): void {
    const { kept } = PROMISES[promise]
    this.#kept.set(promise, isKept && this.#kept.get(promise) !== false)
    if (this.#isMeasuring) {
      this.declared[promise] = this.#kept.get(promise)
      return
    }
    const isDeclared = this.declared[promise] === true
    assert.equal(isKept, isDeclared, isDeclared
      ? `promises.${promise} is declared, but not kept: fix the store, or remove the promise. ${kept}`
      : `the store keeps a promise that is not declared: add ${promise}: true to its promises. ${kept}`)
  }

  /** Chooses the title of a test: by whether the promise is declared. */
  title (promise: PromiseName, kept: string, otherwise: string): string {
    if (this.#isMeasuring) return `${kept} or ${otherwise}`
    return this.declared[promise] === true ? kept : otherwise
  }

  /** Whether the promise is kept; undefined if the suite hasn't tested it. */
  kept (promise: PromiseName): boolean | undefined {
    return this.#kept.get(promise)
  }

  /** The results, as `promises` of `testStore()`. */
  toString (): string {
    const names = [...this.#kept].filter(([, isKept]) => isKept).map(([name]) => `  ${name}: true`)
    return `promises: {\n${names.join(',\n')}\n}`
  }
}
