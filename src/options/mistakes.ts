import { ATTRIBUTES } from './attributes'
import { nearest } from './near'
import { OPTIONS } from './table'
import { tooShort } from '../values/seconds'
import type { CookieOptions } from '../types/cookie'
import type { FastifySessionOptions } from '../types/options'

const DURATIONS = ['idleTimeout', 'absoluteTimeout', 'refreshAfter'] as const

/** Options of express-session that have another name here, or none. */
const OF_EXPRESS: Readonly<Record<string, string>> = {
  name: "is express-session's: write cookieName",
  key: "is express-session's: write cookieName",
  genid: "is express-session's: write idGenerator",
  proxy: "is express-session's: set Fastify's trustProxy",
  resave: "is express-session's and not needed: what didn't change is never written",
  unset: "is express-session's: await request.session.destroy() ends a session"
}

/** What the options say that is likely a mistake, each as in 'The session option ...'. */
export function mistakesIn (options: FastifySessionOptions): string[] {
  const cookie: CookieOptions = typeof options.cookie === 'object' ? options.cookie ?? {} : {}
  const found = [
    ...Object.keys(options).map(mistakenName),
    ...Object.keys(cookie).map(mistakenAttribute),
    ...DURATIONS.map(name => tooShort(name, options[name])),
    tooShort('cookie.maxAge', cookie.maxAge),
    hasPassed(cookie) ? 'cookie.expires has passed, so each session is over at once' : undefined
  ]
  return found.filter(mistake => mistake !== undefined)
}

// What resembles nothing may be meant for somebody else: Fastify itself has some.
function mistakenName (name: string): string | undefined {
  if (Object.hasOwn(OPTIONS, name)) return undefined
  if (Object.hasOwn(OF_EXPRESS, name)) return `${name} ${OF_EXPRESS[name]}`
  if (Object.hasOwn(ATTRIBUTES, name)) return `${name} isn't known here: write cookie: { ${name} }`
  const meant = nearest(name, Object.keys(OPTIONS))
  return meant && `${name} isn't known: write ${meant}`
}

function mistakenAttribute (name: string): string | undefined {
  const meant = Object.hasOwn(ATTRIBUTES, name) ? undefined : nearest(name, Object.keys(ATTRIBUTES))
  return meant && `cookie.${name} isn't known: write cookie.${meant}`
}

function hasPassed ({ maxAge, expires }: CookieOptions): boolean {
  return !maxAge && Boolean(expires) && new Date(expires as Date).getTime() < Date.now()
}
