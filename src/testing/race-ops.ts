/** What racing requests do, and what must hold when all of them are done, whatever came first. */
import { isDeepStrictEqual } from 'node:util'
import type { FastifyRequest } from 'fastify'
import { fingerprint } from '../diagnostics'
import { indexKey } from '../session/index-keys'
import { keysIn } from '../values/claim'
import type { SessionRecord } from '../types/store'

/** What the session that all requests come with holds. */
export const BASE: SessionRecord = { user: 'max', cart: ['apple'], d: 1, begun: true }
export const MAX_AGE = 5 * 60_000
/** What a whole cookie has in a store, as far as the plugin writes it and the store keeps it. */
export const FIELDS = ['createdAt', 'seenAt', 'idle', 'path']
/** The life that a handler chooses. When all lives pass, one and a half of it have, by which no store keeps it any more. */
export const LONGER = 1.3 * MAX_AGE

type Request = Pick<FastifyRequest, 'session' | 'server' | 'sessionStore'> & { session: any }

/** What requests do with their session. Each writes a value of its own, so that it can be told whose is in the store. */
export const REQUESTS = {
  // One of the values could be changed inside: reading it must not count as a change.
  read: ({ session }: Request) => { session.cart?.at(0) },
  'write a': ({ session }: Request, value: number) => { session.a = value },
  'write b': ({ session }: Request, value: number) => { session.b = value },
  'delete d': ({ session }: Request) => { delete session.d },
  async save ({ session }: Request, value: number) {
    session.s = value
    await session.save()
  },
  async 'log in' (request: Request) {
    await request.session.regenerate()
    request.session.user = 'eva'
  },
  async renew ({ session }: Request) {
    await session.regenerate(['user', 'cart', 'begun', 'a', 'b', 'd', 's', 'team'])
  },
  async 'log out' ({ session }: Request) {
    await session.destroy()
  },
  /** A login without a new id, a second factor, or a switch of user. */
  'become eva': ({ session }: Request) => { session.user = 'eva' },
  touch: ({ session }: Request) => { session.touch() },
  remember: ({ session }: Request) => { session.cookie.maxAge = LONGER },
  'remember by options': ({ session }: Request) => { session.options({ maxAge: LONGER }) },
  'save unawaited' ({ session }: Request, value: number) {
    session.s = value
    session.save()
  },
  'log in unawaited' (request: Request) {
    request.session.regenerate()
    request.session.user = 'eva'
  },
  /** Comes with the cookie of another living session, too. */
  async 'log out of both' ({ session }: Request) {
    await session.destroy()
  },
  /** An operator's. With an index by user, as the next. */
  async revoke ({ server, session, sessionStore }: Request) {
    const key = sessionStore.keyOf?.(session.sessionId) ?? session.sessionId
    await server.sessions.revoke(`${fingerprint('max')}.${fingerprint(key)}`)
  },
  async 'revoke others' ({ session }: Request) {
    await session.revokeOthers()
  },
  async 'revoke users' ({ server }: Request) {
    await server.sessions.revokeUser('max')
    await server.sessions.revokeUser('eva')
  },
  /** With a second name, as the next. */
  async 'revoke teams' ({ server }: Request) {
    await server.sessions.by('team', 'red').revoke()
    await server.sessions.by('team', 'blue').revoke()
  },
  'change team': ({ session }: Request) => { session.team = 'blue' },
  async push ({ session }: Request, value: number) {
    await session.update((session: any) => { (session.cart ??= []).push(value) })
  },
  async take ({ session }: Request) {
    return await session.take('d')
  },
  /** Comes without a cookie. */
  'sign up': ({ session }: Request) => { session.user = 'eva' }
}

/** What nobody can do without an index by user. */
export const NEEDS_USERS: readonly RequestName[] = ['revoke', 'revoke others', 'revoke users', 'revoke teams', 'sign up']

/** What there is with a second name only. */
export const NEEDS_TEAMS: readonly RequestName[] = ['revoke teams', 'change team']

