/**
 * The code in README and docs: every block is compiled, and whole programs are run. They require the built package.
 *
 * - A block that begins with the name of a file is that file. One that is part of an example is run with it.
 * - A fragment may use the names declared below, which a reader would take for granted.
 * - A `text` block after a program is its output. After a server, `sh` and `text` blocks are requests and replies.
 */
import '../packages/companions'
import '../packages/frameworks'
import '../packages/sqlite'
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import ts from 'typescript'
import { conduct, Program, ROOT, type Conducted } from './program'
import { freePort } from './servers'
import { until } from './waiting'

interface Block {
  /** Where it is, so that a failing block is easy to find. */
  readonly place: string
  readonly language: string
  readonly code: string
}

const DOCUMENTS = ['README.md', 'CONTRIBUTING.md', 'benchmark/README.md', ...readdirSync(join(ROOT, 'docs'))
  .filter(name => name.endsWith('.md')).map(name => `docs/${name}`)]

const blocks = DOCUMENTS.flatMap(blocksOf)
const inLanguage = (...languages: string[]): Block[] => blocks.filter(({ language }) => languages.includes(language))

// What a fragment may take for granted.
const DECLARED = `
import '@fastify/websocket'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteHandlerMethod } from 'fastify'

declare module 'fastify' {
  interface Session { [name: string]: any }
}

declare global {
  const app: FastifyInstance
  const fastify: typeof import('fastify').fastify
  const fastifyCookie: typeof import('@fastify/cookie').fastifyCookie
  const fastifySession: typeof import('@fastify/session')
  const { MemoryStore }: typeof import('@fastify/session')
  const { RedisStore }: typeof import('@fastify/session/redis')
  const { migrate, PostgresStore }: typeof import('@fastify/session/postgres')
  const pool: import('pg').Pool
  const { createClient }: typeof import('redis')
  const { randomBytes }: typeof import('node:crypto')
  const fastifyCors: typeof import('@fastify/cors').default
  const fastifyPlugin: typeof import('fastify-plugin').default
  const fastifyStatic: typeof import('@fastify/static').default
  const nest: import('@nestjs/platform-fastify').NestFastifyApplication
  const { jest }: { jest: any }
  const beforeAll: (run: () => unknown) => void
  const afterAll: (run: () => unknown) => void
  var address: string
  const root: string
  const url: string
  const secret: string
  const oauthOptions: import('@fastify/oauth2').FastifyOAuth2Options
  const secrets: string[]
  const keys: Array<string | Buffer>
  const adminSecret: string
  const current: string
  const next: string
  const client: ReturnType<typeof createClient>
  const request: Omit<FastifyRequest, 'body'> & { body: any }
  const reply: FastifyReply
  const handler: RouteHandlerMethod
  const log: FastifyInstance['log']
  const tenants: Map<string | undefined, { domain: string }>
  const changePassword: (userId: string, body: unknown) => Promise<void>
  const verify: (token: string) => Promise<{ sub: string, sid?: string }>
}
`

// A reply's body is \`unknown\` until a schema says more, and fragments stand within a function.
const NOT_OF_FRAGMENTS = [18046, 1108, 1308, 1309]

/** Packages that ask for express-session itself accept ours, but not its type. */
function isStorePackage (text: string | ts.DiagnosticMessageChain): boolean {
  return typeof text !== 'string' && text.messageText.startsWith("Argument of type 'Exports' is not assignable to parameter")
}

function blocksOf (document: string): Block[] {
  const text = readFileSync(join(ROOT, document), 'utf8')
  // A block in a list is indented.
  return Array.from(text.matchAll(/^( *)```(\w*)\n([^]*?)^\1```$/gm), ({ 1: indent = '', 2: language = '', 3: code = '', index }) => {
    const place = `${document}:${text.slice(0, index).split('\n').length}`
    return { place, language, code: code.replaceAll(RegExp(`^${indent}`, 'gm'), '') }
  })
}

/** The code after the change: lines that stay and lines that are added. */
function changed ({ language, code }: Block): string {
  return language === 'diff' ? code.replace(/^-.*\n/gm, '').replace(/^[+ ]/gm, '') : code
}

