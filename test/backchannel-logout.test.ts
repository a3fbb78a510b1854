/**
 * `examples/backchannel-logout.js` with a real identity provider, over real HTTP. It requires the built package:
 * `npm run build` first.
 */
import '../packages/companions'
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { Browser } from './browser'
import { serve, stop } from './program'
import { freePort } from './servers'

const CLIENT_ID = 'shop'
const CLIENT_SECRET = 'the secret of the shop'
const EVENTS = { 'http://schemas.openid.net/event/backchannel-logout': {} }

interface IdentityProvider {
  issuer: string
  /** Returns a token that the provider has signed. */
  sign: (claims: object, options?: { audience?: string, issuer?: string, issuedAt?: number }) => Promise<string>
  /** The logout tokens that the provider has sent. */
  sent: string[]
}

async function startProvider (t: Test, shop: string): Promise<IdentityProvider> {
  // An ES module without types.
  const { Provider } = await import('oidc-provider' as string)
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const key = { ...await exportJWK(privateKey), alg: 'RS256', kid: 'one', use: 'sig' }
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const sent: string[] = []
  const provider = new Provider(issuer, {
    clients: [{
      client_id: CLIENT_ID,
      client_secret: CLIENT_SECRET,
      redirect_uris: [`${shop}/login/callback`],
      backchannel_logout_uri: `${shop}/backchannel-logout`,
      backchannel_logout_session_required: true
    }],
    cookies: { keys: ['a key of the provider'] },
    jwks: { keys: [key] },
    features: { backchannelLogout: { enabled: true } },
    // The provider's own fetch refuses to call the loopback address.
    async fetch (url: string, { method, headers, body }: RequestInit) {
      sent.push(String(new URLSearchParams(String(body)).get('logout_token')))
      return await fetch(url, { method, headers, body })
    }
  })
  server.on('request', provider.callback())
  return {
    issuer,
    sent,
    async sign (claims, { audience = CLIENT_ID, issuer: by = issuer, issuedAt } = {}) {
      return await new SignJWT({ jti: randomUUID(), events: EVENTS, ...claims })
        .setProtectedHeader({ alg: 'RS256', kid: 'one', typ: 'logout+jwt' })
        .setIssuer(by).setAudience(audience).setIssuedAt(issuedAt).setExpirationTime('2 minutes').sign(privateKey)
    }
  }
}

/** Logs in at the provider's own pages, and returns to the shop. */
async function login (shop: Browser, idp: Browser, name: string): Promise<Response> {
  let location = (await shop.get('/login')).headers.get('location') as string
  while (location.startsWith(idp.address) || location.startsWith('/')) {
    const path = location.startsWith('/') ? location : location.slice(idp.address.length)
    const response = await idp.get(path)
    const next = response.headers.get('location')
    if (next !== null) {
      location = next
      continue
    }
    const prompt = /name="prompt" value="(\w+)"/.exec(await response.text())?.[1] as string
    location = (await idp.post(path, { prompt, login: name, password: 'any' })).headers.get('location') as string
  }
  return await shop.get(location.slice(shop.address.length))
}

async function logout (idp: Browser): Promise<number> {
  const page = await idp.text('/session/end')
  const xsrf = /name="xsrf" value="(\w+)"/.exec(page)?.[1] as string
  return (await idp.post('/session/end/confirm', { xsrf, logout: 'yes' })).status
}

async function open (t: Test): Promise<{ provider: IdentityProvider, address: string, close: () => Promise<void> }> {
  const port = await freePort()
  const shop = `http://127.0.0.1:${port}`
  const provider = await startProvider(t, shop)
  const { program } = await serve(t, 'examples/backchannel-logout.js', {
    OIDC_ISSUER: provider.issuer, OIDC_CLIENT_ID: CLIENT_ID, OIDC_CLIENT_SECRET: CLIENT_SECRET, PUBLIC_URL: shop, PORT: String(port)
  })
  return { provider, address: shop, close: async () => await stop(t, program) }
}

