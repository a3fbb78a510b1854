import { ATTRIBUTES, wrongAttribute } from './attributes'
import { OPTIONS } from './table'
import { nearest } from '../values/near'
import { tooShort } from '../values/seconds'
import type { CookieOptions } from '../types/cookie'
import type { FastifySessionOptions } from '../types/options'

const DURATIONS = ['idleTimeout', 'absoluteTimeout', 'refreshAfter'] as const

/** Options of express-session that have another name here, or aren't needed. */
const OF_EXPRESS: Readonly<Record<string, string>> = {
  name: "is express-session's: write cookieName",
  key: "is express-session's: write cookieName",
  genid: "is express-session's: write idGenerator",
  proxy: "is express-session's: set Fastify's trustProxy",
  resave: "is express-session's and not needed: a session that didn't change is never written",
  unset: "is express-session's: write await request.session.destroy() to end a session"
}

/** Warned of at registration, or when it passes while the application runs. */
export const PASSED = 'cookie.expires has passed, so each session is over at once'

/** Likely mistakes in the options, each as in 'The session option ...'. */
export function mistakesIn (options: FastifySessionOptions): string[] {
  const cookie: CookieOptions = typeof options.cookie === 'object' ? options.cookie ?? {} : {}
  const found = [
    ...Object.keys(options).map(mistakenName),
    ...Object.keys(cookie).map(mistakenAttribute),
    ...DURATIONS.map(name => tooShort(name, options[name])),
    tooShort('cookie.maxAge', cookie.maxAge),
    hasPassed(cookie) ? PASSED : undefined,
    isPattern(cookie.path) ? "cookie.path isn't a pattern or a URL: browsers compare it character by character" : undefined,
    nearlyNone(options.storeTimeout)
  ]
  return found.filter(mistake => mistake !== undefined)
}

/** The same for the argument of `session.options()`, in which a negative maxAge means 'at once'. */
export function mistakesInOptions ({ maxAge, ...attributes }: CookieOptions): string[] {
  const wrong = wrongAttribute(attributes)
  const found = [
    ...Object.keys(attributes).map(mistakenAttribute),
    tooShort('cookie.maxAge', maxAge),
    wrong && `cookie.${wrong}`
  ]
  return found.filter(mistake => mistake !== undefined).map(mistake => `${mistake} (in a call of session.options())`)
}

// A name that resembles none of ours may be for something else: Fastify itself has register options.
function mistakenName (name: string): string | undefined {
  if (Object.hasOwn(OPTIONS, name)) return undefined
  if (Object.hasOwn(OF_EXPRESS, name)) return `${name} ${OF_EXPRESS[name]}`
  if (Object.hasOwn(ATTRIBUTES, name)) return `${name} isn't known here: write cookie: { ${name} }`
  const meant = nearest(name, Object.keys(OPTIONS))
  return meant && `${name} isn't known: write ${meant}`
}

function mistakenAttribute (name: string): string | undefined {
  if (Object.hasOwn(OPTIONS, name)) return `cookie.${name} isn't known: write ${name} beside cookie`
  const meant = Object.hasOwn(ATTRIBUTES, name) ? undefined : nearest(name, Object.keys(ATTRIBUTES))
  return meant && `cookie.${name} isn't known: write cookie.${meant}`
}

function isPattern (path: unknown): boolean {
  return typeof path === 'string' && /[*?#]/.test(path)
}

function nearlyNone (storeTimeout: number | undefined): string | undefined {
  if (storeTimeout == null || storeTimeout > 60) return undefined
  return `storeTimeout is in milliseconds, and ${storeTimeout} is almost no time`
}

/** Whether sessions would end before they begin. */
export function hasPassed ({ maxAge, expires }: CookieOptions): boolean {
  return !maxAge && Boolean(expires) && new Date(expires as Date).getTime() < Date.now()
}
