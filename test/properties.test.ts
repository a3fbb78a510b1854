/** Properties that hold for any input: random visits compared with a model, random Cookie headers, random data. */
import { connect, type AddressInfo } from 'node:net'
import { inspect, isDeepStrictEqual } from 'node:util'
import { deserialize, serialize } from 'node:v8'
import { sign, unsign } from '@fastify/cookie'
import fc from 'fast-check'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { Draft } from '../src/values/draft'
import { applyChanges } from '../src/values/record'
import { MemoryStore } from '../src/index'
import type { FieldChanges, SessionRecord } from '../src/types/store'
import { FaultyStore } from '../src/testing/faults'
import { build, SECRET, setCookies, stopClock, Visitor } from './helpers'
import { TouchStore } from './odd-stores'

// The seed is the same in each run, so that only a change of the code can make it fail. SEED=n tries others.
fc.configureGlobal({ seed: Number(process.env.SEED ?? 2026) })

const SECOND = 1000
const MINUTE = 60 * SECOND

const { advance } = stopClock(t)

// --- Random visits, compared with a model

function untilOf ({ cookie }: any): number {
  return cookie.expires?.getTime() ?? Infinity
}

/** What a handler does with the session. */
type Step =
  | { do: 'read' | 'delete', key: string }
  | { do: 'write' | 'writeWithin', key: string, value: unknown }
  | { do: 'look' | 'save' | 'reload' | 'destroy' | 'touch' | 'prioritise' }
  | { do: 'regenerate', keys?: string[] }
  | { do: 'options', maxAge: number }
  | { do: 'maxAge', maxAge: number | null }

/** What a handler sees of the session. */
interface Look {
  keys: string[]
  isModified: boolean
  isSaved: boolean
  maxAge: number | null
  expires: number | null
}

async function take (request: FastifyRequest, step: Step): Promise<unknown> {
  const session = request.session as any
  if (session === null) return 'no session'
  switch (step.do) {
    case 'read': return session.get(step.key)
    case 'write': session[step.key] = structuredClone(step.value); break
    case 'delete': delete session[step.key]; break
    case 'writeWithin': writeWithin(session.get(step.key), step.value); break
    case 'options': session.options({ maxAge: step.maxAge }); break
    case 'maxAge': session.cookie.maxAge = step.maxAge; break
    case 'prioritise': session.options({ priority: 'high' }); break
    case 'touch': session.touch(); break
    case 'regenerate': await session.regenerate(step.keys); break
    case 'look': return {
      keys: Object.keys(session).filter(key => key !== 'cookie').sort(),
      isModified: session.isModified(),
      isSaved: session.isSaved(),
      maxAge: session.cookie.originalMaxAge,
      expires: session.cookie.expires?.getTime() ?? null
    } satisfies Look
    default: await session[step.do]()
  }
}

function writeWithin (target: any, value: unknown): void {
  if (Array.isArray(target)) target.push(value)
  else if (typeof target === 'object') target.within = value
}

type Data = Record<string, any>

/** A session as a store has it. */
interface Stored {
  data: Data
  /** The lifetime that a handler chose for the cookie, in milliseconds, or null for 'ends with the browser'. */
  chosen: number | null | undefined
  /** The cookie's lifetime, in milliseconds. */
  maxAge: number | null
  /** The end in the record. */
  expires: number | null
  /** When the store forgets it. */
  until: number
}

interface Config {
  rolling: boolean
  saveUninitialized: boolean
  maxAge: number | undefined
}

/** The library in a few lines: says what the result of each visit should be. */
class Model {
  readonly sessions = new Map<string, Stored>()

  /** @param touchMovesRecord whether the store moves the record's own expiry with a touch */
  constructor (readonly config: Config, readonly touchMovesRecord: boolean) {}

  find (sessionId: string | undefined): Stored | undefined {
    const stored = sessionId === undefined ? undefined : this.sessions.get(sessionId)
    return stored !== undefined && stored.until > Date.now() ? stored : undefined
  }

