import { attributesOf, SessionCookie, type Attributes, type Choice } from './cookie'
import type { SessionIds } from './ids'
import { keptChanges, keptOf } from './kept'
import { Life } from './life'
import type { Visit } from './visit'
import { mistakesInOptions } from '../options/mistakes'
import type { Settings } from '../options/settings'
import type { Repository, Stored } from '../stores/repository'
import { Draft, type Recording } from '../values/draft'
import { cookieEndOf, cookieLifeOf, endOf, idleOf, type Lifetime } from '../values/lifetime'
import { claimChanges, claimIsAging, claimsIn, type ClaimMap } from '../values/claim'
import { authenticatedAtOf, deviceKeyOf, seenAtOf, type CookieRecord } from '../values/record'
import type { Refusals } from '../values/refusals'
import { StoredCookie, StoredSession } from '../values/stored-session'
import { warnAnonymous, warnHijacked, warnLateChange, warnOption, warnReplaced } from '../warnings'
import type { CookieOptions } from '../types/cookie'
import type { FastifySessionObject, SessionList, SessionPage } from '../types/session'
import type { Answer, FieldChanges, SessionChanges, StoreKey, SessionRecord } from '../types/store'
import type { CookieSerializeOptions } from '@fastify/cookie'
import type { FastifyRequest } from 'fastify'

/**
 * What a session is to its request. `stored`: the store has it. `written`: this request wrote it already.
 * `anonymous`: a stand-in for one that could not be loaded. `gone`: a write found out that it has ended. `replaced`:
 * another object took its place, by regenerate() or reload().
 */
export type Standing = 'new' | 'stored' | 'written' | 'anonymous' | 'gone' | 'destroyed' | 'replaced'

/** The index of sessions, as far as sessions ask for it. Only with the option `user` or `index`. */
export interface Index {
  readonly names: readonly string[]
  /** Whether there is the option `user`. */
  readonly hasUsers: boolean
  readonly claims: {
    write (state: SessionState, write: (answer: Answer<boolean>) => void, answer: Answer<boolean>): void
    ownerBefore (state: SessionState): string | undefined
    authenticatedAt (state: SessionState): number | undefined
  }
  list (state: SessionState, page?: SessionPage): Promise<SessionList>
  revokeFor (state: SessionState, handle: string): Promise<boolean>
  revokeOthers (state: SessionState): Promise<number>
}

/** Whoever wants to know of the end of sessions. */
export interface SessionEndings {
  signalOf (state: SessionState): AbortSignal
  stop (): void
}

/** What all sessions of one registration share. */
export interface Context {
  readonly settings: Settings
  readonly repository: Repository
  readonly ids: SessionIds
  /** Makes the object that a handler holds. */
  readonly createSession: (state: SessionState) => FastifySessionObject
  /** Puts a session, or null, on its request. */
  readonly show: (request: FastifyRequest, session: FastifySessionObject | null) => void
  /** Ends the other sessions whose cookies came with the request. */
  readonly endOthers: (visit: Visit, storeKey: StoreKey, answer: Answer<void>) => void
  /** Tells sessions of their end. */
  readonly endings: SessionEndings
  index?: Index
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
  /** Whether the guard refused the session of the visitor's cookie. */
  readonly isRefused?: boolean
}

/** The sessions of one request that took each other's place: only the last, so that those in between aren't held. */
interface Line {
  last: SessionState
}

/** What a session has of the one in whose place it is. */
interface Inherited {
  readonly line: Line
  readonly attributes: CookieOptions
  readonly lifetime: Lifetime
  readonly isRenewal: boolean
}

/** What a store is asked to write, to be taken as written when it has answered. */
export interface Writing {
  readonly changes: SessionChanges
  readonly session: StoredSession
  readonly choice: Choice | undefined
  /** When it was made, in milliseconds since the epoch. */
  readonly at: number
}

const NOTHING: FieldChanges = { set: {}, unset: [] }

