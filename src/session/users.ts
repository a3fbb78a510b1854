import { destroy } from './operations'
import { SessionState, type Context, type UserIndex } from './state'
import { Visit } from './visit'
import { fingerprint } from '../diagnostics'
import { TooManyError, UserError } from '../errors'
import type { RequestCookie, UserSettings } from '../options/settings'
import { promised } from '../stores/call'
import type { Repository } from '../stores/repository'
import { lastUseIn } from '../values/lifetime'
import { claimOf } from '../values/claim'
import { createdAtOf, expiryOf } from '../values/record'
import type { FastifySessionObject, SessionPage, Sessions, SessionView } from '../types/session'
import type { Answer, SessionRecord } from '../types/store'

type Found = [sessionId: string, record: SessionRecord | undefined]
type Claims = Array<[sessionId: string, claimedAt: number]>

// How long a claim is kept whose session is not there: it is claimed first, and then written.
const GRACE = 60_000
const PAGE = 100

/** Whose sessions are whose: entered in the store's index by user as they are written, listed and ended. */
export class Users implements UserIndex {
  readonly #settings: UserSettings
  readonly #context: Context
  readonly #repository: Repository

  constructor (settings: UserSettings, context: Context) {
    this.#settings = settings
    this.#context = context
    this.#repository = context.repository
  }

  /** Writes a session, and keeps the index right. */
  write (state: SessionState, write: (answer: Answer<boolean>) => void, answer: Answer<boolean>): void {
    let userKey: string | undefined
    try {
      userKey = this.#keyOf(state.session)
    } catch (error) {
      answer(error as Error)
      return
    }
    const isLonger = state.wasChosen && userKey !== undefined
    const isEntered = userKey === state.claim?.userKey && !state.claimIsAging && !isLonger
    if (isEntered) write(answer)
    else this.#enter(userKey, state, write).then(found => answer(null, found), answer)
  }