  visit (sessionId: string | undefined): Visit {
    return new Visit(this, sessionId)
  }
}

class Visit {
  #id: string | undefined
  #stored: Stored | undefined
  #data: Data = {}
  #chosen: number | null | undefined
  /** When the cookie ends, as the handler sees it. */
  #expires: number | null = null
  #wasChosen = false
  #wasWritten = false
  #wasTouched = false
  #isOver = false

  constructor (readonly model: Model, readonly sentId: string | undefined) {
    this.#stored = model.find(sentId)
    this.#id = this.#stored && sentId
    this.#load()
  }

  take (step: Step): unknown {
    if (this.#isOver) return 'no session'
    switch (step.do) {
      case 'read': return Object.hasOwn(this.#data, step.key) ? this.#data[step.key] : undefined
      case 'write': this.#data[step.key] = structuredClone(step.value); break
      case 'delete': delete this.#data[step.key]; break
      case 'writeWithin': writeWithin(this.#data[step.key], step.value); break
      case 'options': this.#choose(step.maxAge); this.#wasTouched = true; break
      case 'maxAge': this.#choose(step.maxAge); break
      case 'prioritise': this.#wasTouched = true; break
      case 'touch': this.#touch(); this.#wasTouched = true; break
      case 'save': this.#save(); break
      case 'reload': this.#load(); break
      case 'regenerate': this.#regenerate(step.keys ?? []); break
      case 'destroy': this.#end(); this.#isOver = true; break
      case 'look': return {
        keys: Object.keys(this.#data).sort(),
        isModified: this.#isModified(),
        isSaved: this.#stored !== undefined && !this.#isModified(),
        maxAge: this.#maxAge,
        expires: this.#expires
      } satisfies Look
    }
  }

  /** What the reply does with the cookie. */
  reply (): { does: 'nothing' } | { does: 'clear' } | { does: 'send', expires: number | null } {
    const { rolling, saveUninitialized } = this.model.config
    if (this.#isOver) return { does: this.sentId === undefined ? 'nothing' : 'clear' }
    if (this.#stored === undefined && !saveUninitialized && !this.#isModified()) {
      return { does: this.sentId === undefined ? 'nothing' : 'clear' }
    }
    if (this.#stored === undefined || this.#isModified() || this.#wasChosen) this.#save()
    else if (rolling || this.#wasTouched) this.#move(this.#stored)
    else if (!this.#wasWritten) return { does: 'nothing' }
    return { does: 'send', expires: after(this.#maxAge) }
  }

  /** Stores the session under its id, which is only known after the reply. */
  name (sessionId: string): void {
    if (this.#stored !== undefined) this.model.sessions.set(sessionId, this.#stored)
  }

  get id (): string | undefined {
    return this.#id
  }

  /** The cookie's lifetime, in milliseconds; null if it ends with the browser. */
  get #maxAge (): number | null {
    return this.#chosen === undefined ? this.model.config.maxAge ?? null : this.#chosen
  }

  /** The idle timeout, in milliseconds. If the cookie ends with the browser, it is as configured. */
  get #idle (): number | null {
    return this.#chosen ?? this.model.config.maxAge ?? null
  }

  #load (): void {
    const { rolling } = this.model.config
    this.#data = structuredClone(this.#stored?.data ?? {})
    this.#chosen = this.#stored?.chosen
    this.#wasChosen = false
    const isUse = rolling || this.#stored === undefined || this.#wasTouched
    const usedAt = isUse ? Date.now() : this.#stored?.expires as number - (this.#idle as number)
    this.#expires = this.#maxAge === null ? null : usedAt + this.#maxAge
  }

  #save (): void {
    const end = after(this.#idle)
    this.#stored = { data: structuredClone(this.#data), chosen: this.#chosen, maxAge: this.#maxAge, expires: end, until: end ?? Infinity }
    if (this.#id !== undefined) this.model.sessions.set(this.#id, this.#stored)
    this.#touch()
    this.#wasChosen = false
    this.#wasWritten = true
  }

  // Once half of its idle timeout has passed, a record is written again, for software that only knows the end in the record.
  #move (stored: Stored): void {
    const end = after(this.#idle)
    stored.until = end ?? Infinity
    const isAging = this.#idle !== null && (stored.expires as number) - Date.now() < this.#idle / 2
    if (this.model.touchMovesRecord || !this.model.config.rolling || isAging) stored.expires = end
  }

  #regenerate (keys: string[]): void {
    this.#end()
    this.#data = Object.fromEntries(Object.entries(this.#data).filter(([key]) => keys.includes(key)))
    this.#id = undefined
    this.#wasTouched = false
    this.#save()
  }

  #end (): void {
    if (this.#id !== undefined) this.model.sessions.delete(this.#id)
    this.#stored = undefined
  }

  #touch (): void {
    this.#expires = after(this.#maxAge)
  }

  #choose (maxAge: number | null): void {
    this.#chosen = maxAge
    this.#wasChosen = true
    this.#touch()
  }

  #isModified (): boolean {
    return !isDeepStrictEqual(this.#data, this.#stored?.data ?? {})
  }
}

function after (milliseconds: number | null): number | null {
  return milliseconds === null ? null : Date.now() + milliseconds
}

const keys = fc.constantFrom('user', 'cart', 'constructor', 'hasOwnProperty')
const maxAges = fc.constantFrom(30 * SECOND, MINUTE, 60 * MINUTE)
const simple = fc.oneof(fc.integer(), fc.string(), fc.constantFrom(true, false, 0))
const object = fc.record({ n: simple, list: fc.array(simple) }, { noNullPrototype: true })
const values = fc.oneof(simple, fc.array(simple), object)
const calls = fc.constantFrom(...['look', 'save', 'reload', 'destroy', 'touch', 'prioritise'] as const)

const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('read', 'delete'), key: keys }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('write', 'writeWithin'), key: keys, value: values }) },
  { weight: 6, arbitrary: fc.record({ do: calls }) },
  fc.record({ do: fc.constant('regenerate'), keys: fc.option(fc.array(keys, { maxLength: 3 }), { nil: undefined }) }),
  fc.record({ do: fc.constant('options'), maxAge: maxAges }),
  fc.record({ do: fc.constant('maxAge'), maxAge: fc.option(maxAges) })
)

const requests = fc.record({
  visitor: fc.nat({ max: 1 }),
  /** How much time passes before the request, in milliseconds. */
  pause: fc.constantFrom(0, 0, 1, 20, 40, 40, 60, 120, 7200).map(seconds => seconds * SECOND),
  steps: fc.oneof(fc.constant<Step[]>([]), fc.array(steps, { maxLength: 6 }))
})

const configs: fc.Arbitrary<Config> = fc.record({
  rolling: fc.boolean(),
  saveUninitialized: fc.boolean(),
  maxAge: fc.constantFrom(undefined, MINUTE)
})

/** What a store has, by session id. */
type Contents = Iterable<[string, Stored]>

interface Kind {
  touchMovesRecord: boolean
  open: () => { store: object, contents: () => Contents }
}

const fromRecords = (records: Map<string, any>): Contents => Array.from(records, ([sessionId, record]) => {
  return [sessionId, fromRecord(record, untilOf(record))]
})

function fromRecord ({ cookie, ...data }: any, until: number): Stored {
  const { chosen, originalMaxAge, expires } = cookie
  return { data, chosen, maxAge: originalMaxAge, expires: expires == null ? null : new Date(expires).getTime(), until }
}

const KINDS: Record<string, Kind> = {
  MemoryStore: {
    touchMovesRecord: true,
    open () {
      const store = new MemoryStore()
      return { store, contents: () => fromRecords(store.store) }
    }
  },
  'a store with three methods': {
    touchMovesRecord: true,
    open () {
      const store = new FaultyStore([])
      return { store, contents: () => fromRecords(store.records) }
    }
  },
  'a store with touch': {
    touchMovesRecord: false,
    open () {
      const store = new TouchStore()
      const contents = (): Contents => Array.from(store.expiries, ([sessionId, until]) => {
        return [sessionId, fromRecord(store.record(sessionId), until)]
      })
      return { store, contents }
    }
  },
  'a store with every method': {
    touchMovesRecord: true,
    open () {
      const store = new FaultyStore()
      return { store, contents: () => fromRecords(store.records) }
    }
  }
}

for (const [name, { touchMovesRecord, open }] of Object.entries(KINDS)) {
  t.test(`after any visits, replies, cookies and stored records are what the model says: ${name}`, async () => {
    await fc.assert(fc.asyncProperty(configs, fc.array(requests, { maxLength: 12 }), async (config, sequence) => {
      const { store, contents } = open()
      const model = new Model(config, touchMovesRecord)
      let steps: Step[] = []
      const { rolling, saveUninitialized, maxAge } = config
      const app = await build({ store: store as any, rolling, saveUninitialized, cookie: { maxAge } }, app => {
        app.get('/', async request => {
          const seen = []
          for (const step of steps) seen.push(await take(request, step) ?? null)
          return seen
        })
      })
      const visitors = [new Visitor(app), new Visitor(app)]
      for (const { visitor: index, pause, steps: wanted } of sequence) {
        advance(pause)
        steps = wanted
        const visitor = visitors[index] as Visitor
        const visit = model.visit(idOf(visitor.cookies.get('sessionId')))
        const response = await visitor.get('/')

        same(response.json(), wanted.map(step => visit.take(step) ?? null), 'what the handler saw')
        const reply = visit.reply()
        const [cookie, ...more] = response.cookies
        same(more, [], 'one cookie at most')
        if (reply.does !== 'send') {
          same(setCookies(response), reply.does === 'clear' ? [CLEARED] : [], 'the cookie')
          continue
        }
        const sessionId = idOf(cookie?.value) ?? 'no id'
        same(cookie?.expires?.getTime() ?? null, reply.expires, 'the expiry that the browser gets')
        if (visit.id === undefined) same(model.sessions.has(sessionId), false, 'a new session has a new id')
        else same(sessionId, visit.id, 'the session keeps its id')
        visit.name(sessionId)
      }
      const alive = (contents: Contents): object => Object.fromEntries([...contents].filter(([, { until }]) => until > Date.now()))
      same(alive(contents()), alive(model.sessions), 'what the store has in the end')
    }), { numRuns: 100, includeErrorInReport: true })
  })
}

const CLEARED = 'sessionId=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=Lax'

function idOf (value: string | undefined): string | undefined {
  return value === undefined ? undefined : unsign(value, SECRET).value ?? undefined
}

/** An assertion for fast-check. With that of Node.js, an invalid Date differs from itself. */
function same (actual: unknown, expected: unknown, what: string): void {
  const [is, should] = [actual, expected].map(value => {
    return inspect(value, { depth: Infinity, sorted: true, maxArrayLength: Infinity, maxStringLength: Infinity })
  })
  if (is !== should) throw new Error(`${what}: ${is} is not ${should}`)
}

// --- Random Cookie headers

// By default, Node.js refuses headers of 1 MB.
const roomy: object = { http: { maxHeaderSize: 16 * 2 ** 20 } }

/** A site where max and eva are logged in. The attacker knows everything except the secret and eva's signature. */
interface Target {
  app: FastifyInstance
  store: MemoryStore
  /** The ids that the application made. */
  sessionIds: Set<string>
  max: string
  eva: string
  evaId: string
}

async function target (t: Test, cookiePrefix: string): Promise<Target> {
  const store = new MemoryStore()
  const sessionIds = new Set<string>()
  const idGenerator = (): string => {
    const sessionId = `session-${sessionIds.size + 1}`
    sessionIds.add(sessionId)
    return sessionId
  }
  const app = await build({ store, cookiePrefix, idGenerator }, app => {
    app.get('/login/:name', async request => {
      (request.session as any).user = (request.params as { name: string }).name
      return 'welcome'
    })
    app.get('/', async request => (request.session as any).user ?? 'nobody')
  }, roomy)
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const [max, eva] = [new Visitor(app), new Visitor(app)]
  await max.get('/login/max')
  await eva.get('/login/eva')
  return { app, store, sessionIds, max: valueOf(max), eva: valueOf(eva), evaId: 'session-2' }
}

function valueOf (visitor: Visitor): string {
  return visitor.cookies.get('sessionId') as string
}

interface Reply {
  status: number
  body: string
  setCookie: string
}

interface Pair {
  text: string
  /** Whose cookie it is, if it is a valid one. */
  owner?: 'max' | 'eva'
}

/** What may come between two semicolons. */
function pairs ({ max, eva, evaId }: Target, cookiePrefix: string): fc.Arbitrary<Pair> {
  const [, maxSignature = ''] = max.split('.')
  const [, evaSignature = ''] = eva.split('.')
  const forged = fc.constantFrom(
    evaId, `${evaId}.`, `.${evaSignature}`, `${evaId}.${maxSignature}`, `${cookiePrefix}${evaId}.${maxSignature}`,
    `${max}.${evaId}`, `${evaId}.${max}`, eva.slice(0, -1), eva.slice(1), eva.toUpperCase(), `${eva}=`, `${eva} x`,
    `s:${eva}`, `s:s:${eva}`, `${cookiePrefix}${cookiePrefix}${eva}`, eva.replace(/^s:/, ''), eva.replace('.', '%252e'),
    ...['another secret', ''].map(secret => cookiePrefix + sign(evaId, secret)),
    // Validly signed ids without a session.
    ...['brought', '__proto__', 'constructor', ''].map(sessionId => cookiePrefix + sign(sessionId, SECRET))
  ).filter(value => value !== eva)
  const odd = fc.constantFrom(
    '', '"', '""', '"x', 'x"', '\\', '\\"', ',', '=', '==', '.', '..', '%', '%%', '%zz', '%00', '%E0%A4%A', '%ff%fe',
    '\t', '\0', 'a\0b', '\x01', '\x7f', '\x80\xff', '\u00a0', '\u2028', '\u3000', '\ufeff', '\ud800', '💥',
    '__proto__', 'constructor'
  )
  const huge = fc.constantFrom('x', '%', '"', '.', '\\', `${max}.`).map(text => text.repeat(2 ** 20 / text.length))
  const value = fc.oneof(
    { weight: 20, arbitrary: forged },
    { weight: 10, arbitrary: odd },
    { weight: 10, arbitrary: fc.string({ unit: 'binary' }) },
    { weight: 10, arbitrary: fc.string({ unit: fc.constantFrom(...'sesionId=;"% .,\\:{}[]()<>@/?\t0aZ+-_') }) },
    { weight: 1, arbitrary: huge }
  )
  const name = fc.oneof(
    fc.constant('sessionId'),
    fc.constantFrom(' sessionId', 'sessionId ', '\u00a0sessionId', '\ufeffsessionId', 'sessionid', 'xsessionId', '', '__proto__')
  )
  const blank = fc.constantFrom('', ' ', '  ', '\t')
  return fc.oneof(
    { weight: 3, arbitrary: fc.tuple(name, value).map(([name, value]) => ({ text: `${name}=${value}` })) },
    { weight: 1, arbitrary: value.map(text => ({ text })) },
    {
      weight: 1,
      arbitrary: fc.tuple(fc.constantFrom('max' as const, 'eva' as const), blank, blank, fc.boolean())
        .map(([owner, before, after, isEncoded]): Pair => {
          const value = { max, eva }[owner]
          return { text: `${before}sessionId=${isEncoded ? encodeURIComponent(value) : value}${after}`, owner }
        })
    }
  )
}

/** The reply is never a server error and belongs to the first valid cookie. No session is stored under an id from a cookie. */
function check ({ store, sessionIds }: Target, owner: Pair['owner'], { status, body, setCookie }: Reply): void {
  same(status, 200, 'the status')
  same(body, owner ?? 'nobody', 'who it is')
  const value = decodeURIComponent(/^sessionId=([^;]+)/.exec(setCookie)?.[1] ?? '')
  const sessionId = idOf(value.replace(/^s:/, '')) ?? 'none'
  if (owner !== undefined) same(sessionId, { max: 'session-1', eva: 'session-2' }[owner], 'the id that goes out')
  else same(sessionId, Array.from(sessionIds).at(-1), 'the id that goes out')
  same([...store.store.keys()].filter(sessionId => !sessionIds.has(sessionId)), [], 'sessions stored under ids that the application did not make')
}

/** Sends a request as bytes on a socket, because inject and fetch refuse to send such headers. */
function raw (app: FastifyInstance, cookies: string[], encoding: BufferEncoding): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const { port } = app.server.address() as AddressInfo
    const chunks: Buffer[] = []
    const socket = connect(port, '127.0.0.1', () => {
      const lines = cookies.map(cookie => `Cookie: ${cookie}\r\n`).join('')
      socket.write(`GET / HTTP/1.1\r\nHost: example.com\r\n${lines}Connection: close\r\n\r\n`, encoding)
    })
    socket.on('data', chunk => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => {
      const [head = '', body = ''] = Buffer.concat(chunks).toString('latin1').split('\r\n\r\n')
      resolve({ status: Number(head.split(' ')[1]), body, setCookie: /^set-cookie: (.*)$/im.exec(head)?.[1] ?? '' })
    })
  })
}

