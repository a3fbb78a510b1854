/** What the README compares: each cell of its table of five libraries is tested here, over real HTTP. */
import '../packages/contestants'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import fastifyCookie from '@fastify/cookie'
import secureSession from '@fastify/secure-session'
import express from 'express'
import expressSession from 'express-session'
import Fastify from 'fastify'
import { getIronSession } from 'iron-session'
import t, { type Test } from 'tap'
import upstreamSession from 'upstream-session'
import fastifySession, { MemoryStore } from '../src/index'
import { recordCalls } from '../src/testing/site'
import { Browser } from './browser'
import { Gate, SECRET } from './helpers'
import { ROOT } from './program'

const NAME = 'sessionId'
const A_DAY = 86_400_000
const STORE_TIMEOUT = 100

/** What the routes do with a session, the same for each library. */
interface Use {
  get (key: string): any
  set (key: string, value: unknown): void
  /** All sessions of its user. Missing if the library can't list them. */
  endOthers?: () => Promise<unknown>
  end (): unknown
  /** Stores what was set, for a library that doesn't do so by itself. */
  keep? (): Promise<void>
}

interface Library {
  /** The request listener of an app on the store, with one route for everything. */
  build (handle: (url: string, session: Use) => Promise<string>, store: any): Promise<RequestListener>
  /** Missing if the data are in the cookie. */
  store?: () => any
}

const properties = (session: any, end: () => unknown): Use => ({
  get: key => session[key],
  set: (key, value) => { session[key] = value },
  end,
  ...(session.revokeOthers !== undefined && { endOthers: () => session.revokeOthers() })
})

function withPlugin (plugin: any, more = {}): Library['build'] {
  return async (handle, store) => {
    const app = Fastify()
    app.register(fastifyCookie)
    app.register(plugin, {
      secret: SECRET, cookieName: NAME, store, saveUninitialized: false, storeTimeout: STORE_TIMEOUT, cookie: { secure: false, maxAge: A_DAY }, ...more
    })
    app.get('/*', async request => await handle(request.url, properties(request.session, () => request.session.destroy())))
    await app.ready()
    return app.routing
  }
}

const LIBRARIES: Record<string, Library> = {
  'this library': { build: withPlugin(fastifySession, { user: (session: any) => session.user }), store: () => new MemoryStore() },
  '@fastify/session 11': { build: withPlugin(upstreamSession), store: () => new (upstreamSession as any).Store() },
  'express-session': {
    store: () => new expressSession.MemoryStore(),
    async build (handle, store) {
      const app = express()
      app.use(expressSession({
        secret: SECRET, name: NAME, store, saveUninitialized: false, resave: false, rolling: true, cookie: { maxAge: A_DAY }
      }))
      app.use(async (request, response) => {
        const end = (): Promise<unknown> => new Promise(resolve => request.session.destroy(resolve))
        response.send(await handle(request.url, properties(request.session, end)))
      })
      return app
    }
  },
  '@fastify/secure-session': {
    async build (handle) {
      const app = Fastify()
      app.register(secureSession, { key: Buffer.alloc(32, 'k'), cookieName: NAME, cookie: { path: '/' } })
      app.get('/*', async request => {
        const session = request.session as any
        return await handle(request.url, { get: key => session.get(key), set: (key, value) => session.set(key, value), end: () => session.delete() })
      })
      await app.ready()
      return app.routing
    }
  },
  'iron-session': {
    async build (handle) {
      const app = Fastify()
      app.get('/*', async (request, reply) => {
        const session = await getIronSession<any>(request.raw, reply.raw, { password: SECRET, cookieName: NAME, cookieOptions: { secure: false } })
        return await handle(request.url, { ...properties(session, () => session.destroy()), keep: () => session.save() })
      })
      await app.ready()
      return app.routing
    }
  }
}

async function open (t: Test, { build, store }: Library): Promise<{ address: string, gate: Gate, store: any }> {
  const gate = new Gate()
  const kept = store?.()
  const server = createServer(await build(async (url, session) => {
    const [, what, value] = url.split('/')
    if (what === 'login') session.set('user', value)
    if (what === 'slow') {
      await gate.pass()
      if (session.get('user') !== undefined) session.set(value as string, 1)
    }
    if (what === 'fill') session.set('text', 'x'.repeat(100_000))
    if (what === 'logout') await session.end()
    else if (what === 'end-others') await session.endOthers?.()
    if (['login', 'slow', 'fill'].includes(what as string)) await session.keep?.()
    if (what === 'logout') return 'bye'
    return `${session.get('user') ?? 'nobody'} ${session.get('a') ?? '-'} ${session.get('b') ?? '-'} ${session.get('text')?.length ?? '-'}`
  }, kept))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, gate, store: kept }
}

const isKnown = async (visitor: Browser): Promise<boolean> => (await visitor.text('/')).startsWith('max')

/** Far longer than any library's limit. In small steps, so that time in which the machine is suspended doesn't count. */
async function neverAnswered (): Promise<boolean> {
  for (let i = 0; i < 40; i++) await sleep(STORE_TIMEOUT / 4)
  return false
}