  /**
   * The claim comes first: whoever ends all sessions of the user before the new one is written takes its claim away,
   * and the new one finds that out.
   */
  async #enter (
    userKey: string | undefined, state: SessionState, write: (answer: Answer<boolean>) => void
  ): Promise<boolean> {
    const { claim: before, sessionId } = state
    const isNew = userKey !== before?.userKey
    if (userKey !== undefined) await this.#claim(userKey, state)
    state.claim = userKey === undefined ? undefined : { userKey, claimedAt: Date.now() }
    let isWritten = false
    try {
      isWritten = await promised(write) === true
    } finally {
      // After an error nobody knows what was written. A claim too many drops out by itself.
      if (!isWritten) state.claim = before
    }
    if (!isNew) return isWritten
    const untrue = isWritten ? before?.userKey : userKey
    if (untrue !== undefined) await this.#release(untrue, sessionId).catch(() => {})
    return isWritten && userKey !== undefined ? await this.#confirm(userKey, sessionId) : isWritten
  }

  /** The sessions of the session's user. */
  async list (state: SessionState, page?: SessionPage): Promise<SessionView[]> {
    const userKey = this.#keyOf(state.session)
    return userKey === undefined ? [] : await this.#views(userKey, page, state.isInStore ? state.sessionId : undefined)
  }

  /** Ends a session of the session's user. */
  async revokeFor (state: SessionState, handle: string): Promise<boolean> {
    const userKey = this.#keyOf(state.session)
    if (userKey === undefined || userKeyIn(handle) !== userKey) return false
    if (!state.isInStore || handleOf(userKey, state.sessionId) !== handle) return await this.revoke(handle)
    await promised<void>(answer => state.visit.pending.run(answer => destroy(state, answer), answer))
    return true
  }

  /** Ends all sessions of the session's user but this one. */
  async revokeOthers (state: SessionState): Promise<number> {
    const userKey = this.#keyOf(state.session)
    return userKey === undefined ? 0 : await this.#revokeAll(userKey, state.sessionId)
  }

  async forUser (user: string | number, page?: SessionPage): Promise<SessionView[]> {
    return await this.#views(this.#keyFor(user), page)
  }

  async revoke (handle: string): Promise<boolean> {
    const userKey = userKeyIn(handle)
    if (userKey === undefined) return false
    const claim = (await this.#claimsOf(userKey)).find(([sessionId]) => handleOf(userKey, sessionId) === handle)
    return claim !== undefined && await this.#end(userKey, claim[0])
  }

  async revokeUser (user: string | number): Promise<number> {
    return await this.#revokeAll(this.#keyFor(user))
  }

  async count (): Promise<number> {
    return await promised<number>(answer => this.#repository.count(answer)) as number
  }

  #keyOf (session: FastifySessionObject): string | undefined {
    const user: unknown = this.#settings.user(session)
    return user === undefined || user === null ? undefined : this.#keyFor(user)
  }

  /** @throws FST_ERR_SESSION_USER */
  #keyFor (user: unknown): string {
    if (!(typeof user === 'string' && user !== '') && !Number.isFinite(user)) {
      // A promise, of an async function: it may reject, with nobody there to hear it.
      Promise.resolve(user).catch(() => {})
      throw new UserError()
    }
    const { sessionName } = this.#context.settings
    // Of two sessions on one store, visitor 1 isn't administrator 1. No text has a byte of 255, so that no visitor
    // can call himself what an administrator is called here.
    if (sessionName === 'session') return fingerprint(String(user))
    return fingerprint(Buffer.concat([Buffer.of(255), Buffer.from(JSON.stringify([sessionName, String(user)]))]))
  }

  /** The cookie's configuration outside of requests. */
  get #cookie (): RequestCookie {
    return this.#context.settings.cookieFor(undefined)
  }

  async #claim (userKey: string, state: SessionState): Promise<void> {
    const { maxPerUser, refuses } = this.#settings
    const max = refuses ? maxPerUser : Infinity
    const claim = async (): Promise<boolean | undefined> => await promised(answer => {
      this.#repository.claim(userKey, state.sessionId, state.forStore(), max, answer)
    })
    if (await claim() === true) return
    // Some of those may have ended, and nobody has looked since.
    await this.#living(userKey, await this.#claimsOf(userKey))
    if (await claim() !== true) throw new TooManyError(maxPerUser)
  }

  /** After a login. Answers whether the new session is still there; where the user has too many, the oldest go. */
  async #confirm (userKey: string, sessionId: string): Promise<boolean> {
    const { maxPerUser, refuses } = this.#settings
    const claims = await this.#claimsOf(userKey)
    if (!claims.some(([claimed]) => claimed === sessionId)) {
      await this.#destroy(userKey, sessionId)
      return false
    }
    if (refuses || claims.length <= maxPerUser) return true
    // All see the same order, so two logins at the same time end the same ones.
    const tooMany = (await this.#living(userKey, claims)).slice(0, -maxPerUser)
    await Promise.all(tooMany.map(sessionId => this.#end(userKey, sessionId)))
    return !tooMany.includes(sessionId)
  }

  async #views (
    userKey: string, { offset = 0, limit = PAGE }: SessionPage = {}, current?: string
  ): Promise<SessionView[]> {
    const claims = (await this.#claimsOf(userKey)).reverse().slice(offset, offset + limit)
    const views: SessionView[] = []
    for (const [sessionId, record] of await this.#look(userKey, claims)) {
      if (record !== undefined) views.push(await this.#view(userKey, sessionId, record, current))
    }
    return views
  }

  async #view (
    userKey: string, sessionId: string, record: SessionRecord, current: string | undefined
  ): Promise<SessionView> {
    const stored = { record, isExact: true, isTouched: false, loadedAt: this.#repository.recent.now }
    const { session } = new SessionState(this.#context, new Visit(this.#cookie, false), { sessionId, stored })
    const expires = expiryOf(record)
    return {
      ...await this.#settings.describe(session),
      handle: handleOf(userKey, sessionId),
      current: sessionId === current,
      createdAt: new Date(createdAtOf(record)),
      lastSeenAt: new Date(lastUseIn(record)),
      expiresAt: Number.isNaN(expires) ? null : new Date(expires)
    }
  }

  async #living (userKey: string, claims: Claims): Promise<string[]> {
    return (await this.#look(userKey, claims)).map(([sessionId]) => sessionId)
  }

  /**
   * The records behind claims; undefined for those that are being written at the moment. What has ended is released.
   */
  async #look (userKey: string, claims: Claims): Promise<Found[]> {
    const seen = await Promise.all(claims.map(async ([sessionId, claimedAt]) => {
      const record = await this.#record(userKey, sessionId)
      if (record !== undefined || Date.now() - claimedAt < GRACE) return [[sessionId, record]] as Found[]
      await this.#release(userKey, sessionId)
      return []
    }))
    return seen.flat()
  }

  async #revokeAll (userKey: string, except?: string): Promise<number> {
    const claims = await this.#claimsOf(userKey)
    const ids = claims.map(([sessionId]) => sessionId).filter(sessionId => sessionId !== except)
    const ended = await Promise.all(ids.map(sessionId => this.#end(userKey, sessionId)))
    return ended.filter(Boolean).length
  }

  async #end (userKey: string, sessionId: string): Promise<boolean> {
    const wasThere = await this.#destroy(userKey, sessionId)
    await this.#release(userKey, sessionId)
    // What was not written before may be by now. What is written later finds its claim gone.
    return wasThere || await this.#destroy(userKey, sessionId)
  }

  async #destroy (userKey: string, sessionId: string): Promise<boolean> {
    if (await this.#record(userKey, sessionId) === undefined) return false
    const removed = await promised(answer => this.#repository.destroy(sessionId, answer))
    this.#repository.recent.mark(sessionId, 'destroyed')
    return removed !== false
  }

  /** The record of a session, if it is the user's. */
  async #record (userKey: string, sessionId: string): Promise<SessionRecord | undefined> {
    const { terms } = this.#cookie
    const record = await promised<SessionRecord>(answer => this.#repository.inspect(sessionId, terms, answer))
    return record !== undefined && claimOf(record)?.userKey === userKey ? record : undefined
  }

  async #release (userKey: string, sessionId: string): Promise<void> {
    await promised<void>(answer => this.#repository.release(userKey, sessionId, answer))
  }

  async #claimsOf (userKey: string): Promise<Claims> {
    return await promised<Claims>(answer => this.#repository.claimsOf(userKey, answer)) ?? []
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

// The first half finds the user's sessions, so that there need be no index by handle.
function handleOf (userKey: string, sessionId: string): string {
  return `${userKey}.${fingerprint(sessionId)}`
}

function userKeyIn (handle: unknown): string | undefined {
  return typeof handle === 'string' && /^[\w-]{16}\.[\w-]{16}$/.test(handle) ? handle.slice(0, 16) : undefined
}