// Characters that Node.js refuses in a header.
const CONTROLS = /[\x00-\x08\x0a-\x1f\x7f]/ // eslint-disable-line no-control-regex

for (const cookiePrefix of ['', 's:']) {
  t.test(`any Cookie header is answered safely, with cookiePrefix '${cookiePrefix}'`, async t => {
    const site = await target(t, cookiePrefix)
    const separators = fc.constantFrom('; ', ';', ' ; ', ';;')

    await t.test('sent with inject()', async () => {
      const headers = fc.array(pairs(site, cookiePrefix), { maxLength: 6 })
      await fc.assert(fc.asyncProperty(headers, separators, async (pairs, separator) => {
        const header = pairs.map(({ text }) => text).join(separator)
        const response = await site.app.inject({ url: '/', headers: { cookie: header } })
        const owner = pairs.find(({ owner }) => owner !== undefined)?.owner
        check(site, owner, { status: response.statusCode, body: response.body, setCookie: setCookies(response).join() })
      }), { numRuns: 100, includeErrorInReport: true })
    })

    await t.test('sent through a socket', async () => {
      const encodings = fc.constantFrom('latin1' as const, 'utf8' as const)
      const lines = fc.array(fc.array(pairs(site, cookiePrefix), { maxLength: 4 }), { minLength: 1, maxLength: 2 })
      await fc.assert(fc.asyncProperty(lines, separators, encodings, async (lines, separator, encoding) => {
        const headers = lines.map(pairs => pairs.map(({ text }) => text.replace(/[\r\n]/g, ' ')).join(separator))
        const reply = await raw(site.app, headers, encoding)
        if (headers.some(header => CONTROLS.test(Buffer.from(header, encoding).toString('latin1')))) {
          same(reply.status, 400, 'the status of a request that Node.js refuses')
          return
        }
        const owner = lines.flat().find(({ owner }) => owner !== undefined)?.owner
        check(site, owner, reply)
      }), { numRuns: 100, includeErrorInReport: true })
    })
  })
}

