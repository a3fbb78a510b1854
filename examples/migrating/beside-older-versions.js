'use strict'

// For the days in which processes of an older version and of version 12 share a store: what version 12 is given as its
// `store`. Afterwards give it the store itself.

const { sign, unsign } = require('@fastify/cookie')

/**
 * Beside version 10 or 11. Of the store only the three methods that they use: each request writes the whole record then, and
 * with it the expiry by which they judge.
 */
function besideVersion11 (store) {
  return {
    get (sessionId, callback) { store.get(sessionId, callback) },
    set (sessionId, session, callback) { store.set(sessionId, session, callback) },
    destroy (sessionId, callback) { store.destroy(sessionId, callback) }
  }
}

/** Beside version 9, which looks for the session's id in the record, and without one gives the data a new id. */
function besideVersion9 (store, secret) {
  const three = besideVersion11(store)
  return {
    ...three,
    set (sessionId, session, callback) {
      // Of several secrets the first signs.
      const encryptedSessionId = sign(sessionId, [secret].flat()[0])
      three.set(sessionId, { ...session, sessionId, encryptedSessionId }, callback)
    }
  }
}

/**
 * The `secret` after version 9 with `unsignSignedCookie`: cookies were signed by the session and then by @fastify/cookie.
 * Also for later, as long as its `parseOptions` say `signed: true`.
 */
function signedTwice (secret, cookieSecret) {
  return {
    sign: sessionId => sign(sessionId, secret),
    unsign (value) {
      const outer = unsign(value, cookieSecret)
      // Signed anew each time, because @fastify/cookie will sign it again.
      return outer.valid ? { ...unsign(outer.value, secret), renew: true } : unsign(value, secret)
    }
  }
}

module.exports = { besideVersion9, besideVersion11, signedTwice }
