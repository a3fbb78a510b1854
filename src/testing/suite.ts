import { runnerOr, opener, type CreateStore, type TestContext, type TestFunction } from './context'
import { testContract } from './contract'
import { testIndex, testUsers } from './by-user'
import { testProcesses } from './processes'
import { Findings, type Promises } from './promises'
import { testUpdateIf } from './update-if'
import { testVisits } from './visits'

export interface StoreTestOptions {
  /**
   * What the store promises; `PROMISES` says what each means. One that is kept and not declared fails the suite as one that
   * is declared and not kept does, so the list stays true. `'measure'` asks everything, and prints the list.
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
 * Asks a store all that the library needs of it: by itself, for visitors of an application that keeps its sessions there,
 * and for those of two processes: these two when the store itself does well. Where the store doesn't promise something, the
 * suite asserts what happens instead.
 *
 * @param createStore returns an empty store to each test
 * @returns what was found, when all tests are done
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
  // The others would fail for the same reasons, and wait for what doesn't come.
  if (hasFailed && promises !== 'measure') return findings
  // A release that releases nothing would be called again and again.
  if (!hasFailed) await run('for operators', t => testUsers(t, findings, open))
  await run('for visitors', t => testVisits(t, findings, open))
  await run('for visitors of two processes', t => testProcesses(t, findings, open))
  if (promises === 'measure') console.log(`${hasFailed ? 'Mend what fails first. ' : ''}The store keeps\n${findings}`)
  return findings
}
