'use strict'

// Changes the secret without logging anyone out and without a restart. The secrets are in a file, one per line, the newest
// first. SIGHUP reads the file again.
//
//   openssl rand -hex 32 > secrets
//   SECRETS_FILE=secrets node examples/rotating-secrets.js
//   curl -c jar -b jar -d name=ada http://127.0.0.1:3000/login
//   (openssl rand -hex 32; cat secrets) > new && mv new secrets && kill -HUP <the process id that it printed>
//   curl -c jar -b jar -i http://127.0.0.1:3000/      (still logged in; the cookie is signed again)

const { readFileSync } = require('node:fs')
const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifyFormbody = require('@fastify/formbody')
const fastifySession = require('@fastify/session')

function readSecrets () {
  const secrets = readFileSync(process.env.SECRETS_FILE || 'secrets', 'utf8').split('\n').filter(line => line !== '')
  if (secrets.length === 0 || secrets.some(secret => secret.length < 32)) throw new Error('a secret of 32 or more characters is needed')
  return secrets
}

// 1. The first secret signs, all of them verify. The library reads this array at each request.
const secrets = readSecrets()

const app = fastify()

app.register(fastifyFormbody)
app.register(fastifyCookie)
app.register(fastifySession, {
  secret: secrets,
  saveUninitialized: false,
  cookie: { secure: 'auto', sameSite: 'lax', maxAge: 8 * 60 * 60 * 1000 }
})

// 2. Replaces the contents of the same array in one step. An invalid file changes nothing.
process.on('SIGHUP', () => {
  try {
    secrets.splice(0, secrets.length, ...readSecrets())
    console.log(`secrets read: ${secrets.length}`)
  } catch (error) {
    console.log(`secrets not read: ${error.message}`)
  }
})

// 3. While the old secret is second, each visitor who comes gets a cookie signed with the new one. Remove the old one from
//    the file when the sessions from its time have ended: here, eight hours after the rotation. If several processes share
//    the sessions, first add the new one at the end of the list, and move it to the front when all processes have it.

app.post('/login', async (request, reply) => {
  if (!request.body?.name) return reply.code(400).send('Please give a name.\n')
  await request.session.regenerate()
  request.session.name = request.body.name
  return `Welcome, ${request.session.name}.\n`
})

app.get('/', async (request) => `Hello, ${request.session.name ?? 'stranger'}.\n`)

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(`${address} (process ${process.pid})`))
