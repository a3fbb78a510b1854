/** The intended differences between this version and version 11. The table in `docs/migrating.md` is made from them. */
import {
  MINUTE, SECOND, type Config, type Operation, type Program, type Request, type Step
} from './program'
import type { Facts } from './run'

/** A fact that differs between the versions, and what led to it. */
export interface Difference {
  /** What was seen, without the step's number: 'status', 'look.isSaved', 'cookie.expires', 'answer' for what a step returned. */
  fact: string
  theirs: any
  ours: any
  allOfTheirs: Facts
  allOfOurs: Facts
  /** The step at which it was seen. Undefined for the reply. */
  step: Step | undefined
  index: number
  config: Config
  request: Request
  /** The steps of this request until then. */
  did: Step[]
  /** The steps of earlier requests. */
  before: Step[]
  /** Whether version 11 started a session with this request. */
  isNew: boolean
  /** Milliseconds since the program began. */
  time: number
  wasHttps: boolean
  wasHttp: boolean
}

/** An intended difference. */
export interface Meant {
  version11: string
  version12: string
  why: string
  /** The smallest program that shows it. */
  example: Program
  fits (difference: Difference): boolean
  /** From here on the versions have different sessions, so the rest isn't compared. */
  parts?: true
}

const RESERVED = ['sessionId', 'get']
const ATTRIBUTES = ['path', 'httpOnly', 'secure', 'sameSite', 'domain', 'partitioned']
const LIFETIME = ['maxAge', 'expires']
const DATA = ['keys', 'data', 'isModified', 'id', 'session']

/** Whether a fact is about the handler's look at the session, or about the cookie that is sent. */
const isAbout = (fact: string, names: string[]): boolean => names.includes(fact.replace(/^(look|cookie)\./, ''))
const isCookie = (fact: string): boolean => fact.startsWith('cookie')
const has = (steps: Step[], ...verbs: Array<Step['do']>): boolean => steps.some(step => verbs.includes(step.do))
const isForgotten = (step: Step): boolean => 'form' in step && step.form.startsWith('forgotten')
const isUndefined = (step: Step): boolean => 'value' in step && step.value.is === 'plain' && step.value.value === undefined
const takesKeys = (step: Step): boolean => step.do === 'regenerate' && step.keys !== undefined
const keysIn = (fact: unknown): string[] => String(fact).split(',')
const isRefused = (answer: any): boolean => answer?.error === true

const isStrict = ({ cookie }: Config, did: Step[]): boolean => cookie.sameSite === 'strict' ||
  did.some(step => 'attributes' in step && step.attributes?.sameSite === 'strict')

const choosesEnd = (step: Step): boolean => step.do === 'expires' || (step.do === 'options' && step.after !== undefined)
const choosesLifetime = (step: Step): boolean =>
  choosesEnd(step) || step.do === 'maxAge' || (step.do === 'options' && step.maxAge !== undefined)
const choosesAttributes = (step: Step): boolean => 'attributes' in step && step.attributes !== undefined
const hasPassed = ({ cookie }: Config, time: number): boolean => cookie.expires !== undefined && cookie.maxAge === undefined && cookie.expires <= time

// For the examples.
const look: Step = { do: 'look' }
const call = (operation: Operation, more: object = {}): Step => ({ do: operation, form: 'promise', isFirst: false, ...more }) as Step
const set = (key: string, value: unknown): Step => ({ do: 'set', key, value: { is: 'plain', value } })
const visit = (steps: Step[], more: Partial<Request> = {}): Request => ({
  visitor: 0, pause: 0, https: true, method: 'GET', isFromElsewhere: false, sends: 'own', path: '/app/in', steps, ...more
})
const program = (requests: Request[], config: Partial<Config> = {}): Program => ({
  config: { store: 'three methods', isRemote: true, rolling: true, saveUninitialized: true, prefix: undefined, cookie: { maxAge: MINUTE }, ...config },
  requests
})

