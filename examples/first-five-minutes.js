'use strict'

// A counter for each visitor: the smallest thing that needs a session.
//
//   node examples/first-five-minutes.js
//   curl -c jar -b jar http://127.0.0.1:3000      (more than once; curl keeps its cookies in the jar)

const fastify = require('fastify')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')

const app = fastify()

// 1. Sessions need cookies.
app.register(fastifyCookie)

// 2. The secret signs the cookie, so that nobody can make one up. Take yours from the environment, never from a file
//    like this one. `secure: 'auto'` also sends the cookie over plain http, which you use on your laptop.
app.register(fastifySession, {
  secret: process.env.SESSION_SECRET || 'for this example only: at least 32 characters',
  cookie: { secure: 'auto' }
})

// 3. `request.session` belongs to the visitor. What you store in it is there again at the next request.
app.get('/', async (request) => {
  request.session.visits = (request.session.visits ?? 0) + 1
  return `This is your visit number ${request.session.visits}.\n`
})

// Ctrl-C, or the SIGTERM of a service manager: requests under way are answered, then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

app.listen({ port: Number(process.env.PORT || 3000) }).then(address => console.log(address))
