/** What the process is warned about. */
import * as warnings from '../src/warnings'

export interface Warning extends Error {
  code: string
}

/** What the process is warned about in the meantime, as if nothing had been before. */
export async function warned (work: () => Promise<unknown>): Promise<Warning[]> {
  for (const warning of Object.values(warnings)) if ('emitted' in warning) warning.emitted = false
  const heard: Warning[] = []
  const hear = (warning: Error): void => {
    if ((warning as Warning).code?.startsWith('FST_SESSION_')) heard.push(warning as Warning)
  }
  process.on('warning', hear)
  await work()
  // Warnings, and the end of a reply, come a moment later.
  for (let i = 0; i < 3; i++) await new Promise(resolve => setImmediate(resolve))
  process.off('warning', hear)
  return heard
}
