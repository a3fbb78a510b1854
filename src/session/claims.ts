import type { Owners } from './owners'
import type { SessionState } from './state'
import { fingerprint } from '../diagnostics'
import { TooManyError } from '../errors'
import type { UserSettings } from '../options/settings'
import { promised } from '../stores/call'
import type { KeyedClaimed, Repository, Stored } from '../stores/repository'
import { renewalOf } from '../values/claim'
import { endOf, idleOf } from '../values/lifetime'
import type { Answer, EndCode, StoreKey } from '../types/store'

type Write = (answer: Answer<boolean>) => void

/** What is done with the sessions of a user beside the one that is written. */
interface OfUser {
  /** Whose a session is as the store has it. Older software drops that, so then the application is asked. */
  ownerIn (storeKey: StoreKey, stored: Stored): string | undefined
  /** The same, as the application sees it today. */
  ownerToday (storeKey: StoreKey, stored: Stored): string | undefined
  /** Ends sessions that are revoked already. */
  endAll (userKey: string, storeKeys: readonly StoreKey[], code: EndCode): Promise<unknown>
  /** Drops entries of sessions that have ended by themselves. */
  tidy (userKey: string, count: number): Promise<unknown>
  /** Drops the entry of a session, unless the store has the session as the user's. */
  dropIfVain (userKey: string, storeKey: StoreKey): Promise<unknown>
}

/** Keeps the store's index by user right as sessions are written. */
export class Claims {
  readonly #settings: UserSettings
  readonly #owners: Owners
  readonly #repository: Repository
  readonly #ofUser: OfUser

  constructor (settings: UserSettings, owners: Owners, repository: Repository, ofUser: OfUser) {
    this.#settings = settings
    this.#owners = owners
    this.#repository = repository
    this.#ofUser = ofUser
  }

  /** Writes a session, and enters it as its user's. Answers whether it is still there. */
  write (state: SessionState, write: Write, answer: Answer<boolean>): void {
    let userKey: string | undefined
    let before: string | undefined
    const { authenticatedAt } = state
    try {
      userKey = this.#owners.keyOf(state.session)
      before = this.#claimedBefore(state)
      state.authenticatedAt = this.authenticatedAt(state, userKey, before)
    } catch (error) {
      answer(error as Error)
      return
    }
    const isSame = userKey === before && state.replaces === undefined
    // A session whose life became longer, by a handler or by the configuration, must not outlive its entry.
    const isOlder = state.claimIsAging || state.wasChosen || state.life.isOutdated
    if (isSame && (userKey === undefined || !isOlder)) {
      write(answer)
      return
    }
    const entered = userKey === undefined
      ? this.#leave(state, write)
      : isSame ? this.#renew(userKey, state, write) : this.#enter(userKey, state, write)
    entered.then(found => answer(null, found), error => {
      state.authenticatedAt = authenticatedAt
      answer(error)
    })
  }

  /** When the visitor authenticated last, as it is written now: a session that becomes a user's is a login. */
  authenticatedAt (
    state: SessionState, userKey = this.#owners.keyOf(state.session), before = this.#claimedBefore(state)
  ): number | undefined {
    const isSame = (state.isInStore && userKey === before) || userKey === this.ownerBefore(state)
    if (isSame) return state.authenticatedAt
    return userKey === undefined ? undefined : Date.now()
  }

  /**
   * Whose the session was before this request changed it. The application is asked: it may call its users otherwise
   * since the record was written, and nobody has logged in by that.
   */
  ownerBefore (state: SessionState): string | undefined {
    const { claim, life, found: { stored }, storeKey, isInStore, ownerTaken } = state
    if (!isInStore) return ownerTaken
    return stored === undefined || life.writtenAt !== undefined
      ? claim?.userKey
      : this.#ofUser.ownerToday(storeKey, stored)
  }

