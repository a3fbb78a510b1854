import type { FastifyReply, FastifyRequest } from 'fastify'
import { Draft } from './changes'
import { GoneError, SessionIdError } from './errors'
import type { Settings } from './options'
import type { Repository } from './repository'
import { createSession } from './session'
import {
  claimIsAging, claimOf, createdAtOf, expiryOf, hasMaxAge, knowsEnd, SessionCookie, touchedAtOf, type Claim, type Limits
} from './session-cookie'
import type { Answer } from './stores/call'
import type { SessionChanges, SessionRecord } from './stores/store'
import type { CookieOptions, FastifySessionObject } from './types'
import type { Users } from './users'
import { warnAnonymous, warnHijacked, warnLateChange, warnReplaced } from './warnings'

/** What every session of one registration shares. */
export interface Context {
  readonly settings: Settings
  readonly repository: Repository
  /** Only with the option `user`. */
  users?: Users
}

/** What a session is for. */
export interface Visit {
  /** Unknown in a job or a test. */
  readonly request?: FastifyRequest
  /** Unknown outside the normal course of a request. */
  readonly reply?: FastifyReply
  readonly cookieOptions: CookieOptions
  /** Whether this request starts the session's lifetime anew. */
  readonly rolling: boolean
}

/** Where a session came from: a session that the store has, the store's failure, or nothing. */
export interface Found {
  /** Of a session that has an id already. */
  readonly sessionId?: string
  /** The signed id as it came in, when it may go out again as it is. */
  readonly signedId?: string
  /** What the store has under that id. */
  readonly record?: SessionRecord
  /** Whether the store moved the expiry as it answered the record. */
  readonly isTouched?: boolean
  /** When the record was asked for, by the repository's time. */
  readonly loadedAt?: number
  /** Why there is no record: the store failed, and the request goes on without. */
  readonly loadError?: Error
}

/** One session as one request knows it: what the store has, what changed, and what became of it. */
export class SessionState {
  readonly request: FastifyRequest | undefined
  /** `replaced` by regenerate or reload; `gone` from the store, as a write found out. */
  status: 'live' | 'replaced' | 'destroyed' | 'gone' = 'live'
  /** Whether the store has it. */
  isStored: boolean
  /** Whether this request wrote it already, by save() or regenerate(). */
  wasWritten = false
  /** Whether save() or regenerate() could not write it. */
  hasFailed = false
  /** Whether touch() was called. */
  wasTouched = false
  /** Whether the store moved the expiry when it was loaded. */
  readonly isTouched: boolean
  /** Whether the reply has taken what it needs: later changes come too late. */
  isSealed = false

  readonly draft: Draft
  readonly #context: Context
  readonly #visit: Visit
  readonly #found: Found
  readonly #since: number
  #limits: Limits | undefined
  #cookieOptions: CookieOptions
  #sessionId: string | undefined
  #signedId: string | undefined
  #cookie: SessionCookie | undefined
  #session: FastifySessionObject | undefined
  #optionsWereSet = false
  #isWatched = false

  constructor (context: Context, visit: Visit, found: Found = {}) {
    this.#context = context
    this.#visit = visit
    this.#found = found
    this.request = visit.request
    this.#cookieOptions = visit.cookieOptions
    this.#sessionId = found.sessionId
    this.#signedId = found.signedId
    this.isStored = found.record !== undefined
    this.isTouched = found.isTouched === true
    this.#since = found.loadedAt ?? context.repository.now
    this.draft = new Draft(found.record ?? {})
  }

