/** What a store can promise: each is measured by the suite, and told of thirteen stores in docs/stores.md. */
import assert from 'node:assert/strict'

interface Promised {
  /** Over the column of docs/stores.md. What has none is between store and library only. */
  title?: string
  kept: string
  otherwise: string
}

export const PROMISES = {
  shared: {
    title: 'Shared',
    kept: 'Several processes can use the same sessions, and a process that starts anew finds them.',
    otherwise: 'The sessions belong to one process and end with it.'
  },
  parallel: {
    title: 'Parallel writes',
    kept: 'Two processes that change different keys of one session in the same moment lose nothing.',
    otherwise: 'One may read before and write after the other, whose change is lost then. Within one process nothing is lost.'
  },
  ended: {
    title: 'Logged out',
    kept: 'A request under way in one process never brings back a session that another process ends.',
    otherwise: 'It may, where the session ends between that request\'s last read and its write. Within one process it never does.'
  },
  renews: {
    title: 'Renewed',
    kept: '`regenerate(keys)` takes nothing along out of a session that another process ends in that moment.',
    otherwise: 'It may: whoever was logged out in that moment is logged in under the new id. Within one process it never does.'
  },
  noDeadCookie: {
    title: 'Cookies',
    kept: 'A request that only read sends no cookie for a session that another process ended meanwhile.',
    otherwise: 'It does. That cookie opens nothing; but it may replace the one of a login that the same browser made meanwhile through another process. Within one process it is not sent.'
  },
  touches: {
    title: 'Free reads',
    kept: 'A request that changes nothing writes no data.',
    otherwise: 'Under `rolling`, each request writes the session whole.'
  },
  oneCall: {
    title: 'One call',
    kept: 'A request that changes nothing is one call to the store.',
    otherwise: 'Under `rolling` there are two: `get`, and `touch` at the end.'
  },
  expires: {
    title: 'Expiry',
    kept: 'The store itself no longer hands out a session that has expired.',
    otherwise: 'The library judges by the record, and has the store remove it. If the store has `touch`, an idle session is over after one and a half idle times at the latest.'
  },
  waits: {
    title: 'No maxAge',
    kept: 'A session without `maxAge` is kept for more than a day without a visit.',
    otherwise: 'It ends before, by the store\'s own `ttl`.'
  },
  dates: {
    title: 'Dates',
    kept: 'A `Date` comes back as a `Date`.',
    otherwise: 'It comes back as its ISO string: the store writes JSON.'
  },
  onlyYours: {
    title: 'Only yours',
    kept: 'The session\'s data are yours and nothing else.',
    otherwise: 'A key of the store\'s own is among them.'
  },
  lists: {
    title: 'Lists',
    kept: '`all`, `length` and `clear` do what they say.',
    otherwise: 'One of them is missing or does something else. The library needs none of them.'
  },
  stops: {
    title: 'Lets go',
    kept: 'No timer of the store\'s keeps the process from ending.',
    otherwise: 'A process that uses the store must be ended by `process.exit()` or a signal.'
  },
  copies: {
    kept: 'What the store was given it keeps as it was, whatever becomes of the object.',
    otherwise: 'It keeps the object itself. The library gives it one that nobody else holds.'
  },
  touchesOnly: {
    kept: '`touch` moves the end and nothing else, and never back.',
    otherwise: 'It writes the cookie too, or an earlier end: a slow request that only reads may undo what another process did to the session\'s lifetime. Within one process it may not.'
  },
  users: {
    kept: 'Has an index by user: the option `user` can be used.',
    otherwise: 'The option `user` is refused.'
  },
  updates: {
    kept: 'Has `update`: changes are applied in one step.',
    otherwise: 'The library reads again and writes, one at a time.'
  },
  tellsGone: {
    kept: '`touch` answers `false` where there is no such session.',
    otherwise: 'It does not tell.'
  }
} satisfies Record<string, Promised>

export type PromiseName = keyof typeof PROMISES
export type Promises = Readonly<Record<PromiseName, boolean>>

/** What the suite found of a store, compared with what was declared for it. */
export class Findings {
  /** What the suite goes by: what was declared, or, of a store that is measured, what was found so far. */
  readonly declared: Partial<Record<PromiseName, boolean>>
  readonly #isMeasuring: boolean
  readonly #kept = new Map<PromiseName, boolean>()

  constructor (declared: Partial<Promises> | 'measure') {
    this.#isMeasuring = declared === 'measure'
    this.declared = declared === 'measure' ? {} : declared
  }

  /** Which methods a store has that is measured, so that they are asked. */
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
      ? `promises.${promise} is declared, and not kept, so mend the store or take it out: ${kept}`
      : `the store keeps what is not declared, so add ${promise}: true to its promises: ${kept}`)
  }

  /** The name of a test, by what is declared. */
  title (promise: PromiseName, kept: string, otherwise: string): string {
    if (this.#isMeasuring) return `${kept} or ${otherwise}`
    return this.declared[promise] === true ? kept : otherwise
  }

  /** Undefined where the question doesn't arise. */
  kept (promise: PromiseName): boolean | undefined {
    return this.#kept.get(promise)
  }

  /** What was found, as `promises` of `testStore()`. */
  toString (): string {
    const names = [...this.#kept].filter(([, isKept]) => isKept).map(([name]) => `  ${name}: true`)
    return `promises: {\n${names.join(',\n')}\n}`
  }
}
