import { setTimeout } from 'node:timers/promises'
import { ExpectedSession } from './expected-session'
import type { Findings } from './findings'
import { AllGoneError, HungError, type Fleet, type Member, type Question, type Reply } from './fleet'
import { cookieOf, isClear, isConfirmed, saysGone, wordsOf } from './replies'
import { PATIENCE } from '../waiting'

type Slow = 'read' | 'write' | 'save' | 'renew'
type Meanwhile = 'write' | 'renew' | 'logout'

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f']
const NESTS = ['nest', 'other nest']
const SLOW: readonly Slow[] = ['read', 'write', 'save', 'renew']
const MEANWHILE: readonly Meanwhile[] = ['write', 'renew', 'logout']

// People look at a page before they continue. This keeps two processors busy without overloading them.
const LOOKS = 1000
const PAUSE = 100
const TRIES = PATIENCE / PAUSE

/** A visitor with a browser, who remembers what was confirmed and complains if it isn't so. */
export class Client {
  readonly #name: string
  readonly #fleet: Fleet
  readonly #findings: Findings
  #cookie: string | undefined
  /** Undefined while logged out. */
  #session: ExpectedSession | undefined
  #count = 0

  constructor (name: string, fleet: Fleet, findings: Findings) {
    this.#name = name
    this.#fleet = fleet
    this.#findings = findings
  }

  async run (isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await setTimeout(Math.random() * LOOKS)
      if (this.#session === undefined) await this.#login()
      else await this.#step()
    }
    await this.#insist(() => this.#read())
  }

