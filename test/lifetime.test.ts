/** The arithmetic of lifetimes: when a session ends, is over, or must be written again. It is compared with a small model. */
import fc from 'fast-check'
import t from 'tap'
import {
  cookieEndOf, endOf, idleOf, isAging, isOutdated, lifetimeIn, whyOver, type CookieLife, type Lifetime, type Terms
} from '../src/values/lifetime'
import type { SessionRecord } from '../src/types/store'

fc.configureGlobal({ seed: Number(process.env.SEED ?? 2026), numRuns: 2000, includeErrorInReport: true })

const NOW = Date.UTC(2026, 10, 26)
const MINUTE = 60_000
// Few values, so that ends coincide: mistakes are made at boundaries.
const durations = fc.constantFrom(1, 10, 20, 30, 60).map(minutes => minutes * MINUTE)
const times = fc.constantFrom(0, 1, 9, 10, 15, 20, 30, 45, 60, 90).map(minutes => NOW + minutes * MINUTE)
const maybe = <T> (values: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(values, { nil: undefined })
const lives: fc.Arbitrary<CookieLife> = fc.oneof(durations, times.map(time => new Date(time)), fc.constant(null))
const terms: fc.Arbitrary<Terms> = fc.record({ cookie: lives, idleTimeout: maybe(durations), absoluteTimeout: maybe(durations) })
const lifetimes: fc.Arbitrary<Lifetime> = fc.record({ terms, createdAt: fc.constant(NOW), chosen: maybe(lives) })

/** The limits of a lifetime: the idle timeout since the last use, and the moment after which no use prolongs it. */
function limits ({ terms, createdAt, chosen }: Lifetime): { idle: number, until: number } {
  const cookie = chosen === undefined ? terms.cookie : chosen
  const idles = [Infinity]
  const untils = [Infinity]
  if (terms.idleTimeout !== undefined) idles.push(terms.idleTimeout)
  if (typeof cookie === 'number') idles.push(cookie)
  // 'Ends with the browser' does not limit the session on the server.
  if (cookie === null && typeof terms.cookie === 'number' && terms.idleTimeout === undefined) idles.push(terms.cookie)
  if (cookie instanceof Date) untils.push(cookie.getTime())
  if (terms.absoluteTimeout !== undefined) untils.push(createdAt + terms.absoluteTimeout)
  return { idle: Math.min(...idles), until: Math.min(...untils) }
}

/** What this version writes when a session is used. */
function written (lifetime: Lifetime, at: number): SessionRecord {
  const { terms: { absoluteTimeout }, createdAt, chosen } = lifetime
  const { idle, until } = limits(lifetime)
  const end = Math.min(at + idle, until)
  return JSON.parse(JSON.stringify({
    user: 'max',
    cookie: {
      expires: end === Infinity ? null : new Date(end),
      createdAt,
      seenAt: at,
      idle: idle === Infinity ? undefined : idle,
      absoluteTimeout,
      chosen
    }
  }))
}

/** The state of a store with a clock of its own: the record of the last write, and a clock that each use has moved since. */
interface Life {
  record: SessionRecord
  usedAt: number
  clock: number
}

/** Uses a session as the library does: writes the record if that is needed, and otherwise moves the clock. */
function live (lifetime: Lifetime, pauses: number[]): Life {
  const { idle, until } = limits(lifetime)
  let now = NOW
  let record = written(lifetime, now)
  let clock = Math.min(now + idle, until)
  let usedAt = now
  for (const pause of pauses) {
    now += pause
    if (clock <= now) break
    if (isOutdated(record, lifetime) || isAging(record, lifetime, now)) record = written(lifetime, now)
    clock = Math.min(now + idle, until)
    usedAt = now
  }
  return { record, usedAt, clock }
}

const pauses = fc.array(fc.constantFrom(0, 1, 4, 5, 9, 10, 14, 15, 29).map(minutes => minutes * MINUTE), { maxLength: 12 })

function same (actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) throw new Error(`${what}: ${String(actual)} is not ${String(expected)}`)
}

t.test('a session ends at the earliest of its limits', t => {
  fc.assert(fc.property(lifetimes, times, (lifetime, usedAt) => {
    const { idle, until } = limits(lifetime)
    same(endOf(lifetime, usedAt), Math.min(usedAt + idle, until), 'the end')
    same(idleOf(lifetime) ?? Infinity, idle, 'the idle timeout')
  }))
  t.end()
})

