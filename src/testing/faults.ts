/** A session store that fails on demand, and the ways in which stores fail. */
import { runInNewContext } from 'node:vm'
import { applyChanges, timeIn, type CookieRecord } from '../values/record'
import type { SessionChanges, SessionRecord } from '../types/store'

export type Answer = (error?: any, value?: any) => void
export type OptionalMethod = 'touch' | 'update' | 'getAndTouch'
export type Method = 'get' | 'set' | 'destroy' | OptionalMethod

const REQUIRED_METHODS = ['get', 'set', 'destroy'] as const
const OPTIONAL_METHODS: readonly OptionalMethod[] = ['touch', 'update', 'getAndTouch']

/** One call to a broken method. */
export interface Call {
  /** The callback that the caller passed. */
  readonly answer: Answer
  /** Does the method's work. Returns its answer. */
  readonly work: () => unknown
  /** Delays a step until the store's `release()`. */
  readonly hold: (step: () => void) => void
}

/** How a call fails. The method returns what this returns. */
export type How = (call: Call) => unknown

/**
 * Keeps sessions in this process, and answers asynchronously. One method at a time can be made to fail. Records aren't
 * copied, so a caller that changes one changes the session. With `touch` it keeps the expiry, too.
 */
export class FaultyStore {
  readonly records = new Map<string, SessionRecord>()
  /** The calls since `break()`. */
  readonly calls: Method[] = []
  #broken: { method: Method, how: How, healthyCalls: number } | undefined
  #held: Array<() => void> = []

  /** @param optional its methods in addition to `get`, `set` and `destroy` */
  constructor (optional: readonly OptionalMethod[] = OPTIONAL_METHODS) {
    for (const method of OPTIONAL_METHODS) if (!optional.includes(method)) Object.assign(this, { [method]: undefined })
  }

  /** Makes a method fail from now on, after a number of good calls. */
  break (method: Method, how: How, healthyCalls = 0): void {
    if (this[method] === undefined) throw new TypeError(`there is no method ${method}`)
    if (typeof how !== 'function') throw new TypeError('how must be a function, such as the `how` of one of FAULTS')
    this.calls.length = 0
    this.#broken = { method, how, healthyCalls }
  }

  heal (): void {
    this.#broken = undefined
  }

  /** Runs the delayed steps. */
  release (): void {
    for (const step of this.#held.splice(0)) step()
  }

  get (sessionId: string, callback: Answer): unknown {
    return this.#answer('get', callback, () => this.#find(sessionId))
  }

  getAndTouch (sessionId: string, callback: Answer): unknown {
    return this.#answer('getAndTouch', callback, () => {
      const record = this.#find(sessionId)
      if (record === undefined) return undefined
      const { idle, originalMaxAge, expires } = record.cookie as CookieRecord
      const life = idle ?? originalMaxAge
      const moved = life === null ? expires : new Date(Date.now() + life)
      const cookie = { ...record.cookie as CookieRecord, expires: timeIn(moved) > timeIn(expires) ? moved : expires }
      this.records.set(sessionId, { ...record, cookie })
      return record
    })
  }

  set (sessionId: string, session: any, callback: Answer): unknown {
    return this.#answer('set', callback, () => {
      this.records.set(sessionId, { ...session, cookie: { ...session.cookie } })
    })
  }

  destroy (sessionId: string, callback: Answer): unknown {
    return this.#answer('destroy', callback, () => {
      const record = this.#find(sessionId)
      this.records.delete(sessionId)
      return record ?? false
    })
  }

  touch (sessionId: string, session: any, callback: Answer): unknown {
    return this.#answer('touch', callback, () => this.#change(sessionId, { set: {}, unset: [], meta: { set: {}, unset: [] } }, session))
  }

  update (sessionId: string, changes: SessionChanges, session: any, callback: Answer): unknown {
    return this.#answer('update', callback, () => this.#change(sessionId, changes, session))
  }

  #find (sessionId: string): SessionRecord | undefined {
    const record = this.records.get(sessionId)
    const { expires } = (record?.cookie ?? {}) as Partial<CookieRecord>
    return expires == null || expires.getTime() > Date.now() || this.touch === undefined ? record : undefined
  }

  #change (sessionId: string, changes: SessionChanges, { cookie }: any): boolean {
    const record = this.#find(sessionId)
    if (record === undefined) return false
    this.records.set(sessionId, applyChanges(record, changes, cookie.expires))
    return true
  }

  #answer (method: Method, answer: Answer, work: () => unknown): unknown {
    this.calls.push(method)
    if (this.#broken?.method === method && this.#broken.healthyCalls-- <= 0) {
      return this.#broken.how({ answer, work, hold: step => { this.#held.push(step) } })
    }
    const value = work()
    // Before any timer, so that a good call is in time even with a very short storeTimeout.
    process.nextTick(answer, null, value)
    return undefined
  }
}

