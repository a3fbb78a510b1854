'use strict'

/**
 * Required before a program, it leaves the time to the test: the clock moves when the test says so, and whatever sleeps in
 * it (`setTimeout` of `node:timers/promises`) sleeps until the test wakes it. It tells the test each time something happens.
 */
const timers = require('node:timers/promises')
const { stopClock } = require('tsx/cjs/api').require('../src/testing/context', __filename)

const clock = stopClock({ after () {} })
const sleepers = []
let asleep = 0

timers.setTimeout = () => new Promise(resolve => {
  asleep++
  sleepers.push(resolve)
  tell()
})

function tell () {
  process.send({ asleep, passed: clock.passed })
}

process.on('message', ({ advance, wake }) => {
  if (wake) for (const resolve of sleepers.splice(0)) resolve()
  if (advance) clock.advance(advance)
  tell()
})
process.channel.unref()
