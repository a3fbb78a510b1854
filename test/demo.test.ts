import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { Browser } from './browser'
import { conduct, ROOT, start, stop, type Program } from './program'
import { freePort, makeCertificate, startPostgres, startRedis } from './servers'
import { until } from './waiting'

// The demo as `npm start` runs it, over real HTTP. It requires the built package: `npm run build` first.

const DEMO = 'examples/demo/server.js'

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
const IPHONE = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1'
const EDGE = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0'

async function addressOf (demo: Program): Promise<string> {
  return (await demo.says(/at https?:\S+/)).slice('at '.length)
}

interface Reply {
  status: number
  headers: Headers
  /** The page's HTML, or its JSON. */
  text: string
  json: any
}

/** A browser that has the page open. */
class Visitor extends Browser {
  constructor (address: string, userAgent = FIREFOX) {
    super(address, { 'user-agent': userAgent })
  }

  async open (path = '/', init: RequestInit = {}): Promise<Reply> {
    const response = await this.get(path, init)
    const { status, headers } = response
    const text = await response.text()
    return { status, headers, text, json: headers.get('content-type')?.includes('json') ? JSON.parse(text) : undefined }
  }

  async json (): Promise<any> {
    return (await this.open('/', { headers: { accept: 'application/json' } })).json
  }

  async token (): Promise<string> {
    return /name="_csrf" value="([^"]+)"/.exec((await this.open()).text)?.[1] ?? ''
  }

  /** Submits a form with exactly these fields. */
  async send (path: string, fields: Record<string, string>, headers = {}): Promise<Reply> {
    return await this.open(path, { method: 'POST', body: new URLSearchParams(fields), headers })
  }

  /** Submits a form of the page, with the page's token. */
  async submit (path: string, fields: Record<string, string> = {}, headers = {}): Promise<Reply> {
    return await this.send(path, { ...fields, _csrf: await this.token() }, headers)
  }

  /** Submits a form, and returns the page that follows. */
  async does (path: string, fields: Record<string, string> = {}): Promise<string> {
    const { status, headers, text } = await this.submit(path, fields)
    return status === 303 ? (await this.open(headers.get('location') as string)).text : text
  }

  override copy (): Visitor {
    return new Visitor(this.address, this.headers['user-agent']).with(this)
  }
}

function alertOf (page: string): string {
  return /role="alert">([^<]*)</.exec(page)?.[1] ?? ''
}

function noticeOf (page: string): string {
  return /role="status" aria-live="polite">([^<]*)</.exec(page)?.[1] ?? ''
}

const LOGGED_OUT = /^You are logged out: /

t.test('the page runs no scripts but its own', async t => {
  const demo = start(t, DEMO)
  const address = await addressOf(demo)
  t.match(address, /^http:\/\/127\.0\.0\.1:\d+$/, 'on this machine only, by default')
  const visitor = new Visitor(address)
  const { headers, text } = await visitor.open()
  t.equal(headers.get('content-type'), 'text/html; charset=utf-8')
  t.equal(headers.get('cache-control'), 'no-store')

  const policy = new Map(headers.get('content-security-policy')?.split('; ').map(rule => rule.split(' ', 2) as [string, string]))
  t.equal(policy.get('default-src'), "'none'")
  t.equal(policy.get('script-src'), "'self'")
  t.equal(policy.get('form-action'), "'self'")
  t.equal(policy.get('style-src'), "'self'")
  t.strictSame(text.match(/<script.*/g), ['<script src="/countdown.js" defer></script>', '<script src="/proof.js" defer></script>'], 'none inline')
  t.notMatch(text, /<style|<[^>]+ (on\w+|style)=/, 'nothing inline that the CSP would block')
  t.equal(text.match(/<form/g)?.length, text.match(/name="_csrf"/g)?.length, 'each form has its token')
  for (const [, id] of text.matchAll(/(?:labelledby|describedby|for)="([^"]+)"/g)) t.match(text, `id="${id}"`, 'every id that is referenced exists')

  for (const [name, type] of [['demo.css', 'text/css'], ['countdown.js', 'text/javascript'], ['proof.js', 'text/javascript']]) {
    const file = await new Visitor(address).open(`/${name}`)
    t.equal(file.headers.get('content-type'), `${type}; charset=utf-8`)
    t.equal(file.headers.get('x-content-type-options'), 'nosniff')
    t.equal(file.text, readFileSync(join(ROOT, `examples/demo/browser/${name}`), 'utf8'))
    t.strictSame(file.headers.getSetCookie(), [], 'static files start no session')
  }
  await stop(t, demo)
})

