/** A value that JSON would change causes a warning while it can still be fixed. A value that JSON can't hold fails alone. */
import { runInNewContext } from 'node:vm'
import { createClient } from 'redis'
import t, { type Test } from 'tap'
import { MemoryStore } from '../src/index'
import { RedisStore } from '../src/stores/redis'
import { build, Visitor } from './helpers'
import { ThreeMethodStore } from './odd-stores'
import { startRedis } from './servers'

type Make = () => unknown

interface Shop {
  visitor: Visitor
  /** Runs a handler with the session, and returns the reply. */
  act: (handler: (session: any, request: any, reply: any) => unknown) => Promise<{ statusCode: number, body: string, json: () => any }>
  /** The data that the next request has. */
  data: () => Promise<Record<string, unknown>>
}

async function open (t: Test, store: unknown, options: object = {}): Promise<Shop> {
  let task: (session: any, request: any, reply: any) => unknown = () => {}
  const app = await build({ ...(store !== undefined && { store: store as any }), ...options }, app => {
    app.get('/', async (request, reply) => await task(request.session, request, reply) ?? 'ok')
  })
  t.teardown(() => app.close())
  const visitor = new Visitor(app)
  const act: Shop['act'] = async handler => {
    task = handler
    return await visitor.get('/')
  }
  return { visitor, act, data: async () => (await act(session => session.data())).json() }
}

/** The warnings about values while something runs. */
async function warned (work: () => Promise<unknown>): Promise<string[]> {
  const heard: string[] = []
  const hear = (warning: Error & { code?: string }): void => {
    if (warning.code === 'FST_SESSION_VALUE') heard.push(warning.message)
  }
  process.on('warning', hear)
  await work()
  // Warnings arrive a moment later.
  await new Promise(resolve => setImmediate(resolve))
  process.off('warning', hear)
  return heard
}

let keys = 0
/** Each key causes a warning only once in a process. */
const newKey = (): string => `key${++keys}`

