/**
 * Requests that race for one session, in every possible order, through the real plugin. Nothing is random, so a finding
 * can be repeated.
 */
import assert from 'node:assert/strict'
import { clock, HOUR, opener, runnerOr, type CreateStore, type TestFunction } from './context'
import { judge, NEEDS_TEAMS, NEEDS_USERS, REQUESTS, type Breach, type RequestName } from './race-ops'
import { Track } from './track'
import type { Choose, RaceEvent, RaceOptions } from './race-options'

/** A broken promise. */
export interface Violation extends Breach {
  events: readonly RaceEvent[]
  /** The number of schedules in which it was broken. */
  count: number
  /** The first of them, step by step. S0 is the session of all requests. */
  schedule: readonly string[]
}

export interface RaceResult {
  /** The number of schedules. All are run. */
  schedules: number
  /** The number of schedules that broke a promise. */
  violated: number
  /** The different ways in which promises were broken. */
  violations: Violation[]
}

const A_DAY = 24 * HOUR
const EVENTS: readonly RaceEvent[] = [
  ...(Object.keys(REQUESTS) as RequestName[]).filter(request => !NEEDS_USERS.includes(request) && !NEEDS_TEAMS.includes(request)), 'expire'
]

/** Variants of the other requests. Each races with the other events, but not with another variant. */
const VARIANTS: readonly RaceEvent[] = ['remember by options', 'save unawaited', 'log in unawaited', 'log out of both']

/** All pairs of events. */
export const PAIRS: ReadonlyArray<readonly RaceEvent[]> = combinations(2, EVENTS).filter(events =>
  events.filter(event => VARIANTS.includes(event)).length < 2)

/** All pairs of events, and all triples of the simplest requests. */
export const RACES: ReadonlyArray<readonly RaceEvent[]> = [...PAIRS, ...combinations(3, ['read', 'write a', 'write b', 'log out'])]

/** Pairs of a request that ends sessions by the index by user, and one that could interfere. */
export const USER_RACES: ReadonlyArray<readonly RaceEvent[]> = (['revoke', 'revoke others'] as const).flatMap(revoke =>
  (['read', 'write a', 'renew', 'log out', 'revoke'] as const).map(request => [revoke, request]))

/** Pairs of a request that sets the user on an existing id, and one that could interfere. */
export const OWNER_RACES: ReadonlyArray<readonly RaceEvent[]> = ([
  'read', 'write a', 'renew', 'log in', 'log out', 'become eva', 'remember', 'touch', 'revoke users'
] as const).map(request => ['become eva', request])

/**
 * With `teams`: pairs of a request that ends sessions by a team, and one that changes the team or renews the session.
 */
export const TEAM_RACES: ReadonlyArray<readonly RaceEvent[]> = [
  ...(['read', 'write a', 'change team', 'become eva', 'renew', 'log out'] as const).map(request => ['revoke teams', request] as const),
  ['revoke', 'change team'], ['revoke users', 'change team'],
  ['change team', 'change team'], ['change team', 'become eva'], ['change team', 'renew']
]

export interface RaceTestOptions extends Omit<RaceOptions, 'store' | 'expire'> {
  /**
   * The races to run: a list of lists of events.
   *
   * @default PAIRS; RACES also has triples of the simplest requests, and takes three times as long
   */
  races?: ReadonlyArray<readonly RaceEvent[]>
  /**
   * `test` of `node:test`, or `t.test` of tap.
   *
   * @default that of `node:test`
   */
  test?: TestFunction
}

/**
 * Fails if a race breaks a promise of `RACE_PROMISES`, and shows the first order of the store's calls in which it does.
 * Every store with `get`, `set` and `destroy` should pass, because the library itself keeps these promises within one
 * process.
 *
 * @param createStore returns an empty store
 * @returns the number of schedules, and of those that broke a promise
 */
export async function testRaces (
  createStore: CreateStore, { races = PAIRS, test, ...options }: RaceTestOptions = {}
): Promise<RaceResult> {
  let result: RaceResult = { schedules: 0, violated: 0, violations: [] }
  const run = await runnerOr(test)
  await run('races of requests break no promise', async t => {
    clock(t)
    const { store, pass } = await opener(createStore)(t)
    result = await raceAll({ ...options, store, expire: async () => await pass?.(A_DAY) }, races)
    const { schedules, violated, violations: [first] } = result
    assert.equal(violated, 0, `a promise is broken in ${violated} of ${schedules} orders. The first: ${JSON.stringify(first, undefined, 2)}`)
  })
  return result
}

/** Runs several races, one after the other. Replaces `Date.now()` in the meantime. */
export async function raceAll (options: RaceOptions, races = RACES): Promise<RaceResult> {
  const sum: RaceResult = { schedules: 0, violated: 0, violations: [] }
  for (const events of races) {
    const { schedules, violated, violations } = await race({ ...options, events })
    sum.schedules += schedules
    sum.violated += violated
    sum.violations.push(...violations)
  }
  return sum
}

/**
 * Runs events that begin at the same time, in every order of their store calls. Replaces `Date.now()` in the meantime.
 */
export async function race ({ events, ...options }: RaceOptions & { events: readonly RaceEvent[] }): Promise<RaceResult> {
  const violations = new Map<string, Violation>()
  let violated = 0
  const track = await Track.open(options)
  try {
    const schedules = await explore(async choose => {
      const { observation, schedule } = await track.run(events, choose)
      const breaches = judge(observation)
      if (breaches.length > 0) violated++
      for (const breach of breaches) {
        const key = JSON.stringify(breach)
        const violation = violations.get(key)
        if (violation === undefined) violations.set(key, { ...breach, events, count: 1, schedule })
        else violation.count++
      }
    })
    return { schedules, violated, violations: [...violations.values()] }
  } finally {
    await track.close()
  }
}

/**
 * Repeats a run until every sequence of choices was taken once. Each run repeats the choices of the one before, up to
 * the last choice that has another alternative, and takes that. Resolves to the number of runs.
 *
 * @throws if a run does not repeat itself, because then it isn't certain that all sequences were run
 */
export async function explore (run: (choose: Choose) => Promise<void>): Promise<number> {
  const path: Array<{ names: string, count: number, chosen: number }> = []
  for (let runs = 1; ; runs++) {
    let depth = 0
    await run(steps => {
      const names = steps.join(', ')
      const choice = path[depth++]
      if (choice === undefined) {
        path.push({ names, count: steps.length, chosen: 0 })
        return 0
      }
      if (choice.names !== names) throw new Error(`The race does not repeat itself: ${choice.names} became ${names}`)
      return choice.chosen
    })
    if (depth < path.length) throw new Error(`The race does not repeat itself: it ended before ${path[depth]?.names}`)
    let last = path.pop()
    while (last !== undefined && last.chosen + 1 === last.count) last = path.pop()
    if (last === undefined) return runs
    path.push({ ...last, chosen: last.chosen + 1 })
  }
}

/** All combinations of events, with repetitions. Of two that differ only in the names of keys, it has one. */
function combinations (size: number, events: readonly RaceEvent[]): RaceEvent[][] {
  const all = (size: number, from: number): RaceEvent[][] => size === 0
    ? [[]]
    : events.slice(from).flatMap((event, i) => all(size - 1, from + i).map(others => [event, ...others]))
  const count = (race: RaceEvent[], wanted: RaceEvent): number => race.filter(event => event === wanted).length
  return all(size, 0).filter(race => count(race, 'write a') >= count(race, 'write b'))
}
