import fastifyCookie from '@fastify/cookie'
import fastifySession, {
  fastifySession as named,
  MemoryStore,
  Store,
  type CookieOptions,
  type EndCode,
  type FastifySessionObject,
  type FastifySessionOptions,
  type MemoryStoreOptions,
  type SessionChanges,
  type SessionData,
  type SessionRecord,
  type SessionStore,
  type Signer,
  type UnsignResult,
  type UpdateResult
} from '@fastify/session'
import required = require('@fastify/session')
import fastify, { type FastifyRequest, type Session } from 'fastify'
import { expectAssignable, expectError, expectNotAssignable, expectType } from 'tsd'

declare module 'fastify' {
  interface Session {
    user?: { id: number }
    foo: string
  }
}

const app = fastify()
const secret = 'a secret with minimum length of 32 characters'

// Registration

app.register(fastifyCookie)
app.register(fastifySession, { secret })
app.register(named, { secret })
app.register(required, { secret })
app.register(required.default, { secret })
app.register(fastifySession, { secret, prefix: '/app', logLevel: 'warn' })
app.register(fastifySession, () => ({ secret }))
app.register(fastifySession, { secret: [secret, 'an older secret'] })
app.register(fastifySession, {
  secret,
  algorithm: 'sha512',
  cookieName: 'sid',
  cookiePrefix: 's:',
  cookie: { path: '/', domain: 'example.com', maxAge: 1000, httpOnly: true, secure: 'auto', sameSite: 'lax', partitioned: true, priority: 'high' },
  store: new MemoryStore(),
  storeTimeout: 1000,
  saveUninitialized: false,
  rolling: false
})
expectError(app.register(fastifySession))
expectError(app.register(fastifySession, {}))
expectError(app.register(named))
expectError(app.register(named, {}))
expectError(app.register(required))
expectError(app.register(required, {}))
expectError(app.register(fastifySession, { secret: Buffer.from(secret) }))
expectError(app.register(fastifySession, { secret, rolling: 'yes' }))
expectError(app.register(fastifySession, { secret, unknown: true }))
expectError(app.register(fastifySession, { secret, store: { get () {} } }))
expectError(app.register(fastifySession, { secret, cookie: { signed: true } }))
expectError(app.register(fastifySession, { secret, cookie: { secure: 'sometimes' } }))

app.register(fastifySession, { secret, idGenerator: () => String(Date.now()) })
app.register(fastifySession, {
  secret,
  idGenerator (request) {
    expectType<FastifyRequest | undefined>(request)
    return `${request?.id}-${Date.now()}`
  }
})
expectError(app.register(fastifySession, { secret, idGenerator: () => 42 }))
app.register(fastifySession, { secret, idGenerator: async () => 'id' })
expectError(app.register(fastifySession, { secret, idGenerator: async () => 42 }))

const signer = {
  sign: (value: string) => `${value}.signature`,
  unsign: (_value: string) => ({ valid: false, renew: false, value: null })
}
expectAssignable<Signer>(signer)
expectType<UnsignResult>((signer as Signer).unsign(''))
app.register(fastifySession, { secret: signer })
expectError(app.register(fastifySession, { secret: { sign: signer.sign } }))

// Exports

expectType<SessionStore>(fastifySession.Store)
expectType<SessionStore>(fastifySession.MemoryStore)
expectType<SessionStore>(named.Store)
expectType<SessionStore>(required.default.MemoryStore)
expectType<typeof MemoryStore>(required.MemoryStore)
expectType<typeof Store>(required.Store)
expectAssignable<FastifySessionOptions>({ secret })
expectAssignable<required.FastifySessionOptions>({ secret })
expectAssignable<required.SessionStore>(new required.Store())

// Stores

