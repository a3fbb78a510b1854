import type { FastifyReply } from 'fastify'
import type { RequestCookie, Settings } from '../options/settings'
import type { SessionState } from '../session/state'

/** What `@fastify/cookie` writes around a value and around the date behind it. */
interface Learnt {
  /** Who wrote it. */
  readonly setCookie: FastifyReply['setCookie']
  /** Missing if that can't be told from one example. */
  readonly text?: { readonly behindValue: string, readonly behindDate: string }
}

// What cookies can carry as it is, and what they can't: each of ASCII, and text of two, three and four bytes. Whoever
// writes both as `serializeCookie` does, and not by an encoder of his own, writes every value so.
const SEEN = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i))
const PROBES = [SEEN.filter(char => !/[ ",;\\%]/.test(char)).join(''), [...SEEN, 'é', '€', '😀'].join('')]

/**
 * The text of a registration's Set-Cookie headers, in which only the value and the date differ. It is learnt from what
 * `reply.setCookie` makes of an example, so all that `@fastify/cookie` and its `parseOptions` add is in it.
 */
class CookieText {
  readonly #name: string
  #cookie: RequestCookie | undefined
  /** By whether the cookie has an end, and whether the request came over https. */
  #learnt: Array<Learnt | undefined> = []
  #second = NaN
  #date = ''

  constructor (name: string) {
    this.#name = name
  }

  /** The whole header; undefined if only `reply.setCookie` knows it. */
  for (reply: FastifyReply, state: SessionState, value: string): string | undefined {
    const { visit: { cookie, isOverHttps }, cookieEnd } = state
    if (cookie !== this.#cookie) {
      // Of an application's function it is another one each time, of which there is nothing to be learnt.
      this.#cookie = cookie
      this.#learnt = []
      return undefined
    }
    if (!isWrittenAtOnce(reply)) return undefined
    const hasEnd = Number.isFinite(cookieEnd)
    const kind = (hasEnd ? 1 : 0) + (isOverHttps ? 2 : 0)
    const date = hasEnd ? this.#dateOf(cookieEnd) : ''
    const learnt = this.#learnt[kind]
    // The first of its kind, or somebody else writes, or wraps who did.
    if (learnt?.setCookie !== reply.setCookie) {
      this.#learnt[kind] = learn(reply, state, this.#name, date) ?? learnt
      return undefined
    }
    if (learnt.text === undefined) return undefined
    const { behindValue, behindDate } = learnt.text
    return reply.server.serializeCookie(this.#name, value) + behindValue + date + behindDate
  }

  /** Made once a second. */
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
 * The Set-Cookie header of a session whose cookie goes out as it is configured; undefined if `reply.setCookie` must be
 * asked.
 */
export function cookieText (reply: FastifyReply, state: SessionState, value: string): string | undefined {
  const { settings } = state.context
  let text = texts.get(settings)
  if (text === undefined) texts.set(settings, text = new CookieText(settings.cookieName))
  return text.for(reply, state, value)
}

/**
 * Whether `@fastify/cookie` would write the header now, and no other: it has seen the request, and its own hook has
 * run before ours. What other cookies there are it orders itself.
 */
function isWrittenAtOnce (reply: FastifyReply): boolean {
  return reply.request.cookies != null && reply.getHeader('set-cookie') === undefined
}

function learn (reply: FastifyReply, state: SessionState, name: string, date: string): Learnt | undefined {
  const { setCookie } = reply
  // Wrapped, for this reply alone or for all of them: then it may do something else each time.
  if (Object.hasOwn(reply, 'setCookie') || reply.cookie !== setCookie) return undefined
  const [rest, ...others] = PROBES.map(probe => behind(probe, reply, state, name))
  if (rest === undefined || others.some(other => other !== rest)) return { setCookie }
  const at = rest.lastIndexOf(date)
  if (at === -1) return { setCookie }
  return { setCookie, text: { behindValue: rest.slice(0, at), behindDate: rest.slice(at + date.length) } }
}

/** What is written behind a value; undefined if that isn't written as `serializeCookie` does. */
function behind (probe: string, reply: FastifyReply, state: SessionState, name: string): string | undefined {
  const front = reply.server.serializeCookie(name, probe)
  try {
    reply.setCookie(name, probe, state.cookieAttributes())
  } catch {
    return undefined
  }
  const text = reply.getHeader('set-cookie')
  // The session's own is written in its place.
  reply.removeHeader('set-cookie')
  return typeof text === 'string' && text.startsWith(front) ? text.slice(front.length) : undefined
}
