import { AsyncResource } from 'node:async_hooks'
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

/** A signal that is to fire. */
interface Follower {
  readonly signal: AbortSignal
  fire (error: Error): void
  /** Of a request: until its session is written, the store needn't have it. */
  state?: SessionState
  /** Of a request: when that is closed, nobody follows any more. */
  readonly connection?: Connection
  /** Stops waiting for that. */
  readonly stop?: () => void
}

/** A session whose end somebody wants to know. */
interface Followed {
  readonly terms: Terms
  readonly followers: Set<Follower>
  /** For whoever has no request that would be over: one for all of them, because nobody says when one isn't needed. */
  lasting?: AbortSignal
  /** Ends what the store does for it. */
  unwatch?: () => void
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
  #isLooking = false
  /** Whether messages were lost since the last round began. */
  #hasLost = false

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
    const controller = new AbortController()
    const { visit: { cookie, connection } } = state
    // Of a request that is over, or of a session that could not be loaded, nothing is to be told.
    if (state.standing === 'anonymous' || connection?.destroyed === true) return controller.signal
    const { storeKey } = state
    const followed = this.#followed.get(storeKey) ?? this.#follow(storeKey, cookie.terms)
    if (connection === undefined && followed.lasting !== undefined) return followed.lasting
    // Not in the context of whoever ends the session.
    const fire = AsyncResource.bind((error: Error) => controller.abort(error))
    const { signal } = controller
    if (connection === undefined) {
      followed.followers.add({ signal, fire })
      return (followed.lasting = signal)
    }
    // A request may reload its session as often as it likes.
    const known = [...followed.followers].find(follower => follower.connection === connection)
    if (known !== undefined) {
      known.state = state
      return known.signal
    }
    const leave = (): void => {
      followed.followers.delete(follower)
      if (followed.followers.size === 0) this.#forget(storeKey, followed)
    }
    const stop = (): void => { connection.off('close', leave) }
    const follower: Follower = { signal, fire, state, connection, stop }
    followed.followers.add(follower)
    connection.once('close', leave)
    return signal
  }

  #follow (storeKey: StoreKey, terms: Terms): Followed {
    const followed: Followed = { terms, followers: new Set() }
    this.#followed.set(storeKey, followed)
    this.#repository.recent.hearers.add(this.#hear)
    this.#wait()
    if (has(this.#settings.store, 'watch')) this.#watch(storeKey, followed)
    return followed
  }

  /** Has the store tell. What it fails to tell is found by looking. */
  async #watch (storeKey: StoreKey, followed: Followed): Promise<void> {
    const { store, flaws } = this.#settings
    try {
      const unwatch = await store.watch?.(storeKey, code => {
        if (this.#followed.get(storeKey) !== followed) return
        if (isEndCode(code)) this.#end(storeKey, code)
        else this.#lookSoon()
      })
      followed.unwatch = unwatch
    } catch {
      flaws.tell(warnNotWatching)
    }
    if (this.#followed.get(storeKey) !== followed) followed.unwatch?.()
    // It may have ended before the store began to tell.
    else await this.#look(storeKey, followed)
  }

  #forget (storeKey: StoreKey, followed: Followed): void {
    this.#followed.delete(storeKey)
    for (const { stop } of followed.followers) stop?.()
    followed.unwatch?.()
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
    for (const { fire } of followed.followers) fire(error)
  }

  /** At once, but all that ask for it are one. */
  #lookSoon (): void {
    this.#hasLost = true
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#wait(0)
  }

  // A little earlier than the option says, so that not all processes ask at the same time.
  #wait (milliseconds = this.#settings.watchInterval * (1 - Math.random() / 10)): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#wait()
      this.#lookAtAll()
    }, milliseconds).unref()
  }

  async #lookAtAll (): Promise<void> {
    // A slow store isn't asked twice at the same time.
    if (this.#isLooking) return
    this.#isLooking = true
    do {
      this.#hasLost = false
      await eachOf([...this.#followed], ([storeKey, followed]) => this.#look(storeKey, followed))
    } while (this.#hasLost)
    this.#isLooking = false
  }

  /** A failure of the store isn't the end of the session. */
  async #look (storeKey: StoreKey, followed: Followed): Promise<void> {
    const isNew = ({ state }: Follower): boolean => state?.standing === 'new'
    if ([...followed.followers].some(isNew)) return
    const isThere = await promised(answer => this.#repository.inspect(storeKey, followed.terms, answer)).then(
      stored => stored !== undefined, () => true
    )
    if (!isThere && this.#followed.get(storeKey) === followed) this.#end(storeKey, 'expired')
  }
}

/** Why a session has ended, as far as this process knows. */
function whyEnded (state: SessionState): EndCode | undefined {
  const { standing, since, context: { repository } } = state
  if (standing === 'replaced') return 'replaced'
  const code = state.hasId ? repository.recent.endSince(state.storeKey, since) : undefined
  return standing === 'gone' || standing === 'destroyed' ? code ?? 'expired' : code
}
