/** The demo in a real browser, over http and https: Debian's Chromium. */
import '../packages/tools'
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance } from 'fastify'
import type { AxeResults } from 'axe-core'
import { chromium, type Browser, type BrowserContext, type Locator, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import fastifySession from '../src/index'
import { SECRET } from './helpers'
import { conduct, start, type Program } from './program'
import { makeCertificate, temporaryFolder } from './servers'
import { PATIENCE } from './waiting'

const CHROMIUM: string | undefined = require('../scripts/requirements').findChromium()

const MINUTE = 60_000

let browser: Browser

t.before(async () => {
  if (CHROMIUM === undefined) throw new Error('Chromium is needed to run this test: install it (Debian: chromium), or set CHROME_PATH')
  // As root, as in most containers, Chromium only runs without its sandbox.
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-dev-shm-usage'], timeout: PATIENCE })
})
t.teardown(() => browser.close())

const DEMO = 'examples/demo/server.js'

/** Starts the demo, and returns its address. */
async function startDemo (t: Test, env: NodeJS.ProcessEnv = {}): Promise<string> {
  return await addressOf(start(t, DEMO, env))
}

async function addressOf (demo: Program): Promise<string> {
  return (await demo.says(/at https?:\S+/)).slice('at '.length)
}

/** A browser context with cookies of its own. */
async function open (t: Test, address: string, options: Parameters<Browser['newContext']>[0] = {}): Promise<Page> {
  const context = await browser.newContext({ baseURL: address, ignoreHTTPSErrors: true, ...options })
  // Not awaited: Chromium once took more than ten minutes to close one. Closing the browser closes all of them.
  t.teardown(() => { context.close().catch(() => {}) })
  context.setDefaultTimeout(PATIENCE)
  const page = await context.newPage()
  await page.goto('/')
  return page
}

async function login (page: Page, name: string): Promise<void> {
  await page.getByLabel('Your name').fill(name)
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('heading', { name: `Hello, ${name}` }).waitFor()
  await ready(page)
}

/** Waits until the page's styles and scripts are there, too: its text may be there before. */
async function ready (page: Page): Promise<void> {
  await page.waitForLoadState('load')
}

/** Loads the page again, and waits until the server will tell it that its session has ended. */
async function listens (page: Page): Promise<void> {
  const listening = page.waitForResponse(/events/)
  await page.reload()
  await listening
}

const heading = async (page: Page): Promise<string> => await page.locator('#hello').innerText()
const cookiesOf = async (page: Page): ReturnType<BrowserContext['cookies']> => await page.context().cookies()

t.test('a visitor is known from login to logout, and not after it, even with the back button', async t => {
  const page = await open(t, await startDemo(t))
  t.equal(await heading(page), 'Hello, stranger')
  await login(page, 'Ada')
  await page.getByRole('button', { name: 'Log out', exact: true }).click()
  await page.getByRole('heading', { name: 'Hello, stranger' }).waitFor()
  await page.goBack()
  t.equal(await heading(page), 'Hello, stranger')
})

t.test('two tabs that add to the cart at the same time lose nothing', async t => {
  const demo = conduct(t, DEMO)
  const page = await open(t, await addressOf(demo))
  await login(page, 'Ada')
  const other = await page.context().newPage()
  await other.goto('/')
  for (const tab of [page, other]) {
    await tab.getByLabel('Take 2 seconds over it').check()
    await tab.getByRole('button', { name: 'Add apple' }).click({ noWaitAfter: true })
  }
  await demo.asleep(2)
  demo.wake()
  for (const tab of [page, other]) await tab.getByText('It is in the cart').waitFor()
  await page.reload()
  t.match(await page.getByRole('listitem').filter({ hasText: 'Apple' }).innerText(), /Apple: 2/)
})

t.test('after a session is ended from another browser, its next click finds it logged out', async t => {
  const address = await startDemo(t)
  const [laptop, phone] = [await open(t, address), await open(t, address)]
  await login(phone, 'Ada')
  await login(laptop, 'Ada')
  await laptop.getByRole('button', { name: /^End the session on/ }).click()
  await laptop.getByText('That session has ended').waitFor()
  await phone.getByRole('button', { name: 'Add bread' }).click()
  await phone.getByRole('heading', { name: 'Hello, stranger' }).waitFor()
  t.match(await phone.getByRole('alert').innerText(), /logged out/)
  await laptop.reload()
  t.equal(await heading(laptop), 'Hello, Ada')
})

t.test('an open page says so by itself when its session is ended elsewhere', async t => {
  const address = await startDemo(t)
  const [laptop, phone] = [await open(t, address), await open(t, address)]
  await login(phone, 'Ada')
  await login(laptop, 'Ada')
  await listens(phone)
  await laptop.getByRole('button', { name: /^End the session on/ }).click()
  await phone.getByText('This session was ended on another device.').waitFor()
  await laptop.getByText('That session has ended').waitFor()
  await listens(laptop)
  await phone.getByRole('link', { name: 'Reload the page' }).click()
  await phone.getByRole('heading', { name: 'Hello, stranger' }).waitFor()
  const tab = await laptop.context().newPage()
  await tab.goto('/')
  await tab.getByRole('button', { name: 'Log out', exact: true }).click()
  await laptop.getByText('You have logged out in another tab.').waitFor()
})

t.test('one browser ends all other sessions', async t => {
  const address = await startDemo(t)
  const pages = [await open(t, address), await open(t, address), await open(t, address)]
  for (const page of pages) await login(page, 'Ada')
  const [first, second, third] = pages as [Page, Page, Page]
  await third.getByRole('button', { name: 'End all others' }).click()
  await third.getByText('All your other sessions have ended').waitFor()
  await Promise.all([first.reload(), second.reload()])
  t.same(await Promise.all(pages.map(heading)), ['Hello, stranger', 'Hello, stranger', 'Hello, Ada'])
})

t.test('over http, neither scripts nor forms of other sites can use the cookie', async t => {
  const page = await open(t, await startDemo(t))
  t.match(await cookiesOf(page), [{ name: 'sessionId', httpOnly: true, secure: false, sameSite: 'Lax', path: '/' }])
  t.equal(await page.evaluate('document.cookie'), '')
})

t.test('over https, the __Host- cookie is Secure, and a logout clears it', async t => {
  const { key, cert } = await makeCertificate(t)
  const page = await open(t, await startDemo(t, { HTTPS_KEY: key, HTTPS_CERT: cert, COOKIE_NAME: '__Host-sessionId' }))
  await login(page, 'Ada')
  t.match(await cookiesOf(page), [{ name: '__Host-sessionId', httpOnly: true, secure: true, sameSite: 'Lax', path: '/' }])
  const [before] = await cookiesOf(page)
  await page.getByRole('button', { name: 'Log out', exact: true }).click()
  await page.getByRole('heading', { name: 'Hello, stranger' }).waitFor()
  // The page that follows starts another session, for its forms.
  for (const { value } of await cookiesOf(page)) t.not(value, before?.value)
  await ready(page)
  await page.getByRole('button', { name: 'Log out while' }).click()
  await page.getByRole('status').getByText(/Still logged in.*stays so/).waitFor()
  for (const { secure } of await cookiesOf(page)) t.ok(secure, 'the cookies of the experiments too')
})

t.test('the clock on the page counts down, and says when the session has ended', async t => {
  const demo = conduct(t, DEMO)
  const page = await open(t, await addressOf(demo))
  await page.clock.install()
  await login(page, 'Ada')
  const idle = page.locator('#idle')
  const first = await idle.innerText()
  await page.clock.runFor(2000)
  t.not(await idle.innerText(), first)
  await page.clock.runFor(10 * MINUTE)
  await page.getByText('The time is over').waitFor()
  t.equal(await idle.innerText(), '0 s')
  await demo.advance(10 * MINUTE)
  await page.getByRole('link', { name: 'Reload the page' }).click()
  await page.getByRole('alert').getByText('You are logged out').waitFor()
  t.equal(await heading(page), 'Hello, stranger')
})

/** The results of the two runs of an experiment. */
const runsOf = (page: Page, experiment: number): Locator => page.locator('.experiment').nth(experiment).locator('.run')

t.test('a slow request logs the visitor in again on 11.1.3, but not here: both results say so, with times', async t => {
  const demo = conduct(t, DEMO)
  const page = await open(t, await addressOf(demo))
  const button = page.getByRole('button', { name: 'Log out while a slow request is running' })
  for (const sleepers of [0, 2]) {
    await button.click()
    t.equal(await button.getAttribute('aria-disabled'), 'true', 'it is under way')
    for (const turn of [1, 2]) {
      await demo.asleep(sleepers + turn)
      await runsOf(page, 0).nth(turn - 1).getByText('Log out').waitFor()
      // Its reply has arrived.
      await runsOf(page, 0).nth(turn - 1).getByText(/Log out\d+–\d+ ms/).waitFor()
      demo.wake()
    }
    await page.getByRole('status').getByText(/^@fastify\/session 11.1.3: Still logged in, as Ada. This version, [\d.]+: Logged out, and it stays so.$/).waitFor()
    await page.locator('button:not([aria-disabled])', { hasText: 'Log out while a slow request is running' }).waitFor()
    const [eleven, ours] = await runsOf(page, 0).all() as [Locator, Locator]
    t.match(await eleven.getAttribute('class'), /bad/)
    t.match(await ours.getAttribute('class'), /good/)
    for (const run of [eleven, ours]) {
      t.equal(await run.getByRole('listitem').count(), 4, 'of this run only')
      t.match(await run.innerText(), /Slow request\s+\d+–\d+ ms[^]*Store calls: [1-9]\d*\. Bytes written: [1-9]\d*\./)
    }
  }
})

t.test('of ten items added at once, 11.1.3 loses some, and this version none', async t => {
  const demo = conduct(t, DEMO)
  const page = await open(t, await addressOf(demo))
  await page.getByRole('button', { name: 'Add ten things at once' }).click()
  // The browser decides how many it sends at once, but at least two.
  await demo.asleep(2)
  const ended = page.getByRole('status').getByText(/11.1.3: \d of 10 kept. This version, [\d.]+: 10 of 10 kept.$/)
  while (await ended.count() === 0) {
    demo.wake()
    await pause(50)
  }
  const [eleven, ours] = await runsOf(page, 1).all() as [Locator, Locator]
  t.match(await eleven.getAttribute('class'), /bad/)
  t.ok(await eleven.getByText('lost', { exact: true }).count() > 0)
  t.equal(await ours.getByText('kept', { exact: true }).count(), 10)
  t.equal(await ours.getByText('lost', { exact: true }).count(), 0)
})

t.test('a run that fails says so, and can be started again', async t => {
  const page = await open(t, await startDemo(t))
  await page.route('**/proof/11.*/slow', route => route.fulfill({ status: 500, json: { message: 'on purpose' } }))
  const button = page.getByRole('button', { name: 'Log out while a slow request is running' })
  await button.click()
  await page.getByRole('status').getByText(/11.1.3: the run failed. This version, [\d.]+: Logged out/).waitFor()
  t.match(await runsOf(page, 0).first().innerText(), 'The run failed. Slow request: on purpose')
  await page.unrouteAll()
  await button.click()
  await page.getByRole('status').getByText('Still logged in').waitFor()
})

t.test('a form that is being sent shows it, and is sent only once', async t => {
  const demo = conduct(t, DEMO)
  const page = await open(t, await addressOf(demo))
  await page.getByLabel('Take 2 seconds over it').check()
  const button = page.getByRole('button', { name: 'Add apple' })
  // Immediately, because after the first click the page is about to leave.
  t.equal(await button.evaluate((element: any) => { element.click(); element.click(); return element.ariaDisabled }), 'true')
  await demo.asleep(1)
  demo.wake()
  await page.getByText('It is in the cart').waitFor()
  // The browser scrolls to where the form was. It may do so after the text is there.
  await page.waitForFunction('document.getElementById("you").getBoundingClientRect().top < innerHeight / 2')
  t.match(await page.getByRole('listitem').filter({ hasText: 'Apple' }).innerText(), /Apple: 1/)
  t.match(await page.getByRole('region', { name: 'What the server did' }).innerText(), /commit\s+update\(\) was called[^]*Store calls: \d/)
})

t.test('axe finds no problems in any state of the page, in light and in dark mode', async t => {
  const address = await startDemo(t)
  // Injected by the browser's developer tools, so the page's own CSP stays in force.
  const axe = await readFile(require.resolve('axe-core/axe.min.js'), 'utf8')
  for (const colorScheme of ['light', 'dark'] as const) {
    const page = await open(t, address, { colorScheme })
    const check = async (what: string): Promise<void> => {
      await ready(page)
      await page.evaluate(axe)
      const { passes, violations, incomplete } = await page.evaluate('axe.run()') as AxeResults
      t.ok(passes.length > 0)
      t.same([...violations, ...incomplete].map(({ help, nodes }) => ({ help, html: nodes.map(({ html }) => html) })), [], `${what}, ${colorScheme}`)
    }
    await check('as it opens')
    await page.getByRole('button', { name: 'Log out while' }).click()
    await page.getByRole('button', { name: 'Add ten' }).click()
    await check('while it runs')
    await page.getByRole('status').getByText('10 of 10 kept').waitFor()
    await page.getByText('The code of both').click()
    await check('with the proofs')
    await login(page, 'Ada')
    await page.getByRole('button', { name: 'Add apple' }).click()
    await page.getByText('It is in the cart').waitFor()
    await check('logged in')
    const other = await page.context().newPage()
    await other.goto('/')
    await listens(page)
    await other.getByRole('button', { name: 'Log out', exact: true }).click()
    await page.getByText('You have logged out in another tab.').waitFor()
    await check('ended elsewhere')
    await page.goto('/nothing')
    await check('a problem')
  }
})

t.test("the page can be used by keyboard alone, and fits a phone's width", async t => {
  const page = await open(t, await startDemo(t), { viewport: { width: 320, height: 640 } })
  for (const key of ['Tab', 'Enter']) await page.keyboard.press(key)
  await page.getByRole('status').getByText('Still logged in').waitFor()
  // The focus has stayed. From there, go past the other experiment and the code.
  for (let i = 0; i < 3; i++) await page.keyboard.press('Tab')
  await page.keyboard.type('Ada')
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'Hello, Ada' }).waitFor()
  await ready(page)
  t.ok(await page.evaluate('document.documentElement.scrollWidth <= 320'))
})

