import { attributesOf, SessionCookie, type Attributes, type Choice } from './cookie'
import type { SessionIds } from './ids'
import { keptChanges, keptOf } from './kept'
import { Life } from './life'
import type { Visit } from './visit'
import { mistakesInOptions } from '../options/mistakes'
import type { Settings } from '../options/settings'
import type { Repository, Stored } from '../stores/repository'
import { Draft, type Recording } from '../values/draft'
import {
  cookieEndOf, cookieLifeOf, endOf, idleOf, lifetimeIn, type CookieLife, type Lifetime
} from '../values/lifetime'
import { claimChanges, claimIsAging, claimsIn, type ClaimMap } from '../values/claim'
import { authenticatedAtOf, deviceKeyOf, NO_FIELDS, seenAtOf, type CookieRecord } from '../values/record'
import type { Refusals } from '../values/refusals'
import { StoredCookie, StoredSession } from '../values/stored-session'
import { warnAnonymous, warnHijacked, warnLateChange, warnOption, warnReplaced } from '../warnings'
import type { CookieOptions } from '../types/cookie'
import type { FastifySessionObject, SessionList, SessionPage } from '../types/session'
import type { Answer, SessionChanges, StoreKey, SessionRecord } from '../types/store'
import type { CookieSerializeOptions } from '@fastify/cookie'
import type { FastifyRequest } from 'fastify'

/**
 * The status of a session in its request. `stored`: the store has it. `written`: this request has written it.
 * `anonymous`: an empty session in place of one that could not be loaded. `gone`: a write found out that it has ended.
 * `replaced`: regenerate() or reload() has replaced it by another object.
 */
export type Standing = 'new' | 'stored' | 'written' | 'anonymous' | 'gone' | 'destroyed' | 'replaced'

/** The part of the index that sessions use. Only with the option `user` or `index`. */
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

/** Makes the signals that fire when sessions end. */
export interface SessionEndings {
  signalOf (state: SessionState): AbortSignal
  stop (): void
}

/** What all sessions of a registration share. */
export interface Context {
  readonly settings: Settings
  readonly repository: Repository
  readonly ids: SessionIds
  /** Makes the object that a handler receives. */
  readonly createSession: (state: SessionState) => FastifySessionObject
  /** Puts a session, or null, on its request. */
  readonly show: (request: FastifyRequest, session: FastifySessionObject | null) => void
  /** Ends the other sessions whose cookies came with the request. */
  readonly endOthers: (visit: Visit, storeKey: StoreKey, answer: Answer<void>) => void
  readonly endings: SessionEndings
  index?: Index
}

/** The result of loading a session: a stored session, the store's error, or nothing. */
export interface Found {
  /** Missing if the session has no id yet. */
  readonly sessionId?: string
  /** The signed id of the request's cookie, if it can be sent again. */
  readonly signedId?: string
  readonly stored?: Stored
  /** The store's error, if the request continues without a session. */
  readonly loadError?: Error
  /** Whether the guard refused the session of the visitor's cookie. */
  readonly isRefused?: boolean
}

/** The sessions of a request that replaced each other. Holds only the last, so that the others can be freed. */
interface Line {
  last: SessionState
}

/** What a session takes over from the one that it replaces. */
interface Inherited {
  readonly line: Line
  readonly attributes: CookieOptions
  readonly chosen: CookieLife | undefined
  readonly isRenewal: boolean
}

/** A write. `markWritten` takes it when the store has answered. */
export interface Writing {
  readonly changes: SessionChanges
  readonly session: StoredSession
  readonly choice: Choice | undefined
  /** In milliseconds since the epoch. */
  readonly at: number
}

