'use strict'

// How a group of contestants is measured: in rounds in which each has its turn, so that all see the same machine. Answers
// the figures of each, round by round.

const autocannon = require('autocannon')
const { quantile } = require('./statistics')

const CONNECTIONS = 32
// Until all connections are there, and for all of it, in seconds.
const LONGEST = 60

/** CPU per request, in microseconds. */
async function measureCpu (workers, { rounds, ms, longest }) {
  const counts = new Map()
  for (const worker of workers) counts.set(worker, (await worker.ask('warm', { ms, longest })).count)
  return inRounds(workers, rounds, async worker => {
    const count = counts.get(worker)
    const { cpu } = await worker.ask('run', { count })
    return { cpu: cpu / count }
  })
}

/** Requests per second, latency in milliseconds, and CPU per request; the load comes from this process. */
async function measureHttp (workers, { rounds, ms }) {
  const targets = new Map()
  for (const worker of workers) {
    targets.set(worker, await worker.ask('target'))
    await load(targets.get(worker), ms)
  }
  return inRounds(workers, rounds, async worker => {
    await worker.ask('clear')
    const before = await worker.ask('cpu')
    const { count, seconds, latencies } = await load(targets.get(worker), ms)
    const after = await worker.ask('cpu')
    return {
      cpu: (after.cpu - before.cpu) / count,
      perSecond: count / seconds,
      p50: quantile(latencies, 0.5),
      p99: quantile(latencies, 0.99)
    }
  })
}

/**
 * Asks for so many milliseconds, counted from when each connection has had its first answer.
 *
 * @param onSteady is called then
 */
async function load ({ protocol, port, url, cookies }, ms, connections = CONNECTIONS, onSteady = () => {}) {
  const requests = cookies.map(cookie => ({ path: url, ...(cookie && { headers: { cookie } }) }))
  const share = Math.ceil(requests.length / connections)
  let clients = 0
  const instance = autocannon({
    url: `${protocol}://127.0.0.1:${port}`,
    requests: requests.slice(0, 1),
    connections,
    duration: LONGEST,
    timeout: LONGEST,
    sampleInt: 100,
    // Each connection has visitors of its own. Giving each all visitors takes half a minute for a thousand connections.
    setupClient (client) {
      const first = clients++ * share % requests.length
      client.setRequests(requests.slice(first, first + share))
      // All connect before the first request. A busy server accepts so few that the last would wait for a minute.
      if (clients === connections) setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, connections))
    }
  })
  // Its own latencies are whole milliseconds.
  const latencies = []
  const open = new Set()
  let begun
  let last
  instance.on('response', (client, _status, _bytes, latency) => {
    last = performance.now()
    if (begun !== undefined) latencies.push(latency)
    else if (open.add(client).size === connections) {
      begun = last
      setTimeout(() => instance.stop(), ms)
      onSteady()
    }
  })
  const { non2xx, errors, timeouts } = await instance
  if (non2xx + errors + timeouts > 0) throw new Error(`${non2xx} bad answers, ${errors} errors, ${timeouts} timeouts`)
  return { count: latencies.length, seconds: (last - begun) / 1000, latencies }
}

async function inRounds (workers, rounds, measure) {
  const figures = new Map(workers.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < workers.length; i++) {
      const worker = workers[(round + i) % workers.length]
      figures.get(worker.name).push(await measure(worker))
    }
  }
  return figures
}

const ways = {
  hooks: { title: 'The hooks alone', measure: measureCpu },
  inject: { title: '`inject`', measure: measureCpu },
  http: { title: 'Over HTTP', measure: measureHttp }
}

module.exports = { ways, measureCpu, load }