const memoryStore: MemoryStore = new MemoryStore()
const store: Store = new Store(new Map<string, Session>(), { max: 1000 })
expectAssignable<SessionStore>(memoryStore)
expectAssignable<SessionStore>(store)
expectType<Map<string, Session>>(memoryStore.store)
expectType<MemoryStore>(new MemoryStore(new Map<string, Session>()))
expectType<MemoryStore>(MemoryStore())
expectAssignable<NodeJS.EventEmitter>(memoryStore)
expectAssignable<MemoryStoreOptions>({ max: 10 })
expectError(new MemoryStore(new Map<string, number>()))
expectError(new MemoryStore([]))
expectError(new MemoryStore(undefined, { maximum: 10 }))

class CountingStore extends MemoryStore {
  gets = 0

  override get (sessionId: string, callback: Parameters<SessionStore['get']>[1]) {
    this.gets++
    super.get(sessionId, callback)
  }
}
class NamedStore extends Store {}
app.register(fastifySession, { secret, store: new CountingStore() })
app.register(fastifySession, { secret, store: new NamedStore() })

class LeastStore implements SessionStore {
  get (_sessionId: string, callback: (error: any, session?: Session | null) => void) { callback(null, null) }
  set (_sessionId: string, _session: Session, callback: (error?: any) => void) { callback() }
  destroy (_sessionId: string, callback: (error?: any) => void) { callback() }
}
class PromiseStore implements SessionStore {
  async get (_sessionId: string) { return null }
  async set (_sessionId: string, _session: Session) {}
  async destroy (_sessionId: string) {}
  async touch (_sessionId: string, _session: Session) { return true }
  async update (_sessionId: string, changes: SessionChanges, _session: Session) {
    expectType<Readonly<Record<string, unknown>>>(changes.set)
    expectType<readonly string[]>(changes.unset)
    return true
  }

  async updateIf (
    _sessionId: string, record: SessionRecord, keys: readonly string[], _changes: SessionChanges, _session: Session
  ): Promise<UpdateResult> {
    return keys.every(key => record[key] === undefined) ? 'written' : 'changed'
  }
}
app.register(fastifySession, { secret, store: new LeastStore() })
app.register(fastifySession, { secret, store: new PromiseStore() })
expectAssignable<SessionRecord>({ user: { id: 1 }, cookie: {} })

// The session

