import { attempt, whyNotSaved } from './operations'
import { SessionState } from './state'
import { BusyError, GoneError, UpdateError } from '../errors'
import { isPromise } from '../stores/call'
import { openData, type Data } from '../values/data'
import { Draft, type Recording } from '../values/draft'
import { kindOf } from '../values/kind'
import type { Expected } from '../values/record'
import { NOTHING_WRITTEN, Refusals } from '../values/refusals'
import type { Answer } from '../types/store'

/** The argument of `session.update()`. */
export type Change<T> = (session: Data) => T

// Only processes compete here: requests of one process take turns. A try is a read and a write.
const MOST_TRIES = 20
// The longest pause between two tries, in milliseconds. The second try follows at once.
const LONGEST_PAUSE = 16

/**
 * Changes the data that the store has now, in one atomic step. Tries again if another request was faster. Answers with
 * what the function returned.
 *
 * @param recording the keys that the handler has written since its call
 * @param onLoad receives the session before each call of the function. What it sets on it is written in the same step
 */
export function update<T> (
  state: SessionState, recording: Recording, fn: Change<T>, answer: Answer<T>, reason = 'update() was called',
  onLoad?: (newer: SessionState) => void
): void {
  const refusal = whyNotSaved(state)
  if (refusal !== undefined) answer(refusal)
  else if (state.isInStore) state.context.repository.alone<T>(state.storeKey, answer, tryAll)
  else changeDraft(state, recording, fn, answer)

  function tryAll (done: Answer<T>): void {
    let tries = 0
    const next = (): void => changeStored(state, recording, fn, reason, onLoad, (error, value) => {
      if (!(error instanceof BusyError) || ++tries === MOST_TRIES) done(error, value)
      else if (tries === 1) next()
      else setTimeout(next, Math.random() * Math.min(2 ** tries, LONGEST_PAUSE))
    })
    next()
  }
}

/** Removes a key and answers with its value. If several requests take it at the same time, only one gets the value. */
export function take (state: SessionState, recording: Recording, key: string, answer: Answer<unknown>): void {
  update(state, recording, data => {
    // get() reads data only, and nothing that is inherited.
    const value = data.get(key)
    delete data[key]
    return value
  }, answer, 'take() was called')
}

/**
 * Binds a session to a device and removes the offer, in one atomic step: only one browser can accept an offer, and only
 * the latest one. Answers with whether this one is bound.
 */
export function bind (
  state: SessionState, offer: { key: string, value: unknown }, deviceKey: string, answer: Answer<boolean>
): void {
  let newer = state
  update(state, state.draft.record(), data => {
    if (newer.deviceKey !== undefined || data.get(offer.key) !== offer.value) return false
    delete data[offer.key]
    newer.boundTo = deviceKey
    return true
  }, answer, 'the session is bound to a device', loaded => { newer = loaded })
}

/** For a session that the store doesn't have, so that no other request can change it. */
function changeDraft<T> (state: SessionState, recording: Recording, fn: Change<T>, answer: Answer<T>): void {
  const draft = new Draft(state.draft.toObject())
  const done = attempt(() => run(fn, draft), answer)
  if (done === undefined) return
  state.draft.forget(recording)
  for (const key of done.keys) if (!recording.has(key)) state.draft.set(key, draft.get(key))
  if (draft.isChanged()) state.noteChange()
  answer(null, done.value)
}

function changeStored<T> (
  state: SessionState, recording: Recording, fn: Change<T>, reason: string,
  onLoad: ((newer: SessionState) => void) | undefined, answer: Answer<T>
): void {
  const { storeKey, found, visit, context } = state
  context.repository.load(storeKey, visit.cookie.terms, false, (error, stored) => {
    if (error !== null || stored === undefined) {
      answer(error ?? gone(state))
      return
    }
    const newer = new SessionState(context, visit, { ...found, sessionId: state.sessionId, stored })
    onLoad?.(newer)
    const done = attempt(() => run(fn, newer.draft), answer)
    if (newer.draft.isUnreadable) state.draft.isUnreadable = true
    if (done === undefined) return
    const { value, keys } = done
    const finish: Answer<boolean> = (error, isWritten) => {
      const failure = error ?? (isWritten === true ? null : gone(state))
      if (failure === null) state.adopt(newer, keys, recording)
      // `newer` may have been watched since: watch this state again.
      visit.watch(state)
      answer(failure, value)
    }
    const put = (answer: Answer<boolean>): void => write(newer, { record: stored.record, keys }, reason, answer)
    if (!newer.isModified()) finish(null, true)
    else if (context.index === undefined) put(finish)
    else context.index.claims.write(newer, put, finish)
  })
}

/** Writes all changes or none. */
function write (state: SessionState, expected: Expected, reason: string, answer: Answer<boolean>): void {
  const { sessionId, storeKey, visit, context: { repository } } = state
  const refused = new Refusals()
  const writing = attempt(() => state.writing('all', refused), answer)
  if (writing === undefined) return
  const { changes, session } = writing
  const refusal = refused.toError(sessionId, NOTHING_WRITTEN)
  if (refusal !== null) {
    answer(refusal)
    return
  }
  repository.update(storeKey, visit.cookie.terms, changes, session, (error, isWritten) => {
    if (error !== null) refused.addFrom(error, changes.set)
    else if (isWritten === true) state.markWritten(writing)
    answer(refused.toError(sessionId, NOTHING_WRITTEN) ?? error, isWritten)
  }, reason, expected)
}

function gone (state: SessionState): Error {
  state.standing = 'gone'
  return new GoneError()
}

/**
 * Calls the function with the data of a draft. Returns its result, and the keys that it used.
 *
 * @throws FST_ERR_SESSION_UPDATE, or what the function throws
 */
function run<T> (fn: Change<T>, draft: Draft): { value?: T, keys: string[] } {
  if (typeof fn !== 'function') throw new UpdateError(`got ${kindOf(fn)}`)
  const { data, keys, revoke } = openData(draft)
  try {
    const value = fn(data)
    // The data are revoked below, so the caller couldn't read them.
    if (value === data) return { keys: [...keys] }
    if (isPromise(value)) {
      value.then(undefined, () => {})
      throw new UpdateError('this one returned a promise')
    }
    return { value, keys: [...keys] }
  } finally {
    // A later change would be lost.
    revoke()
  }
}
