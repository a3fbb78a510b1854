/** The library writes Set-Cookie headers as it has seen `@fastify/cookie` write them. Both must write the same. */
import '../packages/installs'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore } from '../src/index'
import { SECRET, setCookies, stopClock, Visitor, type SessionOptions } from './helpers'

type Headers = Record<string, string>
type AnyReply = FastifyReply & Record<string, any>

const HTTPS = { 'x-forwarded-proto': 'https' }
const HOUR = 3_600_000

interface Server {
  readonly options?: SessionOptions
  /** Options of `@fastify/cookie`. */
  readonly cookies?: object
  readonly cookiePlugin?: any
  /** Runs before the session plugin is registered. */
  readonly before?: (app: FastifyInstance) => void
}

async function start (t: Test, { options, cookies = {}, cookiePlugin = fastifyCookie, before }: Server = {}): Promise<FastifyInstance> {
  const app = Fastify({ trustProxy: true }) as unknown as FastifyInstance
  await app.register(cookiePlugin, cookies)
  before?.(app)
  // A wrapper that does nothing. It makes the library call `@fastify/cookie`.
  app.addHook('onRequest', async (request, reply: AnyReply) => {
    if (request.headers['x-wrapped'] === undefined) return
    const { setCookie } = reply
    reply.setCookie = function (...args: Parameters<typeof setCookie>) { return setCookie.apply(reply, args) }
  })
  await app.register(fastifySession, { secret: SECRET, saveUninitialized: false, ...options, cookie: typeof options?.cookie === 'function' ? options.cookie : { secure: false, ...options?.cookie } })
  app.get('/login', async request => { (request.session as any).user = 'max' })
  app.get('/', async (request: FastifyRequest) => (request.session as any).user ?? 'nobody')
  app.get('/update', async request => await request.session.update((session: any) => { session.user += '!' }))
  app.get('/other', async (_request, reply) => {
    reply.setCookie('other', '1').setCookie('sessionId', 'ours', { path: '/elsewhere' })
    return 'ok'
  })
  app.get('/raw', async (_request, reply) => {
    reply.raw.setHeader('set-cookie', 'raw=1')
    return 'ok'
  })
  app.get('/headers', async (_request, reply) => {
    reply.header('set-cookie', 'a=1').header('set-cookie', 'b=2')
    return 'ok'
  })
  await app.ready()
  t.teardown(() => app.close())
  return app
}

/** Compares the headers of several replies with those that `@fastify/cookie` wrote. All must be the same. */
async function compare (t: Test, app: FastifyInstance, name: string, url = '/', headers: Headers = {}): Promise<string[]> {
  const visitor = new Visitor(app)
  await visitor.get('/login', { headers: { ...headers, 'x-early': '' } })
  const wanted = await headersOf(visitor.copy(), url, { ...headers, 'x-wrapped': 'yes' })
  for (const time of ['first', 'second', 'third', 'fourth']) {
    t.same(await headersOf(visitor.copy(), url, headers), wanted, `${name}: the ${time} reply`)
  }
  return wanted
}

async function headersOf (visitor: Visitor, url: string, headers: Headers): Promise<string[]> {
  return setCookies(await visitor.get(url, { headers }))
}

/** Options of `@fastify/cookie` that count how often it encodes a value, and change nothing. */
function counting (): { cookies: object, count: { written: number } } {
  const count = { written: 0 }
  const encode = (value: string): string => {
    count.written++
    return /[^\u0021\u0023-\u002B\u002D-\u003A\u003C-\u005B\u005D-\u007E]|%/.test(value) ? encodeURIComponent(value) : value
  }
  return { cookies: { parseOptions: { encode, priority: 'low' } }, count }
}

t.test('the header is the same for each combination of attributes', async t => {
  stopClock(t)
  const lives = [{}, { maxAge: HOUR }, { expires: new Date(Date.now() + HOUR) }]
  for (const place of [{}, { path: '/', domain: 'shop.example' }]) {
    for (const sameSite of [undefined, false, true, 'strict', 'lax', 'none'] as const) {
      for (const flags of [{}, { httpOnly: false, partitioned: true }, { priority: 'high' as const }]) {
        for (const secure of [false, true, 'auto'] as const) {
          for (const [i, life] of lives.entries()) {
            const cookie = { ...place, sameSite, ...flags, secure, ...life }
            const app = await start(t, { options: { cookie }, cookies: i === 1 ? { parseOptions: { priority: 'low', domain: 'x.example', maxAge: 5 } } : {} })
            const name = JSON.stringify(cookie)
            if (secure !== true) await compare(t, app, name)
            if (secure !== false) t.equal((await compare(t, app, name, '/', HTTPS)).length, 1)
          }
        }
      }
    }
  }
})

