import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from './run.mjs';

/** Copies what git would take of the working tree, changed and new files included, and makes it a repository of its own. */
export async function workingCopy(root, copy) {
  const listed = await run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root });
  for (const path of listed.split('\0').filter(Boolean)) {
    if (!existsSync(join(root, path))) continue;
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    cpSync(join(root, path), join(copy, path));
  }
  // Changesets look up in which commit each one was added.
  const git = (...args) =>
    run(['git', '-c', 'user.name=release-check', '-c', 'user.email=release-check@localhost', ...args], { cwd: copy });
  await git('init', '--quiet', '--initial-branch=main');
  await git('add', '--all');
  await git('commit', '--quiet', '--no-verify', '--message=Working tree');
}

/** What the release workflow does, in the same order. */
export async function publishAll(copy, registry) {
  const pnpm = (...args) => run(['pnpm', ...args], { cwd: copy });
  await pnpm('install', '--frozen-lockfile', '--prefer-offline');
  await pnpm('exec', 'changeset', 'version');
  await pnpm('exec', 'turbo', 'run', 'build', '--filter=./packages/*');
  for (const { folder } of publishedPackages(copy)) {
    withoutProvenance(folder);
    writeFileSync(join(folder, '.npmrc'), registry.npmrc);
  }
  writeFileSync(join(copy, '.npmrc'), registry.npmrc);
  await pnpm('exec', 'changeset', 'publish', '--no-git-tag');
}

/** Every package that a release publishes: name, version, folder. */
export function publishedPackages(copy) {
  return readdirSync(join(copy, 'packages'))
    .map((entry) => join(copy, 'packages', entry))
    .filter((folder) => existsSync(join(folder, 'package.json')))
    .map((folder) => ({ folder, ...JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) }))
    .filter((manifest) => !manifest.private)
    .map(({ folder, name, version }) => ({ folder, name, version }));
}

/** An attestation says which workflow built a package: only the release workflow can make one. */
function withoutProvenance(folder) {
  const file = join(folder, 'package.json');
  const manifest = JSON.parse(readFileSync(file, 'utf8'));
  delete manifest.publishConfig?.provenance;
  writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
}
