'use strict'

const { randomBytes } = require('node:crypto')
const { fresh } = require('./scenarios')

const ONE_DAY = 86_400_000
const NAME = 'sessionId'

/**
 * The least that a session can cost: what somebody would write by hand with `@fastify/cookie`, with one verification, one
 * lookup, and what must be written. It makes none of the library's promises.
 */
function floor (app, { rolling, data }, store) {
  const sessions = new Map()
  const { read, write } = store === undefined ? memory(sessions) : redis(store, rolling)
  app.register(require('@fastify/cookie'), { secret: 'a secret with minimum length of 32 characters' })

  function load (request, reply, answer) {
    const value = request.cookies[NAME]
    if (value === undefined) {
      answer()
      return
    }
    const { valid, value: sessionId } = app.unsignCookie(value)
    if (!valid) {
      reply.clearCookie(NAME)
      answer()
      return
    }
    read(sessionId, record => {
      if (!record) reply.clearCookie(NAME)
      answer(record, sessionId, value)
    })
  }

  function setCookie (reply, value, expires) {
    reply.setCookie(NAME, value, { path: '/', httpOnly: true, sameSite: 'lax', expires: new Date(expires) })
  }

  function loadRolling (request, reply, answer) {
    load(request, reply, (record, sessionId, value) => {
      if (record && rolling) setCookie(reply, value, record.expires = Date.now() + ONE_DAY)
      answer(record)
    })
  }

  app.get('/create', (_request, reply) => {
    const sessionId = randomBytes(24).toString('base64url')
    const record = { ...fresh(data), expires: Date.now() + ONE_DAY }
    write(sessionId, record, () => {
      setCookie(reply, app.signCookie(sessionId), record.expires)
      reply.send('ok')
    })
  })
  app.get('/nothing', (request, reply) => loadRolling(request, reply, () => reply.send('ok')))
  app.get('/read', (request, reply) => loadRolling(request, reply, record => reply.send(record ? record.user.name : 'nobody')))
  app.get('/change', (request, reply) => load(request, reply, (record, sessionId, value) => {
    const changed = { ...record, visits: record.visits + 1, expires: Date.now() + ONE_DAY }
    write(sessionId, changed, () => {
      setCookie(reply, value, changed.expires)
      reply.send(String(changed.visits))
    })
  }))
  return () => sessions.clear()
}

function memory (sessions) {
  return {
    read: (sessionId, answer) => answer(sessions.get(sessionId)),
    write (sessionId, record, answer) {
      sessions.set(sessionId, record)
      answer()
    }
  }
}

function redis (client, rolling) {
  const expiration = { type: 'PX', value: ONE_DAY }
  return {
    read (sessionId, answer) {
      const json = rolling ? client.getEx(sessionId, expiration) : client.get(sessionId)
      json.then(json => answer(JSON.parse(json)))
    },
    write (sessionId, record, answer) {
      client.set(sessionId, JSON.stringify(record), { expiration }).then(answer)
    }
  }
}

module.exports = { floor }
