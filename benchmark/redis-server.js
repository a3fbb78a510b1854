'use strict'

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const { mkdtempSync, rmSync } = require('node:fs')
const { createServer } = require('node:net')
const { tmpdir } = require('node:os')
const { join } = require('node:path')

const TIME_LIMIT = 10_000

/**
 * A Redis of our own, which ends with this process, in a folder of its own. Unless the arguments say otherwise, it
 * keeps nothing on the disk.
 */
async function startRedis ({ command = 'redis-server', args = [] } = {}) {
  const port = await freePort()
  const dir = mkdtempSync(join(tmpdir(), 'session-benchmark-'))
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
  const server = spawn(command, [
    '--port', port, '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'no', ...args
  ])
  const stop = () => server.kill('SIGKILL')
  process.on('exit', stop)
  // A signal alone would leave it behind.
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
  await isReady(server)
  return {
    port,
    async stop () {
      process.off('exit', stop)
      stop()
      await once(server, 'exit')
    }
  }
}

function isReady (server) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('redis-server does not start')), TIME_LIMIT)
    let output = ''
    server.stdout.on('data', chunk => {
      output += chunk
      if (!output.includes('Ready to accept connections')) return
      clearTimeout(timer)
      server.stdout.removeAllListeners('data').resume()
      resolve()
    })
    server.on('error', reject)
    server.on('exit', () => reject(new Error(`redis-server ended: ${output}`)))
  })
}

async function freePort () {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return String(port)
}

module.exports = { startRedis }
