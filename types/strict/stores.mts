// Stores that were written for express-session, without a cast.

import fastifySession, { MemoryStore, type SessionStore } from '@fastify/session'
import { RedisStore } from '@fastify/session/redis'
import MongoStore from 'connect-mongo'
import connectPgSimple from 'connect-pg-simple'
import { RedisStore as ConnectRedis } from 'connect-redis'
import { RedisStore as ConnectRedis8 } from 'connect-redis-8'
import { RedisStore as ConnectRedis10 } from 'connect-redis-10'
import expressSession from 'express-session'
import { fastify } from 'fastify'
import { Cluster, Redis } from 'ioredis'
import createMemoryStore from 'memorystore'
import { createClient } from 'redis'

declare module 'express-session' {
  interface SessionData {
    /** Required, and not what Fastify's Session has. */
    csrf: string
  }
}

const app = fastify()
const secret = 'a secret with minimum length of 32 characters'
const client = createClient()

app.register(fastifySession, { secret, store: new MemoryStore() })
app.register(fastifySession, { secret, store: new RedisStore({ client }) })
app.register(fastifySession, { secret, store: new RedisStore({ client: new Redis({ lazyConnect: true }) }) })
app.register(fastifySession, { secret, store: new RedisStore({ client: new Cluster(['redis://127.0.0.1'], { lazyConnect: true }) }) })
app.register(fastifySession, { secret, store: new ConnectRedis({ client }) })
app.register(fastifySession, { secret, store: new ConnectRedis8({ client }) })
app.register(fastifySession, { secret, store: new ConnectRedis10({ client }) })
app.register(fastifySession, { secret, store: MongoStore.create({ mongoUrl: 'mongodb://127.0.0.1' }) })

// These two ask for express-session. Fastify's application gives them `fastifySession`, which is of another type.
const PgStore = connectPgSimple(expressSession)
app.register(fastifySession, { secret, store: new PgStore({ conString: 'postgres://127.0.0.1' }) })
const LruStore = createMemoryStore(expressSession)
app.register(fastifySession, { secret, store: new LruStore({ checkPeriod: 60_000 }) })

app.register(fastifySession, { secret, store: new expressSession.MemoryStore() })
declare const store: expressSession.Store
app.register(fastifySession, { secret, store })

class MyStore extends expressSession.Store {
  get (_sessionId: string, callback: (error: any, session?: expressSession.SessionData | null) => void) { callback(null) }
  set (_sessionId: string, _session: expressSession.SessionData, callback?: (error?: any) => void) { callback?.() }
  destroy (_sessionId: string, callback?: (error?: any) => void) { callback?.() }
}
app.register(fastifySession, { secret, store: new MyStore() })

const named: Array<SessionStore<any>> = [store, new MyStore(), new ConnectRedis({ client }), new MemoryStore()]
const ofExpress: SessionStore<expressSession.SessionData> = store
app.register(fastifySession, { secret, store: named[0] ?? ofExpress })
