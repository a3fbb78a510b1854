'use strict'

// Requests without a network: what Fastify and express look at of a request and a response, and nothing else.

const { EventEmitter } = require('node:events')

// As many as are under way at once on a busy server, where the store answers later.
const IN_FLIGHT = 16
// A turn of the event loop after as many, so that what waits for one gets it.
const BURST = 50

const socket = { encrypted: false, remoteAddress: '127.0.0.1' }

class Request extends EventEmitter {
  constructor (url, cookie) {
    super()
    this.method = 'GET'
    this.url = url
    this.headers = cookie === undefined ? { host: 'a.org' } : { host: 'a.org', cookie }
    this.httpVersionMajor = 1
    this.socket = this.connection = socket
    this.complete = true
  }
}

class Response extends EventEmitter {
  constructor (onEnd) {
    super()
    this.statusCode = 200
    this.headers = {}
    this.headersSent = false
    this.writableEnded = false
    this.body = ''
    this.onEnd = onEnd
  }

  // Node's own sign that the head is written, which express-session looks at.
  get _header () {
    return this.headersSent
  }

  _implicitHeader () {
    this.writeHead(this.statusCode)
  }

  getHeader (name) {
    return this.headers[name.toLowerCase()]
  }

  getHeaders () {
    return this.headers
  }

  hasHeader (name) {
    return this.headers[name.toLowerCase()] !== undefined
  }

  setHeader (name, value) {
    this.headers[name.toLowerCase()] = value
    return this
  }

  removeHeader (name) {
    delete this.headers[name.toLowerCase()]
  }

  writeHead (statusCode, headers) {
    this.statusCode = statusCode
    this.headersSent = true
    // In lower case already, as Fastify keeps them.
    if (headers !== undefined) Object.assign(this.headers, headers)
    return this
  }

  write (chunk) {
    if (!this.headersSent) this._implicitHeader()
    this.body += chunk
    return true
  }

  end (chunk) {
    if (chunk) this.write(chunk)
    else if (!this.headersSent) this._implicitHeader()
    this.writableEnded = true
    this.emit('finish')
    this.onEnd(this)
    return this
  }
}

/**
 * Sends `count` requests and resolves when all are answered.
 *
 * @param send starts the request with that number, and calls back with its response
 * @param inFlight how many are under way at most
 */
function drive (count, send, inFlight = IN_FLIGHT) {
  return new Promise((resolve, reject) => {
    let started = 0
    let answered = 0
    let isStarting = false

    function start () {
      isStarting = true
      for (let burst = 0; started < count && started - answered < inFlight; burst++) {
        if (burst === BURST) {
          setImmediate(start)
          break
        }
        send(started++, onAnswer)
      }
      isStarting = false
    }

    function onAnswer (response) {
      if (response.statusCode !== 200) {
        reject(new Error(`status ${response.statusCode}: ${response.body}`))
        return
      }
      answered++
      if (answered === count) resolve()
      else if (!isStarting) start()
    }

    start()
  })
}

module.exports = { Request, Response, drive, IN_FLIGHT }
