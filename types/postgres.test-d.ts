import fastifySession, { type SessionRecord, type SessionStore } from '@fastify/session'
import { migrate, PostgresStore, schema, type PostgresClient, type PostgresPool, type PostgresStoreOptions } from '@fastify/session/postgres'
import fastify from 'fastify'
import { Client, Pool } from 'pg'
import { expectAssignable, expectError, expectType } from 'tsd'

const secret = 'a secret with minimum length of 32 characters'
const pool = new Pool()

// Pools and clients of pg, without a cast

expectAssignable<PostgresPool>(pool)
expectAssignable<PostgresClient>(new Client())
expectError<PostgresPool>('postgres://127.0.0.1')
expectError<PostgresPool>(new Map<string, string>())

// Registration, without a cast

const store = new PostgresStore({ pool, table: 'app.session', ttl: 60_000, listen: () => new Client() })
expectAssignable<SessionStore>(store)
fastify().register(fastifySession, { secret, store })
expectError(new PostgresStore({}))
expectError(new PostgresStore({ pool, ttl: '1 day' }))
expectError(new PostgresStore({ pool, listen: new Client() }))
expectError(new PostgresStore({ pool, unknown: true }))
expectAssignable<PostgresStoreOptions>({ pool })

// The table

expectType<Promise<void>>(migrate(pool))
expectType<Promise<void>>(migrate(pool, { table: 'app.session', oldColumns: 'drop' }))
expectError(migrate(pool, { oldColumns: 'remove' }))
expectType<string>(schema())
expectType<string>(schema('app.session'))

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
