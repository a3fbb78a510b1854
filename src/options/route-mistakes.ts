import { nearest } from '../values/near'
import { shown } from '../values/kind'
import { tooShort } from '../values/seconds'

const FLAGS = ['rolling', 'saveUninitialized', 'lazy']
const DURATIONS = ['fresh', 'proof']
const NAMES = [...FLAGS, ...DURATIONS]
/** What to write instead of a misspelt string. */
const MEANT: Readonly<Record<string, string>> = { lazy: "'lazy'", false: 'false', fresh: '{ fresh: milliseconds }' }

/**
 * Likely mistakes in a route's `config: { session: … }`, each as in 'The session option ...'. A name that resembles
 * none of ours is the application's own.
 */
export function mistakesInRoute (said: unknown, url: string): string[] {
  const found = typeof said === 'string' ? [mistakenText(said)] : Object.entries(said ?? {}).map(mistakenEntry)
  return found.filter(mistake => mistake !== undefined).map(mistake => `${mistake} (in the config of the route ${url})`)
}

function mistakenText (text: string): string | undefined {
  const meant = nearest(text, Object.keys(MEANT))
  return meant && `'${text}' isn't known: write ${MEANT[meant]}`
}

function mistakenEntry ([name, value]: [string, any]): string | undefined {
  if (DURATIONS.includes(name)) return tooShort(name, value)
  if (!FLAGS.includes(name)) {
    const meant = nearest(name.replace(/^is/, ''), NAMES)
    return meant && `${name} isn't known: write ${meant}`
  }
  return value == null || typeof value === 'boolean' ? undefined : `${name} must be true or false, and not ${shown(value)}`
}
