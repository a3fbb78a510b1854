import { attempt, whyNotSaved } from './operations'
import { SessionState } from './state'
import { BusyError, GoneError, UpdateError } from '../errors'
import type { Stored } from '../stores/repository'
import { openData, type Data } from '../values/data'
import { Draft, type Recording } from '../values/draft'
import type { Expected } from '../values/expected'
import { kindOf } from '../values/kind'
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
 */
export function update<T> (
  state: SessionState, recording: Recording, fn: Change<T>, answer: Answer<T>, reason = 'update() was called'
): void {
  const refusal = typeof fn === 'function' ? whyNotSaved(state) : new UpdateError(`got ${kindOf(fn)}`)
  if (refusal !== undefined) answer(refusal)
  else if (state.isInStore) tryAll(state, recording, fn, answer, reason)
  else changeNew(state, fn, answer)
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

/** The store doesn't have it, so nobody else does. */
function changeNew<T> (state: SessionState, fn: Change<T>, answer: Answer<T>): void {
  const draft = new Draft(state.draft.toObject())
  const refused = new Refusals()
  const { error, value } = run(fn, draft)
  const { set, unset } = draft.changes(refused)
  const failure = error ?? refused.toError(undefined, NOTHING_WRITTEN)
  if (failure !== null) {
    answer(failure)
    return
  }
  for (const key of Object.keys(set)) state.draft.set(key, set[key])
  for (const key of unset) state.draft.delete(key)
  if (draft.isChanged()) state.noteChange()
  answer(null, value)
}

function tryAll<T> (
  state: SessionState, recording: Recording, fn: Change<T>, answer: Answer<T>, reason: string
): void {
  const { sessionId, visit, context: { repository } } = state
  repository.alone<T>(sessionId, answer, done => {
    let tries = 0
    const next = (): void => repository.load(sessionId, visit.cookie.terms, false, (error, stored) => {
      if (error !== null) done(error)
      else if (stored === undefined) done(gone(state))
      else changeStored(state, recording, stored, fn, tried, reason)
    })
    const tried: Answer<T> = (error, value) => {
      if (!(error instanceof BusyError) || ++tries === MOST_TRIES) done(error, value)
      else if (tries === 1) next()
      else setTimeout(next, Math.random() * Math.min(2 ** tries, LONGEST_PAUSE))
    }
    next()
  })
}

/** One try. */
function changeStored<T> (
  state: SessionState, recording: Recording, stored: Stored, fn: Change<T>, answer: Answer<T>, reason: string
): void {
  const { context: { users }, visit, sessionId, found: { signedId } } = state
  const newer = new SessionState(state.context, visit, { sessionId, signedId, stored })
  const { error, value, keys } = run(fn, newer.draft)
  if (newer.draft.isUnreadable) state.draft.isUnreadable = true
  const finish: Answer<boolean> = (error, isWritten) => {
    if (error !== null || isWritten !== true) {
      answer(error ?? gone(state))
      return
    }
    state.adopt(newer, keys, recording)
    answer(null, value)
  }
  const put = (answer: Answer<boolean>): void => write(newer, { record: stored.record, keys }, answer, reason)
  if (error !== null || !newer.isModified()) finish(error, true)
  else if (users === undefined) put(finish)
  else users.write(newer, put, finish)
}

/** All that was changed, or nothing. */
function write (state: SessionState, expected: Expected, answer: Answer<boolean>, reason: string): void {
  const { sessionId, visit, context: { repository } } = state
  const refused = new Refusals()
  const refusal = (): Error | null => refused.toError(sessionId, NOTHING_WRITTEN)
  const writing = attempt(() => state.writing('all', refused), answer)
  if (writing === undefined) return
  const { changes, session } = writing
  const written: Answer<boolean> = (error, isWritten) => {
    if (error === null && isWritten === true) state.markWritten(writing)
    else if (error !== null && refused.addFrom(error, changes.set)) error = refusal()
    answer(error, isWritten)
  }
  const refusedAlready = refusal()
  if (refusedAlready !== null) answer(refusedAlready)
  else repository.update(sessionId, visit.cookie.terms, changes, session, written, reason, expected)
}

function gone (state: SessionState): Error {
  state.standing = 'gone'
  return new GoneError()
}

/** Calls the function with the data of a draft. Says which keys it touched, and what it threw. */
function run<T> (fn: Change<T>, draft: Draft): { error: Error | null, value?: T, keys: string[] } {
  const { data, keys, revoke } = openData(draft)
  try {
    const value = fn(data)
    // Nobody could read it any more.
    if (value === data) return { error: null, keys: [...keys] }
    if (typeof (value as PromiseLike<T> | null | undefined)?.then === 'function') {
      Promise.resolve(value).catch(() => {})
      throw new UpdateError('this one returned a promise')
    }
    return { error: null, value, keys: [...keys] }
  } catch (thrown) {
    // null would say that all is well.
    return { error: (thrown ?? new Error('The function of update() threw nothing')) as Error, keys: [] }
  } finally {
    // What is changed later would be lost.
    revoke()
  }
}
