import { AsyncResource } from 'node:async_hooks'
import { setMaxListeners } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { isEndCode, SessionEndedError } from './ended'
import type { SessionEndings, SessionState } from './state'
import type { Connection } from './visit'
import type { Settings } from '../options/settings'
import { eachOf, promised } from '../stores/call'
import { has } from '../stores/methods'
import type { Repository } from '../stores/repository'
import type { Terms } from '../values/lifetime'
import { warnNotWatching } from '../warnings'
import type { EndCode, StoreKey } from '../types/store'

// How long a message may take that a store sends, in milliseconds.
const GRACE = 200

/** A signal that is to fire. */
interface Follower {
  readonly signal: AbortSignal
  fire (error: Error): void
  /** Until a request has written it, the store needn't have it. */
  state: SessionState
  /** Waits no more for the end of the request. */
  stop (): void
}

/** A session whose end somebody wants to know. */
interface Followed {
  readonly terms: Terms
  /** By what closes when their request is over. All that have no request are one: nobody says when it isn't needed. */
  readonly followers: Map<Connection | undefined, Follower>
  /** Ends what the store does for it. */
  unwatch?: (() => unknown) | undefined
}

/**
 * The sessions of a registration whose `signal` was read. They are told of what this process ends, and the store is
 * asked for them now and then, by one timer that keeps no process from ending. Asking prolongs nothing.
 */
export class Endings implements SessionEndings {
  readonly #settings: Settings
  readonly #repository: Repository
  readonly #followed = new Map<StoreKey, Followed>()
  readonly #signals = new WeakMap<SessionState, AbortSignal>()
  readonly #hear = (storeKey: StoreKey, code: EndCode): void => this.#end(storeKey, code)
  #timer: NodeJS.Timeout | undefined
  /** The last round of looking. A slow store isn't asked twice at the same time. */
  #round: Promise<unknown> = Promise.resolve()

  constructor (settings: Settings, repository: Repository) {
    this.#settings = settings
    this.#repository = repository
  }

  signalOf (state: SessionState): AbortSignal {
    let signal = this.#signals.get(state)
    if (signal === undefined) this.#signals.set(state, signal = this.#signalFor(state.reloaded))
    return signal
  }

  stop (): void {
    for (const [storeKey, followed] of this.#followed) this.#forget(storeKey, followed)
  }

  #signalFor (state: SessionState): AbortSignal {
    const code = whyEnded(state)
    if (code !== undefined) return AbortSignal.abort(new SessionEndedError(code))
    const { visit: { cookie, connection } } = state
    // Of a request that is over, or of a session that could not be loaded, nothing is to be told.
    if (state.standing === 'anonymous' || connection?.destroyed === true) return new AbortController().signal
    const { storeKey } = state
    const known = this.#followed.get(storeKey)
    const followed = known ?? this.#follow(storeKey, cookie.terms)
    // A request may reload its session as often as it likes.
    const follower = followed.followers.get(connection) ?? this.#join(state, followed, connection)
    follower.state = state
    // A store may tell at once.
    if (known === undefined && has(this.#settings.store, 'watch')) this.#watch(storeKey, followed)
    return follower.signal
  }

  #join (state: SessionState, followed: Followed, connection: Connection | undefined): Follower {
    const { storeKey } = state
    const { followers } = followed
    const controller = new AbortController()
    const leave = (): void => {
      followers.delete(connection)
      if (followers.size === 0) this.#forget(storeKey, followed)
    }
    connection?.once('close', leave)
    // Any number may wait for it.
    setMaxListeners(0, controller.signal)
    const follower: Follower = {
      state,
      signal: controller.signal,
      // Not in the context of whoever ends the session.
      fire: AsyncResource.bind((error: Error) => controller.abort(error)),
      stop: () => connection?.off('close', leave)
    }
    followers.set(connection, follower)
    return follower
  }

  #follow (storeKey: StoreKey, terms: Terms): Followed {
    const followed: Followed = { terms, followers: new Map() }
    this.#followed.set(storeKey, followed)
    this.#repository.recent.hearers.add(this.#hear)
    if (this.#timer === undefined) this.#wait()
    return followed
  }

  /** Has the store tell. What it fails to tell is found by looking. */
  async #watch (storeKey: StoreKey, followed: Followed): Promise<void> {
    const { store, flaws } = this.#settings
    try {
      followed.unwatch = await store.watch?.(storeKey, code => {
        if (this.#followed.get(storeKey) !== followed) return
        if (isEndCode(code)) this.#end(storeKey, code)
        else this.#lookSoon()
      })
    } catch {
      flaws.tell(warnNotWatching)
    }
    if (this.#followed.get(storeKey) !== followed) unwatch(followed)
    // It may have ended before the store began to tell.
    else await this.#look(storeKey, followed)
  }

  #forget (storeKey: StoreKey, followed: Followed): void {
    this.#followed.delete(storeKey)
    for (const { stop } of followed.followers.values()) stop()
    unwatch(followed)
    if (this.#followed.size > 0) return
    this.#repository.recent.hearers.delete(this.#hear)
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #end (storeKey: StoreKey, code: EndCode): void {
    const followed = this.#followed.get(storeKey)
    if (followed === undefined) return
    this.#forget(storeKey, followed)
    const error = new SessionEndedError(code)
    for (const { fire } of followed.followers.values()) fire(error)
  }

  /** At once, but all that ask for it are one. */
  #lookSoon (): void {
    clearTimeout(this.#timer)
    this.#wait(0)
  }

  // A little earlier than the option says, so that not all processes ask at the same time.
  #wait (milliseconds = this.#settings.watchInterval * (1 - Math.random() / 10)): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#round = this.#round.then(() => this.#lookAtAll())
    }, milliseconds).unref()
  }

  async #lookAtAll (): Promise<void> {
    await eachOf([...this.#followed], ([storeKey, followed]) => this.#look(storeKey, followed))
    if (this.#followed.size > 0 && this.#timer === undefined) this.#wait()
  }

  /** A failure of the store isn't the end of the session. */
  async #look (storeKey: StoreKey, followed: Followed): Promise<void> {
    for (const [connection, { state }] of followed.followers) {
      if (connection !== undefined && state.standing === 'new') return
    }
    const isThere = await promised(answer => this.#repository.inspect(storeKey, followed.terms, answer)).then(
      stored => stored !== undefined, () => true
    )
    if (isThere) return
    // The store may be about to tell why.
    if (followed.unwatch !== undefined) await pause(GRACE, undefined, { ref: false })
    if (this.#followed.get(storeKey) === followed) this.#end(storeKey, 'expired')
  }
}

/** Whether the store can is its own affair: nobody waits for it. */
async function unwatch (followed: Followed): Promise<void> {
  try {
    await followed.unwatch?.()
  } catch {}
}

/** Why a session has ended, as far as this process knows. */
function whyEnded (state: SessionState): EndCode | undefined {
  const { standing, since, context: { repository } } = state
  if (standing === 'replaced') return 'replaced'
  const code = state.hasId ? repository.recent.endSince(state.storeKey, since) : undefined
  return standing === 'gone' || standing === 'destroyed' ? code ?? 'expired' : code
}
