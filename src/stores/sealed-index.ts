import type { Answer, Claimed, Claiming, IndexEntry, Revoking } from '../types/store'

/** Asks the inner store a method of its index by user. */
type Ask = <T>(method: IndexMethod, args: unknown[], answer: Answer<T>) => void
type IndexMethod = 'claim' | 'release' | 'revoke' | 'endingsOf' | 'claimsOf'

/**
 * The index by user of a store that is sealed: users have other names there. One who has several (since the keys were
 * changed, or from before the store was sealed) is looked for by all of them, and entered by today's.
 */
export class SealedIndex {
  readonly #ask: Ask
  readonly #namesOf: (userKey: string) => string[]

  /** @param namesOf today's first */
  constructor (ask: Ask, namesOf: (userKey: string) => string[]) {
    this.#ask = ask
    this.#namesOf = namesOf
  }

  /** A session that must be there, or its predecessor, may be so under a name from before. */
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
      // Of one that is there by two names, the entry of today's.
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
