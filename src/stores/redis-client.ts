/** The differences between node-redis and ioredis: single, cluster and sentinel. */
import { createHash } from 'node:crypto'

/** The methods that are needed of a client of node-redis: single, cluster, sentinel or pool. */
interface NodeRedis {
  evalSha (...args: any[]): Promise<unknown>
  eval (...args: any[]): Promise<unknown>
  sendCommand (...args: any[]): Promise<unknown>
  unlink (...args: any[]): Promise<unknown>
}

/** The methods that are needed of ioredis's `Redis` and `Cluster`. */
interface IoRedis {
  evalsha (...args: any[]): Promise<unknown>
  eval (...args: any[]): Promise<unknown>
  pipeline (...args: any[]): { exec (...args: any[]): Promise<unknown> }
  hgetall (...args: any[]): Promise<unknown>
  pttl (...args: any[]): Promise<unknown>
  unlink (...args: any[]): Promise<unknown>
}

/**
 * The application's client: node-redis 5 or newer (single, cluster, sentinel) or ioredis 5 or newer (single, cluster).
 */
export type RedisClient = NodeRedis | IoRedis

/** A client with the properties that differ by kind. */
export type AnyClient = RedisClient & Record<string, any>

/**
 * The result of a read: a hash's alternating fields and texts, or a string's text, and the remaining milliseconds (-1:
 * no expiry, -2: no such key).
 */
export type Reading = [reply: string[] | string, left: number]

// For node-redis: maps of RESP 3 become arrays, and all other types have their default mapping.
const MAPS_AS_ARRAYS = { 37: Array }

const IS_REFUSED = /can't run this command|has no permissions to run/
const LINE_OF_SCRIPT = /user_script: ?(\d+)/

/** A Lua script on one key, called by its hash. */
export class Script {
  readonly #source: string
  readonly #sha1: string

  constructor (source: string) {
    this.#source = source
    this.#sha1 = createHash('sha1').update(source).digest('hex')
  }

  /** Runs it in one round trip. If the server doesn't know the script, as after its start, it needs one more. */
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

  /** Adds the command to an ACL error, because Redis 7 only tells the line of the script. */
  #explained (error: any): unknown {
    const [, line] = IS_REFUSED.test(error?.message) ? LINE_OF_SCRIPT.exec(error.message) ?? [] : []
    const [, command] = /call\('(\w+)'/.exec(this.#source.split('\n')[Number(line) - 1] ?? '') ?? []
    if (command !== undefined) error.message += ` (the command is ${command})`
    return error
  }
}

// For clients that read from replicas, and for strings, which connect-redis writes.
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
 * Whether it is node-redis 3, 4 in legacy mode or `legacy()` of 5, which answer by callbacks, so that nothing would be
 * found without an error. Version 4 fails on a cluster. A wrapper needs only the methods that are called.
 */
function isOldNodeRedis (client: Partial<AnyClient>): boolean {
  const isBefore5 = typeof client.EVALSHA === 'function' && typeof client.withTypeMapping !== 'function'
  // ioredis has a method of this name.
  const is3 = typeof client.pipeline === 'boolean'
  return isBefore5 || is3
}

/**
 * Keeps a broken connection from ending the process if nobody listens for errors: each call fails with it anyway.
 */
export function hearErrors (client: AnyClient): void {
  if (client.listenerCount?.('error') === 0) client.on('error', () => {})
}

/** The same client with the default form of replies, even if the application has configured another. */
export function plainClient (client: AnyClient): RedisClient {
  hearErrors(client)
  return client.withTypeMapping?.(MAPS_AS_ARRAYS) ?? client
}

/** Reads a key and its remaining time, in one round trip, or in two if it isn't a hash. */
export async function read (client: RedisClient, key: string): Promise<Reading> {
  if (asksReplicas(client)) return await readAtOnce(client, key)
  try {
    // Both are sent at once. A pipeline of ioredis would cost more than the read.
    const [reply, left] = await Promise.all([ask(client, 'hgetall', key), ask(client, 'pttl', key)])
    return [flat(reply), Number(left)]
  } catch (error) {
    if (!isWrongType(error)) throw withoutArguments(error)
    // Another request may convert the string into a hash before a second command.
    return await readAtOnce(client, key)
  }
}

/** Whether an error says that a key is of another type. That of a script of Redis 6 begins with other words. */
export function isWrongType (error: any): boolean {
  return String(error?.message).includes('WRONGTYPE')
}

async function readAtOnce (client: RedisClient, key: string): Promise<Reading> {
  const [reply, left] = await READ.run(client, key) as Reading
  return [reply, Number(left)]
}

/** Whether it is a client of a cluster. */
export function isCluster (client: AnyClient): boolean {
  return client.isCluster === true || Array.isArray(client.masters)
}

/** What is wrong with a client, as in 'RedisStore ...'; undefined if nothing is. */
export function flawOf (client: Partial<AnyClient> | string | null | undefined): string | undefined {
  if (typeof client === 'string') return 'was given a URL: write await createClient({ url }).connect()'
  if (typeof client?.then === 'function') return 'was given a promise: await it first'
  if (isClient(client)) return undefined
  return 'needs a client of node-redis or ioredis, version 5 or newer, that answers by promises'
}

/** The key on the server, with the client's prefix. */
export function keyOnServer (client: AnyClient, key: string): string {
  return keyPrefixOf(client) + key
}

export async function remove (client: RedisClient, keys: string[]): Promise<void> {
  await Promise.all(keys.map(key => client.unlink(key)))
}

/** The policy by which a master evicts keys when its memory is full; undefined if none does. */
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
 * The keys that begin with a prefix, in batches, from all masters. A key may come twice while Redis shrinks its table.
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
 * Sends a read command to a master. node-redis's own methods may be configured to read from a replica or a client-side
 * cache, which may miss a recent login or logout.
 */
function ask (client: AnyClient, command: 'hgetall' | 'pttl', key: string): Promise<unknown> {
  if (!isNodeRedis(client)) return client[command](key)
  const prefixed = keyPrefixOf(client) + key
  const words = [command.toUpperCase(), prefixed]
  if (Array.isArray(client.masters)) return client.sendCommand(prefixed, false, words)
  return isSentinel(client) ? client.sendCommand(false, words) : client.sendCommand(words)
}

/**
 * Whether ioredis is configured to read from replicas. A single command can't override that, but scripts always go to
 * the master.
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
  // cluster. An explicit pipeline asks the right one. But if a master is down, it answers less than single commands.
  const pipeline = client.pipeline([[command, script, 1, key, ...args]])
  const [[error, reply]] = await pipeline.exec() as [[error: unknown, reply: unknown]]
  if (error) throw error
  return reply
}

// ioredis returns a hash as an object.
function flat (reply: unknown): string[] {
  return Array.isArray(reply) ? reply : Object.entries(reply as object).flat()
}

// ioredis adds the arguments to its errors, so that logs would contain the session id.
function withoutArguments (error: any): unknown {
  delete error.command
  return error
}

// Clients add this prefix to the keys that they send, but not to patterns, and don't remove it from the keys they find.
function keyPrefixOf (client: AnyClient): string {
  return String(client._keyPrefix ?? client.options?.keyPrefix ?? '')
}

export function isNodeRedis (client: AnyClient): client is NodeRedis & AnyClient {
  return typeof client.evalSha === 'function'
}

function isSentinel (client: AnyClient): boolean {
  return typeof client.getMasterNode === 'function'
}