  /** With the cookie of a session that has ended, nobody is logged in and the session is empty. */
  async expectNobody (cookie: string, how: string): Promise<void> {
    await this.#insist(async () => {
      const reply = await this.#send({ path: '/data', cookie })
      if (!isConfirmed(reply)) return false
      if (reply.body !== '{}') this.#complain('revived session', `${how}, and it holds ${reply.body}`)
      return true
    })
  }

  async #step (): Promise<void> {
    const steps: Array<[chance: number, step: () => Promise<unknown>]> = [
      [30, () => this.#writeInParallel()],
      [15, () => this.#writeNested()],
      [20, () => this.#read()],
      [5, () => this.#remove()],
      [6, () => this.#renew()],
      [7, () => this.#logout()],
      [2, () => this.#login()],
      [15, () => this.#overlap(pick(SLOW), pick(MEANWHILE))]
    ]
    let at = Math.random() * 100
    await steps.find(([chance]) => (at -= chance) < 0)?.[1]()
  }

  // --- What a visitor does. Each write has a different value, so that an older one is noticed.

  async #login (): Promise<void> {
    const old = this.#session === undefined ? undefined : this.#cookie
    const reply = await this.#ask('/login', { user: this.#name })
    if (reply === undefined) {
      this.#forget()
      if (old !== undefined) await this.#makeSureOfEnd(old)
      return
    }
    this.#session = new ExpectedSession()
    this.#session.confirm('user', this.#name)
    if (old !== undefined) await this.#noteEnd(old)
  }

  async #logout (): Promise<void> {
    const old = this.#cookie as string
    const reply = await this.#ask('/logout', {})
    this.#forget()
    if (reply === undefined) await this.#makeSureOfEnd(old)
    else await this.#noteEnd(old)
  }

  async #renew (): Promise<void> {
    const old = this.#cookie as string
    const keep = this.#someKeys()
    await this.#noteRenewal(old, keep, await this.#ask('/renew', { keep }))
  }

  /** Writes different keys through different processes, and reads at the same time. */
  async #writeInParallel (): Promise<void> {
    const keys = shuffled(KEYS).slice(0, 3)
    const [reply] = await Promise.all([this.#ask('/data'), ...keys.map(key => this.#write(key))])
    // The keys that are being written may have their old or new values in it.
    if (reply !== undefined) this.#compare(reply, keys)
  }

  async #write (key: string): Promise<void> {
    const session = this.#session as ExpectedSession
    const value = this.#newValue()
    session.note(key, value, await this.#ask('/write', { [key]: value }) !== undefined)
  }

  async #remove (): Promise<void> {
    const session = this.#session as ExpectedSession
    const key = pick(KEYS)
    session.note(key, undefined, await this.#ask('/write', { [key]: null }) !== undefined)
  }

  /** Writes values inside objects, with one request for each object. */
  async #writeNested (): Promise<void> {
    const session = this.#session as ExpectedSession
    // The request changes an existing object, so the visitor must know what it contains.
    await Promise.all(NESTS.filter(key => !session.isOpen(key)).map(async key => {
      const name = pick(KEYS)
      const value = this.#newValue()
      const expected = { ...session.value(key) as object | undefined, [name]: value }
      session.note(key, expected, await this.#ask('/nest', { key, name, value }) !== undefined)
    }))
  }

  /** Returns whether the read was confirmed. */
  async #read (): Promise<boolean> {
    const reply = await this.#ask('/data')
    if (reply !== undefined) this.#compare(reply)
    return reply !== undefined
  }

  /** A request that has loaded the session is held up in one process while its visitor does something else in the others. */
  async #overlap (what: Slow, meanwhile: Meanwhile): Promise<void> {
    const session = this.#session as ExpectedSession
    const old = this.#cookie as string
    const gate = encodeURIComponent(`${this.#name} ${this.#count++}`)
    const to = this.#fleet.next()
    const value = this.#newValue()
    const keep = this.#someKeys()
    let open = (): void => {}
    const heldUntil = new Promise<void>(resolve => { open = resolve })
    const slow = this.#send({ ...slowQuestion(what, value, keep, gate), cookie: old, heldUntil }, to)
    const held = this.#send({ path: `/gates/${gate}/held` }, to).then(isConfirmed)
    const isHeld = await Promise.race([held, slow.then(() => false)])
    if (meanwhile === 'write') await this.#writeInParallel()
    else if (meanwhile === 'renew') await this.#renew()
    else await this.#logout()
    open()
    await this.#send({ path: `/gates/${gate}/open`, body: {} }, to)
    await held
    const reply = await slow

    if (meanwhile !== 'write') {
      if (isHeld && reply !== undefined) await this.#judgeLate(what, meanwhile, old, reply)
      return
    }
    if (this.#session !== session) return
    if (saysGone(reply)) this.#complain('odd answer', `slow ${what}: a session that nobody ended is gone`)
    if (reply !== undefined) this.#take(reply)
    if (what === 'renew') await this.#noteRenewal(old, keep, reply)
    else if (what !== 'read') session.note('slow', value, isConfirmed(reply))
  }

  /**
   * Checks the reply of a request whose session ended while it was held up. The visitor doesn't take its cookie: if another
   * process has renewed the session, the reply can set or clear the new session's cookie. How often it does is counted.
   */
  async #judgeLate (what: Slow, meanwhile: Meanwhile, old: string, reply: Reply): Promise<void> {
    const story = `slow ${what} after ${meanwhile}`
    if (isConfirmed(reply) && (what === 'save' || what === 'renew')) {
      this.#complain('odd answer', `${story} was confirmed`)
    }
    const sent = cookieOf(reply)
    this.#findings.countLateCookie(`${story}: ${sent === undefined ? 'left alone' : sent === '' ? 'cleared' : 'set'}`)
    if (sent) await this.expectNobody(sent, `sent by a ${story}`)
    await this.expectNobody(old, `ended before a ${story}`)
  }

  // --- How a session ends

  async #noteRenewal (old: string, keep: string[], reply: Reply | undefined): Promise<void> {
    if (isConfirmed(reply)) {
      this.#session = this.#session?.successor(keep)
      await this.#noteEnd(old)
      return
    }
    this.#forget()
    await this.#makeSureOfEnd(old)
  }

  /** The visitor wasn't told whether the session has ended, and logs out again until that is confirmed. */
  async #makeSureOfEnd (cookie: string): Promise<void> {
    await this.#insist(async () => isConfirmed(await this.#send({ path: '/logout', body: {}, cookie })))
    await this.#noteEnd(cookie)
  }

  async #noteEnd (cookie: string): Promise<void> {
    this.#findings.ended.push(cookie)
    await this.expectNobody(cookie, 'ended just now')
  }

  async #insist (isDone: () => Promise<boolean>): Promise<void> {
    for (let i = 0; i < TRIES; i++) {
      if (await isDone()) return
      await setTimeout(PAUSE)
    }
    this.#complain('odd answer', 'nothing but errors')
  }

  #forget (): void {
    this.#session = undefined
    this.#cookie = undefined
  }

  // --- What a visitor knows

  #someKeys (): string[] {
    return ['user', ...shuffled([...KEYS, ...NESTS, 'slow']).slice(0, 5)]
  }

  #newValue (): string {
    return `${this.#name} ${this.#count++}`
  }

  #compare (reply: Reply, except: string[] = []): void {
    if (this.#session === undefined) return
    const data = JSON.parse(reply.body)
    if (data.user !== this.#name) {
      this.#complain('lost session', `is ${data.user} now`)
      this.#forget()
      return
    }
    for (const [key, difference] of this.#session.differences(data)) {
      if (except.includes(key)) continue
      this.#complain('lost key', difference)
      // Complain only once.
      this.#session.confirm(key, data[key])
    }
  }

  #complain (...[kind, story]: Parameters<Findings['addViolation']>): void {
    this.#findings.addViolation(kind, `${this.#name}: ${story}`)
  }

  // --- How a visitor asks

  /** As a browser does: sends the cookie, and takes the one that comes. Returns undefined if the request wasn't confirmed. */
  async #ask (path: string, body?: object): Promise<Reply | undefined> {
    const reply = await this.#send({ path, body, cookie: this.#cookie })
    if (reply !== undefined) this.#take(reply)
    if (saysGone(reply)) this.#complain('odd answer', `${path}: a session that nobody ended is gone`)
    return isConfirmed(reply) ? reply : undefined
  }

  #take (reply: Reply): void {
    const sent = cookieOf(reply)
    if (sent !== undefined) this.#cookie = sent === '' ? undefined : sent
  }

  async #send (question: Question, to?: Member): Promise<Reply | undefined> {
    const findings = this.#findings
    findings.count('requests')
    try {
      const reply = to === undefined ? await this.#fleet.ask(question) : await to.ask(question)
      if (!isClear(question, reply)) this.#complain('odd answer', `${question.path}: ${reply.status} ${reply.body}`)
      findings.count(isConfirmed(reply) ? 'confirmed' : saysGone(reply) ? 'gone' : 'failed')
      if (!isConfirmed(reply)) findings.countError(wordsOf(reply))
      return reply
    } catch (error) {
      if (error instanceof AllGoneError) throw error
      findings.count('cut')
      if (error instanceof HungError) this.#complain('hung request', question.path)
      return undefined
    }
  }
}

function slowQuestion (what: Slow, value: string, keep: string[], gate: string): Question {
  const body = { slow: value }
  if (what === 'read') return { path: `/data?gate=${gate}` }
  if (what === 'write') return { path: `/write?gate=${gate}`, body }
  if (what === 'save') return { path: `/write?gate=${gate}&save`, body }
  return { path: `/renew?gate=${gate}`, body: { keep } }
}

function pick<T> (values: readonly T[]): T {
  return values[Math.floor(Math.random() * values.length)] as T
}

export function shuffled<T> (values: readonly T[]): T[] {
  const drawn = values.map(value => ({ value, order: Math.random() }))
  return drawn.sort((a, b) => a.order - b.order).map(({ value }) => value)
}
