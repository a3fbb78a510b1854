// An application whose data have names of the session's own methods, as version 11 lets them at run time.

import '@fastify/session'
import { type FastifySessionObject } from '@fastify/session'
import { expect, type Equal } from './expect.js'

declare module 'fastify' {
  interface Session {
    options?: { theme: string }
    touch?: number
    data?: string[]
    isModified?: boolean
    isSaved: boolean
    isAnonymous: string
    isFresh?: 'baked'
    authenticatedAt?: Date
    loadSession?: string
    lazy?: boolean
    fresh?: number
    list?: number[]
    signal: 'red' | 'green'
    update?: Date
    take?: 1
  }
}

declare const session: FastifySessionObject
expect<Equal<typeof session.options, { theme: string } | undefined>>()
expect<Equal<typeof session.touch, number | undefined>>()
expect<Equal<typeof session.isSaved, boolean>>()
expect<Equal<typeof session.isAnonymous, string>>()
expect<Equal<typeof session.isFresh, 'baked' | undefined>>()
expect<Equal<typeof session.authenticatedAt, Date | undefined>>()
expect<Equal<typeof session.signal, 'red' | 'green'>>()
session.options = { theme: 'dark' }
session.set('data', ['a'])
session.list?.push(1)
expect<Equal<ReturnType<typeof session.revokeOthers>, Promise<number>>>()
await session.save()
await session.regenerate(['options', 'take'])
