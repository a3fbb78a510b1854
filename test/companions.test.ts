import '../packages/companions'
import { createHash, randomBytes } from 'node:crypto'
import fastifyCsrfProtection from '@fastify/csrf-protection'
import fastifyFlash from '@fastify/flash'
import passport from '@fastify/passport'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import grant from 'grant'
import t, { type Test } from 'tap'
import { build, SECRET, Visitor } from './helpers'

// Each of these plugins as published, in one flow of a visitor.

t.test('@fastify/csrf-protection', async t => {
  const app = await build({}, app => {
    app.register(fastifyCsrfProtection, { sessionPlugin: '@fastify/session' })
    app.register(async app => {
      app.get('/form', async (_request, reply) => reply.generateCsrf())
      app.post('/transfer', { preHandler: app.csrfProtection }, async () => 'transferred')
      app.post('/login', async request => {
        await request.session.regenerate()
        return 'welcome'
      })
    })
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  const attacker = new Visitor(app)

  const transfer = (token?: string): Promise<number> =>
    visitor.get('/transfer', { method: 'POST', payload: { _csrf: token } }).then(({ statusCode }) => statusCode)

  t.equal(await transfer('made up'), 403, 'a visitor who never saw the form')

  const token = (await visitor.get('/form')).body
  t.equal(await transfer(), 403, 'no token')
  t.equal(await transfer((await attacker.get('/form')).body), 403, 'the token of somebody else')
  t.equal(await transfer(token), 200, 'the visitor\'s own token')

  const second = (await visitor.get('/form')).body
  t.equal(await transfer(second), 200, 'the token of a second form')
  t.equal(await transfer(token), 200, "the first form's token is still valid: the secret is the same")

  await visitor.get('/login', { method: 'POST' })
  t.equal(await transfer(token), 403, 'a token of the session before login')
  t.equal(await transfer((await visitor.get('/form')).body), 200, 'a new token')
})

t.test('@fastify/flash', async t => {
  const app = await build({ saveUninitialized: false }, app => {
    app.register(fastifyFlash)
    app.post('/save', async request => {
      request.flash('info', 'Saved %s.', 'your draft')
      request.flash('info', ['Mail is on its way.'])
      return request.flash('warning', 'The disk is nearly full.')
    })
    app.get('/info', async (_request, reply) => reply.flash('info'))
    app.get('/all', async (_request, reply) => reply.flash())
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  const other = new Visitor(app)

  t.equal((await visitor.get('/save', { method: 'POST' })).body, '1', 'one warning')
  t.strictSame((await other.get('/all')).json(), {}, 'messages are for one visitor')
  t.strictSame((await visitor.get('/info')).json(), ['Saved your draft.', 'Mail is on its way.'])
  t.strictSame((await visitor.get('/info')).json(), [], 'a message is shown once')
  t.strictSame((await visitor.get('/all')).json(), { warning: ['The disk is nearly full.'] }, 'the other messages are still there')
  t.strictSame((await visitor.get('/all')).json(), {})
})

class PasswordStrategy extends passport.Strategy {
  override authenticate (request: FastifyRequest): void {
    const { name, password } = request.body as { name: string, password: string }
    if (password === 'lovelace') this.success({ id: 7, name })
    else this.fail('Wrong password.')
  }
}

/** A shop: visitors fill a cart, then log in with @fastify/passport. */
async function shop (t: Test, clearSessionOnLogin: boolean, keepSessionInfo = false): Promise<FastifyInstance> {
  const authenticator = new passport.Authenticator({ clearSessionOnLogin })
  authenticator.use('password', new PasswordStrategy('password'))
  authenticator.registerUserSerializer(async (user: { name: string }) => user.name)
  authenticator.registerUserDeserializer(async (name: string) => ({ name }))

  const app = await build({}, app => {
    app.register(authenticator.initialize())
    app.register(authenticator.secureSession())
    app.post<{ Params: { item: string } }>('/cart/:item', async request => {
      const cart = request.session.get<any>('cart') ?? { items: [] }
      cart.items.push(request.params.item)
      request.session.set<any>('cart', cart)
      return cart.items
    })
    const preValidation = authenticator.authenticate('password', { failureFlash: true, keepSessionInfo })
    app.post('/login', { preValidation }, async request => request.user)
    app.get('/failures', async (_request, reply) => reply.flash('error'))
    app.get('/', async request => ({
      user: request.user,
      isAuthenticated: request.isAuthenticated(),
      cart: request.session.get<any>('cart')?.items
    }))
    app.post('/logout', async request => {
      await request.logout()
      return 'goodbye'
    })
  })
  t.teardown(() => app.close())
  return app
}

const POST = { method: 'POST' } as const
const LOGIN = { method: 'POST', payload: { name: 'ada', password: 'lovelace' } } as const
const nobody = { user: null, isAuthenticated: false }
const known = { user: { name: 'ada' }, isAuthenticated: true }

t.test('@fastify/passport', async t => {
  const app = await shop(t, true)
  const ada = new Visitor(app)
  const other = new Visitor(app)

  await ada.get('/cart/bread', POST)
  t.strictSame((await ada.get('/')).json(), { ...nobody, cart: ['bread'] }, 'before login')

  const refused = await ada.get('/login', { ...POST, payload: { name: 'ada', password: 'babbage' } })
  t.equal(refused.statusCode, 401, 'a wrong password')
  t.strictSame((await ada.get('/failures')).json(), ['Wrong password.'], 'the failure is shown once')
  t.strictSame((await ada.get('/failures')).json(), [])
  t.strictSame((await ada.get('/')).json(), { ...nobody, cart: ['bread'] }, 'a failed login changes nothing')

  const before = new Visitor(app)
  before.cookies.set('sessionId', ada.cookies.get('sessionId') as string)
  t.strictSame((await ada.get('/login', LOGIN)).json(), { id: 7, name: 'ada' }, 'the strategy\'s user')
  t.not(ada.cookies.get('sessionId'), before.cookies.get('sessionId'), 'login changes the session id')
  t.strictSame((await ada.get('/')).json(), known,
    'logged in, and the data from before are gone')
  t.strictSame((await before.get('/')).json(), nobody, 'the id from before the login no longer works')
  t.strictSame((await other.get('/')).json(), nobody, 'another visitor')

  await ada.get('/cart/milk', POST)
  const during = new Visitor(app)
  during.cookies.set('sessionId', ada.cookies.get('sessionId') as string)
  await ada.get('/logout', POST)
  t.strictSame((await ada.get('/')).json(), nobody, 'logged out, with nothing left')
  t.strictSame((await during.get('/')).json(), nobody, 'a copied cookie is logged out too')
})

// On 11.1.3 the cart was empty after login, because session.data() was missing.
t.test('@fastify/passport with clearSessionOnLogin: false keeps what is in the session', async t => {
  const app = await shop(t, false)
  const ada = new Visitor(app)

  await ada.get('/cart/bread', POST)
  const before = new Visitor(app)
  before.cookies.set('sessionId', ada.cookies.get('sessionId') as string)
  t.equal((await ada.get('/login', LOGIN)).statusCode, 200)
  t.not(ada.cookies.get('sessionId'), before.cookies.get('sessionId'), 'login changes the session id')
  t.strictSame((await ada.get('/')).json(), { ...known, cart: ['bread'] }, 'logged in')
  t.strictSame((await before.get('/')).json(), nobody, 'the id from before the login no longer works')

  await ada.get('/cart/milk', POST)
  const loggedIn = ada.cookies.get('sessionId')
  await ada.get('/logout', POST)
  t.not(ada.cookies.get('sessionId'), loggedIn, 'logout changes the session id')
  t.strictSame((await ada.get('/')).json(), { ...nobody, cart: ['bread', 'milk'] }, 'logged out, with the cart')
})

// It hands all names of the session to regenerate(), 'cookie' among them.
t.test('@fastify/passport with keepSessionInfo keeps what is in the session', async t => {
  const app = await shop(t, true, true)
  const ada = new Visitor(app)

  await ada.get('/cart/bread', POST)
  const sessionId = ada.cookies.get('sessionId')
  t.equal((await ada.get('/login', LOGIN)).statusCode, 200)
  t.not(ada.cookies.get('sessionId'), sessionId, 'login changes the session id')
  t.strictSame((await ada.get('/')).json(), { ...known, cart: ['bread'] }, 'logged in')
})

/** An OAuth 2 provider that knows one user and asks nothing. */
async function provider (t: Test): Promise<string> {
  const codes = new Map<string, { challenge: string, redirectUri: string }>()
  const app = Fastify()
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' },
    async (_request: unknown, body: string) => Object.fromEntries(new URLSearchParams(body)))

  app.get<{ Querystring: Record<string, string> }>('/authorize', async ({ query }, reply) => {
    const code = randomBytes(8).toString('hex')
    codes.set(code, { challenge: query.code_challenge as string, redirectUri: query.redirect_uri as string })
    return reply.redirect(`${query.redirect_uri}?${new URLSearchParams({ code, state: query.state as string })}`)
  })
  app.post<{ Body: Record<string, string> }>('/token', async ({ body }, reply) => {
    const grant = codes.get(body.code as string)
    codes.delete(body.code as string)
    const challenge = createHash('sha256').update(body.code_verifier ?? '').digest('base64url')
    const isGood = body.client_secret === SECRET &&
      grant?.challenge === challenge && grant.redirectUri === body.redirect_uri
    return isGood ? { access_token: 'ada\'s token' } : reply.code(400).send({ error: 'invalid_grant' })
  })
  app.get('/profile', async ({ headers }, reply) => {
    return headers.authorization === 'Bearer ada\'s token' ? { name: 'ada' } : reply.code(401).send({ error: 'unknown' })
  })

  t.teardown(() => app.close())
  return await app.listen({ host: '127.0.0.1', port: 0 })
}

t.test('grant', async t => {
  const origin = 'http://shop.test'
  const address = await provider(t)
  const app = await build({ saveUninitialized: false }, app => {
    app.register(grant.fastify({
      defaults: { origin, transport: 'session', state: true },
      wonderland: {
        oauth: 2,
        authorize_url: `${address}/authorize`,
        access_url: `${address}/token`,
        profile_url: `${address}/profile`,
        key: 'shop',
        secret: SECRET,
        pkce: true,
        response: ['tokens', 'profile'],
        callback: '/hello'
      }
    }))
    app.get('/hello', async request => request.session.get<any>('grant')?.response ?? null)
    app.get('/basket', async request => {
      request.session.set<any>('basket', ['bread'])
      return { ...request.session }
    })
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  const victim = new Visitor(app)

  const leave = await visitor.get('/connect/wonderland')
  t.equal(leave.statusCode, 302)
  t.match(leave.headers.location, `${address}/authorize?`, 'redirected to the provider')
  // While the visitor is there, another tab of the shop makes a request.
  await visitor.get('/basket')

  const there = await fetch(leave.headers.location as string, { redirect: 'manual' })
  const comeBack = there.headers.get('location') as string
  t.match(comeBack, `${origin}/connect/wonderland/callback?code=`, 'and back')

  const path = comeBack.slice(origin.length)
  t.match((await victim.get(path)).headers.location, /error=.*missing%20session/, 'a visitor who never started a login')
  await victim.get('/connect/wonderland')
  await victim.get(path)
  t.match((await victim.get('/hello')).json(), { error: /state mismatch/ }, 'the callback of another visitor')

  const back = await visitor.get(path)
  t.equal(back.statusCode, 302)
  t.equal(back.headers.location, '/hello')
  t.strictSame((await visitor.get('/hello')).json(), { access_token: 'ada\'s token', profile: { name: 'ada' } })
  t.match((await visitor.get('/basket')).json(), { basket: ['bread'], grant: { provider: 'wonderland' } })
})
