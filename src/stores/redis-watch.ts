import { OptionError, StoreError } from '../errors'
import { isClosed } from './connection'
import { hearErrors, isCluster, isNodeRedis, keyOnServer, type AnyClient, type RedisClient } from './redis-client'
import type { EndCode } from '../types/store'

/** The methods of a client of node-redis or ioredis that are needed to listen. */
export type RedisSubscriber = RedisClient & { subscribe (...args: any[]): Promise<unknown> }

type OnEnd = (code?: EndCode) => void

// The events of a new connection: of a client of either library, or of a cluster's nodes.
const CONNECTED = ['ready', 'node-ready', 'subscribersReady']

/**
 * Listens for the end of sessions. Each watched session has a channel of its own, so no process receives messages about
 * others. From Redis 7 on, a cluster has the channel on the shard of the session's key.
 */
export class RedisWatch {
  readonly #client: AnyClient
  readonly #subscriber: AnyClient
  readonly #watched = new Map<string, Set<OnEnd>>()
  #isSharded: boolean
  #isListening = false
  readonly #hear = (message: unknown, channel: unknown): void => {
    for (const onEnd of this.#watched.get(String(channel)) ?? []) onEnd(String(message) as EndCode)
  }

  /** @throws FST_ERR_SESSION_OPTION */
  constructor (client: RedisClient, subscriber: AnyClient) {
    const flaw = flawOf(client, subscriber)
    if (flaw !== undefined) throw new OptionError(`store is wrong: the subscriber of a RedisStore ${flaw}`)
    this.#client = client
    this.#subscriber = subscriber
    this.#isSharded = isCluster(subscriber)
  }

  async watch (key: string, onEnd: OnEnd): Promise<() => void> {
    // A subscription would wait for ever.
    if (isClosed(this.#subscriber)) throw new StoreError('watch', 'its subscriber is closed', { cause: undefined })
    this.#listen()
    const channel = keyOnServer(this.#client, key)
    const heard = this.#watched.get(channel) ?? new Set()
    this.#watched.set(channel, heard.add(onEnd))
    const unwatch = (): void => {
      heard.delete(onEnd)
      if (heard.size > 0 || this.#watched.get(channel) !== heard) return
      this.#watched.delete(channel)
      this.#unsubscribe(channel).catch(() => {})
    }
    try {
      await this.#subscribe(channel)
    } catch (error) {
      unwatch()
      throw error
    }
    return unwatch
  }

  #listen (): void {
    if (this.#isListening) return
    this.#isListening = true
    const subscriber = this.#subscriber
    hearErrors(subscriber)
    for (const event of CONNECTED) subscriber.on(event, () => this.#lookAgain())
    if (isNodeRedis(subscriber)) return
    for (const event of ['message', 'smessage']) {
      subscriber.on(event, (channel: unknown, message: unknown) => this.#hear(message, channel))
    }
  }

  /** After a new connection messages may have been lost. Subscribes first, so that none is lost from now on. */
  async #lookAgain (): Promise<void> {
    await Promise.all([...this.#watched.keys()].map(channel => this.#subscribe(channel).catch(() => {})))
    for (const heard of this.#watched.values()) for (const onEnd of heard) onEnd()
  }

  async #subscribe (channel: string): Promise<void> {
    const subscriber = this.#subscriber
    if (this.#isSharded) {
      try {
        if (isNodeRedis(subscriber)) await subscriber.sSubscribe(channel, this.#hear)
        else await subscriber.ssubscribe(this.#unprefixed(channel))
        return
      } catch (error: any) {
        // Redis 6.
        if (!/unknown command/i.test(error?.message)) throw error
        this.#isSharded = false
      }
    }
    if (isNodeRedis(subscriber)) await subscriber.subscribe(channel, this.#hear)
    else await subscriber.subscribe(channel)
  }

  async #unsubscribe (channel: string): Promise<void> {
    const subscriber = this.#subscriber
    const name = this.#isSharded ? (isNodeRedis(subscriber) ? 'sUnsubscribe' : 'sunsubscribe') : 'unsubscribe'
    if (isNodeRedis(subscriber)) await subscriber[name](channel, this.#hear)
    else await subscriber[name](this.#isSharded ? this.#unprefixed(channel) : channel)
  }

  /** ioredis adds its prefix to the channels of shards, and not to others. */
  #unprefixed (channel: string): string {
    return channel.slice(keyOnServer(this.#subscriber, '').length)
  }
}

/** Describes what is wrong with a subscriber; undefined if nothing is. */
function flawOf (client: AnyClient, subscriber: AnyClient): string | undefined {
  if (typeof subscriber?.subscribe !== 'function') return 'must be a client of node-redis or ioredis that can subscribe'
  if (subscriber === client) return 'must be a second client, not the same one: client.duplicate()'
  if (isCluster(subscriber) !== isCluster(client)) return 'must be of the same kind as its client: both a cluster, or neither'
  if (subscriber.isCluster === true && subscriber.options?.shardedSubscribers !== true) {
    return "needs ioredis's option shardedSubscribers: true"
  }
  if (subscriber.isCluster === true && keyOnServer(subscriber, '') !== keyOnServer(client, '')) {
    return 'must have the keyPrefix of its client'
  }
  return undefined
}
