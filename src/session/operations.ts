import { takeAuthentication } from './freshness'
import type { SessionState } from './state'
import { GoneError, ReplacedError } from '../errors'
import type { Recording } from '../values/draft'
import { Refusals } from '../values/refusals'
import type { Answer, EndCode, SessionRecord } from '../types/store'

/** Writes what changed, or all of a new session. */
export function save (state: SessionState, answer: Answer<void>, reason = 'save() was called'): void {
  const refusal = whyNotSaved(state)
  if (refusal !== undefined) {
    answer(refusal)
    return
  }
  state.makeId(error => error === null ? write(state, answer, reason) : answer(error))
}

/** The same, because a handler called for it. */
export function saveByHand (state: SessionState, answer: Answer<void>): void {
  save(state, error => {
    if (error === null || state.lastWrite === 'partly') state.wasSavedByHand = true
    answer(error)
  })
}

/** Writes when the session was created, into a record that doesn't say. The session lives no longer by that. */
export function date (state: SessionState, answer: Answer<void>, reason?: string): void {
  writePart(state, 'creation', error => answer(error), reason)
}

/** Moves the end of a session that is otherwise unchanged. */
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
 * Moves the end of a session that is used, and writes it into the record; what the handler changed isn't written yet.
 */
export function renew (state: SessionState, answer: Answer<boolean>, reason?: string): void {
  writePart(state, 'life', answer, reason)
}

/** What regenerate() is told. */
export interface Renewal {
  /** The data that it takes along. */
  readonly keys: readonly string[]
  /** Whether the visitor has just authenticated. */
  readonly isAuthenticated: boolean
}

/** A new session for the same visitor, with a new id, which takes the named data along. Writes it; ends this one. */
export function regenerate (state: SessionState, renewal: Renewal, recording: Recording, answer: Answer<void>): void {
  state.context.ids.make(state.visit.request, (error, sessionId) => {
    if (error === null) giveWay(state, sessionId, renewal, recording, answer)
    else answer(error)
  })
}

/** The session as the store has it now. Nothing changes when that can't be had. */
export function reload (state: SessionState, recording: Recording, answer: Answer<void>): void {
  if (state.standing === 'gone' || state.standing === 'destroyed') answer(new GoneError())
  else loadAgain(state, recording, answer)
}

/** Ends the session, and those of all other cookies of the name that came with the request. */
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

/** Ends a session of whose record a part can't be read, so that the visitor can have a new one. */
export function discard (state: SessionState, answer: Answer<void>): void {
  state.context.repository.warn('unreadable', state.storeKey)
  remove(state, answer, 'expired')
}

function loadAgain (state: SessionState, recording: Recording, answer: Answer<void>): void {
  const { repository } = state.context
  const { sessionId, storeKey, visit, standing, found } = state
  repository.load(storeKey, visit.cookie.terms, false, (error, stored) => {
    // Never the id that was brought for a new session.
    if (error !== null || (stored === undefined && standing !== 'new')) {
      answer(error ?? new GoneError())
      return
    }
    // The first load touched it, if any did.
    const isTouched = found.stored?.isTouched === true
    const again = { sessionId, signedId: found.signedId, stored: stored && { ...stored, isTouched } }
    const next = state.successor(again, false)
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

/** Why nothing can be written of it; undefined if it can. */
export function whyNotSaved (state: SessionState): Error | undefined {
  switch (state.standing) {
    case 'anonymous': return state.found.loadError
    case 'gone':
    case 'destroyed': return new GoneError()
    case 'replaced': return new ReplacedError()
    default: return undefined
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
      // The rest isn't lost by what can't be stored.
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

/** Writes what the library keeps of a session, and nothing of its data. */
function writePart (state: SessionState, what: 'life' | 'creation', answer: Answer<boolean>, reason?: string): void {
  const { storeKey, visit, context: { repository } } = state
  const writing = attempt(() => state.writing(what), answer)
  if (writing === undefined) return
  repository.update(storeKey, visit.cookie.terms, writing.changes, writing.session, answer, reason)
}

/** What a store is to be given, or, if it can't be made, why: that is the answer then. */
export function attempt<T> (make: () => T, answer: Answer<any>): T | undefined {
  try {
    return make()
  } catch (error) {
    // null would say that all is well.
    answer((error ?? new Error('nothing was thrown')) as Error)
    return undefined
  }
}

function giveWay (
  state: SessionState,
  sessionId: string | undefined,
  { keys, isAuthenticated }: Renewal,
  recording: Recording,
  answer: Answer<void>
): void {
  const takesData = keys.some(key => state.draft.isStored(key))
  end(state, keys.length > 0, (error, removed) => {
    const wasThere = removed !== false && (removed !== undefined || !state.hasEnded)
    // Anyone who was logged out in the meantime would be logged in again by what is taken along.
    if (error === null && takesData && !wasThere) {
      state.context.repository.warn('gone', state.storeKey)
      state.standing = 'gone'
      error = new GoneError()
    }
    if (error !== null) {
      answer(error)
      return
    }
    // Not before, because the handler may have chosen a lifetime in the meantime.
    const next = state.successor({ sessionId }, true)
    try {
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
    // Its places in the index.
    if (state.claims.size > 0) next.replaces = { claims: state.claims, storeKey: state.storeKey }
    save(next, error => {
      // The visitor gets no new cookie to wait for.
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

// Off its keys in the index. What fails to be released is dropped when it is listed.
function release ({ claims, storeKey, context: { repository } }: SessionState, done: () => void): void {
  let left = claims.size
  if (left === 0) done()
  for (const { key } of claims.values()) {
    repository.release(key, [storeKey], () => {
      if (--left === 0) done()
    })
  }
}
