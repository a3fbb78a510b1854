import { AsyncResource } from 'node:async_hooks'
import { isPromise as isNativePromise } from 'node:util/types'
import { isSession } from './answers'
import { kindOf } from '../values/kind'
import { STORE_AWAY, StoreError, StoreTimeoutError } from '../errors'
import type { Answer, SessionStore } from '../types/store'

export type Method =
  'get' | 'getAndTouch' | 'inspect' | 'set' | 'destroy' | 'touch' | 'update' | 'updateIf' | 'claim' | 'release' | 'revoke' |
  'endingsOf' | 'claimsOf' | 'length' | 'watch' | 'all' | 'clear'

// Few enough not to keep other visitors waiting.
const AT_ONCE = 32

const NOTHING: readonly unknown[] = []

const SWAPPED = 'it passed the session to its callback as the error. The error comes first: callback(null, session)'

// What a method did instead of answering, for the store's author.
const SILENT = 'it neither called its callback nor returned a promise. Check that it always does one of them, and that ' +
  'the store can be reached, or raise storeTimeout'
const UNCALLED = 'its promise was fulfilled, but it never called the callback that it declares. Call it, or declare none'
const RETURNED = 'it returned a value, which is ignored. Declare the method async, or pass the value to its callback'

/**
 * Calls a method of any store, and answers exactly once: by its callback, its promise or the time limit, whichever
 * comes first. If the store calls back before it returns, this answers synchronously.
 *
 * @param timeout in milliseconds; Infinity if the caller has a limit of its own
 * @param comeLate is called if the store answers after the time limit
 * @param more arguments after the callback
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
      // The answer may throw, which must not happen inside the store.
      early = [error, value]
      return
    }
    clearTimeout(timer)
    try {
      // A store that batches requests answers all of them in the context of one.
      context.runInAsyncScope(answer, undefined, error, value)
    } catch (thrown) {
      // Thrown where no store can catch it and call back again.
      queueMicrotask(() => { throw thrown })
    }
  }

  try {
    const fn = store[method] as (...args: unknown[]) => unknown
    const declaresCallback = fn.length > args.length
    const result = fn.call(store, ...args, (failure: unknown, value?: T) => whenThere(failure, value, settle), ...more)
    if (isPromise(result)) {
      // If it declares a callback, a fulfilled promise isn't an answer: the callback may come later. A rejection always
      // is one.
      const fulfilled = declaresCallback ? () => { advice = UNCALLED } : (value: unknown) => settle(null, value as T)
      result.then(fulfilled, error => settle(error || 'unknown error'))
    } else if (!answered) {
      const isSession = isAnswer(method, result)
      advice = isSession || (!declaresCallback && result !== undefined) ? RETURNED : SILENT
      // A method that returns the session may still call back, but no later than this.
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

/** Some stores pass a promise to the callback. */
function whenThere<T> (failure: unknown, value: T | undefined, settle: (failure: unknown, value?: T) => void): void {
  if (failure || !isNativePromise(value)) settle(failure, value)
  else value.then(value => settle(null, value as T), error => settle(error || 'unknown error'))
}

/** A promise of a function that answers by a callback. */
export function promised<T> (run: (answer: Answer<T>) => void): Promise<T | undefined> {
  return new Promise((resolve, reject) => run((error, value) => error === null ? resolve(value) : reject(error)))
}

/** Runs something for each item, a few at a time. */
export async function eachOf<T, Result> (items: readonly T[], run: (item: T) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = []
  for (let i = 0; i < items.length; i += AT_ONCE) {
    results.push(...await Promise.all(items.slice(i, i + AT_ONCE).map(run)))
  }
  return results
}

/** Whether a method returned its answer instead of calling back. Only a session can be recognised. */
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
    // An error of another realm isn't an Error to Fastify, so it is wrapped.
    if (failure instanceof Error) return failure
    if (isSession(failure)) return new StoreError(method, SWAPPED, { cause: undefined })
    const text = typeof failure === 'object' ? (failure as Error).message ?? kindOf(failure) : failure
    return new StoreError(method, String(text), { cause: failure })
  } catch {
    return new StoreError(method, 'with something that throws when it is read', { cause: undefined })
  }
}
