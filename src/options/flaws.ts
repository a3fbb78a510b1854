import type { WarningItem } from 'process-warning'

/** What one registration has been warned about: each flaw once. */
export class Flaws {
  readonly #told = new Set<string>()

  tell (warn: WarningItem, flaw = ''): void {
    const key = `${warn.code} ${flaw}`
    if (this.#told.has(key)) return
    this.#told.add(key)
    warn(flaw)
  }

  tellAll (warn: WarningItem, flaws: readonly string[]): void {
    for (const flaw of flaws) this.tell(warn, flaw)
  }
}
