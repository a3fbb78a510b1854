import '../packages/companions'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import Fastify from 'fastify'
import { Client } from 'pg'
import { createClient } from 'redis'
import t, { type Test } from 'tap'
import { Browser } from './browser'
import { conduct, ROOT, serve, start, stop, tsc } from './program'
import { freePort, startNginx, startPostgres, startRedis, startRedisCluster, startRedisSentinel } from './servers'

// The recipes of docs/recipes.md, each started as a reader starts it, with the servers that it needs, over real HTTP. They
// require the built package: `npm run build` first.

const DAY = 24 * 60 * 60 * 1000
const POST = { method: 'POST' }

// These servers start slowly, mostly waiting, so they start while the first tests run.
const redis = started(startRedis(t))
const cluster = started(startRedisCluster(t))
const sentinel = started(startRedisSentinel(t))

/** Tests that need the server get its error. This handler is for the time before they wait for it. */
function started<Server> (server: Promise<Server>): Promise<Server> {
  server.catch(() => {})
  return server
}

t.test('docs/recipes.md, docs/migrating.md or docs/writing-a-store.md links to each example', async t => {
  const page = ['recipes.md', 'migrating.md', 'writing-a-store.md'].map(name => readFileSync(join(ROOT, 'docs', name), 'utf8')).join('\n')
  const examples = readdirSync(join(ROOT, 'examples')).filter(name => name !== 'tsconfig.json')
  for (const name of examples) t.ok(page.includes(`](../examples/${name}`), name)
})

t.test('passport.js: a login changes the session id, a logout leaves nothing', async t => {
  const { program, address } = await serve(t, 'examples/passport.js')
  const ada = new Browser(address)
  const other = new Browser(address)

  t.equal(await ada.status('/account'), 401, 'before login')
  t.equal(ada.cookie, '', 'no cookie for a visitor who only looks')
  t.equal((await ada.post('/login', { name: 'ada', password: 'babbage' })).status, 401, 'a wrong password')
  t.equal((await ada.post('/login', { name: 'eve', password: 'lovelace' })).status, 401, 'an unknown name')
  t.equal((await ada.post('/login', { name: 'ada' })).status, 400, 'no password')
  t.equal(await ada.status('/account'), 401, 'after failed logins')

  t.equal((await ada.post('/login', { name: 'ada', password: 'lovelace' })).status, 200)
  t.match(await ada.text('/account'), 'the account of Ada Lovelace')
  t.equal(await other.status('/account'), 401, 'another visitor')
  const first = ada.copy()
  await ada.post('/login', { name: 'ada', password: 'lovelace' })
  t.not(ada.cookie, first.cookie, 'a second login changes the session id')
  t.equal(await first.status('/account'), 401, 'the old id no longer works')

  const copy = ada.copy()
  t.equal((await ada.post('/logout')).status, 200)
  t.equal(ada.cookie, '', 'the cookie is gone')
  t.equal(await copy.status('/account'), 401, 'a copied cookie is logged out too')
  await stop(t, program)
})

t.test('confirm-password.js: a change of the mail address asks for the password once more', async t => {
  const program = conduct(t, 'examples/confirm-password.js')
  const address = await program.says(/http:\S+/)
  const ada = new Browser(address)
  const change = async (mail: string, visitor = ada): Promise<string | null> => {
    const response = await visitor.post('/mail', { mail })
    await response.text()
    return response.status === 200 ? 'changed' : response.headers.get('location')
  }

  t.equal(await change('eve@example.com', new Browser(address)), '/login', 'a stranger')
  t.equal((await ada.post('/login', { name: 'ada', password: 'babbage' })).status, 401)
  await ada.post('/login', { name: 'ada', password: 'lovelace' })
  t.equal(await change('ada@example.com'), 'changed', 'right after the login')
  await program.advance(10 * 60_000)
  t.equal(await change('eve@example.com'), '/confirm', 'after a while, even in the same browser')
  t.equal((await ada.post('/confirm', { password: 'guessed' })).status, 401)
  t.equal(await change('eve@example.com'), '/confirm')
  t.equal(await ada.text('/account'), 'ada, ada@example.com\n', 'still logged in')

  const before = ada.copy()
  t.equal((await ada.post('/confirm', { password: 'lovelace' })).status, 200)
  t.equal(await change('lovelace@example.com'), 'changed')
  t.equal(await ada.text('/account'), 'ada, lovelace@example.com\n')
  t.equal(await change('eve@example.com', before), '/login', 'the cookie from before the confirmation')
  t.equal((await new Browser(address).post('/confirm', { password: 'lovelace' })).status, 401, 'a stranger with the password')
  await stop(t, program)
})

