'use strict'

// Migrates from @fastify/secure-session. A visitor who comes with its cookie gets a session in the store with the data of that
// cookie, and the old cookie is cleared.
//
//   app.register(fastifyCookie)
//   app.register(fastifySession, { ... })
//   app.register(moveSecureSessions, { key, cookie, expiry, until: new Date('2027-01-31') })

const fp = require('fastify-plugin')
const secureSession = require('@fastify/secure-session')

/**
 * Takes the options of @fastify/secure-session as they were, and two more.
 *
 * @param options.until a date from which on old cookies are only cleared; they also expire by themselves
 * @param options.convert receives the data of an old cookie, and returns the data of the new session, or null for no session
 */
async function moveSecureSessions (app, { until = Infinity, convert = data => data, ...options }) {
  if (Number.isNaN(Number(until))) throw new Error('until must be a date')
  // The old cookie has the same name as before. `request.session` is the new session.
  const cookieName = options.cookieName ?? options.sessionName ?? 'session'
  await app.register(secureSession, { ...options, cookieName, sessionName: 'secureSession' })

  app.addHook('onRequest', async request => {
    const { session, secureSession } = request
    const data = secureSession.data()
    if (Object.keys(data).length === 0 || !canBeSaved(request)) return
    // A visitor who has logged in since then already has a new session.
    const isNew = Object.keys(session.data()).length === 0
    const moved = isNew && Date.now() < until ? await convert(data) : null
    if (moved !== null) {
      for (const [key, value] of Object.entries(moved)) session.set(key, value)
      // Writes the session at once, with a new id that nobody has seen: the visitor may be logged in (session fixation).
      await session.regenerate(Object.keys(moved))
    }
    secureSession.delete()
  })
}

// If the session can't be saved, the old cookie stays for the next request: on routes without a session, over plain http if
// cookie.secure is true, and while the store is down (onStoreError: 'anonymous').
function canBeSaved ({ session, protocol }) {
  if (typeof session.regenerate !== 'function' || session.isAnonymous) return false
  return session.cookie.secure !== true || protocol === 'https'
}

module.exports = fp(moveSecureSessions, { name: 'move-secure-sessions', dependencies: ['@fastify/session'] })
