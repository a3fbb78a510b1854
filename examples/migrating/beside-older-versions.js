'use strict'

// For a transition in which processes with an older version and with version 12 share a store. Pass the result to version 12
// as its option `store`. Afterwards, pass the store itself.

const { sign, unsign } = require('@fastify/cookie')

/**
 * Beside version 10 or 11. Has only the three methods that they use. So each request writes the whole record, with the expiry
 * that they check.
 */
function besideVersion11 (store) {
  return {
    get (sessionId, callback) { store.get(sessionId, callback) },
    set (sessionId, session, callback) { store.set(sessionId, session, callback) },
    destroy (sessionId, callback) { store.destroy(sessionId, callback) }
  }
}

/** Beside version 9, which reads the session's id from the record. If it is missing, version 9 gives the data a new id. */
function besideVersion9 (store, secret) {
  const three = besideVersion11(store)
  return {
    ...three,
    set (sessionId, session, callback) {
      // If there are several secrets, the first one signs.
      const encryptedSessionId = sign(sessionId, [secret].flat()[0])
      three.set(sessionId, { ...session, sessionId, encryptedSessionId }, callback)
    }
  }
}

/**
 * The option `secret` after version 9 with `unsignSignedCookie`, where cookies were signed by the session and then by
 * @fastify/cookie. Keep it as long as the `parseOptions` of @fastify/cookie have `signed: true`.
 */
function signedTwice (secret, cookieSecret) {
  return {
    sign: sessionId => sign(sessionId, secret),
    unsign (value) {
      const outer = unsign(value, cookieSecret)
      // Signed again each time, because @fastify/cookie will also sign it again.
      return outer.valid ? { ...unsign(outer.value, secret), renew: true } : unsign(value, secret)
    }
  }
}

module.exports = { besideVersion9, besideVersion11, signedTwice }
