'use strict'

// Between connect-redis and RedisStore: reads what both write, and writes as connect-redis does, which both read.
//
//   const hashes = new RedisStore({ client })                // of @fastify/session/redis
//   const store = new StringsAndHashes({ client, hashes })

const { RedisStore: ConnectRedis } = require('connect-redis')

class StringsAndHashes extends ConnectRedis {
  #hashes

  /** The options of connect-redis; and a RedisStore on the same client, with the same prefix. */
  constructor ({ hashes, ...options }) {
    super(options)
    this.#hashes = hashes
  }

  get (sessionId, callback) {
    return super.get(sessionId, (error, record) => {
      // What Redis says where the key holds a hash.
      if (error?.message?.startsWith('WRONGTYPE')) this.#hashes.get(sessionId, callback)
      else callback(error, record)
    })
  }
}

module.exports = { StringsAndHashes }
