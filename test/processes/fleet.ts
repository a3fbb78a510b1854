/** The processes behind the load balancer, and the load balancer. */
import { Agent, request as httpRequest } from 'node:http'
import { join } from 'node:path'
import type { Test } from 'tap'
import { startWithChannel, type Program } from '../program'

/** Where `test/processes/server.js` can keep its sessions. */
export type Backend = 'node-redis' | 'ioredis Cluster' | 'connect-redis' | 'connect-pg-simple' | 'postgres' | 'version 11'

export interface Question {
  path: string
  body?: object
  cookie?: string
  /** How long it is held up on purpose. */
  heldUntil?: Promise<void>
}

export interface Reply {
  status: number
  body: string
  setCookies: string[]
}

const HUNG = 60_000

/** No reply within a minute. */
export class HungError extends Error {}

/** No process is left to ask. */
export class AllGoneError extends Error {}

/** The process was gone, so it never got the request. */
class RefusedError extends Error {}

export class Fleet {
  /** How many processes ended although they weren't killed. */
  crashes = 0
  readonly #t: Test
  readonly #args: string[]
  readonly #env: NodeJS.ProcessEnv
  readonly #members: Member[] = []
  readonly #programs: Program[] = []
  #turn = 0

  /** @param storeTimeout in milliseconds */
  constructor (t: Test, backend: Backend, urls: string[], storeTimeout = 1000) {
    this.#t = t
    this.#args = [backend, ...urls]
    this.#env = { STORE_TIMEOUT: String(storeTimeout) }
  }

  async start (count: number): Promise<void> {
    this.#members.push(...await Promise.all(Array.from({ length: count }, () => this.#startMember())))
  }

  /** Everything that the processes wrote, to the log and elsewhere. */
  get output (): string {
    return this.#programs.map(({ stdout, stderr }) => stdout + stderr).join('')
  }

  get members (): readonly Member[] {
    return this.#members
  }

  next (): Member {
    return this.#member(this.#turn++)
  }

  /** Kills one process in the middle of its work. */
  async kill (index: number): Promise<void> {
    await this.#members[index]?.kill()
  }

  /** Starts a new process in place of one that was killed. */
  async replace (index: number): Promise<void> {
    this.#members[index] = await this.#startMember()
  }

  /** Asks the next process or, if that one is gone, the one after it. */
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
    const program = startWithChannel(this.#t, join(__dirname, 'server.js'), this.#args, this.#env)
    this.#programs.push(program)
    const { port } = await program.sends('its port', () => true)
    const member = new Member(program, port)
    program.ended.then(() => { if (!member.wasKilled) this.crashes++ })
    // Its end with the test isn't a crash.
    this.#t.teardown(() => member.kill())
    return member
  }
}

/** One process. */
export class Member {
  wasKilled = false
  readonly #program: Program
  readonly #agent = new Agent({ keepAlive: true })
  readonly #port: number

  constructor (program: Program, port: number) {
    this.#program = program
    this.#port = port
  }

  async kill (): Promise<void> {
    this.wasKilled = true
    this.#agent.destroy()
    await this.#program.end('SIGKILL')
  }

  /** Sends one request. Rejects if the process ends before it replies: then nobody can say whether the request was done. */
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
