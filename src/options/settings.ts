import cluster from 'node:cluster'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { sync as uid } from 'uid-safe'
import { resolveCookie, saidAtOnce, throwing, type RequestCookie } from './cookie'
import { mistakesIn } from './mistakes'
import { refusedByBrowsers } from './refused-by-browsers'
import { OptionError, SecretError } from '../errors'
import { checkOptions, type CheckedOptions } from './table'
import { developmentStore, MemoryStore } from '../stores/memory'
import { hasIndex } from '../stores/methods'
import { USER } from '../values/claim'
import { shown } from '../values/kind'
import {
  customSigner, defaultSigner, isUsable, namedSigner, secretsSigner, type SessionSigner
} from '../values/cookie-value'
import { Flaws, warnCookieRefused, warnMemoryStore, warnNoTouch, warnOption, warnShortSecret } from '../warnings'
import type { CookieOptions } from '../types/cookie'
import type { FastifySessionOptions, IndexFunction } from '../types/options'
import type { FastifySessionObject } from '../types/session'
import type { SessionStore } from '../types/store'

/** The options as the rest of the library sees them: complete, checked, and not shared with the application. */
export interface Settings {
  readonly sessionName: string
  readonly signer: SessionSigner
  readonly cookieName: string
  readonly cookiePrefix: string
  /** Throws FST_ERR_SESSION_COOKIE if the application's function returns attributes that can't be sent. */
  readonly cookieFor: (request: FastifyRequest | undefined, more?: CookieOptions) => RequestCookie
  readonly store: SessionStore
  readonly storeTimeout: number
  readonly trustsStoreTtl: boolean
  readonly watchInterval: number
  readonly saveUninitialized: boolean | ((request: FastifyRequest) => boolean)
  /** Whether requests can prolong their sessions. */
  readonly rolling: boolean
  /** Whether this request does. */
  readonly rolls: (request: FastifyRequest) => boolean
  readonly refreshAfter: number
  readonly idGenerator: FastifySessionOptions['idGenerator']
  readonly cacheControl: boolean
  /** Whether routes load their session only when asked, unless their config says otherwise. */
  readonly lazy: boolean
  readonly failsWithStore: boolean
  readonly indexSettings: IndexSettings | undefined
  /** Emits each warning of this registration once. */
  readonly flaws: Flaws
  /** Throws FST_ERR_SESSION_COOKIE if a cookie can't carry the attributes. */
  readonly checkCookie: (options: CookieOptions) => void
}

export type { RequestCookie }

/** The options `user` and `index`, and those that need them. */
export interface IndexSettings {
  /** The functions that sessions are found by: the user's, and those of the option `index`. */
  readonly functions: ReadonlyMap<string, IndexFunction>
  readonly describe: (session: FastifySessionObject) => object
  readonly maxPerUser: number
  /** Whether a login at the limit is refused. Otherwise it ends the oldest session. */
  readonly refuses: boolean
}

const SECRET_LENGTH = 32

export const makeId = (): string => uid(24)

/** @throws FST_ERR_SESSION_SECRET, FST_ERR_SESSION_OPTION */
export function resolveOptions (fastify: FastifyInstance, given: FastifySessionOptions): Settings {
  const signer = resolveSigner(given)
  const options = checkOptions(given)
  const names = namesOn(fastify)
  const { cookie, cookieName, sessionName, rolling, saveUninitialized, idleTimeout, absoluteTimeout } = options
  const { cookieFor, checkCookie } = resolveCookie(fastify, cookieName, cookie, { idleTimeout, absoluteTimeout })
  const store = options.store ?? defaultStore()
  if (sessionName !== 'session') names.add(sessionName)
  const flaws = new Flaws()
  if (typeof cookie !== 'function') {
    flaws.tellAll(warnCookieRefused, refusedByBrowsers(cookieName, cookieFor(undefined)))
  }
  flaws.tellAll(warnOption, mistakesIn(given))
  const indexSettings = indexSettingsOf(options)
  if (indexSettings !== undefined && !hasIndex(store)) {
    throw new OptionError(`${options.user === undefined ? 'index' : 'user'} needs a store with an index by user (claim, release, revoke, endingsOf and claimsOf), such as MemoryStore, RedisStore or PostgresStore`)
  }
  if (rolling && store.touch === undefined) warnNoTouch()

  return {
    sessionName,
    signer: sessionName === 'session' ? defaultSigner(signer, names) : namedSigner(signer, sessionName),
    cookieName,
    cookiePrefix: options.cookiePrefix,
    cookieFor,
    store,
    storeTimeout: options.storeTimeout,
    trustsStoreTtl: options.storeTtl === 'trusted',
    watchInterval: options.watchInterval,
    saveUninitialized: typeof saveUninitialized === 'function'
      ? throwing('saveUninitialized', request => saidAtOnce(saveUninitialized(request), 'saveUninitialized'))
      : Boolean(saveUninitialized),
    rolling: Boolean(rolling),
    rolls: typeof rolling === 'function'
      ? throwing('rolling', request => Boolean(saidAtOnce(rolling(request), 'rolling')))
      : () => Boolean(rolling),
    refreshAfter: options.refreshAfter,
    idGenerator: options.idGenerator,
    cacheControl: Boolean(options.cacheControl),
    lazy: Boolean(options.lazy),
    failsWithStore: options.onStoreError === 'fail',
    indexSettings,
    flaws,
    checkCookie
  }
}

function indexSettingsOf (options: CheckedOptions): IndexSettings | undefined {
  const { user, index, describe, maxPerUser, onMaxPerUser } = options
  // The user first: that claim may be refused.
  const functions = new Map<string, IndexFunction>(user && [[USER, throwing(USER, user)]])
  for (const [name, fn] of Object.entries(index ?? {})) functions.set(name, throwing(`index.${name}`, fn))
  if (functions.size === 0) return undefined
  return { functions, describe: throwing('describe', describe), maxPerUser, refuses: onMaxPerUser === 'refuse' }
}

// By server, because registrations in different scopes may share secret and store.
const namesOf = new WeakMap<object, Set<string>>()

/** The names of a server's sessions, without the default one. */
function namesOn ({ server }: FastifyInstance): Set<string> {
  let names = namesOf.get(server)
  if (names === undefined) namesOf.set(server, names = new Set())
  return names
}

function resolveSigner ({ secret, algorithm: given }: FastifySessionOptions): SessionSigner {
  const algorithm = given ?? 'sha256'
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
  return customSigner({
    sign: throwing('secret.sign', value => secret.sign(value)),
    unsign: value => secret.unsign(value)
  })
}

function checkedSigner (secrets: string[], algorithm: string): SessionSigner {
  const signer = secretsSigner(secrets, algorithm)
  try {
    signer.sign('')
  } catch {
    throw new OptionError(`algorithm must be one that this Node.js knows, and not ${shown(algorithm)}`)
  }
  return signer
}

function defaultStore (): SessionStore {
  if (process.env.NODE_ENV === 'production') warnMemoryStore('with NODE_ENV=production')
  else if (cluster.isWorker) warnMemoryStore('in a worker of a cluster')
  return process.env.NODE_ENV === 'production' ? new MemoryStore() : developmentStore()
}
