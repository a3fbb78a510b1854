/** docs/troubleshooting.md: each symptom can be seen, and is gone after the change that the page shows. */
import '../packages/frameworks'
import '../packages/tools'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import fastifyCors from '@fastify/cors'
import fastifyStatic from '@fastify/static'
import { chromium, type Browser as Chromium, type Page } from 'playwright-core'
import { createClient } from 'redis'
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import * as errors from '../src/errors'
import * as warnings from '../src/warnings'
import { recordCalls } from '../src/testing/site'
import { Browser } from './browser'
import { Gate, SECRET, stopClock } from './helpers'
import { installJest } from './jest/install'
import { Program, ROOT, serve, tsc } from './program'
import { connectTo, makeCertificate, startRedis } from './servers'
import { headings, PAGE, run, symptom, symptoms, warned } from './stuck'
import { PATIENCE } from './waiting'

const CHROMIUM: string | undefined = require('../scripts/requirements').findChromium()

const MINUTE = 60_000

const redis = startRedis(t)
redis.catch(() => {})

let chrome: Chromium

t.before(async () => {
  if (CHROMIUM === undefined) throw new Error('Chromium is needed to run this test: install it (Debian: chromium), or set CHROME_PATH')
  const args = ['--no-sandbox', '--disable-dev-shm-usage', '--host-resolver-rules=MAP shop.example 127.0.0.1, MAP *.shop.example 127.0.0.1']
  chrome = await chromium.launch({ executablePath: CHROMIUM, args, timeout: PATIENCE })
})
t.teardown(() => chrome.close())

/** A page of a browser with no cookies. */
async function open (t: Test, address: string): Promise<Page> {
  const context = await chrome.newContext({ ignoreHTTPSErrors: true })
  t.teardown(() => context.close())
  context.setDefaultTimeout(PATIENCE)
  const page = await context.newPage()
  await page.goto(address)
  return page
}

const says = async (page: Page, address: string): Promise<string> => {
  await page.goto(address)
  return await page.locator('body').innerText()
}

/** A page of another site. To a browser, an IP address and a host name are two sites. */
async function elsewhere (t: Test, html: string): Promise<string> {
  const program = "const app = fastify(); app.get('/', async (request, reply) => reply.type('text/html').send(html))"
  const { port } = await run(t, program, { html })
  return `http://127.0.0.1:${port}`
}

/** A client of an empty Redis. */
async function emptyRedis (): Promise<Awaited<ReturnType<typeof connectTo>>> {
  const client = await connectTo(t, await redis)
  await client.flushAll()
  return client
}

const HOME = "app.get('/', async (request) => 'hello ' + (request.session.user ?? 'stranger'))"
const LOGIN = `
  app.get('/login', async (request) => {
    request.session.user = 'ada'
    return 'welcome'
  })
  ${HOME}`

const START = `
  const app = fastify()
  app.register(fastifyCookie)`
const SESSION = "app.register(fastifySession, { secret, cookie: { secure: 'auto' } })"
const BASIC = `${START}
  ${SESSION}
  ${LOGIN}`

const HELLO = 'hello ada'
const STRANGER = 'hello stranger'

/** Logs in, and returns the text of the next page. */
async function afterLogin (browser: Browser): Promise<string> {
  await browser.text('/login')
  return await browser.text('/')
}

// --- Not logged in

symptom('Not logged in after the redirect', async (t, { cured }) => {
  const program = `${START}
    app.register(fastifySession, { secret })
    app.post('/login', async (request, reply) => {
      request.session.user = 'ada'
      return reply.redirect('/', 303)
    })
    ${HOME}`
  const see = async (program: string): Promise<string> => {
    const browser = new Browser((await run(t, program)).address)
    const { status, headers } = await browser.get('/login', { method: 'POST' })
    t.equal(status, 303)
    return await browser.text(headers.get('location') as string)
  }
  const codes = await warned(async () => t.equal(await see(program), STRANGER))
  t.same(codes, ['FST_SESSION_INSECURE'])
  t.same(await warned(async () => t.equal(await see(cured(program)), HELLO)), [])
})

symptom('Not logged in behind a proxy', async (t, { cured }) => {
  const program = `
    const app = fastify()
    app.register(fastifyCookie)
    app.register(fastifySession, { secret })
    ${LOGIN}`
  const see = async (program: string): Promise<[string, string]> => {
    const browser = new Browser((await run(t, program)).address, { 'x-forwarded-proto': 'https' })
    return [await afterLogin(browser), browser.setCookie]
  }
  const codes = await warned(async () => t.same(await see(program), [STRANGER, '']))
  t.same(codes, ['FST_SESSION_INSECURE'])
  const auto = program.replace('{ secret }', "{ secret, cookie: { secure: 'auto' } }")
  t.same(await warned(async () => t.match(await see(auto), [HELLO, /^[^;]+; Path=\/; HttpOnly; SameSite=Lax$/])), ['FST_SESSION_PROXY'])
  t.match(await see(cured(program)), [HELLO, /; Secure/])
  t.match(await see(cured(program).replace("'loopback'", 'true')), [HELLO, /; Secure/], 'true trusts every proxy')
  t.same(await see(cured(program).replace("'loopback'", '1')), [STRANGER, ''], 'a number trusts nobody')
})

