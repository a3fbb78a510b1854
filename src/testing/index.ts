/**
 * A test kit for authors of stores, and for applications that have one: `docs/writing-a-store.md`.
 *
 * ```js
 * const { testStore, testRaces } = require('@fastify/session/testing')
 *
 * testStore(() => new MyStore(), { promises: { touches: true, expires: true } })
 * testRaces(() => new MyStore())
 * ```
 */
export type { CreateStore, StoreUnderTest, TestContext, TestFunction } from './context'
export { AWAY, BROKEN_RECORDS, FAULTS, FaultyStore, type Fault } from './faults'
export { PROMISES, Findings, type PromiseName, type Promises } from './promises'
export { PROMISES as RACE_PROMISES } from './race-ops'
export type { RaceEvent, RaceOptions } from './race-options'
export { PAIRS, race, raceAll, RACES, testRaces, type RaceResult, type RaceTestOptions, type Violation } from './races'
export { testStore, type StoreTestOptions } from './suite'
