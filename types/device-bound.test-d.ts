import fastifySession from '@fastify/session'
import deviceBound, { deviceBound as named, type DeviceBoundOptions } from '@fastify/session/device-bound'
import fastify from 'fastify'
import { expectAssignable, expectError, expectType } from 'tsd'

declare module 'fastify' {
  interface Session {
    userId?: string
  }
}

const app = fastify()
app.register(fastifySession, { secret: 'a secret with minimum length of 32 characters' })
app.register(deviceBound)
app.register(deviceBound, { path: '/bound', maxAge: 600_000, enforce: 'observe', sessionName: 'session', when: session => session.userId !== undefined })
app.register(named, { prefix: '/app' })
expectAssignable<DeviceBoundOptions>({})
expectError<DeviceBoundOptions>({ enforce: 'warn' })
expectError<DeviceBoundOptions>({ maxAge: '10 minutes' })
expectError<DeviceBoundOptions>({ when: (session: { userId: number }) => session.userId > 1 })

app.get('/pay', { config: { session: { proof: 60_000 } } }, async request => {
  const [view] = await request.session.list()
  expectType<boolean | undefined>(view?.deviceBound)
})