/** The team of a session: who is logged in is in one. */
export function teamOf ({ user, team }: SessionRecord): string | undefined {
  return user === undefined ? undefined : String(team ?? 'red')
}

export type RequestName = keyof typeof REQUESTS

/** What is promised of every schedule. */
export const PROMISES = {
  answered: 'each request is answered; the only error is that its session has ended, where it has',
  ended: 'what has ended stays ended: the session, its cookie and its data',
  kept: 'the changes of different requests are all kept, also what update() adds to one key; and one gets what several take()',
  next: 'a new session is whole, and its cookie works',
  saved: 'what a reply called saved is in the store',
  free: 'a request that only reads writes no data',
  reachable: 'no session is stored that no reply gave a cookie for',
  listed: 'each session of a user is in the list of the user',
  limited: 'no user has more sessions than may be',
  owned: 'a session belongs to the user whose data it has',
  lived: 'a life that was chosen stays chosen, and no end is moved back',
  told: 'no reply carries the cookie of a session that has ended',
  leftAlone: 'a request with the cookie of a session that was replaced neither sets the cookie nor clears it'
}

export type PromiseName = keyof typeof PROMISES

/** How a promise was not kept. */
export interface Breach {
  promise: PromiseName
  what: string
}

/** What one request was told. All moments are numbers of steps of the schedule. */
export interface Reply {
  request: RequestName
  value: number
  /** Whether the first session was there for it. */
  wasLoaded: boolean
  /** Missing where no reply came. */
  statusCode?: number
  code?: string
  /** What the request's operation answered. */
  result?: unknown
  at: number
  /** The session whose cookie came with it, if a browser would keep that. */
  sessionId?: string
  /** What the store had of that session at that moment. */
  stored?: SessionRecord
  /** Whether the reply took the browser's cookie away. */
  isCleared?: boolean
}

/** One call of the library to the store. */
export interface Call {
  method: string
  sessionId: string
  askedAt: number
  /** When it took effect. */
  doneAt?: number
  /** When the library heard of it. */
  answeredAt?: number
}

/** All that was seen of one schedule. */
export interface Observation {
  /** The session that all requests came with. */
  first: string
  /** What its cookie had in the store of the fields that each record must have. */
  fields: readonly string[]
  /** The other session of a request that came with two. */
  second?: string
  rolling: boolean
  hasTouch: boolean
  hasUpdate: boolean
  replies: readonly Reply[]
  calls: readonly Call[]
  /** When the lives of all sessions passed. */
  expiredAt?: number
  /**
   * Where there is an index by user: the sessions in it in the end by their key, how many a user may have, and whether they are
   * in it by their team, too.
   */
  index?: { listed: ReadonlyMap<string, ReadonlySet<string>>, max: number, teams?: boolean }
  /** What is alive in the store in the end, by session id. */
  records: ReadonlyMap<string, SessionRecord>
  /** Whether the first session is alive when the life that was given to it has passed, and most of the one that was chosen. */
  lasts?: boolean
  /** The data that visitors find who come with the cookies of these sessions in the end. */
  visits: ReadonlyMap<string, SessionRecord>
}

/** The promises that were not kept. */
export function judge (observation: Observation): Breach[] {
  const facts = factsOf(observation)
  return Object.entries(CHECKS).flatMap(([promise, check]) =>
    Array.from(check(facts), what => ({ promise: promise as PromiseName, what })))
}

