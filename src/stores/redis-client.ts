/** What differs between node-redis and ioredis: single, cluster and sentinel. */
import { createHash } from 'node:crypto'

/** What is needed of node-redis's `createClient`, `createCluster`, `createSentinel` and `createClientPool`. */
interface NodeRedis {
  evalSha (...args: any[]): Promise<unknown>
  eval (...args: any[]): Promise<unknown>
  sendCommand (...args: any[]): Promise<unknown>
  unlink (...args: any[]): Promise<unknown>
}

/** What is needed of ioredis's `Redis` and `Cluster`. */
interface IoRedis {
  evalsha (...args: any[]): Promise<unknown>
  eval (...args: any[]): Promise<unknown>
  pipeline (...args: any[]): { exec (...args: any[]): Promise<unknown> }
  hgetall (...args: any[]): Promise<unknown>
  pttl (...args: any[]): Promise<unknown>
  get (...args: any[]): Promise<unknown>
  unlink (...args: any[]): Promise<unknown>
}

/**
 * A client that the application made: of node-redis 5 or newer (single, cluster, sentinel) or ioredis 5 or newer
 * (single, cluster).
 */
export type RedisClient = NodeRedis | IoRedis

/** The parts that differ by kind of client, which the type above need not know. */
export type AnyClient = RedisClient & Record<string, any>

/**
 * A read: a hash's fields and texts in turn, or a string's text, and the milliseconds that are left (-1 for ever, -2
 * for gone).
 */
export type Reading = [reply: string[] | string | null, left: number]

// In node-redis's words: maps, as RESP 3 has them, become arrays, and all else what it is by default.
const MAPS_AS_ARRAYS = { 37: Array }

const IS_REFUSED = /can't run this command|has no permissions to run/
const LINE_OF_SCRIPT = /user_script: ?(\d+)/

/** A Lua script on one key. Redis knows it by its hash. */
export class Script {
  readonly #source: string
  readonly #sha1: string

  constructor (source: string) {
    this.#source = source
    this.#sha1 = createHash('sha1').update(source).digest('hex')
  }

  /** Runs it in one round trip. One more where the server doesn't know the script: once after each of its starts. */
  async run (client: RedisClient, key: string, args: Array<string | number> = []): Promise<unknown> {
    const texts = args.map(String)
    try {
      return await evaluate(client, 'evalSha', this.#sha1, key, texts).catch(error => {
        if (!String(error.message).startsWith('NOSCRIPT')) throw error
        return evaluate(client, 'eval', this.#source, key, texts)
      })
    } catch (error) {
      throw this.#explained(withoutArguments(error))
    }
  }

