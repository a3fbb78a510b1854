'use strict'

// What a visitor does. `cookie` is what comes with the request, `does` the route (see contestants.js). Nowhere is a session
// saved that holds nothing, and all of them live a day.

const scenarios = [
  { id: 'no-cookie', title: 'no cookie, untouched', cookie: 'none', does: 'nothing', rolling: true },
  { id: 'created', title: 'session created', cookie: 'none', does: 'create', rolling: true },
  { id: 'read-rolling', title: 'one key read, rolling', cookie: 'known', does: 'read', rolling: true },
  { id: 'read', title: 'one key read', cookie: 'known', does: 'read', rolling: false },
  { id: 'changed-rolling', title: 'one key changed, rolling', cookie: 'known', does: 'change', rolling: true },
  { id: 'changed', title: 'one key changed', cookie: 'known', does: 'change', rolling: false },
  { id: 'untouched-rolling', title: 'untouched, rolling', cookie: 'known', does: 'nothing', rolling: true },
  { id: 'untouched', title: 'untouched', cookie: 'known', does: 'nothing', rolling: false },
  { id: 'forged', title: 'forged cookie', cookie: 'forged', does: 'read', rolling: true },
  { id: 'unknown', title: 'unknown id', cookie: 'unknown', does: 'read', rolling: true }
]

const sizes = { '100 B': 100, '2 KB': 2_000, '20 KB': 20_000, '100 KB': 100_000 }

const LISTS = ['cart', 'history', 'drafts', 'messages', 'filters', 'choices']

/** Session data whose JSON has about as many bytes: two small keys, and lists that grow. */
function sessionData (bytes) {
  const data = { user: { id: 4711, name: 'Ada Lovelace', roles: ['reader', 'writer'] }, visits: 1 }
  let left = bytes - JSON.stringify(data).length
  for (let i = 0; left > 50; i++) {
    const entry = { id: i, title: `entry ${i}`, price: i * 3, tags: ['new', 'red'] }
    const list = data[LISTS[i % LISTS.length]] ??= []
    list.push(entry)
    left -= JSON.stringify(entry).length + 1
  }
  return data
}

/** Data of its own for each session: what a handler made is kept, whoever copies it or not. Cheaper than structuredClone. */
function fresh (data) {
  if (typeof data !== 'object') return data
  if (Array.isArray(data)) return data.map(fresh)
  const result = {}
  for (const key in data) result[key] = fresh(data[key])
  return result
}

module.exports = { scenarios, sizes, sessionData, fresh }