const CHECKS: Record<PromiseName, (facts: Facts) => Iterable<string>> = {
  * answered ({ replies, endedAt, index, mayBeRevoked }) {
    for (const reply of replies) {
      const { request, wasLoaded, statusCode, code, at } = reply
      const mayBeRefused = (wasLoaded && FAILING.includes(request) && endedAt <= at) || mayBeRevoked(reply)
      const isTooMany = statusCode === 403 && code === 'FST_ERR_SESSION_TOO_MANY' && index?.max === 1 && request === 'sign up'
      const isRefused = statusCode === 409 && code === 'FST_ERR_SESSION_GONE'
      if (statusCode === undefined) yield `'${request}' got no reply`
      else if (statusCode !== 200 && !(isRefused && mayBeRefused) && !isTooMany) yield `'${request}' got ${statusCode} ${code ?? ''}`
    }
  },

  * ended (facts) {
    const { first, second, end, hasEnded, replies, records, visits } = facts
    if (second !== undefined && replies.some(({ request, statusCode }) => request === 'log out of both' && statusCode === 200)) {
      if (records.has(second)) yield 'the store has the other session that was logged out'
      if (!isSame(visits.get(second), {})) yield 'the other cookie of who logged out works'
    }
    if (hasEnded && records.has(first)) yield 'the store has the session that has ended'
    if (hasEnded && !isSame(visits.get(first), {})) yield 'the cookie of the session that has ended works'
    for (const sessionId of records.keys()) {
      if (sessionId !== first && sessionId !== second && facts.hasExpired(sessionId)) yield 'a new session has outlived its time'
      if (sessionId !== first && sessionId !== second && facts.isRevoked(sessionId)) yield 'a new session that was ended is there'
    }
    for (const { request, wasLoaded, sessionId } of replies) {
      if (request !== 'renew' || !wasLoaded || sessionId === undefined) continue
      // Only whoever ended the session can carry its data on. For others they are what was logged out.
      const wasFirst = end !== undefined && facts.begunAt(sessionId) === facts.endHeardAt
      if (!wasFirst || facts.wasOverBefore(end)) yield 'the data of the session that has ended live on in a new one'
    }
  },

  * kept ({ first, fields, endedAt, hasEnded, changes, replies, records, visits }) {
    for (const { request, wasLoaded, statusCode, at } of replies) {
      if (statusCode === 200 && !wasLoaded && at < endedAt && request !== 'sign up') yield `'${request}' did not find the session`
    }
    const takers = replies.filter(({ request, wasLoaded, statusCode }) => request === 'take' && wasLoaded && statusCode === 200)
    const got = takers.filter(({ result }) => result !== undefined)
    if (got.length > 1) yield `${got.length} requests took the same`
    if (takers.length > 0 && got.length === 0 && !hasEnded && !replies.some(({ request }) => request === 'delete d')) yield 'nobody got what was taken'
    if (hasEnded) return
    const flaw = flawOf(records.get(first), fields, BASE, changes)
    if (flaw !== undefined) yield flaw
    else if (!isSame(visits.get(first), dataOf(records.get(first)))) yield 'the cookie of the session does not work'
  },

  * next (facts) {
    const { first, fields, replies, records, visits, expiredAt } = facts
    for (const reply of replies) {
      const { request, statusCode, wasLoaded, sessionId } = reply
      if (statusCode !== 200 || sessionId === first) continue
      const isRenewed = request === 'renew' && wasLoaded
      if (sessionId === undefined) {
        // Where time has passed, it may have begun and ended with that.
        if ((isRenewed || LOGINS.includes(request)) && expiredAt === undefined && !facts.mayBeRevoked(reply)) yield `'${request}' got no new session`
        continue
      }
      if (facts.hasExpired(sessionId) || facts.isRevoked(sessionId)) continue
      const record = records.get(sessionId)
      let flaw: string | undefined
      if (isRenewed) flaw = flawOf(record, fields, BASE, facts.saved, facts.perhapsSaved)
      else if (LOGINS.includes(request) || request === 'sign up') flaw = flawOf(record, fields, { user: 'eva' }, [])
      else flaw = flawOf(record, fields, {}, [reply])
      if (flaw !== undefined) yield `the new session of '${request}': ${flaw}`
      else if (!isSame(visits.get(sessionId), dataOf(record))) yield `the new cookie of '${request}' does not work`
    }
  },

  * saved ({ first, endedAt, replies }) {
    for (const reply of replies) {
      const { request, sessionId, stored, at } = reply
      if (sessionId === undefined || (sessionId === first && endedAt <= at)) continue
      const key = CHANGED_KEY[request]
      if (stored === undefined) yield `'${request}' got a cookie for a session that is not stored`
      else if (isRemembering(reply) && lifeOf(stored) !== LONGER) yield `'${request}' was not saved`
      else if (key !== undefined) {
        // The answer may have come after another request wrote the same key.
        const values = replies.filter(other => CHANGED_KEY[other.request] === key).map(valueOf)
        const isThere = request === 'push' ? (stored[key] as unknown[] | undefined)?.includes(reply.value) : values.some(value => isSame(value, stored[key]))
        if (isThere !== true) yield `'${request}' was not saved`
      }
    }
  },

  * free ({ first, rolling, hasTouch, hasUpdate, calls, replies, expiredAt = Infinity }) {
    // Without touch, a rolling session is written whole; without update, also one whose life was chosen in the meantime.
    if (rolling && (!hasTouch || (!hasUpdate && replies.some(isRemembering)))) return
    // With touch too, as soon as its record is old, so what comes after the session's time says nothing.
    const written = calls.filter(({ method, sessionId, askedAt }) =>
      sessionId === first && (method === 'set' || method === 'update' || method === 'updateIf') && askedAt < expiredAt)
    // Where nothing rolls, a touch is written into the record.
    const changes = replies.filter(reply => reply.wasLoaded && (isChange(reply) || (reply.request === 'touch' && !rolling)))
    if (written.length > changes.length) yield `there were ${written.length} writes for ${changes.length} changes`
  },

  * reachable ({ first, second, replies, records }) {
    for (const sessionId of records.keys()) {
      const isGiven = sessionId === first || sessionId === second || replies.some(reply => reply.sessionId === sessionId)
      if (!isGiven) yield 'a session is stored that nobody has the cookie of'
    }
  },

  * listed ({ records, index }) {
    if (index === undefined) return
    for (const [sessionId, record] of records) {
      if (keysIn(record).some(key => index.listed.get(key)?.has(sessionId) !== true)) yield 'a session is not in the list'
    }
  },

  * limited ({ records, replies, index = { max: Infinity } }) {
    const users = [...records.values()].map(({ cookie }) => (cookie as SessionRecord | undefined)?.userKey)
    for (const user of new Set(users)) {
      const count = users.filter(other => other === user).length
      if (user !== undefined && count > index.max) yield `a user has ${count} sessions`
    }
    if (replies.some(({ request }) => request === 'sign up') && records.size < 2) yield 'nobody is signed up'
  },

  * owned ({ records, index }) {
    if (index === undefined) return
    for (const record of records.values()) {
      const { user, cookie } = record
      const { userKey, 'key:team': teamKey } = cookie as SessionRecord
      const team = index.teams === true ? teamOf(record) : undefined
      if (teamKey !== (team && indexKey('session', 'team', team))) yield `a session has the data of the team ${team}, and belongs to another one`
      if (userKey !== (user === undefined ? undefined : fingerprint(user as string))) yield `a session has the data of ${user as string}, and belongs to another user`
    }
  },

  * lived ({ first, hasEnded, replies, records, lasts }) {
    const record = records.get(first)
    if (hasEnded || record === undefined) return
    const chosen = replies.filter(reply => reply.wasLoaded && isRemembering(reply))
    const isSure = chosen.some(({ statusCode, sessionId }) => statusCode === 200 && sessionId === first)
    if (isSure && lifeOf(record) !== LONGER) yield 'the life that was chosen is not kept'
    else if (chosen.length === 0 && lifeOf(record) === LONGER) yield 'a life is kept that nobody chose'
    if (isSure && lasts === false) yield 'the session ends before the life that was chosen'
  },

  * told ({ first, end, expiredAt = Infinity, replies, calls }) {
    for (const { request, sessionId, at } of replies) {
      if (sessionId !== first) continue
      // The store can tell of an expiry until the request's last call takes effect, and not later.
      const lastCall = calls.find(({ answeredAt }) => answeredAt === at)
      const isOver = (end?.answeredAt ?? Infinity) <= at || expiredAt <= (lastCall?.doneAt ?? at)
      if (isOver) yield `'${request}' carries the cookie of the session that has ended`
    }
  },

  * leftAlone ({ first, end, replies, expiredAt, begunAt, endHeardAt }) {
    // Before it has heard that the session is replaced, the library can't know.
    if (end === undefined || end.doneAt !== end.answeredAt || expiredAt !== undefined) return
    const isReplaced = replies.some(({ request, statusCode, sessionId }) =>
      isLogin(request) && statusCode === 200 && sessionId !== undefined && sessionId !== first && begunAt(sessionId) === endHeardAt)
    if (!isReplaced) return
    for (const { request, at, sessionId, isCleared } of replies) {
      if (!MAY_COME_LATE.includes(request) || at <= Number(end.answeredAt)) continue
      if (sessionId !== undefined && sessionId !== first) yield `'${request}' comes late, and its cookie takes the place of the new one`
      if (isCleared === true) yield `'${request}' comes late, and clears the new cookie`
    }
  }
}

