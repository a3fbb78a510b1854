const MOST_CHARACTERS = 64

// What ids, tokens and hashes look like.
const RANDOM = /(?=[\w-]*\d)[\w-]{16,}/g

/**
 * The name of a key for a message. An application may make it of anything, so it is bounded, on one line, and without
 * session ids and what looks like one.
 *
 * @param sessionId the session's own
 */
export function shownKey (key: string, sessionId?: string): string {
  const start = key.slice(0, 4 * MOST_CHARACTERS)
  const plain = sessionId ? start.replaceAll(sessionId, '…') : start
  const short = plain.replace(RANDOM, '…').replace(/\p{C}/gu, '?')
  const shown = short.length > MOST_CHARACTERS || key.length > start.length
    ? `${short.slice(0, MOST_CHARACTERS)}…`
    : short
  return `'${shown}'`
}

// Shorter than ids and tokens.
const NAME = /^[A-Za-z_$][\w$]{0,23}$/
const MOST_STEPS = 6

/** Where in a value something is. What may be data, and no name that stands in the application's code, isn't shown. */
export function shownPath (path: ReadonlyArray<string | number>): string {
  const steps = path.slice(0, MOST_STEPS).map(step => {
    if (typeof step === 'number') return `[${step}]`
    return NAME.test(step) && shownKey(step) === `'${step}'` ? `.${step}` : '[…]'
  })
  return steps.join('') + (path.length > MOST_STEPS ? '…' : '')
}
