/** Parts of documents that a command measures and writes. */

const END = '<!-- end -->'

/** The measured part of a document. */
export function measuredIn (text: string, command: string): string {
  const [, measured] = parts(text, command)
  return measured.trim()
}

export function withMeasured (text: string, command: string, measured: string): string {
  const [before, , after] = parts(text, command)
  return `${before}\n\n${measured}\n\n${after}`
}

function parts (text: string, command: string): [before: string, measured: string, after: string] {
  const begin = `<!-- begin: measured by \`${command}\` -->`
  const from = text.indexOf(begin) + begin.length
  const to = text.indexOf(END, from)
  if (!text.includes(begin) || to === -1) throw new Error(`the document has no ${begin} … ${END}`)
  return [text.slice(0, from), text.slice(from, to), text.slice(to)]
}
