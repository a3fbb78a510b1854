/** Records that can't be read, completely or in part: the visitor can log in again, and the diagnostics channel reports it. */
import { channel } from 'node:diagnostics_channel'
import { sign } from '@fastify/cookie'
import t, { type Test } from 'tap'
import { MemoryStore, type SecurityMessage, type SessionRecord } from '../src/index'
import { build, record, SECRET, Visitor, type Routes, type SessionOptions } from './helpers'
import { ThreeMethodStore, type Answer } from './odd-stores'

const CLEARED = /^sessionId=; Max-Age=0/

const routes: Routes = app => {
  app.get('/in/:user', async request => {
    await request.session.regenerate()
    Object.assign(request.session, { user: (request.params as any).user, cart: ['apple'] })
  })
  app.get('/user', async ({ session }) => (session as any).user ?? 'nobody')
  app.get('/cart', async ({ session }) => (session as any).cart ?? 'none')
  app.get('/data', async ({ session }) => session.data())
  app.get('/make-do', async ({ session }) => {
    try {
      return (session as any).cart
    } catch (error) {
      return { code: (error as any).code }
    }
  })
  app.get('/replace', async ({ session }) => { (session as any).cart = ['pear'] })
  app.get('/remove', async ({ session }) => { delete (session as any).cart })
  app.get('/write', async ({ session }) => { (session as any).n = 1 })
  app.get('/keep', async request => { await request.session.regenerate(['cart'] as any) })
  app.get('/logout', async ({ session }) => { await session.destroy() })
  app.get('/list', async ({ session }) => await (session as any).list())
}

async function open (t: Test, options: SessionOptions): Promise<Visitor> {
  const app = await build({ saveUninitialized: false, ...options }, routes)
  t.teardown(() => app.close())
  return new Visitor(app)
}

function hearSecurity (t: Test): string[] {
  const heard: string[] = []
  const hear = (message: unknown): void => { heard.push((message as SecurityMessage).reason) }
  const security = channel('@fastify/session:security')
  security.subscribe(hear)
  t.teardown(() => security.unsubscribe(hear))
  return heard
}

// --- Whole records

/** Keeps JSON, like a store of files, and later answers with the parsed record or the error of JSON.parse. */
class JsonStore extends ThreeMethodStore {
  override get (sessionId: string, callback: Answer): void {
    setImmediate(() => {
      try {
        callback(null, JSON.parse(this.records.get(sessionId) ?? 'null'))
      } catch (error) {
        callback(error)
      }
    })
  }
}

class TouchStore extends JsonStore {
  touch (_sessionId: string, _session: object, callback: Answer): void {
    setImmediate(callback)
  }
}

const TEXTS = {
  'that was cut off': '{"user":"ma',
  'that is a number': '42',
  'that is a string': '"max"',
  'that is a list': '[{"user":"max"}]',
  'that is true': 'true',
  'that is empty': '',
  'that has zeros in it': '\0\0\0\0'
}

for (const [what, text] of Object.entries(TEXTS)) {
  for (const Store of [JsonStore, TouchStore]) {
    t.test(`a record ${what} is treated as no session, on a ${Store.name}`, async t => {
      const heard = hearSecurity(t)
      for (const [url, status] of [['/user', 200], ['/write', 200], ['/logout', 200], ['/keep', 200], ['/in/eva', 200]] as const) {
        const store = new Store()
        const visitor = await open(t, { store: store as any })
        await visitor.get('/in/max')
        const [sessionId] = store.records.keys()
        store.records.set(sessionId as string, text)
        heard.length = 0
        const response = await visitor.get(url)
        t.equal(response.statusCode, status, url)
        t.same(heard, ['unreadable'], url)
        t.equal(response.cookies.some(({ value }) => value.startsWith(sessionId as string)), false, 'the id in the cookie is never used again')
        await visitor.get('/in/max')
        t.equal((await visitor.get('/user')).body, 'max', 'the visitor can log in again')
      }
    })
  }
}

