/** How tests wait for events. The time limit only ends a wait that hangs, and says what was awaited. */
import { setTimeout as sleep } from 'node:timers/promises'
import { PATIENCE } from '../src/testing/context'

export { PATIENCE }

const POLL = 50

/** @param details what else the error says if the event doesn't come */
export async function within<T> (what: string, promise: Promise<T>, details = (): string => ''): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain: ${what} ${details()}`)), PATIENCE)
  })
  try {
    return await Promise.race([promise, limit])
  } finally {
    clearTimeout(timer)
  }
}

/** Polls for something that happens in another program without an event. */
export async function until (what: string, isTrue: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + PATIENCE; !await isTrue(); await sleep(POLL)) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`)
  }
}
