/** Which request waits for which (reads wait for none), the async context of each, and what ten thousand reloads leave behind. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { PassThrough } from 'node:stream'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore } from '../src/index'
import { build, collectGarbage, Gate, SECRET, Visitor, type Routes, type SessionOptions } from './helpers'
import { TouchStore } from './odd-stores'

type Kind = 'get, set, destroy' | 'touch' | 'update' | 'getAndTouch'
const KINDS: readonly Kind[] = ['get, set, destroy', 'touch', 'update', 'getAndTouch']
const METHODS: Record<Kind, string[]> = {
  'get, set, destroy': ['get', 'set', 'destroy'],
  touch: ['get', 'set', 'destroy', 'touch'],
  update: ['get', 'set', 'destroy', 'touch', 'update'],
  getAndTouch: ['get', 'set', 'destroy', 'touch', 'update', 'getAndTouch']
}

/** A MemoryStore that also has getAndTouch. */
class FullStore extends MemoryStore {
  override getAndTouch (sessionId: string, callback: any): void {
    this.get(sessionId, (error: any, record: any) => {
      if (record === undefined) callback(error)
      else this.touch(sessionId, { cookie: { expires: new Date(Date.now() + record.cookie.idle) } } as any, () => callback(null, record))
    })
  }
}

/** Answers all waiting calls together, in one round: like a store in which every call takes equally long. */
class RoundStore {
  readonly memory = new FullStore()
  readonly store: any
  readonly calls: string[] = []
  rounds = 0
  /** Whether calls are answered without waiting for a round. */
  isOpen = true
  #waiting: Array<() => void> = []

  constructor (kind: Kind) {
    this.store = Object.fromEntries(METHODS[kind].map(method => [method, (...args: any[]) => {
      this.calls.push(method)
      const go = (): void => { (this.memory as any)[method](...args) }
      if (this.isOpen) setImmediate(go)
      else this.#waiting.push(go)
    }]))
  }

