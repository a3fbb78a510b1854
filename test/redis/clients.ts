/** Every kind of client that RedisStore accepts, made as an application would make it. */
import { Cluster, Redis, type ClusterOptions, type RedisOptions } from 'ioredis'
import Redis5, { Cluster as Cluster5 } from 'ioredis-5'
import { createClient, createClientPool, createCluster, createSentinel, RESP_TYPES } from 'redis'
import type { Test } from 'tap'
import type { RedisClient } from '../../src/stores/redis'
import { connectTo, startRedis, startRedisCluster, startRedisSentinel, type Server } from '../servers'

export interface ClientOptions {
  keyPrefix?: string
}

export interface Connection {
  client: RedisClient
  close: () => unknown
}

/** One kind of client, with its Redis. */
export interface Kind {
  readonly name: string
  /** Connects a client without an error listener, like most. */
  connect: (options?: ClientOptions) => Promise<Connection>
  readonly redis: Redises
  /** Whether it is another kind with different options. */
  readonly isVariant: boolean
}

/** One Redis or several, with a way to send commands without the client that is tested. */
export interface Redises {
  readonly servers: readonly Server[]
  /** Sends a command to the server that has the key. */
  send: (key: string, ...command: string[]) => Promise<any>
  /** Sends a command to every master. */
  sendAll: (...command: string[]) => Promise<any[]>
}

export interface Kinds {
  readonly single: Redises
  readonly kinds: readonly Kind[]
}

export async function startAll (t: Test): Promise<Kinds> {
  const [server, clusterServers, { master, sentinelPort, name }] = await Promise.all([
    startRedis(t), startRedisCluster(t), startRedisSentinel(t)
  ])
  const [single, cluster, watched] = await Promise.all([
    oneRedis(t, server), clusterOf(t, clusterServers.nodes), oneRedis(t, master)
  ])
  const sentinelRootNodes = [{ host: '127.0.0.1', port: sentinelPort }]
  const { url } = server

  const nodes = cluster.servers.map(({ url }) => url)
  const rootNodes = nodes.map(url => ({ url }))

  async function ioRedis (options: RedisOptions): Promise<Connection> {
    const client = new Redis({ port: server.port, host: '127.0.0.1', ...options })
    return { client, close: () => client.disconnect() }
  }

  async function ioRedisCluster (options: ClusterOptions): Promise<Connection> {
    const client = new Cluster(nodes, options)
    return { client, close: () => client.disconnect() }
  }

  return {
    single,
    kinds: [
      kind('node-redis', single, options => nodeRedis(createClient({ url, ...options }))),
      variant('node-redis that speaks RESP 2', single, options => nodeRedis(createClient({ url, RESP: 2, ...options }))),
      variant('node-redis that answers Buffers', single, options => nodeRedis(createClient({ url, ...options }), BUFFERS)),
      variant('node-redis, a pool', single, options => nodeRedis(createClientPool({ url, ...options }))),
      kind('node-redis, cluster', cluster, options => nodeRedis(createCluster({ rootNodes, ...options }))),
      kind('node-redis, sentinel', watched, options => nodeRedis(createSentinel({ name, sentinelRootNodes, ...options }))),
      kind('ioredis', single, options => ioRedis({ ...options })),
      variant('ioredis that speaks RESP 2', single, options => ioRedis({ protocol: 2, ...options })),
      variant('ioredis that answers numbers as strings', single, options => ioRedis({ stringNumbers: true, ...options })),
      variant('ioredis that makes pipelines', single, options => ioRedis({ enableAutoPipelining: true, ...options })),
      kind('ioredis, cluster', cluster, options => ioRedisCluster({ ...options })),
      variant('ioredis, cluster that makes pipelines', cluster, options => {
        return ioRedisCluster({ enableAutoPipelining: true, ...options })
      }),
      variant('ioredis, cluster that reads from replicas', cluster, options => ioRedisCluster({ scaleReads: 'slave', ...options })),
      variant('node-redis, cluster that reads from replicas', cluster, options => {
        return nodeRedis(createCluster({ rootNodes, useReplicas: true, ...options }))
      }),
      variant('ioredis 5.0', single, async options => {
        const client = new Redis5({ port: server.port, host: '127.0.0.1', ...options })
        return { client, close: () => client.disconnect() }
      }),
      // Its automatic pipelines take the first argument of every command for the key.
      variant('ioredis 5.0, cluster that makes pipelines', cluster, async options => {
        const client = new Cluster5(nodes, { enableAutoPipelining: true, ...options })
        return { client, close: () => client.disconnect() }
      }),
      variant('ioredis, sentinel', watched, options => ioRedis({ sentinels: sentinelRootNodes, name, ...options }))
    ]
  }
}

const BUFFERS = { [RESP_TYPES.BLOB_STRING]: Buffer, [RESP_TYPES.SIMPLE_STRING]: Buffer }

function kind (name: string, redis: Redises, connect: Kind['connect']): Kind {
  return { name, redis, connect, isVariant: false }
}

function variant (name: string, redis: Redises, connect: Kind['connect']): Kind {
  return { name, redis, connect, isVariant: true }
}

type NodeRedis = RedisClient & { connect: () => Promise<unknown>, destroy: () => unknown }

async function nodeRedis (client: NodeRedis): Promise<Connection>
async function nodeRedis (client: ReturnType<typeof createClient>, types: typeof BUFFERS): Promise<Connection>
async function nodeRedis (client: any, types?: typeof BUFFERS): Promise<Connection> {
  await client.connect()
  return { client: types === undefined ? client : client.withTypeMapping(types), close: () => client.destroy() }
}

async function oneRedis (t: Test, server: Server): Promise<Redises> {
  const client = await connectTo(t, server)
  return {
    servers: [server],
    send: (_key, ...command) => client.sendCommand(command),
    sendAll: async (...command) => [await client.sendCommand(command)]
  }
}

async function clusterOf (t: Test, servers: readonly Server[]): Promise<Redises> {
  const cluster = createCluster({ rootNodes: servers.map(({ url }) => ({ url })) })
  cluster.on('error', () => {})
  await cluster.connect()
  const masters = await Promise.all(servers.map(server => oneRedis(t, server)))
  t.teardown(() => cluster.destroy())
  return {
    servers,
    send: (key, ...command) => cluster.sendCommand(key, false, command),
    sendAll: async (...command) => (await Promise.all(masters.map(({ sendAll }) => sendAll(...command)))).flat(1)
  }
}
