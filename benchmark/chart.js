'use strict'

// Charts as SVG, readable on light and on dark ground.

const COLOURS = ['#2a78d6', '#b5b5b0', '#8a8a85', '#c9c9c4', '#d9d9d5']
const STYLE = `<style>
  text { font: 13px system-ui, sans-serif; fill: #333 }
  .title { font-weight: 600 }
  .quiet { fill: #777 }
  .axis { stroke: #999 }
  @media (prefers-color-scheme: dark) { text { fill: #ddd } .quiet { fill: #999 } }
</style>`

const OURS = 'this library'
const SHOWN = [OURS, '@fastify/session 11.1.3', 'express-session', '@fastify/secure-session', 'iron-session']
const PANELS = {
  'untouched-rolling': "route that doesn't touch the session",
  'read-rolling': 'one key read',
  'changed-rolling': 'one key changed'
}

/** Bars: microseconds that each contestant adds to a request of its framework. Nothing where they aren't measured. */
function addedChart ({ groups }) {
  const panels = Object.keys(PANELS).map(scenario => groups[`hooks, memory, 2 KB, ${scenario}`])
  if (panels.includes(undefined)) return undefined
  const added = panels.map(({ rows }) => SHOWN.map(name => {
    const cpu = wanted => rows.find(row => row.name === wanted).cpu.median
    return { name, value: cpu(name) - cpu(name === 'express-session' ? 'express' : 'fastify') }
  }))
  // One that is far beyond all others would leave nothing to see of them.
  const cap = 1.2 * Math.max(...added.flat().filter(({ name }) => name !== 'iron-session').map(({ value }) => value))
  const width = value => Math.max(2, Math.min(1, value / cap) * 380)
  let y = 24
  const parts = [`<text class="title" x="10" y="${y}">Microseconds of CPU that a session of 2 KB adds to a request, in memory</text>`]
  added.forEach((bars, panel) => {
    y += 30
    parts.push(`<text class="quiet" x="10" y="${y}">${Object.values(PANELS)[panel]}</text>`)
    bars.forEach(({ name, value }, i) => {
      y += 22
      const isCut = value > cap
      parts.push(
        `<text x="190" y="${y}" text-anchor="end">${name}</text>`,
        `<rect x="200" y="${y - 12}" width="${width(value).toFixed(1)}" height="15" rx="2" fill="${COLOURS[i]}"/>`,
        `<text x="${(206 + width(value)).toFixed(1)}" y="${y}">${isCut ? '» ' : ''}${value.toFixed(value < 10 ? 1 : 0)}</text>`
      )
    })
  })
  return svg(660, y + 16, parts)
}

/** Lines on logarithmic axes: CPU per request against one property of the points. */
function growthChart (title, points, property, unit) {
  const left = 60
  const right = 500
  const top = 50
  const bottom = 320
  const xs = points.map(point => point[property])
  const ys = points.map(({ cpu }) => cpu)
  const x = scale(Math.min(...xs), Math.max(...xs), left, right)
  const yFrom = 10 ** Math.floor(Math.log10(Math.min(...ys)))
  const yTo = 10 ** Math.ceil(Math.log10(Math.max(...ys)))
  const y = scale(yFrom, yTo, bottom, top)
  const parts = [
    `<text class="title" x="10" y="24">${title}, in microseconds</text>`,
    `<line class="axis" x1="${left}" y1="${bottom}" x2="${right}" y2="${bottom}"/>`,
    `<line class="axis" x1="${left}" y1="${top}" x2="${left}" y2="${bottom}"/>`
  ]
  for (const value of new Set(xs)) {
    parts.push(`<text class="quiet" x="${x(value)}" y="${bottom + 20}" text-anchor="middle">${short(value)}${unit}</text>`)
  }
  for (let value = yFrom; value <= yTo; value *= 10) {
    parts.push(`<text class="quiet" x="${left - 8}" y="${y(value) + 4}" text-anchor="end">${short(value)}</text>`)
  }
  for (const line of linesOf(points)) {
    const colour = line[0].library === OURS ? COLOURS[0] : COLOURS[2]
    const dash = line[0].store === 'redis' ? ' stroke-dasharray="5 4"' : ''
    const path = line.map(point => `${x(point[property]).toFixed(1)},${y(point.cpu).toFixed(1)}`).join(' ')
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"${dash}/>`)
  }
  // The names at the ends of the lines, so far apart that they can be read.
  let lowest = 0
  for (const { library, store, cpu } of linesOf(points).map(line => line.at(-1)).sort((a, b) => b.cpu - a.cpu)) {
    lowest = Math.max(lowest + 16, y(cpu) + 4)
    parts.push(`<text x="${right + 10}" y="${lowest.toFixed(1)}">${library}, ${store === 'redis' ? 'Redis' : 'memory'}</text>`)
  }
  return svg(740, 360, parts)
}

function linesOf (points) {
  const lines = new Map()
  for (const point of points) {
    const key = `${point.library}, ${point.store}`
    lines.set(key, [...lines.get(key) ?? [], point])
  }
  return [...lines.values()]
}

function scale (from, to, start, end) {
  return value => start + (Math.log(value / from) / Math.log(to / from)) * (end - start)
}

function short (value) {
  if (value >= 1e6) return `${value / 1e6} M`
  return value >= 1e3 ? `${value / 1e3} k` : `${value} `
}

function svg (width, height, parts) {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">\n${STYLE}\n${parts.join('\n')}\n</svg>\n`
}

module.exports = { addedChart, growthChart }
