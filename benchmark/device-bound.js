'use strict'

// What a request pays for @fastify/session/device-bound: node benchmark/device-bound.js
//
// Requests by inject() that read a session of a MemoryStore: without the plugin, with it and a session that isn't bound, and
// with one that is. The three take turns, so they share each moment of the machine. Prints processor time, of the fastest
// tenth of the rounds.

const { generateKeyPairSync, sign } = require('node:crypto')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')
const deviceBound = require('@fastify/session/device-bound')

const ROUNDS = 200
const REQUESTS = 500
const secret = 'a secret with minimum length of 32 characters'
const headers = { 'x-forwarded-proto': 'https' }

async function contestant (isRegistered, isBound) {
  const app = fastify({ trustProxy: true })
  await app.register(fastifyCookie)
  await app.register(fastifySession, { secret, saveUninitialized: false, cookie: { maxAge: 3_600_000 } })
  if (isRegistered) await app.register(deviceBound, { when: session => session.user !== undefined })
  app.get('/login', async request => { request.session.user = 'ada' })
  app.get('/read', (request, reply) => { reply.send(request.session.user) })
  const login = await app.inject({ url: '/login', headers })
  const cookies = [cookieOf(login)]
  if (isBound) cookies.push(cookieOf(await register(app, cookies[0], login.headers['secure-session-registration'])))
  const request = { url: '/read', headers: { ...headers, cookie: cookies.join('; ') } }
  return async () => {
    const begun = process.cpuUsage()
    for (let i = 0; i < REQUESTS; i++) if ((await app.inject(request)).body !== 'ada') throw new Error('nobody')
    const { user, system } = process.cpuUsage(begun)
    return (user + system) / REQUESTS
  }
}

const cookieOf = ({ headers }) => [headers['set-cookie']].flat()[0].split(';')[0]
const encoded = value => Buffer.from(JSON.stringify(value)).toString('base64url')

function register (app, cookie, offer) {
  const [, url, jti] = /path="(.+?)";challenge="(.+?)"/.exec(offer)
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const text = `${encoded({ alg: 'ES256', typ: 'dbsc+jwt', jwk: publicKey.export({ format: 'jwk' }) })}.${encoded({ jti })}`
  const signature = sign('sha256', text, { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')
  return app.inject({ method: 'POST', url, headers: { ...headers, cookie, 'secure-session-response': `"${text}.${signature}"` } })
}

async function main () {
  const ways = { 'without the plugin': [false, false], 'with it, not bound': [true, false], 'with it, bound': [true, true] }
  const contestants = []
  for (const [name, how] of Object.entries(ways)) contestants.push({ name, run: await contestant(...how), times: [] })
  for (const { run } of contestants) await run()
  for (let round = 0; round < ROUNDS; round++) {
    for (const { run, times } of contestants) times.push(await run())
  }
  // What else runs on the machine makes rounds slower, and none faster.
  const fast = times => times.toSorted((a, b) => a - b)[Math.floor(times.length / 10)]
  const [least] = contestants.map(({ times }) => fast(times))
  console.log('| a request that reads, by `inject()`, MemoryStore | CPU time, µs | more than without, µs |\n|---|---|---|')
  for (const { name, times } of contestants) console.log(`| ${name} | ${fast(times).toFixed(1)} | ${(fast(times) - least).toFixed(1)} |`)
}

main()
