/** Collects the warnings of the process. */
import * as warnings from '../src/warnings'

export interface Warning extends Error {
  code: string
}

/** The warnings of the process while something runs, as if there had been none before. */
export async function warned (work: () => Promise<unknown>): Promise<Warning[]> {
  for (const warning of Object.values(warnings)) if ('emitted' in warning) warning.emitted = false
  const heard: Warning[] = []
  const hear = (warning: Error): void => {
    if ((warning as Warning).code?.startsWith('FST_SESSION_')) heard.push(warning as Warning)
  }
  process.on('warning', hear)
  await work()
  // Warnings, and the end of a reply, arrive a moment later.
  for (let i = 0; i < 3; i++) await new Promise(resolve => setImmediate(resolve))
  process.off('warning', hear)
  return heard
}
