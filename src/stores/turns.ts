import { AsyncResource } from 'node:async_hooks'

type Task = (release: () => void) => void

interface Waiting {
  readonly isShared: boolean
  readonly start: Task
}

/** Those who want the turn of one session. */
interface Line {
  readonly waiting: Waiting[]
  running: number
  /** How many have had their turn. */
  begun: number
  /** Whether those that run share the turn. */
  isShared: boolean
  isCalling: boolean
}

/**
 * Turns of one session come in the order of asking: one at a time, or several that share one. A turn that is free is
 * taken synchronously.
 */
export class Turns {
  readonly #lines = new Map<string, Line>()

  /**
   * @param patience how long to wait for the turn, in milliseconds
   * @param giveUp is called instead of the task when that was not enough; with whether others had their turn since
   * @param isShared whether others that share may run at the same time
   */
  take (sessionId: string, patience: number, giveUp: (hasMoved: boolean) => void, task: Task, isShared = false): void {
    let line = this.#lines.get(sessionId)
    if (line === undefined) {
      this.#lines.set(sessionId, line = { waiting: [], running: 0, begun: 0, isShared, isCalling: false })
    }
    if (line.waiting.length === 0 && isFree(line, isShared)) {
      this.#start(sessionId, line, { isShared, start: task })
      return
    }
    const { waiting, begun } = line
    const impatience = setTimeout(AsyncResource.bind(() => {
      waiting.splice(waiting.indexOf(one), 1)
      giveUp(line.begun > begun)
      this.#callNext(sessionId, line)
    }), patience)
    // What waits continues in its own context, and not in that of the request before it.
    const start: Task = AsyncResource.bind((release: () => void) => {
      clearTimeout(impatience)
      task(release)
    })
    const one: Waiting = { isShared, start }
    waiting.push(one)
  }

  #start (sessionId: string, line: Line, { isShared, start }: Waiting): void {
    line.running++
    line.begun++
    line.isShared = isShared
    start(() => {
      line.running--
      this.#callNext(sessionId, line)
    })
  }

  // A loop and no recursion: behind a store that answers at once, a long line would overflow the stack.
  #callNext (sessionId: string, line: Line): void {
    if (line.isCalling) return
    line.isCalling = true
    for (let next = line.waiting[0]; next !== undefined && isFree(line, next.isShared); next = line.waiting[0]) {
      line.waiting.shift()
      this.#start(sessionId, line, next)
    }
    line.isCalling = false
    if (line.running === 0 && line.waiting.length === 0) this.#lines.delete(sessionId)
  }
}

function isFree ({ running, isShared }: Line, wantsToShare: boolean): boolean {
  return running === 0 || (isShared && wantsToShare)
}