/** A row of the table, and how to test it. Undefined if the question doesn't apply. */
const LINES: Record<string, (t: Test, library: Library) => Promise<boolean | undefined>> = {
  async 'Logout ends the session, for a copied cookie too' (t, library) {
    const { address } = await open(t, library)
    const visitor = new Browser(address)
    await visitor.text('/login/max')
    const copy = visitor.copy()
    await visitor.text('/logout')
    return !await isKnown(copy)
  },

  async '… and for a slow request that began before it' (t, library) {
    const { address, gate } = await open(t, library)
    const visitor = new Browser(address)
    await visitor.text('/login/max')
    const slow = visitor.copy()
    const copy = visitor.copy()
    const reply = slow.text('/slow/a')
    await gate.holds(1)
    await visitor.text('/logout')
    gate.open()
    await reply
    return !await isKnown(copy) && !await isKnown(slow)
  },

  async 'Parallel requests keep each other\'s changes' (t, library) {
    const { address, gate } = await open(t, library)
    const visitor = new Browser(address)
    await visitor.text('/login/max')
    const replies = [visitor.text('/slow/a'), visitor.text('/slow/b')]
    await gate.holds(2)
    gate.open()
    await Promise.all(replies)
    return (await visitor.text('/')).startsWith('max 1 1')
  },

  async 'A rolling request that only reads writes no data' (t, library) {
    const { address, store } = await open(t, library)
    if (store === undefined) return undefined
    const visitor = new Browser(address)
    await visitor.text('/login/max')
    const calls = recordCalls(store)
    // The second request is answered when everything that the first has started is done.
    for (let i = 0; i < 2; i++) await visitor.text('/')
    return !calls.includes('set') && !calls.includes('update')
  },

  async 'A store that never answers causes an error in time' (t, library) {
    const { address, store } = await open(t, library)
    if (store === undefined) return undefined
    const visitor = new Browser(address)
    await visitor.text('/login/max')
    for (const method of ['get', 'getAndTouch']) if (method in store) store[method] = () => {}
    const isError = visitor.status('/').then(status => status === 503, () => false)
    return await Promise.race([isError, neverAnswered()])
  },

  async 'A session may have 100 KB' (t, library) {
    const { address } = await open(t, library)
    const visitor = new Browser(address)
    await visitor.text('/login/max')
    // No browser keeps a cookie of more than 4,096 bytes, and no client accepts more than 16 KB of headers.
    const setCookie = await visitor.text('/fill').then(() => visitor.setCookie, () => undefined)
    return setCookie !== undefined && setCookie.length <= 4096 && await visitor.text('/') === 'max - - 100000'
  },

  async 'All other sessions of a user can be ended' (t, library) {
    const { address } = await open(t, library)
    const [laptop, phone] = [new Browser(address), new Browser(address)]
    await phone.text('/login/max')
    await laptop.text('/login/max')
    await laptop.text('/end-others')
    return !await isKnown(phone) && await isKnown(laptop)
  },

  async 'Logout removes the cookie from the browser' (t, library) {
    const { address } = await open(t, library)
    const visitor = new Browser(address)
    await visitor.text('/login/max')
    await visitor.text('/logout')
    return visitor.cookie === ''
  }
}

const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const table = README.split('\n')
  .filter(line => line.startsWith('| ')).map(line => line.split('|').slice(1, -1).map(cell => cell.trim()))
const header = table.find(cells => cells.includes('iron-session')) ?? []

const cellsOf = (line: string): string[] => (table.find(([first]) => first === line) ?? []).map(cell => cell.replaceAll('*', ''))

for (const [line, see] of Object.entries(LINES)) {
  t.test(line, async t => {
    const cells = cellsOf(line)
    for (const [name, library] of Object.entries(LIBRARIES)) {
      const seen = await see(t, library)
      const said = cells[header.findIndex(cell => cell.includes(name))]
      t.equal(said, seen === undefined ? '–' : seen ? 'yes' : 'no', name)
    }
  })
}

t.test('the microseconds in the table are those in the chart', async t => {
  const chart = readFileSync(join(ROOT, 'benchmark/added.svg'), 'utf8').replace(/<[^>]+>/g, '\n').split('\n').filter(text => text.trim() !== '')
  const bars = chart.slice(chart.indexOf('one key read'))
  for (const [i, name] of ['this library', '@fastify/session 11.1.3', 'express-session', '@fastify/secure-session', 'iron-session'].entries()) {
    const bar = bars[bars.indexOf(name) + 1]?.replace(/[^\d.]/g, '')
    t.equal(cellsOf('A rolling read of 2 KB in memory adds, in µs')[i + 1], bar, name)
  }
})

t.test('the losses between processes that the README names are those in the table that was measured', async t => {
  const stores = readFileSync(join(ROOT, 'docs/stores.md'), 'utf8')
  const measured = stores.slice(stores.indexOf('| Writes confirmed'))
  const percents = (store: string): number[] => {
    const row = measured.split('\n').find(line => line.startsWith(`| ${store} |`)) ?? ''
    // '2170 (31.6 %)'; thousands have commas.
    const [, , confirmed, lost, logouts, revived] = row.split('|').map(cell => parseInt(cell.replaceAll(',', ''))) as number[]
    return [[lost, confirmed], [revived, logouts]].map(([part = NaN, all = NaN]) => Math.round(100 * part / all))
  }
  t.ok(README.includes(`lost ${percents('connect-redis 9').join(' % of the writes and revived ')} %`))
  for (const store of ['RedisStore', 'PostgresStore']) t.same(percents(store), [0, 0])
})
