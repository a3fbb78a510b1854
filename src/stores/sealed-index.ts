import type { Answer, Claimed, Claiming, IndexEntry, Revoking } from '../types/store'

/** Calls a method of the inner store's index by user. */
type Ask = <T>(method: IndexMethod, args: unknown[], answer: Answer<T>) => void
type IndexMethod = 'claim' | 'release' | 'revoke' | 'endingsOf' | 'claimsOf'

/**
 * The index by user of a sealed store. In the inner store, users have other names, which depend on the keys. A user may
 * have several: after a change of the keys, or if an entry is older than the sealing. All are searched, and new entries
 * get the current one.
 */
export class SealedIndex {
  readonly #ask: Ask
  readonly #namesOf: (userKey: string) => string[]

  /** @param namesOf the current name first */
  constructor (ask: Ask, namesOf: (userKey: string) => string[]) {
    this.#ask = ask
    this.#namesOf = namesOf
  }

  /** The entry of a session that this one replaces may be under an older name. */
  claim (userKey: string, key: string, claiming: Claiming, answer: Answer<Claimed>): void {
    const [name, ...before] = this.#namesOf(userKey) as [string, ...string[]]
    const { replaces } = claiming
    const enter = (answer: Answer<Claimed>): void => this.#ask('claim', [name, key, claiming], answer)
    enter((error, claimed) => {
      if (replaces === undefined || before.length === 0 || claimed?.outcome !== 'lost') return answer(error, claimed)
      this.#adopt(name, before, replaces, claiming, (error, adopted) => {
        if (adopted?.outcome === 'entered') enter(answer)
        else answer(error, adopted)
      })
    })
  }

  release (userKey: string, keys: readonly string[], answer: Answer<void>): void {
    this.#askEach('release', this.#namesOf(userKey), [keys], error => answer(error))
  }

  /**
   * Revokes under the older names before and after the current one, so that a session that moves from one name to
   * another in the meantime is found.
   */
  revoke (userKey: string, which: Revoking, answer: Answer<number>): void {
    const names = this.#namesOf(userKey)
    this.#askEach<number>('revoke', [...names.slice(1).reverse(), ...names], [which], mapped(answer, all =>
      all.reduce((sum, count) => sum + count, 0)))
  }

  endingsOf (userKey: string, answer: Answer<string[]>): void {
    this.#askEach<string[]>('endingsOf', this.#namesOf(userKey), [], mapped(answer, all =>
      // A store that answers something else would be asked for ever.
      [...new Set(all.flat().filter(key => typeof key === 'string'))]))
  }

  claimsOf (userKey: string, before: number, count: number, answer: Answer<IndexEntry[]>): void {
    this.#askEach<IndexEntry[] | undefined>('claimsOf', this.#namesOf(userKey), [before, count], mapped(answer, all => {
      // If a session is under two names, the current entry counts.
      const entries = new Map(all.flatMap(list => [...list ?? []]).reverse().map(entry => [entry.sessionId, entry]))
      return [...entries.values()].sort((a, b) => b.claimedAt - a.claimedAt).slice(0, count)
    }))
  }

  /**
   * Enters a session that has an entry under an older name under the current one too, so that its successor is entered
   * there. Then looks for the old entry again: a revocation in between has removed it, and a later one finds both.
   */
  #adopt (
    name: string, before: readonly string[], key: string, { fingerprint, lives }: Claiming, answer: Answer<Claimed>
  ): void {
    const claiming: Claiming = { fingerprint, lives, refuses: false, isWritten: false, max: Infinity }
    this.#ask<Claimed>('claim', [name, key, claiming], error => {
      if (error !== null) return answer(error)
      const isFound = (claimed: Claimed | undefined): boolean => claimed?.outcome !== 'lost'
      this.#askEach<Claimed>('claim', before, [key, { ...claiming, isWritten: true }], (error, all) => {
        const found = all?.at(-1)
        if (found?.outcome === 'entered') answer(null, found)
        else this.#ask<void>('release', [name, [key]], () => answer(error, found))
      }, isFound)
    })
  }

  #askEach<T> (
    method: IndexMethod, names: readonly string[], args: unknown[], answer: Answer<T[]>,
    isEnough = (_value: T): boolean => false
  ): void {
    const all: T[] = []
    const next = (): void => this.#ask<T>(method, [names[all.length], ...args], (error, value) => {
      if (error !== null) return answer(error)
      all.push(value as T)
      if (all.length === names.length || isEnough(value as T)) answer(null, all)
      else next()
    })
    next()
  }
}

/** Answers with what a function makes of an answer. If the function throws, the inner store has answered wrongly. */
export function mapped<T, Result> (answer: Answer<Result>, make: (value: T) => Result): Answer<T> {
  return (error, value) => {
    if (error !== null) return answer(error)
    let result: Result
    try {
      result = make(value as T)
    } catch (thrown) {
      return answer(thrown as Error)
    }
    answer(null, result)
  }
}
