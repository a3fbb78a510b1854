type Task = (release: () => void) => void

/** One at a time per session, in the order of asking. A turn that is free is taken synchronously. */
export class Turns {
  readonly #waiting = new Map<string, Task[]>()

  /**
   * @param patience how long to wait for the turn, in milliseconds
   * @param giveUp is called instead of the task when that was not enough
   */
  take (sessionId: string, patience: number, giveUp: () => void, task: Task): void {
    const queue = this.#waiting.get(sessionId)
    if (queue === undefined) {
      this.#waiting.set(sessionId, [])
      this.#run(sessionId, task)
      return
    }
    const impatience = setTimeout(() => {
      queue.splice(queue.indexOf(waiting), 1)
      giveUp()
    }, patience)
    const waiting: Task = release => {
      clearTimeout(impatience)
      task(release)
    }
    queue.push(waiting)
  }

  // A loop and no recursion: behind a store that answers at once, a long queue would overflow the stack.
  #run (sessionId: string, task: Task | undefined): void {
    while (task !== undefined) {
      let isRunning = true
      let wasReleased = false
      task(() => {
        if (isRunning) wasReleased = true
        else this.#run(sessionId, this.#next(sessionId))
      })
      isRunning = false
      task = wasReleased ? this.#next(sessionId) : undefined
    }
  }

  #next (sessionId: string): Task | undefined {
    const next = this.#waiting.get(sessionId)?.shift()
    if (next === undefined) this.#waiting.delete(sessionId)
    return next
  }
}
