import { type ExecFileSyncOptions, execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The peers have a folder, a lock file and a `node_modules` of their own, so that none of them becomes a dependency of the workspace. */
const FOLDER = join(import.meta.dirname, '../peers');

/** Installs them by their lock file, unless that was done already, and compiles what runs them. */
export function preparePeers(): void {
  const lock = join(FOLDER, 'pnpm-lock.yaml');
  const installed = join(FOLDER, 'node_modules/.modules.yaml');
  if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(lock).mtimeMs) {
    console.error('Installing the peers into apps/bench/peers …');
    pnpm(['install', '--frozen-lockfile', '--prefer-offline']);
  }
  const typescript = fileURLToPath(import.meta.resolve('typescript/package.json'));
  execFileSync(process.execPath, [join(typescript, '../bin/tsc'), '--build'], { cwd: FOLDER, stdio: 'inherit' });
}

export function versionOfPeer(name: string): string {
  return JSON.parse(readFileSync(join(FOLDER, 'node_modules', name, 'package.json'), 'utf8')).version;
}

/** The one that runs this command, or else one of its line. */
function pnpm(args: readonly string[]): void {
  const options: ExecFileSyncOptions = { cwd: FOLDER, stdio: ['ignore', 'ignore', 'inherit'] };
  try {
    execFileSync('pnpm', args, options);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    execFileSync('npx', ['-y', 'pnpm@12', ...args], options);
  }
}
