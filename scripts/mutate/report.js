'use strict'

const LONGEST = 110

/** @param results as { file, line, mutator, before, after, state, why } */
function report (results) {
  const files = [...new Set(results.map(({ file }) => file))]
  const rows = files.map(file => row(file, results.filter(result => result.file === file)))
  const survivors = files.map(file => survivorsOf(file, results)).filter(text => text !== '')
  return [table([...rows, row('all', results)]), ...survivors].join('\n')
}

/** How many of a hundred were found out. */
function scoreOf (results) {
  return 100 * results.filter(({ state }) => isKilled(state)).length / results.length
}

function row (name, results) {
  const count = (...states) => results.filter(({ state }) => states.includes(state)).length
  return [
    name, results.length, count('killed', 'timeout'), count('timeout'), count('survived', 'unreached'), count('unreached'),
    `${scoreOf(results).toFixed(1)} %`
  ].map(String)
}

function table (rows) {
  const head = ['file', 'mutants', 'killed', 'of these by the time limit', 'survived', 'of these unreached', 'score']
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map(row => row[i].length)))
  const line = row => `| ${row.map((text, i) => i === 0 ? text.padEnd(widths[i]) : text.padStart(widths[i])).join(' | ')} |`
  return [line(head), `|${widths.map((width, i) => '-'.repeat(width + 1) + (i === 0 ? '-' : ':')).join('|')}|`, ...rows.map(line), ''].join('\n')
}

function survivorsOf (file, results) {
  const survivors = results.filter(result => result.file === file && !isKilled(result.state))
  if (survivors.length === 0) return ''
  return [`## ${file}`, '', ...survivors.map(lineOf), ''].join('\n')
}

function lineOf ({ line, mutator, before, after, state, why }) {
  const change = after === '' ? `\`${short(before)}\` left out` : `\`${short(before)}\` as \`${short(after)}\``
  return `- ${line}, ${mutator}: ${change}${state === 'unreached' ? ' (no quick test gets there)' : ''}${why === undefined ? '' : `. ${why}`}`
}

function short (text) {
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 30)} ... ${text.slice(-25)}` : text
}

function isKilled (state) {
  return state === 'killed' || state === 'timeout'
}

module.exports = { report, scoreOf, short }
