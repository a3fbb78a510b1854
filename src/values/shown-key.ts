const MOST_CHARACTERS = 64

// Text that looks like an id, a token or a hash.
const RANDOM = /(?=[\w-]*\d)[\w-]{16,}/g

/**
 * The name of a key for a message. It may come from user input, so it is shortened, on one line, and without session
 * ids or anything that looks like one.
 *
 * @param sessionId the id to hide
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

// Names are shorter than ids and tokens.
const NAME = /^[A-Za-z_$][\w$]{0,23}$/
const MOST_STEPS = 6

/** A path in a value. A step that may be data, and not a name in the application's code, isn't shown. */
export function shownPath (path: ReadonlyArray<string | number>): string {
  const steps = path.slice(0, MOST_STEPS).map(step => {
    if (typeof step === 'number') return `[${step}]`
    return NAME.test(step) && shownKey(step) === `'${step}'` ? `.${step}` : '[…]'
  })
  return steps.join('') + (path.length > MOST_STEPS ? '…' : '')
}
