/**
 * How RedisStore keeps records and returns them: field by field, parsed only if needed, on a full server, together with
 * version 12.0.0, on other servers, and with few rights.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Cluster } from 'ioredis'
import { createClient, createCluster, RESP_TYPES } from 'redis'
import t, { type Test } from 'tap'
import { fingerprint } from '../src/diagnostics'
import { RedisStore, type RedisClient } from '../src/stores/redis'
import type { SessionRecord } from '../src/types/store'
import { record } from './helpers'
import { asJson, handedOut, isAbout, same } from './redis/contract'
import { freePort, startRedis, type RedisOptions } from './servers'
import { until } from './waiting'

const NO_META = { set: {}, unset: [] }

const MINUTE = 60_000
const HOUR = 60 * MINUTE

type Client = ReturnType<typeof createClient>

interface Subject {
  url: string
  client: Client
  store: RedisStore & Record<string, any>
}

async function open (t: Test, options: RedisOptions = {}): Promise<Subject> {
  const { url } = await startRedis(t, options)
  const client = await connect(t, url)
  return { url, client, store: new RedisStore({ client }) as any }
}

async function connect (t: Test, url: string, options: object = {}): Promise<Client> {
  const client = createClient({ url, ...options })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.destroy())
  return client as Client
}

/** A record in the form that this version writes. */
function ours (data: object, meta: object = {}, life = HOUR): any {
  return { ...data, cookie: { expires: new Date(Date.now() + life), originalMaxAge: life, ...meta } }
}

const nothing = { set: {}, unset: [], meta: NO_META }