/** For a difference, the first entry that fits counts. */
export const DIFFERENCES: Meant[] = [
  {
    version11: '`isSaved()` is `false` for a session that was just loaded, and stays `true` after a `save()`, whatever changes.',
    version12: '`true` while the store has the session as it is.',
    why: 'It means what it says.',
    example: program([visit([set('user', 1)]), visit([look])]),
    fits: ({ fact, allOfOurs, ours, index }) =>
      fact === 'look.isSaved' && (ours === false || allOfOurs.get(`${index} look.isModified`) === false)
  },
  {
    version11: '`cookie.priority` is typed and not sent.',
    version12: 'It is sent.',
    why: 'It was forgotten.',
    example: program([visit([{ do: 'options', attributes: { priority: 'high' } }])]),
    fits: ({ fact, theirs, ours }) => fact === 'cookie.priority' && theirs === undefined && ours === 'High'
  },
  {
    version11: 'If there are several cookies with the session\'s name, the first one counts.',
    version12: 'The first one that is signed and known counts.',
    why: 'One bad cookie logged visitors out.',
    example: program([visit([set('user', 1)]), visit([look], { sends: 'forged and own' })]),
    fits: ({ request }) => request.sends === 'forged and own',
    parts: true
  },
  {
    version11: 'With `saveUninitialized`, a preflight (`OPTIONS`) starts a session, and so does a request from another site to which the browser adds no cookie: a `POST`, and with `sameSite: \'strict\'` a link.',
    version12: 'They start one only if something is stored in it.',
    why: 'Browsers keep no cookie of a preflight. The session of such a request would replace the visitor\'s own.',
    example: program([visit([], { method: 'OPTIONS' })]),
    fits: ({ fact, theirs, ours, did, config, request: { method, isFromElsewhere } }) => fact === 'cookie' && theirs === 'sent' && ours !== 'sent' &&
      (method === 'OPTIONS' || (isFromElsewhere && (method === 'POST' || isStrict(config, did)))),
    parts: true
  },
  {
    version11: 'A request with a cookie from before a `regenerate()` starts a new, empty session.',
    version12: 'For 30 seconds its reply leaves the cookie alone.',
    why: 'The browser sent it before the new cookie came. The late reply would log the visitor out again.',
    example: program([visit([set('user', 1)]), visit([call('regenerate')]), visit([], { sends: 'old' })]),
    fits: ({ fact, theirs, ours, before }) => fact === 'cookie' && theirs !== 'none' && ours === 'none' && has(before, 'regenerate'),
    parts: true
  },
  {
    version11: 'What a handler doesn\'t await happens after the reply.',
    version12: 'It has happened when the reply goes out.',
    why: 'A forgotten `await` lost logins.',
    example: program([visit([set('user', 1)]), visit([call('regenerate', { form: 'forgotten promise' })])]),
    fits: ({ did, config }) => config.isRemote && did.some(isForgotten),
    parts: true
  },
  {
    version11: '`regenerate(keys)` fails, or breaks the session, if one of the session\'s own names is among the keys.',
    version12: 'Such names are left out.',
    why: 'They are not data.',
    example: program([visit([call('regenerate', { keys: ['sessionId'] })])]),
    fits: ({ did }) => did.some(step => step.do === 'regenerate' && step.keys?.some(key => RESERVED.includes(key))),
    parts: true
  },
  {
    version11: 'Data called `isSaved` or `isModified` make a reply a 500.',
    version12: 'They are data.',
    why: 'The library doesn\'t call methods through the session.',
    example: program([visit([set('isSaved', 1)], { https: false })]),
    fits: ({ fact, theirs, ours, did, before }) => fact === 'status' && theirs === 500 && ours === 200 &&
      [...before, ...did].some(step => 'value' in step && step.key === 'isSaved'),
    parts: true
  },
  {
    version11: 'Data called `get` or `save` break the session, and `sessionId` is a `TypeError`.',
    version12: '`FST_ERR_SESSION_RESERVED_KEY`.',
    why: 'The names by which a session is read, written or ended stay what they are.',
    example: program([visit([set('get', 1)])]),
    fits: ({ fact, ours, step }) => fact === 'answer' && isRefused(ours) && step !== undefined && 'key' in step && RESERVED.includes(step.key),
    parts: true
  },
  {
    version11: '`get()` also returns methods, prototypes and the id.',
    version12: 'Data only.',
    why: 'All visitors saw what one of them changed in a prototype.',
    example: program([visit([{ do: 'get', key: '__proto__' }])]),
    fits: ({ fact, theirs, ours, step }) => fact === 'answer' && step?.do === 'get' && JSON.stringify(ours) === '{}' &&
      ['a function', 'a prototype', 'an id'].includes(theirs)
  },
  {
    version11: '`session.data` is `undefined`.',
    version12: 'It is a method until the application stores its own data under that name.',
    why: 'It is new. `@fastify/passport` asks for it.',
    example: program([visit([{ do: 'property', key: 'data' }])]),
    fits: ({ fact, theirs, ours, step }) => fact === 'answer' && step?.do === 'property' && step.key === 'data' &&
      JSON.stringify(theirs) === '{}' && ours === 'a function'
  },
  {
    version11: 'A key that is set to `undefined`, or that `regenerate(keys)` doesn\'t find, is a key of the session until the reply, and with MemoryStore for longer.',
    version12: 'It isn\'t a key.',
    why: 'JSON has no `undefined`, so other stores lose it.',
    example: program([visit([set('user', undefined), look])]),
    fits: ({ fact, theirs, ours, did, before, config }) => fact === 'look.keys' && keysIn(ours).every(key => keysIn(theirs).includes(key)) &&
      (config.store === 'memory' ? [...before, ...did] : did).some(step => isUndefined(step) || takesKeys(step))
  },
  {
    version11: 'After `regenerate(keys)`, `isModified()` is `true`.',
    version12: '`false`.',
    why: 'The new session is written already.',
    example: program([visit([set('user', 1), call('regenerate', { keys: ['user'] }), look])]),
    fits: ({ fact, theirs, ours, did }) => fact === 'look.isModified' && theirs === true && ours === false && did.some(takesKeys)
  },
  {
    version11: 'A getter that is defined on the session is stored as a value.',
    version12: 'It is not stored.',
    why: 'A computed value would be data of the next request.',
    example: program([visit([{ do: 'define a getter', key: 'user' }]), visit([look])]),
    fits: ({ fact, before, did }) => has([...before, ...did], 'define a getter') && (isAbout(fact, DATA) || isCookie(fact) || fact === 'answer'),
    parts: true
  },
  {
    version11: '`destroy()` leaves the cookie in the browser.',
    version12: 'The cookie is cleared.',
    why: 'A dead cookie is sent for ever.',
    example: program([visit([set('user', 1)]), visit([call('destroy')])]),
    fits: ({ fact, theirs, ours, did }) => fact === 'cookie' && theirs === 'none' && ours === 'cleared' && has(did, 'destroy')
  },
  {
    version11: 'One reply can clear the cookie and set it.',
    version12: 'It has at most one cookie of that name.',
    why: 'Only the last counts.',
    example: program([visit([set('user', 1)]), visit([call('save')], { pause: 10 * MINUTE })], { rolling: false, saveUninitialized: false }),
    fits: ({ fact, theirs, ours }) => fact === 'cookies' && theirs === 2 && ours === undefined
  },
  {
    version11: '`save()` of a session that was destroyed or replaced writes it again.',
    version12: '`FST_ERR_SESSION_GONE`.',
    why: 'Logged out stays logged out.',
    example: program([visit([set('user', 1)]), visit([call('destroy'), call('save', { isFirst: true })])]),
    fits: ({ fact, ours, step, did, config, time }) => fact === 'answer' && step?.do === 'save' && isRefused(ours) &&
      (has(did, 'destroy', 'regenerate', 'end elsewhere') || hasPassed(config, time)),
    parts: true
  },
  {
    version11: 'If the cookie may go over https only, and a request came over http, a change after `save()` is not stored, though the cookie is sent.',
    version12: 'It is stored.',
    why: 'The visitor has the session.',
    example: program([visit([call('save'), set('user', 1)], { https: false }), visit([look])], { cookie: { maxAge: MINUTE } }),
    fits: ({ fact, before, config, wasHttp }) => isAbout(fact, DATA) && config.cookie.secure !== false && wasHttp && has(before, 'save'),
    parts: true
  },
  {
    version11: '`reload()` of a session that has ended leaves an empty one with its id.',
    version12: '`FST_ERR_SESSION_GONE`, and the session stays as it was.',
    why: 'The empty one was saved under the old id.',
    example: program([visit([set('user', 1)]), visit([{ do: 'end elsewhere' }, call('reload')])]),
    fits: ({ fact, ours, step, did, config, time }) => fact === 'answer' && step?.do === 'reload' && isRefused(ours) &&
      (has(did, 'destroy', 'end elsewhere') || hasPassed(config, time)),
    parts: true
  },
  {
    version11: 'A call on an object that `regenerate()` or `reload()` has replaced acts on the old session.',
    version12: 'It acts on the session that took its place.',
    why: 'A logout through a stale object logged nobody out.',
    example: program([visit([set('user', 1)]), visit([call('regenerate'), call('reload', { isFirst: true })])]),
    fits: ({ fact, did }) => (isCookie(fact) || isAbout(fact, [...DATA, ...LIFETIME]) || fact === 'answer') &&
      did.some(step => 'isFirst' in step && step.isFirst) && did.filter(step => 'isFirst' in step).length > 1,
    parts: true
  },
  {
    version11: 'A session that ends while a request uses it is written again by that request.',
    version12: 'It has ended, and the cookie is cleared.',
    why: 'Logged out stays logged out.',
    example: program([visit([set('user', 1)]), visit([{ do: 'end elsewhere' }])]),
    fits: ({ did, before, fact }) => has([...before, ...did], 'end elsewhere') && (isCookie(fact) || isAbout(fact, DATA)),
    parts: true
  },
  {
    version11: 'A request writes its whole session over what another one has stored in the meantime.',
    version12: 'It writes only what it changed.',
    why: 'Parallel requests don\'t lose each other\'s changes.',
    example: program([visit([set('user', 1)]), visit([{ do: 'write elsewhere' }]), visit([look])]),
    fits: ({ before, did, fact }) => has([...before, ...did], 'write elsewhere') && isAbout(fact, DATA),
    parts: true
  },
  {
    version11: 'The cookie of a session that `regenerate()` made is not sent with `saveUninitialized: false`, though the session is stored.',
    version12: 'It is sent.',
    why: 'Nobody could reach the session.',
    example: program([visit([call('regenerate')])], { saveUninitialized: false }),
    fits: ({ fact, theirs, ours, did, config }) =>
      fact === 'cookie' && theirs !== 'sent' && ours === 'sent' && !config.saveUninitialized && has(did, 'regenerate'),
    parts: true
  },
  {
    version11: 'With `saveUninitialized: false` or `rolling: false`, `reload()` after `save()` keeps the cookie from being sent.',
    version12: 'It is sent.',
    why: 'Nobody could reach a new session.',
    example: program([visit([call('save'), call('reload')])], { saveUninitialized: false }),
    fits: ({ fact, theirs, ours, did, config }) =>
      fact === 'cookie' && theirs !== 'sent' && ours === 'sent' && !(config.saveUninitialized && config.rolling) &&
      has(did, 'save') && has(did, 'reload'),
    parts: true
  },
  {
    version11: 'With `rolling: false`, `touch()`, `options()` and a lifetime that is set on the cookie do nothing to a session that is stored.',
    version12: 'They are saved and sent.',
    why: 'A handler that asks for it means it.',
    example: program([visit([set('user', 1)]), visit([{ do: 'touch' }])], { rolling: false }),
    fits: ({ fact, theirs, ours, did, before, config }) => !config.rolling &&
      ((fact === 'cookie' && theirs === 'none' && ours === 'sent' &&
        did.some(step => step.do === 'touch' || step.do === 'options' || choosesLifetime(step))) ||
      (before.some(step => step.do === 'touch' || choosesLifetime(step)) && (isCookie(fact) || isAbout(fact, [...DATA, ...LIFETIME])))),
    parts: true
  },
  {
    version11: 'With `rolling: false`, `cookie.expires` of a session that was loaded is always a full `maxAge` away.',
    version12: 'It is the cookie\'s end, or `null` if that isn\'t known.',
    why: 'It means what it says.',
    example: program([visit([set('user', 1)]), visit([look], { pause: SECOND })], { rolling: false }),
    fits: ({ fact, ours, theirs, config }) => fact === 'look.expires' && !config.rolling && theirs !== null && (ours === null || ours < theirs)
  },
  {
    version11: 'A new session in place of an expired one takes over what a handler chose for the old one: lifetime, attributes.',
    version12: 'It is as configured.',
    why: 'It may be another visitor\'s.',
    example: program([visit([{ do: 'maxAge', maxAge: 30 * SECOND }]), visit([], { pause: 10 * MINUTE })]),
    fits: ({ fact, before, isNew }) => isNew && isAbout(fact, [...LIFETIME, ...ATTRIBUTES]) &&
      before.some(step => choosesLifetime(step) || choosesAttributes(step)),
    parts: true
  },
  {
    version11: 'A session that has expired is replaced by an empty record at once, also with `saveUninitialized: false`.',
    version12: 'It is replaced when the reply goes out, and only if there is something to store.',
    why: 'Nobody could reach the record.',
    example: program([visit([set('user', 1)]), visit([{ do: 'write elsewhere' }], { pause: 10 * MINUTE })], { saveUninitialized: false }),
    fits: ({ fact, step, theirs, ours, time }) => fact === 'answer' && step?.do === 'write elsewhere' && theirs === null &&
      ours === 'nothing there' && time >= 30 * SECOND,
    parts: true
  },
  {
    version11: 'A configured `expires` that has passed is sent at first, and left out after `regenerate()`.',
    version12: 'It is always sent, and the stored session has expired.',
    why: 'The configuration applies to all sessions alike.',
    example: program([visit([call('regenerate')], { pause: MINUTE })], { cookie: { expires: SECOND } }),
    fits: ({ fact, config, time }) => hasPassed(config, time) && (isCookie(fact) || isAbout(fact, [...LIFETIME, ...DATA])),
    parts: true
  },
  {
    version11: '`cookie.expires =` and `options({ expires })` do nothing, or count for one reply only, if there is a `maxAge`.',
    version12: 'What a handler chose counts until it chooses again.',
    why: '\'Until Sunday\' is as much a lifetime as \'for an hour\'.',
    example: program([visit([{ do: 'options', after: 30 * SECOND }])]),
    fits: ({ fact, before, did }) => isAbout(fact, LIFETIME) && [...before, ...did].some(choosesEnd),
    parts: true
  },
  {
    version11: '`cookie.expires = null` also removes the session\'s end on the server.',
    version12: 'The cookie ends with the browser, and the session after the configured idle timeout.',
    why: 'The server must not keep the session for ever.',
    example: program([visit([set('user', 1), { do: 'expires', after: null }]), visit([look], { pause: 10 * MINUTE })]),
    fits: ({ fact, before, time }) => (isCookie(fact) || isAbout(fact, DATA)) && time >= 30 * SECOND &&
      before.some(step => step.do === 'expires' && step.after === null),
    parts: true
  },
  {
    version11: 'A lifetime that was set and not saved survives `reload()` if the store doesn\'t have another one, or is MemoryStore.',
    version12: 'It is dropped.',
    why: 'So is everything else that was not saved.',
    example: program([visit([{ do: 'options', maxAge: 10 * MINUTE }, call('reload')])]),
    fits: ({ fact, did }) => isAbout(fact, LIFETIME) && has(did, 'reload') && did.some(choosesLifetime),
    parts: true
  },
  {
    version11: '`cookie.maxAge = null` ends the cookie at once.',
    version12: 'It ends with the browser.',
    why: 'As with `cookie.expires = null`.',
    example: program([visit([{ do: 'maxAge', maxAge: null }])]),
    fits: ({ fact, before, did }) =>
      isAbout(fact, LIFETIME) && [...before, ...did].some(step => step.do === 'maxAge' && step.maxAge === null),
    parts: true
  },
  {
    version11: '`regenerate()` forgets a lifetime that is set on `session.cookie`.',
    version12: 'It is taken along.',
    why: 'A handler may set \'remember me\' before or after `regenerate()`.',
    example: program([visit([{ do: 'maxAge', maxAge: 10 * MINUTE }, call('regenerate')])]),
    fits: ({ fact, did }) => isAbout(fact, LIFETIME) && has(did, 'regenerate') && did.some(choosesLifetime),
    parts: true
  },
  {
    version11: 'Attributes in a stored record take precedence over the configuration: a change by `options()` or on `session.cookie` lasts, and so does what `secure: \'auto\'` first came to.',
    version12: 'Attributes hold for one request; only the lifetime is kept.',
    why: 'Otherwise a hardened configuration never applies.',
    example: program([visit([{ do: 'options', attributes: { path: '/app' } }]), visit([])]),
    fits: ({ fact, before, did, config, wasHttps, request }) =>
      (isAbout(fact, ATTRIBUTES) && [...before, ...did].some(choosesAttributes)) ||
      (fact === 'cookie' && before.some(choosesAttributes)) ||
      ((isAbout(fact, ATTRIBUTES) || isCookie(fact)) && config.cookie.secure === 'auto' && (wasHttps || request.https)),
    parts: true
  }
]
