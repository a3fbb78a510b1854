'use strict'

// Over https, browsers that can do it (Chrome on Windows and macOS) bind the session of a login to the device: a copy of its cookie
// is nobody's then. docs/device-bound.md says how to see it in Chromium on Linux.

const { subscribe } = require('node:diagnostics_channel')
const deviceBound = require('@fastify/session/device-bound')

module.exports = function bindToDevices (app) {
  // Which sessions, the option `user` says.
  app.register(deviceBound, { enforce: 'require' })
  subscribe('@fastify/session:security', ({ reason, fingerprint }) => {
    if (reason.endsWith('device-proof')) app.log.warn({ fingerprint }, `refused a session: ${reason}`)
  })
}
