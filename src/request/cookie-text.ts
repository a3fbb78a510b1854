import type { CookieSerializeOptions } from '@fastify/cookie'
import type { FastifyReply } from 'fastify'
import type { RequestCookie, Settings } from '../options/settings'
import type { SessionState } from '../session/state'

/** What `@fastify/cookie` writes after a cookie's value and after its date. */
interface Learnt {
  /** The function that wrote it. */
  readonly setCookie: FastifyReply['setCookie']
  /** Missing if the text can't be derived from an example. */
  readonly text?: { readonly behindValue: string, readonly behindDate: string }
}

// Characters that a cookie carries as they are, and characters that it can't: all of printable ASCII, and characters of
// two, three and four bytes. If both texts are written as by `serializeCookie`, no other encoder is in use.
const SEEN = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i))
const PROBES = [SEEN.filter(char => !/[ ",;\\%]/.test(char)).join(''), [...SEEN, 'é', '€', '😀'].join('')]

/**
 * The text of a registration's Set-Cookie headers, in which only the value and the date differ. It is learnt from a
 * call of `reply.setCookie`, so it has all that `@fastify/cookie` and its `parseOptions` add.
 */
class CookieText {
  readonly #name: string
  #cookie: RequestCookie | undefined
  /** Four texts: with or without an end, over http or https. */
  #learnt: Array<Learnt | undefined> = []
  #second = NaN
  #date = ''

  constructor (name: string) {
    this.#name = name
  }

  /** Returns the whole header, or undefined if `reply.setCookie` must write it. */
  for (reply: FastifyReply, state: SessionState, value: string): string | undefined {
    const { visit: { cookie, isOverHttps }, cookieEnd } = state
    if (cookie !== this.#cookie) {
      // The application's cookie function returns a new object each time, from which nothing can be learnt.
      this.#cookie = cookie
      this.#learnt = []
      return undefined
    }
    if (!isWrittenAtOnce(reply)) return undefined
    const hasEnd = Number.isFinite(cookieEnd)
    const kind = (hasEnd ? 1 : 0) + (isOverHttps ? 2 : 0)
    const date = hasEnd ? this.#dateOf(cookieEnd) : ''
    const learnt = this.#learnt[kind]
    // The first of its kind, or another plugin has replaced or wrapped setCookie.
    if (learnt?.setCookie !== reply.setCookie) {
      this.#learnt[kind] = learn(reply, state.cookieAttributes(cookieEnd), this.#name, date) ?? learnt
      return undefined
    }
    if (learnt.text === undefined) return undefined
    const { behindValue, behindDate } = learnt.text
    return reply.server.serializeCookie(this.#name, value) + behindValue + date + behindDate
  }

  /** Formats a date once per second. */
  #dateOf (end: number): string {
    const second = Math.floor(end / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#date = new Date(end).toUTCString()
    }
    return this.#date
  }
}

const texts = new WeakMap<Settings, CookieText>()

/**
 * Returns the Set-Cookie header of a session whose cookie is sent as configured, or undefined if `reply.setCookie` must
 * write it.
 */
export function cookieText (reply: FastifyReply, state: SessionState, value: string): string | undefined {
  const { settings } = state.context
  let text = texts.get(settings)
  if (text === undefined) texts.set(settings, text = new CookieText(settings.cookieName))
  return text.for(reply, state, value)
}

/**
 * Whether `@fastify/cookie` would write this header at once: its hooks have run, and the reply has no other cookies,
 * which it would put in order.
 */
function isWrittenAtOnce (reply: FastifyReply): boolean {
  return reply.request.cookies != null && reply.getHeader('set-cookie') === undefined
}

function learn (
  reply: FastifyReply, attributes: CookieSerializeOptions, name: string, date: string
): Learnt | undefined {
  const { setCookie } = reply
  // A wrapper, for this reply or for all, may do something else each time.
  if (Object.hasOwn(reply, 'setCookie') || reply.cookie !== setCookie) return undefined
  const [rest, ...others] = PROBES.map(probe => {
    const text = behind(probe, reply, attributes, name)
    // Only an example: the session's own cookie is set next.
    reply.removeHeader('set-cookie')
    return text
  })
  if (rest === undefined || others.some(other => other !== rest)) return { setCookie }
  const at = rest.lastIndexOf(date)
  return { setCookie, text: { behindValue: rest.slice(0, at), behindDate: rest.slice(at + date.length) } }
}

/** What is written after a value; undefined if `serializeCookie` would write the cookie differently. */
function behind (
  probe: string, reply: FastifyReply, attributes: CookieSerializeOptions, name: string
): string | undefined {
  try {
    const front = reply.server.serializeCookie(name, probe)
    reply.setCookie(name, probe, attributes)
    const text = String(reply.getHeader('set-cookie'))
    // Only `parseOptions` may add a priority. What a wrapper adds may be different for the next request.
    const asked: object = { ...attributes, priority: /; Priority=(\w+)/.exec(text)?.[1] }
    return text === reply.server.serializeCookie(name, probe, asked) ? text.slice(front.length) : undefined
  } catch {
    return undefined
  }
}
