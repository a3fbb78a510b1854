import { isPromise } from 'node:util/types'
import { OptionError } from '../errors'
import { USER } from '../values/claim'
import { kindOf, shown } from '../values/kind'
import { isLifetime } from '../values/lifetime'
import type { FastifySessionOptions } from '../types/options'
import type { SessionStore } from '../types/store'

type Options = FastifySessionOptions

/** The options that always have a value. */
type HasDefault = 'cookieName' | 'cookiePrefix' | 'sessionName' | 'cookie' | 'storeTimeout' | 'watchInterval' |
  'saveUninitialized' | 'rolling' | 'refreshAfter' | 'cacheControl' | 'lazy' | 'onStoreError' | 'describe' |
  'maxPerUser' | 'onMaxPerUser'

/** The options with their defaults. */
export type CheckedOptions = Options & Required<Pick<Options, HasDefault>>

/** One option: what its value must be, and what it is if it is missing or null. */
interface Option {
  /** As in 'The session option NAME must be ...'. */
  readonly mustBe: string
  readonly accepts: (value: any, options: Options) => boolean
  readonly byDefault?: unknown
  /** The documented default, if `byDefault` isn't it. */
  readonly otherwise?: string
  /** The unit of a number. */
  readonly unit?: 'milliseconds'
  /** This option needs one of these. */
  readonly needs?: ReadonlyArray<'user' | 'index'>
  /** The first sentence of its documentation. */
  readonly says: string
}

const LONGEST_TIMER = 2 ** 31 - 1

const DURATION = { mustBe: 'a positive number of milliseconds', unit: 'milliseconds' } as const
const SWITCH = { mustBe: 'true or false', accepts: isSwitch } as const
const SWITCH_OR_FUNCTION = {
  mustBe: 'true, false or a function of the request',
  accepts: (value: unknown) => isSwitch(value) || isFunction(value)
} as const

/** All options, in the order of the documentation. `npm run types:hovers` compares them with docstrings and README. */
export const OPTIONS: Readonly<Record<keyof Options, Option>> = {
  secret: {
    // Settings checks it, with version 11's own messages.
    mustBe: 'a string, an array of strings or a signer',
    accepts: () => true,
    says: 'What the cookies are signed with'
  },
  algorithm: {
    mustBe: 'the name of a hash',
    accepts: isText,
    byDefault: 'sha256',
    says: 'The hash of the signature, by Node\'s name for it.'
  },
  cookieName: {
    mustBe: 'a string',
    accepts: value => typeof value === 'string',
    byDefault: 'sessionId',
    says: 'The name of the session cookie.'
  },
  cookiePrefix: {
    mustBe: 'a string of whole characters',
    // Half of a surrogate pair can't be encoded.
    accepts: value => typeof value === 'string' && !/\p{Surrogate}/u.test(value),
    byDefault: '',
    says: 'What stands before the signed id in the cookie\'s value.'
  },
  sessionName: {
    mustBe: 'a string that is not empty',
    accepts: isText,
    byDefault: 'session',
    says: 'What the session is called'
  },
  cookie: {
    mustBe: 'an object or a function',
    accepts: value => (typeof value === 'object' && !Array.isArray(value)) || isFunction(value),
    byDefault: {},
    says: 'The attributes of the session cookie'
  },
  idleTimeout: {
    ...DURATION,
    accepts: isDuration,
    says: 'How long a session lives after its last use, kept by the server'
  },
  absoluteTimeout: {
    ...DURATION,
    accepts: isDuration,
    says: 'How long a session may live from its creation'
  },
  store: {
    mustBe: 'a store: it must have the methods get, set and destroy',
    accepts: isStore,
    otherwise: 'new MemoryStore()',
    says: 'Where the sessions are kept.'
  },
  storeTimeout: {
    ...DURATION,
    accepts: value => isDuration(value) && value <= LONGEST_TIMER,
    byDefault: 10_000,
    says: 'How long one call to the store may take'
  },
  storeTtl: {
    mustBe: "'trusted'",
    accepts: value => value === 'trusted',
    says: 'With `\'trusted\'`, the store alone decides when an idle session is over'
  },
  watchInterval: {
    ...DURATION,
    accepts: value => isDuration(value) && value <= LONGEST_TIMER,
    byDefault: 60_000,
    says: 'How often the store is asked whether a session whose `session.signal` is used still lives'
  },
  saveUninitialized: {
    ...SWITCH_OR_FUNCTION,
    byDefault: true,
    says: 'Saves a new session that nothing was stored in, and sends its cookie.'
  },
  rolling: {
    ...SWITCH_OR_FUNCTION,
    byDefault: true,
    says: 'Starts the session\'s lifetime again, and sends its cookie, with each response.'
  },
  refreshAfter: {
    mustBe: 'a number of milliseconds, or 0, and shorter than cookie.maxAge',
    accepts: (value, { cookie }) => value === 0 || (isDuration(value) && !isLonger(value, cookie)),
    byDefault: 0,
    unit: 'milliseconds',
    says: 'How long to wait before an unchanged rolling session is prolonged again'
  },
  idGenerator: {
    mustBe: 'a function that returns a string',
    accepts: isFunction,
    otherwise: '24 random bytes',
    says: 'Makes the id of a new session.'
  },
  cacheControl: {
    ...SWITCH,
    byDefault: false,
    says: 'Sets the response\'s headers for caches'
  },
  lazy: {
    ...SWITCH,
    byDefault: false,
    says: 'Loads the session only when a handler calls `await request.loadSession()`.'
  },
  onStoreError: {
    mustBe: "'fail' or 'anonymous'",
    accepts: value => value === 'fail' || value === 'anonymous',
    byDefault: 'fail',
    says: 'What happens to a request if the store fails to load its session.'
  },
  user: {
    mustBe: 'a function of the session',
    accepts: isFunction,
    says: 'Returns the user of a session'
  },
  index: {
    mustBe: 'an object of functions of the session, none of which is called user',
    accepts: isIndex,
    says: 'Finds sessions by other values'
  },
  describe: {
    mustBe: 'a function of the session',
    accepts: isFunction,
    byDefault: () => ({}),
    otherwise: 'undefined',
    needs: ['user', 'index'],
    says: 'Returns additional properties for a session in a list'
  },
  maxPerUser: {
    mustBe: 'a positive whole number',
    accepts: value => value === Infinity || (Number.isSafeInteger(value) && value > 0),
    byDefault: Infinity,
    needs: ['user'],
    says: 'How many sessions a user may have at the same time.'
  },
  onMaxPerUser: {
    mustBe: "'revoke-oldest' or 'refuse'",
    accepts: value => value === 'revoke-oldest' || value === 'refuse',
    byDefault: 'revoke-oldest',
    needs: ['user'],
    says: 'What happens to a login beyond `maxPerUser`.'
  }
}

