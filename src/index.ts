import fp from 'fastify-plugin'
import { sessionPlugin } from './plugin'
import { MemoryStore } from './stores/memory'
const p: any = fp(sessionPlugin as any, { fastify: '5.x', name: '@fastify/session', dependencies: ['@fastify/cookie'] })
p.Store = p.MemoryStore = MemoryStore
export = p