const CHANGED_KEY: Partial<Record<RequestName, string>> = {
  'write a': 'a',
  'write b': 'b',
  'delete d': 'd',
  save: 's',
  'save unawaited': 's',
  'become eva': 'user',
  'change team': 'team',
  push: 'cart',
  take: 'd'
}
const REMEMBERING: readonly RequestName[] = ['remember', 'remember by options']
const LOGINS: readonly RequestName[] = ['log in', 'log in unawaited']
/** Those that wait for the store's answer, and fail where the session has ended. */
const FAILING: readonly RequestName[] = ['save', 'renew', 'push', 'take']
const ENDING: readonly RequestName[] = [...LOGINS, 'renew', 'log out', 'log out of both', 'revoke', 'revoke users', 'revoke teams']
/** Those that ask for no session of their own: what a browser sends before it has the answer to its login. */
const MAY_COME_LATE: readonly RequestName[] = ['read', 'write a', 'write b', 'delete d', 'touch', 'become eva', 'change team', 'push', 'take', ...REMEMBERING]

type Facts = ReturnType<typeof factsOf>

/** An observation, and what follows from it. */
function factsOf (seen: Observation) {
  const { first, calls, replies, expiredAt, hasUpdate, index } = seen
  const [end] = calls
    .filter(call => call.method === 'destroy' && call.sessionId === first && call.doneAt !== undefined)
    .sort((a, b) => Number(a.doneAt) - Number(b.doneAt))
  const changes = replies.filter(({ request, wasLoaded }) => wasLoaded && CHANGED_KEY[request] !== undefined)

  // An index by user is told right after.
  const release = calls.find(call => call.method === 'release' && call.sessionId === first && call.askedAt === end?.answeredAt)

  /** When the new session was written, or entered in the index to be written. */
  function begunAt (sessionId: string): number | undefined {
    return calls.find(({ method, ...call }) => (method === 'set' || method === 'claim') && call.sessionId === sessionId)?.askedAt
  }

  function isRevoked (sessionId: string): boolean {
    return calls.some(({ method, doneAt, ...call }) => method === 'destroy' && call.sessionId === sessionId && doneAt !== undefined)
  }

  /** Whether the new session of this request may have been ended by another one, before its reply. */
  function mayBeRevoked ({ request }: Reply): boolean {
    return isLogin(request) && index !== undefined && replies.some(({ request }) => NEEDS_USERS.includes(request))
  }

  return {
    ...seen,
    /** The call that took the first session out of the store. */
    end,
    endedAt: Math.min(end?.doneAt ?? Infinity, expiredAt ?? Infinity),
    hasEnded: expiredAt !== undefined || replies.some(reply => (
      // One that is refused because its new session was ended meanwhile has ended the first one.
      (reply.statusCode === 200 || (reply.statusCode === 409 && mayBeRevoked(reply))) && reply.wasLoaded && ENDING.includes(reply.request)
    )),
    /** The requests that changed the first session, or tried to. */
    changes,
    saved: changes.filter(({ sessionId }) => sessionId === first),
    /** A reply without the cookie promises nothing, so its change may be there. One that was refused has changed nothing. */
    perhapsSaved: changes.filter(({ statusCode, sessionId }) => statusCode === 200 && sessionId === undefined),
    begunAt,
    isRevoked,
    /** When whoever ended the first session goes on. */
    endHeardAt: release?.answeredAt ?? end?.answeredAt,
    mayBeRevoked,
    /** Whether the new session was begun before the time of all sessions passed. */
    hasExpired: (sessionId: string) => expiredAt !== undefined && (begunAt(sessionId) ?? 0) < expiredAt,
    /** Whether the session's time had passed when it was last seen before it was destroyed. */
    wasOverBefore ({ askedAt, doneAt }: Call): boolean {
      // A store without update can't tell as it destroys: the library reads first.
      const seenAt = hasUpdate ? doneAt : calls.find(({ answeredAt }) => answeredAt === askedAt)?.doneAt
      return expiredAt !== undefined && expiredAt < (seenAt as number)
    }
  }
}

