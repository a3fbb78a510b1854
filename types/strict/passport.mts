// An application with @fastify/passport, whose types say that any name may be data. So `request.session` takes them all.

import fastifySession, { type FastifySessionObject } from '@fastify/session'
import fastifyPassport from '@fastify/passport'
import { fastify } from 'fastify'
import { expect, type Equal } from './expect.js'

const app = fastify()
app.register(fastifySession, { secret: 'secret' })
app.register(fastifyPassport.initialize())
app.register(fastifyPassport.secureSession())

app.post('/login', async request => {
  await request.logIn({ id: 1 })
  request.session.returnTo = '/'
  request.session.set('visits', 1)
  const visits: number = request.session.get('visits')
  await request.session.regenerate(['returnTo', 'visits'])
  const { maxAge } = request.session.cookie
  return [request.session.user, visits, maxAge]
})

declare const session: FastifySessionObject
expect<Equal<ReturnType<typeof session.isModified>, boolean>>()
await session.save()
