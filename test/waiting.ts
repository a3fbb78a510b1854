/** How tests wait: for events. The limit fires only where something hangs, and says what. */
import { setTimeout as sleep } from 'node:timers/promises'
import { PATIENCE } from '../src/testing/context'

export { PATIENCE }

const POLL = 50

/** @param details what else to tell when it doesn't come */
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

/** For what happens in another program that doesn't tell. */
export async function until (what: string, isTrue: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + PATIENCE; !await isTrue(); await sleep(POLL)) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`)
  }
}