  /** Redis 7 tells which line of a script its ACL refuses, and not which command. */
  #explained (error: any): unknown {
    const [, line] = IS_REFUSED.test(error?.message) ? LINE_OF_SCRIPT.exec(error.message) ?? [] : []
    const [, command] = /call\('(\w+)'/.exec(this.#source.split('\n')[Number(line) - 1] ?? '') ?? []
    if (command !== undefined) error.message += ` (the command is ${command})`
    return error
  }
}

// For clients that ask replicas.
const READ = new Script(`
  if redis.call('TYPE', KEYS[1]).ok == 'string' then
    return { redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]) }
  end
  return { redis.call('HGETALL', KEYS[1]), redis.call('PTTL', KEYS[1]) }
`)

export function isClient (client: Partial<AnyClient> | undefined | null): client is RedisClient {
  if (client == null || isOldNodeRedis(client)) return false
  return typeof client.evalSha === 'function' || typeof client.evalsha === 'function'
}

/**
 * Those of version 3, those in the legacy mode of 4 and those that `legacy()` of 5 makes answer by callbacks: nothing
 * would be found, and no error seen. Version 4 fails on a cluster. A wrapper need not have more than is called.
 */
function isOldNodeRedis (client: Partial<AnyClient>): boolean {
  const isBefore5 = typeof client.EVALSHA === 'function' && typeof client.withTypeMapping !== 'function'
  // ioredis has a method of this name.
  const is3 = typeof client.pipeline === 'boolean'
  return isBefore5 || is3
}

/**
 * Keeps a connection that breaks from ending the process if nobody listens: each call says what is wrong anyway.
 */
export function hearErrors (client: AnyClient): void {
  if (client.listenerCount?.('error') === 0) client.on('error', () => {})
}

/** The same client, answering in the same form whatever the application has told it. */
export function plainClient (client: AnyClient): RedisClient {
  hearErrors(client)
  return client.withTypeMapping?.(MAPS_AS_ARRAYS) ?? client
}

/** Reads a key and what is left of its life, in one round trip. */
export async function read (client: RedisClient, command: 'hgetall' | 'get', key: string): Promise<Reading> {
  try {
    if (asksReplicas(client)) {
      const [reply, left] = await READ.run(client, key) as Reading
      return [reply, Number(left)]
    }
    // Both go out at once. ioredis has pipelines, but making one costs it more than such a read.
    const [reply, left] = await Promise.all([ask(client, command, key), ask(client, 'pttl', key)])
    return [command === 'get' ? reply as string | null : flat(reply), Number(left)]
  } catch (error) {
    throw withoutArguments(error)
  }
}

/** Whether it sends commands to several masters, each of which has a shard. */
export function isCluster (client: AnyClient): boolean {
  return client.isCluster === true || Array.isArray(client.masters)
}

/** A key as the server knows it. */
export function keyOnServer (client: AnyClient, key: string): string {
  return keyPrefixOf(client) + key
}

export async function remove (client: RedisClient, keys: string[]): Promise<void> {
  await Promise.all(keys.map(key => client.unlink(key)))
}

/** By which policy a master evicts keys when its memory is full; undefined if none does. */
export async function evictionOf (client: RedisClient): Promise<string | undefined> {
  for (const node of await masters(client)) {
    const info = await memoryOf(node)
    const most = /^maxmemory:(\d+)/m.exec(info)?.[1]
    const policy = /^maxmemory_policy:([\w-]+)/m.exec(info)?.[1]
    if (Number(most) > 0 && policy !== 'noeviction') return policy
  }
  return undefined
}

/**
 * The keys that begin with a prefix, in batches, from all masters. A key may come twice, while Redis makes its table
 * smaller.
 */
export async function * scan (client: RedisClient, prefix: string): AsyncGenerator<string[]> {
  const ownPrefix = keyPrefixOf(client)
  const pattern = `${(ownPrefix + prefix).replace(/[\\*?[\]]/g, '\\$&')}*`
  for (const node of await masters(client)) {
    let cursor = '0'
    do {
      const { cursor: next, keys } = await scanOnce(node, cursor, pattern)
      yield keys.map(key => String(key).slice(ownPrefix.length))
      cursor = String(next)
    } while (cursor !== '0')
  }
}

async function scanOnce (
  node: AnyClient, cursor: string, pattern: string
): Promise<{ cursor: unknown, keys: unknown[] }> {
  if (isNodeRedis(node)) return await node.scan(cursor, { MATCH: pattern, COUNT: 1000 })
  const [next, keys] = await node.scan(cursor, 'MATCH', pattern, 'COUNT', 1000)
  return { cursor: next, keys }
}

async function memoryOf (node: AnyClient): Promise<string> {
  const words = ['INFO', 'memory']
  if (!isNodeRedis(node)) return String(await node.info('memory'))
  return String(await (isSentinel(node) ? node.sendCommand(false, words) : node.sendCommand(words)))
}

async function masters (client: AnyClient): Promise<AnyClient[]> {
  if (Array.isArray(client.masters)) return await Promise.all(client.masters.map(node => client.nodeClient(node)))
  return client.isCluster === true ? client.nodes('master') : [client]
}

/**
 * A command that only reads, sent to a master. Not by node-redis's own methods: as the application has set it up,
 * they answer from a replica or from a cache of the client, which don't know yet who has logged in or out.
 */
function ask (client: AnyClient, command: 'hgetall' | 'get' | 'pttl', key: string): Promise<unknown> {
  if (!isNodeRedis(client)) return client[command](key)
  const prefixed = keyPrefixOf(client) + key
  const words = [command.toUpperCase(), prefixed]
  if (Array.isArray(client.masters)) return client.sendCommand(prefixed, false, words)
  return isSentinel(client) ? client.sendCommand(false, words) : client.sendCommand(words)
}

/**
 * ioredis can be told to read from replicas, and then can't be told otherwise for one command. It sends them no
 * scripts.
 */
function asksReplicas (client: AnyClient): boolean {
  return client.isCluster === true && client.options.scaleReads !== 'master'
}

async function evaluate (
  client: AnyClient, how: 'evalSha' | 'eval', script: string, key: string, args: string[]
): Promise<unknown> {
  if (isNodeRedis(client)) return await client[how](script, { keys: [key], arguments: args })
  const command = how.toLowerCase() as 'evalsha' | 'eval'
  const isMisled = client.isCluster === true && client.options.enableAutoPipelining === true
  if (!isMisled) return await client[command](script, 1, key, ...args)
  // ioredis 5 with `enableAutoPipelining` takes the hash of a script for its key, and asks the wrong server of a
  // cluster. Not so in a pipeline of ours; but when a master is away, that answers less of it than a single command.
  const pipeline = client.pipeline([[command, script, 1, key, ...args]])
  const [[error, reply]] = await pipeline.exec() as [[error: unknown, reply: unknown]]
  if (error) throw error
  return reply
}

// ioredis makes an object of a hash.
function flat (reply: unknown): string[] {
  return Array.isArray(reply) ? reply : Object.entries(reply as object).flat()
}

// ioredis hangs the arguments on its errors: a session id, for whoever logs them.
function withoutArguments (error: any): unknown {
  delete error.command
  return error
}

// Clients put this before the keys they send, but neither before patterns nor off the keys they find.
function keyPrefixOf (client: AnyClient): string {
  return String(client._keyPrefix ?? client.options?.keyPrefix ?? '')
}

export function isNodeRedis (client: AnyClient): client is NodeRedis & AnyClient {
  return typeof client.evalSha === 'function'
}

function isSentinel (client: AnyClient): boolean {
  return typeof client.getMasterNode === 'function'
}