t.test('one session in Redis', async t => {
  const { store, client } = await open(t)

  t.test("a small session, with all of the library's own fields, is one compact block of memory", async t => {
    const now = Date.now()
    const times = { createdAt: now, authenticatedAt: now, seenAt: now, claimedAt: now }
    const meta = { ...times, absoluteTimeout: 12 * HOUR, idle: HOUR, userKey: 'max' }
    await store.set('a', ours({ user: { id: 7, name: 'max' }, csrf: 'x'.repeat(24), n: 1 }, meta, 400 * 24 * HOUR))
    t.match(await client.sendCommand(['OBJECT', 'ENCODING', 'sess:a']), /^(listpack|ziplist)$/)
    const bytes = Number(await client.sendCommand(['MEMORY', 'USAGE', 'sess:a']))
    t.ok(bytes < 480, `${bytes} bytes`)
    t.same((await store.get('a'))?.cookie, { ...(await store.get('a'))?.cookie as object, ...meta })
  })

  t.test("parallel changes of the library's own fields are all kept", async t => {
    await store.set('a', ours({}, { createdAt: 1, gone: 1 }))
    const names = Array.from({ length: 50 }, (_, i) => `field${i}`)
    const changes = names.map((name, i) => ({ ...nothing, meta: { set: { [name]: i }, unset: ['gone'] } }))
    const session: any = { cookie: { expires: new Date(Date.now() + HOUR) } }
    t.ok((await Promise.all(changes.map(change => store.update('a', change, session)))).every(Boolean))
    const { expires: _, ...cookie } = (await store.get('a') as any).cookie
    t.same(cookie, { originalMaxAge: HOUR, createdAt: 1, ...Object.fromEntries(names.map((name, i) => [name, i])) })
  })

  t.test('a lifetime that a handler chose is kept, and parallel touches do not shorten it', async t => {
    const inTwoWeeks: any = { cookie: { expires: new Date(Date.now() + 336 * HOUR) } }
    const left = async (): Promise<number> => await client.pTTL('sess:a')
    await store.set('a', ours({ n: 1 }))
    const slow = ours({})
    const chosen = { expires: inTwoWeeks.cookie.expires, originalMaxAge: 336 * HOUR, chosen: 336 * HOUR }
    await store.update('a', { ...nothing, meta: { set: chosen, unset: [] } }, inTwoWeeks)
    t.ok(isAbout(await left(), 336 * HOUR * 1.01))
    await store.touch('a', slow)
    await store.update('a', { set: { n: 2 }, unset: [], meta: NO_META }, slow)
    t.ok(isAbout(await left(), 336 * HOUR * 1.01))
    same(t, await store.get('a'), asJson({ n: 2, cookie: chosen }))

    const unticked = { expires: slow.cookie.expires, originalMaxAge: null, idle: HOUR, chosen: null }
    await store.update('a', { ...nothing, meta: { set: unticked, unset: [] } }, slow)
    t.ok(isAbout(await left(), HOUR * 1.01), 'the chosen lifetime may be shorter')
    same(t, await store.get('a'), asJson({ n: 2, cookie: unticked }))
    await store.update('a', { ...nothing, meta: { set: { createdAt: Date.now(), absoluteTimeout: 1000 }, unset: [] } }, slow)
    t.ok(await left() <= 1000, 'a new absolute end applies at once')
  })

  t.test("a session without an end is kept for the store's ttl, and is returned without an end", async t => {
    await store.set('a', { n: 1, cookie: { expires: null, originalMaxAge: null } } as any)
    t.equal(((await store.getAndTouch('a')) as any).cookie.expires, null)
    await client.pExpire('sess:a', HOUR)
    await store.getAndTouch('a')
    t.ok(isAbout(await client.pTTL('sess:a'), 24 * HOUR * 1.01))
    await client.persist('sess:a')
    t.equal(((await store.getAndTouch('a')) as any).cookie.expires, null)
    t.ok(isAbout(await client.pTTL('sess:a'), 24 * HOUR * 1.01), 'it is not kept for ever')
    await client.persist('sess:a')
    await store.update('a', { set: { n: 2 }, unset: [], meta: NO_META }, { cookie: { expires: null } } as any)
    t.ok(isAbout(await client.pTTL('sess:a'), 24 * HOUR * 1.01))
  })

  t.test('writing createdAt and absoluteTimeout into an old record does not prolong the session', async t => {
    for (const originalMaxAge of [null, HOUR]) {
      await store.set('a', { cookie: { expires: null, originalMaxAge } } as any)
      await client.pExpire('sess:a', HOUR / 2)
      const date = async (absoluteTimeout: number): Promise<number> => {
        const meta = { set: { createdAt: Date.now(), absoluteTimeout }, unset: [] }
        t.equal(await store.update('a', { set: {}, unset: [], meta }, { cookie: { expires: null } } as any), true)
        return await client.pTTL('sess:a')
      }
      t.ok(isAbout(await date(2 * HOUR), HOUR / 2), String(originalMaxAge))
      t.ok(isAbout(await date(HOUR / 4), HOUR / 4), 'the absolute end is not passed')
      await client.persist('sess:a')
      t.ok(await date(2 * HOUR) > 0, 'it is not kept for ever')
    }
  })

  t.test('a session that is created between the reads of its fields and its TTL is not found yet', async t => {
    const answers: Record<string, unknown> = { HGETALL: [], PTTL: 5 }
    const client: any = { evalSha () {}, sendCommand: async ([name]: [string]) => answers[name] }
    t.equal(await new RedisStore({ client }).get('a'), undefined)
  })

  t.test('a session that ends between its read and its touch is gone', async t => {
    await store.set('a', ours({ n: 1 }))
    await client.pExpire('sess:a', 1000)
    const slow = new RedisStore({ client: meddling(client, async () => { await client.del('sess:a') }) })
    t.equal(await slow.getAndTouch('a'), undefined)
  })

  t.test('a slow request does not undo a shorter lifetime that another request has chosen in the meantime', async t => {
    const inAMonth = (): Date => new Date(Date.now() + 720 * HOUR)
    const seen = { createdAt: 1, seenAt: 2 }
    const records: Record<string, object> = {
      'an idle timeout': { expires: inAMonth(), originalMaxAge: 720 * HOUR, idle: 720 * HOUR, ...seen },
      'no end': { expires: null, originalMaxAge: null, ...seen },
      "an older version's maxAge": { expires: inAMonth(), originalMaxAge: 720 * HOUR },
      "an older version's record without an end": { expires: null, originalMaxAge: null }
    }
    const inAnHour = new Date(Date.now() + HOUR)
    const chosen: Record<string, [set: object, unset: string[], left: number]> = {
      maxAge: [{ expires: inAnHour, originalMaxAge: HOUR, idle: HOUR, chosen: HOUR }, [], HOUR * 1.01],
      expires: [{ expires: inAnHour, originalMaxAge: null, chosen: inAnHour.toISOString() }, ['idle'], HOUR]
    }
    const change = { set: { n: 2 }, unset: [], meta: { set: { seenAt: 3 }, unset: [] } }
    const uses: Record<string, (slow: any, cookie: object) => Promise<unknown>> = {
      getAndTouch: slow => slow.getAndTouch('a'),
      touch: (slow, cookie) => slow.touch('a', { cookie }),
      update: (slow, cookie) => slow.update('a', change, { cookie }),
      updateIf: async (slow, cookie) => slow.updateIf('a', await store.get('a'), ['n'], change, { cookie })
    }
    for (const [before, cookie] of Object.entries(records)) {
      for (const [name, [set, unset, left]] of Object.entries(chosen)) {
        for (const [method, use] of Object.entries(uses)) {
          await store.set('a', { n: 1, cookie } as any)
          // A touch is due.
          await client.pExpire('sess:a', 2 * HOUR)
          const slow = meddling(client, async () => {
            const meta = { set: { ...seen, ...set }, unset }
            await store.update('a', { ...nothing, meta }, { cookie: { expires: inAnHour } } as any)
          })
          await use(new RedisStore({ client: slow, ttl: 100 * HOUR }), cookie)
          const kept = await client.pTTL('sess:a')
          t.ok(isAbout(kept, left), `${before}, then ${name}, ${method}: ${kept} ms for ${left}`)
        }
      }
    }
  })

  t.test('the absolute end is never passed', async t => {
    // Redis's own clock runs on, so the end must not come during the test.
    const session = ours({}, { createdAt: Date.now() - HOUR, absoluteTimeout: HOUR + MINUTE })
    const left = async (): Promise<number> => await client.pTTL('sess:a')
    const isShort = async (what: string): Promise<void> => { t.ok(await left() <= MINUTE && await left() > 0, what) }
    await store.set('a', session)
    await isShort('set')
    await store.touch('a', ours({}))
    await isShort('touch')
    await store.update('a', { set: { n: 1 }, unset: [], meta: NO_META }, ours({}))
    await isShort('update')
    const { expires } = (await store.getAndTouch('a') as any).cookie
    await isShort('getAndTouch')
    t.ok(isAbout(expires.getTime(), session.cookie.createdAt + HOUR + MINUTE))
  })
})