t.test("a record is also unreadable if the cause of the store's error is a SyntaxError", async t => {
  const store = new JsonStore()
  store.get = (_sessionId, callback) => callback(new Error('reading failed', { cause: new SyntaxError('Unexpected end') }))
  const visitor = await open(t, { store: store as any })
  visitor.cookies.set('sessionId', sign('an-id', SECRET))
  t.equal((await visitor.get('/user')).body, 'nobody')
})

t.test('reload() fails with an error if the record can no longer be read', async t => {
  const store = new JsonStore()
  const app = await build({ store: store as any, saveUninitialized: false }, app => {
    routes(app)
    app.get('/reload', async request => {
      for (const sessionId of store.records.keys()) store.records.set(sessionId, '{')
      await request.session.reload()
    })
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/in/max')
  t.match((await visitor.get('/reload')).json(), { code: 'FST_ERR_SESSION_GONE' })
  t.equal((await visitor.get('/user')).body, 'nobody')
})

// --- Fields

/** Parses each field when it is read, as RedisStore does. */
class LazyStore extends MemoryStore {
  readonly broken = new Set<string>()
  error = (): Error => new SyntaxError('Unexpected token m in "max has a secret"')

  override get (sessionId: string, callback: any): void {
    super.get(sessionId, (error: any, record: any) => callback(error, record && this.#lazy(record)))
  }

  #lazy (record: SessionRecord): SessionRecord {
    const result: SessionRecord = { cookie: record.cookie }
    for (const key of Object.keys(record)) {
      if (!this.broken.has(key)) result[key] = record[key]
      else Object.defineProperty(result, key, { enumerable: true, get: () => { throw this.error() } })
    }
    return result
  }
}

/** The error that RedisStore throws. */
const recordError = (): Error => Object.assign(new Error("The stored session can't be read: x"), { code: 'FST_ERR_SESSION_RECORD', statusCode: 500 })

async function openBroken (t: Test, key: string, options: SessionOptions = {}): Promise<{ visitor: Visitor, store: LazyStore, heard: string[] }> {
  const store = new LazyStore()
  const heard = hearSecurity(t)
  const visitor = await open(t, { store, cookie: { maxAge: 60_000 }, ...options })
  await visitor.get('/in/max')
  store.broken.add(key)
  return { visitor, store, heard }
}

t.test('an unreadable field does no harm to requests that do not read it', async t => {
  const { visitor, store, heard } = await openBroken(t, 'cart')
  for (const url of ['/user', '/write', '/user']) t.equal((await visitor.get(url)).statusCode, 200, url)
  t.equal(store.store.size, 1)
  t.same(heard, [])
})

for (const [what, error] of Object.entries({ "a store's own error": recordError, 'an error of JSON': undefined })) {
  for (const url of ['/cart', '/data', '/make-do', '/keep']) {
    t.test(`reading an unreadable field throws, and the session ends with that reply: ${url}, ${what}`, async t => {
      const { visitor, store, heard } = await openBroken(t, 'cart')
      store.error = error ?? store.error
      const response = await visitor.get(url)
      t.equal(response.statusCode, url === '/make-do' ? 200 : 500)
      t.equal(response.json().code, 'FST_ERR_SESSION_RECORD')
      t.notMatch(response.body, /secret/)
      t.match(response.headers['set-cookie'], CLEARED)
      t.equal(store.store.size, 0, 'the session is removed from the store')
      t.same(heard, ['unreadable'])
      store.broken.clear()
      t.equal((await visitor.get('/user')).body, 'nobody')
      await visitor.get('/in/max')
      t.equal((await visitor.get('/user')).body, 'max')
    })
  }
}

for (const [what, error] of Object.entries({ 'an error of JSON': undefined, 'any other': () => new Error('The store is away') })) {
  for (const url of ['/replace', '/remove']) {
    t.test(`an unreadable field can be repaired by ${url}: ${what}`, async t => {
      const { visitor, store } = await openBroken(t, 'cart')
      store.error = error ?? store.error
      t.equal((await visitor.get(url)).statusCode, 200)
      store.broken.clear()
      t.same((await visitor.get('/cart')).body, url === '/replace' ? '["pear"]' : 'none')
      t.equal((await visitor.get('/user')).body, 'max')
    })
  }
}

t.test('if the store fails to end a session with an unreadable field, the next request tries again', async t => {
  const { visitor, store, heard } = await openBroken(t, 'cart')
  const { destroy } = store
  store.destroy = (_sessionId: string, callback: any) => callback(new Error('The store is away'))
  const response = await visitor.get('/cart')
  t.equal(response.json().code, 'FST_ERR_SESSION_RECORD')
  t.equal(response.headers['set-cookie'], undefined)
  store.destroy = destroy
  t.match((await visitor.get('/cart')).headers['set-cookie'], CLEARED)
  t.same(heard, ['unreadable', 'unreadable'])
})

t.test('the session also ends if only user() reads the unreadable field', async t => {
  const { visitor, store } = await openBroken(t, 'user', { user: session => (session as any).user })
  const { destroy } = store
  store.destroy = (_sessionId: string, callback: any) => callback(new Error('The store is away'))
  const failed = await visitor.get('/write')
  t.equal(failed.json().code, 'FST_ERR_SESSION_RECORD')
  t.equal(failed.headers['set-cookie'], undefined, 'a session that is still there keeps its cookie')
  store.destroy = destroy
  const response = await visitor.get('/write')
  t.equal(response.json().code, 'FST_ERR_SESSION_RECORD')
  t.match(response.headers['set-cookie'], CLEARED)
  t.equal(store.store.size, 0)
})

t.test('a session with an unreadable field is listed without its description', async t => {
  const { visitor, store } = await openBroken(t, '', {
    user: session => (session as any).user,
    describe: session => ({ cart: (session as any).cart })
  })
  const [broken] = [...visitor.cookies.values()]
  visitor.cookies.clear()
  await visitor.get('/in/max')
  const { get } = store
  store.get = function (sessionId: string, callback: any) {
    if (!broken?.startsWith(sessionId)) return MemoryStore.prototype.get.call(this, sessionId, callback)
    return get.call(this, sessionId, callback)
  }
  store.broken.clear()
  store.broken.add('cart')
  const list = (await visitor.get('/list')).json()
  t.same(list.map(({ cart, current }: any) => ({ cart, current })), [{ cart: ['apple'], current: true }, { cart: undefined, current: false }])
  t.type(list[1].handle, 'string')
})

/** A store that writes whole records contains a session with an unreadable cart, and the visitor has its cookie. */
async function openWhole (t: Test, options: SessionOptions = {}): Promise<{ visitor: Visitor, store: ThreeMethodStore }> {
  const store = new ThreeMethodStore()
  const { get } = store
  store.get = (sessionId, callback) => get.call(store, sessionId, (error, found) => {
    callback(error, found && Object.defineProperty({ ...found }, 'cart', { enumerable: true, get: () => { throw recordError() } }))
  })
  const visitor = await open(t, { store: store as any, ...options })
  store.records.set('an-id', JSON.stringify(record({ user: 'max', cart: ['apple'] })))
  visitor.cookies.set('sessionId', sign('an-id', SECRET))
  return { visitor, store }
}

t.test('on a store that writes whole records, a session with an unreadable field ends with the first reply', async t => {
  const { visitor, store } = await openWhole(t)
  const response = await visitor.get('/user')
  t.equal(response.json().code, 'FST_ERR_SESSION_RECORD')
  t.match(response.headers['set-cookie'], CLEARED)
  t.equal(store.records.size, 0)
})

t.test('on a store that writes whole records, an unreadable field does no harm if the reply does not write', async t => {
  const { visitor, store } = await openWhole(t, { rolling: false, absoluteTimeout: 60_000 })
  const response = await visitor.get('/user')
  t.same([response.statusCode, response.body], [200, 'max'])
  t.same(store.calls, ['get'])
  t.equal(store.records.size, 1)
})
