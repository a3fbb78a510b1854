import { isPromise } from 'node:util/types'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { wrongAttribute } from './attributes'
import { CookieError, OptionError } from '../errors'
import { shown } from '../values/kind'
import { checkLifetime, type CookieLife, type Terms } from '../values/lifetime'
import type { CookieOptions } from '../types/cookie'
import type { FastifySessionOptions } from '../types/options'

/** The cookie options of one request. */
export interface RequestCookie extends Readonly<CookieOptions> {
  readonly terms: Terms
  /**
   * Whether the application's function returned `secure: true`: then the cookie is sent even if the request came over
   * plain http.
   */
  readonly isVouched: boolean
}

type CookieFunction = (request: FastifyRequest | undefined) => CookieOptions

/** The option `cookie`, checked. */
export function resolveCookie (
  fastify: FastifyInstance,
  cookieName: string,
  option: NonNullable<FastifySessionOptions['cookie']>,
  timeouts: Omit<Terms, 'cookie'>
) {
  const fixedCookie = typeof option === 'function' ? undefined : requestCookie(option, false)
  const cookieOf = throwing('cookie', option as CookieFunction)
  const wrong = fixedCookie && wrongAttribute(fixedCookie)
  if (wrong !== undefined) throw new OptionError(`cookie.${wrong}`)
  try {
    checkCookie(fixedCookie ?? {})
  } catch (error) {
    throw new OptionError(`cookie or cookieName is wrong: ${(error as Error).message}`)
  }
  return { cookieFor, checkCookie }

  function cookieFor (request: FastifyRequest | undefined, more?: CookieOptions): RequestCookie {
    const base = fixedCookie ?? checkedCookie(cookieOf(request))
    if (more === undefined) return base
    checkCookie(more)
    return requestCookie({ ...base, ...more }, base.isVouched)
  }

  // The application's function may return anything.
  function checkedCookie (given: CookieOptions | null | undefined): RequestCookie {
    if (typeof saidAtOnce(given, 'cookie') !== 'object' || given == null) {
      throw new CookieError('its function must return an object')
    }
    const wrong = wrongAttribute(given)
    if (wrong !== undefined) throw new CookieError(wrong)
    const cookie = requestCookie(given, given.secure === true)
    checkCookie(cookie)
    return cookie
  }

  function requestCookie (cookie: CookieOptions, isVouched: boolean): RequestCookie {
    const { secure = true } = cookie
    return { ...cookie, secure, isVouched, terms: { cookie: lifeOf(cookie), ...timeouts } }
  }

  // The serializer decides what a cookie can carry.
  function checkCookie (cookie: CookieOptions): void {
    checkLifetime(cookie)
    const { domain, path, sameSite, priority } = cookie
    if (path && typeof path !== 'string') throw new CookieError('path must be a string')
    try {
      fastify.serializeCookie(cookieName, '', { domain, path: path || '/', sameSite: sameSite ?? undefined, priority })
    } catch (error) {
      throw new CookieError((error as Error).message)
    }
  }
}

function lifeOf ({ maxAge, expires }: CookieOptions): CookieLife {
  if (maxAge) return maxAge
  return expires ? new Date(expires) : null
}

/** Refuses a promise of the application's function: it would count as true, or as a cookie without attributes. */
export function saidAtOnce<T> (value: T, option: string): T {
  if (!isPromise(value)) return value
  value.catch(() => {})
  throw new OptionError(`${option} must answer at once, and not by a promise`)
}

/** A function of the application that throws errors only: null and the like would mean that there is none. */
export function throwing<Args extends unknown[], T> (option: string, fn: (...args: Args) => T): typeof fn {
  return (...args) => {
    try {
      return fn(...args)
    } catch (thrown) {
      throw thrown || new OptionError(`${option} threw ${shown(thrown)}, and not an error`)
    }
  }
}