t.test('a cookie ends no later than its session can, and one that ends with the browser has no end', t => {
  fc.assert(fc.property(lifetimes, times, (lifetime, usedAt) => {
    const { terms, chosen, createdAt } = lifetime
    const life = chosen === undefined ? terms.cookie : chosen
    const end = cookieEndOf(lifetime, usedAt)
    if (life === null) same(end, Infinity, 'the end')
    else {
      const absolute = createdAt + (terms.absoluteTimeout ?? Infinity)
      same(end, Math.min(typeof life === 'number' ? usedAt + life : life.getTime(), absolute), 'the end')
    }
  }))
  t.end()
})

t.test('a record that was just written is alive and up to date, and contains its lifetime', t => {
  fc.assert(fc.property(lifetimes, times, (lifetime, at) => {
    fc.pre(endOf(lifetime, at) > at)
    const record = written(lifetime, at)
    same(whyOver(record, lifetime.terms, at, 0), undefined, 'over')
    same(whyOver(record, lifetime.terms, at, 1 / 2), undefined, 'over, with an uncertainty of half the idle timeout')
    same(isOutdated(record, lifetime), false, 'outdated')
    const { chosen, createdAt } = lifetimeIn(record, lifetime.terms, at)
    same(createdAt, NOW, 'createdAt')
    same(String(chosen?.valueOf()), String(lifetime.chosen?.valueOf()), 'what a handler chose')
    same(endOf(lifetimeIn(record, lifetime.terms, at), at), endOf(lifetime, at), 'the end')
  }))
  t.end()
})

t.test('if the record contains the end, a session ends exactly at that millisecond', t => {
  fc.assert(fc.property(lifetimes, times, (lifetime, at) => {
    const end = endOf(lifetime, at)
    fc.pre(end > at && end !== Infinity)
    const record = written(lifetime, at)
    same(whyOver(record, lifetime.terms, end - 1, 0), undefined, 'a millisecond before')
    const absolute = NOW + (lifetime.terms.absoluteTimeout ?? Infinity)
    same(whyOver(record, lifetime.terms, end, 0), end === absolute ? 'absolute-timeout' : 'expired', 'at its end')
  }))
  t.end()
})

t.test("if touch only moves the store's clock, an active session stays, and an idle one ends after at most one and a half idle timeouts", t => {
  fc.assert(fc.property(lifetimes, pauses, (lifetime, pauses) => {
    fc.pre(endOf(lifetime, NOW) > NOW)
    const { idle, until } = limits(lifetime)
    const { record, usedAt, clock } = live(lifetime, pauses)
    if (clock !== Infinity) same(whyOver(record, lifetime.terms, clock - 1, 1 / 2), undefined, 'alive as long as the clock says')
    const last = Math.min(usedAt + 1.5 * idle, until)
    if (last !== Infinity) same(whyOver(record, lifetime.terms, last, 1 / 2) !== undefined, true, 'over after that')
  }))
  t.end()
})

t.test('after a change of the configuration, an active session stays, and an idle one ends', t => {
  fc.assert(fc.property(lifetimes, terms, pauses, ({ chosen, ...before }, terms, pauses) => {
    const lifetime = { ...before, chosen }
    fc.pre(endOf(lifetime, NOW) > NOW)
    const { record, usedAt, clock } = live(lifetime, pauses)
    const today = { ...lifetime, terms }
    // By the store's earlier clock, and by what is configured now.
    const until = Math.min(clock, endOf(today, usedAt))
    if (until > usedAt && until !== Infinity) same(whyOver(record, terms, until - 1, 1 / 2), undefined, 'an active session stays')
    const { idle, until: last } = limits(today)
    const old = limits(lifetime).idle
    const latest = Math.min(usedAt + idle + old / 2, last)
    // If nothing was configured before, the record doesn't say when it was used.
    if (latest !== Infinity && old !== Infinity) same(whyOver(record, terms, latest, 1 / 2) !== undefined, true, 'an idle session ends')
  }))
  t.end()
})

