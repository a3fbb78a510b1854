/** Random programs of what applications do with sessions. */
import fc from 'fast-check'

export const SECOND = 1000
export const MINUTE = 60 * SECOND

/** The options of the plugin. */
export interface Config {
  store: 'three methods' | 'touch' | 'memory'
  /** Whether the store answers later, as a remote one does. */
  isRemote: boolean
  rolling: boolean
  saveUninitialized: boolean
  prefix: string | undefined
  cookie: {
    maxAge?: number
    /** Milliseconds from the start of the program. */
    expires?: number
    secure?: boolean | 'auto'
    path?: string
    sameSite?: 'lax' | 'strict'
    httpOnly?: boolean
    domain?: string
    partitioned?: boolean
  }
}

/** Data, described so that each library gets its own. */
export type Value =
  | { is: 'plain', value: unknown }
  | { is: 'date', time: number }
  | { is: 'money', amount: number }

export type Form = 'promise' | 'callback' | 'forgotten promise' | 'forgotten callback'
export type Operation = 'save' | 'regenerate' | 'reload' | 'destroy'
export type Attributes = {
  path?: string, httpOnly?: boolean, secure?: boolean, sameSite?: 'lax' | 'strict', domain?: string, priority?: 'high'
}

/** What a handler does. */
export type Step =
  | { do: 'get' | 'delete' | 'change within' | 'delete within', key: string }
  | { do: 'property', key: string }
  | { do: 'set' | 'assign', key: string, value: Value }
  | { do: 'hide' | 'define a getter', key: string }
  | { do: 'set a symbol' | 'look' | 'touch' | 'fail' }
  | { do: 'maxAge', maxAge: number | null }
  | { do: 'expires', after: number | null }
  | { do: 'options', maxAge?: number, after?: number, attributes?: Attributes }
  | { do: 'attributes', attributes: Attributes }
  | { do: Operation, form: Form, keys?: string[], isFirst: boolean }
  | { do: 'end elsewhere' | 'write elsewhere' }

export interface Request {
  visitor: 0 | 1
  /** The pause before it, in milliseconds. */
  pause: number
  https: boolean
  method: 'GET' | 'OPTIONS' | 'POST'
  isFromElsewhere: boolean
  /** Which cookies it sends: the visitor's own, the previous one, a forged one before the own one, or none. */
  sends: 'own' | 'old' | 'forged and own' | 'nothing'
  path: '/' | '/app' | '/app/in' | '/apple'
  steps: Step[]
}

export interface Program {
  config: Config
  requests: Request[]
}

const mostly = <T>(usual: T, ...others: T[]): fc.Arbitrary<T> => fc.oneof(
  { weight: 20, arbitrary: fc.constant(usual) }, ...others.map(other => ({ weight: 1, arbitrary: fc.constant(other) }))
)
const rarely = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined, freq: 2 })

const keys = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom('user', 'cart', 'theme') },
  { weight: 2, arbitrary: fc.constantFrom('options', 'touch', 'list', 'isSaved', 'toString', '7') },
  { weight: 1, arbitrary: fc.constantFrom('data', 'constructor', 'sessionId', 'get') }
)
// Writing it ends the process of version 11.
const readKeys = fc.oneof({ weight: 9, arbitrary: keys }, { weight: 1, arbitrary: fc.constant('__proto__') })
const usualKeys = fc.constantFrom('user', 'cart', 'theme')
const maxAges = fc.constantFrom(30 * SECOND, MINUTE, 10 * MINUTE)

const plain = fc.oneof(
  fc.constantFrom<unknown>(0, 1, 'max', '', true, false, null, undefined),
  fc.record({ n: fc.nat({ max: 3 }), list: fc.array(fc.nat({ max: 3 }), { maxLength: 2 }) }, { noNullPrototype: true }),
  fc.array(fc.nat({ max: 3 }), { maxLength: 3 })
)
const values: fc.Arbitrary<Value> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ is: fc.constant('plain' as const), value: plain }) },
  fc.record({ is: fc.constant('date' as const), time: fc.constantFrom(0, 1_900_000_000_000) }),
  fc.record({ is: fc.constant('money' as const), amount: fc.nat({ max: 3 }) })
)

