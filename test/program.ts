/** Examples and the demo as a reader starts them, and a browser as far as sessions go. They require the built package. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Test } from 'tap'

export const ROOT = resolve(__dirname, '..')
const START = 20_000

// A plain Node.js, as a reader has it. Tap puts its loader into the NODE_OPTIONS of every child, whatever `env` says, and
// would count the built package among the sources that the tests must cover.
const NODE = ['-u', 'NODE_OPTIONS', process.execPath]
const { PATH } = process.env

export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

/** A process of ours. It is ended by its own id, at the latest with the test. */
export class Program {
  stdout = ''
  stderr = ''
  readonly #child: ChildProcess
  readonly #ended: Promise<Ended>

  /** Has nothing in its environment but what it is given. */
  constructor (t: Test, command: string, args: string[], env: NodeJS.ProcessEnv = {}) {
    this.#child = spawn(command, args, { cwd: ROOT, env: { PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child.stdout?.on('data', chunk => { this.stdout += chunk })
    this.#child.stderr?.on('data', chunk => { this.stderr += chunk })
    this.#ended = once(this.#child, 'close')
      .then(([code]) => ({ code, stdout: this.stdout, stderr: this.stderr }))
    // Whoever waits for the end gets the error too; nobody may be waiting yet.
    this.#ended.catch(() => {})
    t.teardown(() => this.end('SIGKILL').catch(() => {}))
  }

  /** The end, after a signal or by itself. */
  async end (signal?: NodeJS.Signals): Promise<Ended> {
    if (signal !== undefined && this.#child.exitCode === null) this.#child.kill(signal)
    return await this.#ended
  }

  /** A signal that is no end, or whose end somebody else waits for. */
  signal (signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** What the program says that matches, as soon as it says so. */
  async says (pattern: RegExp): Promise<string> {
    return await this.#waitFor(pattern, 'stdout')
  }

  /** The same, of its errors. */
  async complains (pattern: RegExp): Promise<string> {
    return await this.#waitFor(pattern, 'stderr')
  }

  async #waitFor (pattern: RegExp, stream: 'stdout' | 'stderr'): Promise<string> {
    const stopped = this.#ended.then(({ stdout, stderr }) => {
      throw new Error(`ended without ${pattern}: ${stdout}${stderr}`)
    })
    stopped.catch(() => {})
    for (const deadline = Date.now() + START; Date.now() < deadline;) {
      const said = pattern.exec(this[stream])
      if (said !== null) return said[0]
      await Promise.race([stopped, sleep(20)])
    }
    throw new Error(`did not say ${pattern} in time: ${this.stdout}${this.stderr}`)
  }
}

/** Starts a file with Node.js, on a free port. */
export function start (t: Test, file: string, env: NodeJS.ProcessEnv = {}, nodeOptions: string[] = []): Program {
  return new Program(t, 'env', [...NODE, ...nodeOptions, file], { PORT: '0', ...env })
}

/** What a service manager does, and what the program must answer with. */
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

/** A browser, as far as sessions go. */
export class Browser {
  /** The last Set-Cookie header, as it came. Of several, the first. */
  setCookie = ''
  readonly #cookies = new Map<string, string>()

  constructor (readonly address: string) {}

  /** The Cookie header. */
  get cookie (): string {
    return [...this.#cookies.values()].join('; ')
  }

  set cookie (header: string) {
    this.#cookies.clear()
    for (const pair of header.split('; ')) this.#keep(pair)
  }

  async get (path: string, init: RequestInit = {}): Promise<Response> {
    const response = await fetch(this.address + path, {
      ...init,
      redirect: 'manual',
      headers: { ...(this.cookie !== '' && { cookie: this.cookie }), ...init.headers }
    })
    const setCookies = response.headers.getSetCookie()
    this.setCookie = setCookies[0] ?? this.setCookie
    for (const setCookie of setCookies) {
      const [pair] = setCookie.split(';', 1) as [string]
      if (setCookie.includes('Max-Age=0')) this.#cookies.delete(nameIn(pair))
      else this.#keep(pair)
    }
    return response
  }

  async text (path: string): Promise<string> {
    return await (await this.get(path)).text()
  }

  /** Sends a form. */
  async post (path: string, fields = {}, headers = {}): Promise<Response> {
    return await this.get(path, { method: 'POST', body: new URLSearchParams(fields), headers })
  }

  async status (path: string): Promise<number> {
    const response = await this.get(path)
    await response.arrayBuffer()
    return response.status
  }

  /** Someone with a copy of this browser's cookies. */
  copy (): Browser {
    const copy = new Browser(this.address)
    copy.cookie = this.cookie
    return copy
  }

  #keep (pair: string): void {
    if (pair !== '') this.#cookies.set(nameIn(pair), pair)
  }
}

function nameIn (pair: string): string {
  return pair.slice(0, pair.indexOf('='))
}
