'use strict'

// A visitor of an application that has installed the library, from login to logout. Ends with 1 if something is wrong.

const assert = require('node:assert/strict')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')
const fastify = require('fastify')

const secret = ['a secret with minimum length of 32 characters', 'an older one of at least 32 characters']
const cookie = { secure: 'auto', maxAge: 60_000, sameSite: 'strict', priority: 'high' }

async function visits () {
  const app = fastify()
  await app.register(fastifyCookie)
  await app.register(fastifySession, { secret, cookie, saveUninitialized: false, store: new fastifySession.MemoryStore() })
  app.get('/', async ({ session }) => session.user ?? 'nobody')
  app.post('/login', async request => {
    await request.session.regenerate()
    request.session.user = 'max'
    return 'hello'
  })
  app.post('/logout', async request => {
    await request.session.destroy()
    return 'bye'
  })

  assert.equal((await app.inject('/')).body, 'nobody')
  const { cookies: [{ name, value, ...attributes }] } = await app.inject({ method: 'POST', url: '/login' })
  assert.equal(attributes.path, '/')
  assert.equal(attributes.httpOnly, true)
  const cookies = { [name]: value }
  assert.equal((await app.inject({ url: '/', cookies })).body, 'max')
  assert.equal((await app.inject({ url: '/', cookies: { [name]: `${value}x` } })).body, 'nobody')
  const left = await app.inject({ method: 'POST', url: '/logout', cookies })
  assert.match(left.headers['set-cookie'], new RegExp(`^${name}=;.* 1970 `))
  assert.equal((await app.inject({ url: '/', cookies })).body, 'nobody')
  await app.close()
}

visits()
