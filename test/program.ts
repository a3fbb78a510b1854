/** Starts programs as a reader or a service manager does. Examples and the demo require the built package. */
import { execFile, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { within } from './waiting'

export const ROOT = resolve(__dirname, '..')

// A plain Node.js, as readers have it. Tap puts its loader into the NODE_OPTIONS of every child, whatever `env` says, and
// would include the built package in the sources that tests must cover.
const NODE = ['-u', 'NODE_OPTIONS', process.execPath]
const CONDUCTED = join(__dirname, 'conducted.js')
const { PATH } = process.env

const running = new Map<ChildProcess, NodeJS.Signals>()
const killAll = (): void => { for (const [child, signal] of running) child.kill(signal) }
process.once('exit', killAll)
// For a test that ends before its teardowns run: tap sends SIGALRM if it takes too long.
for (const signal of ['SIGALRM', 'SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    killAll()
    process.kill(process.pid, signal)
  })
}

export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

export interface ProgramOptions extends Pick<SpawnOptions, 'cwd' | 'uid' | 'gid'> {
  /** Its whole environment, apart from the PATH. */
  env?: NodeJS.ProcessEnv
  /** Whether it can send messages. */
  hasChannel?: boolean
  /** The signal that ends it with the test. */
  lastSignal?: NodeJS.Signals
  /** What the error says if the program is missing. */
  needs?: string
}

/** A process that a test started. It ends with the test at the latest. */
export class Program {
  stdout = ''
  stderr = ''
  /** The last message that it sent. */
  message: any
  readonly ended: Promise<Ended>
  readonly #name: string
  readonly #child: ChildProcess

  constructor (t: Pick<Test, 'teardown'>, command: string, args: string[], options: ProgramOptions = {}) {
    const { env, hasChannel = false, lastSignal = 'SIGKILL', needs, ...more } = options
    this.#name = [command, ...args].join(' ')
    const child = this.#child = spawn(command, args, {
      cwd: ROOT, ...more, env: { PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe', ...(hasChannel ? ['ipc' as const] : [])]
    })
    running.set(child, lastSignal)
    child.once('exit', () => running.delete(child))
    child.stdout?.on('data', chunk => { this.stdout += chunk })
    child.stderr?.on('data', chunk => { this.stderr += chunk })
    child.on('message', message => { this.message = message })
    this.ended = once(child, 'close').then(([code]) => ({ code, stdout: this.stdout, stderr: this.stderr }), cause => {
      running.delete(child)
      throw new Error(needs ?? `can't start ${this.#name}`, { cause })
    })
    // Callers that wait for the end get the error too. This handler is for the case that none does.
    this.ended.catch(() => {})
    t.teardown(() => this.end(lastSignal).catch(() => {}))
  }

  /** Waits for its end, after a signal if one is given. */
  async end (signal?: NodeJS.Signals): Promise<Ended> {
    if (signal !== undefined && running.has(this.#child)) this.#child.kill(signal)
    return await within(`${this.#name} ends`, this.ended, () => this.#output)
  }

  /** Sends a signal without waiting for the end. */
  signal (signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Waits until a complete line of its output matches, and returns the match. */
  async says (pattern: RegExp): Promise<string> {
    const said = (): string | undefined => pattern.exec(wholeLines(this.stdout))?.[0]
    return await this.#next(this.#child.stdout, 'data', said, `${pattern}`)
  }

  /** The same for its error output. */
  async complains (pattern: RegExp): Promise<string> {
    const said = (): string | undefined => pattern.exec(wholeLines(this.stderr))?.[0]
    return await this.#next(this.#child.stderr, 'data', said, `${pattern}`)
  }

  /** Waits until the last message that it sent is a wanted one, and returns it. */
  async sends (what: string, isWanted: (message: any) => boolean): Promise<any> {
    const wanted = (): any => this.message !== undefined && isWanted(this.message) ? this.message : undefined
    return await this.#next(this.#child, 'message', wanted, what)
  }

  tell (message: object): void {
    this.#child.send(message)
  }

  get #output (): string {
    return `${this.stdout}${this.stderr}`
  }

  /** Calls `look` now and at each event, until it returns something. */
  async #next<T> (emitter: NodeJS.EventEmitter | null, event: string, look: () => T | undefined, what: string): Promise<T> {
    let listen = (): void => {}
    const found = new Promise<T>((resolve, reject) => {
      listen = () => {
        const value = look()
        if (value !== undefined) resolve(value)
      }
      emitter?.on(event, listen)
      this.ended.then(() => {
        listen()
        reject(new Error(`${this.#name} ended without ${what}: ${this.#output}`))
      }, reject)
      listen()
    })
    return await within(`${what} from ${this.#name}`, found, () => this.#output).finally(() => emitter?.off(event, listen))
  }
}

function wholeLines (text: string): string {
  return text.slice(0, text.lastIndexOf('\n') + 1)
}

/** Starts a file with Node.js, on a free port. */
export function start (t: Test, file: string, env: NodeJS.ProcessEnv = {}, nodeOptions: string[] = []): Program {
  return new Program(t, 'env', [...NODE, ...nodeOptions, file], { env: { PORT: '0', ...env } })
}

/** Starts a server, and waits until it prints its address. */
export async function serve (...args: Parameters<typeof start>): Promise<{ program: Program, address: string }> {
  const program = start(...args)
  return { program, address: await program.says(/https?:\/\/\S+/) }
}

/** Starts a program whose time the test controls: its clock stands still, and its timers wait until the test wakes them. */
export function conduct (t: Test, file: string, env: NodeJS.ProcessEnv = {}): Conducted {
  return new Conducted(t, 'env', [...NODE, '-r', CONDUCTED, file], { env: { PORT: '0', ...env }, hasChannel: true })
}

export class Conducted extends Program {
  async advance (milliseconds: number): Promise<void> {
    const passed = (this.message?.passed ?? 0) + milliseconds
    this.tell({ advance: milliseconds })
    await this.sends(`${passed} ms passed`, message => message.passed === passed)
  }

  /** Resolves as soon as that many timers have been started. */
  async asleep (count: number): Promise<void> {
    await this.sends(`${count} asleep`, message => message.asleep >= count)
  }

  wake (): void {
    this.tell({ wake: true })
  }
}

/** A server for tests, with a channel: see `test/processes`. */
export function startWithChannel (t: Test, file: string, args: string[], env: NodeJS.ProcessEnv = {}): Program {
  return new Program(t, 'env', [...NODE, file, ...args], { env, hasChannel: true })
}

/** Stops a program as a service manager does, and checks that it ends as it should. */
export async function stop (t: Test, program: Program, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  const { code, stderr } = await program.end(signal)
  t.equal(code, 0, `exit code after ${signal}`)
  t.equal(stderr, '', 'no warnings')
}

/** Compiles a project. */
export async function tsc (project: string): Promise<void> {
  await promisify(execFile)('env', [...NODE, require.resolve('typescript/bin/tsc'), '-p', project], { cwd: ROOT })
    .catch(error => { throw new Error(`tsc -p ${project}: ${error.stdout}`) })
}
