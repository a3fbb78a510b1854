/** Servers for one test, on free ports of the loopback interface, each with its own folder. They end with the test. */
import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, constants, existsSync, readdirSync } from 'node:fs'
import { chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { createClient } from 'redis'
import type { Test } from 'tap'
import type { TestContext } from '../src/testing/context'
import { Program, type ProgramOptions } from './program'
import { until } from './waiting'

export interface Server {
  readonly url: string
  readonly port: number
  stop (): Promise<void>
  /** Starts it again, with the same port and folder: a Redis with `appendOnly` has its data again. */
  restart (): Promise<void>
}

export interface RedisOptions {
  /** Keeps the data across a restart. */
  appendOnly?: boolean
  port?: number
  dir?: string
  /** A server other than the one on the PATH. */
  command?: string
  args?: string[]
}

/** How a server is started, and how to see that it is ready. */
interface Start extends ProgramOptions {
  command: string
  args: string[]
  /** The line that says that it is ready. */
  ready: RegExp
  stream?: 'stdout' | 'stderr'
  endSignal?: NodeJS.Signals
}

const NEEDS_REDIS = 'redis-server is needed to run this test: install Redis 7 or newer (Debian: redis-server)'
const NEEDS_POSTGRES = 'PostgreSQL is needed to run this test: install its server (Debian: postgresql)'
const NEEDS_PGBOUNCER = 'PgBouncer is needed to run this test: install it (Debian: pgbouncer)'
const NEEDS_NGINX = 'nginx is needed to run this test: install it (Debian: nginx)'
const NEEDS_OPENSSL = 'openssl is needed to run this test: install it (Debian: openssl)'
const SLOTS = 16384

export async function startRedis (t: Test, options: RedisOptions = {}): Promise<Server> {
  return await startRedisWith(t, options, [])
}

/** Three masters without replicas. If one is away, the others continue. */
export async function startRedisCluster (t: Test, options: Pick<RedisOptions, 'appendOnly' | 'args'> = {}): Promise<{ nodes: Server[] }> {
  const count = 3
  const busPorts: number[] = []
  const nodes: Server[] = []
  for (let i = 0; i < count; i++) {
    const busPort = await freePort()
    busPorts.push(busPort)
    nodes.push(await startRedisWith(t, options, [
      '--cluster-enabled', 'yes', '--cluster-port', String(busPort), '--cluster-announce-ip', '127.0.0.1',
      '--cluster-node-timeout', '5000', '--cluster-require-full-coverage', 'no'
    ]))
  }
  for (const [i, { url }] of nodes.entries()) {
    const [first, last] = [i, i + 1].map(n => Math.floor(n * SLOTS / count)) as [number, number]
    await command(url, 'CLUSTER', 'ADDSLOTSRANGE', String(first), String(last - 1))
    // Each gets a different number. Otherwise the nodes would first have to agree which of them gets a new one.
    await command(url, 'CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1))
  }
  const [first, ...others] = nodes as [Server, ...Server[]]
  for (const [i, { port }] of others.entries()) {
    await command(first.url, 'CLUSTER', 'MEET', '127.0.0.1', String(port), String(busPorts[i + 1]))
  }
  const isWhole = async (url: string): Promise<boolean> => {
    const info = String(await command(url, 'CLUSTER', 'INFO'))
    return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${count}`) &&
      info.includes(`cluster_slots_ok:${SLOTS}`)
  }
  for (const { url } of nodes) await until(`the cluster is whole for ${url}`, () => isWhole(url))
  return {
    nodes: nodes.map(node => ({
      ...node,
      async restart () {
        await node.restart()
        // A restarted master accepts no commands before it has heard from the others.
        await until(`the cluster is whole for ${node.url}`, () => isWhole(node.url))
      }
    }))
  }
}

/** One master, with one sentinel that watches it. */
export async function startRedisSentinel (t: Test): Promise<{ master: Server, sentinelPort: number, name: string }> {
  const name = 'main'
  const master = await startRedis(t)
  const dir = await temporaryFolder(t)
  const sentinelPort = await freePort()
  const config = join(dir, 'sentinel.conf')
  await writeFile(config, [
    `port ${sentinelPort}`,
    'bind 127.0.0.1',
    `dir ${dir}`,
    `sentinel monitor ${name} 127.0.0.1 ${master.port} 1`,
    `sentinel down-after-milliseconds ${name} 5000`,
    ''
  ].join('\n'))
  await start(t, { command: 'redis-server', args: [config, '--sentinel'], ready: /\+monitor master/, needs: NEEDS_REDIS })
  return { master, sentinelPort, name }
}

export interface PostgresOptions {
  /** Settings, as `name=value`. */
  settings?: string[]
  /** The folder with its files, if it exists already, as for a replica. */
  dir?: string
}

export interface PostgresServer extends Server {
  /** What PostgreSQL's other programs need to run with it. */
  readonly dir: string
}

/** A PostgreSQL with one database and no password. It keeps its data across a restart. */
export async function startPostgres (t: Test, options: PostgresOptions = {}): Promise<PostgresServer> {
  const { settings = [], dir = await newCluster(t) } = options
  const port = await freePort()
  const postgres: Start = {
    command: findPostgres('postgres'),
    // No socket file, and no protection against a crash of the machine: the folder is removed with the test.
    args: ['-D', dir, '-p', String(port), '-h', '127.0.0.1', '-k', '', ...['fsync=off', ...settings].flatMap(setting => ['-c', setting])],
    ready: /ready to accept (read-only )?connections/,
    stream: 'stderr',
    // The default signal would wait until all clients have left and all files are written.
    endSignal: 'SIGQUIT',
    cwd: dir,
    ...await postgresUser(),
    needs: NEEDS_POSTGRES
  }
  let end = await start(t, postgres)
  const stop = async (): Promise<void> => { await end() }
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    port,
    dir,
    stop,
    async restart () {
      await stop()
      end = await start(t, postgres)
    }
  }
}

/** A replica that streams from a PostgreSQL, until it is promoted. */
export async function startReplica (t: Test, primary: PostgresServer): Promise<PostgresServer & { promote: () => Promise<void> }> {
  const dir = await postgresFolder(t)
  const args = ['-d', primary.url, '-D', dir, '-R', '-X', 'stream', '--checkpoint=fast', '--no-sync']
  const user = await postgresUser()
  await promisify(execFile)(findPostgres('pg_basebackup'), args, user as object)
  const replica = await startPostgres(t, { dir })
  const promoteArgs = ['promote', '-w', '-D', dir]
  return { ...replica, async promote () { await promisify(execFile)(findPostgres('pg_ctl'), promoteArgs, user as object) } }
}

/** A PgBouncer in front of a PostgreSQL, in transaction mode. */
export async function startPgBouncer (t: Test, { port: serverPort }: Pick<Server, 'port'>, settings: string[] = []): Promise<{ url: string }> {
  const dir = await postgresFolder(t)
  const port = await freePort()
  await writeFile(join(dir, 'users.txt'), '"postgres" ""\n')
  await writeFile(join(dir, 'pgbouncer.ini'), [
    '[databases]', `postgres = host=127.0.0.1 port=${serverPort} dbname=postgres user=postgres`,
    '[pgbouncer]', 'listen_addr = 127.0.0.1', `listen_port = ${port}`, 'unix_socket_dir =', 'auth_type = trust',
    `auth_file = ${join(dir, 'users.txt')}`, 'pool_mode = transaction', ...settings, ''
  ].join('\n'))
  await start(t, {
    command: findPgBouncer(),
    args: [join(dir, 'pgbouncer.ini')],
    ready: /process up/,
    stream: 'stderr',
    endSignal: 'SIGQUIT',
    ...await postgresUser(),
    needs: NEEDS_PGBOUNCER
  })
  return { url: `postgres://postgres@127.0.0.1:${port}/postgres` }
}

/** An nginx with the given configuration. In the same folder is a self-made certificate for `localhost`. */
export async function startNginx (t: Test, config: string): Promise<{ certificate: string }> {
  const { dir, cert } = await makeCertificate(t)
  await writeFile(join(dir, 'nginx.conf'), config)
  await start(t, {
    command: findNginx(),
    args: ['-p', dir, '-c', 'nginx.conf', '-e', 'stderr'],
    ready: /start worker process /,
    stream: 'stderr',
    needs: NEEDS_NGINX
  })
  return { certificate: await readFile(cert, 'utf8') }
}

/** Makes a key and a certificate for a host, in a new folder. */
export async function makeCertificate (t: Test, host = 'localhost'): Promise<{ dir: string, key: string, cert: string }> {
  const dir = await temporaryFolder(t)
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')]
  await promisify(execFile)('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`, '-keyout', key, '-out', cert
  ]).catch(error => { throw error.code === 'ENOENT' ? new Error(NEEDS_OPENSSL, { cause: error }) : error })
  return { dir, key, cert }
}

export type NodeRedis = ReturnType<typeof newClient>

/** A client that ends with the test. */
export async function connectTo (t: Test, { url }: Pick<Server, 'url'>): Promise<NodeRedis> {
  const client = newClient(url)
  await client.connect()
  t.teardown(() => client.destroy())
  return client
}

function newClient (url: string) {
  // Without a listener, a client throws its errors.
  return createClient({ url }).on('error', () => {})
}

/** Makes the keys, and the times in the index by user, older, because Redis's clock can't be moved. */
export async function letPass (client: NodeRedis, milliseconds: number, pattern = '*'): Promise<void> {
  for (const key of await client.keys(pattern)) {
    const left = await client.pTTL(key)
    if (left >= 0) await client.pExpire(key, left - milliseconds)
    // Entries of the index end by Redis's own clock, which can't be moved.
    if (!/^users:.*:(ends|ending)$/.test(key)) continue
    for (const entry of await client.zRange(key, 0, -1)) await client.zIncrBy(key, -milliseconds, entry)
  }
}

/**
 * Returns a free port that the system doesn't use for outgoing connections. Otherwise a client that keeps connecting to a
 * stopped server would sooner or later get the port of the server for its own side, and keep it.
 */
export async function freePort (): Promise<number> {
  for (let i = 0; i < 100; i++) {
    const port = randomInt(12_000, 32_000)
    const server = createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
    } catch {
      continue
    }
    server.close()
    await once(server, 'close')
    return port
  }
  throw new Error('no free port was found')
}

// --- Starting and ending programs

async function startRedisWith (t: Test, options: RedisOptions, more: string[]): Promise<Server> {
  const { appendOnly = false, port = await freePort(), dir = await temporaryFolder(t), command = 'redis-server', args = [] } = options
  const redis: Start = {
    command,
    args: [
      '--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '',
      '--appendonly', appendOnly ? 'yes' : 'no', ...more, ...args
    ],
    ready: /Ready to accept connections/,
    needs: NEEDS_REDIS
  }
  let end = await start(t, redis)
  const stop = async (): Promise<void> => { await end() }
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    stop,
    async restart () {
      await stop()
      end = await start(t, redis)
    }
  }
}