t.test('a visitor logs in, sees the session, and logs out', async t => {
  const demo = conduct(t, DEMO)
  const visitor = new Visitor(await addressOf(demo))
  t.match((await visitor.open()).text, /Hello, stranger[^]*It belongs to no user yet/)
  t.match(visitor.setCookie, /^sessionId=\S+; Path=\/; Expires=.+ GMT; HttpOnly; SameSite=Lax$/)
  await visitor.does('/cart', { good: 'bread' })

  const stranger = visitor.copy()
  t.equal((await visitor.submit('/login', { name: ' <b onclick="x">Ada</b> & \'co\' ' })).status, 303)
  t.not(visitor.cookie, stranger.cookie, 'login changes the session id')
  const { text } = await visitor.open('/?done=logged-in')
  t.equal(noticeOf(text), 'You are logged in.')
  t.match(text, '<title>You are logged in. – ', 'the title, which a screen reader says first')
  t.match(text, '<h2 id="hello">Hello, &lt;b onclick=&quot;x&quot;&gt;Ada&lt;/b&gt; &amp; &#39;co&#39;</h2>', 'the name is escaped')
  t.notMatch(text, '<b ', 'everywhere on the page')
  t.match(text, 'Bread: <strong>1<', 'the cart is kept at login')
  t.match(text, /<dt>Age<\/dt><dd><span data-seconds="0" data-counts="up">0 s</)
  t.match(text, /<dt>Idle time left<\/dt><dd><span id="idle" data-seconds="600" data-counts="down">10 min 0 s</)
  t.match(text, /<dt>Absolute time left<\/dt><dd><span data-seconds="28800" data-counts="down">8 h 0 min 0 s</)
  t.match(text, /<dt>HttpOnly<\/dt><dd>yes[^]*<dt>SameSite<\/dt><dd>lax<[^]*<dt>Expires<\/dt><dd><time/)
  t.match(text, /<dt>Handle<\/dt><dd>[\w-]{16}\.[\w-]{16}</)
  const sessionId = decodeURIComponent(visitor.cookie.slice('sessionId='.length)).split('.', 1)[0] as string
  t.notOk(text.includes(sessionId), 'the id is not on the page')
  t.equal(alertOf((await stranger.open()).text).match(LOGGED_OUT)?.length, 1, 'the old id no longer works, and the page says so')

  const copy = visitor.copy()
  const out = await visitor.does('/logout')
  t.match(out, /Hello, stranger[^]*Bread: <strong>0</)
  t.equal(noticeOf(out), 'You are logged out.')
  t.match(alertOf((await copy.open()).text), LOGGED_OUT, 'a copied cookie is logged out too')
  await stop(t, demo)
})

