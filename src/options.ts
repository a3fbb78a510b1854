import { isAsyncFunction, isPromise } from 'node:util/types'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { sync as uid } from 'uid-safe'
import { isUsable, namedSigner, secretsSigner } from './cookie-value'
import { CookieError, OptionError, SecretError } from './errors'
import { hasIndex } from './repository'
import { checkLifetime, isLifetime } from './session-cookie'
import { MemoryStore } from './stores/memory'
import type { SessionStore } from './stores/store'
import type { CookieOptions, FastifySessionOptions, Signer } from './types'
import type { UserSettings } from './users'
import { warnCookieRefused, warnMemoryStore, warnNoTouch, warnShortSecret } from './warnings'

/** The options as the rest of the library sees them: whole, checked, and nobody else's. */
export interface Settings {
  readonly sessionName: string
  readonly signer: Signer
  readonly cookieName: string
  readonly cookiePrefix: string
  /** Throws FST_ERR_SESSION_COOKIE where the application's function gives what can't be sent. */
  readonly cookieFor: (request: FastifyRequest | undefined) => RequestCookie
  readonly store: SessionStore
  readonly storeTimeout: number
  readonly absoluteTimeout: number | undefined
  readonly saveUninitialized: (request: FastifyRequest) => boolean
  readonly rolling: boolean
  readonly refreshAfter: number
  readonly idGenerator: NonNullable<FastifySessionOptions['idGenerator']>
  /** Whether ids are made before the handler runs. */
  readonly idIsAsync: boolean
  readonly cacheControl: boolean
  readonly failsWithStore: boolean
  readonly userSettings: UserSettings | undefined
  /** Throws FST_ERR_SESSION_COOKIE where a cookie can't carry the attributes. */
  readonly checkCookie: (options: CookieOptions) => void
}

/** The cookie options of one request. */
export interface RequestCookie extends Readonly<CookieOptions> {
  /** Whether the application's function said itself that this request's cookie is secure, whatever Fastify takes it for. */
  readonly isVouched?: boolean
}

const SECRET_LENGTH = 32
const LONGEST_TIMER = 2 ** 31 - 1

/** @throws FST_ERR_SESSION_SECRET, FST_ERR_SESSION_OPTION */
export function resolveOptions (fastify: FastifyInstance, options: FastifySessionOptions): Settings {
  // As in version 11, only a missing option has its default: null is false.
  const { saveUninitialized = true, rolling = true, storeTimeout = 10_000, cookie = {} } = options
  const { sessionName = 'session', absoluteTimeout, refreshAfter = 0, onStoreError = 'fail' } = options
  check((typeof cookie === 'object' || typeof cookie === 'function') && cookie !== null, 'cookie must be an object or a function')
  const fixedCookie = typeof cookie === 'function' ? {} : withDefaults(cookie)
  const idGenerator = options.idGenerator || (() => uid(24))
  const settings: Settings = {
    sessionName,
    signer: sessionName === 'session' ? resolveSigner(options) : namedSigner(resolveSigner(options), sessionName),
    cookieName: options.cookieName || 'sessionId',
    cookiePrefix: options.cookiePrefix || '',
    cookieFor: typeof cookie === 'function' ? request => checkedCookie(cookie(request)) : () => fixedCookie,
    store: options.store || defaultStore(),
    storeTimeout,
    absoluteTimeout,
    saveUninitialized: typeof saveUninitialized === 'function'
      ? request => saidAtOnce(saveUninitialized(request), 'saveUninitialized')
      : () => Boolean(saveUninitialized),
    rolling: Boolean(rolling),
    refreshAfter,
    idGenerator,
    idIsAsync: isAsyncFunction(idGenerator),
    cacheControl: Boolean(options.cacheControl),
    failsWithStore: onStoreError === 'fail',
    userSettings: userSettingsOf(options),
    checkCookie
  }

  // Whatever the application's function gave.
  function checkedCookie (given: CookieOptions | null | undefined): RequestCookie {
    if (typeof saidAtOnce(given, 'cookie') !== 'object' || given == null) throw new CookieError('its function must give an object')
    const cookie = withDefaults(given)
    checkCookie(cookie)
    return { ...cookie, isVouched: given.secure === true }
  }

  // The serializer knows best what a cookie can carry.
  function checkCookie (cookie: CookieOptions): void {
    checkLifetime(cookie)
    const { domain, path, sameSite, priority } = cookie
    if (path && typeof path !== 'string') throw new CookieError('path must be a string')
    try {
      fastify.serializeCookie(settings.cookieName, '', {
        domain, path: path || '/', sameSite: sameSite ?? undefined, priority
      })
    } catch (error) {
      throw new CookieError((error as Error).message)
    }
  }

  check(typeof settings.cookieName === 'string', 'cookieName must be a string')
  check(typeof sessionName === 'string' && sessionName !== '', 'sessionName must be a string that is not empty')
  check(typeof settings.cookiePrefix === 'string', 'cookiePrefix must be a string')
  check(isStore(settings.store), 'store must have the methods get, set and destroy')
  check(typeof settings.idGenerator === 'function', 'idGenerator must be a function that returns a string')
  check(isDuration(storeTimeout) && storeTimeout <= LONGEST_TIMER, 'storeTimeout must be a positive number of milliseconds')
  check(absoluteTimeout === undefined || (isDuration(absoluteTimeout) && isLifetime(absoluteTimeout)), 'absoluteTimeout must be a positive number of milliseconds')
  check(refreshAfter === 0 || isDuration(refreshAfter), 'refreshAfter must be a number of milliseconds, or 0')
  check(!fixedCookie.maxAge || refreshAfter < fixedCookie.maxAge, 'refreshAfter must be shorter than cookie.maxAge')
  check(options.user === undefined || hasIndex(settings.store), 'user needs a store with an index by user (claim, release and claimsOf), as MemoryStore and RedisStore have one')
  check(onStoreError === 'fail' || onStoreError === 'anonymous', "onStoreError must be 'fail' or 'anonymous'")
  try {
    checkCookie(fixedCookie)
  } catch (error) {
    throw new OptionError(`cookie or cookieName is wrong: ${(error as Error).message}`)
  }
  if (settings.rolling && settings.store.touch === undefined) warnNoTouch()
  if (typeof cookie !== 'function') warnOfRefusedCookies(settings.cookieName, fixedCookie)
  return settings
}

