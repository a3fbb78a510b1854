'use strict'

// Login at an identity provider by OpenID Connect, and its back-channel logout: when the provider says that a login is
// over, every session of it ends, in all browsers and processes.
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

// Of one process. Several share a RedisStore.
const store = new fastifySession.MemoryStore()
const app = fastify()

app.register(fastifyCookie)
app.register(fastifyFormbody)
app.register(fastifySession, {
  secret,
  store,
  saveUninitialized: false,
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: 8 * 60 * MINUTE },
  // The recipe: a login at the provider has a `sid`, and belongs to its user, the `sub`.
  user: session => session.oidc?.sub,
  index: { sid: session => session.oidc?.sid }
})

const provider = discover()
// Whoever needs it gets the error.
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
  // Once: of two that come back with the same at the same time, one has it.
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
  if (!answer.ok) return reply.code(403).send('The login server has refused that. Please try again.\n')
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
  // The tokens that were used, each as a 'user' who may have one session: of any number that come with the same token at
  // the same time, the store lets one in. It is kept for as long as the token could count.
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

  // Not a visitor: it has no cookie, and gets none.
  scope.post('/backchannel-logout', { config: { session: false, logoutToken: false } }, async (request, reply) => {
    reply.header('cache-control', 'no-store')
    const { sub, sid, jti } = await verify(request.body?.logout_token)
    const used = await scope.createLogoutToken({ jti })
    try {
      // Of that login; or, if the provider doesn't say which, all of the user's.
      if (sid !== undefined) await app.sessions.by('sid', sid).revoke()
      else await app.sessions.revokeUser(sub)
    } catch (error) {
      // The provider may send it again.
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

/** A logout token as OpenID Connect Back-Channel Logout 1.0 has it (2.6). */
async function verify (token) {
  const { keys } = await provider
  const { payload } = await jwtVerify(String(token), keys, {
    issuer,
    audience: clientId,
    requiredClaims: ['iat', 'exp', 'jti', 'events'],
    // How long a token counts that says nothing else: less than its `jti` is kept.
    maxTokenAge: '5 minutes'
  })
  const { events, nonce, sid, sub, jti } = payload
  const isLogout = typeof events === 'object' && events !== null && LOGOUT_EVENT in events
  const isOfSomebody = isName(sid) || (sid === undefined && isName(sub))
  // With a nonce it is an ID token, which anyone may have.
  if (!isLogout || nonce !== undefined || !isOfSomebody || !isName(jti)) throw new errors.JWTInvalid('not a logout token')
  return { sub, sid, jti }
}

function isName (value) {
  return typeof value === 'string' && value !== ''
}

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