t.test("the page says why something can't be done", async t => {
  const demo = start(t, DEMO, { NODE_ENV: 'development' })
  const visitor = new Visitor(await addressOf(demo))
  for (const name of ['', ' ', 'x'.repeat(41)]) {
    const { status, text } = await visitor.submit('/login', { name })
    t.equal(status, 400)
    t.equal(alertOf(text), 'Please give a name of 1 to 40 characters.')
    t.match(text, /<input id="name"[^>]* aria-describedby="problem hint" aria-invalid="true">/)
    t.match(text, '<title>Problem: Please give a name')
  }
  const things: Array<[path: string, fields: Record<string, string>, status: number, problem: string]> = [
    ['/cart', { good: 'toString' }, 400, 'There is no such thing in this shop.'],
    ['/cart', {}, 400, 'There is no such thing in this shop.'],
    ['/end', { handle: 'x' }, 401, 'Please log in first.'],
    ['/end-others', {}, 401, 'Please log in first.'],
    ['/nothing', {}, 404, 'There is nothing here.']
  ]
  for (const [path, fields, expected, problem] of things) {
    const { status, text } = await visitor.submit(path, fields)
    t.equal(status, expected, path)
    t.equal(alertOf(text), problem)
  }
  const broken = await visitor.open('/login', { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } })
  t.equal(broken.status, 400)
  t.match(alertOf(broken.text), 'JSON')
  t.notMatch(broken.text, /node_modules|\.js:\d/, 'no stack trace')
  await stop(t, demo)
})

const post = { method: 'POST' }

/** Finds the prefixes of the page's two applications: of version 11, and of this version. */
async function applicationsOf (visitor: Visitor): Promise<[string, string]> {
  const prefixes = Array.from((await visitor.open()).text.matchAll(/data-name="[^"]+" data-prefix="([^"]+)"/g), ([, prefix]) => prefix as string)
  const [eleven = '', ours = ''] = prefixes
  t.equal(eleven, `/proof/${require('upstream-session/package.json').version}`)
  t.equal(ours, `/proof/${require('../package.json').version}`)
  return [eleven, ours]
}

t.test('the proof: after a logout, a slow request brings the session back on 11.1.3, but not on this version', async t => {
  const demo = conduct(t, DEMO)
  const visitor = new Visitor(await addressOf(demo))
  const [eleven, ours] = await applicationsOf(visitor)
  for (const [sleepers, prefix, user] of [[1, eleven, 'Ada'], [2, ours, null]] as const) {
    await visitor.open(`${prefix}/login`, post)
    t.equal((await visitor.open(`${prefix}/`)).json.user, 'Ada')
    const slow = visitor.open(`${prefix}/slow`, post)
    await demo.asleep(sleepers)
    await visitor.open(`${prefix}/logout`, post)
    t.equal((await visitor.copy().open(`${prefix}/`)).json.user, null, 'at first')
    demo.wake()
    t.equal((await slow).status, 200)
    t.equal((await visitor.open(`${prefix}/`)).json.user, user, prefix)
  }
  await stop(t, demo)
})

t.test('the proof: of ten items that are added at once, 11.1.3 keeps one and this version all', async t => {
  const demo = conduct(t, DEMO)
  const visitor = new Visitor(await addressOf(demo))
  const things = /data-things="([^"]+)"/.exec((await visitor.open()).text)?.[1]?.split(' ') ?? []
  t.equal(things.length, 10)
  const [eleven, ours] = await applicationsOf(visitor)
  for (const [sleepers, prefix, kept] of [[10, eleven, 1], [20, ours, 10]] as const) {
    await visitor.open(`${prefix}/login`, post)
    const adding = Promise.all(things.map(thing => visitor.open(`${prefix}/add/${thing}`, post)))
    await demo.asleep(sleepers)
    demo.wake()
    const bytes = (await adding).map(({ headers }) => Number(headers.get('store-bytes')))
    for (const count of bytes) t.ok(count > 0)
    t.equal((await visitor.open(`${prefix}/`)).json.things.length, kept, prefix)
  }
  t.equal((await visitor.open(`${ours}/add/__proto__`, post)).status, 400)
  await stop(t, demo)
})

t.test("the proof does not affect the visitor's own session", async t => {
  const demo = start(t, DEMO)
  const visitor = new Visitor(await addressOf(demo))
  const applications = await applicationsOf(visitor)
  await visitor.submit('/login', { name: 'Eve' })
  for (const prefix of applications) {
    const { headers } = await visitor.open(`${prefix}/login`, post)
    t.match(headers.getSetCookie(), [new RegExp(`^shop=.+; Path=${prefix}; `)])
    t.equal(headers.get('cache-control'), 'no-store')
    // A browser would keep both, because their paths differ.
    visitor.cookies.delete('shop')
  }
  t.match((await visitor.open()).text, 'Hello, Eve')
  await stop(t, demo)
})