function userSettingsOf (options: FastifySessionOptions): UserSettings | undefined {
  const { user, describe = () => ({}), maxPerUser = Infinity, onMaxPerUser = 'revoke-oldest' } = options
  if (user === undefined) {
    for (const name of ['describe', 'maxPerUser', 'onMaxPerUser'] as const) {
      check(options[name] === undefined, `${name} needs the option user`)
    }
    return undefined
  }
  check(typeof user === 'function', 'user must be a function of the session')
  check(typeof describe === 'function', 'describe must be a function of the session')
  check(maxPerUser === Infinity || (Number.isSafeInteger(maxPerUser) && maxPerUser > 0), 'maxPerUser must be a positive whole number')
  check(onMaxPerUser === 'revoke-oldest' || onMaxPerUser === 'refuse', "onMaxPerUser must be 'revoke-oldest' or 'refuse'")
  return { user, describe, maxPerUser, refuses: onMaxPerUser === 'refuse' }
}

function withDefaults (cookie: CookieOptions): CookieOptions {
  const { secure = true } = cookie
  return { ...cookie, secure }
}

// A promise would count as true, or as a cookie without attributes.
function saidAtOnce<T> (value: T, option: string): T {
  if (!isPromise(value)) return value
  value.catch(() => {})
  throw new OptionError(`${option} must answer at once and not by a promise`)
}

function isDuration (milliseconds: unknown): boolean {
  return typeof milliseconds === 'number' && milliseconds > 0 && milliseconds < Infinity
}

function resolveSigner ({ secret, algorithm = 'sha256' }: FastifySessionOptions): Signer {
  if (typeof secret === 'string') {
    if (secret.length < SECRET_LENGTH) throw new SecretError('the secret must have length 32 or greater')
    return checkedSigner([secret], algorithm)
  }
  if (Array.isArray(secret)) {
    if (secret.length === 0) throw new SecretError('at least one secret is required')
    if (!secret.every(isUsable)) throw new SecretError('each secret of the array must be a string that is not empty')
    if (secret.some(({ length }) => length < SECRET_LENGTH)) warnShortSecret()
    return checkedSigner(secret, algorithm)
  }
  if (typeof secret?.sign !== 'function' || typeof secret.unsign !== 'function') {
    throw new SecretError('the secret option is required, and must be a String, Array of Strings, or a signer object with .sign and .unsign methods')
  }
  return secret
}

function checkedSigner (secrets: string[], algorithm: string): Signer {
  const signer = secretsSigner(secrets, algorithm)
  try {
    signer.sign('')
  } catch {
    throw new OptionError(`algorithm '${String(algorithm)}' is not known to this Node.js`)
  }
  return signer
}

function defaultStore (): SessionStore {
  if (process.env.NODE_ENV === 'production') warnMemoryStore()
  return new MemoryStore()
}

function isStore (store: Partial<SessionStore> | null): boolean {
  return typeof store?.get === 'function' && typeof store.set === 'function' && typeof store.destroy === 'function'
}

// Warned about and not refused: clients that are no browsers live with such cookies.
function warnOfRefusedCookies (cookieName: string, { domain, path, secure, sameSite, partitioned }: CookieOptions): void {
  const isHost = cookieName.startsWith('__Host-')
  const flaws: string[] = []
  if (isHost && domain) flaws.push('a __Host- cookie can have no domain; remove cookie.domain')
  if (isHost && path && path !== '/') flaws.push('a __Host- cookie must have the path /; remove cookie.path')
  if (!secure) {
    if (isHost) flaws.push('a __Host- cookie must be secure; set cookie.secure to true')
    if (cookieName.startsWith('__Secure-')) flaws.push('a __Secure- cookie must be secure; set cookie.secure to true')
    if (sameSite === 'none') flaws.push("a cookie with sameSite 'none' must be secure; set cookie.secure to true")
    if (partitioned) flaws.push('a partitioned cookie must be secure; set cookie.secure to true')
  }
  if (flaws.length > 0) warnCookieRefused(flaws.join('. And '))
}

function check (holds: boolean, requirement: string): void {
  if (!holds) throw new OptionError(requirement)
}