t.test("csrf.js: only the visitor's own forms are accepted", async t => {
  const { program, address } = await serve(t, 'examples/csrf.js')
  const visitor = new Browser(address)
  const attacker = new Browser(address)
  const tokenOf = async (browser: Browser): Promise<string> =>
    /name="_csrf" value="([^"]+)"/.exec(await browser.text('/'))?.[1] as string
  const send = async (fields: object): Promise<number> => (await visitor.post('/messages', fields)).status

  t.equal(await send({ text: 'hello' }), 403, 'a visitor who never saw the form')
  const token = await tokenOf(visitor)
  t.equal(await send({ text: 'hello' }), 403, 'no token')
  t.equal(await send({ text: 'hello', _csrf: await tokenOf(attacker) }), 403, 'the token of somebody else')
  t.equal(await send({ text: '<b>hello</b>', _csrf: token }), 303)
  t.match(await visitor.text('/'), '<li>&#60;b&#62;hello&#60;/b&#62;</li>', 'the message is shown, without its tag')
  t.equal(await send({ text: 'again', _csrf: token }), 303, 'the form of another tab')

  t.equal((await visitor.post('/login', { _csrf: token })).status, 303)
  t.equal(await send({ text: 'old', _csrf: token }), 403, 'a form from before the login')
  t.equal(await send({ text: 'new', _csrf: await tokenOf(visitor) }), 303)
  t.match(await visitor.text('/'), /hello.*again.*new/)

  await visitor.post('/login', { _csrf: await tokenOf(visitor) })
  const tabs = await Promise.all([1, 2, 3, 4, 5].map(() => tokenOf(visitor.copy())))
  for (const _csrf of tabs) t.equal(await send({ text: 'tab', _csrf }), 303, 'the forms of tabs that opened at the same time')
  await stop(t, program)
})

t.test('flash.js shows a message once, to the visitor who caused it', async t => {
  const { program, address } = await serve(t, 'examples/flash.js')
  const visitor = new Browser(address)
  const other = new Browser(address)

  t.equal(await visitor.text('/'), 'Notes: none\n')
  t.equal(visitor.cookie, '', 'no cookie without messages')
  const reply = await visitor.post('/notes', { text: 'milk %s' })
  t.equal(reply.status, 303)
  t.equal(reply.headers.get('location'), '/')
  t.equal(await other.text('/'), 'Notes: none\n', 'another visitor')
  t.equal(await visitor.text('/'), '[info] Saved: milk %s.\nNotes: milk %s\n')
  t.equal(await visitor.text('/'), 'Notes: milk %s\n', 'once')
  await visitor.post('/notes')
  await visitor.post('/notes', { text: 'tea' })
  t.equal(await visitor.text('/'), '[error] A note without words is none.\n[info] Saved: tea.\nNotes: milk %s, tea\n', 'the messages of two forms')
  t.equal(await visitor.text('/'), 'Notes: milk %s, tea\n')
  await visitor.post('/notes')
  const pages = await Promise.all([1, 2, 3, 4, 5].map(() => visitor.copy().text('/')))
  t.equal(pages.filter(page => page.startsWith('[error]')).length, 1, 'of five pages that load at the same time, one shows the message')
  await Promise.all(['a', 'b', 'c', 'd', 'e'].map(text => visitor.copy().post('/notes', { text })))
  t.match(await visitor.text('/'), /Notes: milk %s, tea(, [a-e]){5}\n/, 'the notes of five forms are all kept')
  await stop(t, program)
})

