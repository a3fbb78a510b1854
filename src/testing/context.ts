/** What the kit needs of a test runner and of whoever made the store, and how it lets time go by. */
import type { SessionStore } from '../types/store'

export const MINUTE = 60_000
export const HOUR = 60 * MINUTE
/** Nothing that is waited for takes so long, however busy the machine: what does, hangs. */
export const PATIENCE = 2 * MINUTE

/** What `node:test` and tap hand to a test. */
export interface TestContext {
  test (name: string, run: (t: TestContext) => Promise<void>): Promise<unknown>
  /** Has something done when the test is over. */
  after (end: () => unknown): void
}

/** `test` of `node:test`, or `t.test` of tap. */
export type TestFunction = TestContext['test']

/** A store, and what the kit has to know to judge it. */
export interface StoreUnderTest {
  store: SessionStore
  /** What another process has: another object on the same sessions. Missing where no other process can have them. */
  another?: () => SessionStore
  /** Lets the store's own clock go on, in milliseconds, where it has one; the kit moves `Date` itself. */
  pass?: (milliseconds: number) => Promise<void>
  /**
   * By which part of its life the end of a session may be off that `touch` and `update` have moved, as 0.01 for a hundredth.
   *
   * @default 0
   */
  grain?: number
}

/** Returns an empty store for one test: the store itself, or what the kit should know besides. */
export type CreateStore = (t: TestContext) => SessionStore | StoreUnderTest | Promise<SessionStore | StoreUnderTest>

export type OpenStore = (t: TestContext) => Promise<StoreUnderTest>

/** Whichever way a store was given, it is known with what belongs to it. */
export function opener (createStore: CreateStore): OpenStore {
  return async t => {
    const created = await createStore(t)
    return typeof (created as SessionStore).get === 'function' ? { store: created as SessionStore } : created as StoreUnderTest
  }
}

/** `test` of Node's own runner, where no other was given. Loaded then and not before, because it begins to run by that. */
export async function runnerOr (test: TestFunction | undefined): Promise<TestFunction> {
  return test ?? (await import('node:test')).test as TestFunction
}

/** A store whose time goes by without waiting for it. */
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
  /** In milliseconds, since it was set. */
  passed: number
  advance (milliseconds: number): void
}

/** Moves `Date.now()` and `new Date()` without waiting for it. */
export function clock (t: Pick<TestContext, 'after'>): Clock {
  return replaceTime(t, Date.now)
}

/** The same with a time that stands still between the moves: at a whole second, which is what cookies tell. */
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

/** The intervals that are set from now on. They end with the test, because some stores keep no hold of theirs. */
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
