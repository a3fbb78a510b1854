'use strict'

// The demo's page: plain HTML and forms. The session is all on the server.

const { createHash } = require('node:crypto')
const { inWords } = require('./countdown')

const css = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #f6f8fa; --card: #fff; --line: #d0d7de;
  --accent: #0b5cad; --on-accent: #fff; --problem: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b1; --paper: #0d1117; --card: #161b22;
  --line: #3d444d; --accent: #79b8ff; --on-accent: #0d1117; --problem: #ff9d94 } }
* { box-sizing: border-box }
body { margin: 0; padding: 1rem; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere }
main { max-width: 36rem; margin: 0 auto }
h1 { margin: .5rem 0; font-size: 1.5rem; line-height: 1.25 }
h2 { margin: 0 0 .5rem; font-size: 1.1rem }
p { margin: 0 0 .75rem }
section > p:last-child { margin: 0 }
section { margin: 1rem 0; padding: 1rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--card) }
label { display: block; margin-bottom: .25rem }
a { color: var(--accent) }
input, button { min-width: 2.75rem; min-height: 2.75rem; padding: .5rem .75rem; border-radius: .375rem; font: inherit }
input { width: 100%; margin-bottom: .75rem; border: 1px solid var(--soft); background: var(--paper); color: inherit }
button { border: 1px solid var(--accent); background: var(--accent); color: var(--on-accent); cursor: pointer }
button.quiet { background: none; color: var(--accent) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
ul { margin: 0 0 .75rem; padding: 0; list-style: none }
li { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: .25rem 1rem;
  padding: .5rem 0; border-bottom: 1px solid var(--line) }
dl { margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem }
dt, small { color: var(--soft) }
dd { margin: 0 }
small { display: block; font-size: .875rem }
form small { margin-bottom: .75rem }
label.check { display: flex; align-items: center; gap: .5rem; min-height: 2.75rem }
.check input { flex: none; width: 1.25rem; min-width: 0; min-height: 0; height: 1.25rem; margin: 0; accent-color: var(--accent) }
.message { font-weight: 600 }
.message:empty { display: none }
.problem { color: var(--problem) }
@media (max-width: 26rem) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .5rem } }
`

/** Lets the browser run only our own script and take only this style. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "connect-src 'self'",
  `style-src 'sha256-${createHash('sha256').update(css).digest('base64')}'`,
  'img-src data:',
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'"
].join('; ')

function page (view, { goods, nameLength }) {
  const { user, outcome = '', problem = '' } = view
  // The title is what a screen reader says first.
  return documentOf(problem ? `Problem: ${problem}` : outcome, `
<h1>${user === null ? 'Hello, stranger' : `Hello, ${escape(user)}`}</h1>
<p class="message problem" id="problem" role="alert">${escape(problem)}</p>
<p class="message" id="notice" role="status" aria-live="polite">${escape(outcome)}</p>
${user === null ? loginForm(view, nameLength) : logoutForm(view)}
${cart(view, goods)}
${devices(view)}
${sessionFacts(view)}
${cookieFacts(view)}
<script src="/demo.js" defer></script>`)
}

/** What went wrong, without a session to show. */
function problemPage (problem) {
  return documentOf(`Problem: ${problem}`, `
<h1>That did not work</h1>
<p class="message problem" role="alert">${escape(problem)}</p>
<p><a href="/">Back to the demo</a></p>`)
}

function documentOf (said, body) {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${said ? `${escape(said)} – ` : ''}Sessions for Fastify</title>
<link rel="icon" href="data:,">
<style>${css}</style>
</head>
<body>
<main>${body}
</main>
</body>
</html>
`
}

function form ({ csrf }, action, fields) {
  // Other sites can send forms here, but they don't know the token (CSRF).
  return `<form method="post" action="${action}"><input type="hidden" name="_csrf" value="${escape(csrf)}">${fields}</form>`
}

function loginForm (view, nameLength) {
  const isInvalid = view.invalid === 'name'
  return `<section aria-labelledby="login">
<h2 id="login">Log in</h2>
${form(view, '/login', `
<label for="name">Your name</label>
<input id="name" name="name" autocomplete="username" required maxlength="${escape(nameLength)}"
 aria-describedby="${isInvalid ? 'problem hint' : 'hint'}"${isInvalid ? ' aria-invalid="true"' : ''}>
<small id="hint">Any name will do, without a password. Whoever gives the same one is the same person here.</small>
<button>Log in</button>
`)}
</section>`
}

