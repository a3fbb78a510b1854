'use strict'

// Runs the same requests against version 11 and this version and prints what each of them does.
//
//   npm run compare
//
// Each behaviour runs in a process of its own, because some of them end it. Exits 1 when a behaviour that should be
// the same is not, or a difference is not the one that is meant.

const { fork } = require('node:child_process')
const { availableParallelism } = require('node:os')
const { printTable } = require('./table')

const TIME_LIMIT = 5_000
const LIBRARIES = ['upstream-session', '@fastify/session']
const SECRET = 'a secret with minimum length of 32 characters'
const OLDER_SECRET = 'an older secret of 32 characters or more'

/**
 * `run` answers what can be seen from outside. Where that differs, `ours` is what this version must show and `why`
 * the reason.
 */
const behaviours = [
  {
    name: 'a first visit over https, all defaults',
    async run (library) {
      const store = plainStore()
      const app = await build(library, { store, cookie: {} }, app => app.get('/', nothing))
      const response = await app.inject({ url: '/', ...overHttps })
      return `${masked(response)}, ${store.records.size} record`
    }
  },
  {
    name: 'a cookie that proves nothing, over http',
    ours: 'no cookie',
    why: "A cookie that isn't signed by us may be another application's: it is left alone. One that we signed is cleared.",
    async run (library) {
      const app = await build(library, { cookie: {} }, app => app.get('/', nothing))
      return masked(await app.inject({ url: '/', headers: { cookie: 'sessionId=nonsense' } }))
    }
  },
  {
    name: 'the order of the attributes',
    async run (library) {
      const cookie = { domain: 'a.org', maxAge: 60_000, secure: true, partitioned: true, sameSite: 'none' }
      const app = await build(library, { cookie }, app => app.get('/', nothing))
      return masked(await app.inject({ url: '/', ...overHttps }))
    }
  },
  {
    name: "regenerate(['pet', 'cookie'])",
    async run (library) {
      const store = plainStore({ known: { pet: 'cat', town: 'Ulm' } })
      const app = await build(library, { store }, app => app.get('/', async request => {
        await request.session.regenerate(['pet', 'cookie'])
      }))
      const response = await app.inject({ url: '/', ...knowing('known') })
      const [record] = store.records.values()
      return `${response.statusCode}, old record ${store.records.has('known') ? 'kept' : 'gone'}, ` +
        `new one has ${Object.keys(JSON.parse(record)).sort().join(', ')}`
    }
  },
  {
    name: 'reload() of a session that was never saved',
    async run (library) {
      const app = await build(library, {}, app => app.get('/', (request, reply) => {
        request.session.pet = 'cat'
        request.session.reload(error => {
          reply.send(`callback gets ${error}, data ${request.session.pet === undefined ? 'dropped' : 'kept'}`)
        })
      }))
      return (await app.inject('/')).body
    }
  },
  {
    name: 'ENOENT from the store',
    async run (library) {
      const store = plainStore()
      store.get = (_sessionId, callback) => callback(Object.assign(new Error('no file'), { code: 'ENOENT' }))
      const app = await build(library, { store }, app => app.get('/', nothing))
      const response = await app.inject({ url: '/', ...knowing('known') })
      return `${response.statusCode}, ${store.records.has('known') ? 'same' : 'new'} session`
    }
  },
  {
    name: 'a cookie that an older secret signed',
    async run (library) {
      const store = plainStore({ known: { pet: 'cat' } })
      const app = await build(library, { store, secret: [SECRET, OLDER_SECRET] }, app => app.get('/', pet))
      const response = await app.inject({ url: '/', ...knowing('known', OLDER_SECRET) })
      return `reads ${response.body}, cookie ${signedAnew(response) ? 'signed anew' : 'as before'}`
    }
  },
  {
    name: "secure: 'auto', sameSite: 'strict', over http and over https",
    async run (library) {
      const app = await build(library, { cookie: { secure: 'auto', sameSite: 'strict' } }, app => app.get('/', nothing))
      return `${masked(await app.inject('/'))} and ${masked(await app.inject({ url: '/', ...overHttps }))}`
    }
  },
  {
    name: 'touch(), with and without a maxAge',
    async run (library) {
      const seen = []
      for (const maxAge of [60_000, undefined]) {
        const app = await build(library, { cookie: { secure: false, maxAge } }, app => app.get('/', async request => {
          const { cookie } = request.session
          const before = Number(cookie.expires)
          const now = Date.now
          Date.now = () => now() + 60_000
          request.session.touch()
          Date.now = now
          return Number(cookie.expires) > before ? 'moves expires' : 'does nothing'
        }))
        seen.push((await app.inject('/')).body)
      }
      return seen.join(', ')
    }
  },
  {
    name: "cookiePrefix: 's:'",
    async run (library) {
      const store = plainStore({ known: { pet: 'cat' } })
      const app = await build(library, { store, cookiePrefix: 's:' }, app => app.get('/', pet))
      const response = await app.inject({ url: '/', ...knowing('known', SECRET, 's:') })
      return `reads ${response.body}, sends ${response.cookies[0].value.slice(0, 2)}...`
    }
  },
  {
    name: "one visitor writes to get('__proto__')",
    ours: 'another visitor sees nothing of it',
    why: "get() sees own data only; in 11 it hands out the prototype that all visitors' sessions share.",
    async run (library) {
      const app = await build(library, {}, app => {
        app.get('/attack', async request => { Object.assign(request.session.get('__proto__') ?? {}, { admin: true }) })
        app.get('/', async request => request.session.admin === true)
      })
      await app.inject('/attack')
      return (await app.inject('/')).json() ? 'another visitor is admin' : 'another visitor sees nothing of it'
    }
  },
  {
    name: 'a slow request ends after the logout',
    ours: 'logged out',
    why: 'Only a fresh id is ever created; in 11 the slow request writes the destroyed session back.',
    async run (library) {
      const store = plainStore({ known: { pet: 'cat' } })
      const [hasBegun, begin] = newGate()
      const [mayEnd, end] = newGate()
      const app = await build(library, { store }, app => {
        app.get('/slow', async () => {
          begin()
          await mayEnd
        })
        app.get('/logout', async request => { await request.session.destroy() })
        app.get('/', pet)
      })
      // inject() waits for its then().
      const slow = app.inject({ url: '/slow', ...knowing('known') }).then(nothing)
      await hasBegun
      await app.inject({ url: '/logout', ...knowing('known') })
      end()
      await slow
      return (await app.inject({ url: '/', ...knowing('known') })).body === 'cat' ? 'logged in again' : 'logged out'
    }
  },
  {
    name: 'two parallel requests each store another key',
    ours: 'both are stored',
    why: 'Only changed keys are written, onto what is there now; in 11 each request writes the whole session.',
    async run (library) {
      const [isSecondIn, open] = newGate()
      const store = plainStore({ known: {} })
      const app = await build(library, { store }, app => app.get('/:key', async request => {
        request.session[request.params.key] = 1
        if (request.params.key === 'first') await isSecondIn
        else open()
      }))
      await Promise.all(['/first', '/second'].map(url => app.inject({ url, ...knowing('known') })))
      const stored = ['first', 'second'].filter(key => Object.hasOwn(JSON.parse(store.records.get('known')), key))
      return stored.length === 2 ? 'both are stored' : `only the ${stored} is stored`
    }
  },
  {
    name: "a cookie forged with secret: ['']",
    ours: 'refused at registration, FST_ERR_SESSION_SECRET',
    why: 'With an empty secret everybody can sign, so it is refused.',
    async run (library) {
      const store = plainStore({ known: { pet: 'cat' } })
      let app
      try {
        app = await build(library, { store, secret: [''] }, app => app.get('/', pet))
      } catch (error) {
        return `refused at registration, ${error.code}`
      }
      const { createHmac } = require('node:crypto')
      const signature = createHmac('sha256', '').update('known').digest('base64').replace(/=/g, '')
      const response = await app.inject({ url: '/', cookies: { sessionId: `known.${signature}` } })
      return response.body === 'cat' ? 'gives the session' : 'gives nothing'
    }
  },
  {
    name: 'a store that returns promises',
    ours: '200, reads cat',
    why: 'A store may answer by its promise; 11 waits for a callback that never comes.',
    async run (library) {
      const record = { pet: 'cat' }
      const store = { get: async _sessionId => record, set: async (_sessionId, _session) => {}, destroy: async _sessionId => {} }
      const app = await build(library, { store }, app => app.get('/', pet))
      const response = await app.inject({ url: '/', ...knowing('known') })
      return `${response.statusCode}, reads ${response.body}`
    }
  },
  {
    name: 'a store that never answers',
    ours: '503, FST_ERR_SESSION_STORE_TIMEOUT',
    why: 'Each call to the store is bounded by storeTimeout.',
    async run (library) {
      const store = { ...plainStore(), get () {} }
      const app = await build(library, { store, storeTimeout: 100 }, app => app.get('/', nothing))
      return failure(await app.inject({ url: '/', ...knowing('known') }))
    }
  },
  {
    name: 'a store that answers twice',
    ours: 'the handler runs once',
    why: 'The first answer wins, later ones are ignored.',
    async run (library) {
      const store = plainStore({ known: { pet: 'cat' } })
      const { get } = store
      const [hasAnswered, tell] = newGate()
      store.get = (sessionId, callback) => {
        get(sessionId, callback)
        get(sessionId, (error, record) => {
          callback(error, record)
          setImmediate(tell)
        })
      }
      let runs = 0
      const app = await build(library, { store }, app => app.get('/', () => { runs++ }))
      app.inject({ url: '/', ...knowing('known') }).then(nothing)
      await hasAnswered
      return `the handler runs ${['never', 'once', 'twice'][runs]}`
    }
  },
  {
    name: 'an idGenerator that throws',
    ours: '500, out of ids',
    why: "What an application's own code throws is the answer to that one request.",
    async run (library) {
      const idGenerator = () => { throw new Error('out of ids') }
      const app = await build(library, { store: plainStore(), idGenerator }, app => app.get('/', nothing))
      return failure(await app.inject({ url: '/', ...knowing('unknown') }))
    }
  },
  {
    name: "options({ maxAge: '60000' }), a string",
    ours: '500, FST_ERR_SESSION_COOKIE',
    why: 'Attributes that no cookie can carry are refused where they are set.',
    async run (library) {
      const app = await build(library, { store: plainStore() }, app => app.get('/', async request => {
        request.session.options({ maxAge: '60000' })
      }))
      return failure(await app.inject('/'))
    }
  },
  {
    name: "set('cookie', 'oats')",
    ours: '500, FST_ERR_SESSION_RESERVED_KEY',
    why: "The session's own names can't be data.",
    async run (library) {
      const app = await build(library, { store: plainStore() }, app => app.get('/', async request => {
        request.session.set('cookie', 'oats')
      }))
      return failure(await app.inject('/'))
    }
  },
  {
    name: 'the cookie after destroy()',
    ours: 'cleared',
    why: 'Logging out ends the session in the browser too.',
    async run (library) {
      const store = plainStore({ known: { pet: 'cat' } })
      const app = await build(library, { store }, app => app.get('/', async request => {
        await request.session.destroy()
      }))
      return fateOfCookie(await app.inject({ url: '/', ...knowing('known') }))
    }
  },
  {
    name: 'a rotated secret with saveUninitialized: false',
    ours: 'reads cat, cookie signed anew',
    why: 'A cookie that an older secret signed is signed anew; 11 takes its session for a new one and clears it.',
    async run (library) {
      const store = plainStore({ known: { pet: 'cat' } })
      const options = { store, secret: [SECRET, OLDER_SECRET], saveUninitialized: false }
      const app = await build(library, options, app => app.get('/', pet))
      const response = await app.inject({ url: '/', ...knowing('known', OLDER_SECRET) })
      return `reads ${response.body}, cookie ${signedAnew(response) ? 'signed anew' : fateOfCookie(response)}`
    }
  }
]