/** Starts a server and waits until it is ready. Returns a function that ends it. */
async function start (t: Test, { command, args, ready, stream = 'stdout', endSignal = 'SIGTERM', lastSignal = endSignal, ...options }: Start): Promise<() => Promise<unknown>> {
  const program = new Program(t, command, args, { lastSignal, ...options })
  await (stream === 'stdout' ? program.says(ready) : program.complains(ready))
  return () => program.end(endSignal)
}

/** @param inMemory uses a file system in memory, if there is one: for programs that write thousands of files */
export async function temporaryFolder (t: Pick<TestContext, 'after'>, inMemory = false): Promise<string> {
  const dir = await mkdtemp(join(inMemory && existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'session-test-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  return dir
}

async function command (url: string, ...args: string[]): Promise<unknown> {
  const client = createClient({ url })
  await client.connect()
  try {
    return await client.sendCommand(args)
  } finally {
    client.destroy()
  }
}

/** Makes the files of a new PostgreSQL. */
async function newCluster (t: Test): Promise<string> {
  const dir = await postgresFolder(t)
  const initArgs = ['-D', dir, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync']
  await promisify(execFile)(findPostgres('initdb'), initArgs, { cwd: dir, ...await postgresUser() } as object)
  return dir
}

async function postgresFolder (t: Test): Promise<string> {
  const dir = await temporaryFolder(t)
  const { uid, gid } = await postgresUser()
  if (uid !== undefined) await chown(dir, uid, gid as number)
  return dir
}

/** PostgreSQL refuses to run as root. */
async function postgresUser (): Promise<{ uid?: number, gid?: number }> {
  if (process.getuid?.() !== 0) return {}
  const idOf = async (flag: string): Promise<number> => Number((await promisify(execFile)('id', [flag, 'postgres'])).stdout)
  try {
    return { uid: await idOf('-u'), gid: await idOf('-g') }
  } catch (error) {
    throw new Error(`${NEEDS_POSTGRES}. It refuses to run as root: a user named postgres is needed too`, { cause: error })
  }
}

/** Finds the program on the PATH, or where Debian installs it. */
function findPostgres (name: string): string {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const debian = '/usr/lib/postgresql'
  try {
    folders.push(...readdirSync(debian).sort().reverse().map(version => join(debian, version, 'bin')))
  } catch {
    // This isn't Debian, or PostgreSQL isn't installed.
  }
  const path = folders.map(folder => join(folder, name)).find(isExecutable)
  if (path === undefined) throw new Error(NEEDS_POSTGRES)
  return path
}

function findNginx (): string {
  return findForAdministrators('nginx', NEEDS_NGINX)
}

function findPgBouncer (): string {
  return findForAdministrators('pgbouncer', NEEDS_PGBOUNCER)
}

/** Finds the program on the PATH, or where Debian installs programs for administrators. */
function findForAdministrators (name: string, needs: string): string {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
  const path = folders.map(folder => join(folder, name)).find(isExecutable)
  if (path === undefined) throw new Error(needs)
  return path
}

function isExecutable (path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