/** A client before whose first script something else happens. */
function meddling (client: Client, meddle: () => Promise<void>): any {
  const plain = client.withTypeMapping({ [RESP_TYPES.MAP]: Array })
  let isFirst = true
  return {
    sendCommand: (args: string[]) => plain.sendCommand(args),
    evalSha: async (...args: Parameters<Client['evalSha']>) => {
      if (isFirst) await meddle()
      isFirst = false
      return await client.evalSha(...args)
    },
    eval: (...args: Parameters<Client['eval']>) => client.eval(...args)
  }
}

t.test('after random operations, no session has ended too early or lived past its absolute end', async t => {
  const { store, client } = await open(t)
  const some = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T
  const left = async (): Promise<number> => await client.pTTL('sess:a')
  for (let round = 0; round < 40; round++) {
    const meta: Record<string, number> = {}
    const life = some([HOUR, 7 * HOUR, MINUTE])
    const now = Date.now()
    // The time between a calculation here and its effect in Redis.
    const apart = (): number => Date.now() - now + 50
    if (some([true, false])) meta.idle = some([HOUR / 2, 2 * HOUR])
    if (some([true, false])) Object.assign(meta, { createdAt: now, absoluteTimeout: some([HOUR / 4, 3 * HOUR]) })
    let limit = meta.createdAt === undefined ? Infinity : now + (meta.absoluteTimeout as number)
    let idle = meta.idle ?? life
    let end = Math.min(now + life, limit)
    await store.set('a', ours({ n: 0 }, meta, life))
    const done: string[] = ['set']
    for (let step = 0; step < 15; step++) {
      const change = { set: { n: step }, unset: [], meta: NO_META }
      // Even the nearest end must not come before the steps that follow.
      const expires = Date.now() + some([MINUTE, idle, 2 * idle, 9 * HOUR])
      const session: any = { cookie: { expires: new Date(expires) } }
      const what = some(['getAndTouch', 'get', 'touch', 'update', 'exact', 'limit', 'time passes'])
      done.push(what)
      if (what === 'getAndTouch') {
        await store.getAndTouch('a')
        end = Math.max(end, Date.now() + idle)
      } else if (what === 'touch' || what === 'update') {
        await (what === 'touch' ? store.touch('a', session) : store.update('a', change, session))
        end = Math.max(end, expires)
      } else if (what === 'exact') {
        idle = some([HOUR, 5 * HOUR])
        await store.update('a', { ...change, meta: { set: { expires, originalMaxAge: idle }, unset: ['idle'] } }, session)
        end = expires
      } else if (what === 'limit') {
        limit = Date.now() + 4 * HOUR
        await store.update('a', { ...change, meta: { set: { createdAt: limit - HOUR, absoluteTimeout: HOUR }, unset: [] } }, session)
        end = Math.max(end, expires)
      } else if (what === 'time passes') {
        // As if time had passed: less of it is left, and the ends are nearer.
        const passed = Math.min(idle / 300, await left() / 2)
        await client.pExpire('sess:a', Math.round(await left() - passed))
        end -= passed
      }
      end = Math.min(end, limit)
      const kept = Date.now() + await left()
      const most = Math.min(limit, end + Math.max(idle, life, 5 * HOUR) / 50)
      if (kept < end - apart() || kept > most + apart()) t.fail(`${done.join(', ')}: kept ${kept - end} ms longer`)
      const found = await store.get('a') as any
      const told = found.cookie.expires.getTime()
      // If the end has moved by less than a second, the end in the record is returned.
      const latest = kept + apart() + 1000
      if (told < Date.now() || told > latest) t.fail(`${done.join(', ')}: its end is told as ${told - end} ms later`)
    }
  }
})

