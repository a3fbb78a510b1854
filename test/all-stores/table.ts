/** The table and its explanations in docs/stores.md. */
import { PROMISES, type Findings, type PromiseName } from '../../src/testing/promises'
import type { RaceResult } from '../../src/testing/races'

export interface Row {
  /** The store, with its version and its client's. */
  name: string
  findings: Findings
  races: Pick<RaceResult, 'schedules' | 'violated'>
}

const columns = Object.entries(PROMISES).flatMap(([name, promised]) => {
  return 'title' in promised ? [{ name: name as PromiseName, ...promised }] : []
})

export function tableOf (rows: readonly Row[]): string {
  const broken = columns.filter(({ name }) => rows.some(({ findings }) => findings.kept(name) === false))
  const cell = (kept: boolean | undefined, column: typeof columns[number]): string => {
    if (kept === undefined) return '–'
    return kept ? 'yes' : `no <sup>${broken.indexOf(column) + 1}</sup>`
  }
  const lines = [
    ['Store', 'Races', ...columns.map(({ title }) => title)],
    ['---', ...['', ...columns].map(() => ':-:')],
    ...rows.map(({ name, findings, races }) => [
      name, `${races.violated} / ${races.schedules}`, ...columns.map(column => cell(findings.kept(column.name), column))
    ])
  ]
  return [
    ...lines.map(cells => `| ${cells.join(' | ')} |`),
    '',
    'What the columns mean:',
    '',
    '- **Races**: of all orders in which the store calls of two racing requests can follow each other within one process, in how many a promise was broken.',
    ...columns.map(({ title, kept }) => `- **${title}**: ${kept}`),
    '',
    'Where it says no:',
    '',
    ...broken.map(({ title, otherwise }, i) => `${i + 1}. **${title}**: ${otherwise}`)
  ].join('\n')
}
