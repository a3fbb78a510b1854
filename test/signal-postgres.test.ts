/** `session.signal` between processes, with PostgresStore and its listening connections. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { promisify } from 'node:util'
import type { FastifyInstance } from 'fastify'
import { Client, type Pool } from 'pg'
import t, { type Test } from 'tap'
import { fingerprint } from '../src/diagnostics'
import { PostgresStore } from '../src/stores/postgres'
import { build, record, Visitor, type SessionOptions } from './helpers'
import { freshTable, openPool } from './postgres/tables'
import { startPostgres, type PostgresServer } from './servers'
import { PATIENCE, until, within } from './waiting'
import { warned } from './heard'

const HOUR = 3_600_000

let server: PostgresServer
let pool: Pool

t.before(async () => {
  server = await startPostgres(t)
  pool = openPool(t, server.url)
})

/** A PostgresStore whose watches, looks and listening connections a test can see. */
class ListeningStore extends PostgresStore {
  readonly clients: Client[] = []
  readonly watches: Array<Promise<unknown>> = []
  readonly looks: Array<Promise<unknown>> = []

  static on (t: Test, table: string, url = server.url): ListeningStore {
    const store: ListeningStore = new ListeningStore({
      pool,
      table,
      listen: () => {
        const client = new Client({ connectionString: url })
        store.clients.push(client)
        t.teardown(() => client.end().catch(() => {}))
        return client
      }
    })
    return store
  }

  override watch (...args: Parameters<PostgresStore['watch']>): Promise<() => void> {
    const watch = super.watch(...args)
    this.watches.push(watch)
    return watch
  }

  override inspect (...args: Parameters<PostgresStore['inspect']>): Promise<any> {
    const look = super.inspect(...args)
    this.looks.push(look)
    return look
  }
}

interface Process {
  app: FastifyInstance
  store: ListeningStore
  login: (user?: string) => Promise<Visitor>
  /** The signal of a visitor's session in this process, once the process listens for it. */
  signalOf: (visitor: Visitor) => Promise<AbortSignal>
}

async function start (t: Test, table: string, options: SessionOptions = {}, url?: string): Promise<Process> {
  const store = ListeningStore.on(t, table, url)
  const app = await build({ saveUninitialized: false, store, cookie: { maxAge: HOUR }, watchInterval: HOUR, ...options }, app => {
    app.get('/login/:user', async request => {
      await request.session.regenerate()
      ;(request.session as any).user = (request.params as any).user
    })
    app.get('/logout', async request => { await request.session.destroy() })
    app.get('/renew', async request => { await request.session.regenerate(['user']) })
  })
  t.teardown(() => app.close())
  return {
    app,
    store,
    async login (user = 'max') {
      const visitor = new Visitor(app)
      await visitor.get(`/login/${user}`)
      return visitor
    },
    async signalOf (visitor) {
      const session = await app.loadSession(visitor.cookieHeader())
      const signal = session?.signal as AbortSignal
      await Promise.allSettled(store.watches)
      // Each watch begins with a look. If the session ended before it, the look could be faster than the message.
      await Promise.allSettled(store.looks)
      return signal
    }
  }
}

async function fired (signal: AbortSignal): Promise<any> {
  if (!signal.aborted) await within('the signal fires', once(signal, 'abort'))
  return signal.reason
}

t.test('the signal fires at once if another process ends the session, and its reason says why', async t => {
  const table = await freshTable(pool)
  const options: SessionOptions = { user: (session: any) => session.user, maxPerUser: 3 } as any
  const [one, other] = [await start(t, table, options), await start(t, table, options)]
  for (const [end, code] of [
    [async (visitor: Visitor) => { await visitor.get('/logout') }, 'logout'],
    [async (visitor: Visitor) => { await visitor.get('/renew') }, 'replaced'],
    [async () => { await one.app.sessions.revokeUser('max') }, 'revoked'],
    [async () => { for (let i = 0; i < 3; i++) await one.login() }, 'limit']
  ] as const) {
    const visitor = await one.login()
    const signal = await other.signalOf(visitor)
    t.equal(signal.aborted, false)
    await end(visitor)
    t.match(await fired(signal), { code })
    await one.app.sessions.revokeUser('max')
  }
  t.equal(other.store.clients.length, 1, 'one connection for all sessions')
})