t.test('the page does not violate its own CSP, and none of its scripts fails', async t => {
  const page = await open(t, await startDemo(t))
  const said: string[] = []
  page.on('console', message => said.push(message.text()))
  page.on('pageerror', error => said.push(error.message))
  await page.reload()
  await page.getByRole('button', { name: 'Add ten things at once' }).click()
  await page.getByRole('status').getByText('10 of 10 kept').waitFor()
  await login(page, 'Ada')
  t.same(said, [])
})

t.test('browsers keep and clear cookies as configured', async t => {
  const { key, cert } = await makeCertificate(t)
  const https = { key: await readFile(key), cert: await readFile(cert) }
  const kinds = {
    'for as long as the browser runs': {},
    'for an hour': { maxAge: 3_600_000 },
    'for one site that embeds it': { partitioned: true, sameSite: 'none' },
    'for this host only': { cookieName: '__Host-id' }
  } as const
  for (const [kind, { cookieName = 'id', ...cookie }] of Object.entries(kinds) as Array<[string, any]>) {
    await t.test(kind, async t => {
      const app = Fastify({ https }) as unknown as FastifyInstance
      t.teardown(() => app.close())
      app.register(fastifyCookie)
      app.register(fastifySession, { secret: SECRET, cookieName, cookie, saveUninitialized: false })
      app.get('/', async () => 'hello')
      app.get('/login', async ({ session }) => { (session as any).user = 'Ada' })
      app.get('/logout', async ({ session }) => { await session.destroy() })
      await app.listen({ host: '127.0.0.1', port: 0 })
      const page = await open(t, `https://localhost:${(app.server.address() as AddressInfo).port}`)
      await page.goto('/login')
      const [kept] = await cookiesOf(page)
      t.match(kept, { name: cookieName, secure: true, httpOnly: true })
      if (cookie.maxAge === undefined) t.equal(kept?.expires, -1)
      else t.ok(Math.abs((kept?.expires as number) - Date.now() / 1000 - 3600) < 60)
      t.equal((kept as { partitionKey?: string }).partitionKey !== undefined, cookie.partitioned === true)
      await page.goto('/logout')
      t.same(await cookiesOf(page), [])
    })
  }
})