/** The same store with methods that take no callback and return promises. */
export function promising (store: FaultyStore): object {
  const methods = [...REQUIRED_METHODS, ...OPTIONAL_METHODS].filter(method => store[method] !== undefined)
  return Object.fromEntries(methods.map(method => {
    const inner = store[method] as (...args: unknown[]) => unknown
    const outer = (...args: unknown[]): unknown => new Promise((resolve, reject) => {
      const answer: Answer = (error, value) => { if (error) reject(error); else resolve(value) }
      Promise.resolve(inner.call(store, ...args.slice(0, inner.length - 1), answer)).catch(reject)
    })
    return [method, outer]
  }))
}

/** The outcome of a call. */
export type Outcome =
  /** It did its work. Whatever else it did, the caller should notice nothing. */
  | 'works'
  /** It failed, and did nothing. */
  | 'fails'
  /** It failed, or did not answer in time, but did its work. */
  | 'works unseen'
  /** It found no session, though there is one. */
  | 'finds nothing'

export interface Fault {
  readonly name: string
  readonly outcome: Outcome
  /** The kind of failure: an `Error`, something else, or no answer within the caller's time limit. */
  readonly failure?: 'error' | 'no error' | 'silence'
  /** The methods that can fail like this; if missing, all of them. */
  readonly methods?: readonly Method[]
  readonly how: How
}

/** The message of all failures that have one. */
export const AWAY = 'The store is away'

const later = setImmediate
const away = (): Error => new Error(AWAY)
const awayLater = async (): Promise<never> => await new Promise((_resolve, reject) => { later(() => reject(away())) })

