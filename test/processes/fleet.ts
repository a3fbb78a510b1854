/** The processes behind the load balancer, and the load balancer. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request as httpRequest } from 'node:http'
import { join } from 'node:path'
import type { Test } from 'tap'

/** What `test/processes/server.js` can keep its sessions in. */
export type Backend = 'node-redis' | 'ioredis Cluster' | 'version 11'

export interface Question {
  path: string
  body?: object
  cookie?: string
  /** Until when it is held up on purpose. */
  heldUntil?: Promise<void>
}

export interface Reply {
  status: number
  body: string
  setCookies: string[]
}

// Tap puts its loader into the NODE_OPTIONS of every child, whatever `env` says.
const NODE = ['-u', 'NODE_OPTIONS', process.execPath]
const HUNG = 60_000

/** No reply within a minute. */
export class HungError extends Error {}

/** There is nobody left to ask. */
export class AllGoneError extends Error {}

/** The process was gone: nothing was asked of it. */
class RefusedError extends Error {}

export class Fleet {
  /** All that the processes wrote, to the log and elsewhere. */
  output = ''
  /** Processes that ended and were not told to. */
  crashes = 0
  readonly #t: Test
  readonly #args: string[]
  readonly #members: Member[] = []
  #turn = 0

  constructor (t: Test, backend: Backend, urls: string[]) {
    this.#t = t
    this.#args = [...NODE, join(__dirname, 'server.js'), backend, ...urls]
  }

  async start (count: number): Promise<void> {
    this.#members.push(...await Promise.all(Array.from({ length: count }, () => this.#startMember())))
  }

  get members (): readonly Member[] {
    return this.#members
  }

  next (): Member {
    return this.#member(this.#turn++)
  }

  /** Ends one process in the middle of what it does. */
  async kill (index: number): Promise<void> {
    await this.#members[index]?.kill()
  }

  /** A new process in the place of one that was killed. */
  async replace (index: number): Promise<void> {
    this.#members[index] = await this.#startMember()
  }

  /** Asks the next process; the one after it where that one is gone. */
  async ask (question: Question): Promise<Reply> {
    const first = this.#turn++
    for (let i = 0; i < this.#members.length; i++) {
      try {
        return await this.#member(first + i).ask(question)
      } catch (error) {
        if (!(error instanceof RefusedError)) throw error
      }
    }
    throw new AllGoneError('all processes are gone')
  }

  #member (turn: number): Member {
    return this.#members[turn % this.#members.length] as Member
  }

  async #startMember (): Promise<Member> {
    const child = spawn('env', this.#args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    const member = new Member(child)
    this.#t.teardown(() => member.kill())
    child.once('exit', () => { if (!member.wasKilled) this.crashes++ })
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', chunk => { this.output += chunk })
    await member.start(() => this.output)
    return member
  }
}

/** One process. */
export class Member {
  wasKilled = false
  readonly #child: ChildProcess
  readonly #agent = new Agent({ keepAlive: true })
  #port = 0

  constructor (child: ChildProcess) {
    this.#child = child
  }

  async start (output: () => string): Promise<void> {
    const ended = once(this.#child, 'close').then(() => { throw new Error(`ended before it was ready: ${output()}`) })
    ended.catch(() => {})
    const [{ port }] = await Promise.race([once(this.#child, 'message'), ended]) as [{ port: number }]
    this.#port = port
  }

  async kill (): Promise<void> {
    if (this.wasKilled) return
    this.wasKilled = true
    this.#agent.destroy()
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }

  /** One request. Rejects where the process goes away before it has replied: nobody can say then whether it was done. */
  ask ({ path, body, cookie, heldUntil = Promise.resolve() }: Question): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        host: '127.0.0.1',
        port: this.#port,
        path,
        agent: this.#agent,
        method: body === undefined ? 'GET' : 'POST',
        headers: {
          ...(cookie !== undefined && { cookie: `sessionId=${cookie}` }),
          ...(body !== undefined && { 'content-type': 'application/json' })
        }
      })
      let isOver = false
      let patience: NodeJS.Timeout | undefined
      heldUntil.then(() => {
        if (!isOver) patience = setTimeout(() => request.destroy(new HungError(path)), HUNG)
      })
      const end = (): void => {
        isOver = true
        clearTimeout(patience)
      }
      const fail = (error: NodeJS.ErrnoException): void => {
        end()
        reject(error.code === 'ECONNREFUSED' ? new RefusedError(path) : error)
      }
      request.once('error', fail)
      request.once('response', response => {
        const chunks: Buffer[] = []
        response.on('data', chunk => chunks.push(chunk))
        response.once('error', fail)
        response.once('end', () => {
          end()
          resolve({
            status: response.statusCode as number,
            body: Buffer.concat(chunks).toString(),
            setCookies: response.headers['set-cookie'] ?? []
          })
        })
      })
      request.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }
}