symptom('A new id with each request', async (t, { block }) => {
  const { address } = await run(t, `${START}
    ${SESSION}
    app.get('/', async (request) => request.session.sessionId)`)
  const jar = join(t.testdir(), 'jar')
  const shell = async (command: string): Promise<string> => (await promisify(execFile)('bash', ['-c', command])).stdout
  t.not(await shell(`curl -s ${address}`), await shell(`curl -s ${address}`))
  const command = block('sh').replace('localhost:3000', address).replaceAll(' jar', ` ${jar}`).replace('curl', 'curl -s')
  t.equal(await shell(command), await shell(command))
})

symptom('Works with curl, not in the browser', async (t, { cured }) => {
  const ATTRIBUTES = ["secure: false, sameSite: 'none'", "secure: 'auto', domain: 'shop.example'"]
  for (const attributes of ATTRIBUTES) {
    const program = `${START}
      app.register(fastifySession, { secret, cookie: { ${attributes} } })
      ${LOGIN}`
    const see = async (program: string): Promise<{ curl: string, browser: string }> => {
      const { address } = await run(t, program)
      const page = await open(t, `${address}/login`)
      return { curl: await afterLogin(new Browser(address)), browser: await says(page, address) }
    }
    const codes = await warned(async () => t.same(await see(program), { curl: HELLO, browser: STRANGER }, attributes))
    t.same(codes, attributes.includes('none') ? ['FST_SESSION_COOKIE_REFUSED'] : [])
    t.same(await warned(async () => t.same(await see(cured(program)), { curl: HELLO, browser: HELLO })), [])
  }
})

symptom('fetch sends no cookie', async (t, { cured }) => {
  const api = `${START}
    app.register(fastifyCors, { origin: '*' })
    ${SESSION}
    ${LOGIN}
    app.get('/me', async (request) => request.session.user ?? 'stranger')`
  const script = "const me = await fetch('https://api.shop.example/me')"
  const { address } = await run(t, "const app = fastify(); app.get('/', async (request, reply) => reply.type('text/html').send('the front end'))")
  const see = async (api: string, script: string): Promise<unknown> => {
    const server = await run(t, api.replace('https://www.shop.example', address), { fastifyCors })
    const page = await open(t, `${server.address}/login`)
    t.equal(await says(page, server.address), HELLO, "the server's own pages know the visitor")
    await page.goto(address)
    const read = `(async () => { ${script}\nreturn await me.text() })()`
    return await page.evaluate(read.replace('https://api.shop.example', server.address)).catch(error => error.message)
  }
  t.equal(await see(api, script), 'stranger')
  t.match(await see(api, cured(script)), /Failed to fetch/, 'the browser hides the reply')
  t.equal(await see(cured(api), cured(script)), 'ada')
})

symptom('Two apps on localhost log each other out', async (t, { cured }) => {
  const see = async (program: string): Promise<string> => {
    const shop = await run(t, program)
    const other = await run(t, BASIC, { secret: 'another secret with minimum length of 32' })
    t.not(shop.port, other.port)
    const page = await open(t, `${shop.address}/login`)
    t.equal(await says(page, shop.address), HELLO)
    t.equal(await says(page, other.address), STRANGER)
    return await says(page, shop.address)
  }
  t.equal(await see(BASIC), STRANGER)
  t.equal(await see(cured(BASIC)), HELLO)
})

