'use strict'

// Where the demo keeps its sessions: the one place that chooses.

const { MemoryStore } = require('@fastify/session')
const { RedisStore } = require('@fastify/session/redis')
const { createClient } = require('redis')

/** Returns a store, how to connect it, and how to close it, which may be called at any time. */
function chooseStore ({ REDIS_URL }, onError) {
  if (REDIS_URL) return redisStore(REDIS_URL, onError)
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

module.exports = { chooseStore }