t.test('after a click, the page says what the server and its store did', async t => {
  const demo = start(t, DEMO)
  const visitor = new Visitor(await addressOf(demo))
  t.match((await visitor.open()).text, 'see here what the store was asked')
  const { headers } = await visitor.submit('/login', { name: 'Ada' })
  const location = headers.get('location') as string
  const page = (await visitor.open(location)).text
  t.match(page, /<tr><td>load<\/td><td>the session is read<\/td><td>[\d.]+ ms</)
  t.match(page, /<tr><td>destroy<\/td><td>replaced<\/td>/)
  t.match(page, /Store calls: <strong>\d+<\/strong> \(get, [^)]*destroy[^)]*\)<br>\nBytes written: <strong>\d+</)
  t.notMatch((await visitor.json()), { work: Object }, 'for people')
  // Only the last hundred clicks are kept.
  for (let i = 0; i < 100; i++) await visitor.submit('/cart/empty')
  t.match((await visitor.open(location)).text, 'see here what the store was asked')
  await stop(t, demo)
})

t.test("a form without the page's token is refused", async t => {
  const demo = start(t, DEMO)
  const address = await addressOf(demo)
  const [visitor, other, stranger] = [new Visitor(address), new Visitor(address), new Visitor(address)]
  const [old, foreign] = [await visitor.token(), await other.token()]

  const refused = async (reply: Promise<Reply>, what: string): Promise<void> => {
    const { status, text } = await reply
    t.equal(status, 403, what)
    t.match(alertOf(text), 'Please try again.')
  }
  await refused(visitor.send('/login', { name: 'Ada' }), 'without a token')
  await refused(visitor.send('/login', { name: 'Ada', _csrf: 'x' }), 'with a made-up token')
  await refused(visitor.send('/login', { name: 'Ada', _csrf: foreign }), 'with the token of another visitor')
  await refused(stranger.send('/login', { name: 'Ada', _csrf: foreign }), 'without a session')
  t.match((await visitor.open()).text, 'Hello, stranger')

  await visitor.submit('/login', { name: 'Ada' })
  for (const path of ['/login', '/cart', '/cart/empty', '/end', '/end-others', '/logout']) {
    await refused(visitor.send(path, { name: 'Eve', good: 'apple', _csrf: old }), `${path}, with the token from before login`)
  }
  t.match((await visitor.open()).text, /Hello, Ada[^]*Apple: <strong>0</)
  await stop(t, demo)
})

t.test('tabs that fill the cart at the same time lose nothing', async t => {
  const demo = conduct(t, DEMO)
  const visitor = new Visitor(await addressOf(demo))
  const _csrf = await visitor.token()
  // Each tab sends the cookie from before.
  const add = async (good: string, more = {}): Promise<number> => (await visitor.copy().send('/cart', { good, _csrf, ...more })).status
  const slow = add('cheese', { slow: 'on' })
  await demo.asleep(1)
  const goods = Array.from({ length: 30 }, (_, i) => ['apple', 'bread', 'apple'][i % 3] as string)
  t.strictSame(new Set(await Promise.all(goods.map(good => add(good)))), new Set([303]))
  t.strictSame((await visitor.json()).cart, { apple: 20, bread: 10, cheese: 0 })
  demo.wake()
  t.equal(await slow, 303)
  t.strictSame((await visitor.json()).cart, { apple: 20, bread: 10, cheese: 1 }, "the slow request's item is there too")

  const page = await visitor.does('/cart/empty')
  t.equal(noticeOf(page), 'The cart is empty.')
  t.match(page, 'Apple: <strong>0<')

  // The cart is limited. Otherwise the session would grow for ever.
  for (let i = 0; i < 20; i++) await Promise.all(Array.from({ length: 10 }, () => add('bread')))
  t.equal(alertOf(await visitor.does('/cart', { good: 'bread' })), 'The cart is full.')
  await stop(t, demo)
})

