// An application whose data may have any name: the methods stay what they are.

import '@fastify/session'
import { type FastifySessionObject } from '@fastify/session'
import { expect, type Equal } from './expect.js'

declare module 'fastify' {
  interface Session {
    [key: string]: any
  }
}

declare const session: FastifySessionObject
session.whatever = 1
expect<Equal<ReturnType<typeof session.touch>, void>>()
expect<Equal<ReturnType<typeof session.isModified>, boolean>>()
expect<Equal<ReturnType<typeof session.revokeOthers>, Promise<number>>>()
expect<Equal<ReturnType<typeof session.take>, Promise<any>>>()
await session.save()
await session.update(data => { data.whatever = data.get('other') })
