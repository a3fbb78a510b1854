/** Returns the name that a misspelt one may stand for; undefined if none is similar. */
export function nearest (written: string, names: readonly string[]): string | undefined {
  const wanted = plain(written)
  const most = wanted.length > 10 ? 2 : wanted.length > 3 ? 1 : 0
  for (let steps = 0; steps <= most; steps++) {
    const name = names.find(name => isNear(wanted, plain(name), steps))
    if (name !== undefined) return name
  }
  return undefined
}

// Capitals, dashes and British spelling don't matter.
function plain (name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '').replaceAll('ise', 'ize')
}

/** Whether at most this many letters are missing, added, replaced or swapped. */
function isNear (a: string, b: string, steps: number): boolean {
  let same = 0
  while (same < a.length && a[same] === b[same]) same++
  const [x, y] = [a.slice(same), b.slice(same)]
  if (x === y) return true
  if (steps === 0) return false
  const isSwapped = x[0] === y[1] && x[1] === y[0]
  return isNear(x.slice(1), y, steps - 1) || isNear(x, y.slice(1), steps - 1) ||
    isNear(x.slice(1), y.slice(1), steps - 1) || (isSwapped && isNear(x.slice(2), y.slice(2), steps - 1))
}
