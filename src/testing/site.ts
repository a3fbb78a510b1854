/** An app on a store, with visitors, a gate that holds requests, and a record of the calls. */
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type LightMyRequestResponse } from 'fastify'
import fastifySession, { type CookieOptions, type FastifySessionOptions } from '../index'
import { has } from '../stores/methods'
import type { SessionStore } from '../types/store'
import type { TestContext } from './context'
import { Gate } from './gate'
import { setCookies, Visitor } from './visitor'

const METHODS = [
  'get', 'getAndTouch', 'inspect', 'set', 'destroy', 'touch', 'update', 'updateIf', 'claim', 'release', 'revoke',
  'endingsOf', 'claimsOf'
] as const

export type SiteOptions = Pick<FastifySessionOptions, 'rolling' | 'user' | 'maxPerUser' | 'onMaxPerUser'> & { cookie?: CookieOptions }

type AnyStore = Record<string, ((...args: any[]) => any) | undefined>

/** An app on the store, with visitors. */
export class Site {
  readonly app: FastifyInstance
  readonly max: Visitor
  readonly eva: Visitor
  readonly stranger: Visitor
  readonly gate: Gate
  readonly calls: string[]
  readonly interruptAt: ReturnType<typeof interruptible>
  readonly pass: (milliseconds: number) => Promise<void>
  /** A request with a copy of a cookie. New cookies aren't kept. */
  readonly revisit: (cookie: string, url: string) => ReturnType<Visitor['get']>

  static async open (
    t: TestContext,
    store: SessionStore,
    pass: Site['pass'],
    options: SiteOptions
  ): Promise<Site> {
    const calls = recordCalls(store)
    const interruptAt = interruptible(store)
    const gate = new Gate()
    const app = Fastify() as unknown as FastifyInstance
    app.register(fastifyCookie)
    app.register(fastifySession, {
      secret: 'the secret that signs the cookies of this site', store, ...options, cookie: { secure: false, ...options.cookie }
    })
    addRoutes(app, gate)
    await app.ready()
    t.after(() => app.close())
    return new Site(app, gate, calls, interruptAt, pass)
  }

  constructor (
    app: FastifyInstance, gate: Gate, calls: string[], interruptAt: Site['interruptAt'], pass: Site['pass']
  ) {
    this.app = app
    this.max = new Visitor(app)
    this.eva = new Visitor(app)
    this.stranger = new Visitor(app)
    this.gate = gate
    this.calls = calls
    this.interruptAt = interruptAt
    this.pass = pass
    this.revisit = (cookie, url) => new Visitor(app).get(url, { headers: { cookie } })
  }
}

function addRoutes (app: FastifyInstance, gate: Gate): void {
  type Params = { name: string, value: string }

  // A request that fails before the gate is never held.
  app.addHook('onResponse', async ({ url }, { statusCode }) => {
    if (url.startsWith('/slow/')) gate.miss(new Error(`${url} was answered with ${statusCode} before all requests were at the gate`))
  })

  app.get('/login/:name', async request => {
    const { name } = request.params as Params
    const session = request.session as any
    session.user = name
    session.cart ??= []
    return `hello ${name}`
  })
  app.get('/whoami', async request => (request.session as any).user ?? 'nobody')
  app.get('/all', async request => dataOf((request.session as any).data()))
  app.get('/nothing', async () => 'nothing')
  app.get('/logout', async request => {
    await request.session.destroy()
    return 'bye'
  })
  app.get('/renew', async request => {
    await request.session.regenerate(['user'])
    return 'renewed'
  })
  app.get('/set/:name/:value', async request => {
    const { name, value } = request.params as Params
    ;(request.session as any)[name] = value
    return 'set'
  })
  app.get('/delete/:name', async request => {
    delete (request.session as any)[(request.params as Params).name]
    return 'deleted'
  })
  app.get('/push/:name', async request => {
    const session = request.session as any
    ;(session.cart ??= []).push((request.params as Params).name)
    return 'pushed'
  })
  app.get('/date', async request => {
    const session = request.session as any
    if (session.date !== undefined) return `${session.date.constructor.name} ${new Date(session.date).toISOString()}`
    session.date = new Date('2024-02-29T12:00:00Z')
    return 'new'
  })
  app.get('/slow/:name', async request => {
    const session = request.session as any
    const { key = 'slow' } = request.query as { key?: string }
    const wasLoaded = session.user !== undefined
    const what = (request.params as Params).name
    if (what === 'unsaved' && wasLoaded) {
      session.cart.push('apple')
      session.note = 'new'
    }
    if (what === 'all') session.data()
    await gate.pass()
    if (!wasLoaded) throw new Error('no session was loaded')
    if (what === 'write' || what === 'save') session[key] = 1
    if (what === 'nest') session.cart.push('late')
    if (what === 'touch') session.touch()
    if (what === 'destroy') await session.destroy()
    if (what === 'save') {
      try {
        await session.save()
      } catch (error) {
        return (error as { code: string }).code
      }
    }
    return 'done'
  })
}

/** Records the names of the store's methods when they are called. */
export function recordCalls (store: SessionStore): string[] {
  const calls: string[] = []
  intercept(store, (name, call) => {
    calls.push(name)
    return call()
  })
  return calls
}

/**
 * Runs an action before one of the next calls; 0 is the first. Returns a function that says whether there was such a
 * call.
 */
function interruptible (store: SessionStore): (index: number, act: () => Promise<void>) => () => boolean {
  let left = -1
  let act: () => Promise<void>
  intercept(store, (_name, call) => left-- === 0 ? act().then(call) : call())
  return (index, action) => {
    left = index
    act = action
    return () => left < 0
  }
}

/** Intercepts the calls of a store's methods. */
function intercept (store: SessionStore, around: (name: string, call: () => unknown) => unknown): void {
  const methods = store as unknown as AnyStore
  // Found before `set` is replaced, because an own `set` decides whether inherited methods count.
  const used = METHODS.filter(name => has(store, name))
  for (const name of used) {
    const method = methods[name] as (...args: unknown[]) => unknown
    const between = function (this: unknown, ...args: unknown[]): unknown {
      return around(name, () => method.apply(this, args))
    }
    // The number of parameters decides whether a promise counts as the answer.
    methods[name] = Object.defineProperty(between, 'length', { value: method.length })
  }
}

/** A session's data, without the store's own keys. */
export function dataOf (record: unknown): Record<string, unknown> {
  const { cookie, ...data } = record as Record<string, unknown>
  return Object.fromEntries(Object.entries(data).filter(([key]) => !key.startsWith('__')))
}

/** Whether a response sets the session cookie and doesn't clear it. */
export function sendsCookie (response: LightMyRequestResponse): boolean {
  return setCookies(response).some(header => !header.startsWith('sessionId=;'))
}
