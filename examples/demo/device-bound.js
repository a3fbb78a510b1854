'use strict'

// Over https, browsers that support it (Chrome on Windows and macOS) bind the session of a login to the device. A copy of its
// cookie is then useless. docs/device-bound.md says how to see this in Chromium on Linux.

const { subscribe } = require('node:diagnostics_channel')
const deviceBound = require('@fastify/session/device-bound')

module.exports = function bindToDevices (app) {
  // The option `user` decides which sessions are bound.
  app.register(deviceBound, { enforce: 'require' })
  subscribe('@fastify/session:security', ({ reason, fingerprint }) => {
    if (reason.endsWith('device-proof')) app.log.warn({ fingerprint }, `refused a session: ${reason}`)
  })
}
