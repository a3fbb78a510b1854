import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'
import fastifySession, { type SessionRecord } from '../src/index'

export { clock, stopClock } from '../src/testing/context'
export { Gate } from '../src/testing/gate'
export { setCookies, Visitor } from '../src/testing/visitor'

/** A secret that is long enough. */
export const SECRET = 'a secret with minimum length of 32 characters'

export type Routes = (app: FastifyInstance) => void
export type SessionOptions = Partial<Parameters<typeof fastifySession>[1]>

/**
 * A Fastify server with the cookie plugin and the session plugin. It runs over plain http, so `cookie.secure` is false unless
 * the test sets it.
 */
export async function build (
  options: SessionOptions,
  routes: Routes,
  server: FastifyServerOptions = {}
): Promise<FastifyInstance> {
  const app = Fastify(server) as unknown as FastifyInstance
  await app.register(fastifyCookie)
  const cookie = typeof options.cookie === 'function' ? options.cookie : { secure: false, ...options.cookie }
  await app.register(fastifySession, { secret: SECRET, ...options, cookie })
  routes(app)
  await app.ready()
  return app
}

/** A signer that leaves each value as it is, and throws while it is broken. */
export function breakableSigner () {
  const signer = {
    isBroken: false,
    sign (value: string) {
      if (signer.isBroken) throw new Error('no key')
      return value
    },
    unsign: (value: string) => ({ valid: true, renew: false, value })
  }
  return signer
}

/** A record as a store has it. */
export function record (data: object, maxAge = 60 * 60_000): SessionRecord {
  const cookie = { expires: new Date(Date.now() + maxAge), originalMaxAge: maxAge, path: '/', httpOnly: true, secure: false }
  return { ...data, cookie }
}

/** Timeouts that are set from now on end when the test says so. */
export function holdTimeouts (t: Pick<Test, 'teardown'>): { pass: (milliseconds: number) => void } {
  const { setTimeout, clearTimeout } = globalThis
  const held = new Map<unknown, { run: () => void, end: number }>()
  let passed = 0
  globalThis.setTimeout = ((run: () => void, milliseconds: number) => {
    const timeout = { unref: () => timeout }
    held.set(timeout, { run, end: passed + milliseconds })
    return timeout
  }) as unknown as typeof setTimeout
  globalThis.clearTimeout = timeout => { if (!held.delete(timeout)) clearTimeout(timeout) }
  t.teardown(() => Object.assign(globalThis, { setTimeout, clearTimeout }))
  return {
    pass (milliseconds) {
      passed += milliseconds
      for (const [timeout, { run, end }] of held) if (end <= passed && held.delete(timeout)) run()
    }
  }
}

export function collectGarbage (): void {
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
}
