// A reporter for tap that tells the process that started it of each file, as soon as the file has ended. A tap of its own
// would tell of files in their order, so nothing while the first, and longest, runs.

import { createRequire } from 'node:module'

const { checksOf } = createRequire(import.meta.url)('./results')
const watched = new WeakSet()

/** To tap it is a component of React, which renders nothing. */
export default function Reporter ({ test }) {
  if (watched.has(test)) return null
  watched.add(test)
  const files = new Map()
  test.on('subtestStart', file => {
    const known = { start: performance.now(), checks: checksOf(file.parser), errors: '' }
    files.set(file, known)
    file.on('process', ({ stderr }) => stderr?.setEncoding('utf8').on('data', chunk => { known.errors += chunk }))
  })
  test.on('subtestEnd', file => {
    const { start, checks: { passed, failures }, errors } = files.get(file)
    const { signal, exitCode } = file.options
    if (!file.passing() && failures.length === 0) failures.push({ fullname: `${file.name} ended with ${signal ?? exitCode ?? 'an error'}` })
    process.send({ file: file.name, passed, failures, seconds: (performance.now() - start) / 1000, errors })
  })
  return null
}
