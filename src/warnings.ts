import { createWarning } from 'process-warning'

const name = 'FastifySessionWarning'

export const warnInsecure = createWarning({
  name,
  code: 'FST_SESSION_INSECURE',
  message: 'The session was not saved and no cookie was sent, because cookie.secure is true and the request came over plain http. ' +
    "Behind a proxy that ends TLS, set Fastify's trustProxy option; for development, set cookie.secure to false or 'auto'."
})

export const warnShortSecret = createWarning({
  name,
  code: 'FST_SESSION_SHORT_SECRET',
  message: 'A session secret is shorter than 32 characters and can be guessed. Replace it by a random one of 32 or more: ' +
    'put the new one first, and remove the short one once its sessions have ended.'
})

export const warnMemoryStore = createWarning({
  name,
  code: 'FST_SESSION_MEMORY_STORE',
  message: 'The default MemoryStore is used with NODE_ENV=production: sessions end with the process and are not shared between processes. ' +
    'Set the store option; a MemoryStore of your own with a max says that one process is what you want.'
})

export const warnLateChange = createWarning({
  name,
  code: 'FST_SESSION_LATE_CHANGE',
  message: 'The session was changed after its reply went out, so the change is lost. ' +
    'Change it before reply.send(), or call session.save() afterwards.'
})

export const warnHijacked = createWarning({
  name,
  code: 'FST_SESSION_HIJACKED',
  message: 'The session was changed on a hijacked reply, so the change is lost. ' +
    'Await session.save() before the end of the reply; a new session can not be sent to the visitor at all.'
})

export const warnReplaced = createWarning({
  name,
  code: 'FST_SESSION_REPLACED',
  message: 'A session object was changed that regenerate(), reload() or destroy() has replaced, so the change is lost. ' +
    'Read request.session again after these calls.'
})

export const warnAnonymous = createWarning({
  name,
  code: 'FST_SESSION_ANONYMOUS',
  message: 'The session was changed though it could not be loaded, so the change is lost. ' +
    "With onStoreError: 'anonymous', look at session.isAnonymous before you store something."
})

export const warnNoTouch = createWarning({
  name,
  code: 'FST_SESSION_NO_TOUCH',
  message: 'The session store has no touch method, so with rolling: true each request writes the whole session. ' +
    'Use a store with touch, or set rolling to false.'
})

export const warnCookieRefused = createWarning({
  name,
  code: 'FST_SESSION_COOKIE_REFUSED',
  message: 'Browsers refuse the session cookie as it is configured: %s.'
})

export const warnRedisEvicts = createWarning({
  name,
  code: 'FST_SESSION_REDIS_EVICTS',
  message: 'Redis may evict keys when its memory is full (its maxmemory-policy is %s), so the index of sessions by user may lose some: ' +
    'until they are used again, within an hour, lists and revokeUser() miss them. Set maxmemory-policy to noeviction.'
})

export const warnValue = createWarning({
  name,
  code: 'FST_SESSION_VALUE',
  message: 'The session key %s. In a store of JSON, as RedisStore and most others are, it %s. Store in its place %s.',
  unlimited: true
})