t.test('a record is parsed only as far as it is read', async t => {
  const { store, client } = await open(t)
  const big = Array.from({ length: 5000 }, (_, i) => ({ name: `thing ${i}` }))
  await store.set('a', ours({ user: 'max', big, list: [1, 2], nothing: null, __proto: 1 }))

  t.test('reading a small key parses nothing large', async t => {
    const parsed: number[] = []
    const { parse } = JSON
    t.intercept(JSON, 'parse', { value: (text: string) => { parsed.push(text.length); return parse(text) } })
    const found = await store.get('a') as SessionRecord
    t.equal(found.user, 'max')
    t.ok(parsed.every(length => length < 100), `${Math.max(...parsed)} characters`)
    t.same(found.big, big)
    const { length } = parsed
    t.equal(found.big, found.big, 'a key is parsed once')
    t.equal(parsed.length, length)
  })

  t.test('the record behaves like any object', async t => {
    const found = await store.get('a') as SessionRecord
    const keys = ['__proto', 'big', 'cookie', 'list', 'nothing', 'user']
    t.same(Object.keys(found).sort(), keys)
    t.same(Object.keys({ ...found }).sort(), keys)
    t.same({ ...await store.get('a') as SessionRecord }.big, big)
    t.same(structuredClone(await store.get('a') as SessionRecord).big, big)
    t.same(asJson(await store.get('a')).big, big)
    t.ok(Object.hasOwn(found, 'big') && 'big' in found && !Object.hasOwn(found, 'other'))
    t.equal(Object.getPrototypeOf(found), Object.prototype)
    t.same(Object.getOwnPropertyNames(found).sort(), keys)
    found.big = 1
    t.equal(found.big, 1)
    const unread = await store.get('a') as SessionRecord
    unread.big = 2
    t.equal(unread.big, 2, 'a key can be set before it is read')
    delete found.list
    t.notOk('list' in found)
  })

  t.test('a record with ten thousand keys works', async t => {
    await client.del('sess:many')
    const fields = Array.from({ length: 10_000 }, (_, i) => [`key${i}`, `"${'x'.repeat(80)}"`])
    await client.hSet('sess:many', Object.fromEntries(fields))
    const found = await store.get('many') as SessionRecord
    t.equal(Object.keys(found).length, 10_001)
    t.equal(Object.values(found).filter(value => value === 'x'.repeat(80)).length, 10_000)
  })
})

