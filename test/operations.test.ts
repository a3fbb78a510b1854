/** Operations that handlers don't await, on stores that answer when the test says so. */
import crypto from 'node:crypto'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import { Browser } from './browser'
import { build, record, setCookies, type Routes, type SessionOptions } from './helpers'
import type { Answer } from './odd-stores'
import { start } from './program'

const CLEARED = /^sessionId=; Max-Age=0/
const TIMEOUT = 2_000

type Kind = 'get, set, destroy' | 'touch' | 'update'
const KINDS: readonly Kind[] = ['get, set, destroy', 'touch', 'update']

/** A store whose calls wait, after `close()`, until the test releases them: into its memory, or into an error. */
class GatedStore {
  readonly memory = new MemoryStore()
  readonly calls: string[] = []
  readonly store: any
  #isClosed = false
  readonly #waiting: Array<{ method: string, go: (error?: Error) => void }> = []
  #watcher: (() => void) | undefined

  constructor (kind: Kind) {
    const more = { 'get, set, destroy': [], touch: ['touch'], update: ['touch', 'update'] }[kind]
    this.store = Object.fromEntries(['get', 'set', 'destroy', ...more].map(method => [method, (...args: any[]) => this.#receive(method, args)]))
  }

  close (): void {
    this.#isClosed = true
  }

  /** Releases all calls, waiting ones and later ones. */
  open (): void {
    this.#isClosed = false
    while (this.#waiting.length > 0) this.#waiting.shift()?.go()
  }

  /** Waits for the next call and releases it, with an error if there is one. Returns its method. */
  async next (error?: Error): Promise<string> {
    while (this.#waiting.length === 0) {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('no call came')), 5_000).unref()
        this.#watcher = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    const { method, go } = this.#waiting.shift() as { method: string, go: (error?: Error) => void }
    go(error)
    return method
  }

  get data (): any[] {
    return [...this.memory.store.values()].map(({ cookie, ...data }: any) => data)
  }

  get cookies (): any[] {
    return [...this.memory.store.values()].map(({ cookie }: any) => cookie)
  }

  #receive (method: string, args: any[]): void {
    this.calls.push(method)
    const answer = args.pop() as Answer
    const go = (error?: Error): void => {
      if (error === undefined) (this.memory as any)[method](...args, answer)
      else answer(error)
    }
    if (!this.#isClosed) setImmediate(go)
    else {
      this.#waiting.push({ method, go: error => { setImmediate(go, error) } })
      this.#watcher?.()
    }
  }
}

interface Reply { status: number, body: string, setCookies: string[] }

class Visitor extends Browser {
  async ask (path: string): Promise<Reply> {
    const response = await this.get(path)
    return { status: response.status, body: await response.text(), setCookies: response.headers.getSetCookie() }
  }
}

interface Place { app: FastifyInstance, gate: GatedStore, browser: Visitor }

/** An app over real HTTP, and a visitor whose session has user, cart and seen. */
async function open (t: Test, kind: Kind, routes: Routes, options: SessionOptions = {}): Promise<Place> {
  const gate = new GatedStore(kind)
  const app = await build({ store: gate.store, saveUninitialized: false, storeTimeout: TIMEOUT, cookie: { maxAge: 60_000 }, ...options }, app => {
    app.get('/in', async ({ session }) => { Object.assign(session, { user: 'max', cart: ['apple'], seen: 0 }) })
    app.get('/data', async ({ session }) => session.data())
    routes(app)
  })
  t.teardown(() => app.close())
  const browser = new Visitor(await app.listen({ host: '127.0.0.1', port: 0 }))
  await browser.ask('/in')
  return { app, gate, browser }
}

/** Sends a request after closing the gate. */
function send ({ gate, browser }: Place, path: string): Promise<Reply> {
  gate.calls.length = 0
  gate.close()
  return browser.ask(path)
}

/** Releases one call at a time until there is a reply. */
async function finish<T> ({ gate }: Place, reply: Promise<T>): Promise<T> {
  const isAnswered = reply.then(() => true)
  const step = (): Promise<boolean> => gate.next().then(() => false, () => false)
  while (!await Promise.race([isAnswered, step()]));
  gate.open()
  return await reply
}

const session = (request: any): any => request.session

// --- Operations that aren't awaited, alone and one after the other

interface Form {
  name: string
  /** Calls it without waiting. */
  run: (request: any) => void
  /** The user afterwards, for a request with the cookie that came back. */
  leaves: 'max' | 'eva' | 'nobody'
  idChanges: boolean
}

const FORMS: readonly Form[] = [
  { name: 'save()', run: request => { session(request).user = 'eva'; session(request).save() }, leaves: 'eva', idChanges: false },
  { name: 'regenerate()', run: request => { session(request).regenerate(); session(request).user = 'eva' }, leaves: 'eva', idChanges: true },
  { name: "regenerate(['user'])", run: request => { session(request).regenerate(['user']) }, leaves: 'max', idChanges: true },
  { name: 'reload()', run: request => { session(request).reload() }, leaves: 'max', idChanges: false },
  { name: 'destroy()', run: request => { session(request).destroy() }, leaves: 'nobody', idChanges: true }
]

// The user after the first and then the second operation. What is written between them is applied to what the first leaves.
const LEFT: Record<string, Record<string, string>> = {
  'save()': { 'save()': 'eva', 'regenerate()': 'eva', "regenerate(['user'])": 'eva', 'reload()': 'eva', 'destroy()': 'nobody' },
  'regenerate()': { 'save()': 'eva', 'regenerate()': 'eva', "regenerate(['user'])": 'eva', 'reload()': 'eva', 'destroy()': 'nobody' },
  "regenerate(['user'])": { 'save()': 'eva', 'regenerate()': 'eva', "regenerate(['user'])": 'max', 'reload()': 'max', 'destroy()': 'nobody' },
  'reload()': { 'save()': 'eva', 'regenerate()': 'eva', "regenerate(['user'])": 'max', 'reload()': 'max', 'destroy()': 'nobody' },
  'destroy()': { 'save()': 'nobody', 'regenerate()': 'eva', "regenerate(['user'])": 'nobody', 'reload()': 'nobody', 'destroy()': 'nobody' }
}

for (const kind of KINDS) {
  for (const { name, run, leaves, idChanges } of FORMS) {
    for (const isAsync of [true, false]) {
      t.test(`an un-awaited ${name} is done when the reply is sent: ${kind}, ${isAsync ? 'async handler' : 'reply.send()'}`, async t => {
        const place = await open(t, kind, app => {
          if (isAsync) app.get('/', async request => { run(request); return 'done' })
          else app.get('/', (request, reply) => { run(request); reply.send('done') })
        })
        const before = place.browser.cookie
        let isAnswered = false
        const reply = send(place, '/').finally(() => { isAnswered = true })
        // The load, and then the first call of the operation itself.
        t.equal(await place.gate.next(), 'get')
        await place.gate.next()
        t.equal(isAnswered, false, 'it waits')
        const { status, body } = await finish(place, reply)
        t.same([status, body], [200, 'done'])
        t.equal(place.browser.cookie !== before, idChanges)
        t.equal(JSON.parse((await place.browser.ask('/data')).body).user ?? 'nobody', leaves)
        t.same(place.gate.data.length, leaves === 'nobody' ? 0 : 1, 'no record is left over')
      })
    }
  }

  for (const first of FORMS) {
    for (const second of FORMS) {
      t.test(`${first.name}, then ${second.name}, neither awaited: ${kind}`, async t => {
        const place = await open(t, kind, app => {
          app.get('/', async ({ session }) => {
            first.run({ session })
            second.run({ session })
          })
        })
        const { status } = await finish(place, send(place, '/'))
        t.equal(status, 200)
        const wanted = (LEFT[first.name] as Record<string, string>)[second.name]
        t.equal(JSON.parse((await place.browser.ask('/data')).body).user ?? 'nobody', wanted)
        t.same(place.gate.data.map(({ user }) => user), wanted === 'nobody' ? [] : [wanted])
      })
    }
  }
}

// --- What a handler changes while save() runs

const CHANGES: Record<string, { run: (session: any) => void, leaves: object }> = {
  'a key is deleted': { run: session => { delete session.user }, leaves: { cart: ['apple'], seen: 1 } },
  'a key that save() writes is deleted': { run: session => { delete session.seen }, leaves: { user: 'max', cart: ['apple'] } },
  'a key is set back to its old value': { run: session => { session.seen = 0 }, leaves: { user: 'max', cart: ['apple'], seen: 0 } },
  'a key is set again': { run: session => { session.seen = 2 }, leaves: { user: 'max', cart: ['apple'], seen: 2 } },
  'a new key is set': { run: session => { session.more = 1 }, leaves: { user: 'max', cart: ['apple'], seen: 1, more: 1 } },
  'a list gets longer': { run: session => { session.cart.push('pear') }, leaves: { user: 'max', cart: ['apple', 'pear'], seen: 1 } }
}

for (const kind of KINDS) {
  for (const [what, { run, leaves }] of Object.entries(CHANGES)) {
    for (const isAwaited of [true, false]) {
      t.test(`${what} while save() runs: ${kind}, ${isAwaited ? 'awaited' : 'not awaited'}`, async t => {
        const place = await open(t, kind, app => {
          app.get('/', async ({ session }) => {
            (session as any).seen = 1
            const saved = session.save()
            run(session)
            if (isAwaited) await saved
            return session.data()
          })
        })
        const { status, body } = await finish(place, send(place, '/'))
        t.equal(status, 200)
        t.same(JSON.parse(body), leaves, 'as the handler sees it')
        t.same(place.gate.data, [leaves], 'as the store has it')
        t.same(JSON.parse((await place.browser.ask('/data')).body), leaves)
      })
    }
  }

  // The store doesn't have the key `fresh` yet when the operation begins.
  const ADDERS: Record<string, (session: any) => unknown> = {
    'save()': session => { session.fresh = 1; return session.save() },
    "regenerate(['fresh'])": session => { session.fresh = 1; return session.regenerate(['fresh', 'user']) },
    'update()': session => session.update((data: any) => { data.fresh = 1 }),
    'save(), update() and save()': session => {
      session.fresh = 1
      session.save()
      session.update((data: any) => { data.fresh = 2 })
      return session.save()
    }
  }
  for (const [what, add] of Object.entries(ADDERS)) {
    for (const isNew of [true, false]) {
      for (const isAwaited of [true, false]) {
        const how = `${kind}, ${isNew ? 'a new session' : 'a stored session'}, ${isAwaited ? 'awaited' : 'not awaited'}`
        t.test(`a key that is deleted while ${what} adds it does not come back: ${how}`, async t => {
          const place = await open(t, kind, app => {
            app.get('/', async request => {
              session(request).user = 'max'
              const added = add(session(request))
              delete session(request).fresh
              if (isAwaited) await added
              return session(request).data()
            })
          })
          if (isNew) {
            place.gate.memory.store.clear()
            place.browser.cookie = ''
          }
          const { status, body } = await finish(place, send(place, '/'))
          t.equal(status, 200)
          t.notMatch(JSON.parse(body), { fresh: /./ }, 'as the handler sees it')
          t.match(place.gate.data, [{ user: 'max', fresh: undefined }], 'as the store has it')
          t.notMatch(JSON.parse((await place.browser.ask('/data')).body), { fresh: /./ })
        })
      }
    }
  }

  const LIVES: Record<string, { run: (session: any) => void, chosen: unknown }> = {
    'cookie.maxAge': { run: session => { session.cookie.maxAge = 3_600_000 }, chosen: 3_600_000 },
    'options({ maxAge })': { run: session => { session.options({ maxAge: 3_600_000 }) }, chosen: 3_600_000 },
    'cookie.expires = null': { run: session => { session.cookie.expires = null }, chosen: null }
  }
  for (const [how, { run, chosen }] of Object.entries(LIVES)) {
    t.test(`a lifetime is chosen while save() runs, by ${how}: ${kind}`, async t => {
      const place = await open(t, kind, app => {
        app.get('/', async ({ session }) => {
          (session as any).seen = 1
          const saved = session.save()
          run(session)
          await saved
        })
      })
      const { setCookies } = await finish(place, send(place, '/'))
      t.match(place.gate.cookies, [{ chosen }])
      const end = /Expires=([^;]+)/.exec(setCookies[0] as string)?.[1]
      if (chosen === null) t.equal(end, undefined)
      else t.ok(Date.parse(end as string) > Date.now() + 3_000_000)
    })
  }

  t.test(`a lifetime that is chosen while save() writes another one takes precedence: ${kind}`, async t => {
    const place = await open(t, kind, app => {
      app.get('/', async ({ session }) => {
        session.cookie.maxAge = 7_200_000
        session.save()
        session.cookie.maxAge = 3_600_000
      })
    })
    await finish(place, send(place, '/'))
    t.match(place.gate.cookies, [{ chosen: 3_600_000 }])
  })
}

// --- Callbacks

for (const kind of KINDS) {
  for (const [name, run] of Object.entries({
    'save(() => reply.send())': (request: any, reply: any) => { session(request).seen = 1; session(request).save((error: any) => reply.send(error ?? 'done')) },
    'reload(() => reply.send())': (request: any, reply: any) => { session(request).reload((error: any) => reply.send(error ?? 'done')) },
    'regenerate(() => reply.send())': (request: any, reply: any) => { session(request).regenerate(['user'], (error: any) => reply.send(error ?? 'done')) },
    'destroy(() => reply.send())': (request: any, reply: any) => { session(request).destroy((error: any) => reply.send(error ?? 'done')) },
    'save() in the callback of save()': (request: any, reply: any) => {
      session(request).seen = 1
      session(request).save(() => {
        session(request).seen = 2
        session(request).save((error: any) => reply.send(error ?? 'done'))
      })
    },
    'save().then(() => reply.send())': (request: any, reply: any) => { session(request).save().then(() => reply.send('done'), (error: any) => reply.send(error)) }
  })) {
    t.test(`${name} does not wait for itself: ${kind}`, async t => {
      const place = await open(t, kind, app => { app.get('/', (request, reply) => { run(request, reply) }) })
      const { status, body } = await finish(place, send(place, '/'))
      t.same([status, body], [200, 'done'])
    })
  }
}

t.test("anything that isn't a function counts as no callback, and anything that isn't a list as no keys", async t => {
  for (const kind of KINDS) {
    for (const odd of [null, undefined, 'user', 1, {}, true]) {
      const place = await open(t, kind, app => {
        for (const method of ['save', 'reload', 'destroy']) {
          app.get(`/${method}`, async request => {
            const promise = session(request)[method](odd)
            if (!(promise instanceof Promise)) throw new Error('not a promise')
            await promise
          })
        }
        app.get('/regenerate', async request => {
          await session(request).regenerate(odd)
          return session(request).data()
        })
        app.get('/regenerate/both', async request => {
          await session(request).regenerate(['user'], odd)
          return session(request).data()
        })
      }, { idGenerator: async () => Math.random().toString(36) })
      for (const path of ['/save', '/reload', '/regenerate/both', '/regenerate', '/destroy']) {
        const { status, body } = await place.browser.ask(path)
        t.equal(status, 200, `${path} ${String(odd)}, ${kind}`)
        if (path === '/regenerate') t.equal(body, '{}')
        if (path === '/regenerate/both') t.equal(body, '{"user":"max"}')
      }
    }
  }
})

t.test('invalid keys for regenerate(), such as objects from a query parser, are an error at once, and nothing is lost', async t => {
  for (const kind of KINDS) {
    const place = await open(t, kind, app => {
      app.get('/', async request => await session(request).regenerate([Object.create(null)]))
      app.get('/callback', (request, reply) => {
        session(request).regenerate([Object.create(null)], (error: Error) => { reply.send(error) })
      })
    })
    for (const path of ['/', '/callback']) {
      const { status, body } = await place.browser.ask(path)
      t.same([status, JSON.parse(body).message], [500, 'Cannot convert object to primitive value'], `${path}, ${kind}`)
    }
    t.match(await place.browser.ask('/data'), { status: 200, body: '{"user":"max","cart":["apple"],"seen":0}' })
  }
})

for (const method of ['save', 'reload', 'destroy', 'regenerate']) {
  t.test(`a callback of ${method}() that throws is called only once`, async t => {
    let calls = 0
    const app = await build({ saveUninitialized: false }, app => {
      app.get('/', async request => {
        session(request).n = 1
        session(request)[method](() => {
          calls++
          throw new Error('of the callback')
        })
      })
    })
    t.teardown(() => app.close())
    t.equal((await app.inject('/')).json().message, 'of the callback')
    t.equal(calls, 1)
  })
}

for (const kind of KINDS) {
  t.test(`what a handler sets after an un-awaited regenerate() applies to the new session: ${kind}`, async t => {
    const place = await open(t, kind, app => {
      app.get('/', async ({ session }) => {
        session.regenerate(['cart'] as any)
        Object.assign(session, { user: 'eva' })
        delete (session as any).cart
        session.cookie.maxAge = 3_600_000
        session.options({ path: '/', sameSite: 'strict' })
      })
    })
    const { setCookies } = await finish(place, send(place, '/'))
    t.match(setCookies, [/SameSite=Strict/])
    t.same(place.gate.data, [{ user: 'eva' }])
    t.match(place.gate.cookies, [{ chosen: 3_600_000 }])
  })

  const RELOADS: Record<string, { run: (session: any, request: any) => unknown, chosen: unknown }> = {
    'after an un-awaited reload() is kept': {
      run: session => {
        session.reload()
        session.cookie.maxAge = 3_600_000
      },
      chosen: 3_600_000
    },
    'as an end with the browser after an un-awaited reload() is kept': {
      run: session => {
        session.reload()
        session.options({ expires: null })
      },
      chosen: null
    },
    'after the last of two un-awaited calls of reload() is kept': {
      run: session => {
        session.reload()
        session.reload()
        session.cookie.maxAge = 3_600_000
      },
      chosen: 3_600_000
    },
    'after un-awaited calls of save() and reload() is kept': {
      run: session => {
        session.seen = 1
        session.save()
        session.reload()
        session.cookie.maxAge = 3_600_000
      },
      chosen: 3_600_000
    },
    'again after the reload() that kept one takes precedence': {
      run: async (session, request) => {
        const reloaded = session.reload()
        session.cookie.maxAge = 7_200_000
        await reloaded
        request.session.cookie.maxAge = 3_600_000
        await request.session.save()
      },
      chosen: 3_600_000
    },
    'before an un-awaited reload() is dropped': {
      run: session => {
        session.cookie.maxAge = 3_600_000
        session.reload()
      },
      chosen: undefined
    },
    'between two un-awaited calls of reload() is dropped': {
      run: session => {
        session.reload()
        session.cookie.maxAge = 3_600_000
        session.reload()
      },
      chosen: undefined
    }
  }
  for (const [what, { run, chosen }] of Object.entries(RELOADS)) {
    t.test(`a lifetime that is chosen ${what}: ${kind}`, async t => {
      const place = await open(t, kind, app => { app.get('/', async request => { await run(session(request), request) }) })
      const { status, setCookies } = await finish(place, send(place, '/'))
      t.equal(status, 200)
      t.equal(place.gate.cookies[0].chosen, chosen)
      const end = /Expires=([^;]+)/.exec(setCookies[0] as string)?.[1]
      if (chosen === null) t.equal(end, undefined)
      else t.equal(Date.parse(end as string) > Date.now() + 3_000_000, chosen !== undefined)
    })
  }

  t.test(`what was written after a regenerate() that failed is not kept by the next one: ${kind}`, async t => {
    let fails = false
    const idGenerator = async (): Promise<string> => {
      if (fails) throw new Error('no ids today')
      return Math.random().toString(36)
    }
    const place = await open(t, kind, app => {
      app.get('/', async ({ session }) => {
        fails = true
        await session.regenerate()?.catch(() => {})
        Object.assign(session, { secret: 'of before' })
        fails = false
        await session.regenerate()
      })
    }, { idGenerator })
    t.equal((await place.browser.ask('/')).status, 200)
    t.same(place.gate.data, [{}])
  })
}

// --- Operations that fail while the reply waits

const AWAY = new Error('The store is away')

for (const kind of KINDS) {
  for (const { name, run } of FORMS) {
    t.test(`an un-awaited ${name} that fails makes its error the reply: ${kind}`, async t => {
      const place = await open(t, kind, app => { app.get('/', async request => { run(request); return 'done' }) })
      const reply = send(place, '/')
      await place.gate.next()
      await place.gate.next(AWAY)
      const { status, body, setCookies } = await finish(place, reply)
      t.same([status, JSON.parse(body).message], [500, AWAY.message])
      t.same(setCookies.filter(header => !CLEARED.test(header)), [])
      t.equal(place.gate.data.length, 1, 'the session is still there')
      t.match(await place.browser.ask('/data'), { status: 200 })
    })
  }

  t.test(`of several operations that fail, the first error is the reply, and the later operations still run: ${kind}`, async t => {
    const place = await open(t, kind, app => {
      app.get('/', async ({ session }) => {
        session.reload()
        session.reload()
        session.destroy()
      })
    })
    const reply = send(place, '/')
    await place.gate.next()
    await place.gate.next(AWAY)
    await place.gate.next(new Error('The second'))
    const { status, body } = await finish(place, reply)
    t.same([status, JSON.parse(body).message], [500, AWAY.message])
    t.same(place.gate.data, [])
  })

  t.test(`an operation whose error the handler catches does not fail the reply: ${kind}`, async t => {
    const place = await open(t, kind, app => {
      app.get('/', async ({ session }) => {
        (session as any).seen = 1
        return await session.save()?.then(() => 'saved', error => error.message)
      })
    })
    const reply = send(place, '/')
    await place.gate.next()
    await place.gate.next(AWAY)
    t.match(await finish(place, reply), { status: 200, body: AWAY.message })
    t.match(place.gate.data, [{ seen: 1 }], 'the reply saves again')
  })

  t.test(`an un-awaited save() whose session has ended clears the cookie, and is not an error: ${kind}`, async t => {
    const place = await open(t, kind, app => {
      app.get('/', async ({ session }) => {
        (session as any).seen = 1
        session.save()
        return 'done'
      })
    })
    const reply = send(place, '/')
    t.equal(await place.gate.next(), 'get')
    await new Promise(setImmediate)
    await new Promise(setImmediate)
    place.gate.memory.store.clear()
    const { status, body, setCookies } = await finish(place, reply)
    t.same([status, body], [200, 'done'])
    t.match(setCookies, [CLEARED])
    t.same(place.gate.data, [])
  })
}

t.test('a session that has ended is not written again, however often it is saved', async t => {
  const store = new MemoryStore()
  const codes: string[] = []
  const app = await build({ store, saveUninitialized: false }, app => {
    app.get('/', async ({ session }) => {
      (session as any).n = 1
      await session.save()
      store.store.clear()
      for (const n of [2, 3]) {
        (session as any).n = n
        await session.save()?.catch(error => codes.push(error.code))
      }
    })
  })
  t.teardown(() => app.close())
  t.same(setCookies(await app.inject('/')), [])
  t.same(codes, ['FST_ERR_SESSION_GONE', 'FST_ERR_SESSION_GONE'])
  t.equal(store.store.size, 0)
})

t.test('an operation that the store never answers is a 503, and the reply does not hang', async t => {
  for (const kind of KINDS) {
    for (const { name, run } of FORMS) {
      const place = await open(t, kind, app => { app.get('/', async request => { run(request); return 'done' }) }, { storeTimeout: 300 })
      const reply = send(place, '/')
      t.equal(await place.gate.next(), 'get')
      const { status, body } = await reply
      t.same([status, JSON.parse(body).code], [503, 'FST_ERR_SESSION_STORE_TIMEOUT'], `${name}, ${kind}`)
      place.gate.open()
      t.match(await place.browser.ask('/data'), { status: 200 })
    }
  }
})

t.test('many slow operations delay a reply only up to the time limit', async t => {
  const place = await open(t, 'get, set, destroy', app => {
    app.get('/', async ({ session }) => {
      for (let i = 0; i < 100; i++) session.reload()
      return 'done'
    })
  }, { storeTimeout: 300 })
  const { get } = place.gate.store
  place.gate.store.get = (sessionId: string, answer: Answer) => { setTimeout(get, 20, sessionId, answer) }
  const { status, body } = await place.browser.ask('/')
  t.same([status, JSON.parse(body).code], [503, 'FST_ERR_SESSION_STORE_TIMEOUT'])
})

t.test('the reply does not wait for operations that begin after the commit', async t => {
  const place = await open(t, 'update', app => {
    app.get('/', (request, reply) => {
      reply.send('done')
      setImmediate(() => { request.session.reload() })
    })
  })
  place.gate.close()
  const reply = place.browser.ask('/')
  t.equal(await place.gate.next(), 'get')
  // The reply's own touch. The reload still waits.
  t.match([await place.gate.next(), await place.gate.next()].sort(), ['get', 'touch'])
  t.match(await reply, { status: 200, body: 'done' })
  place.gate.open()
})

t.test('a hijacked reply waits for no operations, and they still run', async t => {
  const place = await open(t, 'update', app => {
    app.get('/', (request, reply) => {
      session(request).seen = 1
      request.session.save()
      reply.hijack()
      reply.raw.end('raw')
    })
  })
  const reply = send(place, '/')
  t.equal(await place.gate.next(), 'get')
  t.match(await reply, { status: 200, body: 'raw' })
  t.equal(await place.gate.next(), 'update')
  for (let i = 0; i < 10 && place.gate.data[0].seen === 0; i++) await new Promise(setImmediate)
  t.match(place.gate.data, [{ seen: 1 }])
  place.gate.open()
})

// --- Parallel requests: a logout and an un-awaited operation, in both orders

for (const kind of KINDS) {
  for (const { name, run } of FORMS) {
    for (const order of ['first', 'last']) {
      t.test(`a logout in another request comes ${order}, in parallel to ${name}: ${kind}`, async t => {
        let go!: () => void
        let isIn!: () => void
        const waits = new Promise<void>(resolve => { go = resolve })
        const came = new Promise<void>(resolve => { isIn = resolve })
        const place = await open(t, kind, app => {
          app.get('/', async request => {
            isIn()
            await waits
            run(request)
            return 'done'
          })
          app.get('/out', async ({ session }) => { await session.destroy() })
        })
        const other = new Visitor(place.browser.address)
        other.cookie = place.browser.cookie
        const reply = place.browser.ask('/')
        await came
        if (order === 'first') {
          await other.ask('/out')
          go()
        } else {
          place.gate.close()
          go()
          await place.gate.next()
          const out = other.ask('/out')
          await finish(place, Promise.all([reply, out]))
        }
        const { status } = await reply
        t.ok(status === 200 || status === 409 || name === 'reload()', String(status))
        const left = place.gate.data
        if (name === 'regenerate()') t.ok(left.length <= 1)
        else if (order === 'first') t.same(left, [], 'logged out stays logged out')
      })
    }
  }
}

// --- Functions of the application that return a promise

const resolving = async (value: unknown): Promise<unknown> => value
const rejecting = async (): Promise<never> => { throw new Error('of the application') }

for (const [how, answer] of [['resolves', (value: unknown) => resolving(value)], ['rejects', () => rejecting()]] as const) {
  t.test(`an async user() that ${how} is a clear error`, async t => {
    const app = await build({ user: (() => answer('max')) as any }, app => {
      app.get('/', async ({ session }) => { (session as any).user = 'max' })
      app.get('/save', async ({ session }) => { session.save(); return 'done' })
      app.get('/list', async ({ session }) => await (session as any).list())
    })
    t.teardown(() => app.close())
    for (const url of ['/', '/save', '/list']) {
      const { statusCode, body } = await app.inject(url)
      t.same([statusCode, JSON.parse(body).code], [500, 'FST_ERR_SESSION_USER'], url)
    }
  })

  t.test(`an async describe() that ${how}`, async t => {
    const app = await build({ user: session => (session as any).user, describe: (() => answer({ device: 'phone' })) as any }, app => {
      app.get('/in', async ({ session }) => { (session as any).user = 'max' })
      app.get('/list', async ({ session }) => await (session as any).list())
      app.get('/forgotten', async ({ session }) => { (session as any).list().catch(() => {}); return 'done' })
    })
    t.teardown(() => app.close())
    const [cookie] = setCookies(await app.inject('/in')) as [string]
    const headers = { cookie: cookie.split(';', 1)[0] as string }
    const response = await app.inject({ url: '/list', headers })
    if (how === 'resolves') t.match(response.json(), [{ device: 'phone' }])
    else t.match(response.json(), { statusCode: 500, message: 'of the application' })
    t.equal((await app.inject({ url: '/forgotten', headers })).statusCode, 200)
  })

  t.test(`a signer whose sign() ${how} is a clear error`, async t => {
    const signer: any = { sign: () => answer('signed'), unsign: () => ({ valid: false, renew: false, value: null }) }
    const app = await build({ secret: signer }, app => {
      app.get('/', async ({ session }) => { (session as any).n = 1 })
      app.get('/read', async ({ session }) => session.encryptedSessionId)
    })
    t.teardown(() => app.close())
    for (const url of ['/', '/read']) t.match((await app.inject(url)).json(), { statusCode: 500, code: 'FST_ERR_SESSION_SIGNER' }, url)
  })

  t.test(`a signer whose unsign() ${how}: the cookie has no session`, async t => {
    const signer: any = { sign: (value: string) => value, unsign: () => answer({ valid: true, renew: false, value: 'an-id' }) }
    for (const sessionName of ['session', 'shop']) {
      const store = new MemoryStore()
      store.store.set('an-id', record({ user: 'max' }) as any)
      const app = await build({ secret: signer, store, sessionName }, app => {
        app.get('/', async request => (request as any)[sessionName].user ?? 'nobody')
      })
      t.teardown(() => app.close())
      t.equal((await app.inject({ url: '/', headers: { cookie: 'sessionId=an-id' } })).body, 'nobody')
    }
  })
}

const raise = (thrown: unknown): never => { throw thrown }

for (const thrown of [undefined, null, 0, '']) {
  t.test(`a function of the application that throws ${JSON.stringify(thrown)} is a clear error, and not an answer without a session`, async t => {
    const fail = (): never => raise(thrown)
    const user = (session: any): any => session.user
    const signer: any = { sign: fail, unsign: () => ({ valid: false, renew: false, value: null }) }
    const functions: Array<[string, SessionOptions, string]> = [
      ['cookie', { cookie: fail }, '/in'],
      ['rolling', { rolling: fail }, '/in'],
      ['saveUninitialized', { saveUninitialized: fail }, '/'],
      ['user', { user: fail }, '/in'],
      ['index.org', { index: { org: fail } }, '/in'],
      ['describe', { user, describe: fail }, '/list'],
      ['secret.sign', { secret: signer }, '/in']
    ]
    for (const [option, options, url] of functions) {
      const app = await build(options, app => {
        app.get('/', async () => 'nothing')
        app.get('/in', async ({ session }) => { (session as any).user = 'max'; return 'in' })
        app.get('/list', async ({ session }) => {
          (session as any).user = 'max'
          await session.save()
          return await (session as any).list()
        })
      })
      t.teardown(() => app.close())
      const response = await app.inject(url)
      t.match(response.json(), { statusCode: 500, code: 'FST_ERR_SESSION_OPTION', message: `option ${option} threw` }, option)
      if (option === 'cookie') await t.rejects(app.createSession(), { code: 'FST_ERR_SESSION_OPTION' })
    }
  })
}

const id = (): string => Math.random().toString(36).slice(2).padEnd(24, 'x')

const asyncId = async (): Promise<string> => id()

const GENERATORS: Record<string, () => any> = {
  'declared async': () => asyncId,
  'a function that returns a promise': () => () => Promise.resolve(id()),
  bound: () => asyncId.bind(null),
  wrapped: () => (fn => function (this: unknown, ...args: []) { return fn.apply(this, args) })(asyncId),
  'a function that returns a thenable': () => () => ({ then: (resolve: (id: string) => void) => { setImmediate(resolve, id()) } }),
  promisified: () => promisify((_request: unknown, callback: (error: null, id: string) => void) => { setImmediate(callback, null, id()) }),
  synchronous: () => id
}

for (const [form, make] of Object.entries(GENERATORS)) {
  t.test(`an idGenerator that is ${form} works for new sessions and for regenerate(), in all call forms`, async t => {
    for (const kind of KINDS) {
      const place = await open(t, kind, app => {
        app.get('/id', async ({ session }) => { (session as any).n = 1; return session.sessionId })
        app.get('/renew', async request => { request.session.regenerate(['user'] as any); return 'done' })
        app.get('/renew/callback', (request, reply) => { request.session.regenerate(error => { reply.send(error ?? 'done') }) })
        app.get('/text', async request => { await request.session.regenerate('text' as any); return 'done' })
        app.get('/out', async request => { request.session.destroy(); return 'done' })
      }, { idGenerator: make() })
      const newcomer = new Visitor(place.browser.address)
      const { status, body } = await newcomer.ask('/id')
      t.equal(status, 200)
      t.match(newcomer.cookie, body)
      for (const path of ['/renew', '/renew/callback', '/text', '/out']) {
        const before = place.browser.cookie
        t.match(await place.browser.ask(path), { status: 200, body: 'done' }, path)
        t.not(place.browser.cookie, before)
      }
    }
  })
}

const WRONG: Record<string, () => any> = {
  'async and rejects': () => async () => { throw new Error('no ids today') },
  'a function that returns a promise that rejects': () => () => Promise.reject(new Error('no ids today')),
  'synchronous and throws': () => () => { throw new Error('no ids today') },
  'async and throws null': () => async () => raise(null),
  'async and throws undefined': () => async () => raise(undefined),
  'synchronous and throws null': () => () => raise(null),
  'synchronous and throws undefined': () => () => raise(undefined),
  'synchronous and throws an empty text': () => () => raise(''),
  'async and returns a number': () => async () => 5,
  'synchronous and returns a number': () => () => 5
}

for (const [form, make] of Object.entries(WRONG)) {
  t.test(`an idGenerator that is ${form} is a clear error of each operation that needs an id`, async t => {
    const app = await build({ idGenerator: make() }, app => {
      app.get('/', async ({ session }) => { (session as any).n = 1 })
      app.get('/save', async ({ session }) => { session.save(); return 'done' })
      app.get('/renew', async ({ session }) => { session.regenerate(); return 'done' })
      app.get('/reload', async ({ session }) => { session.reload(); return 'done' })
      app.get('/out', async ({ session }) => { session.destroy(); return 'done' })
    })
    t.teardown(() => app.close())
    for (const url of ['/', '/save', '/renew', '/reload', '/out']) {
      for (let i = 0; i < 2; i++) {
        const { statusCode, body } = await app.inject(url)
        t.equal(statusCode, 500, url)
        t.match(JSON.parse(body).message, /no ids today|idGenerator must return/, url)
      }
    }
  })
}

t.test('if the system has no random numbers, a session without an id is not saved, and the error is the reply', async t => {
  const store = new MemoryStore()
  const app = await build({ store }, app => {
    app.get('/', async ({ session }) => { (session as any).n = 1 })
    app.get('/save', async ({ session }) => { await session.save(); return 'done' })
  })
  t.teardown(() => app.close())
  const { randomBytes } = crypto
  t.teardown(() => { crypto.randomBytes = randomBytes })
  crypto.randomBytes = (() => { throw new Error('no entropy') }) as any
  for (const url of ['/', '/save']) {
    const { statusCode, body } = await app.inject(url)
    t.equal(statusCode, 500)
    t.match(body, 'no entropy')
  }
  t.equal(store.store.size, 0)
})

// --- A stream as payload that fails while the commit waits

for (const kind of KINDS) {
  for (const when of ['a commit', 'an operation']) {
    t.test(`if a stream fails while ${when} waits, its error is the reply: ${kind}`, async t => {
      let fail!: () => void
      const place = await open(t, kind, app => {
        app.get('/', async (request, reply) => {
          const stream = new Readable({ read () {} })
          fail = () => { stream.destroy(new Error('the file is gone')) }
          session(request).seen = 1
          if (when === 'an operation') request.session.save()
          return await reply.send(stream)
        })
      })
      const reply = send(place, '/')
      t.equal(await place.gate.next(), 'get')
      await until(() => place.gate.calls.length === 2)
      fail()
      await new Promise(setImmediate)
      const { status, body } = await finish(place, reply)
      t.same([status, JSON.parse(body).message], [500, 'the file is gone'])
      t.match(await place.browser.ask('/data'), { status: 200 })
    })
  }

  t.test(`a stream that failed before it was sent is a 500: ${kind}`, async t => {
    const place = await open(t, kind, app => {
      app.get('/', async (_request, reply) => {
        const stream = new Readable({ read () {} })
        stream.on('error', () => {})
        stream.destroy(new Error('the file is gone'))
        await new Promise(setImmediate)
        return await reply.send(stream)
      })
    })
    const { status } = await place.browser.ask('/')
    t.equal(status, 500)
  })
}

async function until (isSo: () => boolean): Promise<void> {
  for (let i = 0; i < 10_000 && !isSo(); i++) await new Promise(setImmediate)
}

// --- Errors that nobody catches, which would end the process

t.test('whatever handlers forget to await, and whatever the store does, the process keeps running', async t => {
  const { code, stdout, stderr } = await start(t, 'test/processes/forgetful.js').end()
  t.equal(stderr.replace(/\(node:\d+\).*\n(\(Use .*\n)?/g, ''), '')
  t.equal(code, 0)
  t.match(stdout, /^answered 1344$/m)
})
