import '../packages/companions'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { WebSocket } from 'ws'
import { Browser } from './browser'
import { ROOT, serve, start, stop } from './program'
import { startRedis } from './servers'

// Each example, started as a reader starts it, over real HTTP. They require the built package: `npm run build` first.

t.test('each example is run by a test', async t => {
  const tests = ['examples', 'recipes', 'backchannel-logout', 'migration', 'testing', 'demo'].map(name => `${name}.test.ts`).map(file => readFileSync(join(__dirname, file), 'utf8')).join('\n')
  // A folder is started by one of its files. TypeScript is compiled first.
  const examples = readdirSync(join(ROOT, 'examples'), { withFileTypes: true })
    .map(entry => entry.isDirectory() ? `${entry.name}/` : entry.name)
    .filter(name => /\/$|\.m?[jt]s$/.test(name))
  t.ok(examples.length > 0)
  for (const name of examples) t.ok(tests.includes(`examples/${name}`), name)
})

t.test('first-five-minutes.js counts for each visitor', async t => {
  const { program, address } = await serve(t, 'examples/first-five-minutes.js')
  const visitor = new Browser(address)
  const other = new Browser(address)

  t.match(await visitor.text('/'), 'visit number 1.')
  t.match(await visitor.text('/'), 'visit number 2.')
  t.match(await other.text('/'), 'visit number 1.', 'another visitor')
  t.match(await visitor.text('/'), 'visit number 3.')
  await stop(t, program)
})

t.test('login.js knows a visitor from login to logout', async t => {
  const { program, address } = await serve(t, 'examples/login.js')
  const ada = new Browser(address)
  const other = new Browser(address)

  t.equal(await ada.status('/account'), 401, 'before login')
  t.equal(ada.cookie, '', 'a visitor who only looks gets no cookie')
  t.equal((await ada.post('/login', { name: 'ada', password: 'babbage' })).status, 401, 'a wrong password')
  t.equal((await ada.post('/login', { name: 'eve', password: 'lovelace' })).status, 401, 'an unknown name')
  t.equal((await ada.post('/login', { name: 'ada' })).status, 400, 'no password')
  t.equal(await ada.status('/account'), 401, 'after failed logins')

  t.equal((await ada.post('/login', { name: 'ada', password: 'lovelace' })).status, 200)
  t.match(await ada.text('/account'), 'the account of ada')
  t.match(await ada.text('/account'), 'the account of ada', 'and at the next request')
  t.equal(await other.status('/account'), 401, 'another visitor')

  const first = ada.copy()
  await ada.post('/login', { name: 'ada', password: 'lovelace' })
  t.not(ada.cookie, first.cookie, 'a second login changes the session id')
  t.equal(await first.status('/account'), 401, 'the id from before the login no longer works')

  const copy = ada.copy()
  t.equal((await ada.post('/logout')).status, 200)
  t.equal(ada.cookie, '', 'the cookie is gone')
  t.equal(await ada.status('/account'), 401, 'after logout')
  t.equal(await copy.status('/account'), 401, 'a copied cookie is logged out too')
  await stop(t, program)
})

t.test('connect-redis.js keeps sessions over a restart', async t => {
  const env = { REDIS_URL: (await startRedis(t)).url }

  let program = start(t, 'examples/connect-redis.js', env)
  const visitor = new Browser(await program.says(/http:\S+/))
  t.match(await visitor.text('/'), 'visit number 1.')
  t.match(await visitor.text('/'), 'visit number 2.')
  t.match(await new Browser(visitor.address).text('/'), 'visit number 1.', 'another visitor')
  await stop(t, program)

  program = start(t, 'examples/connect-redis.js', env)
  const back = new Browser(await program.says(/http:\S+/))
  back.cookie = visitor.cookie
  t.match(await back.text('/'), 'visit number 3.', 'after a restart')

  const copy = back.copy()
  t.equal((await back.get('/forget', { method: 'POST' })).status, 200)
  t.equal(back.cookie, '', 'the cookie is gone')
  t.match(await back.text('/'), 'visit number 1.', 'a new session')
  t.match(await copy.text('/'), 'visit number 1.', 'the old id no longer works')
  await stop(t, program)
})

