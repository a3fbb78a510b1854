'use strict'

const { execFileSync, spawn } = require('node:child_process')
const { once } = require('node:events')
const { chownSync, mkdtempSync, rmSync } = require('node:fs')
const { createServer } = require('node:net')
const { tmpdir } = require('node:os')
const { join } = require('node:path')
const { findPostgres } = require('../scripts/requirements')

const TIME_LIMIT = 60_000

/** A PostgreSQL of our own, which ends with this process, in a folder of its own. It counts its statements. */
async function startPostgres () {
  const dir = mkdtempSync(join(tmpdir(), 'session-benchmark-'))
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
  // PostgreSQL refuses to run as root.
  const [uid, gid] = process.getuid?.() === 0
    ? ['-u', '-g'].map(flag => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' })))
    : []
  if (uid !== undefined) chownSync(dir, uid, gid)
  const options = { uid, gid, cwd: dir }
  execFileSync(findPostgres('initdb'), ['-D', dir, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'], options)
  const port = await freePort()
  const settings = ['fsync=off', 'shared_preload_libraries=pg_stat_statements', 'autovacuum=off', 'full_page_writes=off']
  const args = ['-D', dir, '-p', port, '-h', '127.0.0.1', '-k', '', ...settings.flatMap(setting => ['-c', setting])]
  const server = spawn(findPostgres('postgres'), args, { ...options, stdio: ['ignore', 'ignore', 'pipe'] })
  const end = () => server.kill('SIGQUIT')
  process.on('exit', end)
  // A signal alone would leave it behind.
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
  await isReady(server)
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    async stop () {
      server.removeAllListeners('exit')
      end()
      await once(server, 'exit')
    }
  }
}

function isReady (server) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('postgres does not start')), TIME_LIMIT)
    let output = ''
    server.stderr.on('data', chunk => {
      output += chunk
      if (!output.includes('ready to accept connections')) return
      clearTimeout(timer)
      server.stderr.removeAllListeners('data').resume()
      resolve()
    })
    server.on('error', reject)
    server.on('exit', () => reject(new Error(`postgres ended: ${output}`)))
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

module.exports = { startPostgres }