/** Calls that fail, throw, reject, don't answer, answer twice, or answer late. */
export const FAULTS: readonly Fault[] = [
  ...faults({ outcome: 'fails', failure: 'error' }, {
    'calls back with an error': ({ answer }) => answer(away()),
    'calls back with an error, later': ({ answer }) => { later(() => answer(away())) },
    'calls back with an error, and with its answer': ({ answer }) => answer(away(), { user: 'eva' }),
    throws: () => { throw away() },
    rejects: () => Promise.reject(away()),
    'rejects, later': () => awayLater(),
    'returns a promise whose then throws': () => ({ then: () => { throw away() } }),
    'returns an object that throws on any use': () => throwing()
  }),
  ...faults({ outcome: 'fails', failure: 'no error' }, {
    // As in test runners. Fastify doesn't treat it as an Error.
    'calls back with an error from another realm': ({ answer }) => answer(runInNewContext(`new Error('${AWAY}')`)),
    'calls back with a string as the error': ({ answer }) => answer(AWAY),
    'calls back with a symbol as the error': ({ answer }) => answer(Symbol(AWAY)),
    'calls back with an object as the error': ({ answer }) => answer({ message: AWAY }),
    'calls back with an object without prototype as the error': ({ answer }) => answer(Object.create(null)),
    'calls back with an object that throws on any use as the error': ({ answer }) => answer(throwing()),
    'throws a string': () => { throw AWAY },
    'throws nothing': () => { throw undefined }, // eslint-disable-line no-throw-literal
    'rejects with nothing': () => Promise.reject() // eslint-disable-line prefer-promise-reject-errors
  }),
  ...faults({ outcome: 'works unseen', failure: 'error' }, {
    'does its work and calls back with an error': ({ answer, work }) => { work(); answer(away()) },
    'does its work and throws': ({ work }) => { work(); throw away() },
    'does its work and rejects': ({ work }) => { work(); return awayLater() }
  }),
  ...faults({ outcome: 'fails', failure: 'silence' }, {
    'never answers': () => {},
    'returns a promise that is never settled': () => new Promise(() => {}),
    'fails after the time limit': ({ answer, hold }) => hold(() => answer(away())),
    'rejects after the time limit': ({ hold }) => new Promise((_resolve, reject) => hold(() => reject(away())))
  }),
  ...faults({ outcome: 'works unseen', failure: 'silence' }, {
    'answers after the time limit': ({ answer, work, hold }) => hold(() => answer(null, work())),
    'does its work and never answers': ({ work }) => { work() }
  }),
  ...faults({ outcome: 'works' }, {
    'answers before it returns': ({ answer, work }) => answer(null, work()),
    'answers twice': ({ answer, work }) => { const value = work(); answer(null, value); answer(null, value) },
    'answers twice, later': ({ answer, work }) => {
      const value = work()
      later(() => answer(null, value))
      later(() => answer(null, value))
    },
    'answers, and then something else': ({ answer, work }) => { answer(null, work()); answer(null, { user: 'eva' }) },
    'answers, and then calls back with an error': ({ answer, work }) => { answer(null, work()); answer(away()) },
    'answers, and then throws': ({ answer, work }) => { answer(null, work()); throw away() },
    'answers, and then rejects': ({ answer, work }) => { answer(null, work()); return Promise.reject(away()) },
    'answers later, and rejects even later': ({ answer, work }) => {
      const value = work()
      later(() => answer(null, value))
      return awayLater().catch(awayLater)
    },
    'says "" for no error': ({ answer, work }) => answer('', work())
  }),
  ...faults({ outcome: 'finds nothing', methods: ['get', 'getAndTouch'] }, {
    'calls back with nothing at all': ({ answer }) => answer(),
    'says that there is no such file': ({ answer }) => answer(Object.assign(away(), { code: 'ENOENT' }))
  })
]

/** Answers that don't say whether there was such a session. */
export const BROKEN_ANSWERS: readonly Fault[] = answers({
  nothing: () => undefined,
  null: () => null,
  0: () => 0,
  NaN: () => NaN,
  'a string': () => 'false',
  'an empty string': () => '',
  'an array': () => [false],
  'an object': () => ({ affectedRows: 1 }),
  'a function': () => () => false,
  'a symbol': () => Symbol('false')
})

const COOKIE = { expires: null, originalMaxAge: null, path: '/', httpOnly: true, secure: false, sameSite: null }
const max = (more: object = {}): object => ({ user: 'max', cookie: COOKIE, ...more })
const withCookie = (cookie: unknown): object => max({ cookie })

