import { SessionCookie, type Choice } from './cookie'
import type { SessionIds } from './ids'
import { keptChanges, keptOf } from './kept'
import type { Visit } from './visit'
import type { Settings } from '../options/settings'
import type { Repository, Stored } from '../stores/repository'
import { Draft } from '../values/draft'
import {
  cookieEndOf, cookieLifeOf, idleOf, isAging, isOurs, isOutdated, lastUseIn, lifetimeIn, type Lifetime
} from '../values/lifetime'
import { claimIsAging, claimOf, type Claim } from '../values/claim'
import { createdAtOf, seenAtOf } from '../values/record'
import { StoredSession } from '../values/stored-session'
import { warnAnonymous, warnLateChange, warnReplaced } from '../warnings'
import type { CookieOptions } from '../types/cookie'
import type { FastifySessionObject, SessionList, SessionPage } from '../types/session'
import type { Answer, FieldChanges, SessionChanges, SessionRecord } from '../types/store'
import type { CookieSerializeOptions } from '@fastify/cookie'

/**
 * What a session is to its request. `stored`: the store has it. `written`: this request wrote it already.
 * `anonymous`: a stand-in for one that could not be loaded. `gone`: a write found out that it has ended. `replaced`:
 * another object took its place, by regenerate() or reload().
 */
export type Standing = 'new' | 'stored' | 'written' | 'anonymous' | 'gone' | 'destroyed' | 'replaced'

/** Whose sessions are whose, as far as sessions ask for it. Only with the option `user`. */
export interface UserIndex {
  write (state: SessionState, write: (answer: Answer<boolean>) => void, answer: Answer<boolean>): void
  list (state: SessionState, page?: SessionPage): Promise<SessionList>
  revokeFor (state: SessionState, handle: string): Promise<boolean>
  revokeOthers (state: SessionState): Promise<number>
}

/** What all sessions of one registration share. */
export interface Context {
  readonly settings: Settings
  readonly repository: Repository
  readonly ids: SessionIds
  /** Makes the object that a handler holds. */
  readonly createSession: (state: SessionState) => FastifySessionObject
  /** Ends the other sessions whose cookies came with the request. */
  readonly endOthers: (visit: Visit, sessionId: string, answer: Answer<void>) => void
  users?: UserIndex
}

/** Where a session came from: a session that the store has, the store's failure, or nothing. */
export interface Found {
  /** Of a session that has an id already. */
  readonly sessionId?: string
  /** The signed id as it came in, if it may go out again as it is. */
  readonly signedId?: string
  readonly stored?: Stored
  /** Why there is no record: the store failed, and the request continues without. */
  readonly loadError?: Error
}

/** What a session has of the one in whose place it is. */
interface Inherited {
  readonly attributes: CookieOptions
  readonly lifetime: Lifetime
  readonly isRenewal: boolean
}

/** What a store is asked to write, to be taken as written when it has answered. */
export interface Writing {
  readonly changes: SessionChanges
  readonly session: StoredSession
  readonly choice: Choice | undefined
}

const NOTHING: FieldChanges = { set: {}, unset: [] }

/** One session as one request knows it: what the store has, what changed, and what became of it. */
export class SessionState {
  standing: Standing
  /** The session that took its place, and how. */
  replacement: { readonly state: SessionState, readonly by: 'regenerate' | 'reload' } | undefined
  /** Whether save() or regenerate() could not write it. */
  hasFailed = false
  /** Whether a handler called save(), and it was written. */
  wasSavedByHand = false
  /** Whether touch() or options() asks for a reply that prolongs it and sends its cookie. */
  wasTouched = false
  /** As whose session the store has it. */
  claim: Claim | undefined
  /** The session that it replaces, as the index by user has it. */
  replaces: { readonly userKey: string, readonly sessionId: string } | undefined

  readonly draft: Draft
  readonly context: Context
  readonly visit: Visit
  readonly found: Found
  /** When it was loaded, by the time of `RecentChanges`. */
  readonly since: number
  /** Whether regenerate() made it. */
  readonly isRenewal: boolean
  #lifetime: Lifetime
  #storedClaim: Claim | undefined
  #attributes: CookieOptions
  #sessionId: string | undefined
  #signedId: string | undefined
  #cookie: SessionCookie | undefined
  #session: FastifySessionObject | undefined
  /** Whether this request wrote the record, so that what it says of the lifetime is today's. */
  #isUpToDate = false
  /** From when the end counts that the store was told last, in milliseconds since the epoch. */
  #toldAt: number | undefined

  constructor (context: Context, visit: Visit, found: Found = {}, inherited?: Inherited) {
    const { stored } = found
    const { terms } = visit.cookie
    this.context = context
    this.visit = visit
    this.found = found
    this.standing = stored !== undefined ? 'stored' : found.loadError !== undefined ? 'anonymous' : 'new'
    this.isRenewal = inherited?.isRenewal === true
    this.since = stored?.loadedAt ?? context.repository.recent.now
    this.draft = new Draft(stored?.record ?? {})
    this.claim = this.#storedClaim = stored && claimOf(stored.record)
    this.#sessionId = found.sessionId
    this.#signedId = found.signedId
    this.#attributes = inherited?.attributes ?? visit.cookie
    const now = Date.now()
    this.#lifetime = stored !== undefined
      ? lifetimeIn(stored.record, terms, now)
      : { terms, createdAt: now, chosen: inherited?.lifetime.chosen }
  }

