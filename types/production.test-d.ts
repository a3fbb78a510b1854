import fastifySession, {
  type CookieOptions,
  type CreatedSession,
  type FastifySessionObject,
  type FastifySessionOptions,
  type RouteSessionOptions,
  type SecurityMessage,
  type SecurityReason,
  type TraceMessage
} from '@fastify/session'
import fastify, { type FastifyContextConfig, type FastifyInstance, type FastifyRequest } from 'fastify'
import { expectAssignable, expectError, expectNotAssignable, expectType } from 'tsd'

// A second session, by module augmentation

declare module 'fastify' {
  interface FastifyRequest {
    adminSession: FastifySessionObject
    loadAdminSession: FastifyRequest['loadSession']
  }
  interface FastifyInstance {
    loadAdminSession: FastifyInstance['loadSession']
    createAdminSession: FastifyInstance['createSession']
    decryptAdminSession: FastifyInstance['decryptSession']
  }
  interface FastifyContextConfig {
    adminSession?: false | 'lazy' | RouteSessionOptions
  }
}

const app = fastify()
const secret = 'a secret with minimum length of 32 characters'

app.register(fastifySession, { secret, sessionName: 'adminSession', cookieName: 'adminId' })
expectError(app.register(fastifySession, { secret, sessionName: 5 }))

app.get('/admin', { config: { session: false, adminSession: { rolling: false } } }, async request => {
  expectType<FastifySessionObject>(request.adminSession)
  expectType<string>(request.adminSession.sessionId)
  expectType<Promise<void>>(request.adminSession.destroy())
})
expectType<Promise<FastifySessionObject | null>>(app.loadAdminSession('adminId=signed'))
expectType<Promise<CreatedSession>>(app.createAdminSession())
expectType<Promise<void>>(app.decryptAdminSession('signed', {}))

// Lifetimes

app.register(fastifySession, { secret, absoluteTimeout: 12 * 3_600_000, refreshAfter: 60_000, cookie: { maxAge: 1_800_000 } })
expectError(app.register(fastifySession, { secret, absoluteTimeout: '12h' }))
expectError(app.register(fastifySession, { secret, refreshAfter: true }))
app.register(fastifySession, { secret, idleTimeout: 1_800_000, storeTtl: 'trusted' })
expectError(app.register(fastifySession, { secret, idleTimeout: '30m' }))
expectError(app.register(fastifySession, { secret, storeTtl: true }))

// Per route

app.get('/health', { config: { session: false } }, async () => 'ok')
app.get('/poll', { config: { session: { rolling: false } } }, async () => 'ok')
app.get('/assets', { config: { session: { saveUninitialized: false } } }, async () => 'ok')
app.get('/all', { config: { session: { rolling: true, saveUninitialized: true } } }, async () => 'ok')
app.get('/none', { config: {} }, async () => 'ok')
expectNotAssignable<FastifyContextConfig>({ session: true })
expectError<FastifyContextConfig>({ session: { roling: false } })
expectError(app.get('/', { config: { session: { rolling: 'no' } } }, async () => 'ok'))
expectAssignable<RouteSessionOptions>({})
expectNotAssignable<RouteSessionOptions>({ saveUninitialized: () => true })

// From the request

app.register(fastifySession, {
  secret,
  cookie (request) {
    expectType<FastifyRequest | undefined>(request)
    return { domain: request?.hostname, secure: request?.headers['x-forwarded-proto'] === 'https' }
  },
  saveUninitialized (request) {
    expectType<FastifyRequest>(request)
    return request.headers.cookie !== undefined
  },
  async idGenerator (request) {
    expectType<FastifyRequest | undefined>(request)
    return request?.id ?? 'of a job'
  }
})
expectNotAssignable<FastifySessionOptions['cookie']>((request: FastifyRequest) => ({ domain: request.hostname }))
expectError(app.register(fastifySession, { secret, cookie: async () => ({ secure: true }) }))
expectError(app.register(fastifySession, { secret, cookie: () => 'secure' }))
expectError(app.register(fastifySession, { secret, cookie: () => ({ maxAge: '1h' }) }))
expectError(app.register(fastifySession, { secret, saveUninitialized: async () => true }))
expectError(app.register(fastifySession, { secret, saveUninitialized: 'always' }))
expectAssignable<FastifySessionOptions['cookie']>({ path: '/' } as CookieOptions)

