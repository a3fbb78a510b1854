/** docs/troubleshooting.md, as a reader uses it: who is stuck has a program, and changes in it what the page says. */
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

/** What the page says of a symptom. */
export interface Advice {
  /** A program after the one change on the page that fits it. Each change must be tried. */
  readonly cured: (program: string) => string
  /** What there is in place of a change: commands, or code that is added. */
  readonly block: (language: string) => string
}

export const PAGE = readFileSync(join(ROOT, 'docs/troubleshooting.md'), 'utf8')

const sections = new Map(PAGE.split(/^##+ /m).slice(1).map(section => [section.slice(0, section.indexOf('\n')), section]))
const told = new Set<string>()

/** A test by the name of a heading of the page. */
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

/** The headings that tests were named after. */
export const symptoms = (): string[] => [...told]

/** Those of the page. What is about all of them has a larger one. */
export const headings = (): string[] => Array.from(PAGE.matchAll(/^### (.+)$/gm), ([, heading = '']) => heading)

function blocksOf (section: string, language: string): string[] {
  return Array.from(section.matchAll(/^```(\w+)\n([^]*?)^```$/gm)).filter(([, of]) => of === language).map(([, , code = '']) => code)
}

const linesOf = (code: string): string[] => code.split('\n').map(line => line.trim()).filter(line => line !== '')
const before = (change: string): string[] => linesOf(change.replace(/^\+.*$/gm, '').replace(/^[- ]/gm, ''))
const after = (change: string): string[] => linesOf(change.replace(/^-.*$/gm, '').replace(/^[+ ]/gm, ''))

/** The line from which on a program has these. -1 if it hasn't. */
function placeOf (wanted: string[], program: string): number {
  const lines = linesOf(program)
  return lines.findIndex((_line, i) => wanted.every((line, j) => lines[i + j] === line))
}

/** What only adds fits a program that has it already, too. */
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
  /** By the name that browsers keep cookies for. */
  readonly address: string
  readonly port: number
}

/** Runs a program that makes an `app`, with these names beside those that each reader has, and listens. */
export async function run (t: Pick<Test, 'teardown'>, program: string, names: Record<string, unknown> = {}): Promise<Running> {
  const scope = { fastify: Fastify, fastifyCookie, fastifySession, fastifyPlugin, MemoryStore, RedisStore, secret: SECRET, ...names }
  // The names of a program of its own may hide those.
  const source = `(async ({ ${Object.keys(scope).join(', ')} }) => { {\n${program}\nreturn { app }\n} })`
  const { app } = await runInThisContext(source)(scope) as { app: FastifyInstance }
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return { app, port, address: `http://localhost:${port}` }
}

/** The codes of what the process is warned about in the meantime. */
export async function warned (work: () => Promise<unknown>): Promise<string[]> {
  return (await heard(work)).map(({ code }) => code)
}
