'use strict'

/** The value below which that part of the figures lies. */
function quantile (figures, part) {
  const sorted = [...figures].sort((a, b) => a - b)
  const place = (sorted.length - 1) * part
  const below = Math.floor(place)
  const above = Math.ceil(place)
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
}

const median = figures => quantile(figures, 0.5)

const summary = figures => ({ median: median(figures), q1: quantile(figures, 0.25), q3: quantile(figures, 0.75) })

/** Compares round by round: what disturbs a round disturbs its neighbour too. */
const ratio = (figures, others) => median(figures.map((figure, i) => figure / others[i]))

module.exports = { quantile, median, summary, ratio }