if (process.send === undefined) main()
else observe(behaviours[process.argv[2]], process.argv[3])

async function main () {
  const [theirs, ours] = LIBRARIES.map(library => require(`${library}/package.json`).version)
  const rows = new Array(behaviours.length)
  let next = 0
  await Promise.all(Array.from({ length: availableParallelism() }, async () => {
    while (next < behaviours.length) {
      const index = next++
      const [before, now] = await Promise.all(LIBRARIES.map(library => runApart(index, library)))
      rows[index] = { ...behaviours[index], before, now, verdict: before === now ? 'same' : 'different' }
    }
  }))

  const lines = rows.map((row, i) => [String(i + 1), row.name, row.before, row.now, row.verdict])
  printTable(['', 'behaviour', theirs, ours, ''], lines, [2, 30, 38, 38, 9])
  console.log('Why they differ:\n')
  for (const [i, { verdict, why = 'NOT MEANT' }] of rows.entries()) {
    if (verdict === 'different') console.log(`${String(i + 1).padStart(3)}  ${why}`)
  }

  const unexpected = rows.filter(({ verdict, ours, now }) => ours === undefined ? verdict !== 'same' : verdict === 'same' || now !== ours)
  console.log(`\n${rows.length} behaviours, ${rows.filter(({ verdict }) => verdict === 'same').length} the same. ` +
    (unexpected.length === 0 ? 'All as expected.' : `NOT as expected: ${unexpected.map(({ name }) => name).join('; ')}.`))
  process.exitCode = unexpected.length === 0 ? 0 : 1
}

