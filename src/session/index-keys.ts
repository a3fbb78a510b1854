import { fingerprint } from '../diagnostics'
import { IndexNameError, IndexValueError, UserError } from '../errors'
import type { IndexSettings, Settings } from '../options/settings'
import { USER } from '../values/claim'
import type { FastifySessionObject } from '../types/session'

/**
 * Under which keys a session is in the index, by the options `user` and `index`: each is short, harmless, and no other
 * registration's.
 */
export class IndexKeys {
  readonly names: readonly string[]
  readonly #functions: IndexSettings['functions']
  readonly #sessionName: string

  constructor ({ functions }: IndexSettings, { sessionName }: Settings) {
    this.names = [...functions.keys()]
    this.#functions = functions
    this.#sessionName = sessionName
  }

  has (name: string): boolean {
    return this.#functions.has(name)
  }

  /**
   * Undefined if the session isn't in the index by that name.
   *
   * @throws FST_ERR_SESSION_USER, FST_ERR_SESSION_INDEX, and whatever the application's function throws
   */
  keyOf (name: string, session: FastifySessionObject): string | undefined {
    const value: unknown = this.#functions.get(name)?.(session)
    return value === undefined || value === null ? undefined : this.keyFor(name, value)
  }

  /** @throws FST_ERR_SESSION_USER, FST_ERR_SESSION_INDEX */
  keyFor (name: string, value: unknown): string {
    if (!this.has(name)) throw new IndexNameError(name, this.names.join(', '))
    if (!(typeof value === 'string' && value !== '') && !Number.isFinite(value)) {
      // A promise, of an async function: it may reject, with nobody there to hear it.
      Promise.resolve(value).catch(() => {})
      throw name === USER ? new UserError() : new IndexValueError(name)
    }
    return indexKey(this.#sessionName, name, String(value))
  }
}

export function indexKey (sessionName: string, name: string, value: string): string {
  const isUser = name === USER
  if (isUser && sessionName === 'session') return fingerprint(value)
  // Of two sessions on one store, visitor 1 isn't administrator 1, nor is user 1 organisation 1. No text has a byte of
  // 255, so that no visitor can call himself what an administrator is called here.
  const parts = isUser ? [sessionName, value] : [sessionName, name, value]
  return fingerprint(Buffer.concat([Buffer.of(255), Buffer.from(JSON.stringify(parts))]))
}

/** What a session is called in lists: the key by which it is found, and the fingerprint of its entry. */
export function handleOf (key: string, fingerprint: string): string {
  return `${key}.${fingerprint}`
}

/** The two halves of a handle; undefined for what isn't one. */
export function partsOf (handle: unknown): { key: string, fingerprint: string } | undefined {
  if (typeof handle !== 'string' || !/^[\w-]{16}\.[\w-]{16}$/.test(handle)) return undefined
  return { key: handle.slice(0, 16), fingerprint: handle.slice(17) }
}
