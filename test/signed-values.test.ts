/** Signed values that were verified once aren't verified again as long as nothing has changed. */
import crypto from 'node:crypto'
import { sign } from '@fastify/cookie'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore } from '../src/index'
import { secretsSigner } from '../src/values/cookie-value'
import { build, collectGarbage, SECRET, Visitor, type SessionOptions } from './helpers'

const OLD_SECRET = 'the secret of last month, with more than 32 characters'
const NEW_SECRET = 'the secret of this month, with more than 32 characters'
// More values than are kept.
const MANY = 5_001

const session = (request: FastifyRequest): any => request.session

function start (options: SessionOptions = {}): Promise<FastifyInstance> {
  return build({ saveUninitialized: false, ...options }, app => {
    app.get('/login', async request => { session(request).user = 'max' })
    app.get('/logout', async request => { await session(request).destroy() })
    app.get('/user', async request => session(request).user ?? 'nobody')
  })
}

/** Counts the signatures that are made, for signing or verifying, while a function runs. */
function signatures (t: Test): (run: () => unknown) => Promise<number> {
  const { createHmac } = crypto
  let count = 0
  crypto.createHmac = (...args) => {
    count++
    return createHmac(...args)
  }
  t.teardown(() => { crypto.createHmac = createHmac })
  return async run => {
    count = 0
    await run()
    return count
  }
}

async function login (app: FastifyInstance): Promise<Visitor> {
  const visitor = new Visitor(app)
  await visitor.get('/login')
  return visitor
}

t.test('a returning cookie is not verified again, and neither is one that was just signed', async t => {
  const count = signatures(t)
  const store = new MemoryStore()
  const first = await start({ store })
  const visitor = await login(first)
  t.equal(await count(() => visitor.get('/user')), 0)

  const copy = visitor.copy(await start({ store }))
  t.equal(await count(() => copy.get('/user')), 1, 'another process')
  t.equal(await count(() => copy.get('/user')), 0)
  t.equal((await copy.get('/user')).body, 'max')
})

t.test('an invalid value is verified each time', async t => {
  const count = signatures(t)
  const app = await start()
  const visitor = await login(app)
  const value = visitor.cookies.get('sessionId') as string
  for (const forged of [value + 'x', value.slice(0, -1), `x${value}`, `${value.split('.')[0]}.`, 'x'.repeat(3_000)]) {
    const attacker = new Visitor(app)
    attacker.cookies.set('sessionId', forged)
    const first = await count(() => attacker.get('/user'))
    t.equal(await count(async () => t.equal((await attacker.get('/user')).body, 'nobody')), first)
  }
  t.equal((await visitor.get('/user')).body, 'max')
})

t.test('any change in the list of secrets applies at once', async t => {
  const changes: Record<string, [start: string[], change: (secrets: any[]) => void, user: string, isRenewed: boolean]> = {
    'a new secret in front': [[OLD_SECRET], secrets => secrets.unshift(NEW_SECRET), 'max', true],
    'a new secret at the end': [[OLD_SECRET], secrets => secrets.push(NEW_SECRET), 'max', false],
    'another secret in its place': [[OLD_SECRET], secrets => { secrets[0] = NEW_SECRET }, 'nobody', false],
    'the first secret removed': [[OLD_SECRET, NEW_SECRET], secrets => secrets.shift(), 'nobody', false],
    'the second secret removed': [[OLD_SECRET, NEW_SECRET], secrets => secrets.pop(), 'max', false],
    reversed: [[OLD_SECRET, NEW_SECRET], secrets => secrets.reverse(), 'max', true],
    'a hole in its place': [[OLD_SECRET, NEW_SECRET], secrets => { delete secrets[0] }, 'nobody', false],
    'a buffer with the same bytes': [[OLD_SECRET], secrets => { secrets[0] = Buffer.from(OLD_SECRET) }, 'max', false]
  }
  for (const [name, [secret, change, user, isRenewed]] of Object.entries(changes)) {
    const visitor = await login(await start({ secret }))
    const before = visitor.cookies.get('sessionId')
    t.equal((await visitor.get('/user')).body, 'max', name)
    change(secret)
    for (const time of ['once', 'twice']) {
      const again = visitor.copy()
      t.equal((await again.get('/user')).body, user, `${name}, ${time}`)
      t.equal(again.cookies.get('sessionId') !== before, isRenewed, `${name}, ${time}: the cookie`)
    }
  }
})

t.test('a change of the secrets also applies to values that have not come for long', t => {
  const secrets = [OLD_SECRET]
  const signer = secretsSigner(secrets, 'sha256')
  const value = signer.sign('visitor')
  for (let i = 0; i < MANY / 2; i++) signer.sign(`visitor ${i}`)
  secrets[0] = NEW_SECRET
  for (const time of ['once', 'twice']) t.equal(signer.unsign(value).valid, false, time)
  t.end()
})

t.test('a cookie that was signed with an older secret is signed again each time it comes', async t => {
  const store = new MemoryStore()
  const visitor = await login(await start({ store, secret: [OLD_SECRET] }))
  const app = await start({ store, secret: [NEW_SECRET, OLD_SECRET], rolling: false })
  const count = signatures(t)
  for (const expected of [3, 1, 1]) {
    const copy = visitor.copy(app)
    t.equal(await count(() => copy.get('/user')), expected)
    t.not(copy.cookies.get('sessionId'), visitor.cookies.get('sessionId'))
  }
})

