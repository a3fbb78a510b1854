/** The store suite, on every kind of store. Each test declares which promises its store keeps. Published stores: all-stores. */
import t from 'tap'
import { MemoryStore } from '../src/index'
import { RedisStore } from '../src/stores/redis'
import type { SessionStore } from '../src/types/store'
import { testStore, type Promises } from '../src/testing/index'
import { build, Visitor } from './helpers'
import { FileStore, later, PromiseStore, ThreeMethodStore, TouchStore } from './odd-stores'
import { KeepingStore, UnlookedStore, WHOLE, WholeStore } from './planted-stores'
import { connectTo, letPass, startRedis } from './servers'
import { within } from './waiting'

const MINUTE = 60_000

// What most of these stores keep.
const promises: Promises = {
  shared: false,
  parallel: false,
  ended: false,
  renews: false,
  noDeadCookie: false,
  touches: true,
  oneCall: false,
  expires: true,
  waits: true,
  dates: true,
  onlyYours: true,
  lists: false,
  stops: true,
  copies: true,
  touchesOnly: false,
  users: false,
  updates: false,
  tellsGone: true
}

t.test('a store with three methods passes the suite', t => testStore(() => new ThreeMethodStore(), {
  promises: { ...promises, dates: false, expires: false, touches: false }, test: t.test
}))

t.test('a store that answers asynchronously passes the suite', t => testStore(() => new TouchStore(later), {
  promises: { ...promises, dates: false }, test: t.test
}))

t.test('a store of files passes the suite', t => testStore(() => {
  const files = new Map<string, string>()
  const another = (): SessionStore => new FileStore(files)
  return { store: another(), another }
}, {
  promises: { ...promises, shared: true, noDeadCookie: true, dates: false, onlyYours: false, tellsGone: false }, test: t.test
}))

t.test('a store that answers by promises passes the suite', t => testStore(() => new PromiseStore() as unknown as SessionStore, {
  promises: { ...promises, touchesOnly: true, updates: true }, test: t.test
}))

t.test('MemoryStore with a max passes the suite', t => testStore(() => new MemoryStore(new Map(), { max: 100 }), {
  promises: { ...promises, lists: true, touchesOnly: true, updates: true, users: true }, test: t.test
}))

t.test('a store that keeps and returns the object it is given passes the suite', t => testStore(() => new KeepingStore() as unknown as SessionStore, {
  promises: { ...promises, copies: false, expires: false, touches: false }, test: t.test
}))

t.test('a store whose touch moves an end that its get ignores passes the suite', t => testStore(() => new UnlookedStore(), {
  promises: { ...promises, dates: false, expires: false, touchesOnly: true }, test: t.test
}))

t.test('a store with every method passes the suite', t => testStore(() => new WholeStore() as unknown as SessionStore, {
  promises: WHOLE, test: t.test
}))

t.test('Redis itself ends an idle session, and a rolling session stays', async t => {
  const server = await startRedis(t)
  const client = await connectTo(t, server)
  const app = await build({ store: new RedisStore({ client }), cookie: { maxAge: MINUTE } }, app => {
    app.get('/login', async request => { (request.session as any).user = 'max' })
    app.get('/whoami', async request => (request.session as any).user ?? 'nobody')
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  await visitor.get('/login')
  const whoami = async (): Promise<string> => (await visitor.copy().get('/whoami')).body
  for (let i = 0; i < 4; i++) {
    await letPass(client, MINUTE / 2)
    t.equal(await whoami(), 'max', 'it lives longer than its maxAge')
  }

  await client.configSet('notify-keyspace-events', 'Ex')
  const listener = await connectTo(t, server)
  let hear = (): void => {}
  const expired = new Promise<void>(resolve => { hear = resolve })
  await listener.subscribe('__keyevent@0__:expired', () => hear())
  t.equal(await client.dbSize(), 1)
  await letPass(client, MINUTE - 1000)
  await within('Redis ends the session', expired)
  t.equal(await client.dbSize(), 0)
  t.equal(await whoami(), 'nobody')
})
