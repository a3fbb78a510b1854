/**
 * A test kit for session stores: runs requests that race for one session in every order that there is, through the real
 * plugin, and tells which promises were not kept. Nothing is left to chance: what it finds can be seen again.
 *
 * ```ts
 * const { schedules, violations } = await race({ store, events: ['write a', 'log out'] })
 * const all = await raceAll({ store })
 * ```
 */
import { randomBytes } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import fastifyCookie, { unsign } from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyPluginCallback, type LightMyRequestResponse } from 'fastify'
import { fingerprint } from '../src/diagnostics'
import fastifySession, { type FastifySessionOptions } from '../src/index'
import { isExpired } from '../src/session-cookie'
import { callStore, type Method } from '../src/stores/call'
import { MemoryStore } from '../src/stores/memory'
import type { SessionRecord, SessionStore } from '../src/stores/store'
import {
  BASE, judge, MAX_AGE, NEEDS_USERS, REQUESTS, type Breach, type Call, type Observation, type Reply, type RequestName
} from './race-ops'

/** What takes part in a race: a request, or `expire`, by which the lives of all sessions pass. */
export type RaceEvent = RequestName | 'expire'

export interface RaceOptions {
  /** What the races write they remove again. */
  store: SessionStore
  /**
   * As for the plugin.
   *
   * @default true
   */
  rolling?: boolean
  /**
   * As for the plugin.
   *
   * @default true
   */
  saveUninitialized?: boolean
  /** Ends the lives of all sessions in a store that doesn't go by `Date.now()`, which the kit moves. */
  expire?: () => unknown
  /**
   * Makes two steps of a call: it takes effect, and the library hears of it. As one step it loses no race for what is in the
   * store: in between, its request does nothing, and other requests see the effect, not the answer. What the library
   * itself remembers (whose turn it is, which sessions it ended) it learns from answers, though. Many more schedules.
   *
   * @default false
   */
  splitCalls?: boolean
  /** Methods whose calls are not held, and so make no schedules. Only of a store that answers at once. */
  passing?: readonly Method[]
  /** Enters the sessions in the store's index by user, with these limits. */
  users?: Pick<FastifySessionOptions, 'maxPerUser' | 'onMaxPerUser'>
  /** Another plugin of the same interface. */
  plugin?: FastifyPluginCallback<any>
}

/** A promise that was not kept. */
export interface Violation extends Breach {
  events: readonly RaceEvent[]
  /** In how many schedules. */
  count: number
  /** The first of these, step by step. S0 is the session that all requests came with. */
  schedule: readonly string[]
}

export interface RaceResult {
  /** How many schedules were run: all that there are. */
  schedules: number
  /** How many of them did not keep every promise. */
  violated: number
  /** The different ways in which they did not. */
  violations: Violation[]
}

const EVENTS: readonly RaceEvent[] = [
  ...(Object.keys(REQUESTS) as RequestName[]).filter(request => !NEEDS_USERS.includes(request)), 'expire'
]

/** All pairs of events, and all triples of the simplest requests. */
export const RACES: ReadonlyArray<readonly RaceEvent[]> = [
  ...combinations(2, EVENTS),
  ...combinations(3, ['read', 'write a', 'write b', 'log out'])
]

/** Pairs of a request that ends sessions by the index by user, and one that could get in its way. */
export const USER_RACES: ReadonlyArray<readonly RaceEvent[]> = (['revoke', 'revoke others'] as const).flatMap(revoke =>
  (['read', 'write a', 'renew', 'log out', 'revoke'] as const).map(request => [revoke, request]))

/** Runs several races, one after the other. `Date.now()` is the kit's meanwhile. */
export async function raceAll (options: RaceOptions, races = RACES): Promise<RaceResult> {
  const sum: RaceResult = { schedules: 0, violated: 0, violations: [] }
  for (const events of races) {
    const { schedules, violated, violations } = await race({ ...options, events })
    sum.schedules += schedules
    sum.violated += violated
    sum.violations.push(...violations)
  }
  return sum
}