t.test('visitors see and end their sessions on all devices', async t => {
  const demo = conduct(t, DEMO)
  const address = await addressOf(demo)
  const [laptop, phone, office] = [new Visitor(address), new Visitor(address, IPHONE), new Visitor(address, EDGE)]
  const eve = new Visitor(address, 'curl/8.0')
  for (const visitor of [laptop, phone, office]) {
    await visitor.submit('/login', { name: 'Ada' })
    await demo.advance(1000)
  }
  await eve.submit('/login', { name: 'Eve' })

  const page = (await laptop.open()).text
  const rows = Array.from(page.matchAll(/<li><div>([^<]+)/g), ([, device]) => device?.trim())
  t.strictSame(rows, ['Edge, Windows', 'Safari, iPhone', 'Firefox, Linux'], 'the newest login first')
  t.match(page, /Firefox, Linux <strong>\(this one\)<\/strong>\n<small>logged in 3 s ago, last seen now</)
  t.match(page, /aria-label="End the session on Safari, iPhone, logged in 2 s ago">End</)
  t.equal(page.match(/aria-label="End the session/g)?.length, 2, 'the current one is ended by logging out')
  t.match((await eve.open()).text, /<li><div>curl <strong>/)

  const handles = new Map<string, string>((await laptop.json()).devices.map(({ device, handle }: any) => [device, handle]))
  const handle = handles.get('Safari, iPhone') as string
  t.match(handle, /^[\w-]{16}\.[\w-]{16}$/)
  t.equal(alertOf(await eve.does('/end', { handle })), 'There is no such session of yours: it has ended already.', 'nobody else can end it')
  t.equal((await laptop.submit('/end', { handle: 'made up' })).status, 404)
  t.match((await phone.open()).text, 'Hello, Ada', 'still there')

  const token = await phone.token()
  t.match(noticeOf(await laptop.does('/end', { handle })), 'That session has ended')
  t.equal((await laptop.submit('/end', { handle })).status, 404, 'only once')
  const form = await phone.copy().send('/cart', { good: 'apple', _csrf: token })
  t.equal(form.status, 401)
  t.match(alertOf(form.text), LOGGED_OUT, 'at the next form submission')
  const click = await phone.open()
  t.equal(click.status, 200)
  t.match(alertOf(click.text), LOGGED_OUT, 'and at the next page view')
  t.match(click.text, 'Hello, stranger')
  t.equal(alertOf((await phone.open()).text), '', 'once')

  await phone.submit('/login', { name: 'Ada' })
  t.equal(noticeOf(await laptop.does('/end-others')), 'All your other sessions have ended.')
  for (const visitor of [phone, office]) t.match(alertOf((await visitor.open()).text), LOGGED_OUT)
  t.match((await laptop.open()).text, /Hello, Ada[^]*Log in with the same name in another browser/)
  t.match((await eve.open()).text, 'Hello, Eve', 'other users are not affected')

  t.equal(noticeOf(await laptop.does('/end', { handle: handles.get('Firefox, Linux') as string })), 'You are logged out.', "the visitor's own session")
  await stop(t, demo)
})

t.test('an open page is told at once that its session has ended, also on another server or before it asked', async t => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url, SESSION_SECRET: 'x'.repeat(32) }
  const [one, other] = [start(t, DEMO, env), start(t, DEMO, env)]
  const [phone, laptop] = [new Visitor(await addressOf(one), IPHONE), new Visitor(await addressOf(other))]
  for (const visitor of [phone, laptop]) await visitor.submit('/login', { name: 'Ada' })
  const copy = phone.copy()
  const events = await phone.get('/events')
  t.equal(events.headers.get('content-type'), 'text/event-stream')
  t.equal(events.headers.get('set-cookie'), null, 'an open page does not prolong the session')
  await laptop.submit('/end-others')
  t.match(await events.text(), /^data: This session was ended on another device\.$|^data: Your session has run out\.$/m)
  t.match((await copy.open('/events')).text, /^data: Your session has run out\.$/m)
  const open = await laptop.get('/events')
  for (const demo of [one, other]) await stop(t, demo)
  t.notMatch(await open.text(), 'data', 'the server stopped, but the session has not ended')
})