/**
 * The options with their defaults. The given object is neither kept nor changed. null means that an option is missing.
 *
 * @throws FST_ERR_SESSION_OPTION
 */
export function checkOptions (given: Options): CheckedOptions {
  const checked: Record<string, unknown> = {}
  for (const [name, { mustBe, accepts, byDefault, needs }] of Object.entries(OPTIONS)) {
    const value = given[name as keyof Options] ?? undefined
    // As in version 11: `store: isProduction && new RedisStore(…)`.
    const isMissing = value === undefined || (name === 'store' && !value)
    if (isMissing) {
      checked[name] = byDefault
      continue
    }
    if (needs?.every(other => given[other] == null) === true) {
      throw new OptionError(`${name} needs the option ${needs.join(' or ')}`)
    }
    if (!accepts(value, given)) throw new OptionError(`${name} must be ${mustBe}, and not ${instead(name, value)}`)
    checked[name] = value
  }
  // The loop has set every name of the table, but the compiler can't know that.
  return checked as unknown as CheckedOptions
}

/** The wrong value, as the message shows it. */
function instead (name: string, value: unknown): string {
  // A server's address may contain a password.
  return name === 'store' ? wrongStore(value) : shown(value)
}

/** What was passed as a store, and what to write. */
function wrongStore (value: any): string {
  const kind = kindOf(value)
  if (value instanceof Map) return `${kind}: write new MemoryStore(map)`
  if (isPromise(value)) {
    value.catch(() => {})
    return `${kind}: await it first`
  }
  if (typeof value === 'function') return isFunction(value.prototype?.get) ? `a class: write new ${value.name}(…)` : `${kind}: write what it returns`
  if (isRedisClient(value)) return "a client: write new RedisStore({ client }), of '@fastify/session/redis'"
  const missing = ['get', 'set', 'destroy'].filter(method => !isFunction(value[method]))
  return typeof value === 'object' ? `${kind} without ${missing.join(' and ')}` : kind
}

// node-redis's client has get, set and destroy too, and its destroy ends the connection.
function isRedisClient (value: any): boolean {
  return typeof value?.evalSha === 'function' || typeof value?.evalsha === 'function'
}

/** Whether it may stand for true or false. Text may not: 'false' from an environment variable would be true. */
export function isSwitch (value: unknown): boolean {
  return typeof value !== 'string' && typeof value !== 'function'
}

function isText (value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}

function isFunction (value: unknown): boolean {
  return typeof value === 'function'
}

function isIndex (index: object): boolean {
  return typeof index === 'object' && !Array.isArray(index) &&
    Object.entries(index).every(([name, fn]) => name !== '' && name !== USER && isFunction(fn))
}

export function isDuration (milliseconds: unknown): milliseconds is number {
  return isLifetime(milliseconds, Date.now()) && milliseconds > 0
}

function isLonger (milliseconds: number, cookie: Options['cookie']): boolean {
  const maxAge = typeof cookie === 'object' ? cookie?.maxAge : undefined
  // A wrong maxAge is reported with the cookie's own options.
  return isDuration(maxAge) && milliseconds >= maxAge
}

function isStore (store: Partial<SessionStore>): boolean {
  return isFunction(store.get) && isFunction(store.set) && isFunction(store.destroy) && !isRedisClient(store)
}
