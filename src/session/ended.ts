import type { EndCode } from '../types/store'

const ENDS: Readonly<Record<EndCode, string>> = {
  logout: 'the visitor logged out',
  revoked: 'it was revoked',
  limit: 'its user has too many sessions',
  replaced: 'it was regenerated',
  expired: 'it expired, or it is not in the store any more'
}

export function isEndCode (code: unknown): code is EndCode {
  return typeof code === 'string' && Object.hasOwn(ENDS, code)
}

/** The `reason` of a session's `signal`. */
export class SessionEndedError extends Error {
  override readonly name = 'SessionEndedError'
  readonly code: EndCode

  constructor (code: EndCode) {
    super(`The session has ended: ${ENDS[code]}`)
    this.code = code
  }
}
