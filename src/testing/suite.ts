import { runnerOr, opener, type CreateStore, type TestContext, type TestFunction } from './context'
import { testContract } from './contract'
import { testIndex, testUsers } from './by-user'
import { testProcesses } from './processes'
import { Findings, type Promises } from './promises'
import { testUpdateIf } from './update-if'
import { testVisits } from './visits'

export interface StoreTestOptions {
  /**
   * What the store promises; `PROMISES` explains each. The suite fails if a declared promise isn't kept, or if
   * the store keeps one that isn't declared, so the list stays true. `'measure'` tests everything, and prints the list.
   *
   * @default {}, none of them
   */
  promises?: Partial<Promises> | 'measure'
  /**
   * `test` of `node:test`, or `t.test` of tap.
   *
   * @default that of `node:test`
   */
  test?: TestFunction
}

/**
 * Tests everything that the library needs from a store: the store itself, an application that uses it, and two
 * processes that share it. The last two run only if the store itself passes. If the store doesn't promise something,
 * the suite asserts what happens instead.
 *
 * @param createStore returns an empty store for each test
 * @returns the findings, after all tests
 */
export async function testStore (
  createStore: CreateStore, { promises = {}, test }: StoreTestOptions = {}
): Promise<Findings> {
  const findings = new Findings(promises)
  const open = opener(createStore)
  const run = await runnerOr(test)
  let hasFailed = false
  const noting = (t: TestContext): TestContext => ({
    after: end => t.after(end),
    test: (name, run) => t.test(name, async t => {
      await run(t).catch(error => {
        hasFailed = true
        throw error
      })
    })
  })
  await run('the store itself', async t => {
    await testContract(noting(t), findings, open)
    await testUpdateIf(noting(t), open)
  })
  await run('its index by user', t => testIndex(noting(t), findings, open))
  // The others would fail for the same reasons, after long timeouts.
  if (hasFailed && promises !== 'measure') return findings
  // If release() is broken, it would be called for ever.
  if (!hasFailed) await run('for operators', t => testUsers(t, findings, open))
  await run('for visitors', t => testVisits(t, findings, open))
  await run('for visitors of two processes', t => testProcesses(t, findings, open))
  if (promises === 'measure') console.log(`${hasFailed ? 'Fix what fails first. ' : ''}The store keeps\n${findings}`)
  return findings
}
