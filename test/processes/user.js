'use strict'

/**
 * Another process with a user's session, started as `node user.js URL`. It does what the test that started it says.
 * `login` logs in and then renews the session until the test says `stop`. `breakOff` begins a revocation and stops in the
 * middle of it, where it waits to be killed.
 */
const fastifyCookie = require('@fastify/cookie')
const Fastify = require('fastify')
const { createClient } = require('redis')
const fastifySession = require('../../dist')
const { RedisStore } = require('../../dist/stores/redis')

const SECRET = 'a secret with minimum length of 32 characters'
const HOUR = 3_600_000
const [url] = process.argv.slice(2)

async function main () {
  const client = createClient({ url })
  client.on('error', () => {})
  const store = new RedisStore({ client: await client.connect() })
  const app = Fastify()
  app.register(fastifyCookie)
  app.register(fastifySession, {
    secret: SECRET, store, saveUninitialized: false, user: session => session.userId, cookie: { secure: false, maxAge: HOUR }
  })
  app.get('/login', async ({ session }) => { session.userId = 'max' })
  app.get('/renew', async request => { await request.session.regenerate(['userId']) })
  app.get('/list', async ({ session }) => await session.list())
  app.get('/user', async ({ session }) => session.userId ?? 'nobody')
  await app.ready()

  let cookie
  const get = async url => {
    const response = await app.inject({ url, headers: cookie === undefined ? {} : { cookie } })
    for (const { name, value } of response.cookies) cookie = value === '' ? undefined : `${name}=${encodeURIComponent(value)}`
    return response
  }

  const renewing = { isStopped: false }
  const doing = {
    async login ({ round }) {
      renewing.isStopped = false
      cookie = undefined
      await get('/login')
      const first = cookie
      const [{ handle }] = (await get('/list')).json().filter(({ current }) => current)
      let renewals = 0
      while (!renewing.isStopped) {
        const last = cookie
        const { statusCode } = await get('/renew')
        if (statusCode !== 200 || cookie === undefined) {
          cookie = last
          break
        }
        if (++renewals === 2) process.send({ round, handle, isRenewing: true })
      }
      while (!renewing.isStopped) await new Promise(resolve => setImmediate(resolve))
      const { body } = await get('/user')
      process.send({ round, user: body, renewals, hasRenewed: cookie !== first })
    },

    stop () {
      renewing.isStopped = true
    },

    async breakOff ({ after }) {
      const { destroy } = store
      let count = 0
      store.destroy = (sessionId, callback) => {
        if (count < after) {
          count++
          destroy.call(store, sessionId, callback)
        } else {
          process.send({ hasBrokenOff: true })
        }
      }
      await app.sessions.revokeUser('max')
    }
  }
  process.on('message', message => { Promise.resolve(doing[message.what](message)).catch(error => process.send({ error: String(error) })) })
  process.send({ isReady: true })
}

main()
