/** For `npm run compare`: prints each intended difference as its example shows it. */
import { compare, stopClock } from './compare'
import { DIFFERENCES } from './differences'
import { printTable } from '../../scripts/table'

async function main (): Promise<void> {
  const rows: string[][] = []
  stopClock()
  for (const [i, meant] of DIFFERENCES.entries()) {
    const { shown, unmeant } = await compare(meant.example)
    const seen = shown.get(meant)
    if (seen === undefined || unmeant !== undefined) process.exitCode = 1
    const fact = seen === undefined ? 'not seen' : `${seen.fact}: ${text(seen.theirs)} in 11, ${text(seen.ours)} in 12`
    rows.push([String(i + 1), meant.version11, meant.version12, fact, meant.why])
  }
  printTable(['', '@fastify/session 11.1.3', 'this version', 'seen', 'why'], rows, [2, 38, 30, 32, 32])
}

function text (value: unknown): string {
  return typeof value === 'object' && value !== null ? JSON.stringify(value).slice(0, 60) : String(value)
}

main()