const isProgram = ({ code }: Block): boolean => /require\('fastify'\)|from 'fastify'/.test(code) && /\.(listen|inject)\(/.test(code)
const examples = readdirSync(join(ROOT, 'examples'), { recursive: true, encoding: 'utf8' })
  .filter(name => /\.[cm]?[jt]s$/.test(name)).map(name => readFileSync(join(ROOT, 'examples', name), 'utf8'))
const isInExample = ({ code }: Block): boolean => examples.some(example => example.includes(code))
const isNamed = ({ code }: Block): string | undefined => /^\/\/ (\S+\/\S+\.\w+)\n/.exec(code)?.[1]

t.test('every link to a file leads to an existing file', async t => {
  for (const document of DOCUMENTS) {
    const text = readFileSync(join(ROOT, document), 'utf8')
    for (const [, link = ''] of text.matchAll(/(?:\]\(|src="|srcset=")(\.{1,2}\/[^)"#]+|[\w-]+\.md)(?:#[^)"]*)?[)"]/g)) {
      t.ok(existsSync(join(ROOT, dirname(document), link)), `${document}: ${link}`)
    }
  }
})

t.test('the badges are true', async t => {
  const { license, types, peerDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const badges = Array.from(readFileSync(join(ROOT, 'README.md'), 'utf8').matchAll(/!\[([^\]]+)\]\(https:\/\/img\.shields\.io/g), ([, text]) => text)
  t.same(badges, [`License: ${license}`, `Fastify: ${/\d+/.exec(peerDependencies.fastify)}`, 'Types: included', 'Test coverage: 100 %'])
  t.ok(existsSync(join(ROOT, types)))
  t.notMatch(readFileSync(join(ROOT, '.taprc'), 'utf8'), /allow-incomplete-coverage/)
})

t.test('every link to a heading leads to an existing heading', async t => {
  const headings = (document: string): string[] => {
    const text = readFileSync(join(ROOT, document), 'utf8')
    const anchors = Array.from(text.matchAll(/<a id="([^"]+)">/g), ([, anchor = '']) => anchor)
    return Array.from(text.matchAll(/^#+ (.+)$/gm), ([, heading = '']) => {
      return heading.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-')
    }).concat(anchors)
  }
  for (const document of DOCUMENTS) {
    const text = readFileSync(join(ROOT, document), 'utf8')
    for (const [, link = '', heading = ''] of text.matchAll(/\]\(([\w./-]+\.md)?#([^)]+)\)/g)) {
      const target = link === '' ? document : join(dirname(document), link)
      t.ok(headings(target).includes(heading), `${document}: ${link}#${heading}`)
    }
  }
})

t.test('every test that security.md cites exists, by file and title', async t => {
  const text = readFileSync(join(ROOT, 'docs/security.md'), 'utf8')
  const sources = new Map<string, string>()
  for (const [, file = ''] of text.matchAll(/`([\w./-]+\.ts)`/g)) {
    const path = [`test/${file}`, file].map(path => join(ROOT, path)).find(existsSync)
    t.ok(path, file)
    if (path !== undefined) sources.set(file, readFileSync(path, 'utf8').replaceAll("\\'", "'"))
  }
  let titles = 0
  for (const [, file = '', cited = ''] of text.matchAll(/`([\w./-]+\.ts)`(?:, [^`:]*)?:\s+(`[^`]+`(?:,\s+`[^`]+`)*)/g)) {
    for (const [, title = ''] of cited.matchAll(/`([^`]+)`/g)) {
      titles++
      // A title in backticks may continue with what differs by run.
      const isThere = [`'${title}'`, `"${title}"`, `\`${title}`].some(quoted => sources.get(file)?.includes(quoted))
      t.ok(isThere, `${file}: ${title}`)
    }
  }
  t.ok(titles >= 70, 'a title that is cited in another form is not found')
})

t.test('every block has a known language', async t => {
  const known = ['js', 'ts', 'sh', 'diff', 'text', 'nginx']
  for (const { place, language } of blocks) t.ok(known.includes(language), `${place}: ${language}`)
})

t.test('a block with the name of a file equals that file', async t => {
  const named = blocks.filter(isNamed)
  t.ok(named.length >= 2)
  for (const block of named) {
    t.equal(block.code, `// ${isNamed(block)}\n${readFileSync(join(ROOT, isNamed(block) as string), 'utf8')}`, block.place)
  }
})

t.test('every block of JavaScript and TypeScript compiles', async t => {
  const folder = t.testdir({ 'declared.d.ts': DECLARED })
  const names = new Map<string, Block>()
  for (const [i, block] of inLanguage('js', 'ts', 'diff').entries()) {
    if (isNamed(block) !== undefined || isInExample(block)) continue
    if (changed(block).startsWith('  "')) {
      JSON.parse(`{${changed(block).replace(/,\s*$/, '')}}`) // lines of a package.json
      continue
    }
    const name = join(folder, `${i}.${block.language === 'ts' ? 'ts' : 'js'}`)
    names.set(name, block)
    await writeFile(name, changed(block))
  }
  const program = ts.createProgram([join(folder, 'declared.d.ts'), ...names.keys()], {
    allowJs: true,
    checkJs: true,
    noEmit: true,
    strict: true,
    noImplicitAny: false,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleDetection: ts.ModuleDetectionKind.Force,
    // A file next to the block is one of these.
    rootDirs: [folder, join(ROOT, 'examples/migrating'), join(ROOT, 'examples/writing-a-store')],
    types: ['node']
  })
  for (const [name, block] of names) {
    const source = program.getSourceFile(name)
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]
      .filter(({ code, messageText }) => !NOT_OF_FRAGMENTS.includes(code) && !isStorePackage(messageText))
      .map(({ code, messageText, start = 0 }) => {
        const line = source?.getLineAndCharacterOfPosition(start).line ?? 0
        return `${line + 1}: ${ts.flattenDiagnosticMessageText(messageText, '\n')} (${code})`
      })
    t.same(found, [], block.place)
  }
  t.same(program.getSemanticDiagnostics(program.getSourceFile(join(folder, 'declared.d.ts'))).map(({ messageText }) => messageText), [])
})

t.test('every command has valid syntax, and every script exists', async t => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  for (const { place, code } of inLanguage('sh')) {
    await promisify(execFile)('bash', ['-n', '-c', code]).catch(error => t.fail(`${place}: ${error.stderr}`))
    for (const [, script = ''] of code.matchAll(/npm run ([\w:]+)/g)) t.ok(script in scripts, `${place}: ${script}`)
    for (const [, file = ''] of code.matchAll(/\bnode (?:--test )?([\w./-]+)/g)) t.ok(existsSync(join(ROOT, file)), `${place}: ${file}`)
  }
})

t.test('every whole program runs, and prints what the page says', async t => {
  const programs = inLanguage('js').filter(block => isProgram(block) && isNamed(block) === undefined)
  t.ok(programs.length >= 2)
  for (const program of programs) {
    await t.test(program.place, async t => {
      const port = await freePort()
      // Inside the repository, so that the package is found by its name.
      const folder = t.testdir({ 'program.js': program.code.replace('port: 3000', `port: ${port}`) })
      const running = conduct(t, join(folder, 'program.js'))
      const talk = talkAfter(program)
      if (!program.code.includes('.listen(')) {
        const { code, stdout, stderr } = await running.end()
        t.equal(code, 0, stderr)
        for (const { code } of talk) t.ok(stdout.includes(code), code)
        return
      }
      const isThere = (): Promise<boolean> => fetch(`http://localhost:${port}`).then(() => true, () => false)
      await Promise.race([until(`${program.place} listens`, isThere), running.ended.then(({ stderr }) => { throw new Error(stderr) })])
      const jar = join(folder, 'jar')
      for (const [i, { language, code }] of talk.entries()) {
        if (language !== 'sh') continue
        const commands = code.replaceAll('localhost:3000', `localhost:${port}`).replaceAll(' jar', ` ${jar}`)
        const stdout = await saidBy(t, running, commands, folder)
        t.equal(masked(stdout), masked(talk[i + 1]?.code ?? ''), code)
      }
      await running.end('SIGTERM')
    })
  }
})

/**
 * The output of a reader's commands. If they sleep until the program has a request under way, this waits for that request
 * instead, and keeps it under way until the logout is answered.
 */
async function saidBy (t: Test, running: Conducted, commands: string, folder: string): Promise<string> {
  const begun = join(folder, 'begun')
  const talk = new Program(t, 'bash', ['-c', commands.replace(/sleep [\d.]+/, `until test -e ${begun}; do sleep 0.05; done`)])
  if (commands.includes('sleep')) {
    await running.asleep(1)
    await writeFile(begun, '')
    await talk.says(/bye/)
    running.wake()
  }
  return (await talk.end()).stdout
}

/** The `sh` and `text` blocks that belong to a program: all up to the next other block. */
function talkAfter (program: Block): Block[] {
  const others = blocks.slice(blocks.indexOf(program) + 1)
  const end = others.findIndex(({ language, code }) => language !== 'text' && !(language === 'sh' && code.includes('localhost:3000')))
  const document = program.place.split(':', 1)[0] as string
  return others.slice(0, end === -1 ? undefined : end).filter(({ place }) => place.startsWith(`${document}:`))
}

/** Replaces what differs in each run. */
function masked (said: string): string {
  return said.replaceAll('\r', '')
    .replace(/sessionId=[^;\s]+/g, 'sessionId=…')
    .replace(/^(date|expires|content-length|etag): .*\n/gim, '')
    .replace(/\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT/g, '…')
    .replace(/\s+$/gm, '\n')
}
