import { isForEverybody } from './cache-headers'
import { savesUnused } from './route'
import { isRefused, type Slot } from './slot'
import type { Settings } from '../options/settings'
import type { SessionState } from '../session/state'
import type { FastifyReply, FastifyRequest } from 'fastify'

/**
 * What a reply does to store and cookie. `clear` and `end` remove the cookie. `send`, `touch`, `update` and `create`
 * send it. `end` and `drop` remove the record.
 */
export type Outcome = 'nothing' | 'clear' | 'end' | 'drop' | 'date' | 'send' | 'touch' | 'update' | 'create'

/** An outcome and its reason. */
export interface Decision {
  readonly outcome: Outcome
  readonly reason: string
  /** Whether the reply fails if the store fails, because the request changed something, or may have. */
  readonly isNeeded: boolean
  /** Whether the cookie is neither sent nor cleared, because a shared cache may keep the response. */
  readonly isSilent?: boolean
}

/**
 * The result of a decision: the cookie is sent, cleared or left alone, or the reply fails. `partly`: the reply fails,
 * but the cookie is sent, because the session was stored without the values that can't be.
 */
export type Result = 'sent' | 'cleared' | 'left' | 'failed' | 'partly'

const because = (outcome: Outcome, reason: string, isNeeded = true): Decision => ({ outcome, reason, isNeeded })

// Made once, so that a decision creates no object.
const DECISIONS = {
  destroyed: because('clear', 'the session was destroyed'),
  gone: because('clear', 'the session is gone'),
  other: because('nothing', 'request.session is not a session'),
  unreadable: because('end', 'a part of the record cannot be read', false),
  anonymous: because('nothing', 'the session could not be loaded'),
  failed: because('nothing', 'the reply says that the session could not be written'),
  failedInPart: because('send', 'the reply says that a part of the session could not be written'),
  preflight: because('clear', 'browsers keep no cookies from a preflight'),
  justReplaced: because('nothing', 'another request has just replaced the session, and sends the new cookie'),
  savedLate: because('drop', 'another request has just replaced the session, so the cookie of this one is not sent', false),
  refused: because('nothing', 'the guard refused the session, and the cookie stays as it is'),
  fromElsewhere: because('nothing', 'the request comes from another site, so the browser may have a cookie that it did not send'),
  created: because('create', 'the session is new'),
  empty: because('clear', 'nothing was stored'),
  modified: because('update', 'the data were changed'),
  chosen: because('update', 'the lifetime was changed'),
  undated: because('date', 'the record does not say when the session was created', false),
  written: because('send', 'the session was saved by hand'),
  outdated: because('update', 'the record is too old, or was written with another lifetime', false),
  claimed: because('update', 'the entry in the index by user must be renewed', false),
  refreshed: because('update', 'refreshAfter has passed', false),
  told: because('update', 'without rolling, the new end must be written into the record', false),
  touchedByStore: because('send', 'the store moved the end when it was loaded', false),
  touched: because('touch', 'the session is prolonged', false),
  rewritten: because('touch', 'the session is prolonged, and a store without touch writes all of it'),
  late: because('touch', 'the session was saved by hand a while before the reply goes out', false),
  signed: because('send', 'an older secret signed the cookie', false),
  unused: because('nothing', 'the request does not prolong the session', false),
  shared: because('nothing', 'a shared cache may keep the response'),
  insecure: because('nothing', 'the cookie may be sent over https only'),
  insecureClear: because('clear', 'the cookie may be sent over https only')
} as const

/** Decides what to do when a reply goes out, and doesn't do it. */
export function decide (
  slot: Slot, state: SessionState, settings: Settings, request: FastifyRequest, reply: FastifyReply
): Decision {
  let decision = wanted(slot, state, settings, request)
  if (settings.cacheControl && isForEverybody(reply) && !isAskedFor(slot, state)) {
    return decision.outcome === 'create' ? DECISIONS.shared : { ...decision, isSilent: true }
  }
  // If the handler caught the error of save() and replies normally, the write is tried again.
  if (state.lastWrite !== 'whole' && reply.statusCode >= 500 && !clears(decision.outcome)) {
    decision = state.lastWrite === 'partly' ? DECISIONS.failedInPart : DECISIONS.failed
  }
  // As in version 11, the cookie of a session that the handler saved is sent.
  if (!sends(decision.outcome) || state.wasSavedByHand) return decision
  if (!isRefused(state.visit, state.attributes.secure)) return decision
  return state.isInStore && state.sessionId === slot.sentId ? DECISIONS.insecure : DECISIONS.insecureClear
}

export function isInsecure (decision: Decision): boolean {
  return decision === DECISIONS.insecure || decision === DECISIONS.insecureClear
}

/** Whether the reply has the session cookie if nothing fails. */
export function sendsCookie ({ outcome, isSilent }: Decision): boolean {
  return isSilent !== true && sends(outcome)
}

/** Whether the store failed to prolong a session that is otherwise unchanged. The reply goes out anyway. */
export function isUnprolonged ({ outcome }: Decision, state: SessionState, result: Result): boolean {
  return result === 'left' && state.isInStore && sends(outcome)
}

/** The result of a decision, by the store's answer. */
export function resultOf (decision: Decision, state: SessionState, error: Error | null): Result {
  const result = resultByStore(decision, state, error)
  if (decision.isSilent !== true) return result
  return result === 'failed' || result === 'partly' ? 'failed' : 'left'
}

