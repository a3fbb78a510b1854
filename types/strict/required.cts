// As CommonJS has it.

import fastify = require('fastify')
import required = require('@fastify/session')
import redis = require('@fastify/session/redis')
import fastifySession, { MemoryStore, type SessionStore } from '@fastify/session'
import type { Equal } from './expect'

const app = fastify.fastify()
const secret = 'a secret with minimum length of 32 characters'

app.register(required, { secret, store: new required.MemoryStore(undefined, { max: 10 }) })
app.register(required.default, { secret })
app.register(fastifySession, { secret, store: new MemoryStore() })
// @ts-expect-error without a secret
app.register(required, {})

class RequiredStore extends required.Store {
  override clear (callback?: (error?: any) => void): void {
    super.clear(callback)
  }
}
const store: SessionStore & required.SessionStore = new RequiredStore()
app.register(required, { secret, store })

declare const options: redis.RedisStoreOptions
app.register(required, { secret, store: new redis.RedisStore(options) })

app.get('/', async ({ session }) => {
  const user = session.get('user')
  const isTyped: Equal<typeof user, { id: number } | undefined> = true
  await session.regenerate(['user'])
  // @ts-expect-error a name that nobody declared
  await session.regenerate(['typo'])
  return isTyped
})
