/** The app through which requests race, one schedule after the other. */
import { randomBytes } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import fastifyCookie, { unsign } from '@fastify/cookie'
import Fastify, { type FastifyInstance, type LightMyRequestResponse } from 'fastify'
import { fingerprint } from '../diagnostics'
import fastifySession from '../index'
import { indexKey } from '../session/index-keys'
import { isExpired, timeIn, type CookieRecord } from '../values/record'
import type { IndexEntry, SessionRecord } from '../types/store'
import { CallGate, type Step } from './call-gate'
import { clock, type Clock } from './context'
import { orNothing } from './contract'
import { BASE, FIELDS, LONGER, MAX_AGE, REQUESTS, teamOf, type Observation, type Reply } from './race-ops'
import type { Choose, RaceEvent, RaceOptions } from './race-options'
import { dataOf } from './site'

const USER_KEYS = [BASE.user as string, 'eva'].map(fingerprint)
const TEAM_KEYS = ['red', 'blue'].map(team => indexKey('session', 'team', team))
const SECRET = 'the secret that signs the cookies of all races'
const COOKIE_NAME = 'sessionId'
// After this many turns of the event loop without a new call, none will come. If no call waits then, a request hangs.
const PATIENCE = 10
const PATIENCE_BEFORE_HANGING = 1000

/** One running schedule. */
interface Run {
  /** The replies so far. */
  readonly replies: Reply[]
  /** The requests that have their reply, in that order. */
  readonly answered: Reply[]
  /** How many of these the schedule already contains. */
  noted: number
  /** Cookie headers by session id. */
  readonly cookies: Map<string, string>
  readonly schedule: string[]
  expiredAt?: number
}

/** An app with the plugin, on a store behind a gate. */
export class Track {
  readonly #app: FastifyInstance
  readonly #gate: CallGate
  readonly #rolling: boolean
  readonly #users: RaceOptions['users']
  readonly #teams: boolean
  readonly #expire: RaceOptions['expire']
  /** Short names of the run's sessions, the same in each run. */
  readonly #names = new Map<string, string>()
  #fields: readonly string[] | undefined
  #clock!: Clock
  #stopClock = (): void => {}
  #run: Run = newRun([])

  static async open (options: RaceOptions): Promise<Track> {
    const track = new Track(options)
    await track.#app.ready()
    track.#clock = clock({ after: end => { track.#stopClock = end } })
    return track
  }

  private constructor (options: RaceOptions) {
    const { rolling = true, saveUninitialized = true, users, teams = false, plugin = fastifySession } = options
    this.#rolling = rolling
    this.#users = users
    this.#teams = teams
    this.#expire = options.expire
    this.#gate = new CallGate(options, sessionId => this.#names.get(sessionId) ?? 'another')
    const prefix = `race${randomBytes(6).toString('hex')}`
    let serial = 0
    const idGenerator = (): string => {
      const sessionId = `${prefix}${serial++}`
      this.#names.set(this.#gate.keyOf(sessionId), `S${this.#names.size}`)
      return sessionId
    }
    const cookie = { secure: false, maxAge: MAX_AGE }
    const app = Fastify() as unknown as FastifyInstance
    app.register(fastifyCookie)
    const user = (session: any): string | undefined => session.user
    const index = teams ? { team: (session: any) => teamOf(session) } : undefined
    app.register(plugin, {
      secret: SECRET, store: this.#gate.store, rolling, saveUninitialized, cookie, idGenerator, ...(users && { user, index, ...users })
    })
    app.get('/begin', async ({ session }) => { Object.assign(session, BASE) })
    app.get('/look', async ({ session }) => dataOf(session))
    app.get('/race/:index', async request => {
      const reply = this.#run.replies[Number((request.params as { index: string }).index)] as Reply
      reply.wasLoaded = (request.session as any).begun === true
      reply.result = await REQUESTS[reply.request](request, reply.value)
    })
    this.#app = app
  }

  async close (): Promise<void> {
    this.#stopClock()
    await this.#app.close()
  }

