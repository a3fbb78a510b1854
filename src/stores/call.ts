import { AsyncResource } from 'node:async_hooks'
import { isPromise as isNativePromise } from 'node:util/types'
import { isSession } from './answers'
import { kindOf } from '../values/kind'
import { STORE_AWAY, StoreError, StoreTimeoutError } from '../errors'
import type { Answer, SessionStore } from '../types/store'

export type Method =
  'get' | 'getAndTouch' | 'inspect' | 'set' | 'destroy' | 'touch' | 'update' | 'updateIf' | 'claim' | 'release' | 'revoke' |
  'endingsOf' | 'claimsOf' | 'length' | 'watch' | 'all' | 'clear'

// As many calls as don't keep other visitors waiting.
const AT_ONCE = 32

const NOTHING: readonly unknown[] = []

const SWAPPED = 'it handed the session to its callback as the error. The error comes first: callback(null, session)'

// What a method did in place of an answer, for whoever writes the store.
const SILENT = 'it neither called its callback nor returned a promise. Check that it always does one of them, and that ' +
  'the store can be reached, or raise storeTimeout'
const UNCALLED = 'its promise was fulfilled, but it never called the callback that it declares. Call it, or declare none'
const RETURNED = 'it returned a value, which counts for nothing. Declare the method async, or hand the value to its ' +
  'callback'

/**
 * One call to any store, answered exactly once: by its callback, by its promise or by the time limit, whichever comes
 * first. A store that answers before it returns is answered for synchronously.
 *
 * @param timeout in milliseconds; Infinity if whoever asks sees to the time
 * @param comeLate is called when the store answers after its time
 * @param more what the method gets after its callback
 */
export function callStore<T> (
  store: SessionStore, method: Method, args: unknown[], timeout: number, answer: Answer<T>,
  comeLate?: () => void, more = NOTHING
): void {
  let answered = false
  let isLate = false
  let returned = false
  let early: [Error | null, T?] | undefined
  let advice = STORE_AWAY

  function settle (failure: unknown, value?: T): void {
    if (answered) {
      if (isLate) comeLate?.()
      isLate = false
      return
    }
    answered = true
    const error = failure ? toError(failure, method) : null
    if (!returned) {
      // What follows may throw, and must not do so inside the store.
      early = [error, value]
      return
    }
    clearTimeout(timer)
    try {
      // A store that answers several requests at once answers all of them in the context of one.
      context.runInAsyncScope(answer, undefined, error, value)
    } catch (thrown) {
      // The same for a late answer: let it surface where no store can catch it and call back again.
      queueMicrotask(() => { throw thrown })
    }
  }

  try {
    const fn = store[method] as (...args: unknown[]) => unknown
    const declaresCallback = fn.length > args.length
    const result = fn.call(store, ...args, (failure: unknown, value?: T) => whenThere(failure, value, settle), ...more)
    if (isPromise(result)) {
      // A callback may come later than the promise, which doesn't count then. A rejection always does.
      const fulfilled = declaresCallback ? () => { advice = UNCALLED } : (value: unknown) => settle(null, value as T)
      result.then(fulfilled, error => settle(error || 'unknown error'))
    } else if (!answered) {
      const isSession = isAnswer(method, result)
      advice = isSession || (!declaresCallback && result !== undefined) ? RETURNED : SILENT
      // A store that has the session in hand may still call back, but not later than this.
      if (isSession && !declaresCallback) setImmediate(settle, misuse(method))
    }
  } catch (thrown) {
    settle(thrown || 'unknown error')
  }
  returned = true
  if (early !== undefined) return answer(...early)
  const context = new AsyncResource('SessionStore')
  const timer = timeout === Infinity
    ? undefined
    : setTimeout(() => {
      settle(new StoreTimeoutError(method, timeout, advice))
      isLate = true
    }, timeout)
}

/** People hand a promise to the callback. */
function whenThere<T> (failure: unknown, value: T | undefined, settle: (failure: unknown, value?: T) => void): void {
  if (failure || !isNativePromise(value)) settle(failure, value)
  else value.then(value => settle(null, value as T), error => settle(error || 'unknown error'))
}

/** Runs what answers by a callback. */
export function promised<T> (run: (answer: Answer<T>) => void): Promise<T | undefined> {
  return new Promise((resolve, reject) => run((error, value) => error === null ? resolve(value) : reject(error)))
}

/** Does something with each, with a few at the same time. */
export async function eachOf<T, Result> (items: readonly T[], run: (item: T) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = []
  for (let i = 0; i < items.length; i += AT_ONCE) {
    results.push(...await Promise.all(items.slice(i, i + AT_ONCE).map(run)))
  }
  return results
}

/** Whether a method returned what it should have answered. Of what methods other than these return, nobody can say. */
function isAnswer (method: Method, result: unknown): boolean {
  return (method === 'get' || method === 'getAndTouch' || method === 'inspect') && isSession(result)
}

function misuse (method: Method): Error {
  return new StoreError(method, RETURNED, { cause: undefined })
}

export function isPromise (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined)?.then === 'function'
}

function toError (failure: unknown, method: Method): Error {
  try {
    // Not of another realm: Fastify would not know it for an error.
    if (failure instanceof Error) return failure
    if (isSession(failure)) return new StoreError(method, SWAPPED, { cause: undefined })
    const text = typeof failure === 'object' ? (failure as Error).message ?? kindOf(failure) : failure
    return new StoreError(method, String(text), { cause: failure })
  } catch {
    return new StoreError(method, 'with something that throws when it is looked at', { cause: undefined })
  }
}
