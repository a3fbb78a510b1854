/** A proxy to a server, which counts everything that the client sends. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import type { Test } from 'tap'

export class Wire {
  /** The commands that the client sent, with their arguments. */
  readonly commands: string[][] = []
  /** How many bytes the client sent. */
  bytes = 0
  /** How often the client sent something for the first time, or after an answer of the server. */
  roundTrips = 0
  readonly port: number

  /** Opens a proxy to the server with this port. */
  static async to (t: Test, port: number): Promise<Wire> {
    const server = createServer()
    const wire = await new Promise<Wire>(resolve => {
      server.listen(0, '127.0.0.1', () => resolve(new Wire((server.address() as AddressInfo).port)))
    })
    server.on('connection', near => {
      const far = connect(port, '127.0.0.1')
      let unread = Buffer.alloc(0)
      let waits = false
      near.on('data', bytes => {
        wire.bytes += bytes.length
        if (!waits) wire.roundTrips++
        waits = true
        unread = wire.#read(Buffer.concat([unread, bytes]))
        far.write(bytes)
      })
      far.on('data', bytes => {
        waits = false
        near.write(bytes)
      })
      for (const [one, other] of [[near, far], [far, near]] as const) {
        one.on('error', () => {})
        one.on('close', () => other.destroy())
      }
      t.teardown(() => near.destroy())
    })
    t.teardown(async () => {
      server.close()
      await once(server, 'close')
    })
    return wire
  }

  private constructor (port: number) {
    this.port = port
  }

  get url (): string {
    return `redis://127.0.0.1:${this.port}`
  }

  reset (): void {
    this.commands.length = this.bytes = this.roundTrips = 0
  }

  /** Reads the complete commands: arrays of strings, each after its length. Returns the rest of the bytes. */
  #read (bytes: Buffer): Buffer<ArrayBuffer> {
    let at = 0
    const number = (): number => {
      const end = bytes.indexOf('\r\n', at)
      const value = end === -1 ? NaN : Number(bytes.toString('latin1', at + 1, end))
      at = end + 2
      return value
    }
    while (at < bytes.length) {
      const start = at
      const command: string[] = []
      let left = number()
      for (; left > 0; left--) {
        const length = number()
        if (!(at + length + 2 <= bytes.length)) break
        command.push(bytes.toString('utf8', at, at + length))
        at += length + 2
      }
      if (left !== 0) return Buffer.from(bytes.subarray(start))
      this.commands.push(command)
    }
    return Buffer.alloc(0)
  }
}