/** An authorization server with one user and no login page. It checks the client and the verifier, and accepts a code once. */
async function startAuthorizationServer (t: Test, secret: string): Promise<string> {
  const codes = new Map<string, { challenge: string, redirectUri: string }>()
  const app = Fastify({ forceCloseConnections: true })
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' },
    async (_request: unknown, body: string) => Object.fromEntries(new URLSearchParams(body)))
  app.get<{ Querystring: Record<string, string> }>('/authorize', async ({ query }, reply) => {
    const code = randomBytes(8).toString('hex')
    codes.set(code, { challenge: query.code_challenge as string, redirectUri: query.redirect_uri as string })
    return reply.redirect(`${query.redirect_uri}?${new URLSearchParams({ code, state: query.state as string })}`)
  })
  app.post<{ Body: Record<string, string> }>('/token', async ({ headers, body }, reply) => {
    const grant = codes.get(body.code as string)
    codes.delete(body.code as string)
    const isGood = headers.authorization === `Basic ${Buffer.from(`shop:${secret}`).toString('base64')}` &&
      grant?.challenge === createHash('sha256').update(body.code_verifier ?? '').digest('base64url') &&
      grant.redirectUri === body.redirect_uri
    return isGood ? { access_token: 'a token', token_type: 'bearer' } : reply.code(400).send({ error: 'invalid_grant' })
  })
  app.get('/profile', async ({ headers }, reply) =>
    headers.authorization === 'Bearer a token' ? { name: 'Ada' } : reply.code(401).send({ error: 'unknown' }))
  t.teardown(() => app.close())
  return await app.listen({ host: '127.0.0.1', port: 0 })
}

t.test('oauth.js: a login succeeds only in the browser that began it, and only once', async t => {
  const server = await startAuthorizationServer(t, 'client-secret')
  const { program, address } = await serve(t, 'examples/oauth.js', {
    OAUTH_SERVER: server, OAUTH_CLIENT_ID: 'shop', OAUTH_CLIENT_SECRET: 'client-secret'
  })
  const ada = new Browser(address)
  /** Goes to the authorization server, and returns the path of the callback. */
  const leave = async (browser: Browser): Promise<string> => {
    const away = await browser.get('/login')
    t.equal(away.status, 302)
    const there = await fetch(away.headers.get('location') as string, { redirect: 'manual' })
    return (there.headers.get('location') as string).slice(address.length)
  }

  const back = await leave(ada)
  const before = ada.copy()
  t.equal((await ada.get(back)).headers.get('location'), '/')
  t.equal(await ada.text('/'), 'Hello, Ada.\n')
  t.not(ada.cookie, before.cookie, 'the login changes the session id')
  t.equal(await before.text('/'), 'Hello, stranger.\n', 'the old id no longer works')
  t.equal(await ada.status(back), 403, 'the same callback again')
  t.equal(await before.status(back), 403, 'the same callback with the old cookies')

  const victim = new Browser(address)
  const attacker = new Browser(address)
  const forged = (path: string, change: (query: URLSearchParams) => void): string => {
    const url = new URL(path, address)
    change(url.searchParams)
    return url.pathname + url.search
  }
  t.equal(await victim.status(await leave(attacker)), 403, 'a visitor who has not begun a login')
  await leave(victim)
  t.equal(await victim.status(await leave(attacker)), 403, "somebody else's callback")
  t.equal(await victim.status(forged(await leave(victim), query => query.set('state', 'guessed'))), 403, 'a forged state')
  t.equal(await victim.status(forged(await leave(victim), query => query.delete('state'))), 403, 'a missing state')
  const path = await leave(victim)
  const again = victim.copy()
  await victim.status(forged(path, query => query.set('state', 'guessed')))
  t.equal(await again.status(path), 403, 'a state is valid for one attempt')
  t.equal(await victim.text('/'), 'Hello, stranger.\n', 'none of these logged the visitor in')
  const twice = await leave(victim)
  const statuses = await Promise.all([1, 2, 3, 4, 5].map(() => victim.copy().status(twice)))
  t.same(statuses.sort(), [303, 403, 403, 403, 403], 'of five simultaneous callbacks with one state, one succeeds')
  victim.cookie = ''
  t.equal(await victim.status(await leave(victim)), 303, 'a new attempt succeeds')

  t.equal((await ada.get('/logout', POST)).status, 200)
  t.equal(await ada.text('/'), 'Hello, stranger.\n')
  await stop(t, program)
})

