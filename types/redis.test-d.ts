import fastifySession, { type SessionRecord, type SessionStore } from '@fastify/session'
import { RedisStore, type RedisClient, type RedisStoreOptions } from '@fastify/session/redis'
import fastify from 'fastify'
import { Cluster, Redis } from 'ioredis'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import { expectAssignable, expectError, expectType } from 'tsd'

const secret = 'a secret with minimum length of 32 characters'
const client = createClient()

// Every kind of client, without a cast

expectAssignable<RedisClient>(client)
expectAssignable<RedisClient>(createClient({ RESP: 2 }))
expectAssignable<RedisClient>(createClientPool())
expectAssignable<RedisClient>(createCluster({ rootNodes: [{ url: 'redis://127.0.0.1' }] }))
expectAssignable<RedisClient>(createSentinel({ name: 'main', sentinelRootNodes: [{ host: '127.0.0.1', port: 26379 }] }))
expectAssignable<RedisClient>(new Redis({ lazyConnect: true }))
expectAssignable<RedisClient>(new Cluster(['redis://127.0.0.1'], { lazyConnect: true }))
expectError<RedisClient>(new Map<string, string>())

// Registration, without a cast

const store = new RedisStore({ client, prefix: 'app:', ttl: 60_000 })
expectAssignable<SessionStore>(store)
fastify().register(fastifySession, { secret, store })
expectAssignable<RedisStoreOptions>({ client, subscriber: client.duplicate() })
expectAssignable<RedisStoreOptions>({ client: new Redis(), subscriber: new Redis() })
expectAssignable<RedisStoreOptions>({ client: createCluster({ rootNodes: [] }), subscriber: createCluster({ rootNodes: [] }) })
expectAssignable<RedisStoreOptions>({ client: new Cluster([]), subscriber: new Cluster([]) })
expectError(new RedisStore({ client, subscriber: {} }))
expectError(new RedisStore({}))
expectError(new RedisStore({ client, ttl: '1 day' }))
expectError(new RedisStore({ client, unknown: true }))
expectAssignable<RedisStoreOptions>({ client })

// Both call forms

expectType<Promise<SessionRecord | undefined>>(store.get('id'))
expectType<Promise<SessionRecord | undefined>>(store.getAndTouch('id'))
expectType<Promise<SessionRecord | false>>(store.destroy('id'))
expectType<Promise<number>>(store.length())
expectType<Promise<Record<string, SessionRecord>>>(store.all())
expectType<Promise<void>>(store.clear())
store.get('id', (error, session) => [error, session?.cookie])
store.length((error, length) => [error, length])
expectError(store.get())
