import { fingerprint } from '../diagnostics'
import { UserError } from '../errors'
import type { Settings, UserSettings } from '../options/settings'
import type { FastifySessionObject } from '../types/session'

/** Whose a session is, by the option `user`: as a key that is short, harmless, and no other registration's. */
export class Owners {
  readonly #user: UserSettings['user']
  readonly #sessionName: string

  constructor ({ user }: UserSettings, { sessionName }: Settings) {
    this.#user = user
    this.#sessionName = sessionName
  }

  /** @throws FST_ERR_SESSION_USER, and whatever the application's function throws */
  keyOf (session: FastifySessionObject): string | undefined {
    const user: unknown = this.#user(session)
    return user === undefined || user === null ? undefined : this.keyFor(user)
  }

  /** @throws FST_ERR_SESSION_USER */
  keyFor (user: unknown): string {
    if (!(typeof user === 'string' && user !== '') && !Number.isFinite(user)) {
      // A promise, of an async function: it may reject, with nobody there to hear it.
      Promise.resolve(user).catch(() => {})
      throw new UserError()
    }
    if (this.#sessionName === 'session') return fingerprint(String(user))
    // Of two sessions on one store, visitor 1 isn't administrator 1. No text has a byte of 255, so that no visitor
    // can call himself what an administrator is called here.
    return fingerprint(Buffer.concat([Buffer.of(255), Buffer.from(JSON.stringify([this.#sessionName, String(user)]))]))
  }
}

/** What a session is called in lists: the user's key, by which it is found, and the fingerprint of its entry. */
export function handleOf (userKey: string, fingerprint: string): string {
  return `${userKey}.${fingerprint}`
}

/** The two halves of a handle; undefined for what isn't one. */
export function partsOf (handle: unknown): { userKey: string, fingerprint: string } | undefined {
  if (typeof handle !== 'string' || !/^[\w-]{16}\.[\w-]{16}$/.test(handle)) return undefined
  return { userKey: handle.slice(0, 16), fingerprint: handle.slice(17) }
}
