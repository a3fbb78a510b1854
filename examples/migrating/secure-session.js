'use strict'

// From @fastify/secure-session: who comes with its cookie gets a session in the store with the data of that cookie, and the
// old cookie is cleared.
//
//   app.register(fastifyCookie)
//   app.register(fastifySession, { ... })
//   app.register(moveSecureSessions, { key, cookie, expiry, until: new Date('2027-01-31') })

const fp = require('fastify-plugin')
const secureSession = require('@fastify/secure-session')

/**
 * Takes the options with which @fastify/secure-session was registered, and two of its own.
 *
 * @param options.until a date from when on old cookies count no more; they expire by themselves as well
 * @param options.convert gets the data of an old cookie; gives what the new session gets, or null where it counts no more
 */
async function moveSecureSessions (app, { until = Infinity, convert = data => data, ...options }) {
  if (Number.isNaN(Number(until))) throw new Error('until must be a date')
  // Its cookie keeps the name that it has in the browsers; `request.session` is the new session.
  const cookieName = options.cookieName ?? options.sessionName ?? 'session'
  await app.register(secureSession, { ...options, cookieName, sessionName: 'secureSession' })

  app.addHook('onRequest', async request => {
    const { session, secureSession } = request
    const data = secureSession.data()
    if (Object.keys(data).length === 0 || !canBeSaved(request)) return
    // Whoever has logged in since then has a newer session.
    const isNew = Object.keys(session.data()).length === 0
    const moved = isNew && Date.now() < until ? await convert(data) : null
    if (moved !== null) {
      for (const [key, value] of Object.entries(moved)) session.set(key, value)
      // Written at once, under an id that nobody has seen: it may be a login (session fixation).
      await session.regenerate(Object.keys(moved))
    }
    secureSession.delete()
  })
}

// Else the old cookie stays for another time: on routes without a session, over plain http where cookie.secure is true, and
// while the store is away (onStoreError: 'anonymous').
function canBeSaved ({ session, protocol }) {
  if (typeof session.regenerate !== 'function' || session.isAnonymous) return false
  return session.cookie.secure !== true || protocol === 'https'
}

module.exports = fp(moveSecureSessions, { name: 'move-secure-sessions', dependencies: ['@fastify/session'] })