t.test('a login beyond the limit ends the oldest session', async t => {
  const demo = start(t, DEMO)
  const address = await addressOf(demo)
  const visitors = Array.from({ length: 11 }, () => new Visitor(address))
  for (const visitor of visitors) await visitor.submit('/login', { name: 'Ada' })
  t.match(alertOf((await (visitors[0] as Visitor).open()).text), LOGGED_OUT)
  t.equal((await (visitors[10] as Visitor).json()).devices.length, 10)
  await stop(t, demo)
})

t.test('if the session ends during a slow request, the page does not claim that its change was saved', async t => {
  const demo = conduct(t, DEMO)
  const [laptop, phone] = [new Visitor(await addressOf(demo)), new Visitor(await addressOf(demo))]
  for (const visitor of [laptop, phone]) await visitor.submit('/login', { name: 'Ada' })
  const slow = phone.submit('/cart', { good: 'apple', slow: 'on' })
  await demo.asleep(1)
  await laptop.submit('/end-others')
  demo.wake()
  const { status, text } = await slow
  t.equal(status, 409)
  t.equal(alertOf(text), 'Your session has ended while this was under way: nothing was saved.')
  t.match((await phone.open()).text, 'Hello, stranger')
  await stop(t, demo)
})

t.test('sessions end after the idle timeout and after the absolute timeout', async t => {
  const demo = conduct(t, DEMO, { IDLE_SECONDS: '30', ABSOLUTE_SECONDS: '50' })
  const [busy, idle] = [new Visitor(await addressOf(demo)), new Visitor(await addressOf(demo))]
  for (const visitor of [busy, idle]) await visitor.submit('/login', { name: 'Ada' })
  for (const absoluteLeft of [35, 20, 5]) {
    await demo.advance(15_000)
    t.match(await busy.json(), { user: 'Ada', session: { idleLeft: 30, absoluteLeft } })
  }
  t.match(alertOf((await idle.open()).text), LOGGED_OUT, 'nobody came')
  await demo.advance(4_999)
  t.match((await busy.json()).user, 'Ada', 'until the last moment')
  await demo.advance(1)
  t.match(alertOf((await busy.open()).text), LOGGED_OUT, 'the absolute timeout has passed')
  await stop(t, demo)
})

t.test('programs get and send JSON', async t => {
  const demo = conduct(t, DEMO, { SESSION_SECRET: 'x'.repeat(32) })
  const visitor = new Visitor(await addressOf(demo), 'curl/8.0')
  const headers = { accept: 'application/json' }
  const nobody = { user: null, cart: { apple: 0, bread: 0, cheese: 0 }, session: null, devices: [] }
  const cookie = { name: 'sessionId', httpOnly: true, secure: false, sameSite: 'lax', path: '/', expires: String }

  const { csrf: first, ...rest } = await visitor.json()
  t.match(rest, { ...nobody, cookie })
  const { status, json: { csrf, ...ada } } = await visitor.send('/login', { name: 'Ada', _csrf: first }, headers)
  t.equal(status, 200)
  t.match(ada, {
    user: 'Ada',
    session: { handle: String, device: 'curl', age: 0, idleLeft: 600 },
    cookie,
    devices: [{ handle: ada.session.handle, current: true, device: 'curl', age: 0, unseen: 0, createdAt: String, lastSeenAt: String, expiresAt: String }],
    outcome: 'You are logged in.'
  })
  t.match((await visitor.send('/cart', { good: 'apple', _csrf: csrf }, headers)).json, { user: 'Ada', cart: { apple: 1 } })
  t.match(await visitor.send('/cart', { good: 'apple' }, headers), { status: 403, json: { user: 'Ada', problem: /try again/, csrf: String } })
  for (const name of [{}, '', 'x'.repeat(41)]) {
    const reply = await visitor.open('/login', {
      method: 'POST', body: JSON.stringify({ name, _csrf: csrf }), headers: { ...headers, 'content-type': 'application/json' }
    })
    t.match(reply, { status: 400, json: { user: 'Ada', problem: /Please give a name/, invalid: 'name' } })
  }
  t.match(await visitor.open('/nothing', { headers }), { status: 404, json: { problem: 'There is nothing here.' } })
  t.strictSame((await visitor.send('/logout', { _csrf: csrf }, headers)).json,
    { ...nobody, csrf: null, cookie: null, outcome: 'You are logged out.' })
  const { stdout } = await demo.end('SIGINT')
  t.notMatch(stdout, /SESSION_SECRET/, 'no warning, because a secret is configured')
})

