/** The part of docs/stores.md about what is lost. */
import type { Losses } from './visitor'

export interface Row extends Losses {
  name: string
}

export interface Conditions {
  date: Date
  node: string
  processors: number
  /** The load of the machine before the measurement: processes that ran or waited to run. */
  load: number
}

export function tableOf (rows: readonly Row[], { date, node, processors, load }: Conditions): string {
  const lines = [
    ['Store', 'Writes confirmed', 'lost', 'Logouts confirmed', 'revived'],
    ['---', '--:', '--:', '--:', '--:'],
    ...rows.map(({ name, writes, lost, logouts, revived }) => [name, count(writes), share(lost, writes), count(logouts), share(revived, logouts)])
  ]
  const day = date.toLocaleDateString('en-GB', { dateStyle: 'long' })
  return [
    ...lines.map(cells => `| ${cells.join(' | ')} |`),
    '',
    `Measured on ${day}, with Node.js ${node} on ${processors} processors, which servers, processes and visitors share with other`,
    `work (a load of ${load.toFixed(1)} before it began). The busier the machine, the longer the calls, and the more is lost.`
  ].join('\n')
}

function count (number: number): string {
  return number.toLocaleString('en')
}

function share (part: number, all: number): string {
  return part === 0 ? '0' : `${part} (${(part / all * 100).toFixed(1)} %)`
}
