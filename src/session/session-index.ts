import { Claims, GRACE, markOf } from './claims'
import { handleOf, IndexKeys, partsOf } from './index-keys'
import { knownEndOf } from './life'
import { destroy } from './operations'
import { SessionState, type Context, type Index } from './state'
import { Visit } from './visit'
import { fingerprint } from '../diagnostics'
import { StoreError } from '../errors'
import type { IndexSettings, RequestCookie } from '../options/settings'
import { eachOf, promised } from '../stores/call'
import type { KeyedEntry, Repository, Stored } from '../stores/repository'
import { keysIn, USER } from '../values/claim'
import { lastUseIn } from '../values/lifetime'
import { createdAtOf } from '../values/record'
import { isUnreadable } from '../values/unreadable'
import type {
  FastifySessionObject, SessionList, SessionPage, Sessions, SessionsBy, SessionView
} from '../types/session'
import type { EndCode, Revoking, SessionRecord, StoreKey } from '../types/store'

const PAGE = 100

/** The result of a revocation. */
interface Revoked {
  /** Sessions that were ended. */
  readonly ended: readonly StoreKey[]
  /** Whether the requested sessions are among them. */
  readonly wasThere: boolean
}

/**
 * Finds, lists and ends sessions by user and by the names of the option `index`. They are entered in the store's index
 * when they are written.
 */
export class SessionIndex implements Index {
  readonly #settings: IndexSettings
  readonly #context: Context
  readonly #repository: Repository
  readonly #keys: IndexKeys
  readonly claims: Claims

