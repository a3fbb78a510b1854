import { createWarning, type WarningItem } from 'process-warning'
import { readOn } from './errors'

/** Warns once of each flaw of a registration. */
export class Flaws {
  readonly #told = new Set<string>()

  tell (warn: WarningItem, ...words: string[]): void {
    const flaw = [warn.code, ...words].join(' ')
    if (this.#told.has(flaw)) return
    this.#told.add(flaw)
    warn(...words)
  }

  tellAll (warn: WarningItem, flaws: readonly string[]): void {
    for (const flaw of flaws) this.tell(warn, flaw)
  }
}

/** A warning that `Flaws` emits once per registration. */
function warning (code: string, message: string, unlimited = true): WarningItem {
  return createWarning({ name: 'FastifySessionWarning', code, message: `${message} ${readOn(code)}.`, unlimited })
}

/** A warning emitted once per process, because tests with many registrations would emit it hundreds of times. */
function rareWarning (code: string, message: string): WarningItem {
  return warning(code, message, false)
}

export const warnOption = warning(
  'FST_SESSION_OPTION',
  'The session option %s.'
)

export const warnInsecure = rareWarning(
  'FST_SESSION_INSECURE',
  'The session was not saved and no cookie was sent, because cookie.secure is true and the request came over plain http. ' +
  "Behind a proxy that terminates TLS, set Fastify's trustProxy option; for development, set cookie.secure to false or 'auto'."
)

export const warnShortSecret = rareWarning(
  'FST_SESSION_SHORT_SECRET',
  'A session secret is shorter than 32 characters and can be guessed. Replace it by a random one of 32 or more: ' +
  'put the new one first, and remove the short one after its sessions have ended.'
)

export const warnMemoryStore = warning(
  'FST_SESSION_MEMORY_STORE',
  'The default MemoryStore is used %s: sessions end with the process and are not shared between processes. ' +
  'Set the store option. If one process is what you want, set it to a new MemoryStore with a max.'
)

export const warnLateChange = rareWarning(
  'FST_SESSION_LATE_CHANGE',
  'The session was changed after it was saved for its reply, so the change is lost unless session.save() is called. ' +
  "Change it before reply.send(), and don't change it in an onSend hook."
)

export const warnHijacked = warning(
  'FST_SESSION_HIJACKED',
  'The session was changed on a hijacked reply or in a WebSocket, so the change is lost. ' +
  "Await session.save() before the connection ends. The cookie of a new session can't be sent any more."
)

export const warnReplaced = rareWarning(
  'FST_SESSION_REPLACED',
  'A session object was changed after regenerate(), reload() or destroy() had replaced it, so the change is lost. ' +
  'Read request.session again after these calls.'
)

export const warnAnonymous = rareWarning(
  'FST_SESSION_ANONYMOUS',
  'The session was changed though it could not be loaded, so the change is lost. ' +
  "With onStoreError: 'anonymous', check session.isAnonymous before you store something."
)

export const warnNoTouch = rareWarning(
  'FST_SESSION_NO_TOUCH',
  'The session store has no touch method, so with rolling: true each request writes the whole session. ' +
  'Use a store with touch, or set rolling to false.'
)

export const warnNotRecord = warning(
  'FST_SESSION_NOT_RECORD',
  "The session store's %s answered with %s instead of an object, so the session can't be read, and the visitor got a new one. " +
  'A store that keeps JSON must answer with the result of JSON.parse.'
)

export const warnEarly = warning(
  'FST_SESSION_EARLY',
  'A hook used request.%s before the session was loaded: it found nothing there, and what it stored is lost. ' +
  'Register the hook after the session plugin.'
)

export const warnNotProlonged = warning(
  'FST_SESSION_NOT_PROLONGED',
  'A session could not be prolonged, so its cookie was not sent again, and the session ends earlier. ' +
  'The store says: %s.'
)

export const warnCookieRefused = warning(
  'FST_SESSION_COOKIE_REFUSED',
  'Browsers refuse the session cookie: %s.'
)

export const warnProxy = warning(
  'FST_SESSION_PROXY',
  "The session cookie was sent without Secure, because cookie.secure is 'auto' and the request came over http, as far as Fastify can tell. " +
  "Its header %s says https: set Fastify's trustProxy option."
)

export const warnNotASession = warning(
  'FST_SESSION_NOT_A_SESSION',
  "request.%s was set to something that isn't a session: it is not saved, and the visitor is not logged out. " +
  'Set properties of the session, or call destroy() to end it.'
)

export const warnSameId = warning(
  'FST_SESSION_SAME_ID',
  'idGenerator returned the same id twice, so two visitors would share a session. Return a new random id from each call.'
)

export const warnNotConnected = warning(
  'FST_SESSION_NOT_CONNECTED',
  "The session store's client is not connected. Requests with a session fail until it is. Await client.connect() before app.ready()."
)

export const warnNotWatching = warning(
  'FST_SESSION_NOT_WATCHING',
  "The session store can't tell when another process ends a session, so session.signal fires only when the store is asked again, " +
  'within watchInterval. Check that the subscriber of RedisStore, or the client that listens for PostgresStore, is connected.'
)

export const warnRedisEvicts = warning(
  'FST_SESSION_REDIS_EVICTS',
  'Redis may evict keys when its memory is full (its maxmemory-policy is %s), so the index of sessions by user may lose some. ' +
  'Lists and revokeUser() miss them for up to an hour, until they are used again. Set maxmemory-policy to noeviction.'
)

export const warnValue = warning(
  'FST_SESSION_VALUE',
  'The session key %s. In a store of JSON, as RedisStore and most others are, it %s. Instead, store %s.'
)