/** Runs events that begin at the same time in every order of their calls to the store. `Date.now()` is the kit's meanwhile. */
export async function race ({ events, ...options }: RaceOptions & { events: readonly RaceEvent[] }): Promise<RaceResult> {
  const violations = new Map<string, Violation>()
  let violated = 0
  const track = await Track.open(options)
  try {
    const schedules = await explore(async choose => {
      const { observation, schedule } = await track.run(events, choose)
      const breaches = judge(observation)
      if (breaches.length > 0) violated++
      for (const breach of breaches) {
        const key = JSON.stringify(breach)
        const violation = violations.get(key)
        if (violation === undefined) violations.set(key, { ...breach, events, count: 1, schedule })
        else violation.count++
      }
    })
    return { schedules, violated, violations: [...violations.values()] }
  } finally {
    await track.close()
  }
}

/** Chooses what happens next, and answers its index. */
export type Choose = (names: readonly string[]) => number

/**
 * Runs something again and again, until each sequence of choices that it leads to was taken once: each run repeats the
 * choices of the one before up to the last that has another alternative, and takes that. Answers the number of runs.
 *
 * @throws when a run does not repeat itself, because nobody could say then that all of them were seen
 */
export async function explore (run: (choose: Choose) => Promise<void>): Promise<number> {
  const path: Array<{ names: string, count: number, chosen: number }> = []
  for (let runs = 1; ; runs++) {
    let depth = 0
    await run(steps => {
      const names = steps.join(', ')
      const choice = path[depth++]
      if (choice === undefined) {
        path.push({ names, count: steps.length, chosen: 0 })
        return 0
      }
      if (choice.names !== names) throw new Error(`The race does not repeat itself: ${choice.names} became ${names}`)
      return choice.chosen
    })
    if (depth < path.length) throw new Error(`The race does not repeat itself: it ended before ${path[depth]?.names}`)
    let last = path.pop()
    while (last !== undefined && last.chosen + 1 === last.count) last = path.pop()
    if (last === undefined) return runs
    path.push({ ...last, chosen: last.chosen + 1 })
  }
}

/** Something that can happen next. */
interface Step {
  readonly name: string
  readonly take: () => Promise<void>
}

const METHODS: readonly Method[] = [
  'get', 'getAndTouch', 'set', 'destroy', 'touch', 'update', 'inspect', 'claim', 'release', 'claimsOf'
]
// Their first argument is the user, the second the session's id.
const BY_USER: readonly Method[] = ['claim', 'release', 'claimsOf']
const USERS = [BASE.user as string, 'eva']
const CALL_TIMEOUT = 10_000

type Answer = (error: Error | null, value?: unknown) => void

/** Holds the calls to a store until they are told to go on. They are real calls then, and their answers are handed on. */
class Gate {
  /** The store as the plugin gets it: with the same methods, which answer by their callback whatever the real ones do. */
  readonly store: SessionStore
  /** Lets all calls pass, and writes down none. */
  isOpen = true
  /** The number of steps taken. */
  now = 0
  /** What waits. */
  readonly steps: Step[] = []
  /** What came since the gate was closed. */
  calls: Call[] = []
  /** The sessions that were written. */
  readonly written = new Set<string>()

  readonly #store: SessionStore
  readonly #splitCalls: boolean
  readonly #passing: readonly Method[]
  readonly #nameOf: (sessionId: string) => string

  constructor ({ store, splitCalls = false, passing = [] }: RaceOptions, nameOf: (sessionId: string) => string) {
    this.#store = store
    this.#passing = passing
    this.#splitCalls = splitCalls
    this.#nameOf = nameOf
    this.store = Object.fromEntries(methodsOf(store).map(method => [
      method, (...args: unknown[]) => this.#receive(method, args.slice(0, -1), args.at(-1) as Answer)
    ])) as unknown as SessionStore
  }