t.test('a header of 1 MB does not cause a server error, and repeated cookies are looked up once', async t => {
  const site = await target(t, '')
  const { app, store, max } = site
  let lookUps = 0
  t.intercept(store, 'get', {
    value (...args: Parameters<MemoryStore['get']>) {
      lookUps++
      MemoryStore.prototype.get.apply(store, args)
    }
  })
  const ask = async (header: string, owner?: 'max'): Promise<void> => {
    lookUps = 0
    check(site, owner, await raw(app, [header], 'latin1'))
  }
  const gone = sign('session-of-long-ago', SECRET)
  for (const part of [`sessionId=${gone}; `, `sessionId=${max}x; `, 'sessionId=%; ', 'sessionId="', ';']) {
    const filler = part.repeat(2 ** 20 / part.length)
    await ask(filler)
    await ask(`${filler}; sessionId=${max}`, 'max')
    t.ok(lookUps <= 2, `${lookUps} look-ups`)
  }
  const goners = Array.from({ length: 2 ** 14 }, (_, n) => `sessionId=${sign(`session-of-long-ago-${n}`, SECRET)}`)
  await ask(goners.join('; '))
  t.ok(lookUps > 0)
})

// --- Random data

/** Names, some of which every object inherits. */
const names = fc.oneof(
  fc.constantFrom('a', 'b', '', '0', 'constructor', 'hasOwnProperty', 'toString', 'valueOf', 'toJSON', 'length'),
  fc.string({ maxLength: 3 })
).filter(name => name !== '__proto__')

