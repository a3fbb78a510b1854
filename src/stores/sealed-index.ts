import type { Answer, Claimed, Claiming, IndexEntry, Revoking } from '../types/store'

/** Calls a method of the inner store's index by user. */
type Ask = <T>(method: IndexMethod, args: unknown[], answer: Answer<T>) => void
type IndexMethod = 'claim' | 'release' | 'revoke' | 'endingsOf' | 'claimsOf'

/**
 * The index by user of a sealed store, in which users have other names. After a change of the keys, or because an entry
 * is older than the sealing, a user may have several. All are searched, and new entries have the current one.
 */
export class SealedIndex {
  readonly #ask: Ask
  readonly #namesOf: (userKey: string) => string[]

  /** @param namesOf the current name first */
  constructor (ask: Ask, namesOf: (userKey: string) => string[]) {
    this.#ask = ask
    this.#namesOf = namesOf
  }

  /** An existing entry, or that of the replaced session, may be under an older name. */
  claim (userKey: string, key: string, claiming: Claiming, answer: Answer<Claimed>): void {
    const isFound = ({ outcome }: Claimed): boolean => outcome !== 'lost'
    this.#askEach<Claimed>('claim', userKey, [key, claiming], (error, all) => answer(error, all?.at(-1)), isFound)
  }

  release (userKey: string, keys: readonly string[], answer: Answer<void>): void {
    this.#askEach('release', userKey, [keys], error => answer(error))
  }

  revoke (userKey: string, which: Revoking, answer: Answer<number>): void {
    this.#askEach<number>('revoke', userKey, [which], (error, all) => {
      answer(error, all?.reduce((sum, count) => sum + count, 0))
    })
  }

  endingsOf (userKey: string, answer: Answer<string[]>): void {
    this.#askEach<string[]>('endingsOf', userKey, [], (error, all) => answer(error, all && [...new Set(all.flat())]))
  }

  claimsOf (userKey: string, before: number, count: number, answer: Answer<IndexEntry[]>): void {
    this.#askEach<IndexEntry[]>('claimsOf', userKey, [before, count], (error, all) => {
      // If a session is under two names, the current entry counts.
      const entries = new Map(all?.flat().reverse().map(entry => [entry.sessionId, entry]))
      answer(error, [...entries.values()].sort((a, b) => b.claimedAt - a.claimedAt).slice(0, count))
    })
  }

  #askEach<T> (
    method: IndexMethod, userKey: string, args: unknown[], answer: Answer<T[]>, isEnough = (_value: T): boolean => false
  ): void {
    const names = this.#namesOf(userKey)
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
