// What applications of version 11 have written. It compiles with version 11's types too: tsconfig.eleven.json.

import fastifySession, {
  MemoryStore, type CookieOptions, type FastifySessionObject, type FastifySessionOptions, type SessionStore
} from '@fastify/session'
import { fastify, type FastifyRequest, type Session } from 'fastify'

const app = fastify()

// Options

const cookie: CookieOptions = { domain: 'example.com', encode: value => value, expires: new Date(), sameSite: true, partitioned: true }
const options: FastifySessionOptions = { secret: ['one', 'two'], cookie, saveUninitialized: false, idGenerator: () => 'id' }
app.register(fastifySession, options)
const maxAge: number | undefined = cookie.maxAge
const secure: boolean | 'auto' | undefined = cookie.secure
const domain: string | undefined = cookie.domain

// Stores

class EmptyStore {
  set (_sessionId: string, _session: any, _callback: Function) {}
  get (_sessionId: string, _callback: Function) {}
  destroy (_sessionId: string, _callback: Function) {}
}
app.register(fastifySession, { secret: 'secret', store: new EmptyStore() })

class MyStore implements SessionStore {
  readonly sessions = new Map<string, Session>()
  set (sessionId: string, session: Session, callback: (error?: any) => void) {
    this.sessions.set(sessionId, session)
    callback()
  }

  get (sessionId: string, callback: (error: any, result?: Session | null) => void) {
    callback(null, this.sessions.get(sessionId))
  }

  destroy (sessionId: string, callback: (error?: any) => void) {
    this.sessions.delete(sessionId)
    callback()
  }
}
const stores: SessionStore[] = [new MyStore(), new MemoryStore(), new MemoryStore(new Map<string, Session>())]
app.register(fastifySession, { secret: 'secret', store: stores[0]! })
class Extended extends MemoryStore {}
app.register(fastifySession, { secret: 'secret', store: new Extended() })

// Requests

const KEPT = ['user', 'csrf']
app.post('/login', async request => {
  await request.session.regenerate(['user', 'foo'])
  await request.session.regenerate(KEPT)
  await request.session.regenerate([...KEPT, 'user'])
  request.session.regenerate(Object.keys(request.session), error => error)
  request.session.options({ maxAge: 1000 })
  const { maxAge, expires } = request.session.cookie
  if (maxAge !== undefined) request.session.options({ maxAge: maxAge / 2 })
  request.session.cookie.expires = expires ?? null
  request.sessionStore.get(request.session.sessionId, (_error, session) => {
    if (session) new MemoryStore().set('copy', session, () => {})
  })
  app.decryptSession('id', request, () => {})
  app.decryptSession('id', {}, { domain: '/' }, () => ({}))
  return [secure, domain, maxAge]
})

// A session for tests.
const pretended = {
  cookie: { originalMaxAge: null },
  foo: '',
  sessionId: 'id',
  encryptedSessionId: 'id',
  async regenerate (_keys?: string[]) {},
  touch () {}
}
const session = pretended as Partial<FastifySessionObject> as FastifySessionObject
export function login (request: Pick<FastifyRequest, 'session'>, regenerate: (keys: string[]) => Promise<void> = keys => session.regenerate(keys)) {
  return [request, regenerate, maxAge]
}
