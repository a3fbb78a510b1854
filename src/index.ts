import fp from 'fastify-plugin'
import type { FastifyPluginCallback, Session } from 'fastify'
import type * as diagnostics from './diagnostics'
import { sessionPlugin } from './plugin'
import { MemoryStore as Memory } from './stores/memory'
import type * as memory from './stores/memory'
import type * as cookies from './types/cookie'
import type * as options from './types/options'
import type * as sessions from './types/session'
import type * as stores from './types/store'
import './types/fastify'

type Plugin = FastifyPluginCallback<options.FastifySessionOptions>

/** What `import fastifySession from '@fastify/session'` is typed as. */
interface FastifySession extends Plugin {
  // Existing type tests assert this type, though both are constructors. The named imports are typed as such.
  Store: stores.SessionStore
  MemoryStore: stores.SessionStore
}

interface Exports extends Plugin {
  __esModule: true
  default: FastifySession
  fastifySession: FastifySession
  Store: typeof Memory
  MemoryStore: typeof Memory
}

const plugin = fp(sessionPlugin, { fastify: '5.x', name: '@fastify/session', dependencies: ['@fastify/cookie'] })

// fp() adds `default` and `fastifySession`. __esModule tells compilers that `default` is what a default import gives.
const fastifySession = Object.assign(plugin, { __esModule: true, Store: Memory, MemoryStore: Memory }) as Exports

// Types only: what has a value is a property of the plugin.
namespace fastifySession {
  export type CookieOptions = cookies.CookieOptions
  export type CreatedSession = sessions.CreatedSession
  export type FastifySessionObject = sessions.FastifySessionObject
  export type FastifySessionOptions = options.FastifySessionOptions
  export type IndexFunction = options.IndexFunction
  export type MemoryStore = memory.MemoryStore
  export type MemoryStoreOptions = memory.MemoryStoreOptions
  export type RegenerateOptions = sessions.RegenerateOptions
  export type RouteSessionOptions = options.RouteSessionOptions
  export type EndCode = stores.EndCode
  export type SecurityMessage = diagnostics.SecurityMessage
  export type SecurityReason = diagnostics.SecurityReason
  export type FieldChanges = stores.FieldChanges
  export type SessionChanges = stores.SessionChanges
  export type Claimed = stores.Claimed
  export type Claiming = stores.Claiming
  export type IndexEntry = stores.IndexEntry
  export type Revoking = stores.Revoking
  export type SessionData = sessions.SessionData
  export type SessionList = sessions.SessionList
  export type SessionPage = sessions.SessionPage
  export type SessionRecord = stores.SessionRecord
  export type SessionStore<S = Session> = stores.SessionStore<S>
  export type SessionView = sessions.SessionView
  export type Sessions = sessions.Sessions
  export type SessionsBy = sessions.SessionsBy
  export type Signer = cookies.Signer
  export type Store = memory.MemoryStore
  export type TraceMessage = diagnostics.TraceMessage
  export type UpdateResult = stores.UpdateResult
  export type UnsignResult = cookies.UnsignResult
}

// For Node's lexer, so that an ES module can import them by name.
exports.__esModule = exports.fastifySession = exports.Store = exports.MemoryStore = undefined

export = fastifySession
