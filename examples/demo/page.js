'use strict'

// The demo's page. It is plain HTML and needs no script; the session is all on the server.

const { createHash } = require('node:crypto')

const css = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #f6f8fa; --card: #fff; --line: #d0d7de;
  --accent: #0b5cad; --on-accent: #fff; --problem: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b1; --paper: #0d1117; --card: #161b22;
  --line: #3d444d; --accent: #79b8ff; --on-accent: #0d1117; --problem: #ff9d94 } }
* { box-sizing: border-box }
body { margin: 0; padding: 1rem; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif }
main { max-width: 36rem; margin: 0 auto }
h1 { font-size: 1.5rem; line-height: 1.25 }
h2 { margin: 0 0 .5rem; font-size: 1.1rem }
section { margin: 1rem 0; padding: 1rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--card) }
label { display: block; margin-bottom: .25rem }
input, button { min-height: 2.75rem; padding: .5rem .75rem; border-radius: .375rem; font: inherit }
input { width: 100%; margin-bottom: .75rem; border: 1px solid var(--soft); background: var(--paper); color: inherit }
button { border: 0; background: var(--accent); color: var(--on-accent); cursor: pointer }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
dl { margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
pre { margin: .75rem 0 0; padding: .75rem; border-radius: .375rem; background: var(--paper); white-space: pre-wrap;
  overflow-wrap: anywhere }
.problem { color: var(--problem); font-weight: 600 }
`

/** Lets the browser run nothing, and take nothing but this style. */
const contentSecurityPolicy = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(css).digest('base64')}'`,
  'img-src data:',
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'"
].join('; ')

function page (view, nameLength) {
  const { user, problem } = view
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${problem ? 'Problem: ' : ''}Sessions for Fastify</title>
<link rel="icon" href="data:,">
<style>${css}</style>
</head>
<body>
<main>
<h1>${user === null ? 'Hello, stranger' : `Hello, ${escape(user)}`}</h1>
${problem ? `<p class="problem" id="problem" role="alert">${escape(problem)}</p>` : ''}
${user === null ? loginForm(problem, nameLength) : logoutForm()}
${counter(view)}
${sessionFacts(view)}
${cookieFacts(view)}
</main>
</body>
</html>
`
}

function loginForm (problem, nameLength) {
  const described = problem ? ' aria-invalid="true" aria-describedby="problem"' : ''
  return `<section aria-labelledby="login">
<h2 id="login">Log in</h2>
<form method="post" action="/login">
<label for="name">Your name</label>
<input id="name" name="name" autocomplete="name" required maxlength="${escape(nameLength)}"${described}>
<button>Log in</button>
</form>
</section>`
}

function logoutForm () {
  return `<section aria-labelledby="logout">
<h2 id="logout">Log out</h2>
<form method="post" action="/logout"><button>Log out</button></form>
</section>`
}

function counter ({ count }) {
  return `<section aria-labelledby="counter">
<h2 id="counter">Counter</h2>
<p>You have counted to <strong>${escape(count)}</strong>.</p>
<form method="post" action="/count"><button>Count on</button></form>
</section>`
}

function sessionFacts ({ session }) {
  if (session === null) {
    return `<section aria-labelledby="session">
<h2 id="session">Session</h2>
<p>There is none yet, and no cookie: nothing has to be remembered.</p>
</section>`
  }
  return `<section aria-labelledby="session">
<h2 id="session">Session</h2>
<dl>
<dt>Id begins with</dt><dd>${escape(session.id)}</dd>
<dt>Age</dt><dd>${escape(inWords(session.ageInSeconds))}</dd>
</dl>
<pre role="group" aria-label="The session's data" tabindex="0">${escape(JSON.stringify(session.data, null, 2))}</pre>
</section>`
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

function inWords (seconds) {
  const minutes = Math.floor(seconds / 60)
  return minutes === 0 ? `${seconds} s` : `${minutes} min ${seconds % 60} s`
}

/** What visitors typed must stay text (XSS), so everything goes through here. */
function escape (value) {
  const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return String(value).replace(/[&<>"']/g, character => entities[character])
}

module.exports = { contentSecurityPolicy, page }
