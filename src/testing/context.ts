/** What the kit needs from a test runner and from a store's author, and how it moves the time. */
import type { SessionStore } from '../types/store'

export const MINUTE = 60_000
export const HOUR = 60 * MINUTE
/** Nothing takes this long, even on a busy machine, unless it hangs. In milliseconds. */
export const PATIENCE = 2 * MINUTE

/** The argument of a test in `node:test` and tap. */
export interface TestContext {
  test (name: string, run: (t: TestContext) => Promise<void>): Promise<unknown>
  /** Runs a function when the test is over. */
  after (end: () => unknown): void
}

/** `test` of `node:test`, or `t.test` of tap. */
export type TestFunction = TestContext['test']

/** A store, and what the kit must know to test it. */
export interface StoreUnderTest {
  store: SessionStore
  /** Makes another store object on the same sessions, as another process has. Missing if they can't be shared. */
  another?: () => SessionStore
  /** Moves the store's own clock, if it has one, in milliseconds. The kit itself moves `Date`. */
  pass?: (milliseconds: number) => Promise<void>
  /**
   * How exact the end is that `touch` and `update` set, as a part of the session's life: 0.01 is a hundredth.
   *
   * @default 0
   */
  grain?: number
}

/** Returns an empty store for one test, alone or with what the kit must know. */
export type CreateStore = (t: TestContext) => SessionStore | StoreUnderTest | Promise<SessionStore | StoreUnderTest>

export type OpenStore = (t: TestContext) => Promise<StoreUnderTest>

/** Returns a function that opens a store, whichever form `createStore` returns. */
export function opener (createStore: CreateStore): OpenStore {
  return async t => {
    const created = await createStore(t)
    return typeof (created as SessionStore).get === 'function' ? { store: created as SessionStore } : created as StoreUnderTest
  }
}

/** The given test function, or that of Node's runner, which is loaded only if needed, because loading starts it. */
export async function runnerOr (test: TestFunction | undefined): Promise<TestFunction> {
  return test ?? (await import('node:test')).test as TestFunction
}

/** A store whose time can be moved without waiting. */
export async function timed (t: TestContext, open: OpenStore): Promise<Required<Omit<StoreUnderTest, 'another'>>> {
  const { advance } = clock(t)
  const { store, pass, grain = 0 } = await open(t)
  return {
    store,
    grain,
    async pass (milliseconds) {
      advance(milliseconds)
      await pass?.(milliseconds)
    }
  }
}

export interface Clock {
  /** How far it was moved, in milliseconds. */
  passed: number
  advance (milliseconds: number): void
}

/** Moves `Date.now()` and `new Date()` without waiting. */
export function clock (t: Pick<TestContext, 'after'>): Clock {
  return replaceTime(t, Date.now)
}

/** The same, but the time stands still between the moves, at a whole second, because cookies have no milliseconds. */
export function stopClock (t: Pick<TestContext, 'after'>, at = Math.floor(Date.now() / 1000) * 1000): Clock {
  return replaceTime(t, () => at)
}

function replaceTime (t: Pick<TestContext, 'after'>, time: () => number): Clock {
  const { Date } = globalThis
  const { now } = Date
  const clock: Clock = { passed: 0, advance: milliseconds => { clock.passed += milliseconds } }
  Date.now = () => time() + clock.passed
  globalThis.Date = new Proxy(Date, {
    construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [Date.now()] : args, newTarget)
  })
  t.after(() => {
    Date.now = now
    globalThis.Date = Date
  })
  return clock
}

/** Records the intervals that are set from now on. They end with the test, because some stores can't stop theirs. */
export function recordIntervals (t: Pick<TestContext, 'after'>): NodeJS.Timeout[] {
  const { setInterval } = globalThis
  const intervals: NodeJS.Timeout[] = []
  globalThis.setInterval = ((...args: Parameters<typeof setInterval>) => {
    const interval = setInterval(...args)
    intervals.push(interval)
    return interval
  }) as typeof setInterval
  t.after(() => {
    globalThis.setInterval = setInterval
    for (const interval of intervals) clearInterval(interval)
  })
  return intervals
}