const { data } = fc.letrec<{ data: unknown, item: unknown }>(tie => ({
  item: fc.oneof(
    fc.constantFrom(undefined, null, true, false, 0, -0, NaN, Infinity, '', 'text', 10n),
    fc.double(), fc.string(), fc.bigInt(),
    // An invalid date doesn't equal anything, not even itself, so it counts as changed.
    fc.date({ noInvalidDate: true })
  ),
  data: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('item'),
    fc.array(tie('data'), { maxLength: 3 }),
    fc.dictionary(names, tie('data'), { maxKeys: 3, noNullPrototype: true }),
    fc.array(tie('data'), { maxLength: 3 }).map(items => new Set(items)),
    fc.array(fc.tuple(tie('data'), tie('data')), { maxLength: 3 }).map(entries => new Map(entries)),
    fc.uint8Array({ maxLength: 3 }),
    fc.uint8Array({ maxLength: 3 }).map(bytes => Buffer.from(bytes))
  )
}))

const records = fc.dictionary(names, data, { maxKeys: 5, noNullPrototype: true })

/** What a request does with a draft. `within` changes a value that was read, if it can be changed. */
const edits = fc.array(fc.oneof(
  fc.record({ do: fc.constantFrom('get', 'delete', 'within'), key: names, value: fc.constant(undefined) }),
  fc.record({ do: fc.constantFrom('set', 'within'), key: names, value: data }),
  fc.record({ do: fc.constant('save'), key: fc.constant(''), value: fc.constant(undefined) })
))

