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
   * Below which path browsers prove that they have the key: POST `<path>/register` and `<path>/refresh`. Within the
   * path of the session's cookie. A prefix of the scope stands before it.
   *
   * @default '/.well-known/session'
   */
  path?: string
  /**
   * How long a proof counts, in milliseconds: the life of the bound cookie. A stolen pair of cookies is good for so
   * long, and a minute. Browsers sign a few times in some minutes and no more, so under 5 minutes is refused.
   *
   * @default 600_000, 10 minutes
   */
  maxAge?: number
  /**
   * What becomes of a bound session whose cookie comes without a good proof. `'require'`: the request gets an empty
   * session, and the one that is stored stays as it is. `'observe'`: it is told on `@fastify/session:security`, and
   * nothing else.
   *
   * @default 'require'
   */
  enforce?: 'require' | 'observe'
  /**
   * Which sessions are offered to browsers to be bound. Asked at each reply with a session that isn't bound.
   *
   * @default with the option `user` those of a user; without it this must be said
   */
  when?: (session: FastifySessionObject) => boolean
  /**
   * Which session, if there are several: the `sessionName` of its registration.
   *
   * @default 'session'
   */
  sessionName?: string
}

/** The options as they are used. */
export interface Terms {
  readonly path: string
  /** The same with the prefix of the scope. */
  readonly whole: string
  readonly maxAge: number
  readonly isRequired: boolean
  readonly when: (session: FastifySessionObject) => boolean
  /** Of the bound cookie. */
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
    refuse('maxAge must be 300000 (5 minutes) or more, in milliseconds, because browsers sign a few times and then no more, and not', maxAge)
  }
  if (enforce !== 'require' && enforce !== 'observe') refuse("enforce must be 'require' or 'observe', and not", enforce)
  if (typeof wanted !== 'function') {
    refuse('when must be a function that says which sessions are bound (only with the option user it can be left out), and not', when)
  }
  const whole = prefix.replace(/\/$/, '') + path
  checkCookie(cookieFor(undefined), whole)
  const bare = cookieName.replace(/^__(Host|Secure)-/, '')
  return { path, whole, maxAge, isRequired: enforce === 'require', when: wanted, name: `__Host-${bare}-bound` }
}

/** Whether the session's cookie comes wherever the bound one does. */
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
