/** Runs a program on one library, and records what can be observed. */
import { setImmediate as later } from 'node:timers/promises'
import fastifyCookie, { unsign } from '@fastify/cookie'
import Fastify, { type FastifyInstance, type LightMyRequestResponse } from 'fastify'
import upstreamSession from 'upstream-session'
import fastifySession, { MemoryStore } from '../../src/index'
import { SECRET } from '../helpers'
import type { Answer } from '../odd-stores'
import type { Attributes, Config, Form, Program, Request, Step, Value } from './program'

/** What was observed of one request, by name: 'status', '2 look.isSaved', 'cookie.expires'. */
export type Facts = Map<string, unknown>

export interface Run {
  close (): Promise<void>
  visit (request: Request): Promise<Facts>
  /** Drops the visitor's cookie, as if it had been cleared. */
  forget (visitor: number): void
}

/** The time at which programs start. */
export const START = Date.UTC(2030, 5, 1, 12)
const HANGS = 5000

/** The number of a session in its program, by its name. */
export function nth (name: unknown): number {
  return Number(/^session (\d+)$/.exec(String(name))?.[1] ?? 0)
}

/** A clock for both libraries, which a program moves. */
export const clock = { now: START }

class Money {
  constructor (public amount: number) {}

  toJSON (): object {
    return { amount: this.amount, currency: 'EUR' }
  }
}

/** get, set and destroy. Stores JSON. */
class PlainStore {
  readonly records = new Map<string, { text: string, until: number }>()
  underWay = 0
  readonly #isRemote: boolean

  constructor (isRemote: boolean) {
    this.#isRemote = isRemote
  }

  get (sessionId: string, callback: Answer): void {
    const record = this.find(sessionId)
    this.answer(callback, record === undefined ? null : JSON.parse(record.text))
  }

  set (sessionId: string, session: any, callback: Answer): void {
    this.records.set(sessionId, { text: JSON.stringify(session), until: this.endOf(session) })
    this.answer(callback)
  }

  destroy (sessionId: string, callback: Answer): void {
    this.records.delete(sessionId)
    this.answer(callback)
  }

  protected find (sessionId: string): { text: string, until: number } | undefined {
    const record = this.records.get(sessionId)
    return record !== undefined && record.until > clock.now ? record : undefined
  }

  protected endOf (_session: any): number {
    return Infinity
  }

  protected answer (callback: Answer, value?: unknown): void {
    if (!this.#isRemote) {
      callback(null, value)
      return
    }
    this.underWay++
    setImmediate(() => {
      this.underWay--
      callback(null, value)
    })
  }
}

/** Keeps the end beside the record, as Redis does. */
class TouchStore extends PlainStore {
  touch (sessionId: string, session: any, callback: Answer): void {
    const record = this.find(sessionId)
    if (record !== undefined) record.until = this.endOf(session)
    this.answer(callback)
  }

  protected override endOf ({ cookie }: any): number {
    return cookie.expires === null ? Infinity : new Date(cookie.expires).getTime()
  }
}

function storeOf ({ store, isRemote }: Config, isOurs: boolean): any {
  if (store === 'three methods') return new PlainStore(isRemote)
  if (store === 'touch') return new TouchStore(isRemote)
  return isOurs ? new MemoryStore() : new (upstreamSession as any).Store()
}

