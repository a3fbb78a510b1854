// The packages' declarations for CommonJS are others.

import fastifySession = require('@fastify/session')
import mongo = require('connect-mongo')
import redis = require('connect-redis')
import redis8 = require('connect-redis-8')
import redis10 = require('connect-redis-10')
import fastify = require('fastify')

const app = fastify.fastify()
const secret = 'a secret with minimum length of 32 characters'
declare const client: unknown

app.register(fastifySession, { secret, store: new redis.RedisStore({ client }) })
app.register(fastifySession, { secret, store: new redis8.RedisStore({ client }) })
app.register(fastifySession, { secret, store: new redis10.RedisStore({ client }) })
app.register(fastifySession, { secret, store: new mongo.MongoStore({ mongoUrl: 'mongodb://127.0.0.1' }) })
