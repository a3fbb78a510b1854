import createError, { type FastifyErrorConstructor } from '@fastify/error'

/** The place in this package's docs that explains an error or a warning. */
export function readOn (code: string): string {
  return `See @fastify/session/docs/troubleshooting.md#${code.toLowerCase()}`
}

/** An error in a message. Only its code, because a store's own words may contain a session id. */
export function inShort (error: Error & { code?: unknown }): string {
  if (error instanceof StoreTimeoutError) return error.message.replace(`. ${readOn(error.code as string)}`, '')
  return typeof error.code === 'string' ? error.code : error.name
}

function sessionError<Words extends any[] = [any?, any?, any?]> (
  code: string, message: string, statusCode?: number
): FastifyErrorConstructor<{ code: string }, Words> {
  return createError<Words>(code, `${message}. ${readOn(code)}`, statusCode)
}

/** The `secret` option can't sign. The messages are version 11's own. */
export const SecretError = createError<[string]>('FST_ERR_SESSION_SECRET', '%s')

/** An option has a wrong value. Raised at registration, through `ready()`. */
export const OptionError = sessionError<[string]>('FST_ERR_SESSION_OPTION', 'The session option %s')

/** `request.session` is decorated already: by another session of this scope, or by another plugin. */
export const NameTakenError = sessionError<[string]>(
  'FST_ERR_SESSION_NAME_TAKEN',
  '%s is already decorated in this scope, by another session or another plugin. Use another sessionName for one of the sessions'
)

/** A cookie attribute that was set during a request can't be sent. */
export const CookieError = sessionError<[string]>('FST_ERR_SESSION_COOKIE', "The session cookie can't be sent: %s")

/** A method or property of the session has the name, so data can't be stored under it. */
export const ReservedKeyError = sessionError<[string]>(
  'FST_ERR_SESSION_RESERVED_KEY',
  "'%s' is a method or property of the session: store your data under another name (to change the cookie, use session.options() or the attributes of session.cookie)"
)

/** `idGenerator` returned something that can't be a session id. */
export const SessionIdError = sessionError(
  'FST_ERR_SESSION_ID',
  'idGenerator must return a non-empty string, or a promise of one'
)

/** `idGenerator` returned a promise that isn't settled in time. */
export const LateIdError = sessionError<[number]>(
  'FST_ERR_SESSION_ID',
  'idGenerator did not answer within %d ms (storeTimeout)',
  503
)

/** The application's own signer returned something that isn't a signed value. */
export const SignerError = sessionError(
  'FST_ERR_SESSION_SIGNER',
  "The signer's sign() must return a string, and not a promise: the cookie needs it at once"
)

/** Another session has replaced this one, so it can't be saved any more. */
export const ReplacedError = sessionError(
  'FST_ERR_SESSION_GONE',
  'The session is gone: regenerate() has replaced it. Save request.session, which is the new one',
  409
)

/** A stored session, or one field of it, can't be read. The message doesn't contain its data. */
export const RecordError = sessionError<[string]>(
  'FST_ERR_SESSION_RECORD',
  "The stored session can't be read: %s isn't JSON. The session has ended, and the visitor gets a new one"
)

/** The same for a store that `sealed()` wraps: the named part was changed or moved, or its key is missing. */
export const UnopenedError = sessionError<[string]>(
  'FST_ERR_SESSION_RECORD',
  "The stored session can't be read: no key of sealed() opens %s. The session has ended, and the visitor gets a new one"
)

/** The session was destroyed, replaced or has expired since this request loaded it. Nothing was written. */
export const GoneError = sessionError(
  'FST_ERR_SESSION_GONE',
  'The session is gone: it was destroyed or regenerated, or it expired, after this request had loaded it',
  409
)

/** Other requests changed the same data before each attempt to write. Nothing was written. */
export const BusyError = sessionError(
  'FST_ERR_SESSION_BUSY',
  'The session is busy: other requests kept changing the same data before update() or take() could write. Nothing was written. Send the request again',
  409
)

/** `session.update()` was called with something that isn't a synchronous function. Nothing was written. */
export const UpdateError = sessionError<[string]>(
  'FST_ERR_SESSION_UPDATE',
  'session.update() takes a function that changes the session at once, but %s. Await what it needs before you call update()'
)

/** The `user` option returned something that isn't a user. Nothing was written. */
export const UserError = sessionError(
  'FST_ERR_SESSION_USER',
  'The session option user must return a number or a non-empty string, or undefined if nobody is logged in'
)

/** A function of the `index` option returned something that can't be a value to find by. Nothing was written. */
export const IndexValueError = sessionError<[string]>(
  'FST_ERR_SESSION_INDEX',
  "In the session option index, '%s' must return a number or a non-empty string, or undefined if the session has no such value"
)

/** There is no index of that name. */
export const IndexNameError = sessionError<[string, string]>(
  'FST_ERR_SESSION_INDEX',
  "There is no session index '%s': the names of the options user and index are %s"
)

/** The user has `maxPerUser` sessions already. Nothing was written. */
export const TooManyError = sessionError<[number]>(
  'FST_ERR_SESSION_TOO_MANY',
  'The user has %d sessions already, which is the limit (maxPerUser): one of them must end first',
  403
)

/** The route's option `fresh` requires a visitor who has authenticated lately. */
export const NotFreshError = sessionError<[number]>(
  'FST_ERR_SESSION_NOT_FRESH',
  'The visitor must have authenticated within the last %d ms: log in again, or confirm the login',
  401
)

/** The route's option `proof` requires a newer proof of the device. */
export const NoProofError = sessionError<[number]>(
  'FST_ERR_SESSION_NO_PROOF',
  "The browser must have proved within the last %d ms that it has the session's key. Send the request again: the browser proves it first",
  403
)

/** The store did not answer within `storeTimeout`. The message says what to do. */
export const StoreTimeoutError = sessionError<[string, number, string]>(
  'FST_ERR_SESSION_STORE_TIMEOUT',
  "The session store's %s did not answer within %d ms: %s",
  503
)

/** What to do if a store may be slow or down. */
export const STORE_AWAY = 'check that the store can be reached, or raise storeTimeout'

/** What to do if a store answers, but requests wait for each other. */
export const MANY_CHANGES = 'it answers, but many requests change this session, one after another. Change it less often, or use a store with update'

/** A method of `request.session` was called on a request without a session. The message says why it has none. */
export const NoSessionError = sessionError<[string, string, { cause: Error }?]>(
  'FST_ERR_SESSION_NONE',
  'There is no session in request.%s: %s'
)

/** The store failed with something that isn't an `Error`. The message contains its text. */
export const StoreError = sessionError<[string, string, { cause: unknown }]>(
  'FST_ERR_SESSION_STORE',
  "The session store's %s failed: %s"
)

/** Some values can't be stored. The message says which; the cause is what JSON.stringify threw. */
export const ValueError = sessionError<[string, string, { cause: unknown }]>(
  'FST_ERR_SESSION_VALUE',
  "JSON can't hold a part of the session: %s. %s"
)
