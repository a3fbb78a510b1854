'use strict'

// Runs the same small application twice beside the demo: on version 11.1.3 of the library, and on this version.

const { shop } = require('./shop')

// What `npm ci` has installed, each under its own version number.
const LIBRARIES = ['upstream-session', '@fastify/session'].map(name => {
  const { version } = require(`${name}/package.json`)
  return { name, version, prefix: `/proof/${version}` }
})

function addProof (app) {
  for (const { name, prefix } of LIBRARIES) {
    const beside = shop(require(name), prefix)
    app.all(`${prefix}/*`, {
      config: { session: false },
      // Before the body is read. From here on, the other application handles the request.
      onRequest (request, reply) {
        reply.hijack()
        beside.routing(request.raw, reply.raw)
      }
    }, () => {})
    app.addHook('onReady', async () => { await beside.ready() })
    app.addHook('onClose', () => beside.close())
  }
}

module.exports = { addProof, LIBRARIES }