// What several processes can share, and the variable that configures it.
const SHARED = [['Redis', startRedis, 'REDIS_URL'], ['PostgreSQL', startPostgres, 'DATABASE_URL']] as const

SHARED.forEach(([name, startServer, variable]) => t.test(`on ${name}, sessions survive a restart of the demo, and an outage shows an error page`, async t => {
  const server = await startServer(t)
  const env = { [variable]: server.url, SESSION_SECRET: 'x'.repeat(32) }
  let demo = start(t, DEMO, env)
  const laptop = new Visitor(await addressOf(demo))
  const phone = new Visitor(laptop.address, IPHONE)
  for (const visitor of [laptop, phone]) await visitor.submit('/login', { name: 'Ada' })
  const _csrf = await laptop.token()
  await Promise.all(Array.from({ length: 20 }, () => laptop.copy().send('/cart', { good: 'apple', _csrf })))
  await stop(t, demo)

  demo = start(t, DEMO, env)
  const back = new Visitor(await addressOf(demo))
  back.cookie = laptop.cookie
  const { cart, devices } = await back.json()
  t.equal(cart.apple, 20, 'nothing was lost')
  t.strictSame(devices.map(({ device }: any) => device), ['Safari, iPhone', 'Firefox, Linux'])
  await back.does('/end', { handle: devices[0].handle })
  const other = new Visitor(back.address)
  other.cookie = phone.cookie
  t.match(alertOf((await other.open()).text), LOGGED_OUT)

  const page = await back.does('/cart', { good: 'bread' })
  t.match(page, /<td>commit<[^]*Store calls: <strong>[1-9]\d*<[^]*Bytes written: <strong>[1-9]/, 'calls to this store are counted too')

  await server.stop()
  const { status, text } = await back.open()
  t.ok(status >= 500)
  t.equal(alertOf(text), 'Something went wrong here. Please try again in a while.')
  t.notMatch(text, /redis|postgres|ECONNREFUSED|\.js:\d/i, 'no details that are not for visitors')
  await server.restart()
  await until('it comes back by itself', async () => await back.status('/') === 200)
  await stop(t, demo)
}))