symptom('Back from the bank, logged out', async (t, { cured }) => {
  await t.test('by a POST', async t => {
    const program = `${START}
      app.register(fastifySession, { secret, cookie: { secure: 'auto', sameSite: 'lax' } })
      app.addContentTypeParser('application/x-www-form-urlencoded', (request, payload, done) => { payload.resume(); done(null) })
      app.post('/paid', async (request) => \`thank you, \${request.session.user}\`)
      ${LOGIN}`
    const see = async (program: string): Promise<string> => {
      const { address } = await run(t, program)
      const bank = await elsewhere(t, `<form method="post" action="${address}/paid"><button>Back to the shop</button></form>`)
      const page = await open(t, `${address}/login`)
      await page.goto(bank)
      await page.getByRole('button').click()
      await page.getByText('thank you').waitFor()
      const thanks = await page.locator('body').innerText()
      t.equal(await says(page, address), HELLO, 'the session is still there')
      return thanks
    }
    t.equal(await see(program), 'thank you, undefined')
    t.equal(await see(cured(program)), 'thank you, ada')
  })

  await t.test('by a link', async t => {
    const program = `${START}
      app.register(fastifySession, { secret, cookie: { secure: 'auto', sameSite: 'strict' } })
      ${LOGIN}`
    const see = async (program: string): Promise<string> => {
      const { address } = await run(t, program)
      const mail = await elsewhere(t, `<a href="${address}/">Your order</a>`)
      const page = await open(t, `${address}/login`)
      await page.goto(mail)
      await page.getByRole('link').click()
      await page.getByText('hello').waitFor()
      return await page.locator('body').innerText()
    }
    // Over http, secure: 'auto' is always lax.
    const strict = (program: string): string => program.replace("secure: 'auto'", 'secure: false')
    t.equal(await see(strict(program)), STRANGER)
    t.equal(await see(strict(cured(program))), HELLO)
  })
})

symptom('Logged in on one subdomain only', async (t, { cured }) => {
  const see = async (program: string): Promise<string> => {
    const { port } = await run(t, program)
    const page = await open(t, `http://shop.example:${port}/login`)
    t.equal(await says(page, `http://shop.example:${port}`), HELLO)
    return await says(page, `http://www.shop.example:${port}`)
  }
  t.equal(await see(BASIC), STRANGER)
  t.equal(await see(cured(BASIC)), HELLO)
})

symptom('Embedded in another site, logged out', async (t, { cured }) => {
  const { key, cert } = await makeCertificate(t)
  const https = { key: await readFile(key), cert: await readFile(cert) }
  const program = `
    const app = fastify({ https })
    app.register(fastifyCookie)
    app.register(fastifySession, { secret, cookie: { secure: true, sameSite: 'lax' } })
    ${LOGIN}`
  const see = async (program: string): Promise<string> => {
    const { port } = await run(t, program, { https })
    const shop = `https://127.0.0.1:${port}`
    const html = `<iframe name="shop" src="${shop}/login"></iframe>`
    const embedding = await run(t, `
      const app = fastify({ https })
      app.get('/', async (request, reply) => reply.type('text/html').send(html))`, { https, html })
    const page = await open(t, `https://localhost:${embedding.port}`)
    const frame = page.frame({ name: 'shop' })
    await frame?.goto(shop)
    return await frame?.locator('body').innerText() ?? 'no frame'
  }
  t.equal(await see(program), STRANGER)
  t.equal(await see(cured(program)), HELLO)
})

// --- Logged out too early

symptom('Logged out at once', async (t, { cured }) => {
  const program = `${START}
    app.register(fastifySession, { secret, cookie: { secure: 'auto', maxAge: 3600 } })
    ${LOGIN}`
  const { advance } = stopClock(t)
  const see = async (program: string): Promise<string> => {
    const browser = new Browser((await run(t, program)).address)
    t.equal(await afterLogin(browser), HELLO)
    advance(10_000)
    return await browser.text('/')
  }
  t.same(await warned(async () => t.equal(await see(program), STRANGER)), ['FST_SESSION_OPTION'])
  t.same(await warned(async () => t.equal(await see(cured(program)), HELLO)), [])
})

symptom('Logged out while working', async (t, { cured }) => {
  const program = `${START}
    app.register(fastifySession, { secret, cookie: { secure: 'auto', maxAge: 30 * 60 * 1000 }, rolling: false })
    ${LOGIN}`
  const { advance } = stopClock(t)
  const see = async (program: string): Promise<string> => {
    const browser = new Browser((await run(t, program)).address)
    t.equal(await afterLogin(browser), HELLO)
    advance(20 * MINUTE)
    t.equal(await browser.text('/'), HELLO)
    advance(20 * MINUTE)
    return await browser.text('/')
  }
  t.equal(await see(program), STRANGER)
  t.equal(await see(cured(program)), HELLO)
})

