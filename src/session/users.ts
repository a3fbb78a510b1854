import { Claims } from './claims'
import { knownEndOf } from './life'
import { destroy } from './operations'
import { handleOf, Owners, partsOf } from './owners'
import { SessionState, type Context, type UserIndex } from './state'
import { Visit } from './visit'
import { fingerprint } from '../diagnostics'
import type { RequestCookie, UserSettings } from '../options/settings'
import { eachOf, promised } from '../stores/call'
import type { Repository, Stored } from '../stores/repository'
import { claimOf } from '../values/claim'
import { lastUseIn } from '../values/lifetime'
import { createdAtOf } from '../values/record'
import { isUnreadable } from '../values/unreadable'
import type { FastifySessionObject, SessionList, SessionPage, Sessions, SessionView } from '../types/session'
import type { EndCode, IndexEntry, Revoking, SessionRecord } from '../types/store'

// How long an entry is kept whose session isn't there: it is claimed first, and then written. In milliseconds.
const GRACE = 60_000
const PAGE = 100

/** What came of a revocation. */
interface Revoked {
  /** Sessions that were ended. */
  readonly ended: readonly string[]
  /** Whether those that were asked for are among them. */
  readonly wasThere: boolean
}

/** Whose sessions are whose: entered in the store's index by user as they are written, listed and ended. */
export class Users implements UserIndex {
  readonly #settings: UserSettings
  readonly #context: Context
  readonly #repository: Repository
  readonly #owners: Owners
  readonly claims: Claims