t.test('a record is only written again after at least half of an idle timeout', t => {
  fc.assert(fc.property(lifetimes, pauses, (lifetime, pauses) => {
    fc.pre(endOf(lifetime, NOW) > NOW)
    const { idle } = limits(lifetime)
    let record = written(lifetime, NOW)
    let writtenAt = NOW
    let now = NOW
    for (const pause of pauses) {
      now += pause
      if (endOf(lifetime, now) <= now) break
      if (!isAging(record, lifetime, now)) continue
      same(now - writtenAt >= idle / 2, true, `written again after ${now - writtenAt} of ${idle}`)
      record = written(lifetime, now)
      writtenAt = now
    }
  }))
  t.end()
})

t.test('an absolute timeout never prolongs anything', t => {
  fc.assert(fc.property(lifetimes, durations, times, (lifetime, absoluteTimeout, at) => {
    const bound = { ...lifetime, terms: { ...lifetime.terms, absoluteTimeout } }
    const free = { ...lifetime, terms: { ...lifetime.terms, absoluteTimeout: undefined } }
    same(endOf(bound, at) <= endOf(free, at), true, 'the end is no later')
    same(cookieEndOf(bound, at) <= cookieEndOf(free, at), true, "the cookie's end is no later")
    same(idleOf(bound), idleOf(free), 'the idle timeout')
  }))
  t.end()
})

t.test('a record of express-session or of version 11 keeps the lifetime that it has', t => {
  const cookies = fc.record({ expires: times, originalMaxAge: fc.option(durations) })
  fc.assert(fc.property(cookies, terms, ({ expires, originalMaxAge }, terms) => {
    const record = { user: 'max', cookie: { expires: new Date(expires).toISOString(), originalMaxAge } }
    const { chosen, createdAt } = lifetimeIn(record, terms, NOW)
    same(createdAt, NOW, 'it counts from its first use')
    if (originalMaxAge !== null) same(chosen, originalMaxAge, 'its maxAge')
    // A fixed end, unless there is a maxAge now.
    else same((chosen as Date | undefined)?.getTime(), typeof terms.cookie === 'number' ? undefined : expires, 'its end')
    const isOver = (now: number): boolean => whyOver(record, { ...terms, idleTimeout: undefined, absoluteTimeout: undefined }, now, 0) !== undefined
    same(isOver(expires - 1), false, 'alive until its end')
    same(isOver(expires), true, 'over at its end')
  }))
  t.end()
})

t.test('a record of 12.0.0 keeps its maxAge and its creation time', t => {
  fc.assert(fc.property(fc.option(durations), durations, terms, (originalMaxAge, absoluteTimeout, terms) => {
    const end = Math.min(NOW + (originalMaxAge ?? Infinity), NOW + absoluteTimeout)
    const cookie = { expires: new Date(end).toISOString(), originalMaxAge, createdAt: NOW, absoluteTimeout, touchedAt: NOW }
    const { chosen, createdAt } = lifetimeIn({ user: 'max', cookie }, terms, NOW + MINUTE)
    same(createdAt, NOW, 'createdAt')
    // 12.0.0 wrote the absolute end if the cookie ends with the browser. Nobody chose that date.
    same(chosen, originalMaxAge ?? undefined, 'its maxAge')
  }))
  t.end()
})

t.test('any values in a stored cookie result in a lifetime without an error', t => {
  const rubbish = fc.oneof(fc.anything(), fc.constantFrom(NaN, Infinity, -1, 0, 1e300, '1', new Date(NaN), null, undefined))
  const cookies = fc.record({
    expires: rubbish, originalMaxAge: rubbish, createdAt: rubbish, seenAt: rubbish, idle: rubbish, absoluteTimeout: rubbish, chosen: rubbish
  }, { requiredKeys: [] })
  fc.assert(fc.property(fc.oneof(cookies, rubbish), terms, fc.constantFrom(0, 1 / 2, Infinity), (cookie, terms, untold) => {
    const record = { cookie }
    const lifetime = lifetimeIn(record, terms, NOW)
    same(Number.isNaN(endOf(lifetime, NOW)), false, 'the end is NaN')
    same(Number.isNaN(cookieEndOf(lifetime, NOW)), false, "the cookie's end is NaN")
    whyOver(record, terms, NOW, untold)
    isOutdated(record, lifetime)
    isAging(record, lifetime, NOW)
  }))
  t.end()
})