  /** Made on first use: a visitor who gets no session costs no id. */
  get sessionId (): string {
    return (this.#sessionId ??= checkedId(this.#context.settings.idGenerator(this.request)))
  }

  /** Makes the id now, which may take its time. */
  makeId (answer: Answer<void>): void {
    const { idGenerator, idIsAsync } = this.#context.settings
    const take = (sessionId: unknown): void => { this.#sessionId = checkedId(sessionId) }
    const made = idGenerator(this.request)
    if (idIsAsync) {
      (made as Promise<string>).then(take).then(() => answer(null), answer)
      return
    }
    take(made)
    answer(null)
  }

  get signedId (): string {
    return (this.#signedId ??= this.#context.settings.signer.sign(this.sessionId))
  }

  get cookie (): SessionCookie {
    if (this.#cookie === undefined) {
      this.#cookie = this.#newCookie()
      if (this.#found.record !== undefined) this.#cookie.restore(this.#found.record, this.#visit.rolling)
    }
    return this.#cookie
  }

  /** As whose session the store has it. */
  get claim (): Claim | undefined {
    return this.#itsLimits().claim
  }

  set claim (claim: Claim | undefined) {
    this.#itsLimits().claim = claim
  }

  /** Whose list of sessions the handler may see. */
  get users (): Users | undefined {
    return this.#context.users
  }

  /** The object in the handler's hand. */
  get session (): FastifySessionObject {
    return (this.#session ??= createSession(this))
  }

  get isOverHttps (): boolean {
    return this.request?.protocol === 'https'
  }

  /** Whether the visitor's cookie can't be used as it came, because an older secret signed it. */
  get mustSignAnew (): boolean {
    return this.isStored && this.#found.signedId === undefined
  }

  /** Whether touch(), options() or the cookie's setters moved the session's lifetime since it was written. */
  get lifetimeWasSet (): boolean {
    return this.#optionsWereSet || this.#cookie?.lifetimeWasSet === true
  }

  /**
   * Whether half of the session's life has passed since its record was written. An older deployment on the same store
   * judges by the record's own expiry, so it must not grow too old.
   */
  get recordIsAging (): boolean {
    const { originalMaxAge, maxAge } = this.cookie
    if (originalMaxAge === null || maxAge === null || this.#found.record === undefined) return false
    // One of version 9, which does not name it, would be judged by its own expiry.
    if (!hasMaxAge(this.#found.record)) return true
    // Not turned round: a record that says no expiry is to be written as well.
    return !(expiryOf(this.#found.record) - Date.now() >= maxAge / 2)
  }

  /** Whether the store's index by user would forget the session, if it went on living and did not hear of it. */
  get claimIsAging (): boolean {
    return this.#context.users !== undefined && this.claim !== undefined && claimIsAging(this.claim, this.cookie.originalMaxAge)
  }

  /** Whether the record was written less than `refreshAfter` ago. */
  get isFresh (): boolean {
    const { refreshAfter } = this.#context.settings
    const { record } = this.#found
    if (refreshAfter === 0 || record === undefined) return false
    // A session whose own life is shorter would end before it is renewed.
    return (this.cookie.originalMaxAge ?? Infinity) > refreshAfter && Date.now() - touchedAtOf(record) < refreshAfter
  }

  /** Whether the record must be written because it doesn't say by which absolute timeout, and from when, it ends. */
  get isUndated (): boolean {
    const { record } = this.#found
    return record !== undefined && !this.wasWritten && !knowsEnd(record, this.#context.settings.absoluteTimeout)
  }

  get isRolling (): boolean {
    return this.#visit.rolling
  }

  /** Whether the response may depend on the session, because somebody looked at it. */
  get wasUsed (): boolean {
    return this.#session !== undefined
  }

  /** Whether it stands in for a session that could not be loaded. */
  get isAnonymous (): boolean {
    return this.#found.loadError !== undefined
  }

  /** Whether another request of this process has ended the session since this one loaded it. */
  get hasEnded (): boolean {
    return this.#sessionId !== undefined && this.#context.repository.hasEnded(this.#sessionId, this.#since)
  }

  isModified (): boolean {
    return this.draft.isChanged()
  }

  /**
   * Sets cookie options for this session.
   *
   * @throws FST_ERR_SESSION_COOKIE
   */
  setCookieOptions (options: Partial<CookieOptions>): void {
    this.#context.settings.checkCookie(options)
    this.#cookieOptions = { ...this.#cookieOptions, ...this.#lifetime(), ...options }
    this.#cookie = this.#newCookie()
    this.#optionsWereSet = true
  }

  /** Writes what changed, or all of a new session. */
  save (answer: Answer<void>): void {
    if (this.status !== 'live' || this.#found.loadError !== undefined) {
      answer(this.#found.loadError ?? new GoneError())
      return
    }
    let changes: SessionChanges
    let sessionId: string
    try {
      sessionId = this.sessionId
      changes = this.draft.changes()
    } catch (error) {
      answer(error as Error)
      return
    }
    if (!this.cookie.lifetimeWasSet) this.cookie.touch()
    const { users } = this.#context
    const written: Answer<boolean> = (error, found) => {
      if (error !== null || found !== true) {
        if (error === null) this.status = 'gone'
        this.hasFailed = true
        answer(error ?? new GoneError())
        return
      }
      this.hasFailed = false
      this.isStored = true
      this.wasWritten = true
      this.#optionsWereSet = false
      this.cookie.markWritten()
      this.draft.rebase(changes)
      answer(null)
    }
    if (users === undefined) this.#write(sessionId, changes, written)
    else users.write(this, written => this.#write(sessionId, changes, written), written)
  }

  #write (sessionId: string, changes: SessionChanges, answer: Answer<boolean>): void {
    const { repository } = this.#context
    if (this.isStored) repository.update(sessionId, changes, this.session, answer)
    else repository.create(sessionId, { ...changes.set, cookie: this.cookie }, error => answer(error, true))
  }

  /** Starts the lifetime anew, in the store when the reply goes out. */
  touchCookie (): void {
    this.cookie.touch()
    this.wasTouched = true
  }

  /** Moves the expiry in the store. */
  touch (answer: Answer<void>): void {
    this.#context.repository.touch(this.sessionId, this.session, (error, found) => {
      if (error === null && found === false) this.status = 'gone'
      answer(error ?? (this.status === 'gone' ? new GoneError() : null))
    })
  }

  /** A new session for the same visitor, with a new id, which takes the named data along. Writes it; ends this one. */
  regenerate (keys: readonly string[], answer: Answer<void>): void {
    const next = this.#successor()
    next.makeId(error => error === null ? this.#giveWayTo(next, keys, answer) : answer(error))
  }

  #giveWayTo (next: SessionState, keys: readonly string[], answer: Answer<void>): void {
    const takesData = keys.some(key => this.draft.isStored(key))
    this.#end(keys.length > 0 ? 'take' : 'destroy', (error, removed) => {
      const wasThere = removed !== false && (removed !== undefined || !this.hasEnded)
      // Whoever was logged out meanwhile would be logged in again by what is taken along.
      if (error === null && takesData && !wasThere) {
        this.#context.repository.warnGone(this.sessionId)
        this.status = 'gone'
        error = new GoneError()
      }
      if (error !== null) {
        answer(error)
        return
      }
      try {
        for (const key of keys) {
          const value = removed ? this.draft.getOnto(removed, key) : this.draft.get(key)
          if (value !== undefined) next.draft.set(key, value)
        }
      } catch (thrown) {
        answer(thrown as Error)
        return
      }
      this.#replaceBy(next)
      if (this.#sessionId !== undefined) this.#context.repository.markEnded(this.#sessionId, true)
      this.#release(() => next.save(answer))
    })
  }

  /** The session as the store has it now. Nothing changes when that can't be had. */
  reload (answer: Answer<void>): void {
    const { isTouched } = this
    const loadedAt = this.#context.repository.now
    this.#context.repository.load(this.sessionId, false, (error, record) => {
      // Never the id that was brought for a new session.
      if (error !== null || (record === undefined && (this.isStored || this.isAnonymous))) {
        answer(error ?? new GoneError())
        return
      }
      // A lifetime that was set and not saved is dropped, as data are.
      const { maxAge, expires } = this.#visit.cookieOptions
      const what = { sessionId: this.sessionId, signedId: this.#found.signedId, record, isTouched, loadedAt }
      const next = this.#successor(what, { maxAge, expires })
      next.wasWritten = this.wasWritten
      if (this.wasTouched) next.touchCookie()
      this.#replaceBy(next)
      answer(null)
    })
  }

  destroy (answer: Answer<void>): void {
    this.#end('destroy', error => {
      if (error === null) {
        this.status = 'destroyed'
        if (this.#sessionId !== undefined) this.#context.repository.markEnded(this.#sessionId, false)
      }
      this.#show(null)
      if (error === null) this.#release(() => answer(null))
      else answer(error)
    })
  }

  /** A handler changed the session. Where that comes too late, it is said aloud. */
  noteChange (): void {
    if (this.status === 'replaced' || this.status === 'destroyed') warnReplaced()
    else if (this.isSealed) warnLateChange()
    else if (this.isAnonymous) warnAnonymous()
    else this.watch()
  }

  /** Hooks don't run on a hijacked reply, so the end of the response is all there is to notice a lost change by. */
  watch (): void {
    if (this.#isWatched) return
    this.#isWatched = true
    this.#visit.reply?.raw.once('finish', () => {
      if (!this.isSealed && this.status === 'live' && this.isModified()) warnHijacked()
    })
  }

  #end (how: 'destroy' | 'take', answer: Answer<SessionRecord | false>): void {
    // Without an id nobody can have stored it.
    if (this.#sessionId === undefined) answer(null)
    else this.#context.repository[how](this.#sessionId, answer)
  }

  // Off its user's. What fails to be released is dropped when it is listed.
  #release (done: () => void): void {
    const { repository, users } = this.#context
    if (users === undefined || this.claim === undefined || this.#sessionId === undefined) done()
    else repository.release(this.claim.userKey, this.#sessionId, done)
  }

  #successor (found?: Found, lifetime = this.#lifetime()): SessionState {
    const cookieOptions = { ...this.#cookieOptions, ...lifetime }
    return new SessionState(this.#context, { ...this.#visit, cookieOptions }, found)
  }

  #newCookie (): SessionCookie {
    return new SessionCookie(this.#cookieOptions, this.isOverHttps, this.#itsLimits())
  }

  #itsLimits (): Limits {
    if (this.#limits !== undefined) return this.#limits
    const { absoluteTimeout, refreshAfter } = this.#context.settings
    const { record } = this.#found
    // Of a record that doesn't say, its first use.
    const createdAt = (record && createdAtOf(record)) || Date.now()
    return (this.#limits = { createdAt, absoluteTimeout, refreshAfter, claim: record && claimOf(record) })
  }

  #lifetime (): CookieOptions {
    const { originalMaxAge, ownExpires } = this.cookie
    return originalMaxAge === null ? { maxAge: undefined, expires: ownExpires ?? undefined } : { maxAge: originalMaxAge }
  }

  #replaceBy (next: SessionState): void {
    this.status = 'replaced'
    this.#show(next.session)
  }

  #show (session: FastifySessionObject | null): void {
    const request = this.request as unknown as Record<string, unknown> | undefined
    if (request !== undefined) request[this.#context.settings.sessionName] = session
  }
}

function checkedId (sessionId: unknown): string {
  if (typeof sessionId === 'string' && sessionId !== '') return sessionId
  // An async one may reject, with nobody there to hear it.
  Promise.resolve(sessionId).catch(() => {})
  throw new SessionIdError()
}
