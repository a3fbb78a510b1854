/** The checks of options that RedisStore, PostgresStore and `sealed()` share. */
import { OptionError } from '../errors'
import { nearest } from '../values/near'
import { tooShort } from '../values/seconds'
import { warnOption } from '../warnings'

/** @throws FST_ERR_SESSION_OPTION */
export function checkTtl (store: string, ttl: unknown): void {
  if (typeof ttl === 'number' && ttl > 0 && ttl <= Number.MAX_SAFE_INTEGER) return
  throw new OptionError(`store is wrong: the ttl of a ${store} must be a positive number of milliseconds`)
}

/** @param names the names of its options */
export function tellMistakes (store: string, options: object & { ttl?: number }, names: readonly string[]): void {
  for (const name of Object.keys(options)) {
    const meant = names.includes(name) ? undefined : nearest(name, names)
    if (meant !== undefined) warnOption(`store: ${name} of ${store} isn't known: write ${meant}`)
  }
  const short = tooShort(`store: the ttl of ${store}`, options.ttl)
  if (short !== undefined) warnOption(short)
}
