/** Sessions that are bound to a device, in Chromium. It keeps the keys in software, which is good enough for tests. */
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
// Chromium asks for the icon of a page that names none, some time later, and such a request would cause a refresh of its own.
const ICON = '<!doctype html><link rel="icon" href="data:,">'

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
      // If certificate errors were ignored in another way, or over plain http, Chromium would silently bind nothing.
      `--ignore-certificate-errors-spki-list=${createHash('sha256').update(spki).digest('base64')}`,
      '--enable-features=DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting'
    ],
    timeout: PATIENCE
  })
})
t.teardown(() => browser?.close())

/** A request of the browser, as the server saw it. */
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
  /** The requests that the server got, in order. */
  seen: Seen[]
  /** The events that Chromium reports about the binding. */
  events: any[]
  /** If set, the refresh is answered with this instead of by the plugin. */
  trouble: { status: Trouble | undefined }
  advance: (milliseconds: number) => void
  /** Opens a page. Returns its text. */
  visit: (path: string) => Promise<string>
  /** Calls fetch() in the page. */
  fetch: (path: string) => Promise<{ status: number, text: string }>
  /** Removes the bound cookie, as if it had expired. */
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

/** An application, and a browser that has a page of it open. */
async function open (t: Test): Promise<Opened> {
  const { advance } = clock(t)
  const ids = inOrder()
  const [store, secret, seen, events, trouble] = [new MemoryStore(), [SECRET], [] as Seen[], [] as any[], { status: undefined as Trouble | undefined }]
  const app = Fastify({ https: tls, forceCloseConnections: true }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  app.addHook('onResponse', async ({ url, headers }, { statusCode: status }) => {
    seen.push({ url, status, isProved: String(headers.cookie).includes(`${BOUND}=`), skipped: headers['secure-session-skipped'] as string | undefined })
  })
  // Answers like a proxy or a rate limiter before the plugin.
  app.addHook('onRequest', async (request, reply) => {
    if (request.url !== REFRESH || trouble.status === undefined) return
    if (trouble.status !== 'broken') return await reply.code(trouble.status).send()
    request.raw.destroy()
    reply.hijack()
  })
  app.addHook('onSend', async ({ headers }, reply, payload) => {
    if (headers['sec-fetch-dest'] !== 'document') return payload
    reply.removeHeader('content-length').type('text/html')
    return `${ICON}${payload ?? ''}`
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
  // Routes are only for users who are logged in. To this hook, a refresh looks like a request of somebody who isn't.
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
      return (await (response as NonNullable<typeof response>).text()).replace(ICON, '')
    },
    fetch: async path => await page.evaluate(async path => {
      const response = await fetch(path)
      return { status: response.status, text: await response.text() }
    }, path),
    expire: async () => await context.clearCookies({ name: BOUND })
  }
}

/** As `open`, with a visitor who has logged in and whose session has been bound for more than a minute. */
async function openBound (t: Test): Promise<Opened> {
  const opened = await open(t)
  t.equal(await opened.visit('/login'), 'ada')
  await until(async () => (await names(opened)).includes(BOUND))
  opened.advance(2 * MINUTE)
  return opened
}

/** The browser does some things in the background, and doesn't say when they are done. */
async function until (isSo: () => Promise<boolean>): Promise<void> {
  while (!await isSo()) await new Promise(resolve => setTimeout(resolve, 20))
}

/** The results of the browser's registrations. */
const created = ({ events }: Opened): string[] => events.map(event => event.creationEventDetails?.fetchResult).filter(Boolean)
const names = async ({ context }: Opened): Promise<string[]> => (await context.cookies()).map(({ name }) => name).sort()

/** Returns a function that makes a request as somebody else with these cookies of the browser, and returns the status. */
async function steal (opened: Opened, wanted: string[]): Promise<() => Promise<number>> {
  const cookies = (await opened.context.cookies()).filter(({ name }) => wanted.includes(name))
  const header = cookies.map(({ name, value }) => `${name}=${value}`).join('; ')
  return async () => (await opened.app.inject({ url: '/', headers: { cookie: header } })).statusCode
}

const refreshes = ({ seen }: Opened): number[] => seen.filter(({ url }) => url === REFRESH).map(({ status }) => status)

t.test('the browser registers after a login, and renews the bound cookie when it has expired', async t => {
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

t.test('a thief with the session cookie alone is not logged in, and with both cookies only for some minutes', async t => {
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

t.test('a browser whose quota of signatures is used up is logged out for a while, and stays bound', async t => {
  const opened = await openBound(t)
  let renewals = 0
  do {
    await opened.expire()
    renewals++
  } while (await opened.visit('/') === 'ada' && renewals < 100)
  t.match(opened.seen.at(-1)?.skipped, /^quota_exceeded/)
  t.comment(`after ${renewals} signatures`)
  t.same(await names(opened), ['sessionId'], 'the session cookie is kept')
  t.equal((await opened.app.sessions.forUser('ada')).length, 1)
})

t.test('after a 503 at the refresh, or a broken connection, the next request works again', async t => {
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

t.test('a 429 at the refresh ends the binding for ever, and a new login binds again', async t => {
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

t.test('a store that is away during a refresh does not end the binding', async t => {
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

t.test('after a second login, the browser refreshes both bindings, and only the first one ends', async t => {
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

t.test('after a logout the visitor is logged out, and the binding ends when the bound cookie expires', async t => {
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

t.test('a revoked session is not renewed', async t => {
  const opened = await openBound(t)
  t.equal(await opened.app.sessions.revokeUser('ada'), 1)
  await opened.expire()
  t.equal(await opened.visit('/'), 'nobody')
  t.same(refreshes(opened), [404])
})

t.test('rotating the secrets does not disturb bound sessions', async t => {
  const opened = await openBound(t)
  opened.secret.unshift('a newer secret with minimum length of 32 characters')
  t.equal(await opened.visit('/'), 'ada')
  await opened.expire()
  t.equal(await opened.visit('/'), 'ada')
  opened.secret.pop()
  t.equal(await opened.visit('/'), 'ada')
  t.same(refreshes(opened), [403, 200])
})

t.test('the demo binds sessions over https', async t => {
  const demo = start(t, 'examples/demo/server.js', { HTTPS_KEY: files.key, HTTPS_CERT: files.cert, COOKIE_NAME: '__Host-sessionId' })
  const { port } = new URL((await demo.says(/at https?:\S+/)).slice('at '.length))
  const context = await browser.newContext({ baseURL: `https://${HOST}:${port}` })
  t.teardown(() => context.close())
  context.setDefaultTimeout(PATIENCE)
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

t.test('if a route needs a recent proof, the second request has one', async t => {
  const opened = await openBound(t)
  await opened.visit('/')
  const refused = await opened.fetch('/pay')
  t.equal(refused.status, 403)
  t.match(JSON.parse(refused.text), { code: 'FST_ERR_SESSION_NO_PROOF', message: /within the last 60000 ms/ })
  t.same(await opened.fetch('/pay'), { status: 200, text: 'paid' })
  t.same(await opened.fetch('/pay'), { status: 200, text: 'paid' })
  t.same(refreshes(opened), [403, 200])
})
