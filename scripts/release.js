'use strict'

// Before `npm publish`: the package names the repository that publishes it, which npm's provenance compares. Fails if the tag
// and CHANGELOG.md aren't of the version in package.json.
//
//   node scripts/release.js v12.1.0 https://example.com/owner/repository

const { readFileSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')

const root = join(__dirname, '..')
const [tag, repository] = process.argv.slice(2)
const file = join(root, 'package.json')
const pkg = JSON.parse(readFileSync(file, 'utf8'))

if (!/^https:\/\/[^/]+\/[^/]+\/[^/]+$/.test(repository)) fail('Usage: node scripts/release.js TAG URL-OF-THE-REPOSITORY')
if (tag !== `v${pkg.version}`) fail(`The tag is ${tag}, and package.json says ${pkg.version}`)
const dated = new RegExp(`^## ${pkg.version.replaceAll('.', '\\.')} - \\d{4}-\\d\\d-\\d\\d$`, 'm')
if (!dated.test(readFileSync(join(root, 'CHANGELOG.md'), 'utf8'))) fail(`CHANGELOG.md has no '## ${pkg.version} - DATE'`)

writeFileSync(file, `${JSON.stringify({
  ...pkg,
  homepage: `${repository}#readme`,
  bugs: `${repository}/issues`,
  repository: { type: 'git', url: `git+${repository}.git` }
}, null, 2)}\n`)

function fail (message) {
  console.error(message)
  process.exit(1)
}