/** What a behaviour shows, or what became of its process. */
function runApart (index, library) {
  return new Promise(resolve => {
    const child = fork(__filename, [String(index), library], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'], env: { ...process.env, NODE_NO_WARNINGS: '1', NODE_ENV: 'test' }
    })
    let answer
    const timer = setTimeout(() => {
      answer ??= 'hangs'
      child.kill('SIGKILL')
    }, TIME_LIMIT)
    child.on('message', message => { answer = message })
    child.on('close', code => {
      clearTimeout(timer)
      // A process that has nothing left to wait for ends well, though the request was never answered.
      resolve(answer ?? (code === 0 ? 'hangs' : 'process ends'))
    })
  })
}

async function observe ({ run }, library) {
  // Not what ends a process: a request that could not be sent, or a mistake in this file.
  const seen = await run(library).catch(error => `fails, ${error.message}`)
  process.send(seen, () => process.exit())
}

async function build (library, options, routes) {
  const app = require('fastify')({ trustProxy: true })
  await app.register(require('@fastify/cookie'))
  await app.register(require(library), { secret: SECRET, cookie: { secure: false }, ...options })
  routes(app)
  await app.ready()
  return app
}

/** A store with the three methods that every store has. Keeps JSON and answers later, as a remote one does. */
function plainStore (sessions = {}) {
  const records = new Map(Object.entries(sessions).map(([sessionId, record]) => [sessionId, JSON.stringify(record)]))
  return {
    records,
    get (sessionId, callback) {
      const record = records.get(sessionId)
      setImmediate(callback, null, record === undefined ? null : JSON.parse(record))
    },
    set (sessionId, session, callback) {
      records.set(sessionId, JSON.stringify(session))
      setImmediate(callback)
    },
    destroy (sessionId, callback) {
      records.delete(sessionId)
      setImmediate(callback)
    }
  }
}

/** A request with a cookie that names a session. */
function knowing (sessionId, secret = SECRET, prefix = '') {
  return { cookies: { sessionId: prefix + require('@fastify/cookie').sign(sessionId, secret) } }
}

function newGate () {
  let open
  const gate = new Promise(resolve => { open = resolve })
  return [gate, open]
}

/** The Set-Cookie header, without what is secret or changes from run to run. */
function masked (response) {
  const header = response.headers['set-cookie'] ?? 'no cookie'
  return header.replace(/^sessionId=[^;]+/, 'sessionId=...').replace(/Expires=(?!Thu, 01 Jan 1970)[^;]+/, 'Expires=...')
}

function signedAnew (response) {
  return response.cookies[0]?.value === require('@fastify/cookie').sign('known', SECRET)
}

function fateOfCookie (response) {
  const [cookie] = response.cookies
  if (cookie === undefined) return 'stays in the browser'
  return cookie.value === '' ? 'cleared' : 'set'
}

function failure (response) {
  const { code, message } = response.json()
  return `${response.statusCode}, ${code ?? message}`
}

async function nothing () {
  return ''
}

async function pet (request) {
  return request.session.pet ?? 'nothing'
}

const overHttps = { headers: { 'x-forwarded-proto': 'https' } }
