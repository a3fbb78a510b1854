import type { FastifyReply, FastifyRequest } from 'fastify'
import { NONCE, timed } from './guard'
import type { Verifier } from './keys'
import type { Terms } from './options'
import type { Tokens } from './tokens'
import { fingerprint } from '../diagnostics'
import type { Guarded } from '../request/guarded'
import { bind } from '../session/atomic'
import { SessionState, type Found } from '../session/state'
import { Visit } from '../session/visit'
import { promised } from '../stores/call'

/** What the routes of one registration share. */
export interface Binding {
  readonly guarded: Guarded
  readonly terms: Terms
  readonly tokens: Tokens
  readonly verify: Verifier
}

type Route = (binding: Binding, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>

// How long a challenge is valid, in milliseconds.
const CHALLENGE_LIFE = 60_000

// Complete, because `@fastify/cookie` takes missing attributes from its `parseOptions`.
export const HOST_ONLY = { path: '/', httpOnly: true, secure: true, domain: undefined, partitioned: false, signed: false }

/** The browser has made a key, and signs the challenge of an offer with it. */
export const register: Route = async (binding, request, reply) => {
  const state = await load(binding, request)
  const nonce = state?.draft.get(NONCE)
  if (state === undefined || nonce === undefined) return reply.code(400).send()
  const signed = await binding.verify(textIn(request.headers['secure-session-response']))
  if (signed?.jti !== nonce) return reply.code(400).send()
  const deviceKey = timed(signed.key)
  const isBound = await promised<boolean>(answer => bind(state, { key: NONCE, value: nonce }, deviceKey, answer))
  return isBound === true ? grant(binding, state, deviceKey, reply) : reply.code(400).send()
}

/** The bound cookie has ended, and the browser proves again that it has the key. */
export const refresh: Route = async (binding, request, reply) => {
  const { tokens, verify } = binding
  const state = await load(binding, request)
  const { deviceKey, sessionId = '' } = state ?? {}
  // After a second login, a browser also renews the binding of the first, and sends the cookie of the second. So
  // nothing is changed unless the name fits.
  const name = textIn(request.headers['sec-secure-session-id'])
  if (state === undefined || deviceKey === undefined || name !== fingerprint(sessionId)) {
    return reply.code(404).send()
  }
  const challenge = (): unknown => {
    const token = tokens.make('refresh', sessionId, deviceKey)
    return reply.code(403).header('secure-session-challenge', `${quoted(token)};id=${quoted(name)}`).send()
  }
  const jws = textIn(request.headers['secure-session-response'])
  if (jws === '') return challenge()
  const signed = await verify(jws, deviceKey.slice(deviceKey.indexOf('.') + 1))
  if (signed === undefined) return reply.code(404).send()
  const age = tokens.ageOf(String(signed.jti), 'refresh', sessionId, deviceKey)
  return age < CHALLENGE_LIFE ? grant(binding, state, deviceKey, reply) : challenge()
}

/** The session of the request's cookie, if it is stored. Doesn't ask the guard: the request brings the proof. */
async function load (
  { guarded: { context, finder } }: Binding, request: FastifyRequest
): Promise<SessionState | undefined> {
  const sent = finder.valuesIn(request.headers.cookie, request.cookies)
  const visit = new Visit(context.settings.cookieFor(request), false, request, undefined, sent)
  const found = await promised<Found>(answer => finder.find(visit.sent, visit.cookie.terms, false, answer))
  return found?.stored === undefined ? undefined : new SessionState(context, visit, found)
}

/** Sends a bound cookie, and the rules for it. */
function grant (
  { terms, tokens }: Binding, state: SessionState, deviceKey: string, reply: FastifyReply
): unknown {
  const { name, whole, maxAge } = terms
  const { visit: { cookie: { sameSite } }, sessionId } = state
  const site = sameSite === true ? 'strict' : sameSite || 'lax'
  const token = tokens.make('bound cookie', sessionId, deviceKey)
  reply.setCookie(name, token, { ...HOST_ONLY, sameSite: site, maxAge: Math.round(maxAge / 1000), expires: undefined })
  return reply.header('cache-control', 'no-store').send({
    session_identifier: fingerprint(sessionId),
    refresh_url: `${whole}/refresh`,
    scope: { include_site: false, scope_specification: [] },
    credentials: [{ type: 'cookie', name, attributes: `Path=/; Secure; HttpOnly; SameSite=${site}` }]
  })
}

/** The text of an RFC 9651 string. Without quotes, the header as it is. */
function textIn (header: string | string[] | undefined): string {
  const [, text] = /^"((?:[^"\\]|\\.)*)"/.exec(String(header ?? '')) ?? []
  return text === undefined ? String(header ?? '') : text.replace(/\\(.)/g, '$1')
}

function quoted (text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}