t.test('the cookie of a page embedded by another site is really gone after a logout', async t => {
  const { key, cert } = await makeCertificate(t)
  const https = { key: await readFile(key), cert: await readFile(cert) }
  const listen = async (app: FastifyInstance, host: string): Promise<string> => {
    t.teardown(() => app.close())
    await app.listen({ host: '127.0.0.1', port: 0 })
    return `https://${host}:${(app.server.address() as AddressInfo).port}`
  }
  for (const saveUninitialized of [false, true]) {
    const shop = Fastify({ https }) as unknown as FastifyInstance
    shop.register(fastifyCookie)
    const cookie = { sameSite: 'none', partitioned: true } as const
    shop.register(fastifySession, { secret: SECRET, cookieName: 'id', cookie, saveUninitialized })
    shop.get('/login', async ({ session }) => { (session as any).user = 'Ada' })
    shop.get('/logout', async ({ session }) => { await session.destroy() })
    shop.get('/me', { config: { session: { saveUninitialized: false } } as any }, async ({ session, headers }) => {
      return `${(session as any).user ?? 'nobody'}, ${headers.cookie === undefined ? 'no cookie' : 'a cookie'}`
    })
    // To a browser, an IP address and a host name are two sites.
    const shopAddress = await listen(shop, '127.0.0.1')
    const embedding = Fastify({ https }) as unknown as FastifyInstance
    embedding.get('/', async (_request, reply) => {
      return await reply.type('text/html').send(`<iframe name="shop" src="${shopAddress}/login"></iframe>`)
    })
    const page = await open(t, await listen(embedding, 'localhost'))
    const frame = page.frame({ name: 'shop' })
    const says = async (path: string): Promise<string> => {
      await frame?.goto(shopAddress + path)
      return await frame?.locator('body').innerText() ?? 'no frame'
    }
    t.equal(await says('/me'), 'Ada, a cookie')
    t.match(await cookiesOf(page), [{ name: 'id', sameSite: 'None', secure: true }])
    await says('/logout')
    t.same(await cookiesOf(page), [])
    t.equal(await says('/me'), 'nobody, no cookie')
  }
})

// SCREENSHOTS=docs npx tap run test/browser.test.ts makes the README's pictures.
t.test('the page is light or dark, as the visitor prefers', async t => {
  const folder = process.env.SCREENSHOTS ?? await temporaryFolder(t)
  const address = await startDemo(t)
  const colors: unknown[] = []
  for (const colorScheme of ['light', 'dark'] as const) {
    const page = await open(t, address, { colorScheme, viewport: { width: 960, height: 900 } })
    for (const [button, outcome] of [['Log out while', 'stays so'], ['Add ten', '10 of 10']] as const) {
      await page.getByRole('button', { name: button }).click()
      await page.getByRole('status').getByText(outcome).waitFor()
    }
    colors.push(await page.evaluate('getComputedStyle(document.body).backgroundColor'))
    // The introduction to the library, and both experiments.
    const height = await page.locator('details').evaluate((element: any) => element.offsetTop)
    await page.screenshot({ path: join(folder, `demo-${colorScheme}.png`), fullPage: true, clip: { x: 0, y: 0, width: 960, height } })
  }
  t.not(colors[0], colors[1])
})
