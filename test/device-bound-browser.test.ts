/** Sessions that are bound to a device, in Chromium. It keeps the keys in software, which is for tests. */
import '../packages/tools'
import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore } from '../src/index'
import deviceBound from '../src/device-bound/index'
import { fingerprint } from '../src/diagnostics'
import { clock, SECRET } from './helpers'
import { start } from './program'
import { makeCertificate } from './servers'
import { PATIENCE } from './waiting'

const CHROMIUM: string | undefined = require('../scripts/requirements').findChromium()

const MINUTE = 60_000
const HOST = 'app.test'
const BOUND = '__Host-sessionId-bound'
const REFRESH = '/.well-known/session/refresh'

const data = (request: FastifyRequest): any => request.session

let files: { key: string, cert: string }
let tls: { key: Buffer, cert: Buffer }
let browser: Browser

t.before(async () => {
  if (CHROMIUM === undefined) throw new Error('Chromium is needed to run this test: install it (Debian: chromium), or set CHROME_PATH')
  files = await makeCertificate(t, HOST)
  tls = { key: await readFile(files.key), cert: await readFile(files.cert) }
  const spki = new X509Certificate(tls.cert).publicKey.export({ type: 'spki', format: 'der' })
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--no-sandbox',
      '--disable-dev-shm-usage',
      `--host-resolver-rules=MAP ${HOST} 127.0.0.1`,
      // Another way to ignore errors of certificates, or plain http, and Chromium binds nothing, and says nothing.
      `--ignore-certificate-errors-spki-list=${createHash('sha256').update(spki).digest('base64')}`,
      '--enable-features=DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting'
    ],
    timeout: PATIENCE
  })
})
t.teardown(() => browser?.close())

/** What a request of the browser was. */
interface Seen {
  readonly url: string
  readonly status: number
  readonly isProved: boolean
  /** Why Chromium sent it without a bound cookie. */
  readonly skipped: string | undefined
}

type Trouble = number | 'broken'

interface Opened {
  app: FastifyInstance
  store: MemoryStore
  secret: string[]
  context: BrowserContext
  page: Page
  /** What the server got, in order. */
  seen: Seen[]
  /** What Chromium says of the binding. */
  events: any[]
  /** Answers at the refresh in place of the plugin, if it is set. */
  trouble: { status: Trouble | undefined }
  advance: (milliseconds: number) => void
  /** Opens a page. Returns what it says. */
  visit: (path: string) => Promise<string>
  /** What the page gets by fetch(). */
  fetch: (path: string) => Promise<{ status: number, text: string }>
  /** The bound cookie ends. */
  expire: () => Promise<void>
}

/**
 * Ids of sessions. Chromium renews its bindings in the order of their names, and when the newer one has the bound cookie the
 * older one misses nothing. So the older comes first.
 */
function inOrder (): string[] {
  const ids = Array.from({ length: 100 }, () => randomBytes(24).toString('base64url'))
  return ids.sort((a, b) => fingerprint(a) < fingerprint(b) ? -1 : 1)
}