  /** Plays rounds until the work is done. The number of rounds is the number of calls that the work had to wait for in turn. */
  async play (work: Promise<unknown>): Promise<void> {
    this.isOpen = false
    this.rounds = 0
    this.calls.length = 0
    let isDone = false
    const done = work.finally(() => { isDone = true })
    const idle = 20
    for (let turn = 0, seen = 0; ; turn++) {
      await new Promise(setImmediate)
      if (isDone) break
      if (this.#waiting.length > seen) turn = 0
      seen = this.#waiting.length
      if (turn < idle || seen === 0) continue
      this.rounds++
      const calls = this.#waiting
      this.#waiting = []
      seen = turn = 0
      for (const call of calls) call()
    }
    this.isOpen = true
    await done
  }
}

async function open (t: Test, kind: Kind, routes: Routes = () => {}, options: SessionOptions = {}): Promise<{ store: RoundStore, visitor: Visitor }> {
  const store = new RoundStore(kind)
  const app = await build({ store: store.store, saveUninitialized: false, cookie: { maxAge: 600_000 }, ...options }, app => {
    app.get('/in', async ({ session }) => { (session as any).user = 'max' })
    app.get('/me', async ({ session }) => (session as any).user)
    app.get('/write', async ({ session }) => { (session as any).n = 1 })
    routes(app)
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/in')
  return { store, visitor }
}

const count = (calls: string[], method: string): number => calls.filter(call => call === method).length

for (const kind of KINDS) {
  t.test(`300 parallel reads of one session do not wait for each other: ${kind}`, async t => {
    const { store, visitor } = await open(t, kind)
    const replies = Array.from({ length: 300 }, () => visitor.get('/me'))
    await store.play(Promise.all(replies))
    for (const { statusCode, body } of await Promise.all(replies)) if (statusCode !== 200 || body !== 'max') t.fail(body)
    if (kind === 'getAndTouch') {
      t.equal(store.rounds, 1)
      t.same([store.calls.length, count(store.calls, 'getAndTouch')], [300, 300])
    } else if (kind === 'get, set, destroy') {
      // All are loaded. The first is written. The others have come in the meantime, and one write serves them all.
      t.equal(store.rounds, 5)
      t.same([count(store.calls, 'get'), count(store.calls, 'set')], [302, 2])
    } else {
      t.equal(store.rounds, 2, 'one round to load, one to touch')
      t.same([count(store.calls, 'get'), count(store.calls, 'touch'), store.calls.length], [300, 300, 600])
    }
  })

  t.test(`with rolling: false, 300 parallel requests, one of which writes, need three rounds at most: ${kind}`, async t => {
    const { store, visitor } = await open(t, kind, () => {}, { rolling: false })
    const replies = Array.from({ length: 300 }, (_, i) => visitor.get(i === 0 ? '/write' : '/me'))
    await store.play(Promise.all(replies))
    t.equal(store.calls.length, kind === 'get, set, destroy' || kind === 'touch' ? 302 : 301, 'a read makes one store call')
    t.ok(store.rounds <= 3)
  })
}

for (const kind of ['get, set, destroy', 'touch'] as const) {
  t.test(`100 parallel writes of one session are each written, in turn: ${kind}`, async t => {
    const { store, visitor } = await open(t, kind, app => {
      app.get('/set/:key', async ({ session, params }) => { (session as any)[(params as any).key] = 1 })
    })
    await store.play(Promise.all(Array.from({ length: 100 }, (_, i) => visitor.get(`/set/key${i}`))))
    const [record] = store.memory.store.values() as any
    t.equal(Object.keys(record).filter(key => key.startsWith('key')).length, 100)
  })

  t.test(`if the write or touch that 50 parallel reads wait for fails, all of them are answered alike: ${kind}`, async t => {
    const { store, visitor } = await open(t, kind)
    store.memory[kind === 'touch' ? 'touch' : 'set'] = (...args: any[]) => { args.at(-1)(new Error('The store is away')) }
    const replies = Array.from({ length: 50 }, () => visitor.get('/me'))
    await store.play(Promise.all(replies))
    const statuses = new Set((await Promise.all(replies)).map(({ statusCode }) => statusCode))
    t.same([...statuses], [kind === 'touch' ? 200 : 500])
  })
}

// --- AsyncLocalStorage

/** A store that answers calls in batches, in the async context of the first call, as DataLoader does. */
function batching (kind: Kind, memory = new FullStore()): any {
  let batch: Array<() => void> = []
  return Object.fromEntries(METHODS[kind].map(method => [method, (...args: any[]) => {
    batch.push(() => (memory as any)[method](...args))
    if (batch.length > 1) return
    setTimeout(() => {
      const calls = batch
      batch = []
      for (const call of calls) call()
    }, 2)
  }]))
}

function slow (kind: Kind, memory = new FullStore()): any {
  return Object.fromEntries(METHODS[kind].map(method => [method, (...args: any[]) => {
    setTimeout(() => (memory as any)[method](...args), 2)
  }]))
}

function sync (kind: Kind, memory = new FullStore()): any {
  return Object.fromEntries(METHODS[kind].map(method => [method, (...args: any[]) => (memory as any)[method](...args)]))
}

function promising (kind: Kind, memory = new FullStore()): any {
  return Object.fromEntries(METHODS[kind].map(method => [method, ({
    2: (id: string) => new Promise((resolve, reject) => (memory as any)[method](id, (error: any, value: any) => error ? reject(error) : resolve(value))),
    3: (id: string, session: any) => new Promise((resolve, reject) => (memory as any)[method](id, session, (error: any, value: any) => error ? reject(error) : resolve(value))),
    4: (id: string, changes: any, session: any) => new Promise((resolve, reject) => (memory as any)[method](id, changes, session, (error: any, value: any) => error ? reject(error) : resolve(value)))
  } as any)[(memory as any)[method].length]]))
}

for (const [name, make] of Object.entries({ slow, batching, sync, promising })) {
  for (const kind of KINDS) {
    t.test(`each request keeps its own async context, whatever the store does: ${name}, ${kind}`, async t => {
      const context = new AsyncLocalStorage<{ id: string }>()
      const wrong: string[] = []
      const seen = new Set<string>()
      const check = (request: any, where: string): void => {
        seen.add(where)
        if (context.getStore()?.id !== request.headers['x-id']) wrong.push(`${where}: ${request.headers['x-id']} in ${context.getStore()?.id}`)
      }
      const app = Fastify() as unknown as FastifyInstance
      await app.register(fastifyCookie)
      app.addHook('onRequest', (request, _reply, done) => context.run({ id: String(request.headers['x-id']) }, done))
      await app.register(fastifySession, {
        secret: SECRET, cookie: { secure: false, maxAge: 60_000 }, store: make(kind), saveUninitialized: false, idGenerator: newId
      })
      app.addHook('preHandler', async request => check(request, 'preHandler'))
      app.addHook('onSend', async request => check(request, 'onSend'))
      app.addHook('onResponse', async request => check(request, 'onResponse'))
      app.get('/in', async ({ session }) => { (session as any).user = 1 })
      app.get('/read', async request => { check(request, 'handler'); return String((request.session as any).user) })
      app.get('/save', (request, reply) => {
        (request.session as any)[`key${request.id}`] = 1
        request.session.save(error => { check(request, 'save'); reply.send(error ?? 'ok') })
      })
      app.get('/reload', (request, reply) => {
        request.session.reload()
        request.session.reload(error => { check(request, 'reload'); reply.send(error ?? 'ok') })
      })
      app.get('/forget', async request => {
        (request.session as any)[`key${request.id}`] = 2
        request.session.save()
        request.session.reload()?.then(() => check(request, 'then'))
        return 'ok'
      })
      app.get('/renew', (request, reply) => {
        request.session.regenerate(['user'] as any, error => { check(request, 'regenerate'); reply.send(error ?? 'ok') })
      })
      app.get('/out', (request, reply) => { request.session.destroy(error => { check(request, 'destroy'); reply.send(error ?? 'ok') }) })
      t.teardown(() => app.close())
      const base = await app.listen({ port: 0, host: '127.0.0.1' })
      let serial = 0
      const send = async (url: string, cookie?: string): Promise<Response> => {
        const response = await fetch(base + url, { headers: { 'x-id': `r${serial++}`, ...(cookie && { cookie }) } })
        await response.text()
        return response
      }
      const cookie = async (): Promise<string> => (await send('/in')).headers.getSetCookie()[0]?.split(';')[0] as string
      const one = await cookie()
      await Promise.all(Array.from({ length: 10 }, () => send('/read', one)))
      await Promise.all(['/read', '/save', '/forget', '/reload', '/read', '/save', '/forget', '/reload', '/read', '/save'].map(url => send(url, one)))
      const many = await Promise.all(Array.from({ length: 6 }, cookie))
      await Promise.all(many.map((cookie, i) => send(['/renew', '/out', '/save'][i % 3] as string, cookie)))
      t.same(wrong, [])
      t.same([...seen].sort(), ['destroy', 'handler', 'onResponse', 'onSend', 'preHandler', 'regenerate', 'reload', 'save', 'then'])
    })
  }
}

/** An id that arrives in the async context of another request, as from a pool that is filled in batches. */
const pool: Array<(id: string) => void> = []
let ids = 0
function newId (): Promise<string> {
  return new Promise(resolve => {
    pool.push(resolve)
    if (pool.length === 1) setTimeout(() => { for (const give of pool.splice(0)) give(`an-id-of-the-pool-${ids++}`) }, 2)
  })
}

t.test('a store that answers synchronously needs no AsyncResource', async t => {
  const { createHook, executionAsyncId } = await import('node:async_hooks')
  const made: string[] = []
  const hook = createHook({ init (_id, type) { if (type === 'SessionStore' || type === 'bound-anonymous-fn') made.push(type) } })
  const { app } = await (async () => {
    const app = await build({ cookie: { maxAge: 60_000 } }, app => {
      app.get('/', async ({ session }) => { (session as any).n = executionAsyncId() })
    })
    return { app }
  })()
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/')
  hook.enable()
  await visitor.get('/')
  hook.disable()
  t.same(made, [])
})

// --- Ten thousand reloads

const MANY = 10_000

for (const [what, pick] of Object.entries({
  'of request.session': (_first: any, request: any) => request.session,
  'of the object that the handler got first': (first: any) => first
})) {
  t.test(`ten thousand reloads in one stream, ${what}, leak no listeners and no memory`, async t => {
    const sessions: Array<WeakRef<object>> = []
    let counts: number[] = []
    let failure: unknown
    const app = await build({ saveUninitialized: false }, app => {
      app.get('/in', async ({ session }) => { (session as any).user = { id: 1 } })
      app.get('/events', async (request, reply) => {
        const stream = new PassThrough()
        const first = request.session as any
        const count = (): number => ['finish', 'close', 'error'].reduce((sum, event) => sum + reply.raw.listenerCount(event), 0)
        const run = async (): Promise<void> => {
          const before = count()
          for (let i = 0; i < MANY; i++) {
            await pick(first, request).reload()
            const user = (request.session as any).user
            if (i % 100 === 0) stream.write(`data: ${user.id}\n\n`)
            sessions.push(new WeakRef(request.session))
            if (i % 1000 === 0) await new Promise(setImmediate)
          }
          counts = [before, count()]
          await new Promise(setImmediate)
          collectGarbage()
          await new Promise(setImmediate)
          collectGarbage()
          t.ok(sessions.filter(session => session.deref() !== undefined).length < 10, 'the sessions in between are garbage-collected')
          t.equal(first.user.id, 1, 'the first session, which the handler still holds, works')
        }
        setImmediate(() => { run().catch(error => { failure = error }).finally(() => stream.end()) })
        reply.header('content-type', 'text/event-stream')
        return await reply.send(stream)
      })
    })
    t.teardown(() => app.close())
    const visitor = new Visitor(app)
    await visitor.get('/in')
    t.equal((await visitor.get('/events')).statusCode, 200)
    t.equal(failure, undefined)
    const [before = NaN, after = NaN] = counts
    t.ok(after - before <= 1, `${after - before} more listeners`)
  })
}

for (const [what, run] of Object.entries({
  'reload()': (session: any) => { for (let i = 0; i < MANY; i++) session.reload() },
  'save() on a destroyed session': (session: any) => {
    session.destroy()
    for (let i = 0; i < MANY; i++) session.save()
  },
  'save() with callbacks': (session: any) => { for (let i = 0; i < MANY; i++) session.save(() => {}) }
})) {
  t.test(`ten thousand calls of ${what} that are not awaited do no harm`, async t => {
    for (const store of [new MemoryStore(), new RoundStore('touch').store]) {
      let wait: Promise<unknown> | undefined
      const app = await build({ store, saveUninitialized: false, storeTimeout: 60_000 }, app => {
        app.get('/in', async ({ session }) => { (session as any).user = 'max' })
        app.get('/', async ({ session }) => { run(session) })
        app.get('/again', async ({ session }) => { wait = session.reload()?.catch(error => error) })
      })
      t.teardown(() => app.close())
      const visitor = new Visitor(app)
      await visitor.get('/in')
      t.equal((await visitor.get('/')).statusCode, 200)
      t.equal((await visitor.get('/again')).statusCode, 200)
      await wait
    }
  })
}

for (const [answered, method] of [['by the store', 'reload'], ['at once, because the session is destroyed', 'destroy']] as const) {
  t.test(`an error thrown by one operation's callback does not stop the operations that wait behind it: answered ${answered}`, async t => {
    const store = new RoundStore('touch')
    let saved = false
    const thrown: unknown[] = []
    const hear = (error: unknown): void => { thrown.push(error) }
    const app = await build({ store: store.store, saveUninitialized: false }, app => {
      app.get('/', async ({ session }) => {
        (session as any).n = 1
        session[method]()
        session.save(() => { throw new Error('of the callback') })
        session.save(() => { saved = true })
      })
    })
    t.teardown(() => app.close())
    process.prependOnceListener('uncaughtException', hear)
    const others = process.listeners('uncaughtException').filter(listener => listener !== hear)
    for (const listener of others) process.off('uncaughtException', listener)
    try {
      t.equal((await app.inject('/')).statusCode, 200)
    } finally {
      for (const listener of others) process.on('uncaughtException', listener)
      process.off('uncaughtException', hear)
    }
    t.match(thrown, [{ message: 'of the callback' }])
    t.equal(saved, true)
  })
}

t.test('on a store without update, a change waits for touches that are under way, and touches do not wait for each other', async t => {
  const calls: string[] = []
  const gate = new Gate()
  class Gated extends TouchStore {
    override set (...args: Parameters<TouchStore['set']>): void {
      calls.push('set')
      super.set(...args)
    }

    override touch (...args: Parameters<TouchStore['touch']>): void {
      calls.push('touch')
      gate.pass().then(() => super.touch(...args), t.fail)
    }
  }
  const app = await build({ store: new Gated() as any, saveUninitialized: false, cookie: { maxAge: 60_000 } }, app => {
    app.get('/login', async request => { (request.session as any).user = 'max' })
    app.get('/read', async () => 'read')
    app.get('/change', async request => { (request.session as any).cart = 1 })
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const requests = [visitor.copy().get('/read'), visitor.copy().get('/read')]
  await gate.holds(2)
  requests.push(visitor.copy().get('/change'))
  for (let i = 0; i < 50; i++) await new Promise(resolve => setImmediate(resolve))
  t.same(calls, ['set', 'touch', 'touch'])
  gate.open()
  await Promise.all(requests)
  t.same(calls, ['set', 'touch', 'touch', 'set'])
})
