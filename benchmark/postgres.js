'use strict'

// What a session costs PostgreSQL and the application: npm run build && node benchmark/postgres.js
//
// PostgresStore beside connect-pg-simple with version 11, in turn, round by round. The figures in POSTGRES.md are of this.

require('../packages/stores')
const fastify = require('fastify')
const { Pool } = require('pg')
const { fresh, sessionData } = require('./scenarios')
const { startPostgres } = require('./postgres-server')

const SECRET = 'a secret with minimum length of 32 characters'
const ONE_DAY = 86_400_000
const ROUNDS = 7
const REQUESTS = 1_000
// At the same time.
const AT_ONCE = 10
const SESSIONS = 200
const SIZES = { '200 B': 200, '2 KB': 2_000, '20 KB': 20_000 }
const SCENARIOS = { 'one key read': 'read', 'one key changed': 'change', untouched: 'nothing' }

const contestants = [
  {
    name: 'PostgresStore',
    async build (pool) {
      const { migrate, PostgresStore } = require('../dist/stores/postgres')
      await migrate(pool, { table: 'ours' })
      return { plugin: require('../dist'), store: new PostgresStore({ pool, table: 'ours' }) }
    }
  },
  {
    name: 'connect-pg-simple, 11.1.3',
    async build (pool) {
      const plugin = require('upstream-session')
      await pool.query('create table theirs (sid varchar primary key, sess json not null, expire timestamp(6) not null)')
      await pool.query('create index on theirs (expire)')
      return { plugin, store: new (require('connect-pg-simple')(plugin))({ pool, tableName: 'theirs', pruneSessionInterval: false }) }
    }
  }
]

async function main () {
  const { url, stop } = await startPostgres()
  const admin = new Pool({ connectionString: url, max: 1 })
  await admin.query('create extension pg_stat_statements')
  const sites = []
  for (const { name, build } of contestants) sites.push(await open(name, url, build))
  for (const [title, size] of Object.entries(SIZES)) {
    for (const site of sites) await site.fill(size)
    console.log(`\n| ${title}, rolling | application: CPU | statements | PostgreSQL: time | sent | received | log |`)
    console.log('|---|--:|--:|--:|--:|--:|--:|')
    for (const [what, path] of Object.entries(SCENARIOS)) {
      for (const site of sites) await site.run(path)
      const rounds = new Map(sites.map(site => [site, []]))
      for (let i = 0; i < ROUNDS; i++) {
        for (const site of sites) rounds.get(site).push(await measure(admin, site, path))
      }
      for (const site of sites) console.log(row(`${site.name}: ${what}`, rounds.get(site)))
    }
  }
  for (const site of sites) await site.close()
  await admin.end()
  await stop()
}

async function open (name, url, build) {
  const pool = new Pool({ connectionString: url, max: AT_ONCE })
  const { plugin, store } = await build(pool)
  const app = fastify()
  app.register(require('@fastify/cookie'))
  app.register(plugin, { secret: SECRET, store, saveUninitialized: false, cookie: { secure: false, maxAge: ONE_DAY } })
  let data
  app.get('/create', async request => { Object.assign(request.session, fresh(data)) })
  app.get('/nothing', async () => 'ok')
  app.get('/read', async request => request.session.user.name)
  app.get('/change', async request => String(++request.session.visits))
  await app.ready()
  const sockets = new Set()
  pool.on('connect', client => sockets.add(client.connection.stream))
  let cookies
  return {
    name,
    async fill (size) {
      data = sessionData(size)
      const made = Array.from({ length: SESSIONS }, async () => String((await app.inject('/create')).headers['set-cookie']).split(';')[0])
      cookies = await Promise.all(made)
    },
    async run (path) {
      let i = 0
      await Promise.all(Array.from({ length: AT_ONCE }, async () => {
        while (i < REQUESTS) {
          const { statusCode } = await app.inject({ url: `/${path}`, headers: { cookie: cookies[i++ % SESSIONS] } })
          if (statusCode !== 200) throw new Error(`${name} answered ${statusCode}`)
        }
      }))
    },
    traffic: () => [...sockets].reduce(([sent, received], { bytesWritten, bytesRead }) => [sent + bytesWritten, received + bytesRead], [0, 0]),
    async close () {
      await app.close()
      await pool.end()
    }
  }
}

async function measure (admin, site, path) {
  await admin.query('select pg_stat_statements_reset()')
  const log = await position(admin)
  const [sent, received] = site.traffic()
  const begun = process.cpuUsage()
  await site.run(path)
  const { user, system } = process.cpuUsage(begun)
  const [sentThen, receivedThen] = site.traffic()
  const text = "select sum(calls) as calls, sum(total_exec_time) * 1000 as time from pg_stat_statements where query ~ '(ours|theirs)'"
  const { rows: [{ calls, time }] } = await admin.query(text)
  const each = value => Number(value) / REQUESTS
  return {
    cpu: each(user + system),
    statements: each(calls),
    time: each(time),
    sent: each(sentThen - sent),
    received: each(receivedThen - received),
    log: each(await position(admin) - log)
  }
}

/** How far the write-ahead log has come, in bytes: what goes to the disk, and to replicas. */
async function position (admin) {
  const { rows: [{ bytes }] } = await admin.query("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') as bytes")
  return Number(bytes)
}

function row (title, rounds) {
  const median = name => rounds.map(round => round[name]).sort((a, b) => a - b)[Math.floor(ROUNDS / 2)]
  const { statements } = rounds[0]
  const bytes = ['sent', 'received', 'log'].map(name => `${Math.round(median(name))} B`)
  return `| ${[title, `${Math.round(median('cpu'))} µs`, statements.toFixed(2), `${Math.round(median('time'))} µs`, ...bytes].join(' | ')} |`
}

main()
