'use strict'

// Login at another site, by OAuth 2 and @fastify/oauth2. The session keeps the `state`, for one use. The `state` proves
// that the visitor who comes back is the one who left.
//
//   OAUTH_SERVER=https://login.example OAUTH_CLIENT_ID=… OAUTH_CLIENT_SECRET=… node examples/oauth.js
//   (then open http://127.0.0.1:3000/login in a browser)

const { randomBytes, timingSafeEqual } = require('node:crypto')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyOauth2 = require('@fastify/oauth2')
const fastifySession = require('@fastify/session')

const { OAUTH_SERVER, OAUTH_CLIENT_ID, OAUTH_CLIENT_SECRET, PUBLIC_URL } = process.env
const server = OAUTH_SERVER || 'http://127.0.0.1:4000'

const app = fastify()

app.register(fastifyCookie)
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  saveUninitialized: false,
  // Not 'strict': the visitor comes back from another site, so the browser wouldn't send the cookie.
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: 8 * 60 * 60 * 1000 }
})

app.register(fastifyOauth2, {
  name: 'login',
  credentials: {
    client: { id: OAUTH_CLIENT_ID || 'example', secret: OAUTH_CLIENT_SECRET || 'for this example only' },
    auth: { authorizeHost: server, authorizePath: '/authorize', tokenHost: server, tokenPath: '/token' }
  },
  scope: ['profile'],
  startRedirectPath: '/login',
  // In production, use a fixed address, never a header, which anyone can send.
  callbackUri: (request) => `${PUBLIC_URL || `http://${request.host}`}/login/callback`,
  // Anyone who intercepts the code also needs the verifier, which @fastify/oauth2 keeps in its own cookie.
  pkce: 'S256',
  cookie: { secure: (PUBLIC_URL ?? '').startsWith('https:'), path: '/login' },

  // The recipe. The session is saved with this reply, before the browser leaves.
  async generateStateFunction (request) {
    request.session.oauthState = randomBytes(16).toString('base64url')
    return request.session.oauthState
  },
  async checkStateFunction (request) {
    // If two requests come back with the same state at the same time, only one gets it.
    const expected = await request.session.take('oauthState')
    return expected !== undefined && isSame(request.query.state, expected)
  }
})

app.get('/login/callback', async (request, reply) => {
  let token
  try {
    ({ token } = await app.login.getAccessTokenFromAuthorizationCodeFlow(request, reply))
  } catch (error) {
    request.log.warn(error)
    return reply.code(403).send('That login did not begin here, or has been used. Please try again.\n')
  }
  const answer = await fetch(`${server}/profile`, { headers: { authorization: `Bearer ${token.access_token}` } })
  if (!answer.ok) return reply.code(502).send('The login server does not say who you are.\n')
  const { name } = await answer.json()

  // A new id for a visitor who gains rights (session fixation).
  await request.session.regenerate()
  request.session.user = { name }
  return reply.redirect('/', 303)
})

app.get('/', async (request) => `Hello, ${request.session.user?.name ?? 'stranger'}.\n`)

app.post('/logout', async (request) => {
  await request.session.destroy()
  return 'Goodbye.\n'
})

function isSame (given, expected) {
  const [a, b] = [Buffer.from(String(given)), Buffer.from(expected)]
  return a.length === b.length && timingSafeEqual(a, b)
}

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