  close (): void {
    this.isOpen = false
    this.now = 0
    this.calls = []
  }

  /** Asks the store itself. */
  ask (method: Method, ...args: unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#call(method, args, (error, value) => error === null ? resolve(value) : reject(error))
    })
  }

  #receive (method: Method, args: unknown[], answer: Answer): void {
    const sessionId = args[BY_USER.includes(method) ? 1 : 0] as string ?? ''
    if (method === 'set') this.written.add(sessionId)
    if (this.isOpen || this.#passing.includes(method)) {
      this.#call(method, args, answer)
      return
    }
    const call: Call = { method, sessionId, askedAt: this.now }
    const name = `${method} ${this.#nameOf(sessionId)}${detailsOf(method, args[1])}`
    this.calls.push(call)
    this.hold(name, () => new Promise(resolve => {
      this.#call(method, args, (error, value) => {
        const hear = (): void => {
          call.answeredAt = this.now
          answer(error, value)
        }
        call.doneAt = this.now
        if (this.#splitCalls) this.hold(`answer of ${name}`, async () => hear())
        else hear()
        resolve()
      })
    }))
  }

  /** Lets something wait until it is taken as a step. */
  hold (name: string, go: () => Promise<void>): void {
    const step = {
      name,
      take: () => {
        this.steps.splice(this.steps.indexOf(step), 1)
        this.now++
        return go()
      }
    }
    this.steps.push(step)
  }

  #call (method: Method, args: unknown[], answer: Answer): void {
    callStore(this.#store, method, args, CALL_TIMEOUT, answer)
  }
}

const SECRET = 'the secret that signs the cookies of all races'
const COOKIE_NAME = 'sessionId'
// Turns of the event loop without anything new, after which nothing new will come. Where no call waits, a request hangs.
const PATIENCE = 10
const PATIENCE_BEFORE_HANGING = 1000

/** One schedule under way. */
interface Run {
  /** What the requests were told so far. */
  readonly replies: Reply[]
  /** Those that have their reply, in that order. */
  readonly answered: Reply[]
  /** How many of them are in the schedule. */
  noted: number
  /** Cookie headers by session id. */
  readonly cookies: Map<string, string>
  readonly schedule: string[]
  expiredAt?: number
}

/** An app with the plugin, on a store behind a gate. */
class Track {
  readonly #app: FastifyInstance
  readonly #gate: Gate
  readonly #rolling: boolean
  readonly #users: RaceOptions['users']
  readonly #expire: RaceOptions['expire']
  /** Short names of the run's sessions, the same in each run. */
  readonly #names = new Map<string, string>()
  readonly #realNow = Date.now
  #passed = 0
  #run: Run = newRun([])

  static async open (options: RaceOptions): Promise<Track> {
    const track = new Track(options)
    await track.#app.ready()
    Date.now = () => track.#realNow() + track.#passed
    return track
  }

  private constructor (options: RaceOptions) {
    const { rolling = true, saveUninitialized = true, users, plugin = fastifySession } = options
    this.#rolling = rolling
    this.#users = users
    this.#expire = options.expire
    this.#gate = new Gate(options, sessionId => this.#names.get(sessionId) ?? 'another')
    const prefix = `race${randomBytes(6).toString('hex')}`
    let serial = 0
    const idGenerator = (): string => {
      const sessionId = `${prefix}${serial++}`
      this.#names.set(sessionId, `S${this.#names.size}`)
      return sessionId
    }
    const cookie = { secure: false, maxAge: MAX_AGE }
    const app = Fastify() as unknown as FastifyInstance
    app.register(fastifyCookie)
    const user = (session: any): string | undefined => session.user
    app.register(plugin, {
      secret: SECRET, store: this.#gate.store, rolling, saveUninitialized, cookie, idGenerator, ...(users && { user, ...users })
    })
    app.get('/begin', async ({ session }) => { Object.assign(session, BASE) })
    app.get('/look', async ({ session }) => ({ ...session, cookie: undefined }))
    app.get('/race/:index', async request => {
      const reply = this.#run.replies[Number((request.params as { index: string }).index)] as Reply
      reply.wasLoaded = (request.session as any).user === BASE.user
      await REQUESTS[reply.request](request, reply.value)
    })
    this.#app = app
  }