function logoutForm (view) {
  return form(view, '/logout', '<button>Log out</button>')
}

function cart (view, goods) {
  const rows = [...goods].map(([good, label]) => `
<li><span>${escape(label)}: <strong>${escape(view.cart[good])}</strong></span>
<button name="good" value="${escape(good)}">Add ${escape(label.toLowerCase())}</button></li>`)
  return `<section aria-labelledby="cart">
<h2 id="cart">Cart</h2>
<p>Open this page in a second tab, and add in both at the same time: nothing gets lost.</p>
${form(view, '/cart', `
<ul role="list">${rows.join('')}
</ul>
<label class="check"><input type="checkbox" name="slow"> Take 2 seconds over it, so that the other tab can add meanwhile</label>
<button class="quiet" formaction="/cart/empty">Empty the cart</button>
`)}
</section>`
}

function devices (view) {
  if (view.user === null) return ''
  return `<section aria-labelledby="devices">
<h2 id="devices">Your devices</h2>
<ul role="list">${view.devices.map(device => deviceRow(view, device)).join('')}
</ul>
${view.devices.length > 1 ? form(view, '/end-others', '<button class="quiet">End all others</button>') : '<p>Log in with the same name in another browser to see it here.</p>'}
</section>`
}

function deviceRow (view, { handle, current, device, age, unseen }) {
  const since = `logged in ${inWords(age)} ago`
  return `
<li><div>${escape(device)}${current ? ' <strong>(this one)</strong>' : ''}
<small>${escape(since)}, last seen ${current ? 'now' : escape(`${inWords(unseen)} ago`)}</small></div>
${current
    ? ''
    : form(view, '/end', `<input type="hidden" name="handle" value="${escape(handle)}">
<button class="quiet" aria-label="${escape(`End the session on ${device}, ${since}`)}">End</button>`)}</li>`
}

function sessionFacts ({ session }) {
  if (session === null) {
    return `<section aria-labelledby="session">
<h2 id="session">This session</h2>
<p>It is nobody’s yet. It keeps your cart, and what proves that these forms came from this page.</p>
</section>`
  }
  return `<section aria-labelledby="session">
<h2 id="session">This session</h2>
<dl>
<dt>Handle</dt><dd>${escape(session.handle)}</dd>
<dt>Device</dt><dd>${escape(session.device)}</dd>
<dt>Age</dt><dd>${clock(session.age, 'up')}</dd>
<dt>Idle time left</dt><dd>${clock(session.idleLeft, 'down', 'idle')} <small>starts anew with each click</small></dd>
<dt>Absolute time left</dt><dd>${clock(session.absoluteLeft, 'down')} <small>however much you click</small></dd>
</dl>
</section>`
}

/** The script counts on from here. */
function clock (seconds, counts, id) {
  return `<span${id === undefined ? '' : ` id="${id}"`} data-seconds="${escape(seconds)}" data-counts="${counts}">${escape(inWords(seconds))}</span>`
}

function cookieFacts ({ cookie }) {
  if (cookie === null) return ''
  const { expires } = cookie
  return `<section aria-labelledby="cookie">
<h2 id="cookie">Cookie</h2>
<dl>
<dt>Name</dt><dd>${escape(cookie.name)}</dd>
<dt>HttpOnly</dt><dd>${cookie.httpOnly ? 'yes: scripts can’t read it' : 'no'}</dd>
<dt>Secure</dt><dd>${cookie.secure ? 'yes: https only' : 'no: this page came over http'}</dd>
<dt>SameSite</dt><dd>${escape(cookie.sameSite)}</dd>
<dt>Path</dt><dd>${escape(cookie.path)}</dd>
<dt>Expires</dt><dd><time datetime="${escape(expires.toISOString())}">${escape(expires.toUTCString())}</time></dd>
</dl>
</section>`
}

/** What visitors typed must stay text (XSS), so everything goes through here. */
function escape (value) {
  const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return String(value).replace(/[&<>"']/g, character => entities[character])
}

module.exports = { contentSecurityPolicy, page, problemPage }
