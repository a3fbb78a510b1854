// request.session knows the application's data, which augmented.d.ts declares.

import fastifySession, {
  fastifySession as named, type CookieOptions, type FastifySessionObject, type FastifySessionOptions
} from '@fastify/session'
import { RedisStore, type RedisClient, type RedisStoreOptions } from '@fastify/session/redis'
import fastify, { type Session } from 'fastify'
import { expect, type Equal } from './expect.js'

const app = fastify()
const secret = 'a secret with minimum length of 32 characters'
declare const session: FastifySessionObject

app.get('/', async request => expect<Equal<typeof request.session, FastifySessionObject>>())

// get and set

const user = session.get('user')
expect<Equal<typeof user, { id: number } | undefined>>()
const foo = session.get('foo')
expect<Equal<typeof foo, string | undefined>>()
const other = session.get<any>('other')
expect<Equal<typeof other, any>>()
session.set('user', { id: 1 })
session.set<any>('other', 1)
// @ts-expect-error a name that nobody declared
session.get('typo')
// @ts-expect-error a name that nobody declared
session.set('typo', 1)
// @ts-expect-error of another type
session.set('user', { id: 'one' })
// @ts-expect-error of another type
session.foo = 1

// regenerate

const promise = session.regenerate(['user', 'foo'])
expect<Equal<typeof promise, Promise<void>>>()
const nothing = session.regenerate(['user', '7'], error => expect<Equal<typeof error, any>>())
expect<Equal<typeof nothing, void>>()
session.regenerate([])
session.regenerate()
session.regenerate(() => {})
// @ts-expect-error a name that nobody declared
session.regenerate(['typo'])
// @ts-expect-error a name that nobody declared, among others
session.regenerate(['user', 'typo'], () => {})
// @ts-expect-error the cookie is no data
session.regenerate(['cookie'])
// @ts-expect-error no array
session.regenerate('user')
// @ts-expect-error no names
session.regenerate([1])
session.regenerate<any>(['other'])
session.regenerate<any>(['other'], () => {})
session.regenerate(['other'] as any)

const kept = ['user', 'foo'] as const
session.regenerate(kept)
const typos = ['user', 'typo'] as const
// @ts-expect-error a name that nobody declared
session.regenerate(typos)
const keys: Array<Exclude<keyof Session, 'cookie' | 7>> = ['user']
session.regenerate(keys)
// As version 11: what is in there is known at run time only.
const strings = ['user', 'any']
session.regenerate(strings, () => {})
session.regenerate(Object.keys(session))
session.regenerate(strings.length > 1 ? ['user'] : ['foo', 'user'])

// Options

const options: FastifySessionOptions = {
  secret: [secret],
  cookie: request => ({ maxAge: 60_000, path: request?.url ?? '/', sameSite: 'lax', priority: 'high', partitioned: true }),
  absoluteTimeout: 1000,
  user: session => session.user?.id,
  idGenerator: async request => request?.id ?? 'a job'
}
app.register(fastifySession, options)
app.register(named, { secret, rolling: false })
// @ts-expect-error a misspelt option
app.register(fastifySession, { secret, cookieNam: 'sid' })
// @ts-expect-error a misspelt attribute
app.register(fastifySession, { secret, cookie: { httponly: true } })
app.get('/poll', { config: { session: { rolling: false } } }, async () => 'ok')

expect<Equal<CookieOptions['sameSite'], boolean | 'lax' | 'strict' | 'none' | undefined>>()
expect<Equal<CookieOptions['expires'], Date | undefined>>()
expect<Equal<'signed' extends keyof CookieOptions ? true : false, false>>()

// @fastify/session/redis

declare const client: RedisClient
const redisOptions: RedisStoreOptions = { client, prefix: 'app:', ttl: 60_000 }
app.register(fastifySession, { secret, store: new RedisStore(redisOptions) })
