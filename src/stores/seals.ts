/** How a session is sealed: its data by AES-256-GCM. Fields that stores must read have an HMAC beside them. */
import { createCipheriv, createDecipheriv, createHmac, hash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { UnopenedError } from '../errors'

const USE = '@fastify/session/sealed'
// The number of the format is part of the mark.
const MARK = 'sealed1:'
const KEY = /^sealed-[\w-]{43}$/
const CIPHER = 'aes-256-gcm'
// In bytes.
const [IV, TAG] = [12, 16]
const OPTIONS = { authTagLength: TAG }

/** The key of a session in the store. A plain hash is enough, because ids can't be guessed, and secrets change. */
export function keyOf (sessionId: string): string {
  return `sealed-${hash('sha256', `${USE} key ${sessionId}`, 'base64url')}`
}

export function isKey (key: string): boolean {
  return KEY.test(key)
}

export function isSealed (value: unknown): value is string {
  return typeof value === 'string' && value.startsWith(MARK)
}

/** The secrets that are derived from one of the application's keys. */
interface Master {
  readonly sessions: Buffer
  readonly users: Buffer
}

/** The application's keys. The first key seals, all open. */
export class Seals {
  readonly #masters: readonly Master[]

  constructor (keys: ReadonlyArray<string | Uint8Array>) {
    this.#masters = keys.map(key => ({ sessions: derived(key, 'sessions'), users: derived(key, 'users') }))
  }

  /** The names of a user in the store: by the first key, then by the others. */
  usersOf (userKey: string): string[] {
    return this.#masters.map(({ users }) => createHmac('sha256', users).update(userKey).digest('base64url').slice(0, 22))
  }

  of (key: string): SessionSeals {
    return new SessionSeals(this.#masters, key)
  }
}

/**
 * The seals of one session. Its keys are its own, so a value doesn't open in another session, and a key is never used
 * too often (random nonces are safe for 2^32 values).
 */
export class SessionSeals {
  readonly #masters: readonly Master[]
  readonly #key: string
  readonly #secrets: Buffer[] = []

  constructor (masters: readonly Master[], key: string) {
    this.#masters = masters
    this.#key = key
  }

  /** @param place where it may be opened; see `placeOf` */
  seal (place: string, text: string): string {
    const iv = randomBytes(IV)
    const cipher = createCipheriv(CIPHER, this.#secret(0).subarray(0, 32), iv, OPTIONS).setAAD(Buffer.from(place))
    const sealed = Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
    return MARK + sealed.toString('base64url')
  }

  /**
   * @param what names it in the error
   * @throws FST_ERR_SESSION_RECORD
   */
  open (place: string, sealed: unknown, what: string): string {
    if (!isSealed(sealed)) throw new UnopenedError(what)
    const bytes = Buffer.from(sealed.slice(MARK.length), 'base64url')
    for (let i = 0; i < this.#masters.length; i++) {
      try {
        const secret = this.#secret(i).subarray(0, 32)
        const decipher = createDecipheriv(CIPHER, secret, bytes.subarray(0, IV), OPTIONS)
        decipher.setAAD(Buffer.from(place)).setAuthTag(bytes.subarray(-TAG))
        return Buffer.concat([decipher.update(bytes.subarray(IV, -TAG)), decipher.final()]).toString()
      } catch {
        // Another key may open it.
      }
    }
    throw new UnopenedError(what)
  }

  /** Signs a value that isn't sealed. undefined stands for a missing one. */
  tag (place: string, value: unknown): string {
    return this.#tag(0, place, value)
  }

  isTagged (place: string, value: unknown, tag: unknown): boolean {
    const given = Buffer.from(typeof tag === 'string' ? tag : '')
    return this.#masters.some((_master, i) => {
      const wanted = Buffer.from(this.#tag(i, place, value))
      return given.length === wanted.length && timingSafeEqual(given, wanted)
    })
  }

  #tag (i: number, place: string, value: unknown): string {
    const hmac = createHmac('sha256', this.#secret(i).subarray(32))
    return hmac.update(`${place} ${JSON.stringify(value)}`).digest('base64url').slice(0, 22)
  }

  /** 32 bytes to seal with, and 32 to tag with. */
  #secret (i: number): Buffer {
    return (this.#secrets[i] ??= createHmac('sha512', (this.#masters[i] as Master).sessions).update(this.#key).digest())
  }
}

function derived (key: string | Uint8Array, use: keyof Master): Buffer {
  return Buffer.from(hkdfSync('sha256', key, '', `${USE} ${use}`, 32))
}