function isLogin (request: RequestName): boolean {
  return request === 'renew' || LOGINS.includes(request)
}

function isRemembering ({ request }: Reply): boolean {
  return REMEMBERING.includes(request)
}

function isChange (reply: Reply): boolean {
  return CHANGED_KEY[reply.request] !== undefined || isRemembering(reply)
}

/** What a request leaves under its key. */
function valueOf ({ request, value }: Reply): unknown {
  if (request === 'become eva') return 'eva'
  if (request === 'change team') return 'blue'
  return request === 'delete d' || request === 'take' ? undefined : value
}

/** How long a session lives after its last use, as the record says. */
function lifeOf ({ cookie }: SessionRecord): unknown {
  return (cookie as SessionRecord | undefined)?.originalMaxAge
}

/** What is wrong with a record that should hold the base and the changes, and may hold further ones. */
function flawOf (
  record: SessionRecord | undefined,
  fields: readonly string[],
  base: SessionRecord,
  changes: readonly Reply[],
  further: readonly Reply[] = []
): string | undefined {
  if (record === undefined) return 'it is not in the store'
  const cookie = (record.cookie ?? {}) as SessionRecord
  const isLife = cookie.originalMaxAge === MAX_AGE || cookie.originalMaxAge === LONGER
  const isWhole = isLife && fields.every(field => Object.hasOwn(cookie, field))
  if (Number.isNaN(Date.parse(String(cookie.expires))) || !isWhole) return 'its cookie is not whole'
  const all = [...changes, ...further]
  const data = dataOf(record)
  for (const key of new Set([...Object.keys({ ...base, ...data }), ...all.map(({ request }) => CHANGED_KEY[request])])) {
    if (key === undefined) continue
    const isOfKey = ({ request }: Reply): boolean => CHANGED_KEY[request] === key
    if (key === 'cart' && all.some(isOfKey)) {
      if (!isGrown(data.cart, base.cart, changes.filter(isOfKey), further.filter(isOfKey))) return `cart is ${JSON.stringify(data.cart)}`
      continue
    }
    const values = all.filter(isOfKey).map(valueOf)
    if (!changes.some(isOfKey)) values.push(base[key])
    if (!values.some(value => isSame(value, data[key]))) {
      return `${key} is ${JSON.stringify(data[key])} and not ${values.map(value => JSON.stringify(value)).join(' or ')}`
    }
  }
  return undefined
}

/** Whether a list has what it had, what was added, and perhaps what may have been added: each once. */
function isGrown (list: unknown, before: unknown, added: readonly Reply[], perhaps: readonly Reply[]): boolean {
  if (!Array.isArray(list)) return list === before && added.length === 0
  const needed = [...Array.isArray(before) ? before : [], ...added.map(({ value }) => value)]
  const rest = list.filter(item => !needed.includes(item))
  return new Set(list).size === list.length && list.length - rest.length === needed.length && rest.every(item => perhaps.some(({ value }) => value === item))
}

function dataOf (record: SessionRecord | undefined): SessionRecord {
  const { cookie, ...data } = record ?? {}
  return data
}

function isSame (a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(a, b)
}
