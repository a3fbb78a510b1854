/** docs/troubleshooting.md, used as a reader uses it: the reader has a program, and makes the change that the page shows. */
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { runInThisContext } from 'node:vm'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import t, { type Test } from 'tap'
import fastifySession, { MemoryStore } from '../src/index'
import { RedisStore } from '../src/stores/redis'
import { warned as heard } from './heard'
import { SECRET } from './helpers'
import { ROOT } from './program'

/** What the page says about a symptom. */
export interface Advice {
  /** Applies the one change under this heading that fits the program. A test must apply each change of the page. */
  readonly cured: (program: string) => string
  /** The block under this heading that isn't a change: commands, or code to add. */
  readonly block: (language: string) => string
}

export const PAGE = readFileSync(join(ROOT, 'docs/troubleshooting.md'), 'utf8')

const sections = new Map(PAGE.split(/^##+ /m).slice(1).map(section => [section.slice(0, section.indexOf('\n')), section]))
const told = new Set<string>()

/** A test named after a heading of the page. */
export function symptom (heading: string, see: (t: Test, advice: Advice) => Promise<unknown>): void {
  told.add(heading)
  t.test(heading, async t => {
    const section = sections.get(heading)
    if (section === undefined) throw new Error('The page has no such heading')
    const changes = blocksOf(section, 'diff')
    const untried = new Set(changes)
    await see(t, {
      cured (program) {
        const fitting = changes.filter(change => isToChange(change, program))
        if (fitting.length !== 1) throw new Error(`${fitting.length} changes on the page fit this program`)
        const [change] = fitting as [string]
        untried.delete(change)
        return afterChange(change, program)
      },
      block (language) {
        const [block, ...more] = blocksOf(section, language)
        if (block === undefined || more.length > 0) throw new Error(`The page has not one block of ${language} there`)
        return block
      }
    })
    t.same([...untried], [], 'each change on the page was tried')
  })
}

/** The headings after which tests are named. */
export const symptoms = (): string[] => [...told]

/** The headings of the page's problems. Sections about all problems have larger headings. */
export const headings = (): string[] => Array.from(PAGE.matchAll(/^### (.+)$/gm), ([, heading = '']) => heading)

function blocksOf (section: string, language: string): string[] {
  return Array.from(section.matchAll(/^```(\w+)\n([^]*?)^```$/gm)).filter(([, of]) => of === language).map(([, , code = '']) => code)
}

const linesOf = (code: string): string[] => code.split('\n').map(line => line.trim()).filter(line => line !== '')
const before = (change: string): string[] => linesOf(change.replace(/^\+.*$/gm, '').replace(/^[- ]/gm, ''))
const after = (change: string): string[] => linesOf(change.replace(/^-.*$/gm, '').replace(/^[+ ]/gm, ''))

/** The index at which these lines begin in a program; -1 if it doesn't have them. */
function placeOf (wanted: string[], program: string): number {
  const lines = linesOf(program)
  return lines.findIndex((_line, i) => wanted.every((line, j) => lines[i + j] === line))
}

/** Without the second condition, a change that only adds lines would also fit a program that already has them. */
function isToChange (change: string, program: string): boolean {
  return placeOf(before(change), program) !== -1 && placeOf(after(change), program) === -1
}

function afterChange (change: string, program: string): string {
  const lines = linesOf(program)
  lines.splice(placeOf(before(change), program), before(change).length, ...after(change))
  return lines.join('\n')
}

export interface Running {
  readonly app: FastifyInstance
  /** The address with the host name under which browsers keep cookies. */
  readonly address: string
  readonly port: number
}

/** Runs a program that makes an `app`, with the names that each reader has and those in `scope`, and listens. */
export async function run (t: Pick<Test, 'teardown'>, program: string, names: Record<string, unknown> = {}): Promise<Running> {
  const scope = { fastify: Fastify, fastifyCookie, fastifySession, fastifyPlugin, MemoryStore, RedisStore, secret: SECRET, ...names }
  // A program may declare these names itself.
  const source = `(async ({ ${Object.keys(scope).join(', ')} }) => { {\n${program}\nreturn { app }\n} })`
  const { app } = await runInThisContext(source)(scope) as { app: FastifyInstance }
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return { app, port, address: `http://localhost:${port}` }
}

/** Collects the codes of the process's warnings. */
export async function warned (work: () => Promise<unknown>): Promise<string[]> {
  return (await heard(work)).map(({ code }) => code)
}