t.test('a change of the bytes of a Buffer secret applies at once', async t => {
  const bytes = Buffer.from(OLD_SECRET)
  const app = await start({ secret: [bytes as unknown as string] })
  const visitor = await login(app)
  t.equal((await visitor.get('/user')).body, 'max')
  bytes.fill('x')
  t.equal((await visitor.copy().get('/user')).body, 'nobody')
})

t.test("the application's own signer is called each time", async t => {
  let asked = 0
  const signer = {
    sign: (value: string) => sign(value, SECRET),
    unsign (value: string) {
      asked++
      return { valid: true, renew: false, value: value.slice(0, value.lastIndexOf('.')) }
    }
  }
  const app = await start({ secret: signer })
  const visitor = await login(app)
  for (const times of [1, 2, 3]) {
    t.equal((await visitor.get('/user')).body, 'max')
    t.equal(asked, times)
  }
  await visitor.copy().get('/logout')
  t.equal((await visitor.get('/user')).body, 'nobody')
})

t.test('a verified value is forgotten after a logout, and when the store no longer has the session', async t => {
  const count = signatures(t)
  for (const options of [{}, { sessionName: 'session', cookiePrefix: 's:' }]) {
    const store = new MemoryStore()
    const app = await start({ ...options, store })
    const visitor = await login(app)
    const copy = visitor.copy()
    await visitor.get('/logout')
    t.equal(await count(() => copy.copy().get('/user')), 1)

    const other = await login(app)
    store.store.clear()
    t.equal(await count(() => other.copy().get('/user')), 0)
    t.equal(await count(() => other.copy().get('/user')), 1)
  }
})

t.test('a verified value of a session with another name is forgotten after a logout too', async t => {
  const count = signatures(t)
  const app = await build({}, app => {
    app.register(fastifySession, {
      secret: SECRET, sessionName: 'adminSession', cookieName: 'adminId', cookie: { secure: false }, saveUninitialized: false
    })
    app.get('/login', async request => { (request as any).adminSession.user = 'max' })
    app.get('/logout', async request => { await (request as any).adminSession.destroy() })
    app.get('/user', { config: { session: false } }, async request => (request as any).adminSession.user ?? 'nobody')
  })
  const visitor = await login(app)
  visitor.cookies.delete('sessionId')
  t.equal(await count(async () => t.equal((await visitor.get('/user')).body, 'max')), 0)
  const copy = visitor.copy()
  await visitor.get('/logout')
  t.equal(await count(async () => t.equal((await copy.get('/user')).body, 'nobody')), 1)
})

t.test('a few thousand values are kept: one that has not come for long is verified again, one that comes often is not', async t => {
  const signer = secretsSigner([SECRET], 'sha256')
  const [seldom, often] = [sign('seldom', SECRET), sign('often', SECRET)]
  const count = signatures(t)
  for (const value of [seldom, often]) t.equal(signer.unsign(value).valid, true)
  for (let i = 0; i < MANY; i++) {
    signer.sign(`visitor ${i}`)
    if (i % 1_000 === 0) signer.unsign(often)
  }
  t.equal(await count(() => t.equal(signer.unsign(often).value, 'often')), 0)
  t.equal(await count(() => t.equal(signer.unsign(seldom).value, 'seldom')), 1)
  t.equal(await count(() => signer.unsign(seldom)), 0)
})

t.test('the number of long values that are kept depends on their bytes, and very long values are not kept', async t => {
  const signer = secretsSigner([SECRET], 'sha256')
  const count = signatures(t)
  const values = Array.from({ length: 1_000 }, (_, i) => signer.sign(String(i).padStart(1_900, 'x')))
  const verified = await count(() => values.forEach(value => signer.unsign(value)))
  t.ok(verified > 400, `${verified}`)
  const forgotten = await count(() => values.slice(-100).forEach(value => signer.unsign(value)))
  t.equal(forgotten, 0)
  const long = signer.sign('x'.repeat(2_100))
  for (const time of ['once', 'twice']) t.equal(await count(() => t.equal(signer.unsign(long).valid, true)), 1, time)
})

t.test('an id that is not well-formed Unicode is not mixed up with another id that has the same bytes', t => {
  const signer = secretsSigner([SECRET], 'sha256')
  const value = signer.sign('\ud800')
  for (let i = 0; i < 2; i++) t.same(signer.unsign(value), { valid: true, renew: false, value: '\ud800' })
  t.same(signer.unsign(value.replace('\ud800', '\ufffd')).value, '\ufffd', 'a value with the same bytes')
  t.equal(signer.unsign(value).value, '\ud800')
  t.end()
})

t.test('kept values do not keep the whole Cookie headers in memory', async t => {
  const app = await start({ store: new MemoryStore() })
  const visitors: string[] = []
  for (let i = 0; i < 1_000; i++) visitors.push(sign(`visitor ${i}`, OLD_SECRET))
  const signer = secretsSigner([OLD_SECRET], 'sha256')
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  for (const value of visitors) {
    const header = `${'x'.repeat(15_000)}${Math.random()}; sessionId=${value}`
    // As the parser of @fastify/cookie does.
    const cookies = app.parseCookie(Buffer.from(header).toString())
    t.equal(signer.unsign(cookies.sessionId as string).valid, true)
  }
  collectGarbage()
  const kept = process.memoryUsage().heapUsed - before
  t.ok(kept < 8_000_000, `${kept} bytes`)
})
