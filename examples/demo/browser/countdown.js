'use strict'

// Runs in the browser, as /countdown.js. Counts the seconds, shows when the session has ended elsewhere, and marks the form that
// is being sent. The page also works without it.

/* global addEventListener, document, history, location, EventSource */

function inWords (seconds) {
  const parts = [[Math.floor(seconds / 3600), 'h'], [Math.floor(seconds / 60) % 60, 'min'], [Math.floor(seconds) % 60, 's']]
  const first = parts.findIndex(([count]) => count > 0)
  return parts.slice(first).map(([count, unit]) => `${count} ${unit}`).join(' ')
}

function count () {
  // Counts the time that has passed here, because the visitor's clock may be wrong.
  const openedAt = Date.now()
  const notice = document.getElementById('notice')
  const clocks = [...document.querySelectorAll('[data-seconds]')].map(element => {
    const { seconds, counts } = element.dataset
    return { element, start: Number(seconds), isDown: counts === 'down' }
  })
  const [next] = clocks.filter(({ isDown }) => isDown).sort((a, b) => a.start - b.start)
  const end = next?.start ?? Infinity
  const warnsAt = Math.min(60, end / 2)
  let isWarned = false

  const timer = setInterval(tick, 1000)
  tick()
  // Back and forward show an old page, and so does a phone that slept.
  document.addEventListener('visibilitychange', tick)

  // A reload must not repeat the message of the last form, nor send the form again.
  history.replaceState(null, '', `/${location.hash}`)
  // Screen readers read out changes, not what was there from the start.
  setTimeout(() => notice.append(...notice.childNodes), 500)

  // While a form is being sent, a second click on its button sends nothing.
  document.addEventListener('submit', event => {
    if (event.submitter.ariaDisabled === 'true') event.preventDefault()
    event.submitter.ariaDisabled = 'true'
  })
  // The visitor went back to a page that the browser has kept.
  addEventListener('pageshow', () => {
    for (const button of document.querySelectorAll('form [aria-disabled]')) button.ariaDisabled = null
  })

  if (next !== undefined && typeof EventSource === 'function') listen()

  // The server sends one message, when the session has ended.
  function listen () {
    const events = new EventSource('/events')
    events.onmessage = ({ data }) => {
      events.close()
      stop()
      say(`${data} `, 'Reload the page')
    }
  }

  function stop () {
    clearInterval(timer)
    document.removeEventListener('visibilitychange', tick)
  }

  function tick () {
    const passed = (Date.now() - openedAt) / 1000
    for (const { element, start, isDown } of clocks) {
      element.textContent = inWords(isDown ? Math.max(0, start - passed) : start + passed)
    }
    const left = end - passed
    if (left <= 0) {
      stop()
      say('The time is over: this session has ended, unless another tab kept it alive. ', 'Reload the page')
    } else if (left <= warnsAt && !isWarned) {
      isWarned = true
      say(`This session ends in ${inWords(left)}. `, next.element.id === 'idle' ? 'Stay' : 'Reload the page')
    }
  }

  function say (text, offer) {
    const link = document.createElement('a')
    // The address must differ from this one. Otherwise nothing would be loaded.
    link.href = '/?#you'
    link.textContent = offer
    notice.className = 'message late'
    notice.replaceChildren(text, link)
  }
}

// The server makes the first text of the page.
if (typeof document === 'undefined') module.exports = { inWords }
else count()
