'use strict'

// Chooses where the demo keeps its sessions.

const { MemoryStore } = require('@fastify/session')
const { migrate, PostgresStore } = require('@fastify/session/postgres')
const { RedisStore } = require('@fastify/session/redis')
const { Client, Pool } = require('pg')
const { createClient } = require('redis')

/** Returns a store, and functions to connect and to close it. `close` may be called at any time. */
function chooseStore ({ REDIS_URL, DATABASE_URL }, onError) {
  if (REDIS_URL) return redisStore(REDIS_URL, onError)
  if (DATABASE_URL) return postgresStore(DATABASE_URL, onError)
  // Every visitor of the page has a session, for the token in its forms. The limit keeps robots from filling the memory.
  return { store: new MemoryStore(undefined, { max: 10_000 }), async connect () {}, async close () {} }
}

function redisStore (url, onError) {
  let isConnected = false
  // Doesn't retry if Redis can't be reached at the start, because that is a mistake. Later the client reconnects by itself.
  const client = createClient({ url, socket: { reconnectStrategy: retries => isConnected && Math.min(retries * 100, 1000) } })
  // Listens for sessions that other processes end.
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
    // The second connection listens for sessions that other processes end.
    store: new PostgresStore({ pool, listen: () => new Client({ connectionString }) }),
    connect: () => migrate(pool),
    close: () => (ended ??= pool.end())
  }
}

module.exports = { chooseStore }