t.test('updateIf()', async t => {
  const { store, client } = await open(t)
  const session = ours({})
  const write = async (record: SessionRecord, keys: string[], set: object): Promise<string> => {
    return await store.updateIf('a', record, keys, { set, unset: [] } as any, session)
  }

  t.test('distinguishes absent from null, and different JSON texts', async t => {
    await store.set('a', ours({ nothing: null, list: [1], text: 'x', '\0odd': 1 }))
    const found = await store.get('a') as SessionRecord
    t.equal(await write(found, ['nothing', 'list', 'text', 'absent', '\0odd'], { n: 1 }), 'written')
    t.equal(await write(found, ['n'], { n: 2 }), 'changed', 'the key was absent when the record was read')
    t.equal(await write({ ...found, absent: null }, ['absent'], {}), 'changed', 'null is not absent')
    await client.hSet('sess:a', 'list', '[1 ]')
    t.equal(await write(found, ['list'], { n: 2 }), 'changed', 'the same value in another text')
    await client.hDel('sess:a', 'nothing')
    t.equal(await write(found, ['nothing'], { n: 2 }), 'changed', 'a removed key is not null')
    t.equal((await store.get('a'))?.n, 1)
    t.equal(await write({ text: () => {} }, ['text'], {}), 'changed', 'a record that the store never saw')
    t.equal(await write({}, ['text'], {}), 'changed')
    await store.destroy('a')
    t.equal(await write(found, ['text'], { n: 2 }), 'gone')
    t.equal(await client.exists('sess:a'), 0)
  })

  t.test('writes exactly one of fifty simultaneous updates', async t => {
    for (const form of ['ours', 'a string'] as const) {
      const before = ours({ stock: 1 })
      if (form === 'ours') await store.set('a', before)
      else await client.set('sess:a', JSON.stringify(before), { PX: HOUR })
      const found = await store.get('a') as SessionRecord
      const results = await Promise.all(Array.from({ length: 50 }, (_, i) => write(found, ['stock'], { stock: 0, winner: i })))
      t.equal(results.filter(result => result === 'written').length, 1, form)
      t.equal(results.filter(result => result === 'changed').length, 49)
      t.equal((await store.get('a'))?.winner, results.indexOf('written'))
    }
  })

  t.test('fails if a value cannot be written', async t => {
    await store.set('a', ours({ n: 1 }))
    const found = await store.get('a') as SessionRecord
    await t.rejects(write(found, ['n'], { n: 2n }), { code: 'FST_ERR_SESSION_VALUE' })
    t.equal((await store.get('a'))?.n, 1)
  })
})

t.test('on a full Redis, writes fail, and logged-in visitors stay logged in and can log out', async t => {
  const { store, client } = await open(t, { args: ['--maxmemory', '20mb', '--maxmemory-policy', 'noeviction'] })
  const used = async (): Promise<number> => Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1])
  const isFull = { message: /^OOM / }
  const note = 'x'.repeat(20_000)
  let last = -1
  let failure: any
  while (failure === undefined && last < 5000) {
    failure = await store.set(`id ${last + 1}`, ours({ user: 'max', note })).then(() => { last++ }, (error: unknown) => error)
  }
  t.match(failure, isFull)
  t.ok(last > 100 && await used() < 22e6, `${last} sessions, ${await used()} bytes`)

  for (const id of ['new', 'id 0']) await t.rejects(store.set(id, ours({ user: 'eva', note })), isFull)
  await t.rejects(store.update('id 0', { set: { note2: note }, unset: ['user'], meta: NO_META }, ours({}) as any), isFull)
  await client.set('sess:string', JSON.stringify(ours({ user: 'max' }))).catch(() => {})
  const found = await store.getAndTouch('id 0')
  t.equal(found?.user, 'max', 'a refused write has changed nothing')
  await client.pExpire('sess:id 0', MINUTE)
  t.equal((await store.getAndTouch('id 0'))?.user, 'max', 'the read prolongs the session')
  t.ok(isAbout(await client.pTTL('sess:id 0'), HOUR * 1.01))
  t.equal(await store.touch('id 0', ours({}, {}, 2 * HOUR)), true)
  t.equal(await store.update('id 0', { set: {}, unset: ['note'], meta: NO_META }, ours({}) as any), true, 'a change that frees memory is accepted')
  t.equal((await store.destroy('id 1') as any).user, 'max', 'a logout works')
  for (let i = 2; i < 20; i++) await store.destroy(`id ${i}`)
  await store.set('new', ours({ user: 'eva' }))
  t.equal((await store.get('new'))?.user, 'eva', 'there is room again')
})

// --- Together with version 12.0.0

const { GET_AND_TOUCH, UPDATE } = require('../benchmark/redis-scripts-of-12.0.0')