export async function start ({ config }: Program, isOurs: boolean): Promise<Run> {
  const store = storeOf(config, isOurs)
  const names = new Map<string, string>()
  const nameOf = (sessionId: string): string => {
    if (!names.has(sessionId)) names.set(sessionId, `session ${names.size + 1}`)
    return names.get(sessionId) as string
  }
  const { expires, ...cookie } = config.cookie
  const prefix = config.prefix ?? ''
  const app = Fastify({ trustProxy: true }) as unknown as FastifyInstance
  app.register(fastifyCookie)
  app.register((isOurs ? fastifySession : upstreamSession) as any, {
    secret: SECRET,
    store,
    rolling: config.rolling,
    saveUninitialized: config.saveUninitialized,
    cookiePrefix: config.prefix,
    cookie: { ...withoutUndefined(cookie), ...(expires !== undefined && { expires: new Date(START + expires) }) }
  })
  let steps: Step[] = []
  app.route({
    method: ['GET', 'POST', 'OPTIONS'],
    url: '/*',
    async handler (request) {
      const first = request.session
      const seen = []
      for (const step of steps) {
        if (step.do === 'fail') throw new Error('as the program wants it')
        const session = 'isFirst' in step && step.isFirst ? first : request.session
        seen.push(await attempt(() => take(session, step, store, nameOf)))
      }
      return seen
    }
  })
  await app.ready()

  const jars = [0, 1].map(() => ({ now: '', before: '' }))
  return {
    close: async () => { await app.close() },
    forget (visitor) {
      const jar = jars[visitor] as { now: string }
      jar.now = ''
    },
    async visit (request) {
      steps = request.steps
      const jar = jars[request.visitor] as { now: string, before: string }
      const sent = { own: [jar.now], old: [jar.before], 'forged and own': ['forged.by-somebody', jar.now], nothing: [] }[request.sends]
      const header = sent.filter(value => value !== '').map(value => `sessionId=${value}`).join('; ')
      const response = await app.inject({
        method: request.method,
        url: request.path,
        headers: {
          ...(header !== '' && { cookie: header }),
          ...(request.https && { 'x-forwarded-proto': 'https' }),
          ...(request.isFromElsewhere && { 'sec-fetch-site': 'cross-site' })
        },
        signal: AbortSignal.timeout(HANGS)
      })
      // Wait for what a handler didn't await.
      do await later(); while (store.underWay > 0)
      const facts = factsOf(response, value => {
        const { valid, value: sessionId } = unsign(value.slice(prefix.length), SECRET)
        return valid ? nameOf(sessionId) : value
      })
      const set = response.cookies.at(-1)
      if (set !== undefined && set.value !== '') [jar.before, jar.now] = [jar.now, encodeURIComponent(set.value)]
      if (set?.value === '') [jar.before, jar.now] = [jar.now, '']
      return facts
    }
  }
}

function factsOf (response: LightMyRequestResponse, nameOf: (value: string) => string): Facts {
  const facts: Facts = new Map()
  facts.set('status', response.statusCode)
  if (response.statusCode === 200) {
    for (const [i, seen] of response.json().entries()) {
      if (seen?.look === undefined) facts.set(`${i} answer`, seen)
      else for (const [name, value] of Object.entries(seen.look)) facts.set(`${i} look.${name}`, value)
    }
  }
  // A browser keeps the last one.
  const cookie = response.cookies.at(-1) as Record<string, any> | undefined
  if (response.cookies.length > 1) facts.set('cookies', response.cookies.length)
  facts.set('cookie', cookie === undefined ? 'none' : cookie.value === '' ? 'cleared' : 'sent')
  if (cookie === undefined || cookie.value === '') return facts
  const { name, value, expires, ...attributes } = cookie
  facts.set('cookie.session', nameOf(value))
  facts.set('cookie.expires', expires === undefined ? null : secondsFromStart(expires))
  for (const [attribute, value] of Object.entries(attributes)) facts.set(`cookie.${attribute}`, value)
  return facts
}

async function attempt (run: () => unknown): Promise<unknown> {
  try {
    return await run() ?? null
  } catch {
    return { error: true }
  }
}

