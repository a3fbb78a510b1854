import createError, { type FastifyErrorConstructor } from '@fastify/error'

/** Where to read on about an error or a warning: in a file of this package. */
export function readOn (code: string): string {
  return `See @fastify/session/docs/troubleshooting.md#${code.toLowerCase()}`
}

/** An error in a message: of a store's own words, which may have a session id, only its code. */
export function inShort (error: Error & { code?: unknown }): string {
  if (error instanceof StoreTimeoutError) return error.message.replace(`. ${readOn(error.code as string)}`, '')
  return typeof error.code === 'string' ? error.code : error.name
}

function sessionError<Words extends any[] = [any?, any?, any?]> (
  code: string, message: string, statusCode?: number
): FastifyErrorConstructor<{ code: string }, Words> {
  return createError<Words>(code, `${message}. ${readOn(code)}`, statusCode)
}

/** The `secret` option can't sign. Says which of the three forms it must have, in version 11's own words. */
export const SecretError = createError<[string]>('FST_ERR_SESSION_SECRET', '%s')

/** An option is of the wrong form. Raised at registration, through `ready()`. */
export const OptionError = sessionError<[string]>('FST_ERR_SESSION_OPTION', 'The session option %s')

/** `request.session` is decorated already: by another session of this scope, or by another plugin. */
export const NameTakenError = sessionError<[string]>(
  'FST_ERR_SESSION_NAME_TAKEN',
  '%s is already decorated in this scope: give one of the sessions another sessionName, and register no other plugin that decorates it'
)

/** A cookie attribute that was set during a request can't be sent. */
export const CookieError = sessionError<[string]>('FST_ERR_SESSION_COOKIE', "The session cookie can't be sent: %s")

/** The name belongs to the session itself, so no data can be stored under it. */
export const ReservedKeyError = sessionError<[string]>(
  'FST_ERR_SESSION_RESERVED_KEY',
  "'%s' is a name of the session itself: store your data under another one (the cookie is changed by session.options() and by the attributes of session.cookie)"
)

/** `idGenerator` gave something that can't be a session id. */
export const SessionIdError = sessionError(
  'FST_ERR_SESSION_ID',
  'idGenerator must return a non-empty string, or a promise of one'
)

/** `idGenerator` returned a promise that isn't settled in time. */
export const LateIdError = sessionError<[number]>(
  'FST_ERR_SESSION_ID',
  'idGenerator did not answer within %d ms, which is storeTimeout',
  503
)

/** The application's own signer returned something that isn't a signed value. */
export const SignerError = sessionError(
  'FST_ERR_SESSION_SIGNER',
  "The signer's sign() must return a string, and not a promise of one: the cookie needs it at once"
)

/** The session has another one in its place, so it can't be saved any more. */
export const ReplacedError = sessionError(
  'FST_ERR_SESSION_GONE',
  'The session is gone: regenerate() has replaced it. Save request.session, which is the new one',
  409
)

/** What the store has of a session can't be read: all of it, or the named field. None of it is in the message. */
export const RecordError = sessionError<[string]>(
  'FST_ERR_SESSION_RECORD',
  "The stored session can't be read: %s isn't JSON. It has ended, and the visitor gets a new one"
)

/** The same of a store that `sealed()` wraps: the named part was changed, or moved here, or no key fits. */
export const UnopenedError = sessionError<[string]>(
  'FST_ERR_SESSION_RECORD',
  "The stored session can't be read: %s doesn't open with any of the keys that sealed() was given. It has ended, and the visitor gets a new one"
)

/** The session was destroyed, replaced or has expired since this request loaded it. Nothing was written. */
export const GoneError = sessionError(
  'FST_ERR_SESSION_GONE',
  'The session is gone: it was destroyed or regenerated, or has expired, since this request loaded it',
  409
)

/** Other requests changed the same data between each of our reads and our write. Nothing was written. */
export const BusyError = sessionError(
  'FST_ERR_SESSION_BUSY',
  'The session is busy: other requests kept changing the same data before update() or take() could write. Nothing was written; send the request again',
  409
)

/** `session.update()` was called with something that isn't a synchronous function. Nothing was written. */
export const UpdateError = sessionError<[string]>(
  'FST_ERR_SESSION_UPDATE',
  'session.update() takes a function that changes the session at once, and %s. Wait for what it needs first, and call update() then'
)

/** The `user` option gave something that is nobody's name. Nothing was written. */
export const UserError = sessionError(
  'FST_ERR_SESSION_USER',
  'The session option user must give a number or a non-empty string, or undefined where nobody is logged in'
)

/** A function of the `index` option gave something that can't be a value to find by. Nothing was written. */
export const IndexValueError = sessionError<[string]>(
  'FST_ERR_SESSION_INDEX',
  "In the session option index, '%s' must give a number or a non-empty string, or undefined if the session isn't in it"
)

/** There is no index of that name. */
export const IndexNameError = sessionError<[string, string]>(
  'FST_ERR_SESSION_INDEX',
  "There are no sessions by '%s': the options user and index make the names %s"
)

/** The user has `maxPerUser` sessions already. Nothing was written. */
export const TooManyError = sessionError<[number]>(
  'FST_ERR_SESSION_TOO_MANY',
  'The user has %d sessions, which is as many as may be: one of them must be ended first',
  403
)

/** The route asks for a visitor who has authenticated lately, by `fresh`. */
export const NotFreshError = sessionError<[number]>(
  'FST_ERR_SESSION_NOT_FRESH',
  'The visitor must have authenticated within the last %d ms: log in, or confirm it, once more',
  401
)

/** The route asks for a proof of the device that is newer, by `proof`. */
export const NoProofError = sessionError<[number]>(
  'FST_ERR_SESSION_NO_PROOF',
  "The browser must have proved within the last %d ms that it has the session's key. Send the request once more: the browser proves it before",
  403
)

/** The store did not answer within `storeTimeout`. Says what to do about it. */
export const StoreTimeoutError = sessionError<[string, number, string]>(
  'FST_ERR_SESSION_STORE_TIMEOUT',
  "The session store's %s did not answer within %d ms: %s",
  503
)

/** What to do about a store that may be slow or away. */
export const STORE_AWAY = 'check that the store can be reached, or raise storeTimeout'

/** A method was called of what a request has in place of a session. Says why there is none. */
export const NoSessionError = sessionError<[string, string, { cause: Error }?]>(
  'FST_ERR_SESSION_NONE',
  'There is no session in request.%s: %s'
)

/** The store failed with something that is no `Error`; the message keeps its words. */
export const StoreError = sessionError<[string, string, { cause: unknown }]>(
  'FST_ERR_SESSION_STORE',
  "The session store's %s failed: %s"
)

/** Some values can't be stored. Says which, and what became of the others; the cause is what JSON.stringify threw. */
export const ValueError = sessionError<[string, string, { cause: unknown }]>(
  'FST_ERR_SESSION_VALUE',
  "JSON can't hold a part of the session: %s. %s"
)