for (const version of ['cookie-10.0', 'cookie-10', 'cookie-11.0', '@fastify/cookie']) {
  t.test(`${version}: the header is the same with each hook, and next to other cookies`, async t => {
    stopClock(t)
    const cookiePlugin = require(version)
    for (const hook of [undefined, 'onRequest', 'preParsing', 'preValidation', 'preHandler']) {
      for (const parseOptions of [{}, { priority: 'high', path: '/shop', sameSite: 'none', signed: true }]) {
        const app = await start(t, { cookiePlugin, cookies: { hook, parseOptions, secret: SECRET }, options: { cookie: { maxAge: HOUR } } })
        for (const url of ['/', '/other', '/raw', '/headers']) {
          const wanted = await compare(t, app, `${hook} ${url} ${JSON.stringify(parseOptions)}`, url)
          t.equal(wanted.length, { '/': 1, '/other': 3, '/raw': 2, '/headers': 3 }[url])
        }
      }
    }
  })
}

t.test('the header is the same if a reply is sent before @fastify/cookie has seen the request', async t => {
  stopClock(t)
  for (const hook of ['onRequest', 'preHandler'] as const) {
    const app = await start(t, {
      cookies: { hook },
      before (app) {
        app.addHook('preValidation', async (request, reply) => request.headers['x-early'] === 'yes' ? reply.send('early') : undefined)
      }
    })
    await compare(t, app, hook)
    await compare(t, app, hook, '/', { 'x-early': 'yes' })
    await compare(t, app, hook)
  }
})

t.test('after the first replies, the library writes the header without @fastify/cookie', async t => {
  const { cookies, count } = counting()
  const app = await start(t, { cookies })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  await visitor.get('/')
  const { written } = count
  for (let i = 0; i < 5; i++) t.equal(setCookies(await visitor.get('/')).length, 1)
  t.equal(count.written, written)
  await visitor.get('/other')
  t.equal(count.written, written + 3, 'but next to other cookies it calls @fastify/cookie')
})

t.test('the library calls @fastify/cookie if only that can write the header', async t => {
  stopClock(t)
  const always = (encode: (value: string) => string): Server => ({ cookies: { parseOptions: { encode } } })
  await compare(t, await start(t, always(encodeURIComponent)), 'an encoder that encodes everything')
  await compare(t, await start(t, always(value => value)), 'an encoder that encodes nothing')
  await compare(t, await start(t, always(value => value.replaceAll(/[^\w.-]/g, '~'))), 'a custom encoder')
  const marks = (value: string): string => value.replaceAll(/[^!-:<-~]/g, '~')
  await compare(t, await start(t, { ...always(marks), options: { cookiePrefix: 'é:' } }), 'a custom encoder that changes only rare characters')
  const { cookies, count } = counting()
  const app = await start(t, { cookies, options: { cookie: () => ({ secure: false, path: '/', maxAge: HOUR }) } })
  await compare(t, app, 'cookie options that are a function of the request')
  const { written } = count
  await compare(t, app, 'cookie options that are a function of the request')
  t.equal(count.written, written + 6)
})

t.test('the header is the same after a handler has read or changed the cookie', async t => {
  stopClock(t)
  const app = await start(t, {
    before (app) {
      app.get('/looked', async request => request.session.cookie.path)
      app.get('/path', async request => { request.session.cookie.path = '/elsewhere' })
      app.get('/options', async request => { request.session.options({ sameSite: 'strict', maxAge: 2 * HOUR }) })
      app.get('/both', async request => {
        request.session.options({ sameSite: 'strict' })
        await request.session.regenerate(['user'])
      })
      app.get('/renewed', async request => { await request.session.regenerate(['user']) })
    },
    options: { cookie: { maxAge: HOUR } }
  })
  await compare(t, app, 'before')
  const [looked] = await compare(t, app, 'looked', '/looked')
  t.match(looked, /; Path=\/; Expires=/)
  const [path] = await compare(t, app, 'path', '/path')
  t.match(path, /; Path=\/elsewhere; /)
  const [options] = await compare(t, app, 'options', '/options')
  t.match(options, /; SameSite=Strict/)
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const [both] = setCookies(await visitor.get('/both'))
  t.match(both, /; SameSite=Strict/)
  const [renewed] = setCookies(await visitor.get('/renewed'))
  t.equal(renewed?.replace(/=[^;]+/, ''), looked?.replace(/=[^;]+/, ''))
  t.equal((await visitor.get('/')).body, 'max')
})

