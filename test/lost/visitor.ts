import { setTimeout } from 'node:timers/promises'
import { shuffled } from '../processes/client'
import type { Fleet, Question, Reply } from '../processes/fleet'
import { cookieOf, isConfirmed } from '../processes/replies'

/** What visitors were told, and how much of it was wrong. */
export interface Losses {
  /** Writes that were confirmed, on pages without a logout. */
  writes: number
  /** Of these, those that were missing as soon as the page was complete. */
  lost: number
  /** Logouts that were confirmed. */
  logouts: number
  /** Of these, those whose session existed again as soon as the page was complete. */
  revived: number
}

interface Write extends Question {
  key: string
  value: string
}

// A page makes six requests at once. After some pages, the visitor logs out while the page's other requests run.
const READS = 3
const KEYS = ['a', 'b', 'c']
const PAGES = 6
// People look at a page before they open the next one.
const LOOKS = 1000

/** A visitor with a browser that opens pages. Each request of a page goes to a different process than the one before. */
export class Visitor {
  readonly #name: string
  readonly #fleet: Fleet
  readonly #losses: Losses
  #cookie: string | undefined
  #count = 0

  constructor (name: string, fleet: Fleet, losses: Losses) {
    this.#name = name
    this.#fleet = fleet
    this.#losses = losses
  }

  async run (isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await this.#login()
      for (let i = 0; i < PAGES && !isOver(); i++) await this.#open()
      await this.#openAndLogOut()
    }
  }

  async #login (): Promise<void> {
    await setTimeout(Math.random() * LOOKS)
    this.#cookie = cookieOf(await this.#insist({ path: '/login', body: { user: this.#name } }))
  }

  async #open (): Promise<void> {
    const writes = this.#writesOf(KEYS)
    const wasConfirmed = await this.#page(writes)
    const confirmed = writes.filter(wasConfirmed)
    const data = await this.#data()
    this.#losses.writes += confirmed.length
    this.#losses.lost += confirmed.filter(({ key, value }) => data[key] !== value).length
  }

  async #openAndLogOut (): Promise<void> {
    const logout = { path: '/logout', body: {} }
    const wasConfirmed = await this.#page([...this.#writesOf(KEYS.slice(1)), logout])
    if (!wasConfirmed(logout)) return
    const { user } = await this.#data()
    this.#losses.logouts++
    if (user !== undefined) this.#losses.revived++
  }

  /** One write for each key, with a value that no other request writes. */
  #writesOf (keys: readonly string[]): Write[] {
    return keys.map(key => {
      const value = `${this.#name} ${this.#count++}`
      return { path: '/write', body: { [key]: value }, key, value }
    })
  }

  /** Sends all questions at once, with some reads. Returns which were confirmed. */
  async #page (questions: readonly Question[]): Promise<(question: Question) => boolean> {
    await setTimeout(Math.random() * LOOKS)
    const reads = Array.from({ length: READS }, (): Question => ({ path: '/data' }))
    const confirmed = new Set<Question>()
    await Promise.all(shuffled([...questions, ...reads]).map(async question => {
      if (isConfirmed(await this.#ask(question))) confirmed.add(question)
    }))
    return question => confirmed.has(question)
  }

  async #data (): Promise<Record<string, unknown>> {
    return JSON.parse((await this.#insist({ path: '/data' })).body)
  }

  async #ask (question: Question): Promise<Reply> {
    return await this.#fleet.ask({ ...question, cookie: this.#cookie })
  }

  /** Asks until it is confirmed, because a busy store may fail a request. */
  async #insist (question: Question): Promise<Reply> {
    for (;;) {
      const reply = await this.#ask(question)
      if (isConfirmed(reply)) return reply
      await setTimeout(LOOKS)
    }
  }
}