t.test('a store without listen gets no messages, and can destroy sessions', async t => {
  const table = await freshTable(pool)
  const quiet = new PostgresStore({ pool, table }) as any
  const unwatch = await quiet.watch('a', () => t.fail('heard'))
  await quiet.set('a', record({}))
  t.not(await quiet.destroy('a'), false)
  unwatch()
})

t.test('only watchers of that session in that table are called, and no message shows a session id', async t => {
  const [table, another] = [await freshTable(pool), await freshTable(pool)]
  const [store, other] = [ListeningStore.on(t, table) as any, ListeningStore.on(t, another) as any]
  const heard: string[] = []
  const watch = async (store: any, name: string, id: string): Promise<() => void> => await store.watch(id, (code: string) => heard.push(`${name} ${code}`))
  const unwatch = await watch(store, 'first', 'a secret id')
  const again = await watch(store, 'second', 'a secret id')
  await watch(store, 'another session', 'b')
  await watch(other, 'another table', 'a secret id')
  const messages: string[] = []
  store.clients[0].on('notification', ({ channel, payload }: any) => messages.push(`${channel} ${payload}`))
  const end = async (code: string): Promise<void> => {
    const before = messages.length
    await store.set('a secret id', record({}))
    await new PostgresStore({ pool, table }).destroy('a secret id', undefined, code as any)
    await until('it is told', async () => messages.length > before)
  }
  await end('logout')
  t.same(heard.splice(0).sort(), ['first logout', 'second logout'])
  unwatch()
  unwatch()
  await end('revoked')
  t.same(heard.splice(0), ['second revoked'])
  again()
  await end('limit')
  t.same(heard, [])
  t.ok(messages.every(message => message.includes(fingerprint('a secret id')) && !message.includes('secret')))
})

t.test('a lost connection is opened again, and sessions that ended in the meantime are found', async t => {
  const table = await freshTable(pool)
  const [one, other] = [await start(t, table), await start(t, table)]
  const [gone, stays] = [await one.login(), await one.login()]
  const [signal, living] = [await other.signalOf(gone), await other.signalOf(stays)]
  const [client] = other.store.clients as [Client & { processID: number }]
  // While the connection is lost, no message arrives.
  await pool.query('select pg_terminate_backend($1)', [client.processID])
  await gone.get('/logout')
  t.match(await fired(signal), { code: /logout|expired/ })
  t.equal(living.aborted, false)
  await until('it listens again', async () => other.store.clients.length >= 2)
  const heard: unknown[] = []
  await other.store.watch('a', code => heard.push(code))
  await one.store.set('a', record({}) as any)
  await one.store.destroy('a', undefined, 'logout')
  await until('it is told again', async () => heard.includes('logout'))
})

t.test('if the server is away, the store reconnects until it is back, as long as there is a watch', async t => {
  const own = await startPostgres(t)
  const store = new PostgresStore({ pool, listen: () => new Client({ connectionString: own.url }) }) as any
  const ownPool = openPool(t, own.url)
  await ownPool.query('create table session (sid text)')
  const heard: unknown[] = []
  const unwatch = await store.watch('a', (code: unknown) => heard.push(code))
  await own.stop()
  await until('a watch fails while it is away', async () => await store.watch('b', () => {}).then(() => false, () => true))
  await own.restart()
  await until('it looks again', async () => heard.length > 0)
  t.same(heard, [undefined])
  unwatch()
  await own.stop()
})

t.test('behind a proxy that has lost its server, it reconnects one attempt at a time, with growing pauses', async t => {
  const table = await freshTable(pool)
  const proxy = await Relay.to(t, server.port)
  const began: number[] = []
  const store = new PostgresStore({
    pool,
    table,
    listen: () => {
      began.push(performance.now())
      return new Client({ connectionString: `postgres://postgres@127.0.0.1:${proxy.port}/postgres` })
    }
  }) as any
  const heard: unknown[] = []
  const unwatch = await store.watch('a', (code: unknown) => heard.push(code))
  for (const count of [3, 5]) {
    began.length = 0
    proxy.lose()
    await until('it has tried some times', async () => began.length >= count)
    const pauses = began.slice(1, count).map((at, i) => Math.round(at - (began[i] as number)))
    // A timer may fire a millisecond early.
    t.ok(pauses.every((pause, i) => pause >= 200 * 2 ** i - 2), `pauses: ${pauses}`)
    proxy.find()
    // Connects before the next attempt is due, which must not count when the connection is lost again.
    await until('a watch connects', async () => await store.watch('b', () => {}).then(() => true, () => false))
    t.equal(heard.splice(0).length, 1, 'it looks again')
  }
  unwatch()
})