const PROPERTY = { numRuns: 1000, includeErrorInReport: true }

/** Values that other comparisons wrongly report as changed, or as unchanged. */
const TRICKY: object[] = [
  new Set([{}]), new Map([[{}, {}]]), { constructor: {} }, { toString: 1, valueOf: 1 }
]

t.test('reading a draft changes nothing', t => {
  fc.assert(fc.property(records, record => {
    const before = snapshot(record)
    const draft = new Draft(record)
    const read = draft.toObject()
    for (const key of draft.keys()) same(draft.get(key) === read[key], !Number.isNaN(read[key]), 'one copy a request')
    same(read, before, 'what is read')
    same(draft.isChanged(), false, 'isChanged()')
    same(draft.changes(), { set: {}, unset: [] }, 'the changes')
    same(record, before, 'the record')
  }), { ...PROPERTY, examples: TRICKY.map((a): [Record<string, unknown>] => [{ a }]) })
  t.end()
})

t.test('after each save, the changes turn the record into what the handler saw', t => {
  fc.assert(fc.property(records, edits, (record, edits) => {
    const before = snapshot(record)
    const draft = new Draft(record)
    let stored = record
    const save = (): void => {
      const changes = draft.changes()
      stored = applied(stored, changes)
      sameToStores(stored, draft.toObject())
      draft.rebase(changes)
      same(draft.isChanged(), false, 'isChanged() after a save')
    }
    for (const { do: action, key, value } of edits) {
      if (action === 'get') draft.get(key)
      else if (action === 'set') draft.set(key, snapshot(value))
      else if (action === 'delete') draft.delete(key)
      else if (action === 'within') changeWithin(draft.get(key), value)
      else save()
    }
    save()
    same(record, before, 'the record')
  }), {
    ...PROPERTY,
    examples: TRICKY.map((value): [Record<string, unknown>, Array<{ do: 'set', key: string, value: unknown }>] => [
      { a: [0] }, [{ do: 'set', key: 'a', value }]
    ])
  })
  t.end()
})