/** An application, and a browser of its own that has opened a page. */
async function open (t: Test): Promise<Opened> {
  const { advance } = clock(t)
  const ids = inOrder()
  const [store, secret, seen, events, trouble] = [new MemoryStore(), [SECRET], [] as Seen[], [] as any[], { status: undefined as Trouble | undefined }]
  const app = Fastify({ https: tls, forceCloseConnections: true }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  app.addHook('onResponse', async ({ url, headers }, { statusCode: status }) => {
    seen.push({ url, status, isProved: String(headers.cookie).includes(`${BOUND}=`), skipped: headers['secure-session-skipped'] as string | undefined })
  })
  // A proxy, or a limit before the plugin.
  app.addHook('onRequest', async (request, reply) => {
    if (request.url !== REFRESH || trouble.status === undefined) return
    if (trouble.status !== 'broken') return await reply.code(trouble.status).send()
    request.raw.destroy()
    reply.hijack()
  })
  await app.register(fastifyCookie)
  await app.register(fastifySession, {
    secret,
    store,
    idGenerator: () => ids.shift() as string,
    cookie: { maxAge: 24 * 60 * MINUTE },
    saveUninitialized: false,
    user: session => (session as any).user
  })
  await app.register(deviceBound)
  // Its routes are not for whoever isn't logged in, and neither is a refresh, by its looks.
  app.addHook('onRequest', async (request, reply) => {
    if (!request.url.startsWith('/login') && data(request).user === undefined) return await reply.redirect('/login-form', 303)
  })
  app.get('/login', async (request, reply) => {
    await request.session.regenerate()
    data(request).user = 'ada'
    return await reply.redirect('/', 303)
  })
  app.get('/login-form', async () => 'nobody')
  app.get('/', async request => data(request).user)
  app.get('/logout', async (request, reply) => {
    await request.session.destroy()
    return await reply.redirect('/', 303)
  })
  app.get('/pay', { config: { session: { proof: MINUTE } } }, async () => 'paid')
  await app.listen({ host: '127.0.0.1', port: 0 })
  const address = `https://${HOST}:${(app.server.address() as AddressInfo).port}`
  const context = await browser.newContext({ baseURL: address })
  t.teardown(() => context.close())
  context.setDefaultTimeout(PATIENCE)
  const page = await context.newPage()
  const devtools = await context.newCDPSession(page) as any
  await devtools.send('Network.enable')
  await devtools.send('Network.enableDeviceBoundSessions', { enable: true })
  devtools.on('Network.deviceBoundSessionEventOccurred', (event: any) => events.push(event))
  return {
    app,
    store,
    secret,
    context,
    page,
    seen,
    events,
    trouble,
    advance,
    async visit (path) {
      const response = await page.goto(path)
      return await (response as NonNullable<typeof response>).text()
    },
    fetch: async path => await page.evaluate(async path => {
      const response = await fetch(path)
      return { status: response.status, text: await response.text() }
    }, path),
    expire: async () => await context.clearCookies({ name: BOUND })
  }
}

/** The same, with a visitor who has logged in and whose session is bound for more than a minute. */
async function openBound (t: Test): Promise<Opened> {
  const opened = await open(t)
  t.equal(await opened.visit('/login'), 'ada')
  await until(async () => (await names(opened)).includes(BOUND))
  opened.advance(2 * MINUTE)
  return opened
}

/** The browser does some things by itself, and tells nobody when it is done. */
async function until (isSo: () => Promise<boolean>): Promise<void> {
  while (!await isSo()) await new Promise(resolve => setTimeout(resolve, 20))
}

/** What came of its registrations. */
const created = ({ events }: Opened): string[] => events.map(event => event.creationEventDetails?.fetchResult).filter(Boolean)
const names = async ({ context }: Opened): Promise<string[]> => (await context.cookies()).map(({ name }) => name).sort()

/** What somebody else gets, with these cookies of the browser. */
async function steal (opened: Opened, wanted: string[]): Promise<() => Promise<number>> {
  const cookies = (await opened.context.cookies()).filter(({ name }) => wanted.includes(name))
  const header = cookies.map(({ name, value }) => `${name}=${value}`).join('; ')
  return async () => (await opened.app.inject({ url: '/', headers: { cookie: header } })).statusCode
}

const refreshes = ({ seen }: Opened): number[] => seen.filter(({ url }) => url === REFRESH).map(({ status }) => status)

t.test('it registers after a login, and renews when the bound cookie has ended', async t => {
  const opened = await openBound(t)
  t.same(await names(opened), [BOUND, 'sessionId'])
  await until(async () => created(opened).length > 0)
  t.same(created(opened), ['Success'])
  t.same((await opened.app.sessions.forUser('ada')).map(({ deviceBound }) => deviceBound), [true])
  t.equal(await opened.visit('/'), 'ada')
  t.same(refreshes(opened), [])
  await opened.expire()
  t.equal(await opened.visit('/'), 'ada')
  t.same(refreshes(opened), [403, 200])
  t.equal(opened.seen.at(-1)?.isProved, true)
})

t.test('a thief with one cookie is nobody, and with both for some minutes', async t => {
  const opened = await openBound(t)
  const [one, both] = [await steal(opened, ['sessionId']), await steal(opened, ['sessionId', BOUND])]
  t.equal(await one(), 303)
  t.equal(await both(), 200)
  opened.advance(10 * MINUTE)
  t.equal(await both(), 303)
  await opened.expire()
  t.equal(await opened.visit('/'), 'ada')
  t.equal(await both(), 303)
})

t.test('a browser that may sign no more is nobody for a while, and stays bound', async t => {
  const opened = await openBound(t)
  let renewals = 0
  do {
    await opened.expire()
    renewals++
  } while (await opened.visit('/') === 'ada' && renewals < 100)
  t.match(opened.seen.at(-1)?.skipped, /^quota_exceeded/)
  t.comment(`after ${renewals} signatures`)
  t.same(await names(opened), ['sessionId'], 'the cookie stays')
  t.equal((await opened.app.sessions.forUser('ada')).length, 1)
})

t.test('a 503 at the refresh, or a broken connection, is a bad moment', async t => {
  const opened = await openBound(t)
  for (const status of [503, 'broken'] as const) {
    opened.trouble.status = status
    await opened.expire()
    t.equal(await opened.visit('/'), 'nobody', `${status}`)
    opened.trouble.status = undefined
    t.equal(await opened.visit('/'), 'ada', `${status}`)
    t.equal(opened.seen.at(-1)?.isProved, true)
  }
  t.ok(opened.seen.some(({ skipped }) => skipped?.startsWith('server_error')))
})

t.test('a 429 at the refresh ends the binding for ever, and a login heals', async t => {
  const opened = await openBound(t)
  opened.trouble.status = 429
  await opened.expire()
  t.equal(await opened.visit('/'), 'nobody')
  opened.trouble.status = undefined
  t.equal(await opened.visit('/'), 'nobody')
  await until(async () => opened.events.some(({ terminationEventDetails: end }) => end?.deletionReason === 'RefreshFatalError'))
  t.equal(await opened.visit('/login'), 'ada')
  await until(async () => (await names(opened)).includes(BOUND))
})

t.test('a store that is away at the refresh ends no binding', async t => {
  const opened = await openBound(t)
  const { get } = opened.store
  opened.store.get = (_sessionId: string, callback: any) => callback(new Error('away'))
  await opened.expire()
  await opened.page.goto('/')
  t.same(refreshes(opened), [503])
  opened.store.get = get
  t.equal(await opened.visit('/'), 'ada')
  t.same(refreshes(opened), [503, 403, 200])
})

t.test('after a second login both bindings are renewed, and only the first one ends', async t => {
  const opened = await openBound(t)
  await opened.visit('/login')
  await until(async () => created(opened).length === 2)
  opened.advance(2 * MINUTE)
  await opened.expire()
  t.equal(await opened.visit('/'), 'ada')
  t.same(refreshes(opened).sort(), [200, 403, 404])
  await opened.expire()
  t.equal(await opened.visit('/'), 'ada')
  t.same(refreshes(opened).sort(), [200, 200, 403, 403, 404])
})

t.test('who logs out is logged out, and the binding ends when the cookie does', async t => {
  const opened = await openBound(t)
  const both = await steal(opened, ['sessionId', BOUND])
  t.equal(await opened.visit('/logout'), 'nobody')
  t.equal(await both(), 303)
  await opened.expire()
  t.equal(await opened.visit('/'), 'nobody')
  t.same(refreshes(opened), [404])
  t.equal(await opened.visit('/'), 'nobody')
  t.same(refreshes(opened), [404])
})

t.test('a session that is revoked is renewed no more', async t => {
  const opened = await openBound(t)
  t.equal(await opened.app.sessions.revokeUser('ada'), 1)
  await opened.expire()
  t.equal(await opened.visit('/'), 'nobody')
  t.same(refreshes(opened), [404])
})

t.test('nobody notices that the secrets are rotated', async t => {
  const opened = await openBound(t)
  opened.secret.unshift('a newer secret with minimum length of 32 characters')
  t.equal(await opened.visit('/'), 'ada')
  await opened.expire()
  t.equal(await opened.visit('/'), 'ada')
  opened.secret.pop()
  t.equal(await opened.visit('/'), 'ada')
  t.same(refreshes(opened), [403, 200])
})

t.test('the demo offers it over https', async t => {
  const demo = start(t, 'examples/demo/server.js', { HTTPS_KEY: files.key, HTTPS_CERT: files.cert, COOKIE_NAME: '__Host-sessionId' })
  const { port } = new URL((await demo.says(/at https?:\S+/)).slice('at '.length))
  const context = await browser.newContext({ baseURL: `https://${HOST}:${port}` })
  t.teardown(() => context.close())
  const page = await context.newPage()
  await page.goto('/')
  await page.getByLabel('Your name').fill('Ada')
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('heading', { name: 'Hello, Ada' }).waitFor()
  await until(async () => (await context.cookies()).some(({ name }) => name === BOUND))
  await context.clearCookies({ name: BOUND })
  await page.reload()
  await page.getByRole('heading', { name: 'Hello, Ada' }).waitFor()
  t.ok((await context.cookies()).some(({ name }) => name === BOUND), 'and renews')
  await page.getByText('bound to the device').waitFor()
})

t.test('a route that asks for a proof of now gets one at the second try', async t => {
  const opened = await openBound(t)
  await opened.visit('/')
  const refused = await opened.fetch('/pay')
  t.equal(refused.status, 403)
  t.match(JSON.parse(refused.text), { code: 'FST_ERR_SESSION_NO_PROOF', message: /within the last 60000 ms/ })
  t.same(await opened.fetch('/pay'), { status: 200, text: 'paid' })
  t.same(await opened.fetch('/pay'), { status: 200, text: 'paid' })
  t.same(refreshes(opened), [403, 200])
})