/** One session as one request knows it: what the store has, what changed, and what became of it. */
export class SessionState {
  standing: Standing
  /** What became of the last write: `partly` if it left out what can't be stored. */
  lastWrite: 'whole' | 'partly' | 'failed' = 'whole'
  /** Whether a handler called save(), and it was written. */
  wasSavedByHand = false
  /** Whether touch() or options() asks for a reply that prolongs it and sends its cookie. */
  wasTouched = false
  /** Under which keys the store has it in its index. */
  claims: ClaimMap
  /** When the visitor authenticated last, in milliseconds since the epoch, as it is in the record or will be. */
  authenticatedAt: number | undefined
  /** What this request has bound it to. regenerate() takes it along to no other session. */
  boundTo: string | undefined
  /** Of one that isn't written yet: whose the session was from which regenerate() took data along. */
  ownerTaken: string | undefined
  /** The session that it replaces, as the index by user has it. */
  replaces: { readonly claims: ClaimMap, readonly storeKey: StoreKey } | undefined

  readonly draft: Draft
  readonly life: Life
  readonly context: Context
  readonly visit: Visit
  readonly found: Found
  /** When it was loaded, by the time of `RecentChanges`. */
  readonly since: number
  /** Whether regenerate() made it. */
  readonly isRenewal: boolean
  #line: Line | undefined
  readonly #renewals: number
  #storedClaims: ClaimMap
  #storedAuthenticatedAt: number | undefined
  #attributes: CookieOptions
  #sessionId: string | undefined
  #storeKey: StoreKey | undefined
  #signedId: string | undefined
  #cookie: SessionCookie | undefined
  #session: FastifySessionObject | undefined

  constructor (context: Context, visit: Visit, found: Found = {}, inherited?: Inherited) {
    const { stored } = found
    this.context = context
    this.visit = visit
    this.found = found
    this.standing = stored !== undefined ? 'stored' : found.loadError !== undefined ? 'anonymous' : 'new'
    this.isRenewal = inherited?.isRenewal === true
    this.#line = inherited?.line
    this.#renewals = visit.renewals
    this.since = stored?.loadedAt ?? context.repository.recent.now
    this.draft = new Draft(stored?.record ?? {})
    this.claims = this.#storedClaims = claimsIn(this.record, context.index?.names)
    this.authenticatedAt = this.#storedAuthenticatedAt = stored && authenticatedAtOf(stored.record)
    this.#sessionId = found.sessionId
    this.#signedId = found.signedId
    this.#attributes = inherited?.attributes ?? visit.cookie
    this.life = new Life(stored, visit.cookie.terms, inherited?.lifetime.chosen)
  }

  get record (): SessionRecord | undefined {
    return this.found.stored?.record
  }

  /** The device's key that it is bound to, as it is in the record or will be. */
  get deviceKey (): string | undefined {
    return this.boundTo ?? (this.record && deviceKeyOf(this.record))
  }

  /** Whether it has an id: without one nobody can have stored it. */
  get hasId (): boolean {
    return this.#sessionId !== undefined
  }

