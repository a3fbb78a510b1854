'use strict'

// Runs in the browser, as /proof.js. Sends the same requests to one application and then to the other, and draws what happened.

/* global document, fetch, navigator */

const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds))

// What is sent, and what the answers mean. `send` resolves to the answer.
const EXPERIMENTS = {
  async logout (send) {
    await send('Log in', 'POST', '/login')
    const slow = send('Slow request', 'POST', '/slow')
    await pause(250)
    await send('Log out', 'POST', '/logout')
    await slow
    const { user } = await send('Come back', 'GET', '/')
    return user === null
      ? { isGood: true, verdict: 'Logged out, and it stays so' }
      : { isGood: false, verdict: `Still logged in, as ${user}` }
  },

  async adds (send, things) {
    await send('Log in', 'POST', '/login')
    await Promise.all(things.map(thing => send(thing, 'POST', `/add/${thing}`, thing)))
    const kept = (await send('Look', 'GET', '/')).things
    return { isGood: kept.length === things.length, verdict: `${kept.length} of ${things.length} kept`, kept }
  }
}

/** Sends requests, and records when each began and ended, in milliseconds since the first. */
function recorder (prefix) {
  const requests = []
  const begun = performance.now()
  const now = () => performance.now() - begun
  return {
    requests,
    now,
    async send (label, method, path, thing) {
      const request = { label, thing, start: now() }
      requests.push(request)
      const response = await fetch(prefix + path, { method })
      const answer = await response.json()
      request.end = now()
      request.calls = Number(response.headers.get('store-calls'))
      request.bytes = Number(response.headers.get('store-bytes'))
      if (!response.ok) throw new Error(`${label}: ${answer.message}`)
      return answer
    }
  }
}

// Runs one experiment at a time, in all tabs, because each begins with a login to the same applications. Over plain http, browsers
// have locks on localhost only.
const inTurn = run => navigator.locks?.request('proof', run) ?? run()

for (const button of document.querySelectorAll('[data-experiment]')) {
  button.addEventListener('click', async () => {
    if (button.ariaDisabled === 'true') return
    // Not `disabled`, which would take the focus away.
    button.ariaDisabled = 'true'
    await inTurn(() => run(button))
    button.ariaDisabled = null
  })
}

async function run (button) {
  const experiment = button.closest('.experiment')
  const status = experiment.querySelector('[role=status]')
  const panels = [...experiment.querySelectorAll('.run')].map(emptied)
  // For screen readers.
  const summary = []
  for (const panel of panels) {
    const { name, prefix } = panel.element.dataset
    status.textContent = `Running on ${name} …`
    panel.verdict.textContent = 'Running …'
    panel.record = recorder(prefix)
    const timer = setInterval(draw, 40, panels)
    try {
      const result = await EXPERIMENTS[button.dataset.experiment](panel.record.send, button.dataset.things?.split(' '))
      draw(panels)
      conclude(panel, result)
      summary.push(`${name}: ${result.verdict}.`)
    } catch (error) {
      panel.verdict.textContent = `The run failed. ${error.message}`
      summary.push(`${name}: the run failed.`)
    } finally {
      clearInterval(timer)
    }
  }
  status.textContent = summary.join(' ')
}

function emptied (element) {
  const [verdict, list, work] = ['.verdict', '.timeline', '.work'].map(name => element.querySelector(name))
  element.classList.remove('good', 'bad')
  element.hidden = false
  list.replaceChildren()
  verdict.textContent = 'Runs next'
  work.textContent = ''
  return { element, verdict, list, work, rows: new Map() }
}

function conclude ({ element, verdict, work, record, rows }, result) {
  element.classList.add(result.isGood ? 'good' : 'bad')
  verdict.textContent = `${result.isGood ? '✓' : '✗'} ${result.verdict}`
  const sum = key => record.requests.reduce((total, request) => total + request[key], 0)
  work.textContent = `Store calls: ${sum('calls')}. Bytes written: ${sum('bytes').toLocaleString('en')}.`
  for (const [request, row] of rows) {
    if (request.thing === undefined) continue
    const isKept = result.kept.includes(request.thing)
    row.element.classList.add(isKept ? 'kept' : 'lost')
    row.said.textContent = isKept ? 'kept' : 'lost'
  }
}

/** Draws all panels to the same scale. */
function draw (panels) {
  const begun = panels.filter(({ record }) => record !== undefined)
  const ends = begun.flatMap(({ record }) => record.requests.map(({ end }) => end ?? record.now()))
  const scale = Math.max(900, ...ends)
  for (const panel of begun) {
    for (const request of panel.record.requests) drawRow(panel, request, scale)
  }
}

function drawRow ({ list, record, rows }, request, scale) {
  const row = rows.get(request) ?? newRow(list, request)
  rows.set(request, row)
  const { start, end } = request
  if (request.label === 'Log out') list.style.setProperty('--logout', `${start / scale * 100}%`)
  row.bar.style.marginLeft = `${start / scale * 100}%`
  row.bar.style.width = `${((end ?? record.now()) - start) / scale * 100}%`
  row.time.textContent = `${Math.round(start)}–${end === undefined ? '…' : Math.round(end)} ms`
}

function newRow (list, { label }) {
  const make = (className, ...children) => {
    const element = document.createElement(className === '' ? 'li' : 'span')
    element.className = className
    element.append(...children)
    return element
  }
  const [bar, said, time] = ['bar', 'said', 'time'].map(name => make(name))
  const element = make('', make('label', label), make('track', bar), said, time)
  list.append(element)
  return { element, bar, said, time }
}
