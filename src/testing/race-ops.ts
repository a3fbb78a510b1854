/** What racing requests do, and what must be true afterwards, whatever their order was. */
import { isDeepStrictEqual } from 'node:util'
import type { FastifyRequest } from 'fastify'
import { fingerprint } from '../diagnostics'
import { indexKey } from '../session/index-keys'
import { keysIn } from '../values/claim'
import type { SessionRecord } from '../types/store'

/** The data of the session that all requests use. */
export const BASE: SessionRecord = { user: 'max', cart: ['apple'], d: 1, begun: true }
export const MAX_AGE = 5 * 60_000
/** The fields that a record must have under `cookie`, if the plugin writes them and the store keeps them. */
export const FIELDS = ['createdAt', 'seenAt', 'idle', 'path']
/** The lifetime that a handler chooses. `expire` passes one and a half of it, and then no store has the session. */
export const LONGER = 1.3 * MAX_AGE

type Request = Pick<FastifyRequest, 'session' | 'server' | 'sessionStore'> & { session: any }

/** What requests do with their session. Each writes its own value, which shows whose write is in the store. */
export const REQUESTS = {
  // Reads an object. The library can't see whether it was changed inside, but this must not count as a change.
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
  /** Sends the cookie of another session, too. */
  async 'log out of both' ({ session }: Request) {
    await session.destroy()
  },
  /** An operator ends the session. This and the next two need an index by user. */
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
  /** This and the next one need a second name in the index: that of the team. */
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
  /** Sends no cookie. */
  'sign up': ({ session }: Request) => { session.user = 'eva' }
}

/** Requests that need an index by user. */
export const NEEDS_USERS: readonly RequestName[] = ['revoke', 'revoke others', 'revoke users', 'revoke teams', 'sign up']

/** Requests that need a second name in the index: that of the team. */
export const NEEDS_TEAMS: readonly RequestName[] = ['revoke teams', 'change team']

/** The team of a session. Every logged-in user has one. */
export function teamOf ({ user, team }: SessionRecord): string | undefined {
  return user === undefined ? undefined : String(team ?? 'red')
}

export type RequestName = keyof typeof REQUESTS

/** What is true in every schedule. */
export const PROMISES = {
  answered: 'each request is answered; the only error is that its session has ended, if it has',
  ended: 'what has ended stays ended: the session, its cookie and its data',
  kept: 'the changes of different requests are all kept, including items that update() adds to one list; if several requests take() a key, one of them gets it',
  next: 'a new session is whole, and its cookie works',
  saved: 'what a reply confirms as saved is in the store',
  free: 'a request that only reads writes no data',
  reachable: 'a session is stored only if a reply sent its cookie',
  listed: 'each session of a user is in the user\'s list',
  limited: 'no user has more sessions than the limit',
  owned: 'a session belongs to the user whose data it contains',
  lived: 'a chosen lifetime is kept, and no end is moved to an earlier time',
  told: 'no reply carries the cookie of a session that has ended',
  leftAlone: 'a request with the cookie of a replaced session neither sets nor clears the cookie'
}

export type PromiseName = keyof typeof PROMISES

/** How a promise was broken. */
export interface Breach {
  promise: PromiseName
  what: string
}

/** The reply of one request. All times are numbers of steps of the schedule. */
export interface Reply {
  request: RequestName
  value: number
  /** Whether the request found the first session. */
  wasLoaded: boolean
  /** Missing if no reply came. */
  statusCode?: number
  code?: string
  /** The result of the request's operation. */
  result?: unknown
  at: number
  /** The session of the reply's cookie, if a browser would keep the cookie. */
  sessionId?: string
  /** The record of that session at that time. */
  stored?: SessionRecord
  /** Whether the reply cleared the cookie. */
  isCleared?: boolean
}

/** One call of the library to the store. */
export interface Call {
  method: string
  sessionId: string
  askedAt: number
  /** When it took effect. */
  doneAt?: number
  /** When the library received the answer. */
  answeredAt?: number
}

/** The observations of one schedule. */
export interface Observation {
  /** The session that all requests use. */
  first: string
  /** The fields under `cookie` that each record must have. */
  fields: readonly string[]
  /** The other session of a request with two cookies. */
  second?: string
  rolling: boolean
  hasTouch: boolean
  hasUpdate: boolean
  replies: readonly Reply[]
  calls: readonly Call[]
  /** When all sessions expired. */
  expiredAt?: number
  /**
   * With an index by user: its sessions at the end, by key; the limit of sessions; and whether sessions are also
   * entered by their team.
   */
  index?: { listed: ReadonlyMap<string, ReadonlySet<string>>, max: number, teams?: boolean }
  /** The living sessions in the store at the end, by session id. */
  records: ReadonlyMap<string, SessionRecord>
  /** Whether the first session is still alive after its first lifetime and most of the chosen one. */
  lasts?: boolean
  /** The data that a visitor with the cookie of a session finds at the end. */
  visits: ReadonlyMap<string, SessionRecord>
}

