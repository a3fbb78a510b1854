/** Binds a session in parallel with everything else that can happen to it, in every order of the store calls. */
import { setImmediate } from 'node:timers/promises'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyRequest, type LightMyRequestResponse } from 'fastify'
import t from 'tap'
import fastifySession, { MemoryStore, type SessionStore } from '../src/index'
import deviceBound from '../src/device-bound/index'
import { CallGate, type Step } from '../src/testing/call-gate'
import { explore } from '../src/testing/races'
import { challengeIn, Device } from './device'
import { clock, SECRET, setCookies } from './helpers'
import { ThreeMethodStore } from './odd-stores'

const MINUTE = 60_000
const HTTPS = { 'x-forwarded-proto': 'https' }
const BOUND = '__Host-sessionId-bound'

const data = (request: FastifyRequest): any => request.session

/** A request in a race. */
type Event = 'read' | 'write' | 'log in' | 'log out' | 'register' | 'register another' | 'refresh'

const OTHERS: readonly Event[] = ['read', 'write', 'log in', 'log out']

/** Keys are verified in other threads, which waiting for a turn of the event loop doesn't show. */
let underWay = 0
for (const method of ['verify', 'importKey', 'exportKey'] as const) {
  const { subtle } = globalThis.crypto as any
  const original = subtle[method].bind(subtle)
  subtle[method] = async (...args: unknown[]) => {
    underWay++
    try {
      return await original(...args)
    } finally {
      underWay--
    }
  }
}

/** An application on a store whose calls wait. */
class Course {
  readonly gate: CallGate
  readonly store: SessionStore
  readonly app: FastifyInstance
  #serial = 0

  constructor (store: SessionStore) {
    this.store = store
    this.gate = new CallGate({ store }, sessionId => sessionId.replace(/^\D+/, 'S'))
    const app = this.app = Fastify({ trustProxy: true }) as unknown as FastifyInstance
    app.register(fastifyCookie)
    app.register(fastifySession, {
      secret: SECRET, store: this.gate.store, saveUninitialized: false, idGenerator: () => `session-${this.#serial++}`, cookie: { maxAge: 60 * MINUTE }
    })
    app.register(deviceBound, { when: (session: any) => session.user !== undefined })
    app.get('/log in', async request => {
      await request.session.regenerate()
      data(request).user = 'ada'
    })
    app.get('/log out', async request => { await request.session.destroy() })
    app.get('/read', async request => data(request).user ?? 'nobody')
    app.get('/write', async request => { data(request).written = true })
  }

  /** Logs a browser in, and gives another one the same cookie. */
  async begin (device: Device, another: Device, isBound: boolean): Promise<void> {
    this.#serial = 0
    this.gate.isOpen = true
    device.cookies.clear()
    await device.get('/log in')
    if (isBound) await device.register()
    Object.assign(another, { path: device.path, challenge: device.challenge })
    another.cookies.clear()
    for (const [name, value] of device.cookies) another.cookies.set(name, value)
  }

  /** Runs requests, one store call at a time. */
  async run (requests: Array<() => Promise<void>>, choose: (names: readonly string[]) => number): Promise<string[]> {
    const { gate } = this
    const schedule: string[] = []
    let answered = 0
    gate.close()
    for (const request of requests) request().then(() => answered++)
    for (;;) {
      // A request that waits neither for a store call nor for a key needs a turn of the event loop.
      for (let idle = 0; idle < 20 && gate.steps.length + answered < requests.length; idle++) {
        await setImmediate()
        if (underWay > 0) idle = 0
      }
      if (gate.steps.length === 0 && answered === requests.length) break
      if (gate.steps.length === 0) continue
      const step = gate.steps[choose(gate.steps.map(({ name }) => name))] as Step
      schedule.push(step.name)
      await step.take()
    }
    gate.isOpen = true
    return schedule
  }

  /** The records of the session that a browser began with, and of the session after it. */
  async recordsOf (device: Device): Promise<any[]> {
    const first = (device.cookies.get('sessionId') as string).split('.')[0] as string
    const next = [...this.gate.written].filter(sessionId => sessionId !== first).at(-1) ?? ''
    return await Promise.all([first, next].map(async sessionId => await this.gate.ask('get', sessionId) ?? undefined))
  }
}