function take (session: any, step: Step, store: any, nameOf: (sessionId: string) => string): unknown {
  if (session === null) return 'no session'
  // Outside of the cookie's path.
  if (session.cookie === undefined) return 'an empty object'
  switch (step.do) {
    case 'get': return seenOf(session.get(step.key), session)
    case 'property': return seenOf(session[step.key], session)
    case 'set': session.set(step.key, made(step.value)); break
    case 'assign': session[step.key] = made(step.value); break
    case 'delete': return delete session[step.key]
    case 'change within': changeWithin(session.get(step.key)); break
    case 'delete within': deleteWithin(session.get(step.key)); break
    case 'hide': Object.defineProperty(session, step.key, { value: 'hidden', configurable: true, writable: true, enumerable: false }); break
    case 'define a getter': Object.defineProperty(session, step.key, { get: () => 'got', configurable: true, enumerable: true }); break
    case 'set a symbol': session[Symbol.for('note')] = 1; return { ...session }[Symbol.for('note')]
    case 'touch': return session.touch()
    case 'maxAge': session.cookie.maxAge = step.maxAge; break
    case 'expires': session.cookie.expires = step.after === null ? null : new Date(clock.now + step.after); break
    case 'options': return session.options(optionsOf(step))
    case 'attributes': Object.assign(session.cookie, step.attributes); break
    case 'look': return { look: looked(session, nameOf) }
    case 'end elsewhere': return new Promise(resolve => store.destroy(session.sessionId, () => resolve(null)))
    case 'write elsewhere': return writeElsewhere(store, session.sessionId)
    case 'save':
    case 'reload':
    case 'destroy': return called(session, step.do, [], step.form)
    case 'regenerate': return called(session, step.do, step.keys === undefined ? [] : [step.keys], step.form)
    case 'fail': break
  }
}

/** A value as a handler sees it, or what kind of the library's own values it is. */
function seenOf (value: unknown, session: { sessionId: string }): unknown {
  if (value === session.sessionId) return 'an id'
  if (typeof value === 'function') return 'a function'
  return (value as object | undefined)?.constructor?.name === 'Session' ? 'a prototype' : { value }
}

function looked (session: any, nameOf: (sessionId: string) => string): object {
  const { originalMaxAge, expires, path, httpOnly, secure, sameSite, domain, partitioned } = session.cookie
  return {
    keys: Object.keys(session).sort().join(),
    data: JSON.stringify(Object.fromEntries(Object.entries(session).filter(([key]) => key !== 'cookie').sort())),
    isModified: session.isModified(),
    isSaved: typeof session.isSaved === 'function' ? session.isSaved() : 'hidden',
    id: nameOf(session.sessionId),
    isSigned: session.encryptedSessionId.startsWith(session.sessionId),
    maxAge: originalMaxAge,
    expires: expires === null ? null : secondsFromStart(expires),
    path,
    httpOnly,
    secure,
    sameSite,
    domain,
    partitioned
  }
}

function secondsFromStart (date: Date): number {
  return Math.floor((date.getTime() - START) / 1000)
}

function made (value: Value): unknown {
  if (value.is === 'date') return new Date(value.time)
  return value.is === 'money' ? new Money(value.amount) : structuredClone(value.value)
}

function changeWithin (value: any): void {
  if (Array.isArray(value)) value.push(9)
  else if (value instanceof Date) value.setTime(value.getTime() + 1)
  else if (value instanceof Money) value.amount++
  else if (typeof value === 'object' && value !== null) value.within = (value.within ?? 0) + 1
}

function deleteWithin (value: any): void {
  if (Array.isArray(value)) value.pop()
  else if (typeof value === 'object' && value !== null) for (const key in value) delete value[key]
}

function optionsOf ({ maxAge, after, attributes }: { maxAge?: number, after?: number, attributes?: Attributes }): object {
  return {
    ...attributes,
    ...(maxAge !== undefined && { maxAge }),
    ...(after !== undefined && { expires: new Date(clock.now + after) })
  }
}

/** Writes to the session as another request would. */
function writeElsewhere (store: any, sessionId: string): Promise<unknown> {
  return new Promise(resolve => store.get(sessionId, (_error: unknown, record: any) => {
    if (!record) resolve('nothing there')
    else store.set(sessionId, Object.assign(record, { elsewhere: 1 }), () => resolve(null))
  }))
}

async function called (session: any, operation: string, args: unknown[], form: Form): Promise<unknown> {
  switch (form) {
    case 'promise': await session[operation](...args); break
    case 'callback': await new Promise<void>((resolve, reject) => {
      session[operation](...args, (error: unknown) => error ? reject(error) : resolve())
    }); break
    case 'forgotten promise': session[operation](...args).catch(() => {}); break
    case 'forgotten callback': session[operation](...args, () => {})
  }
  return 'done'
}

function withoutUndefined (object: object): object {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))
}