  get record (): SessionRecord | undefined {
    return this.found.stored?.record
  }

  /** Whether it has an id: without one nobody can have stored it. */
  get hasId (): boolean {
    return this.#sessionId !== undefined
  }

  /** Made on first use: a visitor who gets no session costs no id. */
  get sessionId (): string {
    return (this.#sessionId ??= this.context.ids.makeNow(this.visit.request))
  }

  /** Makes the id now, which may take its time. */
  makeId (answer: Answer<void>): void {
    if (this.#sessionId !== undefined) {
      answer(null)
      return
    }
    this.context.ids.make(this.visit.request, (error, sessionId) => {
      if (error === null) this.#sessionId = sessionId
      answer(error)
    })
  }

  /** @throws FST_ERR_SESSION_SIGNER */
  get signedId (): string {
    return (this.#signedId ??= this.context.settings.signer.sign(this.sessionId))
  }

  get cookie (): SessionCookie {
    if (this.#cookie === undefined) {
      const { lifetime } = this
      const end = this.#isUse ? cookieEndOf(lifetime, Date.now()) : this.#knownCookieEnd(lifetime)
      this.#cookie = new SessionCookie(this, this.#attributes, this.visit.isOverHttps, cookieLifeOf(lifetime), end)
    }
    return this.#cookie
  }

  /** The lifetime with what the handler chose since it was written last. */
  get lifetime (): Lifetime {
    const choice = this.#choice
    return choice === undefined ? this.#lifetime : { ...this.#lifetime, chosen: choice.life }
  }

  /** The object in the handler's hand. */
  get session (): FastifySessionObject {
    return (this.#session ??= this.context.createSession(this))
  }

  /** Whether the response may depend on the session, because somebody looked at it. */
  get wasUsed (): boolean {
    return this.#session !== undefined
  }

  /** Whether the store has it, as far as this request knows. */
  get isInStore (): boolean {
    return this.standing === 'stored' || this.standing === 'written'
  }

  /** Whether another request of this process has ended the session since this one loaded it. */
  get hasEnded (): boolean {
    return this.#sessionId !== undefined && this.context.repository.recent.hasEnded(this.#sessionId, this.since)
  }

  isModified (): boolean {
    return this.draft.isChanged()
  }

  /** Whether a handler chose a lifetime since the session was written last. */
  get wasChosen (): boolean {
    return this.#choice !== undefined
  }

  /** Whether the visitor's cookie can't be used as it came, because an older secret signed it. */
  get mustSignAgain (): boolean {
    return this.standing === 'stored' && this.found.signedId === undefined
  }

  /** Whether the record must be written because it doesn't say by which absolute timeout, and from when, it ends. */
  get isUndated (): boolean {
    const { record } = this
    if (record === undefined || this.#isUpToDate || this.#lifetime.terms.absoluteTimeout === undefined) return false
    return Number.isNaN(createdAtOf(record))
  }

  /** Whether the record must be written, though nothing changed, when the session is used. */
  get isOutdated (): boolean {
    const { record } = this
    if (record === undefined || this.#isUpToDate) return false
    if (isOutdated(record, this.#lifetime)) return true
    // Whoever knows the store's own end needn't judge by the record's.
    return this.found.stored?.isExact !== true && isAging(record, this.#lifetime, Date.now())
  }

  /** Whether the store's index by user must hear of the session again. */
  get claimIsAging (): boolean {
    if (this.context.users === undefined || this.claim === undefined) return false
    return claimIsAging(this.claim, idleOf(this.lifetime), Date.now())
  }

  /** Whether the record was written less than `refreshAfter` ago. */
  get isFresh (): boolean {
    const { refreshAfter } = this.context.settings
    if (refreshAfter === 0 || this.record === undefined) return false
    // A session whose own life is shorter would end before it is renewed.
    return (idleOf(this.#lifetime) ?? Infinity) > refreshAfter && Date.now() - seenAtOf(this.record) < refreshAfter
  }

  /** When the cookie that goes out now ends, and what it says besides. */
  cookieAttributes (): CookieSerializeOptions {
    const { domain, path, httpOnly, secure, partitioned, sameSite, priority } = this.cookie
    const { lifetime } = this
    const isUse = this.#isUse || this.wasTouched
    // Not later than the session, which may have ended while the store wrote it.
    const end = isUse ? cookieEndOf(lifetime, this.#toldAt ?? Date.now()) : this.#knownCookieEnd(lifetime)
    // As in version 11, these keys are all there: where one is missing, `@fastify/cookie` puts a default of its own.
    const attributes: CookieSerializeOptions = {
      domain: domain ?? undefined,
      path,
      expires: Number.isFinite(end) ? new Date(end) : undefined,
      httpOnly,
      secure: secure ?? undefined,
      partitioned,
      sameSite: sameSite ?? false
    }
    if (priority !== undefined) attributes.priority = priority
    return attributes
  }

  /**
   * Sets cookie options for this session.
   *
   * @throws FST_ERR_SESSION_COOKIE
   */
  setCookieOptions (options: Partial<CookieOptions>): void {
    this.context.settings.checkCookie(options)
    const { cookie } = this
    this.#attributes = { ...this.#attributes, ...options }
    cookie.setAttributes(this.#attributes, this.visit.isOverHttps)
    if (options.maxAge != null || !('expires' in options)) {
      if ('maxAge' in options) cookie.maxAge = options.maxAge
    } else {
      cookie.expires = options.expires
    }
    this.wasTouched = true
  }

  /** Prolongs the session, in the store when the reply goes out. Does nothing without a `maxAge`. */
  touch (): void {
    const { cookie, lifetime } = this
    if (typeof cookieLifeOf(lifetime) === 'number') cookie._expires = new Date(cookieEndOf(lifetime, Date.now()))
    this.wasTouched = true
  }

  /**
   * What is to be written now.
   *
   * @param what all that changed; only that the session is used (`life`); or only when it was created
   */
  writing (what: 'all' | 'life' | 'creation'): Writing {
    const kept = this.#keptNow()
    const choice = this.#choice
    if (what === 'creation') {
      const { createdAt, absoluteTimeout } = kept
      const changes = { ...NOTHING, meta: { set: { createdAt, absoluteTimeout }, unset: [] } }
      // The end stays what it is.
      return { changes, session: this.forStore({ ...kept, expires: null }), choice: undefined }
    }
    const data = what === 'all' ? this.draft.changes() : NOTHING
    if (!this.isInStore) {
      const session = new StoredSession(this.sessionId, data.set, kept)
      return { changes: { ...data, meta: NOTHING }, session, choice }
    }
    const record = this.#isUpToDate ? undefined : this.record
    const isNewLife = choice !== undefined || (record !== undefined && isOutdated(record, this.#lifetime))
    const isOlder = record !== undefined && !isOurs(record)
    const meta = keptChanges(kept, isNewLife, isOlder, this.#storedClaim)
    return { changes: { ...data, meta }, session: this.forStore(kept), choice }
  }

  /** The session for a store that only moves its end. */
  forStore (cookie: object = this.#keptNow()): StoredSession {
    // Stores with update need no data, and reading them all would cost what they have.
    const data = this.context.repository.wantsData ? this.draft.stored() : {}
    return new StoredSession(this.sessionId, data, cookie)
  }

  markWritten ({ changes, choice }: Writing): void {
    if (choice !== undefined) {
      this.#lifetime = { ...this.#lifetime, chosen: choice.life }
      SessionCookie.forget(this.cookie, choice)
    }
    this.hasFailed = false
    this.standing = 'written'
    this.#isUpToDate = true
    this.#storedClaim = this.claim
    this.draft.rebase(changes)
  }

  /** A session in the place of this one. */
  successor (found: Found | undefined, isRenewal: boolean): SessionState {
    const lifetime = isRenewal ? this.lifetime : { ...this.#lifetime, chosen: undefined }
    return new SessionState(this.context, this.visit, found, { attributes: this.#attributes, lifetime, isRenewal })
  }

  replaceBy (state: SessionState, by: 'regenerate' | 'reload'): void {
    this.standing = 'replaced'
    this.replacement = { state, by }
    this.show(state.session)
  }

  show (session: FastifySessionObject | null): void {
    const request = this.visit.request as unknown as Record<string, unknown> | undefined
    if (request !== undefined) request[this.context.settings.sessionName] = session
  }

  /** A handler changed the session. If that comes too late, it is warned about. */
  noteChange (): void {
    if (this.standing === 'replaced' || this.standing === 'destroyed') warnReplaced()
    else if (this.visit.phase !== 'open') warnLateChange()
    else if (this.standing === 'anonymous') warnAnonymous()
    else this.visit.watch(this)
  }

  hasLostChanges (): boolean {
    return (this.standing === 'new' || this.isInStore) && this.isModified()
  }

  /** What stores keep under `cookie` if the session is used now. */
  #keptNow (): ReturnType<typeof keptOf> {
    this.#toldAt = Date.now()
    return keptOf(this.lifetime, this.claim, this.cookie, this.#toldAt)
  }

  /** Whether this reply is a use of the session, so that its lifetime starts again. */
  get #isUse (): boolean {
    return this.visit.rolling || !this.isInStore || this.#isUpToDate
  }

  get #choice (): Choice | undefined {
    return this.#cookie && SessionCookie.choiceOf(this.#cookie)
  }

  /** When the cookie ends that the visitor has, in milliseconds since the epoch; NaN if that isn't known. */
  #knownCookieEnd (lifetime: Lifetime): number {
    const { stored } = this.found
    if (stored === undefined || typeof cookieLifeOf(lifetime) !== 'number') return cookieEndOf(lifetime, Date.now())
    return stored.isExact ? cookieEndOf(lifetime, lastUseIn(stored.record)) : NaN
  }
}