  async close (): Promise<void> {
    Date.now = this.#realNow
    await this.#app.close()
  }

  /** One schedule: from a new session to what is left of it. */
  async run (events: readonly RaceEvent[], choose: Choose): Promise<{ observation: Observation, schedule: string[] }> {
    const begun = keptCookie(await this.#get('/begin'))
    if (begun === undefined) throw new Error('The plugin gave no session to begin with')
    const first = begun.sessionId
    const run = this.#run = newRun(events)
    run.cookies.set(first, begun.header)

    this.#gate.close()
    for (const { request, value } of run.replies) this.#send(run, value, request === 'sign up' ? undefined : begun.header)
    for (const event of events) if (event === 'expire') this.#gate.hold(event, () => this.#letPass(run))
    while (await this.#next(run, choose));
    this.#gate.isOpen = true

    const { store, calls } = this.#gate
    const { replies, schedule, expiredAt } = run
    const observation: Observation = {
      first,
      rolling: this.#rolling,
      hasTouch: store.touch !== undefined,
      hasUpdate: store.update !== undefined,
      replies,
      calls,
      expiredAt,
      index: this.#users && { listed: await this.#listed(), max: this.#users.maxPerUser ?? Infinity },
      records: await this.#recordsLeft(),
      visits: await this.#visitsWith(run.cookies)
    }
    await this.#cleanUp()
    return { observation, schedule }
  }

  /** Sends a request, and notes what it is told. */
  async #send ({ replies, answered, cookies }: Run, index: number, cookie: string | undefined): Promise<void> {
    const response = await this.#get(`/race/${index}`, cookie)
    const kept = keptCookie(response)
    if (kept !== undefined) cookies.set(kept.sessionId, kept.header)
    const { statusCode } = response
    const code: string | undefined = statusCode === 200 ? undefined : response.json().code
    answered.push(Object.assign(replies[index] as Reply, { statusCode, code, at: this.#gate.now, sessionId: kept?.sessionId }))
  }

  async #letPass (run: Run): Promise<void> {
    run.expiredAt ??= this.#gate.now
    this.#passed += 2 * MAX_AGE
    await this.#expire?.()
  }

  /** Takes the next step, if there is one. */
  async #next (run: Run, choose: Choose): Promise<boolean> {
    const { replies, answered, schedule } = run
    const { steps } = this.#gate
    await this.#settle(replies.length, answered)
    while (run.noted < answered.length) {
      const reply = answered[run.noted++] as Reply
      const { request, statusCode, sessionId = '' } = reply
      if (sessionId !== '') reply.stored = await this.#find(sessionId)
      schedule.push(`'${request}' is answered ${statusCode}, ${this.#names.get(sessionId) ?? 'no cookie'}`)
    }
    if (steps.length === 0) return false
    const step = steps[choose(steps.map(({ name }) => name))] as Step
    schedule.push(step.name)
    await step.take()
    return true
  }

  /** Waits until each request has its reply, or a call at the gate, or a turn to wait for. */
  async #settle (requests: number, answered: readonly Reply[]): Promise<void> {
    const { calls, steps } = this.#gate
    let seen = calls.length + answered.length
    for (let idle = 0; idle < (steps.length > 0 ? PATIENCE : PATIENCE_BEFORE_HANGING); idle++) {
      const waiting = calls.filter(({ answeredAt }) => answeredAt === undefined).length
      // With an index by user, a request may wait for several calls.
      if ((this.#users === undefined ? waiting : 0) + answered.length === requests) return
      await setImmediate()
      if (calls.length + answered.length !== seen) idle = 0
      seen = calls.length + answered.length
    }
  }

  async #recordsLeft (): Promise<Map<string, SessionRecord>> {
    const records = new Map<string, SessionRecord>()
    for (const sessionId of this.#gate.written) {
      const record = await this.#find(sessionId)
      if (record !== undefined) records.set(sessionId, record)
    }
    return records
  }

  async #listed (): Promise<Set<string>> {
    const claims = await Promise.all(USERS.map(user => this.#gate.ask('claimsOf', fingerprint(user))))
    return new Set((claims as Array<Array<[string, number]>>).flat().map(([sessionId]) => sessionId))
  }

  async #visitsWith (cookies: Map<string, string>): Promise<Map<string, SessionRecord>> {
    const visits = new Map<string, SessionRecord>()
    for (const [sessionId, cookie] of cookies) visits.set(sessionId, (await this.#get('/look', cookie)).json())
    return visits
  }

  /** What the store has of a session, as far as its life has not passed. */
  async #find (sessionId: string): Promise<SessionRecord | undefined> {
    // A copy: stores may go on with the one that they hand out.
    const record = JSON.parse(JSON.stringify(await this.#gate.ask('get', sessionId) ?? null)) as SessionRecord | null
    return record === null || isExpired(record) ? undefined : record
  }

  async #cleanUp (): Promise<void> {
    for (const sessionId of this.#gate.written) {
      await this.#gate.ask('destroy', sessionId)
      if (this.#users === undefined) continue
      for (const user of USERS) await this.#gate.ask('release', fingerprint(user), sessionId)
    }
    this.#gate.written.clear()
    this.#names.clear()
    this.#passed = 0
  }

  #get (url: string, cookie?: string): Promise<LightMyRequestResponse> {
    return this.#app.inject({ url, headers: cookie === undefined ? {} : { cookie } })
  }
}

function newRun (events: readonly RaceEvent[]): Run {
  const requests = events.filter(event => event !== 'expire')
  return {
    replies: requests.map((request, value) => ({ request, value, wasLoaded: false, at: Infinity })),
    answered: [],
    noted: 0,
    cookies: new Map(),
    schedule: []
  }
}

/** The session cookie of a response, if a browser would keep it. */
function keptCookie ({ cookies }: LightMyRequestResponse): { sessionId: string, header: string } | undefined {
  const cookie = cookies.findLast(({ name }) => name === COOKIE_NAME)
  if (cookie === undefined || cookie.value === '' || (cookie.expires as Date) <= new Date(Date.now())) return undefined
  const { value: sessionId } = unsign(cookie.value, SECRET)
  return { sessionId: sessionId ?? 'not signed', header: `${COOKIE_NAME}=${encodeURIComponent(cookie.value)}` }
}

/** The methods that the library uses: of a store that inherits from ours and brings its own `set`, none that is inherited. */
function methodsOf (store: SessionStore): Method[] {
  const { prototype } = MemoryStore
  return METHODS.filter(method => typeof store[method] === 'function' &&
    (store[method] !== prototype[method] || store.set === prototype.set))
}

/** What a call writes. */
function detailsOf (method: Method, what: any): string {
  let keys: string[] = []
  if (method === 'set') keys = Object.keys(what).filter(key => key !== 'cookie')
  else if (method === 'update') keys = [...Object.keys(what.set), ...what.unset.map((key: string) => `-${key}`)]
  return keys.length > 0 ? ` { ${keys.join(', ')} }` : ''
}

/** All ways to take some of the events; one may be taken more than once. */
function combinations (count: number, events: readonly RaceEvent[]): RaceEvent[][] {
  if (count === 0) return [[]]
  return events.flatMap((event, i) => combinations(count - 1, events.slice(i)).map(others => [event, ...others]))
}