interface Reply {
  status: number | undefined
  headers: IncomingHttpHeaders
  body: string
}

async function replyOf (response: Promise<IncomingMessage[]>): Promise<Reply> {
  const [message] = await response as [IncomingMessage]
  return { status: message.statusCode, headers: message.headers, body: await text(message) }
}

t.test('nginx: behind a proxy that terminates TLS, the cookie is Secure if the proxy is trusted', async t => {
  const [port, appPort] = [await freePort(), await freePort()]
  const config = readFileSync(join(ROOT, 'examples/nginx/nginx.conf'), 'utf8')
  const { certificate } = await startNginx(t, config
    .replace('listen 8443', `listen 127.0.0.1:${port}`)
    .replace('server 127.0.0.1:3000', `server 127.0.0.1:${appPort}`))
  const get = async (headers = {}): Promise<Reply> => {
    const request = httpsRequest({ host: '127.0.0.1', port, servername: 'localhost', ca: certificate, agent: false, headers }).end()
    return await replyOf(once(request, 'response'))
  }
  const cookieOf = ({ headers }: Reply): string => headers['set-cookie']?.[0] ?? ''

  let program = start(t, 'examples/nginx/server.js', { PORT: String(appPort) })
  const address = await program.says(/http:\S+/)
  const first = await get({ host: `localhost:${port}` })
  t.match(cookieOf(first), /^__Host-sessionId=\S+; Path=\/; Expires=.+ GMT; HttpOnly; Secure; SameSite=Lax$/)
  t.strictSame(JSON.parse(first.body), { visits: 1, protocol: 'https', host: `localhost:${port}`, ip: '127.0.0.1' })
  const cookie = cookieOf(first).split(';', 1)[0]
  t.match(JSON.parse((await get({ cookie })).body), { visits: 2 }, 'the session is found again')

  const lies = { 'x-forwarded-proto': 'http', 'x-forwarded-host': 'evil.example', 'x-forwarded-for': '203.0.113.7' }
  const lied = await get({ cookie, host: 'localhost', ...lies })
  t.strictSame(JSON.parse(lied.body), { visits: 3, protocol: 'https', host: 'localhost', ip: '127.0.0.1' }, "nginx overwrites the client's headers")
  t.match(cookieOf(lied), /; Secure;/)

  const past = await new Browser(address).get('/')
  t.strictSame(past.headers.getSetCookie(), [], 'a request that bypasses nginx is plain http')
  t.match((await program.end('SIGTERM')).stderr, /FST_SESSION_INSECURE/)

  program = start(t, 'examples/nginx/server.js', { PORT: String(appPort), TRUST_PROXY: '' })
  await program.says(/http:\S+/)
  const untrusted = await get()
  t.equal(untrusted.status, 200)
  t.match(JSON.parse(untrusted.body), { visits: 1, protocol: 'http' }, 'without trustProxy, the application takes the request for plain http')
  t.equal(cookieOf(untrusted), '', 'and sends no cookie')
  const { code, stderr } = await program.end('SIGTERM')
  t.equal(code, 0)
  t.match(stderr, /FST_SESSION_INSECURE.*trustProxy/, 'a warning says why')
})