t.test('this version and version 12.0.0 can use the same sessions', async t => {
  const { store, client } = await open(t)
  const cookie = {
    expires: new Date(Date.now() + HOUR),
    originalMaxAge: HOUR,
    path: '/',
    httpOnly: true,
    secure: true,
    sameSite: 'lax',
    domain: null,
    createdAt: Date.now() - 1000,
    absoluteTimeout: 10 * HOUR,
    touchedAt: Date.now(),
    userKey: 'max',
    claimedAt: Date.now()
  }
  const oldFields = (session: object): any => {
    return Object.fromEntries(Object.entries(session).map(([key, value]) => [key, JSON.stringify(value)]))
  }
  const oldUpdate = async (set: object, cookie: object): Promise<unknown> => {
    const fields = Object.entries(oldFields({ ...set, cookie })).flat() as string[]
    return await client.eval(UPDATE, { keys: ['sess:a'], arguments: [String(HOUR), '0', ...fields] })
  }
  /** As version 12.0.0 does: every field must be JSON. */
  const oldGet = async (): Promise<any> => {
    const reply = await client.eval(GET_AND_TOUCH, { keys: ['sess:a'], arguments: ['86400000'] }) as string[]
    return Object.fromEntries(reply.flatMap((field, i) => i % 2 === 0 ? [[field, JSON.parse(reply[i + 1] as string)]] : []))
  }
  const isOurs = async (): Promise<boolean> => !String(await client.hGet('sess:a', 'cookie')).includes('path')

  t.test("version 12.0.0's records are read, and rewritten in the new form at their next update", async t => {
    await client.hSet('sess:a', oldFields({ user: 'max', list: [], cookie }))
    await client.pExpire('sess:a', HOUR - 100)
    const expected = handedOut({ user: 'max', list: [], cookie })
    same(t, await store.getAndTouch('a'), expected)
    t.ok(isAbout(await client.pTTL('sess:a'), HOUR * 1.01))
    t.notOk(await isOurs(), 'reading rewrites nothing')
    const change = { set: { n: 1 }, unset: [], meta: NO_META }
    t.equal(await store.updateIf('a', await store.get('a') as any, ['user', 'list'], change, ours({})), 'written')
    t.ok(await isOurs())
    same(t, await store.get('a'), { ...expected, n: 1 })
    t.equal((await store.destroy('a') as any).n, 1)
  })

  t.test('parallel updates that rewrite a record in the new form are all kept', async t => {
    await client.hSet('sess:a', oldFields({ user: 'max', cookie }))
    await client.pExpire('sess:a', HOUR)
    const changes = Array.from({ length: 20 }, (_, i) => {
      return { set: { [`key${i}`]: i }, unset: [], meta: { set: { [`own${i}`]: i }, unset: [] } }
    })
    t.ok((await Promise.all(changes.map(change => store.update('a', change, ours({}))))).every(Boolean))
    const found = await store.get('a') as any
    t.equal(Object.keys(found).length, 22)
    t.equal(Object.keys(found.cookie).filter(name => name.startsWith('own')).length, 20)
    t.equal(found.cookie.userKey, 'max')
  })

  t.test("a data key of version 12.0.0 that begins like one of the library's own fields stays data", async t => {
    await client.hSet('sess:b', oldFields({ '\0key': 1, '\0': 2, cookie }))
    t.same(Object.keys(await store.get('b') as SessionRecord).sort(), ['\0', '\0key', 'cookie'])
    await store.destroy('b')
  })

  t.test('each key of version 12.0.0 is the same field, and only one that UTF-8 cannot hold is not', async t => {
    const keys = ['', 'a', '"', '"a"', '\\', '\n', '\\ud800', '日本', '👩‍👩‍👧', '\ufffd']
    await store.set('b', ours(Object.fromEntries([...keys, 'a\ud800'].map(key => [key, key]))))
    t.same((await client.hKeys('sess:b')).sort(), [...keys, 'cookie', '\0"a\\ud800"'].sort())
    await store.destroy('b')
    const odd = ['\0"', '\0"a"', '\0"\\x"', '\0"a\ufffd"', '\0"\\ud83d\\ude00"']
    await client.hSet('sess:b', oldFields({ ...Object.fromEntries(odd.map(key => [key, 1])), cookie }))
    t.same(Object.keys(await store.get('b') as SessionRecord).sort(), [...odd, 'cookie'].sort())
    await store.destroy('b')
  })

  t.test("version 12.0.0 reads this version's records, and this version reads what it has written", async t => {
    const createdAt = Date.now() - HOUR
    await store.set('a', ours({ user: 'max', list: [1] }, { userKey: 'max', idle: HOUR, chosen: null, createdAt, claimedAt: 1 }))
    const there = await oldGet()
    t.same([there.user, there.list, there.cookie.originalMaxAge], ['max', [1], HOUR])
    t.ok(isAbout(new Date(there.cookie.expires).getTime(), Date.now() + HOUR))
    t.ok(isAbout(await client.pTTL('sess:a'), HOUR), "version 12.0.0's read starts the lifetime again")

    t.equal(await oldUpdate({ user: 'eva' }, { ...cookie, userKey: 'eva', createdAt: Date.now() }), 1)
    const here = await store.get('a') as any
    t.equal(here.user, 'eva')
    t.equal(here.cookie.userKey, 'eva', 'the user is the one that was written last')
    t.equal(here.cookie.createdAt, createdAt, 'createdAt stays')
    t.equal(here.cookie.chosen, null, 'fields that version 12.0.0 does not know stay')

    const { userKey: _, claimedAt: __, ...nobody } = cookie
    t.equal(await oldUpdate({ user: 'nobody' }, nobody), 1)
    t.equal((await store.get('a') as any).cookie.userKey, undefined)
    t.equal(await store.update('a', { set: { n: 1 }, unset: [], meta: NO_META }, ours({})), true)
    t.ok(await isOurs())
    const after = (await store.get('a') as any).cookie
    t.same([after.userKey, after.claimedAt, after.createdAt, after.idle], [undefined, undefined, createdAt, HOUR])
  })

  t.test('a record whose cookie cannot be read causes an error, and is not replaced by a new one', async t => {
    const isUnreadable = { code: 'FST_ERR_SESSION_RECORD', message: "The stored session can't be read: its cookie isn't JSON" }
    await client.del('sess:a')
    await client.hSet('sess:a', { user: '"max"', cookie: '{"path":"hidden' })
    await t.rejects(store.get('a'), isUnreadable)
    await t.rejects(store.update('a', { set: { n: 1 }, unset: [], meta: NO_META }, ours({})), isUnreadable)
    await client.set('sess:a', '7')
    t.equal(await store.update('a', { set: { n: 1 }, unset: [], meta: NO_META }, ours({})), false)
    t.same(await store.destroy('a'), {})
    await client.hSet('sess:b', 'user', '"max"')
    t.equal(await store.update('b', { set: { n: 1 }, unset: ['user'], meta: NO_META }, ours({})), true)
    t.equal((await store.get('b'))?.n, 1, 'a record without a cookie is a session')
  })
})