t.test('a listener that cannot connect causes a warning, and sessions are checked every watchInterval', async t => {
  const table = await freshTable(pool)
  let signal: AbortSignal | undefined
  const warnings = await warned(async () => {
    const process = await start(t, table, { watchInterval: 50 }, 'postgres://postgres@127.0.0.1:1/postgres')
    const visitor = await process.login()
    signal = await process.signalOf(visitor)
    await new PostgresStore({ pool, table }).clear()
    await fired(signal)
  })
  t.ok(warnings.some(({ code }) => code === 'FST_SESSION_NOT_WATCHING'), warnings.map(({ code }) => code).join())
  t.match(signal?.reason, { code: 'expired' })
})

t.test('the listening connection does not keep the process alive', async t => {
  const table = await freshTable(pool)
  const program = `
    const { Client, Pool } = require('pg')
    const { PostgresStore } = require('@fastify/session/postgres')
    const connectionString = '${server.url}'
    const pool = new Pool({ connectionString })
    const store = new PostgresStore({ pool, table: '${table}', listen: () => new Client({ connectionString }) })
    store.watch('a', () => {}).then(() => store.length()).then(() => pool.end()).then(() => console.log('done'))
  `
  // A plain Node.js, without tap's loader.
  const ended = promisify(execFile)('env', ['-u', 'NODE_OPTIONS', process.execPath, '-e', program])
  t.same(await within('the process ends', ended), { stdout: 'done\n', stderr: '' })
})

t.test('an attempt to reconnect that is not answered does not keep the process alive', async t => {
  const table = await freshTable(pool)
  const program = `
    const { createServer } = require('node:net')
    const { Client, Pool } = require('pg')
    const { PostgresStore } = require('@fastify/session/postgres')
    const silent = createServer(socket => socket.unref()).listen(0, '127.0.0.1').unref()
    const busy = setInterval(() => {}, 1000)
    const pool = new Pool({ connectionString: '${server.url}' })
    let first
    const store = new PostgresStore({
      pool,
      table: '${table}',
      listen () {
        if (first === undefined) return first = new Client({ connectionString: '${server.url}' })
        console.log('again')
        clearInterval(busy)
        return new Client({ host: '127.0.0.1', port: silent.address().port })
      }
    })
    store.watch('a', () => {}).then(() => first.end())
  `
  const ended = promisify(execFile)('env', ['-u', 'NODE_OPTIONS', process.execPath, '-e', program], { timeout: PATIENCE })
  t.same(await within('the process ends', ended), { stdout: 'again\n', stderr: '' })
})

/** A proxy that stays when its server is lost: it accepts connections, and closes them without an answer. */
class Relay {
  readonly port: number
  readonly #sockets = new Set<Socket>()
  #isLost = false

  static async to (t: Test, port: number): Promise<Relay> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new Relay((server.address() as AddressInfo).port)
    server.on('connection', near => proxy.#pass(near, port))
    t.teardown(() => {
      proxy.lose()
      server.close()
    })
    return proxy
  }

  private constructor (port: number) {
    this.port = port
  }

  lose (): void {
    this.#isLost = true
    for (const socket of this.#sockets) socket.destroy()
  }

  find (): void {
    this.#isLost = false
  }

  #pass (near: Socket, port: number): void {
    near.on('error', () => {})
    if (this.#isLost) {
      near.once('data', () => near.end())
      return
    }
    this.#sockets.add(near)
    const far = connect(port, '127.0.0.1').on('error', () => {})
    near.on('close', () => far.destroy()).pipe(far).pipe(near)
  }
}