t.test('over https, the cookie can be a __Host- cookie', async t => {
  const { key, cert } = await makeCertificate(t)
  const demo = start(t, DEMO, { HTTPS_KEY: key, HTTPS_CERT: cert, COOKIE_NAME: '__Host-demo' })
  const address = await addressOf(demo)
  t.match(address, /^https:/)
  const ask = async (method: string, path: string, cookie = '', body = ''): Promise<{ setCookie: string, text: string }> => {
    const headers = { cookie, 'content-type': 'application/x-www-form-urlencoded' }
    const asked = request(address + path, { method, headers, rejectUnauthorized: false, agent: false }).end(body)
    const [response] = await once(asked, 'response')
    const text = Buffer.concat(await response.toArray()).toString()
    return { setCookie: String(response.headers['set-cookie']), text }
  }
  const { setCookie, text } = await ask('GET', '/')
  t.match(setCookie, /^__Host-demo=\S+; Path=\/; Expires=.+ GMT; HttpOnly; Secure; SameSite=Lax$/)
  const _csrf = /name="_csrf" value="([^"]+)"/.exec(text)?.[1] as string
  const login = await ask('POST', '/login', setCookie.split(';', 1)[0], `name=Ada&_csrf=${_csrf}`)
  t.match(login.setCookie, /^__Host-demo=/)
  t.match((await ask('GET', '/', login.setCookie.split(';', 1)[0])).text, /Hello, Ada[^]*__Host-demo[^]*Secure<\/dt><dd>yes/)
  await stop(t, demo)
})

t.test('a wrong configuration stops the start, with a message', async t => {
  const running = start(t, DEMO)
  const { port } = new URL(await addressOf(running))
  const redis = await startRedis(t)
  const cases: Array<[env: NodeJS.ProcessEnv, message: RegExp]> = [
    [{ SESSION_SECRET: 'short' }, /^the secret must have length 32 or greater\n$/],
    [{ PORT: port }, /EADDRINUSE/],
    [{ PORT: port, REDIS_URL: redis.url }, /EADDRINUSE/],
    [{ REDIS_URL: `redis://127.0.0.1:${await freePort()}` }, /ECONNREFUSED/],
    [{ DATABASE_URL: `postgres://127.0.0.1:${await freePort()}/postgres` }, /ECONNREFUSED/],
    [{ HTTPS_KEY: '/nowhere', HTTPS_CERT: '/nowhere' }, /ENOENT/],
    [{ IDLE_SECONDS: 'soon' }, /maxAge/]
  ]
  for (const [env, message] of cases) {
    const { code, stderr } = await start(t, DEMO, env).end()
    t.equal(code, 1)
    t.match(stderr, message)
    t.notMatch(stderr, /\n {4}at /, 'a message without a stack trace')
  }
  await stop(t, running)
})

t.test("the page's script counts down, warns, and says when the session has ended", async t => {
  const clock = (seconds: number, counts: string, id = ''): any => ({ id, dataset: { seconds: String(seconds), counts }, textContent: '' })
  const [age, idle, absolute] = [clock(3, 'up'), clock(600, 'down', 'idle'), clock(28_000, 'down')]
  let now = 1e12
  let tick: (() => void) | undefined
  const notice = {
    childNodes: [],
    said: [] as any[],
    append () {},
    replaceChildren (...said: any[]) { notice.said = said }
  }
  runInNewContext(readFileSync(join(ROOT, 'examples/demo/browser/countdown.js'), 'utf8'), {
    document: {
      getElementById: () => notice,
      querySelectorAll: () => [age, idle, absolute],
      createElement: () => ({}),
      addEventListener () {},
      removeEventListener () {}
    },
    addEventListener () {},
    history: { replaceState () {} },
    location: { hash: '' },
    Date: { now: () => now },
    setInterval (run: () => void) { tick = run },
    clearInterval () { tick = undefined },
    setTimeout () {}
  })
  const pass = (seconds: number): void => {
    now += seconds * 1000
    tick?.()
  }
  const texts = (): string[] => [age, idle, absolute].map(({ textContent }) => textContent)
  t.strictSame(texts(), ['3 s', '10 min 0 s', '7 h 46 min 40 s'])
  pass(61)
  t.strictSame(texts(), ['1 min 4 s', '8 min 59 s', '7 h 45 min 39 s'])
  t.strictSame(notice.said, [])
  pass(480)
  t.match(notice.said, ['This session ends in 59 s. ', { href: '/?#you', textContent: 'Stay' }])
  pass(60)
  t.equal(idle.textContent, '0 s')
  t.match(notice.said, [/^The time is over/, { textContent: 'Reload the page' }])
  t.equal(tick, undefined, 'and stops')
})
