'use strict'

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const { createServer } = require('node:net')

const TIME_LIMIT = 10_000

/** A Redis of our own, which keeps nothing on the disk and ends with this process. */
async function startRedis () {
  const port = await freePort()
  const server = spawn('redis-server', ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'])
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
