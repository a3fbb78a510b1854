// Store and MemoryStore are classes to extend, SessionStore is an interface to implement.

import fastifySession, { MemoryStore, Store, type MemoryStoreOptions, type SessionChanges, type SessionStore } from '@fastify/session'
import { RedisStore } from '@fastify/session/redis'
import fastify, { type Session } from 'fastify'
import { expect, type Equal } from './expect.js'

const app = fastify()
const secret = 'a secret with minimum length of 32 characters'

class LoggingStore<Log extends (text: string) => void> extends MemoryStore {
  constructor (readonly log: Log, options?: MemoryStoreOptions) {
    super(new Map<string, Session>(), options)
    this.on('error', error => log(String(error)))
  }

  override get (...[sessionId, callback]: Parameters<SessionStore['get']>): void {
    this.log(`${sessionId} of ${this.store.size}`)
    super.get(sessionId, callback)
  }

  override set (sessionId: string, session: Session, callback: (error?: any) => void): void {
    super.set(sessionId, { ...session, foo: session.foo.trim() }, callback)
  }

  override destroy (sessionId: string, callback: (error?: any, found?: any) => void): void {
    super.destroy(sessionId, callback)
  }

  override touch (): void {}

  // @ts-expect-error there is no such method to override
  override ttouch (): void {}
}
class NamedStore extends Store {
  readonly name = 'named'
}
class PrefixedStore extends RedisStore {
  override async destroy (sessionId: string) {
    return await super.destroy(`app:${sessionId}`)
  }
}
app.register(fastifySession, { secret, store: new LoggingStore(text => text, { max: 10 }) })
app.register(fastifySession, { secret, store: new NamedStore() })
declare const prefixed: PrefixedStore
app.register(fastifySession, { secret, store: prefixed })

class CallbackStore implements SessionStore {
  get (_sessionId: string, callback: (error: any, session?: Session | null) => void) { callback(null) }
  set (_sessionId: string, _session: Session, callback: (error?: any) => void) { callback() }
  destroy (_sessionId: string, callback: (error?: any) => void) { callback() }
}
app.register(fastifySession, { secret, store: new CallbackStore() })

class PromiseStore implements SessionStore {
  async get (_sessionId: string): Promise<Session | null> { return null }
  async set (_sessionId: string, session: Session) { expect<Equal<typeof session.foo, string>>() }
  async destroy (_sessionId: string) { return false }
  async touch (_sessionId: string, _session: Session) { return true }
  async update (_sessionId: string, changes: SessionChanges) { return changes.unset.length > 0 }
}
app.register(fastifySession, { secret, store: new PromiseStore() })

// A store with a type of its own for what it keeps.
interface Row { owner: string }
class RowStore implements SessionStore<Row> {
  async get (_sessionId: string) { return { owner: 'max' } }
  async set (_sessionId: string, _row: Row) {}
  async destroy (_sessionId: string) {}
}
app.register(fastifySession, { secret, store: new RowStore() })

// Written in place: its parameters have types.
const inPlace: SessionStore = {
  get (sessionId, callback) {
    expect<Equal<typeof sessionId, string>>()
    callback(null, undefined)
    // @ts-expect-error that is no session
    callback(null, 'session')
  },
  set (_sessionId, session, callback) {
    expect<Equal<typeof session, Session>>()
    callback()
  },
  destroy: (_sessionId, callback) => callback()
}
inPlace.get('id', (error, found) => {
  expect<Equal<typeof error, any>>()
  expect<Equal<typeof found, Session | null | undefined>>()
})
app.register(fastifySession, {
  secret,
  store: {
    get: (_sessionId, callback) => callback(null),
    set (sessionId, _session, callback) {
      expect<Equal<typeof sessionId, string>>()
      callback()
    },
    destroy: async () => {}
  }
})

// @ts-expect-error a store that can't set
app.register(fastifySession, { secret, store: { get () {}, destroy () {} } })
// @ts-expect-error a store whose ids are no strings
app.register(fastifySession, { secret, store: { get (_id: number) {}, set () {}, destroy () {} } })
// @ts-expect-error no store
app.register(fastifySession, { secret, store: new Map<string, Session>() })
