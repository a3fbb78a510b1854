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

/** What `session.update()` is called with. */
export type Change<T> = (session: Data) => T

// Processes compete here, and not their requests. A try takes as long as a read and a write.
const MOST_TRIES = 20
// Between two tries, but for the first two, in milliseconds.
const LONGEST_PAUSE = 16

/**
 * Changes data onto what the store has now, in one step: again if another request was faster. Answers what the function
 * returned.
 *
 * @param recording the keys that the handler has written since it asked for it
 * @param onLoad gets the session before each call of the function, and what it sets on it is written in the same step
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

/** Removes a key. Of all who take it at the same time, one is answered its value. */
export function take (state: SessionState, recording: Recording, key: string, answer: Answer<unknown>): void {
  update(state, recording, data => {
    // Data only: nothing is inherited.
    const value = data.get(key)
    delete data[key]
    return value
  }, answer, 'take() was called')
}

/**
 * Binds a session to a device, and takes the key by which that was offered: in one step, so that one of all who answer
 * the offer is bound, and nobody is who answers another one later. Answers whether it is this one.
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

/** Of a session that the store doesn't have, so nobody else does. */
function changeDraft<T> (state: SessionState, recording: Recording, fn: Change<T>, answer: Answer<T>): void {
  const draft = new Draft(state.draft.toObject())
  const done = attempt(() => run(fn, draft), answer)
  if (done === undefined) return
  state.draft.forget(recording)
  for (const key of done.keys) if (!recording.has(key)) state.draft.set(key, draft.get(key))
  if (draft.isChanged()) state.noteChange()
  answer(null, done.value)
}

/** One try. */
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
      // The function may have been what was watched last.
      visit.watch(state)
      answer(failure, value)
    }
    const put = (answer: Answer<boolean>): void => write(newer, { record: stored.record, keys }, reason, answer)
    if (!newer.isModified()) finish(null, true)
    else if (context.index === undefined) put(finish)
    else context.index.claims.write(newer, put, finish)
  })
}

/** All that was changed, or nothing. */
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
 * Calls the function with the data of a draft. Answers what it returned, and which keys it used.
 *
 * @throws FST_ERR_SESSION_UPDATE, and what the function throws
 */
function run<T> (fn: Change<T>, draft: Draft): { value?: T, keys: string[] } {
  if (typeof fn !== 'function') throw new UpdateError(`got ${kindOf(fn)}`)
  const { data, keys, revoke } = openData(draft)
  try {
    const value = fn(data)
    // Nobody could read it any more.
    if (value === data) return { keys: [...keys] }
    if (isPromise(value)) {
      value.then(undefined, () => {})
      throw new UpdateError('this one returned a promise')
    }
    return { value, keys: [...keys] }
  } finally {
    // What is changed later would be lost.
    revoke()
  }
}