app.get('/', async (request) => {
  const { session } = request
  expectType<FastifySessionObject>(session)
  expectType<string>(session.sessionId)
  expectType<string>(session.encryptedSessionId)

  expectType<{ id: number } | undefined>(session.user)
  session.user = { id: 1 }
  delete session.user
  expectError(session.user = { id: 'one' })
  expectError(session.unknown)

  expectType<{ id: number } | undefined>(session.get('user'))
  expectType<string | undefined>(session.get('foo'))
  expectError(session.get('not exist'))
  expectType<any>(session.get<any>('not exist'))
  session.set('user', { id: 1 })
  session.set('foo', 'bar')
  session.set<any>('not exist', 1)
  expectError(session.set('not exist', 1))
  expectError(session.set('user', { id: 'one' }))
  expectError(session.set('foo', 2))

  expectType<Record<string, any>>(session.data())
  expectType<boolean>(session.isModified())
  expectType<boolean>(session.isSaved())
  expectType<AbortSignal>(session.signal)
  const code: EndCode = session.signal.reason.code
  expectAssignable<'logout' | 'revoked' | 'limit' | 'replaced' | 'expired'>(code)
  expectError(session.signal = AbortSignal.abort())

  expectType<number | null>(session.cookie.originalMaxAge)
  expectType<Date | null | undefined>(session.cookie.expires)
  expectType<boolean | 'auto' | undefined>(session.cookie.secure)
  session.cookie.maxAge = 1000
  session.cookie.expires = new Date()

  expectType<void>(session.touch())
  expectType<void>(session.destroy(error => { expectType<any>(error) }))
  expectType<void>(session.regenerate(error => { expectType<any>(error) }))
  expectType<void>(session.regenerate(['foo'], error => { expectType<any>(error) }))
  expectType<void>(session.reload(error => { expectType<any>(error) }))
  expectType<void>(session.save(error => { expectType<any>(error) }))
  expectType<Promise<void>>(session.destroy())
  expectType<Promise<void>>(session.regenerate())
  expectType<Promise<void>>(session.regenerate(['foo']))
  expectType<Promise<void>>(session.reload())
  expectType<Promise<void>>(session.save())
  expectError(session.regenerate('foo'))
  expectType<Promise<void>>(session.regenerate(['foo'], { authenticated: true }))
  expectType<void>(session.regenerate([], { authenticated: true }, error => { expectType<any>(error) }))
  expectError(session.regenerate(['typo'], { authenticated: true }))
  expectError(session.regenerate([], { authenticated: 'yes' }))
  expectError(session.regenerate({ authenticated: true }))
  expectType<boolean>(session.isFresh(600_000))
  expectError(session.isFresh())
  expectType<Promise<FastifySessionObject>>(request.loadSession())
  expectError(request.loadSession('id'))

  expectType<Promise<void>>(session.update(data => { data.user = { id: 1 } }))
  expectType<Promise<string>>(session.update(data => data.foo))
  expectType<Promise<number | undefined>>(session.update(data => {
    expectType<SessionData>(data)
    expectType<{ id: number } | undefined>(data.user)
    expectType<string | undefined>(data.get('foo'))
    data.set('foo', 'bar')
    return data.user?.id
  }))
  expectError(session.update(async data => { data.foo = 'bar' }))
  expectError(session.update(data => { data.unknown = 1 }))
  expectError(session.update(data => { data.foo = 1 }))
  expectError(session.update(data => data.cookie))
  expectError(session.update(data => data.save()))
  expectError(session.update())
  expectType<Promise<{ id: number } | undefined>>(session.take('user'))
  expectType<Promise<string | undefined>>(session.take('foo'))
  expectType<Promise<any>>(session.take<any>('not exist'))
  expectError(session.take('not exist'))
  expectError(session.take())

  expectType<void>(session.options({}))
  session.options({ domain: 'example.com' })
  session.options({ expires: new Date() })
  session.options({ httpOnly: true })
  session.options({ maxAge: 1000 })
  session.options({ partitioned: true })
  session.options({ path: '/' })
  session.options({ sameSite: 'strict' })
  session.options({ sameSite: true })
  session.options({ priority: 'low' })
  session.options({ secure: true })
  session.options({ secure: 'auto' })
  expectError(session.options({ signed: true }))
  expectError(session.options({ unknown: true }))
  expectError(session.options({ priority: 'highest' }))
  expectError(session.options({ secure: 'true' }))
  expectNotAssignable<CookieOptions>({ maxAge: '1000' })

  expectType<Readonly<SessionStore>>(request.sessionStore)
  request.sessionStore.set('id', session, error => { expectType<any>(error) })
  request.sessionStore.get('id', (error, found) => {
    expectType<any>(error)
    expectType<Session | null | undefined>(found)
    expectType<{ id: number } | undefined>(found?.user)
  })
  request.sessionStore.destroy('id', error => { expectType<any>(error) })
  expectError(request.sessionStore.get = () => {})
})

// decryptSession

app.get('/decrypt', async (request) => {
  expectType<void>(app.decryptSession('id', request, () => {}))
  expectType<void>(app.decryptSession('id', request, { maxAge: 1000 }, error => { expectType<any>(error) }))
  expectType<void>(app.decryptSession('id', {}, () => ({})))
  expectType<void>(app.decryptSession<{ hello: 'world' }>('id', { hello: 'world' }, () => ({})))
  expectType<void>(app.decryptSession<{ hello: 'world' }>('id', { hello: 'world' }, { secure: 'auto' }, () => ({})))
  expectType<Promise<void>>(app.decryptSession('id', request))
  expectType<Promise<void>>(app.decryptSession(request.cookies.sessionId, {}, { maxAge: 1000 }))
  expectError(app.decryptSession<{ hello: 'world' }>('id', { hello: 'other' }, () => ({})))
  expectError(app.decryptSession('id', {}, { signed: true }, () => {}))
  expectError(app.decryptSession('id'))
})
