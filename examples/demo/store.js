'use strict'

// Where the demo keeps its sessions: the one place that chooses.

const { MemoryStore } = require('@fastify/session')
const { migrate, PostgresStore } = require('@fastify/session/postgres')
const { RedisStore } = require('@fastify/session/redis')
const { Client, Pool } = require('pg')
const { createClient } = require('redis')

/** Returns a store, how to connect it, and how to close it, which may be called at any time. */
function chooseStore ({ REDIS_URL, DATABASE_URL }, onError) {
  if (REDIS_URL) return redisStore(REDIS_URL, onError)
  if (DATABASE_URL) return postgresStore(DATABASE_URL, onError)
  // Whoever looks at the page has a session, for the token in its forms. The bound keeps robots from filling the memory.
  return { store: new MemoryStore(undefined, { max: 10_000 }), async connect () {}, async close () {} }
}

function redisStore (url, onError) {
  let isConnected = false
  // At the start a Redis that isn't there is a mistake. Later it is a pity, and the client comes back by itself.
  const client = createClient({ url, socket: { reconnectStrategy: retries => isConnected && Math.min(retries * 100, 1000) } })
  // It hears which sessions other processes end.
  const subscriber = client.duplicate()
  for (const connection of [client, subscriber]) connection.on('error', onError)
  return {
    store: new RedisStore({ client, subscriber }),
    async connect () {
      await client.connect()
      await subscriber.connect()
      isConnected = true
    },
    async close () {
      if (subscriber.isOpen) subscriber.destroy()
      if (client.isReady) await client.close()
      else if (client.isOpen) client.destroy()
    }
  }
}

function postgresStore (connectionString, onError) {
  const pool = new Pool({ connectionString, connectionTimeoutMillis: 2000 })
  pool.on('error', onError)
  let ended
  return {
    // The second connection hears which sessions other processes end.
    store: new PostgresStore({ pool, listen: () => new Client({ connectionString }) }),
    connect: () => migrate(pool),
    close: () => (ended ??= pool.end())
  }
}

module.exports = { chooseStore }
