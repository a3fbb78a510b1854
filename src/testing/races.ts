/**
 * Requests that race for one session, in every order that there is, through the real plugin. Nothing is left to chance: what
 * is found can be seen again.
 */
import assert from 'node:assert/strict'
import { clock, HOUR, opener, runnerOr, type CreateStore, type TestFunction } from './context'
import { judge, NEEDS_TEAMS, NEEDS_USERS, REQUESTS, type Breach, type RequestName } from './race-ops'
import { Track } from './track'
import type { Choose, RaceEvent, RaceOptions } from './race-options'

/** A promise that was not kept. */
export interface Violation extends Breach {
  events: readonly RaceEvent[]
  /** In how many schedules. */
  count: number
  /** The first of these, step by step. S0 is the session that all requests came with. */
  schedule: readonly string[]
}

export interface RaceResult {
  /** How many schedules were run: all that there are. */
  schedules: number
  /** How many of them did not keep every promise. */
  violated: number
  /** The different ways in which they did not. */
  violations: Violation[]
}

const A_DAY = 24 * HOUR
const EVENTS: readonly RaceEvent[] = [
  ...(Object.keys(REQUESTS) as RequestName[]).filter(request => !NEEDS_USERS.includes(request) && !NEEDS_TEAMS.includes(request)), 'expire'
]

/** Other ways to do the same: each races with what there is, and not with another one of these. */
const VARIANTS: readonly RaceEvent[] = ['remember by options', 'save unawaited', 'log in unawaited', 'log out of both']

/** All pairs of events. */
export const PAIRS: ReadonlyArray<readonly RaceEvent[]> = combinations(2, EVENTS).filter(events =>
  events.filter(event => VARIANTS.includes(event)).length < 2)

/** All pairs of events, and all triples of the simplest requests. */
export const RACES: ReadonlyArray<readonly RaceEvent[]> = [...PAIRS, ...combinations(3, ['read', 'write a', 'write b', 'log out'])]

/** Pairs of a request that ends sessions by the index by user, and one that could get in its way. */
export const USER_RACES: ReadonlyArray<readonly RaceEvent[]> = (['revoke', 'revoke others'] as const).flatMap(revoke =>
  (['read', 'write a', 'renew', 'log out', 'revoke'] as const).map(request => [revoke, request]))

/** Pairs of a request that sets the user on an existing id, and one that could get in its way. */
export const OWNER_RACES: ReadonlyArray<readonly RaceEvent[]> = ([
  'read', 'write a', 'renew', 'log in', 'log out', 'become eva', 'remember', 'touch', 'revoke users'
] as const).map(request => ['become eva', request])

/** Pairs of a request that ends sessions by one name, and one that changes what it is found by, or renews it: with `teams`. */
export const TEAM_RACES: ReadonlyArray<readonly RaceEvent[]> = [
  ...(['read', 'write a', 'change team', 'become eva', 'renew', 'log out'] as const).map(request => ['revoke teams', request] as const),
  ['revoke', 'change team'], ['revoke users', 'change team'],
  ['change team', 'change team'], ['change team', 'become eva'], ['change team', 'renew']
]

export interface RaceTestOptions extends Omit<RaceOptions, 'store' | 'expire'> {
  /**
   * Which races are run: a list of lists of events.
   *
   * @default PAIRS; RACES has triples of the simplest requests, too, and takes three times as long
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
 * Fails where a race breaks a promise of `RACE_PROMISES`, and tells in which order of the store's calls that happens first.
 * Every store should pass that answers `get`, `set` and `destroy`: within one process the library sees to it.
 *
 * @param createStore returns an empty store
 * @returns how many schedules there were
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
    assert.equal(violated, 0, `in ${violated} of ${schedules} orders a promise is broken, at first so: ${JSON.stringify(first, undefined, 2)}`)
  })
  return result
}

/** Runs several races, one after the other. `Date.now()` is the kit's meanwhile. */
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

/** Runs events that begin at the same time in every order of their calls to the store. `Date.now()` is the kit's meanwhile. */
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
 * Runs something again and again, until each sequence of choices that it leads to was taken once: each run repeats the
 * choices of the one before up to the last that has another alternative, and takes that. Answers the number of runs.
 *
 * @throws when a run does not repeat itself, because nobody could say then that all of them were seen
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

/** All ways to take some of the events, one of them more than once too. Of two that differ in the names of keys only, one. */
function combinations (size: number, events: readonly RaceEvent[]): RaceEvent[][] {
  const all = (size: number, from: number): RaceEvent[][] => size === 0
    ? [[]]
    : events.slice(from).flatMap((event, i) => all(size - 1, from + i).map(others => [event, ...others]))
  const count = (race: RaceEvent[], wanted: RaceEvent): number => race.filter(event => event === wanted).length
  return all(size, 0).filter(race => count(race, 'write a') >= count(race, 'write b'))
}
