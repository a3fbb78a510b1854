import { fingerprint } from '../diagnostics'
import { IndexNameError, IndexValueError, UserError } from '../errors'
import type { IndexSettings, Settings } from '../options/settings'
import { USER } from '../values/claim'
import type { FastifySessionObject } from '../types/session'

/**
 * The keys of a session in the index, by the options `user` and `index`. A key is short, doesn't reveal the value, and
 * differs from those of other registrations.
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
   * Returns undefined if the session isn't in the index under this name.
   *
   * @throws FST_ERR_SESSION_USER, FST_ERR_SESSION_INDEX, or what the application's function throws
   */
  keyOf (name: string, session: FastifySessionObject): string | undefined {
    const value: unknown = this.#functions.get(name)?.(session)
    return value === undefined || value === null ? undefined : this.keyFor(name, value)
  }

  /** @throws FST_ERR_SESSION_USER, FST_ERR_SESSION_INDEX */
  keyFor (name: string, value: unknown): string {
    if (!this.has(name)) throw new IndexNameError(name, this.names.join(', '))
    if (!(typeof value === 'string' && value !== '') && !Number.isFinite(value)) {
      // An async function returns a promise. If it rejects, that must not end the process.
      Promise.resolve(value).catch(() => {})
      throw name === USER ? new UserError() : new IndexValueError(name)
    }
    return indexKey(this.#sessionName, name, String(value))
  }
}

export function indexKey (sessionName: string, name: string, value: string): string {
  const isUser = name === USER
  if (isUser && sessionName === 'session') return fingerprint(value)
  // If two sessions share a store, visitor 1 isn't administrator 1, and user 1 isn't organisation 1. UTF-8 text never
  // has a byte of 255, so a user can't choose a name that leads to another kind of key.
  const parts = isUser ? [sessionName, value] : [sessionName, name, value]
  return fingerprint(Buffer.concat([Buffer.of(255), Buffer.from(JSON.stringify(parts))]))
}

/** The name of a session in lists: its key in the index, and the fingerprint of its entry. */
export function handleOf (key: string, fingerprint: string): string {
  return `${key}.${fingerprint}`
}

/** The two halves of a handle; undefined if it isn't one. */
export function partsOf (handle: unknown): { key: string, fingerprint: string } | undefined {
  if (typeof handle !== 'string' || !/^[\w-]{16}\.[\w-]{16}$/.test(handle)) return undefined
  return { key: handle.slice(0, 16), fingerprint: handle.slice(17) }
}