  /** Made on first use: a visitor who gets no session costs no id. */
  get sessionId (): string {
    return (this.#sessionId ??= this.context.ids.makeNow(this.visit.request))
  }

  /** By what the store knows it. Of one that was loaded that may be a key from an earlier time. */
  get storeKey (): StoreKey {
    return (this.#storeKey ??= this.found.stored?.key ?? this.context.repository.keyOf(this.sessionId))
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
      this.#cookie = new SessionCookie(this, this.attributes, cookieLifeOf(this.lifetime), this.cookieEnd)
    }
    return this.#cookie
  }

  /** The attributes of the cookie, which isn't made for that. */
  get attributes (): Attributes {
    return this.#cookie ?? attributesOf(this.#attributes, this.visit.isOverHttps)
  }

  /** Whether the cookie goes out as it is configured: no handler has asked for it. */
  get hasPlainCookie (): boolean {
    return this.#cookie === undefined && this.#attributes === this.visit.cookie
  }

  /** The lifetime with what the handler chose since it was written last. */
  get lifetime (): Lifetime {
    const choice = this.#choice
    return choice === undefined ? this.life.lifetime : { ...this.life.lifetime, chosen: choice.life }
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
    return this.#sessionId !== undefined && this.context.repository.recent.hasEnded(this.storeKey, this.since)
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

  /** Whether the store's index by user must hear of the session again. */
  get claimIsAging (): boolean {
    const names = this.context.index?.names ?? []
    // A record without a claim may be a user's all the same: from before the option, or written by other software,
    // which drops the claim. Then the application is asked again.
    const askedAt = this.life.writtenAt ?? (this.record && seenAtOf(this.record))
    return names.some(name => {
      const at = this.claims.get(name)?.claimedAt ?? askedAt
      return at !== undefined && claimIsAging(at, idleOf(this.lifetime), Date.now())
    })
  }

  /** When the cookie that goes out now ends, and its other attributes. */
  cookieAttributes (): CookieSerializeOptions {
    const { domain, path, httpOnly, secure, partitioned, sameSite, priority } = this.attributes
    const end = this.cookieEnd
    // These keys are all there: where one is missing, `@fastify/cookie` puts what its `parseOptions` say of all
    // cookies. Only the priority may come from there.
    const attributes: CookieSerializeOptions = {
      domain: domain ?? undefined,
      path,
      expires: dateOf(end) ?? undefined,
      httpOnly,
      secure: secure ?? undefined,
      partitioned,
      sameSite: sameSite ?? false,
      maxAge: undefined,
      signed: false
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
    const { checkCookie, flaws } = this.context.settings
    checkCookie(options)
    flaws.tellAll(warnOption, mistakesInOptions(options))
    const { cookie } = this
    this.#attributes = { ...this.#attributes, ...options }
    cookie.setAttributes(attributesOf(this.#attributes, this.visit.isOverHttps))
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
    if (typeof cookieLifeOf(lifetime) === 'number') cookie._expires = dateOf(cookieEndOf(lifetime, Date.now()))
    this.wasTouched = true
  }

  /**
   * What is to be written now.
   *
   * @param what all that changed; only that the session is used (`life`); or only when it was created
   * @param refused what is left out. Gets the keys that can't be written
   */
  writing (what: 'all' | 'life' | 'creation', refused?: Refusals): Writing {
    const at = Date.now()
    const kept = this.#keptAt(at)
    const choice = this.#choice
    if (what === 'creation') {
      const { createdAt, absoluteTimeout } = kept
      const changes = { ...NOTHING, meta: { set: { createdAt, absoluteTimeout }, unset: [] } }
      // The end stays what it is.
      return { changes, session: this.forStore({ ...kept, expires: null }), choice: undefined, at }
    }
    const data = what === 'all' ? this.draft.changes(refused) : NOTHING
    if (!this.isInStore) {
      const session = new StoredSession(this.storeKey, data.set, kept)
      return { changes: { ...data, meta: NOTHING }, session, choice, at }
    }
    const isNewLife = choice !== undefined || this.life.isNew
    const claims = claimChanges(this.claims, this.#storedClaims)
    const meta = keptChanges(
      kept, isNewLife, this.life.isOlder, claims, this.#storedAuthenticatedAt, this.boundTo
    )
    return { changes: { ...data, meta }, session: this.forStore(kept), choice, at }
  }

  /** The session for a store that only moves its end: one with update needs no more than that. */
  forTouch (): StoredSession {
    if (this.context.repository.wantsData) return this.forStore()
    const end = endOf(this.lifetime, this.life.toldAt = Date.now())
    return new StoredSession(this.storeKey, {}, new StoredCookie(dateOf(end)))
  }

  /** The session for a store, with the data that it has. */
  forStore (cookie: object = this.#keptAt(Date.now())): StoredSession {
    // Stores with update need no data, and reading them all would cost what they have.
    const data = this.context.repository.wantsData ? this.draft.stored() : {}
    return new StoredSession(this.storeKey, data, cookie)
  }

  markWritten ({ changes, choice, at }: Writing): void {
    this.life.markWritten(at, choice)
    if (choice !== undefined) SessionCookie.forget(this.cookie, choice)
    this.lastWrite = 'whole'
    this.standing = 'written'
    if (this.#cookie !== undefined && !this.wasChosen) this.#cookie._expires = dateOf(this.cookieEnd)
    this.#storedClaims = this.claims
    this.#storedAuthenticatedAt = this.authenticatedAt
    this.draft.rebase(changes)
  }

  /** A newer state of the same session was written, or only read: what it has of these keys counts here, too. */
  adopt (newer: SessionState, keys: Iterable<string>, recording: Recording): void {
    this.draft.adopt(newer.draft, keys, recording)
    const { writtenAt } = newer.life
    if (writtenAt === undefined) return
    this.life.markWritten(writtenAt, undefined)
    this.standing = 'written'
    this.wasSavedByHand = true
    this.claims = this.#storedClaims = newer.claims
    this.authenticatedAt = this.#storedAuthenticatedAt = newer.authenticatedAt
  }

  /** A session in the place of this one. */
  successor (found: Found, isRenewal: boolean): SessionState {
    const lifetime = isRenewal ? this.lifetime : { ...this.life.lifetime, chosen: undefined }
    if (isRenewal) this.visit.renewals++
    const line = (this.#line ??= { last: this })
    const inherited = { line, attributes: this.#attributes, lifetime, isRenewal }
    return new SessionState(this.context, this.visit, found, inherited)
  }

  replaceBy (state: SessionState): void {
    this.standing = 'replaced'
    ;(this.#line as Line).last = state
    this.show(state.session)
  }

  /** The session in the place of this one, which may be itself. */
  get inPlace (): SessionState {
    return this.#line?.last ?? this
  }

  /** The same, if all that happened to it was reload(); otherwise itself. */
  get reloaded (): SessionState {
    const last = this.inPlace
    return last.#renewals === this.#renewals ? last : this
  }

  show (session: FastifySessionObject | null): void {
    const { request } = this.visit
    if (request !== undefined) this.context.show(request, session)
  }

  /** A handler changed the session. If that comes too late, it is warned about. */
  noteChange (): void {
    const { flaws } = this.context.settings
    if (this.standing === 'replaced' || this.standing === 'destroyed') flaws.tell(warnReplaced)
    else if (this.visit.phase !== 'open') flaws.tell(warnLateChange)
    else if (this.standing === 'anonymous') flaws.tell(warnAnonymous)
    else this.visit.watch(this)
  }

  tellLostChanges (): void {
    const isAlive = this.standing === 'new' || this.isInStore
    if (isAlive && this.isModified()) this.context.settings.flaws.tell(warnHijacked)
  }

  /** When the session is used, as far as this reply goes, in milliseconds since the epoch; undefined if it isn't. */
  get #usedAt (): number | undefined {
    if (!this.visit.rolling && !this.wasTouched && this.isInStore) return this.life.writtenAt
    // Not later than the session, which may have ended while the store wrote it.
    return this.life.toldAt ?? Date.now()
  }

  /** When the visitor's cookie ends, in milliseconds since the epoch; NaN if that isn't known. */
  get cookieEnd (): number {
    const { lifetime } = this
    const usedAt = this.#usedAt
    return usedAt === undefined ? this.life.knownCookieEnd(lifetime) : cookieEndOf(lifetime, usedAt)
  }

  /** What stores keep under `cookie` if the session is used at that time. */
  #keptAt (at: number): CookieRecord {
    this.life.toldAt = at
    return keptOf(this.lifetime, this.claims, this.authenticatedAt, this.deviceKey, this.attributes, at)
  }

  get #choice (): Choice | undefined {
    return this.#cookie && SessionCookie.choiceOf(this.#cookie)
  }
}

function dateOf (end: number): Date | null {
  return Number.isFinite(end) ? new Date(end) : null
}
