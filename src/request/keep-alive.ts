import type { Slot } from './slot'
import { prolong, renew } from '../session/operations'
import { idleOf } from '../values/lifetime'

// Also how long a reply that was hijacked is remembered. In milliseconds.
const LONGEST = 60_000

/**
 * Keeps the sessions alive whose requests take longer than they may be idle: whoever waits for an answer isn't idle.
 * One timer for a registration, which keeps no process from ending.
 */
export class KeepAlive {
  /** When each must be prolonged, in milliseconds since the epoch. */
  readonly #open = new Map<Slot, number>()
  #timer: NodeJS.Timeout | undefined
  /** When the timer looks again, in milliseconds since the epoch. */
  #next = Infinity

  begin (slot: Slot): void {
    const now = Date.now()
    const due = dueOf(slot, now)
    if (due === Infinity) return
    this.#open.set(slot, due)
    if (due < this.#next) this.#wait(now, due)
  }

  /** The reply goes out, so its own commit prolongs the session. */
  end (slot: Slot): void {
    this.#open.delete(slot)
  }

  stop (): void {
    clearTimeout(this.#timer)
    this.#open.clear()
  }

  #wait (now: number, until: number): void {
    const milliseconds = Math.min(Math.max(until - now, 1), LONGEST)
    clearTimeout(this.#timer)
    this.#next = now + milliseconds
    this.#timer = setTimeout(() => this.#look(), milliseconds).unref()
  }

  #look (): void {
    const now = Date.now()
    let next = Infinity
    this.#next = Infinity
    for (let [slot, due] of this.#open) {
      if (isOver(slot)) {
        this.#open.delete(slot)
        continue
      }
      if (due <= now) {
        keep(slot)
        due = dueOf(slot, now)
        this.#open.set(slot, due)
      }
      next = Math.min(next, due)
    }
    if (this.#open.size > 0) this.#wait(now, next)
  }
}

function dueOf ({ state }: Slot, now: number): number {
  const idle = state && idleOf(state.lifetime)
  return now + (idle ?? Infinity) / 2
}

/** Whether the reply has been sent, hijacked or given up. */
function isOver ({ visit }: Slot): boolean {
  const reply = visit?.reply
  return visit?.phase !== 'open' || reply === undefined || reply.sent || reply.raw.headersSent || reply.raw.destroyed
}

// What goes wrong is told on the diagnostics channel, and the commit finds it out.
function keep ({ state, visit }: Slot): void {
  if (state === undefined || !state.isInStore || visit?.isBusy === true) return
  const reason = 'the request takes longer than the session may be idle'
  if (state.life.isOutdated) renew(state, () => {}, reason)
  else prolong(state, () => {}, reason)
}