t.test('a reply.setCookie that somebody has wrapped is called', async t => {
  const wrap = (reply: AnyReply, target: AnyReply, text: string): void => {
    const { setCookie } = reply
    target.setCookie = function (name: string, value: string, options?: object) {
      return setCookie.call(this, name, value, { ...options, domain: `${text}.example` })
    }
  }
  let isWrapped = false
  const app = await start(t, {
    before (app) {
      app.addHook('preHandler', async (request, reply: AnyReply) => {
        const { 'x-domain': domain, 'x-all': all } = request.headers as Record<string, string>
        if (domain !== undefined) wrap(reply, reply, domain)
        if (all === undefined || isWrapped) return
        isWrapped = true
        wrap(reply, Object.getPrototypeOf(reply), all)
      })
    }
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const domainFor = async (headers: Headers): Promise<string | undefined> => {
    const [header] = setCookies(await visitor.copy().get('/', { headers }))
    return /Domain=([^;]+)/.exec(header as string)?.[1]
  }
  for (let i = 0; i < 4; i++) t.equal(await domainFor({}), undefined)
  for (const domain of ['one', 'two', 'two']) t.equal(await domainFor({ 'x-domain': domain }), `${domain}.example`)
  for (let i = 0; i < 4; i++) t.equal(await domainFor({ 'x-all': 'all' }), 'all.example')
  t.equal(await domainFor({ 'x-domain': 'one' }), 'all.example')
  t.equal(await domainFor({}), 'all.example')
})

t.test('the header is the same if another setCookie() removes the date', async t => {
  stopClock(t)
  let prototype: AnyReply | undefined
  const app = await start(t, {
    options: { cookie: { maxAge: HOUR } },
    before (app) {
      app.addHook('onRequest', async (_request, reply: AnyReply) => {
        if (prototype !== undefined) return
        prototype = Object.getPrototypeOf(reply) as AnyReply
        const { setCookie } = prototype
        prototype.setCookie = prototype.cookie = function (name: string, value: string, { expires, ...options }: any = {}) {
          return setCookie.call(this, name, value, options)
        }
      })
    }
  })
  const [header] = await compare(t, app, 'no date')
  t.match(header, /; Path=\/; HttpOnly$/)
})

t.test('the header is right if another setCookie() adds something from the request', async t => {
  stopClock(t)
  const app = await start(t, {
    options: { cookie: { maxAge: HOUR } },
    before (app) {
      app.addHook('onRequest', async (_request, reply: AnyReply) => {
        const prototype = Object.getPrototypeOf(reply) as AnyReply
        if (Object.hasOwn(prototype, 'isWrapped')) return
        const { setCookie } = prototype
        prototype.isWrapped = true
        prototype.setCookie = prototype.cookie = function (this: AnyReply, name: string, value: string, options?: object) {
          return setCookie.call(this, name, value, { ...options, domain: this.request.hostname })
        }
      })
    }
  })
  const visitor = new Visitor(app)
  await visitor.get('/login')
  for (const host of ['one.example', 'one.example', 'one.example', 'two.example', 'one.example']) {
    const [header] = setCookies(await visitor.copy().get('/', { headers: { host } }))
    t.match(header, `; Domain=${host}; `)
  }
})

t.test('the date is exact to the second, and each session has its own', async t => {
  const time = stopClock(t)
  const app = await start(t, { options: { cookie: { maxAge: HOUR }, absoluteTimeout: 90 * 60_000, rolling: true } })
  const visitors: Visitor[] = []
  for (let i = 0; i < 5; i++) {
    const visitor = new Visitor(app)
    await visitor.get('/login')
    visitors.push(visitor)
    time.advance(20 * 60_000 / 5)
  }
  for (const pause of [400, 400, 400, 60_000, 29 * 60_000, 10 * 60_000]) {
    time.advance(pause)
    for (const [i, visitor] of visitors.entries()) {
      const [header] = setCookies(await visitor.get('/'))
      const [wanted] = setCookies(await visitor.get('/', { headers: { 'x-wrapped': 'yes' } }))
      t.equal(header, wanted, `visitor ${i}`)
    }
  }
})

t.test('the header is right if the clock moves on while the library learns it', async t => {
  const { now } = Date
  t.teardown(() => { Date.now = now })
  // In both cases the library reads the clock when it sends the cookie.
  const touching = Object.assign(new MemoryStore(), {
    getAndTouch (this: MemoryStore, ...[sessionId, callback]: Parameters<MemoryStore['get']>) { this.get(sessionId, callback) }
  })
  for (const [store, url] of [[touching, '/'], [new MemoryStore(), '/update']] as const) {
    // The second ends between any two looks at the clock.
    for (let phase = 0; phase < 1000; phase += 100) {
      const app = await start(t, { options: { store, cookie: { maxAge: HOUR } } })
      const visitor = new Visitor(app)
      await visitor.get('/login')
      let time = Math.ceil(now() / 1000) * 1000 + phase
      Date.now = () => { time += 100; return time }
      for (let i = 0; i < 4; i++) {
        const [header = ''] = setCookies(await visitor.get(url))
        const [, expires = ''] = /^sessionId=[^;]+; Path=\/; Expires=([^;]+); HttpOnly$/.exec(header) ?? []
        t.ok(Math.abs(Date.parse(expires) - time - HOUR) < 5_000, header)
      }
      Date.now = now
    }
  }
})