  /** A record without an owner is asked: its session, from before the option, mustn't be refused as a login. */
  #claimedBefore ({ claim, life, found: { stored }, storeKey }: SessionState): string | undefined {
    if (claim !== undefined || stored === undefined || life.writtenAt !== undefined) return claim?.userKey
    return this.#ofUser.ownerIn(storeKey, stored)
  }

  /** Nobody is logged in any more. */
  async #leave (state: SessionState, write: Write): Promise<boolean> {
    const { claim: before } = state
    state.claim = undefined
    const isWritten = await this.#written(state, write, before)
    if (isWritten) await this.#leaveOthers(undefined, before?.userKey, state)
    return isWritten
  }

  /** Never refused, and never the visitor's failure: the index finds sessions, and the session itself is there. */
  async #renew (userKey: string, state: SessionState, write: Write): Promise<boolean> {
    const { claim: before } = state
    const claimed = await this.#claim(userKey, state, { max: Infinity }).catch(() => undefined)
    if (claimed?.outcome === 'ending') return await this.#giveUp(userKey, state)
    if (claimed !== undefined) state.claim = { userKey, claimedAt: Date.now() }
    const isWritten = await this.#written(state, write, before)
    if (!isWritten) await this.#release(userKey, state.storeKey)
    return isWritten
  }

  /**
   * Claimed first, then written, then claimed again: whoever revokes the user's sessions in between makes it one that
   * is to be ended, and it finds that out.
   */
  async #enter (userKey: string, state: SessionState, write: Write): Promise<boolean> {
    const { claim: before, storeKey } = state
    const { maxPerUser, refuses } = this.#settings
    let isWritten = false
    try {
      if (await this.#place(userKey, state) !== 'entered') return await this.#giveUp(userKey, state)
      state.claim = { userKey, claimedAt: Date.now() }
      isWritten = await this.#written(state, write, before)
    } finally {
      // One that failed to write keeps nobody's place. A failure may come after the write, as when its time is over.
      if (!isWritten) await this.#ofUser.dropIfVain(userKey, storeKey).catch(() => {})
    }
    if (!isWritten) return false
    await this.#leaveOthers(userKey, before?.userKey, state)
    const written = { max: maxPerUser, isWritten: true }
    const again = await this.#claim(userKey, state, written).catch(async (error: Error) => {
      // Nobody knows whether it was revoked.
      await this.#end(userKey, state).catch(() => {})
      throw error
    })
    if (again.outcome !== 'entered') return await this.#giveUp(userKey, state)
    if (again.tooMany.length > 0) await this.#ofUser.endAll(userKey, again.tooMany, 'limit')
    return refuses || !again.tooMany.includes(storeKey)
  }

  /** @throws FST_ERR_SESSION_TOO_MANY */
  async #place (userKey: string, state: SessionState): Promise<KeyedClaimed['outcome']> {
    const { maxPerUser } = this.#settings
    const replaces = state.replaces?.userKey === userKey ? state.replaces.storeKey : undefined
    const claim = async (): Promise<KeyedClaimed> => await this.#claim(userKey, state, { max: maxPerUser, replaces })
    let { outcome } = await claim()
    if (outcome === 'full') {
      await this.#ofUser.tidy(userKey, maxPerUser)
      outcome = (await claim()).outcome
    }
    if (outcome === 'full') throw new TooManyError(maxPerUser)
    return outcome
  }

  async #claim (
    userKey: string, state: SessionState, how: { max: number, replaces?: string | undefined, isWritten?: boolean }
  ): Promise<KeyedClaimed> {
    const { storeKey, lifetime } = state
    const now = Date.now()
    const left = endOf(lifetime, now) - now
    const claiming = {
      fingerprint: fingerprint(storeKey),
      // Touches may move the end by so much before the index hears of it again.
      lives: left === Infinity ? null : Math.max(left, 0) + renewalOf(idleOf(lifetime)),
      refuses: this.#settings.refuses,
      isWritten: false,
      ...how
    }
    const claimed = await promised<KeyedClaimed>(answer => {
      this.#repository.claim(userKey, storeKey, claiming, answer)
    })
    return claimed as KeyedClaimed
  }

  async #written (state: SessionState, write: Write, before: SessionState['claim']): Promise<boolean> {
    let isWritten = false
    try {
      isWritten = await promised(write) === true
    } finally {
      if (!isWritten) state.claim = before
    }
    return isWritten
  }

  /**
   * Off the user whose it was, and off the place of the session that it replaces. What fails is dropped when it is
   * seen.
   */
  async #leaveOthers (userKey: string | undefined, before: string | undefined, state: SessionState): Promise<void> {
    const { storeKey, replaces } = state
    state.replaces = undefined
    if (before !== undefined && before !== userKey) await this.#release(before, storeKey)
    if (replaces !== undefined && replaces.userKey !== userKey) {
      await this.#release(replaces.userKey, replaces.storeKey)
    }
  }

  /** The session was revoked: it is ended here, whoever else does it, too. */
  async #giveUp (userKey: string, state: SessionState): Promise<boolean> {
    const { storeKey } = state
    await promised(answer => this.#repository.end(storeKey, answer, 'revoked'))
    await this.#release(userKey, storeKey)
    return false
  }

  async #end (userKey: string, { storeKey }: SessionState): Promise<void> {
    await promised(answer => this.#repository.destroy(storeKey, answer, 'revoked'))
    await this.#release(userKey, storeKey)
  }

  async #release (userKey: string, storeKey: StoreKey): Promise<void> {
    await promised<void>(answer => this.#repository.release(userKey, [storeKey], answer)).catch(() => {})
  }
}
