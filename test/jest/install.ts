/** Installs Jest, in the versions of the lock file in this folder, when a test first needs it. */
import { execFile } from 'node:child_process'
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ROOT } from '../program'

const FOLDER = join(ROOT, 'node_modules/.cache/jest')
const INSTALLED = join(FOLDER, 'installed.json')

/** Returns the path of the program. */
export async function installJest (): Promise<string> {
  const lock = await readFile(join(__dirname, 'package-lock.json'), 'utf8')
  if (await readFile(INSTALLED, 'utf8').catch(() => undefined) !== lock) {
    await rm(FOLDER, { recursive: true, force: true })
    await mkdir(FOLDER, { recursive: true })
    for (const file of ['package.json', 'package-lock.json']) await cp(join(__dirname, file), join(FOLDER, file))
    // Tap's loader in NODE_OPTIONS is only for tests.
    const npm = ['-u', 'NODE_OPTIONS', 'npm', 'ci', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund']
    await promisify(execFile)('env', npm, { cwd: FOLDER })
    await writeFile(INSTALLED, lock)
  }
  return join(FOLDER, 'node_modules/jest/bin/jest.js')
}