t.test('rotating-secrets.js: visitors who come while the old secret is still valid stay logged in', async t => {
  const file = join(t.testdir({ secrets: '' }), 'secrets')
  const [first, second] = ['first', 'second'].map(name => `the ${name} secret, of 32 and more characters`) as [string, string]
  const write = (...secrets: string[]): void => writeFileSync(file, secrets.join('\n') + '\n')
  write(first)
  const { program, address } = await serve(t, 'examples/rotating-secrets.js', { SECRETS_FILE: file })
  const reload = async (said: RegExp): Promise<void> => {
    program.signal('SIGHUP')
    await program.says(said)
  }
  const ada = new Browser(address)
  const absent = new Browser(address)
  await ada.post('/login', { name: 'ada' })
  await absent.post('/login', { name: 'bob' })

  const old = ada.copy()
  write(second, first)
  await reload(/secrets read: 2\n/)
  t.equal(await ada.text('/'), 'Hello, ada.\n', 'after the rotation')
  t.not(ada.cookie, old.cookie, 'the cookie is signed again')
  const idOf = ({ cookie }: Browser): string => cookie.split('.', 1)[0] as string
  t.equal(idOf(ada), idOf(old), 'the session is the same')
  t.equal(await old.copy().text('/'), 'Hello, ada.\n', 'the old cookie is still valid')

  write('short')
  await reload(/secrets not read: .*32 or more characters/)
  t.equal(await old.copy().text('/'), 'Hello, ada.\n', 'a bad file changes nothing')

  write(second)
  await reload(/secrets read: 1\n/)
  t.equal(await ada.text('/'), 'Hello, ada.\n', 'after the old secret was dropped')
  t.equal(await old.text('/'), 'Hello, stranger.\n', 'a cookie that it signed is no longer valid')
  t.equal(await absent.text('/'), 'Hello, stranger.\n', 'a visitor who did not come in the meantime is logged out')
  await stop(t, program)
})

t.test('remember-me.js: the session lasts thirty days with the box ticked, and until the browser is closed without it', async t => {
  const { program, address } = await serve(t, 'examples/remember-me.js')
  const ada = new Browser(address)
  const daysLeft = ({ setCookie }: Browser): number | undefined => {
    const expires = /Expires=([^;]+)/.exec(setCookie)?.[1]
    return expires === undefined ? undefined : Math.round((Date.parse(expires) - Date.now()) / DAY)
  }

  await ada.post('/login', { name: 'ada' })
  t.equal(daysLeft(ada), undefined, 'no end date without the box')
  t.match(await ada.text('/'), 'until you close the browser')
  t.equal(daysLeft(ada), undefined, 'no end date at the next request either')
  await ada.post('/password')
  t.match(await ada.text('/'), 'until you close the browser', 'a new id does not change that')
  t.equal(daysLeft(ada), undefined)

  await ada.post('/login', { name: 'ada', remember: 'on' })
  t.equal(daysLeft(ada), 30, 'with the box')
  t.match(await ada.text('/'), 'Hello, ada. You are remembered for 30 days.')
  t.equal(daysLeft(ada), 30, 'the next request says the same')
  const before = ada.copy()
  await ada.post('/password')
  t.not(ada.cookie, before.cookie, 'a new id')
  t.equal(daysLeft(ada), 30, 'remembered as before')
  t.match(await ada.text('/'), 'for 30 days')

  await ada.post('/login', { name: 'ada' })
  t.equal(daysLeft(ada), undefined, 'a login without the box ends that')
  t.match(await ada.text('/'), 'until you close the browser')
  await stop(t, program)
})

