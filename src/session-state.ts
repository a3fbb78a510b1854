import type { FastifyReply, FastifyRequest, Session as FastifySession } from 'fastify'
import { Draft } from './changes'
import { GoneError, SessionIdError } from './errors'
import type { Settings } from './options'
import type { Repository } from './repository'
import { createSession } from './session'
import { expiryOf, SessionCookie } from './session-cookie'
import type { Answer } from './stores/call'
import type { SessionChanges, SessionRecord } from './stores/store'
import type { CookieOptions, FastifySessionObject } from './types'
import { warnHijacked, warnLateChange, warnReplaced } from './warnings'

/** What every session of one registration shares. */
export interface Context {
  readonly settings: Settings
  readonly repository: Repository
}

/** Where a session came from. */
export interface Origin {
  readonly request: FastifyRequest
  /** Unknown outside the normal course of a request. */
  readonly reply?: FastifyReply
  readonly cookieOptions: CookieOptions
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
}

/** One session as one request knows it: what the store has, what changed, and what became of it. */
export class SessionState {
  readonly request: FastifyRequest
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
  readonly #origin: Origin
  readonly #since: number
  #cookieOptions: CookieOptions
  #sessionId: string | undefined
  #signedId: string | undefined
  #cookie: SessionCookie | undefined
  #session: FastifySessionObject | undefined
  #optionsWereSet = false
  #isWatched = false

  constructor (context: Context, origin: Origin) {
    this.#context = context
    this.#origin = origin
    this.request = origin.request
    this.#cookieOptions = origin.cookieOptions
    this.#sessionId = origin.sessionId
    this.#signedId = origin.signedId
    this.isStored = origin.record !== undefined
    this.isTouched = origin.isTouched === true
    this.#since = origin.loadedAt ?? context.repository.now
    this.draft = new Draft(origin.record ?? {})
  }

  /** Made on first use: a visitor who gets no session costs no id. */
  get sessionId (): string {
    return (this.#sessionId ??= newSessionId(this.#context.settings, this.request))
  }

  get signedId (): string {
    return (this.#signedId ??= this.#context.settings.signer.sign(this.sessionId))
  }

  get cookie (): SessionCookie {
    if (this.#cookie === undefined) {
      this.#cookie = new SessionCookie(this.#cookieOptions, this.isOverHttps)
      if (this.#origin.record !== undefined) this.#cookie.restore(this.#origin.record, this.#context.settings.rolling)
    }
    return this.#cookie
  }

  /** The object in the handler's hand. */
  get session (): FastifySessionObject {
    return (this.#session ??= createSession(this))
  }

  get isOverHttps (): boolean {
    return this.request.protocol === 'https'
  }

  /** Whether the visitor's cookie can't be used as it came, because an older secret signed it. */
  get mustSignAnew (): boolean {
    return this.isStored && this.#origin.signedId === undefined
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
    const { originalMaxAge } = this.cookie
    if (originalMaxAge === null || this.#origin.record === undefined) return false
    // Not turned round: a record that says no expiry is to be written as well.
    return !(expiryOf(this.#origin.record) - Date.now() >= originalMaxAge / 2)
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
    this.#cookie = new SessionCookie(this.#cookieOptions, this.isOverHttps)
    this.#optionsWereSet = true
  }

  /** Writes what changed, or all of a new session. */
  save (answer: Answer<void>): void {
    if (this.status !== 'live') {
      answer(new GoneError())
      return
    }
    const { repository } = this.#context
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
    const failed = (error: Error | null): void => {
      this.hasFailed = true
      answer(error)
    }
    const written = (): void => {
      this.hasFailed = false
      this.isStored = true
      this.wasWritten = true
      this.#optionsWereSet = false
      this.cookie.markWritten()
      this.draft.rebase(changes)
      answer(null)
    }
    if (!this.isStored) {
      const session = { ...changes.set, cookie: this.cookie }
      repository.create(sessionId, session, error => error === null ? written() : failed(error))
      return
    }
    repository.update(sessionId, changes, this.session, (error, found) => {
      if (error === null && found === true) {
        written()
        return
      }
      if (error === null) this.status = 'gone'
      failed(error ?? new GoneError())
    })
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
    const next = this.#successor({ sessionId: newSessionId(this.#context.settings, this.request) })
    const takesData = keys.some(key => this.draft.isStored(key))
    this.#end(keys.length > 0 ? 'take' : 'destroy', (error, removed) => {
      const wasThere = removed !== false && (removed !== undefined || !this.hasEnded)
      // Whoever was logged out meanwhile would be logged in again by what is taken along.
      if (error === null && takesData && !wasThere) {
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
      next.save(answer)
    })
  }

  /** The session as the store has it now. Nothing changes when that can't be had. */
  reload (answer: Answer<void>): void {
    const { isTouched } = this
    const loadedAt = this.#context.repository.now
    this.#context.repository.load(this.sessionId, false, (error, record) => {
      if (error !== null || (record === undefined && this.isStored)) {
        answer(error ?? new GoneError())
        return
      }
      // A lifetime that was set and not saved is dropped, as data are.
      const { maxAge, expires } = this.#origin.cookieOptions
      const what = { sessionId: this.sessionId, signedId: this.#origin.signedId, record, isTouched, loadedAt }
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
      answer(error)
    })
  }

  /** A handler changed the session. Where that comes too late, it is said aloud. */
  noteChange (): void {
    if (this.status === 'replaced' || this.status === 'destroyed') warnReplaced()
    else if (this.isSealed) warnLateChange()
    else this.watch()
  }

  /** Hooks don't run on a hijacked reply, so the end of the response is all there is to notice a lost change by. */
  watch (): void {
    if (this.#isWatched) return
    this.#isWatched = true
    this.#origin.reply?.raw.once('finish', () => {
      if (!this.isSealed && this.status === 'live' && this.isModified()) warnHijacked()
    })
  }

  #end (how: 'destroy' | 'take', answer: Answer<SessionRecord | false>): void {
    // Without an id nobody can have stored it.
    if (this.#sessionId === undefined) answer(null)
    else this.#context.repository[how](this.#sessionId, answer)
  }

  #successor (what: Omit<Origin, 'request' | 'reply' | 'cookieOptions'>, lifetime = this.#lifetime()): SessionState {
    const { request, reply } = this.#origin
    const cookieOptions = { ...this.#cookieOptions, ...lifetime }
    return new SessionState(this.#context, { request, reply, cookieOptions, ...what })
  }

  #lifetime (): CookieOptions {
    const { originalMaxAge, expires } = this.cookie
    return originalMaxAge === null ? { maxAge: undefined, expires: expires ?? undefined } : { maxAge: originalMaxAge }
  }

  #replaceBy (next: SessionState): void {
    this.status = 'replaced'
    this.#show(next.session)
  }

  #show (session: FastifySessionObject | null): void {
    (this.request as { session: FastifySession | null }).session = session
  }
}

function newSessionId ({ idGenerator }: Settings, request: FastifyRequest): string {
  const sessionId: unknown = idGenerator(request)
  if (typeof sessionId === 'string' && sessionId !== '') return sessionId
  // An async one may reject, with nobody there to hear it.
  Promise.resolve(sessionId).catch(() => {})
  throw new SessionIdError()
}