const settings: fc.Arbitrary<Attributes> = fc.record({
  path: fc.constantFrom('/', '/app'),
  httpOnly: fc.boolean(),
  secure: fc.boolean(),
  sameSite: fc.constantFrom('lax', 'strict'),
  domain: fc.constant('example.org')
}, { requiredKeys: [] })

const attributes: fc.Arbitrary<Attributes> = fc.oneof(
  { weight: 7, arbitrary: settings }, { weight: 1, arbitrary: fc.constant<Attributes>({ priority: 'high' }) }
)

const forms = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom<Form>('promise', 'callback') },
  { weight: 1, arbitrary: fc.constantFrom<Form>('forgotten promise', 'forgotten callback') }
)
const isFirst = mostly(false, true)

const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('get', 'property'), key: readKeys }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete'), key: keys }) },
  // In version 11, other keys would change what all sessions share, and so later programs.
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('change within', 'delete within'), key: usualKeys }) },
  { weight: 7, arbitrary: fc.record({ do: fc.constantFrom('set', 'assign'), key: keys, value: values }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('hide', 'hide', 'define a getter'), key: usualKeys }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('look') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('touch', 'touch', 'touch', 'set a symbol', 'fail') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('maxAge'), maxAge: fc.oneof(maxAges, maxAges, fc.constant(null)) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('expires'), after: fc.oneof(maxAges, maxAges, fc.constant(null)) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('options'), maxAge: maxAges, after: maxAges, attributes }, { requiredKeys: ['do'] })
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('attributes'), attributes }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('save'), form: forms, isFirst }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('reload', 'destroy'), form: forms, isFirst }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('regenerate'), form: forms, isFirst, keys: rarely(fc.array(keys, { maxLength: 3 })) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('end elsewhere', 'write elsewhere') }) }
) as fc.Arbitrary<Step>

const requests: fc.Arbitrary<Request> = fc.record({
  visitor: mostly<0 | 1>(0, 1, 1, 1, 1),
  pause: fc.constantFrom(0, 0, 1, 20, 40, 60, 400, 7200).map(seconds => seconds * SECOND),
  https: mostly(true, false, false),
  method: mostly<Request['method']>('GET', 'POST', 'OPTIONS'),
  isFromElsewhere: mostly(false, true),
  sends: mostly<Request['sends']>('own', 'old', 'forged and own', 'nothing'),
  path: mostly<Request['path']>('/app/in', '/app', '/', '/apple'),
  steps: fc.array(steps, { maxLength: 5 })
})

const lifetimes = fc.oneof(
  fc.constant({}), fc.record({ maxAge: maxAges }), fc.record({ maxAge: maxAges }),
  fc.record({ expires: fc.constantFrom(MINUTE, 60 * MINUTE) })
)
const cookies = fc.tuple(lifetimes, fc.record({
  secure: fc.constantFrom(false, false, false, undefined, true, 'auto'),
  path: mostly<string | undefined>(undefined, '/app'),
  sameSite: mostly<'lax' | 'strict' | undefined>(undefined, 'lax', 'strict'),
  httpOnly: mostly<boolean | undefined>(undefined, false, true),
  domain: mostly<string | undefined>(undefined, 'example.com'),
  partitioned: mostly<boolean | undefined>(undefined, true)
})).map(([lifetime, more]) => ({ ...lifetime, ...more }))

export const programs: fc.Arbitrary<Program> = fc.record({
  config: fc.record({
    store: fc.constantFrom('three methods', 'touch', 'memory'),
    isRemote: fc.boolean(),
    rolling: fc.boolean(),
    saveUninitialized: fc.boolean(),
    prefix: mostly<string | undefined>(undefined, 's:'),
    cookie: cookies
  }),
  requests: fc.array(requests, { minLength: 1, maxLength: 6 })
}) as fc.Arbitrary<Program>
