import fp from 'fastify-plugin'
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { DeviceGuard } from './guard'
import { openVerifier } from './keys'
import { refuse, termsOf, type DeviceBoundOptions as Options } from './options'
import { HOST_ONLY, refresh, register, type Binding } from './routes'
import { Tokens } from './tokens'
import { GoneError, NoProofError } from '../errors'
import { isDuration } from '../options/table'
import { guardedOf } from '../request/guarded'
import { proofOf, routeOptionsOf } from '../request/route'
import { stateOf } from '../session/session'

type Answerer = (request: FastifyRequest, reply: FastifyReply) => void

const kOwn = Symbol('@fastify/session/device-bound route')

async function deviceBoundPlugin (fastify: FastifyInstance, options: Options): Promise<void> {
  const { sessionName = 'session' } = options
  const guarded = guardedOf(fastify, sessionName)
  if (guarded === undefined || guarded.finder.guard !== undefined) {
    refuse('sessionName must be that of a session that was registered before in this scope and is not yet device-bound, and not', sessionName)
  }
  const terms = termsOf(options, guarded, fastify.prefix)
  const tokens = new Tokens(guarded.context.settings)
  const guard = guarded.finder.guard = new DeviceGuard(fastify, terms, tokens)
  const binding: Binding = { guarded, terms, tokens, verify: await openVerifier() }

  fastify.addHook('onRoute', ({ config }) => {
    const proof = proofOf(routeOptionsOf(config, sessionName))
    if (proof !== undefined && !isDuration(proof)) refuse('proof of a route must be a positive number of milliseconds, and not', proof)
  })
  fastify.addHook('onRequest', (request, reply, done) => {
    const { config } = request.routeOptions
    // Answered here and not in the handlers, because hooks of the application come in between: a redirect of visitors
    // who aren't logged in, or a rate limit, would end the binding.
    const own = (config as { [kOwn]?: Answerer })[kOwn]
    if (own !== undefined) own(request, reply)
    else done(refusal(request, reply, proofOf(routeOptionsOf(config, sessionName))))
  })
  for (const [name, route] of Object.entries({ register, refresh })) {
    const own: Answerer = (request, reply) => {
      route(binding, request, reply).catch((error: Error) => fail(error, request, reply))
    }
    const config = { [kOwn]: own, [sessionName]: false }
    fastify.route({ method: 'POST', url: `${terms.path}/${name}`, handler: own, config: config as object })
  }

  /** Returns the error if a route with `proof` refuses this visitor. */
  function refusal (request: FastifyRequest, reply: FastifyReply, proof: number | undefined): Error | undefined {
    if (proof === undefined || !guard.refuses) return undefined
    const { sessionId = '', deviceKey } = stateOf(request[sessionName as 'session']) ?? {}
    const age = deviceKey === undefined ? 0 : guard.ageOfProof(sessionId, deviceKey, request)
    if (age !== undefined && age < proof) return undefined
    // Without a bound cookie, a browser proves that it has the key before it sends the next request.
    reply.clearCookie(terms.name, HOST_ONLY)
    return new NoProofError(proof)
  }
}

function fail (error: Error, request: FastifyRequest, reply: FastifyReply): void {
  // The session has ended in the meantime.
  const isGone = error instanceof GoneError
  if (!isGone) request.log.error(error)
  // After a 503 the browser keeps the binding, and tries again later.
  reply.code(isGone ? 404 : 503).send()
}

type Plugin = FastifyPluginAsync<Options>

type Exports = Plugin & { __esModule: true, default: Plugin, deviceBound: Plugin }

const meta = { fastify: '5.x', name: '@fastify/session/device-bound', dependencies: ['@fastify/session'] }
const plugin = fp(deviceBoundPlugin, meta)

// fp() adds `default`. __esModule tells compilers to use it for a default import.
/**
 * Binds sessions to the device of their browser (Device Bound Session Credentials). Register it after the session
 * plugin. Experimental while the protocol is a draft.
 */
const deviceBound = Object.assign(plugin, { __esModule: true, deviceBound: plugin }) as Exports

// Types only. Values are properties of the plugin.
namespace deviceBound {
  export type DeviceBoundOptions = Options
}

// For Node's lexer, so that an ES module can import it by name.
exports.__esModule = exports.deviceBound = undefined

export = deviceBound
