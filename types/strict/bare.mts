// An application that declares nothing of its sessions.

import fastifySession, { type FastifySessionObject } from '@fastify/session'
import '@fastify/session/redis'
import { fastify, type Session } from 'fastify'
import { expect, type Equal } from './expect.js'

declare const session: FastifySessionObject
expect<Equal<keyof Session, 'cookie'>>()

// As version 11: any name.
session.regenerate(['userId'])
session.regenerate(['userId', 'cart'], () => {})
session.regenerate(['userId'] as const)
session.regenerate(['userId'] as string[])
session.regenerate([])
session.regenerate<any>(['userId'])
// @ts-expect-error no array
session.regenerate('userId')
// @ts-expect-error no names
session.regenerate([1])

session.get<any>('userId')
session.set<any>('userId', 1)
// @ts-expect-error as version 11
session.get('userId')

fastify().register(fastifySession, { secret: 'a secret with minimum length of 32 characters' })
