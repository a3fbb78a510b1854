/** The one of the names that somebody may have meant who wrote another one; undefined if none is near. */
export function nearest (written: string, names: readonly string[]): string | undefined {
  const wanted = plain(written)
  return names.find(name => plain(name) === wanted) ?? names.find(name => isOneStepOff(wanted, plain(name)))
}

// Capitals, dashes and British spelling don't count.
function plain (name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '').replaceAll('ise', 'ize')
}

/** Whether one letter is missing, too much, another one or in the wrong place. */
function isOneStepOff (a: string, b: string): boolean {
  let start = 0
  while (start < a.length && a[start] === b[start]) start++
  const [restA, restB] = [a.slice(start), b.slice(start)]
  if (restA.length < 2 && restB.length < 2) return a.length > 3
  return restA.slice(1) === restB || restA === restB.slice(1) || restA.slice(1) === restB.slice(1) ||
    `${restA[1]}${restA[0]}${restA.slice(2)}` === restB
}
