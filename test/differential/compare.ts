/** Compares a program on both versions, fact by fact. */
import { isDeepStrictEqual } from 'node:util'
import { DIFFERENCES, type Difference, type Meant } from './differences'
import type { Program, Request } from './program'
import { clock, nth, start, START, type Facts } from './run'

/** The result of a program on both versions. */
export interface Comparison {
  /** The intended differences, each with where it was first seen. */
  shown: Map<Meant, Difference>
  /** The first difference that is not intended. */
  unmeant: Difference | undefined
  requests: number
  facts: number
}

/** Stops the clock of both libraries: from now on it is moved by programs only. */
export function stopClock (): () => void {
  const { now } = Date
  Date.now = () => clock.now
  return () => { Date.now = now }
}

/** Runs a program on version 11 and on this version. Needs the clock stopped. */
export async function compare (program: Program): Promise<Comparison> {
  const comparison: Comparison = { shown: new Map(), unmeant: undefined, requests: 0, facts: 0 }
  const [version11, version12] = [await start(program, false), await start(program, true)]
  let newest = 0
  clock.now = START
  try {
    for (const [i, request] of program.requests.entries()) {
      clock.now += request.pause
      const [theirs, ours] = [await version11.visit(request), await version12.visit(request)]
      comparison.requests++
      for (const name of new Set([...theirs.keys(), ...ours.keys()])) {
        comparison.facts++
        if (isDeepStrictEqual(theirs.get(name), ours.get(name))) continue
        const difference = differenceOf(name, theirs, ours, program, i, newest)
        const meant = DIFFERENCES.find(({ fits }) => fits(difference))
        if (meant === undefined) comparison.unmeant = difference
        else if (!comparison.shown.has(meant)) comparison.shown.set(meant, difference)
        if (meant?.parts !== undefined || meant === undefined) return comparison
      }
      // As if version 11 had cleared it too.
      if (ours.get('cookie') === 'cleared') version11.forget(request.visitor)
      newest = Math.max(newest, ...sessionsIn(theirs))
    }
    return comparison
  } finally {
    await Promise.all([version11.close(), version12.close()])
  }
}

function differenceOf (
  name: string, theirs: Facts, ours: Facts, { config, requests }: Program, i: number, newest: number
): Difference {
  const request = requests[i] as Request
  const isOfStep = /^\d/.test(name)
  const index = isOfStep ? Number.parseInt(name) : request.steps.length
  const earlier = requests.slice(0, i)
  return {
    fact: name.replace(/^\d+ /, ''),
    theirs: theirs.get(name),
    ours: ours.get(name),
    allOfTheirs: theirs,
    allOfOurs: ours,
    step: isOfStep ? request.steps[index] : undefined,
    index,
    config,
    request,
    did: request.steps.slice(0, index + 1),
    before: earlier.flatMap(({ steps }) => steps),
    isNew: Math.max(...sessionsIn(theirs)) > newest,
    time: clock.now - START,
    wasHttps: earlier.some(({ https }) => https),
    wasHttp: earlier.some(({ https }) => !https)
  }
}

function sessionsIn (facts: Facts): number[] {
  return [...facts].map(([name, value]) => /(look\.id|cookie\.session)$/.test(name) ? nth(value) : 0)
}
