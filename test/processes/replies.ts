import type { Question, Reply } from './fleet'

/** Whether the reply says that what was asked for was done. */
export function isConfirmed (reply: Reply | undefined): reply is Reply {
  return reply !== undefined && isSuccess(reply)
}

/** Whether the reply says that the session had ended. */
export function saysGone (reply: Reply | undefined): boolean {
  return reply?.status === 409 && errorOf(reply).code === 'FST_ERR_SESSION_GONE'
}

/** Whether the reply is a success, says that the session had ended, or is a server error that says what is wrong; without secrets. */
export function isClear ({ cookie }: Question, reply: Reply): boolean {
  const { code, message, stack } = errorOf(reply)
  const saysWhy = code !== undefined || /redis|socket|cluster/i.test(message)
  if (stack !== undefined || (cookie !== undefined && reply.body.includes(sessionIdOf(cookie)))) return false
  return isSuccess(reply) || saysGone(reply) || (reply.status >= 500 && saysWhy)
}

/** The status, code and message of an error. */
export function wordsOf (reply: Reply): string {
  const { code = 'no code', message } = errorOf(reply)
  return `${reply.status} ${code}: ${message}`
}

/** The value of the session cookie; an empty string if it is cleared, undefined if there is none. */
export function cookieOf ({ setCookies }: Reply): string | undefined {
  return setCookies.map(header => /^sessionId=([^;]*)/.exec(header)?.[1]).findLast(value => value !== undefined)
}

/** The session id that a cookie carries. */
export function sessionIdOf (cookie: string): string {
  const signedId = decodeURIComponent(cookie)
  return signedId.slice(0, signedId.lastIndexOf('.'))
}

function isSuccess ({ status }: Reply): boolean {
  return status >= 200 && status < 300
}

function errorOf ({ body }: Reply): { code?: string, message: string, stack?: unknown } {
  try {
    return JSON.parse(body)
  } catch {
    return { message: '' }
  }
}