/** Returns the broken promises. */
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
      if (!isSame(visits.get(second), {})) yield 'the other cookie still works after the logout'
    }
    if (hasEnded && records.has(first)) yield 'the store has the session that has ended'
    if (hasEnded && !isSame(visits.get(first), {})) yield 'the cookie of the session that has ended works'
    for (const sessionId of records.keys()) {
      if (sessionId !== first && sessionId !== second && facts.hasExpired(sessionId)) yield 'a new session has outlived its time'
      if (sessionId !== first && sessionId !== second && facts.isRevoked(sessionId)) yield 'the store has a new session that was ended'
    }
    for (const { request, wasLoaded, sessionId } of replies) {
      if (request !== 'renew' || !wasLoaded || sessionId === undefined) continue
      // Only the request that ended the session may keep its data. Any other would bring back what was logged out.
      const wasFirst = end !== undefined && facts.begunAt(sessionId) === facts.endHeardAt
      if (!wasFirst || facts.wasOverBefore(end)) yield 'a new session has the data of the session that has ended'
    }
  },

  * kept ({ first, fields, endedAt, hasEnded, changes, replies, records, visits }) {
    for (const { request, wasLoaded, statusCode, at } of replies) {
      if (statusCode === 200 && !wasLoaded && at < endedAt && request !== 'sign up') yield `'${request}' did not find the session`
    }
    const takers = replies.filter(({ request, wasLoaded, statusCode }) => request === 'take' && wasLoaded && statusCode === 200)
    const got = takers.filter(({ result }) => result !== undefined)
    if (got.length > 1) yield `${got.length} requests took the same value`
    if (takers.length > 0 && got.length === 0 && !hasEnded && !replies.some(({ request }) => request === 'delete d')) yield 'no request got the taken value'
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
        // If the sessions expired, the new one may have begun before, and ended by that.
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
    // Without touch, a rolling session is written whole; without update, also one whose life was chosen in the
    // meantime.
    if (rolling && (!hasTouch || (!hasUpdate && replies.some(isRemembering)))) return
    // With touch too, once its record is old, so calls after the session's time prove nothing.
    const written = calls.filter(({ method, sessionId, askedAt }) =>
      sessionId === first && (method === 'set' || method === 'update' || method === 'updateIf') && askedAt < expiredAt)
    // Without rolling, a touch is written into the record.
    const changes = replies.filter(reply => reply.wasLoaded && (isChange(reply) || (reply.request === 'touch' && !rolling)))
    if (written.length > changes.length) yield `there were ${written.length} writes for ${changes.length} changes`
  },

  * reachable ({ first, second, replies, records }) {
    for (const sessionId of records.keys()) {
      const isGiven = sessionId === first || sessionId === second || replies.some(reply => reply.sessionId === sessionId)
      if (!isGiven) yield 'a session is stored, but no reply sent its cookie'
    }
  },

  * listed ({ records, index }) {
    if (index === undefined) return
    for (const [sessionId, record] of records) {
      if (keysIn(record).some(key => index.listed.get(key)?.has(sessionId) !== true)) yield 'a session is not in the list of its user or team'
    }
  },

  * limited ({ records, replies, index = { max: Infinity } }) {
    const users = [...records.values()].map(({ cookie }) => (cookie as SessionRecord | undefined)?.userKey)
    for (const user of new Set(users)) {
      const count = users.filter(other => other === user).length
      if (user !== undefined && count > index.max) yield `a user has ${count} sessions`
    }
    if (replies.some(({ request }) => request === 'sign up') && records.size < 2) yield 'the session of the sign-up is not stored'
  },

  * owned ({ records, index }) {
    if (index === undefined) return
    for (const record of records.values()) {
      const { user, cookie } = record
      const { userKey, 'key:team': teamKey } = cookie as SessionRecord
      const team = index.teams === true ? teamOf(record) : undefined
      if (teamKey !== (team && indexKey('session', 'team', team))) yield `a session has the data of team ${team}, but belongs to another team`
      if (userKey !== (user === undefined ? undefined : fingerprint(user as string))) yield `a session has the data of ${user as string}, but belongs to another user`
    }
  },

  * lived ({ first, hasEnded, replies, records, lasts }) {
    const record = records.get(first)
    if (hasEnded || record === undefined) return
    const chosen = replies.filter(reply => reply.wasLoaded && isRemembering(reply))
    const isSure = chosen.some(({ statusCode, sessionId }) => statusCode === 200 && sessionId === first)
    if (isSure && lifeOf(record) !== LONGER) yield 'the chosen lifetime is not kept'
    else if (chosen.length === 0 && lifeOf(record) === LONGER) yield 'the session has a lifetime that no request chose'
    if (isSure && lasts === false) yield 'the session ends before its chosen lifetime'
  },

  * told ({ first, end, expiredAt = Infinity, replies, calls }) {
    for (const { request, sessionId, at } of replies) {
      if (sessionId !== first) continue
      // The store can report an expiry only until the request's last call takes effect.
      const lastCall = calls.find(({ answeredAt }) => answeredAt === at)
      const isOver = (end?.answeredAt ?? Infinity) <= at || expiredAt <= (lastCall?.doneAt ?? at)
      if (isOver) yield `'${request}' carries the cookie of the session that has ended`
    }
  },

  * leftAlone ({ first, end, replies, expiredAt, begunAt, endHeardAt }) {
    // The library can't know that the session is replaced before it has the answer.
    if (end === undefined || end.doneAt !== end.answeredAt || expiredAt !== undefined) return
    const isReplaced = replies.some(({ request, statusCode, sessionId }) =>
      isLogin(request) && statusCode === 200 && sessionId !== undefined && sessionId !== first && begunAt(sessionId) === endHeardAt)
    if (!isReplaced) return
    for (const { request, at, sessionId, isCleared } of replies) {
      if (!MAY_COME_LATE.includes(request) || at <= Number(end.answeredAt)) continue
      if (sessionId !== undefined && sessionId !== first) yield `'${request}' comes late, and its cookie replaces the new one`
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
/** Requests that wait for the store's answer, and fail if the session has ended. */
const FAILING: readonly RequestName[] = ['save', 'renew', 'push', 'take']
const ENDING: readonly RequestName[] = [...LOGINS, 'renew', 'log out', 'log out of both', 'revoke', 'revoke users', 'revoke teams']
/** Requests that a browser may send before it has the reply to its login. They don't make a session of their own. */
const MAY_COME_LATE: readonly RequestName[] = ['read', 'write a', 'write b', 'delete d', 'touch', 'become eva', 'change team', 'push', 'take', ...REMEMBERING]

type Facts = ReturnType<typeof factsOf>

/** An observation, with conclusions from it. */
function factsOf (seen: Observation) {
  const { first, calls, replies, expiredAt, hasUpdate, index } = seen
  const [end] = calls
    .filter(call => call.method === 'destroy' && call.sessionId === first && call.doneAt !== undefined)
    .sort((a, b) => Number(a.doneAt) - Number(b.doneAt))
  const changes = replies.filter(({ request, wasLoaded }) => wasLoaded && CHANGED_KEY[request] !== undefined)

  // With an index by user, the library continues after the release.
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
      // A request that is refused because its new session was ended has still ended the first one.
      (reply.statusCode === 200 || (reply.statusCode === 409 && mayBeRevoked(reply))) && reply.wasLoaded && ENDING.includes(reply.request)
    )),
    /** The requests that changed the first session, or tried to. */
    changes,
    saved: changes.filter(({ sessionId }) => sessionId === first),
    /**
     * A reply without the cookie promises nothing, so its change may be stored. A refused request has changed nothing.
     */
    perhapsSaved: changes.filter(({ statusCode, sessionId }) => statusCode === 200 && sessionId === undefined),
    begunAt,
    isRevoked,
    /** When the request that ended the first session continues. */
    endHeardAt: release?.answeredAt ?? end?.answeredAt,
    mayBeRevoked,
    /** Whether the new session was begun before all sessions expired. */
    hasExpired: (sessionId: string) => expiredAt !== undefined && (begunAt(sessionId) ?? 0) < expiredAt,
    /** Whether the session had expired when it was last read before it was destroyed. */
    wasOverBefore ({ askedAt, doneAt }: Call): boolean {
      // A store without update can't tell on destroy, so the library reads first.
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

/** The value that a request leaves under its key. */
function valueOf ({ request, value }: Reply): unknown {
  if (request === 'become eva') return 'eva'
  if (request === 'change team') return 'blue'
  return request === 'delete d' || request === 'take' ? undefined : value
}

/** How long a session lives after its last use, as the record says. */
function lifeOf ({ cookie }: SessionRecord): unknown {
  return (cookie as SessionRecord | undefined)?.originalMaxAge
}

/** Describes what is wrong with a record that must have the base and the changes, and may have further ones. */
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

/** Whether a list has its former items, all added ones, and perhaps further ones, each once. */
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
