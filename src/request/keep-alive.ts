import type { Open, Slot } from './slot'
import { prolong, renew } from '../session/operations'
import { idleOf, type Lifetime } from '../values/lifetime'

// In milliseconds. A hijacked reply stays in the list for at most this long.
const LONGEST = 60_000

/**
 * Prolongs the sessions of requests that take longer than the idle timeout: a visitor who waits for an answer isn't
 * idle. There is one timer per registration, and it doesn't keep the process from ending.
 */
export class KeepAlive {
  /** The newest request. */
  #last: Open | undefined
  #timer: NodeJS.Timeout | undefined
  /** When the timer looks again, in milliseconds since the epoch. */
  #next = Infinity

  begin (slot: Slot): void {
    const now = Date.now()
    const due = dueOf(slot, now)
    if (due === Infinity) return
    const open: Open = { slot, due, before: this.#last, behind: undefined }
    if (this.#last !== undefined) this.#last.behind = open
    this.#last = slot.open = open
    if (due < this.#next) this.#wait(now, due)
  }

  /** The reply goes out, and its commit prolongs the session. */
  end (slot: Slot): void {
    const { open } = slot
    if (open === undefined) return
    slot.open = undefined
    const { before, behind } = open
    if (before !== undefined) before.behind = behind
    if (behind === undefined) this.#last = before
    else behind.before = before
  }

  stop (): void {
    clearTimeout(this.#timer)
    this.#last = undefined
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
    for (let open = this.#last; open !== undefined; open = open.before) {
      const { slot } = open
      if (isOver(slot)) {
        this.end(slot)
        continue
      }
      if (open.due <= now) {
        keep(slot)
        open.due = dueOf(slot, now)
      }
      next = Math.min(next, open.due)
    }
    if (this.#last !== undefined) this.#wait(now, next)
  }
}

function dueOf ({ state }: Slot, now: number): number {
  // Until a lifetime that the handler chose is written, the former one counts, too.
  return now + Math.min(idleIn(state?.lifetime), idleIn(state?.life.lifetime)) / 2
}

function idleIn (lifetime: Lifetime | undefined): number {
  return (lifetime && idleOf(lifetime)) ?? Infinity
}

/** Whether the reply has been sent, hijacked or given up. */
function isOver ({ visit }: Slot): boolean {
  const reply = visit?.reply
  if (visit?.phase !== 'open' || reply === undefined || reply.sent || reply.raw.headersSent) return true
  return visit.connection?.destroyed === true
}

// An error is published on the diagnostics channel. The commit will also get it.
function keep ({ state, visit }: Slot): void {
  if (state === undefined || !state.isInStore || visit?.isBusy === true) return
  const reason = 'the request takes longer than the session may be idle'
  if (state.life.isOutdated) renew(state, () => {}, reason)
  else prolong(state, () => {}, reason)
}
