import { fingerprint } from '../diagnostics'
import type { PostgresClient } from './postgres-client'
import type { EndCode } from '../types/store'

type OnEnd = (code?: EndCode) => void

// The first and the longest pause before it connects again, in milliseconds.
const FIRST_PAUSE = 100
const LONGEST_PAUSE = 5000

/**
 * Listens for the end of sessions, on one channel per table. Messages name a session by its fingerprint, because anyone
 * who can connect to the database can listen.
 */
export class PostgresWatch {
  readonly #connect: () => PostgresClient
  /** A statement that returns the channel's name. */
  readonly #channel: string
  readonly #watched = new Map<string, Set<OnEnd>>()
  /** The client that listens; undefined while one still connects. */
  #client: PostgresClient | undefined
  #listening: Promise<void> | undefined
  #retry: NodeJS.Timeout | undefined
  #hasLost = false

  /** @param channel a statement that returns the channel's name */
  constructor (connect: () => PostgresClient, channel: string) {
    this.#connect = connect
    this.#channel = channel
  }

  async watch (sessionId: string, onEnd: OnEnd): Promise<() => void> {
    const print = fingerprint(sessionId)
    const heard = this.#watched.get(print) ?? new Set()
    this.#watched.set(print, heard.add(onEnd))
    const unwatch = (): void => {
      heard.delete(onEnd)
      if (heard.size === 0 && this.#watched.get(print) === heard) this.#watched.delete(print)
    }
    try {
      await this.#listen()
    } catch (error) {
      unwatch()
      throw error
    }
    return unwatch
  }

  /** Opens the connection, which all watched sessions share. */
  #listen (): Promise<void> {
    this.#listening ??= this.#begin().catch(error => {
      this.#listening = undefined
      throw error
    })
    return this.#listening
  }

  async #begin (): Promise<void> {
    const client = this.#connect()
    // So that neither the connection nor an attempt to reconnect keeps the process from ending.
    const unref = (): void => { (client as { unref?: () => void }).unref?.() }
    client.on('notification', ({ payload }) => this.#hear(String(payload)))
    client.on('error', () => this.#lose(client))
    client.on('end', () => this.#lose(client))
    try {
      const connecting = client.connect()
      if (this.#hasLost) unref()
      await connecting
      const { rows: [{ channel }] } = await client.query(this.#channel)
      await client.query(`listen "${channel}"`)
      unref()
    } catch (error) {
      client.end().catch(() => {})
      throw error
    }
    this.#client = client
    if (!this.#hasLost) return
    this.#hasLost = false
    // Messages may have been lost.
    for (const heard of this.#watched.values()) for (const onEnd of heard) onEnd()
  }

  #hear (message: string): void {
    const [print = '', code] = message.split(' ')
    for (const onEnd of this.#watched.get(print) ?? []) onEnd(code as EndCode)
  }

  #lose (client: PostgresClient): void {
    // A client that fails while it connects rejects, too, and whoever began the attempt decides about the next one.
    if (this.#client !== client) return
    this.#client = this.#listening = undefined
    this.#hasLost = true
    client.end().catch(() => {})
    this.#beginAgain(FIRST_PAUSE)
  }

  #beginAgain (pause: number): void {
    // A watch may have connected before the last retry was due.
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => {
      if (this.#watched.size === 0) return
      this.#listen().catch(() => this.#beginAgain(Math.min(2 * pause, LONGEST_PAUSE)))
    }, pause).unref()
  }
}
