import fastifySession, {
  MemoryStore, type Claimed, type Claiming, type FastifySessionObject, type IndexEntry, type IndexFunction, type Revoking,
  type SessionList, type SessionPage, type Sessions, type SessionsBy, type SessionStore, type SessionView
} from '@fastify/session'
import { RedisStore } from '@fastify/session/redis'
import fastify from 'fastify'
import { createClient } from 'redis'
import { expectAssignable, expectError, expectType } from 'tsd'

const app = fastify()
const secret = 'a secret with minimum length of 32 characters'

app.register(fastifySession, {
  secret,
  user: session => session.get('user')?.id,
  describe: session => ({ name: session.foo }),
  maxPerUser: 3,
  onMaxPerUser: 'refuse'
})
app.register(fastifySession, { secret, user: () => null, onMaxPerUser: 'revoke-oldest' })
app.register(fastifySession, {
  secret,
  user: session => {
    expectType<FastifySessionObject>(session)
    return 'max'
  }
})
app.register(fastifySession, {
  secret,
  index: {
    sid: session => {
      expectType<FastifySessionObject>(session)
      return session.get('user')?.id
    },
    org: () => undefined
  }
})
const index: Record<string, IndexFunction> = { org: () => 1 }
app.register(fastifySession, { secret, index })
expectError(app.register(fastifySession, { secret, index: { sid: 'sid' } }))
expectError(app.register(fastifySession, { secret, index: { sid: () => true } }))
expectError(app.register(fastifySession, { secret, index: ['sid'] }))
expectError(app.register(fastifySession, { secret, user: 'userId' }))
expectError(app.register(fastifySession, { secret, user: async () => 'max' }))
expectError(app.register(fastifySession, { secret, user: () => true }))
expectError(app.register(fastifySession, { secret, describe: () => 'a browser' }))
expectError(app.register(fastifySession, { secret, onMaxPerUser: 'ignore' }))

app.get('/', async request => {
  expectType<Promise<SessionList>>(request.session.list())
  expectType<Promise<SessionList>>(request.session.list({ limit: 1 }))
  expectType<Promise<boolean>>(request.session.revoke('handle'))
  expectType<Promise<number>>(request.session.revokeOthers())
  expectError(request.session.revoke())
  expectError(request.session.list(1))
})

expectType<Sessions>(app.sessions)
expectType<Promise<SessionList>>(app.sessions.forUser('max', { cursor: '1', limit: 10 }))
expectType<Promise<SessionList>>(app.sessions.forUser(1))
expectType<Promise<boolean>>(app.sessions.revoke('handle'))
expectType<Promise<number>>(app.sessions.revokeUser(1))
expectType<Promise<number>>(app.sessions.count())
expectType<SessionsBy>(app.sessions.by('sid', 'abc'))
expectType<Promise<SessionList>>(app.sessions.by('org', 1).list({ limit: 10 }))
expectType<Promise<number>>(app.sessions.by('org', 'acme').revoke())
expectError(app.sessions.by('org'))
expectError(app.sessions.by('org', true))
expectError(app.sessions.forUser())
expectError(app.sessions.revokeUser(true))
expectAssignable<SessionPage>({})

const view = {} as SessionView
expectType<string>(view.handle)
expectType<boolean>(view.current)
expectType<Date>(view.createdAt)
expectType<Date | null>(view.authenticatedAt)
expectType<Date>(view.lastSeenAt)
expectType<Date | null>(view.expiresAt)
expectType<any>(view.device)

// A page of a list
const page = {} as SessionList
expectType<SessionView | undefined>(page[0])
expectType<string | undefined>(page.next)
expectAssignable<SessionPage>({ cursor: page.next })
expectError<SessionPage>({ offset: 10 })

// The index of a store

expectAssignable<SessionStore>(new MemoryStore())
const store = new RedisStore({ client: createClient() })
const claiming: Claiming = { fingerprint: 'abc', lives: null, isWritten: false, max: Infinity, refuses: false }
expectType<Promise<Claimed>>(store.claim('user', 'id', { ...claiming, lives: 1000, replaces: 'old' }))
expectType<Promise<void>>(store.release('user', ['id']))
expectType<Promise<number>>(store.revoke('user', { fingerprint: 'abc' }))
expectType<Promise<number>>(store.revoke('user', { except: 'id' }))
expectType<Promise<string[]>>(store.endingsOf('user'))
expectType<Promise<IndexEntry[]>>(store.claimsOf('user', Infinity, 100))
expectError(store.claim('user', 'id', {}))
expectError(store.release('user', 'id'))

const claimed = {} as Claimed
expectType<'entered' | 'full' | 'ending' | 'lost'>(claimed.outcome)
expectType<readonly string[]>(claimed.tooMany)
const revoking: Revoking = {}
expectType<string | undefined>(revoking.except)