  constructor (settings: UserSettings, context: Context) {
    this.#settings = settings
    this.#context = context
    this.#repository = context.repository
    this.#owners = new Owners(settings, context.settings)
    this.claims = new Claims(settings, this.#owners, this.#repository, this)
  }

  /** The sessions of the session's user. */
  async list (state: SessionState, page?: SessionPage): Promise<SessionList> {
    const userKey = this.#owners.keyOf(state.session)
    return userKey === undefined ? [] : await this.#views(userKey, page, state.isInStore ? state.sessionId : undefined)
  }

  /** Ends a session of the session's user. */
  async revokeFor (state: SessionState, handle: string): Promise<boolean> {
    const userKey = this.#owners.keyOf(state.session)
    const parts = partsOf(handle)
    if (userKey === undefined || parts?.userKey !== userKey) return false
    let isOwn = state.isInStore && fingerprint(state.sessionId) === parts.fingerprint
    let wasThere = isOwn
    if (!isOwn) {
      const revoked = await this.#revoke(userKey, { fingerprint: parts.fingerprint })
      wasThere = revoked.wasThere
      // By the handle of a session that it has replaced.
      isOwn = state.hasId && revoked.ended.includes(state.sessionId)
    }
    if (isOwn) await promised<void>(answer => state.visit.pending.run(answer => destroy(state, answer, 'revoked'), answer))
    return wasThere
  }

  /** Ends all sessions of the session's user but this one. */
  async revokeOthers (state: SessionState): Promise<number> {
    const userKey = this.#owners.keyOf(state.session)
    return userKey === undefined ? 0 : (await this.#revoke(userKey, { except: state.sessionId })).ended.length
  }

  async forUser (user: string | number, page?: SessionPage): Promise<SessionList> {
    return await this.#views(this.#owners.keyFor(user), page)
  }

  async revoke (handle: string): Promise<boolean> {
    const parts = partsOf(handle)
    if (parts === undefined) return false
    return (await this.#revoke(parts.userKey, { fingerprint: parts.fingerprint })).wasThere
  }

  async revokeUser (user: string | number): Promise<number> {
    return (await this.#revoke(this.#owners.keyFor(user), {})).ended.length
  }

  async count (): Promise<number> {
    return await promised<number>(answer => this.#repository.count(answer)) as number
  }

  /**
   * In one step they become sessions that are to be ended, which no renewal outruns; then they are ended, those with
   * them that an earlier call left.
   */
  async #revoke (userKey: string, which: Revoking): Promise<Revoked> {
    const found = await promised<number>(answer => this.#repository.revoke(userKey, which, answer)) as number
    const tried = new Set<string>()
    const ended: string[] = []
    for (;;) {
      const endings = await promised<string[]>(answer => this.#repository.endingsOf(userKey, answer)) ?? []
      // A store that forgets to release them would name them for ever.
      const ids = endings.filter(sessionId => !tried.has(sessionId))
      if (ids.length === 0) break
      for (const sessionId of await this.endAll(userKey, ids, 'revoked')) ended.push(sessionId)
      for (const sessionId of ids) tried.add(sessionId)
    }
    // Those of an earlier call aren't asked for.
    const isWanted = (sessionId: string): boolean => found > 0 || fingerprint(sessionId) === which.fingerprint
    return { ended, wasThere: ended.some(isWanted) }
  }

  /** Ends sessions that are revoked. Answers those that were there. */
  async endAll (userKey: string, sessionIds: readonly string[], code: EndCode): Promise<string[]> {
    const ended = await eachOf(sessionIds, sessionId => this.#end(userKey, sessionId, code))
    await promised<void>(answer => this.#repository.release(userKey, sessionIds, answer))
    return sessionIds.filter((_sessionId, i) => ended[i])
  }

  async #end (userKey: string, sessionId: string, code: EndCode): Promise<boolean> {
    if (await this.#stored(userKey, sessionId) === undefined) return false
    const removed = await promised(answer => this.#repository.end(sessionId, answer, code))
    return removed !== false
  }

  async tidy (userKey: string, count: number): Promise<void> {
    const entries = await this.#entriesOf(userKey, Infinity, count)
    await eachOf(entries, entry => this.#look(userKey, entry, undefined))
  }

  async dropIfVain (userKey: string, sessionId: string): Promise<void> {
    if (await this.#stored(userKey, sessionId) !== undefined) return
    await promised<void>(answer => this.#repository.release(userKey, [sessionId], answer))
  }

  /** As many living sessions as fit on the page, while there are any. */
  async #views (userKey: string, page: SessionPage | undefined, current?: string): Promise<SessionList> {
    const limit = limitIn(page)
    const views: SessionList = []
    let before = timeIn(page?.cursor)
    while (views.length < limit) {
      const count = Math.min(limit - views.length + 1, PAGE)
      const from = before
      const entries = await this.#entriesOf(userKey, from, count)
      const seen = await eachOf(entries, entry => this.#look(userKey, entry, current))
      for (const { claimedAt, view } of seen) {
        if (view !== undefined && views.length === limit) {
          return Object.assign(views, { next: String(before) })
        }
        before = claimedAt
        if (view !== undefined) views.push(view)
      }
      if (entries.length < count) return views
    }
    return Object.assign(views, { next: String(before) })
  }

  async #entriesOf (userKey: string, before: number, count: number): Promise<IndexEntry[]> {
    return await promised<IndexEntry[]>(answer => this.#repository.claimsOf(userKey, before, count, answer)) ?? []
  }

  /** The session of an entry. One that has ended is released, unless it is being written at the moment. */
  async #look (
    userKey: string, entry: IndexEntry, current: string | undefined
  ): Promise<{ claimedAt: number, view: SessionView | undefined }> {
    const { sessionId, claimedAt, age } = entry
    const state = await this.#stored(userKey, sessionId)
    if (state !== undefined) return { claimedAt, view: await this.#view(userKey, entry, state, current) }
    if (age >= GRACE) await promised<void>(answer => this.#repository.release(userKey, [sessionId], answer))
    return { claimedAt, view: undefined }
  }

  async #view (
    userKey: string, entry: IndexEntry, state: SessionState, current: string | undefined
  ): Promise<SessionView> {
    const { sessionId, authenticatedAt, life: { lifetime } } = state
    // `#stored` found it.
    const stored = state.found.stored as Stored
    const { record } = stored
    const end = knownEndOf(stored, lifetime)
    return {
      // An application may have described it by these names already.
      deviceBound: state.deviceKey !== undefined,
      authenticatedAt: authenticatedAt === undefined ? null : new Date(authenticatedAt),
      ...await this.#description(state.session),
      handle: handleOf(userKey, entry.fingerprint),
      current: sessionId === current,
      createdAt: new Date(createdAtOf(record)),
      lastSeenAt: new Date(lastUseIn(record)),
      expiresAt: end === undefined ? null : new Date(end)
    }
  }

  /** One of which a part can't be read says nothing of itself. It stays in the list, so that it can be ended. */
  async #description (session: FastifySessionObject): Promise<object> {
    try {
      return await this.#settings.describe(session)
    } catch (error) {
      if (isUnreadable(error)) return {}
      throw error
    }
  }

  /** A session as the store has it, if it is the user's. */
  async #stored (userKey: string, sessionId: string): Promise<SessionState | undefined> {
    const { terms } = this.#cookie
    const stored = await promised<Stored>(answer => this.#repository.inspect(sessionId, terms, answer))
    if (stored === undefined) return undefined
    const state = this.#stateOf(sessionId, stored)
    return this.#ownerOf(state, stored.record) === userKey ? state : undefined
  }

  ownerIn (sessionId: string, stored: Stored): string | undefined {
    return this.#ownerOf(this.#stateOf(sessionId, stored), stored.record)
  }

  ownerToday (sessionId: string, stored: Stored): string | undefined {
    return this.#owners.keyOf(this.#stateOf(sessionId, stored).session)
  }

  /** Older software drops whose a session is, so then the application is asked. */
  #ownerOf ({ session }: SessionState, record: SessionRecord): string | undefined {
    return claimOf(record)?.userKey ?? this.#owners.keyOf(session)
  }

  #stateOf (sessionId: string, stored: Stored): SessionState {
    return new SessionState(this.#context, new Visit(this.#cookie, false), { sessionId, stored })
  }

  /** The cookie's configuration outside of requests. */
  get #cookie (): RequestCookie {
    return this.#context.settings.cookieFor(undefined)
  }
}

/** What an operator sees of it, as `fastify.sessions`. */
export function sessionsOf (users: Users): Sessions {
  return {
    forUser: (user, page) => users.forUser(user, page),
    revoke: handle => users.revoke(handle),
    revokeUser: user => users.revokeUser(user),
    count: () => users.count()
  }
}

// Pages are asked for with what a query string says.
function limitIn (page: SessionPage | undefined): number {
  const limit = Math.trunc(Number(page?.limit ?? PAGE))
  return Number.isNaN(limit) ? PAGE : limit
}

function timeIn (cursor: string | undefined): number {
  const time = Number(cursor)
  return !cursor || Number.isNaN(time) ? Infinity : time
}
