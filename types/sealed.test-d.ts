import fastifySession, { MemoryStore, type SessionStore } from '@fastify/session'
import { RedisStore } from '@fastify/session/redis'
import { sealed, type SealedOptions, type SealedStore } from '@fastify/session/sealed'
import fastify from 'fastify'
import { createClient } from 'redis'
import { expectAssignable, expectError, expectType } from 'tsd'

const secret = 'a secret with minimum length of 32 characters'
const keys = [secret, Buffer.alloc(32)]

// Any store, without a cast

const store = sealed(new RedisStore({ client: createClient() }), { keys })
expectType<SealedStore>(store)
expectAssignable<SessionStore>(store)
fastify().register(fastifySession, { secret, store })
expectType<SealedStore>(sealed(new MemoryStore(), { keys, legacy: false }))
expectType<SealedStore>(sealed({ get () {}, set () {}, destroy () {} }, { keys }))
expectAssignable<SealedOptions>({ keys: [new Uint8Array(32)] as const })

expectType<string>(store.keyOf('id'))
expectType<number>(store.legacyLoads)
expectError(sealed(new MemoryStore(), {}))
expectError(sealed(new MemoryStore(), { keys: 'one' }))
expectError(sealed({ get () {} }, { keys }))
expectError(sealed(new MemoryStore(), { keys, unknown: true }))