// --- The rights that it needs

/** The rights in docs/stores.md. */
const [, RIGHTS] = / ACL SETUSER app .* -@all (.*)/.exec(readFileSync(join(__dirname, '../docs/stores.md'), 'utf8')) as any

async function everything (store: any): Promise<void> {
  await store.set('a', ours({ n: 1 }))
  await store.set('a', ours({ n: 1, m: 1 }))
  await store.getAndTouch('a')
  await store.touch('a', ours({}, {}, 2 * HOUR))
  await store.update('a', { set: { n: 2 }, unset: ['m'], meta: NO_META }, ours({}, {}, 3 * HOUR))
  await store.updateIf('a', { n: 2 }, ['n'], { set: { n: 3 }, unset: [], meta: NO_META }, ours({}))
  const claim = (sessionId: string, more: object = {}): Promise<unknown> => store.claim('max', sessionId, {
    fingerprint: fingerprint(sessionId), lives: HOUR, isWritten: false, max: 2, refuses: false, ...more
  })
  await claim('a', { lives: 1 })
  await setTimeout(5)
  await claim('b', { refuses: true })
  await claim('c', { replaces: 'b' })
  await claim('d')
  await claim('e')
  await claim('e', { isWritten: true })
  await store.claimsOf('max', Infinity, 10)
  await store.endingsOf('max')
  await store.revoke('max', { fingerprint: fingerprint('d') })
  await store.revoke('max', {})
  await store.release('max', ['c', 'd', 'e'])
  await claim('f')
  await store.revoke('max', {})
  await store.all()
  await store.length()
  await store.destroy('a')
  await store.clear()
}

t.test('a Redis user needs exactly the rights that docs/stores.md lists', async t => {
  for (const [name, command] of Object.entries(serversFound())) {
    await t.test(name, async t => {
      const { url, client } = await open(t, { command })
      const all: string[] = RIGHTS.split(' ')
      t.ok(all.length > 10, 'the docs list the rights')
      const asUser = async (rights: string[]): Promise<RedisStore> => {
        await client.flushAll()
        await client.sendCommand([
          'ACL', 'SETUSER', 'app', 'reset', 'on', '>secret', '~sess:*', '~users:sess:*',
          ...rights
        ])
        const own = await connect(t, url, { username: 'app', password: 'secret', disableClientInfo: true })
        return new RedisStore({ client: own as RedisClient })
      }
      await everything(await asUser(all))
      t.pass('the listed rights are enough')
      for (const lacking of all.filter(command => !['+hello', '+get', '+eval'].includes(command))) {
        const store = await asUser(all.filter(command => command !== lacking))
        const error = await everything(store).then(() => undefined, error => error)
        const message = String(error?.message)
        t.match(message, new RegExp(`\\b${lacking.slice(1)}\\b`, 'i'), `without ${lacking.slice(1)}: ${message}`)
      }
    })
  }
})

