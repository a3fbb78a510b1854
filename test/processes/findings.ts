import { within } from '../waiting'

/** What must not happen. */
export const VIOLATIONS = [
  /** A confirmed write that is not there, or a confirmed removal that is. */
  'lost key',
  /** A session that is gone although nobody ended it. */
  'lost session',
  /** A session that has data after its end. */
  'revived session',
  /** A request that was neither done nor answered with an error that says why. */
  'odd answer',
  /** No reply within a minute. */
  'hung request'
] as const

export type Violation = typeof VIOLATIONS[number]

/** What happens while requests are made. */
export type Phase = 'all is well' | 'a process is gone' | 'the store is away' | 'the store is back'

interface Counts {
  requests: number
  /** 2xx */
  confirmed: number
  /** 409: the session had ended. */
  gone: number
  /** 5xx */
  failed: number
  /** The process ended before it replied. */
  cut: number
  errors: Record<string, number>
}

/** What all clients of one run found out. */
export class Findings {
  phase: Phase = 'all is well'
  readonly counts: Record<Phase, Counts> = {
    'all is well': newCounts(),
    'a process is gone': newCounts(),
    'the store is away': newCounts(),
    'the store is back': newCounts()
  }

  /** What a reply did to the cookie in the browser if its session ended while the request was held up. */
  readonly lateCookies: Record<string, number> = {}
  /** Cookies of sessions whose end was confirmed. */
  readonly ended: string[] = []
  #reached: () => void = () => {}
  readonly #violations = new Map<Violation, string[]>(VIOLATIONS.map(kind => [kind, []]))

  count (what: Exclude<keyof Counts, 'errors'>): void {
    this.counts[this.phase][what]++
    this.#reached()
  }

  /** Resolves as soon as `isEnough` returns true. Only one call may wait at a time. */
  async reach (what: string, isEnough: () => boolean): Promise<void> {
    await within(what, new Promise<void>(resolve => {
      this.#reached = () => { if (isEnough()) resolve() }
      this.#reached()
    }))
  }

  countError (words: string): void {
    increment(this.counts[this.phase].errors, words)
  }

  countLateCookie (words: string): void {
    increment(this.lateCookies, words)
  }

  addViolation (kind: Violation, story: string): void {
    this.violations(kind).push(story)
  }

  total (what: Exclude<keyof Counts, 'errors'>): number {
    return Object.values(this.counts).reduce((sum, counts) => sum + counts[what], 0)
  }

  violations (kind: Violation): string[] {
    return this.#violations.get(kind) as string[]
  }
}

function newCounts (): Counts {
  return { requests: 0, confirmed: 0, gone: 0, failed: 0, cut: 0, errors: {} }
}

function increment (counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1
}
