import { marked } from './claims'
import { takeAuthentication } from './freshness'
import type { SessionState } from './state'
import { GoneError, ReplacedError } from '../errors'
import type { Recording } from '../values/draft'
import { Refusals } from '../values/refusals'
import type { Answer, EndCode, SessionRecord } from '../types/store'

/** Writes the changes, or all of a new session. */
export function save (state: SessionState, answer: Answer<void>, reason = 'save() was called'): void {
  const refusal = whyNotSaved(state)
  if (refusal !== undefined) {
    answer(refusal)
    return
  }
  state.makeId(error => error === null ? write(state, answer, reason) : answer(error))
}

/** The same for a call of a handler. */
export function saveByHand (state: SessionState, answer: Answer<void>): void {
  save(state, error => {
    if (error === null || state.lastWrite === 'partly') state.wasSavedByHand = true
    answer(error)
  })
}

/** Writes the creation date into a record that lacks it. That doesn't prolong the session. */
export function date (state: SessionState, answer: Answer<void>, reason?: string): void {
  writePart(state, 'creation', error => answer(error), reason)
}

/** Prolongs a session and changes nothing else. */
export function prolong (state: SessionState, answer: Answer<void>, reason?: string): void {
  const { storeKey, visit, since, context: { repository } } = state
  const session = attempt(() => state.forTouch(), answer)
  if (session === undefined) return
  repository.prolong(storeKey, visit.cookie.terms, session, since, (error, found) => {
    if (error === null && found === false) state.standing = 'gone'
    answer(error ?? (state.standing === 'gone' ? new GoneError() : null))
  }, reason)
}

/**
 * Prolongs a session and writes the new end into the record. The handler's changes aren't written yet.
 */
export function renew (state: SessionState, answer: Answer<boolean>, reason?: string): void {
  writePart(state, 'life', answer, reason)
}

/** The arguments of regenerate(). */
export interface Renewal {
  /** The data to keep. */
  readonly keys: readonly string[]
  /** Whether the visitor has just authenticated. */
  readonly isAuthenticated: boolean
}

/** Makes and writes a new session with a new id, which keeps the named data, and ends this one. */
export function regenerate (state: SessionState, renewal: Renewal, recording: Recording, answer: Answer<void>): void {
  const finish: Answer<void> = error => {
    state.renewalError = error ?? undefined
    answer(error)
  }
  state.context.ids.make(state.visit.request, (error, sessionId) => {
    if (error === null) giveWay(state, sessionId, renewal, recording, finish)
    else finish(error)
  })
}

/** Loads the session again. If that fails, nothing changes. */
export function reload (state: SessionState, recording: Recording, answer: Answer<void>): void {
  if (state.standing === 'gone' || state.standing === 'destroyed') answer(new GoneError())
  else loadAgain(state, recording, answer)
}

/** Ends the session, and those of the request's other cookies with the same name. */
export function destroy (state: SessionState, answer: Answer<void>, code: EndCode = 'logout'): void {
  const { visit, context: { endOthers } } = state
  const finish: Answer<void> = error => {
    state.show(null)
    answer(error)
  }
  const removed: Answer<void> = error => {
    if (error === null && visit.sent.length > 1) endOthers(visit, state.storeKey, finish)
    else finish(error)
  }
  remove(state, removed, code)
}

/** Ends a session if a part of its record can't be read, so that the visitor can get a new one. */
export function discard (state: SessionState, answer: Answer<void>): void {
  state.context.repository.warn('unreadable', state.storeKey)
  remove(state, answer, 'expired')
}

function loadAgain (state: SessionState, recording: Recording, answer: Answer<void>): void {
  const { repository } = state.context
  const { sessionId, storeKey, visit, standing, found } = state
  repository.load(storeKey, visit.cookie.terms, false, (error, stored) => {
    // A new session never gets an id that a visitor sent.
    if (error !== null || (stored === undefined && standing !== 'new')) {
      answer(error ?? new GoneError())
      return
    }
    // Only the first load may have touched it.
    const isTouched = found.stored?.isTouched === true
    const again = { sessionId, signedId: found.signedId, stored: stored && { ...stored, isTouched } }
    const next = state.successor(again, false)
    if (recording.has('cookie')) next.takeChoice(state)
    if (standing === 'written') next.standing = 'written'
    if (state.wasTouched) next.touch()
    state.draft.handOver(next.draft, recording)
    state.replaceBy(next)
    answer(null)
  })
}

/** Ends the session. */
export function remove (state: SessionState, answer: Answer<void>, code: EndCode): void {
  const { storeKey, context: { repository } } = state
  repository.end(storeKey, error => {
    if (error !== null) {
      answer(error)
      return
    }
    state.standing = 'destroyed'
    release(state, () => answer(null))
  }, code)
}