t.test('gdpr.js: no cookie before there is something to remember, and nothing is left after the visitor asks to be forgotten', async t => {
  const program = start(t, 'examples/gdpr.js')
  const visitor = new Browser(await program.says(/http:\S+/))

  t.equal(await visitor.text('/'), 'May we count your visits?\n')
  t.equal(await visitor.text('/'), 'May we count your visits?\n')
  await visitor.post('/consent', { statistics: 'no' })
  t.equal(visitor.cookie, '', 'no cookie for a visitor who looks, or who declines')
  t.strictSame(await (await visitor.get('/my-data')).json(), {})

  t.match(await (await visitor.post('/cart', { good: 'bread' })).text(), 'bread')
  t.not(visitor.cookie, '', 'a cookie for the cart')
  await visitor.text('/')
  t.strictSame(await (await visitor.get('/my-data')).json(), { cart: ['bread'] }, 'visits are not counted')

  await visitor.post('/consent', { statistics: 'yes' })
  t.equal(await visitor.text('/'), 'Page 1 of your visits.\n')
  t.match(await (await visitor.get('/my-data')).json(), { cart: ['bread'], pages: 1, consent: { statistics: true } })
  await visitor.post('/consent', { statistics: 'no' })
  t.strictSame(await (await visitor.get('/my-data')).json(), { cart: ['bread'] }, 'after the consent was withdrawn')

  const copy = visitor.copy()
  t.equal((await visitor.get('/forget', POST)).status, 200)
  t.equal(visitor.cookie, '', 'the cookie is gone')
  t.strictSame(await (await copy.get('/my-data')).json(), {}, 'the data are gone')
  await stop(t, program)
})

t.test('the tests in examples/testing pass', async t => {
  const { code, stdout, stderr } = await start(t, 'examples/testing/app.test.js', {}, ['--test']).end()
  t.equal(code, 0, stdout)
  t.match(stdout, /pass 5\n/)
  t.notMatch(stdout + stderr, /warning/i)
})

t.test('esm.mjs counts for each visitor', async t => {
  const { program, address } = await serve(t, 'examples/esm.mjs')
  const visitor = new Browser(address)
  t.match(await visitor.text('/'), 'visit number 1.')
  t.match(await visitor.text('/'), 'visit number 2.')
  t.match(await new Browser(address).text('/'), 'visit number 1.', 'another visitor')
  await stop(t, program)
})

t.test('redis.js keeps sessions across a restart of the application: one Redis, a Cluster, Sentinels', async t => {
  const [{ url }, { nodes }, { sentinelPort, name }] = await Promise.all([redis, cluster, sentinel])
  const environments = {
    'one Redis': { REDIS_URL: url },
    'a Cluster': { REDIS_CLUSTER: nodes.slice(1).map(({ url }) => url).join(',') },
    Sentinels: { REDIS_SENTINEL: `127.0.0.1:${sentinelPort}`, REDIS_SENTINEL_NAME: name }
  }
  for (const [kind, env] of Object.entries(environments)) {
    let program = start(t, 'examples/redis.js', env)
    const visitor = new Browser(await program.says(/http:\S+/))
    t.match(await visitor.text('/'), 'visit number 1.', kind)
    t.match(await visitor.text('/'), 'visit number 2.', kind)
    await stop(t, program)

    program = start(t, 'examples/redis.js', env)
    const back = new Browser(await program.says(/http:\S+/))
    back.cookie = visitor.cookie
    t.match(await back.text('/'), 'visit number 3.', `${kind}, after a restart`)
    const copy = back.copy()
    t.equal((await back.get('/forget', POST)).status, 200)
    t.match(await copy.text('/'), 'visit number 1.', `${kind}: the old id no longer works`)
    await stop(t, program)
  }
})

