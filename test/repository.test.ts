import t from 'tap'
import { RecentChanges } from '../src/stores/recent'
import { Turns } from '../src/stores/turns'

t.test('RecentChanges remembers the ten thousand sessions that ended last', t => {
  const recent = new RecentChanges()
  for (let i = 0; i <= 10_000; i++) recent.mark(`id ${i}`, 'replaced')
  t.equal(recent.wasReplaced('id 10000'), true)
  t.equal(recent.wasReplaced('id 1'), true)
  t.equal(recent.wasReplaced('id 0'), false)
  t.equal(recent.wasReplaced('never'), false)
  recent.mark('destroyed', 'destroyed')
  t.equal(recent.wasReplaced('destroyed'), false)
  t.end()
})

t.test('a session that is loaded after its id has ended, because the id was used again, has not ended', t => {
  const recent = new RecentChanges()
  const before = recent.now
  recent.mark('a', 'destroyed')
  t.equal(recent.hasEnded('a', before), true)
  t.equal(recent.hasEnded('a', recent.now), false)
  t.equal(recent.hasEnded('b', before), false)
  t.end()
})

t.test('a changed lifetime is reported to requests that loaded the session before, and does not hide its end', t => {
  const recent = new RecentChanges()
  recent.mark('a', 'relived')
  t.equal(recent.wasRelived('a', 0), true)
  t.equal(recent.wasRelived('a', recent.now), false)
  t.equal(recent.hasEnded('a', 0), false)
  recent.mark('a', 'destroyed')
  recent.mark('a', 'relived')
  t.equal(recent.hasEnded('a', 0), true)
  t.equal(recent.wasRelived('a', 0), false)
  t.end()
})

t.test('a free turn is taken at once', t => {
  const turns = new Turns()
  const order: string[] = []
  turns.take('a', 1_000, () => order.push('gave up'), release => {
    order.push('first')
    release()
  })
  turns.take('a', 1_000, () => order.push('gave up'), release => {
    order.push('second')
    release()
  })
  t.same(order, ['first', 'second'])
  t.end()
})

t.test('turns of one session come one at a time and in order, and another session does not wait for them', t => {
  const turns = new Turns()
  const order: string[] = []
  const releases: Array<() => void> = []
  const take = (sessionId: string, name: string): void => turns.take(sessionId, 1_000, () => order.push('gave up'), release => {
    order.push(name)
    releases.push(release)
  })
  take('a', 'a1')
  take('a', 'a2')
  take('a', 'a3')
  take('b', 'b1')
  t.same(order, ['a1', 'b1'])
  releases[0]?.()
  t.same(order, ['a1', 'b1', 'a2'])
  releases[2]?.()
  t.same(order, ['a1', 'b1', 'a2', 'a3'])
  releases[3]?.()
  t.end()
})

t.test('a request that waits too long for its turn gives up, and does not hold up the next one', async t => {
  const turns = new Turns()
  const order: string[] = []
  let release = (): void => {}
  turns.take('a', 1_000, () => {}, done => { release = done })
  await new Promise<void>(resolve => turns.take('a', 5, () => {
    order.push('gave up')
    resolve()
  }, () => order.push('never')))
  turns.take('a', 1_000, () => {}, done => {
    order.push('next')
    done()
  })
  release()
  t.same(order, ['gave up', 'next'])
})