symptom('Lost at restart, or at every second request', async (t, { cured }) => {
  const client = await emptyRedis()
  const afterRestart = async (program: string): Promise<string> => {
    const first = await run(t, program, { client, randomBytes })
    const browser = new Browser(first.address)
    t.equal(await afterLogin(browser), HELLO)
    await first.app.close()
    const second = new Browser((await run(t, program, { client, randomBytes })).address)
    second.cookie = browser.cookie
    return await second.text('/')
  }
  const atEverySecond = async (program: string): Promise<string[]> => {
    const processes = [await run(t, program, { client, randomBytes }), await run(t, program, { client, randomBytes })]
    const [browser, other] = processes.map(({ address }) => new Browser(address)) as [Browser, Browser]
    await browser.text('/login')
    const heard: string[] = []
    for (const next of [other, browser, other]) {
      // A copy, because the cookie that a stranger gets would log the visitor out everywhere.
      const visitor = next.copy()
      visitor.cookie = browser.cookie
      heard.push(await visitor.text('/'))
    }
    return heard
  }

  t.equal(await afterRestart(BASIC), STRANGER)
  t.same(await atEverySecond(BASIC), [STRANGER, HELLO, STRANGER])
  const onRedis = cured(BASIC)
  t.equal(await afterRestart(onRedis), HELLO)
  t.same(await atEverySecond(onRedis), [HELLO, HELLO, HELLO])

  const random = `const secret = randomBytes(32).toString('hex')\n${onRedis}`
  t.equal(await afterRestart(random), STRANGER)
  t.same(await atEverySecond(random), [STRANGER, HELLO, STRANGER])
  process.env.SESSION_SECRET = SECRET
  t.teardown(() => { delete process.env.SESSION_SECRET })
  t.equal(await afterRestart(cured(random)), HELLO)
  t.same(await atEverySecond(cured(random)), [HELLO, HELLO, HELLO])

  const { NODE_ENV } = process.env
  process.env.NODE_ENV = 'production'
  t.teardown(() => {
    if (NODE_ENV === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = NODE_ENV
  })
  t.same(await warned(() => run(t, BASIC)), ['FST_SESSION_MEMORY_STORE'])
  t.same(await warned(() => run(t, onRedis, { client })), [])
})

symptom('Logged out at random, with Redis', async (t, { block }) => {
  const server = await startRedis(t, { args: ['--maxmemory', '4mb', '--maxmemory-policy', 'allkeys-random'] })
  const client = await connectTo(t, server)
  const program = `${START}
    app.register(fastifySession, { secret, cookie: { secure: 'auto' }, store: new RedisStore({ client }), user: ({ user }) => user })
    ${LOGIN}`
  /** Writes other keys to the same Redis until it has evicted the session or is full. */
  const fill = async (): Promise<string> => {
    for (let i = 0; ; i++) {
      const error = await client.set(`cache:${i % 1000}`, 'x'.repeat(50_000)).then(() => undefined, error => error)
      if (error !== undefined) return error.message
      if ((await client.keys('sess:*')).length === 0) return 'evicted'
    }
  }
  const see = async (): Promise<[string, string]> => {
    await client.flushAll()
    const browser = new Browser((await run(t, program, { client })).address)
    t.equal(await afterLogin(browser), HELLO)
    const end = await fill()
    return [end, await browser.text('/').finally(() => client.flushAll())]
  }
  t.same(await warned(async () => t.same(await see(), ['evicted', STRANGER])), ['FST_SESSION_REDIS_EVICTS'])
  const [, ...command] = block('sh').trim().split(' ')
  await client.sendCommand(command)
  t.same(await warned(async () => t.match(await see(), [/OOM/, HELLO])), [])
})

// --- request.session

symptom('session is undefined', async (t, { cured }) => {
  const program = `
    const app = fastify()
    app.get('/first', async (request) => typeof request.session)
    async function sessions (app) {
      await app.register(fastifyCookie)
      await app.register(fastifySession, { secret, cookie: { secure: 'auto' } })
    }
    app.register(sessions)
    app.get('/', async (request) => typeof request.session)`
  const see = async (program: string): Promise<string[]> => {
    const browser = new Browser((await run(t, program)).address)
    return [await browser.text('/'), await browser.text('/first')]
  }
  t.same(await see(program), ['undefined', 'undefined'])
  t.same(await see(cured(program)), ['object', 'object'], 'wherever the route is defined')
})

symptom('session is null', async (t, { cured }) => {
  const program = `${BASIC}
    app.post('/logout', async (request) => {
      await request.session.destroy()
      request.session.message = 'Good bye'
      return 'bye'
    })
    app.get('/message', async (request) => request.session.message ?? 'none')`
  const see = async (program: string): Promise<[string, string, string]> => {
    const browser = new Browser((await run(t, program)).address)
    t.equal(await afterLogin(browser), HELLO)
    const old = browser.copy()
    const reply = await (await browser.get('/logout', { method: 'POST' })).text()
    return [reply, await browser.text('/message'), await old.text('/')]
  }
  t.match(await see(program), [/null/, 'none', STRANGER])
  t.same(await see(cured(program)), ['bye', 'Good bye', STRANGER])
})

symptom('session is an empty object', async (t, { cured }) => {
  const program = `${START}
    app.register(fastifySession, { secret, cookie: { secure: 'auto', path: '/account' } })
    ${LOGIN}
    app.get('/save', async (request) => {
      await request.session.save()
      return 'saved'
    })`
  const see = async (program: string): Promise<[string, number]> => {
    const browser = new Browser((await run(t, program)).address)
    return [await afterLogin(browser), await browser.status('/save')]
  }
  t.same(await see(program), [STRANGER, 500])
  t.same(await see(cured(program)), [HELLO, 200])

  const hook = `
    const app = fastify()
    app.addHook('onRequest', async (request) => {
      request.session.views = (request.session.views ?? 0) + 1
    })
    app.register(fastifyCookie)
    ${SESSION}
    app.get('/', async (request) => String(request.session.views))`
  const views = async (program: string): Promise<string[]> => {
    const browser = new Browser((await run(t, program)).address)
    return [await browser.text('/'), await browser.text('/')]
  }
  const codes = await warned(async () => t.same(await views(hook), ['undefined', 'undefined']))
  t.same(codes, ['FST_SESSION_EARLY'])
  t.same(await views(cured(hook)), ['1', '2'])
})

symptom('What I stored is gone at the next request', async (t, { cured }) => {
  const late = `${BASIC}
    app.get('/report', (request, reply) => {
      reply.send('done')
      request.session.lastPage = '/report'
    })
    app.get('/last', async (request) => request.session.lastPage ?? 'none')`
  const last = async (program: string): Promise<string> => {
    const browser = new Browser((await run(t, program)).address)
    await browser.text('/login')
    t.equal(await browser.text('/report'), 'done')
    return await browser.text('/last')
  }
  t.same(await warned(async () => t.equal(await last(late), 'none')), ['FST_SESSION_LATE_CHANGE'])
  t.same(await warned(async () => t.equal(await last(cured(late)), '/report')), [])

  const hijacked = `${BASIC}
    app.get('/events', async (request, reply) => {
      reply.hijack()
      request.session.watching = true
      reply.raw.end('data: hello\\n\\n')
    })
    app.get('/watching', async (request) => String(request.session.watching ?? false))`
  const watching = async (program: string): Promise<string> => {
    const browser = new Browser((await run(t, program)).address)
    await browser.text('/login')
    t.match(await browser.text('/events'), 'hello')
    return await browser.text('/watching')
  }
  t.same(await warned(async () => t.equal(await watching(hijacked), 'false')), ['FST_SESSION_HIJACKED'])
  t.same(await warned(async () => t.equal(await watching(cured(hijacked)), 'true')), [])
})

symptom('The login loses the cart, or the user', async (t, { cured }) => {
  const LOGINS = {
    cart: `
      await request.session.regenerate()
      request.session.userId = 7`,
    user: `
      const { session } = request
      await session.regenerate(['cart'])
      session.userId = 7`
  }
  const programOf = (login: string): string => `${START}
    ${SESSION}
    app.get('/add', async (request) => { request.session.cart = ['apple']; return 'added' })
    app.post('/login', async (request) => {
      ${login}
      return 'welcome'
    })
    app.get('/', async ({ session: { userId, cart } }) => ({ userId, cart }))`
  const see = async (program: string): Promise<unknown> => {
    const browser = new Browser((await run(t, program)).address)
    await browser.text('/add')
    await (await browser.get('/login', { method: 'POST' })).text()
    return await (await browser.get('/')).json()
  }
  const cart = programOf(LOGINS.cart)
  t.same(await see(cart), { userId: 7 })
  t.same(await see(cured(cart)), { userId: 7, cart: ['apple'] })

  const user = programOf(LOGINS.user).replace("regenerate(['cart'])", 'regenerate()')
  t.same(await warned(async () => t.same(await see(user), {})), ['FST_SESSION_REPLACED'])
  t.same(await warned(async () => t.same(await see(cured(user)), { userId: 7 })), [])
})

symptom('A Map comes back as an empty object', async (t, { cured }) => {
  const client = await emptyRedis()
  const program = `${START}
    app.register(fastifySession, { secret, cookie: { secure: 'auto' }, store: new RedisStore({ client }) })
    app.post('/cart', async (request) => {
      request.session.cart = new Map([['apple', 2]])
      return 'kept'
    })
    app.get('/cart', async (request) => request.session.cart)`
  const see = async (program: string): Promise<unknown> => {
    const browser = new Browser((await run(t, program, { client })).address)
    t.equal(await (await browser.get('/cart', { method: 'POST' })).text(), 'kept')
    return await (await browser.get('/cart')).json()
  }
  t.same(await see(program), {})
  t.same(await see(cured(program)), { apple: 2 })
})

symptom("Property 'user' does not exist", async (t, { block }) => {
  const program = `
    import fastify from 'fastify'
    import fastifySession from '@fastify/session'

    const app = fastify()
    app.register(fastifySession, { secret: '' })
    export const name = app.get('/', async request => request.session.user?.name)
  `
  const directory = t.testdir({
    'tsconfig.json': JSON.stringify({ extends: join(ROOT, 'tsconfig.json'), include: [], files: ['app.ts'] }),
    'app.ts': program,
    // The library is installed here. Its dependencies are found in the folders above.
    node_modules: { '@fastify': { session: t.fixture('symlink', ROOT) } }
  })
  await t.rejects(tsc(directory), /TS2339: Property 'user' does not exist on type 'FastifySessionObject'/)
  await writeFile(join(directory, 'app.ts'), program + block('ts'))
  await tsc(directory)
})

// --- Errors

symptom('list is not a function', async (t, { cured }) => {
  const program = `${START}
    ${SESSION}
    app.get('/login', async (request) => {
      request.session.userId = 7
      return 'hello'
    })
    app.get('/devices', async (request) => (await request.session.list()).length)`
  const see = async (program: string): Promise<string> => {
    const browser = new Browser((await run(t, program)).address)
    await browser.text('/login')
    return await browser.text('/devices')
  }
  t.match(await see(program), /list is not a function/)
  t.equal(await see(cured(program)), '1')
})

symptom("The dependency '@fastify/cookie' is not registered", async (t, { cured }) => {
  const program = `
    const app = fastify()
    ${SESSION}
    ${LOGIN}`
  const code = 'FST_ERR_PLUGIN_DEPENDENCY_NOT_REGISTERED'
  await t.rejects(run(t, program), { code, message: "The dependency '@fastify/cookie' of plugin '@fastify/session' is not registered" })
  t.equal(await afterLogin(new Browser((await run(t, cured(program))).address)), HELLO)
})

symptom('503, or The client is closed', async (t, { cured }) => {
  const { url } = await redis
  const clients: Array<{ isOpen: boolean, destroy: () => void }> = []
  const create = (options: object): unknown => {
    const client = createClient(options).on('error', () => {})
    clients.push(client)
    return client
  }
  t.teardown(() => { for (const client of clients) if (client.isOpen) client.destroy() })
  const closed = `
    const client = createClient({ url })
    ${START}
    app.register(fastifySession, { secret, cookie: { secure: 'auto' }, store: new RedisStore({ client }) })
    ${LOGIN}`
  const names = { createClient: create, url }
  const failed = new Browser((await run(t, closed, names)).address)
  t.match(await (await failed.get('/login')).json(), { statusCode: 500, message: 'The client is closed' })
  t.equal(await afterLogin(new Browser((await run(t, cured(closed), names)).address)), HELLO)

  const silent = `${START}
    const records = new Map()
    const store = {
      get: async (sessionId, callback) => records.get(sessionId),
      set: async (sessionId, session) => { records.set(sessionId, session) },
      destroy: async (sessionId) => { records.delete(sessionId) }
    }
    app.register(fastifySession, { secret, cookie: { secure: 'auto' }, store, storeTimeout: 50 })
    ${LOGIN}`
  const waiting = new Browser((await run(t, silent)).address)
  await waiting.text('/login')
  t.match(await (await waiting.get('/')).json(), { statusCode: 503, code: 'FST_ERR_SESSION_STORE_TIMEOUT' })
  t.equal(await afterLogin(new Browser((await run(t, cured(silent))).address)), HELLO)
})

symptom('409: The session is gone', async (t, { cured }) => {
  const program = `${BASIC}
    app.get('/slow', async (request) => {
      request.session.lastPage = '/slow'
      await gate.pass()
      await request.session.save()
      return 'done'
    })
    app.post('/logout', async (request) => {
      await request.session.destroy()
      return 'bye'
    })`
  const see = async (program: string): Promise<Response> => {
    const gate = new Gate()
    const browser = new Browser((await run(t, program, { gate })).address)
    await browser.text('/login')
    const slow = browser.copy().get('/slow')
    await gate.holds()
    await (await browser.get('/logout', { method: 'POST' })).text()
    gate.open()
    return await slow
  }
  const refused = await see(program)
  t.match(await refused.json(), { statusCode: 409, code: 'FST_ERR_SESSION_GONE' })
  const redirected = await see(cured(program))
  t.equal(redirected.status, 303)
  t.equal(redirected.headers.get('location'), '/login')
})

symptom('NOPERM', async t => {
  const server = await startRedis(t)
  const admin = await connectTo(t, server)
  const line = / (ACL SETUSER app .*)$/m.exec(readFileSync(join(ROOT, 'docs/stores.md'), 'utf8'))?.[1] as string
  const as = async (line: string): Promise<Browser> => {
    await admin.sendCommand(line.split(' '))
    const client = createClient({ url: server.url, username: 'app', password: 'PASSWORD', disableClientInfo: true })
    t.teardown(() => client.destroy())
    await client.on('error', () => {}).connect()
    const program = `${START}
      app.register(fastifySession, { secret, cookie: { secure: 'auto' }, store: new RedisStore({ client }), user: ({ user }) => user })
      ${LOGIN}`
    return new Browser((await run(t, program, { client })).address)
  }
  const few = await as('ACL SETUSER app on >PASSWORD resetkeys ~sess:* -@all +hello +hgetall +pttl +get')
  t.match(await (await few.get('/login')).json(), { statusCode: 500, message: /NOPERM/ })
  t.equal(await afterLogin(await as(line)), HELLO)
})

// --- Around it

symptom('Jest fails at the first request, or never answers', async (t, { cured, block }) => {
  const program = await installJest()
  const [name, value = ''] = block('sh').split(' ')[0]?.split('=') as [string, string]
  t.equal(name, 'NODE_OPTIONS')
  const runJest = (test: string, nodeOptions: string[], timeout = PATIENCE): Program => {
    const folder = t.testdir({
      'app.test.js': test,
      // The library is installed here. Its dependencies are found in the folders above.
      node_modules: { '@fastify': { session: t.fixture('symlink', ROOT) } }
    })
    const args = ['-u', 'NODE_OPTIONS', process.execPath, ...nodeOptions, program, '--rootDir', folder, '--testTimeout', String(timeout), '--no-watchman', '-i']
    return new Program(t, 'env', args, { cwd: folder })
  }
  const test = (lines: string): string => `
    const fastify = require('fastify')
    const fastifyCookie = require('@fastify/cookie')
    const fastifySession = require('@fastify/session')
    const secret = '${SECRET}'
    ${BASIC}
    let address
    ${lines}`
  const LISTEN = 'beforeAll(async () => { address = await app.listen({ port: 0 }) })'
  const ASK = `
    test('a visit', async () => {
      const response = await app.inject('/')
      expect(response.status ?? response.statusCode).toBe(200)
      expect(typeof (response.headers.get ? response.headers.get('set-cookie') : response.headers['set-cookie'])).toBe('string')
    })`

  await t.test('ES modules', async t => {
    const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
    const isAble = major > 24 || (major === 24 && minor >= 9)
    const asked = test(`${LISTEN}\nafterAll(() => app.close())\n${ASK}`)
    const refused = await runJest(asked, []).end()
    t.match(refused, { code: 1, stderr: /A dynamic import callback was invoked without --experimental-vm-modules/ })
    const injected = await runJest(asked, [value]).end()
    if (isAble) t.equal(injected.code, 0, injected.stderr)
    else t.match(injected, { code: 1, stderr: /Must use import to load ES Module/ })
    const fetched = await runJest(cured(asked), [value]).end()
    t.equal(fetched.code, 0, fetched.stderr)
  })

  await t.test('an application that is not closed', async t => {
    const open = test(`${LISTEN}\n${ASK.replace("app.inject('/')", 'fetch(address)')}`)
    const waiting = runJest(open, [value])
    await waiting.complains(/Jest did not exit/)
    await waiting.end('SIGKILL')
    const closed = await runJest(cured(open), [value]).end()
    t.equal(closed.code, 0, closed.stderr)
    t.notMatch(closed.stderr, /did not exit/)
  })

  await t.test('fake timers', async t => {
    const stopped = test(`
      jest.useFakeTimers()
      ${LISTEN}
      afterAll(() => app.close())
      ${ASK.replace("app.inject('/')", 'fetch(address)')}`)
    const waiting = runJest(stopped, [value], 2000)
    await waiting.complains(/Exceeded timeout/)
    await waiting.end('SIGKILL')
    const going = await runJest(cured(stopped), [value]).end()
    t.equal(going.code, 0, going.stderr)
  })
})

symptom('Nest: session is undefined in a middleware', async (t, { cured }) => {
  // Compilers write decorators like this.
  const program = `
    import 'reflect-metadata'
    import { Controller, Get, Module, Session } from '@nestjs/common'
    import { NestFactory } from '@nestjs/core'
    import { FastifyAdapter } from '@nestjs/platform-fastify'
    import fastifyCookie from '@fastify/cookie'
    import fastifySession from '@fastify/session'

    class Pages {
      views (session) { return String(session.views) }
    }
    Session()(Pages.prototype, 'views', 0)
    Get()(Pages.prototype, 'views', Object.getOwnPropertyDescriptor(Pages.prototype, 'views'))
    Controller()(Pages)
    class AppModule {}
    Module({ controllers: [Pages] })(AppModule)

    const secret = '${SECRET}'
    const nest = await NestFactory.create(AppModule, new FastifyAdapter(), { logger: false })
    await nest.register(fastifyCookie)
    await nest.register(fastifySession, { secret, cookie: { secure: 'auto' } })
    nest.use((request, reply, next) => {
      request.session.views = (request.session.views ?? 0) + 1
      next()
    })
    await nest.listen(0, '127.0.0.1')
    console.log(await nest.getUrl())
    process.once('SIGTERM', () => nest.close())`
  const see = async (program: string): Promise<string[]> => {
    // The library is installed here. Its dependencies are found in the folders above.
    const session = { '@fastify': { session: t.fixture('symlink', ROOT) } }
    const { program: running, address } = await serve(t, join(t.testdir({ 'app.mjs': program, node_modules: session }), 'app.mjs'))
    const browser = new Browser(address)
    const views = [await browser.text('/'), await browser.text('/')]
    t.equal((await running.end('SIGTERM')).code, 0)
    return views
  }
  t.match((await see(program))[0], /"statusCode":500/)
  t.same(await see(cured(program)), ['1', '2'])
})

symptom('Static files, health checks and bots open sessions', async (t, { cured }) => {
  const root = t.testdir({ 'logo.svg': '<svg/>' })
  const store = new MemoryStore()
  const calls = recordCalls(store)
  const lengthOf = async (): Promise<number> => await new Promise(resolve => store.length((_error, length) => resolve(length as number)))
  /** How many sessions three new visitors leave behind, and how often the store is called for a logged-in visitor. */
  const see = async (program: string, path: string): Promise<{ sessions: number, calls: number }> => {
    store.clear(() => {})
    const { address } = await run(t, program, { store, root, fastifyStatic })
    for (let i = 0; i < 3; i++) t.equal(await new Browser(address).status(path), 200)
    const sessions = await lengthOf()
    const browser = new Browser(address)
    t.equal(await afterLogin(browser), HELLO)
    calls.length = 0
    t.equal(await browser.status(path), 200)
    return { sessions, calls: calls.length }
  }
  const ON_STORE = "app.register(fastifySession, { secret, cookie: { secure: 'auto' }, store })"
  const health = `${START}
    ${ON_STORE}
    app.get('/health', async () => 'ok')
    ${LOGIN}`
  t.same(await see(health, '/health'), { sessions: 3, calls: 2 })
  t.same(await see(cured(health), '/health'), { sessions: 0, calls: 0 })

  const files = `${START}
    ${ON_STORE}
    app.register(fastifyStatic, { root })
    ${LOGIN}`
  t.same(await see(files, '/logo.svg'), { sessions: 3, calls: 2 })
  t.same(await see(cured(files), '/logo.svg'), { sessions: 0, calls: 0 })

  // The page's change is in a line without the option store.
  const withStore = (program: string): string => program.replace("secure: 'auto' }", "secure: 'auto' }, store")
  t.match(await see(withStore(BASIC), '/'), { sessions: 3 })
  t.match(await see(withStore(cured(BASIC)), '/'), { sessions: 0 })
})

// --- The page

const linkTo = (heading: string): string => `](#${heading.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-')})`

t.test("every symptom on the page has one of these tests, and is in the page's list", async t => {
  t.same(symptoms(), headings(), 'in the order of the page')
  const list = PAGE.slice(0, PAGE.indexOf('\n## '))
  for (const heading of headings()) t.ok(list.includes(linkTo(heading)), heading)
  t.ok(headings().length > 20)
})

t.test('every symptom on the page has a cause, a change and a code', async t => {
  for (const section of PAGE.slice(0, PAGE.indexOf('\n## All codes')).split(/^### /m).slice(1)) {
    const [heading = ''] = section.split('\n', 1)
    t.match(section, /^\*\*Cause/m, heading)
    t.match(section, /^\*\*Change\.\*\*|^\*\*Cause and change\.\*\*/m, heading)
    t.match(section, /^\*\*Code\.\*\* \S/m, heading)
  }
})

t.test('every code is on the page, with an anchor, when it occurs and what to do, and the README links to it', async t => {
  const codes = [...new Set([
    ...Object.values(errors).flatMap((Refusal: any) => Refusal.prototype instanceof Error ? new Refusal().code as string : []),
    ...Object.values(warnings).flatMap(value => 'code' in value ? value.code : [])
  ])]
  t.ok(codes.length > 20)
  const rows = Array.from(PAGE.matchAll(/^\| <a id="([^"]+)"><\/a>`([^`]+)`(?: \*)? \| (.+) \|$/gm))
  t.same(rows.map(([, , code]) => code).sort(), codes.sort())
  for (const [, anchor, code = '', cells = ''] of rows) {
    t.equal(anchor, code.toLowerCase())
    // Status, when, what to do, more; a warning has no status.
    const columns = cells.split(' | ').map(cell => cell.trim()).filter(cell => cell !== '')
    t.equal(columns.length, code.startsWith('FST_ERR_') ? 4 : 3, code)
  }
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
  t.ok(readme.includes('](./docs/troubleshooting.md#all-codes)'))
})