  constructor (settings: IndexSettings, context: Context) {
    this.#settings = settings
    this.#context = context
    this.#repository = context.repository
    this.#keys = new IndexKeys(settings, context.settings)
    this.claims = new Claims(settings, this.#keys, this.#repository, this)
  }

  get names (): readonly string[] {
    return this.#keys.names
  }

  get hasUsers (): boolean {
    return this.#keys.has(USER)
  }

  /** Lists the sessions of this session's user. */
  async list (state: SessionState, page?: SessionPage): Promise<SessionList> {
    const key = this.#keys.keyOf(USER, state.session)
    return key === undefined ? [] : await this.#views(key, page, state.isInStore ? state.storeKey : undefined)
  }

  /** Ends a session of this session's user. */
  async revokeFor (state: SessionState, handle: string): Promise<boolean> {
    const key = this.#keys.keyOf(USER, state.session)
    const parts = partsOf(handle)
    if (key === undefined || parts?.key !== key) return false
    let isOwn = state.isInStore && fingerprint(state.storeKey) === parts.fingerprint
    let wasThere = isOwn
    if (!isOwn) {
      const revoked = await this.#revoke(key, { fingerprint: parts.fingerprint })
      wasThere = revoked.wasThere
      // The handle may name a session that this one has replaced.
      isOwn = state.hasId && revoked.ended.includes(state.storeKey)
    }
    if (isOwn) await promised<void>(answer => state.visit.pending.run(answer => destroy(state, answer, 'revoked'), answer))
    return wasThere
  }

  /** Ends all sessions of this session's user but this one. */
  async revokeOthers (state: SessionState): Promise<number> {
    const key = this.#keys.keyOf(USER, state.session)
    return key === undefined ? 0 : (await this.#revoke(key, { except: state.storeKey })).ended.length
  }

  /** @throws FST_ERR_SESSION_INDEX, FST_ERR_SESSION_USER */
  by (name: string, value: string | number): SessionsBy {
    const key = this.#keys.keyFor(name, value)
    return {
      list: page => this.#views(key, page),
      revoke: async () => (await this.#revoke(key, {})).ended.length
    }
  }

  async forUser (user: string | number, page?: SessionPage): Promise<SessionList> {
    return await this.by(USER, user).list(page)
  }

  async revokeUser (user: string | number): Promise<number> {
    return await this.by(USER, user).revoke()
  }

  async revoke (handle: string): Promise<boolean> {
    const parts = partsOf(handle)
    if (parts === undefined) return false
    return (await this.#revoke(parts.key, { fingerprint: parts.fingerprint })).wasThere
  }

  async count (): Promise<number> {
    return await promised<number>(answer => this.#repository.count(answer)) as number
  }

  /**
   * Marks the sessions to be ended in one atomic step, so that no regenerate() escapes. Then ends them, and those that
   * an earlier call has left.
   */
  async #revoke (key: string, which: Revoking): Promise<Revoked> {
    const found = await promised<number>(answer => this.#repository.revoke(key, which, answer)) as number
    const tried = new Set<StoreKey>()
    const ended: StoreKey[] = []
    for (;;) {
      const answered = await promised<StoreKey[]>(answer => this.#repository.endingsOf(key, answer))
      const endings = listOf('endingsOf', answered)
      // If a store doesn't release them, it would return them for ever.
      const ids = endings.filter(storeKey => !tried.has(storeKey))
      if (ids.length === 0) break
      for (const storeKey of await this.endAll(key, ids, 'revoked')) ended.push(storeKey)
      for (const storeKey of ids) tried.add(storeKey)
    }
    // Sessions that an earlier call has left don't count.
    const isWanted = (storeKey: StoreKey): boolean => found > 0 || fingerprint(storeKey) === which.fingerprint
    return { ended, wasThere: ended.some(isWanted) }
  }

  /** Ends revoked sessions. Resolves to those that existed. */
  async endAll (key: string, storeKeys: readonly StoreKey[], code: EndCode): Promise<StoreKey[]> {
    const keys = await eachOf(storeKeys, storeKey => this.#end(key, storeKey, code))
    await promised<void>(answer => this.#repository.release(key, storeKeys, answer))
    await this.#releaseOthers(key, storeKeys, keys)
    return storeKeys.filter((_storeKey, i) => keys[i] !== undefined)
  }

  /** Resolves to all keys of the session in the index; undefined if it didn't exist. */
  async #end (key: string, storeKey: StoreKey, code: EndCode): Promise<string[] | undefined> {
    const state = await this.#stored(key, storeKey)
    if (state === undefined) return undefined
    const removed = await promised<SessionRecord | false>(answer => this.#repository.end(storeKey, answer, code))
    // It may have been entered under another key in the meantime.
    return removed === false ? undefined : keysIn(removed ?? (state.record as SessionRecord))
  }

  /** Removes the sessions from their other keys, too. If that fails, the next list drops the entries. */
  async #releaseOthers (
    key: string, storeKeys: readonly StoreKey[], keys: ReadonlyArray<readonly string[] | undefined>
  ): Promise<void> {
    const idsByKey = new Map<string, StoreKey[]>()
    storeKeys.forEach((storeKey, i) => {
      for (const other of keys[i] ?? []) {
        if (other === key) continue
        const ids = idsByKey.get(other)
        if (ids === undefined) idsByKey.set(other, [storeKey])
        else ids.push(storeKey)
      }
    })
    await eachOf([...idsByKey], async ([other, ids]) => {
      await promised<void>(answer => this.#repository.release(other, ids, answer)).catch(() => {})
    })
  }

  async tidy (key: string, count: number): Promise<void> {
    const entries = await this.#entriesOf(key, Infinity, count)
    await eachOf(entries, entry => this.#look(key, entry, undefined))
  }

  async dropVain (keys: readonly string[], storeKey: StoreKey): Promise<void> {
    const state = await this.#inspected(storeKey)
    await eachOf(keys, async key => {
      if (state !== undefined && this.#isUnder(key, state)) return
      await promised<void>(answer => this.#repository.release(key, [storeKey], answer))
    })
  }

  /** Fills a page with living sessions. */
  async #views (key: string, page: SessionPage | undefined, current?: StoreKey): Promise<SessionList> {
    const limit = limitIn(page)
    const views: SessionList = []
    let before = timeIn(page?.cursor)
    while (views.length < limit) {
      const count = Math.min(limit - views.length + 1, PAGE)
      const from = before
      const entries = await this.#entriesOf(key, from, count)
      const seen = await eachOf(entries, entry => this.#look(key, entry, current))
      for (const { claimedAt, view } of seen) {
        if (view !== undefined && views.length === limit) {
          return Object.assign(views, { next: String(before) })
        }
        before = claimedAt
        if (view !== undefined) views.push(view)
      }
      if (entries.length < count) return views
    }
    return Object.assign(views, { next: String(before) })
  }

  async #entriesOf (key: string, before: number, count: number): Promise<KeyedEntry[]> {
    const answered = await promised<KeyedEntry[]>(answer => this.#repository.claimsOf(key, before, count, answer))
    return listOf('claimsOf', answered)
  }

  /**
   * The session of an entry. If it has ended, the entry is dropped, unless the session is just being written or
   * replaced.
   */
  async #look (
    key: string, entry: KeyedEntry, current: StoreKey | undefined
  ): Promise<{ claimedAt: number, view: SessionView | undefined }> {
    const { sessionId: storeKey, claimedAt, age } = entry
    const state = await this.#stored(key, storeKey)
    if (state !== undefined) return { claimedAt, view: await this.#view(key, entry, state, current) }
    if (age >= GRACE && !await this.#isMarked(storeKey)) {
      await promised<void>(answer => this.#repository.release(key, [storeKey], answer))
    }
    return { claimedAt, view: undefined }
  }

  /** Whether a new session is about to take over the entries of this one, which is gone. */
  async #isMarked (storeKey: StoreKey): Promise<boolean> {
    return (await this.#entriesOf(markOf(storeKey), Infinity, 1)).length > 0
  }

  async #view (
    key: string, entry: KeyedEntry, state: SessionState, current: StoreKey | undefined
  ): Promise<SessionView> {
    const { storeKey, authenticatedAt, life: { lifetime } } = state
    // `#stored` found it.
    const stored = state.found.stored as Stored
    const { record } = stored
    const end = knownEndOf(stored, lifetime)
    return {
      // Applications written before 12.1 may describe their sessions by these names.
      deviceBound: state.deviceKey !== undefined,
      authenticatedAt: authenticatedAt === undefined ? null : new Date(authenticatedAt),
      ...await this.#description(state.session),
      handle: handleOf(key, entry.fingerprint),
      current: storeKey === current,
      createdAt: new Date(createdAtOf(record)),
      lastSeenAt: new Date(lastUseIn(record)),
      expiresAt: end === undefined ? null : new Date(end)
    }
  }

  /** A session that can't be read has no description. It stays in the list, so that it can be ended. */
  async #description (session: FastifySessionObject): Promise<object> {
    try {
      return await this.#settings.describe(session)
    } catch (error) {
      if (isUnreadable(error)) return {}
      throw error
    }
  }

  /** A session as the store has it, if it is under the key. */
  async #stored (key: string, storeKey: StoreKey): Promise<SessionState | undefined> {
    const state = await this.#inspected(storeKey)
    return state !== undefined && this.#isUnder(key, state) ? state : undefined
  }

  async #inspected (storeKey: StoreKey): Promise<SessionState | undefined> {
    const { terms } = this.#cookie
    const stored = await promised<Stored>(answer => this.#repository.inspect(storeKey, terms, answer))
    return stored && this.#stateOf(storeKey, stored)
  }

  /** If the record lacks a claim, because other software wrote it or the name is new, the application is asked. */
  #isUnder (key: string, { claims, session }: SessionState): boolean {
    for (const claim of claims.values()) if (claim.key === key) return true
    try {
      return this.names.some(name => !claims.has(name) && this.#keys.keyOf(name, session) === key)
    } catch (error) {
      // Its data can't be read, so only the index knows its owner.
      if (isUnreadable(error)) return true
      throw error
    }
  }

  asStored (storeKey: StoreKey, stored: Stored): FastifySessionObject {
    return this.#stateOf(storeKey, stored).session
  }

  #stateOf (storeKey: StoreKey, stored: Stored): SessionState {
    return new SessionState(this.#context, new Visit(this.#cookie, false), { sessionId: storeKey, stored })
  }

  /** The cookie's configuration outside of requests. */
  get #cookie (): RequestCookie {
    return this.#context.settings.cookieFor(undefined)
  }
}

/** The public methods, as `fastify.sessions`. */
export function sessionsOf (index: SessionIndex): Sessions {
  return {
    by: (name, value) => index.by(name, value),
    forUser: (user, page) => index.forUser(user, page),
    revoke: handle => index.revoke(handle),
    revokeUser: user => index.revokeUser(user),
    count: () => index.count()
  }
}

/**
 * What a method of the store's index answered with; if it answered with nothing, an empty list.
 *
 * @throws FST_ERR_SESSION_STORE
 */
function listOf<T> (method: string, answered: T[] | null | undefined): T[] {
  const list = answered ?? []
  if (!Array.isArray(list)) throw new StoreError(method, 'it must answer with a list', { cause: undefined })
  return list
}

// Applications pass values of a query string.
function limitIn (page: SessionPage | undefined): number {
  const limit = Math.trunc(Number(page?.limit ?? PAGE))
  return Number.isNaN(limit) ? PAGE : limit
}

function timeIn (cursor: string | undefined): number {
  const time = Number(cursor)
  return !cursor || Number.isNaN(time) ? Infinity : time
}