  /** Runs one schedule: from a new session to what is left of it. */
  async run (events: readonly RaceEvent[], choose: Choose): Promise<{ observation: Observation, schedule: string[] }> {
    const begun = this.#keptCookie(await this.#get('/begin'))
    if (begun === undefined) throw new Error('The plugin sent no cookie for the first session')
    const first = begun.sessionId
    const run = this.#run = newRun(events)
    run.cookies.set(first, begun.header)
    const fields = this.#fields ??= await this.#fieldsOf(first)
    const other = events.includes('log out of both') ? this.#keptCookie(await this.#get('/begin')) : undefined
    if (other !== undefined) run.cookies.set(other.sessionId, other.header)

    this.#gate.close()
    for (const { request, value } of run.replies) {
      if (request === 'sign up') this.#send(run, value, undefined)
      else this.#send(run, value, request === 'log out of both' ? `${begun.header}; ${other?.header}` : begun.header)
    }
    for (const event of events) if (event === 'expire') this.#gate.hold(event, () => this.#letPass(run))
    while (await this.#next(run, choose));
    this.#gate.isOpen = true

    const { store, calls } = this.#gate
    const { replies, schedule, expiredAt } = run
    const records = await this.#recordsLeft()
    const observation: Observation = {
      first,
      fields,
      second: other?.sessionId,
      rolling: this.#rolling,
      hasTouch: store.touch !== undefined,
      hasUpdate: store.update !== undefined,
      replies,
      calls,
      expiredAt,
      index: this.#users && { listed: await this.#listed(), max: this.#users.maxPerUser ?? Infinity, teams: this.#teams },
      records,
      lasts: await this.#lasts(first, records),
      visits: await this.#visitsWith(run.cookies)
    }
    await this.#cleanUp()
    return { observation, schedule }
  }

  /** Sends a request, and notes its reply. */
  async #send ({ replies, answered, cookies }: Run, index: number, cookie: string | undefined): Promise<void> {
    const response = await this.#get(`/race/${index}`, cookie)
    const kept = this.#keptCookie(response)
    if (kept !== undefined) cookies.set(kept.sessionId, kept.header)
    const { statusCode } = response
    const isCleared = kept === undefined && response.cookies.some(({ name }) => name === COOKIE_NAME)
    const code: string | undefined = statusCode === 200 ? undefined : response.json().code
    answered.push(Object.assign(replies[index] as Reply, { statusCode, code, at: this.#gate.now, sessionId: kept?.sessionId, isCleared }))
  }

  async #letPass (run: Run): Promise<void> {
    run.expiredAt ??= this.#gate.now
    this.#clock.advance(2 * MAX_AGE)
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

  /** Waits until each request has its reply, has a call at the gate, or waits for its turn. */
  async #settle (requests: number, answered: readonly Reply[]): Promise<void> {
    const { calls, steps } = this.#gate
    let seen = calls.length + answered.length
    for (let idle = 0; idle < (steps.length > 0 ? PATIENCE : PATIENCE_BEFORE_HANGING); idle++) {
      const waiting = calls.filter(({ answeredAt }) => answeredAt === undefined).length
      // With an index by user, a request may wait for several calls.
      if ((this.#users === undefined ? waiting : 0) + answered.length === requests) return
      await setImmediate()
      if (calls.length + answered.length !== seen || this.#gate.passing > 0) idle = 0
      seen = calls.length + answered.length
    }
  }

  async #fieldsOf (sessionId: string): Promise<string[]> {
    const cookie = (await this.#find(sessionId))?.cookie ?? {}
    return FIELDS.filter(field => Object.hasOwn(cookie, field))
  }

  async #recordsLeft (): Promise<Map<string, SessionRecord>> {
    const records = new Map<string, SessionRecord>()
    for (const sessionId of this.#gate.written) {
      const record = await this.#find(sessionId)
      if (record !== undefined) records.set(sessionId, record)
    }
    return records
  }

  async #listed (): Promise<Map<string, Set<string>>> {
    const entries = await Promise.all(this.#keys.map(async key => {
      const entries = await this.#gate.ask('claimsOf', key, Infinity, 100) as IndexEntry[]
      return [key, new Set(entries.map(({ sessionId }) => sessionId))] as const
    }))
    return new Map(entries)
  }

  /** Whether a session with a chosen lifetime outlives its first one. Tested before visits, which would prolong it. */
  async #lasts (sessionId: string, records: Map<string, SessionRecord>): Promise<boolean | undefined> {
    const { expires, originalMaxAge } = (records.get(sessionId)?.cookie ?? {}) as Partial<CookieRecord>
    if (originalMaxAge !== LONGER) return undefined
    const most = 0.9 * LONGER
    if (timeIn(expires) < Date.now() + most) return false
    this.#clock.advance(most)
    const record = await this.#find(sessionId)
    this.#clock.advance(-most)
    return record !== undefined
  }

  async #visitsWith (cookies: Map<string, string>): Promise<Map<string, SessionRecord>> {
    const visits = new Map<string, SessionRecord>()
    for (const [sessionId, cookie] of cookies) visits.set(sessionId, (await this.#get('/look', cookie)).json())
    return visits
  }

  /** The record of a session in the store, unless it has expired. */
  async #find (sessionId: string): Promise<SessionRecord | undefined> {
    // A copy, because stores may change a record that they have returned.
    const record = JSON.parse(JSON.stringify(await this.#gate.ask(this.#gate.store.inspect === undefined ? 'get' : 'inspect', sessionId).catch(orNothing) ?? null)) as SessionRecord | null
    return record === null || isExpired(record) ? undefined : { ...dataOf(record), cookie: record.cookie }
  }

  async #cleanUp (): Promise<void> {
    for (const sessionId of this.#gate.written) {
      await this.#gate.ask('destroy', sessionId)
      if (this.#users === undefined) continue
      for (const key of this.#keys) await this.#gate.ask('release', key, [sessionId])
    }
    this.#gate.written.clear()
    this.#names.clear()
    this.#clock.passed = 0
  }

  get #keys (): string[] {
    return this.#teams ? [...USER_KEYS, ...TEAM_KEYS] : USER_KEYS
  }

  /** The session cookie of a response, if a browser would keep it, and the store's key of its session. */
  #keptCookie ({ cookies }: LightMyRequestResponse): { sessionId: string, header: string } | undefined {
    const cookie = cookies.findLast(({ name }) => name === COOKIE_NAME)
    if (cookie === undefined || cookie.value === '' || (cookie.expires as Date) <= new Date(Date.now())) return undefined
    const { value } = unsign(cookie.value, SECRET)
    const sessionId = value === null ? 'not signed' : this.#gate.keyOf(value)
    return { sessionId, header: `${COOKIE_NAME}=${encodeURIComponent(cookie.value)}` }
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