/** One session in one request: what the store has, what changed, and its status. */
export class SessionState {
  standing: Standing
  /** The result of the last write: `partly` if it left out values that can't be stored. */
  lastWrite: 'whole' | 'partly' | 'failed' = 'whole'
  /** Why regenerate() failed. If a handler ignores that, a login must not be written under the old id. */
  renewalError: Error | undefined
  /** Whether a handler called save(), and it was written. */
  wasSavedByHand = false
  /** Whether touch() or options() was called, so that the reply prolongs the session and sends its cookie. */
  wasTouched = false
  /** The session's claims in the store's index. */
  claims: ClaimMap
  /** When the visitor authenticated last, in milliseconds since the epoch. May not be written yet. */
  authenticatedAt: number | undefined
  /** The device key, if this request has bound the session. regenerate() doesn't keep it. */
  boundTo: string | undefined
  /** For a new session: the owner of the session from which regenerate() kept data. */
  ownerTaken: string | undefined
  /** The session that it replaces in the index by user. */
  replaces: { readonly claims: ClaimMap, readonly storeKey: StoreKey } | undefined

  readonly draft: Draft
  readonly life: Life
  readonly context: Context
  readonly visit: Visit
  readonly found: Found
  /** When it was loaded, by the clock of `RecentChanges`. */
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
  /** The choice of `takeChoice`, until it or a later one is written. */
  #takenChoice: Choice | undefined
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
    this.life = new Life(stored, visit.cookie.terms, inherited?.chosen)
  }

  get record (): SessionRecord | undefined {
    return this.found.stored?.record
  }

  /** The key of the device that the session is bound to. May not be written yet. */
  get deviceKey (): string | undefined {
    return this.boundTo ?? (this.record && deviceKeyOf(this.record))
  }

  /** Whether it has an id. Without one it can't be stored. */
  get hasId (): boolean {
    return this.#sessionId !== undefined
  }

  /** Made on first use, so that a visitor without a session costs no id. */
  get sessionId (): string {
    return (this.#sessionId ??= this.context.ids.makeNow(this.visit.request))
  }

  /** The session's key in the store. A session that was loaded may have an older one. */
  get storeKey (): StoreKey {
    return (this.#storeKey ??= this.found.stored?.key ?? this.context.repository.keyOf(this.sessionId))
  }

  /** Makes the id, which may be asynchronous. */
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
      const noteChange = (): void => {
        this.draft.note('cookie')
        this.noteChange()
      }
      this.#cookie = new SessionCookie({ noteChange }, this.attributes, cookieLifeOf(this.lifetime), this.cookieEnd)
    }
    return this.#cookie
  }

  /** The attributes of the cookie. Doesn't create the cookie object. */
  get attributes (): Attributes {
    return this.#cookie ?? attributesOf(this.#attributes, this.visit.isOverHttps)
  }

  /** Whether the cookie is sent as configured, because no handler has used it. */
  get hasPlainCookie (): boolean {
    return this.#cookie === undefined && this.#attributes === this.visit.cookie
  }

  /** The lifetime, with the handler's choice since the last write. */
  get lifetime (): Lifetime {
    const choice = this.#choice
    return choice === undefined ? this.life.lifetime : { ...this.life.lifetime, chosen: choice.life }
  }

  /** The object that a handler receives. */
  get session (): FastifySessionObject {
    return (this.#session ??= this.context.createSession(this))
  }

  /** Whether the application has used the session, so that the response may depend on it. */
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

  /** Whether a handler has chosen a lifetime since the last write. */
  get wasChosen (): boolean {
    return this.#choice !== undefined
  }

  /** Whether the visitor's cookie can't be used as it came, because an older secret signed it. */
  get mustSignAgain (): boolean {
    return this.standing === 'stored' && this.found.signedId === undefined
  }

  /** Whether a claim of the session must be renewed. */
  get claimIsAging (): boolean {
    const names = this.context.index?.names ?? []
    // A record without a claim may still belong to a user: it is older than the option, or other software, which drops
    // the claim, has written it. Then the application is asked again.
    const askedAt = this.life.writtenAt ?? (this.record && seenAtOf(this.record))
    return names.some(name => {
      const at = this.claims.get(name)?.claimedAt ?? askedAt
      return at !== undefined && claimIsAging(at, idleOf(this.lifetime), Date.now())
    })
  }

  /** The attributes of the cookie that is sent now. */
  cookieAttributes (end = this.cookieEnd): CookieSerializeOptions {
    const { domain, path, httpOnly, secure, partitioned, sameSite, priority } = this.attributes
    // All keys are set, because `@fastify/cookie` takes missing attributes from its `parseOptions`. Only the priority
    // may come from there.
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
    // As in the registration's cookie, 0 and the like mean that there is none.
    const maxAge = options.maxAge || undefined
    checkCookie({ ...options, maxAge })
    flaws.tellAll(warnOption, mistakesInOptions(options))
    const { cookie } = this
    this.#attributes = { ...this.#attributes, ...options }
    cookie.setAttributes(attributesOf(this.#attributes, this.visit.isOverHttps))
    if (maxAge !== undefined) cookie.maxAge = maxAge
    else if ('maxAge' in options || 'expires' in options) cookie.expires = this.#attributes.expires
    this.wasTouched = true
  }

  /** Prolongs the session, in the store when the reply goes out. Does nothing without a `maxAge`. */
  touch (): void {
    const { cookie, lifetime } = this
    if (typeof cookieLifeOf(lifetime) === 'number') cookie._expires = dateOf(cookieEndOf(lifetime, Date.now()))
    this.wasTouched = true
  }

  /**
   * Makes a write.
   *
   * @param what all changes; only that the session is used (`life`); or only the creation date
   * @param refused the keys to leave out. Keys that can't be written are added
   */
  writing (what: 'all' | 'life' | 'creation', refused?: Refusals): Writing {
    const at = Date.now()
    const kept = this.#keptAt(at)
    const choice = this.#choice
    if (what === 'creation') {
      const { createdAt, absoluteTimeout } = kept
      const changes = { ...NO_FIELDS, meta: { set: { createdAt, absoluteTimeout }, unset: [] } }
      // The end isn't moved.
      return { changes, session: this.forStore({ ...kept, expires: null }), choice: undefined, at }
    }
    const data = what === 'all' ? this.draft.changes(refused) : NO_FIELDS
    if (!this.isInStore) {
      const session = new StoredSession(this.storeKey, data.set, kept)
      return { changes: { ...data, meta: NO_FIELDS }, session, choice, at }
    }
    const isNewLife = choice !== undefined || this.life.isNew
    const claims = claimChanges(this.claims, this.#storedClaims)
    const meta = keptChanges(
      kept, isNewLife, this.life.isOlder, claims, this.#storedAuthenticatedAt, this.boundTo
    )
    return { changes: { ...data, meta }, session: this.forStore(kept), choice, at }
  }

  /** The session for `touch`. A store with `update` needs only the end. */
  forTouch (): StoredSession {
    if (this.context.repository.wantsData) return this.forStore()
    const end = endOf(this.lifetime, this.life.toldAt = Date.now())
    return new StoredSession(this.storeKey, {}, new StoredCookie(dateOf(end)))
  }

  /** The session for a store, with the data that it has. */
  forStore (cookie: object = this.#keptAt(Date.now())): StoredSession {
    // Stores with `update` need no data, and reading all of it would take time.
    const data = this.context.repository.wantsData ? this.draft.stored() : {}
    return new StoredSession(this.storeKey, data, cookie)
  }

  markWritten ({ changes, choice, at }: Writing): void {
    this.life.markWritten(at, choice)
    if (choice !== undefined) {
      SessionCookie.forget(this.cookie, choice)
      this.#takenChoice = undefined
    }
    this.lastWrite = 'whole'
    this.standing = 'written'
    if (this.#cookie !== undefined && !this.wasChosen) this.#cookie._expires = dateOf(this.cookieEnd)
    this.#storedClaims = this.claims
    this.#storedAuthenticatedAt = this.authenticatedAt
    this.draft.rebase(changes)
  }

  /** Takes over these keys from a newer state of the same session, which was read and may have been written. */
  adopt (newer: SessionState, keys: Iterable<string>, recording: Recording): void {
    this.draft.adopt(newer.draft, keys, recording)
    const { writtenAt } = newer.life
    if (writtenAt === undefined) return
    this.life.markWritten(writtenAt, undefined)
    this.life.toldAt = newer.life.toldAt
    this.standing = 'written'
    this.wasSavedByHand = true
    this.claims = this.#storedClaims = newer.claims
    this.authenticatedAt = this.#storedAuthenticatedAt = newer.authenticatedAt
  }

  /**
   * Makes a session that replaces this one.
   *
   * @param removed this session's record, if the store has returned it. Its lifetime is taken along
   */
  successor (found: Found, isRenewal: boolean, removed?: SessionRecord): SessionState {
    const chosen = isRenewal ? this.#chosenOnto(removed) : undefined
    if (isRenewal) this.visit.renewals++
    const line = (this.#line ??= { last: this })
    const inherited = { line, attributes: this.#attributes, chosen, isRenewal }
    return new SessionState(this.context, this.visit, found, inherited)
  }

  /** Takes over a lifetime that a handler chose for the session before, while this one was being loaded. */
  takeChoice (from: SessionState): void {
    this.#takenChoice = from.#choice
  }

  replaceBy (state: SessionState): void {
    this.standing = 'replaced'
    ;(this.#line as Line).last = state
    this.show(state.session)
  }

  /** The latest session of this request that has replaced this one, or itself. */
  get inPlace (): SessionState {
    return this.#line?.last ?? this
  }

  /** The same if only reload() has replaced it; otherwise itself. */
  get reloaded (): SessionState {
    const last = this.inPlace
    return last.#renewals === this.#renewals ? last : this
  }

  show (session: FastifySessionObject | null): void {
    const { request } = this.visit
    if (request !== undefined) this.context.show(request, session)
  }

  /** A handler has changed the session. Warns if that is too late. */
  noteChange (): void {
    const { flaws } = this.context.settings
    if (this.standing === 'replaced' || this.standing === 'destroyed') flaws.tell(warnReplaced)
    else if (this.visit.isTooLate) flaws.tell(warnLateChange)
    else if (this.standing === 'anonymous') flaws.tell(warnAnonymous)
    else this.visit.watch(this)
  }

  tellLostChanges (): void {
    const isAlive = this.standing === 'new' || this.isInStore
    if (!isAlive || !this.isModified()) return
    this.context.settings.flaws.tell(this.visit.phase === 'open' ? warnHijacked : warnLateChange)
  }

  /** When this request uses the session, in milliseconds since the epoch; undefined if it doesn't. */
  get #usedAt (): number | undefined {
    if (!this.visit.rolling && !this.wasTouched && this.isInStore) return this.life.writtenAt
    // The time that the store was told, so that the cookie doesn't end later than the session.
    return this.life.toldAt ?? Date.now()
  }

  /** When the visitor's cookie ends, in milliseconds since the epoch; NaN if that isn't known. */
  get cookieEnd (): number {
    const { lifetime } = this
    const usedAt = this.#usedAt
    return usedAt === undefined ? this.life.knownCookieEnd(lifetime) : cookieEndOf(lifetime, usedAt)
  }

  /** The fields that stores keep under `cookie`, if the session is used at that time. */
  #keptAt (at: number): CookieRecord {
    this.life.toldAt = at
    return keptOf(this.lifetime, this.claims, this.authenticatedAt, this.deviceKey, this.attributes, at)
  }

  /** What a handler chose last. Another request may have chosen it since this one loaded the session. */
  #chosenOnto (newer: SessionRecord | undefined): CookieLife | undefined {
    if (newer === undefined || this.wasChosen) return this.lifetime.chosen
    return lifetimeIn(newer, this.life.lifetime.terms, Date.now()).chosen
  }

  get #choice (): Choice | undefined {
    return (this.#cookie && SessionCookie.choiceOf(this.#cookie)) ?? this.#takenChoice
  }
}

function dateOf (end: number): Date | null {
  return Number.isFinite(end) ? new Date(end) : null
}