function inEnvironment (t: Test, environment: string | undefined): void {
  const { NODE_ENV } = process.env
  const set = (value: string | undefined): void => {
    if (value === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = value
  }
  set(environment)
  t.teardown(() => set(NODE_ENV))
}

class Point {
  constructor (public x: number, public y: number) {}
}

class Id {
  readonly #hex = '507f1f77'
  toJSON (): string { return this.#hex }
}

class Named { static readonly name: any = 5 }

function deep (levels: number): object {
  let value = {}
  for (let i = 0; i < levels; i++) value = { value }
  return value
}

function revoked (): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

function circle (): object {
  const list: unknown[] = []
  return { list: [list.push(list), list][1] }
}

/** Values that JSON changes, each with what the warning calls it and advises. */
const CHANGED: Record<string, [make: Make, name: string, advice: RegExp]> = {
  'a Map': [() => new Map([[1, 2]]), 'a Map', /\{\}.*Object\.fromEntries/],
  'a Set': [() => new Set([1]), 'a Set', /\{\}.*\[\.\.\.set\]/],
  'a Date': [() => new Date(0), 'a Date', /its text.*toISOString/],
  'an invalid Date': [() => new Date(NaN), 'a Date', /toISOString/],
  'a Date of another realm': [() => runInNewContext('new Date(0)'), 'a Date', /toISOString/],
  NaN: [() => NaN, 'NaN', /null/],
  Infinity: [() => Infinity, 'Infinity', /null/],
  '-Infinity': [() => -Infinity, '-Infinity', /null/],
  '-0': [() => -0, '-0', /0/],
  'a Buffer': [() => Buffer.from('hi'), 'a Buffer', /base64/],
  'a Uint8Array': [() => new Uint8Array([1]), 'a typed array', /base64/],
  'an ArrayBuffer': [() => new ArrayBuffer(2), 'a typed array or ArrayBuffer', /base64/],
  'a RegExp': [() => /x/g, 'a RegExp', /source/],
  'an Error': [() => new Error('wrong'), 'an Error', /message/],
  'a function': [() => () => 1, 'a function', /left out/],
  'a symbol': [() => Symbol('x'), 'a symbol', /left out/],
  'an instance': [() => new Point(1, 2), 'an instance of Point', /plain data/],
  'an instance with toJSON': [() => new Id(), 'an instance of Id', /toJSON/],
  'a URL': [() => new URL('http://shop.example/'), 'an instance of URL', /toJSON/],
  'an instance of a class without a name': [() => new (class {})(), 'an instance of a class', /plain data/],
  'an instance of a class whose name is a number': [() => new Named(), 'an instance of a class', /plain data/],
  'a class that extends Array': [() => class List extends Array<number> {}.from([1]), 'an instance of List', /plain data/],
  'a plain object with toJSON': [() => ({ a: 1, toJSON: () => 1 }), 'an object with toJSON', /toJSON/],
  'what match() returns': [() => ['x'.match('x')], 'a result of match() at [0]', /its texts/],
  'an object without a prototype': [() => Object.create(null), 'an object without the usual prototype', /plain object/],
  'an object of another prototype': [() => Object.create(Object.create(null)), 'an object without the usual prototype', /plain object/],
  'undefined in a list': [() => [1, undefined], 'undefined in an array at [1]', /null/],
  'a list with a hole': [() => [1, , 3], 'undefined in an array at [1]', /null/], // eslint-disable-line no-sparse-arrays
  'a Set at depth': [() => ({ theme: { of: [{ tags: new Set() }] } }), 'a Set at .theme.of[0].tags', /\[\.\.\.set\]/]
}

/** Values that come back unchanged, or nearly so. */
const KEPT: Record<string, Make> = {
  'plain data': () => ({ a: [1, -2.5, 'x', true, null, { b: {} }], '': [] }),
  'a key that is undefined': () => ({ a: undefined, b: { c: undefined } }),
  'plain data of another realm': () => runInNewContext('({ a: [1, { b: 2 }] })'),
  'the same object twice': () => { const one = { a: 1 }; return [one, one, { one }] },
  'many levels': () => deep(900),
  'very many levels': () => deep(1200)
}

t.test('with a Redis', async t => {
  const { url } = await startRedis(t)
  const client = createClient({ url })
  await client.connect()
  t.teardown(() => client.destroy())
  const redisStore = (): RedisStore => new RedisStore({ client })
  const BOTH: Array<[name: string, makeStore: () => unknown]> = [['the default store', () => undefined], ['RedisStore', redisStore]]

  for (const [name, makeStore] of BOTH) {
    t.test(`${name}, in development`, async t => {
      const { act, data } = await open(t, makeStore())

      for (const [what, [make, shown, advice]] of Object.entries(CHANGED)) {
        const key = newKey()
        t.test(`${what} causes one warning`, async t => {
          const heard = await warned(async () => {
            for (let i = 0; i < 2; i++) t.equal((await act(session => { Object.assign(session, { [key]: make(), n: Math.random() }) })).statusCode, 200)
          })
          t.equal(heard.length, 1)
          t.ok(heard[0]?.includes(`'${key}' has ${shown}`), String(heard[0]))
          t.match(heard[0], advice)
        })
      }

      for (const [what, make] of Object.entries(KEPT)) {
        t.test(`${what} causes no warning`, async t => {
          const key = newKey()
          t.same(await warned(() => act(session => { session[key] = make() })), [])
          t.strictSame((await data())[key], JSON.parse(JSON.stringify(make())))
        })
      }

      t.test('each new kind of value under a key causes a warning, even if the first value was plain', async t => {
        const key = newKey()
        t.same(await warned(() => act(session => { session[key] = [] })), [])
        const heard = await warned(async () => {
          await act(session => { session[key] = [new Set(), new Set(), new Map()] })
          await act(session => { session[key] = [Object.assign(Object.create(null), { at: new Date(0) }), new Map()] })
        })
        const kinds = ['a Set at [0]', 'a Map at [2]', 'an object without the usual prototype at [0]', 'a Date at [0].at']
        t.equal(heard.length, kinds.length)
        for (const [i, kind] of kinds.entries()) t.ok(heard[i]?.includes(kind))
      })

      t.test('reading the value again causes no warning', async t => {
        const key = newKey()
        await act(session => { session[key] = new Set() })
        t.same(await warned(data), [])
      })

      t.test('names in warnings are short, on one line, and contain no id', async t => {
        const mark = name === 'RedisStore' ? 'ö' : 'ä'
        const heard = await warned(async () => {
          await act(session => {
            session[mark + 'x'.repeat(10_000)] = new Set()
            session[`${mark}${'y'.repeat(100)}`] = new Set()
            session[`${mark}:${session.sessionId}`] = new Set()
            session[`${mark}:0b1e8c52-7d1f-4c1e-9a55-2f0d4d9f3c11`] = new Set()
            session[`${mark}\nlines`] = new Set()
            session[''] = mark === 'ä' ? new Set() : new Map()
            session[newKey()] = { [session.sessionId]: { 'max@shop.example': [new Set()] }, a: { b: { c: { d: { e: { f: { g: new Map() } } } } } } }
          })
        })
        t.equal(heard.length, 7, 'one warning for two names of the same form')
        for (const message of heard) {
          t.ok(message.length < 500, message)
          t.notMatch(message, /\n|max@|0b1e8c52/)
        }
        for (const shown of [`'${mark}:…'`, `'${mark}?lines'`, "''", `'${mark}xxx`, `'${mark}yyy`, 'a Set at […][…][0]', 'a Map at .a.b.c.d.e.f…']) {
          t.ok(heard.some(message => message.includes(shown)), shown)
        }
        const sessionId = (await act(session => session.sessionId)).body
        t.notOk(heard.some(message => message.includes(sessionId)))
      })
    })
  }

  t.test('the default store warns about a value that another store would refuse, and keeps it', async t => {
    const { act } = await open(t, undefined)
    const REFUSED: Record<string, [Make, RegExp]> = {
      'a BigInt': [() => ({ total: 1n }), /a BigInt at \.total/],
      'a circle': [circle, /a circle at \.list\[0\]/],
      'a toJSON that throws': [() => ({ toJSON () { throw new Error('mine') } }), /a getter or toJSON that throws/],
      'too many levels': [() => deep(4500), /too many levels/]
    }
    for (const [what, [make, shown]] of Object.entries(REFUSED)) {
      const key = newKey()
      const heard = await warned(async () => {
        t.equal((await act(session => { session[key] = make() })).statusCode, 200, what)
      })
      const [refused = '', ...others] = heard.filter(message => message.includes('FST_ERR_SESSION_VALUE'))
      t.match(refused, shown)
      t.ok(refused.includes(`'${key}'`))
      t.same(others, [])
      t.equal((await act(session => typeof session[key])).body, 'object')
    }
  })

  t.test('a BigInt for which the application defined toJSON causes a warning, and is not refused', async t => {
    const prototype = BigInt.prototype as any
    prototype.toJSON = function () { return String(this) }
    t.teardown(() => { delete prototype.toJSON })
    const [ours, theirs] = [newKey(), newKey()]
    const redis = await open(t, redisStore())
    const memory = await open(t, undefined)
    const heard = await warned(async () => {
      await redis.act(session => { session[ours] = 1n })
      await memory.act(session => { session[theirs] = 1n })
    })
    t.match(heard, [/a BigInt.*toJSON/, /a BigInt.*toJSON/])
    t.same((await redis.data())[ours], '1')
  })

  t.test('in production', async t => {
    inEnvironment(t, 'production')

    t.test('RedisStore warns at the first write of a key', async t => {
      const { act } = await open(t, redisStore())
      const [first, later] = [newKey(), newKey()]
      t.same(await warned(() => act(session => { session[later] = 1 })), [])
      const heard = await warned(async () => {
        for (let i = 0; i < 2; i++) {
          await act(session => { Object.assign(session, { [first]: new Set([i]), [later]: new Map() }) })
        }
      })
      t.equal(heard.length, 1)
      t.ok(heard[0]?.includes(`'${first}' has a Set`))
    })

    t.test('a second RedisStore warns too, but not about the same key', async t => {
      const key = newKey()
      const heard = await warned(async () => {
        for (let i = 0; i < 2; i++) await (await open(t, redisStore())).act(session => { session[key] = new Set() })
      })
      t.equal(heard.length, 1)
    })

    t.test('the default store does not warn, because it keeps the values', async t => {
      const { act } = await open(t, undefined)
      t.same(await warned(() => act(session => { session[newKey()] = new Set() })), [])
    })
  })

  t.test('a MemoryStore that is passed as an option, and stores of others, cause no warnings', async t => {
    for (const store of [new MemoryStore(), new ThreeMethodStore()]) {
      const { act } = await open(t, store)
      t.same(await warned(() => act(session => { session[newKey()] = new Set() })), [])
    }
  })

  t.test('plain data of another realm counts as plain, also in a direct call of RedisStore', async t => {
    const key = newKey()
    const cookie = { expires: null, originalMaxAge: null }
    const write = async (value: unknown): Promise<void> => await redisStore().set('by hand', { [key]: value, cookie } as any)
    t.same(await warned(() => write(runInNewContext('({ a: [1, { b: 2 }] })'))), [])
    const heard = await warned(() => write(runInNewContext('({ a: [1, { b: new Set() }] })')))
    t.match(heard, [/a Set at \.a\[1\]\.b/])
  })

  // --- Values that can't be stored

  const REFUSED: Record<string, [Make, RegExp]> = {
    'a BigInt': [() => ({ total: 1n }), /'bad' has a BigInt at \.total .*String\(value\)/],
    'a BigInt from a toJSON': [() => ({ toJSON: () => 1n }), /'bad' has a BigInt/],
    'a circle': [circle, /'bad' has a circle at \.list\[0\]/],
    'a toJSON that throws': [() => ({ toJSON () { throw new Error('mine') } }), /'bad' has a getter or toJSON that throws/],
    'a toJSON that throws nothing': [() => ({ toJSON () { throw undefined } }), /'bad' has a getter or toJSON that throws/], // eslint-disable-line no-throw-literal
    'a toJSON that throws an object without a prototype': [() => ({ toJSON () { throw Object.create(null) } }), /'bad' has a getter or toJSON that throws/],
    'a toJSON that throws a revoked proxy': [() => ({ toJSON () { throw revoked() } }), /'bad' has a getter or toJSON that throws/],
    'a getter that throws': [() => ({ get value () { throw new Error('mine') } }), /'bad' has a getter or toJSON that throws/],
    'too many levels': [() => deep(4500), /'bad' has too many levels/],
    'far too many levels': [() => deep(20_000), /'bad' has too many levels/]
  }

  for (const [what, [make, message]] of Object.entries(REFUSED)) {
    t.test(`${what} is an error with the key's name, and the rest is stored`, async t => {
      const expect = (reply: { statusCode: number, json: () => any }): void => {
        t.equal(reply.statusCode, 500)
        t.match(reply.json(), { code: 'FST_ERR_SESSION_VALUE', message })
        t.match(reply.json().message, /The other changes were written/)
        t.notMatch(reply.json().message, /mine/)
      }

      t.test('in a new session', async t => {
        const { act, data } = await open(t, redisStore())
        expect(await act(session => { Object.assign(session, { before: 1, bad: make(), after: 2 }) }))
        t.same(await data(), { before: 1, after: 2 })
      })

      t.test('in a stored session, where the key keeps its value', async t => {
        const { act, data } = await open(t, redisStore())
        await act(session => { Object.assign(session, { bad: 'good', gone: 1 }) })
        expect(await act(session => {
          Object.assign(session, { before: 1, bad: make(), after: 2 })
          delete session.gone
        }))
        t.same(await data(), { before: 1, bad: 'good', after: 2 })
      })

      t.test('in a save(), after which the key is still unsaved', async t => {
        const { act, data } = await open(t, redisStore())
        const reply = await act(async session => {
          Object.assign(session, { before: 1, bad: make() })
          const { code, message } = await session.save().catch((error: Error) => error)
          const isModified = session.isModified()
          session.bad = 'good'
          return { code, message, isModified }
        })
        t.equal(reply.statusCode, 200)
        t.match(reply.json(), { code: 'FST_ERR_SESSION_VALUE', message, isModified: true })
        t.same(await data(), { before: 1, bad: 'good' })
      })

      t.test('in a regenerate() that keeps the key, and the visitor stays logged in', async t => {
        const { act, data } = await open(t, redisStore())
        await act(session => { session.user = 'max' })
        expect(await act(async session => {
          session.bad = make()
          await session.regenerate(['user', 'bad'])
        }))
        t.same(await data(), { user: 'max' })
      })
    })
  }

  t.test("with a value that can't be stored", async t => {
    const error = { code: 'FST_ERR_SESSION_VALUE' }

    t.test('all keys are named, up to a limit', async t => {
      const { act, data } = await open(t, redisStore())
      const two = await act(session => { Object.assign(session, { a: 1n, b: 2, c: circle() }) })
      t.match(two.json(), { ...error, message: /'a' has a BigInt .*; 'c' has a circle at \.list\[0\] / })
      const many = await act(session => { for (let i = 0; i < 9; i++) session[`many${i}`] = BigInt(i) })
      t.match(many.json(), { ...error, message: /'many4' .*; and 4 more\./ })
      t.notMatch(many.json().message, /many5/)
      t.same(await data(), { b: 2 })
    })

    t.test('the key is shown without the session id', async t => {
      const { act } = await open(t, redisStore(), { idGenerator: () => 'short' })
      const reply = await act(session => { session['of short'] = 1n })
      t.match(reply.json(), { ...error, message: /'of …' has a BigInt/ })
    })

    t.test("an error that the handler caught is still the reply's, unless the handler fixes the value", async t => {
      const { act, data } = await open(t, redisStore())
      const caught = await act(async session => {
        Object.assign(session, { n: 1, bad: 1n })
        await session.save().catch(() => {})
        session.n = 2
      })
      t.match(caught.json(), error)
      t.same(await data(), { n: 2 })
      const mended = await act(async session => {
        Object.assign(session, { n: 3, bad: 1n })
        await session.save().catch(() => {})
        delete session.bad
      })
      t.equal(mended.statusCode, 200)
      t.same(await data(), { n: 3 })
    })

    t.test("save() and regenerate() report it even if they aren't awaited", async t => {
      for (const method of ['save', 'regenerate']) {
        const { act, data } = await open(t, redisStore())
        const reply = await act(session => {
          Object.assign(session, { n: 1, bad: 1n })
          if (method === 'save') session.save()
          else session.regenerate(['n', 'bad'])
        })
        t.match(reply.json(), error)
        t.same(await data(), { n: 1 }, method)
      }
    })

    t.test('a value that was fixed after an un-awaited save() is stored, and the reply still has the error', async t => {
      const { act, data } = await open(t, redisStore())
      const reply = await act(session => {
        session.bad = 1n
        session.save()
        session.bad = 1
      })
      t.match(reply.json(), error)
      t.same(await data(), { bad: 1 })
    })

    t.test('a session that has ended stays ended', async t => {
      const store = redisStore()
      const { act, data } = await open(t, store)
      await act(session => { session.n = 1 })
      const reply = await act(async session => {
        await store.destroy(session.sessionId)
        session.bad = 1n
        session.n = 2
        return await session.save().catch((error: any) => error.code)
      })
      t.equal(reply.body, 'FST_ERR_SESSION_GONE')
      t.same(await data(), {})
    })

    t.test('save() sends a Secure cookie over http', async t => {
      const { act, visitor } = await open(t, redisStore(), { cookie: { secure: true } })
      t.match((await act(async session => {
        session.bad = 1n
        await session.save()
      })).json(), error)
      t.equal(visitor.cookies.size, 1)
    })

    t.test('a response that shared caches may keep is an error too, without the cookie', async t => {
      const { act, data } = await open(t, redisStore(), { cacheControl: true })
      await act(session => { session.n = 1 })
      const response = await act((session, _request, reply) => {
        reply.header('cache-control', 'public, max-age=60')
        Object.assign(session, { n: 2, bad: 1n })
      })
      t.match(response.json(), error)
      t.equal((response as any).headers['set-cookie'], undefined)
      t.same(await data(), { n: 2 })
    })

    t.test('a login is still entered in the index by user, and can be revoked', async t => {
      for (const regenerates of [false, true]) {
        const options = { user: (session: any) => session.user, saveUninitialized: false }
        const { act, data } = await open(t, redisStore(), options)
        const user = `max ${regenerates}`
        t.match((await act(async session => {
          Object.assign(session, { user, bad: 1n })
          if (regenerates) await session.regenerate(['user', 'bad'])
        })).json(), error)
        t.same(await data(), { user })
        t.equal((await act(async session => await session.list())).json().length, 1)
        await act(session => { session.n = 1 })
        t.equal((await act(async (_session, { server }) => String(await server.sessions.revokeUser(user)))).body, '1')
        t.same(await data(), {})
      }
    })

    t.test('a store whose own JSON.stringify throws causes the same error', async t => {
      for (const [what, [make, message]] of Object.entries(REFUSED)) {
        const store = new ThreeMethodStore()
        const { act, data } = await open(t, store)
        // The error of a toJSON is the application's own, and is passed on.
        if (what.startsWith('a toJSON that throws')) continue
        const reply = await act(session => { Object.assign(session, { before: 1, bad: make(), after: 2 }) })
        t.match(reply.json(), { ...error, message }, what)
        t.same(await data(), { before: 1, after: 2 })
      }
    })

    t.test("a store's own errors are passed on unchanged", async t => {
      for (const failure of [new TypeError('mine'), new RangeError('mine'), new Error('Do not know how to serialize a BigInt')]) {
        const store = new ThreeMethodStore()
        store.set = (_sessionId, _session, callback) => callback(failure)
        const { act } = await open(t, store)
        const reply = await act(session => { Object.assign(session, { n: 1, bad: 1n }) })
        t.equal(reply.json().message, failure.message)
        t.equal(reply.json().code, undefined)
      }
    })

    t.test("a MemoryStore refuses only values that can't be copied, and keeps the rest", async t => {
      const { act, data } = await open(t, new MemoryStore())
      const reply = await act(session => { Object.assign(session, { n: 1, bad: { get value () { throw new Error('mine') } } }) })
      t.match(reply.json(), { ...error, message: /'bad' has a getter or toJSON that throws/ })
      t.same(await data(), { n: 1 })
      t.equal((await act(session => { Object.assign(session, { big: 1n, circle: circle() }) })).statusCode, 200)
    })
  })

  // --- These come last, because there are no more warnings after them

  t.test('keys that applications make up fill neither the memory nor the log', async t => {
    const { act } = await open(t, redisStore())
    t.test('in production', async t => {
      inEnvironment(t, 'production')
      const { act } = await open(t, redisStore())
      const heard = await warned(async () => {
        await act(session => { for (let i = 0; i < 1500; i++) session[`made up ${i}`] = i })
        await act(session => { Object.assign(session, { [newKey()]: new Set(), ['x'.repeat(300)]: new Map() }) })
      })
      t.same(heard, [])
    })
    t.test('in development', async t => {
      const heard = await warned(async () => {
        await act(session => { for (let i = 0; i < 1500; i++) session[`made up ${i}`] = [new Set(), new Map()] })
        await act(session => { session[newKey()] = new Set() })
      })
      t.ok(heard.length > 0 && heard.length <= 200, `${heard.length}`)
    })
  })
})