t.test('two-sessions.js: logging out of one session leaves the other', async t => {
  const { program, address } = await serve(t, 'examples/two-sessions.js')
  const user = new Browser(address)
  const admin = new Browser(address)
  // One browser with both cookies. `Browser` holds only one.
  const both = (): RequestInit => ({ headers: { cookie: `${user.cookie}; ${admin.cookie}` } })
  const status = async (path: string): Promise<number> => (await new Browser(address).get(path, both())).status
  const text = async (path: string): Promise<string> => await (await new Browser(address).get(path, both())).text()

  t.equal((await user.post('/login')).status, 400, 'no name')
  t.equal((await user.post('/login', { name: 'ada' })).status, 200)
  t.equal(await status('/admin'), 401, 'a user is not an administrator')
  t.equal((await admin.post('/admin/login', { password: 'guessed' })).status, 401, 'a wrong password')
  t.equal((await admin.post('/admin/login')).status, 401, 'none')
  t.equal((await admin.post('/admin/login', { password: 'for this example only' })).status, 200)
  t.match(admin.setCookie, /^adminId=\S+; Path=\/admin; Expires=.+ GMT; HttpOnly; SameSite=(Strict|Lax)$/)
  t.equal(await text('/admin'), 'ada administers.\n')

  const poll = await admin.get('/admin/poll')
  t.strictSame(await poll.json(), { isAdmin: true })
  t.strictSame(poll.headers.getSetCookie(), [], 'polling does not prolong the session')

  const swapped = { cookie: `adminId=${user.cookie.slice('sessionId='.length)}` }
  t.equal((await new Browser(address).get('/admin', { headers: swapped })).status, 401, 'the cookie of one session is not valid for the other')

  const copy = admin.copy()
  t.equal((await admin.post('/admin/logout')).status, 200)
  t.equal(admin.cookie, '', 'the cookie is gone')
  t.equal(await copy.status('/admin'), 401, 'no longer an administrator')
  t.equal(await user.text('/'), 'Hello, ada.\n', 'still a user')
  await stop(t, program)
})

t.test('websocket.js: a socket is open for a user from login to logout', async t => {
  const { program, address } = await serve(t, 'examples/websocket.js')
  const ada = new Browser(address)

  const connect = (cookie: string): WebSocket =>
    new WebSocket(address.replace('http', 'ws') + '/chat', { headers: cookie === '' ? {} : { cookie } })
  const refused = async (cookie: string): Promise<unknown> => {
    const [request, response] = await once(connect(cookie), 'unexpected-response')
    request.destroy()
    return response.statusCode
  }
  t.equal(await refused(''), 401, 'a stranger')
  t.equal(await refused('sessionId=forged.signature'), 401, 'a forged cookie')
  t.equal((await ada.post('/login')).status, 400, 'no name')
  t.equal((await ada.post('/login', { name: 'ada' })).status, 200)

  const socket = connect(ada.cookie)
  await once(socket, 'open')
  t.teardown(() => socket.terminate())
  const answer = async (text: string): Promise<string> => {
    const heard = once(socket, 'message')
    socket.send(text)
    return String((await heard)[0])
  }
  t.equal(await answer('hello'), 'ada: hello')
  t.equal(await answer('again'), 'ada: again')

  const copy = ada.copy()
  const closed = once(socket, 'close')
  t.equal((await ada.post('/logout')).status, 200)
  const [code, reason] = await closed
  t.strictSame([code, String(reason)], [1008, 'logout'], 'without a message from the browser')
  t.equal(await refused(copy.cookie), 401, 'the cookie no longer works')
  await stop(t, program)
})

t.test('opentelemetry.js creates a span for each operation', async t => {
  const { program, address } = await serve(t, 'examples/opentelemetry.js')
  const visitor = new Browser(address)
  t.match(await visitor.text('/'), 'visit number 1.')
  t.match(await visitor.text('/'), 'visit number 2.')
  await visitor.get('/forget', { method: 'POST' })
  await new Browser(address).get('/', { headers: { cookie: 'sessionId=forged.signature' } })

  const spans = await (await visitor.get('/spans')).json() as any[]
  t.strictSame(spans.map(({ name }) => name), [
    'session commit', 'session load', 'session commit', 'session load', 'session destroy', 'session security', 'session commit'
  ])
  for (const { name, status, attributes } of spans) {
    t.match(attributes, { 'session.name': 'session', 'session.store': 'MemoryStore', 'session.fingerprint': /^[\w-]{16}$/ }, name)
    t.strictSame(status, { code: 0 }, 'nothing failed')
  }
  const fingerprints = spans.map(({ attributes }) => attributes['session.fingerprint'])
  t.equal(new Set(fingerprints.slice(0, 5)).size, 1, 'one session')
  t.equal(spans[5].attributes['session.security.reason'], 'bad-signature')
  await stop(t, program)
})

t.test('prometheus.js measures the store, and counts bad cookies', async t => {
  const { program, address } = await serve(t, 'examples/prometheus.js')
  const visitor = new Browser(address)
  const metrics = async (): Promise<string[]> => (await new Browser(address).text('/metrics')).split('\n')
  const security = (reason: string, count: number): string =>
    `session_security_events_total{session="session",reason="${reason}"} ${count}`

  t.ok((await metrics()).includes(security('bad-signature', 0)), 'a counter starts at 0')
  t.match(await visitor.text('/'), 'visit number 1.')
  t.match(await visitor.text('/'), 'visit number 2.')
  await new Browser(address).get('/', { headers: { cookie: 'sessionId=forged.signature' } })
  const lines = await metrics()
  const count = (operation: string, count: number): string =>
    `session_store_duration_seconds_count{session="session",store="MemoryStore",operation="${operation}",outcome="ok"} ${count}`
  t.ok(lines.includes(count('load', 1)))
  t.ok(lines.includes(count('commit', 3)))
  t.ok(lines.includes(security('bad-signature', 1)))
  t.ok(lines.includes(security('gone', 0)))
  await stop(t, program)
})