/** The data of the record to which the changes are applied. */
function applied (record: SessionRecord, changes: FieldChanges): SessionRecord {
  const { cookie, ...data } = applyChanges(record, { ...changes, meta: { set: {}, unset: [] } }, undefined)
  return data
}

/** Unlike structuredClone, it keeps Buffers. */
function snapshot<T> (value: T): T {
  return deserialize(serialize(value))
}

const { json } = fc.letrec<{ json: string }>(tie => ({
  json: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom('1', '"text"', 'null', 'true'),
    fc.array(tie('json'), { maxLength: 3 }).map(items => `[${items.join()}]`),
    fc.array(fc.tuple(fc.constantFrom('__proto__', 'constructor', 'prototype', 'a'), tie('json')), { maxLength: 3 })
      .map(entries => `{${entries.map(([key, text]) => `"${key}":${text}`).join()}}`)
  )
}))

t.test('a __proto__ in JSON never becomes a prototype, and is gone once the record has been read', t => {
  fc.assert(fc.property(json, json, (text, other) => {
    const record = JSON.parse(`{"a":${text},"__proto__":${other}}`)
    const draft = new Draft(record)
    same(draft.keys(), ['a'], 'the keys')
    checkPrototypes(draft.toObject())
    draft.set('b', JSON.parse(other))
    const stored = applied(record, draft.changes())
    checkPrototypes(stored.a)
    checkPrototypes(stored.b)
    const next = new Draft(stored)
    next.toObject()
    same(next.changes(), { set: {}, unset: [] }, 'the changes of reading it again')
    same(Object.keys(Object.prototype), [], 'what every object has')
  }), PROPERTY)
  t.end()
})