/** Answers that aren't a record, or are a broken one. If the record has a user, it is max. */
export const BROKEN_RECORDS: readonly Fault[] = [
  ...records('finds nothing', {
    'a string': () => 'rubbish',
    'the JSON of a record': () => JSON.stringify(max()),
    'a number': () => 42,
    true: () => true,
    false: () => false,
    'an array': () => [max()],
    'a function': () => Object.assign(() => {}, max()),
    'a symbol': () => Symbol('record')
  }),
  ...records('works', {
    'without cookie': () => ({ user: 'max' }),
    'with cookie null': () => withCookie(null),
    'with a cookie that is a string': () => withCookie('x'),
    'with a cookie that is an array': () => withCookie([]),
    'with a cookie that is a number': () => withCookie(7),
    'with an expires that is no date': () => withCookie({ ...COOKIE, expires: 'garbage' }),
    'with an expires that is an object': () => withCookie({ ...COOKIE, expires: {} }),
    'with an expires that is a symbol': () => withCookie({ ...COOKIE, expires: Symbol('expires') }),
    'with an expires that is a BigInt': () => withCookie({ ...COOKIE, expires: 1n }),
    'with an expires that is an invalid Date': () => withCookie({ ...COOKIE, expires: new Date(NaN) }),
    'with an expires that looks like a Date': () => withCookie({ ...COOKIE, expires: Object.create(Date.prototype) }),
    'with an originalMaxAge that is a string': () => withCookie({ ...COOKIE, originalMaxAge: 'abc' }),
    'with an originalMaxAge that is an object': () => withCookie({ ...COOKIE, originalMaxAge: {} }),
    'with an originalMaxAge that is a BigInt': () => withCookie({ ...COOKIE, originalMaxAge: 1n }),
    'with an originalMaxAge of NaN': () => withCookie({ ...COOKIE, originalMaxAge: NaN }),
    'with an originalMaxAge of Infinity': () => withCookie({ ...COOKIE, originalMaxAge: Infinity }),
    'with attributes that no cookie can carry': () => withCookie({ ...COOKIE, path: 'a;b\n', domain: '!', sameSite: 'x' }),
    'with an own __proto__': () => max(JSON.parse('{"__proto__":{"isAdmin":true}}')),
    'with an own __proto__ within': () => max(JSON.parse('{"profile":{"__proto__":{"isAdmin":true}}}')),
    "with names of the session's own": () => max({ sessionId: 'x', encryptedSessionId: 'x', save: 'x', get: 'x', touch: {} }),
    'with names of Object.prototype': () => max({ constructor: 'x', toString: 'x', valueOf: 'x', hasOwnProperty: 'x' }),
    'with names of Object.prototype within': () => max({ profile: { constructor: {}, toString: {}, valueOf: {} } }),
    'with symbols': () => max({ [Symbol('key')]: 1, symbol: Symbol('value') }),
    'with functions': () => max({ call: () => 'x', toJSON: () => 'x' }),
    'with circles': () => max({ circle: circle() }),
    'with instances of classes': () => new User(),
    'without a prototype': () => Object.assign(Object.create(null), max()),
    frozen: () => Object.freeze(withCookie(Object.freeze({ ...COOKIE }))),
    'of 20 MB': () => TWENTY_MB
  })
]

class User {
  readonly #name = 'max'
  readonly user = 'max'
  readonly cookie = COOKIE
  readonly profile = { url: new URL('http://127.0.0.1/'), pattern: /x/g, error: away(), bytes: new Uint8Array(3) }
  get name (): string { return this.#name }
}

const TWENTY_MB = max({ text: 'x'.repeat(19 * 2 ** 20), list: Array.from({ length: 2 ** 17 }, (_, n) => ({ n })) })

function circle (): unknown {
  const list: unknown[] = []
  const map = new Map<string, unknown>([['list', list]])
  list.push(list, map, { map })
  return map.set('map', map)
}

/** A deeply nested list. */
export function nested (depth: number): unknown {
  let list: unknown[] = []
  for (let i = 0; i < depth; i++) list = [list]
  return list
}

/** Throws on any use, even `Array.isArray`. */
export function revoked (): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

/** Throws on any use. */
export function throwing (): object {
  const names = Object.getOwnPropertyNames(Reflect) as Array<keyof typeof Reflect>
  return new Proxy({}, Object.fromEntries(names.map(name => [name, () => { throw away() }])))
}

function faults (kind: Omit<Fault, 'name' | 'how'>, hows: Record<string, How>): Fault[] {
  return Object.entries(hows).map(([name, how]) => ({ name, how, ...kind }))
}

function answers (values: Record<string, () => unknown>): Fault[] {
  const hows = Object.entries(values).map(([name, value]): [string, How] => {
    return [`answers ${name}`, ({ answer, work }) => { work(); answer(null, value()) }]
  })
  return faults({ outcome: 'works', methods: ['set', 'destroy', 'touch', 'update'] }, Object.fromEntries(hows))
}

function records (outcome: Outcome, values: Record<string, () => unknown>): Fault[] {
  const hows = Object.entries(values).map(([name, record]): [string, How] => {
    return [`answers a record ${name}`, ({ answer }) => answer(null, record())]
  })
  return faults({ outcome, methods: ['get', 'getAndTouch'] }, Object.fromEntries(hows))
}
