'use strict'

const { fork } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')

const execArgv = ['--expose-gc', '--no-warnings', '--max-old-space-size=12000']

/** Runs a file of this folder in a process of its own, and resolves with what it sends. */
function runIn (file, job) {
  return new Promise((resolve, reject) => {
    const child = fork(path.join(__dirname, file), [JSON.stringify(job)], { execArgv })
    child.on('message', result => {
      child.removeAllListeners('exit').on('exit', () => resolve(result))
    })
    child.on('exit', (code, signal) => reject(new Error(`${file} ended with ${code ?? signal}: ${JSON.stringify(job)}`)))
  })
}

/** Starts a contestant in a process of its own. `ask` sends it an action (see worker.js) and resolves with the answer. */
async function startWorker (job) {
  const child = fork(path.join(__dirname, 'worker.js'), [JSON.stringify(job)], { execArgv })
  let settle
  const answer = () => new Promise((resolve, reject) => { settle = { resolve, reject } })
  child.on('message', message => settle.resolve(message))
  child.on('exit', (code, signal) => settle.reject(new Error(`worker ended with ${code ?? signal}: ${JSON.stringify(job)}`)))
  await answer()
  return {
    name: job.contestant,
    ask (action, what) {
      const answered = answer()
      child.send({ action, ...what })
      return answered
    },
    /** Resolves when the process has ended. Until then it needs its Redis. */
    async stop () {
      child.removeAllListeners('exit')
      const exited = once(child, 'exit')
      child.disconnect()
      await exited
    }
  }
}

module.exports = { runIn, startWorker }
