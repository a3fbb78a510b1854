import { OptionError } from '../errors'
import { isDuration } from '../options/table'
import type { Guarded } from '../request/guarded'
import { isWithin } from '../request/route'
import { USER } from '../values/claim'
import { shown } from '../values/kind'
import type { FastifyRequest } from 'fastify'
import type { CookieOptions } from '../types/cookie'
import type { FastifySessionObject } from '../types/session'

/** Options of `@fastify/session/device-bound`. */
export interface DeviceBoundOptions {
  /**
   * The path below which browsers prove that they have the key: POST `<path>/register` and `<path>/refresh`. Must be
   * within the path of the session's cookie. The prefix of the scope is added.
   *
   * @default '/.well-known/session'
   */
  path?: string
  /**
   * How long a proof is valid, in milliseconds: the lifetime of the bound cookie. A thief can use a stolen pair of
   * cookies for this long, and a minute more. Less than 5 minutes is refused, because browsers limit how often they
   * sign.
   *
   * @default 600_000, 10 minutes
   */
  maxAge?: number
  /**
   * What happens if the cookie of a bound session comes without a valid proof. `'require'`: the request gets an empty
   * session, and the stored one stays as it is. `'observe'`: it is only published on `@fastify/session:security`.
   *
   * @default 'require'
   */
  enforce?: 'require' | 'observe'
  /**
   * Returns whether to offer the browser to bind a session. Called for each reply with a session that isn't bound.
   *
   * @default sessions with a user, if there is the option `user`; without it, `when` is required
   */
  when?: (session: FastifySessionObject) => boolean
  /**
   * The `sessionName` of the session's registration, if there are several.
   *
   * @default 'session'
   */
  sessionName?: string
}

/** The checked options. */
export interface Terms {
  readonly path: string
  /** The path with the prefix of the scope. */
  readonly whole: string
  readonly maxAge: number
  readonly isRequired: boolean
  readonly when: (session: FastifySessionObject) => boolean
  /** The name of the bound cookie. */
  readonly name: string
}

const MINUTE = 60_000
const PATH = '/.well-known/session'

/**
 * @param prefix of the scope
 * @throws FST_ERR_SESSION_OPTION
 */
export function termsOf (
  { path = PATH, maxAge = 10 * MINUTE, enforce = 'require', when }: DeviceBoundOptions, { context }: Guarded, prefix: string
): Terms {
  const { indexSettings, cookieName, cookieFor } = context.settings
  const user = indexSettings?.functions.get(USER)
  const wanted = when ?? (user && (session => (user(session) ?? undefined) !== undefined))
  if (typeof path !== 'string' || !/^(\/[\w.~-]+)+$/.test(path)) refuse(`path must be a path like '${PATH}', and not`, path)
  if (!isDuration(maxAge) || maxAge < 5 * MINUTE) {
    refuse('maxAge must be 300000 (5 minutes) or more, in milliseconds, because browsers limit how often they sign, and not', maxAge)
  }
  if (enforce !== 'require' && enforce !== 'observe') refuse("enforce must be 'require' or 'observe', and not", enforce)
  if (typeof wanted !== 'function') {
    refuse('when must be a function that says which sessions are bound (it can be left out only with the option user), and not', when)
  }
  const whole = prefix.replace(/\/$/, '') + path
  checkCookie(cookieFor(undefined), whole)
  const bare = cookieName.replace(/^__(Host|Secure)-/, '')
  return { path, whole, maxAge, isRequired: enforce === 'require', when: wanted, name: `__Host-${bare}-bound` }
}

/** Refuses a session cookie that isn't sent wherever the bound one is. */
function checkCookie ({ domain, partitioned, path: cookiePath }: CookieOptions, whole: string): void {
  const path = cookiePath || '/'
  if (domain) refuse('needs a session cookie for one host, without a domain, and not', domain)
  if (partitioned === true) refuse('needs a session cookie that is not partitioned, and not', partitioned)
  if (!isWithin({ originalUrl: whole } as FastifyRequest, path)) {
    refuse(`path must be within the session cookie's path, which is '${path}', and not`, whole)
  }
}

/** @throws FST_ERR_SESSION_OPTION */
export function refuse (what: string, value: unknown): never {
  throw new OptionError(`device-bound: ${what} ${shown(value)}`)
}
