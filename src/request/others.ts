import type { Finder } from './finder'
import type { Context } from '../session/state'
import type { Repository } from '../stores/repository'

/**
 * Browsers send several cookies of one name. A logout ends the sessions of all of them, so that none is left to log
 * in with.
 */
export function endOthers (finder: Finder, repository: Repository): Context['endOthers'] {
  return function end (visit, key, answer) {
    const proved = visit.sent.map(value => finder.proveOf(visit.sent, value)?.sessionId)
    const keys = new Set(proved.flatMap(sessionId => sessionId === undefined ? [] : repository.keysOf(sessionId)))
    keys.delete(key)
    let left = keys.size
    let failure: Error | null = null
    if (left === 0) answer(null)
    for (const other of keys) {
      repository.end(other, error => {
        failure ??= error
        if (--left === 0) answer(failure)
      }, 'logout')
    }
  }
}
