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

// How long a store's message may take, in milliseconds.
const GRACE = 200

/** A signal that will abort when its session ends. */
interface Follower {
  readonly signal: AbortSignal
  fire (error: Error): void
  /** If it is new, the store may not have it yet. Outside of requests, nothing else may hold it any more. */
  state: WeakRef<SessionState>
  /** Stops waiting for the end of the request. */
  stop (): void
}

/** A session with at least one signal. */
interface Followed {
  readonly terms: Terms
  /** By the connection of their request. All signals outside of requests share one: nothing says when to drop it. */
  readonly followers: Map<Connection | undefined, Follower>
  /** Stops the store's watch. */
  unwatch?: (() => unknown) | undefined
}

/**
 * The sessions of a registration whose `signal` was read. A signal fires when this process ends the session, or when
 * the store no longer has it. The store is asked regularly, by one timer that doesn't keep the process from ending.
 * Asking doesn't prolong a session.
 */
export class Endings implements SessionEndings {
  readonly #settings: Settings
  readonly #repository: Repository
  readonly #followed = new Map<StoreKey, Followed>()
  readonly #signals = new WeakMap<SessionState, AbortSignal>()
  readonly #hear = (storeKey: StoreKey, code: EndCode): void => this.#end(storeKey, code)
  #timer: NodeJS.Timeout | undefined
  /** The current round of questions. A slow store isn't asked twice at the same time. */
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
    // The request is over, or the session could not be loaded: this signal never fires.
    if (state.standing === 'anonymous' || connection?.destroyed === true) return new AbortController().signal
    const { storeKey } = state
    const known = this.#followed.get(storeKey)
    const followed = known ?? this.#follow(storeKey, cookie.terms)
    // After a reload() it is still the same request, so it keeps its signal.
    const follower = followed.followers.get(connection) ?? this.#join(state, followed, connection)
    follower.state = new WeakRef(state)
    // A store with `watch` may tell at once.
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
    // Any number of listeners is normal.
    setMaxListeners(0, controller.signal)
    const follower: Follower = {
      state: new WeakRef(state),
      signal: controller.signal,
      // The listeners run in the context of this request, and not of the one that ends the session.
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

  /** Lets the store tell when the session ends. If that fails, asking it regularly still works. */
  async #watch (storeKey: StoreKey, followed: Followed): Promise<void> {
    const { store, flaws } = this.#settings
    try {
      followed.unwatch = await store.watch?.(storeKey, code => {
        if (this.#followed.get(storeKey) !== followed) return
        if (isEndCode(code)) this.#end(storeKey, code)
        else this.#lookSoon()
      })
    } catch {
      // When a server closes, its store may close while the watch begins.
      if (this.#followed.get(storeKey) === followed) flaws.tell(warnNotWatching)
    }
    if (this.#followed.get(storeKey) !== followed) unwatch(followed)
    // The session may have ended before the watch began.
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

  /** Asks the store at once. Several calls cause one round. */
  #lookSoon (): void {
    clearTimeout(this.#timer)
    this.#wait(0)
  }

  // A little earlier than the option says, at random, so that processes don't all ask at the same time.
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

  /** Fires if the store doesn't have the session. If the store fails, the session counts as alive. */
  async #look (storeKey: StoreKey, followed: Followed): Promise<void> {
    for (const { state } of followed.followers.values()) if (state.deref()?.standing === 'new') return
    const isThere = await promised(answer => this.#repository.inspect(storeKey, followed.terms, answer)).then(
      stored => stored !== undefined, () => true
    )
    if (isThere) return
    // The store may be about to tell why.
    if (followed.unwatch !== undefined) await pause(GRACE, undefined, { ref: false })
    if (this.#followed.get(storeKey) === followed) this.#end(storeKey, 'expired')
  }
}

/** Nobody waits for this, so a failure is ignored. */
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
