import t from 'tap'
import { MemoryStore } from '../src/index'
import { testStore } from '../src/testing/index'
import { sealed } from '../src/stores/sealed'
const KEYS = ['a key for sealing with 32 characters']
const promises = { shared: false, parallel: false, ended: false, renews: false, noDeadCookie: false, touches: true, oneCall: false, expires: true, waits: true, dates: false, onlyYours: true, lists: true, stops: true, copies: true, touchesOnly: true, users: true, updates: true, tellsGone: true }
t.test('MemoryStore', t => testStore(() => sealed(new MemoryStore(), { keys: KEYS, legacy: false }), { promises, test: t.test }))
t.test('MemoryStore, legacy', t => testStore(() => sealed(new MemoryStore(), { keys: KEYS }), { promises, test: t.test }))