t.test('backchannel-logout.js: a logout at the identity provider ends the sessions of that login, and no others', async t => {
  const { provider, address, close } = await open(t)
  const [laptop, phone] = [new Browser(address), new Browser(address)]
  const [idpOfLaptop, idpOfPhone] = [new Browser(provider.issuer), new Browser(provider.issuer)]
  t.equal((await login(laptop, idpOfLaptop, 'ada')).headers.get('location'), '/')
  const tab = new Browser(address)
  await login(tab, idpOfLaptop, 'ada')
  await login(phone, idpOfPhone, 'ada')
  const names = async (): Promise<string[]> => await Promise.all([laptop, tab, phone].map(browser => browser.text('/')))
  t.same(await names(), ['Hello, ada.\n', 'Hello, ada.\n', 'Hello, ada.\n'])

  t.equal(await logout(idpOfLaptop), 303)
  t.equal(provider.sent.length, 1, 'the provider has told the shop')
  t.same(await names(), ['Hello, stranger.\n', 'Hello, stranger.\n', 'Hello, ada.\n'])

  const post = async (token: string): Promise<number> =>
    (await new Browser(address).post('/backchannel-logout', { logout_token: token })).status
  t.equal(await post(provider.sent[0] as string), 400, 'the same token again')
  await login(laptop, idpOfLaptop, 'ada')

  const bySub = await provider.sign({ sub: 'ada' })
  const statuses = await Promise.all([1, 2, 3, 4, 5].map(async () => await post(bySub)))
  t.same(statuses.sort(), [200, 400, 400, 400, 400], 'of five requests with the same token at the same time, one is accepted')
  t.same(await names(), ['Hello, stranger.\n', 'Hello, stranger.\n', 'Hello, stranger.\n'], 'without a sid, all sessions of the user')
  await close()
})

t.test('backchannel-logout.js: anything but a valid logout token of the provider ends nothing', async t => {
  const { provider, address, close } = await open(t)
  const ada = new Browser(address)
  await login(ada, new Browser(provider.issuer), 'ada')
  const { sign } = provider
  const { privateKey: anotherKey } = await generateKeyPair('RS256')
  const forged = await new SignJWT({ jti: randomUUID(), events: EVENTS, sub: 'ada' }).setProtectedHeader({ alg: 'RS256', kid: 'one' })
    .setIssuer(provider.issuer).setAudience(CLIENT_ID).setIssuedAt().setExpirationTime('2 minutes').sign(anotherKey)
  const bad: Record<string, string> = {
    'nothing at all': '',
    'no token': 'a.b.c',
    'a token that somebody else signed': forged,
    'one for another client': await sign({ sub: 'ada' }, { audience: 'another' }),
    'one of another provider': await sign({ sub: 'ada' }, { issuer: 'http://127.0.0.1:1' }),
    'one that is old': await sign({ sub: 'ada' }, { issuedAt: Math.floor(Date.now() / 1000) - 3600 }),
    'an ID token': await sign({ sub: 'ada', nonce: 'n' }),
    'one of another event': await sign({ sub: 'ada', events: { other: {} } }),
    'one without an event': await sign({ sub: 'ada', events: undefined }),
    'one without an id': await sign({ sub: 'ada', jti: undefined }),
    'one that is for nobody': await sign({}),
    'one whose sid is empty': await sign({ sub: 'ada', sid: '' })
  }
  for (const [what, token] of Object.entries(bad)) {
    const response = await new Browser(address).post('/backchannel-logout', { logout_token: token })
    t.equal(response.status, 400, what)
    t.equal(response.headers.get('set-cookie'), null)
    t.equal(response.headers.get('cache-control'), 'no-store')
  }
  t.equal(await ada.text('/'), 'Hello, ada.\n')
  t.equal((await ada.post('/backchannel-logout', { logout_token: await sign({ sub: 'ada' }) })).status, 200)
  t.equal(await ada.text('/'), 'Hello, stranger.\n')
  await close()
})