t.test('production.mjs, which the README shows, sends a hardened cookie over https only, and does not start without a secret', async t => {
  const example = readFileSync(join(ROOT, 'examples/production.mjs'), 'utf8')
  const [, shown = ''] = /^## For production\n[^]*?^```js\n([^]*?)^```$/m.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? []
  t.ok(shown.includes('app.register(fastifySession, {') && example.includes(shown), "the README's block is in the example")

  const REDIS_URL = `${(await redis).url}/1`
  const bare = start(t, 'examples/production.mjs', { REDIS_URL, SESSION_SECRET: '' })
  t.match((await bare.ended).stderr, /FST_ERR_SESSION_SECRET/)

  const program = start(t, 'examples/production.mjs', { REDIS_URL, SESSION_SECRET: randomBytes(32).toString('hex') })
  const address = await program.says(/http:[\w./:]+/)
  const overHttps = { 'x-forwarded-proto': 'https' }
  const [laptop, phone] = [new Browser(address, overHttps), new Browser(address, overHttps)]
  t.equal(await laptop.text('/'), 'Hello, stranger.\n')
  t.equal(laptop.setCookie, '', 'no cookie while there is nothing to remember')
  for (const visitor of [phone, laptop]) t.equal(await (await visitor.get('/login', POST)).text(), 'Welcome.\n')
  t.match(laptop.setCookie, /^__Host-session=[^;]+; Path=\/; HttpOnly; Secure; SameSite=Lax$/)
  t.equal(await phone.text('/'), 'Hello, ada.\n')
  t.equal(await (await laptop.get('/log-out-elsewhere', POST)).text(), '1')
  t.equal(await phone.text('/'), 'Hello, stranger.\n')
  t.equal(await laptop.text('/'), 'Hello, ada.\n')

  const overHttp = new Browser(address)
  await (await overHttp.get('/login', POST)).text()
  t.equal(overHttp.setCookie, '', 'no cookie over plain http')
  const { code, stderr } = await program.end('SIGTERM')
  t.equal(code, 0)
  t.match(stderr, /FST_SESSION_INSECURE/, 'a warning says so')
})

for (const file of ['examples/postgres.js', 'examples/connect-pg-simple.js']) {
  t.test(`${file} makes its table, and keeps sessions across a restart and across lost connections`, async t => {
    const { url } = await startPostgres(t)
    const env = { DATABASE_URL: url }
    let program = start(t, file, env)
    const visitor = new Browser(await program.says(/http:\S+/))
    t.match(await visitor.text('/'), 'visit number 1.')
    t.match(await visitor.text('/'), 'visit number 2.')
    await stop(t, program)

    // Its timers take a thousand times as long.
    const slow = 'const { setTimeout } = globalThis; globalThis.setTimeout = (run, ms, ...args) => setTimeout(run, 1000 * ms, ...args)'
    program = start(t, file, env, ['--import', `data:text/javascript,${encodeURIComponent(slow)}`])
    const back = new Browser(await program.says(/http:\S+/))
    back.cookie = visitor.cookie
    t.match(await back.text('/'), 'visit number 3.', 'after a restart')

    const database = new Client({ connectionString: url })
    await database.connect()
    t.teardown(() => database.end())
    t.equal((await database.query('SELECT sid FROM session')).rowCount, 1, 'one session')
    const { rowCount } = await database.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = \'client backend\'')
    // Until the pool has heard of each of them, it may still use one.
    await program.complains(new RegExp(`(postgres: .*administrator command[^]*){${rowCount}}`))
    t.match(await back.text('/'), 'visit number 4.', 'after the connections were lost')

    const copy = back.copy()
    t.equal((await back.get('/forget', POST)).status, 200)
    t.match(await copy.text('/'), 'visit number 1.', 'the old id no longer works')
    // A pool that isn't ended would keep the process alive until its connections time out.
    const { code, stderr } = await program.end('SIGTERM')
    t.equal(code, 0, 'the pool is ended')
    t.match(stderr, /^(postgres: .*\n)+$/, 'no warnings')
  })
}

