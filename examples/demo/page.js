'use strict'

// The demo's page: plain HTML and forms. The whole session is on the server.

const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const { inWords } = require('./browser/countdown')
const { LIBRARIES } = require('./proof')
const { THINGS } = require('./shop')

const shopCode = readFileSync(join(__dirname, 'shop.js'), 'utf8')

/** Lets the browser load scripts and styles from this server only, and nothing inline. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "connect-src 'self'",
  "style-src 'self'",
  'img-src data:',
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'"
].join('; ')

function page (view, { goods, nameLength }) {
  const { user, outcome = '', problem = '' } = view
  // The title is what a screen reader says first.
  return documentOf(problem ? `Problem: ${problem}` : outcome, `
<header>
<h1>Server-side sessions for Fastify</h1>
<p>The browser holds a signed id in a cookie. What your application remembers of a visitor stays on the server.</p>
<p>This is a drop-in for <code>@fastify/session</code> 11: your application needs no change. Logged out stays logged out, and
parallel requests keep each other’s changes. Version 11 keeps neither promise.</p>
</header>
${proof()}
<section id="you" aria-labelledby="hello">
<h2 id="hello">${user === null ? 'Hello, stranger' : `Hello, ${escape(user)}`}</h2>
<p class="message problem" id="problem" role="alert">${escape(problem)}</p>
<p class="message" id="notice" role="status" aria-live="polite">${escape(outcome)}</p>
${user === null ? '<p class="wide">This is a session of your own. Log in from two browsers. If you end the session of one from the other, the page of the ended session says so by itself.</p>' : logoutForm(view)}
<div class="pair">
<div>
${user === null ? loginForm(view, nameLength) : devices(view)}
${cart(view, goods)}
</div>
<div>
${lastClick(view)}
${sessionFacts(view)}
${cookieFacts(view)}
</div>
</div>
</section>
<script src="/countdown.js" defer></script>
<script src="/proof.js" defer></script>`)
}

const [old] = LIBRARIES

function proof () {
  return `<section aria-labelledby="proof">
<h2 id="proof">See for yourself</h2>
<p class="wide">Two small applications run beside this page. Their code is the same, and only the library differs: one has
version ${escape(old.version)}, the other this version. Each button makes your browser send the same requests to both. Watch them in its
developer tools, under Network.</p>
<noscript><p>The buttons need JavaScript. The rest of the page works without it.</p></noscript>
${experiment('logout', 'Logged out stays logged out', `You log out while a request is running that takes 800 ms. When it ends, version 11
saves the session that it loaded before the logout, and you are logged in again.`, '<button data-experiment="logout">Log out while a slow request is running</button>')}
${experiment('adds', 'Parallel requests keep each other’s changes', `Ten requests put one thing each into the session. Version 11 saves
the whole session as it was when the request began, so the last one wins. Most browsers send six at a time, and then the rest.`,
    `<button data-experiment="adds" data-things="${escape(THINGS.join(' '))}">Add ten things at once</button>`)}
<details>
<summary>The code of both applications</summary>
<pre><code>${escape(shopCode)}</code></pre>
</details>
</section>`
}

function experiment (name, promise, how, button) {
  const panels = LIBRARIES.map(({ version, prefix }) => {
    const title = version === old.version ? `@fastify/session ${version}` : `This version, ${version}`
    return `
<div class="run" data-name="${escape(title)}" data-prefix="${escape(prefix)}" hidden>
<h4>${escape(title)}</h4>
<p class="verdict"></p>
<ol class="timeline ${name}" role="list"></ol>
<p class="work soft"></p>
</div>`
  })
  return `<section class="card experiment" aria-labelledby="${name}">
<h3 id="${name}">${promise}</h3>
<p class="wide">${how}</p>
${button}
<p class="spoken" role="status"></p>
<div class="pair">${panels.join('')}
</div>
</section>`
}

/** From the library's diagnostics channel, and counted at the store. */
function lastClick ({ work }) {
  const said = work === undefined
    ? '<p>Click a button below the proof, and see here what the store was asked.</p>'
    : `<table>
<thead><tr><th scope="col">Operation</th><th scope="col">Why</th><th scope="col">Time</th></tr></thead>
<tbody>${work.operations.map(({ name, message: { reason = 'the session is read', duration } }) => `
<tr><td>${escape(name)}</td><td>${escape(reason)}</td><td>${escape(duration?.toFixed(2) ?? '–')} ms</td></tr>`).join('')}
</tbody>
</table>
<p>Store calls: <strong>${escape(work.calls.length)}</strong> (${escape(work.calls.join(', '))})<br>
Bytes written: <strong>${escape(work.bytes)}</strong></p>
<small>From the library’s diagnostics channel, and counted at the store.</small>`
  return `<section class="card" aria-labelledby="click">
<h3 id="click">What the server did for your last click</h3>
${said}
</section>`
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
<link rel="stylesheet" href="/demo.css">
</head>
<body>
<main>${body}
</main>
</body>
</html>
`
}

function form ({ csrf }, action, fields) {
  // Other sites can send forms to this server, but they don't know the token (CSRF).
  return `<form method="post" action="${action}#you"><input type="hidden" name="_csrf" value="${escape(csrf)}">${fields}</form>`
}

function loginForm (view, nameLength) {
  const isInvalid = view.invalid === 'name'
  return `<section class="card" aria-labelledby="login">
<h3 id="login">Log in</h3>
${form(view, '/login', `
<label for="name">Your name</label>
<input id="name" name="name" autocomplete="username" required maxlength="${escape(nameLength)}"
 aria-describedby="${isInvalid ? 'problem hint' : 'hint'}"${isInvalid ? ' aria-invalid="true"' : ''}>
<small id="hint">Any name will do, without a password. Anyone who enters the same name is the same person here.</small>
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
  return `<section class="card" aria-labelledby="cart">
<h3 id="cart">Cart</h3>
<p>Open this page in a second tab, and add in both at the same time: nothing gets lost. It is one key, changed by <code>session.update()</code>.</p>
${form(view, '/cart', `
<ul class="rows" role="list">${rows.join('')}
</ul>
<label class="check"><input type="checkbox" name="slow"> Take 2 seconds over it, so that the other tab can add in the meantime</label>
<button class="quiet" formaction="/cart/empty#you">Empty the cart</button>
`)}
</section>`
}

function devices (view) {
  if (view.user === null) return ''
  return `<section class="card" aria-labelledby="devices">
<h3 id="devices">Your devices</h3>
<ul class="rows" role="list">${view.devices.map(device => deviceRow(view, device)).join('')}
</ul>
${view.devices.length > 1 ? form(view, '/end-others', '<button class="quiet">End all others</button>') : '<p>Log in with the same name in another browser to see it here.</p>'}
</section>`
}

function deviceRow (view, { handle, current, device, deviceBound, age, unseen }) {
  const since = `logged in ${inWords(age)} ago`
  return `
<li><div>${escape(device)}${current ? ' <strong>(this one)</strong>' : ''}
<small>${escape(since)}, last seen ${current ? 'now' : escape(`${inWords(unseen)} ago`)}${deviceBound ? ', bound to the device' : ''}</small></div>
${current
    ? ''
    : form(view, '/end', `<input type="hidden" name="handle" value="${escape(handle)}">
<button class="quiet" aria-label="${escape(`End the session on ${device}, ${since}`)}">End</button>`)}</li>`
}

function sessionFacts ({ session }) {
  if (session === null) {
    return `<section class="card" aria-labelledby="session">
<h3 id="session">This session</h3>
<p>It belongs to no user yet. It keeps your cart, and the token that proves that a form came from this page.</p>
</section>`
  }
  return `<section class="card" aria-labelledby="session">
<h3 id="session">This session</h3>
<dl>
<dt>Handle</dt><dd>${escape(session.handle)}</dd>
<dt>Device</dt><dd>${escape(session.device)}</dd>
<dt>Age</dt><dd>${clock(session.age, 'up')}</dd>
<dt>Idle time left</dt><dd>${clock(session.idleLeft, 'down', 'idle')} <small>starts again with each click</small></dd>
<dt>Absolute time left</dt><dd>${clock(session.absoluteLeft, 'down')} <small>however much you click</small></dd>
</dl>
</section>`
}

/** The script counts from here. */
function clock (seconds, counts, id) {
  return `<span${id === undefined ? '' : ` id="${id}"`} data-seconds="${escape(seconds)}" data-counts="${counts}">${escape(inWords(seconds))}</span>`
}

function cookieFacts ({ cookie }) {
  if (cookie === null) return ''
  const { expires } = cookie
  return `<section class="card" aria-labelledby="cookie">
<h3 id="cookie">Cookie</h3>
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

/** What visitors typed must stay text (XSS), so all values go through this function. */
function escape (value) {
  const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return String(value).replace(/[&<>"']/g, character => entities[character])
}

module.exports = { contentSecurityPolicy, page, problemPage }
