'use strict'

// src/ to dist/: declarations by the compiler, and by a bundler one file for each entry of package.json. What entries share
// is in shared.js, so that no class is there twice. With --if-needed: only if src/ has changed since.

const { spawnSync } = require('node:child_process')
const { readdirSync, rmSync, statSync } = require('node:fs')
const { join } = require('node:path')
const { exports: entries } = require('../package.json')

const root = join(__dirname, '..')
const dist = join(root, 'dist')
const sources = ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'scripts/build.js', 'src']

if (!process.argv.includes('--if-needed') || isOutdated()) build()

async function build () {
  rmSync(dist, { recursive: true, force: true })
  const { status } = spawnSync(process.execPath, [require.resolve('typescript/bin/tsc'), '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
  process.exitCode = status ?? 1
  if (status === 0) await bundle()
}

async function bundle () {
  const { rolldown } = await import('rolldown')
  const bundled = await rolldown({ cwd: root, input: inputs(), platform: 'node', external: /^[^./]/, plugins: [exportEquals()] })
  await bundled.write({
    dir: dist,
    format: 'cjs',
    sourcemap: true,
    chunkFileNames: '[name].js',
    codeSplitting: { groups: [{ name: 'shared', minShareCount: 2 }] }
  })
  await bundled.close()
}

/** The sources of the entries, by their places in dist/. */
function inputs () {
  const files = Object.values(entries).flatMap(entry => entry.default ?? [])
  const names = files.map(file => /^\.\/dist\/(.+)\.js$/.exec(file)[1])
  return Object.fromEntries(names.map(name => [name, `src/${name}.ts`]))
}

/**
 * TypeScript's `export =` is the bundler's only default export. The assignments by which Node's lexer knows the names come
 * first, as in the source.
 */
function exportEquals () {
  const namesIn = new Map()
  return {
    name: 'export =',
    transform (code, id) {
      if (!/^export = /m.test(code)) return
      const [names] = /^exports\..+$/m.exec(code)
      namesIn.set(id, names)
      return { code: code.replace(names, '').replace('export = ', 'export default '), map: null }
    },
    renderChunk (code, { facadeModuleId }) {
      const names = namesIn.get(facadeModuleId)
      if (names !== undefined) return { code: `${names}\n${code}`, map: null }
    }
  }
}

function isOutdated () {
  const built = statSync(join(dist, 'index.js'), { throwIfNoEntry: false })
  return built === undefined || sources.some(name => lastChange(join(root, name)) > built.mtimeMs)
}

/** Of a folder, with all that is in it. A file that was removed has changed its folder. */
function lastChange (path) {
  const stat = statSync(path)
  const below = stat.isDirectory() ? readdirSync(path).map(name => lastChange(join(path, name))) : []
  return Math.max(stat.mtimeMs, ...below)
}