t.test('typed-sessions.ts compiles as an ES module and as CommonJS against the built package, and runs', async t => {
  const app = readFileSync(join(ROOT, 'examples/typed-sessions.ts'), 'utf8')
  const forms = { module: /^import fastifySession /m, commonjs: /require\("@fastify\/session"\)/ }
  const directory = t.testdir({
    'tsconfig.json': JSON.stringify({
      extends: join(ROOT, 'tsconfig.json'), compilerOptions: { noEmit: false }, include: [], files: ['module/app.ts', 'commonjs/app.ts']
    }),
    module: { 'package.json': '{ "type": "module" }', 'app.ts': app },
    commonjs: { 'package.json': '{ "type": "commonjs" }', 'app.ts': app },
    // The library is installed here. Its dependencies are found in the folders above.
    node_modules: { '@fastify': { session: t.fixture('symlink', ROOT) } }
  })
  await tsc(directory)
  for (const [form, pattern] of Object.entries(forms)) {
    await t.test(form, async t => {
      const file = join(directory, form, 'app.js')
      t.match(readFileSync(file, 'utf8'), pattern)
      const { program, address } = await serve(t, file)
      const ada = new Browser(address)
      const other = new Browser(address)
      const login = (browser: Browser, body: object): Promise<Response> => browser.get('/login', {
        method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' }
      })

      t.equal(await ada.status('/profile'), 401, 'before login')
      t.equal((await login(ada, {})).status, 400, 'no name')
      t.equal((await login(ada, { name: 'Ada' })).status, 200)
      const profile = await (await ada.get('/profile')).json() as object
      t.match(profile, { name: 'Ada', views: 1, since: /^\d{4}-.*Z$/ })
      t.strictSame(await (await ada.get('/profile')).json(), { ...profile, views: 2 }, 'the counter continues')
      t.equal(await other.status('/profile'), 401, 'another visitor')
      t.equal((await ada.get('/logout', POST)).status, 200)
      t.equal(await ada.status('/profile'), 401, 'after logout')
      await stop(t, program)
    })
  }
})

/** A request that is under way: its headers have arrived, its body has not. */
async function begin (browser: Browser): Promise<{ finish: (body: string) => Promise<Reply> }> {
  const request = httpRequest(`${browser.address}/story`, {
    method: 'PUT', headers: { cookie: browser.cookie, 'content-type': 'text/plain', expect: '100-continue' }, agent: false
  })
  const response = once(request, 'response')
  response.catch(() => {})
  request.flushHeaders()
  await once(request, 'continue')
  return {
    async finish (body) {
      request.end(body)
      return await replyOf(response)
    }
  }
}

t.test('graceful-shutdown.js answers the requests under way and saves their sessions before it ends', async t => {
  const { url } = await redis
  let program = start(t, 'examples/graceful-shutdown.js', { REDIS_URL: url })
  const visitor = new Browser(await program.says(/http:\S+/))
  t.equal((await visitor.get('/story', { method: 'PUT', body: 'Once upon a time. ' })).status, 200)

  const underWay = await begin(visitor)
  program.signal('SIGTERM')
  await program.says(/closing/)
  await t.rejects(fetch(visitor.address), 'new connections are refused')
  t.notMatch(program.stdout, /the connection to Redis is closed/)
  const reply = await underWay.finish('The end.')
  t.equal(reply.status, 200)
  t.equal(reply.body, 'Once upon a time. The end.')
  t.equal(reply.headers.connection, 'close')
  const { code, stdout, stderr } = await program.end()
  t.equal(code, 0)
  t.match(stdout, /closing.*\nthe last request is answered\nthe connection to Redis is closed\n$/, 'in this order')
  t.equal(stderr, '', 'no warnings')

  const client = createClient({ url })
  await client.connect()
  const [key] = await client.keys('sess:*') as [string]
  t.equal(await client.hGet(key, 'story'), '"Once upon a time. The end."', 'the change is in the store')
  await client.close()

  program = start(t, 'examples/graceful-shutdown.js', { REDIS_URL: url, SHUTDOWN_DEADLINE: '100' })
  await begin(new Browser(await program.says(/http:\S+/)))
  t.equal((await program.end('SIGTERM')).code, 1, 'a request that never finishes does not keep the process alive for ever')
})
