import { createHash } from 'node:crypto'

/** What is needed of node-redis's `createClient`, `createCluster` and `createSentinel`. */
interface NodeRedis {
  evalSha (...args: any[]): Promise<unknown>
  eval (...args: any[]): Promise<unknown>
}

/** What is needed of ioredis's `Redis` and `Cluster`. */
interface IoRedis {
  evalsha (...args: any[]): Promise<unknown>
  eval (...args: any[]): Promise<unknown>
}

/** A client that the application made: of node-redis 5 or newer (single, cluster, sentinel) or ioredis 5 or newer (single, cluster). */
export type RedisClient = NodeRedis | IoRedis

/** The parts that differ by kind of client, which the type above need not know. */
type AnyClient = RedisClient & Record<string, any>

/** A Lua script on one key. Redis knows it by its hash. */
export class Script {
  readonly #source: string
  readonly #sha1: string

  constructor (source: string) {
    this.#source = source
    this.#sha1 = createHash('sha1').update(source).digest('hex')
  }

  /** Runs it in one round trip. One more where the server doesn't know the script: once after each of its starts. */
  async run (client: RedisClient, key: string, args: string[]): Promise<unknown> {
    try {
      return await evaluate(client, 'evalSha', this.#sha1, key, args).catch(error => {
        if (!String(error.message).startsWith('NOSCRIPT')) throw error
        return evaluate(client, 'eval', this.#source, key, args)
      })
    } catch (error) {
      // ioredis hangs the arguments on its errors: a session id, for whoever logs them.
      delete (error as { command?: unknown }).command
      throw error
    }
  }
}

export function isClient (client: Partial<AnyClient> | undefined | null): client is RedisClient {
  return client != null && (typeof client.evalSha === 'function' || typeof client.evalsha === 'function')
}

/** Keeps a connection that breaks from ending the process where nobody listens: each call says what is wrong anyway. */
export function hearErrors (client: AnyClient): void {
  if (client.listenerCount?.('error') === 0) client.on('error', () => {})
}

/** The keys that begin with a prefix, in batches, from all masters. A key may come twice. */
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

async function scanOnce (node: AnyClient, cursor: string, pattern: string): Promise<{ cursor: unknown, keys: unknown[] }> {
  if (isNodeRedis(node)) return await node.scan(cursor, { MATCH: pattern, COUNT: 1000 })
  const [next, keys] = await node.scan(cursor, 'MATCH', pattern, 'COUNT', 1000)
  return { cursor: next, keys }
}

async function masters (client: AnyClient): Promise<AnyClient[]> {
  if (Array.isArray(client.masters)) return await Promise.all(client.masters.map(node => client.nodeClient(node)))
  return client.isCluster === true ? client.nodes('master') : [client]
}

function evaluate (client: AnyClient, how: 'evalSha' | 'eval', script: string, key: string, args: string[]): Promise<unknown> {
  if (isNodeRedis(client)) return client[how](script, { keys: [key], arguments: args })
  return how === 'eval' ? client.eval(script, 1, key, ...args) : client.evalsha(script, 1, key, ...args)
}

// Clients put this before the keys they send, but neither before patterns nor off the keys they find.
function keyPrefixOf (client: AnyClient): string {
  return String(client._keyPrefix ?? client.options?.keyPrefix ?? '')
}

function isNodeRedis (client: AnyClient): client is NodeRedis & AnyClient {
  return typeof client.evalSha === 'function'
}
