'use strict'

// Login at an identity provider by OpenID Connect, and its back-channel logout: when the provider reports that a login has
// ended, every session of that login ends, in all browsers and processes.
//
//   OIDC_ISSUER=https://login.example OIDC_CLIENT_ID=… OIDC_CLIENT_SECRET=… PUBLIC_URL=https://shop.example \
//     node examples/backchannel-logout.js
//   (at the provider, register /login/callback as a redirect URI and /backchannel-logout as the back-channel logout URI)

const { createHash, randomBytes } = require('node:crypto')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')
const { createRemoteJWKSet, errors, jwtVerify } = require('jose')

const { OIDC_ISSUER: issuer, OIDC_CLIENT_ID: clientId, OIDC_CLIENT_SECRET: clientSecret, PUBLIC_URL } = process.env
const secret = process.env.SESSION_SECRET || 'for this example only: at least 32 characters'
const MINUTE = 60 * 1000
const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout'

// For one process. Several processes share a RedisStore.
const store = new fastifySession.MemoryStore()
const app = fastify()

app.register(fastifyCookie)
app.register(fastifyFormbody)
app.register(fastifySession, {
  secret,
  store,
  saveUninitialized: false,
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: 8 * 60 * MINUTE },
  // The recipe: a login at the provider has a `sid`, and its user is the `sub`.
  user: session => session.oidc?.sub,
  index: { sid: session => session.oidc?.sid }
})

const provider = discover()
// The code that awaits `provider` gets the error.
provider.catch(() => {})

async function discover () {
  const answer = await fetch(`${issuer}/.well-known/openid-configuration`)
  const endpoints = await answer.json()
  return { ...endpoints, keys: createRemoteJWKSet(new URL(endpoints.jwks_uri)) }
}

const callbackOf = request => `${PUBLIC_URL || `http://${request.host}`}/login/callback`
const random = () => randomBytes(16).toString('base64url')

app.get('/login', async (request, reply) => {
  const attempt = { state: random(), nonce: random(), verifier: randomBytes(32).toString('base64url') }
  request.session.attempt = attempt
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: clientId,
    redirect_uri: callbackOf(request),
    scope: 'openid',
    state: attempt.state,
    nonce: attempt.nonce,
    code_challenge: createHash('sha256').update(attempt.verifier).digest('base64url'),
    code_challenge_method: 'S256'
  })
  const { authorization_endpoint: endpoint } = await provider
  return reply.redirect(`${endpoint}?${query}`, 303)
})

app.get('/login/callback', async (request, reply) => {
  // If two requests come back with the same state at the same time, only one gets it.
  const attempt = await request.session.take('attempt')
  if (attempt === undefined || request.query.state !== attempt.state || request.query.code === undefined) {
    return reply.code(403).send('That login did not begin here, or has been used. Please try again.\n')
  }
  const { token_endpoint: endpoint, keys } = await provider
  const answer = await fetch(endpoint, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}` },
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      code: request.query.code,
      redirect_uri: callbackOf(request),
      code_verifier: attempt.verifier
    })
  })
  if (!answer.ok) return reply.code(403).send('The login server has refused the login. Please try again.\n')
  const { id_token: idToken } = await answer.json()
  const { payload: { sub, sid, nonce } } = await jwtVerify(idToken, keys, { issuer, audience: clientId })
  if (nonce !== attempt.nonce) return reply.code(403).send('That login did not begin here. Please try again.\n')

  // A new id for a visitor who gains rights (session fixation).
  await request.session.regenerate()
  request.session.oidc = { sub, sid }
  return reply.redirect('/', 303)
})

app.get('/', async request => `Hello, ${request.session.oidc?.sub ?? 'stranger'}.\n`)

app.register(async scope => {
  // Remembers the used tokens. Each token is a 'user' that may have one session. If several requests bring the same token at
  // the same time, the store accepts only one of them. The session lives for as long as the token would be valid.
  scope.register(fastifySession, {
    sessionName: 'logoutToken',
    cookieName: 'logoutToken',
    secret,
    store,
    saveUninitialized: false,
    cookie: { secure: 'auto', maxAge: 10 * MINUTE },
    user: session => session.jti,
    maxPerUser: 1,
    onMaxPerUser: 'refuse'
  })

  // The provider calls this, not a visitor. It has no cookie, and gets none.
  scope.post('/backchannel-logout', { config: { session: false, logoutToken: false } }, async (request, reply) => {
    reply.header('cache-control', 'no-store')
    const { sub, sid, jti } = await verify(request.body?.logout_token)
    const used = await scope.createLogoutToken({ jti })
    try {
      // End the sessions of that login. If the provider doesn't name a login, end all sessions of the user.
      if (sid !== undefined) await app.sessions.by('sid', sid).revoke()
      else await app.sessions.revokeUser(sub)
    } catch (error) {
      // The provider may send the token again.
      await used.session.destroy()
      throw error
    }
    return reply.send()
  })

  scope.setErrorHandler((error, _request, reply) => {
    const isUsed = error.code === 'FST_ERR_SESSION_TOO_MANY'
    const isBad = error instanceof errors.JOSEError && !(error instanceof errors.JWKSTimeout)
    if (!isUsed && !isBad) return reply.send(error)
    const why = isUsed ? 'the token was used before' : 'the token does not count'
    return reply.code(400).send({ error: 'invalid_request', error_description: why })
  })
})

/** Verifies a logout token as OpenID Connect Back-Channel Logout 1.0 asks for (2.6). */
async function verify (token) {
  const { keys } = await provider
  const { payload } = await jwtVerify(String(token), keys, {
    issuer,
    audience: clientId,
    requiredClaims: ['iat', 'exp', 'jti', 'events'],
    // A token without an expiry is valid for this long: less than its `jti` is kept.
    maxTokenAge: '5 minutes'
  })
  const { events, nonce, sid, sub, jti } = payload
  const isLogout = typeof events === 'object' && events !== null && LOGOUT_EVENT in events
  const isOfSomebody = isName(sid) || (sid === undefined && isName(sub))
  // A token with a nonce is an ID token, which other parties may have, too.
  if (!isLogout || nonce !== undefined || !isOfSomebody || !isName(jti)) throw new errors.JWTInvalid('not a logout token')
  return { sub, sid, jti }
}

function isName (value) {
  return typeof value === 'string' && value !== ''
}

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