// --- Other servers

t.test('every method works on other servers', async t => {
  for (const [name, command] of Object.entries(serversFound())) {
    t.test(name, async t => {
      const { store, client } = await open(t, { command })
      await everything(store)
      const session = ours({ user: 'max', note: 'x'.repeat(1000) }, { userKey: 'max', idle: HOUR })
      await store.set('a', session)
      same(t, await store.getAndTouch('a'), asJson(session))
      await client.set('sess:b', JSON.stringify(record({ user: 'max' })), { PX: HOUR })
      t.equal(await store.update('b', { set: { n: 1 }, unset: [], meta: NO_META }, ours({})), true)
      t.same(Object.keys(await store.destroy('b')).sort(), ['cookie', 'n', 'user'])
      t.equal(await store.updateIf('a', { user: 'eva' }, ['user'], { set: { n: 1 }, unset: [], meta: NO_META }, session), 'changed')
      t.equal(await store.length(), 1)
    })
  }
})

/** The server on the PATH, and those that redis/install-servers.sh has installed. */
function serversFound (): Record<string, string> {
  const folder = join(__dirname, '../node_modules/.cache/redis-servers')
  const names = existsSync(folder) ? readdirSync(folder) : []
  const found = Object.fromEntries(names.map(name => [name, join(folder, name, 'run')]))
  return { 'redis-server': 'redis-server', ...found }
}

t.test('in a cluster with a replica, reads go to the master even if the client may use replicas', async t => {
  const start = async (): Promise<{ port: number, busPort: string, own: Client }> => {
    const busPort = String(await freePort())
    const args = ['--cluster-enabled', 'yes', '--cluster-port', busPort, '--cluster-announce-ip', '127.0.0.1']
    const { port, url } = await startRedis(t, { args })
    return { port, busPort, own: await connect(t, url) }
  }
  const [master, replica] = await Promise.all([start(), start()])
  await master.own.sendCommand(['CLUSTER', 'ADDSLOTSRANGE', '0', '16383'])
  const masterId = String(await master.own.sendCommand(['CLUSTER', 'MYID']))
  await replica.own.sendCommand(['CLUSTER', 'MEET', '127.0.0.1', String(master.port), master.busPort])
  await until('the replica knows the master', () => replica.own.sendCommand(['CLUSTER', 'REPLICATE', masterId]).then(() => true, () => false))
  for (const { own } of [master, replica]) {
    await until('the cluster is there', async () => String(await own.sendCommand(['CLUSTER', 'INFO'])).includes('cluster_state:ok'))
    await until('it knows the replica', async () => String(await own.sendCommand(['CLUSTER', 'NODES'])).includes('slave'))
  }
  await until('the replica has the data', async () => String(await replica.own.info('replication')).includes('master_link_status:up'))

  const cluster = createCluster({ rootNodes: [{ url: `redis://127.0.0.1:${master.port}` }], useReplicas: true })
  await cluster.connect()
  t.teardown(() => cluster.destroy())
  const io = new Cluster([{ port: master.port, host: '127.0.0.1' }], { scaleReads: 'slave' })
  t.teardown(() => io.disconnect())
  for (const [name, client] of Object.entries({ 'node-redis': cluster, ioredis: io })) {
    const store: any = new RedisStore({ client: client as RedisClient })
    await replica.own.sendCommand(['CONFIG', 'RESETSTAT'])
    for (let i = 0; i < 20; i++) {
      await store.set('a', ours({ n: i }))
      t.equal((await store.getAndTouch('a')).n, i, `${name}: a read returns what was written`)
      await store.destroy('a')
      t.equal(await store.get('a'), undefined, 'a session that has ended is not found')
    }
    const [, reads = '0'] = /cmdstat_hgetall:calls=(\d+)/.exec(await replica.own.info('commandstats')) ?? []
    t.equal(reads, '0')
  }
})

t.test('length() counts a hundred thousand sessions in large batches', async t => {
  const { store, client } = await open(t)
  const count = 100_000
  await client.eval(`for i = 1, ${count} do redis.call('HSET', 'sess:' .. i, 'cookie', '{}') end`)
  await client.set('users:sess:max', '')
  await client.sendCommand(['CONFIG', 'RESETSTAT'])
  t.equal(await store.length(), count)
  const [, calls] = /cmdstat_scan:calls=(\d+)/.exec(await client.info('commandstats')) ?? []
  t.ok(Number(calls) < count / 900, `${calls} calls`)
})