/** What is wrong with the outcome of a race. */
function judge (replies: ReadonlyMap<Event, LightMyRequestResponse>, record: any, next: any, wasBound: boolean): string[] {
  const wrong: string[] = []
  const must = (isSo: boolean, what: string): void => { if (!isSo) wrong.push(what) }
  const status = (event: Event): number | undefined => replies.get(event)?.statusCode
  const granted = (['register', 'register another'] as const).filter(event => status(event) === 200)
  const hasEnded = replies.has('log in') || replies.has('log out')
  for (const [event, { statusCode }] of replies) {
    const expected = event.startsWith('register') ? [200, 400, 404] : event === 'refresh' ? [200, 404] : hasEnded ? [200, 409] : [200]
    must(expected.includes(statusCode), `${event} is answered ${statusCode}`)
    must(hasEnded || !event.startsWith('re') || statusCode === 200 || replies.has('register another'), `${event} is answered ${statusCode}`)
  }
  must(granted.length <= 1, 'two devices are bound')
  must(hasEnded ? record === undefined : record !== undefined, 'a session that has ended is stored, or one that has not is missing')
  must(next === undefined || (next.cookie.deviceKey === undefined && next.user === 'ada'), 'the next session is bound, or has lost its user')
  if (record === undefined) return wrong
  must((record.cookie.deviceKey !== undefined) === (wasBound || granted.length === 1), 'the record does not match what the browser was told')
  must(!(replies.has('write') && record.written !== true), 'what was written is lost')
  must(!(granted.length === 1 && '@fastify/session/device-bound' in record), 'the challenge is still there')
  return wrong
}

/** A registration or a refresh, with one or two other requests. */
const pairsOf = (event: Event): Event[][] => OTHERS.map(other => [event, other])
const triplesOf = (event: Event): Event[][] => OTHERS.flatMap((a, i) => OTHERS.slice(i + 1).map(b => [event, a, b]))
const REGISTRATIONS: Event[][] = [
  ['register', 'register another'], ...pairsOf('register'), ...OTHERS.map(other => ['register', 'register another', other] as Event[])
]
const REFRESHES: Event[][] = [...pairsOf('refresh'), ...triplesOf('refresh')]

const STORES: Array<[string, () => SessionStore, Event[][]]> = [
  ['MemoryStore', () => new MemoryStore(), [...REGISTRATIONS, ...triplesOf('register')]],
  ['a store with three methods', () => new ThreeMethodStore(), REGISTRATIONS]
]

for (const [name, create, registrations] of STORES) {
  t.test(`on ${name}, a binding is complete and undoes no other request, in every order`, async t => {
    const { advance } = clock(t)
    const course = new Course(create())
    t.teardown(() => course.app.close())
    await course.app.ready()
    const [device, another] = [await Device.open(course.app), await Device.open(course.app)]
    let schedules = 0
    let violated = 0
    const violations: unknown[] = []

    async function race (events: Event[], isBound: boolean): Promise<void> {
      schedules += await explore(async choose => {
        await course.begin(device, another, isBound)
        const cookies = device.cookieHeader()
        const jws = isBound ? await device.sign({ jti: challengeIn(await device.ask()) }) : await device.sign({ jti: device.challenge as string }, { jwk: device.jwk })
        const others = await another.sign({ jti: device.challenge as string }, { jwk: another.jwk })
        const replies = new Map<Event, LightMyRequestResponse>()
        const post = (jws: string) => ({
          method: 'POST' as const, url: device.path, headers: { ...HTTPS, cookie: cookies, 'secure-session-response': jws, 'sec-secure-session-id': `"${device.name}"` }
        })
        const schedule = await course.run(events.map(event => async () => {
          const request = event === 'register' || event === 'refresh' ? post(jws) : event === 'register another' ? post(others) : { url: `/${encodeURIComponent(event)}`, headers: { ...HTTPS, cookie: cookies } }
          replies.set(event, await course.app.inject(request))
        }), choose)
        const [first, next] = await course.recordsOf(device)
        const wrong = judge(replies, first, next, isBound)
        // After the first minute, only a browser that was granted a bound cookie gets in.
        advance(2 * MINUTE)
        for (const event of ['register', 'register another', 'refresh'] as const) {
          const granted = replies.get(event)
          if (granted === undefined || events.includes('log in') || events.includes('log out')) continue
          const visitor = device.copy()
          visitor.cookies.delete(BOUND)
          visitor.keep(setCookies(granted))
          const { body } = await visitor.get('/read', { headers: HTTPS })
          if ((body === 'ada') !== (granted.statusCode === 200)) wrong.push(`${event} was answered ${granted.statusCode}, and then '${body}'`)
        }
        advance(-2 * MINUTE)
        for (const sessionId of course.gate.written) await course.gate.ask('destroy', sessionId)
        if (wrong.length === 0) return
        violated++
        violations.push({ events, wrong, schedule })
      })
    }

    for (const events of registrations) await race(events, false)
    for (const events of REFRESHES) await race(events, true)
    t.equal(violated, 0, `in ${violated} of ${schedules} orders, the first: ${JSON.stringify(violations[0], undefined, 2)}`)
    t.comment(`${schedules} orders`)
    t.ok(schedules > 100)
  })
}
