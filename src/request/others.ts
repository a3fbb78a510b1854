import type { Finder } from './finder'
import type { Context } from '../session/state'
import type { Repository } from '../stores/repository'

/**
 * Browsers send several cookies of one name. A logout ends the sessions of all of them, so that none is left to log
 * in with.
 */
export function endOthers (finder: Finder, repository: Repository): Context['endOthers'] {
  return function end (visit, sessionId, answer) {
    const proved = visit.sent.map(value => finder.proveOf(visit.sent, value)?.sessionId)
    const ids = new Set(proved.filter(id => id !== undefined && id !== sessionId))
    let left = ids.size
    let failure: Error | null = null
    if (left === 0) answer(null)
    for (const id of ids as Set<string>) {
      repository.end(id, error => {
        failure ??= error
        if (--left === 0) answer(failure)
      }, 'logout')
    }
  }
}