function resultByStore ({ outcome, isNeeded }: Decision, state: SessionState, error: Error | null): Result {
  const { recent } = state.context.repository
  const isOver = state.standing === 'gone' || (sends(outcome) && state.hasEnded)
  // Another request has ended the session: this one's changes are dropped, and the stale cookie is cleared. If the
  // other request was a login, clearing would remove the new session's cookie.
  if (isOver) return recent.wasReplaced(state.storeKey) ? 'left' : 'cleared'
  if (error !== null && isNeeded) return state.lastWrite === 'partly' ? 'partly' : 'failed'
  if (error !== null) return 'left'
  if (clears(outcome)) return 'cleared'
  return sends(outcome) ? 'sent' : 'left'
}

/** Whether the visitor needs this reply's cookie: for a login or a logout, not only for a later end. */
function isAskedFor ({ sentId }: Slot, state: SessionState): boolean {
  if (state.wasTouched || state.wasChosen) return true
  switch (state.standing) {
    case 'new': return state.isModified()
    case 'stored': return state.sessionId !== sentId
    case 'gone': return false
    default: return true
  }
}

function sends (outcome: Outcome): boolean {
  return outcome !== 'nothing' && outcome !== 'drop' && outcome !== 'date' && !clears(outcome)
}

function clears (outcome: Outcome): boolean {
  return outcome === 'clear' || outcome === 'end'
}

function wanted (slot: Slot, state: SessionState, settings: Settings, request: FastifyRequest): Decision {
  if (state.standing === 'destroyed') return DECISIONS.destroyed
  if (isLate(slot, state)) return state.isInStore ? DECISIONS.savedLate : DECISIONS.justReplaced
  switch (state.standing) {
    case 'gone': return DECISIONS.gone
    case 'anonymous': return DECISIONS.anonymous
    case 'new': return slot.other !== undefined ? DECISIONS.other : wantedOfNew(slot, state, settings, request)
    default: return slot.other !== undefined ? DECISIONS.other : wantedOfStored(state, settings)
  }
}

/**
 * Whether this reply's cookie could replace the one of a newer session: the request came with an id that was replaced a
 * moment ago, so the browser has the new cookie, or is about to get it. If this request itself called regenerate(), its
 * cookie is sent.
 */
function isLate ({ sentId }: Slot, { found, isRenewal, context }: SessionState): boolean {
  if (sentId === undefined || isRenewal || found.stored !== undefined || found.loadError !== undefined) return false
  const { repository } = context
  return repository.keysOf(sentId).some(key => repository.recent.wasJustReplaced(key))
}

function wantedOfNew (
  { route, visit }: Slot, state: SessionState, settings: Settings, request: FastifyRequest
): Decision {
  if (state.isModified()) return DECISIONS.created
  if (state.found.isRefused === true) return DECISIONS.refused
  if (request.method === 'OPTIONS') return DECISIONS.preflight
  if (visit?.sent.length === 0 && isFromElsewhere(request, state)) return DECISIONS.fromElsewhere
  const isSaved = savesUnused(route, settings.saveUninitialized)
  const saves = typeof isSaved === 'function' ? isSaved(request) : isSaved
  return saves ? DECISIONS.created : DECISIONS.empty
}

function wantedOfStored (state: SessionState, settings: Settings): Decision {
  const isWritten = state.standing === 'written'
  if (state.draft.isUnreadable) return DECISIONS.unreadable
  if (state.isModified()) return DECISIONS.modified
  if (state.wasChosen) return DECISIONS.chosen
  if (isWritten) return state.wasTouched ? DECISIONS.touched : wantedOfWritten(state)
  const isUsed = state.visit.rolling && !state.life.isFresh(settings.refreshAfter)
  if (state.wasTouched || isUsed) return wantedOfUsed(state, settings)
  if (state.life.isUndated) return DECISIONS.undated
  // If only this route doesn't roll, the record may not know how far a touch has moved the end, and a cookie that ends
  // too early would log the visitor out. The next route that rolls signs it again.
  return state.mustSignAgain && (state.visit.rolling || !settings.rolling) ? DECISIONS.signed : DECISIONS.unused
}

/** For a session that the handler has saved. */
function wantedOfWritten (state: SessionState): Decision {
  if (!state.visit.rolling || !state.life.isBehind) return DECISIONS.written
  return state.life.isOutdated ? DECISIONS.outdated : DECISIONS.late
}

/** For a session that this request prolongs and doesn't change. */
function wantedOfUsed (state: SessionState, { refreshAfter, rolling }: Settings): Decision {
  if (state.life.isOutdated) return DECISIONS.outdated
  if (state.claimIsAging) return DECISIONS.claimed
  if (refreshAfter > 0) return DECISIONS.refreshed
  if (!rolling) return DECISIONS.told
  const isMoved = state.found.stored?.isTouched === true && !state.wasTouched && !state.life.isBehind
  if (isMoved) return DECISIONS.touchedByStore
  return state.context.repository.hasTouch ? DECISIONS.touched : DECISIONS.rewritten
}

// A browser doesn't send a SameSite=Lax cookie with a POST that another site starts, nor a Strict one with a link, but
// it stores one from the reply. The cookie of an empty session would replace the visitor's.
function isFromElsewhere ({ method, headers }: FastifyRequest, state: SessionState): boolean {
  if (headers['sec-fetch-site'] !== 'cross-site') return false
  if (method !== 'GET' && method !== 'HEAD') return true
  const { sameSite } = state.attributes
  return sameSite === true || String(sameSite).toLowerCase() === 'strict'
}