function checkPrototypes (value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  same(Object.getPrototypeOf(value) === (Array.isArray(value) ? Array : Object).prototype, true, 'its prototype is its own')
  same(Object.hasOwn(value, '__proto__'), false, 'it has a __proto__')
  for (const item of Object.values(value)) checkPrototypes(item)
}

function changeWithin (target: unknown, value: unknown): void {
  if (Array.isArray(target)) target.push(value)
  else if (target instanceof Map) target.set('within', value)
  else if (target instanceof Set) target.add(value)
  else if (target instanceof Date) target.setTime(1)
  else if (target instanceof Uint8Array) target.fill(1)
  else if (typeof target === 'object' && target !== null) Object.assign(target, { within: value })
}

/** Checks that a record has what the handler saw. A value whose JSON is the same isn't written again. */
function sameToStores (record: Record<string, unknown>, seen: Record<string, unknown>): void {
  // A record has no undefined values: to set a key to undefined is to remove it.
  for (const key of new Set([...Object.keys(record), ...Object.keys(seen)])) {
    if (!isTheSameJson(record[key], seen[key])) same(record[key], seen[key], `what is stored as '${key}'`)
  }
}

function isTheSameJson (a: unknown, b: unknown): boolean {
  const [one, other] = [a, b].map(value => JSON.stringify(value, tellAll))
  return one !== undefined && one === other
}

/** Represents values that JSON loses, so that they are compared. */
function tellAll (_key: string, value: unknown): unknown {
  if (value instanceof Map || value instanceof Set) return { [value.constructor.name]: [...value] }
  return typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value)) ? { number: String(value) } : value
}
