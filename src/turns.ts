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

  #run (sessionId: string, task: Task): void {
    task(() => {
      const next = this.#waiting.get(sessionId)?.shift()
      if (next === undefined) this.#waiting.delete(sessionId)
      else this.#run(sessionId, next)
    })
  }
}
