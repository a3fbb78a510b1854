'use strict'

/** Prints a table in columns of so many characters. */
function printTable (head, rows, widths) {
  const line = widths.map(width => '-'.repeat(width)).join('-+-')
  for (const row of [head, ...rows]) {
    const cells = row.map((cell, i) => wrapped(cell, widths[i]))
    for (let i = 0; i < Math.max(...cells.map(lines => lines.length)); i++) {
      console.log(cells.map((lines, column) => (lines[i] ?? '').padEnd(widths[column])).join(' | ').trimEnd())
    }
    console.log(line)
  }
  console.log()
}

/** The lines of a text, broken at spaces. */
function wrapped (text, width) {
  const lines = ['']
  for (const word of text.split(' ')) {
    const longer = `${lines.at(-1)} ${word}`.trim()
    if (longer.length <= width) lines[lines.length - 1] = longer
    else lines.push(word)
  }
  return lines
}

module.exports = { printTable }
