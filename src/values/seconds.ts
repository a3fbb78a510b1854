const MINUTE = 60
const HOUR = 3_600
const DAY = 86_400
const YEAR = 366 * DAY

/** The warning if an option looks like seconds instead of milliseconds; undefined if it doesn't. */
export function tooShort (name: string, milliseconds: number | null | undefined): string | undefined {
  const meant = milliseconds ? asSeconds(milliseconds) : undefined
  if (meant === undefined) return undefined
  return `${name} is in milliseconds, and ${milliseconds} looks like ${meant} in seconds: write ${milliseconds} * 1000`
}

/**
 * Returns what a number of milliseconds means if it looks like seconds: 3600 is '1 hour', because no session lives for
 * 3600 milliseconds. undefined if it looks like milliseconds.
 */
function asSeconds (milliseconds: number): string | undefined {
  // A multiple of a minute in milliseconds is plausible.
  if (milliseconds % (MINUTE * 1000) === 0 || milliseconds > YEAR) return undefined
  if (milliseconds % DAY === 0) return counted(milliseconds / DAY, 'day')
  if (milliseconds % HOUR === 0 && milliseconds < DAY) return counted(milliseconds / HOUR, 'hour')
  const isRound = milliseconds % MINUTE === 0 && milliseconds % 500 !== 0
  return isRound && milliseconds < HOUR ? counted(milliseconds / MINUTE, 'minute') : undefined
}

function counted (count: number, unit: string): string {
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}
