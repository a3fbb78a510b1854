import type { FastifyRequest } from 'fastify'
import { LateIdError, SessionIdError } from '../errors'
import { isPromise } from '../stores/call'
import { warnSameId, type Flaws } from '../warnings'
import type { Settings } from '../options/settings'
import type { Answer } from '../types/store'
import type { FastifySessionOptions } from '../types/options'

type IdGenerator = NonNullable<FastifySessionOptions['idGenerator']>

/** Makes session ids, by the application's function or the default one. */
export class SessionIds {
  readonly #generator: IdGenerator
  readonly #timeout: number
  readonly #flaws: Flaws
  #last: string | undefined
  /** Whether an id is made before the handler runs, because the application's function may return a promise. */
  readonly isEarly: boolean

  constructor ({ idGenerator, storeTimeout, flaws }: Settings, byDefault: IdGenerator) {
    this.#generator = idGenerator ?? byDefault
    this.#timeout = storeTimeout
    this.#flaws = flaws
    this.isEarly = idGenerator !== undefined
  }

  /** Makes an id synchronously. Only for the default function. */
  makeNow (request: FastifyRequest | undefined): string {
    return this.#checked(this.#generator(request))
  }

  make (request: FastifyRequest | undefined, answer: Answer<string>): void {
    let sessionId: string
    try {
      const made = this.#generator(request)
      if (isPromise(made)) {
        this.#await(Promise.resolve(made).then(sessionId => this.#checked(sessionId)), answer)
        return
      }
      sessionId = this.#checked(made)
    } catch (error) {
      answer(errorOf(error))
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
    made.then(sessionId => settle(null, sessionId), thrown => settle(errorOf(thrown)))
  }

  /** @throws FST_ERR_SESSION_ID */
  #checked (sessionId: unknown): string {
    if (typeof sessionId !== 'string' || sessionId === '') throw new SessionIdError()
    if (sessionId === this.#last) this.#flaws.tell(warnSameId)
    this.#last = sessionId
    return sessionId
  }
}

/** What idGenerator threw. Callers would take null and the like for success. */
function errorOf (thrown: unknown): Error {
  return (thrown || new SessionIdError()) as Error
}
