import { isAsyncFunction } from 'node:util/types'
import type { FastifyRequest } from 'fastify'
import { LateIdError, SessionIdError } from '../errors'
import type { Answer } from '../types/store'
import type { FastifySessionOptions } from '../types/options'

type IdGenerator = NonNullable<FastifySessionOptions['idGenerator']>

/** Makes session ids by the application's function, or by ours. */
export class SessionIds {
  readonly #generator: IdGenerator
  readonly #timeout: number
  /**
   * Whether an id is made before the handler runs, because the function answers by a promise. Of a function that isn't
   * declared async its first call tells, so that one comes early too.
   */
  isEarly: boolean

  /** @param timeout how long a promise of an id may take, in milliseconds */
  constructor (custom: IdGenerator | undefined, byDefault: IdGenerator, timeout: number) {
    this.#generator = custom ?? byDefault
    this.#timeout = timeout
    this.isEarly = custom !== undefined
  }

  /** @throws FST_ERR_SESSION_ID, and whatever the function throws */
  makeNow (request: FastifyRequest | undefined): string {
    const made = this.#call(request)
    if (typeof made === 'string') return checkedId(made)
    // It may reject, with nobody there to hear it.
    Promise.resolve(made).catch(() => {})
    throw new SessionIdError()
  }

  make (request: FastifyRequest | undefined, answer: Answer<string>): void {
    let sessionId: string
    try {
      const made = this.#call(request)
      if (isPromise(made)) {
        this.#await(Promise.resolve(made).then(checkedId), answer)
        return
      }
      sessionId = checkedId(made)
    } catch (error) {
      answer(error as Error)
      return
    }
    answer(null, sessionId)
  }

  #await (made: Promise<string>, answer: Answer<string>): void {
    const timer = setTimeout(() => settle(new LateIdError(this.#timeout)), this.#timeout)
    const settle: Answer<string> = (error, sessionId) => {
      clearTimeout(timer)
      const once = answer
      answer = () => {}
      once(error, sessionId)
    }
    made.then(sessionId => settle(null, sessionId), settle)
  }

  #call (request: FastifyRequest | undefined): unknown {
    const made = this.#generator(request)
    this.isEarly = isPromise(made) || isAsyncFunction(this.#generator)
    return made
  }
}

function isPromise (value: unknown): value is Promise<unknown> {
  return typeof (value as Promise<unknown> | undefined)?.then === 'function'
}

/** @throws FST_ERR_SESSION_ID */
function checkedId (sessionId: unknown): string {
  if (typeof sessionId !== 'string' || sessionId === '') throw new SessionIdError()
  return sessionId
}
