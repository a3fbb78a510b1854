import { isSwitch } from './table'
import { shown } from '../values/kind'
import { isLifetime } from '../values/lifetime'
import type { CookieOptions } from '../types/cookie'

interface Attribute {
  /** As in 'cookie.NAME must be ...'. */
  readonly mustBe: string
  readonly accepts: (value: any) => boolean
}

const SWITCH = { mustBe: 'true or false', accepts: isSwitch } as const
const IS_SITE = /^(lax|strict|none)$/i

/**
 * What the configured attributes of the cookie must be. null means that an attribute is missing. `encode` and `signed`
 * have no effect, as in version 11.
 */
export const ATTRIBUTES: Readonly<Record<keyof CookieOptions | 'signed', Attribute>> = {
  maxAge: {
    mustBe: 'a positive number of milliseconds, or 0',
    accepts: value => value === false || (isLifetime(value, Date.now()) && value >= 0)
  },
  expires: { mustBe: 'a date', accepts: value => value === false || !Number.isNaN(new Date(value).getTime()) },
  path: { mustBe: "a string that begins with '/'", accepts: value => value === '' || isPath(value) },
  domain: { mustBe: 'a string', accepts: value => !value || typeof value === 'string' },
  // The string 'true' is accepted because version 11 accepts it.
  secure: {
    mustBe: "true, false or 'auto'",
    accepts: value => value === 'auto' || value === 'true' || isSwitch(value)
  },
  httpOnly: SWITCH,
  partitioned: SWITCH,
  sameSite: {
    mustBe: "'lax', 'strict', 'none', true or false",
    accepts: value => !value || value === true || IS_SITE.test(value)
  },
  priority: { mustBe: "'low', 'medium' or 'high'", accepts: value => !value || /^(low|medium|high)$/i.test(value) },
  encode: { mustBe: 'a function', accepts: () => true },
  signed: { mustBe: 'true or false', accepts: () => true }
}

/** Describes the first wrong attribute of a configured cookie; undefined if all are right. */
export function wrongAttribute (cookie: CookieOptions): string | undefined {
  for (const [name, { mustBe, accepts }] of Object.entries(ATTRIBUTES)) {
    const value = cookie[name as keyof CookieOptions]
    if (value != null && !accepts(value)) return `${name} must be ${mustBe}, and not ${shown(value)}`
  }
  return undefined
}

function isPath (value: unknown): boolean {
  return typeof value === 'string' && value.startsWith('/')
}
