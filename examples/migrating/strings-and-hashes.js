'use strict'

// For the transition from connect-redis to RedisStore. Reads what either of them wrote, and writes as connect-redis does,
// because both can read that.
//
//   const hashes = new RedisStore({ client })                // of @fastify/session/redis
//   const store = new StringsAndHashes({ client, hashes })

const { RedisStore: ConnectRedis } = require('connect-redis')

class StringsAndHashes extends ConnectRedis {
  #hashes

  /** Takes the options of connect-redis, and a RedisStore with the same client and prefix. */
  constructor ({ hashes, ...options }) {
    super(options)
    this.#hashes = hashes
  }

  get (sessionId, callback) {
    return super.get(sessionId, (error, record) => {
      // Redis's error if the key contains a hash.
      if (error?.message?.startsWith('WRONGTYPE')) this.#hashes.get(sessionId, callback)
      else callback(error, record)
    })
  }
}

module.exports = { StringsAndHashes }