// Outside of a request

expectType<Promise<FastifySessionObject | null>>(app.loadSession('sessionId=signed'))
expectType<Promise<FastifySessionObject | null>>(app.loadSession(undefined))
expectType<Promise<FastifySessionObject | null>>(app.loadSession({ sessionId: 'id' }))
expectError(app.loadSession())
expectError(app.loadSession(5))
expectError(app.loadSession({ id: 'id' }))

async function outside (app: FastifyInstance, request: FastifyRequest): Promise<void> {
  const loaded = await app.loadSession(request.headers.cookie)
  expectType<FastifySessionObject | null>(loaded)
  await loaded?.save()
  loaded?.touch()
  await loaded?.destroy()
  if (loaded !== null) await app.loadSession(loaded)

  const { session, cookie } = await app.createSession({ foo: 'bar' })
  expectType<FastifySessionObject>(session)
  expectType<string>(cookie)
  await app.inject({ url: '/', headers: { cookie } })
  await app.createSession()
}
expectError(app.createSession({ foo: 5 }))
expectError(app.createSession({ unknown: 1 }))
expectType<(app: FastifyInstance, request: FastifyRequest) => Promise<void>>(outside)

// Lazy and fresh sessions

app.register(fastifySession, { secret, lazy: true })
expectError(app.register(fastifySession, { secret, lazy: 'yes' }))
expectAssignable<FastifyContextConfig>({ session: 'lazy' })
expectAssignable<FastifyContextConfig>({ session: { lazy: true, rolling: false } })
expectAssignable<FastifyContextConfig>({ session: { fresh: 600_000 } })
expectAssignable<FastifyContextConfig>({ adminSession: 'lazy' })
expectNotAssignable<FastifyContextConfig>({ session: 'fresh' })
expectNotAssignable<FastifyContextConfig>({ session: { fresh: true } })
app.get('/lazy', { config: { session: 'lazy' } }, async request => {
  expectType<FastifySessionObject>(await request.loadSession())
  expectType<FastifySessionObject>(await request.loadAdminSession())
})

// Caches, and a store that is away

app.register(fastifySession, { secret, cacheControl: true, onStoreError: 'anonymous' })
app.register(fastifySession, { secret, onStoreError: 'fail' })
expectError(app.register(fastifySession, { secret, cacheControl: 'no-store' }))
expectError(app.register(fastifySession, { secret, onStoreError: 'ignore' }))
app.get('/', async request => {
  expectType<boolean>(request.session.isAnonymous)
  expectError(request.session.isAnonymous = true)
})

// What the diagnostics channels say

function onSecurity ({ reason, session, store, fingerprint, duration }: SecurityMessage): void {
  expectType<SecurityReason>(reason)
  expectType<
    'bad-signature' | 'unknown-id' | 'expired' | 'absolute-timeout' | 'gone' | 'duplicate-cookie' | 'store-timeout' |
    'unreadable' | 'no-device-proof' | 'bad-device-proof'
  >(reason)
  expectType<string>(session)
  expectType<string>(store)
  expectType<string>(fingerprint)
  expectType<number>(duration)
}
function onTrace (message: TraceMessage): void {
  expectType<number | undefined>(message.duration)
  expectType<Error | undefined>(message.error)
  expectType<string | undefined>(message.reason)
  expectError(message.fingerprint = '')
}
expectType<(message: SecurityMessage) => void>(onSecurity)
expectType<(message: TraceMessage) => void>(onTrace)