/** Why the session can't be written; undefined if it can. */
export function whyNotSaved (state: SessionState): Error | undefined {
  switch (state.standing) {
    case 'anonymous': return state.found.loadError
    case 'gone':
    case 'destroyed': return new GoneError()
    case 'replaced': return new ReplacedError()
    default: return state.renewalError
  }
}

function write (state: SessionState, answer: Answer<void>, reason: string): void {
  const { repository, index } = state.context
  const { sessionId, storeKey, visit } = state
  const refused = new Refusals()
  const put = (answer: Answer<boolean>): void => {
    const writing = attempt(() => state.writing('all', refused), answer)
    if (writing === undefined) return
    const { changes, session } = writing
    const written: Answer<boolean> = (error, found) => {
      // The other changes are written without the values that can't be stored.
      if (error !== null && refused.addFrom(error, changes.set)) {
        put(answer)
        return
      }
      if (error === null && found === true) state.markWritten(writing)
      answer(error, found)
    }
    if (state.isInStore) repository.update(storeKey, visit.cookie.terms, changes, session, written, reason)
    else repository.create(storeKey, session, error => written(error, true), reason)
  }
  const finish: Answer<boolean> = (error, found) => {
    const isWritten = error === null && found === true
    const failure = isWritten ? refused.toError(sessionId) : error ?? new GoneError()
    if (error === null && !isWritten) state.standing = 'gone'
    if (failure !== null) state.lastWrite = isWritten ? 'partly' : 'failed'
    answer(failure)
  }
  if (index === undefined) put(finish)
  else index.claims.write(state, put, finish)
}

/** Writes the library's own fields of a session, without its data. */
function writePart (state: SessionState, what: 'life' | 'creation', answer: Answer<boolean>, reason?: string): void {
  const { storeKey, visit, context: { repository } } = state
  const writing = attempt(() => state.writing(what), answer)
  if (writing === undefined) return
  repository.update(storeKey, visit.cookie.terms, writing.changes, writing.session, answer, reason)
}

/** Runs a function. If it throws, answers with the error and returns undefined. */
export function attempt<T> (make: () => T, answer: Answer<any>): T | undefined {
  try {
    return make()
  } catch (error) {
    // null would mean success.
    answer((error ?? new Error('nothing was thrown')) as Error)
    return undefined
  }
}

function giveWay (
  state: SessionState, sessionId: string | undefined, renewal: Renewal, recording: Recording, answer: Answer<void>
): void {
  marked(state, sessionId as string, answer, answer => replace(state, sessionId, renewal, recording, answer))
}

function replace (
  state: SessionState,
  sessionId: string | undefined,
  { keys, isAuthenticated }: Renewal,
  recording: Recording,
  answer: Answer<void>
): void {
  const takesData = keys.some(key => state.draft.isStored(key))
  end(state, keys.length > 0, (error, removed) => {
    const wasThere = removed !== false && (removed !== undefined || !state.hasEnded)
    // The data would log in a visitor who was logged out in the meantime.
    if (error === null && takesData && !wasThere) {
      state.context.repository.warn('gone', state.storeKey)
      state.standing = 'gone'
      error = new GoneError()
    }
    if (error !== null) {
      answer(error)
      return
    }
    let next: SessionState
    try {
      // Made only now, because the handler may have chosen a lifetime in the meantime.
      next = state.successor({ sessionId }, true, removed || undefined)
      for (const key of keys) {
        const value = removed ? state.draft.getOnto(removed, key) : state.draft.get(key)
        if (value !== undefined) next.draft.set(key, value)
      }
      takeAuthentication(state, next, keys.length > 0, isAuthenticated)
      state.draft.handOver(next.draft, recording)
    } catch (thrown) {
      answer(thrown as Error)
      return
    }
    state.replaceBy(next)
    const { recent } = state.context.repository
    if (state.hasId) recent.mark(state.storeKey, 'replaced')
    // The new session takes over its entries in the index.
    if (state.claims.size > 0) next.replaces = { claims: state.claims, storeKey: state.storeKey }
    save(next, error => {
      // The visitor won't get a new cookie, so the old one may be cleared.
      if (!next.isInStore && state.hasId) recent.unreplace(state.storeKey)
      answer(error)
    }, 'regenerate() was called')
  })
}

function end (state: SessionState, isTaken: boolean, answer: Answer<SessionRecord | false>): void {
  const { repository } = state.context
  if (!state.hasId) answer(null)
  else if (isTaken) repository.take(state.storeKey, state.visit.cookie.terms, answer, 'replaced')
  else repository.destroy(state.storeKey, answer, 'replaced')
}

// Removes the session's entries from the index. If that fails, the next list drops them.
function release ({ claims, storeKey, context: { repository } }: SessionState, done: () => void): void {
  let left = claims.size
  if (left === 0) done()
  for (const { key } of claims.values()) {
    repository.release(key, [storeKey], () => {
      if (--left === 0) done()
    })
  }
}
